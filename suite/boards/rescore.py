"""Stored runs under test label distributions that a user asks for: a board's rows, made in memory.

Nothing is trained and nothing is written. A run counts, and runs make a row, as in the store
(`suite/store/sql/attempts.sql`); a row is a `suite.store.row.Row`, as the store's are.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from suite.base.canonical import canonical, short_hash
from suite.base.errors import RecordError, UserError, did_you_mean
from suite.boards.stored_runs import OTHER, STALE, Run, RunsBelow, runs_below
from suite.define.catalog import Catalog
from suite.define.flags import OF_THE_RUN
from suite.define.protocol import Protocol
from suite.define.spec import RunSpec
from suite.define.task import Ability, Task, direction
from suite.records.again import settings_of_run, train_again
from suite.records.files import Record
from suite.records.lookup import find_run, find_spec, newest_finished
from suite.runs.evaluate import metric_rows, stored_predictions
from suite.stats.ranking import rank_rows
from suite.stats.tests import mean_interval
from suite.store.ranking import sample
from suite.store.row import COST, NO_CELL, Cell, MeanCost, Row

_MAX_LINEAGE = 64
"""Inputs of inputs are followed this far, as in the store."""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Test label distributions that a user asks for.

    Attributes:
        priors: name -> CSV file of class shares.
        dirichlet: concentration of each class of a symmetric Dirichlet distribution of priors, or None.
        ratios: imbalance ratios of forward and backward test sets.
        draws, seed: of drawn test sets.
        independent: whether scores that adapt to a test set adapt to another draw of it.
    """

    priors: Mapping[str, Path] = field(default_factory=dict)
    dirichlet: float | None = None
    ratios: tuple[float, ...] = ()
    draws: int = 10
    seed: int = 0
    independent: bool = False


Shifts = Callable[[Protocol, Shift], tuple[dict[str, Any], tuple[str, ...]]]
"""(protocol, distributions asked for) -> settings for `Task.evaluate` in place of `Task.settings(protocol)`,
and the metric keys to show, the ranking one first. Raises UserError for a distribution that cannot be."""
SHIFTS = Ability[Shifts]("shifts")


@dataclass(frozen=True)
class Block:
    """Rows of one protocol, and the task with the settings and metric keys that they were made with."""

    task: Task
    rows: list[Row]


@dataclass
class Rescored:
    """Blocks in the order of their protocols' names.

    Attributes:
        problems: runs that could not be scored, and files that could not be read, a line each.
        notes: what else was left out, a line each.
    """

    blocks: list[Block] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        return [row for block in self.blocks for row in block.rows]


def shifting_task(catalog: Catalog, name: str | None) -> Task:
    """The task of that name; for None the only one with test distributions. Raises UserError."""
    shifting = sorted(key for key, task in catalog.tasks().items() if SHIFTS.of(task) is not None)
    if name is not None:
        task = catalog.task(name)
        if SHIFTS.of(task) is None:
            others = f"; those that do: {', '.join(shifting)}" if shifting else ""
            raise UserError(f"task {name!r} knows no test distributions{others}")
        return task
    if len(shifting) != 1:
        found = f"there are {len(shifting)}: {', '.join(shifting)}" if shifting else "there is none"
        raise UserError(f"--task is the only task with test distributions, but {found}")
    return catalog.task(shifting[0])


def rescore(
    root: Path,
    catalog: Catalog,
    task: Task,
    asked: Shift,
    *,
    runs: Sequence[str] = (),
    protocol: Protocol | None = None,
    methods: Sequence[str] = (),
    by: str | None = None,
) -> Rescored:
    """Rows under the distributions asked for.

    Args:
        runs: ids, or their first digits. These alone are scored, and not ranked: ranks are over whole
            boards, never over a choice. Default: every counted run.
        protocol: the only one; default all of the task that have runs and that the distributions fit.
        methods: those whose rows are shown; ranks are over all methods all the same.
        by: canonical metric key that ranks; default the task's first for these distributions.

    A run that cannot be scored is a problem, and its row `partial`. Raises UserError: a run that is named
    and does not count or cannot be scored, a distribution that fits no protocol, an unknown metric key.
    """
    found = runs_below(root, catalog, task, protocol)
    if runs:
        chosen = [_named(root, catalog, task, found, run) for run in runs]
        chosen = list({run.attempt.run_id: run for run in chosen}.values())
        made = Rescored()
    else:
        chosen = list(found.counted.values())
        made = Rescored(
            problems=[line for lines in found.damaged.values() for line in lines],
            notes=_left_out(found),
        )
    under: dict[str, list[Run]] = {}
    for run in chosen:
        under.setdefault(run.protocol.name, []).append(run)
    tasks = _asked(task, asked, under, protocol, made, strict=bool(runs))
    scored: dict[str, list[Scored]] = {}
    for name, one in tasks.items():
        scored[name] = [(run, _scores(run, one, catalog, made)) for run in under.get(name, ())]
    if runs and made.problems:
        raise RecordError(made.problems[0])
    if by is not None:
        _check_key(task, by, tasks.values(), scored.values())
    for name, one in tasks.items():
        rows = _rows(root, catalog, one, scored[name], by or one.primary[0], ranked=not runs)
        shown = [row for row in rows if not methods or row.method in methods]
        if shown:
            made.blocks.append(Block(one, shown))
    for name in methods:
        if not any(row.method == name for row in made.rows):
            catalog.card_for(task, name)  # a name that nothing has: say what there is
            made.notes.append(f"no finished run of {name!r}")
    return made


