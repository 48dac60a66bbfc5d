"""Tiny copies of the large segmentation sets, and settings of a small one."""

import numpy as np
import pytest
from PIL import Image

from tasks.vision.data import ade20k, cityscapes, coco_stuff, official

COUNTS = {"train": 4, "val": 3}
SIZES = ((64, 64), (48, 64), (64, 80), (56, 56))  # (height, width)
CITIES = ("aachen", "bochum")
SPECS = {spec.name: spec for spec in (ade20k.SPEC, cityscapes.SPEC, coco_stuff.SPEC)}
SETTINGS = {
    "classes": list("abcdefg"),
    "groups": {"head": [0], "medium": [1, 2, 6], "tail": [3, 4, 5]},
    "group_rule": "",
}


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def make(spec, folder, form=None):
    """A copy of `COUNTS` pictures; labels are blocks of random ids of the form, 255 among them."""
    form = form or spec.labels[0]
    random = np.random.default_rng(0)
    ids = np.array(sorted(form.table), np.uint8)
    for split, part in spec.splits.items():
        for k in range(COUNTS[split]):
            height, width = SIZES[k]
            key = f"{CITIES[k % 2]}/{split}_{k}" if spec.nested else f"{split}_{k}"
            image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            blocks = random.choice(ids, (height // 8, width // 8))
            save(folder / part.images / f"{key}{spec.image_suffix}", image)
            label = blocks.repeat(8, 0).repeat(8, 1).astype(np.uint8)
            save(folder / part.labels / f"{key}{form.suffix}", label)
    return folder


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    for spec in SPECS.values():
        for split, part in spec.splits.items():
            few = official.Split(images=part.images, labels=part.labels, count=COUNTS[split])
            monkeypatch.setitem(spec.splits, split, few)


@pytest.fixture(params=SPECS)
def copy(request, tmp_path):
    """(spec, folder) of a whole copy of each data set."""
    spec = SPECS[request.param]
    return spec, make(spec, tmp_path / "data" / spec.folders[1])


def first(folder, spec, split="train"):
    return official.pairs(spec, folder, split)[0]
