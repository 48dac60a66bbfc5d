"""Readers of CREMA-D, AVE, ModelNet40, MOSI, MOSEI and CH-SIMS: sound small copies, and whatever is wrong with one."""

import io
import json
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile

import numpy as np
import pytest
from multilabel_files import text
from multimodal_files import (
    clip,
    features,
    picture,
    sound,
    write_ave,
    write_crema_d,
    write_features,
    write_modelnet40,
)

from suite.base.errors import DataError
from tasks.multimodal.data import ave, crema_d, feature_files, media, modelnet40, sentiment
from tasks.multimodal.data.feature_files import open_arrays
from tasks.multimodal.data.sources import SETS, ModalitySource, load

COPIES = {
    "crema-d": lambda root: write_crema_d(root / "CREMA-D"),
    "crema-d-by-actor": lambda root: write_crema_d(root / "CREMAD"),
    "ave": lambda root: write_ave(root / "AVE_Dataset"),
    "modelnet40": lambda root: write_modelnet40(root / "ModelNet40"),
    "mosi": lambda root: write_features(root / "mosi.npz", "mosi"),
    "mosei": lambda root: write_features(root / "MOSEI" / "mosei.npz", "mosei"),
    "sims": lambda root: write_features(root / "CH-SIMS" / "sims.npz", "sims"),
}


def one_line(error):
    line = str(error.value)
    assert "\n" not in line and len(line) < 800
    return line


def refused(action, *expected):
    with pytest.raises(DataError) as error:
        action()
    line = one_line(error)
    for part in expected:
        assert part in line, line
    return line


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Data root -> a copy of every data set; not to be changed."""
    root = tmp_path_factory.mktemp("media")
    for name, make in COPIES.items():
        make(root / name)
    return root


@pytest.fixture(params=COPIES)
def copy(request, originals):
    """(the data set as declared, data root)."""
    return SETS[request.param], originals / request.param


# -- what all have in common


def test_a_sound_copy(copy):
    declared, root = copy
    data = declared.dataset
    path = data.find(root)
    sets = load(ModalitySource(data.name), path)
    for part in (sets.train, sets.test):
        assert tuple(part.inputs) == declared.modalities
        assert part.labels.min() >= 0 and part.labels.max() < len(data.classes)
    assert sets.class_counts == tuple(np.bincount(sets.train.labels, minlength=len(data.classes)))
    assert sets.variant  # these copies are tiny
    assert data.differs(path, False) and "\n" not in data.differs(path, False) + data.layout
    assert data.check(path, False) == []
    assert data.check(path, True) == []
    assert data.find(path) == path
    again = declared.load(path)
    assert again.observed == sets.observed and len(sets.observed) >= 2


def test_nothing_there_says_what_is_expected(copy, tmp_path):
    data = copy[0].dataset
    line = refused(lambda: data.find(tmp_path), "expected")
    assert data.layout in line


def test_splits_are_told_apart_without_data():
    every = {name: SETS[name].split for name in COPIES}
    assert len({split.partition("@")[2] for split in every.values()}) == len(COPIES)
    assert all(split.startswith(f"{name}@") for name, split in every.items())


def test_published_sizes():
    assert sum(crema_d.TRAIN) == 6698 and sum(crema_d.TEST) == 744
    totals = [train + test for train, test in zip(crema_d.TRAIN, crema_d.TEST, strict=True)]
    assert totals == [1087, 1271, 1271, 1271, 1271, 1271]  # of the whole of CREMA-D
    assert len(ave.CLASSES) == len(set(ave.CLASSES)) == 28
    assert list(ave.CLASSES) == sorted(ave.CLASSES)
    assert len(modelnet40.CLASSES) == 40 and list(modelnet40.CLASSES) == sorted(modelnet40.CLASSES)


# -- CREMA-D


def test_crema_d_ids_and_files(tmp_path):
    root = write_crema_d(tmp_path)
    sets = crema_d.load("crema-d", root)
    assert sets.train.labels[:6].tolist() == [0, 1, 2, 3, 4, 5]
    assert sets.train.inputs["audio"][1] == "AudioWAV/1001_DFA_HAP_XX.wav"
    assert sets.train.inputs["visual"][1] == "Image-01-FPS/1001_DFA_HAP_XX"
    shown = [path.name for path in media.frames(root, sets.train.inputs["visual"][1])]
    assert shown == ["8.jpg", "9.jpg", "10.jpg"]


def test_crema_d_with_and_without_byte_order_mark(tmp_path):
    """The mark is no part of the first clip's name; line ends do not matter."""

    def read(root):
        return crema_d.read_list(root / "train.csv")

    with_mark = read(write_crema_d(tmp_path / "a", mark=True, files=False))
    without = read(write_crema_d(tmp_path / "b", files=False))
    assert with_mark == without and next(iter(with_mark)) == "1001_DFA_NEU_XX"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1001_DFA_ANG_XX", "train.csv:2: expected `clip,LABEL`"),
        ("1001_DFA_ANG_XX,JOY", "one of NEU, HAP, SAD, FEA, DIS, ANG; found '1001_DFA_ANG_XX,JOY'"),
        ("../../etc/passwd,ANG", "train.csv:2: expected"),
        ("1001_DFA_NEU_XX,NEU", "clip 1001_DFA_NEU_XX is listed twice"),
        ("\x80", "train.csv:2"),
    ],
)
def test_crema_d_lines_that_are_none(tmp_path, line, expected):
    root = write_crema_d(tmp_path, files=False)
    content = f"1001_DFA_NEU_XX,NEU\n{line}\n"
    text(root / "train.csv", content.encode("latin-1"))
    refused(lambda: crema_d.load("crema-d", root), expected)


