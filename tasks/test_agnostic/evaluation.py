"""Scores of a run's stored predictions under test sets of other class proportions.

Two families of test sets, both subsets of the test images (`distributions`):

- `forward-R`, `uniform`, `backward-R`: one seeded set for each imbalance ratio R (LADE, CVPR 2021; SADE,
  NeurIPS 2022). Summed up over all of them as `prior=shifts`.
- `dirichlet-forward`, `-uniform`, `-backward`: K sets drawn from each component of DirMixE's
  meta-distribution (ICML 2024), summed up for each and, over all 3 K, as `prior=dirichlet`.

A method whose scores depend on the test set (its unlabelled images, its prior) is asked for every set.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError, UserError
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.task import Predictions, Trained
from tasks.test_agnostic.distributions import read_prior
from tasks.test_agnostic.test_sets import COMPONENTS, TestSet, made_once
from tasks.vision.per_class import recalls, row
from tasks.vision.predicted import adapted, restore_views
from tasks.vision.stored import checked, plain, restore

if TYPE_CHECKING:
    import numpy as np

    from suite.boards.rescore import Shift

    Array = np.ndarray[Any, np.dtype[Any]]

VERSION = 1
RATIOS, NATURAL_RATIOS = (2, 5, 10, 25, 50), (2, 3)
"""Imbalance ratios of the shifted sets; of iNaturalist, which has three test images a class."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,60}")
_TAKEN = ("uniform", "shifts", "dirichlet")
DRAWS = 10
# sum of the Dirichlet parameters at test time: DirMixE's; that of the last three is ours
_MASS = {
    "cifar100": 100.0,
    "cifar10": 1000.0,
    "imagenet-lt": 10_000.0,
    "inat18": 100_000.0,
    "places-lt": 10_000.0,
    "fashion-mnist": 1000.0,
    "digits-lt": 100.0,
}
DATASETS = frozenset(_MASS)
"""Names of the data sets that have test distributions; protocols on others are not accepted."""


def settings(protocol: Protocol) -> dict[str, Any]:
    """The test sets, and what they are drawn with.

    `independent`: whether scores adapt to another draw than the one they are evaluated on, as DirMixE's
    released code does it.
    """
    data = protocol.dataset
    natural = data.name == "inat18"
    if data.name not in _MASS:
        raise UserError(f"data set {data.name!r} has no Dirichlet test distribution")
    return {
        "classes": len(data.classes),
        "ratios": list(NATURAL_RATIOS if natural else RATIOS),
        "dirichlet": {
            "factor": 1 / 3 if natural else 0.01,
            "mass": _MASS[data.name],
            "jitter": 0.05,
            "least": 0 if natural else 1,
        },
        "draws": DRAWS,
        "seed": 0,
        "independent": False,
    }


