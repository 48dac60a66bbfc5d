"""What the data sets of carved protocols hold: the training part and the validation part, apart and whole."""

import numpy as np
import torch
from PIL import Image
from segmentation_files import _few, copy  # noqa: F401

from suite.base import settings
from suite.define.catalog import Catalog
from tasks.vision.data import lists, official, segmentation
from tasks.vision.data.carving import CARVING
from tasks.vision.data.datasets import MemoryImages
from tasks.vision.data.images import ImageListDataset

PARTS = ("train", "val")


def parts(kind, **arguments):
    return [kind(**arguments, carved=CARVING.part(part)) for part in PARTS]


def test_small_images(tmp_path):
    arguments = {"source": {"name": "digits"}, "root": tmp_path, "split": "train"}
    whole, (train, val) = MemoryImages(**arguments), parts(MemoryImages, **arguments)
    assert len(train) + len(val) == len(whole)
    counts = tuple(torch.bincount(train.labels, minlength=10).tolist())
    assert counts == CARVING.kept(torch.bincount(whole.labels).tolist())
    # no image is in both, and all are there: as bytes, since equal ones do not occur
    seen = [
        {one["inputs"].numpy().tobytes() for one in map(each.__getitem__, range(len(each)))}
        for each in (train, val, whole)
    ]
    assert not seen[0] & seen[1] and seen[0] | seen[1] == seen[2]


def test_image_lists(tmp_path, monkeypatch):
    rows = [(f"{c}/{i}.png", c) for c, n in enumerate((10, 5, 2, 1)) for i in range(n)]
    for place, (name, label) in enumerate(rows):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (place, 0, 0)).save(tmp_path / name)
    entries = lists.Entries(*map(tuple, zip(*rows, strict=True)))
    arguments = {"root": tmp_path, "split": "train", "spec": "places-lt", "entries": entries}
    train, val = parts(ImageListDataset, **arguments)
    assert torch.bincount(train.labels).tolist() == [8, 4, 1, 1]
    assert torch.bincount(val.labels).tolist() == [2, 1, 1]
    reds = [
        {int(one["inputs"][0, 0, 0]) for one in map(each.__getitem__, range(len(each)))}
        for each in (train, val)
    ]
    assert not reds[0] & reds[1] and reds[0] | reds[1] == set(range(len(rows)))


def test_digit_scenes_and_their_facts():
    catalog = Catalog.load()
    protocol = catalog.task("longtail-seg").protocols["smoke:carved"]
    cache = settings.cache_dir()
    config, facts = protocol.build(cache)
    arguments = {"cache_dir": cache, "split": "train", "limit": 64}
    whole = segmentation.ArraySegDataset(**arguments)
    train, val = parts(segmentation.ArraySegDataset, **arguments)
    named = [{train.get_data_info(i)["sample_id"] for i in range(len(train))}]
    named.append({val.get_data_info(i)["sample_id"] for i in range(len(val))})
    assert not named[0] & named[1] and len(named[0] | named[1]) == len(whole)
    assert (len(train), len(val)) == (50, 14)
    pixels, images = train.label_statistics()
    assert facts.class_counts == tuple(pixels.tolist())
    assert facts.image_counts == tuple(images.tolist())
    # every class on images of either part
    for each in (train, val):
        assert (each.class_presence() == np.stack([
            np.bincount(each.pair(i)[1].ravel(), minlength=11)[:11] > 0 for i in range(len(each))
        ])).all()  # fmt: skip
    shown = whole.class_presence().sum(axis=0)
    assert (val.class_presence().sum(axis=0) > 0)[shown > 1].all()
    assert config["prediction_dataloaders"]["val"]["dataset"]["test_mode"]


def test_large_data_sets(copy):
    spec, folder = copy
    # of the few pictures of a copy, none holds the last of a class
    for pair in official.pairs(spec, folder, "train"):
        ids = np.array(sorted(pair.form.table)[:3], np.uint8)
        label = np.array(Image.open(pair.label))
        label[:] = ids[np.arange(label.size).reshape(label.shape) % 3]
        Image.fromarray(label).save(pair.label)
    kind = {
        "ade20k": segmentation.OfficialADE20K,
        "cityscapes": segmentation.OfficialCityscapes,
        "coco-stuff164k": segmentation.OfficialCOCOStuff,
    }[spec.name]
    whole, (train, val) = kind(folder, "train"), parts(kind, data_root=folder, split="train")
    files = [{pair.image for pair in each._pairs} for each in (train, val, whole)]
    assert not files[0] & files[1] and files[0] | files[1] == files[2]
    assert len(files[1]) == 1
    known = train.statistics()
    counts = [np.bincount(train.pair(i)[1].ravel(), minlength=256) for i in range(len(train))]
    classes = len(spec.classes)
    assert np.array_equal(known.pixels, np.sum(counts, axis=0)[:classes])
    assert np.array_equal(train.class_presence(), np.stack(counts)[:, :classes] > 0)
    assert len(train) == 3 and train.get_data_info(0)["img"].ndim == 3
    protocols = Catalog.load().task("longtail-seg").protocols
    config, facts = protocols[f"{spec.name}:segnext-t:carved"].build(folder)
    assert facts.class_counts == tuple(known.pixels.tolist())
    assert set(config["prediction_dataloaders"]) == {"train", "val"}
    assert config["test_dataloader"]["dataset"]["split"] == "val"