def test_crema_d_a_clip_that_trains_and_tests(tmp_path):
    root = write_crema_d(tmp_path, files=False)
    text(root / "test.csv", (root / "train.csv").read_bytes())
    refused(
        lambda: crema_d.load("crema-d", root),
        "24 clips are in both train.csv and test.csv: 1001_DFA_ANG_XX",
        "copy the lists again",
    )


def test_crema_d_a_class_without_training_clip(tmp_path):
    clips = [clip("1001", code) for code in crema_d.CODES[:-1]]
    root = write_crema_d(tmp_path, clips, [clip("1002", code) for code in crema_d.CODES])
    refused(lambda: crema_d.load("crema-d", root), "class ANG has no training clip")


def test_crema_d_a_modality_that_is_missing(tmp_path):
    """A clip without sound or frames is not guessed at."""
    root = write_crema_d(tmp_path)
    (root / "AudioWAV/1001_DFA_HAP_XX.wav").unlink()
    line = refused(
        lambda: crema_d.load("crema-d", root),
        "audio: of 1 of 24 samples looked for",
        "the recording is absent: AudioWAV/1001_DFA_HAP_XX.wav",
    )
    assert crema_d.check("crema-d", root) == [line]
    sound(root / "AudioWAV/1001_DFA_HAP_XX.wav", np.zeros(9, np.int16))
    shutil.rmtree(root / "Image-01-FPS/1001_DFA_HAP_XX")
    refused(lambda: crema_d.load("crema-d", root), "visual:", "folder of frames is absent")
    (root / "Image-01-FPS/1001_DFA_HAP_XX").mkdir()
    refused(lambda: crema_d.load("crema-d", root), "visual:", "folder of frames is absent")


def test_crema_d_deep_check_opens_everything(tmp_path):
    root = write_crema_d(tmp_path)
    (root / "AudioWAV/1001_DFA_HAP_XX.wav").write_bytes(b"RIFF")
    (root / "AudioWAV/1001_DFA_SAD_XX.wav").write_bytes(b"")
    (root / "Image-01-FPS/1002_IEO_SAD_XX/9.jpg").write_bytes(b"no picture")
    assert crema_d.check("crema-d", root, False) == []
    found = crema_d.check("crema-d", root, True)
    assert len(found) == 2
    assert "1001_DFA_HAP_XX.wav is no wav file" in found[0]
    assert found[0].endswith("(and 1 more of this modality)")
    assert "9.jpg cannot be read as an image" in found[1]


