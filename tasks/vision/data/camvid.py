"""CamVid in SegNet's layout: finding it, checking it, and the protocol's splits.

Brostow, Fauqueur and Cipolla, "Semantic object classes in video: A high-definition ground truth
database", Pattern Recognition Letters 2009; the 11 classes and the 367/101/233 frames of 480x360
are those of SegNet (Badrinarayanan, Kendall and Cipolla, 2017).

The protocol's splits are lists of frame ids in `manifests/camvid.json`:
- `val` is carved from the official training frames: these are cut, video by video, into chunks of
  `CHUNK` consecutive frames, and every `EVERY`-th chunk is taken (56 of 367 frames, 15 %). Chunks,
  because neighbouring frames (one second apart) are near-duplicates. Every class is in both parts.
- `train` is the rest; `test` is the official test split, untouched.
- the official `val` split is one short sequence (15 fps, Bicyclist 2.3 % against 0.3 % in training,
  filmed on the drive that training shows too): another class mix, hence not used.

Only the standard library is imported here; pictures are opened inside the functions that need them.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision.data.find import find as find_in
from tasks.vision.data.read_image import read_ids, read_image, require_same_size

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

# Order of SegNet's label ids; id 11 is void.
CLASSES: tuple[str, ...] = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car",
    "Pedestrian", "Bicyclist",
)  # fmt: skip
PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
VOID = 11
GROUP_RULE = "share of labelled training pixels: head > 15 %, medium 4-15 %, tail < 2 %"
GROUPS: dict[str, tuple[int, ...]] = {
    "head": (0, 1, 3),
    "medium": (4, 5, 8),
    "tail": (2, 6, 7, 9, 10),
}

COUNTS: dict[str, int] = {"train": 367, "val": 101, "test": 233}
WIDTH, HEIGHT = 480, 360
CHUNK, EVERY = 8, 7
FOLDER = {"train": "train", "val": "train", "test": "test"}  # protocol split -> official split
LAYOUT = (
    "train/ val/ test/ with images (.png or .jpg) and trainannot/ valannot/ testannot/ with label "
    "images (.png, ids 0-11) of the same names; 367, 101 and 233 of each"
)
_MANIFEST = Path(__file__).parent / "manifests" / "camvid.json"
_SUFFIXES = (".png", ".jpg")


def find(root: Path) -> Path:
    """The folder of CamVid: `root`, `root/camvid` or `root/CamVid`. Raises DataError, see `find.find`."""

    def lacking(place: Path) -> list[str] | None:
        return check(place) if any((place / name).is_dir() for name in _folders()) else None

    root = Path(root)
    searched = f"none of {root}, {root / 'camvid'}, {root / 'CamVid'} holds it"
    return find_in("CamVid", root, ("camvid", "CamVid"), LAYOUT, lacking, searched)


def check(path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each; an empty list if nothing is.

    By names only: missing folders, counts, images without label, labels without image, frames of
    the manifest that are absent. `deep` also opens every file (3 s): damaged files, pictures other
    than 480x360, label ids outside 0-11.
    """
    path = Path(path)
    problems: list[str] = []
    for split, count in COUNTS.items():
        missing = [n for n in (split, f"{split}annot") if not (path / n).is_dir()]
        problems += [f"folder {name}/ is missing" for name in missing]
        if missing:
            continue
        images = _names(path / split)
        labels = _names(path / f"{split}annot", suffixes=(".png",))
        for one, other, what in (
            (images, labels, f"{{}} has no label {split}annot/{{}}.png"),
            (labels, images, f"{{}} has no image {split}/{{}}.png or .jpg"),
        ):
            alone = sorted(one.keys() - other.keys())
            if alone:
                first = one[alone[0]].relative_to(path).as_posix()
                more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
                problems.append(what.format(first, alone[0]) + more)
        if len(images) != count:
            problems.append(f"{split}/ holds {len(images)} images, expected {count}")
        wanted = [i for s, folder in FOLDER.items() if folder == split for i in split_ids(s)]
        absent = sorted(set(wanted) - images.keys())
        if absent and len(images) >= count:
            more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
            problems.append(f"{split}/ lacks frame {absent[0]} of the manifest{more}")
        if deep:
            problems += _open_all(images, labels)
    return problems


def differs(path: Path, deep: bool) -> str:
    """See `DataSet.differs`: by the labels, which are read where `deep`. Raises DataError for one that cannot be."""
    if not deep:
        return ""
    found, tracked = compact(manifest(path)), tracked_manifest()
    odd = [split for split in tracked if found[split] != tracked[split]]
    return f"labels of {', '.join(odd)} are not those of the tracked manifest" if odd else ""


