"""Two methods, or two runs' rows, held against each other: over seeds, protocols and test images.

What is compared are rows of the board, with today's code: runs of one protocol and one evaluation. Values
are paired by seed. Nothing here is corrected for how many pairs somebody looks at; the board's shared
ranks are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from suite.base.command import Command, Note
from suite.base.errors import UserError
from suite.base.text import plain
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Metric, Task, direction
from suite.records.attempt import Attempt
from suite.stats import tests as stats
from suite.stats.tests import Interval
from suite.store.rows import Side, metric_key, next_seeds, pair, run_command, some

if TYPE_CHECKING:
    from suite.stats.bootstrap import UnitScores

MIN_PAIRS_WILCOXON = 6
"""Below, the exact signed-rank test cannot reach 5 %: its smallest two-sided p is 2 / 2^n."""
FEW_TO_RESAMPLE = 8
"""Below so many seeds a bootstrap interval is too narrow (benchmarks/intervals.py)."""

Over = Literal["seeds", "images"]
Verdict = Literal["better", "worse", "undecided", "none"]


@dataclass(frozen=True)
class Cell:
    """One side of a comparison, as it is shown."""

    method: str
    params: Mapping[str, Any]
    digest: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """A and B under one protocol. `difference` is A - B in the metric's own unit, `n` what it is over.

    `test` names test and interval; `finding` says what follows, `next` is a command that would tell more.
    """

    protocol: str
    protocol_hash: str
    evaluation_hash: str
    dataset: str | None
    a: Cell
    b: Cell
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


def compare(
    root: Path,
    catalog: Catalog,
    task: Task,
    a: str,
    b: str,
    *,
    metric: str | None = None,
    only: Protocol | None = None,
    over: Over = "seeds",
    bootstrap: bool = False,
) -> Comparison:
    """A against B: under each protocol that has both, and over these protocols.

    Args:
        a, b: method names, or run ids (their first digits), which stand for their rows.
        metric: key; default the task's first primary.
        only: the only protocol; default all.
        over: what varies: seeds, or the test images of stored predictions.
        bootstrap: interval and p over seeds by bootstrap, not by t.

    Raises UserError; RecordError where `over` is `images` and predictions are not stored.
    """
    key, about = metric_key(task, metric)
    both, alone, notes = pair(root, catalog, task, a, b, key, only)
    higher = direction(task, key) is not False
    show = shown(about)
    lines = []
    for x, y in both:
        if over == "images":
            lines.append(_over_images(root, catalog, task, x, y, key, higher, show))
        else:
            lines.append(_over_seeds(catalog, task, x, y, higher, show, bootstrap))
    if few := sorted({line.n for line in lines if bootstrap and 1 < line.n < FEW_TO_RESAMPLE}):
        notes.append(
            f"a bootstrap interval of n = {', '.join(map(str, few))} seeds lies within their range and is too "
            "narrow: it covers at most 75 % at n = 3, 92 % at n = 5; leave --bootstrap out for t"
        )
    protocols: list[Change] = []
    if not lines:
        left = [[s for s in sides if s] for sides in zip(*alone, strict=True)]
        notes.append(
            "no protocol has both: "
            + "; ".join(
                f"{text} under {some([side.protocol for side in sides])}"
                for text, sides in zip((a, b), left, strict=True)
            )
            + "; values of different protocols are not compared"
        )
        if len(left[0]) == len(left[1]) == 1:
            protocols = protocol_changes(catalog, left[0][0], left[1][0])
        config = _config(catalog, task, left[0][0], left[1][0])
    else:
        for text, sides in zip((a, b), zip(*alone, strict=True) if alone else (), strict=False):
            if names := [side.protocol for side in sides if side]:
                notes.append(f"{text} alone: {some(names)}")
        config = _config(catalog, task, *both[0])
        if any(_config(catalog, task, *sides) != config for sides in both[1:]):
            notes.append(f"parameters are those under {lines[0].protocol}; elsewhere they differ")
    return Comparison(
        task=task.name,
        metric=key,
        higher_is_better=higher,
        unit=about.unit,
        a=a,
        b=b,
        over=over,
        lines=tuple(lines),
        overall=_overall(lines, a, b, higher, show) if len(lines) > 1 else None,
        protocols=tuple(protocols),
        config=tuple(config),
        notes=tuple(dict.fromkeys(notes)),
    )


def shown(metric: Metric) -> Callable[[float], str]:
    """How a difference of the metric is written: points of percent for fractions."""
    if metric.unit == "fraction":
        return lambda value: f"{100 * value:.2f} points"
    return lambda value: f"{value:.4g} {metric.unit}".strip()


def welch_interval(a: Sequence[float], b: Sequence[float]) -> tuple[Interval, float]:
    """(mean of a - mean of b with Welch's 95 % interval, p); two values each. See `stats.welch`."""
    import numpy as np
    from scipy.special import stdtrit

    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    parts = [0.0 if np.ptp(v) == 0 else float(v.var(ddof=1)) / len(v) for v in (x, y)]
    delta, total = float(x.mean() - y.mean()), sum(parts)
    n = min(len(x), len(y))
    if total == 0:
        return Interval(delta, delta, delta, n), stats.welch(a, b)
    shares = [part / total for part in parts]
    freedom = 1 / (shares[0] ** 2 / (len(x) - 1) + shares[1] ** 2 / (len(y) - 1))
    half = float(stdtrit(freedom, (1 + stats.LEVEL) / 2)) * total**0.5
    return Interval(delta, delta - half, delta + half, n), stats.welch(a, b)


def protocol_changes(catalog: Catalog, a: Side, b: Side) -> list[Change]:
    """Keys of the protocols' identities that differ; their hashes where one is not known here."""
    known = [catalog.protocols.get(side.protocol_hash) for side in (a, b)]
    if known[0] is None or known[1] is None:
        return [Change("hash", a.protocol_hash, b.protocol_hash)]
    x, y = known[0].identity, known[1].identity
    return [Change(key, x.get(key), y.get(key)) for key in {**x, **y} if x.get(key) != y.get(key)]


def unit_scores_of(
    root: Path,
    catalog: Catalog,
    task: Task,
    side: Side,
    weights: dict[int, Any],
    resamples: int,
) -> UnitScores:
    """Scores of a row on resamples of the test images, from the stored predictions of its runs.

    `weights` keeps the resamples by number of images: rows that share it are paired. Raises UserError where
    the task has no such bootstrap; RecordError for missing or damaged predictions.
    """
    from suite.runs.evaluate import trained
    from suite.stats import bootstrap

    if task.units is None:
        raise UserError(f"task {task.name} offers no bootstrap over test images; use --over seeds")
    protocol = next(p for p in task.protocols if p.hash == side.protocol_hash)
    units = []
    for run in side.runs:
        attempt = Attempt(root, run.run_id, run.attempt)
        predictions = attempt.predictions()
        about = trained(attempt, attempt.record(), predictions, task, catalog)
        units.append(task.units(predictions, task.evaluation(protocol), about))
    count = units[0].count
    if count not in weights:
        weights[count] = bootstrap.unit_weights(count, resamples)
    try:
        return bootstrap.unit_scores(units, weights[count])
    except ValueError as error:
        raise UserError(f"{side.method} under {side.protocol}: {error}") from None


def _over_seeds(
    catalog: Catalog,
    task: Task,
    a: Side,
    b: Side,
    higher: bool,
    show: Callable[[float], str],
    bootstrap: bool,
) -> Line:
    left, right = a.values, b.values
    common = sorted(left.keys() & right.keys())
    found: Interval | None = None
    p: float | None = None
    test = "none"
    why = ""
    if not left or not right:
        why = "; ".join(dict.fromkeys(_unpaired(side) for side in (a, b) if not side.values))
    elif stats.pairs_up(len(common), len(left), len(right)):
        gaps = [left[seed] - right[seed] for seed in common]
        found, p, test = _paired(gaps, bootstrap)
    elif min(len(left), len(right)) >= stats.MIN_REPLICATES:
        found, p = welch_interval(list(left.values()), list(right.values()))
        test = "Welch t"
    elif common:
        gaps = [left[seed] - right[seed] for seed in common]
        found = Interval(sum(gaps) / len(gaps), None, None, len(gaps))
    command = None
    if p is None and left and right:
        seeds = next_seeds(left, right, stats.MIN_REPLICATES)
        command = run_command(catalog, task, (a, b), seeds)
        why = f"{len(common)} common seed(s): no conclusion; add seeds"
    verdict = _verdict(p, found, higher)
    if p is not None and found is not None:
        why = _words(a, b, found, p, verdict, test, show)
        if test == "Welch t":
            # the board's own rule: below it, pairing throws away more than it explains
            why += f"; {len(common)} common seed(s) are too few of them for pairs"
        if verdict == "undecided":
            command = _power(task, a, b)
            why += "; seeds that would tell them apart" if command else ""
    return Line(
        protocol=a.protocol,
        protocol_hash=a.protocol_hash,
        evaluation_hash=a.evaluation_hash,
        dataset=a.dataset,
        a=_cell(a),
        b=_cell(b),
        common_seeds=tuple(common),
        test=test,
        n=found.n if found else 0,
        difference=found.mean if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        p=p,
        verdict=verdict,
        finding=why,
        next=command,
    )


def _paired(gaps: Sequence[float], bootstrap: bool) -> tuple[Interval, float, str]:
    if not bootstrap:
        return stats.mean_interval(gaps), stats.paired(gaps, [0.0] * len(gaps)), "paired t"
    from suite.stats import bootstrap as resampling

    found = resampling.bootstrap_interval(gaps, resampling.SEED_RESAMPLES)
    return found, resampling.bootstrap_p(gaps), f"paired {resampling.NAME}"


def _over_images(
    root: Path,
    catalog: Catalog,
    task: Task,
    a: Side,
    b: Side,
    key: str,
    higher: bool,
    show: Callable[[float], str],
) -> Line:
    from suite.stats import bootstrap

    weights: dict[int, Any] = {}
    x, y = (
        unit_scores_of(root, catalog, task, side, weights, bootstrap.RESAMPLES) for side in (a, b)
    )
    if key not in x.points:
        raise UserError(
            f"--over images: {key} cannot be resampled; these can: {', '.join(x.points)}"
        )
    try:
        found = bootstrap.unit_difference(x, y, key)
    except ValueError as error:
        raise UserError(f"{a.protocol}: {error}") from None
    common = sorted({run.seed for run in a.runs} & {run.seed for run in b.runs})
    test = f"paired {bootstrap.NAME} over test images"
    interval, p = found if found is not None else (None, None)
    verdict = _verdict(p, interval, higher)
    words = "undefined on these images: no conclusion"
    if interval is not None and p is not None:
        words = _words(a, b, interval, p, verdict, test, show)
        words += f", for the {len(a.runs)} and {len(b.runs)} model(s) as trained"
    return Line(
        protocol=a.protocol,
        protocol_hash=a.protocol_hash,
        evaluation_hash=a.evaluation_hash,
        dataset=a.dataset,
        a=_cell(a, bootstrap.unit_interval(x, key)),
        b=_cell(b, bootstrap.unit_interval(y, key)),
        common_seeds=tuple(common),
        test=test,
        n=x.count,
        difference=interval.mean if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p=p,
        verdict=verdict,
        finding=words,
        next=None,
    )


def _verdict(p: float | None, found: Interval | None, higher: bool) -> Verdict:
    if p is None or found is None:
        return "none"
    if p > stats.ALPHA or found.mean == 0:
        return "undecided"
    return "better" if (found.mean > 0) == higher else "worse"


def _words(
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
    if side.method != other.method:
        return plain(side.method)
    return f"{plain(side.method)} (run {side.runs[0].run_id})"


def _unpaired(side: Side) -> str:
    if not side.complete:
        return f"{plain(side.method)} has runs without a value of this metric: no conclusion"
    return (
        f"{plain(side.method)} has several runs of one seed (trained on other inputs): no pairs, no "
        "conclusion"
    )


def _cell(side: Side, interval: Interval | None = None) -> Cell:
    values = [run.value for run in side.runs if run.value is not None]
    if interval is None and values and side.complete:
        interval = stats.mean_interval(values)
    return Cell(
        method=side.method,
        params=side.params,
        digest=side.digest,
        runs=tuple(run.run_id for run in side.runs),
        seeds=tuple(run.seed for run in side.runs),
        mean=interval.mean if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
    )


def _power(task: Task, a: Side, b: Side) -> Command | None:
    """`power` with run ids where two rows are of one method. Names of strangers are in no command."""
    names = [a.method, b.method]
    if a.method == b.method:
        names = [a.runs[0].run_id, b.runs[0].run_id]
    if any(plain(name) != name or name.startswith("-") for name in names):
        return None
    return Command("power", *names, "--task", task.name, "--protocol", a.protocol)


def _overall(
    lines: Sequence[Line], a: str, b: str, higher: bool, show: Callable[[float], str]
) -> Overall | None:
    gaps = [line.difference for line in lines if line.difference is not None]
    if len(gaps) < 2:
        return None
    datasets = len({line.dataset or line.protocol for line in lines if line.difference is not None})
    mean = sum(gaps) / len(gaps)
    nonzero = sum(gap != 0 for gap in gaps)
    p = None
    if nonzero:
        from scipy.stats import wilcoxon

        p = float(wilcoxon(gaps).pvalue)
    verdict: Verdict = "undecided"
    if p is not None and p <= stats.ALPHA:
        verdict = "better" if (mean > 0) == higher else "worse"
    what = f"Wilcoxon signed rank over {len(gaps)} protocols"
    if nonzero < MIN_PAIRS_WILCOXON:
        words = (
            f"no conclusion: {what} cannot reach 5 % below {MIN_PAIRS_WILCOXON} that differ; "
            f"mean difference {show(mean)}"
        )
    elif verdict == "undecided":
        words = f"no conclusion: mean difference {show(mean)} (p = {p:.2g}, {what})"
    else:
        words = f"{plain(a)} is {verdict} than {plain(b)}: mean difference {show(mean)} (p = {p:.2g}, {what})"
    if datasets < len(gaps):
        words += (
            f"; they are on {datasets} data set(s), and protocols of one data set are not independent: "
            "the true p is larger"
        )
    return Overall(len(gaps), datasets, mean, p, verdict, words)


def _config(catalog: Catalog, task: Task, a: Side, b: Side) -> list[Change]:
    """Resolved parameters that differ, neutral values filled in; methods of inputs; code."""
    x, y = (_resolved(catalog, side) for side in (a, b))
    changes = [
        Change(f"params.{key}", x.get(key), y.get(key))
        for key in sorted({**x, **y})
        if x.get(key) != y.get(key)
    ]
    roles = sorted({**a.inputs, **b.inputs})
    changes += [
        Change(f"inputs.{role}", a.inputs.get(role), b.inputs.get(role))
        for role in roles
        if a.inputs.get(role) != b.inputs.get(role)
    ]
    if a.method != b.method:
        changes.insert(0, Change("method", a.method, b.method))
    if a.digest != b.digest:
        changes.append(Change("digest", a.digest, b.digest))
    return changes


def _resolved(catalog: Catalog, side: Side) -> dict[str, Any]:
    from suite.define.spec import RunSpec

    spec = RunSpec(
        protocol=side.protocol,
        protocol_hash=side.protocol_hash,
        method=side.method,
        params=dict(side.params),
    )
    try:
        parts = catalog.method(spec).parts
    except UserError:
        # of a method that is not here, or of an older card of it
        return dict(side.params)
    full = {
        f"{part.key}.{key}" if part.key else key: value
        for part in parts
        for key, value in part.params.items()
    }
    return {**full, **side.params}
