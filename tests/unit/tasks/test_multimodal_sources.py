"""Data sets of several modalities: embedded pairs, feature sets, splits and long-tailed variants."""

import warnings
import zipfile

import numpy as np
import pytest
from camvid_files import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from multimodal_sets import arrays, feature_set, real, write

from suite.base.errors import DataError, UserError
from tasks.multimodal.data import digit_pairs, feature_files, feature_sets, sources, splits, views
from tasks.multimodal.data.sources import Modalities, ModalitySource
from tasks.vision.data import digits
from tasks.vision.groups import class_counts, groups


def load(path, features):
    return feature_sets.load(features, path)


def refused(path, features, *words):
    """The one line that says why."""
    with pytest.raises(DataError) as caught:
        load(path, features)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text
    return text


# -- digit pairs


@pytest.fixture(scope="module")
def pairs():
    return digit_pairs.load()


def test_pairs_are_neighbours_of_a_class_and_no_image_is_in_two(pairs):
    assert (len(pairs.train), len(pairs.test)) == (646, 250)
    assert tuple(np.bincount(pairs.train.labels)) == pairs.class_counts == digit_pairs.COUNTS
    assert (np.bincount(pairs.test.labels) == 25).all()
    every, place = digits.every()
    pixels = every.images.astype(float) / 15 / 16
    for c in range(10):
        members = pixels[every.labels == c]
        count = len(members) // 2
        first, second = members[0 : 2 * count : 2], members[1 : 2 * count : 2]
        both = {
            name: np.concatenate(
                [part.inputs[name][part.labels == c] for part in (pairs.test, pairs.train)]
            )
            for name in ("clean", "noisy")
        }
        # what is left is noise of the stated spread, no other image
        assert abs((both["clean"] - first).std() - 0.2) < 0.01
        assert abs((both["noisy"] - second).std() - 0.5) < 0.02
        assert abs((both["noisy"] - second).mean()) < 0.02
    assert place.max() > 170


def test_the_noise_is_normal_and_in_exact_steps(pairs):
    noise = digit_pairs._normal(digit_pairs.Draw(3), (40_000,), 0.2)
    assert abs(noise.mean()) < 0.003 and abs(noise.std() - 0.2) < 0.003
    inside = [(np.abs(noise) < k * 0.2).mean() for k in (1, 2, 3)]
    assert np.allclose(inside, [0.6827, 0.9545, 0.9973], atol=0.01)
    for values in pairs.train.inputs.values():
        assert values.dtype == np.float32 and ((values * 4096) % 1 == 0).all()


def test_other_pairs_are_refused(monkeypatch):
    monkeypatch.setattr(digit_pairs, "SEED", 1)
    digit_pairs.pairs.cache_clear()
    with pytest.raises(DataError, match=r"not those expected .* install the version"):
        digit_pairs.load()
    digit_pairs.pairs.cache_clear()


# -- samples


def test_samples_are_checked_where_they_enter():
    labels = np.zeros(3, np.int64)
    two = {"a": np.zeros((3, 2)), "b": np.zeros((3, 1))}
    for inputs, given_labels, message in [
        ({"a": two["a"]}, labels, r"one modality only \(a\)"),
        ({**two, "b": two["b"][:2]}, labels, r"different numbers of samples: a 3, b 2"),
        (two, labels[:2], r"a 3, b 3, labels 2"),
        (two, labels.astype(np.int32), r"labels are int32 \(3,\), expected int64"),
        (two, labels[:0], "no sample"),
    ]:
        with pytest.raises(DataError, match=message):
            Modalities(inputs, given_labels)


def test_a_part_has_its_samples_whether_arrays_are_mapped_or_not():
    labels = np.arange(6)
    inputs = {"a": np.arange(12.0).reshape(6, 2), "b": ("p", "q", "r", "s", "t", "u")}
    lost = {"a": np.array([0, 0, 1, 0, 0, 0], bool)}
    whole = Modalities(inputs, labels, None, lost)
    part = whole.take(labels % 2 == 0)
    assert part.inputs["b"] == ("p", "r", "t") and part.labels.tolist() == [0, 2, 4]
    assert part.lacking("a").tolist() == [False, True, False] and not part.lacking("b").any()
    assert whole.take(np.array([0, 1])).absent == {}
    mapped = Modalities({"a": inputs["a"], "b": inputs["a"]}, labels, np.arange(6))
    part = mapped.take(np.array([5, 1, 3])).take(np.array([True, False, True]))
    assert part.inputs["a"] is inputs["a"]  # not copied
    assert part.rows("a", np.array([1, 0])).tolist() == [[6, 7], [10, 11]]


