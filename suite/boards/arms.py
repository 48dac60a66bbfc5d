"""Arms of a method: rows that differ in one parameter alone, crossed with seeds.

Do they differ more than seeds do? Of the board's rows (today's code and evaluation) those of one method with different
values of the parameter and all else equal are a design; `suite.stats.components` is the test. The same test is done on
further metrics, since arms that were not optimised alike may differ for that reason alone, and without runs that did
not fit their training set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from suite.base.command import Command
from suite.base.errors import UserError, did_you_mean
from suite.boards.arm_checks import ARMS, ArmChecks
from suite.boards.arm_covariate import associate
from suite.boards.arm_rows import chosen, groups, label, makes_arm, one_value, same
from suite.boards.arm_tests import Arm, Design, Without, test_arms, words_of
from suite.boards.compare import resolved
from suite.boards.named_rows import metric_key
from suite.define.card import parse_setting
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Metric, Task
from suite.records.again import Wanted, run_commands, settings_of
from suite.records.attempt import Attempt
from suite.stats.tests import mean_interval
from suite.store.connection import connect
from suite.store.rows import Side, read_rows

CURVE = "curve:"
"""`curve:loss` in place of a metric key: the end of a run's training curve of that name."""
END_SHARE = 0.1
"""Share of a curve's points, the last ones, whose mean is its end: a single one is of one batch."""
FITTED_AT = 1 - 1e-9


@dataclass(frozen=True)
class ArmsFound:
    """What `compare --arms` found; `also` and `fitted` as in `ArmChecks`."""

    task: str
    method: str
    param: str
    metric: str
    unit: str
    also: tuple[str, ...]
    fitted: str
    designs: tuple[Design, ...]
    notes: tuple[str, ...]


def arms(
    root: Path,
    catalog: Catalog,
    task: Task,
    named: str,
    *,
    metric: str | None = None,
    also: Sequence[str] | None = None,
    fitted: str | None = None,
    without: Sequence[str] = (),
    absent: bool = False,
    only: Protocol | None = None,
) -> ArmsFound:
    """The arms METHOD.PARAM under each protocol that has two or more.

    Args:
        named: METHOD.PARAM; PARAM may be of a method that it is built on (`loss.margin`), or a role of an input run.
        metric: key; default the task's first primary.
        also: further keys, or `curve:NAME`; None for the task's (`ARMS`).
        fitted: key of the training accuracy; None for the task's, "" for none.
        without: values of arms that are shown and not tested.
        absent: whether `without` may name values that no arm has.
        only: the only protocol; default all.

    Raises UserError: unknown names, no such metric, no two arms.
    """
    method, param = named_arms(catalog, named)
    card = catalog.card_for(task, method)
    checks = ARMS.of(task) or ArmChecks()
    key, about = metric_key(task, metric)
    further = _further(task, checks.also if also is None else also, key)
    fit = _fitted(task, checks.fitted if fitted is None else fitted)
    with connect(root) as connection:
        rows = read_rows(connection, task, key, methods=[method], only=only, catalog=catalog)
        known = {*card.params, *card.needs.inputs}
        if not rows:
            if "." not in param:
                _check_param(param, named, known, ())
            raise UserError(_no_runs(catalog, task, method, param, only))
        full = {row.row_id: {**resolved(catalog, row), **row.inputs} for row in rows}
        _check_param(param, named, known, full.values())
        asked = [one for one in (*further, fit) if one and not one.startswith(CURVE)]
        ids = [row.row_id for row in rows]
        found = {
            one: {
                row.row_id: row
                for row in read_rows(connection, task, one, row_ids=ids, only=only, catalog=catalog)
            }
            for one in asked
        }
        references = (
            read_rows(connection, task, key, methods=[task.reference], only=only, catalog=catalog)
            if checks.covariate and task.reference
            else []
        )
    notes: list[str] = []
    designs_of = groups(rows, full, param, notes)
    if not designs_of:
        raise UserError(one_value(catalog, task, param, rows, full, only))
    values = [value for group in designs_of for value, _ in group]
    out = chosen(without, method, param, values, absent)
    units = {one: _metric(task, one) for one in (key, *further)}
    designs = []
    for group in designs_of:
        made = [
            _arm(root, row, value, key, further, fit, found, any(same(value, v) for v in out))
            for value, row in group
        ]
        sides = [row for _, row in group]
        design = _design(catalog, task, method, param, sides, made, units, fit)
        if checks.covariate and task.reference:
            taken = [n for n, arm in enumerate(made) if not arm.left_out]
            association = associate(
                root,
                checks.covariate,
                key,
                [made[n] for n in taken],
                [sides[n] for n in taken],
                task.reference,
                [one for one in references if one.protocol_hash == design.protocol_hash],
            )
            words = (*design.words, association.words)
            design = replace(design, words=words, association=association)
        designs.append(design)
    for one in (*further, fit):
        if one and all(v is None for d in designs for arm in d.arms for v in arm.values[one]):
            notes.append(f"{one}: no run has a value of it, so that nothing is said of it")
    designs.sort(key=lambda one: (one.protocol, len(one.beside), one.beside))
    return ArmsFound(
        task=task.name,
        method=method,
        param=param,
        metric=key,
        unit=about.unit,
        also=tuple(further),
        fitted=fit,
        designs=tuple(designs),
        notes=tuple(dict.fromkeys(notes)),
    )


def named_arms(catalog: Catalog, named: str) -> tuple[str, str]:
    """(method, parameter) of METHOD.PARAM. Raises UserError."""
    try:
        one = parse_setting(f"{named}=0", catalog.methods())
    except UserError:
        raise UserError(f"--arms {named!r}: write METHOD.PARAM, a parameter of a method") from None
    return one.method, one.key


