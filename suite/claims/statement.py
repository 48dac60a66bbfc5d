"""A published statement without a number of ours to hold it against: its words, its source, and the tests that decide it."""

from dataclasses import dataclass
from typing import Literal

import msgspec

from suite.claims.claim import Source


class _Test(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """What every test has: a protocol of ours, and the smallest effect that would matter, in its own unit (of fractions,
    .005 is half a point). What is smaller may be there and change nothing: it says when a test that finds nothing had
    the power to."""

    protocol: str
    smallest: float


class ArmsTest(_Test, frozen=True, kw_only=True, tag="arms"):
    """Whether rows of `method` that differ in `param` alone differ in `metric` beyond seeds (`compare --arms`).

    `smallest` is a standard deviation of arms; `without` are values that are no arms. Where arms differ in a metric of
    `alike` too, an effect is not held for what is said: they were not optimised alike.
    """

    method: str
    param: str
    metric: str
    expects: Literal["effect", "none"]
    without: list[str] = []
    alike: list[str] = []


class DifferenceTest(_Test, frozen=True, kw_only=True, tag="difference"):
    """Whether the metric of `a` is above, below or as that of `b`: methods, with parameters behind (`ce lr=0.1`)."""

    a: str
    b: str
    metric: str
    expects: Literal["above", "below", "none"]


class LevelTest(_Test, frozen=True, kw_only=True, tag="level"):
    """Whether a method's metric lies above or below `bound`, in the mean over seeds."""

    method: str
    metric: str
    bound: float
    expects: Literal["above", "below"]


class CorrelationTest(_Test, frozen=True, kw_only=True, tag="correlation"):
    """Spearman's correlation of two metrics, over the means of the protocol's rows; `methods`: of these alone.

    `without` are parameters: rows that set one of them away from its default are left out. Arms of one method are
    replicates of one point, not points of their own: with them n and power would grow, and the interval shrink, by
    trying a method more often.
    """

    x: str
    y: str
    expects: Literal["positive", "negative", "none"]
    methods: list[str] = []
    without: list[str] = []


Test = ArmsTest | DifferenceTest | LevelTest | CorrelationTest


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One published statement.

    Attributes:
        source, file, location: who says it, the file that says so, and where.
        text: what is said, in our words.
        task: of ours; it may be one that does not exist yet.
        objections: what has been held against it, which is printed with every result.
        tests: what decides it, each with a result of its own; none where `untested` says why.
        verified, tag: see `suite.claims.claim.VERIFIED`.
    """

    source: Source
    file: str
    location: str
    text: str
    task: str
    objections: tuple[str, ...]
    tests: tuple[Test, ...]
    untested: str
    verified: bool
    tag: str

    @property
    def name(self) -> str:
        """The source in a word: its file's name."""
        return self.file.removesuffix(".toml")

    @property
    def methods(self) -> set[str]:
        """The methods that its tests name."""
        return {method for test in self.tests for method in methods_of(test)}


def methods_of(test: Test) -> list[str]:
    """The methods that a test names."""
    if isinstance(test, DifferenceTest):
        return [side.partition(" ")[0] for side in (test.a, test.b)]
    if isinstance(test, CorrelationTest):
        return list(test.methods)
    return [test.method.partition(" ")[0]]


def metrics_of(test: Test) -> list[str]:
    """The metric keys that a test looks at."""
    if isinstance(test, CorrelationTest):
        return [test.x, test.y]
    return [test.metric, *(test.alike if isinstance(test, ArmsTest) else ())]


def spoken(test: Test) -> str:
    """A test in a few words: `arms focal.gamma: effect on top1 (at least 0.005)`."""
    least = f"at least {test.smallest:g}"
    if isinstance(test, ArmsTest):
        what = "no effect" if test.expects == "none" else "effect"
        return f"arms {test.method}.{test.param}: {what} on {test.metric} ({least})"
    if isinstance(test, DifferenceTest):
        what = "as" if test.expects == "none" else f"{test.expects} that of"
        return f"{test.metric} of {test.a} {what} {test.b} ({least})"
    if isinstance(test, LevelTest):
        return f"{test.metric} of {test.method} {test.expects} {test.bound:g} ({least})"
    verbs = {"positive": "rises with", "negative": "falls with", "none": "does not go with"}
    rows = f"rows without {' and '.join(test.without)}" if test.without else "rows"
    return f"{test.y} {verbs[test.expects]} {test.x} over {rows} (rho {least})"