@pytest.mark.parametrize("names", [("one",), ("a", "B"), ("a", "b_c"), ("a", "clear")])
def test_names_of_modalities_that_cannot_be(names):
    with pytest.raises(ValueError, match="modalit"):
        sources.ModalitySet(
            dataset=digit_pairs.SET.dataset,
            modalities=names,
            split="",
            counts=(),
            load=digit_pairs.load,
        )


def test_a_name_belongs_to_one_data_set():
    other = sources.replace(digit_pairs.SET, split="other")
    with pytest.raises(ValueError, match="two data sets"):
        sources.register(other)
    assert sources.register(digit_pairs.SET) is digit_pairs.SET


# -- profiles and groups


@settings(max_examples=25)
@given(
    st.lists(st.integers(20, 400), min_size=3, max_size=30),
    st.sampled_from((2, 10)),
)
def test_the_profile_is_the_largest_that_every_class_allows(counts, ratio):
    made = sources.profile(counts, ratio)
    assert made == class_counts("exp", made[0], len(counts), ratio)
    assert all(m <= n for m, n in zip(made, counts, strict=True))
    more = class_counts("exp", made[0] + 1, len(counts), ratio)
    assert any(m > n for m, n in zip(more, counts, strict=True))


def test_ratios_that_leave_a_class_without_samples():
    assert sources.allows((60, 60, 60), 50) and not sources.allows((40, 40, 40), 50)
    assert not sources.allows((), 10)
    with pytest.raises(UserError, match="leaves no image of the rarest class"):
        sources.profile((40, 40, 40), 50)


def test_groups_follow_the_largest_class_or_are_thirds():
    fifty = class_counts("exp", 120, 10, 50)
    high, low, rule = sources.thresholds(fifty)
    assert (high, low) == (24, 5) and "20 % and 4 % of the largest class" in rule
    assert {n: len(m) for n, m in groups(fifty, high, low).items()} == {
        "head": 4,
        "medium": 4,
        "tail": 2,
    }
    ten = class_counts("exp", 145, 15, 10)
    high, low, rule = sources.thresholds(ten)
    assert [len(m) for m in groups(ten, high, low).values()] == [5, 5, 5] and "thirds" in rule


@pytest.mark.parametrize("name", [*views.FEATURE_SETS, digit_pairs.NAME])
@pytest.mark.parametrize("ratio", sources.RATIOS)
def test_no_group_of_a_variant_is_empty(name, ratio):
    source = ModalitySource(name, ratio)
    counts = sources.class_counts(source)
    assert list(counts) == sorted(counts, reverse=True) and counts[-1] >= 1
    assert all(sources.dataset(source, counts).groups.values())


def test_the_first_samples_of_each_class_train(pairs):
    few = sources.load(ModalitySource(digit_pairs.NAME, 10), None)
    assert (
        few.class_counts == class_counts("exp", 64, 10, 10) == tuple(np.bincount(few.train.labels))
    )
    assert few.test is pairs.test or np.array_equal(few.test.labels, pairs.test.labels)
    for c, count in enumerate(few.class_counts):
        mine, all_of_it = (
            part.inputs["noisy"][part.labels == c] for part in (few.train, pairs.train)
        )
        assert np.array_equal(mine, all_of_it[:count])
    assert few.observed[digit_pairs.NAME] == digit_pairs.SHA256 and len(few.observed) == 2


def test_splits_of_variants_are_told_apart():
    made = {sources.split(ModalitySource(digit_pairs.NAME, ratio)) for ratio in (None, 10, 50)}
    assert len(made) == 3 and f"digit-pairs@{digit_pairs.SHA256[:12]}" in made
    assert any(split.startswith("digit-pairs-exp-ir50-first@") for split in made)


def test_a_copy_with_too_few_samples_for_the_profile(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "SETS", dict(sources.SETS))
    features = feature_set("short")
    declared = feature_sets.declare(features)
    sources.SETS["short"] = sources.replace(declared, counts=(30, 30, 30))
    path = write(tmp_path, features)
    with pytest.raises(
        DataError, match=r"class 0 has 6 training samples, imbalance ratio 10 .* asks for 30"
    ):
        sources.load(ModalitySource("short", 10), path)


# -- splits


