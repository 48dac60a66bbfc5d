"""Measures of neural collapse: known answers, identities, and what has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.base.errors import RecordError
from tasks.vision.geometry import frames, seli
from tasks.vision.geometry import measures as nc
from tasks.vision.geometry.stored import Geometry, accumulate, checked
from tasks.vision.geometry.terminal import Point, fitted, tpt_gain, tpt_rho, tpt_start

TRIANGLE = np.array([[math.cos(a), math.sin(a)] for a in np.radians([0, 120, 240])])
CROSS = 0.1 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])


def geometry(features, label, weight=None, bias=None, classes=None) -> Geometry:
    features, label = np.asarray(features, np.float64), np.asarray(label)
    classes = classes or int(label.max()) + 1
    head = np.zeros((classes, features.shape[1])) if weight is None else np.asarray(weight)
    logits = features @ head.T + (0 if bias is None else np.asarray(bias))
    return checked(accumulate(features, label, logits, weight, bias), classes)


def collapsed(means, weight=None, each=2, bias=None) -> Geometry:
    """Every feature at its class's mean."""
    return geometry(np.repeat(means, each, 0), np.repeat(np.arange(len(means)), each), weight, bias)


def toy(extra=()) -> Geometry:
    """Three unit vectors at 120 degrees, four samples each at 0.1 beside them, with further columns."""
    features = (TRIANGLE[:, None] + CROSS).reshape(12, 2)
    further = [np.resize(column, 12) for column in extra]
    return geometry(np.column_stack([features, *further]), np.repeat(np.arange(3), 4))


def random_geometry(seed=0, classes=5, width=7, each=9, dtype=np.float64) -> Geometry:
    draw = np.random.default_rng(seed)
    counts = draw.integers(2, each, classes)
    label = np.repeat(np.arange(classes), counts)
    means = draw.standard_normal((classes, width))
    features = (means[label] + 0.3 * draw.standard_normal((len(label), width))).astype(dtype)
    weight, bias = draw.standard_normal((classes, width)), draw.standard_normal(classes)
    return geometry(features, label, weight, bias)


# -- NC1


@pytest.mark.parametrize("extra", [(), ([7.0],)], ids=["plane", "constant third coordinate"])
@pytest.mark.parametrize("weighting", nc.WEIGHTINGS)
def test_toy_in_the_plane(extra, weighting):
    found = toy(extra)
    assert found.within[:2, :2] == pytest.approx(0.005 * np.eye(2))
    means = nc.centred_means(found)[:, :2]
    assert means.T @ means / 3 == pytest.approx(0.5 * np.eye(2))
    assert nc.nc1(found, weighting) == pytest.approx(0.0066667, abs=1e-7)
    assert nc.nc1_trace(found) == pytest.approx(0.01)
    assert nc.cdnv(found) == pytest.approx(0.0033333, abs=1e-7)


def test_scatter_outside_the_span_of_the_means_is_seen_by_the_trace_alone():
    features = np.column_stack([np.repeat(TRIANGLE, 4, 0), np.tile([0.1, -0.1], 6)])
    found = geometry(features, np.repeat(np.arange(3), 4))
    assert nc.nc1(found) == pytest.approx(0, abs=1e-15)
    assert nc.nc1_trace(found) == pytest.approx(0.01)


def test_nc1_of_float32_features_in_many_dimensions_has_no_spurious_eigenvalue():
    draw = np.random.default_rng(3)
    means = draw.standard_normal((3, 64)).astype(np.float32)
    label = np.repeat(np.arange(3), 20)
    features = means[label] + 0.01 * draw.standard_normal((60, 64)).astype(np.float32)
    found = geometry(features.astype(np.float32), label)
    between = nc.centred_means(found)
    expected = np.trace(found.within @ np.linalg.pinv(between.T @ between / 3, rcond=1e-6)) / 3
    assert nc.nc1(found) == pytest.approx(expected, rel=1e-9)
    assert nc.nc1(found) < 0.01


def test_nc1_weightings_differ_where_classes_do():
    found = random_geometry(4)
    features, label = _of(found, 4)
    here = features - found.mean[label]
    within = here.T @ here / len(label)
    means = found.mean - features.mean(axis=0)
    between = means.T @ means / found.classes
    expected = np.trace(within @ np.linalg.pinv(between, rcond=1e-8)) / found.classes
    assert nc.nc1(found, "sample") == pytest.approx(expected, rel=1e-9)
    assert nc.nc1(found, "sample") != pytest.approx(nc.nc1(found), rel=1e-3)


