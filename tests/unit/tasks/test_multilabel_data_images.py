"""Label sets of images: VOC, COCO, NUS-WIDE, VOC-LT and COCO-LT; sound, and from strangers."""

import json
import logging
import pickle
import time

import numpy as np
import pytest
from multilabel_files import (
    CATEGORY,
    COCO_OBJECTS,
    COCO_TEST,
    COCO_TRAIN,
    NUS_TEST,
    VOC_TEST,
    annotation,
    coco_lt,
    hostile_xml,
    image,
    instances,
    pipes_and_folders,
    text,
    voc07,
    voc_lt,
    write_coco,
    write_coco_year,
    write_nus,
    write_voc,
)

from suite.base.errors import DataError
from tasks.multilabel.data import coco, db_lists, nus_wide, voc
from tasks.multilabel.data.catalogued import READERS, dataset, split
from tasks.multilabel.data.files import read_ids
from tasks.multilabel.data.labelled import observed

COPIES = {
    "voc07": voc07,
    "coco14": lambda root: write_coco_year(root / "coco"),
    "coco17": lambda root: write_coco_year(root / "COCO", "2017"),
    "nuswide": lambda root: write_nus(root / "NUS-WIDE"),
    "voc-lt": voc_lt,
    "coco-lt": lambda root: coco_lt(root / "coco"),
}


def shown(part, names):
    """Image -> names of its labels."""
    return {
        path: {names[i] for i in np.flatnonzero(row)}
        for path, row in zip(part.inputs, part.labels, strict=True)
    }


def one_line(error):
    line = str(error.value)
    assert "\n" not in line and len(line) < 700
    return line


@pytest.fixture(params=COPIES)
def copy(request, tmp_path):
    """(name, its reader, the folder found) of a small sound copy of each."""
    COPIES[request.param](tmp_path)
    reader = READERS[request.param]
    return request.param, reader, reader.find(request.param, tmp_path)


# -- what all have in common


def test_a_sound_copy(copy):
    name, reader, path = copy
    loaded = reader.load(name, path)
    for part in (loaded.train, loaded.test):
        assert all((path / file).is_file() for file in part.inputs)
        assert part.labels.dtype == bool and part.labels.shape[1] == len(reader.names(name))
    assert loaded.class_counts == tuple(loaded.train.labels.sum(axis=0))
    assert loaded.observed == observed(loaded.train, loaded.test)
    assert loaded.variant  # these copies are tiny
    assert reader.check(name, path, False) == reader.check(name, path, True) == []
    assert "labels without a training image (" in reader.differs(name, path, False)
    again = reader.load(name, reader.find(name, path))
    assert again.observed == loaded.observed


def test_the_declared_data_set(copy):
    name, reader, path = copy
    known = dataset(name)
    assert known.find(path) == path and known.check(path, True) == []
    assert known.differs(path, True) == reader.differs(name, path, True) != ""
    assert known.groups == {} and known.group_thresholds == (99, 20)
    assert known.group_rule == "training images: head > 99, medium 20-99, tail < 20"
    assert len(known.classes) == len(set(known.classes))


def test_splits_are_told_apart_without_data(monkeypatch):
    """A split's name is that of what is trained: it moves with what the reader takes for the published data."""
    every = {name: split(name) for name in READERS}
    assert len({name.partition("@")[2] for name in every.values()}) == len(READERS)
    assert all(said.startswith(f"{name}@") for name, said in every.items())
    monkeypatch.setitem(nus_wide.SIZES, "Train", 1)
    assert split("nuswide") != every["nuswide"]


