"""Label sets for tests: the real ones of Mulan where they lie, and small copies of every layout."""

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from camvid_files import DATA
from PIL import Image

from tasks.multilabel.data import coco, mulan, nus_wide

PACKS = DATA / "multilabel"
packs = pytest.mark.skipif(
    not (PACKS / "yeast.npz").is_file(),
    reason=f"no packs of Mulan's sets in {PACKS}: set LONGTAIL_TEST_DATA to the folder that holds multilabel/",
)


def image(path, shade=0):
    """A picture of 4x4 pixels."""
    text(path, _encoded(shade))


@cache
def _encoded(shade):
    made = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(made, "JPEG")
    return made.getvalue()


def text(path, content):
    """A file of text or bytes, whatever folder it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# -- Mulan


def features(name="emotions", rows=6, seed=0):
    """(X float32 (rows, D), Y bool (rows, L)) of a Mulan set's own width."""
    known = mulan.manifest(name)
    draw = np.random.default_rng(seed)
    inputs = draw.normal(size=(rows, known["features"])).astype(np.float32)
    inputs[draw.random(inputs.shape) < 0.5] = 0
    return inputs, draw.random((rows, len(known["labels"]))) < 0.3


def xml_of(labels):
    inside = "\n".join(f'<label name="{label}"></label>' for label in labels)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<labels xmlns="http://mulan.sourceforge.net/labels">\n{inside}\n</labels>\n'
    )


def arff_of(inputs, labels, names, sparse=False):
    """The features, then the labels; floats as short as float32 needs them."""
    header = ["@relation r", "", *(f"@attribute Att{i} numeric" for i in range(inputs.shape[1]))]
    header += [f"@attribute {name} {{0,1}}" for name in names]
    lines = []
    for row, shows in zip(inputs, labels.astype(int).tolist(), strict=True):
        values = [*(str(value) for value in row), *map(str, shows)]
        if sparse:
            filled = [f"{i} {v}" for i, v in enumerate(values) if float(v) or v.startswith("-")]
            lines.append("{" + ",".join(filled) + "}")
        else:
            lines.append(",".join(values))
    return "\n".join([*header, "", "@data", *lines]) + "\n"


def write_mulan(folder, name="emotions", train=None, test=None, sparse=False):
    """A folder of Mulan's three files, of (X, Y) or a few rows drawn."""
    names = mulan.names(name)
    for split, drawn in (
        ("train", train or features(name, 6, 0)),
        ("test", test or features(name, 4, 1)),
    ):
        end = "-sparse" * sparse
        text(folder / f"{name}-{split}{end}.arff", arff_of(*drawn, names, sparse))
    text(folder / f"{name}.xml", xml_of(names))
    return folder


def write_pack(path, name="emotions", **other):
    """An npz pack; `other` arrays in place of its own."""
    train, test = features(name, 6, 0), features(name, 4, 1)
    arrays = {
        "X": np.concatenate([train[0], test[0]]),
        "Y": np.concatenate([train[1], test[1]]).astype(np.uint8),
        "split": np.repeat([0, 1], [6, 4]).astype(np.uint8),
        "labels": np.array(mulan.names(name)),
    } | other
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return path


# -- VOC


def annotation(*objects):
    """Of names, with `!` before those that are difficult."""
    things = "".join(
        f"<object><name>{thing.lstrip('!')}</name><difficult>{int(thing[0] == '!')}</difficult>"
        "<part><name>head</name></part></object>"
        for thing in objects
    )
    return f"<annotation><folder>VOC2007</folder>{things}</annotation>"


def write_voc(devkit, year, **splits):
    """A year of VOC; a split is a mapping of id -> names of its objects."""
    for split, images in splits.items():
        text(
            devkit / year / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{i}\n" for i in images)
        )
        for name, objects in images.items():
            text(devkit / year / "Annotations" / f"{name}.xml", annotation(*objects))
            image(devkit / year / "JPEGImages" / f"{name}.jpg")
    return devkit


VOC_TRAIN = {
    "000005": ["chair", "!person"],
    "000007": ["car"],
    "000009": ["horse", "person", "horse"],
}
VOC_TEST = {"000001": ["dog", "!person"], "000002": ["train"]}


def voc07(root):
    return write_voc(root / "VOCdevkit", "VOC2007", trainval=VOC_TRAIN, test=VOC_TEST)


# -- COCO


CATEGORY = {name: i for i, name in enumerate(coco.CLASSES, start=11)}
"""Ids with a gap before them."""


