"""Scores of `neural-collapse`: test accuracy from stored logits, the geometry of the last layer from stored arrays, and
the terminal phase from what was tracked.

Training sets are balanced, so there are no groups of classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from suite.boards.arm_checks import ArmChecks, Covariate
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.task import Metric, Predictions, Trained
from suite.stats.correlation import Correlates
from tasks.neural_collapse.course import terminal_rows
from tasks.vision.geometry import rows as geometry
from tasks.vision.geometry.stored import SETS, TRAIN
from tasks.vision.per_class import class_rows, confusion, label_digest, recalls, row
from tasks.vision.predicted import predict

if TYPE_CHECKING:
    import numpy as np

    from suite.stats.bootstrap import Units

    Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1

_OWN = (
    Metric(
        name="top1",
        summary="share of images that are right; without a split of the whole test set; at the training images a tie "
        "is no hit",
    ),
    Metric(name="recall", summary="share of a class's test images that are right"),
    Metric(name="worst_class", summary="recall of the worst class"),
    Metric(
        name="nll",
        higher_is_better=False,
        unit="nats",
        summary="mean negative log-likelihood of the true class, of images as the last layer's geometry is; of logits of "
        "another scale it says nothing",
    ),
    Metric(
        name="tpt_start",
        higher_is_better=False,
        summary="share of the training at the first tracked point with training accuracy 1 that is never left again",
    ),
    Metric(
        name="tpt_gain",
        signed=True,
        summary="test accuracy at the end of the training less that at tpt_start, of the test images that are tracked",
    ),
    Metric(
        name="tpt_rho",
        unit="",  # a rank correlation, and no share
        higher_is_better=False,
        summary="Spearman correlation of log nc1[split=train] with test accuracy over the tracked points from tpt_start "
        "on: -1 where accuracy rises as features collapse",
    ),
)
METRICS = (*_OWN, *geometry.METRICS)
PRIMARY = ("top1", "tpt_gain", "nc1[split=train]", "margin_norm[split=train]")
COLUMNS = (
    "top1",
    "top1[split=train]",
    "tpt_start",
    "tpt_gain",
    "nc1[split=train]",
    "nc1[split=test]",
    "nc2_means[split=train]",
    "nc2_weights[split=train]",
    "nc3[split=train]",
    "nc4[split=test]",
    "max_cos[split=train]",
    "margin_norm[split=train]",
)


def settings(protocol: Protocol) -> dict[str, Any]:
    """The classes. Raises nothing: there are no groups that thresholds could be wanting for."""
    return {"classes": list(protocol.dataset.classes), "groups": {}}


def evaluate(
    predictions: Predictions, settings: Mapping[str, Any], trained: Trained
) -> list[MetricRow]:
    """Rows of the test set, of further sets of logits (`split=val`), of the geometry of training and test images
    (`split=train`, `split=test`), and of the terminal phase, which come from the hook's rows.

    Raises RecordError for arrays in no stored form.
    """
    names = settings["classes"]
    rows: list[MetricRow] = []
    for name, arrays in predictions.items():
        if name in SETS:
            rows += geometry.rows(name, arrays, names, {}, trained.class_counts)
            continue
        rows += _accuracy(*predict({"test": arrays}, len(names), trained), names, name)
    return rows + terminal_rows(trained.rows)


def _accuracy(label: Array, predicted: Array, names: list[str], split: str) -> list[MetricRow]:
    import numpy as np

    where = {} if split == "test" else {"split": split}
    recall = recalls(label, predicted, len(names))
    return [
        row("top1", (label == predicted).mean(), where),
        row("worst_class", np.nanmin(recall), where),
        *class_rows("recall", recall, names, where),
    ]


def units(predictions: Predictions, settings: Mapping[str, Any], trained: Trained) -> Units:
    """Test images; keys `top1` and `worst_class`. A class that a resample does not hold is left out. Raises RecordError
    as `predict`."""
    import numpy as np

    from suite.stats.bootstrap import Units
    from tasks.vision.per_class import row_minima

    classes = len(settings["classes"])
    label, predicted = predict(predictions, classes, trained)
    cell = 2 * label + (predicted == label)

    def score(weights: Array) -> dict[str, Array]:
        mass = np.stack([np.bincount(cell, one, 2 * classes) for one in np.asarray(weights)])
        hit, total = mass[:, 1::2], mass[:, ::2] + mass[:, 1::2]
        with np.errstate(divide="ignore", invalid="ignore"):
            overall = hit.sum(axis=1) / total.sum(axis=1)
            return {"top1": overall, "worst_class": row_minima(hit / total)}

    return Units(count=len(label), score=score, digest=label_digest(label))


CORRELATES = Correlates(
    of="top1",
    by=(
        "nc1[split=train]",
        "cdnv[split=train]",
        "margin_norm[split=train]",
        "margin_min[split=train]",
        "nc1[split=test]",
    ),
    arms=("permutation", "rotation"),
)
"""What collapse and margins may say of the accuracy."""


def _alignment(predictions: Predictions, references: Sequence[Predictions]) -> float | None:
    """How far classes that the reference method confuses are neighbours on the run's classifier; None without one.

    Raises RecordError for arrays in no stored form, ValueError as `alignment_of`.
    """
    import numpy as np

    from tasks.vision.geometry.alignment import alignment_of

    weight = predictions.get(TRAIN, {}).get("weight")
    if weight is None:
        return None
    classes = len(weight)
    counts = np.zeros((classes, classes), np.int64)
    for one in references:
        label, predicted = predict(one, classes, Trained())
        np.add.at(counts, (label, predicted), 1)
    return alignment_of(weight, counts)


ARMS = ArmChecks(
    also=(
        "nc1[split=train]",
        "nll[split=train]",
        "nc2_means[split=train]",
        "margin_norm[split=train]",
    ),
    fitted="top1[split=train]",
    covariate=Covariate(name="alignment", value=_alignment),
)
"""Arms that differ here differ in optimisation, and not in generalisation alone."""
OFFERS: Mapping[str, Any] = {
    "units": units,
    "confusion": confusion,
    "correlates": CORRELATES,
    "arms": ARMS,
}
"""`Task.offers`."""
