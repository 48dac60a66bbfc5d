"""What a comparison of two rows finds, and how it is said in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from suite.base.command import Command, Note
from suite.base.text import plain
from suite.define.task import Metric
from suite.stats.tests import ALPHA, Interval, mean_interval
from suite.store.row import inputs_text
from suite.store.rows import Side

Over = Literal["seeds", "images"]
Verdict = Literal["better", "worse", "undecided", "none"]


@dataclass(frozen=True)
class SideSummary:
    """One side of a comparison, as it is shown."""

    method: str
    params: Mapping[str, Any]
    digest: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    mean: float | None
    low: float | None
    high: float | None
    inputs: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its method, and those of its input runs."""
        return self.method + inputs_text(self.inputs)


@dataclass(frozen=True)
class Line:
    """A and B under one protocol. `difference` is A - B in the metric's own unit, `n` what it is over.

    `test` names test and interval; `finding` says what follows, `next` is a command that would tell more. `p` is of
    this one comparison; `apart_on_board` is the board's own verdict, all its pairs taken together (None where one
    of the two is not ranked).
    """

    protocol: str
    protocol_hash: str
    evaluation_hash: str
    dataset: str | None
    a: SideSummary
    b: SideSummary
    common_seeds: tuple[int, ...]
    test: str
    n: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    verdict: Verdict
    finding: str
    next: Command | None
    apart_on_board: bool | None = None

    @property
    def words(self) -> str:
        """What follows, and what to type."""
        return str(Note(self.finding, self.next))


@dataclass(frozen=True)
class Overall:
    """Wilcoxon's signed-rank test over protocols; `difference` is the mean of theirs."""

    protocols: int
    datasets: int
    difference: float
    p: float | None
    verdict: Verdict
    words: str


@dataclass(frozen=True)
class Change:
    """What differs: a key of a protocol's identity, a parameter, or what else a row is made of."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; see `Line`, `Overall` and `Change`."""

    task: str
    metric: str
    higher_is_better: bool
    unit: str
    a: str
    b: str
    over: Over
    lines: tuple[Line, ...]
    overall: Overall | None
    protocols: tuple[Change, ...]
    config: tuple[Change, ...]
    notes: tuple[str, ...] = ()


def shown(metric: Metric) -> Callable[[float], str]:
    """How a difference of the metric is written: points of percent for fractions."""
    if metric.unit == "fraction":
        return lambda value: f"{100 * value:.2f} points"
    return lambda value: f"{value:.4g} {metric.unit}".strip()


def verdict_of(p: float | None, found: Interval | None, higher: bool) -> Verdict:
    if p is None or found is None:
        return "none"
    if p > ALPHA or found.mean == 0:
        return "undecided"
    return "better" if (found.mean > 0) == higher else "worse"


def finding_of(
    a: Side,
    b: Side,
    found: Interval,
    p: float,
    verdict: Verdict,
    test: str,
    show: Callable[[float], str],
) -> str:
    first, second = _name(a, b), _name(b, a)
    what = f"p = {p:.2g}, {test}, n = {found.n}"
    if verdict in ("better", "worse"):
        return f"{first} is {verdict} than {second} by {show(abs(found.mean))} ({what})"
    return f"no conclusion: {first} - {second} is {show(found.mean)} ({what})"


def _name(side: Side, other: Side) -> str:
    first, second = (plain(one.method + inputs_text(one.inputs)) for one in (side, other))
    return first if first != second else f"{first} (run {side.runs[0].run_id})"


def summary(side: Side, interval: Interval | None = None) -> SideSummary:
    values = [run.value for run in side.runs if run.value is not None]
    if interval is None and values and side.complete:
        interval = mean_interval(values)
    return SideSummary(
        method=side.method,
        params=side.params,
        digest=side.digest,
        runs=tuple(run.run_id for run in side.runs),
        seeds=tuple(run.seed for run in side.runs),
        mean=interval.mean if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        inputs=side.inputs,
    )