def test_crema_d_differences_are_told(tmp_path):
    root = write_crema_d(tmp_path)
    text(
        root / "train.csv",
        (root / "train.csv").read_text().replace("_HAP_XX,HAP", "_HAP_XX,SAD", 1)
        + "1003_DFA_HAP_XX,HAP\n",
    )
    sound(root / "AudioWAV/1003_DFA_HAP_XX.wav", np.zeros(9, np.int16))
    picture(root / "Image-01-FPS/1003_DFA_HAP_XX/1.jpg")
    said = crema_d.differs("crema-d", root, False)
    assert "4 training clips of HAP instead of 1,148" in said
    assert said.endswith("1 clip with another label than in the name")


def test_the_split_by_actor_is_frozen():
    """Nine of the 91, by SHA-256 of their numbers: whoever changes them changes what the protocol's name stands for."""
    held_out = crema_d.held_out_actors()
    assert held_out == ("1038", "1039", "1040", "1047", "1049", "1055", "1064", "1085", "1086")
    assert SETS["crema-d-by-actor"].split == "crema-d-by-actor@ec202380d2fd"


def test_no_actor_both_trains_and_tests(tmp_path):
    root = write_crema_d(tmp_path)
    actors = {
        name: [
            {crema_d.actor_of(os.path.basename(entry)) for entry in part.inputs["audio"]}
            for part in (sets.train, sets.test)
        ]
        for name in (crema_d.NAME, crema_d.BY_ACTOR)
        for sets in [crema_d.load(name, root)]
    }
    assert actors["crema-d"][0] == actors["crema-d"][1] == {"1001", "1002", "1038", "1039"}
    assert actors["crema-d-by-actor"] == [{"1001", "1002"}, {"1038", "1039"}]
    whole, split = (crema_d.load(name, root) for name in (crema_d.NAME, crema_d.BY_ACTOR))
    assert len(split.train) + len(split.test) == len(whole.train) + len(whole.test)


def test_a_users_actors(tmp_path):
    root = write_crema_d(tmp_path)
    text(root / "actors_train.txt", "1001\r\n1038\n")
    refused(
        lambda: crema_d.load(crema_d.BY_ACTOR, root),
        "actors_train.txt names actors, but actors_test.txt beside it is missing",
    )
    text(root / "actors_test.txt", "1002\n")
    sets = crema_d.load(crema_d.BY_ACTOR, root)
    assert len(sets.train) == 24 and len(sets.test) == 12
    said = crema_d.differs(crema_d.BY_ACTOR, root, False)
    assert sets.variant and "actors as listed in actors_train.txt and actors_test.txt" in said
    assert crema_d.load(crema_d.NAME, root).observed != sets.observed


def test_actors_that_leak_are_named(tmp_path):
    root = write_crema_d(tmp_path)
    text(root / "actors_train.txt", "1001\n1038\n1039\n")
    text(root / "actors_test.txt", "1039\n1038\n1002\n")
    refused(
        lambda: crema_d.load(crema_d.BY_ACTOR, root),
        "2 actors are in both actors_train.txt and actors_test.txt: 1038, 1039; a speaker who trains and tests",
        "leave each in one list",
    )
    text(root / "actors_test.txt", "1002\nanna\n")
    refused(
        lambda: crema_d.load(crema_d.BY_ACTOR, root),
        "actors_test.txt:2: expected an actor's number, such as 1001; found 'anna'",
    )
    text(root / "actors_test.txt", "1077\n")
    refused(lambda: crema_d.load(crema_d.BY_ACTOR, root), "no clip is of the test actors")


# -- AVE