def _of(found, seed, classes=5, width=7, each=9):
    """The features and labels of `random_geometry`."""
    draw = np.random.default_rng(seed)
    counts = draw.integers(2, each, classes)
    label = np.repeat(np.arange(classes), counts)
    means = draw.standard_normal((classes, width))
    return means[label] + 0.3 * draw.standard_normal((len(label), width)), label


def test_nc1_from_the_scatter_in_the_span_of_the_means(monkeypatch):
    whole = random_geometry(5)
    monkeypatch.setattr("tasks.vision.geometry.stored.WIDEST", 6)
    spanned = random_geometry(5)
    assert spanned.within is None
    assert nc.nc1(spanned) == pytest.approx(nc.nc1(whole), rel=1e-10)
    assert nc.nc1_trace(spanned) == nc.nc1_trace(whole)


def test_another_weighting_is_refused():
    with pytest.raises(RecordError, match="unknown weighting 'images'; known: class, sample"):
        nc.nc1(toy(), "images")


def test_cdnv_of_a_group_is_over_its_pairs():
    means = np.array([[0.0, 0], [2, 0], [0, 10]])
    label = np.repeat(np.arange(3), 4)
    found = geometry((means[:, None] + CROSS).reshape(12, 2), label)
    assert nc.cdnv(found, [0, 1]) == pytest.approx(0.01 / 4)
    assert nc.cdnv(found) == pytest.approx((0.01 / 4 + 0.01 / 100 + 0.01 / 104) / 3)
    assert nc.cdnv(found, [1]) is None


# -- NC2


@pytest.mark.parametrize(("classes", "expected"), [(4, 0.517638), (10, 0.320364)])
def test_nc2_of_orthogonal_rows(classes, expected):
    assert nc.nc2_of(np.eye(classes)) == pytest.approx(expected, abs=1e-6)
    assert expected == pytest.approx(
        math.sqrt(2 - 2 * math.sqrt((classes - 1) / classes)), abs=1e-6
    )
    assert nc.nc2_of(np.eye(classes), orthogonal=True) == pytest.approx(0, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    classes=st.integers(3, 12),
    more=st.integers(-1, 6),
    number=st.integers(0, 999),
    scale=st.floats(1e-3, 1e3),
)
def test_an_exact_simplex_is_at_0_turned_scaled_and_permuted(classes, more, number, scale):
    frame = frames.simplex(classes, classes + more)
    arm = scale * frames.rotated(frames.permuted(frame, number % 4), number)
    assert nc.nc2_of(arm) == pytest.approx(0, abs=1e-7)
    found = collapsed(arm + 3, arm)
    assert nc.nc2_means(found) == pytest.approx(0, abs=1e-7)
    assert nc.nc2_weights(found) == pytest.approx(0, abs=1e-7)
    assert nc.nc3(found) == pytest.approx(0, abs=1e-7)
    assert nc.duality(found) == pytest.approx(0, abs=1e-12)
    assert nc.equinorm(arm) == pytest.approx(0, abs=1e-7)
    assert nc.equiangular(arm) == pytest.approx(0, abs=1e-7)
    assert nc.frame_gap(arm) == pytest.approx(0, abs=1e-12)
    assert nc.one_vs_rest(arm) == pytest.approx(classes / (classes - 1), abs=1e-8)


def test_weights_are_centred_on_request_alone():
    simplex = frames.simplex(4, 5)
    found = collapsed(simplex, simplex + 0.3)
    assert nc.nc2_weights(found) > 0.05
    assert nc.nc2_weights(found, centred=True) == pytest.approx(0, abs=1e-7)


def test_orthogonal_means_are_those_uncentred():
    found = collapsed(2 * np.eye(4))
    assert nc.nc2_orthogonal(found) == pytest.approx(0, abs=1e-12)
    assert nc.nc2_means(found) == pytest.approx(0, abs=1e-12)  # centred they are the simplex
    assert nc.nc2_of(found.mean) == pytest.approx(0.517638, abs=1e-6)


def test_norms_and_angles():
    rows = np.array([[1.0, 0], [0, 3]])
    assert nc.equinorm(rows) == pytest.approx(0.5)
    assert nc.equiangular(rows) == pytest.approx(1)
    assert nc.max_cos(rows) == pytest.approx(0)
    assert nc.min_angle(rows) == pytest.approx(90)
    assert nc.min_angle(np.array([[1.0, 0], [1, 0], [0, 1]])) == pytest.approx(0)


