"""What a task says of arms (`Task.offers["arms"]`); apart from the tests, since tasks are imported by every command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from suite.define.task import Ability, Predictions


@dataclass(frozen=True, kw_only=True)
class Covariate:
    """A number of each arm that may say which arm scores better.

    Attributes:
        name: what it is called, such as `alignment`.
        value: (prediction sets of an arm's run, those of each run of the task's reference method under the protocol) ->
            the number; None where the run has none. Raises ValueError where it is undefined, RecordError for arrays in
            no stored form.
    """

    name: str
    value: Callable[[Predictions, Sequence[Predictions]], float | None]


@dataclass(frozen=True, kw_only=True)
class ArmChecks:
    """What a task holds arms against beside what it ranks by.

    Attributes:
        covariate: held against the arms' means by rank, since an analysis of variance does not say which arm is good.
        also: metric keys, or `curve:NAME`, that say how a run was optimised.
        fitted: key of the training accuracy, a fraction: below 1 a run has not fitted its training set. "" for none.
    """

    also: tuple[str, ...] = ()
    fitted: str = ""
    covariate: Covariate | None = None


ARMS = Ability[ArmChecks]("arms")
