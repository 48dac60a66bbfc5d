"""Embedded scenes, missing labels and the protocols of `multilabel`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.base.errors import DataError, UserError
from suite.define.catalog import Catalog
from tasks.multilabel.data import missing, scenes
from tasks.multilabel.data.labelled import Labelled, positives
from tasks.multilabel.data.sources import LabelSource, load
from tasks.vision.groups import groups


@pytest.fixture(scope="module")
def sets():
    return scenes.load()


@pytest.fixture(scope="module")
def protocols():
    return Catalog.load().task("multilabel").protocols


# -- scenes


def test_scenes_show_what_their_labels_say(sets):
    images = sets.train.inputs[:, 0].reshape(-1, 3, 8, 3, 8).swapaxes(2, 3).reshape(-1, 9, 8, 8)
    shown = images.any(axis=(2, 3))
    assert set(np.unique(shown.sum(axis=1))) <= set(range(1, 6))
    # an inverted digit's corner is light, a plain one's dark
    light = images[:, :, 0, 0] > 120
    inverted = np.array([kind for _, kind in scenes.ORDER])
    assert ((light.any(axis=1)) == sets.train.labels[:, inverted].any(axis=1)).mean() > 0.99
    assert (sets.train.labels.sum(axis=1) <= shown.sum(axis=1)).all()
    assert sets.train.labels.any(axis=1).all()


def test_label_frequencies_follow_the_profile(sets):
    share = np.array(sets.class_counts) / sum(sets.class_counts)
    wanted = 40 ** (-np.arange(20) / 19)
    assert np.abs(share - wanted / wanted.sum()).max() < 0.02
    assert sets.class_counts[0] / sets.class_counts[-1] > 20
    tested = sets.test.labels.sum(axis=0)
    assert tested[0] / tested[-1] < 10
    made = groups(sets.class_counts, *scenes.THRESHOLDS)
    assert [len(made[name]) for name in ("head", "medium", "tail")] == [7, 7, 6]


def test_no_digit_image_is_in_both_sets(sets):
    def digits(part):
        cells = part.inputs[:, 0].reshape(-1, 3, 8, 3, 8).swapaxes(2, 3).reshape(-1, 64)
        return {cell.tobytes() for cell in cells if cell.any()}

    assert not digits(sets.train) & digits(sets.test)


def test_other_digits_are_refused(monkeypatch):
    monkeypatch.setattr(scenes, "SEED", 1)
    with pytest.raises(DataError, match=r"not those expected .* install the version"):
        scenes.load()


def test_the_labels_are_all_digits_plain_and_inverted():
    assert sorted(scenes.ORDER) == [(digit, kind) for digit in range(10) for kind in (False, True)]
    assert len(set(scenes.NAMES)) == 20 and scenes.NAMES[0] == "digit 9 inverted"


# -- samples


def test_samples_are_checked_where_they_enter():
    labels = np.ones((2, 3), bool)
    vectors = np.zeros((2, 4), np.float32)
    for inputs, given_labels, message in [
        (vectors, labels.astype(np.uint8), r"labels are uint8 \(2, 3\), expected bool"),
        (vectors, labels[:, :0], r"expected bool \(N, L\)"),
        (vectors[:1], labels, "labels of 2 samples, but 1 inputs"),
        (vectors.astype(np.float64), labels, r"inputs are float64"),
        (np.full((2, 4), np.nan, np.float32), labels, "features of sample 0 .2 of 2 samples. are"),
        (("a.jpg", "a.jpg"), labels, "image 'a.jpg' is named twice"),
        (vectors[:0], labels[:0], "there is no sample"),
    ]:
        with pytest.raises(DataError, match=message):
            Labelled(inputs, given_labels)
    files = Labelled(("a.jpg", "b.jpg"), labels).take(np.array([False, True]))
    assert files.inputs == ("b.jpg",) and len(files) == 1


# -- missing labels

LABELS = st.integers(1, 30).flatmap(
    lambda rows: st.lists(
        st.lists(st.booleans(), min_size=5, max_size=5), min_size=rows, max_size=rows
    )
)


@pytest.mark.slow
@settings(deadline=None)
@given(LABELS, st.sampled_from(sorted(missing.MISSING)))
def test_only_positives_are_missing(rows, rule):
    labels = np.array(rows)
    observed = missing.kept(labels, rule)
    assert observed.dtype == bool and not (observed & ~labels).any()
    if rule == "single-positive":
        assert np.array_equal(observed.sum(axis=1), labels.any(axis=1))
    assert np.array_equal(observed, missing.kept(labels, rule))
    # what is kept of a sample does not hang on those after it
    assert np.array_equal(observed[:1], missing.kept(labels[:1], rule))


def test_an_unknown_rule_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no rule for missing labels 'drop6'.*drop60"):
        missing.kept(np.ones((1, 2), bool), "drop6")


def test_six_in_ten_are_dropped_and_every_label_is_kept_alike():
    labels = np.ones((4000, 5), bool)
    share = missing.kept(labels, "drop60").mean(axis=0)
    assert np.abs(share - 0.4).max() < 0.025
    share = missing.kept(labels, "single-positive").mean(axis=0)
    assert np.abs(share - 0.2).max() < 0.02


@pytest.mark.slow
def test_the_kept_places_are_those_of_every_run(sets):
    observed = load(LabelSource(scenes.NAME, "single-positive"), None)
    assert observed.train.labels.sum() == len(observed.train)
    assert observed.class_counts == sets.class_counts
    assert observed.test is load(LabelSource(scenes.NAME), None).test
    # the very places: another draw would be another training
    assert observed.observed["train-kept-labels"] == KEPT["single-positive"]
    dropped = load(LabelSource(scenes.NAME, "drop60"), None)
    assert dropped.observed["train-kept-labels"] == KEPT["drop60"]


KEPT = {
    "single-positive": "7b61749424676721de8e1857c672baba9e137b0f04a9df65f9a43ceabf06c98e",
    "drop60": "1f884532795f1f942792d815c71e707e96228ca7ca20bb057e000ee96c56cc7d",
}


# -- protocols


def test_groups_and_counts_are_those_of_the_full_labels(protocols):
    whole, single = (protocols[name].build(None)[1] for name in ("quick", "quick:single-positive"))
    assert single.class_counts == whole.class_counts and single.groups == whole.groups
    assert sum(single.image_counts) == scenes.TRAIN < sum(whole.image_counts)
    assert whole.image_counts == whole.class_counts


def test_missing_labels_are_another_training_of_the_same_test(protocols):
    names = ("quick", "quick:single-positive", "quick:drop60")
    assert len({protocols[name].hash for name in names}) == 3
    assert len({protocols[name].test for name in names}) == 1
    assert "one positive label" in protocols["quick:single-positive"].summary


def test_a_carved_protocol_trains_on_the_rest(protocols):
    whole, carved = protocols["quick"], protocols["quick:carved"]
    config, facts = carved.build(None)
    full = whole.build(None)[1]
    assert config["train_dataloader"]["dataset"]["carved"]["part"] == "train"
    assert config["prediction_dataloaders"]["val"]["dataset"]["carved"]["part"] == "val"
    share = np.array(facts.class_counts) / np.array(full.class_counts)
    assert (np.abs(share - 0.8) < 0.1).all()
    single = protocols["quick:single-positive:carved"]
    facts = single.build(None)[1]
    assert sum(facts.image_counts) < sum(facts.class_counts)


def test_k_is_in_the_config_the_settings_and_the_identity(protocols):
    task = Catalog.load().task("multilabel")
    assert task.settings(protocols["quick"])["k"] == 3
    assert protocols["quick"].build(None)[0]["test_evaluator"]["k"] == 3


def test_positives_are_counted_by_label():
    assert positives(np.array([[1, 0], [1, 1]], bool)) == (2, 1)
