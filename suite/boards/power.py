"""How many more seeds would tell two methods apart, from the runs there are.

Power of the two-sided t test at 5 %: paired where the pilot runs share seeds (the noncentral t of the
difference's mean over its standard deviation), else Welch's, with equal numbers of seeds. Source: Cohen
(1988), "Statistical Power Analysis for the Behavioral Sciences", chapter 2. Adding seeds until a test
comes out significant, and looking in between, makes its 5 % more than 5 %: the number is to be run at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.base.command import Command
from suite.base.errors import UserError
from suite.base.text import plain
from suite.boards.compare import shown
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.runs.plan import make_plan
from suite.stats import tests as stats
from suite.store.rows import Side, metric_key, next_seeds, pair, run_command, settings_of

MOST_SEEDS = 1000
"""Methods that need more are as good as equal."""
FEW = 5
"""A standard deviation of fewer seeds is hardly known."""
RANGE_LEVEL = 0.8
"""Level of the interval of the effect that is turned into a range of seeds."""


@dataclass(frozen=True)
class Estimate:
    """What it takes to tell A from B.

    Attributes:
        paired: whether over common seeds; `pilot` counts the differences, or the seeds of the smaller.
        difference: mean A - B of the pilot runs; `deviation` its standard deviation over seeds.
        effect: |difference| / deviation (infinite is None).
        total: seeds that both must have; None above `MOST_SEEDS`.
        low, high: `total` at the ends of the effect's 80 % interval, which says how far the pilot can be
            trusted; None above `MOST_SEEDS`.
        power: probability that so many seeds tell them apart, if the pilot runs are right.
        reached: whether the pilot runs tell them apart already.
    """

    paired: bool
    pilot: int
    difference: float
    deviation: float
    effect: float | None
    total: int | None
    low: int | None
    high: int | None
    power: float | None
    reached: bool


@dataclass(frozen=True)
class Needed:
    """An estimate for two rows under one protocol, and what to run; see `Estimate`.

    `seeds` are to be run of both methods; what is finished among them is not trained again. `command` is
    None where there is nothing to run, or nothing here can make the runs. `settings` are its `--set` texts.
    """

    task: str
    protocol: str
    metric: str
    a: str
    b: str
    target: float
    estimate: Estimate
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    settings: tuple[str, ...]
    command: Command | None
    words: str
    warnings: tuple[str, ...]


def paired_power(effect: float, n: int) -> float:
    """Probability that a two-sided paired t test over n >= 2 pairs has p <= 5 %.

    `effect` is |mean| / standard deviation of the differences, >= 0.
    """
    return _power(effect * n**0.5, n - 1)


def welch_power(difference: float, deviations: tuple[float, float], n: int) -> float:
    """The same for Welch's t test with n >= 2 values each; one deviation must be above 0.

    Its degrees of freedom are Satterthwaite's at the given deviations.
    """
    a, b = (deviation**2 / n for deviation in deviations)
    freedom = (a + b) ** 2 * (n - 1) / (a * a + b * b)
    return _power(abs(difference) / (a + b) ** 0.5, freedom)


def _power(noncentrality: float, freedom: float) -> float:
    from scipy.special import stdtrit

    bar = float(stdtrit(freedom, 1 - stats.ALPHA / 2))
    missed = _below(bar, freedom, noncentrality) - _below(-bar, freedom, noncentrality)
    return min(1.0, max(0.0, 1 - missed))


def _below(t: float, freedom: float, noncentrality: float) -> float:
    """P(T <= t) of the noncentral t distribution."""
    from scipy.special import nctdtr

    value = float(nctdtr(freedom, noncentrality, t))
    return value if value == value else _below_far(t, freedom, noncentrality)


def _below_far(t: float, freedom: float, noncentrality: float) -> float:
    """The same where scipy has no value (NaN from about 11 on): the mean of P(Z + noncentrality <= t S)
    over 4,000 quantiles of S, a chi over the root of its degrees of freedom."""
    import numpy as np
    from scipy.special import gammaincinv, ndtr

    share = (np.arange(4000) + 0.5) / 4000
    spread = np.sqrt(2 * gammaincinv(freedom / 2, share) / freedom)
    return float(ndtr(t * spread - noncentrality).mean())


def effect_interval(t: float, n: int, level: float = RANGE_LEVEL) -> tuple[float, float]:
    """Interval of the effect of n pairs whose t statistic is `t` >= 0; low is 0 where it holds none.

    Those effects whose noncentral t distribution has `t` neither in its lower nor in its upper tail.
    Source: Steiger and Fouladi (1997), "Noncentrality Interval Estimation".
    """
    share = (1 - level) / 2
    root: float = n**0.5

    def solve(target: float) -> float:
        low, high = 0.0, 4 * t + 10
        for _ in range(60):
            # P(T <= t) falls with the noncentrality
            middle = (low + high) / 2
            if _below(t, n - 1, middle) > target:
                low = middle
            else:
                high = middle
        return (low + high) / (2 * root)

    return solve(1 - share), solve(share)


def paired_seeds(effect: float, target: float, most: int = MOST_SEEDS) -> int | None:
    """Smallest number of pairs, at least `stats.MIN_REPLICATES`, with that power; None above `most`."""
    return _smallest(lambda n: paired_power(effect, n), target, most)


def estimate(a: Mapping[int, float], b: Mapping[int, float], target: float) -> Estimate:
    """From the pilot runs of two rows, seed -> value.

    Paired where they have two common seeds, else Welch's, which needs two values each. Raises ValueError
    for fewer.
    """
    common = sorted(a.keys() & b.keys())
    if len(common) >= 2:
        return _paired([a[seed] - b[seed] for seed in common], target)
    if min(len(a), len(b)) < 2:
        raise ValueError("too few pilot runs")
    return _unpaired(list(a.values()), list(b.values()), target)


def _paired(gaps: Sequence[float], target: float) -> Estimate:
    import numpy as np

    n, mean = len(gaps), float(np.mean(gaps))
    deviation = 0.0 if min(gaps) == max(gaps) else float(np.std(gaps, ddof=1))
    reached = n >= stats.MIN_REPLICATES and stats.paired(gaps, [0.0] * n) <= stats.ALPHA
    if deviation == 0:
        total = None if mean == 0 else stats.MIN_REPLICATES
        return Estimate(
            True, n, mean, 0.0, None if mean else 0.0, total, total, total, None, reached
        )
    effect = abs(mean) / deviation
    weak, strong = effect_interval(effect * n**0.5, n)
    total = paired_seeds(effect, target)
    return Estimate(
        paired=True,
        pilot=n,
        difference=mean,
        deviation=deviation,
        effect=effect,
        total=total,
        low=paired_seeds(strong, target),
        high=paired_seeds(weak, target),
        power=None if total is None else paired_power(effect, total),
        reached=reached,
    )


def _unpaired(a: Sequence[float], b: Sequence[float], target: float) -> Estimate:
    import numpy as np

    n = min(len(a), len(b))
    difference = float(np.mean(a) - np.mean(b))
    spreads = [0.0 if min(v) == max(v) else float(np.std(v, ddof=1)) for v in (a, b)]
    deviation = (spreads[0] ** 2 + spreads[1] ** 2) ** 0.5
    reached = n >= stats.MIN_REPLICATES and stats.welch(a, b) <= stats.ALPHA
    if deviation == 0:
        total = None if difference == 0 else stats.MIN_REPLICATES
        effect = None if difference else 0.0
        return Estimate(False, n, difference, 0.0, effect, total, total, total, None, reached)

    def power(size: int, scale: float = 1.0) -> float:
        return welch_power(difference * scale, (spreads[0], spreads[1]), size)

    total = _smallest(power, target, MOST_SEEDS)
    effect = abs(difference) / deviation
    weak, strong = effect_interval(effect * n**0.5, n)

    def at(scale: float) -> int | None:
        """Seeds needed if the difference were so many times the pilot's."""
        return _smallest(lambda size: power(size, scale), target, MOST_SEEDS) if scale else None

    return Estimate(
        paired=False,
        pilot=n,
        difference=difference,
        deviation=deviation,
        effect=effect,
        total=total,
        low=at(strong / effect if effect else 0.0),
        high=at(weak / effect if effect else 0.0),
        power=None if total is None else power(total),
        reached=reached,
    )


