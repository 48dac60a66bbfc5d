"""Solar cells with defects: the package `elpv-dataset` of PyPI, installed and not brought by the user.

Buerhop-Lutz et al., "A Benchmark for Visual Identification of Defective Solar Cells in Electroluminescence Imagery",
EU PVSEC 2018; Deitsch et al., "Automatic classification of defective photovoltaic module cells in electroluminescence
images", Solar Energy 185, 2019. 2,624 grey images of 300x300 pixels, licensed CC BY-NC-SA 4.0. A class is a kind of cell
(mono- or polycrystalline) and one of four probabilities of a defect, as experts gave them; from 1/2 on it is positive: 821
to 1,803, which is the data's own imbalance.

Of each class every fourth image in file order tests, the others train: 25 % as in the 2019 paper, which drew them. Images
are held as means of 5x5 squares of pixels, 60x60. That the modules of cells are not told apart is so in the release, too:
cells of one module are on both sides.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.robust_auc.data.pools import Places, Pool, Taken, take

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

NAME = "elpv"
PACKAGE = "elpv-dataset"
VERSION = "1.0.0.post1"
KINDS = ("mono", "poly")
PROBABILITIES = (0.0, 1 / 3, 2 / 3, 1.0)
CLASSES = tuple(f"{kind} {text}" for kind in KINDS for text in ("0", "1/3", "2/3", "1"))
POSITIVES = (2, 3, 6, 7)
"""Classes whose probability of a defect is 1/2 or more."""
SIZES = (588, 117, 56, 313, 920, 178, 50, 402)
"""Images of each class."""
SIDE, SQUARE = 300, 5
EDGE = SIDE // SQUARE
EVERY = 4
SHA256 = "253d146c8ce0e1fec8087ce6b98b88d70010387b712200d7c501f5ea332cf1cf"
"""Over the list of labels and the image files in its order."""
LAYOUT = f"the package {PACKAGE} of PyPI (91 MB): pip install {PACKAGE}=={VERSION}"
_LABELS = "labels.csv"
_MAX_LABELS, _MAX_IMAGE = 1 << 20, 1 << 20
_IMAGE = re.compile(r"images/cell[0-9]{4}\.png", re.ASCII)


def find(cache: Path) -> Path:
    """The folder of the installed package's data. Raises DataError where it is not installed."""
    spec = importlib.util.find_spec("elpv_dataset")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "data" / _LABELS).is_file():
            return Path(place) / "data"
    raise DataError(f"{NAME} is not installed: expected {LAYOUT}")


def check(path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the installed copy, one line each; `deep` decodes all images."""
    try:
        files, _ = _labels(Path(path))
        absent = [file for file in files if not (Path(path) / file).is_file()]
        if absent:
            return [
                f"{len(absent):,} of {len(files):,} images in {path} are absent: {absent[0]}; install {PACKAGE} again"
            ]
        if deep:
            _images(Path(path), files)
    except DataError as error:
        return [str(error)]
    return []


def differs(path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for files that cannot be read."""
    if not deep or _digest(Path(path), _labels(Path(path))[0]) == SHA256:
        return ""
    return f"its files are not those of {PACKAGE} {VERSION}"


def read(path: Path, train_places: Places, test_places: Places) -> Taken:
    """See `Pool.read`."""
    import numpy as np

    from tasks.vision.data.arrays import ImageArrays

    path = Path(path)
    files, labels = _labels(path)
    every = ImageArrays(_images(path, files), labels)
    place = np.zeros(len(labels), np.int64)
    for c in range(len(CLASSES)):
        members = np.flatnonzero(labels == c)
        place[members] = np.arange(len(members))
    tests = place % EVERY == EVERY - 1
    variant = _digest(path, files) != SHA256
    return take(every.take(~tests), every.take(tests), train_places, test_places, path, variant)


def _labels(path: Path) -> tuple[list[str], Array]:
    """Image files in the order of the list, and their classes int64 (N,).

    Raises DataError for a damaged list and for other numbers of images than `SIZES`: the split would be another.
    """
    import numpy as np

    from tasks.vision.data.arrays import check_counts
    from tasks.vision.data.small_files import read_text

    file = path / _LABELS
    again = f"install {PACKAGE}=={VERSION} again"
    files, labels = [], []
    for number, line in enumerate(read_text(file, _MAX_LABELS, again).splitlines(), start=1):
        words = line.split()
        try:
            name, probability, kind = words
            near = [abs(float(probability) - p) < 1e-3 for p in PROBABILITIES].index(True)
            label = KINDS.index(kind) * len(PROBABILITIES) + near
            if not _IMAGE.fullmatch(name):
                raise ValueError
        except ValueError:
            raise DataError(
                f"{file}:{number}: expected images/cell<number>.png, a probability of 0, 1/3, 2/3 or 1, and mono or "
                f"poly; {again}"
            ) from None
        files.append(name)
        labels.append(label)
    if len(set(files)) != len(files):
        raise DataError(f"{file} names an image twice; {again}")
    made = np.array(labels, np.int64)
    check_counts(made, SIZES, file, "listed")
    return files, made


def _images(path: Path, files: list[str]) -> Array:
    """uint8 (N, 1, 60, 60). Raises DataError naming the first file that is missing, damaged or of another kind."""
    import numpy as np

    from tasks.vision.data.read_image import opened
    from tasks.vision.data.survey import spread

    def one(file: str) -> Array:
        with opened(path / file) as picture:
            if picture.size != (SIDE, SIDE) or picture.mode != "L":
                raise DataError(
                    f"{path / file} is {picture.width}x{picture.height} of mode {picture.mode}, expected grey "
                    f"{SIDE}x{SIDE}; install {PACKAGE} again"
                )
            squares = np.asarray(picture).reshape(EDGE, SQUARE, EDGE, SQUARE)
        # rounded half up
        area = SQUARE * SQUARE
        made: Array = ((squares.sum(axis=(1, 3), dtype=np.int32) + area // 2) // area).astype(
            np.uint8
        )
        return made

    return np.stack(list(spread(one, files)))[:, None]


def _digest(path: Path, files: list[str]) -> str:
    from tasks.vision.data.small_files import read_bytes

    made = hashlib.sha256(read_bytes(path / _LABELS, _MAX_LABELS))
    for file in files:
        made.update(hashlib.sha256(read_bytes(path / file, _MAX_IMAGE)).digest())
    return made.hexdigest()


POOL = Pool(
    name=NAME,
    summary="Solar cells with and without defects, 60x60 grey images of electroluminescence (CC BY-NC-SA 4.0)",
    layout=LAYOUT,
    classes=CLASSES,
    edge=EDGE,
    mean=(0.5968,),
    std=(0.1572,),
    train_sizes=tuple(n - n // EVERY for n in SIZES),
    test_sizes=tuple(n // EVERY for n in SIZES),
    find=find,
    check=check,
    differs=differs,
    read=read,
    rule=f"every {EVERY}th of each class tests",
    embedded=True,
)