def test_ave_class_ids_follow_names_and_events_are_cut_out(tmp_path):
    root = write_ave(tmp_path)
    sets = ave.load(root)
    assert sets.train.labels.tolist() == list(range(28))
    entry = sets.train.inputs["audio"][0]
    assert entry == "AudioWAV/train_000000.wav#t=2,4"
    part = media.read_recording(root, entry)
    assert part.rate == 8_000 and len(part.samples) == 16_000
    np.testing.assert_allclose(
        part.samples[[0, 7_999, 8_000, -1]] * 2**15, [6000, 6000, 9000, 9000]
    )
    whole = media.read_recording(root, "AudioWAV/train_000000.wav")
    assert len(whole.samples) == 80_000


def test_ave_spectrograms_as_released_are_refused(tmp_path):
    """They are pickles; what to do is one line for the shell."""
    root = write_ave(tmp_path / "AVE")
    shutil.move(root / "AudioWAV", root / "Audio-1004-SE")
    line = refused(
        lambda: ave.find(tmp_path),
        "Audio-1004-SE/ are pickles, and pickles are not opened",
        "AudioWAV/<video>.wav",
    )
    assert line.endswith(ave.EXTRACT) and "ffmpeg -i" in line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Bark&x&good&0", "4 fields"),
        ("Dog&x&good&0&10", "no class of AVE is called 'Dog'"),
        ("Bark&../x&good&0&10", "'../x' is no name of a video"),
        ("Bark&a#b&good&0&10", "'a#b' is no name of a video"),
        ("Bark&x&good&zero&10", "start and end are no whole seconds"),
        ("Bark&x&good&5&5", "the event goes from 5 to 5 s"),
        ("Bark&x&good&0&11", "the event goes from 0 to 11 s"),
        ("", "1 field;"),
    ],
)
def test_ave_lines_that_are_none(tmp_path, line, expected):
    root = write_ave(tmp_path, files=False)
    text(root / "testSet.txt", f"Bark&x&good&0&10\n{line}\nBark&y&good&0&10\n")
    refused(lambda: ave.load(root), f"testSet.txt:2: {expected}", "copy the list again")


def test_ave_a_heading_is_no_event(tmp_path):
    path = text(
        tmp_path / "l.txt", "Category&VideoID&Quality&StartTime&EndTime\nBark&x&good&0&10\n"
    )
    assert ave.read_list(path) == (ave.Event(4, "x", 0, 10),)


def test_ave_a_class_without_training_sample_and_leaks(tmp_path):
    lines = [f"{name}&train_{i:06}&good&2&4" for i, name in enumerate(ave.CLASSES)]
    root = write_ave(tmp_path, train=lines[:-1], files=False)
    refused(lambda: ave.load(root), "class 'Violin, fiddle' has no training sample")
    root = write_ave(tmp_path, train=lines, test=lines[:2], files=False)
    assert "2 videos in both training and test" in ave.differs(root, False)


def test_a_recording_shorter_than_its_event(tmp_path):
    sound(tmp_path / "x.wav", np.zeros(8_000, np.int16), 8_000)
    refused(
        lambda: media.read_recording(tmp_path, "x.wav#t=3,5"),
        "x.wav has 1.00 s, but seconds 3 to 5 of it are asked for",
    )
    assert len(media.read_recording(tmp_path, "x.wav#t=0,5").samples) == 8_000


# -- ModelNet40


