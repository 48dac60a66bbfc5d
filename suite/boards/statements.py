"""Published statements held against our runs: each test's result, with numbers and power.

Of an effect that a statement says is there: *supported* where it is significant in that direction; *not supported* where
the smallest effect that would matter is ruled out; else *undecided*. Of one that it says is not there the other way
round. So a test that finds nothing decides nothing, unless it would have found what matters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suite.base.command import Command
from suite.base.errors import UserError
from suite.boards.arm_rows import setting
from suite.boards.arms import arms
from suite.boards.comparison import shown
from suite.boards.named_rows import metric_key
from suite.boards.over_seeds import line_over_seeds
from suite.boards.whole_board import whole_boards
from suite.claims.compare import NOT_RUN
from suite.claims.statement import (
    ArmsTest,
    CorrelationTest,
    DifferenceTest,
    LevelTest,
    Statement,
    Test,
)
from suite.define.card import parse_setting
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.stats import rank_correlation
from suite.stats.components import POWER, arm_power
from suite.stats.power import paired_power, welch_power
from suite.stats.tests import MIN_REPLICATES, mean_interval
from suite.store.connection import connect
from suite.store.rows import Side, read_rows

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
UNTESTED = "no test"
STATUSES = {
    SUPPORTED: "our runs show what is said",
    NOT_SUPPORTED: "our runs would have shown it, and do not; or they show the opposite",
    UNDECIDED: "our runs show neither",
    NOT_RUN: "no finished and evaluated runs of ours that the test needs",
    UNTESTED: "no test of ours decides it",
}
"""Status -> what it says."""
FEW_ROWS = 5
"""Fewer rows have no correlation."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What our runs say of a statement by one of its tests (None where it has none).

    Attributes:
        estimate, low, high: difference, mean, standard deviation of arms, or rho, with its 95 % interval where there is one.
        p: of no effect. n: values, arms or rows behind it.
        power: probability that the smallest effect that matters would have been found.
        words: all of this as a line.
        next: a command that would tell more.
    """

    statement: Statement
    test: Test | None
    status: str
    words: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int = 0
    power: float | None = None
    next: Command | None = None


class _NotRun(Exception):
    """What is missing, and what would make it."""

    def __init__(self, words: str, command: Command | None = None) -> None:
        super().__init__(words)
        self.command = command


def findings(root: Path, catalog: Catalog, statements: Iterable[Statement]) -> list[Finding]:
    """A finding a test, of statements without any one that says why; from the root's store, which must be up to date
    where there is one. Raises RecordError."""
    tasks = catalog.tasks()
    found = []
    for one in statements:
        if not one.tests:
            found.append(Finding(statement=one, test=None, status=UNTESTED, words=one.untested))
        for test in one.tests:
            task = tasks.get(one.task)
            if task is None:
                words = f"there is no task {one.task} yet"
                found.append(Finding(statement=one, test=test, status=NOT_RUN, words=words))
                continue
            blank = Finding(statement=one, test=test, status=UNDECIDED, words="")
            try:
                if not root.is_dir():
                    raise _NotRun("no results here")
                found.append(_decided(root, catalog, task, test, blank))
            except _NotRun as error:
                found.append(replace(blank, status=NOT_RUN, words=str(error), next=error.command))
    return found


def _decided(root: Path, catalog: Catalog, task: Task, test: Test, blank: Finding) -> Finding:
    protocol = task.protocols[test.protocol]
    if isinstance(test, ArmsTest):
        return _arms(root, catalog, task, protocol, test, blank)
    if isinstance(test, DifferenceTest):
        return _difference(root, catalog, task, protocol, test, blank)
    if isinstance(test, LevelTest):
        return _level(root, catalog, task, protocol, test, blank)
    return _correlation(root, catalog, task, protocol, test, blank)


def status_of(expects: str, low: float | None, high: float | None, smallest: float) -> str:
    """Of an effect whose 95 % interval is low to high, 0 being none; `expects`: `above` (`positive`), `below` (`negative`)
    or `none`."""
    if low is None or high is None:
        return UNDECIDED
    if expects in ("below", "negative"):
        low, high = -high, -low
    if expects == "none":
        if -smallest < low and high < smallest:
            return SUPPORTED
        return NOT_SUPPORTED if low > 0 or high < 0 else UNDECIDED
    if low > 0:
        return SUPPORTED
    return NOT_SUPPORTED if high < smallest else UNDECIDED


def _arms(
    root: Path,
    catalog: Catalog,
    task: Task,
    protocol: Protocol,
    test: ArmsTest,
    blank: Finding,
) -> Finding:
    try:
        found = arms(
            root,
            catalog,
            task,
            f"{test.method}.{test.param}",
            metric=test.metric,
            also=test.alike,
            fitted="",
            without=test.without,
            absent=True,  # a file says what is no arm, whatever has been run
            only=protocol,
        )
    except UserError as error:
        raise _NotRun(str(error)) from None
    design = next((one for one in found.designs if not one.beside), None)
    if design is None:
        raise _NotRun(f"no arms of {test.method}.{test.param} with all else at its default")
    there = sum(not arm.left_out for arm in design.arms)
    if there < 2:
        raise _NotRun(
            f"{there} arm(s) of {test.method}.{test.param} beside {' and '.join(test.without)}: a test needs two"
        )
    made = design.tests[0]
    one = made.decided
    if one is None:
        return replace(blank, words=made.words, next=design.next)
    power = None
    if one.error_sd:
        power = arm_power(test.smallest, one.error_sd, one.arms, one.seeds, one.df_error)
    would = power is None or power >= POWER
    if one.significant:
        status = SUPPORTED if test.expects == "effect" else NOT_SUPPORTED
    elif not would:
        status = UNDECIDED
    else:
        status = NOT_SUPPORTED if test.expects == "effect" else SUPPORTED
    show = shown(metric_key(task, test.metric)[1])
    words = f"{made.words}{_power_words(power, show(test.smallest))}"
    differ = [other for other in design.tests[1:] if other.verdict == "effect"]
    if status == SUPPORTED and test.expects == "effect" and differ:
        status = UNDECIDED
        words += f"; but arms were not optimised alike: {'; '.join(one.words for one in differ)}"
    return replace(
        blank,
        status=status,
        words=words,
        estimate=one.arm_sd,
        p=one.p,
        n=one.arms,
        power=power,
        next=design.next,
    )


def _difference(
    root: Path,
    catalog: Catalog,
    task: Task,
    protocol: Protocol,
    test: DifferenceTest,
    blank: Finding,
) -> Finding:
    key, about = metric_key(task, test.metric)
    a, b = (_side(root, catalog, task, protocol, text, key) for text in (test.a, test.b))
    if a.row_id == b.row_id:
        raise _NotRun(f"{test.a} and {test.b} are the same row")
    whole = whole_boards(root, catalog, task, key, [(a, b)]).get(protocol.hash)
    line = line_over_seeds(catalog, task, a, b, True, shown(about), False, whole)
    power = _pair_power(a, b, test.smallest)
    words = f"{test.a} - {test.b}: {_number(line.difference)}"
    words += _spread(line.low, line.high, line.p, line.n, line.test)
    return replace(
        blank,
        status=status_of(test.expects, line.low, line.high, test.smallest),
        words=f"{words}{_power_words(power, shown(about)(test.smallest))}",
        estimate=line.difference,
        low=line.low,
        high=line.high,
        p=line.p,
        n=line.n,
        power=power,
        next=line.next,
    )


def _pair_power(a: Side, b: Side, smallest: float) -> float | None:
    """Of the paired test where they share seeds, else Welch's; None without a spread."""
    import numpy as np

    left, right = a.values, b.values
    common = sorted(left.keys() & right.keys())
    if len(common) >= MIN_REPLICATES:
        spread = float(np.std([left[seed] - right[seed] for seed in common], ddof=1))
        return paired_power(smallest / spread, len(common)) if spread > 0 else None
    n = min(len(left), len(right))
    if n < MIN_REPLICATES:
        return None
    spreads = tuple(float(np.std(list(of.values()), ddof=1)) for of in (left, right))
    return welch_power(smallest, (spreads[0], spreads[1]), n) if max(spreads) > 0 else None