def test_two_classes_have_no_angles():
    found = collapsed(np.array([[1.0, 2], [3, 5]]), np.eye(2))
    assert nc.nc2_means(found) is None
    assert nc.nc2_weights(found, centred=True) is None
    assert nc.nc2_weights(found) == pytest.approx(math.sqrt(2 - 2 * math.sqrt(0.5)))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (frames.simplex(10, 16), 10 / 9),
        (np.concatenate([np.eye(3), -np.eye(3)]), 1),
        (frames.optimise(7, 2), 1 - math.cos(2 * math.pi / 7)),
        (5 * frames.optimise(10, 2), 1 - math.cos(2 * math.pi / 10)),
        (np.array([[1.0, 0], [1, 0], [0, 1]]), 0),
    ],
    ids=["simplex", "orthoplex", "heptagon", "decagon", "two merged"],
)
def test_one_vs_rest(rows, expected):
    assert nc.one_vs_rest(rows) == pytest.approx(expected, abs=1e-8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 8), width=st.integers(2, 9))
def test_one_vs_rest_is_the_nearest_point_of_the_hull(seed, classes, width):
    """Optimality of the nearest point p of a hull: <p, v - p> >= 0 for all corners v of the shifted hull."""
    rows = np.random.default_rng(seed).standard_normal((classes, width))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    least = min(_nearest_in_hull(unit, c) for c in range(classes))
    assert nc.one_vs_rest(rows) == pytest.approx(least, abs=1e-7)


def _nearest_in_hull(unit, c):
    """The minimum-norm point of a hull by Frank and Wolfe's pairwise steps, a second opinion."""
    corners = np.delete(unit, c, 0) - unit[c]
    weights = np.full(len(corners), 1 / len(corners))
    for _ in range(20000):
        point = weights @ corners
        slope = corners @ point
        toward = slope.argmin()
        away = np.where(weights > 0, slope, -np.inf).argmax()
        gap = slope[away] - slope[toward]
        if gap < 1e-14:
            break
        step = corners[toward] - corners[away]
        size = min(weights[away], gap / max(step @ step, 1e-300))
        weights[toward] += size
        weights[away] = 0 if size == weights[away] else weights[away] - size
    return float(np.linalg.norm(weights @ corners))


def test_one_vs_rest_above_the_limit_only_where_it_has_a_closed_form(monkeypatch):
    monkeypatch.setattr(nc, "MOST_HULLS", 5)
    assert nc.one_vs_rest(frames.simplex(6, 8)) == pytest.approx(6 / 5)
    assert nc.one_vs_rest(frames.optimise(6, 2)) is None


# -- NC3


@pytest.mark.parametrize(("degrees", "gap"), [(90, 1.414214), (30, 0.517638)])
def test_a_classifier_turned_against_the_means(degrees, gap):
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    found = collapsed(TRIANGLE, TRIANGLE @ turn)
    assert nc.nc3(found) == pytest.approx(gap, abs=1e-6)
    assert nc.nc3(found) == pytest.approx(2 * math.sin(angle / 2))
    assert nc.duality(found) == pytest.approx(1 - math.cos(angle))


def test_nc3_is_0_for_a_classifier_that_is_not_dual():
    stretch = np.diag([3.0, 1 / 5])
    found = collapsed(TRIANGLE @ np.linalg.inv(stretch), TRIANGLE @ stretch)
    assert nc.nc3(found) == pytest.approx(0, abs=1e-7)
    assert nc.duality(found) > 0.1


def test_bias_at_the_middle_of_the_means():
    found = collapsed(TRIANGLE + np.array([3, 4]), TRIANGLE, bias=[0, 0, 2.0])
    assert nc.nc_bias(found) == pytest.approx(np.linalg.norm(TRIANGLE @ [3, 4] + [0, 0, 2]))


# -- NC4 and margins


def test_decisions_of_head_and_nearest_mean():
    # the last sample of class 0 lies nearest to class 1's mean, but the head calls it class 0
    features = np.array([[1.0, 0], [1, 0], [0.3, 0.6], [0, 1], [0, 1]])
    label = np.array([0, 0, 0, 1, 1])
    found = geometry(features, label, np.array([[3.0, 0], [0, 1]]))
    assert nc.nc4(found) == pytest.approx(0.2)
    assert nc.ncc_top1(found) == pytest.approx(0.8)
    assert nc.top1(found) == 1
    assert nc.nll(found) > 0


def test_margin_of_logits():
    logits = np.array([[2, 1, 0.1], [0.5, 1.5, 0.2], [0.3, 0.2, 0.9]])
    found = checked(accumulate(np.eye(3), np.arange(3), logits), 3)
    assert nc.margin_min(found) == pytest.approx(0.6)
    assert nc.margin_min(found, [0, 1]) == pytest.approx(1)
    assert nc.margin_q01(found) == pytest.approx(np.quantile([1, 1, 0.6], 0.01))
    assert nc.margin_min(found, []) is None