def test_numbers_of_labels():
    sizes = {name: len(READERS[name].names(name)) for name in READERS}
    assert sizes == {
        "yeast": 14, "scene": 6, "emotions": 6, "corel5k": 374, "bibtex": 159, "voc07": 20, "voc12": 20,
        "coco14": 80, "coco17": 80, "nuswide": 81, "voc-lt": 20, "coco-lt": 80,
    }  # fmt: skip
    assert list(voc.CLASSES) == sorted(voc.CLASSES)
    assert list(nus_wide.CLASSES) == sorted(nus_wide.CLASSES)
    for name in READERS:
        known = dataset(name)
        assert (
            known.layout == READERS[name].LAYOUT[name] and "\n" not in known.layout + known.summary
        )


def test_an_absent_image_ends_the_loading_and_is_named(copy):
    name, reader, path = copy
    lost = reader.load(name, path).train.inputs[0]
    (path / lost).unlink()
    if name == "nuswide":
        assert reader.check(name, path) == []
        return
    with pytest.raises(DataError, match=r"1 of \d images looked for in .* are absent") as error:
        reader.load(name, path)
    assert lost in one_line(error)
    assert len(reader.check(name, path)) == 1 and "(training)" in reader.check(name, path)[0]


def test_a_damaged_image_shows_in_the_deep_check_alone(copy, caplog):
    name, reader, path = copy
    bad = reader.load(name, path).test.inputs[0]
    text(path / bad, (path / bad).read_bytes()[:-100])
    caplog.set_level(logging.INFO, "longtail_suite.data")
    assert reader.check(name, path) == []
    assert reader.check(name, path, True) == [
        f"1 image is damaged (test): {bad}; copy again into {path}"
    ]
    assert "2 of 2 pictures" in caplog.text


def test_half_a_copy_ends_in_what_is_missing(copy, tmp_path):
    name, reader, path = copy
    wanted = {
        "voc07": "VOC2007/ImageSets/Main/test.txt",
        "coco14": "annotations/instances_val2014.json",
        "coco17": "annotations/instances_val2017.json",
        "nuswide": "Groundtruth/TrainTestLabels/Labels_zebra_Test.txt",
        "voc-lt": "longtail2012/img_id.txt",
        "coco-lt": "longtail2017/img_id.pkl",
    }[name]
    (path / wanted).unlink()
    with pytest.raises(DataError, match=f"is not whole: {wanted} is missing"):
        reader.find(name, tmp_path)
    problems = reader.check(name, path)
    assert len(problems) == 1 and wanted in problems[0]


def test_nothing_there(tmp_path):
    for name, reader in READERS.items():
        with pytest.raises(DataError, match=f"{name}: expected .*; found there: nothing") as error:
            reader.find(name, tmp_path)
        one_line(error)


def test_pipes_folders_and_empty_files(copy):
    name, reader, path = copy
    file = {
        "voc07": "VOC2007/ImageSets/Main/trainval.txt",
        "nuswide": "ImageList/TrainImagelist.txt",
        "voc-lt": "longtail2012/img_id.txt",
        "coco-lt": "longtail2017/img_id.pkl",
    }.get(name, f"annotations/instances_train20{name[-2:]}.json")
    text(path / file, "")
    with pytest.raises(DataError, match=f"{file} is empty"):
        reader.load(name, path)
    for kind in pipes_and_folders(path / file):
        with pytest.raises(DataError, match=file) as error:
            reader.load(name, path)
        assert kind == "nothing" or "not a regular file" in one_line(error)


