"""Feature sets that are known by name, with the manifest of their published copies (`feature_sets` reads them).

Scene-15 (Lazebnik, Schmid and Ponce, CVPR 2006) with three views of the multi-view literature, in Completer's copy (Lin et
al., CVPR 2021); UCI's multiple features of handwritten digits (Breukelen et al., 1998); audio and visual features of CREMA-D
clips (Cao et al., 2014); and spoken beside written digits (the Free Spoken Digit Dataset and MNIST, paired at random within
a class).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from tasks.multimodal.data.feature_sets import FeatureSet, declare

_MANIFEST = Path(__file__).parent / "manifests" / "views.json"
# in the copy's order, which the counts of the original tell: 241 suburbs, 360 coasts, ...
_SCENES = (
    "suburb", "coast", "forest", "highway", "inside city", "mountain", "open country", "street", "tall building", "office",
    "bedroom", "industrial", "kitchen", "living room", "store",
)  # fmt: skip
_DIGITS = tuple(f"digit {c}" for c in range(10))


@cache
def manifest() -> dict[str, dict[str, Any]]:
    """The tracked manifest: feature set -> `FeatureSet.known`."""
    every: dict[str, dict[str, Any]] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    return every


SCENE15 = FeatureSet(
    name="scene15",
    summary="Scene-15: 15 kinds of places, 4,485 photographs, three views of 20, 59 and 40 features",
    files=("Scene-15.npz", "scene15.npz"),
    folders=("two_view", "Scene-15"),
    classes=_SCENES,
    shapes={"view0": (20,), "view1": (59,), "view2": (40,)},
    known=manifest()["scene15"],
)
MFEAT = FeatureSet(
    name="mfeat",
    summary="UCI multiple features: 2,000 handwritten digits, six views",
    files=("mfeat.npz",),
    folders=("two_view",),
    classes=_DIGITS,
    shapes={"fac": (216,), "fou": (76,), "kar": (64,), "mor": (6,), "pix": (240,), "zer": (47,)},
    known=manifest()["mfeat"],
)
CREMAD = FeatureSet(
    name="cremad-feat",
    summary="CREMA-D: 6 emotions, 744 clips, 512 audio and 512 visual features",
    files=("CREMAD-feat.npz", "cremad-feat.npz"),
    folders=("two_view",),
    classes=("neutral", "happy", "sad", "fear", "disgust", "anger"),
    shapes={"audio": (512,), "visual": (512,)},
    # a clip's sound or face may not have been found
    lacks="zero",
    warning="of networks that were trained with the labels: for trying methods out, their accuracy means nothing",
    known=manifest()["cremad-feat"],
)
AV_DIGITS = FeatureSet(
    name="av-digits",
    summary="spoken digits (log-mel, 32x48, six speakers who are in both parts) and written ones (28x28), 3,000 pairs",
    files=("av_digits.npz", "av-digits.npz"),
    folders=("av_digits",),
    classes=_DIGITS,
    shapes={"audio": (1, 32, 48), "image": (1, 28, 28)},
    known=manifest()["av-digits"],
)
FEATURE_SETS = {features.name: features for features in (SCENE15, MFEAT, CREMAD, AV_DIGITS)}
for _features in FEATURE_SETS.values():
    declare(_features)
