"""Scores of `robust-auc` from a run's stored logits: AUCs of the clean test set and of the same images corrupted.

Means are over all corruptions and severities that the protocol promises. One that is not stored is an error and no
mean over fewer; one whose AUC is undefined makes the means that hold it undefined.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError, UserError
from suite.define.metrics import MetricRow, split_key, subset
from suite.define.protocol import Protocol
from suite.define.task import Metric, Predictions, Trained
from suite.stats.tests import Interval
from tasks.robust_auc.measures import MAX_FPR, Ranking, delong, ranking
from tasks.robust_auc.stored import checked
from tasks.vision.per_class import label_digest, row

if TYPE_CHECKING:
    import numpy as np

    from suite.stats.bootstrap import Units

    Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1

METRICS = (
    Metric(
        name="auc_corrupted",
        summary="mean over all corruptions and severities of the AUC",
    ),
    Metric(
        name="auc",
        summary="area under the ROC curve, ties one half: of the clean test set, or under a corruption (mean over "
        "severities), at a severity (mean over corruptions); bound=delong-low and -high: 95 % interval over test "
        "images",
    ),
    Metric(
        name="auc_pooled",
        summary="one AUC over the scores of all corruptions and severities together; unlike the mean it is lower "
        "where a corruption shifts all scores",
    ),
    Metric(
        name="auc_worst_corruption",
        summary="AUC of the corruption that has the lowest, mean over its severities",
    ),
    Metric(
        name="auc_drop",
        higher_is_better=False,
        signed=True,
        summary="clean AUC less auc_corrupted",
    ),
    Metric(
        name="partial_auc",
        summary=f"clean AUC at false positive rates up to {MAX_FPR}, standardised (McClish 1989): .5 by chance",
    ),
    Metric(
        name="average_precision", summary="mean precision over the recalls of the clean test set"
    ),
)
PRIMARY = ("auc_corrupted", "auc")
COLUMNS = (
    "auc_corrupted",
    "auc",
    "auc_pooled",
    *(f"auc[severity={severity}]" for severity in range(1, 6)),
    "auc_drop",
)

_CORRUPTION = re.compile(r"corruption=([A-Za-z0-9_.-]+)(?:,severity=([1-9][0-9]*))?")
_SHIFT = re.compile(r"shift=([A-Za-z0-9_.-]+)")
CLEAN = "identity"
"""MNIST-C's name of the clean set, which is no corruption."""


def set_name(corruption: str, severity: int | None = None) -> str:
    """Name of the prediction set of the test images under a corruption: `corruption=fog,severity=3`; of one without
    severities `corruption=zigzag`. It is the subset of its rows too."""
    where: dict[str, Any] = {"corruption": corruption}
    return subset(**where if severity is None else {**where, "severity": severity})


def settings(protocol: Protocol) -> dict[str, Any]:
    """`classes`, and the `corruptions`, `severities` (none where corruptions have no severities) and `shifts` whose
    sets every run of the protocol stores, as the names of `Protocol.prediction_sets` say.

    Raises UserError for other than two classes, a corruption's name of another form, a clean set that is called a
    corruption, and where corruptions differ in their severities: means over both would not agree.
    """
    classes = list(protocol.dataset.classes)
    if len(classes) != 2:
        raise UserError(
            f"data set {protocol.dataset.name!r} has {len(classes)} classes, expected a negative and a positive "
            "one, in this order"
        )
    found: dict[str, set[int]] = {}
    shifts = []
    for name in protocol.prediction_sets:
        if shift := _SHIFT.fullmatch(name):
            shifts.append(shift[1])
        elif corrupted := _CORRUPTION.fullmatch(name):
            severities = found.setdefault(corrupted[1], set())
            severities.add(int(corrupted[2] or 0))
        elif name.startswith(("corruption", "severity", "shift")):
            raise UserError(
                f"protocol {protocol.name!r} promises the set {name!r}; expected "
                "corruption=NAME,severity=1, corruption=NAME or shift=NAME"
            )
    if CLEAN in found:
        raise UserError(
            f"protocol {protocol.name!r} promises corruption={CLEAN}, which is the clean set: leave it out"
        )
    first = next(iter(found), "")
    for corruption, severities in found.items():
        if severities != found[first] or (0 in severities and len(severities) > 1):
            raise UserError(
                f"protocol {protocol.name!r} promises {_listed(first, found[first])} and "
                f"{_listed(corruption, severities)}: every corruption needs the same severities, or none has any"
            )
    return {
        "classes": classes,
        "corruptions": list(found),
        "severities": sorted(found[first] - {0}) if found else [],
        "shifts": shifts,
    }


