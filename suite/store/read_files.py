"""From the files of the runs to columns: read them, refuse the bad ones by name.

Reading changes nothing. What a file says about itself must agree with where it lies, since a record
may come from a stranger or have been copied by hand.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from suite.base.errors import RecordError
from suite.define.spec import RunSpec
from suite.records.files import Evaluation, Record, Status, decode
from suite.store.scan import ATTEMPT_FILES, NOT_OURS, UNREADABLE, Stamp, is_attempt_file

_json = msgspec.json.Encoder(order="sorted").encode
"""`base.canonical` without its check: what came from JSON has no NaN."""

MAX_BYTES = 1 << 28
"""Larger JSON files are refused unread: no honest one comes near."""


class Refused(NamedTuple):
    """A file that is not in the store: its path below the root, and why."""

    path: str
    reason: str


@dataclass
class Batch:
    """Rows read from some files, as in the tables of the same names; `metrics` column by column."""

    facts: list[tuple[Any, ...]] = field(default_factory=list)
    evaluations: list[tuple[Any, ...]] = field(default_factory=list)
    metrics: tuple[list[Any], ...] = field(default_factory=lambda: tuple([] for _ in range(7)))
    refused: list[Refused] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def read_files(
    root: Path, paths: Iterable[str], present: Mapping[str, Stamp], next_id: int
) -> Batch:
    """Read `paths`, named as `scan` names them, an attempt's files all or none.

    `present` tells which files stand beside them; `next_id` numbers the first evaluation.
    """
    batch = Batch()
    attempts: dict[str, None] = {}
    for path in paths:
        if present[path] == NOT_OURS:
            batch.refused.append(Refused(path, _why_not_ours(path)))
        elif present[path] == UNREADABLE:
            batch.refused.append(Refused(path, "may not be read by this user"))
        elif "/evaluations/" in path:
            next_id += _read_evaluation(root, path, next_id, batch)
        if is_attempt_file(path):
            attempts[path.rpartition("/")[0]] = None
    for folder in attempts:
        _read_attempt(root, folder, present, batch)
    return batch


def _why_not_ours(path: str) -> str:
    parts = path.rstrip("/").split("/")
    if path.endswith("/"):
        return "not a run id" if len(parts) == 2 else "not an attempt number"
    return "not a regular file, or a name that is not UTF-8"


def _content(root: Path, path: str, batch: Batch) -> bytes | None:
    """None, with the reason noted, where the file cannot be read; None alone where it is gone."""
    try:
        content = _bytes(f"{root}/{path}")
    except FileNotFoundError:
        batch.unread.append(path)
        return None
    except OSError as error:
        batch.unread.append(path)
        batch.refused.append(Refused(path, f"cannot be read ({error.strerror})"))
        return None
    if len(content) > MAX_BYTES:
        batch.refused.append(Refused(path, f"larger than {MAX_BYTES >> 20} MiB"))
        return None
    return content


def _bytes(path: str) -> bytes:
    # bare system calls: there are ten thousands of small files, and `open` costs more than reading
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        content = os.read(descriptor, 1 << 16)
        if len(content) == 1 << 16:
            with open(descriptor, "rb", closefd=False) as file:
                content += file.read(MAX_BYTES + 1 - len(content))
        return content
    finally:
        os.close(descriptor)


_NAMES = {kind: Path(kind.__name__) for kind in (RunSpec, Status, Record, Evaluation)}


def _decoded(kind: Any, root: Path, path: str, batch: Batch) -> Any:
    content = _content(root, path, batch)
    if content is None:
        return None
    try:
        return decode(kind, content, _NAMES[kind])
    except RecordError as error:
        batch.refused.append(Refused(path, str(error).partition(": ")[2]))
        return None


def _read_attempt(root: Path, folder: str, present: Mapping[str, Stamp], batch: Batch) -> None:
    """One row of `facts` from the record, or, without a valid one, from the spec and the status."""
    _, run_id, number = folder.split("/")
    readable = {}
    for name in ATTEMPT_FILES:
        path = f"{folder}/{name}"
        if present.get(path, NOT_OURS) != NOT_OURS:
            readable[name] = path
    status: Status | None = None
    record: Record | None = None
    spec: RunSpec | None = None
    if "status.json" in readable:
        status = _decoded(Status, root, readable["status.json"], batch)
    if "record.json" in readable:
        record = _decoded(Record, root, readable["record.json"], batch)
        problem = record and _disagreement(record, run_id, int(number))
        if problem:
            batch.refused.append(Refused(readable["record.json"], problem))
            record = None
    if record is not None:
        spec = record.spec
    elif "spec.json" in readable or os.path.isfile(f"{root}/{folder}/spec.json"):
        readable["spec.json"] = f"{folder}/spec.json"
        spec = _decoded(RunSpec, root, readable["spec.json"], batch)
        if spec is not None and spec.run_id != run_id:
            reason = f"describes run {spec.run_id}, lies in the folder of {run_id}"
            batch.refused.append(Refused(readable["spec.json"], reason))
            spec = None
    if spec is None:
        if status is not None:
            reason = "no valid record.json or spec.json beside it"
            batch.refused.append(Refused(readable["status.json"], reason))
        return
    try:
        row = _facts(run_id, int(number), spec, record, status)
        if not _fits(row):
            raise ValueError("a number is out of the 64-bit range")
    except ValueError as error:
        name = "record.json" if record is not None else "spec.json"
        batch.refused.append(Refused(readable[name], str(error)))
        return
    batch.facts.append(row)


def _disagreement(record: Record, run_id: str, number: int) -> str | None:
    if record.run_id != run_id:
        return f"says run {record.run_id}, lies in the folder of {run_id}"
    if record.attempt != number:
        return f"says attempt {record.attempt}, lies in the folder of attempt {number}"
    if record.spec.run_id != run_id:
        return f"its spec is that of run {record.spec.run_id}, not of {run_id}"
    return None


def _facts(
    run_id: str, number: int, spec: RunSpec, record: Record | None, status: Status | None
) -> tuple[Any, ...]:
    if record is not None:
        state = "done"
    elif status is None or status.state == "done":
        # killed before its first heartbeat, or done by its status while its record is not valid
        state = "stopped"
    else:
        state = status.state
    failure = status.failure if status is not None and state == "failed" else None
    cost = record.cost if record is not None else None
    live = (status.step, status.total, status.heartbeat, status.started) if status else (None,) * 4
    return (
        run_id,
        number,
        spec.protocol,
        spec.protocol_hash,
        record.dataset if record else None,
        spec.method,
        _json(spec.params).decode(),
        _json(spec.inputs).decode(),
        spec.seed,
        record.digest if record else status.digest if status else "",
        record is not None,
        state,
        failure.kind if failure else None,
        failure.message if failure else None,
        failure.step if failure else None,
        sorted(set(record.flags)) if record else [],
        _imbalance(record.class_counts) if record else None,
        *live,
        record.finished if record else None,
        status.restarts if status else None,
        status.host if status else None,
        *(_cost(cost) if cost else (None,) * 9),
    )


def _imbalance(counts: Sequence[int]) -> float | None:
    """Of the classes that have samples; None without any. A count may be a stranger's."""
    known = [count for count in counts if 0 < count < 1 << 63]
    return max(known) / min(known) if known else None


