"""What a run leaves behind: the schemas of its files, and the only code that reads and writes them.

    <root>/runs/<run_id>/<k>/          k = attempt, 1, 2, ...
        spec.json                      RunSpec
        status.json                    Status: state, heartbeat, restarts, failure
        record.json                    Record: training facts; its presence means the run is finished
        predictions.npz                arrays per prediction set, named `<set>/<array>`
        weights.safetensors            final weights
        samples/*.png                  a few rendered test samples
        evaluations/<task>-<hash>.json Evaluation: metric rows made from the stored predictions
        log.txt                        what the training printed
        checkpoint/                    resume state; removed once the record is written

Every file but log.txt is written once and atomically. A record may come from a stranger: it is
validated on reading and nothing in it is unpickled.
"""

import contextlib
import errno
import io
import os
import re
import stat
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import msgspec

from suite.errors import RecordError
from suite.jsonio import atomic_path, canonical, write_atomic
from suite.migrate import FIRST, NotReadable, migrate, version
from suite.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")
RUN_ID = re.compile(r"[0-9a-f]{12}")

SCHEMA = 1
"""Version of record.json, status.json, spec.json and evaluation files. Raised when a reader must change,
together with what `suite.migrate` needs to read the older ones (and `suite.store.STORE_SCHEMA`, since a
store does not read again what it has refused)."""

FailureKind = Literal[
    "oom", "nan", "timeout", "killed", "disk", "bad-data", "input", "environment", "code"
]
FAILURE_KINDS: tuple[str, ...] = get_args(FailureKind)
"""`killed`: its process or its job was ended from outside. `disk`: full, or failing for the moment.
`input`: a run that it needs is not there. `environment`: the job's machine lacks the package or does
not see the results root."""
INFRASTRUCTURE: frozenset[str] = frozenset(
    {"oom", "timeout", "killed", "disk", "bad-data", "input", "environment"}
)
"""Kinds that another try may mend; `nan` and `code` are the method's own and stay rows."""
RETRIED: frozenset[str] = frozenset({"oom", "killed", "disk"})
"""Kinds that are tried again without being asked: time alone may mend them."""

State = Literal["running", "stopped", "failed", "done"]
HEARTBEAT_SECONDS = 2.0
STALE_HEARTBEAT_SECONDS = 60.0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt failed. `step` is the iteration it failed at, null before training."""

    kind: FailureKind
    message: str
    step: int | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Live state of one attempt, rewritten at every heartbeat.

    `heartbeat` and `started` are Unix seconds; `step` and `total` are iterations; `restarts` counts
    how often this attempt was taken up again after an interruption; `elapsed` is the wall time in
    seconds over all its sittings; `digest` is the method's code
    digest the attempt runs with. `owner` is a token of the present sitting, `job` the cluster job it
    runs in, `wanted` when the command that wanted it was given (Unix seconds), `ranks` how many processes
    share it.
    """

    schema: int = SCHEMA
    state: State
    digest: str
    started: float
    heartbeat: float
    step: int = 0
    total: int | None = None
    restarts: int = 0
    elapsed: float = 0.0
    failure: Failure | None = None
    host: str = ""
    pid: int = 0
    owner: str = ""
    job: str = ""
    wanted: float = 0.0
    ranks: int = 1


