"""Metric rows of a stored geometry, and why some are null."""

from __future__ import annotations

import numpy as np
import pytest

from suite.base.errors import RecordError
from tasks.vision.geometry import frames
from tasks.vision.geometry import measures as nc
from tasks.vision.geometry.rows import METRICS, reasons, rows
from tasks.vision.geometry.stored import accumulate, checked, join

NAMES = [f"class {c}" for c in range(5)]
MEMBERS = {"head": [0, 1], "medium": [2, 3], "tail": [4]}


def made(seed=0, counts=(9, 8, 6, 3, 2), linear=True, width=6):
    draw = np.random.default_rng(seed)
    label = np.repeat(np.arange(5), counts)
    features = draw.standard_normal((5, width))[label] + 0.3 * draw.standard_normal(
        (len(label), width)
    )
    weight, bias = draw.standard_normal((5, width)), draw.standard_normal(5)
    logits = features @ weight.T + bias
    return accumulate(features, label, logits, *((weight, bias) if linear else ()))


def values(*arguments):
    found = rows(*arguments)
    keys = [(row.key, row.class_) for row in found]
    assert len(set(keys)) == len(keys)
    return {key: row.value for key, row in zip(keys, found, strict=True)}


def test_rows_are_the_measures():
    arrays = made()
    geometry = checked(arrays, 5)
    found = values("collapse", arrays, NAMES, MEMBERS)
    where = "split=train"
    for metric in ("nc1", "nc1_trace", "cdnv", "nc2_means", "nc2_weights", "nc2_orthogonal", "nc3"):
        assert found[f"{metric}[{where}]", None] == getattr(nc, metric)(geometry), metric
    for metric in ("duality", "nc_bias", "nc4", "ncc_top1", "top1", "nll"):
        assert found[f"{metric}[{where}]", None] == getattr(nc, metric)(geometry), metric
    for metric in ("margin_min", "margin_q01", "margin_norm", "margin_norm_min", "margin_norm_q01"):
        assert found[f"{metric}[{where}]", None] == getattr(nc, metric)(geometry), metric
    means = nc.centred_means(geometry)
    for metric in ("equinorm", "equiangular", "max_cos", "min_angle", "frame_gap", "one_vs_rest"):
        measure = getattr(nc, metric)
        assert found[f"{metric}[{where}]", None] == measure(means)
        assert found[f"{metric}[of=weights,{where}]", None] == measure(geometry.weight)
    assert found[f"nc1[{where},weighting=sample]", None] == nc.nc1(geometry, "sample")
    assert found[f"nc2_weights[centred=true,{where}]", None] == nc.nc2_weights(geometry, True)
    counts = (9, 8, 6, 3, 2)
    assert found[f"seli_weights[{where}]", None] == nc.seli_weights(geometry, counts)
    assert found[f"seli_means[{where}]", None] == nc.seli_means(geometry, counts)


def test_rows_of_groups_and_classes():
    arrays = made()
    geometry = checked(arrays, 5)
    found = values("collapse", arrays, NAMES, MEMBERS)
    norms, weights = nc.mean_norms(geometry), nc.weight_norms(geometry)
    assert found["cdnv[group=head,split=train]", None] == nc.cdnv(geometry, [0, 1])
    assert found["cdnv[group=tail,split=train]", None] is None
    assert found["margin_min[group=tail,split=train]", None] == nc.margin_min(geometry, [4])
    ratio = norms[[0, 1]].mean() / norms.mean()
    assert found["norm_ratio[group=head,split=train]", None] == pytest.approx(ratio)
    ratio = weights[4] / weights.mean()
    assert found["norm_ratio[group=tail,of=weights,split=train]", None] == pytest.approx(ratio)
    means = nc.centred_means(geometry)
    angle = np.degrees(
        np.arccos(means[2] @ means[3] / np.linalg.norm(means[2]) / np.linalg.norm(means[3]))
    )
    assert found["min_angle[group=medium,split=train]", None] == pytest.approx(angle)
    for c, name in enumerate(NAMES):
        assert found["norm[split=train]", name] == pytest.approx(norms[c])
        assert found["norm[of=weights,split=train]", name] == pytest.approx(weights[c])
        assert found["margin_q01[split=train]", name] == pytest.approx(
            nc.class_margins(geometry)[c]
        )


def test_test_images_have_seli_rows_for_the_training_counts_alone():
    arrays = made(counts=(4, 4, 4, 4, 4))
    without = values("collapse=test", arrays, NAMES, MEMBERS)
    assert not [key for key, _ in without if key.startswith(("seli", "top1", "nll"))]
    assert all("split=test" in key for key, _ in without)
    counts = (9, 8, 6, 3, 2)
    found = values("collapse=test", arrays, NAMES, MEMBERS, counts)
    geometry = checked(arrays, 5)
    assert found["seli_means[split=test]", None] == nc.seli_means(geometry, counts)


def test_every_metric_is_declared():
    declared = {metric.name for metric in METRICS} | {"top1", "nll"}
    emitted = {row.metric for row in rows("collapse", made(), NAMES, MEMBERS)}
    assert emitted == declared
    assert len({m.name for m in METRICS}) == len(METRICS) and all(m.summary for m in METRICS)


