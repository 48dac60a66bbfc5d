"""Scores of `multimodal` from a run's stored logits and features: of the fused prediction, of each modality alone, and of
what a linear probe reads from each modality's features.

A modality alone is seen in three ways: its own logits (`modality=M`), which FiLM and gated fusion do not have; the fused
logits with all others left out (`missing=zero,modality=M`: their features are zero, or their votes are left out), which
every fusion has that takes missing modalities; and its probe, which every run has. Group scores are unweighted means over
the group's classes, classes without a test sample left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.base.errors import UserError
from suite.define.metrics import MetricRow, split_key, subset
from suite.define.protocol import Protocol
from suite.define.task import Metric, Predictions, Trained
from tasks.multimodal.measures import Probe, agreement, class_f1, fit_probe, shapley
from tasks.multimodal.stored import TRAIN, Stored, checked_sets
from tasks.vision import groups
from tasks.vision.groups import resolve_groups
from tasks.vision.per_class import class_rows, confusion, label_digest, row, row_means

if TYPE_CHECKING:
    import numpy as np

    from suite.stats.bootstrap import Units

    Array = np.ndarray[Any, np.dtype[Any]]
    Values = list[tuple[str, dict[str, str], Array]]

VERSION = 1
MISSING = "zero"
_GROUPS = ("head", "medium", "tail")
_AT_ONCE = 1 << 24  # weights turned into float64 at a time

METRICS = (
    Metric(
        name="top1",
        summary="share of test samples classified right: fused, by a modality's own logits (modality=M), or by the fused "
        "logits with all other modalities left out (missing=zero,modality=M); of a group: mean of its classes' recalls",
    ),
    Metric(name="balanced_accuracy", summary="mean of the classes' recalls"),
    Metric(name="macro_f1", summary="mean of the classes' F1; of a group: of its classes'"),
    Metric(
        name="probe",
        summary="accuracy of a linear probe (ridge, closed form) on a modality's frozen features, fitted to the training "
        "samples; of a group: mean of its classes' recalls",
    ),
    Metric(
        name="worst_modality",
        summary="top1 of the modality whose own logits are least accurate",
    ),
    Metric(name="worst_probe", summary="probe of the modality that has the lowest"),
    Metric(
        name="modality_gap",
        higher_is_better=False,
        summary="largest less smallest top1 of the modalities' own logits (missing=zero: of the fused logits with all "
        "others left out)",
    ),
    Metric(
        name="fusion_gain",
        signed=True,
        summary="top1 less the best modality's probe, of the same run",
    ),
    Metric(
        name="shapley",
        signed=True,
        summary="a modality's share of top1: Shapley value over all subsets of modalities, missing ones left out, none "
        "at all 1 / classes; they add up to top1 less that",
    ),
    Metric(
        name="agreement",
        summary="share of test samples on which two modalities' own predictions are the same class, mean over pairs; "
        "says nothing of their being right",
    ),
    Metric(
        name="all_right", summary="share of test samples that every modality's own logits get right"
    ),
    Metric(
        name="some_right",
        summary="share of test samples that some modality's own logits get right and another's wrong",
    ),
    Metric(
        name="none_right",
        higher_is_better=False,
        summary="share of test samples that no modality's own logits get right",
    ),
    Metric(name="recall", summary="recall of a class: fused, or by a modality's own logits"),
)
PRIMARY = ("top1", "balanced_accuracy")
COLUMNS = (
    "top1",
    "worst_modality",
    "modality_gap",
    "worst_probe",
    "fusion_gain",
    "balanced_accuracy",
    "macro_f1",
)


def settings(protocol: Protocol) -> dict[str, Any]:
    """`classes`, their groups (none where the training set is balanced), the `modalities` in order, and how a modality
    is left out (`missing`). Raises UserError for a protocol that does not tell its modalities."""
    data = protocol.dataset
    grouped = (
        groups.settings(data)
        if data.groups or data.group_thresholds
        else {"classes": list(data.classes), "groups": {}}
    )
    return {**grouped, "modalities": list(modality_names(protocol)), "missing": MISSING}


def modality_names(protocol: Protocol) -> tuple[str, ...]:
    """Names of the protocol's modalities, in order: those of its encoders. Raises UserError where its base config is known
    from the data alone, or has none."""
    model = (protocol.blank or {}).get("model") or {}
    encoders = model.get("encoders") or {}
    if not encoders:
        raise UserError(
            f"protocol {protocol.name!r} does not tell its modalities: its base config without data (`blank`) needs "
            "model.encoders"
        )
    return tuple(encoders)


def evaluate(
    predictions: Predictions, settings: Mapping[str, Any], trained: Trained
) -> list[MetricRow]:
    """Rows of every stored set but `train`; those of sets other than `test` carry `split=NAME`.

    Probes are fitted to the set `train`. Rows are left out where a run has no such thing: own logits and what follows
    from them, and subsets of modalities. Of a run on one modality `top1[modality=M]` is `top1`, and there is no gap, no
    Shapley value, nothing of agreement, and no gain of a fusion. Null is what no test sample defines. Raises RecordError
    where `test` or `train` is not stored, for arrays in no stored form, and where the two hold other modalities.
    """
    import numpy as np

    names = settings["classes"]
    members = resolve_groups(settings, trained.class_counts)
    sets = checked_sets(predictions, len(names), settings["modalities"])
    probes = _probes(sets[TRAIN], len(names))
    rows = []
    for name, found in sets.items():
        if name == TRAIN:
            continue
        split = {} if name == "test" else {"split": name}
        samples = Samples.of(found, probes, len(names), settings["missing"])
        counts = samples.counts(np.ones((1, len(samples.label)), np.int32))
        for metric, where, values in samples.scores(counts, members):
            rows.append(row(metric, values[0], {**split, **where}))
        recalls = counts.recalls[0]
        rows += class_rows("recall", recalls[:, 0], names, split)
        for modality, place in samples.own.items():
            rows += class_rows("recall", recalls[:, place], names, {**split, "modality": modality})
    return rows


def units(predictions: Predictions, settings: Mapping[str, Any], trained: Trained) -> Units:
    """Test samples; every key of `evaluate` for the set `test`. Probes are those of the whole training set: a resample
    weights test samples. A class that a resample does not hold is left out of its means. Raises as `evaluate`."""
    from suite.stats.bootstrap import Units

    classes = len(settings["classes"])
    members = resolve_groups(settings, trained.class_counts)
    sets = checked_sets(predictions, classes, settings["modalities"])
    samples = Samples.of(sets["test"], _probes(sets[TRAIN], classes), classes, settings["missing"])

    def score(weights: Array) -> dict[str, Array]:
        found = samples.scores(samples.counts(weights), members)
        return {
            f"{metric}[{subset(**where)}]" if where else metric: values
            for metric, where, values in found
        }

    return Units(count=len(samples.label), score=score, digest=label_digest(samples.label))


def shown_columns(keys: Collection[str]) -> list[str]:
    """Columns of a board whose rows have these keys: after the first one those of each modality that a row has, its own
    logits' and its probe's, and of the groups; then the others of `COLUMNS`. Of no keys these alone."""
    inside = {key: split_key(key) for key in sorted(keys)}
    modalities = [
        key
        for metric in ("top1", "probe")
        for key, (name, where) in inside.items()
        if name == metric and where.startswith("modality=") and "," not in where
    ]
    grouped = [f"top1[group={group}]" for group in _GROUPS]
    return [COLUMNS[0], *modalities, *(key for key in grouped if key in inside), *COLUMNS[1:]]


OFFERS: Mapping[str, Any] = {
    "units": units,
    "columns": shown_columns,
    "confusion": confusion,
    "groups": resolve_groups,
    "counted": "samples",
}
"""`Task.offers`, less the pages. The confusion is that of the fused prediction."""


def _probes(train: Stored, classes: int) -> dict[str, Probe]:
    return {
        name: fit_probe(train.features[name], train.label, classes) for name in train.modalities
    }


@dataclass(frozen=True, eq=False)
class Counts:
    """Weighted counts of R resamples, float64 but whole numbers, so that no order of summation shows.

    Attributes:
        total: (R, C) samples by class.
        called: (R, C) samples by fused predicted class.
        of: (R, C, Q), sums over the samples of a class of `Samples.columns`.
    """

    total: Array
    called: Array
    of: Array

    @property
    def recalls(self) -> Array:
        """(R, C, Q); NaN for a class without samples."""
        import numpy as np

        with np.errstate(divide="ignore", invalid="ignore"):
            made: Array = self.of / self.total[:, :, None]
        return made


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a set, and who gets each of them right.

    Attributes:
        label, fused: (N,) int64 true classes, and those predicted by the fused logits.
        classes: C.
        columns: (N, Q) float64, 1 where a predictor is right, then what is counted of agreement. The first is fused.
        own: modality -> column of its own logits; of one modality the fused one. Empty where there are none.
        probes: modality -> column.
        subsets: columns of the proper subsets of modalities, as stored. Empty where there are none.
        agree: how -> first of four columns: pairs that agree, all right, some right, none right; `how` is the subset of
            its rows.
        pairs: M (M - 1) / 2.
        missing: how modalities are left out.
    """

    label: Array
    fused: Array
    classes: int
    columns: Array
    own: Mapping[str, int]
    probes: Mapping[str, int]
    subsets: Sequence[int]
    agree: Mapping[str, int]
    pairs: int
    missing: str

    @classmethod
    def of(cls, found: Stored, probes: Mapping[str, Probe], classes: int, missing: str) -> Samples:
        """Of a set with logits."""
        import numpy as np

        assert found.logits is not None
        names, label = found.modalities, found.label
        fused = found.logits.argmax(axis=1)
        columns = [fused == label]
        own: dict[str, int] = {}
        subsets: list[int] = []
        agree: dict[str, int] = {}

        def add(new: Array) -> int:
            first = len(columns)
            columns.extend(new.T)
            return first

        several = len(names) > 1
        alone: dict[str, Array] = {}
        if not several:
            own = {names[0]: 0}
        elif found.modality_logits is not None:
            alone[""] = found.modality_logits.argmax(axis=2)
            first = add(alone[""] == label[:, None])
            own = {name: first + k for k, name in enumerate(names)}
        if several and found.subset_logits is not None:
            predicted = found.subset_logits.argmax(axis=2)
            first = add(predicted == label[:, None])
            subsets = list(range(first, len(columns)))
            alone[missing] = predicted[:, [(1 << k) - 1 for k in range(len(names))]]
        read = {name: probes[name].predict(found.features[name]) for name in names}
        first = add(np.stack([read[name] == label for name in names], axis=1))
        for how, classes_of in alone.items():
            seen = agreement(classes_of, label)
            every, none = seen.right == len(names), seen.right == 0
            agree[how] = add(np.stack([seen.pairs, every, ~(every | none), none], axis=1))
        return cls(
            label=label,
            fused=fused,
            classes=classes,
            columns=np.stack(columns, axis=1).astype(np.float64),
            own=own,
            probes={name: first + k for k, name in enumerate(names)},
            subsets=subsets,
            agree=agree,
            pairs=len(names) * (len(names) - 1) // 2,
            missing=missing,
        )

    def counts(self, weights: Array) -> Counts:
        """Under weights (R, N) of the samples."""
        import numpy as np

        resamples, samples = weights.shape
        order = np.argsort(self.label, kind="stable")
        by_call = np.argsort(self.fused, kind="stable")
        edges = np.arange(self.classes + 1)
        bounds = np.searchsorted(self.label[order], edges)
        calls = np.searchsorted(self.fused[by_call], edges)
        columns = self.columns[order]
        total, called = np.empty((2, resamples, self.classes))
        of = np.empty((resamples, self.classes, columns.shape[1]))
        step = max(1, _AT_ONCE // samples)
        for start in range(0, resamples, step):
            rows = slice(start, min(start + step, resamples))
            part = weights[rows].astype(np.float64)
            sorted_, as_called = part[:, order], part[:, by_call]
            for c in range(self.classes):
                here = slice(bounds[c], bounds[c + 1])
                of[rows, c] = sorted_[:, here] @ columns[here]
                total[rows, c] = sorted_[:, here].sum(axis=1)
                called[rows, c] = as_called[:, calls[c] : calls[c + 1]].sum(axis=1)
        return Counts(total, called, of)

    def scores(self, counts: Counts, members: Mapping[str, Sequence[int]]) -> Values:
        """(metric, subset, (R,) values) of every row but those by class; NaN where undefined."""
        import numpy as np

        every = list(range(self.classes))
        recalls = counts.recalls
        samples = counts.total.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = counts.of.sum(axis=1) / samples[:, None]
        made = self._accuracies(shares, {})
        for group, ids in members.items():
            made += self._accuracies(_class_means(recalls, ids), {"group": group})
        balanced = _class_means(recalls, every)
        made.append(("balanced_accuracy", {}, balanced[:, 0]))
        made += [("balanced_accuracy", where, balanced[:, place]) for where, place in self._alone()]
        f1 = class_f1(counts.total, counts.called, counts.of[:, :, 0])
        for group, ids in {"": every, **members}.items():
            where = {"group": group} if group else {}
            made.append(("macro_f1", where, row_means(f1[:, list(ids)])))
        for how, first in self.agree.items():
            where = {"missing": how} if how else {}
            agreed, *right = (shares[:, first + k] for k in range(4))
            made.append(("agreement", where, agreed / self.pairs))
            for metric, values in zip(
                ("all_right", "some_right", "none_right"), right, strict=True
            ):
                made.append((metric, where, values))
        return made

    def _alone(self) -> list[tuple[dict[str, str], int]]:
        """(subset, column) of each modality's own logits, and of each with all others left out."""
        found = [({"modality": name}, place) for name, place in self.own.items()]
        if self.subsets:
            found += [
                ({"missing": self.missing, "modality": name}, self.subsets[(1 << k) - 1])
                for k, name in enumerate(self.probes)
            ]
        return found

    def _accuracies(self, right: Array, where: dict[str, str]) -> Values:
        """Of all samples or of a group, from accuracies (R, Q) of the columns."""
        import numpy as np

        fused = right[:, 0]
        made: Values = [("top1", where, fused)]
        made += [("top1", {**where, **here}, right[:, place]) for here, place in self._alone()]
        probes = right[:, list(self.probes.values())]
        made += [
            ("probe", {**where, "modality": name}, probes[:, k])
            for k, name in enumerate(self.probes)
        ]
        if len(self.probes) == 1:
            return made
        made.append(("worst_probe", where, probes.min(axis=1)))
        made.append(("fusion_gain", where, fused - probes.max(axis=1)))
        if self.own:
            own = right[:, list(self.own.values())]
            made.append(("worst_modality", where, own.min(axis=1)))
            made.append(("modality_gap", where, own.max(axis=1) - own.min(axis=1)))
        if self.subsets:
            worth = right[:, self.subsets].T
            single = worth[[(1 << k) - 1 for k in range(len(self.probes))]]
            left_out = {**where, "missing": self.missing}
            made.append(("worst_modality", left_out, single.min(axis=0)))
            made.append(("modality_gap", left_out, single.max(axis=0) - single.min(axis=0)))
            # of no modality: chance, of every class and so of every group
            chance = np.full((1, len(fused)), 1 / self.classes)
            parts = shapley(np.concatenate([chance, worth, fused[None]]))
            made += [
                ("shapley", {**where, "modality": name}, parts[k])
                for k, name in enumerate(self.probes)
            ]
        return made


def _class_means(recalls: Array, ids: Sequence[int]) -> Array:
    """(R, Q) means over classes of recalls (R, C, Q), each in the order of one row."""
    chosen = recalls[:, list(ids)].swapaxes(1, 2)
    return row_means(chosen.reshape(-1, chosen.shape[2])).reshape(chosen.shape[:2])