def test_lists_with_a_mark_and_other_line_ends_are_the_same_lists(copy):
    name, reader, path = copy
    before = reader.load(name, path).observed
    for file in (
        *path.rglob("*.txt"),
        *path.rglob("*.json"),
        *path.rglob("*.xml"),
        *path.rglob("*.pkl"),
    ):
        content = file.read_bytes().replace(b"\r\n", b"\n")
        text(file, b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert reader.load(name, path).observed == before


@pytest.mark.parametrize("name", ["voc07", "nuswide", "voc-lt", "coco-lt"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/etc/passwd", "found '/etc/passwd'|not a plain relative path"),
        ("../../secret", r"found '../../secret'|not a plain relative path"),
        ("..\\..\\secret", "found|not a plain relative path"),
        ("C:\\secret\\\\x.jpg", "found|not a plain relative path"),
        ("", "found ''|'' is not a plain"),
        ("a\tb\0c", r"found 'a\\tb\\x00c'|not a plain"),
        ("x" * 100_000 + "/", "found 'xxx|not a plain"),
    ],
)
def test_lists_name_nothing_outside_of_the_folder(tmp_path, name, line, message):
    COPIES[name](tmp_path)
    reader = READERS[name]
    path = reader.find(name, tmp_path)
    file = (
        path
        / {
            "voc07": "VOC2007/ImageSets/Main/trainval.txt",
            "nuswide": "ImageList/TrainImagelist.txt",
            **db_lists.LISTS,
        }[name]
    )
    lines = file.read_text().splitlines()
    text(file, "\n".join([lines[0], line, *lines[1:]]) + "\n")
    with pytest.raises(DataError, match=message) as error:
        reader.load(name, path)
    assert f"{file}:2: " in one_line(error)


@pytest.mark.parametrize("name", ["voc07", "nuswide", "voc-lt", "coco-lt"])
def test_an_image_named_twice(tmp_path, name):
    COPIES[name](tmp_path)
    reader = READERS[name]
    path = reader.find(name, tmp_path)
    file = (
        path
        / {
            "voc07": "VOC2007/ImageSets/Main/trainval.txt",
            "nuswide": "ImageList/TrainImagelist.txt",
            **db_lists.LISTS,
        }[name]
    )
    text(file, file.read_text() + file.read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r":\d: '.*' is already on line 1") as error:
        reader.load(name, path)
    one_line(error)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
@pytest.mark.parametrize("name", ["voc07", "nuswide", "voc-lt", "coco-lt", "coco14"])
def test_other_encodings(tmp_path, name, encoding):
    COPIES[name](tmp_path)
    reader = READERS[name]
    path = reader.find(name, tmp_path)
    file = (
        path
        / {
            "voc07": "VOC2007/ImageSets/Main/trainval.txt",
            "nuswide": "ImageList/TrainImagelist.txt",
            "coco14": "annotations/instances_train2014.json",
            **db_lists.LISTS,
        }[name]
    )
    content = file.read_text()
    text(file, (content[:-2] + "\xe9" + content[-2:]).encode(encoding))
    with pytest.raises(DataError, match=r"not UTF-8|is no annotation file of COCO") as error:
        reader.load(name, path)
    assert str(file) in one_line(error)


# -- VOC


def test_labels_of_voc(tmp_path):
    path = voc.find("voc07", voc07(tmp_path).parent)
    loaded = voc.load("voc07", path)
    assert list(loaded.train.inputs) == [
        f"VOC2007/JPEGImages/{i}.jpg" for i in ("000005", "000007", "000009")
    ]
    assert list(shown(loaded.train, voc.CLASSES).values()) == [
        {"chair", "person"}, {"car"}, {"horse", "person"},
    ]  # fmt: skip
    assert loaded.class_counts[voc.CLASSES.index("person")] == 2


def test_difficult_objects_always_test_and_train_unless_asked(tmp_path):
    path = voc07(tmp_path)
    easy = voc.load("voc07", path, difficult=False)
    trained, tested = (shown(part, voc.CLASSES) for part in (easy.train, easy.test))
    assert trained["VOC2007/JPEGImages/000005.jpg"] == {"chair"}
    assert tested["VOC2007/JPEGImages/000001.jpg"] == {"dog", "person"}
    full = voc.load("voc07", path)
    assert full.observed["train-labels"] != easy.observed["train-labels"]
    assert full.observed["test-labels"] == easy.observed["test-labels"]


def test_voc_2012_tests_on_its_validation_set(tmp_path):
    path = write_voc(tmp_path, "VOC2012", train={"2008_000002": ["tvmonitor"]}, val=VOC_TEST)
    loaded = voc.load("voc12", voc.find("voc12", tmp_path))
    assert (len(loaded.train), len(loaded.test)) == (1, 2)
    assert voc.differs("voc12", path, False).startswith(
        "1 training images instead of 5,717, 2 test images instead of 5,823, 19 labels without"
    )


def test_an_id_without_annotation(tmp_path):
    path = voc07(tmp_path)
    (path / "VOC2007/Annotations/000007.xml").unlink()
    with pytest.raises(
        DataError, match=r"000007.xml is missing; image 000007 stands in .*trainval.txt"
    ):
        voc.load("voc07", path)


def test_an_annotation_without_a_place_in_a_list_is_nothing(tmp_path):
    path = voc07(tmp_path)
    before = voc.load("voc07", path).observed
    text(path / "VOC2007/Annotations/009999.xml", "<no annotation")
    assert voc.load("voc07", path).observed == before


@pytest.mark.parametrize("case", hostile_xml("annotation"))
def test_hostile_annotations(tmp_path, case):
    path = voc07(tmp_path)
    file = text(path / "VOC2007/Annotations/000007.xml", hostile_xml("annotation")[case])
    started = time.process_time()
    with pytest.raises(DataError) as error:
        voc.load("voc07", path)
    assert str(file) in one_line(error)
    assert time.process_time() - started < 1
    assert voc.check("voc07", path) == [str(error.value)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (annotation("unicorn"), "VOC has no class 'unicorn'"),
        (annotation("Person"), "VOC has no class 'Person'"),
        ("<annotation><object></object></annotation>", "VOC has no class ''"),
        (annotation("car").replace(">0<", ">maybe<"), "`difficult` is 'maybe', expected 0 or 1"),
        ("x" * (1 << 23), "more than 1,048,576 bytes"),
    ],
)
def test_annotations_that_mean_nothing(tmp_path, content, message):
    path = voc07(tmp_path)
    text(path / "VOC2007/Annotations/000007.xml", content)
    with pytest.raises(DataError, match=message) as error:
        voc.load("voc07", path)
    one_line(error)


