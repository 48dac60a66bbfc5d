import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.longtail_seg import score_bins
from tasks.longtail_seg.pixel_auc import PixelAUC

SCORES = np.array(
    [[0.9, 0.2, 0.1], [0.6, 0.3, 0.3], [0.2, 0.8, 0.4], [0.1, 0.5, 0.7]], np.float32
).T
LABEL = np.array([0, 0, 1, 2])
ROUNDING = 1e-12


def brute_force(scores, label):
    """Share of all pairs of pixels that stand in the right order, ties by half, counted in sorted scores."""
    classes = len(scores)
    auc = np.full((classes, classes), np.nan)
    for i, j in itertools.permutations(range(classes), 2):
        own, other = scores[i, label == i], np.sort(scores[i, label == j])
        if own.size and other.size:
            below, up_to = (np.searchsorted(other, own, side) for side in ("left", "right"))
            auc[i, j] = np.mean(below + up_to) / (2 * other.size)
    return auc


def sketch(scores, label, **kwargs):
    metric = PixelAUC(len(scores), **kwargs)
    metric.update(scores, label)
    return metric


def softmax_pixels(temperature, classes=5, count=3000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (count,), generator=generator)
    logits = torch.randn(classes, count, generator=generator)
    logits[label, torch.arange(count)] += 1
    return (logits * temperature).softmax(0), label


@pytest.mark.parametrize(("changed", "known"), [(0.6, 1.0), (0.15, 11 / 12), (0.2, 23 / 24)])
def test_worked_example(changed, known):
    scores = SCORES.copy()
    scores[0, 1] = changed
    result = sketch(scores, LABEL).compute()
    assert abs(result.value - known) <= result.error_bound + ROUNDING
    assert result.error_bound < 0.05


floats = st.one_of(
    st.sampled_from([0.0, 1e-45, 1e-30, 0.25, 0.5, 0.75, 1 - 2**-24, 1.0]),
    st.floats(0, 1, width=32),
)


@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(
        st.tuples(st.integers(0, 2), st.tuples(floats, floats, floats)), min_size=1, max_size=30
    ),
    bins=st.sampled_from([16, 64, 4096]),
    split=st.integers(0, 30),
)
def test_truth_lies_within_the_bound(data, bins, split):
    label = np.array([index for index, _ in data])
    scores = np.array([row for _, row in data], np.float32).T
    # No buffer: the bins come from the first part only.
    metric = PixelAUC(3, bins, buffer_bytes=0)
    metric.update(scores[:, :split], label[:split])
    metric.update(scores[:, split:], label[split:])
    result, truth = metric.compute(), brute_force(scores, label)
    assert np.array_equal(np.isnan(result.per_pair), np.isnan(truth))
    if np.isnan(truth).all():
        assert np.isnan(result.value)
    else:
        assert abs(result.value - np.nanmean(truth)) <= result.error_bound + ROUNDING


@pytest.mark.parametrize("scores", [[0.0, 1.0], [1 - 2**-24, 1.0], [0.0, 0.0], [1.0, 1.0]])
def test_ties_at_the_ends_are_exact(scores):
    rows = np.array(list(itertools.product(scores, repeat=2)) * 2, np.float32).T
    label = np.arange(8) // 4
    result = sketch(rows, label).compute()
    assert result.error_bound == 0
    assert result.value == pytest.approx(np.nanmean(brute_force(rows, label)), abs=ROUNDING)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0, 200.0])
@pytest.mark.parametrize("classes", [5, 19])
def test_bound_and_error_are_small_for_soft_and_confident_scores(temperature, classes):
    scores, label = softmax_pixels(temperature, classes, 20_000)
    result = sketch(scores, label).compute()
    assert result.error_bound < 1e-3
    truth = np.nanmean(brute_force(scores.numpy(), label.numpy()))
    assert abs(result.value - truth) <= result.error_bound + ROUNDING