_cost = attrgetter(
    "parameters",
    "passes_per_step",
    "iterations",
    "samples_seen",
    "train_seconds",
    "wall_seconds",
    "gpu_hours",
    "peak_memory_bytes",
    "input_seconds",
)


def _fits(row: Iterable[Any]) -> bool:
    # JSON integers have no bound, columns do: one stranger's file must not stop the whole ingest
    return all(-(1 << 63) <= value < 1 << 63 for value in row if type(value) is int)


_values = attrgetter("metric", "subset", "class_", "step", "value", "source")


def _read_evaluation(root: Path, path: str, evaluation_id: int, batch: Batch) -> bool:
    _, run_id, number, _, name = path.split("/")
    evaluation: Evaluation | None = _decoded(Evaluation, root, path, batch)
    if evaluation is None:
        return False
    columns = list(zip(*map(_values, evaluation.metrics), strict=True)) or [()] * 6
    problem = None
    if (evaluation.run_id, evaluation.attempt) != (run_id, int(number)):
        problem = f"says run {evaluation.run_id}, attempt {evaluation.attempt}"
    elif name != f"{evaluation.task}-{evaluation.evaluation_hash}.json":
        problem = f"says task {evaluation.task!r}, evaluation {evaluation.evaluation_hash!r}"
    elif len(set(zip(*columns[:4], strict=True))) != len(evaluation.metrics):
        problem = "a metric is given twice for one subset, class and step"
    elif not _fits(set(columns[3])):
        problem = "a step is out of the 64-bit range"
    if problem:
        batch.refused.append(Refused(path, problem))
        return False
    batch.evaluations.append(
        (
            evaluation_id,
            path,
            run_id,
            int(number),
            evaluation.task,
            evaluation.evaluation_hash,
            _json(evaluation.evaluation).decode(),
            evaluation.made,
        )
    )
    batch.metrics[0].extend([evaluation_id] * len(evaluation.metrics))
    for column, values in zip(batch.metrics[1:], columns, strict=True):
        column.extend(values)
    return True