def _smallest(power: Callable[[int], float], target: float, most: int) -> int | None:
    """Smallest n in `MIN_REPLICATES`..`most` with power(n) >= target; power must grow with n."""
    low, high = stats.MIN_REPLICATES, most
    if power(high) < target:
        return None
    while low < high:
        middle = (low + high) // 2
        if power(middle) >= target:
            high = middle
        else:
            low = middle + 1
    return low


def needed(
    root: Path,
    catalog: Catalog,
    task: Task,
    a: str,
    b: str,
    *,
    protocol: Protocol,
    metric: str | None = None,
    target: float = 0.8,
) -> Needed:
    """What would tell A from B under the protocol with power `target`; from the store's runs.

    `a` and `b` are method names or run ids. Raises UserError: unknown names, a protocol without runs of
    both, too few pilot runs (with the command that makes some), a target outside of (0.05, 1).
    """
    if not stats.ALPHA < target < 1:
        raise UserError(f"--power {target:g}: a probability above {stats.ALPHA} and below 1")
    key, about = metric_key(task, metric)
    both, _, notes = pair(root, catalog, task, a, b, key, protocol)
    if not both:
        raise UserError(f"{a!r} and {b!r} have no runs under {protocol.name} both")
    x, y = both[0]
    for side in (x, y):
        if not side.values:
            raise UserError(
                f"{plain(side.method)} has runs without a value of {key}, or several of one seed: no estimate"
            )
    try:
        found = estimate(x.values, y.values, target)
    except ValueError:
        pilot = run_command(
            catalog, task, (x, y), next_seeds(x.values, y.values, stats.MIN_REPLICATES)
        )
        more = f"; type {pilot}" if pilot else ""
        raise UserError(
            f"{a} and {b} have {len(x.values)} and {len(y.values)} run(s): an estimate needs two common "
            f"seeds, better {FEW}{more}"
        ) from None
    seeds: list[int] = []
    if found.total is not None and not found.reached:
        seeds = next_seeds(x.values, y.values, found.total)
    command = run_command(catalog, task, (x, y), seeds) if seeds else None
    if command and not _same_rows(root, catalog, task, protocol, (x, y)):
        command = None
    settings = [settings_of(catalog, protocol, side) or [] for side in (x, y)] if command else []
    warnings = [*_warnings(found), *notes]
    if seeds and command is None:
        warnings.append(
            "these runs cannot be made by one command here: "
            "two rows of one method, or parameters or inputs that are not today's card's"
        )
    return Needed(
        task=task.name,
        protocol=protocol.name,
        metric=key,
        a=a,
        b=b,
        target=target,
        estimate=found,
        seeds=tuple(seeds),
        methods=tuple(dict.fromkeys((x.method, y.method))) if command else (),
        settings=tuple(text for texts in settings for text in texts),
        command=command,
        words=_words(found, plain(a), plain(b), target, len(seeds), shown(about)),
        warnings=tuple(warnings),
    )