def test_bins_from_other_data_keep_an_honest_bound():
    first, later = softmax_pixels(0.05, count=500), softmax_pixels(5.0, count=4000, seed=1)
    metric = PixelAUC(5, buffer_bytes=0)
    metric.update(*first)
    metric.update(*later)
    scores = torch.cat([first[0], later[0]], 1).numpy()
    truth = np.nanmean(brute_force(scores, torch.cat([first[1], later[1]]).numpy()))
    result = metric.compute()
    assert abs(result.value - truth) <= result.error_bound + ROUNDING
    assert result.error_bound < 0.02


@pytest.mark.parametrize("buffer_bytes", [0, 1 << 20])
def test_merging_in_any_order_agrees_within_the_bounds(buffer_bytes):
    parts = [
        softmax_pixels(temperature, count=1500, seed=seed)
        for seed, temperature in enumerate((0.1, 1.0, 20.0))
    ]
    scores = torch.cat([part for part, _ in parts], 1).numpy()
    truth = np.nanmean(brute_force(scores, torch.cat([part for _, part in parts]).numpy()))
    totals = set()
    for order in itertools.permutations(parts):
        left = PixelAUC(5, buffer_bytes=buffer_bytes)
        for part in order:
            left.merge(sketch(*part, buffer_bytes=buffer_bytes))
        right = sketch(*order[1], buffer_bytes=buffer_bytes)
        right.merge(sketch(*order[2], buffer_bytes=buffer_bytes))
        outer = sketch(*order[0], buffer_bytes=buffer_bytes)
        outer.merge(right)
        for metric in (left, outer):
            result = metric.compute()
            assert abs(result.value - truth) <= result.error_bound + ROUNDING
            assert result.error_bound < 0.02
            totals.add(int(metric.state()["counts"].sum()))
    assert totals == {5 * 4500}


@pytest.mark.parametrize(("mine", "theirs"), [(0, 1 << 20), (1 << 20, 0)])
def test_merging_before_and_after_the_bins_are_chosen(mine, theirs):
    parts = [softmax_pixels(1.0, count=1500, seed=seed) for seed in (0, 1)]
    metric = sketch(*parts[0], buffer_bytes=mine)
    other = sketch(*parts[1], buffer_bytes=theirs)
    before = other.compute().value
    metric.merge(other)
    assert other.compute().value == before
    assert metric.state()["counts"].sum() == 5 * 3000


def test_asking_midway_changes_nothing():
    asked, quiet = PixelAUC(5), PixelAUC(5)
    for seed in range(3):
        for metric in (asked, quiet):
            metric.update(*softmax_pixels(1.0, seed=seed))
        asked.compute()
        asked.state()
    assert asked.compute().value == quiet.compute().value


def test_ignored_pixels_and_image_shapes():
    scores, label = softmax_pixels(1.0, count=1200)
    image, hidden = scores.reshape(5, 30, 40), label.reshape(30, 40).clone()
    hidden[::2] = 255
    keep = (hidden != 255).flatten()
    expected = sketch(scores[:, keep], label[keep]).compute()
    assert sketch(image, hidden).compute().value == expected.value
    assert sketch(image.numpy(), hidden.numpy()).compute().value == expected.value
    shifted = PixelAUC(5)
    shifted.update(image, hidden.masked_fill(hidden == 255, 99), ignore_index=99)
    assert shifted.compute().value == expected.value


def test_fewer_than_two_classes_have_no_value():
    empty = PixelAUC(3).compute()
    single = sketch(SCORES, np.zeros(4, int)).compute()
    ignored = sketch(SCORES, np.full(4, 255)).compute()
    for result in (empty, single, ignored):
        assert np.isnan(result.value)
        assert np.isnan(result.error_bound)
        assert np.isnan(result.per_pair).all()


def test_keys_grow_with_scores():
    ends = np.array([0, 1e-45, 1e-38, 0.5 - 2**-25, 0.5, 0.5 + 2**-24, 1 - 2**-24, 1], np.float32)
    scores = np.unique(np.concatenate([ends, np.random.default_rng(0).random(1000, np.float32)]))
    keys = score_bins.keys_of(torch.from_numpy(scores)).numpy().astype(np.int64) & 0xFFFFFFFF
    assert (np.diff(keys) > 0).all()