Scores = dict[str, float | None]
"""Metric key -> final value of the whole set or a subset, not by class."""

Scored = tuple[Run, Scores | None]
"""None for a run that cannot be scored."""


def _left_out(found: RunsBelow) -> list[str]:
    counts = Counter(why for why in found.left_out.values() if why != OTHER)
    if not counts:
        return []
    return ["left out: " + ", ".join(f"{count} run(s) {why}" for why, count in counts.items())]


def _named(root: Path, catalog: Catalog, task: Task, found: RunsBelow, prefix: str) -> Run:
    """Raises UserError: no such run, several, or one that does not count."""
    run_id = find_run(root, prefix)
    if run_id in found.counted:
        return found.counted[run_id]
    if run_id in found.damaged:
        raise UserError(found.damaged[run_id][0])
    attempt = newest_finished(root, run_id)
    why = found.left_out.get(run_id)
    if why == STALE:
        again = train_again(root, catalog, run_id, "--stale")
        raise UserError(
            f"run {run_id} was trained with other code of {attempt.record().spec.method!r} than "
            f"today's{again}"
        )
    raise UserError(
        f"run {run_id}: its protocol {attempt.record().spec.protocol!r} is none of task {task.name!r}"
    )


def _asked(
    task: Task,
    asked: Shift,
    under: Mapping[str, Sequence[Run]],
    only: Protocol | None,
    made: Rescored,
    strict: bool,
) -> dict[str, Task]:
    """Protocol name -> the task as it is asked there, sorted by name.

    Of the protocols that have runs, those that the distributions do not fit (other classes) are noted and
    left out, unless `strict` or it is all of them: then UserError.
    """
    shifted = SHIFTS.of(task)
    assert shifted is not None
    # where nothing has run yet, a distribution that cannot be is refused all the same
    protocols = [runs[0].protocol for _, runs in sorted(under.items())]
    protocols = protocols or [only or task.protocols[task.default_protocol]]
    tasks: dict[str, Task] = {}
    notes: list[str] = []
    for protocol in protocols:
        try:
            tasks[protocol.name] = _with(task, *shifted(protocol, asked))
        except UserError as error:
            if strict or (not tasks and protocol is protocols[-1]):
                raise
            count = len(under[protocol.name])
            notes.append(f"left out: {count} run(s) under {protocol.name}: {error}")
    made.notes += notes
    return tasks


def _with(task: Task, settings: dict[str, Any], keys: tuple[str, ...]) -> Task:
    """The task with these settings for one protocol: hash, ranking key and columns follow."""
    return dataclasses.replace(task, settings=lambda _: settings, primary=keys[:1], columns=keys)


def _scores(run: Run, task: Task, catalog: Catalog, made: Rescored) -> Scores | None:
    """None, with the problem noted, for a run that cannot be scored."""
    attempt = run.attempt
    try:
        rows = metric_rows(
            attempt,
            run.record,
            stored_predictions(attempt, run.protocol, catalog),
            task,
            task.evaluation(run.protocol),
            catalog,
        )
    except RecordError as error:
        spec = run.record.spec
        made.problems.append(
            f"run {attempt.run_id} ({spec.method}, seed {spec.seed}) cannot be scored: {error}"
        )
        return None
    return {row.key: row.value for row in rows if row.class_ is None and row.step is None}