def instances(images, objects=(), categories=None):
    """The content of an annotation file. An object is (image id, class name[, area, width, height])."""
    return {
        "info": {"year": 2014},
        "images": [{"id": i, "file_name": file, "width": 4} for i, file in images.items()],
        "annotations": [
            {
                "image_id": i,
                "category_id": CATEGORY[name],
                "area": (extent or [9])[0],
                "bbox": [0, 0, *(extent[1:] or [3, 3])],
                "segmentation": [[0.0, 1.0]],
                "iscrowd": 0,
            }
            for i, name, *extent in objects
        ],
        "categories": categories
        or [{"id": i, "name": name, "supercategory": "x"} for name, i in CATEGORY.items()],
    }


def write_coco(root, split, images, objects=()):
    text(root / "annotations" / f"instances_{split}.json", json.dumps(instances(images, objects)))
    for file in images.values():
        image(root / split / file)
    return root


COCO_TRAIN = {30: "c.jpg", 9: "a.jpg", 25: "b.jpg", 40: "d.jpg"}
COCO_OBJECTS = [
    (9, "person"),
    (9, "person"),
    (9, "toothbrush"),
    (30, "dog"),
    (25, "cat", 0, 3, 3),
    (30, "cat", 1, 0.5, 2),
]
COCO_TEST = {7: "t.jpg", 3: "s.jpg"}


def write_coco_year(root, year="2014"):
    write_coco(root, f"train{year}", COCO_TRAIN, COCO_OBJECTS)
    return write_coco(root, f"val{year}", COCO_TEST, [(7, "car")])


# -- NUS-WIDE


NUS_TRAIN = {
    "actor\\0001_1.jpg": ["person"],
    "actor\\0002_2.jpg": [],
    "zebra\\0001_3.jpg": ["zebra", "grass"],
}
NUS_TEST = {"sky\\0001_4.jpg": ["sky"], "sky\\0002_5.jpg": []}


def write_nus(root, train=None, test=None, folder="Flickr"):
    for split, images in (("Train", train or NUS_TRAIN), ("Test", test or NUS_TEST)):
        text(root / "ImageList" / f"{split}Imagelist.txt", "".join(f"{i} \r\n" for i in images))
        for concept in nus_wide.CLASSES:
            lines = "".join(f"{int(concept in shows)}\n" for shows in images.values())
            text(root / "Groundtruth" / "TrainTestLabels" / f"Labels_{concept}_{split}.txt", lines)
        for name in images:
            image(root / folder / name.replace("\\", "/"))
    return root


# -- the lists of the distribution-balanced loss


def voc_lt(root):
    devkit = write_voc(
        root / "VOCdevkit",
        "VOC2012",
        trainval={"2008_000023": ["tvmonitor", "!person"], "2008_000028": ["bus"]},
    )
    write_voc(devkit, "VOC2007", test=VOC_TEST)
    text(devkit / "longtail2012" / "img_id.txt", "2008_000028\n2008_000023\n")
    return devkit


def coco_lt(root):
    write_coco_year(root, "2017")
    text(root / "longtail2017" / "img_id.pkl", "30\n9\n")
    return root


# -- what strangers send


def hostile_xml(root):
    """name -> XML files around an element `root` that are not to be read."""
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    return {
        "cut": f"<{root}><label name='a'",
        "expansion": f'<!DOCTYPE {root} [<!ENTITY l0 "ha">{laughs}]><{root}>&l9;</{root}>',
        "external": f'<!DOCTYPE {root} [<!ENTITY e SYSTEM "file:///etc/hostname">]><{root}>&e;</{root}>',
        "remote DTD": f'<!DOCTYPE {root} SYSTEM "http://127.0.0.1:9/x.dtd"><{root}></{root}>',
        "deep": f"<{root}>" + "<a>" * 100_000,
        "UTF-16": f"<?xml version='1.0' encoding='utf-16'?><{root}/>".encode("utf-16"),
        "latin-1": f"<?xml version='1.0' encoding='latin-1'?><{root}>\xe9</{root}>".encode(
            "latin-1"
        ),
        "empty": "",
        "other": "<html></html>",
        "NUL": f"<{root}>\0</{root}>",
    }


def pipes_and_folders(path: Path):
    """In place of a file, in turn: a folder, a pipe, nothing."""
    import os

    path.unlink()
    path.mkdir()
    yield "folder"
    path.rmdir()
    os.mkfifo(path)
    yield "pipe"
    path.unlink()
    yield "nothing"