def test_modelnet40_order_and_labels(tmp_path):
    """Files by their number, not by their name: 10 comes after 9."""
    root = write_modelnet40(tmp_path, train=[], test=["bed/bed_0001"])
    names = [f"{name}/{name}_0001" for name in modelnet40.CLASSES]
    for i in range(11):
        part = names[i::11]
        text(
            root / "pt" / f"ply_data_train_{i}_id2file.json", json.dumps([f"{n}.ply" for n in part])
        )
    for name in names:
        for view in (0, 45, 89, 90, 135, 179):
            picture(root / "image" / name / f"{name.split('/')[1]}.{view}.png")
    # the test object is one of them
    refused(lambda: modelnet40.load(root), "1 object in both training and test: bed/bed_0001")
    text(root / "pt/ply_data_test_0_id2file.json", '["bed/bed_0900.ply"]')
    for view in (0, 45, 89, 90, 135, 179):
        picture(root / f"image/bed/bed_0900/bed_0900.{view}.png")
    sets = modelnet40.load(root)
    expected = [name for i in range(11) for name in names[i::11]]
    assert [entry.split("/")[1] for entry in sets.train.inputs["view1"]] == [
        n.split("/")[0] for n in expected
    ]
    assert sets.train.inputs["view1"] == sets.train.inputs["view2"]
    assert sets.train.inputs["view1"][0] == "image/airplane/airplane_0001/airplane_0001"
    assert sets.train.labels.tolist() == [
        modelnet40.CLASSES.index(n.split("/")[0]) for n in expected
    ]
    os.remove(root / "pt/ply_data_train_3_id2file.json")
    refused(
        lambda: modelnet40.load(root),
        "ply_data_train_3_id2file.json is missing, while number 4 is there",
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            '["bed/bed_0001.ply", "bed/bed_0001.ply"]',
            "object bed/bed_0001 of the train files is listed twice",
        ),
        ('["bed/chair_0001.ply"]', "'bed/chair_0001.ply' is no object of ModelNet40"),
        ('["dog/dog_0001.ply"]', "'dog/dog_0001.ply' is no object of ModelNet40"),
        ('["../../x/x_0001.ply"]', "is no object of ModelNet40"),
        ("[1, 2]", "is no list of names"),
        ("[" * 100_000, "is no list of names"),
        ("\x80\x04", "is no list of names"),
        ("", "is no list of names"),
    ],
)
def test_modelnet40_names_that_are_none(tmp_path, content, expected):
    root = write_modelnet40(tmp_path, views=())
    text(root / "pt/ply_data_train_0_id2file.json", content)
    refused(lambda: modelnet40.load(root), expected)


def test_modelnet40_without_pictures(tmp_path):
    root = write_modelnet40(tmp_path)
    shutil.rmtree(root / "image/airplane/airplane_0900")
    sets = modelnet40.load(root)
    assert len(sets.test) == 1
    said = modelnet40.differs(root, False)
    assert "0 training objects and 1 test object without pictures left out" in said
    os.remove(root / "image/bed/bed_0001/bed_0001.135.png")
    refused(
        lambda: modelnet40.load(root), "view2: of 1 of 40 samples", "image/bed/bed_0001/bed_0001"
    )
    shutil.rmtree(root / "image/bed")
    refused(lambda: modelnet40.load(root), "class bed has no training object")


# -- MOSI, MOSEI, CH-SIMS


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", sentiment.SPECS)
def test_features_are_read_or_mapped(tmp_path, monkeypatch, name, large):
    monkeypatch.setattr(feature_files, "MEMORY", 0 if large else 1 << 30)
    path = write_features(tmp_path / f"{name}.npz", name)
    expected = features(name)
    sets = sentiment.load(name, path)
    for split, part in (("train", sets.train), ("test", sets.test)):
        for modality, values in part.inputs.items():
            assert isinstance(values, np.memmap) == large
            np.testing.assert_array_equal(values, expected[f"{split}_{modality}"])
        assert part.labels.tolist() == expected[f"{split}_label"].tolist()
    # lengths in steps differ between modalities
    assert {values.shape[1] for values in sets.train.inputs.values()} == {5, 7, 9}
    some = sets.train.take(np.array([3, 1]))
    assert (some.inputs["text"] is sets.train.inputs["text"]) == large  # nothing was read
    np.testing.assert_array_equal(some.rows("text", np.array([0])), expected["train_text"][[3]])