def test_an_image_that_trains_and_tests(tmp_path):
    path = write_voc(tmp_path, "VOC2007", trainval=VOC_TEST, test=VOC_TEST)
    assert voc.check("voc07", path)[0].startswith("2 images of ")
    assert "both train and test: VOC2007/JPEGImages/000001.jpg, " in voc.check("voc07", path)[0]


# -- COCO


def test_labels_of_coco(tmp_path):
    path = coco.find("coco14", write_coco_year(tmp_path))
    loaded = coco.load("coco14", path)
    # in the order of ids; d.jpg, without annotation, does not train; s.jpg tests
    assert shown(loaded.train, coco.CLASSES) == {
        "train2014/a.jpg": {"person", "toothbrush"},
        "train2014/b.jpg": {"cat"},
        "train2014/c.jpg": {"dog", "cat"},
    }
    assert list(loaded.train.inputs) == [f"train2014/{x}.jpg" for x in "abc"]
    assert shown(loaded.test, coco.CLASSES) == {"val2014/s.jpg": set(), "val2014/t.jpg": {"car"}}


def test_boxes_without_extent_may_be_left_out(tmp_path):
    write_coco_year(tmp_path)
    loaded = coco.load("coco14", tmp_path, drop_boxes=True)
    assert shown(loaded.train, coco.CLASSES) == {
        "train2014/a.jpg": {"person", "toothbrush"},
        "train2014/c.jpg": {"dog"},
    }
    assert len(coco.load("coco14", tmp_path).train) == 3


def test_images_may_lie_one_folder_deeper(tmp_path):
    write_coco_year(tmp_path)
    (tmp_path / "images").mkdir()
    for folder in ("train2014", "val2014"):
        (tmp_path / folder).rename(tmp_path / "images" / folder)
    loaded = coco.load("coco14", coco.find("coco14", tmp_path))
    assert loaded.train.inputs[0] == "images/train2014/a.jpg"