def split_ids(split: str) -> tuple[str, ...]:
    """Frame ids of a protocol split (`train`, `val`, `test`), in the manifest's order."""
    return tuple(tracked_manifest()[split]["ids"])


@cache
def tracked_manifest() -> dict[str, Any]:
    """The tracked manifest: {split: {"ids": [...], "labels_sha256": hex}}."""
    manifest: dict[str, Any] = json.loads(_MANIFEST.read_text(encoding="utf-8"))
    return manifest


def carve(ids: list[str]) -> tuple[list[str], list[str]]:
    """(train, val) of the official training ids, which start with the name of their video."""
    chunks: list[list[str]] = []
    for frame in sorted(ids):
        same_video = chunks and chunks[-1][0].split("_")[0] == frame.split("_")[0]
        if same_video and len(chunks[-1]) < CHUNK:
            chunks[-1].append(frame)
        else:
            chunks.append([frame])
    train = [i for k, chunk in enumerate(chunks) if k % EVERY != EVERY // 2 for i in chunk]
    val = [i for chunk in chunks[EVERY // 2 :: EVERY] for i in chunk]
    return train, val


def manifest(path: Path) -> dict[str, list[list[str]]]:
    """{split: [[frame id, sha256 of its decoded label array], ...]} of the copy in `path`.

    The digest covers the label's ids before void becomes 255, so it is the same for every lossless
    re-encoding, and says nothing of the images (CamVid circulates as PNG and as JPEG).
    """
    train, val = carve(list(_names(Path(path) / "train")))
    ids = {"train": train, "val": val, "test": sorted(_names(Path(path) / "test"))}
    return {
        split: [[frame, _digest(read_label(files(path, split, frame)[1]))] for frame in frames]
        for split, frames in ids.items()
    }


def compact(full: dict[str, list[list[str]]]) -> dict[str, Any]:
    """The tracked form of `manifest`: ids, and one sha256 over the label digests in order."""
    return {
        split: {
            "ids": [frame for frame, _ in rows],
            "labels_sha256": hashlib.sha256("".join(d for _, d in rows).encode()).hexdigest(),
        }
        for split, rows in full.items()
    }


def files(path: Path, split: str, frame: str) -> tuple[Path, Path]:
    """(image, label) of a frame of a protocol split. Raises DataError where one is absent."""
    folder = FOLDER[split]
    label = Path(path) / f"{folder}annot" / f"{frame}.png"
    for suffix in _SUFFIXES:
        image = Path(path) / folder / f"{frame}{suffix}"
        if image.is_file() and label.is_file():
            return image, label
    lacking = "label" if not label.is_file() else "image"
    raise DataError(f"CamVid frame {frame} has no {lacking} in {Path(path) / folder}[annot]")


def read_label(path: Path) -> Array:
    """uint8 (H, W), ids 0..11 (11 is void). Raises DataError for a damaged file or other ids."""
    return read_ids(path, range(VOID + 1))


def read_pair(image_path: Path, label_path: Path) -> tuple[Array, Array]:
    """Image uint8 (H, W, 3), RGB, and label of one frame. Raises DataError if damaged or of different size."""
    import numpy as np

    image, label = np.asarray(read_image(image_path)), read_label(label_path)
    require_same_size(image_path, label_path, image.shape[1::-1], label.shape[::-1])
    return image, label


def _open_all(images: dict[str, Path], labels: dict[str, Path]) -> list[str]:
    problems = []
    for frame in sorted(images.keys() & labels.keys()):
        try:
            image, _ = read_pair(images[frame], labels[frame])
        except DataError as error:
            problems.append(str(error))
            continue
        if image.shape[:2] != (HEIGHT, WIDTH):
            found = f"{image.shape[1]}x{image.shape[0]}"
            problems.append(f"{images[frame]} is {found}, expected {WIDTH}x{HEIGHT}")
    return problems


def _names(folder: Path, suffixes: tuple[str, ...] = _SUFFIXES) -> dict[str, Path]:
    """Frame id -> file, for the pictures in `folder`."""
    found = (p for p in folder.iterdir() if p.suffix in suffixes and p.name[0] != ".")
    return {p.stem: p for p in sorted(found)}


def _folders() -> list[str]:
    return [*COUNTS, *(f"{split}annot" for split in COUNTS)]


def _digest(label: Array) -> str:
    header = f"{label.shape[0]} {label.shape[1]}\n".encode()
    return hashlib.sha256(header + label.tobytes()).hexdigest()
