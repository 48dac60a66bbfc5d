"""The stored form of runs on several modalities: what is kept, and what is refused."""

import numpy as np
import pytest

from suite.base.errors import RecordError
from tasks.multimodal.stored import checked, checked_sets, store, subsets, varied

LABEL = np.array([0, 2, 1, 2])
NAMES = ("audio", "image")


def features(width=3, samples=4, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(samples, width)).astype(np.float32) for name in NAMES}


def logits(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def whole(**more):
    given = {
        "logits": logits(4, 3),
        "modality_logits": logits(4, 2, 3),
        "subset_logits": logits(4, 2, 3),
    }
    return store(LABEL, features(), 3, **{**given, **more})


def bare():
    return store(LABEL, features(seed=1), 3)


def refused(match, **arrays):
    """Of a sound set `test` with these arrays in place of its own; None leaves one out."""
    changed = {key: value for key, value in {**whole(), **arrays}.items() if value is not None}
    with pytest.raises(RecordError, match=match) as caught:
        checked_sets({"test": changed, "train": bare()}, 3, NAMES)
    assert "\n" not in str(caught.value)


def test_what_is_kept_and_the_way_back():
    arrays = whole()
    assert {key: (value.dtype.name, value.shape) for key, value in arrays.items()} == {
        "label": ("int32", (4,)),
        "logits": ("float32", (4, 3)),
        "modality_logits": ("float32", (4, 2, 3)),
        "subset_logits": ("float32", (4, 2, 3)),
        "features_audio": ("float16", (4, 3)),
        "features_image": ("float16", (4, 3)),
    }
    found = checked({"test": arrays}, "test", 3, NAMES)
    assert found.modalities == NAMES
    assert found.label.dtype == np.int64 and found.label.tolist() == LABEL.tolist()
    np.testing.assert_array_equal(found.logits, logits(4, 3).astype(np.float32))
    np.testing.assert_allclose(found.features["image"], features()["image"], rtol=1e-3)


def test_rows_of_a_stored_set_are_a_stored_set():
    part = {key: array[1:3] for key, array in whole().items()}
    assert checked({"test": part}, "test", 3, NAMES).label.tolist() == [2, 1]


def test_the_training_samples_need_no_logits_but_a_test_set_does():
    assert set(bare()) == {"label", "features_audio", "features_image"}
    assert checked({"train": bare()}, "train", 3, NAMES).logits is None
    with pytest.raises(RecordError, match="'val' holds no 'logits'"):
        checked({"val": bare()}, "val", 3, NAMES)


def test_modalities_are_in_the_protocols_order_whatever_that_of_the_arrays():
    arrays = dict(reversed(whole().items()))
    assert checked({"test": arrays}, "test", 3, NAMES).modalities == NAMES


def test_a_run_may_use_some_modalities():
    arrays = store(LABEL, {"image": features()["image"]}, 3, logits=logits(4, 3))
    assert checked({"test": arrays}, "test", 3, NAMES).modalities == ("image",)


def test_subsets_are_those_of_the_networks_in_their_order():
    assert subsets("abc") == [("a",), ("b",), ("a", "b"), ("c",), ("a", "c"), ("b", "c")]
    assert subsets(["a"]) == []


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([[1.0], [2.0], [3.0], [4.0]], np.float16),
        # beyond 65504
        ([[1.0], [2.0], [3.0], [1e5]], np.float32),
        # below the smallest float16
        ([[1e-9], [2e-9], [3e-9], [4e-9]], np.float32),
        # numbers far from zero that differ by less than float16's step there
        ([[1000.0], [1000.1], [1000.2], [1000.3]], np.float32),
        # constants, up to the rounding of a sum, have nothing to lose
        ([[0.1], [0.1], [0.1], [0.1]], np.float16),
        ([[0.1], [0.1 + 1e-8], [0.1], [0.1]], np.float16),
        ([[0.0], [0.0], [0.0], [0.0]], np.float16),
    ],
)
def test_features_are_float16_where_it_tells_them_apart(values, kept):
    made = store(LABEL, {"audio": np.array(values, np.float32)}, 3)["features_audio"]
    assert made.dtype == kept
    np.testing.assert_allclose(made, values, rtol=1e-3)
    assert checked({"train": store(LABEL, {"audio": np.array(values)}, 3)}, "train", 3, NAMES)