@settings(max_examples=40)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_three_fifths_of_every_class_train(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = splits.stratified(labels)
    for c, size in enumerate(sizes):
        trained = int(chosen[labels == c].sum())
        assert trained == 1 if size == 1 else abs(trained - 0.6 * size) < 1
    if min(sizes) > 1:
        assert chosen.sum() == sum(sizes) * 3 // 5


def test_the_split_hangs_on_labels_in_their_order_alone():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 1])
    # another order of classes draws the same places of each
    assert np.array_equal(
        splits.stratified(labels)[labels == 1],
        splits.stratified(np.sort(labels))[np.sort(labels) == 1],
    )
    assert splits.stratified(np.repeat([0, 1], 10)).astype(int).tolist() == [
        1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0,
    ]  # fmt: skip


# -- feature sets


@pytest.mark.parametrize("form", ["npz", "compressed", "folder"])
def test_every_form_holds_the_same(tmp_path, form):
    features = feature_set(a=(4,), image=(1, 2, 2))
    made = arrays(features)
    path = write(
        tmp_path, features, form == "compressed", form == "folder", image=made["image"][:, 0]
    )
    assert feature_sets.find(features, tmp_path) == path
    assert feature_sets.check(features, path) == feature_sets.check(features, path, True) == []
    sets = load(path, features)
    assert (
        sets.train.inputs["image"].shape == (18, 1, 2, 2)
        and sets.train.inputs["image"].dtype == np.uint8
    )
    trains = splits.stratified(made["y"])
    assert np.array_equal(sets.train.inputs["a"], made["a"][trains])
    assert np.array_equal(sets.test.inputs["image"], made["image"][~trains])
    assert sets.class_counts == (6, 6, 6) and not sets.variant and sets.notes == ()


def test_a_split_of_its_own_is_followed(tmp_path):
    features = feature_set()
    split = np.tile([0, 0, 1, 0, 1], 6).astype(np.uint8)
    sets = load(write(tmp_path, features, split=split), features)
    assert np.array_equal(sets.test.inputs["b"], arrays(features)["b"][split == 1])


def test_other_numbers_become_float32(tmp_path):
    features = feature_set()
    made = arrays(features)
    path = write(tmp_path, features, a=made["a"].astype(np.float16), b=made["b"].astype(int))
    sets = load(path, features)
    assert {values.dtype for values in sets.train.inputs.values()} == {np.dtype(np.float32)}
    assert np.array_equal(sets.test.inputs["b"], np.trunc(sets.test.inputs["b"]))


def test_a_changed_file_is_read_again(tmp_path):
    features = feature_set()
    path = write(tmp_path, features)
    before = load(path, features)
    assert load(path, features) is before
    write(tmp_path, features, a=arrays(features, seed=1)["a"])
    assert load(path, features).observed["train-a"] != before.observed["train-a"]


def test_what_is_wrong_with_a_set_is_one_line(tmp_path):
    features = feature_set()
    made = arrays(features)
    objects = np.array([None] * 30, object)
    holes = made["a"].copy()
    holes[7, 2] = np.nan
    endless = made["b"].copy()
    endless[3, 0] = np.inf
    split = np.tile([0, 0, 1], 10)
    other = np.where(made["y"] == 1, 1, split)
    for changed, words in [
        ({"b": None}, ["no array 'b', it holds", "add it"]),
        ({"y": None}, ["no array 'y'"]),
        ({"b": made["b"][:29]}, ["different numbers of samples: a 30, b 29, y 30"]),
        ({"b": made["b"][:, :2]}, ["b is float32 (30, 2), expected numbers (N, 3)"]),
        ({"a": made["a"].astype("U8")}, ["a is <U8 (30, 4), expected numbers"]),
        ({"a": objects}, ["not plain numbers", "numpy.savez", "nothing of others is unpickled"]),
        ({"y": made["y"].astype(float)}, ["y is float64 (30,), expected integers"]),
        ({"y": made["y"][:, None]}, ["y is int64 (30, 1), expected integers (N,)"]),
        ({"y": made["y"] + 1}, ["class ids in y lie in 1..3, expected 0..2"]),
        ({"a": holes}, ["a of sample 7 (1 of 30 samples) is not finite"]),
        ({"b": endless}, ["b of sample 3 (1 of 30 samples) is not finite"]),
        ({"split": split[:-1]}, ["split is int64 (29,), expected integers (30,)"]),
        ({"split": split * 2}, ["split holds 2, expected 0 for training and 1 for test"]),
        ({"split": split * 0}, ["split leaves no test sample"]),
        ({"split": split * 0 + 1}, ["split leaves no training sample"]),
        ({"split": other}, ["class 1 (class 1) has 10 test samples, but no training sample"]),
        ({"y": np.repeat([0, 2], 15)}, ["class 1 (class 1) has no training sample"]),
    ]:  # fmt: skip
        path = write(tmp_path, features, **changed)
        told = refused(path, features, *words)
        assert str(path) in told
        assert feature_sets.check(features, path, True) == [told]


