"""One attempt at a run: its folder, and the only code that writes there."""

from __future__ import annotations

import contextlib
import io
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from suite.base.bounded import read_regular
from suite.base.canonical import canonical
from suite.base.errors import RecordError
from suite.base.files import atomic_path, write_atomic
from suite.define.spec import RunSpec
from suite.records.files import ATTEMPT, SCHEMA, Evaluation, Failure, Record, Status, read

if TYPE_CHECKING:
    import numpy as np


class Attempt:
    """The folder `<root>/runs/<run_id>/<k>/` and the files in it."""

    def __init__(self, root: Path, run_id: str, number: int, *, folder: Path | None = None) -> None:
        """`folder`: where its files lie, if that is elsewhere: an attempt that is still being copied, or a
        stranger's."""
        self.root, self.run_id, self.number = root, run_id, number
        self.folder = f"{root}/runs/{run_id}/{number}" if folder is None else str(folder)

    @property
    def path(self) -> Path:
        """Its folder. `folder` is the same as text: of plans for thousands of runs, half of the time would
        go into making path objects."""
        return Path(self.folder)

    def __repr__(self) -> str:
        return f"Attempt({self.folder})"

    def create(self, spec: RunSpec) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "spec.json").exists():
            write_atomic(self.path / "spec.json", canonical(spec))

    def sweep(self) -> None:
        """Remove temporary files that a killed process left. Only for the holder of the run's lock."""
        for leftover in self.path.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    @property
    def checkpoint_dir(self) -> Path:
        return self.path / "checkpoint"

    @property
    def weights(self) -> Path:
        """The final weights; `prune` may have removed them."""
        return self.path / "weights.safetensors"

    @property
    def finished(self) -> bool:
        return (self.path / "record.json").exists()

    def status(self) -> Status | None:
        """None where there is none or it cannot be read: a status is a hint, the record is truth."""
        try:
            return read(Status, self.path / "status.json")
        except (FileNotFoundError, RecordError):
            return None

    def write_status(self, status: Status, *, durable: bool = True) -> None:
        write_atomic(self.path / "status.json", msgspec.json.encode(status), durable=durable)
        mark_changed(self.root)

    def write_failure(
        self, spec: RunSpec, digest: str, failure: Failure, *, wanted: float = 0.0, job: str = ""
    ) -> None:
        """Say that the attempt has failed, in its process's place: it ran, or was to run, `digest` for
        the command given at `wanted` (Unix seconds), in the cluster job `job`.

        Only for the holder of the run's lock; a finished attempt is left as it is.
        """
        if self.finished:
            return
        self.create(spec)
        now = time.time()
        status = self.status() or Status(state="failed", digest=digest, started=now, heartbeat=now)
        step = status.step if failure.step is None else failure.step
        failure = msgspec.structs.replace(failure, step=step)
        self.write_status(
            msgspec.structs.replace(
                status,
                state="failed",
                failure=failure,
                wanted=max(status.wanted, wanted),
                job=job or status.job,
            )
        )

    def record(self) -> Record:
        return read(Record, self.path / "record.json")

    def write_record(self, record: Record) -> None:
        """The last file of a run: once it stands, the run is finished."""
        write_atomic(self.path / "record.json", msgspec.json.encode(record))
        mark_changed(self.root)

    def evaluation_path(self, task: str, evaluation_hash: str) -> Path:
        return self.path / "evaluations" / f"{task}-{evaluation_hash}.json"

    def write_evaluation(self, evaluation: Evaluation) -> Path:
        path = self.evaluation_path(evaluation.task, evaluation.evaluation_hash)
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, msgspec.json.encode(evaluation))
        mark_changed(self.root)
        return path

    def write_predictions(self, sets: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Store the arrays of each prediction set, compressed."""
        import numpy as np

        arrays = {f"{name}/{key}": array for name, s in sets.items() for key, array in s.items()}
        path = self.path / "predictions.npz"
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    def write_weights(self, save: Callable[[Path], None]) -> None:
        """Store the final weights; `save` writes a safetensors file to the path it is given."""
        with atomic_path(self.weights) as temporary:
            save(temporary)

    def write_sample(self, name: str, png: bytes) -> None:
        """Store a rendered sample as `samples/<name>`."""
        folder = self.path / "samples"
        folder.mkdir(exist_ok=True)
        write_atomic(folder / name, png)

    def prediction_sets(self) -> set[str]:
        """Names of the sets stored; empty where the file is missing or damaged. Reads no array."""
        try:
            with zipfile.ZipFile(self.path / "predictions.npz") as file:
                return {name.partition("/")[0] for name in file.namelist()}
        except (OSError, zipfile.BadZipFile):
            return set()

    def predictions(self) -> dict[str, dict[str, np.ndarray]]:
        """set -> array name -> array. Raises RecordError if missing or damaged; never unpickles."""
        import numpy as np

        path = self.path / "predictions.npz"
        sets: dict[str, dict[str, np.ndarray]] = {}
        try:
            with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as file:
                for name in file.files:
                    set_name, _, key = name.partition("/")
                    sets.setdefault(set_name, {})[key] = file[name]
        except FileNotFoundError:
            raise RecordError(f"{path}: no stored predictions") from None
        except Exception as error:
            # zip, zlib, numpy and memory each have their own way to say that a file is damaged
            text = " ".join(str(error).split())[:200]
            raise RecordError(f"{path}: damaged or not plain arrays ({text})") from None
        return sets


def attempts(root: Path, run_id: str) -> list[Attempt]:
    """Attempts of a run, oldest first."""
    try:
        # plans call this for thousands of runs: a path object each would be half of their time
        names = os.listdir(f"{root}/runs/{run_id}")
    except (FileNotFoundError, NotADirectoryError):
        return []
    numbers = sorted(int(name) for name in names if ATTEMPT.fullmatch(name))
    return [Attempt(root, run_id, k) for k in numbers]


class _Head(msgspec.Struct):
    # what a plan needs of a record: decoding the rest for 10,000 runs would take seconds
    run_id: str
    digest: str
    schema: int = SCHEMA


_decode_head = msgspec.json.Decoder(_Head).decode


def finished_digest(attempt: Attempt) -> str | None:
    """Code digest of a finished attempt; None if it has no readable record."""
    try:
        head = _decode_head(read_regular(f"{attempt.folder}/record.json"))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    own = head.schema == SCHEMA and head.run_id == attempt.run_id
    return head.digest if own else None


def change_mark(root: Path) -> Path:
    """A file whose time says when the suite last wrote a status, record or evaluation below `root`: what
    reads a large root need not look at every file."""
    return root / ".changed"


def mark_changed(root: Path) -> None:
    path = change_mark(root)
    # no result hangs on it
    with contextlib.suppress(OSError):
        try:
            os.utime(path)
        except FileNotFoundError:
            path.touch()