def test_a_changed_annotation_file_is_read_again(tmp_path):
    write_coco_year(tmp_path)
    before = coco.load("coco14", tmp_path)
    write_coco(tmp_path, "val2014", {**COCO_TEST, 99: "u.jpg"}, [(99, "cat")])
    assert (len(before.test), len(coco.load("coco14", tmp_path).test)) == (2, 3)


def changed(**parts):
    return json.dumps(instances(COCO_TRAIN, COCO_OBJECTS) | parts)


def without(key):
    made = instances(COCO_TRAIN, COCO_OBJECTS)
    del made[key]
    return json.dumps(made)


CATEGORIES = [{"id": i, "name": name} for name, i in CATEGORY.items()]
BAD_JSON = {
    "cut": (lambda: changed()[:-40], "Input data was truncated|malformed"),
    "no object": (lambda: "[]", "Expected `object`, got `array`"),
    "deep": (lambda: changed(info=0).replace('"info": 0', '"info": ' + "[" * 10**6), "is no annotation file"),
    "deep in a list": (lambda: '{"images": ' + "[" * 10**6, "is no annotation file"),
    "NaN": (lambda: changed().replace("[0, 0, 3, 3]", "[0, 0, NaN, 3]"), "malformed"),
    "no images": (lambda: without("images"), "missing required field `images`"),
    "no annotations": (lambda: without("annotations"), "missing required field `annotations`"),
    "no categories": (lambda: without("categories"), "missing required field `categories`"),
    "images empty": (lambda: changed(images=[]), "names no image"),
    "annotates nothing": (lambda: changed(annotations=[]), "annotates no object"),
    "id a text": (lambda: changed(images=[{"id": "1", "file_name": "a.jpg"}]), "Expected `int`, got `str`"),
    "id of 65 bits": (lambda: changed(images=[{"id": 2**64, "file_name": "a.jpg"}]), "of more than 64 bits|is no annotation"),
    "an id twice": (lambda: changed(images=[{"id": 9, "file_name": f"{x}.jpg"} for x in "ab"]), "names image id 9 twice"),
    "a file twice": (
        lambda: changed(images=[{"id": i, "file_name": "a.jpg"} for i in COCO_TRAIN]),
        "names the image 'a.jpg' twice",
    ),
    "no such image": (
        lambda: changed(annotations=[{"image_id": 31, "category_id": 11}]),
        r"annotates image id 31, which is not among its images \(1 annotations",
    ),
    "no such category": (
        lambda: changed(annotations=[{"image_id": 30, "category_id": 5}]),
        "annotates category id 5, which is not among its categories",
    ),
    "a box of three": (
        lambda: changed(annotations=[{"image_id": 30, "category_id": 11, "bbox": [0, 0, 1]}]),
        "Expected `array` of length 4",
    ),
    "other categories": (
        lambda: changed(categories=[{"id": 1, "name": "unicorn"}]),
        "1 categories other than COCO's 80 in the order of their ids, 'unicorn' among them",
    ),
    "categories in another order": (
        lambda: changed(categories=[{"id": -c["id"], "name": c["name"]} for c in CATEGORIES]),
        "80 categories other than COCO's",
    ),
    "a category id twice": (
        lambda: changed(categories=[*CATEGORIES[:-1], CATEGORIES[-1] | {"id": CATEGORIES[-2]["id"]}]),
        "80 categories other than COCO's",
    ),
    **{
        f"file {file!r}": (
            lambda file=file: changed(images=[{"id": i, "file_name": file} for i in COCO_TRAIN]),
            "is no plain file name",
        )
        for file in ("/etc/passwd", "../a.jpg", "x/a.jpg", "..\\a.jpg", "", " a.jpg", "a\0.jpg", "..")
    },
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_JSON)
def test_damaged_annotations(tmp_path, case):
    make, message = BAD_JSON[case]
    write_coco_year(tmp_path)
    file = text(tmp_path / "annotations/instances_train2014.json", make())
    started = time.process_time()
    with pytest.raises(DataError, match=message) as error:
        coco.load("coco14", tmp_path)
    assert str(file) in one_line(error)
    assert time.process_time() - started < 1
    assert coco.check("coco14", tmp_path) == [str(error.value)]