def _level(
    root: Path,
    catalog: Catalog,
    task: Task,
    protocol: Protocol,
    test: LevelTest,
    blank: Finding,
) -> Finding:
    import numpy as np

    key, about = metric_key(task, test.metric)
    side = _side(root, catalog, task, protocol, test.method, key)
    there = [run.value for run in side.runs if run.value is not None]
    missing = len(side.runs) - len(there)
    said = f"; {missing} of {len(side.runs)} runs have no value of {key}" if missing else ""
    if missing or len(there) < MIN_REPLICATES:
        # a mean over the runs that have a value is one over a choice
        few = "" if missing else f"; {len(there)} run(s), at least {MIN_REPLICATES} are needed"
        mean = math.fsum(there) / len(there) if there else None
        return replace(
            blank,
            words=f"{key} of {test.method}: {_number(mean)}{said}{few}",
            estimate=mean,
            n=len(there),
            next=_make(catalog, task, protocol, test.method),
        )
    found = mean_interval(there)
    spread = float(np.std(there, ddof=1))
    power = paired_power(test.smallest / spread, found.n) if spread > 0 else None
    low, high = (None if end is None else end - test.bound for end in (found.low, found.high))
    words = f"{key} of {test.method}: {_number(found.mean)}"
    words += _spread(found.low, found.high, None, found.n, "t interval")
    return replace(
        blank,
        status=status_of(test.expects, low, high, test.smallest),
        words=f"{words}{_power_words(power, shown(about)(test.smallest))}",
        estimate=found.mean,
        low=found.low,
        high=found.high,
        n=found.n,
        power=power,
    )


