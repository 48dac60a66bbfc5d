"""Results of somebody else: runs of `longtail-cls` that never ran, and what can be done to their files.

    made = Stranger(tmp_path)          # two runs of our own in made.root, one of theirs in made.folder
    lie(made.run, random.Random(3))    # one change of their files, named

Used by the tests and by benchmarks/fuzz_records.py.
"""

import io
import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.records.attempt import Attempt
from suite.records.files import Cost, InputRun, Record, Status
from suite.runs.evaluate import evaluate_attempt

SAMPLES = 40


@cache
def catalog() -> Catalog:
    return Catalog.load()


def protocol(name: str = "quick") -> Protocol:
    return catalog().protocol(catalog().task("longtail-cls"), name)


def arrays(seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Labels that are the same for every run, and logits that know a little of them."""
    label = np.arange(SAMPLES, dtype=np.int32) % 10
    noise = np.random.default_rng(seed).normal(size=(SAMPLES, 10))
    logits = noise + 2.0 * (label[:, None] == np.arange(10))
    return {"test": {"label": label, "logits": logits.astype(np.float32)}}


def finished(
    root: Path,
    seed: int,
    method: str = "ce",
    *,
    attempt: int = 1,
    overrides: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Attempt] | None = None,
    sets: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    evaluated: bool = True,
    **changes: Any,
) -> Attempt:
    """A finished run under `protocol()` with predictions and evaluations; `changes` are record fields."""
    under = protocol()
    given = {role: one.run_id for role, one in (inputs or {}).items()}
    spec = catalog().spec(method, under, seed, overrides, given)
    folder = Attempt(root, spec.run_id, attempt)
    folder.create(spec)
    folder.write_predictions(sets or arrays(seed))
    assert under.budget is not None
    samples = under.budget.iterations * under.budget.batch
    before = {role: one.record() for role, one in (inputs or {}).items()}
    needed = {role: record.digest for role, record in before.items()}
    fields: dict[str, Any] = {
        "run_id": spec.run_id,
        "attempt": attempt,
        "spec": spec,
        "digest": catalog().digest(spec, needed),
        "files": catalog().method(spec).files,
        "inputs": {
            role: InputRun(
                run_id=record.run_id,
                attempt=record.attempt,
                method=record.spec.method,
                digest=record.digest,
            )
            for role, record in before.items()
        },
        "dataset": under.dataset.name,
        "flags": sorted(catalog().method(spec).flags),
        "class_counts": list(range(120, 20, -10)),
        "classes": list(under.dataset.classes),
        "cost": Cost(
            parameters=1000,
            iterations=under.budget.iterations,
            samples_seen=samples + sum(record.cost.samples_seen for record in before.values()),
            train_seconds=1.0,
            wall_seconds=2.0 + seed,
        ),
        "curves": {"loss": [(1, 2.0), (2, None)]},
        "environment": {"seed": seed, "packages": {"numpy": np.__version__}},
        "data": {"digits-lt": "ab" * 32},
        "finished": 1000.0 + seed,
    }
    folder.write_record(Record(**{**fields, **changes}))
    if evaluated:
        for task in catalog().tasks().values():
            if under in task.protocols:
                evaluate_attempt(folder, task, under, catalog())
    folder.write_status(
        Status(state="done", digest=fields["digest"], started=1.0, heartbeat=2.0), durable=False
    )
    return folder


class Stranger:
    """Two runs of our own below `root`; one of somebody else's, seed 7, below `folder`."""

    def __init__(self, place: Path) -> None:
        self.root, self.folder = place / "own", place / "theirs"
        for seed in (0, 1):
            finished(self.root, seed)
        self.run = finished(self.folder, 7)
        (self.run.path / "log.txt").write_text("\x1b[2Jiteration 1")
        (self.run.path / "weights.safetensors").write_bytes(b"nobody opens this")


def tree(*folders: Path) -> dict[str, tuple[int, int, int]]:
    """Every path below the folders -> (mode, size, mtime): equal trees were not written to."""
    found = {}
    for folder in folders:
        for base, names, files in os.walk(folder):
            for name in (*names, *files, "."):
                status = os.lstat(os.path.join(base, name))
                size = 0 if name in names or name == "." else status.st_size
                found[os.path.join(base, name)] = (status.st_mode, size, status.st_mtime_ns)
    return found


# -- changes


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Rewrite a JSON file; `change` alters what it holds, or returns something else."""
    content = json.loads(path.read_bytes())
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed))


def packed(members: Mapping[str, bytes]) -> bytes:
    """An npz file of members that need not be arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def header(description: str) -> bytes:
    """An npy header that may lie."""
    text = description.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def rewrite_arrays(run: Attempt, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Repack the predictions after `change` has altered the arrays, by member name."""
    path = _regular(run.path / "predictions.npz")
    with np.load(path) as file:
        held = {f"{name}.npy": file[name] for name in file.files}
    change(held)
    path.write_bytes(packed({name: npy(array) for name, array in held.items()}))


def _regular(path: Path) -> Path:
    if path.is_symlink() or not path.is_file():
        raise FileNotFoundError(path)  # an earlier change has put a link or a pipe there
    return path


def _files(run: Attempt) -> list[Path]:
    return sorted(path for path in run.path.rglob("*") if path.is_file() and not path.is_symlink())


def _json_files(run: Attempt) -> list[Path]:
    return [path for path in _files(run) if path.suffix == ".json"]


def bytes_changed(run: Attempt, draw: random.Random) -> None:
    path = draw.choice(_files(run))
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 1, 1, 4, 30))):
        at = draw.randrange(len(content) + 1)
        what = draw.randrange(4)
        if what == 0 and at < len(content):
            content[at] ^= 1 << draw.randrange(8)
        elif what == 1:
            content[at:at] = draw.randbytes(draw.randrange(1, 9))
        elif what == 2:
            del content[at : at + draw.randrange(1, 9)]
        else:
            del content[at:]
    path.write_bytes(bytes(content))


def _odd_value(draw: random.Random, old: Any) -> Any:
    number = old if isinstance(old, int | float) and not isinstance(old, bool) else 1
    deep: Any = 0
    for _ in range(draw.choice((5, 50, 900))):
        deep = [deep]
    return draw.choice(
        [
            None, True, -1, 0, 1, 2**63, 10**40, 0.5, -0.0, 1e308, "", "x" * 5000, "../../etc/passwd",
            "\x1b[2J", "'; DROP TABLE facts; --", "\u202e", [], {}, [old], {"a": old}, deep,
            number + 1, number * 2, number * (1 + 1e-6), -number, str(old), "external", "ce", "la",
        ]
    )  # fmt: skip


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        found.append((value, key))
        _places(value[key], found)
    return found


def json_changed(run: Attempt, draw: random.Random) -> None:
    path = draw.choice(_json_files(run))
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return bytes_changed(run, draw)
    places = _places(content, [])
    if not places:
        return bytes_changed(run, draw)
    holder, key = draw.choice(places)
    what = draw.randrange(6)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, list):
        holder.append(holder[key])
    elif what == 2 and isinstance(holder, dict):
        holder[draw.choice(("extra", "schema", "flags", "external", "infers", ""))] = holder[key]
    else:
        holder[key] = _odd_value(draw, holder[key])
    path.write_text(json.dumps(content))


def metrics_changed(run: Attempt, draw: random.Random) -> None:
    """Scores raised or lowered, in one evaluation or the same way in all of them."""
    paths = [path for path in _json_files(run) if path.parent.name == "evaluations"]
    chosen = paths if draw.random() < 0.5 else [draw.choice(paths)] if paths else []
    offset, every = draw.choice((1e-6, 1e-3, 0.05, -0.1)), draw.random() < 0.3
    source = draw.choice(("arrays", "arrays", "hook"))
    place = draw.random()
    for path in chosen:

        def change(content: Any) -> None:
            rows = [row for row in content["metrics"] if row.get("value") is not None]
            for row in rows if every else [rows[int(place * len(rows))]]:
                row["value"] += offset
                row["source"] = source

        edit(path, change)


def _nudge(array: np.ndarray, draw: random.Random) -> np.ndarray:
    flat = array.reshape(-1).copy()
    if len(flat):
        at = draw.randrange(len(flat))
        flat[at] = flat[at] + draw.choice((1, -1, 2))
    return flat.reshape(array.shape)


def arrays_changed(run: Attempt, draw: random.Random) -> None:
    """Predictions or labels altered, as whole arrays of a valid file."""

    def change(held: dict[str, np.ndarray]) -> None:
        name = draw.choice(sorted(held))
        array = held[name]
        other = draw.choice(sorted(held))
        options: list[Callable[[], Any]] = [
            lambda: _nudge(array, draw),
            lambda: _nudge(array, draw),
            lambda: array[::-1].copy(),
            lambda: array[:-1],
            lambda: np.concatenate([array, array]),
            lambda: array.T,
            lambda: array.astype(draw.choice(["f2", "i1", "U8", "c8", "?", ">f8"])),
            lambda: array * 2,
            lambda: np.full_like(array, 0),
            lambda: array.astype(float) * np.nan,
            lambda: array.astype(float) + np.inf,
            lambda: array[None],
            lambda: array[:0],
            lambda: np.array(3.0),
            lambda: held[other],
            lambda: np.zeros((0, 1 << 40)),
        ]
        held[name] = draw.choice(options)()

    rewrite_arrays(run, change)


def members_changed(run: Attempt, draw: random.Random) -> None:
    """The npz as a container: names, pickles, lying headers, bombs."""
    path = _regular(run.path / "predictions.npz")
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = draw.choice(sorted(members))
    what = draw.randrange(9)
    if what == 0:
        del members[name]
    elif what == 1:
        names = [
            "../x.npy",
            "/etc/x.npy",
            "test/x",
            "a/b/c.npy",
            "val/logits.npy",
            "view=1/logits.npy",
        ]
        members[draw.choice(names)] = members[name]
    elif what == 2:
        members[name] = npy(np.array([{"a": 1}, run], dtype=object)[:1])
    elif what == 3:
        shape = draw.choice(
            ["(1<<62,)", "(-1,)", "(4611686018427387904, 4)", "(True,)", "(40, 10", ""]
        )
        members[name] = header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}")
    elif what == 4:
        kind = draw.choice(["|O", "|V8", "<M8[s]", "[('a', '<f4')]", "<U0", "-" * 9000])
        members[name] = header(f"{{'descr': '{kind}', 'fortran_order': True, 'shape': (1,), }}")
    elif what == 5:
        members[name] = members[name][: draw.randrange(len(members[name]))]
    elif what == 6:
        members[name] += b"more"
    elif what == 7:
        members |= {f"test/x{i}.npy": members[name] for i in range(draw.choice((1, 5000)))}
    content = packed(members)
    if what == 8:
        content = lying_size(content, draw.choice((0, 1, (1 << 31) - 1)))
    path.write_bytes(content)


def lying_size(content: bytes, size: int) -> bytes:
    """The file with another uncompressed size in every entry of its table of contents."""
    changed, at = bytearray(content), content.find(b"PK\x01\x02")
    while at >= 0:
        changed[at + 24 : at + 28] = struct.pack("<I", size)
        at = content.find(b"PK\x01\x02", at + 4)
    return bytes(changed)


def files_changed(run: Attempt, draw: random.Random) -> None:
    """What lies where: links, pipes, missing and additional files."""
    path = draw.choice(_files(run))
    what = draw.randrange(8)
    if what == 0:
        path.unlink()
    elif what == 1:
        path.unlink()
        path.symlink_to(draw.choice(["/etc/passwd", "/dev/zero", "../1/record.json", "nowhere"]))
    elif what == 2:
        path.unlink()
        os.mkfifo(path)
    elif what == 3:
        path.unlink()
        path.mkdir()
    elif what == 4:
        shutil.copyfile(
            path, path.with_name(draw.choice(["..x", "x\x1b[2J", "a-b.json", "é", "z" * 200]))
        )
    elif what == 5:
        (run.path / "samples").symlink_to("/etc")
    elif what == 6:
        os.rename(run.path, run.path.with_name("2"))
    else:
        path.write_bytes(b"")


CHANGES: tuple[Callable[[Attempt, random.Random], None], ...] = (
    bytes_changed,
    json_changed,
    json_changed,
    metrics_changed,
    arrays_changed,
    members_changed,
    files_changed,
)


def lie(run: Attempt, draw: random.Random) -> str:
    """Change the files of a run in one to three ways; says which."""
    names = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        change = draw.choice(CHANGES)
        try:
            change(run, draw)
        except Exception:
            # an earlier change has left nothing that this one could work on
            if not names:
                raise
            break
        names.append(change.__name__)
    return "+".join(names)


def rows_of(run: Attempt) -> dict[str, dict[tuple[Any, ...], float | None]]:
    """What the evaluations of an untouched run say: task -> row -> value."""
    found = {}
    for path in sorted((run.path / "evaluations").glob("*.json")):
        content = json.loads(path.read_bytes())
        rows = (msgspec.convert(row, MetricRow) for row in content["metrics"])
        found[content["task"]] = {(r.metric, r.subset, r.class_, r.step): r.value for r in rows}
    return found