def test_an_annotation_file_larger_than_any(tmp_path, monkeypatch):
    write_coco_year(tmp_path)
    monkeypatch.setattr(coco, "MAX_JSON", 1000)
    with pytest.raises(DataError, match="has more than 1,000 bytes, so it is another file"):
        coco.load("coco14", tmp_path)


def test_an_annotation_file_of_more_objects_than_any(tmp_path, monkeypatch):
    write_coco_year(tmp_path)
    monkeypatch.setattr(coco, "MAX_OBJECTS", 50)
    with pytest.raises(DataError, match="has more than 50 objects, so it is another file"):
        coco.load("coco14", tmp_path)


def test_which_boxes_are_empty_cannot_be_told_without_boxes(tmp_path):
    write_coco_year(tmp_path)
    things = [{"image_id": 30, "category_id": 11}]
    text(tmp_path / "annotations/instances_train2014.json", changed(annotations=things))
    assert len(coco.load("coco14", tmp_path).train) == 1
    with pytest.raises(DataError, match="an object of image id 30 has no box or no area"):
        coco.load("coco14", tmp_path, drop_boxes=True)


# -- NUS-WIDE


def test_labels_of_nus_wide(tmp_path):
    path = nus_wide.find("nuswide", write_nus(tmp_path))
    loaded = nus_wide.load("nuswide", path)
    assert shown(loaded.train, nus_wide.CLASSES) == {
        "Flickr/actor/0001_1.jpg": {"person"},
        "Flickr/zebra/0001_3.jpg": {"zebra", "grass"},
    }
    assert shown(loaded.test, nus_wide.CLASSES) == {
        "Flickr/sky/0001_4.jpg": {"sky"},
        "Flickr/sky/0002_5.jpg": set(),
    }


@pytest.mark.parametrize("folder", ["images", "."])
def test_where_the_images_may_lie(tmp_path, folder):
    loaded = nus_wide.load("nuswide", write_nus(tmp_path, folder=folder))
    prefix = "" if folder == "." else "images/"
    assert loaded.train.inputs[0] == f"{prefix}actor/0001_1.jpg"


def test_images_that_are_gone_are_left_out_and_counted(tmp_path):
    path = write_nus(tmp_path)
    (path / "Flickr/actor/0001_1.jpg").unlink()
    (path / "Flickr/sky/0001_4.jpg").unlink()
    loaded = nus_wide.load("nuswide", path)
    assert (len(loaded.train), len(loaded.test)) == (1, 1)
    assert loaded.class_counts[nus_wide.CLASSES.index("person")] == 0 and loaded.variant
    assert nus_wide.check("nuswide", path, True) == []
    said = nus_wide.differs("nuswide", path, False)
    assert "1 of 3 training images and 1 of 2 test images are not there and left out" in said


def test_a_whole_copy_of_nus_wide_is_no_variant(tmp_path, monkeypatch):
    every = {f"a\\{i}.jpg": [name] for i, name in enumerate(nus_wide.CLASSES)}
    path = write_nus(tmp_path, train=every)
    monkeypatch.setattr(nus_wide, "SIZES", {"Train": 81, "Test": 2})
    assert (
        not nus_wide.load("nuswide", path).variant and nus_wide.differs("nuswide", path, True) == ""
    )
    (path / "Flickr/sky/0002_5.jpg").unlink()
    assert nus_wide.load("nuswide", path).variant