def shifted(protocol: Protocol, asked: Shift) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Settings for the distributions that a user asks for, and the metric keys to show.

    Ratios give `prior=forward-R` and `prior=backward-R`; priors `prior=NAME` (the largest test set of those shares) and `draw=expected`, over all images; a
    concentration gives `prior=dirichlet`, draws from Dir(ALPHA, ..., ALPHA). Neither: the task's own test
    sets with other draws. Raises UserError for a bad prior.
    """
    made = settings(protocol)
    made |= {"draws": asked.draws, "seed": asked.seed, "independent": asked.independent}
    keys: list[str] = []
    if not asked.priors and not asked.ratios and asked.dirichlet is None:
        names = (*(f"dirichlet-{kind}" for kind in COMPONENTS), "dirichlet")
        return made, tuple(
            dict.fromkeys(("top1[draw=mean,prior=dirichlet]", *_dirichlet_keys(names)))
        )
    made |= {"ratios": list(asked.ratios), "dirichlet": None}
    classes = protocol.dataset.classes
    made["priors"] = {name: list(read_prior(path, classes)) for name, path in asked.priors.items()}
    for name, path in asked.priors.items():
        # it becomes part of metric keys
        if (
            not _NAME.fullmatch(name)
            or name in _TAKEN
            or name.startswith(("forward-", "backward-"))
        ):
            raise UserError(
                f"--prior {path}: its name is that of the distribution: letters, digits, '.', '_' and '-', "
                f"and none of the task's own ({', '.join(_TAKEN)}, forward-..., backward-...)"
            )
        keys += [f"top1[draw=expected,prior={name}]", f"top1[prior={name}]"]
        keys.append(f"balanced_accuracy[prior={name}]")
    if asked.ratios:
        keys.append("top1[draw=mean,prior=shifts]")
        keys += [f"top1[prior=forward-{ratio:g}]" for ratio in asked.ratios]
        keys += [f"top1[prior=backward-{ratio:g}]" for ratio in asked.ratios]
    if asked.dirichlet is not None:
        made["dirichlet"] = {"alpha": asked.dirichlet}
        keys += _dirichlet_keys(["dirichlet"])
    return made, tuple(keys)


def _dirichlet_keys(names: Sequence[str]) -> list[str]:
    return [
        key
        for name in names
        for key in (
            f"top1[draw=mean,prior={name}]",
            f"top1_std[prior={name}]",
            f"top1[draw=worst-decile,prior={name}]",
        )
    ]


def evaluate(
    predictions: Predictions, settings: Mapping[str, Any], trained: Trained
) -> list[MetricRow]:
    """Rows of the set `test`; where the method brings its own inference, those of the stored scores beside
    it (of experts: their mean), as `scores=unadapted`.

    Of each named set: `top1` and `balanced_accuracy` of its images, and `top1[draw=expected]`, the exact
    expectation over all sets of its class shares: sum_c share_c recall_c, with recalls over all test images
    (and, of scores that depend on the set, as they are for this one). Of drawn sets: mean over the draws,
    mean of the worst tenth of them (at least one) as `draw=worst-decile`, and the sample standard
    deviation as `top1_std`.

    Raises RecordError for predictions in no stored form, class counts of another number of classes and test
    images of a class without training images.
    """
    import numpy as np

    classes = settings["classes"]
    if "test" not in predictions:
        raise RecordError("no predictions of the test set are stored")
    label, _ = checked(predictions["test"], classes)
    logits = restore(predictions["test"], classes)
    sizes = np.bincount(label, minlength=classes)
    _check_counts(trained.class_counts, sizes)
    stored = plain(logits).argmax(axis=1)
    views = restore_views(predictions, label, classes) if trained.adapts else None
    tables = {"": _Table(), "unadapted": _Table()}
    asked = json.dumps(settings, sort_keys=True)
    for test in made_once(label.tobytes(), tuple(trained.class_counts), asked):
        predicted = {"": stored}
        if trained.infer is not None and not len(test.images):
            predicted["unadapted"] = stored  # nothing to adapt to, and nothing to score
        elif trained.infer is not None:
            prior = np.bincount(label[test.images], minlength=classes) / len(test.images)
            seen = None if views is None else views[:, test.unlabelled]
            own = adapted(trained, logits, prior, seen).argmax(axis=1)
            predicted = {"": own, "unadapted": stored}
        for scores, classed in predicted.items():
            tables[scores].add(test, label, classed, classes)
    return [one for scores, table in tables.items() for one in table.rows(scores)]


def _check_counts(class_counts: Sequence[int], sizes: Array) -> None:
    if len(class_counts) != len(sizes):
        raise RecordError(
            f"the record holds training counts of {len(class_counts)} classes, the test set needs those "
            f"of {len(sizes)}"
        )
    unseen = [c for c, n in enumerate(class_counts) if not n and sizes[c]]
    if unseen:
        more = f" (and {len(unseen) - 1} more)" if len(unseen) > 1 else ""
        raise RecordError(
            f"the test set has images of class {unseen[0]}{more}, of which the training set has none"
        )


class _Table:
    """Scores of one kind on all test sets."""

    def __init__(self) -> None:
        self._named: dict[str, dict[str, float]] = {}
        self._shifts: list[float] = []
        self._drawn: dict[str, list[dict[str, float]]] = {}

    def add(self, test: TestSet, label: Array, predicted: Array, classes: int) -> None:
        import numpy as np

        here, found = label[test.images], predicted[test.images]
        # classes without an image are left out; of a set without any all is undefined
        scores = dict.fromkeys(("top1", "balanced_accuracy"), math.nan)
        if len(here):
            scores["top1"] = float((here == found).mean())
            scores["balanced_accuracy"] = float(np.nanmean(recalls(here, found, classes)))
        if test.kind == "drawn":
            self._drawn.setdefault(test.prior, []).append(scores)
            return
        recall = recalls(label, predicted, classes)
        asked = test.shares > 0
        scores["expected"] = float(test.shares[asked] @ recall[asked])
        self._named[test.prior] = scores
        if test.kind == "shift":
            self._shifts.append(scores["top1"])

    def rows(self, scores: str) -> list[MetricRow]:
        import numpy as np

        where = {"scores": scores} if scores else {}
        rows = []
        for prior, found in self._named.items():
            for metric in ("top1", "balanced_accuracy"):
                rows.append(row(metric, found[metric], {**where, "prior": prior}))
            rows.append(
                row("top1", found["expected"], {**where, "prior": prior, "draw": "expected"})
            )
        if self._shifts:
            rows.append(
                row("top1", _mean(self._shifts), {**where, "prior": "shifts", "draw": "mean"})
            )
            rows.append(
                row("top1", np.min(self._shifts), {**where, "prior": "shifts", "draw": "worst"})
            )
            rows.append(row("top1_std", _spread(self._shifts), {**where, "prior": "shifts"}))
        drawn = dict(self._drawn)
        if drawn:
            drawn["dirichlet"] = [one for draws in self._drawn.values() for one in draws]
        for prior, draws in drawn.items():
            values = sorted(one["top1"] for one in draws)
            worst = values[: max(1, len(values) // 10)]
            balanced = _mean([one["balanced_accuracy"] for one in draws])
            rows += [
                row("top1", _mean(values), {**where, "prior": prior, "draw": "mean"}),
                row("top1", _mean(worst), {**where, "prior": prior, "draw": "worst-decile"}),
                row("top1_std", _spread(values), {**where, "prior": prior}),
                row("balanced_accuracy", balanced, {**where, "prior": prior, "draw": "mean"}),
            ]
        return rows


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None of a single value."""
    import numpy as np

    return float(np.std(values, ddof=1)) if len(values) > 1 else None