def test_files_larger_than_memory_open_at_once(tmp_path):
    """A terabyte, a hole but for its header: nothing reads through it."""
    path = write_features(tmp_path / "mosi.npz", "mosi")
    big = tmp_path / "big.npz"
    steps = 1 << 20
    shape = (1 << 8, steps, 768)
    size = int(np.prod(shape)) * 4
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(big, "w") as new:
        for entry in old.infolist():
            if entry.filename != "train_text.npy":
                new.writestr(entry.filename, old.read(entry))
    with open(big, "r+b") as file:
        # by hand, since zipfile would write what it is given: local header, name, npy header, a hole, the directory
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            head, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        member, name = len(head.getvalue()) + size, b"train_text.npy"
        with zipfile.ZipFile(big) as whole:
            start = whole.start_dir
        file.seek(start)
        directory = file.read()
        extra = struct.pack("<HHQQ", 1, 16, member, member)
        local = b"PK\x03\x04" + struct.pack(
            "<HHHHHIIIHH", 45, 0, 0, 0, 0x21, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name), len(extra)
        )
        file.seek(start)
        file.write(local + name + extra + head.getvalue())
        try:
            file.seek(size, 1)
        except OSError:
            pytest.skip("this file system has no files of a terabyte")
        new_start = file.tell()
        end = directory.index(b"PK\x05\x06")
        entry = (
            b"PK\x01\x02"
            + struct.pack(
                "<HHHHHHIIIHHHHHII",
                45,
                45,
                0,
                0,
                0,
                0x21,
                0,
                0xFFFFFFFF,
                0xFFFFFFFF,
                len(name),
                len(extra) + 8,
                0,
                0,
                0,
                0,
                0xFFFFFFFF,
            )
            + name
            + struct.pack("<HHQQQ", 1, 24, member, member, start)
        )
        table = directory[:end] + entry
        count = table.count(b"PK\x01\x02")
        file.write(table)
        at = file.tell()
        file.write(
            b"PK\x06\x06"
            + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(table), new_start)
        )
        file.write(b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1))
        file.write(
            b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        )
    arrays, in_files = open_arrays(big, ["train_text", "test_label"])
    assert in_files
    assert arrays["train_text"].shape == shape and arrays["train_text"].nbytes > 2**39
    assert not arrays["train_text"][7, :5].any()
    assert arrays["test_label"].tolist() == [0, 1, 2, 0, 1, 2]


def test_a_pickle_is_refused_naming_the_converter(tmp_path):
    released = {"train": {"text": np.zeros((2, 3))}}
    path = tmp_path / "MOSI" / "unaligned_50.pkl"
    text(path, pickle.dumps(released))
    line = refused(
        lambda: sentiment.find("mosi", tmp_path),
        "unaligned_50.pkl is a pickle, and pickles are not opened",
    )
    assert 'the ten lines in README, "Several modalities", at your own risk' in line
    # under another name it is none either
    (tmp_path / "mosi.npz").write_bytes(path.read_bytes())
    refused(
        lambda: sentiment.load("mosi", tmp_path / "mosi.npz"),
        "mosi.npz is a pickle, whatever its name says",
    )


@pytest.mark.parametrize("large", [False, True])
def test_arrays_of_objects_are_refused(tmp_path, monkeypatch, large):
    monkeypatch.setattr(feature_files, "MEMORY", 0 if large else 1 << 30)
    words = np.array([{"word": 1}] * 12, dtype=object)
    path = write_features(tmp_path / "mosi.npz", "mosi", train_text=words)
    refused(
        lambda: sentiment.load("mosi", path),
        "train_text",
        "nothing of others is unpickled",
        "convert MMSA's pickle with the ten lines in README",
    )


