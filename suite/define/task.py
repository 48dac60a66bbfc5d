"""Tasks: a question asked of stored predictions.

What only some tasks can do is an ability: an entry of `Task.offers` under a name, with a signature that
those who ask declare (`Ability`), so that abilities of further tasks change nothing here. Known names:

    units       test units for a bootstrap over them                     suite.stats.bootstrap.UNITS
    confusion   confusion of classes                                     suite.boards.confusions.CONFUSION
    groups      groups of classes that hang on the training counts       suite.boards.classes.GROUPS
    counted     what class counts and confusions count, "images"         suite.boards.classes.COUNTED
    columns     columns of a board that hang on its rows              suite.render.grid.SHOWN
    correlates  metrics that may predict a score over all runs           suite.stats.correlation.CORRELATES
    arms        what arms of a method are held against beside scores  suite.boards.arm_checks.ARMS
    shifts      test label distributions that a user asks for            suite.boards.rescore.SHIFTS
    variants    protocols made of users' configs and weights             suite.define.variants.BRING
    pages       pages of the dashboard                                   dashboard.pages.PAGES

Another name is a task's own business: its page may ask for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from suite.base.aside import aside
from suite.base.canonical import short_hash
from suite.define.metrics import MetricRow, split_key
from suite.define.protocol import Protocol
from suite.define.protocols import Protocols

if TYPE_CHECKING:
    import numpy as np

Predictions = Mapping[str, Mapping[str, "np.ndarray"]]
T = TypeVar("T")


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
        rows: those that hooks made during the training (`Record.rows`), for scores of its course.
    """

    class_counts: tuple[int, ...] = ()
    infer: Callable[..., np.ndarray] | None = None
    adapts: bool = False
    rows: tuple[MetricRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's name, whether higher is better, its unit and one line on what it is.

    A `signed` fraction is a difference of two, in [-1, 1].
    """

    name: str
    higher_is_better: bool = True
    unit: str = "fraction"
    signed: bool = False
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A question: accepted protocols, metrics, and how stored predictions are scored.

    Attributes:
        name: such as `longtail-seg`.
        question: one line.
        protocols: accepted protocols, which several tasks may share. A plain tuple will do.
        default_protocol: used when the command names none.
        metrics: every metric `evaluate` may emit.
        primary: metric keys (`mIoU[group=tail]`) in order; the first one ranks.
        columns: metric keys shown by default.
        methods: names of the methods it takes beside those whose card names it: others' methods need not know it.
        reference: the plain method that others are held against (head-tail exchange rates); "" for none.
        version: version of the metrics' code; part of the evaluation hash.
        settings: protocol -> what the evaluation depends on besides the predictions (groups, test
            distributions, draws and their seed), JSON-able.
        evaluate: (predictions, settings, trained) -> metric rows. Pure.
        infers: whether `evaluate` calls `trained.infer`; methods that bring one are refused elsewhere.
        offers: what else the task can do, by name; see above.
    """

    name: str
    question: str
    protocols: Protocols
    default_protocol: str
    metrics: tuple[Metric, ...]
    primary: tuple[str, ...]
    columns: tuple[str, ...]
    version: int
    settings: Callable[[Protocol], dict[str, Any]]
    evaluate: Callable[[Predictions, Mapping[str, Any], Trained], list[MetricRow]]
    methods: tuple[str, ...] = ()
    reference: str = ""
    infers: bool = False
    offers: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.protocols, Protocols):
            object.__setattr__(self, "protocols", Protocols(*self.protocols))

    def evaluation(self, protocol: Protocol) -> dict[str, Any]:
        """What the evaluation hash covers."""
        return {"task": self.name, "version": self.version, **self.settings(protocol)}

    def evaluation_hash(self, protocol: Protocol) -> str:
        return short_hash(self.evaluation(protocol))


@dataclass(frozen=True)
class Ability(Generic[T]):
    """An entry of `Task.offers` as those know it who ask for it.

    Attributes:
        name: its key there.
    """

    name: str

    def of(self, task: Task) -> T | None:
        """What the task offers; None where it does not."""
        found: Any = task.offers.get(self.name)
        # what it prints is no part of an answer
        answer: Any = aside()(found) if inspect.isfunction(found) else found
        return cast("T | None", answer)


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