def test_a_feature_that_only_rounding_moves_is_constant():
    low = np.array([0.0, 1.0, -2.0, 1.0, -1.0, 0.0])
    high = np.array([0.0, 1.0 + 1e-7, -2.0 + 1e-6, 1.01, 1.0, 1e-30])
    assert varied(low, high).tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize(
    ("match", "arrays"),
    [
        ("'test' holds no 'label'", {"label": None}),
        ("'test' holds no 'logits'", {"logits": None}),
        ("labels lie in 0..3, expected 0..2", {"label": np.array([0, 1, 2, 3])}),
        ("labels lie in -1..2", {"label": np.array([0, -1, 2, 1])}),
        ("labels are float64", {"label": np.zeros(4)}),
        ("labels of no sample", {"label": np.zeros(0, np.int32)}),
        (r"logits are float32 of shape \(4, 2\)", {"logits": np.zeros((4, 2), np.float32)}),
        ("logits are float64, expected float32", {"logits": np.zeros((4, 3))}),
        ("logits are int64", {"logits": np.zeros((4, 3), int)}),
        ("logits of sample 2 .* hold nan", {"logits": np.diag([1, 1, np.nan, 1])[:, :3]}),
        (
            r"modality_logits are float32 of shape \(4, 3, 3\), expected floats of shape \(4, 2, 3\)",
            {"modality_logits": np.zeros((4, 3, 3), np.float32)},
        ),
        (
            r"subset_logits .* expected floats of shape \(4, 2, 3\)",
            {"subset_logits": np.zeros((4, 6, 3), np.float32)},
        ),
        (
            "subset_logits of sample 0",
            {"subset_logits": np.full((4, 2, 3), -np.inf, np.float32)},
        ),
        ("features of no modality", {"features_audio": None, "features_image": None}),
        (
            "features of 'smell', which is none of the protocol's modalities: audio, image",
            {"features_smell": np.zeros((4, 3), np.float16)},
        ),
        (
            r"features of modality 'audio' are float16 of shape \(3, 3\)",
            {"features_audio": np.zeros((3, 3), np.float16)},
        ),
        (
            r"'audio' are float16 of shape \(4, 0\)",
            {"features_audio": np.zeros((4, 0), np.float16)},
        ),
        ("'audio' are float64, expected float16", {"features_audio": np.zeros((4, 3))}),
        ("'audio' are int32", {"features_audio": np.zeros((4, 3), np.int32)}),
        (
            r"'image' are not finite for 1 of 4 samples \(first: sample 1\)",
            {"features_image": np.array([[0], [np.inf], [0], [0]], np.float16)},
        ),
        (
            "'train' holds 3 features of modality 'audio', set 'test' 2",
            {"features_audio": np.zeros((4, 2), np.float16)},
        ),
        (
            "'train' holds features of audio, image, set 'test' of image",
            {
                "features_audio": None,
                "modality_logits": np.zeros((4, 1, 3), np.float32),
                "subset_logits": None,
            },
        ),
        (
            "subset_logits of one modality: it has no proper subsets",
            {
                "features_audio": None,
                "modality_logits": None,
                "subset_logits": np.zeros((4, 0, 3), np.float32),
            },
        ),
    ],
)
def test_what_is_refused(match, arrays):
    if isinstance(arrays.get("logits"), np.ndarray) and "nan" in match:
        arrays = {"logits": arrays["logits"].astype(np.float32)}
    refused(match, **arrays)


def test_both_sets_are_needed():
    for lost in ("test", "train"):
        sets = {"test": whole(), "train": bare()}
        del sets[lost]
        with pytest.raises(RecordError, match=f"no set '{lost}'"):
            checked_sets(sets, 3, NAMES)


@pytest.mark.parametrize(
    ("match", "arguments", "options"),
    [
        ("features of no modality", (LABEL, {}, 3), {}),
        ("labels lie in 0..2, expected 0..1", (LABEL, features(), 2), {}),
        ("are not finite", (LABEL, {"audio": np.full((4, 2), np.nan)}, 3), {}),
        ("go beyond float32", (LABEL, {"audio": np.full((4, 2), 1e300)}, 3), {}),
        ("logits of sample 0", (LABEL, features(), 3), {"logits": np.full((4, 3), np.inf)}),
        ("logits of sample 0", (LABEL, features(), 3), {"logits": np.full((4, 3), 1e300)}),
        ("modality_logits are", (LABEL, features(), 3), {"modality_logits": np.zeros((4, 3))}),
    ],
)
def test_what_is_not_stored(match, arguments, options):
    with pytest.raises(RecordError, match=match):
        store(*arguments, **options)