def test_lookup_agrees_with_searching_the_bins():
    scores, label = softmax_pixels(3.0)
    metric = sketch(scores, label, buffer_bytes=0)
    for channel, (counts, part) in enumerate(metric._by_channel()):
        keys = score_bins.keys_of(scores[channel]).numpy().astype(np.int64) & 0xFFFFFFFF
        expected = np.bincount(part.locate(keys), minlength=part.bins)
        assert np.array_equal(counts.sum(0)[: part.bins], expected)
        assert part.bins <= metric.bins + 1


@pytest.mark.parametrize("buffer_bytes", [0, 1 << 20])
def test_state_roundtrip(tmp_path, buffer_bytes):
    metric = sketch(*softmax_pixels(1.0), buffer_bytes=buffer_bytes)
    np.savez_compressed(tmp_path / "state.npz", **metric.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as arrays:
        again = PixelAUC.from_state(arrays)
    assert again.compute().value == metric.compute().value
    assert again.compute().error_bound == metric.compute().error_bound
    more = softmax_pixels(1.0, seed=1)
    again.update(*more)
    assert again.state()["counts"].sum() == 5 * 6000


def negative(counts):
    counts = counts.astype(np.int64)
    counts[0, 0] = -1
    return counts


def one_more(counts):
    counts = counts.astype(np.int64)
    counts[0, 0] += 1
    return counts


def misaligned(shift):
    shift = shift.copy()
    shift[0, :4] = [23, 20, 23, 23]
    return shift


HOSTILE = {
    "missing array": {"counts": None},
    "float counts": {"counts": lambda value: value.astype(float)},
    "pickled counts": {"counts": lambda value: value.astype(object)},
    "negative counts": {"counts": negative},
    "channels disagree": {"counts": one_more},
    "overflow": {"counts": lambda value: np.full_like(value, 2**62, np.int64)},
    "truncated counts": {"counts": lambda value: value[:, :-1]},
    "flat counts": {"counts": np.ravel},
    "memory bomb": {"shift": np.zeros_like},
    "huge shift": {"shift": lambda value: np.full_like(value, 200)},
    "misaligned bins": {"shift": misaligned},
    "short shift": {"shift": lambda value: value[:, :-1]},
    "no class": {"shift": lambda value: value[:0]},
    "one class": {"shift": lambda value: value[:1], "counts": lambda value: value[:1]},
    "bins": {"bins": lambda _: np.array(10**9)},
    "vector bins": {"bins": lambda _: np.array([64])},
    "other schema": {"schema": lambda _: np.array(2)},
    "extra array": {"more": lambda _: np.zeros(1)},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_state_is_refused(case):
    state = sketch(*softmax_pixels(1.0, count=500), bins=64).state()
    for name, change in HOSTILE[case].items():
        if change is None:
            del state[name]
        else:
            state[name] = change(state.get(name))
    with pytest.raises(ValueError, match="PixelAUC"):
        PixelAUC.from_state(state)


@pytest.mark.parametrize(
    ("scores", "label"),
    [
        (SCORES + 0.5, LABEL),
        (SCORES - 0.5, LABEL),
        (np.where(SCORES > 0.8, np.nan, SCORES), LABEL),
        (SCORES, LABEL + 1),
        (SCORES, LABEL - 1),
        (SCORES[:2], LABEL),
        (SCORES, LABEL[:3]),
        (SCORES[0], LABEL),
    ],
)
def test_unfit_updates_are_refused_and_not_counted(scores, label):
    metric = sketch(SCORES, LABEL)
    with pytest.raises(ValueError, match="PixelAUC"):
        metric.update(scores, label)
    assert metric.state()["counts"].sum() == 3 * 4


def test_other_class_counts_do_not_merge():
    with pytest.raises(ValueError, match="4 classes into 3"):
        PixelAUC(3).merge(PixelAUC(4))


@pytest.mark.parametrize("kwargs", [{"num_classes": 1}, {"num_classes": 3, "bins": 8}])
def test_invalid_arguments_are_refused(kwargs):
    with pytest.raises(ValueError, match="PixelAUC"):
        PixelAUC(**kwargs)