class MetricRow(msgspec.Struct, frozen=True, kw_only=True):
    """One value. `subset` is canonical `key=value,...`; `value` is null where undefined.

    Fractions are in [0, 1]; `step` is an iteration, null for the final model; `source` is `arrays`
    (recomputable from the stored predictions) or `hook` (made during training).
    """

    metric: str
    subset: str = ""
    class_: str | None = msgspec.field(default=None, name="class")
    step: int | None = None
    value: float | None
    source: Literal["arrays", "hook"] = "arrays"

    @property
    def key(self) -> str:
        """`mIoU[group=tail]`, or `mIoU` for the whole set."""
        return f"{self.metric}[{self.subset}]" if self.subset else self.metric


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a run costs. Memory in bytes; seconds are wall time, summed over restarts but for
    `test_seconds`, the test loop's.

    `passes_per_step` are forward-backward passes over the batch, as counted where the method counts them.
    What the input runs have cost is in `input_seconds`, and included in `samples_seen` and `gpu_hours`.
    """

    parameters: int
    passes_per_step: float = 1.0
    iterations: int = 0
    samples_seen: int = 0
    train_seconds: float = 0.0
    test_seconds: float = 0.0
    wall_seconds: float = 0.0
    gpu_hours: float = 0.0
    peak_memory_bytes: int = 0
    input_seconds: float = 0.0


class InputRun(msgspec.Struct, frozen=True, kw_only=True):
    """The run that filled a role: which attempt of it, its method and code digest."""

    run_id: str
    attempt: int
    method: str
    digest: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Training facts of a finished attempt.

    Attributes:
        digest: code digest of the run's method and of its input runs (`suite.inputs.digest_of`).
        files: path (relative to its package's parent) -> sha256 of each file behind `digest`.
        infers: whether scores go through the method's own `infer` (README, "A method of your own").
        inputs: role -> the run that filled it.
        warnings: what the method had to say of its settings.
        dataset: name of the training data set.
        flags: fairness flags (`data-variant`, `extra-budget`, `transductive`, `test-prior`, ...).
        class_counts: training count per class, in the unit the task counts (pixels, images).
        classes: class names, same order.
        curves: name -> [(iteration, value), ...], value null where not finite.
        rows: metric rows made during training (`source` = `hook`); evaluations repeat them.
        environment: package versions, git commit and dirty-diff digest, hardware, threads, seed.
        data: observed digests of the user's copy of the data.
        finished: Unix seconds.
        external: SHA-256 of the record as somebody else gave it to `review`; empty for our own. Such a
            record has the flag `external` too.
    """

    schema: int = SCHEMA
    run_id: str
    attempt: int
    spec: RunSpec
    digest: str
    files: dict[str, str] = {}
    infers: bool = False
    inputs: dict[str, InputRun] = {}
    warnings: list[str] = []
    dataset: str
    flags: list[str] = []
    class_counts: list[int] = []
    classes: list[str] = []
    cost: Cost
    curves: dict[str, list[tuple[int, float | None]]] = {}
    rows: list[MetricRow] = []
    environment: dict[str, Any] = {}
    data: dict[str, str] = {}
    finished: float
    external: str = ""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Metric rows of one run under one task's evaluation (`evaluation_hash` covers `evaluation`)."""

    schema: int = SCHEMA
    run_id: str
    attempt: int
    task: str
    evaluation_hash: str
    evaluation: dict[str, Any] = {}
    metrics: list[MetricRow]
    made: float


def subset(**keys: Any) -> str:
    """Canonical subset string: keys sorted, `subset(group="tail")` -> `group=tail`."""
    return ",".join(f"{key}={value}" for key, value in sorted(keys.items()))


T = TypeVar("T", RunSpec, Status, Record, Evaluation)

_decoders: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (RunSpec, Status, Record, Evaluation)
}


def decode(kind: type[T], content: bytes, path: Path) -> T:
    """Decode and validate one of the JSON files, of today's version or an older one (`suite.migrate`).

    Raises RecordError naming the file.
    """
    problem = None
    try:
        value: T = _decoders[kind].decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = error
    else:
        if _written_today(value, content):
            return value
    return _decode_older(kind, content, path, problem)


class _Version(msgspec.Struct):
    schema: int = FIRST


_decode_version = msgspec.json.Decoder(_Version).decode


def _written_today(value: Any, content: bytes) -> bool:
    if getattr(value, "schema", SCHEMA) != SCHEMA:
        return False
    # where the file says nothing, the struct says SCHEMA, and a spec nothing either
    return SCHEMA == FIRST or _decode_version(content).schema == SCHEMA


