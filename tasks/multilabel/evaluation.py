"""Scores of `multilabel` from a run's stored logits: sample by sample (rankings of labels), and label by label.

Scores of samples are means over samples with a relevant label; group scores are unweighted means over the group's
labels, labels without a positive test sample left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from suite.define.metrics import MetricRow, subset
from suite.define.protocol import Protocol
from suite.define.task import Metric, Predictions, Trained
from tasks.multilabel import measures
from tasks.multilabel.by_label import class_average_precision, class_f1
from tasks.multilabel.protocols import top_k
from tasks.multilabel.stored import Stored, checked
from tasks.vision import groups, stored
from tasks.vision.groups import resolve_groups
from tasks.vision.per_class import class_rows, row, row_means

if TYPE_CHECKING:
    import numpy as np

    from suite.stats.bootstrap import Units

    Array = np.ndarray[Any, np.dtype[Any]]
    Measure = tuple[str, Mapping[str, str], Callable[[measures.Ranks], Array]]

VERSION = 1
BESIDE = (1, 3, 5)
"""Beside the protocol's own K, whose rows are those of `k=K`."""

_AT_K: tuple[tuple[str, Mapping[str, str], Callable[..., Any]], ...] = (
    ("tkpr", {}, measures.tkpr),
    ("tkpr", {"alpha": "n+"}, partial(measures.tkpr, alpha="n+")),
    ("map_at_k", {}, measures.average_precision),
    ("ndcg", {}, measures.ndcg),
    ("precision", {}, measures.precision),
    ("recall", {}, measures.recall),
)
_WHOLE: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("ranking_loss", measures.ranking_loss),
    ("coverage", measures.coverage),
)
_WIDTH = (
    32  # labels at a time: their bits are whole bytes, their float16 one line of a core's cache
)

METRICS = (
    Metric(
        name="tkpr",
        summary="top-K pairwise ranking: relevant labels among the first K, the higher the more; 1 for the best "
        "order (alpha=n+: mean over k <= K of recall at k); K: the protocol's, 3 or 5",
    ),
    Metric(
        name="map_at_k",
        summary="mean over instances of the average precision of the first K labels; not mAP",
    ),
    Metric(
        name="ndcg",
        summary="normalised discounted cumulative gain of the first K labels, mean over instances",
    ),
    Metric(
        name="precision",
        summary="share of the first K labels that are relevant, mean over instances",
    ),
    Metric(
        name="recall",
        summary="share of the relevant labels among the first K, mean over instances",
    ),
    Metric(
        name="ranking_loss",
        higher_is_better=False,
        summary="share of pairs of a relevant and an irrelevant label in the wrong order, ties one half, mean over "
        "instances",
    ),
    Metric(
        name="coverage",
        higher_is_better=False,
        unit="labels",
        summary="rank of an instance's last relevant label, mean over instances",
    ),
    Metric(
        name="one_error",
        higher_is_better=False,
        summary="share of instances whose first label is not relevant",
    ),
    Metric(name="mAP", summary="mean over labels of the average precision over all test instances"),
    Metric(
        name="ap",
        summary="average precision of a label over all test instances; of a group: mean over its labels",
    ),
    Metric(
        name="f1",
        summary="F1 of a label, called present from probability .5 on; of all or a group: mean over labels",
    ),
    Metric(
        name="instances_without_label",
        higher_is_better=False,
        unit="instances",
        summary="test instances without a relevant label, left out of the means over instances",
    ),
    Metric(
        name="labels_without_positive",
        higher_is_better=False,
        unit="labels",
        summary="labels that no test instance shows, left out of the means over labels",
    ),
)
PRIMARY = ("tkpr[k=K]", "map_at_k[k=K]")
COLUMNS = (
    "tkpr[k=K]",
    "map_at_k[k=K]",
    "ndcg[k=K]",
    "ranking_loss",
    "mAP",
    "ap[group=head]",
    "ap[group=medium]",
    "ap[group=tail]",
)