def test_foreign_and_damaged_files(tmp_path):
    features = feature_set()
    path = tmp_path / "mine.npz"
    for content, word in [
        (b"", "no npz file"),
        (
            b"\x80\x04K\x01.",
            "is a pickle, whatever its name says; save every array as plain numbers, with numpy.savez",
        ),
        (b"PK\x03\x04 but no zip", "damaged npz"),
        (b"\x93NUMPY", "no npz file"),
    ]:
        path.write_bytes(content)
        refused(path, features, word)
    path = write(tmp_path, features)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, features, "damaged")
    assert "damaged" in feature_sets.check(features, path)[0]
    # a bit of an array
    path.write_bytes(whole[:400] + bytes([whole[400] ^ 1]) + whole[401:])
    refused(path, features, "damaged or not plain arrays")
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        load(path, features)


def test_where_a_set_lies(tmp_path):
    features = feature_set()
    with pytest.raises(
        DataError, match=r"mine: expected mine/mine\.npz with a \(N, 4\), b \(N, 3\), y \(N,\)"
    ):
        feature_sets.find(features, tmp_path)
    below = write(tmp_path / "mine", features)
    assert feature_sets.find(features, tmp_path) == below
    assert feature_sets.find(features, below) == below
    assert feature_sets.find(features, write(tmp_path, features)) == tmp_path / "mine.npz"
    half = write(tmp_path / "half", features, as_folder=True, y=None)
    with pytest.raises(DataError, match=r"not whole: y\.npy is missing"):
        feature_sets.find(features, half.parent)
    assert feature_sets.check(features, half)[0].startswith(f"{half} has no array 'y'")
    # labels alone may be another set's
    (tmp_path / "else").mkdir()
    np.save(tmp_path / "else/y.npy", np.zeros(3, int))
    with pytest.raises(DataError, match="expected mine"):
        feature_sets.find(features, tmp_path / "else")


def _without(features, name, *samples):
    values = arrays(features)[name]
    values[list(samples)] = np.nan
    return values


def test_a_sample_without_a_modality_is_refused_where_it_is_needed(tmp_path):
    features = feature_set()
    path = write(tmp_path, features, b=_without(features, "b", 4, 9))
    refused(
        path,
        features,
        "b is missing (all NaN) for 2 of 30 samples, sample 4 the first",
        "leave these samples out",
    )


def test_a_sample_without_a_modality_is_zero_once_standardised_and_counted(tmp_path):
    features = feature_set(lacks="zero")
    lost = [4, 9, 25]
    path = write(tmp_path, features, b=_without(features, "b", *lost))
    sets = load(path, features)
    (note,) = sets.notes
    assert (
        note
        == "mine: modality 'b' is missing for 3 of 30 samples; zeros stand for it, once it is standardised"
    )
    assert feature_sets.differs(features, path) == "b is missing for 3 samples" and sets.variant
    assert sum(part.lacking("b").sum() for part in (sets.train, sets.test)) == 3
    trains = splits.stratified(arrays(features)["y"])
    there = trains.copy()
    there[lost] = False
    mean = arrays(features)["b"][there].mean(axis=0, dtype=float)
    for part in (sets.train, sets.test):
        stands = part.inputs["b"][part.lacking("b")]
        assert np.allclose(stands, mean, atol=1e-6)
        assert np.isfinite(part.inputs["b"]).all()


def test_a_sample_without_any_modality_is_refused(tmp_path):
    features = feature_set(lacks="zero")
    both = {name: _without(features, name, 5) for name in "ab"}
    refused(write(tmp_path, features, **both), features, "sample 5 has no modality at all")
    none = np.full_like(arrays(features)["b"], np.nan)
    refused(write(tmp_path, features, b=none), features, "no training sample has modality 'b'")


# -- files larger than memory


