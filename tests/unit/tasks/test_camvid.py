"""Finding, checking and reading CamVid: bad copies on synthetic folders, the rest on real data."""

import shutil

import numpy as np
import pytest
from camvid_files import (
    DATA,
    real,
    save,
    tiny,  # noqa: F401
)
from PIL import Image

from suite.base.errors import DataError
from tasks.vision.data import camvid


def test_classes_palette_and_groups_agree():
    assert len(camvid.CLASSES) == len(camvid.PALETTE) == 11
    assert sorted(sum(camvid.GROUPS.values(), ())) == list(range(11))
    assert [camvid.CLASSES[c] for c in camvid.GROUPS["head"]] == ["Sky", "Building", "Road"]


def test_carving_takes_whole_chunks_within_a_video(monkeypatch):
    monkeypatch.setattr(camvid, "CHUNK", 2)
    monkeypatch.setattr(camvid, "EVERY", 2)
    train, val = camvid.carve(["a_1", "a_2", "a_3", "b_1", "b_2", "b_3"])
    assert (train, val) == (["a_1", "a_2", "b_1", "b_2"], ["a_3", "b_3"])


def test_a_whole_copy_is_found_from_the_folder_and_from_above(tiny):
    assert camvid.find(tiny) == camvid.find(tiny.parent) == tiny
    assert camvid.check(tiny, deep=True) == []
    tiny.rename(tiny.parent / "CamVid")
    assert camvid.find(tiny.parent).name == "CamVid"


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        camvid.find(tmp_path / "none")


def test_an_empty_folder_and_one_with_other_things(tmp_path):
    with pytest.raises(DataError, match=r"expected train/ val/ test/ .* found in .*: nothing"):
        camvid.find(tmp_path)
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(DataError, match=r"found in .*: leftImg8bit"):
        camvid.find(tmp_path)


def test_a_missing_folder(tiny):
    shutil.rmtree(tiny / "testannot")
    assert camvid.check(tiny) == ["folder testannot/ is missing"]
    with pytest.raises(DataError, match="folder testannot/ is missing"):
        camvid.find(tiny)


def test_image_without_label_and_label_without_image(tiny):
    (tiny / "trainannot" / "v_train1.png").unlink()
    (tiny / "trainannot" / "v_train2.png").unlink()
    (tiny / "test" / "v_test0.png").unlink()
    assert camvid.check(tiny) == [
        "train/v_train1.png has no label trainannot/v_train1.png (and 1 more)",
        "testannot/v_test0.png has no image test/v_test0.png or .jpg",
        "test/ holds 2 images, expected 3",
    ]
    with pytest.raises(DataError, match=r"train/v_train1.png has no label .*and 2 more problems"):
        camvid.find(tiny)


def test_both_halves_of_a_pair_missing_shows_in_the_count(tiny):
    (tiny / "val" / "v_val0.png").unlink()
    (tiny / "valannot" / "v_val0.png").unlink()
    with pytest.raises(DataError, match="val/ holds 1 images, expected 2"):
        camvid.find(tiny)


def test_other_frames_than_the_manifests(tiny):
    for folder in ("test", "testannot"):
        (tiny / folder / "v_test1.png").rename(tiny / folder / "x.png")
    assert camvid.check(tiny) == ["test/ lacks frame v_test1 of the manifest"]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


BAD = {
    "damaged image": ("val", truncate, "cannot be read as an image"),
    "damaged label": ("valannot", truncate, "cannot be read as an image"),
    "empty image": ("val", lambda p: p.write_bytes(b""), "cannot be read as an image"),
    "text": ("valannot", lambda p: p.write_text("404"), "cannot be read as an image"),
    "smaller label": (
        "valannot",
        lambda p: save(p, np.zeros((180, 240), np.uint8)),
        "is 480x360, its label .* is 240x180",
    ),
    "other ids": (
        "valannot",
        lambda p: save(p, np.full((360, 480), 30, np.uint8)),
        "holds label ids outside 0-11: 30",
    ),
    "coloured label": (
        "valannot",
        lambda p: save(p, np.zeros((360, 480, 3), np.uint8)),
        "no label image: mode RGB",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_named_by_the_deep_check_and_by_the_reader(tiny, bad):
    folder, spoil, message = BAD[bad]
    path = tiny / folder / "v_val0.png"
    spoil(path)
    assert camvid.check(tiny) == []
    (problem,) = camvid.check(tiny, deep=True)
    assert str(path) in problem
    assert "\n" not in problem
    with pytest.raises(DataError, match=message) as raised:
        camvid.read_pair(tiny / "val" / "v_val0.png", tiny / "valannot" / "v_val0.png")
    assert str(path) in str(raised.value)


def test_frames_of_another_size(tiny):
    save(tiny / "val" / "v_val0.png", np.zeros((720, 960, 3), np.uint8))
    save(tiny / "valannot" / "v_val0.png", np.zeros((720, 960), np.uint8))
    (problem,) = camvid.check(tiny, deep=True)
    assert "is 960x720, expected 480x360" in problem


def test_manifest_sees_labels_and_not_their_encoding(tiny):
    before = camvid.manifest(tiny)
    path = tiny / "testannot" / "v_test0.png"
    label = np.array(Image.open(path))
    Image.fromarray(label).save(path, compress_level=0)
    assert camvid.manifest(tiny) == before
    label[5, 5] ^= 1
    save(path, label)
    after = camvid.manifest(tiny)
    assert after["train"] == before["train"]
    assert [a == b for a, b in zip(after["test"], before["test"], strict=True)] == [0, 1, 1]
    digests = [camvid.compact(m)["test"]["labels_sha256"] for m in (before, after)]
    assert digests[0] != digests[1]


def test_tracked_manifest():
    manifest = camvid.tracked_manifest()
    ids = {split: set(manifest[split]["ids"]) for split in ("train", "val", "test")}
    assert {split: len(i) for split, i in ids.items()} == {"train": 311, "val": 56, "test": 233}
    assert not ids["train"] & ids["val"]
    train, val = camvid.carve([*ids["train"], *ids["val"]])
    assert (train, val) == (manifest["train"]["ids"], manifest["val"]["ids"])


@pytest.mark.slow
@real
def test_the_real_copy_is_whole_and_is_the_manifests():
    path = camvid.find(DATA)
    assert camvid.check(path, deep=True) == []
    assert camvid.compact(camvid.manifest(path)) == camvid.tracked_manifest()


@real
def test_ids_are_segnets_and_every_class_is_in_train_and_val():
    path = camvid.find(DATA)
    pixels, frames = {}, {}
    for split in ("train", "val"):
        paths = [camvid.files(path, split, frame)[1] for frame in camvid.split_ids(split)]
        labels = [np.bincount(camvid.read_label(p).ravel(), minlength=12)[:11] for p in paths]
        pixels[split] = np.sum(labels, axis=0)
        frames[split] = np.sum([count > 0 for count in labels], axis=0)
    share = sum(pixels.values()) / sum(p.sum() for p in pixels.values())
    named = dict(zip(camvid.CLASSES, share, strict=True))
    assert named["Road"] == pytest.approx(0.33, abs=0.005)
    assert named["Bicyclist"] == pytest.approx(0.0030, abs=0.0001)
    assert frames["val"].min() >= 20
    bounds = {"head": (0.15, 1), "medium": (0.04, 0.15), "tail": (0, 0.02)}
    for group, (low, high) in bounds.items():
        assert all(low < share[c] < high for c in camvid.GROUPS[group])
