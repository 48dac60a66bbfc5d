"""The label sets that users bring, as tasks declare them."""

from __future__ import annotations

from types import ModuleType

from suite.base.canonical import short_hash
from suite.define.protocol import DataSet
from tasks.multilabel.data import coco, db_lists, mulan, nus_wide, voc
from tasks.vision import groups as profiles

READERS: dict[str, ModuleType] = {
    **dict.fromkeys(mulan.NAMES, mulan),
    **dict.fromkeys(voc.SPECS, voc),
    **dict.fromkeys(coco.SPECS, coco),
    nus_wide.NAME: nus_wide,
    **dict.fromkeys(db_lists.LISTS, db_lists),
}
"""Data set -> its reader, which offers LAYOUT, names, identity, find, check, differs and load."""

SUMMARIES = {
    "yeast": "Yeast genes: 14 functional classes, 103 features of micro-arrays and phylogenetic profiles (Mulan)",
    "scene": "Scenes: 6 labels, 294 colour features of photographs (Mulan)",
    "emotions": "Music: 6 emotions, 72 features of rhythm and timbre (Mulan)",
    "corel5k": "Corel 5k: 374 keywords of photographs, 499 binary features of their regions (Mulan)",
    "bibtex": "BibTeX: 159 tags of bibliographic entries, 1,836 binary features of their words (Mulan)",
    "voc07": "PASCAL VOC 2007: 20 classes, trainval 5,011 and test 4,952 images",
    "voc12": "PASCAL VOC 2012: 20 classes, train 5,717 and val 5,823 images (val tests)",
    "coco14": "MS COCO 2014: 80 classes, 82,081 training and 40,504 validation images",
    "coco17": "MS COCO 2017: 80 classes, 117,266 training and 5,000 validation images",
    "nuswide": "NUS-WIDE: 81 concepts, 161,789 training and 107,859 test images less those gone from the web",
    "voc-lt": "VOC-LT: 20 classes, 1,142 images of VOC 2012 with counts of 775 to 4; VOC 2007's test",
    "coco-lt": "COCO-LT: 80 classes, 1,909 images of COCO 2017 with counts of 1,128 to 6; its validation set",
}

THRESHOLDS = {
    "yeast": (999, 500),
    # hardly long-tailed: the gaps of their counts 277 | 227 224 197 196 | 165 and 168 | 131 119 107 | 95 89
    "scene": (250, 180),
    "emotions": (150, 100),
    "corel5k": (99, 20),
    # its rarest label has 28 training samples: 20 would leave no tail
    "bibtex": (99, 50),
}
"""In training samples, by data set: a label is head above the first, tail below the second; `db_lists.THRESHOLDS` for sets
of images."""


def dataset(name: str) -> DataSet:
    """The data set of that name, of `READERS`. Groups of Mulan's sets are known without data, those of the others follow
    from their training counts."""
    reader = READERS[name]
    known = reader is mulan
    high, low = THRESHOLDS.get(name, db_lists.THRESHOLDS)
    return DataSet(
        name=name,
        summary=SUMMARIES[name],
        layout=reader.LAYOUT[name],
        classes=reader.names(name),
        groups=profiles.groups(mulan.manifest(name)["positives"], high, low) if known else {},
        group_rule=profiles.group_rule(high, low, "samples" if known else "images"),
        group_thresholds=(high, low),
        find=lambda root: reader.find(name, root),
        check=lambda path, deep: reader.check(name, path, deep),
        differs=lambda path, deep: reader.differs(name, path, deep),
    )


def split(name: str) -> str:
    """`NAME@DIGEST`: which samples train and test with which labels, as the reader's `load` gives them by default. Needs no
    data."""
    return f"{name}@{short_hash(READERS[name].identity(name))}"
