"""What there is to see of a run, read from its folder alone: facts, the end of its log, its samples."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from suite.base.errors import RecordError, UserError
from suite.define.spec import RunSpec
from suite.records.attempt import Attempt, attempts
from suite.records.files import Evaluation, alive, read
from suite.records.lookup import find_run

if TYPE_CHECKING:
    import numpy as np

LOG_BYTES = 1 << 16
MAX_PNG = 1 << 23
"""Bytes of a sample image's file."""
MAX_PIXELS = 1 << 23
"""Pixels of a sample image."""


def run_facts(root: Path, prefix: str) -> dict[str, Any]:
    """Spec, attempts, and record, evaluations and files of the newest finished attempt."""
    run_id = find_run(root, prefix)
    known = attempts(root, run_id)
    if not known:
        raise UserError(f"run {run_id} has no attempt yet")
    record: dict[str, Any] | None = None
    evaluations: list[dict[str, Any]] = []
    files: list[str] = []
    listing = []
    for attempt in known:
        entry, content = _attempt(attempt)
        listing.append(entry)
        if content is not None:
            record = content
            evaluations = _evaluations(attempt)
            files = sorted(
                str(path.relative_to(attempt.path))
                for path in attempt.path.rglob("*")
                if path.is_file()
            )
    return {
        "run": run_id,
        "spec": msgspec.to_builtins(_spec(known)),
        "attempts": listing,
        "record": record,
        "evaluations": evaluations,
        "files": files,
    }


def _spec(known: Sequence[Attempt]) -> RunSpec:
    """The newest spec that can be read: an attempt killed at once has only its folder."""
    for attempt in reversed(known):
        for read_spec in (_own_spec, _recorded_spec):
            try:
                return read_spec(attempt)
            except (FileNotFoundError, RecordError):
                continue
    raise UserError(f"run {known[0].run_id}: no readable spec.json in any of its attempts")


def _own_spec(attempt: Attempt) -> RunSpec:
    return read(RunSpec, attempt.path / "spec.json")


def _recorded_spec(attempt: Attempt) -> RunSpec:
    return attempt.record().spec


def _attempt(attempt: Attempt) -> tuple[dict[str, Any], dict[str, Any] | None]:
    status = attempt.status()
    problem, content = None, None
    if attempt.finished:
        try:
            content = msgspec.to_builtins(attempt.record())
        except RecordError as error:
            problem = str(error)
    entry = {
        "attempt": attempt.number,
        "path": str(attempt.path),
        "state": "done" if content else status.state if status else "unknown",
        "digest": content["digest"] if content else status.digest if status else None,
        "step": status.step if status else None,
        "total": status.total if status else None,
        "restarts": status.restarts if status else None,
        "started": status.started if status else None,
        "heartbeat": status.heartbeat if status else None,
        "alive": status is not None and not content and alive(status),
        "host": status.host if status else None,
        "job": status.job if status else None,
        "failure": msgspec.to_builtins(status.failure) if status and status.failure else None,
        "problem": problem,
    }
    return entry, content


def _evaluations(attempt: Attempt) -> list[dict[str, Any]]:
    found = []
    for path in sorted((attempt.path / "evaluations").glob("*.json")):
        try:
            found.append(msgspec.to_builtins(read(Evaluation, path)))
        except RecordError:
            continue
    return found


def log_tail(attempt: Attempt, lines: int = 200) -> list[str]:
    """The last lines of the attempt's log, of its last `LOG_BYTES` at most; none where there is no regular
    file. As they were written: control characters and all."""
    path = attempt.path / "log.txt"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []
    with open(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return []
        start = max(0, about.st_size - LOG_BYTES)
        file.seek(start)
        content = file.read(LOG_BYTES)
    found = content.decode("utf-8", "replace").splitlines()
    # the first is most likely cut
    return (found[1:] if start and len(found) > 1 else found)[-lines:]


def sample_names(attempt: Attempt) -> list[str]:
    """Names of the stored sample images: regular files of the attempt's own folder `samples`."""
    folder = attempt.path / "samples"
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            return []
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.name.endswith(".png") and entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return []
    return sorted(names, key=lambda name: (len(name), name))


def sample_image(attempt: Attempt, name: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8 of a stored sample image.

    Raises RecordError: no PNG, damaged, or of more than `MAX_PIXELS` pixels or `MAX_PNG` bytes; nothing is
    decoded before that is known.
    """
    import numpy as np
    from PIL import Image

    from suite.base.bounded import read_file

    path = attempt.path / "samples" / name
    try:
        content = read_file(path, MAX_PNG)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such sample") from None
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise RecordError(
                    f"{path}: {width:,} x {height:,} pixels, more than {MAX_PIXELS:,} in all"
                )
            return np.asarray(image.convert("RGB"))
    except RecordError:
        raise
    except Exception as error:
        # Pillow, zlib and struct each have their own way to say that an image is damaged
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise RecordError(f"{path}: no readable PNG ({text})") from None


def thinned(
    curve: Sequence[tuple[int, float | None]], most: int = 1000
) -> list[tuple[int, float | None]]:
    """At most `most` points of a curve, evenly spread over it, its last one among them."""
    step = -(-len(curve) // most) if curve else 1
    return list(curve[::-1][::step][::-1])
