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
from suite.base.errors import RecordError
from suite.define.metrics import MetricRow
from suite.define.spec import RunSpec
from suite.records.states import AttemptState

ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")
RUN_ID = re.compile(r"[0-9a-f]{12}")

SCHEMA = 1
"""Version of record.json, status.json and evaluation files, and of the spec.json beside them. Raised when a
reader must change, together with `suite.store.connection.STORE_SCHEMA`, since a store does not read again
what it has refused."""

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
    state: AttemptState
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
    """Decode and validate one of the JSON files.

    Raises RecordError naming the file: malformed, or of another version than `SCHEMA`.
    """
    try:
        value: T = _decoders[kind].decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # a newer version may well fail validation: say "newer" rather than the field that is missing
        raise RecordError(f"{path}: {_other_version(content) or error}") from None
    # a spec says no version
    if getattr(value, "schema", SCHEMA) != SCHEMA:
        raise RecordError(f"{path}: {_other_version(content)}")
    return value


def _other_version(content: bytes) -> str | None:
    """What is wrong with the version that a file says it is of; None if nothing is, or it is no JSON."""
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return "no JSON object"
    schema = value.get("schema", SCHEMA)
    # True == 1, and 1.0 too
    if type(schema) is int and schema == SCHEMA:
        return None
    if type(schema) is int and schema > SCHEMA:
        return f"schema {schema} is newer than this suite's {SCHEMA}; update longtail-suite"
    return f"schema {schema!r:.40} is not supported"


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