def test_normalised_margin_of_the_simplex():
    simplex = frames.simplex(10, 12)
    found = collapsed(4 * simplex, 3 * simplex)
    for measure in (nc.margin_norm, nc.margin_norm_min, nc.margin_norm_q01):
        assert measure(found) == pytest.approx(0.745356, abs=1e-6)
        assert measure(found) == pytest.approx(math.sqrt(10 / 18))


def test_scale_of_the_head_leaves_the_normalised_margin():
    found = random_geometry(1)
    features, label = _of(found, 1)
    ten = geometry(features, label, 10 * found.weight, 10 * found.bias)
    for measure in (nc.margin_norm, nc.margin_norm_min, nc.margin_norm_q01):
        assert measure(ten) == pytest.approx(measure(found), rel=1e-5)
    assert nc.margin_min(ten) == pytest.approx(10 * nc.margin_min(found), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_normalised_margins_lie_in_1_without_a_bias(seed):
    draw = np.random.default_rng(seed)
    features, weight = draw.standard_normal((20, 4)), draw.standard_normal((5, 4))
    found = geometry(features, np.arange(20) % 5, weight)
    assert np.abs(found.margin_norm).max() <= 1 + 1e-6


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), decimals=st.integers(0, 2), size=st.floats(0.1, 4))
def test_least_margin_is_above_0_iff_all_samples_are_right(seed, decimals, size):
    """Rounded logits tie often: a tie is no hit."""
    draw = np.random.default_rng(seed)
    label = np.arange(8) % 3
    logits = np.round(draw.standard_normal((8, 3)) + size * np.eye(3)[label], decimals)
    found = checked(accumulate(draw.standard_normal((8, 2)), label, logits), 3)
    assert (nc.margin_min(found) > 0) == (nc.top1(found) == 1)


@pytest.mark.parametrize(
    ("classes", "a", "loss", "margin"),
    [(10, 5, 0.034202, 5.5556), (100, 10, 0.004055, 10.1010)],
)
def test_loss_and_margin_of_simplex_logits(classes, a, loss, margin):
    simplex = frames.simplex(classes, classes)
    found = collapsed(simplex, a * simplex, each=1)
    assert nc.nll(found) == pytest.approx(loss, abs=1e-6)
    assert nc.margin_min(found) == pytest.approx(margin, abs=1e-4)


# -- long tails


def test_seli_of_equal_counts_is_the_simplex():
    for gram in seli.grams([7] * 6):
        assert nc.gram_gap(gram, nc.simplex_gram(6)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "ratio", "g", "cos"), [(4, 10, 2.345208, 0.079446), (10, 100, 7.106335, 0.338026)]
)
def test_seli_of_a_step_profile(classes, ratio, g, cos):
    half = classes // 2
    weights, _ = seli.grams([ratio] * half + [1] * half)
    values = np.linalg.eigvalsh(weights)
    assert values[-half + 1 :] == pytest.approx([math.sqrt(ratio)] * (half - 1))
    assert sorted(values)[1] == pytest.approx(1)
    assert np.abs(values - math.sqrt((ratio + 1) / 2)).min() == pytest.approx(0, abs=1e-9)
    assert math.sqrt((ratio + 1) / 2) == pytest.approx(g, abs=1e-6)
    tail = seli.cosines(weights)[-1, -2]
    assert tail == pytest.approx(cos, abs=1e-6)
    assert tail == pytest.approx((g - 2) / (g + classes - 2), abs=1e-6)


def test_seli_is_what_the_singular_vectors_of_the_labels_give():
    counts = [5, 2, 1]
    label = np.repeat(np.arange(3), counts)
    interpolated = (np.eye(3) - 1 / 3)[:, label]
    v, size, u = np.linalg.svd(interpolated, full_matrices=False)
    kept = size > 1e-9
    v, size, u = v[:, kept], size[kept], u[kept]
    weights, means = seli.grams(counts)
    assert weights == pytest.approx((v * size) @ v.T)
    features = (u.T * size) @ u
    first = [0, 5, 7]
    assert means == pytest.approx(features[np.ix_(first, first)])


def test_seli_measures_are_0_at_seli():
    counts = [20, 5, 2, 2]
    grams = seli.grams(counts)
    roots = [
        vectors * np.sqrt(np.clip(values, 0, None))
        for values, vectors in map(np.linalg.eigh, grams)
    ]
    found = geometry(np.repeat(roots[1], counts, 0), np.repeat(np.arange(4), counts), roots[0])
    assert nc.seli_weights(found, counts) == pytest.approx(0, abs=1e-7)
    assert nc.seli_means(found, counts) == pytest.approx(0, abs=1e-7)
    assert nc.seli_weights(found, [7, 7, 7, 7]) == pytest.approx(nc.nc2_weights(found))
    assert nc.seli_weights(found, [7, 7, 7, 7]) > 0.1