def _listed(corruption: str, severities: set[int]) -> str:
    return ", ".join(set_name(corruption, severity or None) for severity in sorted(severities))


def corrupted_sets(settings: Mapping[str, Any]) -> list[str]:
    """Names of the prediction sets that the means are over, corruption by corruption."""
    severities = settings["severities"] or [None]
    return [set_name(c, severity) for c in settings["corruptions"] for severity in severities]


def evaluate(
    predictions: Predictions, settings: Mapping[str, Any], trained: Trained
) -> list[MetricRow]:
    """Rows of the clean test set, of its corruptions, their means, and of every further set stored.

    `auc`, `partial_auc` and `average_precision` of the clean set have no subset, and those of a further set (`val`)
    `split=NAME`; `auc[bound=delong-low]` and `[bound=delong-high]` are DeLong's 95 % interval of the clean AUC
    (`measures.delong`; a row of several runs shows the means of their bounds). Corruptions: see `METRICS`;
    without any these rows are left out. Other images (`shift=NAME`): `auc[shift=NAME]`.

    Null is what is undefined (`measures`). Raises RecordError where a promised set is not stored, a set is in no
    stored form, one of a corruption holds other labels than the test set, and for a corruption that is none of the
    settings'.
    """
    images = Images.read(predictions, settings)
    rows = []
    for key, values in images.scores(None).items():
        metric, where = split_key(key)
        value = float(values[0])
        rows.append(MetricRow(metric=metric, subset=where, value=value if value == value else None))
    interval = delong(*checked(predictions, "test"))
    rows.append(row("auc", interval.low, {"bound": "delong-low"}))
    rows.append(row("auc", interval.high, {"bound": "delong-high"}))
    wanted = {"test", *corrupted_sets(settings)}
    shifts = [f"shift={name}" for name in settings["shifts"]]
    for name in dict.fromkeys([*shifts, *predictions]):
        if name in wanted:
            continue
        if name.startswith("corruption="):
            raise RecordError(
                f"stored predictions hold {name!r}, which is none of the corruptions evaluated here: "
                f"{', '.join(settings['corruptions']) or 'none'}; severities: "
                f"{', '.join(map(str, settings['severities'])) or 'none'}"
            )
        made = ranking(*checked(predictions, name))
        shift = _SHIFT.fullmatch(name)
        if shift:
            rows.append(row("auc", made.auc()[0], {"shift": shift[1]}))
            continue
        for metric, values in _clean_scores(made, None).items():
            rows.append(row(metric, values[0], {"split": name}))
    return rows