def settings(protocol: Protocol) -> dict[str, Any]:
    """Labels (`classes`), their groups and K (`k`). Raises UserError for a K above the number of labels."""
    data = protocol.dataset
    k = top_k(data.name)
    measures.check_k(k, len(data.classes), f"data set {data.name!r}: ")
    return {**groups.settings(data), "k": k}


def evaluate(
    predictions: Predictions, settings: Mapping[str, Any], trained: Trained
) -> list[MetricRow]:
    """Rows of every stored prediction set; those of sets other than `test` carry `split=NAME`.

    Measures at K have rows for the settings' own `k` (`k=K`) and for K = 1, 3 and 5, those above the number of labels
    left out. Of a capped set what needs scores that were dropped is null: `ranking_loss`, `coverage`, `mAP`, `ap`,
    `f1`, and a K above the number of labels kept. Null is whatever no test instance defines. Raises RecordError for
    arrays in no stored form; UserError for a `k` above the number of labels.
    """
    members = resolve_groups(settings, trained.class_counts)
    rows: list[MetricRow] = []
    for name, arrays in predictions.items():
        where = {} if name == "test" else {"split": name}
        rows += _rows(checked(arrays, len(settings["classes"])), settings, members, where)
    return rows


def units(predictions: Predictions, settings: Mapping[str, Any], trained: Trained) -> Units:
    """Test instances; the keys of `evaluate` but the two counts, and those that it has as null for a capped set.

    What a resample does not define of an instance or a label is left out of its means, as in the whole set. `mAP`,
    `ap[group=...]` and `f1` take time O(R N L): they are there for sets of up to 20,000,000 logits (seconds for 1,000
    resamples). Raises RecordError as `evaluate`, and where no set `test` is stored.
    """
    import numpy as np

    from suite.stats.bootstrap import Units

    if "test" not in predictions:
        raise RecordError("stored predictions hold no set 'test'")
    found = checked(predictions["test"], len(settings["classes"]))
    members = resolve_groups(settings, trained.class_counts)
    wanted = [one for one in _measures(settings["k"], found.labels) if _known(found, one)]
    values = _of_samples(found, wanted)
    by_label = not found.capped and found.samples * found.labels <= stored.FULL_FLOAT32

    def score(weights: Array) -> dict[str, Array]:
        weights = np.asarray(weights)
        means = measures.weighted_means(values, weights)
        made = {_key(*one[:2]): mean for one, mean in zip(wanted, means, strict=True)}
        if by_label:
            for metric, where, over_labels in _of_groups(*_of_labels(found, weights), members):
                made[_key(metric, where)] = over_labels
        return made

    return Units(count=found.samples, score=score, digest=_digest(found))


OFFERS: Mapping[str, Any] = {"units": units, "groups": resolve_groups, "counted": "instances"}
"""`Task.offers`. There is no confusion: no label is taken for another where several hold."""


def sample_means(found: Stored, k: int) -> dict[str, float]:
    """`tkpr` and `map_at_k` at K alone, of a stored set; NaN where no instance has a relevant label."""
    wanted = [one for one in _measures(k, found.labels) if one[1] == {"k": "K"}][:2]
    means = _means(found, wanted)
    return {metric: mean for (metric, _, _), mean in zip(wanted, means, strict=True)}


def _rows(
    found: Stored,
    settings: Mapping[str, Any],
    members: Mapping[str, Sequence[int]],
    where: Mapping[str, str],
) -> list[MetricRow]:
    import numpy as np

    every = _measures(settings["k"], found.labels)
    known = [one for one in every if _known(found, one)]
    means = {_key(*one[:2]): mean for one, mean in zip(known, _means(found, known), strict=True)}
    rows = [
        row(metric, means.get(_key(metric, here)), {**where, **here}) for metric, here, _ in every
    ]
    if found.capped:
        ap = f1 = np.full(found.labels, np.nan)
    else:
        ap, f1 = _of_labels(found)
    for metric, here, value in _of_groups(ap[None], f1[None], members):
        rows.append(row(metric, value[0], {**where, **here}))
    alone, unseen = _left_out(found)
    rows.append(row("instances_without_label", alone, where))
    rows.append(row("labels_without_positive", unseen, where))
    names = settings["classes"]
    return rows + class_rows("ap", ap, names, where) + class_rows("f1", f1, names, where)


