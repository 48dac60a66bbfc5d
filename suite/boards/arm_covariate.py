"""Which arm is good? A task's covariate of the arms held against their means by rank."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from suite.base.errors import RecordError
from suite.boards.arm_checks import Covariate
from suite.boards.arm_tests import Arm, Association
from suite.define.task import Predictions
from suite.records.attempt import Attempt
from suite.stats.rank_correlation import LEAST, spearman
from suite.stats.tests import ALPHA
from suite.store.rows import Run, Side

_DIGITS = 6
"""Ranks must not order what float32 alone tells apart: a rotated frame has the cosines that it had."""


def associate(
    root: Path,
    about: Covariate,
    metric: str,
    arms: Sequence[Arm],
    sides: Sequence[Side],
    reference: str,
    references: Sequence[Side],
) -> Association:
    """Spearman's rho over arms of `about` and the mean of `metric`.

    Args:
        arms: those that are tested; `sides` their rows.
        reference: the task's reference method, and `references` its rows under the same protocol.

    An arm's number is the mean over its runs whose arrays are here.
    """
    name = f"{about.name} and {metric}"
    beside = list(_stored(root, [run for one in references for run in one.runs]))
    if not beside:
        words = f"{name}: not held against each other, which takes a run of {reference} under this protocol with its arrays"
        return Association(about.name, metric, {}, None, words)
    values: dict[str, float] = {}
    for arm, side in zip(arms, sides, strict=True):
        try:
            found = [about.value(arrays, beside) for arrays in _stored(root, side.runs)]
        except (ValueError, RecordError) as error:
            return Association(about.name, metric, {}, None, f"{name}: undefined, {error}")
        there = [one for one in found if one is not None]
        if there and arm.mean is not None:
            values[arm.label] = round(math.fsum(there) / len(there), _DIGITS)
    means = {arm.label: arm.mean for arm in arms if arm.mean is not None}
    if len(values) < LEAST:
        words = f"{name}: {len(values)} arm(s) have both, at least {LEAST} are needed"
        return Association(about.name, metric, values, None, words)
    made = spearman(list(values.values()), [means[label] for label in values])
    if made.rho is None or made.low is None or made.high is None or made.p is None:
        words = f"{name}: all arms have the same {about.name}, so that it says nothing of them"
        return Association(about.name, metric, values, None, words)
    verdict = "go together over arms" if made.p < ALPHA else "no relation over arms was found"
    words = (
        f"{name}: {verdict} (Spearman's rho {made.rho:.2f}, 95 % interval {made.low:.2f} to {made.high:.2f}, "
        f"p = {made.p:.2g}, n = {made.n} arms)"
    )
    return Association(about.name, metric, values, made, words)


def _stored(root: Path, runs: Sequence[Run]) -> Iterator[Predictions]:
    """Of the runs whose arrays are here: a tracked record may be without."""
    for run in runs:
        try:
            yield Attempt(root, run.run_id, run.attempt).predictions()
        except RecordError:
            continue