@pytest.mark.parametrize("counts", [[5], [3, 0, 2], [[1, 2], [3, 4]]])
def test_seli_refuses_counts(counts):
    with pytest.raises(RecordError, match="at least two classes, each at least 1"):
        seli.grams(counts)


# -- what is not defined


def test_a_class_without_samples_is_left_out_of_means():
    simplex = frames.simplex(5, 6)
    label = np.repeat([0, 1, 2, 4], 3)
    found = geometry(simplex[label], label, simplex, classes=5)
    assert found.present.tolist() == [0, 1, 2, 4]
    # a face of a simplex is a simplex
    assert nc.nc2_means(found) == pytest.approx(0, abs=1e-7)
    assert nc.nc3(found) == pytest.approx(0, abs=1e-7)
    assert nc.nc1(found) == pytest.approx(0, abs=1e-12)
    assert nc.duality(found) is None
    assert nc.seli_means(found, [3] * 5) is None
    assert nc.seli_weights(found, [3] * 5) == pytest.approx(0, abs=1e-7)
    assert nc.seli_weights(found, [3, 3, 3, 0, 3]) is None
    assert nc.cdnv(found, [3, 4]) is None
    assert np.isnan(nc.mean_norms(found)[3]) and np.isnan(nc.class_margins(found)[3])


def test_without_a_linear_layer():
    found = toy()
    for measure in (nc.nc2_weights, nc.nc3, nc.duality, nc.nc_bias, nc.nc4, nc.margin_norm):
        assert measure(found) is None
    assert nc.seli_weights(found, [4, 4, 4]) is None
    assert np.isnan(nc.weight_norms(found)).all()
    assert nc.nc1(found) is not None and nc.margin_min(found) is not None


def test_coinciding_means():
    found = geometry(np.tile(CROSS, (3, 1)), np.repeat(np.arange(3), 4), TRIANGLE)
    for measure in (nc.nc1, nc.nc1_trace, nc.cdnv, nc.nc2_means, nc.nc3, nc.duality):
        assert measure(found) is None


def test_class_values():
    found = random_geometry(2)
    label = found.label
    for c in range(5):
        own = found.margin[label == c]
        assert nc.class_margins(found)[c] == pytest.approx(np.quantile(own, 0.01))
    middle = found.mean.mean(axis=0)
    assert nc.mean_norms(found) == pytest.approx(np.linalg.norm(found.mean - middle, axis=1))


# -- the terminal phase


def points(*accuracies, nc1=None):
    steps = len(accuracies)
    return [
        Point(share=(k + 1) / steps, train=train, test=test, nc1=nc1[k] if nc1 else None)
        for k, (train, test) in enumerate(accuracies)
    ]


def test_terminal_phase_begins_where_accuracy_1_is_never_left_again():
    run = points((0.9, 0.5), (1, 0.6), (0.99, 0.55), (1, 0.7), (1, 0.8))
    assert fitted(run) == 3
    assert tpt_start(run) == pytest.approx(0.8)
    assert tpt_gain(run) == pytest.approx(0.1)


def test_a_run_that_never_fits_has_no_terminal_phase():
    for run in (points((0.9, 0.5), (1, 0.6), (0.99, 0.7)), []):
        assert fitted(run) is tpt_start(run) is tpt_gain(run) is tpt_rho(run) is None


def test_rank_correlation_over_the_terminal_phase():
    rising = [(0.5, 0.99)] + [(1, 0.5 + k / 100) for k in range(5)]
    falling = [9.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    assert tpt_rho(points(*rising, nc1=falling)) == pytest.approx(-1)
    assert tpt_rho(points(*rising[:-1], nc1=falling)) is None  # four points
    assert tpt_rho(points(*rising, nc1=[*falling[:-1], 0.0])) is None
    assert tpt_rho(points(*[(1, 0.5)] * 6, nc1=falling)) is None
    # ties have their mean rank: ranks 1, 2.5, 2.5, 4, 5 against 5, 4, 3, 2, 1
    tied = [(1, test) for test in (0.1, 0.2, 0.2, 0.3, 0.4)]
    assert tpt_rho(points(*tied, nc1=falling[:5])) == pytest.approx(-9.5 / math.sqrt(10 * 9.5))
