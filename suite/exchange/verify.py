"""Stored metrics against stored predictions, and a record against itself.

Every metric row of an evaluation is recomputed from the run's arrays by the task's `evaluate` and
compared. Nothing is written. The files may be a stranger's: they are read through `read_file` and
`read_arrays`, which bound what they take and follow no link.
"""

from __future__ import annotations

import ast
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.bounded import MAX_JSON, read_arrays, read_file
from suite.base.errors import RecordError, UserError
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.records.attempt import Attempt, attempts
from suite.records.files import ATTEMPT, RUN_ID, Evaluation, Record, decode
from suite.records.inputs import digest_of
from suite.records.lookup import all_attempts, find_run, newest_finished
from suite.runs.evaluate import metric_rows

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

TOLERANCE = 1e-9
"""Relative difference up to which two values count as equal. Sums are float64, and numpy adds in another
order with other vector units: that moves the 15th digit. A changed score moves far more."""


Key = tuple[str, str, str | None, int | None]
"""Metric, subset, class, step."""


# -- reading


class Watched(Mapping[str, "Array"]):
    """The arrays of a set, and the names of those that were looked at."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        found = self._arrays[name]
        self.read.add(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


# -- comparing


@dataclass(frozen=True)
class Mismatch:
    """A row that is not what the predictions give. Values as text: `no row`, `null` or the number."""

    key: Key
    stored: str
    recomputed: str

    @property
    def name(self) -> str:
        """`IoU[group=tail] class sign, step 10`."""
        metric, subset, class_, step = self.key
        text = f"{metric}[{subset}]" if subset else metric
        text += f" class {class_}" if class_ is not None else ""
        return text + (f", step {step}" if step is not None else "")


@dataclass(frozen=True)
class Compared:
    """Stored rows beside recomputed ones.

    `exact` rows are equal, `near` ones within `TOLERANCE`, `hooks` were made during training and cannot be
    recomputed (they are the record's own rows, or a mismatch).
    """

    exact: int = 0
    near: int = 0
    hooks: int = 0
    mismatches: tuple[Mismatch, ...] = ()


def compare(stored: Sequence[MetricRow], recomputed: Sequence[MetricRow]) -> Compared:
    """Compare row by row; `recomputed` repeats the record's hook rows, as `metric_rows` makes them."""
    ours, theirs = _by_key(recomputed), _by_key(stored)
    wrong = []
    if len(theirs) < len(stored):
        wrong.append(Mismatch(("", "", None, None), "a row given twice", "every row once"))
    exact = near = hooks = 0
    for key in {**theirs, **ours}:
        left, right = theirs.get(key), ours.get(key)
        if left is None or right is None or not _same(left, right):
            wrong.append(Mismatch(key, _text(left), _text(right)))
        elif left.source == "hook":
            hooks += 1
        elif left.value == right.value:
            exact += 1
        else:
            near += 1
    return Compared(exact, near, hooks, tuple(wrong))


def _by_key(rows: Iterable[MetricRow]) -> dict[Key, MetricRow]:
    return {(row.metric, row.subset, row.class_, row.step): row for row in rows}


def _same(a: MetricRow, b: MetricRow) -> bool:
    if a.source != b.source:
        return False
    if a.value is None or b.value is None or a.source == "hook":
        return a.value == b.value
    return math.isclose(a.value, b.value, rel_tol=TOLERANCE, abs_tol=0.0)


def _text(row: MetricRow | None) -> str:
    if row is None:
        return "no row"
    value = "null" if row.value is None else repr(row.value)
    return f"{value} (hook)" if row.source == "hook" else value


# -- a record against itself


def record_problems(record: Record, protocol: Protocol | None, catalog: Catalog) -> list[str]:
    """What contradicts itself, its protocol or its method's card in a record, a line each."""
    spec, cost = record.spec, record.cost
    found = []
    if spec.run_id != record.run_id:
        found.append(f"says run {record.run_id}, its spec is that of run {spec.run_id}")
    if not 0 <= spec.seed < 2**32:
        found.append("seed out of range")
    if record.attempt < 1:
        found.append(f"says attempt {record.attempt}")
    numbers = {name: getattr(cost, name) for name in cost.__struct_fields__}
    numbers |= {"finished": record.finished}
    for name, value in numbers.items():
        if not (math.isfinite(value) and 0 <= value < 2**63):
            found.append(f"{name} is {value!r}")
    counts = record.class_counts
    if any(not 0 <= count < 2**63 for count in counts):
        found.append("a class count is out of range")
    if record.classes and counts and len(record.classes) != len(counts):
        found.append(f"{len(counts)} class counts of {len(record.classes)} classes")
    if any(row.source != "hook" for row in record.rows):
        found.append("holds rows said to be made from arrays: those belong to evaluations")
    if set(record.inputs) != set(spec.inputs) or any(
        one.run_id != spec.inputs[role] for role, one in record.inputs.items()
    ):
        found.append("its input runs are not those of its spec")
    if protocol is not None:
        classes = protocol.dataset.classes
        if record.dataset != protocol.dataset.name:
            found.append(f"data set {record.dataset!r}, not {protocol.dataset.name!r}")
        if record.classes and classes and tuple(record.classes) != tuple(classes):
            found.append("its classes are not those of the protocol's data set")
        if counts and classes and len(counts) != len(classes):
            found.append(f"{len(counts)} class counts; the data set has {len(classes)} classes")
    return found + _infers_problem(record, catalog)


def _infers_problem(record: Record, catalog: Catalog) -> list[str]:
    try:
        method = catalog.method(record.spec)
    except UserError:
        return []
    if record.files != method.files:
        return []  # other code, of which nothing is known
    brings = any(_brings_infer(part.source.path) for part in method.parts)
    if brings == record.infers:
        return []
    says = "adapts stored scores" if record.infers else "does not adapt stored scores"
    return [f"says that {record.spec.method!r} {says}, which is not so"]


@cache
def _brings_infer(path: Path) -> bool:
    """Whether a baseline file defines `infer`. From its syntax: importing it may take seconds."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.asname or alias.name for alias in node.names]
        if "infer" in names:
            return True
    return False


def row_problems(rows: Iterable[MetricRow], task: Task) -> list[str]:
    """Rows that cannot be: of a metric the task has not, or a fraction outside of [0, 1]."""
    units = {metric.name: metric.unit for metric in task.metrics}
    found = []
    for row in rows:
        if row.metric not in units and row.source == "arrays":
            found.append(f"{row.key[:100]}: task {task.name!r} has no such metric")
        elif row.value is None:
            continue
        elif not math.isfinite(row.value):
            found.append(f"{row.key[:100]} is {row.value}")
        elif units.get(row.metric) == "fraction" and not -TOLERANCE <= row.value <= 1 + TOLERANCE:
            found.append(f"{row.key[:100]} = {row.value!r} is no fraction in [0, 1]")
    return found


# -- a finished attempt


@dataclass(frozen=True)
class Checked:
    """One stored evaluation. `state`: match, mismatch, version (of another version of the task or its
    settings, not compared), task (of a task not known here) or damaged; `why` says more."""

    task: str
    evaluation_hash: str
    state: str
    compared: Compared = Compared()
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """What `verify` found of one finished attempt. `problems` are lines; it `holds` where there is none,
    no evaluation contradicts the predictions and at least one was recomputed."""

    run_id: str
    attempt: int
    method: str
    protocol: str
    seed: int | None
    problems: tuple[str, ...] = ()
    evaluations: tuple[Checked, ...] = ()

    @property
    def holds(self) -> bool:
        states = {one.state for one in self.evaluations}
        return not self.problems and "match" in states and states <= {"match", "version", "task"}


@dataclass
class Found:
    """The content of a finished attempt's folder, read within bounds."""

    record: Record
    evaluations: list[Evaluation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_attempt(folder: Path) -> Found:
    """Record and evaluations of an attempt. Raises RecordError without a readable record; evaluations that
    cannot be read, or are another's, are among `problems`."""
    try:
        content = read_file(folder / "record.json", MAX_JSON)
    except FileNotFoundError:
        raise RecordError(f"{folder}: no record.json: the run is not finished") from None
    found = Found(decode(Record, content, folder / "record.json"))
    record = found.record
    for path in evaluation_files(folder):
        name = f"evaluations/{path.name}"
        try:
            evaluation = decode(Evaluation, read_file(path, MAX_JSON), path)
        except (FileNotFoundError, RecordError) as error:
            # of a message that begins with the path, what follows it
            text = str(error)
            found.problems.append(f"{name}: {text.removeprefix(f'{path}: ')}")
            continue
        if (evaluation.run_id, evaluation.attempt) != (record.run_id, record.attempt):
            found.problems.append(
                f"{name}: says run {evaluation.run_id[:40]}, attempt {evaluation.attempt}"
            )
        elif path.name != f"{evaluation.task}-{evaluation.evaluation_hash}.json":
            found.problems.append(f"{name}: is of another task or evaluation than its name says")
        else:
            found.evaluations.append(evaluation)
    return found


def evaluation_files(folder: Path) -> list[Path]:
    """Evaluation files of an attempt, sorted by name."""
    try:
        names = sorted(os.listdir(folder / "evaluations"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / "evaluations" / name for name in names if not name.startswith(".")]


def check_evaluations(
    attempt: Attempt,
    found: Found,
    predictions: Mapping[str, Mapping[str, Array]],
    protocol: Protocol,
    catalog: Catalog,
) -> tuple[list[Checked], dict[str, list[MetricRow]]]:
    """Every evaluation of an attempt, and the recomputed rows, task name -> rows. Raises nothing for what
    the files hold: an evaluation that cannot be recomputed is `damaged`."""
    checked: list[Checked] = []
    made: dict[str, list[MetricRow]] = {}
    failed: dict[str, str] = {}
    tasks = {name: t for name, t in catalog.tasks().items() if protocol in t.protocols}
    for name, task in tasks.items():
        try:
            made[name] = _recompute(attempt, found.record, predictions, task, protocol, catalog)
        except RecordError as error:
            failed[name] = str(error)
    for stored in found.evaluations:
        one = tasks.get(stored.task)
        where = stored.task, stored.evaluation_hash
        if one is None:
            checked.append(Checked(*where, "task", why="no task of that name accepts its protocol"))
            continue
        settings = one.evaluation(protocol)
        if stored.evaluation_hash != one.evaluation_hash(protocol):
            checked.append(Checked(*where, "version", why=_version(stored, settings)))
            continue
        problems = row_problems(stored.metrics, one)
        if stored.evaluation and stored.evaluation != settings:
            problems.append("its settings are not those that its hash stands for")
        if stored.task in failed:
            problems.append(f"cannot be recomputed: {failed[stored.task]}")
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            checked.append(Checked(*where, "damaged", why=problems[0] + more))
            continue
        compared = compare(stored.metrics, made[stored.task])
        state = "mismatch" if compared.mismatches else "match"
        checked.append(Checked(*where, state, compared))
    return checked, made


def _version(stored: Evaluation, settings: Mapping[str, Any]) -> str:
    before, now = stored.evaluation.get("version"), settings["version"]
    if before is not None and before != now:
        return f"made by version {str(before)[:20]} of the task, today's is {now}"
    return "made with other settings of the task than today's"


def _recompute(
    attempt: Attempt,
    record: Record,
    predictions: Mapping[str, Mapping[str, Array]],
    task: Task,
    protocol: Protocol,
    catalog: Catalog,
) -> list[MetricRow]:
    import numpy as np

    settings = task.evaluation(protocol)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            # of empty means: arrays without samples are refused or give nulls, and say so
            warnings.simplefilter("ignore", RuntimeWarning)
            return metric_rows(attempt, record, predictions, task, settings, catalog)
    except RecordError:
        raise
    except Exception as error:
        # arrays that no run stores break the arithmetic somewhere
        text = " ".join(str(error).split())[:200]
        raise RecordError(f"{type(error).__name__}: {text}") from None


def verify(attempt: Attempt, catalog: Catalog) -> Verdict:
    """Recompute the metrics of a finished attempt and look its record over; nothing is written."""
    try:
        found = read_attempt(attempt.path)
    except RecordError as error:
        return Verdict(attempt.run_id, attempt.number, "", "", None, (str(error),))
    record = found.record
    spec = record.spec
    protocol = catalog.protocols.get(spec.protocol_hash)
    problems = [*found.problems, *record_problems(record, protocol, catalog)]
    if (record.run_id, record.attempt) != (attempt.run_id, attempt.number):
        problems.append(
            f"says run {record.run_id}, attempt {record.attempt}; lies in the folder of run "
            f"{attempt.run_id}, attempt {attempt.number}"
        )
    checked: list[Checked] = []
    if protocol is None:
        problems.append(f"protocol {spec.protocol!r} ({spec.protocol_hash}) is not known here")
    else:
        try:
            predictions = read_arrays(attempt.path / "predictions.npz")
        except RecordError as error:
            problems.append(str(error))
        else:
            checked, _ = check_evaluations(attempt, found, predictions, protocol, catalog)
            if not any(one.state in ("match", "mismatch", "damaged") for one in checked):
                problems.append(
                    "no evaluation of today's version to compare: python -m suite evaluate "
                    f"{record.run_id}"
                )
    return Verdict(
        attempt.run_id,
        attempt.number,
        spec.method,
        spec.protocol,
        spec.seed,
        tuple(problems),
        tuple(checked),
    )


def today(root: Path, catalog: Catalog, record: Record) -> str:
    """Whether a record is of today's code: `same`, `other` or `unknown`."""
    try:
        digest = digest_of(root, catalog, record.spec)
        return "same" if catalog.code.same(record.digest, digest) else "other"
    except UserError:
        return "unknown"


def chosen(root: Path, names: Sequence[str]) -> list[Attempt]:
    """The attempts that `verify` is asked about: of a run id the newest finished one, of a folder every
    finished one; without names every finished one below `root`. Raises UserError."""
    if not names:
        return [attempt for attempt in all_attempts(root) if attempt.finished]
    found: list[Attempt] = []
    for name in names:
        folder = Path(name)
        if folder.is_dir() and (os.sep in name or not _is_run(root, name)):
            found += in_folder(folder.absolute())
        else:
            found.append(newest_finished(root, find_run(root, name)))
    return found


def _is_run(root: Path, name: str) -> bool:
    try:
        find_run(root, name)
    except UserError:
        return False
    return True


def in_folder(folder: Path) -> list[Attempt]:
    """Finished attempts in a results folder, in a run's folder, or the one that `folder` is. Raises
    UserError where there is none."""
    if (folder / "record.json").exists():
        parent = folder.parent.name
        run_id, number = (parent, folder.name) if RUN_ID.fullmatch(parent) else ("", "")
        if not ATTEMPT.fullmatch(number):
            record = read_attempt(folder).record
            run_id, number = record.run_id, str(record.attempt)
        attempt = Attempt(folder.parent.parent.parent, run_id, int(number))
        attempt.path = folder
        return [attempt]
    if RUN_ID.fullmatch(folder.name) and folder.parent.name == "runs":
        found = attempts(folder.parent.parent, folder.name)
    else:
        found = list(all_attempts(folder))
    found = [attempt for attempt in found if attempt.finished]
    if not found:
        raise UserError(
            f"{folder}: no finished run in it; name a folder that holds runs/<run id>/<attempt>/"
        )
    return found