def test_no_image_at_all(tmp_path):
    path = write_nus(tmp_path)
    for name in NUS_TEST:
        (path / "Flickr" / name.replace("\\", "/")).unlink()
    with pytest.raises(
        DataError, match=r"none of the 2 images of .*TestImagelist.txt is below .*Flickr"
    ):
        nus_wide.load("nuswide", path)


def test_no_image_with_a_label(tmp_path):
    path = write_nus(tmp_path, train={"a\\b.jpg": []})
    with pytest.raises(
        DataError, match="no training image that is there shows any of the 81 concepts"
    ):
        nus_wide.load("nuswide", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0\n1\n", "has labels of 2 images, TrainImagelist.txt names 3"),
        ("0\n1\n0\n1\n", "has labels of 4 images, TrainImagelist.txt names 3"),
        ("0\n2\n0\n", ":2: expected 0 or 1, found '2'"),
        ("0\n-1\n0\n", ":2: expected 0 or 1, found '-1'"),
        ("0\n\n0\n", ":2: expected 0 or 1, found ''"),
        ("0 0 1\n", ":1: expected 0 or 1, found '0 0 1'"),
        ("010\n", ":1: expected 0 or 1, found '010'"),
        (b"0\n\xe9\n1\n", r":2: expected 0 or 1, found '\\\\xe9'"),
        ("0\n1\n0\n".encode("utf-16"), ":1: expected 0 or 1"),
        ("", "is empty"),
    ],
)
def test_damaged_labels(tmp_path, content, message):
    path = write_nus(tmp_path)
    text(path / "Groundtruth/TrainTestLabels/Labels_map_Train.txt", content)
    with pytest.raises(DataError, match=message) as error:
        nus_wide.load("nuswide", path)
    assert "Labels_map_Train.txt" in one_line(error)
    assert nus_wide.check("nuswide", path) == [str(error.value)]


def test_labels_with_blanks_at_their_ends(tmp_path):
    path = write_nus(tmp_path)
    before = nus_wide.load("nuswide", path).observed
    text(path / "Groundtruth/TrainTestLabels/Labels_zebra_Train.txt", "0 \r\n0\t\r\n 1\r\n\r\n")
    assert nus_wide.load("nuswide", path).observed == before


def test_a_folder_in_place_of_an_image_is_no_image(tmp_path):
    path = write_nus(tmp_path)
    file = path / "Flickr/actor/0001_1.jpg"
    file.unlink()
    file.mkdir()
    assert len(nus_wide.load("nuswide", path).train) == 1


# -- VOC-LT and COCO-LT


def test_labels_of_voc_lt(tmp_path):
    path = db_lists.find("voc-lt", voc_lt(tmp_path).parent)
    loaded = db_lists.load("voc-lt", path)
    # in the order of the list; difficult objects count, as in the release
    assert shown(loaded.train, voc.CLASSES) == {
        "VOC2012/JPEGImages/2008_000028.jpg": {"bus"},
        "VOC2012/JPEGImages/2008_000023.jpg": {"tvmonitor", "person"},
    }
    assert loaded.train.inputs[0].endswith("028.jpg")
    assert [p[:8] for p in loaded.test.inputs] == ["VOC2007/"] * 2


def test_labels_of_coco_lt(tmp_path):
    path = db_lists.find("coco-lt", coco_lt(tmp_path))
    loaded = db_lists.load("coco-lt", path)
    # the cat on c.jpg is half a pixel wide
    assert shown(loaded.train, coco.CLASSES) == {
        "train2017/c.jpg": {"dog"},
        "train2017/a.jpg": {"person", "toothbrush"},
    }
    assert loaded.train.inputs[0] == "train2017/c.jpg"
    assert len(loaded.test) == 2


