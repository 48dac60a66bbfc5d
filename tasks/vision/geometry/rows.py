"""Metric rows of a stored geometry: `nc1[split=train]`, `cdnv[group=tail,split=train]`, `norm[of=weights,...]` of a class.

Rows without `of` are of the class means, those with `of=weights` of the classifier's rows. Of a model of several
experts each has rows (`expert=0`, ...), and the whole model those without `expert` where its head is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from suite.define.metrics import MetricRow
from suite.define.task import Metric
from tasks.vision.geometry import measures as nc
from tasks.vision.geometry.stored import SETS, Geometry, checked, split
from tasks.vision.per_class import class_rows, row

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_EXPERT = "expert"


def _metric(name: str, summary: str, unit: str = "", higher: bool = False) -> Metric:
    return Metric(name=name, summary=summary, unit=unit, higher_is_better=higher)


METRICS = (
    _metric("nc1", "NC1: tr(S_W pinv(S_B)) / K, scatter within classes in the span of their means"),
    _metric("nc1_trace", "tr S_W / tr S_B: scatter within classes in every direction"),
    _metric("cdnv", "class-distance normalised variance, mean over pairs of classes"),
    _metric("nc2_means", "distance of the centred class means from a simplex, 0 to 2"),
    _metric("nc2_orthogonal", "distance of the class means from orthogonal ones, 0 to 2"),
    _metric("nc2_weights", "distance of the classifier's rows from a simplex, 0 to 2"),
    _metric("equinorm", "standard deviation over mean of the lengths of class means"),
    _metric("equiangular", "mean over pairs of |cosine + 1/(K-1)|"),
    _metric("max_cos", "largest cosine of two class means"),
    _metric("min_angle", "smallest angle between two class means", "degrees", True),
    _metric("frame_gap", "largest cosine less the least known for as many vectors"),
    _metric("one_vs_rest", "least distance of a class's direction from the others' hull", "", True),
    _metric("norm", "length of a class mean, or of a row of the classifier", "", True),
    _metric("norm_ratio", "mean length over a group's classes, over that of all", "", True),
    _metric("nc3", "distance of W M^T from a simplex's Gram matrix, 0 to 2"),
    _metric("duality", "mean over classes of 1 - cosine of classifier row and class mean"),
    _metric("nc_bias", "length of the logits at the mean of class means", "logits"),
    Metric(
        name="nc4",
        higher_is_better=False,
        summary="share of images whose class is not that of the nearest class mean",
    ),
    Metric(name="ncc_top1", summary="accuracy of the nearest class mean of the training images"),
    _metric("margin_min", "smallest margin: true logit less the largest other", "logits", True),
    _metric("margin_q01", "1 % quantile of the margins", "logits", True),
    _metric("margin_norm", "mean distance to the nearest boundary over feature length", "", True),
    _metric("margin_norm_min", "smallest distance to a boundary over feature length", "", True),
    _metric("margin_norm_q01", "1 % quantile of the same", "", True),
    _metric("seli_weights", "distance of the classifier's rows from SELI for the counts, 0 to 2"),
    _metric("seli_means", "distance of the class means from SELI for the counts, 0 to 2"),
)
"""Every metric of `rows` but `top1` and `nll`, which classification tasks have already."""


def rows(
    prediction_set: str,
    arrays: Mapping[str, Array],
    names: Sequence[str],
    members: Mapping[str, Sequence[int]],
    class_counts: Sequence[int] = (),
) -> list[MetricRow]:
    """The rows of a stored set `collapse` or `collapse=test`.

    Args:
        arrays: what `stored.accumulate` made, of several heads as `stored.join` puts them together.
        names: the K classes.
        members: group -> class ids.
        class_counts: training counts (K,), what SELI is of; by default the counts of the set `collapse` itself, and
            without any for the test images no SELI rows.

    Null is what is not defined: `reasons` says why. Raises RecordError for another set, arrays of another
    form and counts that are not the set's.
    """
    return [made for made, _ in _explained(prediction_set, arrays, names, members, class_counts)]


def reasons(
    prediction_set: str,
    arrays: Mapping[str, Array],
    names: Sequence[str],
    members: Mapping[str, Sequence[int]],
    class_counts: Sequence[int] = (),
) -> dict[str, str]:
    """Key of a null row of `rows` -> why it is null: one line. Of several classes' rows the last one's."""
    return {
        made.key: why
        for made, why in _explained(prediction_set, arrays, names, members, class_counts)
        if made.value is None
    }


def _explained(
    prediction_set: str,
    arrays: Mapping[str, Array],
    names: Sequence[str],
    members: Mapping[str, Sequence[int]],
    class_counts: Sequence[int],
) -> Iterator[tuple[MetricRow, str]]:
    """(row, why it is null if it is)."""
    if prediction_set not in SETS:
        raise RecordError(
            f"no geometry is stored as {prediction_set!r}; known sets: {', '.join(SETS)}"
        )
    if class_counts and len(class_counts) != len(names):
        raise RecordError(f"{len(class_counts)} training counts of {len(names)} classes")
    if not arrays:
        raise RecordError(f"the set {prediction_set} holds no geometry")
    for part, own in split(arrays).items():
        where = {"split": SETS[prediction_set]}
        if part:
            number = part.removeprefix(_EXPERT)
            if not part.startswith(_EXPERT) or not number.isdigit():
                raise RecordError(
                    f"stored geometry has a part {part[:40]!r}, expected {_EXPERT}0, {_EXPERT}1, ..."
                )
            where[_EXPERT] = number
        geometry = checked(own, len(names))
        train = where["split"] == "train"
        counts = list(class_counts) or (geometry.counts.tolist() if train else [])
        for made in _overall(geometry, where, counts, train):
            yield made, _why(geometry, made, range(len(names)))
        for group, ids in members.items():
            for made in _group(geometry, ids, {**where, "group": group}):
                yield made, _why(geometry, made, ids)
        for made in _classes(geometry, names, where):
            yield made, _why(geometry, made, [list(names).index(str(made.class_))])


def _overall(
    geometry: Geometry, where: Mapping[str, str], counts: Sequence[int], train: bool
) -> Iterator[MetricRow]:
    means = nc.centred_means(geometry)
    plain = {
        "nc1": nc.nc1(geometry),
        "nc1_trace": nc.nc1_trace(geometry),
        "cdnv": nc.cdnv(geometry),
        "nc2_means": nc.nc2_means(geometry),
        "nc2_orthogonal": nc.nc2_orthogonal(geometry),
        "nc2_weights": nc.nc2_weights(geometry),
        "nc3": nc.nc3(geometry),
        "duality": nc.duality(geometry),
        "nc_bias": nc.nc_bias(geometry),
        "nc4": nc.nc4(geometry),
        "ncc_top1": nc.ncc_top1(geometry),
        "margin_min": nc.margin_min(geometry),
        "margin_q01": nc.margin_q01(geometry),
        "margin_norm": nc.margin_norm(geometry),
        "margin_norm_min": nc.margin_norm_min(geometry),
        "margin_norm_q01": nc.margin_norm_q01(geometry),
    }
    # the test images' own are rows of the set `test`
    if train:
        plain |= {"top1": nc.top1(geometry), "nll": nc.nll(geometry)}
    if counts:
        plain |= {
            "seli_weights": nc.seli_weights(geometry, counts),
            "seli_means": nc.seli_means(geometry, counts),
        }
    for metric, value in plain.items():
        yield row(metric, value, where)
    yield row("nc1", nc.nc1(geometry, "sample"), {**where, "weighting": "sample"})
    yield row("nc2_weights", nc.nc2_weights(geometry, centred=True), {**where, "centred": "true"})
    # of two classes the centred means are opposite whatever they are
    told = means if len(means) > 2 else None
    for of, vectors in (({}, told), ({"of": "weights"}, geometry.weight)):
        for metric, measure in _OF_ROWS.items():
            value = None if vectors is None else measure(vectors)
            yield row(metric, value, {**where, **of})


_OF_ROWS = {
    "equinorm": nc.equinorm,
    "equiangular": nc.equiangular,
    "max_cos": nc.max_cos,
    "min_angle": nc.min_angle,
    "frame_gap": nc.frame_gap,
    "one_vs_rest": nc.one_vs_rest,
}


def _group(geometry: Geometry, ids: Sequence[int], where: Mapping[str, str]) -> Iterator[MetricRow]:
    import numpy as np

    seen = [c for c in ids if geometry.counts[c]]
    yield row("cdnv", nc.cdnv(geometry, ids), where)
    yield row("margin_min", nc.margin_min(geometry, ids), where)
    yield row("margin_q01", nc.margin_q01(geometry, ids), where)
    yield row("margin_norm", nc.margin_norm(geometry, ids), where)
    # about the middle of all means, not of the group's
    means = geometry.mean - geometry.mean[geometry.present].mean(axis=0)
    yield row("min_angle", nc.min_angle(means[seen]), where)
    lengths = {"": nc.mean_norms(geometry), "weights": nc.weight_norms(geometry)}
    for of, length in lengths.items():
        here = {**where, "of": of} if of else where
        known = length[np.isfinite(length)]
        own = length[list(ids)]
        own = own[np.isfinite(own)]
        defined = len(own) and known.mean() > 0
        yield row("norm_ratio", own.mean() / known.mean() if defined else None, here)
    weight = geometry.weight
    angle = None if weight is None else nc.min_angle(weight[list(ids)])
    yield row("min_angle", angle, {**where, "of": "weights"})


def _classes(
    geometry: Geometry, names: Sequence[str], where: Mapping[str, str]
) -> Iterator[MetricRow]:
    yield from class_rows("norm", nc.mean_norms(geometry), names, where)
    yield from class_rows("norm", nc.weight_norms(geometry), names, {**where, "of": "weights"})
    yield from class_rows("margin_q01", nc.class_margins(geometry), names, where)


_OF_WEIGHTS = {"nc2_weights", "nc3", "duality", "nc_bias", "nc4", "seli_weights"}
_NORMALISED = {"margin_norm", "margin_norm_min", "margin_norm_q01"}
_TRIVIAL_OF_TWO = {"nc2_means", *_OF_ROWS}


def _why(geometry: Geometry, made: MetricRow, ids: Sequence[int]) -> str:
    """Why a row is null, of the classes `ids`; "" for one that is not."""
    if made.value is not None:
        return ""
    metric, of_weights = made.metric, "of=weights" in made.subset.split(",")
    present = [c for c in ids if geometry.counts[c]]
    if geometry.weight is None and (of_weights or metric in _OF_WEIGHTS | _NORMALISED):
        return "the head has no linear layer"
    if metric == "nll":
        return "the set was stored without losses"
    if metric in _NORMALISED and present:
        return "all features are 0, or no two rows of the classifier differ"
    if metric == "frame_gap" and len(geometry.present) > 2:
        vectors = geometry.weight if of_weights else nc.centred_means(geometry)
        if vectors is not None and nc.max_cos(vectors) is not None:
            return (
                f"no best frame of {geometry.classes} vectors in {geometry.dimensions} dimensions is known; make "
                f"one: python -m tasks.vision.geometry.frames {geometry.classes} {geometry.dimensions}"
            )
    if not of_weights and metric not in _OF_WEIGHTS - {"duality"}:
        if not present:
            return "no image of these classes"
        if metric in ("cdnv", "min_angle") and len(present) < 2:
            return "fewer than two classes of the group have images"
        if metric in ("duality", "seli_means") and len(geometry.present) < geometry.classes:
            return "a class has no image"
        if metric in _TRIVIAL_OF_TWO and len(geometry.present) == 2:
            return "two centred means are opposite whatever they are"
        if metric == "one_vs_rest" and len(geometry.present) > nc.MOST_HULLS:
            return f"not computed for more than {nc.MOST_HULLS} classes"
    if of_weights and metric == "min_angle" and len(ids) < 2:
        return "the group has one class"
    if metric == "nc2_weights" and geometry.classes == 2 and "centred=true" in made.subset:
        return "two centred rows are opposite whatever they are"
    if of_weights and metric == "one_vs_rest" and geometry.classes > nc.MOST_HULLS:
        return f"not computed for more than {nc.MOST_HULLS} classes"
    if of_weights or metric in _OF_WEIGHTS:
        return "a row of the classifier is 0"
    return "class means coincide"
