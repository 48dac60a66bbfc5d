"""Tiny ImageNet: 200 classes of 64x64 JPEG files, 500 training and 50 labelled validation images each, which test.

Le and Yang, "Tiny ImageNet Visual Recognition Challenge", CS 231N, 2015. Class ids are the lines of the released
`wnids.txt`, from 0; an image's place in its class is the number in its name. Images are held in memory, 12,288 bytes each:
1.0 GB for the 80,000 of Tiny-ImageNet-H that train, and 0.1 GB for the 10,000 that test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.robust_auc.data.pools import Places, Pool, Taken, positions
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing

if TYPE_CHECKING:
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays

    Array = np.ndarray[Any, np.dtype[Any]]

NAME = "tiny-imagenet"
POSITIVES: Mapping[str, tuple[int, ...]] = {
    "bird": (35, 41, 67, 115),
    "dog": (11, 39, 78, 135, 182, 194),
    "vehicle": (15, 64, 69, 75, 90, 108, 114, 117, 147, 152, 157, 163),
}
"""Positive classes of Tiny-ImageNet-H's three data sets, as lines of `wnids.txt` from 0."""
PRIORS: Mapping[str, float] = {"bird": 0.02, "dog": 0.03, "vehicle": 0.06}
"""Shares of positives: each is all that 400 images of each class are."""
EDGE, TRAIN, TEST = 64, 500, 50
LAYOUT = (
    "tiny-imagenet-200/ with wnids.txt, train/<wnid>/images/<wnid>_<0..499>.JPEG, val/val_annotations.txt and "
    "val/images/val_<0..9999>.JPEG"
)
_MANIFEST = Path(__file__).parent / "manifests" / "tiny-imagenet.json"
_WNIDS, _ANNOTATIONS = "wnids.txt", "val/val_annotations.txt"
_PARTS = (_WNIDS, "train", _ANNOTATIONS, "val/images")
_MAX_TEXT = 1 << 22
"""Bytes of a list; the longer one has half a million."""
_VAL = re.compile(r"val_(0|[1-9][0-9]{0,3})\.JPEG", re.ASCII)


@cache
def wnids() -> tuple[str, ...]:
    """WordNet ids of the classes, in the order of the released `wnids.txt`."""
    read: dict[str, list[str]] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    return tuple(read["wnids"])


def find(root: Path) -> Path:
    """The folder: `root` itself or one of the usual names below it. Raises DataError, see `find.find`."""

    def lacking(place: Path) -> list[str] | None:
        absent = [name for name in _PARTS if not (place / name).exists()]
        # folders called train are everywhere
        if not (place / _WNIDS).is_file() and not (place / _ANNOTATIONS).is_file():
            return None
        return missing(_PARTS, absent)

    return find_in(NAME, root, ("tiny-imagenet-200", "tiny-imagenet"), LAYOUT, lacking)