def _same_rows(
    root: Path, catalog: Catalog, task: Task, protocol: Protocol, sides: Sequence[Side]
) -> bool:
    """Whether `run` would plan the pilot runs themselves: their row is what it adds seeds to."""
    settings = [text for side in sides for text in settings_of(catalog, protocol, side) or []]
    seeds = [side.runs[0].seed for side in sides]
    try:
        plan = make_plan(
            root,
            catalog,
            task,
            protocol,
            methods=[side.method for side in sides],
            seeds=seeds,
            settings=settings,
        )
    except UserError:
        return False
    planned = {item.spec.run_id for item in plan.items}
    return all(side.runs[0].run_id in planned for side in sides)


def _warnings(found: Estimate) -> list[str]:
    warnings = []
    if found.pilot < FEW:
        pairs = "common seeds" if found.paired else "seeds"
        warnings.append(
            f"rests on {found.pilot} {pairs}: too few to know the spread; run {FEW} first, or take the "
            "number for its order of magnitude"
        )
    if not found.paired:
        warnings.append("no common seeds: with the same seeds for both, fewer may do")
    return warnings


def _words(
    found: Estimate, a: str, b: str, target: float, more: int, show: Callable[[float], str]
) -> str:
    basis = (
        f"{a} - {b} is {show(found.difference)}, standard deviation {show(found.deviation)} over "
        f"{found.pilot} {'common seeds' if found.paired else 'seeds each'}"
    )
    if found.reached:
        return f"the runs there are tell them apart already ({basis})"
    if found.deviation == 0 and found.total is None:
        return f"equal in every seed: no number of seeds tells them apart ({basis})"
    if found.total is None:
        return f"more than {MOST_SEEDS} seeds: as good as equal ({basis})"
    if found.deviation == 0:
        text = "the difference is the same in every seed"
    else:
        low = f"more than {MOST_SEEDS}" if found.low is None else str(found.low)
        high = f"more than {MOST_SEEDS}" if found.high is None else str(found.high)
        text = f"{RANGE_LEVEL:.0%} range of that number: {low} to {high}"
    if not more:
        return (
            f"{found.total} seeds each, which they have: the runs there are fell short by chance, or the "
            f"difference is smaller than it looks ({basis}; {text})"
        )
    return (
        f"{more} more seed(s), {found.total} in all, tell them apart with probability {target:.0%} "
        f"({basis}; {text})"
    )
