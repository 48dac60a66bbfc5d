"""What the page of robustness is made of: conditions, levels, changes of scores, pictures."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import corrupted_files
import numpy as np
import pytest
import strangers
from hypothesis import given
from hypothesis import strategies as st

from suite.base.errors import DataError, RecordError, UserError
from tasks.robust_auc import changes, drawings, levels, pictures, protocols
from tasks.robust_auc.conditions import Conditions
from tasks.robust_auc.data import official, small_pools, sources
from tasks.robust_auc.data.pools import take
from tasks.robust_auc.data.release import CleanTest
from tasks.robust_auc.drawings import Point
from tasks.robust_auc.levels import Level
from tasks.robust_auc.measures import auc
from tasks.robust_auc.stored import store
from tasks.vision.data.arrays import ImageArrays


def protocol(name):
    found = strangers.catalog()
    return found.protocol(found.task("robust-auc"), name)


# -- conditions


def test_keys_of_conditions():
    task = strangers.catalog().task("robust-auc")
    found = Conditions.of(task.evaluation(protocol("smoke")))
    assert found == Conditions(("gaussian_noise", "contrast"), (1, 5))
    assert found.along(None) == {0: "auc", 1: "auc[severity=1]", 5: "auc[severity=5]"}
    assert found.along("contrast")[5] == "auc[corruption=contrast,severity=5]"
    assert found.along("contrast")[0] == "auc"
    assert list(found.columns().items()) == [
        ("clean", "auc"),
        ("gaussian_noise", "auc[corruption=gaussian_noise]"),
        ("contrast", "auc[corruption=contrast]"),
        ("mean of all", "auc_corrupted"),
    ]


def test_conditions_of_one_strength():
    task = strangers.catalog().task("robust-auc")
    found = Conditions.of(task.evaluation(protocol("mnist:r20,p10")))
    assert found.severities == () and len(found.corruptions) == 15
    assert found.along(None) == {0: "auc"}
    assert found.key("zigzag") == "auc[corruption=zigzag]"


# -- levels


def test_mean_and_pooled_order_rows_differently():
    rows = [
        Level("a", 0.96, 0.93, 0.90),
        Level("b", 0.95, 0.92, 0.91),
        Level("c", 0.95, 0.80, 0.70),
        Level("d", 0.95, 0.91, 0.905),
    ]
    found = levels.orders(rows)
    assert found.pairs == 6
    assert [(one.a.name, one.b.name) for one in found.swaps] == [("a", "b"), ("a", "d")]
    told = levels.finding(found)
    assert "2 of 6 pairs of rows differently; the clearest: a is ahead of b by the mean" in told
    assert "(93.00 against 92.00 %)" in told and "(90.00 against 91.00 %)" in told


def test_rows_in_one_order_ties_and_gaps():
    alike = [Level("a", 0.9, 0.8, 0.7), Level("b", 0.9, 0.7, 0.6)]
    assert levels.finding(levels.orders(alike)) == "Mean and pooled AUC order the two rows alike."
    tied = [Level("a", 0.9, 0.8, 0.6), Level("b", 0.9, 0.8 + 1e-12, 0.7)]
    assert levels.orders(tied).pairs == 0 and levels.finding(levels.orders(tied)) == ""
    assert levels.orders([Level("a", 0.9, None, 0.6), alike[0], alike[1]]).pairs == 1
    assert levels.finding(levels.orders([])) == ""
    swapped = levels.orders([Level("a", 0.9, 0.8, 0.5), Level("b", 0.9, 0.7, 0.6)])
    assert "order the two rows differently: a is ahead of b" in levels.finding(swapped)


def test_places():
    assert levels.places([0.5, None, 0.9, 0.9, 0.1]) == [3, None, 1, 1, 4]


@given(st.floats(0, 99), st.floats(0.2, 50), st.floats(0, 99), st.floats(0.2, 50))
def test_lines_of_equal_drop_lie_in_the_frame(x, width, y, height):
    frame = (x, x + width), (y, y + height)
    lines = levels.equal_drops(*frame)
    assert 1 <= len(lines) <= 10
    for line in lines:
        for at, of in zip(line.x, line.y, strict=True):
            assert at - of == pytest.approx(line.drop, abs=1e-6)
            assert frame[0][0] - 1e-6 <= at <= frame[0][1] + 1e-6
            assert frame[1][0] - 1e-6 <= of <= frame[1][1] + 1e-6
    gaps = {round(b.drop - a.drop, 6) for a, b in pairwise(lines)}
    assert len(gaps) <= 1


def test_lines_of_equal_drop_at_round_steps():
    lines = levels.equal_drops((94.0, 96.0), (82.0, 88.0))
    assert [line.drop for line in lines] == [7, 8, 9, 10, 11, 12, 13]


# -- changes of scores

scores = st.lists(st.integers(-4, 4), min_size=2, max_size=30)


@given(scores, st.data())
def test_shares_of_pairs_won_have_the_auc_as_mean(values, data):
    label = np.array(
        data.draw(st.lists(st.integers(0, 1), min_size=len(values), max_size=len(values)))
    )
    score = np.array(values, np.float32)
    won = changes.won(label == 1, score)
    if label.min() == label.max():
        assert np.isnan(won).all()
        return
    assert ((won >= 0) & (won <= 1)).all()
    assert won[label == 1].mean() == pytest.approx(won[label == 0].mean())
    if len(set(values)) > 1 and not np.isnan(expected := auc(label, score)):
        assert won[label == 1].mean() == pytest.approx(expected)


def test_what_changed_most():
    label = np.array([0, 0, 0, 1, 1, 1])
    clean = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    corrupted = np.array([-3.5, 2.5, 1.5, 1.0, -9.0, 9.0])
    sets = {"test": store(clean, label), "c": store(corrupted, label)}
    found = changes.changes(sets, "c")
    assert found.won.tolist() == [1] * 6
    assert found.won_corrupted == pytest.approx([2 / 3, 1 / 3, 1 / 3, 1 / 3, 0, 1])
    # of equal shares of pairs, the score that moved further to the wrong side; number 5 moved to the right one
    assert changes.most(found, "pairs lost", 3) == ([4, 3, 5], [1, 2, 0])
    assert changes.most(found, "score changed", 2) == ([4, 5], [1, 2])
    assert changes.auc_text(found, corrupted=False) == "100.00 %"
    assert changes.auc_text(found, corrupted=True) == "44.44 %"


def test_one_class_alone_has_no_pairs():
    label = np.ones(3, int)
    sets = {name: store(np.arange(3.0), label) for name in ("test", "c")}
    found = changes.changes(sets, "c")
    assert changes.auc_text(found, corrupted=True) == "undefined"
    assert changes.most(found, "pairs lost", 2) == ([0, 1], [])


def test_scores_that_are_all_equal_have_no_auc():
    sets = {"test": store(np.zeros(4), np.array([0, 1, 0, 1]))}
    sets["c"] = store(np.arange(4.0), np.array([0, 1, 0, 1]))
    found = changes.changes(sets, "c")
    assert changes.auc_text(found, corrupted=False) == "undefined"
    assert changes.auc_text(found, corrupted=True) == "75.00 %"


def test_sets_of_other_images():
    sets = {"test": store(np.zeros(2), np.array([0, 1])), "c": store(np.zeros(2), np.array([1, 0]))}
    with pytest.raises(RecordError, match="'c' holds other labels than the test set"):
        changes.changes(sets, "c")
    with pytest.raises(RecordError, match="no set 'd'"):
        changes.changes(sets, "d")


def test_numbers_of_images():
    assert changes.numbers("3, 1 3,0", 4) == ([3, 1, 0], [])
    assert changes.numbers("4 -1 x 1_0 ٣ 1.0", 4) == ([], ["4", "-1", "x", "1_0", "٣", "1.0"])
    assert changes.numbers("9" * 5000, 4)[0] == []
    assert changes.numbers("", 4) == ([], [])


# -- pictures


def test_pictures_of_embedded_data():
    found = pictures.read(protocol("smoke"), "corruption=contrast,severity=5", None)
    # the first fifty of each class, negatives first, as tests are limited to
    assert found.label.tolist() == [0] * 50 + [1] * 50
    assert found.clean.shape == found.corrupted.shape == (100, 1, 8, 8)
    assert found.clean.std() > 4 * found.corrupted.std() > 0
    pictures.require_same(found, np.repeat([0, 1], 50))
    with pytest.raises(
        RecordError, match="tested on 2 images whose labels are not those of the 100"
    ):
        pictures.require_same(found, np.array([0, 1]))


def test_a_set_that_is_none_of_the_protocol():
    with pytest.raises(UserError, match="does not say how the images of 'corruption=fog' are made"):
        pictures.read(protocol("smoke"), "corruption=fog", None)
    # `train` and `val` are made of no corruption
    with pytest.raises(UserError, match="'train'"):
        pictures.read(protocol("smoke"), "train", None)
    with pytest.raises(UserError, match="does not say how"):
        pictures.read(replace(protocol("smoke"), blank=None), "test", None)


@pytest.fixture
def on_disk(monkeypatch, tmp_path):
    """MNIST of twenty images, its corrupted copies, and the protocol on them, all but the places."""
    release = corrupted_files.small("mnist-c")
    monkeypatch.setitem(official.RELEASES, "mnist-c", release)
    corrupted_files.make(release, tmp_path / "data" / "MNIST-C")
    labels = corrupted_files.clean_labels(release).astype(np.int64)
    images = np.arange(20, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 28, 28), np.uint8)
    made = ImageArrays(images, labels)
    pool = replace(
        small_pools.MNIST,
        train_sizes=(2,) * 10,
        test_sizes=(2,) * 10,
        find=lambda root: root,
        read=lambda path, train, test: take(made, made, train, test, path, False),
    )
    monkeypatch.setitem(sources.POOLS, "mnist", pool)
    under = protocol("mnist:r20,p10")
    name = "corruption=fog"
    how = under.blank["prediction_dataloaders"][name]["dataset"]
    source = {**how["source"], "prior": 0.5, "negatives": 2, "test": 1}
    loaders = {name: {"dataset": {**how, "source": source}}}
    return replace(under, blank={"prediction_dataloaders": loaders}), tmp_path / "data", labels


def test_pictures_of_an_official_corrupted_set(on_disk):
    under, root, labels = on_disk
    found = pictures.read(under, "corruption=fog", root)
    # the first image of each class, in file order
    first = [labels.tolist().index(c) for c in range(10)]
    places = sorted(first)
    assert found.clean[:, 0, 0, 0].tolist() == places
    assert found.label.tolist() == (labels[places] >= 5).tolist()
    release = official.get("mnist-c")
    for k, place in enumerate(places):
        expected = corrupted_files.picture(release, "fog", None, place)
        assert found.corrupted[k].ravel().tolist() == np.asarray(expected).ravel().tolist()


def test_a_spoiled_corrupted_set_is_told_before_the_training(on_disk, monkeypatch):
    under, root, labels = on_disk
    clean = CleanTest(labels=labels, places=np.arange(20))
    sets = SimpleNamespace(clean=clean, observed={}, variant=False)
    monkeypatch.setattr(protocols, "load", lambda source, path: sets)
    assert "corruption=fog" in under.build(root)[0]["prediction_dataloaders"]
    file = root / "MNIST-C" / "fog" / "test_images.npy"
    np.save(file, np.load(file)[:-1])
    with pytest.raises(DataError, match=r"MNIST-C: .*fog/test_images\.npy holds 19 images"):
        under.build(root)


def test_data_on_disk_need_a_root(on_disk):
    under, root, _ = on_disk
    with pytest.raises(UserError, match="no data root: start the dashboard with --data-root DIR"):
        pictures.read(under, "corruption=fog", None)
    with pytest.raises(DataError):
        pictures.read(under, "corruption=fog", root / "nowhere")


def test_two_pictures_beside_each_other():
    clean = np.array([[[0, 255], [7, 9]]], np.uint8)
    made = pictures.side_by_side(clean, 255 - clean)
    assert made.shape == (88, 88 + 7 + 88, 4) and made.dtype == np.uint8
    # nearest neighbour: each pixel is a square of one grey
    assert made[:44, :44, :3].max() == 0 and (made[:44, 44:88, :3] == 255).all()
    assert (made[44:, :44] == [7, 7, 7, 255]).all()
    assert (made[:, 88:95, 3] == 0).all() and (made[44:, 95:139, :3] == 248).all()
    colours = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert pictures.side_by_side(colours, colours)[0, 0].tolist() == [0, 4, 8, 255]
    large = np.zeros((1, 200, 200), np.uint8)
    assert pictures.side_by_side(large, large).shape[0] == 200


# -- what drawings ask for


def test_ranges_and_orders_of_drawings():
    assert drawings.padded([50.0, 60.0]) == (49.0, 61.0)
    assert drawings.padded([99.9, 100.0]) == pytest.approx((99.45, 100.0))
    assert drawings.padded([90.0], least=4.0) == (88.0, 92.0)
    points = [
        Point("a", where, 0, mean, None, None, 3)
        for where, mean in (("fog", 80.0), ("clean", 70.0), ("snow", None), ("noise", 60.0))
    ]
    assert drawings.lowest_first(points, "clean") == ["clean", "noise", "fog", "snow"]