def check(path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: other classes, damaged lists, images that are absent, of which
    200 of each part are looked for; `deep` looks for all and decodes them."""
    from tasks.vision.data.list_images import image_problems

    path = Path(path)
    problems = []
    try:
        _require_classes(path)
        tested = _annotations(path)
    except DataError as error:
        return [str(error)]
    train = [_train_file(c, k) for c in range(len(wnids())) for k in range(TRAIN)]
    problems += image_problems(path, train, "train", deep)
    problems += image_problems(path, [_test_file(k) for k in range(len(tested))], "val", deep)
    return problems


def read(path: Path, train_places: Places, test_places: Places) -> Taken:
    """See `Pool.read`; of the files only those of the images that are taken are opened."""
    import numpy as np

    from tasks.vision.data.arrays import set_digest

    path = Path(path)
    _require_classes(path)
    labels = _annotations(path)
    tested = np.sort(positions(labels, test_places, path / _ANNOTATIONS, "test"))
    of_train = [(c, k) for c, places in enumerate(train_places) for k in places]
    train = _decoded(path, [_train_file(c, k) for c, k in of_train], [c for c, _ in of_train])
    test = _decoded(path, [_test_file(int(k)) for k in tested], labels[tested].tolist())
    return Taken(
        train=train,
        test=test,
        test_places=tested,
        released_labels=labels,
        released_files=tuple(f"{wnids()[c]}/val_{k}.JPEG" for k, c in enumerate(labels.tolist())),
        observed={"train": set_digest(train), "test": set_digest(test)},
    )


def _train_file(c: int, place: int) -> str:
    wnid = wnids()[c]
    return f"train/{wnid}/images/{wnid}_{place}.JPEG"


def _test_file(place: int) -> str:
    return f"val/images/val_{place}.JPEG"


def _require_classes(path: Path) -> None:
    """Raises DataError where the copy's classes are others. Their order in its list means nothing."""
    from tasks.vision.data.small_files import read_text

    found = read_text(path / _WNIDS, _MAX_TEXT).split()
    if sorted(found) != sorted(wnids()):
        odd = sorted({*found} ^ {*wnids()}) or ["one that is listed twice"]
        raise DataError(
            f"{path / _WNIDS} lists {len(found):,} classes that are not the {len(wnids())} of Tiny ImageNet: they differ "
            f"in {odd[0][:40]}; copy it again"
        )


def _annotations(path: Path) -> Array:
    """Classes of the validation images by their number, int64 (10000,). Raises DataError for a damaged list."""
    import numpy as np

    from tasks.vision.data.arrays import check_counts
    from tasks.vision.data.small_files import read_text

    file = path / _ANNOTATIONS
    known = {wnid: c for c, wnid in enumerate(wnids())}
    labels = np.full(TEST * len(known), -1, np.int64)
    for number, line in enumerate(read_text(file, _MAX_TEXT).splitlines(), start=1):
        if not line.strip():
            continue
        words = line.split()
        name = _VAL.fullmatch(words[0])
        if name is None or len(words) < 2 or words[1] not in known or int(name[1]) >= len(labels):
            raise DataError(
                f"{file}:{number}: expected val_<number>.JPEG and a class of {_WNIDS}; copy it again"
            )
        if labels[int(name[1])] >= 0:
            raise DataError(f"{file}:{number}: {words[0]} is listed twice; copy it again")
        labels[int(name[1])] = known[words[1]]
    if (labels < 0).any():
        lost = int((labels < 0).argmax())
        raise DataError(f"{file}: val_{lost}.JPEG is not listed; copy it again")
    check_counts(labels, (TEST,) * len(known), file, "validation")
    return labels


def _decoded(path: Path, files: Sequence[str], labels: Sequence[int]) -> ImageArrays:
    """Images uint8 (N, 3, 64, 64). Raises DataError naming the first file that is missing, damaged or of another size."""
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays
    from tasks.vision.data.read_image import read_image
    from tasks.vision.data.survey import spread, told

    def one(file: str) -> Array:
        image = read_image(path / file)
        if image.size != (EDGE, EDGE):
            raise DataError(
                f"{path / file} is {image.width}x{image.height}, expected {EDGE}x{EDGE}; copy it again"
            )
        return np.asarray(image)

    made = np.empty((len(files), 3, EDGE, EDGE), np.uint8)
    for row, pixels in enumerate(told(spread(one, files), "Tiny ImageNet", len(files))):
        made[row] = pixels.transpose(2, 0, 1)
    return ImageArrays(made, np.asarray(labels, np.int64))


def pool() -> Pool:
    """What binary data sets are made of."""
    classes = wnids()
    return Pool(
        name=NAME,
        summary="Tiny ImageNet, 200 classes of 64x64 colour images",
        layout=LAYOUT,
        classes=classes,
        edge=EDGE,
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2770, 0.2691, 0.2821),
        train_sizes=(TRAIN,) * len(classes),
        test_sizes=(TEST,) * len(classes),
        find=find,
        check=check,
        # no digest of it is tracked
        differs=lambda path, deep: "",
        read=read,
    )
