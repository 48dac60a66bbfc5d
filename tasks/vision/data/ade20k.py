"""ADE20K as in the scene parsing challenge: ADEChallengeData2016, 150 classes.

Zhou, Zhao, Puig, Fidler, Barriuso and Torralba, "Scene Parsing through ADE20K Dataset", CVPR 2017.
Ids 1-150 of the label files become classes 0-149, 0 ("other") is ignored: mmseg's
`reduce_zero_label`. The official order of the classes is by their share of pixels.
"""

from __future__ import annotations

from tasks.vision.data.official import IGNORE, LabelForm, Spec, Split, names

_CLASSES, _PALETTE = names("ade20k")

SPEC = Spec(
    name="ade20k",
    title="ADE20K",
    folders=(
        ".",
        "ADEChallengeData2016",
        "ade/ADEChallengeData2016",
        "ade20k/ADEChallengeData2016",
        "ade20k",
    ),
    splits={
        "train": Split(images="images/training", labels="annotations/training", count=20_210),
        "val": Split(images="images/validation", labels="annotations/validation", count=2_000),
    },
    image_suffix=".jpg",
    labels=(LabelForm(suffix=".png", table={0: IGNORE} | {c + 1: c for c in range(150)}),),
    nested=False,
    archives="ADEChallengeData2016.zip (sceneparsing.csail.mit.edu)",
    classes=_CLASSES,
    palette=_PALETTE,
    tail=tuple(range(26, 150)),
    by_pixels=tuple(range(26)),
)
