"""One design's tests: its arms on every metric, with and without runs that did not fit, and what follows in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from suite.base.command import Command
from suite.boards.comparison import shown
from suite.boards.named_rows import listed
from suite.define.spec import spelled
from suite.define.task import Metric
from suite.stats.components import POWER, Anova, Components, components
from suite.stats.rank_correlation import Correlation
from suite.stats.tests import MIN_REPLICATES

Without = Literal["", "runs", "arms"]
"""What a test leaves out: nothing; runs that did not fit; all runs of arms that have such a one."""
ENOUGH_ARMS = 6
"""Of fewer arms a spread is hardly known."""
Verdict = Literal["effect", "none found", "untested"]


@dataclass(frozen=True)
class Arm:
    """A row: the value of the parameter, and its runs.

    Attributes:
        label: the value as `--set` takes it.
        values: metric key -> a value a run, None where it has none; in the order of `seeds`.
        mean, low, high: of the first metric, with the 95 % interval.
        unfitted: seeds whose run has not fitted its training set.
        left_out: whether `--without` leaves it out of the tests.
    """

    label: str
    value: Any
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    values: Mapping[str, tuple[float | None, ...]]
    mean: float | None
    low: float | None
    high: float | None
    unfitted: tuple[int, ...]
    left_out: bool


@dataclass(frozen=True)
class Test:
    """The arms tested on one metric. `decides` is the analysis that the verdict is of: the crossed one where there is
    one, whatever the values."""

    metric: str
    unit: str
    without: Without
    one_way: Anova | None
    crossed: Anova | None
    decides: Literal["crossed", "one-way", ""]
    verdict: Verdict
    left_out: str
    words: str

    @property
    def decided(self) -> Anova | None:
        return self.crossed or self.one_way


@dataclass(frozen=True)
class Association:
    """A task's covariate and the arms' means: Spearman's rho over arms, and `words` for it. `found` is None where fewer
    than `LEAST` arms (`stats.rank_correlation`) have both, or all have one number."""

    covariate: str
    metric: str
    values: Mapping[str, float]
    found: Correlation | None
    words: str


@dataclass(frozen=True)
class Design:
    """Arms under one protocol, all else equal. `beside`: what else is set in all of them, as `--set` texts; `words`: what
    follows; `next`: a command that trains missing runs; `association`: with the task's covariate, if it names one."""

    protocol: str
    protocol_hash: str
    evaluation_hash: str
    dataset: str | None
    beside: tuple[str, ...]
    arms: tuple[Arm, ...]
    tests: tuple[Test, ...]
    words: tuple[str, ...]
    next: Command | None
    association: Association | None = None

    def test(self, metric: str, without: Without = "") -> Test | None:
        """The test on that metric, if it was done."""
        return next((t for t in self.tests if (t.metric, t.without) == (metric, without)), None)


def test_arms(taking: Sequence[Arm], key: str, about: Metric, without: Without, param: str) -> Test:
    table: dict[str, dict[int, float | None]] = {}
    for arm in taking:
        if without == "arms" and arm.unfitted:
            continue
        table[arm.label] = {
            seed: value
            for seed, value in zip(arm.seeds, arm.values[key], strict=True)
            if not (without == "runs" and seed in arm.unfitted)
        }
    found = components(table)
    decided = found.decides
    verdict: Verdict = "untested"
    if decided is not None:
        verdict = "effect" if decided.significant else "none found"
    show = shown(about)
    return Test(
        metric=key,
        unit=about.unit,
        without=without,
        one_way=found.one_way,
        crossed=found.crossed,
        decides="" if decided is None else decided.kind,
        verdict=verdict,
        left_out=found.left_out,
        words=_said(found, key, param, show),
    )


def numbers(one: Anova) -> str:
    """`F(7, 21) = 5.2, p = 0.0012`."""
    f = (
        "infinite"
        if one.f is None and one.p == 0
        else "undefined"
        if one.f is None
        else f"{one.f:.3g}"
    )
    return f"F({one.df_arm}, {one.df_error}) = {f}, p = {one.p:.2g}"


