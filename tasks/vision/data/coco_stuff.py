"""COCO-Stuff 164k: COCO 2017 with 80 thing and 91 stuff classes, 118,287 training pictures.

Caesar, Uijlings and Ferrari, "COCO-Stuff: Thing and Stuff Classes in Context", CVPR 2018. Labels are
`*_labelTrainIds.png` where mmsegmentation's `tools/dataset_converters/coco_stuff164k.py` has made them
for all pictures; else the archive's `*.png`, whose ids 0-181 leave out eleven classes, are read through
the same table, with the same result.
"""

from __future__ import annotations

from tasks.vision.data.official import IGNORE, LabelForm, Spec, Split, names

_CLASSES, _PALETTE = names("coco_stuff")

# ids of COCO's 91 things that were never annotated: street sign, hat, shoe, eye glasses, plate, mirror,
# window, desk, door, blender, hair brush
_ABSENT = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
_IDS = [i for i in range(182) if i not in _ABSENT]
# AUCSeg's release lists the other 123 as tail
_NOT_TAIL = (
    0, 2, 5, 6, 7, 15, 45, 53, 56, 57, 59, 60, 84, 85, 86, 90, 94, 99, 100, 101, 103, 105, 106, 108,
    109, 111, 112, 114, 120, 123, 128, 130, 133, 136, 137, 142, 143, 145, 147, 153, 155, 157, 159, 160,
    161, 164, 165, 169,
)  # fmt: skip

SPEC = Spec(
    name="coco-stuff164k",
    title="COCO-Stuff 164k",
    folders=(".", "coco_stuff164k", "coco-stuff164k", "cocostuff", "coco"),
    splits={
        "train": Split(images="images/train2017", labels="annotations/train2017", count=118_287),
        "val": Split(images="images/val2017", labels="annotations/val2017", count=5_000),
    },
    image_suffix=".jpg",
    labels=(
        LabelForm(suffix="_labelTrainIds.png", table={255: IGNORE} | {c: c for c in range(171)}),
        LabelForm(suffix=".png", table={255: IGNORE} | {i: c for c, i in enumerate(_IDS)}),
    ),
    nested=False,
    archives="train2017.zip, val2017.zip (cocodataset.org) and stuffthingmaps_trainval2017.zip",
    classes=_CLASSES,
    palette=_PALETTE,
    tail=tuple(c for c in range(171) if c not in _NOT_TAIL),
)
