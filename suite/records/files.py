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

import re
import time
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec

from suite.base.bounded import read_regular
from suite.base.canonical import canonical
from suite.base.errors import RecordError
from suite.define.metrics import MetricRow
from suite.define.spec import RunSpec
from suite.records.migrate import FIRST, NotReadable, migrate, version

ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")
RUN_ID = re.compile(r"[0-9a-f]{12}")

SCHEMA = 1
"""Version of record.json, status.json, spec.json and evaluation files. Raised when a reader must change,
together with what `suite.records.migrate` needs to read the older ones (and `suite.store.connection.STORE_SCHEMA`, since a
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
        digest: code digest of the run's method and of its input runs (`suite.records.inputs.digest_of`).
        files: path (relative to its package's parent) -> sha256 of each file behind `digest`.
        infers: whether scores go through the method's own `infer` (README, "A method of your own").
        inputs: role -> the run that filled it.
        warnings: what the method had to say of its settings.
        dataset: name of the training data set.
        flags: fairness flags, see `suite.define.flags`.
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


T = TypeVar("T", RunSpec, Status, Record, Evaluation)

_decoders: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (RunSpec, Status, Record, Evaluation)
}


def decode(kind: type[T], content: bytes, path: Path) -> T:
    """Decode and validate one of the JSON files, of today's version or an older one (`suite.records.migrate`).

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


def alive(status: Status, now: float | None = None) -> bool:
    """Whether a `running` status still beats (its process may be on another machine)."""
    age = (time.time() if now is None else now) - status.heartbeat
    # abs: a heartbeat from the future is a wrong clock or a forgery, not a sign of life
    return status.state == "running" and abs(age) < STALE_HEARTBEAT_SECONDS
