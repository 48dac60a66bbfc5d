"""What a sample's modality is in files: a recording, a folder of frames, or the views of an object on a turntable.

An entry of `Modalities.inputs` is a path relative to the data set's folder. A recording's may end with a media fragment,
`clip.wav#t=2,7` (W3C Media Fragments, in seconds): that part of it alone is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from suite.base.errors import DataError
from tasks.multimodal.data.wav import Recording, read_wav
from tasks.vision.data.read_image import read_image
from tasks.vision.data.survey import spread, told

if TYPE_CHECKING:
    from tasks.multimodal.data.sources import ModalitySets

PICTURES = (".jpg", ".jpeg", ".png")
MAX_LIST = 1 << 22
"""Bytes of a list of samples; the longest known has 200,000."""
SAMPLE = 200
"""Entries of a modality that are looked for where not all are."""
_FRAGMENT = re.compile(r"(.+\.wav)#t=(\d{1,6}),(\d{1,6})", re.ASCII)


def part_of_recording(path: str, start: int, end: int) -> str:
    """The entry of a recording from `start` to `end`, in seconds."""
    return f"{path}#t={start},{end}"


def read_recording(root: Path, entry: str) -> Recording:
    """The recording of an entry. Raises DataError naming it, also where it ends before its part begins."""
    found = _FRAGMENT.fullmatch(entry)
    if found is None:
        return read_wav(root / entry)
    whole = read_wav(root / found[1])
    start, end = int(found[2]), int(found[3])
    samples = whole.samples[start * whole.rate : end * whole.rate]
    if not len(samples):
        seconds = len(whole.samples) / whole.rate
        raise DataError(
            f"{root / found[1]} has {seconds:.2f} s, but seconds {start} to {end} of it are asked for; extract the sound of "
            "the whole video there"
        )
    return Recording(samples, whole.rate)


def frames(root: Path, entry: str) -> list[Path]:
    """The pictures in a folder, ordered by name, numbers by their value: 9.jpg before 10.jpg. Raises DataError where there
    is none."""
    folder = root / entry
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES]
    except OSError as error:
        raise DataError(
            f"the folder of frames {folder} cannot be read ({error.strerror}); extract the video's frames there"
        ) from None
    if not found:
        raise DataError(f"{folder} holds no frame (*.jpg); extract the video's frames there")
    return sorted(found, key=lambda path: natural(path.name))


def natural(name: str) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """For sorting: runs of digits by their value."""
    parts = re.split(r"(\d+)", name)
    key = tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)
    return key, name


def place_of_frame(count: int, segment: int, segments: int, share: float) -> int:
    """Which of `count` frames is taken of a segment, one of equally long ones (Wang et al., "Temporal Segment Networks",
    ECCV 2016), at the `share` in [0, 1) of it: 1/2 is its middle. Frames are repeated where there are fewer than
    segments."""
    return min(int((segment + share) * count / segments), count - 1)


def view_file(root: Path, entry: str, view: int) -> Path:
    """The picture of an object at a place of the turntable."""
    return root / f"{entry}.{view}.png"


def counted(count: int, noun: str) -> str:
    """Such as `1 clip` or `1,200 clips`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


# -- whether a copy is whole


@dataclass(frozen=True)
class Kind:
    """Media of one kind.

    Attributes:
        noun: of one, for messages.
        there: whether an entry's files are there, by name.
        read: opens all that an entry stands for. Raises DataError.
        mend: what to do where they are not.
    """

    noun: str
    there: Callable[[Path, str], bool]
    read: Callable[[Path, str], object]
    mend: str


def _has_recording(root: Path, entry: str) -> bool:
    return (root / entry.partition("#")[0]).is_file()


def _has_frames(root: Path, entry: str) -> bool:
    try:
        return bool(frames(root, entry))
    except DataError:
        return False


def _read_frames(root: Path, entry: str) -> None:
    for path in frames(root, entry):
        read_image(path)


RECORDING = Kind("recording", _has_recording, read_recording, "extract it there")
FRAMES = Kind(
    "folder of frames", _has_frames, _read_frames, "extract the frames of the video there"
)


def turntable(views: Sequence[int]) -> Kind:
    """Objects of which the pictures at these places are looked for."""

    def there(root: Path, entry: str) -> bool:
        return all(view_file(root, entry, view).is_file() for view in views)

    def read(root: Path, entry: str) -> None:
        for view in views:
            read_image(view_file(root, entry, view))

    return Kind("object's views", there, read, "copy the rendered pictures again")


def require(path: Path, sets: ModalitySets, kinds: Mapping[str, Kind]) -> None:
    """Raises DataError where files of one of `SAMPLE` evenly spread samples of a set are absent."""
    for modality, kind in kinds.items():
        for part in (sets.train, sets.test):
            line = _absent(path, modality, kind, _sample(part.inputs[modality]))
            if line:
                raise DataError(line)


def problems(path: Path, sets: ModalitySets, kinds: Mapping[str, Kind], deep: bool) -> list[str]:
    """What is wrong with the files of both sets, one line each: of a sample of them whether they are there; `deep` opens
    all of them."""
    found = []
    for modality, kind in kinds.items():
        for part in (sets.train, sets.test):
            entries = part.inputs[modality]
            if not deep:
                found.append(_absent(path, modality, kind, _sample(entries)))
                continue
            steps = spread(partial(_fault, path, kind), entries)
            faults = [line for line in told(steps, f"{path.name} {modality}", len(entries)) if line]
            more = f" (and {len(faults) - 1:,} more of this modality)" if len(faults) > 1 else ""
            found += [f"{line}{more}" for line in faults[:1]]
    return [line for line in found if line]


def _fault(path: Path, kind: Kind, entry: str) -> str:
    try:
        kind.read(path, entry)
    except DataError as error:
        return str(error)
    return ""


def _sample(entries: Sequence[str]) -> list[str]:
    """At most `SAMPLE` of them, evenly spread, the first and the last among them."""
    if len(entries) <= SAMPLE:
        return list(entries)
    return [entries[k * (len(entries) - 1) // (SAMPLE - 1)] for k in range(SAMPLE)]


def _absent(path: Path, modality: str, kind: Kind, chosen: Sequence[str]) -> str:
    absent = [entry for entry in chosen if not kind.there(path, entry)]
    if not absent:
        return ""
    some = ", ".join(absent[:3]) + ", ..." * (len(absent) > 3)
    return (
        f"{modality}: of {len(absent)} of {len(chosen)} samples looked for in {path} the {kind.noun} is absent: {some}; "
        f"{kind.mend}"
    )
