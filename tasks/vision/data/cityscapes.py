"""Cityscapes: fine annotations, 19 classes, 2975 training and 500 validation pictures of 2048x1024.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016. Labels are
`*_labelTrainIds.png` where cityscapesscripts' `csCreateTrainIdLabelImgs` has made them for all pictures;
else the `*_labelIds.png` of the archive are read through the same table, with the same result.
"""

from __future__ import annotations

from tasks.vision.data.official import IGNORE, LabelForm, Spec, Split, names

_CLASSES, _PALETTE = names("cityscapes")

# ids of the 19 classes in labelIds files, in the order of the classes (cityscapesscripts, labels.py);
# the other ids of 0..33 do not count
_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_LABEL_IDS = dict.fromkeys((*range(34), 255), IGNORE) | {i: c for c, i in enumerate(_IDS)}

SPEC = Spec(
    name="cityscapes",
    title="Cityscapes",
    folders=(".", "cityscapes", "Cityscapes"),
    splits={
        "train": Split(images="leftImg8bit/train", labels="gtFine/train", count=2_975),
        "val": Split(images="leftImg8bit/val", labels="gtFine/val", count=500),
    },
    image_suffix="_leftImg8bit.png",
    labels=(
        LabelForm(
            suffix="_gtFine_labelTrainIds.png",
            table={255: IGNORE} | {c: c for c in range(19)},
        ),
        LabelForm(suffix="_gtFine_labelIds.png", table=_LABEL_IDS),
    ),
    nested=True,
    archives="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (cityscapes-dataset.com)",
    classes=_CLASSES,
    palette=_PALETTE,
    tail=(6, 12, 14, 15, 16, 17, 18),
    # by the class weights of ERFNet's released code (Romera et al., T-ITS 2018), which fall as the share
    # of training pixels grows: 2.37, 2.97, 3.42, 4.30 | 4.42, 4.74, 5.228, 5.229, 5.24, ...
    by_pixels=(0, 2, 8, 13, 1, 10, 5, 11, 9, 4, 3, 7),
)
