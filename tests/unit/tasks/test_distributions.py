"""Test label distributions: sizes of the published sets, the Dirichlet draws, subsets, priors of a user."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from suite.base.errors import DataError, UserError
from tasks.test_agnostic.distributions import (
    Meta,
    check_prior,
    class_order,
    component_mean,
    dirichlet_counts,
    draw_subset,
    prior_counts,
    read_prior,
    shifted_counts,
    shifted_subset,
    symmetric_counts,
)

KINDS = ("forward", "uniform", "backward")
C100, C10 = [100] * 100, [1000] * 10
IMAGENET, PLACES, NATURAL = [50] * 1000, [100] * 365, [3] * 8142
NAMES = ("cat", "dog", "7", "car, red")

# test images of each class, ratio, images of the set: the published ones
TABLE = [
    *((C100, r, n) for r, n in ((2, 7166), (5, 4932), (10, 3876), (25, 2956), (50, 2486), (100, 2131))),
    *((C10, r, n) for r, n in ((2, 7241), (5, 5081), (10, 4084), (25, 3229), (50, 2795), (100, 2478))),
    *((IMAGENET, r, n) for r, n in ((2, 35574), (5, 24365), (10, 19059), (25, 14437), (50, 12058))),
    *((PLACES, r, n) for r, n in ((2, 26155), (5, 17970), (10, 14103), (25, 10727), (50, 8989))),
    (NATURAL, 2, 12906),
    # the whole test sets; ImageNet-LT's val list has 20 a class
    *((sizes, 1, n) for sizes, n in ((C100, 10000), (C10, 10000), (IMAGENET, 50000))),
    *((sizes, 1, n) for sizes, n in (([20] * 1000, 20000), (PLACES, 36500), (NATURAL, 24426))),
]  # fmt: skip

several = strategies.lists(strategies.integers(0, 40), min_size=1, max_size=12)


def draws(sizes, meta, kind, number, seed=1):
    order, rng = np.arange(len(sizes)), np.random.default_rng(seed)
    return np.array([dirichlet_counts(sizes, order, meta, kind, rng) for _ in range(number)])


def drawn_order(data, classes):
    return np.array(data.draw(strategies.permutations(range(classes))), dtype=np.int64)


def labels_of(sizes):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


def test_order():
    assert class_order([5, 9, 9, 1, 20]).tolist() == [4, 1, 2, 0, 3]
    ties = np.random.default_rng(0).integers(0, 9, 300).tolist()
    assert class_order(ties).tolist() == sorted(range(300), key=lambda c: (-ties[c], c))
    assert class_order([3]).dtype == np.int64


@pytest.mark.parametrize(("sizes", "ratio", "total"), TABLE)
def test_published_sizes(sizes, ratio, total):
    order = np.arange(len(sizes))
    assert sum(shifted_counts(sizes, order, ratio)) == total
    assert sum(shifted_counts(sizes, order, ratio, backward=True)) == total


def test_natural_3_is_not_the_published_list():
    # its lists are shipped with the code: 11147 images forward, 11137 backward, with 1 and 8 classes without
    # an image. The formula gives every class one, and the forward list's counts in all other classes
    order = np.arange(8142)
    counts = shifted_counts(NATURAL, order, 3)
    assert (sum(counts), min(counts), sum(counts[:-1])) == (11148, 1, 11147)
    assert sum(shifted_counts(NATURAL, order, 3, backward=True)) == 11148


def test_shifted_counts_follow_the_order():
    order = class_order([3, 50, 7, 20])
    assert shifted_counts([80] * 4, order, 8) == (10, 80, 20, 40)
    assert shifted_counts([80] * 4, order, 8, backward=True) == (80, 10, 40, 20)
    assert shifted_counts([80, 0, 8, 80], order, 8) == (10, 0, 2, 40)
    assert shifted_counts([9], np.array([0]), 50) == (9,)
    assert shifted_counts([0], np.array([0]), 50, backward=True) == (0,)


@pytest.mark.parametrize("ratio", [0, 0.5, -2, math.nan, math.inf])
def test_ratio_below_1(ratio):
    with pytest.raises(UserError, match=r"at least 1$"):
        shifted_counts([5, 5], np.arange(2), ratio)


@settings(max_examples=60, deadline=None)
@given(sizes=several, ratio=strategies.floats(1, 1000), data=strategies.data())
def test_properties_of_shifted_counts(sizes, ratio, data):
    order = drawn_order(data, len(sizes))
    for backward in (False, True):
        counts = shifted_counts(sizes, order, ratio, backward)
        assert all(0 <= n <= size for n, size in zip(counts, sizes, strict=True))
        assert counts == shifted_counts(sizes, order[::-1], ratio, not backward)
        equal = np.array(shifted_counts([30] * len(sizes), order, ratio, backward))[order]
        falling = equal[::-1] if backward else equal
        assert (np.diff(falling) <= 0).all() and falling[0] == 30


@settings(max_examples=40, deadline=None)
@given(sizes=several, data=strategies.data())
def test_subsets_have_the_counts(sizes, data):
    counts = [data.draw(strategies.integers(0, n)) for n in sizes]
    label = labels_of(sizes)
    drawn = draw_subset(label, counts, np.random.default_rng(data.draw(strategies.integers(0, 9))))
    for images in (shifted_subset(label, counts), drawn):
        assert images.dtype == np.int64 and len(set(images.tolist())) == len(images)
        # class after class
        assert label[images].tolist() == np.repeat(np.arange(len(counts)), counts).tolist()
    np.random.seed(len(sizes))
    np.testing.assert_array_equal(shifted_subset(label, counts), shifted_subset(label, counts))


def test_shifted_subset_is_of_the_seeded_shuffle():
    # the protocol: numpy's global generator seeded with 0, each class's places shuffled in turn
    label = labels_of([30, 20, 10])
    legacy, expected = np.random.RandomState(0), []
    for c, count in enumerate([30, 8, 3]):
        places = np.flatnonzero(label == c)
        legacy.shuffle(places)
        expected += places[:count].tolist()
    assert shifted_subset(label, [30, 8, 3]).tolist() == expected


def test_drawn_subsets_are_random():
    label, rng = labels_of([30, 30]), np.random.default_rng(0)
    times = np.zeros(60)
    for _ in range(2000):
        times[draw_subset(label, [6, 30], rng)] += 1
    assert (times[label == 1] == 2000).all()
    # 400 expected, sd 18
    assert (abs(times[label == 0] - 400) < 90).all()


@pytest.mark.parametrize(
    "subset", [shifted_subset, lambda label, n: draw_subset(label, n, np.random.default_rng(0))]
)
def test_too_few_images(subset):
    with pytest.raises(DataError, match=r"^class 1 has 2 test images, 3 are asked for$"):
        subset(np.array([0, 1, 0, 1, 0]), [3, 3])
    with pytest.raises(DataError, match="class 2 has 0 test images"):
        subset(np.array([0, 1]), [1, 1, 1])


# test images, sum of the parameters, component, mean and sd of a set's images, and of the classes with one
# image the mean: of the method sheet. The tolerances are that of its figures, which are of few draws: 4 %
# of a mean (5 % for ImageNet), a fifth of an sd
DRAWN = [
    (C100, 100, "uniform", 2002, 411, None, 400, 0.04),
    (C100, 100, "forward", 1319, 231, 45, 400, 0.04),
    (C100, 100, "backward", 1357, 256, 45, 400, 0.04),
    (C10, 1000, "uniform", 8578, 419, 0, 400, 0.02),
    (C10, 1000, "forward", 2479, 104, 0, 400, 0.02),
    (IMAGENET, 10_000, "uniform", 20600, None, None, 60, 0.05),
    (IMAGENET, 10_000, "forward", 8100, None, None, 60, 0.03),
    (IMAGENET, 10_000, "backward", 8100, None, None, 60, 0.03),
]


@pytest.mark.parametrize(
    ("sizes", "mass", "kind", "mean", "spread", "single", "number", "within"), DRAWN
)
def test_sizes_of_dirichlet_sets(sizes, mass, kind, mean, spread, single, number, within):
    found = draws(sizes, Meta(0.01, mass), kind, number)
    assert found.sum(axis=1).mean() == pytest.approx(mean, rel=within)
    if spread is not None:
        assert found.sum(axis=1).std() == pytest.approx(spread, rel=0.2)
    if single is not None:
        assert (found == 1).sum(axis=1).mean() == pytest.approx(single, abs=1.5)
    assert (found.max(axis=1) == sizes[0]).all() and found.min() >= 1


@pytest.mark.parametrize(
    ("classes", "mass", "spread"),
    [(100, 100, 0.99), (100, 10_000, 0.0995), (10, 1000, 0.0948), (10, 10_000, 0.03)],
)
def test_relative_spread_of_a_uniform_component(classes, mass, spread):
    # so many images a class that shares are not truncated; Dir(a): sd / mean = sqrt((C - 1) / (mass + 1))
    assert math.sqrt((classes - 1) / (mass + 1)) == pytest.approx(spread, rel=0.01)
    found = draws([10**9] * classes, Meta(0.01, mass, jitter=0), "uniform", 10_000 // classes)
    shares = found / found.sum(axis=1, keepdims=True)
    assert shares.std() * classes == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_component_mean(kind):
    order, rng = class_order([4, 40, 400, 4000]), np.random.default_rng(4)
    found = np.array(
        [dirichlet_counts([10**6] * 4, order, Meta(0.1, 50), kind, rng) for _ in range(2000)]
    )
    shares = (found / found.sum(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(shares, component_mean(order, 0.1, kind), atol=0.005)


def test_component_mean():
    order = np.array([2, 0, 1])
    np.testing.assert_allclose(component_mean(order, 0.01, "forward"), np.array([10, 1, 100]) / 111)
    np.testing.assert_allclose(
        component_mean(order, 0.01, "backward"), np.array([10, 100, 1]) / 111
    )
    np.testing.assert_allclose(component_mean(order, 0.01, "uniform"), [1 / 3] * 3)
    assert component_mean(np.array([0]), 0.01, "backward").tolist() == [1.0]


def test_jitter_spreads_and_truncation_leaves_a_floor():
    # a mass so large that the draw is its mean: the jitter alone is left
    rng, order = np.random.default_rng(0), np.arange(50)
    sizes, meta = [10**6] * 50, Meta(0.01, 1e14)
    found = np.array([dirichlet_counts(sizes, order, meta, "uniform", rng) for _ in range(40)])
    assert 0.95 / 1.05 <= found.min() / 10**6 < 0.92
    still = dirichlet_counts(sizes, order, Meta(0.01, 1e14, jitter=0), "uniform", rng)
    assert min(still) > 0.9999 * 10**6
    # int(50 / 100) = 0: the last class has a parameter of 1e-7, so an image only for `least`
    low = [draws([50] * 5, Meta(0.01, 100, least=n), "forward", 50)[:, 4] for n in (0, 1)]
    assert set(low[0].tolist()) == {0} and set(low[1].tolist()) == {1}


@settings(max_examples=60, deadline=None)
@given(
    sizes=several,
    factor=strategies.floats(0.001, 1),
    mass=strategies.floats(1e-6, 1e6),
    least=strategies.integers(0, 3),
    seed=strategies.integers(0, 2**32 - 1),
    data=strategies.data(),
)
def test_properties_of_drawn_counts(sizes, factor, mass, least, seed, data):
    order, kind = drawn_order(data, len(sizes)), data.draw(strategies.sampled_from(KINDS))
    mirrored = {"forward": "backward", "backward": "forward", "uniform": "uniform"}[kind]

    def drawn(order, kind):
        rng = np.random.default_rng(seed)
        return dirichlet_counts(sizes, order, Meta(factor, mass, least=least), kind, rng)

    counts = drawn(order, kind)
    symmetric = symmetric_counts(sizes, mass, np.random.default_rng(seed), least)
    for found in (counts, symmetric):
        assert all(isinstance(n, int) for n in found)
        assert all(min(least, s) <= n <= s for n, s in zip(found, sizes, strict=True))
        # a class has the largest share, and all the images there are up to the largest class's
        assert any(n == s for n, s in zip(found, sizes, strict=True))
        assert (sum(found) > 0) == (sum(sizes) > 0)
    assert counts == drawn(order[::-1], mirrored)


def test_global_generator_is_left_alone():
    label = labels_of([20] * 5)

    def made(seed):
        np.random.seed(seed)
        before = np.random.get_state()[1].tolist()
        rng = np.random.default_rng(3)
        counts = dirichlet_counts([20] * 5, np.arange(5), Meta(0.1, 5), "forward", rng)
        images = draw_subset(label, counts, rng).tolist(), shifted_subset(label, counts).tolist()
        other = symmetric_counts([20] * 5, 1, rng)
        assert np.random.get_state()[1].tolist() == before
        return counts, images, other

    assert made(0) == made(1)


def test_concentration():
    def sizes_of(alpha):
        rng = np.random.default_rng(0)
        return np.mean([sum(symmetric_counts([100] * 10, alpha, rng)) for _ in range(200)])

    assert sizes_of(1e-6) == pytest.approx(109, abs=0.5)
    assert sizes_of(0.1) < sizes_of(1) < sizes_of(100)
    assert sizes_of(1e308) == 1000
    for alpha in (0, -1, math.nan, math.inf):
        with pytest.raises(UserError, match="a number above 0"):
            symmetric_counts([5, 5], alpha, np.random.default_rng(0))


@pytest.mark.parametrize(
    "made",
    [
        lambda kind: component_mean(np.arange(3), 0.1, kind),
        lambda kind: dirichlet_counts(
            [5] * 3, np.arange(3), Meta(0.1, 5), kind, np.random.default_rng(0)
        ),
    ],
)
def test_unknown_component(made):
    with pytest.raises(UserError, match="unknown component 'foward'; did you mean forward"):
        made("foward")


def test_prior_counts():
    assert prior_counts([100, 100, 100], [0.5, 0.25, 0.25]) == (100, 50, 50)
    assert prior_counts([10, 100, 100], [0.5, 0.3, 0.2]) == (10, 6, 4)
    assert prior_counts([10, 0, 10], [0.9, 0, 0.1]) == (10, 0, 1)
    assert prior_counts([7], [1.0]) == (7,)
    # 49 / 49 of a share is no whole number in floating point
    assert prior_counts([49] * 3, [1 / 3] * 3) == (49, 49, 49)
    assert prior_counts([1000, 1000], [1 - 1e-9, 1e-9]) == (1000, 0)


@settings(max_examples=60, deadline=None)
@given(data=strategies.data(), sizes=strategies.lists(strategies.integers(1, 500), min_size=1))
def test_properties_of_prior_counts(data, sizes):
    parts = [data.draw(strategies.integers(0, 50)) for _ in sizes]
    parts[0] += 1
    prior = [part / sum(parts) for part in parts]
    counts = prior_counts(sizes, prior)
    assert all(0 <= n <= size for n, size in zip(counts, sizes, strict=True))
    # exactly: the limiting class has all its images, and no class is short of its share by an image
    limiting = min(
        (c for c in range(len(sizes)) if parts[c]), key=lambda c: (sizes[c] / parts[c], c)
    )
    for n, part in zip(counts, parts, strict=True):
        assert n == sizes[limiting] * part // parts[limiting]


def test_prior_without_a_set():
    with pytest.raises(UserError, match=r"gives class 1 the share 0\.2, but the test set has no"):
        prior_counts([5, 0, 5], [0.4, 0.2, 0.4])
    with pytest.raises(UserError, match="every class is rounded down to 0"):
        prior_counts([5, 5], [0.0, 0.0])


def test_check_prior():
    assert check_prior([0.5, 0.5], 2, "here") == (0.5, 0.5)
    near = check_prior([0.5004, 0.5], 2, "here")
    assert near == (0.5004 / 1.0004, 0.5 / 1.0004)
    assert check_prior([1], 1, "here") == (1.0,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 0.5], "here: 2 shares, expected 3, one a class"),
        ([0.5, 0.6, -0.1], "here: the share of class 2 is -0.1; shares are 0 or more"),
        ([math.nan, 0.5, 0.5], "here: the share of class 0 is nan, which is no number"),
        ([0, math.inf, 0], "here: the share of class 1 is inf, which is no number"),
        ([20, 30, 50], "here: the shares sum to 100, not to 1; divide each by 100"),
        ([0.5, 0.5, 0.0011], "here: the shares sum to 1.0011, not to 1; divide each by 1.0011"),
        ([0, 0, 0], "here: the shares sum to 0, not to 1"),
        ([1e308, 1e308, 0], "here: the shares sum to inf, not to 1"),
    ],
)
def test_bad_prior(values, message):
    with pytest.raises(UserError) as raised:
        check_prior(values, 3, "here")
    assert str(raised.value) == message


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@settings(max_examples=40, deadline=None)
@given(data=strategies.data(), weights=strategies.lists(strategies.integers(1, 99), min_size=2))
def test_written_priors_are_read(tmp_path_factory, data, weights):
    prior = check_prior([w / sum(weights) for w in weights], len(weights), "here")
    names = [f'class, "{c}"' for c in range(len(prior))]
    path = tmp_path_factory.getbasetemp() / "prior.csv"
    header = data.draw(strategies.booleans())
    ids = data.draw(strategies.lists(strategies.booleans(), min_size=len(prior)))
    for lines in (
        [[repr(share)] for share in prior],
        data.draw(
            strategies.permutations(
                [[str(c) if ids[c] else names[c], repr(share)] for c, share in enumerate(prior)]
            )
        ),
    ):
        with path.open("w", encoding="utf-8-sig" if header else "utf-8", newline="") as file:
            csv.writer(file).writerows([["class", "share"][-len(lines[0]) :]] * header + lines)
        # dividing by the sum once more moves by an ulp at most
        assert read_prior(path, names) == pytest.approx(prior, rel=1e-15, abs=0)


def test_forms_of_a_prior_file(tmp_path):
    file = tmp_path / "p.csv"
    expected = (0.5, 0.25, 0.125, 0.125)
    for text in (
        "0.5\n0.25\n0.125\n0.125\n",
        "\ufeff0.5\n0.25\n0.125\n0.125\n",
        "share\r\n0.5\r\n\r\n 0.25 \r\n1.25e-1\r\n0.125",
        '"car, red",0.125\n1,0.25\n cat ,0.5\n2,0.125\n',
        # a name before an id: class 2 is called 7
        "7,0.125\ndog,0.25\ncat,0.5\n3,0.125\n",
    ):
        assert read_prior(write(file, text), NAMES) == expected
    assert read_prior(write(file, "class,share\n1,0.25\n0,0.75\n"), ("1", "0")) == (0.25, 0.75)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ": holds no shares"),
        ("class,share\n", ": holds no shares"),
        ("0.5\n0.5\n", ": 2 shares, expected 4"),
        ("0.5\nx\n0.25\n0.25\n", ", line 2: 'x' is no share"),
        ("class,share\ncat,0.5\ndog,half\n", ", line 3: 'dog,half' is no share"),
        # no header: the class exists
        ("cat,0.5x\ndog,0.5\n", ", line 1: 'cat,0.5x' is no share"),
        ("cat,0.5\n0.5\n", ", line 2: '0.5' is no share"),
        ("cat,0.5,1\n", ", line 1: 3 columns, expected 1 or 2"),
        ("cat,0.5\ncta,0.5\n", ", line 2: unknown class 'cta'; did you mean cat"),
        ("cat,0.5\n4,0.5\n", ", line 2: unknown class '4'"),
        ("cat,0.5\n-1,0.5\n", ", line 2: unknown class '-1'"),
        ("cat,0.5\n" + "9" * 9000 + ",0.5\n", ", line 2: unknown class '9999"),
        ("cat,0.5\n\n0,0.5\n", ", line 3: class '0' for the second time"),
        ("cat,0.5\n7,0.5\n", ": no share of class 'dog' (and 1 more classes)"),
        ("cat,0.5\ndog,0.2\n7,0.3\n", ": no share of class 'car, red'"),
        ("cat,0.9\ndog,-0.1\n7,0.1\n3,0.1\n", ", line 2: the share of class 'dog' is -0.1; shares are 0 or more"),
        ("0.5\n0.5\nnan\n0\n", ", line 3: the share of class 2 is nan, which is no number"),
        ("cat,50\ndog,25\n7,25\n3,0\n", ": the shares sum to 100, not to 1; divide each by 100"),
        (b"\xff\xfe0\x00", ": cannot be read as CSV"),
        ("x" * 200_000, ": cannot be read as CSV"),
        ("0" * 10_000_001, ": larger than 10 MB"),
    ],
)  # fmt: skip
def test_bad_prior_files(tmp_path, text, problem):
    path = write(tmp_path / "p.csv", text)
    with pytest.raises(UserError) as raised:
        read_prior(path, NAMES)
    message = str(raised.value)
    assert message.startswith(f"{path}{problem}") and "\n" not in message and len(message) < 400


def test_no_prior_file(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match=r"cannot be read: (No such file|Is a directory)"):
            read_prior(path, NAMES)


@settings(max_examples=80, deadline=None)
@given(raw=strategies.binary(max_size=60) | strategies.text("0.15,\n\"'catdog7-e", max_size=40))
def test_any_file_is_a_prior_or_one_line(tmp_path_factory, raw):
    path = write(tmp_path_factory.getbasetemp() / "any.csv", raw)
    lines, prior = [], None
    try:
        prior = read_prior(path, NAMES)
    except UserError as error:
        lines = str(error).splitlines()
    if prior is None:
        assert len(lines) == 1
    else:
        assert len(prior) == 4 and math.fsum(prior) == pytest.approx(1) and min(prior) >= 0