def test_the_lines_that_convert_a_pickle(tmp_path):
    """The docstring's lines, which README repeats, make of MMSA's form what the reader takes."""
    code = re.search(r"\n    import pickle.*?\n\n", sentiment.__doc__, re.S)[0]
    lines = [line[4:] for line in code.strip("\n").split("\n")]
    arrays = features("mosi")
    released = {}
    for split in ("train", "valid", "test"):
        source = "test" if split == "valid" else split
        released[split] = {m: arrays[f"{source}_{m}"].copy() for m in sentiment.MODALITIES}
        count = len(arrays[f"{source}_label"])
        released[split]["regression_labels"] = np.array([-1.4, 0, 2.6] * (count // 3), np.float32)
        released[split]["raw_text"] = np.array(["good"] * count, dtype=object)
    released["train"]["audio"][3, 0, 0] = -np.inf
    pkl, npz = tmp_path / "unaligned_50.pkl", tmp_path / "mosi.npz"
    pkl.write_bytes(pickle.dumps(released))
    code = compile("\n".join(["", *lines]), "convert", "exec")
    before = sys.argv
    sys.argv = ["convert", str(pkl), str(npz)]
    try:
        exec(code, {})
    finally:
        sys.argv = before
    sets = sentiment.load("mosi", npz)
    assert sets.train.labels.tolist() == [0, 1, 2] * 4
    expected = arrays["train_audio"]
    expected[3, 0, 0] = 0
    np.testing.assert_array_equal(sets.train.inputs["audio"], expected)


def bad(key, row=None, value=None, **more):
    arrays = features("mosi")
    values = arrays[key].copy()
    if row is not None:
        values[row] = value
    return {key: values, **more}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"train_audio": np.zeros((12, 7, 74), "f4")},
            "train_audio is float32 (12, 7, 74), expected floating-point numbers (N, T, 5)",
        ),
        ({"train_audio": np.zeros((12, 5), "f4")}, "train_audio is float32 (12, 5)"),
        ({"train_audio": np.zeros((12, 7, 5), "i4")}, "train_audio is int32"),
        (
            {"test_text": np.zeros((5, 5, 768), "f4")},
            "modalities have different numbers of samples: text 5, audio 6, vision 6",
        ),
        ({"train_label": np.arange(12) % 2}, "class positive has no training sample"),
        (
            {"test_label": np.arange(6)},
            "test_label lies in 0..5, expected 0 negative, 1 neutral, 2 positive",
        ),
        ({"test_label": np.zeros(6)}, "test_label is float64 (6,), expected integers"),
        (bad("train_vision", 4, np.nan), "train_vision, sample 4, holds NaN or inf; write 0 there"),
        (bad("test_audio", 0, -np.inf), "test_audio, sample 0, holds NaN or inf"),
    ],
)
def test_features_that_are_others(tmp_path, changed, expected):
    path = write_features(tmp_path / "mosi.npz", "mosi", **changed)
    line = refused(lambda: sentiment.load("mosi", path), expected)
    assert str(path) in line and sentiment.check("mosi", path) == [line]


def test_what_the_sampled_rows_do_not_show_a_deep_check_does(tmp_path, monkeypatch):
    monkeypatch.setattr(sentiment, "SAMPLED", 2)
    path = write_features(tmp_path / "mosi.npz", "mosi", **bad("train_vision", 4, np.nan))
    line = (
        f"{path}: train_vision, sample 4, holds NaN or inf; write 0 there, as the lines in README, "
        '"Several modalities", do'
    )
    assert sentiment.check("mosi", path, False) == [line]
    monkeypatch.setattr(feature_files, "MEMORY", 0)
    assert sentiment.check("mosi", path, False) == []
    assert sentiment.check("mosi", path, True) == [line]


def test_samples_without_a_modality_are_named(tmp_path, monkeypatch):
    path = write_features(tmp_path / "mosi.npz", "mosi", **bad("train_audio", slice(2, 5), 0))
    sets = sentiment.load("mosi", path)
    assert np.flatnonzero(sets.train.lacking("audio")).tolist() == [2, 3, 4]
    assert sets.notes == (
        "mosi: audio is missing (all zeros) for 3 training samples, whose features of it are those of no step",
    )
    monkeypatch.setattr(feature_files, "MEMORY", 0)
    assert "audio" not in sentiment.differs("mosi", path, False)
    assert "audio all zeros in 3 training samples" in sentiment.differs("mosi", path, True)


def test_npz_files_that_are_damaged(tmp_path):
    path = write_features(tmp_path / "mosi.npz", "mosi")
    whole = path.read_bytes()

    def load():
        return sentiment.load("mosi", path)

    for content in (b"", whole[: len(whole) // 2], b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        refused(load, "npz file", "convert MMSA's pickle")
    np.savez(path, x=np.zeros(3))
    refused(load, "has no array 'train_text', it holds x")
    os.remove(path)
    refused(load, "mosi.npz is missing")
    os.mkfifo(path)
    refused(load, "cannot be read")