def _further(task: Task, given: Sequence[str], key: str) -> list[str]:
    found = []
    for text in given:
        if text.startswith(CURVE):
            if text == CURVE:
                raise UserError(f"--also {text}: name a curve, such as {CURVE}loss")
            found.append(text)
        else:
            found.append(_key(task, "--also", text))
    return [one for one in dict.fromkeys(found) if one != key]


def _key(task: Task, option: str, text: str) -> str:
    try:
        return metric_key(task, text)[0]
    except UserError as error:
        raise UserError(str(error).replace("--metric", option, 1)) from None


def _fitted(task: Task, given: str) -> str:
    if not given:
        return ""
    key = _key(task, "--fitted", given)
    about = metric_key(task, key)[1]
    if about.unit != "fraction" or about.signed or not about.higher_is_better:
        raise UserError(
            f"--fitted {key}: a fraction that is 1 where a run has fitted, such as a training accuracy"
        )
    return key


def _metric(task: Task, key: str) -> Metric:
    return Metric(name=key, unit="") if key.startswith(CURVE) else metric_key(task, key)[1]


def _check_param(
    param: str, named: str, of_card: set[str], full: Iterable[Mapping[str, Any]]
) -> None:
    known = of_card.union(*full)
    if param not in known:
        raise UserError(f"--arms {named}: no such parameter{did_you_mean(param, known)}")


def _no_runs(catalog: Catalog, task: Task, method: str, param: str, only: Protocol | None) -> str:
    under = f" under {only.name}" if only else ""
    made = makes_arm(catalog, task, method, param, only.name if only else "", [])
    return f"{method} has no evaluated run of today's code for {task.name}{under}; {made}"


def _arm(
    root: Path,
    row: Side,
    value: Any,
    key: str,
    further: Sequence[str],
    fit: str,
    found: Mapping[str, Mapping[int, Side]],
    left_out: bool,
) -> Arm:
    values: dict[str, tuple[float | None, ...]] = {key: tuple(run.value for run in row.runs)}
    for one in (*further, fit):
        if one.startswith(CURVE):
            name = one.removeprefix(CURVE)
            values[one] = tuple(curve_end(root, run.run_id, run.attempt, name) for run in row.runs)
        elif one and one not in values:
            other = found[one].get(row.row_id)
            by_run = {run.run_id: run.value for run in other.runs} if other else {}
            values[one] = tuple(by_run.get(run.run_id) for run in row.runs)
    there = [v for v in values[key] if v is not None]
    interval = mean_interval(there) if there else None
    fits = values[fit] if fit else ()
    return Arm(
        label=label(value),
        value=value,
        seeds=tuple(run.seed for run in row.runs),
        runs=tuple(run.run_id for run in row.runs),
        values=values,
        mean=interval.mean if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        unfitted=tuple(
            run.seed
            for run, share in zip(row.runs, fits, strict=False)
            if share is not None and share < FITTED_AT
        ),
        left_out=left_out,
    )


def curve_end(root: Path, run_id: str, attempt: int, name: str) -> float | None:
    """Mean of the last tenth of the points of a run's curve; None where it has none, or one is not finite.

    Raises RecordError where the record cannot be read.
    """
    points = Attempt(root, run_id, attempt).record().curves.get(name, [])
    last = [value for _, value in points[-max(1, math.ceil(END_SHARE * len(points))) :]]
    there = [value for value in last if value is not None]
    return math.fsum(there) / len(there) if there and len(there) == len(last) else None


def _design(
    catalog: Catalog,
    task: Task,
    method: str,
    param: str,
    sides: Sequence[Side],
    made: Sequence[Arm],
    units: Mapping[str, Metric],
    fit: str,
) -> Design:
    first = sides[0]
    taking = [arm for arm in made if not arm.left_out]
    unfitted = [arm for arm in taking if arm.unfitted]
    variants: list[Without] = ["", *(("runs", "arms") if unfitted else ())]  # type: ignore[list-item]
    tests = tuple(
        test_arms(taking, key, about, without, param)
        for key, about in units.items()
        for without in variants
    )
    return Design(
        protocol=first.protocol,
        protocol_hash=first.protocol_hash,
        evaluation_hash=first.evaluation_hash,
        dataset=first.dataset,
        beside=_beside(catalog, task, method, param, first),
        arms=tuple(made),
        tests=tests,
        words=tuple(words_of(param, taking, tests, list(units), fit)),
        next=_missing(catalog, task, sides, taking),
    )


def _beside(catalog: Catalog, task: Task, method: str, param: str, side: Side) -> tuple[str, ...]:
    protocol = task.protocols.get(side.protocol)
    texts = settings_of(catalog, protocol, side) if protocol else None
    if texts is None:
        return (f"as run {side.runs[0].run_id}",)
    own = f"{method}.{param}"
    return tuple(text for text in texts if text.partition("=")[0] != own)


def _missing(
    catalog: Catalog, task: Task, sides: Sequence[Side], taking: Sequence[Arm]
) -> Command | None:
    """What trains the seeds that some arms lack; None where none does, or no single command would."""
    seeds = sorted({seed for arm in taking for seed in arm.seeds})
    lacking = {arm.runs for arm in taking if set(arm.seeds) != set(seeds)}
    protocol = task.protocols.get(sides[0].protocol)
    if not lacking or protocol is None:
        return None
    wanted = []
    for side in sides:
        if tuple(run.run_id for run in side.runs) not in lacking:
            continue
        texts = settings_of(catalog, protocol, side)
        if texts is None:
            return None
        needs = tuple(filter(None, side.inputs.values()))
        wanted.append(Wanted(side.method, tuple(texts), tuple(seeds), needs))
    commands = run_commands(task.name, protocol.name, wanted)
    return commands[0] if len(commands) == 1 else None