def test_what_the_lists_are_held_against(tmp_path):
    voc_lt(tmp_path / "v"), coco_lt(tmp_path / "c")
    said = db_lists.differs("voc-lt", db_lists.find("voc-lt", tmp_path / "v"), False)
    assert said.startswith(
        "2 training images instead of 1,142, 2 test images instead of 4,952, 0 training images of aeroplane instead of 6"
    )
    assert "0 head labels instead of 6" in said and "20 tail labels instead of 8" in said
    said = db_lists.differs("coco-lt", db_lists.find("coco-lt", tmp_path / "c"), False)
    assert "1 images of the most frequent label instead of 1,128" in said


def test_counts_of_the_release_are_those_of_its_groups():
    from tasks.vision import groups

    sizes = tuple(map(len, groups.groups(db_lists.COUNTS, *db_lists.THRESHOLDS).values()))
    assert sizes == (6, 6, 8)
    assert (max(db_lists.COUNTS), min(db_lists.COUNTS)) == (775, 4) and len(db_lists.COUNTS) == 20


@pytest.mark.slow
def test_a_copy_with_the_released_counts_is_no_variant(tmp_path, monkeypatch):
    """Counts of VOC-LT, as far as one image shows one label at most once."""
    images = {
        f"2008_{i:06}": [
            name for name, n in zip(voc.CLASSES, db_lists.COUNTS, strict=True) if i < n
        ]
        for i in range(775)
    }
    write_voc(tmp_path, "VOC2012", trainval=images)
    write_voc(tmp_path, "VOC2007", test=VOC_TEST)
    text(tmp_path / "longtail2012/img_id.txt", "\n".join(images))
    monkeypatch.setitem(db_lists._SIZES, "voc-lt", (775, 2))
    loaded = db_lists.load("voc-lt", tmp_path)
    assert loaded.class_counts == db_lists.COUNTS
    assert not loaded.variant and db_lists.differs("voc-lt", tmp_path, True) == ""


class Bomb:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("what", [["30", "9"], [30, 9], {"30": 1}, ("30",), Bomb()])
def test_a_real_pickle_is_refused_and_not_opened(tmp_path, capsys, protocol, what):
    path = coco_lt(tmp_path)
    file = text(path / "longtail2017/img_id.pkl", pickle.dumps(what, protocol))
    with pytest.raises(
        DataError, match=r"is a pickle, and pickles are not opened|expected one image id"
    ) as error:
        db_lists.load("coco-lt", path)
    assert str(file) in one_line(error)
    assert capsys.readouterr().out == ""


def test_the_release_s_usual_pickle_is_named_as_such(tmp_path):
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        file = text(tmp_path / "img_id.pkl", pickle.dumps(["30"], protocol))
        with pytest.raises(DataError, match="is a pickle, and pickles are not opened"):
            read_ids(file)


@pytest.mark.parametrize("name", ["voc-lt", "coco-lt"])
def test_a_list_id_without_annotation(tmp_path, name):
    COPIES[name](tmp_path)
    path = db_lists.find(name, tmp_path)
    file = path / db_lists.LISTS[name]
    text(file, file.read_text() + "77\n")
    with pytest.raises(DataError, match=r"image id '77' is not in|image 77 stands in") as error:
        db_lists.load(name, path)
    assert str(file) in one_line(error)


def test_ids_with_zeros_before_them_are_other_ids(tmp_path):
    path = coco_lt(tmp_path)
    text(path / "longtail2017/img_id.pkl", "30\n09\n")
    with pytest.raises(DataError, match=":2: image id '09' is not in"):
        db_lists.load("coco-lt", path)


def test_no_image_of_the_copy_is_opened_by_a_quick_check(tmp_path):
    path = voc07(tmp_path)
    for file in (path / "VOC2007/JPEGImages").iterdir():
        text(file, "no image")
    assert voc.check("voc07", path) == []
    problems = voc.check("voc07", path, True)
    assert [line[:22] for line in problems] == ["3 images are damaged (", "2 images are damaged ("]
    image(path / "VOC2007/JPEGImages/000001.jpg")
    assert voc.check("voc07", path, True)[1].startswith("1 image is damaged (test)")