# -- sample by sample


def _measures(k: int, labels: int) -> list[Measure]:
    """(metric, subset, function of ranks) of every row that is a mean over samples."""
    measures.check_k(k, labels)
    ks = {"K": k, **{str(one): one for one in BESIDE if one <= labels}}
    at_k: list[Measure] = [
        (metric, {**where, "k": name}, partial(function, k=value))
        for metric, where, function in _AT_K
        for name, value in ks.items()
    ]
    return [*at_k, *((name, {}, of) for name, of in _WHOLE), ("one_error", {}, measures.one_error)]


def _known(found: Stored, measure: Measure) -> bool:
    """Whether the set holds what the measure needs."""
    if not found.capped:
        return True
    metric, _, function = measure
    if metric in dict(_WHOLE):
        return False
    k = function.keywords["k"] if isinstance(function, partial) else 1
    return bool(k <= found.logits.shape[1])


def _of_samples(found: Stored, wanted: Sequence[Measure]) -> Array:
    """(M, N) values of each sample, NaN where undefined."""
    import numpy as np

    values = np.empty((len(wanted), found.samples))
    for rows in stored.blocks(found.samples, found.labels):
        labels = found.relevant(rows)
        if found.capped:
            ranks = measures.ranks_listed(found.order(rows), labels)
        else:
            ranks = measures.ranks(found.scores(rows), labels)
        for place, (_, _, function) in enumerate(wanted):
            values[place, rows] = function(ranks)
    return values


def _means(found: Stored, wanted: Sequence[Measure]) -> list[float]:
    import numpy as np

    # by the function that the bootstrap uses, for the same numbers to the last digit
    ones = np.ones((1, found.samples), np.int32)
    means: list[float] = measures.weighted_means(_of_samples(found, wanted), ones)[:, 0].tolist()
    return means


# -- label by label


def _of_labels(found: Stored, weights: Array | None = None) -> tuple[Array, Array]:
    """AP and F1, (L,) each, or (R, L) under weights (R, N)."""
    import numpy as np

    parts = []
    every = slice(0, found.samples)
    for first in range(0, found.labels, _WIDTH):
        columns = slice(first, min(first + _WIDTH, found.labels))
        # each label's scores side by side
        scores, labels = (
            np.ascontiguousarray(part(every, columns).T).T
            for part in (found.scores, found.relevant)
        )
        parts.append([of(scores, labels, weights) for of in (class_average_precision, class_f1)])
    ap, f1 = (np.concatenate(one, axis=-1) for one in zip(*parts, strict=True))
    return ap, f1


def _of_groups(
    ap: Array, f1: Array, members: Mapping[str, Sequence[int]]
) -> list[tuple[str, Mapping[str, str], Array]]:
    """(metric, subset, (R,) means over labels) of (R, L) AP and F1."""
    made: list[tuple[str, Mapping[str, str], Array]] = [("mAP", {}, row_means(ap))]
    made += [("ap", {"group": name}, row_means(ap[:, list(ids)])) for name, ids in members.items()]
    made.append(("f1", {}, row_means(f1)))
    made += [("f1", {"group": name}, row_means(f1[:, list(ids)])) for name, ids in members.items()]
    return made


# -- what the samples are


def _left_out(found: Stored) -> tuple[int, int]:
    """(samples without label, labels without sample)."""
    import numpy as np

    shown = np.bitwise_or.reduce(found.packed, axis=0)
    return (
        int((~found.packed.any(axis=1)).sum()),
        found.labels - int(np.unpackbits(shown).sum()),
    )


def _key(metric: str, where: Mapping[str, str]) -> str:
    return f"{metric}[{subset(**where)}]" if where else metric


def _digest(found: Stored) -> str:
    """SHA-256 (hex) of the samples' labels, in their order."""
    about = f"{found.samples} x {found.labels} labels\n".encode()
    return hashlib.sha256(about + found.packed.tobytes()).hexdigest()