def test_no_groups_no_rows_of_groups():
    assert not [key for key, _ in values("collapse", made(), NAMES, {}) if "group=" in key]


def test_experts_have_rows_of_their_own():
    whole, first, second = made(0), made(1), made(2, width=9)
    arrays = join({"": whole, "expert0": first, "expert1": second})
    found = values("collapse", arrays, NAMES, MEMBERS)
    assert found["nc1[split=train]", None] == nc.nc1(checked(whole, 5))
    assert found["nc1[expert=0,split=train]", None] == nc.nc1(checked(first, 5))
    assert found["nc1[expert=1,split=train]", None] == nc.nc1(checked(second, 5))
    assert ("cdnv[expert=1,group=head,split=train]", None) in found


def test_a_head_without_a_linear_layer_says_so():
    arrays = made(linear=False)
    found = values("collapse", arrays, NAMES, MEMBERS)
    said = reasons("collapse", arrays, NAMES, MEMBERS)
    for metric in (
        "nc2_weights",
        "nc3",
        "nc4",
        "duality",
        "nc_bias",
        "seli_weights",
        "margin_norm",
    ):
        assert found[f"{metric}[split=train]", None] is None
        assert said[f"{metric}[split=train]"] == "the head has no linear layer"
    assert said["norm[of=weights,split=train]"] == "the head has no linear layer"
    assert said["norm_ratio[group=head,of=weights,split=train]"] == "the head has no linear layer"
    assert found["nc1[split=train]", None] is not None


def test_every_null_has_its_reason():
    absent = made(counts=(9, 0, 6, 3, 0))
    said = reasons("collapse", absent, NAMES, MEMBERS)
    assert said["duality[split=train]"] == said["seli_means[split=train]"] == "a class has no image"
    assert said["margin_min[group=tail,split=train]"] == "no image of these classes"
    assert said["norm[split=train]"] == "no image of these classes"
    assert said["min_angle[group=head,split=train]"].startswith("fewer than two classes")
    assert said["min_angle[group=tail,of=weights,split=train]"] == "the group has one class"
    plain = reasons("collapse", made(), NAMES, MEMBERS)
    assert plain["cdnv[group=tail,split=train]"].startswith("fewer than two classes")
    assert set(plain) == {
        "cdnv[group=tail,split=train]",
        "min_angle[group=tail,split=train]",
        "min_angle[group=tail,of=weights,split=train]",
    }
    two = accumulate(
        np.eye(2).repeat(2, 0), np.array([0, 0, 1, 1]), np.eye(2).repeat(2, 0), np.eye(2)
    )
    found = reasons("collapse", two, ["a", "b"], {})
    assert found["nc2_means[split=train]"] == found["max_cos[split=train]"]
    assert found["max_cos[split=train]"] == "two centred means are opposite whatever they are"
    assert found["nc2_weights[centred=true,split=train]"].startswith("two centred rows")


def test_more_reasons():
    arrays = made()
    del arrays["nll"]
    assert reasons("collapse", arrays, NAMES, {})["nll[split=train]"].endswith("without losses")
    label = np.repeat(np.arange(5), 3)
    same = accumulate(np.tile(np.eye(3), (5, 1)), label, np.zeros((15, 5)), np.zeros((5, 3)))
    said = reasons("collapse", same, NAMES, {})
    assert said["nc1[split=train]"] == "class means coincide"
    assert said["nc2_weights[split=train]"] == "a row of the classifier is 0"
    assert said["margin_norm[split=train]"].startswith("all features are 0, or no two rows")
    draw = np.random.default_rng(0)
    label = np.arange(77)
    unknown = accumulate(
        draw.standard_normal((77, 6)), label, np.eye(77), draw.standard_normal((77, 6))
    )
    said = reasons("collapse", unknown, [str(c) for c in label], {})
    assert "frames 77 6" in said["frame_gap[split=train]"]
    assert "frames 77 6" in said["frame_gap[of=weights,split=train]"]


def test_a_collapsed_simplex_reads_as_one():
    simplex = frames.simplex(5, 6)
    label = np.repeat(np.arange(5), 3)
    arrays = accumulate(simplex[label], label, simplex[label] @ simplex.T, simplex)
    found = values("collapse", arrays, NAMES, {})
    for metric in ("nc1", "nc1_trace", "cdnv", "nc2_means", "nc2_weights", "nc3", "nc4", "duality"):
        assert found[f"{metric}[split=train]", None] == pytest.approx(0, abs=1e-7), metric
    for metric in ("seli_weights", "seli_means", "frame_gap", "equinorm", "nc_bias"):
        assert found[f"{metric}[split=train]", None] == pytest.approx(0, abs=1e-7), metric
    assert found["top1[split=train]", None] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("test", {}, NAMES, {}),
            "no geometry is stored as 'test'; known sets: collapse, collapse=test",
        ),
        (("collapse", {"x.mean": np.ones(1)}, NAMES, {}), "has a part 'x', expected expert0"),
        (("collapse", {}, NAMES, {}), "holds no geometry"),
        (("collapse", made(), NAMES[:4], {}), r"counts is int64 of shape \(5,\)"),
        (("collapse", made(), NAMES, {}, (1, 2)), "2 training counts of 5 classes"),
    ],
)
def test_bad_input(arguments, said):
    with pytest.raises(RecordError, match=said):
        rows(*arguments)