def _said(found: Components, key: str, param: str, show: Callable[[float], str]) -> str:
    one = found.decides
    if one is None:
        return f"{key}: no test, which needs two arms, one of them with two seeds"
    basis = f"{numbers(one)}, {one.kind}, {one.arms} arms x {one.seeds:.3g} seeds"
    if found.crossed and found.one_way:
        basis += f"; one-way {numbers(found.one_way)}"
    if one.icc is None:
        return f"{key}: all values are equal"
    if not one.significant:
        text = f"{key}: no effect of {param} beyond seeds was found ({basis})"
        if one.detectable is not None:
            text += (
                f"; {show(one.detectable)} (s.d. of arms) would have been found with a probability of {POWER:.0%}, "
                "so that an effect much larger is not there, and of smaller ones nothing is said"
            )
        return text
    share = f"{100 * one.icc:.0f} % of the variance"
    if one.low is not None and one.high is not None:
        share += f", 95 % interval {100 * one.low:.0f} to {100 * one.high:.0f} %"
    return f"{key}: arms of {param} differ beyond seeds by {show(one.arm_sd)} (s.d. of arms; {share}; {basis})"


def words_of(
    param: str, taking: Sequence[Arm], tests: Sequence[Test], keys: Sequence[str], fit: str
) -> list[str]:
    """What follows: the test itself, those of the further metrics, what did not fit, and all together."""
    of = {(test.metric, test.without): test for test in tests}
    main = of[keys[0], ""]
    words = [main.words]
    words += [of[key, ""].words for key in keys[1:]]
    decided = main.decided
    if decided is not None and (decided.arms < ENOUGH_ARMS or decided.seeds < MIN_REPLICATES):
        words.append(
            f"{decided.arms} arms x {decided.seeds:.3g} seeds are few: of less than {ENOUGH_ARMS} x {MIN_REPLICATES} "
            "neither the spread of arms nor that of seeds is known"
        )
    if main.left_out:
        words.append(f"left out: {main.left_out}")
    unfitted = [arm for arm in taking if arm.unfitted]
    if unfitted:
        runs = sum(len(arm.unfitted) for arm in unfitted)
        which = listed([f"{arm.label} seeds {spelled(arm.unfitted)}" for arm in unfitted])
        words.append(f"{runs} run(s) of {len(unfitted)} arm(s) have {fit} below 1: {which}")
        words.append(f"without these runs, {of[keys[0], 'runs'].words}")
        words.append(f"without these arms, {of[keys[0], 'arms'].words}")
    elif fit and any(share is not None for arm in taking for share in arm.values[fit]):
        words.append(f"every run has {fit} = 1")
    conclusion = _conclusion(param, main, [of[key, ""] for key in keys[1:]])
    if conclusion:
        words.append(conclusion)
    if unfitted:
        changed = [
            w for w in ("runs", "arms") if of[keys[0], w].verdict not in (main.verdict, "untested")
        ]
        if changed:
            words.append(
                f"the verdict on {keys[0]} rests on runs that did not fit: without them it is another"
            )
    if any(arm.value is None for arm in taking) and len(taking) > 2:
        words.append(
            f"the arm {param}=none is among them: if it is the untreated one and no draw like the others, leave it "
            "out with --without none"
        )
    return words


def _conclusion(param: str, main: Test, also: Sequence[Test]) -> str:
    tested = [test for test in also if test.verdict != "untested"]
    differ = [test.metric for test in tested if test.verdict == "effect"]
    alike = [test.metric for test in tested if test.verdict == "none found"]
    if main.verdict == "untested" or not tested:
        return ""
    if differ:
        text = f"arms differ in optimisation ({', '.join(differ)})"
        if main.verdict == "effect":
            return f"{text}: what separates them in {main.metric} need not be generalisation"
        return f"{text}, and not in {main.metric} as far as could be seen"
    if main.verdict == "effect":
        return (
            f"arms are optimised alike as far as could be seen ({', '.join(alike)}), and differ in {main.metric}: "
            "an effect on generalisation"
        )
    return f"arms are alike as far as could be seen, in {', '.join([main.metric, *alike])}"