def _check_key(
    task: Task, by: str, tasks: Iterable[Task], scored: Iterable[Sequence[Scored]]
) -> None:
    known = {key for one in tasks for key in one.columns}
    known |= {key for block in scored for _, scores in block for key in scores or ()}
    known = {key for key in known if direction(task, key) is not None}
    if by not in known:
        raise UserError(f"--by {by}: task {task.name} has no such metric{did_you_mean(by, known)}")


def _rows(
    root: Path, catalog: Catalog, task: Task, scores: Sequence[Scored], key: str, ranked: bool
) -> list[Row]:
    """One block's rows, best first and those without a value last."""
    groups: dict[tuple[str, ...], list[Scored]] = {}
    for one in scores:
        groups.setdefault(_row_key(root, one[0]), []).append(one)
    # among equals by method, parameters and digest, as the store gives them
    ordered = [
        sorted(group, key=lambda one: (one[0].record.spec.seed, one[0].attempt.run_id))
        for _, group in sorted(groups.items())
    ]
    rows = [_row(root, catalog, task, group) for group in ordered]
    higher = direction(task, key) is not False
    if ranked:
        samples = [_sample(group, key) for group in ordered]
        found = rank_rows(samples, higher)
        rows = [
            replace(
                row,
                rank=place.rank,
                groups=place.groups,
                seeds_to_next=place.seeds_to_next,
                test=found.test,
            )
            for row, place in zip(rows, found.places, strict=True)
        ]

    def order(row: Row) -> tuple[bool, float]:
        mean = row.cell(key).mean
        return mean is None, 0.0 if mean is None else -mean if higher else mean

    return sorted(rows, key=order)


def _row_key(root: Path, run: Run) -> tuple[str, ...]:
    """(method, params, digest, lineage, data variant): runs that differ in none are replicates."""
    record = run.record
    spec = record.spec
    return (
        spec.method,
        canonical(spec.params).decode(),
        run.digest,
        canonical(_lineage(root, spec)).decode(),
        # comparable by eye, not to be averaged with the rest
        *(flag for flag in OF_THE_RUN if flag in record.flags),
    )


def _lineage(root: Path, spec: RunSpec, depth: int = 0) -> dict[str, str]:
    """Role -> hash of the input run without its seed; its id where the run is not here."""
    found = {}
    for role, run_id in spec.inputs.items():
        source = find_spec(root, run_id) if depth < _MAX_LINEAGE else None
        found[role] = run_id
        if source is not None:
            above = _lineage(root, source, depth + 1)
            found[role] = short_hash([source.protocol_hash, source.method, source.params, above])
    return found


def _row(root: Path, catalog: Catalog, task: Task, group: Sequence[Scored]) -> Row:
    protocol = group[0][0].protocol
    first = group[0][0].record
    sources = {role: find_spec(root, run) for role, run in first.spec.inputs.items()}
    records = [run.record for run, _ in group]
    defined = [scores for _, scores in group if scores is not None]
    keys = sorted({key for scores in defined for key in scores})
    return Row(
        task=task.name,
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        evaluation_hash=task.evaluation_hash(protocol),
        dataset=max(record.dataset for record in records),
        method=first.spec.method,
        params=first.spec.params,
        inputs={role: None if of is None else of.method for role, of in sources.items()},
        settings=settings_of_run(root, catalog, protocol, first.run_id),
        digest=group[0][0].digest,
        n=len(defined),
        state="done" if len(defined) == len(group) else "partial",
        flags=sorted({flag for record in records for flag in record.flags}),
        cost=MeanCost(**{name: _mean_cost(records, name) for name in COST}),
        runs=[run.attempt.run_id for run, _ in group],
        seeds=[record.spec.seed for record in records],
        metrics={key: _cell([scores.get(key) for scores in defined]) for key in keys},
    )


def _mean_cost(records: Sequence[Record], name: str) -> float:
    values = [
        getattr(record.cost, name)
        # what came before is part of what a run takes
        + (record.cost.input_seconds if name == "wall_seconds" else 0)
        for record in records
    ]
    return float(sum(values) / len(values))


def _cell(values: Sequence[float | None]) -> Cell:
    """A mean over some of the replicates is not the row's mean."""
    defined = [value for value in values if value is not None]
    if len(defined) < len(values):
        return NO_CELL
    mean, low, high, _ = mean_interval(defined)
    return Cell(mean, low, high)


def _sample(group: Sequence[Scored], key: str) -> dict[Hashable, float]:
    scored = [(run, scores.get(key)) for run, scores in group if scores is not None]
    return sample(
        [run.record.spec.seed for run, _ in scored],
        [run.attempt.run_id for run, _ in scored],
        [value for _, value in scored],
    )