@dataclass(frozen=True, eq=False)
class Images:
    """The test images of a run, ranked clean and under every corruption.

    Attributes:
        label: (N,) uint8.
        corrupted: name of the set -> its ranking, corruption by corruption.
        pooled: of the scores of all these sets together, an image's with its weight; None without any.
        severities: of every corruption; empty where there are none.
    """

    label: Array
    clean: Ranking
    corrupted: Mapping[str, Ranking]
    pooled: Ranking | None
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]

    @classmethod
    def read(cls, predictions: Predictions, settings: Mapping[str, Any]) -> Images:
        """Raises RecordError as `evaluate` does for these sets."""
        import numpy as np

        names = corrupted_sets(settings)
        if missing := [name for name in ("test", *names) if name not in predictions]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise RecordError(
                f"stored predictions hold no set {missing[0]!r}{more} of {len(names) + 1} that are evaluated "
                "together; a mean over fewer would be another number"
            )
        label, score = checked(predictions, "test")
        scores = []
        for name in names:
            here, values = checked(predictions, name)
            if not np.array_equal(here, label):
                raise RecordError(
                    f"stored set {name!r} holds {_difference(here, label)}: expected the same images in the "
                    "same order"
                )
            scores.append(values)
        pooled = None
        if names:
            unit = np.tile(np.arange(len(label)), len(names))
            pooled = ranking(np.tile(label, len(names)), np.concatenate(scores), unit)
        return cls(
            label=label,
            clean=ranking(label, score),
            corrupted={n: ranking(label, s) for n, s in zip(names, scores, strict=True)},
            pooled=pooled,
            corruptions=tuple(settings["corruptions"]),
            severities=tuple(settings["severities"]),
        )

    def scores(self, weights: Array | None) -> dict[str, Array]:
        """Metric key -> (R,) under `weights` (R, N) of the images, the same in every condition; NaN where undefined.

        Of None each image counts once and R is 1.
        """
        import numpy as np

        found = _clean_scores(self.clean, weights)
        if self.pooled is None:
            return found
        # (R, conditions): the order of summation is that of one row, whatever R is
        every = np.stack([one.auc(weights) for one in self.corrupted.values()], axis=1)
        grid = every.reshape(len(every), len(self.corruptions), -1)
        by_corruption = _means(grid)
        mean = _means(every)
        found |= {f"auc[{name}]": every[:, k] for k, name in enumerate(self.corrupted)}
        if self.severities:
            for k, corruption in enumerate(self.corruptions):
                found[f"auc[{set_name(corruption)}]"] = by_corruption[:, k]
            by_severity = _means(grid.swapaxes(1, 2))
            for k, severity in enumerate(self.severities):
                found[f"auc[{subset(severity=severity)}]"] = by_severity[:, k]
        return found | {
            "auc_corrupted": mean,
            "auc_pooled": self.pooled.auc(weights),
            "auc_worst_corruption": by_corruption.min(axis=1),
            "auc_drop": found["auc"] - mean,
        }


def _clean_scores(made: Ranking, weights: Array | None) -> dict[str, Array]:
    return {
        "auc": made.auc(weights),
        "partial_auc": made.partial_auc(weights),
        "average_precision": made.average_precision(weights),
    }


def _means(values: Array) -> Array:
    """Over the last axis; NaN where one of the values is."""
    import numpy as np

    mean: Array = np.ascontiguousarray(values).mean(axis=-1)
    return mean


def _difference(here: Array, label: Array) -> str:
    if len(here) != len(label):
        return f"{len(here)} images, the test set {len(label)}"
    other = int((here != label).sum())
    return f"other labels than the test set for {other} of {len(label)} images"


def units(predictions: Predictions, settings: Mapping[str, Any], trained: Trained) -> Units:
    """Test images; every key of `evaluate` but DeLong's bounds and those of other images (`split`, `shift`).

    A resample holds the same images, as often, in every condition. One without an image of a class, or whose scores
    are all equal, defines no AUC. Raises RecordError as `evaluate` does.
    """
    from suite.stats.bootstrap import Units

    images = Images.read(predictions, settings)
    return Units(count=len(images.label), score=images.scores, digest=label_digest(images.label))


def clean_intervals(predictions: Predictions) -> dict[str, Interval]:
    """95 % intervals of the clean AUC of one run over its test images, by `delong` and by `bootstrap`.

    n is the number of images; no bounds where there are none (`measures.delong`) and where the AUC is undefined.
    Raises RecordError where no set `test` is stored, or in no stored form.
    """
    from suite.stats import bootstrap

    label, score = checked(predictions, "test")
    made = ranking(label, score)
    one = bootstrap.Units(
        count=len(label),
        score=lambda weights: {"auc": made.auc(weights)},
        digest=label_digest(label),
    )
    drawn = bootstrap.unit_scores([one], bootstrap.unit_weights(len(label)))
    by_delong = delong(label, score)
    by_bootstrap = bootstrap.unit_interval(drawn, "auc")
    return {
        "delong": by_delong,
        "bootstrap": by_bootstrap or Interval(by_delong.mean, None, None, len(label)),
    }


OFFERS: Mapping[str, Any] = {"units": units}
"""`Task.offers`, less the pages."""