def _decode_older(kind: type[T], content: bytes, path: Path, problem: Exception | None) -> T:
    # `problem`: why it is not a valid file of today's version
    try:
        raw = msgspec.json.decode(content)
        says_version = isinstance(raw, dict) and "schema" in raw
        # a newer schema may well fail validation: say "newer" rather than the field that is missing
        if problem and version(raw) == SCHEMA and not (kind is RunSpec and says_version):
            raise RecordError(f"{path}: {problem}")
        migrated = migrate(kind.__name__, raw, SCHEMA)
        if kind is RunSpec:
            del migrated["schema"]
        # through JSON once more: what comes from an older file is validated as any other
        value: T = _decoders[kind].decode(msgspec.json.encode(migrated))
    except NotReadable as error:
        raise RecordError(f"{path}: {error}") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RecordError(f"{path}: {error}") from None
    return value


def _spec_content(spec: RunSpec) -> bytes:
    """What stands in spec.json: version 1 has no field for its version, and says so by that."""
    if SCHEMA == FIRST:
        return canonical(spec)
    return canonical({**msgspec.to_builtins(spec), "schema": SCHEMA})


def read(kind: type[T], path: Path) -> T:
    """Read one of the JSON files. Raises RecordError (FileNotFoundError if there is none)."""
    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}") from None
    return decode(kind, content, path)


def read_regular(path: Path | str) -> bytes:
    """Content of a regular file. Raises OSError for anything else: a pipe would never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return file.read()


class Attempt:
    """The folder `<root>/runs/<run_id>/<k>/` and the files in it."""

    def __init__(self, root: Path, run_id: str, number: int) -> None:
        self.root, self.run_id, self.number = root, run_id, number

    @cached_property
    def path(self) -> Path:
        return self.root / "runs" / self.run_id / str(self.number)

    def __repr__(self) -> str:
        return f"Attempt({self.path})"

    def create(self, spec: RunSpec) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / "spec.json").exists():
            write_atomic(self.path / "spec.json", _spec_content(spec))

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

    def write_predictions(self, sets: Mapping[str, Mapping[str, "np.ndarray"]]) -> None:
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

    def predictions(self) -> dict[str, dict[str, "np.ndarray"]]:
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
    schema: int = FIRST


_decode_head = msgspec.json.Decoder(_Head).decode


def finished_digest(attempt: Attempt) -> str | None:
    """Code digest of a finished attempt; None if it has no readable record."""
    path = f"{attempt.root}/runs/{attempt.run_id}/{attempt.number}/record.json"
    try:
        content = read_regular(path)
    except OSError:
        return None
    head: _Head | Record | None = None
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        head = _decode_head(content)
    if head is None or head.schema != SCHEMA:
        try:
            head = decode(Record, content, Path(path))
        except RecordError:
            return None
    return head.digest if head.run_id == attempt.run_id else None


def find_spec(root: Path, run_id: str) -> RunSpec | None:
    """The spec of a run, from the newest attempt where one can be read and is that run's."""
    for attempt in reversed(attempts(root, run_id)):
        for read_spec in (_spec_of, _recorded_spec):
            try:
                spec = read_spec(attempt)
            except (FileNotFoundError, RecordError):
                continue
            if spec.run_id == run_id:
                return spec
    return None


def _spec_of(attempt: Attempt) -> RunSpec:
    return read(RunSpec, attempt.path / "spec.json")


def _recorded_spec(attempt: Attempt) -> RunSpec:
    return attempt.record().spec


def all_attempts(root: Path) -> Iterator[Attempt]:
    """Every attempt below `root`, runs in the order of their ids."""
    try:
        names = os.listdir(root / "runs")
    except (FileNotFoundError, NotADirectoryError):
        return
    for run_id in sorted(name for name in names if RUN_ID.fullmatch(name)):
        yield from attempts(root, run_id)


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


def alive(status: Status, now: float | None = None) -> bool:
    """Whether a `running` status still beats (its process may be on another machine)."""
    age = (time.time() if now is None else now) - status.heartbeat
    # abs: a heartbeat from the future is a wrong clock or a forgery, not a sign of life
    return status.state == "running" and abs(age) < STALE_HEARTBEAT_SECONDS
