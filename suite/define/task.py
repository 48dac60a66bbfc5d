"""Tasks: a question asked of stored predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.canonical import short_hash
from suite.define.metrics import MetricRow, split_key
from suite.define.protocol import Protocol

if TYPE_CHECKING:
    import numpy as np

Predictions = Mapping[str, Mapping[str, "np.ndarray"]]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What scores may depend on besides predictions and settings: the run itself.

    Attributes:
        class_counts: training count per class, as recorded.
        infer: the method's inference on stored arrays, `infer(arrays, prior=None, unlabelled=None)
            -> scores (N, C)`; None where it has none. `prior` (C,) is the class prior of the test
            distribution, `unlabelled` the arrays of its inputs; what the method does not take is
            dropped. The task evaluates the un-adapted scores beside it, as `scores=unadapted`.
        adapts: whether `infer` takes `unlabelled`.
    """

    class_counts: tuple[int, ...] = ()
    infer: Callable[..., np.ndarray] | None = None
    adapts: bool = False


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


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's name, whether higher is better, its unit and one line on what it is."""

    name: str
    higher_is_better: bool = True
    unit: str = "fraction"
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class Units:
    """The test units (images) of one run, for a bootstrap over them.

    Attributes:
        count: number of units N.
        score: weights (R, N), how often each of R resamples holds each unit, >= 0 -> metric key -> (R,)
            float64, NaN where a resample does not define it. Ones give the rows of `evaluate` exactly.
        digest: what the units are (their labels, in order): resamples of two runs are paired only if equal.
    """

    count: int
    score: Callable[[np.ndarray], dict[str, np.ndarray]]
    digest: str


@dataclass(frozen=True)
class Initial:
    """Initial weights: a `.safetensors` or torch file, and the SHA-256 it must have."""

    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Bring:
    """How a task makes protocols of what users bring (`suite.define.variants`).

    Attributes:
        read: (config file, base protocol, whether initial weights are given) -> settings as JSON data, and
            lines on what was left out. Executes the file. Raises UserError.
        check: (base, settings or None, initial weights or None) -> lines for the user. Tries out what is
            about to be trained: builds the network, reads the weights. Raises UserError.
        make: (base, settings or None, initial weights or None) -> protocol. Nothing heavy: neither data nor
            weights are read. Its `recipe` is a digest of the settings alone; name, `init` and the digest
            with the base's are put in by the caller. The settings may be a stranger's: raises UserError
            for whatever `read` does not give.
        taken: settings -> what they replace, in words (`network, schedule`).
    """

    read: Callable[[Path, Protocol, bool], tuple[dict[str, Any], tuple[str, ...]]]
    check: Callable[[Protocol, Mapping[str, Any] | None, Initial | None], list[str]]
    make: Callable[[Protocol, Mapping[str, Any] | None, Initial | None], Protocol]
    taken: Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A question: accepted protocols, metrics, and how stored predictions are scored.

    Attributes:
        name: such as `longtail-seg`.
        question: one line.
        protocols: accepted protocols; one object may be shared by several tasks.
        default_protocol: used when the command names none.
        metrics: every metric `evaluate` may emit.
        primary: metric keys (`mIoU[group=tail]`) in order; the first one ranks.
        columns: metric keys shown by default.
        reference: the plain method that others are held against (head-tail exchange rates); "" for none.
        version: version of the metrics' code; part of the evaluation hash.
        settings: protocol -> what the evaluation depends on besides the predictions (groups, test
            distributions, draws and their seed), JSON-able.
        evaluate: (predictions, settings, trained) -> metric rows. Pure.
        shifted: (protocol, distributions asked for) -> settings for `evaluate` in place of
            `settings(protocol)`, and the metric keys to show, the ranking one first. Raises UserError for
            a distribution that cannot be. None: the task knows no test distributions.
        infers: whether `evaluate` calls `trained.infer`; methods that bring one are refused elsewhere.
        units: (predictions, settings, trained) -> test units, for the metrics that can be weighted by unit.
            Pure. None: the task offers no bootstrap over test units.
        confusion: (predictions, settings, trained) -> (C, C) int64, units of the set `test` by (true,
            predicted) class, of the scores whose rows carry no subset. Pure. Raises RecordError as
            `evaluate` does. None: the task has no classes to confuse.
        groups: (settings, training counts) -> group name -> class ids, as `evaluate` groups them. Raises
            RecordError for counts of other classes. None: the data set's own.
        counted: what training counts per class and confusions count: `images` or `pixels`.
        bring: makes variants of its protocols from users' config files and initial weights. None: takes none.
    """

    name: str
    question: str
    protocols: tuple[Protocol, ...]
    default_protocol: str
    metrics: tuple[Metric, ...]
    primary: tuple[str, ...]
    columns: tuple[str, ...]
    version: int
    settings: Callable[[Protocol], dict[str, Any]]
    evaluate: Callable[[Predictions, Mapping[str, Any], Trained], list[MetricRow]]
    shifted: Callable[[Protocol, Shift], tuple[dict[str, Any], tuple[str, ...]]] | None = None
    reference: str = ""
    infers: bool = False
    units: Callable[[Predictions, Mapping[str, Any], Trained], Units] | None = None
    confusion: Callable[[Predictions, Mapping[str, Any], Trained], np.ndarray] | None = None
    groups: Callable[[Mapping[str, Any], Sequence[int]], Mapping[str, Sequence[int]]] | None = None
    counted: str = "images"
    bring: Bring | None = None

    def evaluation(self, protocol: Protocol) -> dict[str, Any]:
        """What the evaluation hash covers."""
        return {"task": self.name, "version": self.version, **self.settings(protocol)}

    def evaluation_hash(self, protocol: Protocol) -> str:
        return short_hash(self.evaluation(protocol))


def direction(task: Task, key: str) -> bool | None:
    """Whether higher is better for a metric key; None where the task has no such metric."""
    metric = split_key(key)[0]
    return next((m.higher_is_better for m in task.metrics if m.name == metric), None)


def default_keys(tasks: Mapping[str, Task]) -> dict[tuple[str, str], bool]:
    """The keys ranked at ingest: what each task ranks by and what it shows. Others on demand."""
    wanted = {}
    for name, task in tasks.items():
        for key in (*task.primary, *task.columns):
            higher = direction(task, key)
            if higher is not None:
                wanted[name, key] = higher
    return wanted