def _correlation(
    root: Path,
    catalog: Catalog,
    task: Task,
    protocol: Protocol,
    test: CorrelationTest,
    blank: Finding,
) -> Finding:
    keys = [metric_key(task, text)[0] for text in (test.x, test.y)]
    with connect(root) as connection:
        methods = test.methods or None
        tables = [
            {
                row.row_id: row
                for row in read_rows(
                    connection, task, key, methods=methods, only=protocol, catalog=catalog
                )
            }
            for key in keys
        ]
    both = [
        row_id for row_id, row in tables[0].items() if row.complete and tables[1][row_id].complete
    ]
    if not tables[0]:
        raise _NotRun(f"no evaluated run under {protocol.name}")
    try:
        set_ = setting(
            catalog, task, protocol, [tables[0][row_id] for row_id in both], test.without
        )
    except UserError as error:
        raise _NotRun(str(error)) from None
    both = [row_id for row_id in both if row_id not in set_]
    n = len(both)
    left = f"; {len(set_)} row(s) that set {' or '.join(test.without)} are left out" if set_ else ""
    if n < FEW_ROWS:
        words = f"{n} row(s) have both {' and '.join(keys)}: at least {FEW_ROWS} are needed{left}"
        return replace(blank, words=words, n=n)
    x, y = ([_mean(table[row_id]) for row_id in both] for table in tables)
    found = rank_correlation.spearman(x, y)
    power = rank_correlation.power(test.smallest, n)
    words = f"rho of {keys[0]} and {keys[1]}: {_number(found.rho)}"
    words += _spread(found.low, found.high, found.p, n, "Spearman over rows")
    return replace(
        blank,
        status=status_of(test.expects, found.low, found.high, test.smallest),
        words=f"{words}{_power_words(power, f'{test.smallest:g}')}{left}",
        estimate=found.rho,
        low=found.low,
        high=found.high,
        p=found.p,
        n=n,
        power=power,
    )


def _mean(side: Side) -> float:
    values = [run.value for run in side.runs if run.value is not None]
    return math.fsum(values) / len(values)


def _side(
    root: Path, catalog: Catalog, task: Task, protocol: Protocol, text: str, key: str
) -> Side:
    """The row of `METHOD key=value ...`, with the defaults of today for the rest."""
    method, settings = _settings(catalog, text)
    command = _make(catalog, task, protocol, text)
    try:
        params = dict(catalog.spec(method, protocol, 0, settings).params)
        needs = dict(catalog.card(method).needs.inputs)
    except UserError as error:
        raise _NotRun(str(error)) from None
    with connect(root) as connection:
        rows = read_rows(connection, task, key, methods=[method], only=protocol, catalog=catalog)
    fitting = [row for row in rows if dict(row.params) == params and dict(row.inputs) == needs]
    if not fitting:
        raise _NotRun(f"{text} has no evaluated run of today's code under {protocol.name}", command)
    if len(fitting) > 1:
        raise _NotRun(f"{text} has {len(fitting)} rows under {protocol.name}, which are not pooled")
    return fitting[0]


def _settings(catalog: Catalog, text: str) -> tuple[str, dict[str, object]]:
    method, *settings = text.split()
    found = {}
    for one in settings:
        setting = parse_setting(f"{method}.{one}", catalog.methods())
        found[setting.key] = setting.value
    return method, found


def _make(catalog: Catalog, task: Task, protocol: Protocol, text: str) -> Command:
    method, *settings = text.split()
    words = ["run", "--task", task.name, "--protocol", protocol.name, "--method", method]
    words += [word for one in settings for word in ("--set", f"{method}.{one}")]
    return Command(*words, "--seeds", "0-4")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _spread(low: float | None, high: float | None, p: float | None, n: int, test: str) -> str:
    parts = [f"{_number(low)} to {_number(high)}"] if low is not None else []
    parts += [f"p = {p:.2g}"] if p is not None else []
    return f" ({', '.join([*parts, test, f'n = {n}'])})"


def _power_words(power: float | None, smallest: str) -> str:
    """`smallest`: as it is written in the metric's unit."""
    if power is None:
        return ""
    return f"; an effect of {smallest} would have been found with a probability of {power:.0%}"


def counted(found: Sequence[Finding]) -> str:
    """`7 tests of 5 statements: 1 supported, 6 not run`."""
    parts = []
    for status in STATUSES:
        count = sum(one.status == status for one in found)
        parts += [f"{count} {status}"] if count else []
    statements = len({id(one.statement) for one in found})
    return (
        f"{len(found)} test{'' if len(found) == 1 else 's'} of {statements} statement"
        f"{'' if statements == 1 else 's'}: {', '.join(parts)}"
    )