@pytest.fixture
def little(monkeypatch):
    """Memory for less than a set."""
    monkeypatch.setattr(feature_files, "MEMORY", 500)


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.usefixtures("little")
def test_what_is_too_large_is_mapped(tmp_path, as_folder):
    features = feature_set()
    path = write(tmp_path, features, as_folder=as_folder)
    sets = load(path, features)
    made = arrays(features)
    assert isinstance(sets.train.inputs["a"], np.memmap)
    assert len(sets.train.inputs["a"]) == 30 and len(sets.train) == 18
    trains = np.flatnonzero(splits.stratified(made["y"]))
    assert np.array_equal(sets.train.rows("a", np.array([3, 0, 17])), made["a"][trains[[3, 0, 17]]])
    assert np.array_equal(sets.test.rows("b", np.arange(12)), np.delete(made["b"], trains, 0))
    assert set(sets.observed) == {
        *(f"{part}-labels" for part in ("train", "test")),
        *(f"{part}-{name}-sampled" for part in ("train", "test") for name in "ab"),
    }
    assert feature_sets.check(features, path, True) == []


@pytest.mark.usefixtures("little")
def test_of_what_is_mapped_a_check_reads_all(tmp_path):
    features = feature_set()
    path = write(tmp_path, features, b=_without(features, "b", 4, 9, 25))
    assert len(load(path, features).train) == 18  # rows are looked at when they are read
    lines = feature_sets.check(features, path, True)
    assert sum(int(line.split(" of ")[1]) for line in lines) == 3
    assert all("is not finite; copy it again" in line for line in lines)


@pytest.mark.usefixtures("little")
def test_what_is_too_large_and_compressed_or_an_object_is_refused(tmp_path):
    features = feature_set()
    path = write(tmp_path, features, compress=True)
    refused(path, features, "a is compressed", "numpy.savez, not savez_compressed")
    objects = np.array([[None] * 4] * 30, object)
    refused(write(tmp_path, features, a=objects), features, "Python objects")
    refused(
        write(tmp_path, features, a=objects, as_folder=True), features, "pickled Python objects"
    )


def test_little_that_unpacks_to_much_is_never_unpacked(tmp_path, monkeypatch):
    features = feature_set()
    monkeypatch.setattr(feature_files, "MEMORY", 20_000)
    zeros = np.zeros((30, 4000), np.float32)
    path = write(tmp_path, features, compress=True, a=zeros)
    assert path.stat().st_size < 20_000
    refused(path, features, "unpacks to", "savez instead of savez_compressed")


@pytest.mark.usefixtures("little")
def test_members_that_lie_about_where_they_are(tmp_path):
    features = feature_set()
    path = write(tmp_path, features)
    with zipfile.ZipFile(path) as file:
        begin = file.getinfo("a.npy").header_offset
    content = bytearray(path.read_bytes())
    content[begin : begin + 4] = b"xxxx"
    path.write_bytes(content)
    refused(path, features, "a is not where the file says")


# -- the known sets


@real
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("scene15", 2691, 1794),
        ("mfeat", 1200, 800),
        ("cremad-feat", 446, 298),
        ("av-digits", 2700, 300),
    ],
)
def test_published_copies_are_the_tracked_manifest(name, train, test):
    features = views.FEATURE_SETS[name]
    path = feature_sets.find(features, DATA)
    sets = load(path, features)
    known = views.manifest()[name]
    assert (
        (len(sets.train), len(sets.test))
        == (train, test)
        == (sum(known["train"]), sum(known["test"]))
    )
    assert dict(sets.observed) == known["observed"] and not sets.variant
    assert sources.SETS[name].counts == sets.class_counts
    assert feature_sets.differs(features, path) == ""
    assert feature_sets.check(features, path, True) == []


@real
def test_another_copy_is_a_variant(tmp_path):
    features = views.SCENE15
    found = dict(np.load(feature_sets.find(features, DATA)))
    found["view0"] = found["view0"] + np.float32(1)
    np.savez(tmp_path / "Scene-15.npz", **found)
    path = feature_sets.find(features, tmp_path)
    assert "train view0 are not those of the tracked manifest" in feature_sets.differs(
        features, path
    )
    assert load(path, features).variant
    np.savez(tmp_path / "Scene-15.npz", **{name: values[:-1] for name, values in found.items()})
    assert "2,690 training samples instead of 2,691" in feature_sets.differs(features, path)


def test_a_warning_goes_with_the_features_of_trained_networks():
    assert "their accuracy means nothing" in sources.SETS["cremad-feat"].dataset.summary


def test_what_a_set_lacks_has_two_answers():
    with pytest.raises(ValueError, match="refuse or zero"):
        feature_set(lacks="perhaps")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        digit_pairs.load()
