"""AVE: videos of 28 events that are heard and seen.

Tian et al., "Audio-Visual Event Localization in Unconstrained Videos", ECCV 2018. What trains is the part of a video in which
the event happens. Class ids follow the names in alphabetical order; ReconBoost's code numbers classes as they come in the test
list. The validation list is left out of training and test.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from suite.base.canonical import short_hash
from suite.base.errors import DataError
from suite.define.protocol import DataSet
from tasks.multimodal.data import media
from tasks.multimodal.data.sources import Modalities, ModalitySet, ModalitySets, register
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing, other_than
from tasks.vision.data.lists import is_plain, shown
from tasks.vision.data.small_files import read_text

NAME = "ave"
CLASSES = (
    "Accordion", "Acoustic guitar", "Baby cry, infant cry", "Banjo", "Bark", "Bus", "Cat", "Chainsaw", "Church bell",
    "Clock", "Female speech, woman speaking", "Fixed-wing aircraft, airplane", "Flute", "Frying (food)", "Goat",
    "Helicopter", "Horse", "Male speech, man speaking", "Mandolin", "Motorcycle", "Race car, auto racing",
    "Rodents, rats, mice", "Shofar", "Toilet flush", "Train horn", "Truck", "Ukulele", "Violin, fiddle",
)  # fmt: skip
MODALITIES = ("audio", "visual")
LISTS = {"train": "trainSet.txt", "val": "valSet.txt", "test": "testSet.txt"}
SIZES = {"train": 3339, "val": 402, "test": 402}
FOLDERS = ("ave", "AVE", "AVE_Dataset")
AUDIO, VISUAL, PICKLED = "AudioWAV", "Image-01-FPS-SE", "Audio-1004-SE"
EXTRACT = f'mkdir -p {AUDIO}; for v in AVE/*.mp4; do ffmpeg -i "$v" -vn -ac 1 {AUDIO}/"$(basename "$v" .mp4)".wav; done'
"""Shell line that makes the recordings, in the folder of the lists, of the videos that the data set is released as."""
LAYOUT = (
    f"trainSet.txt and testSet.txt (lines `class&video&quality&start&end`), the sound of the whole videos {AUDIO}/<video>.wav "
    f"and frames of the events {VISUAL}/<video>/*.jpg, one a second"
)
_KINDS = {"audio": media.RECORDING, "visual": media.FRAMES}
_LINE = "expected `class&video&quality&start&end`, such as `Church bell&RUhOCu3LNXM&good&0&10`"
_LONGEST = 10


@dataclass(frozen=True)
class Event:
    """A line of a list; `start` and `end` in seconds, start < end <= 10."""

    label: int
    video: str
    start: int
    end: int


def find(root: Path) -> Path:
    """The folder of lists, recordings and frames: `root`, or one of the usual names below it.

    Raises DataError, also where spectrograms as released, which are pickles, lie in place of the recordings.
    """
    wanted = [LISTS["train"], LISTS["test"], AUDIO, VISUAL]

    def lacking(place: Path) -> list[str] | None:
        absent = [name for name in wanted if not (place / name).exists()]
        if AUDIO in absent and (place / PICKLED).is_dir():
            raise DataError(
                f"AVE in {place}: the spectrograms in {PICKLED}/ are pickles, and pickles are not opened; the suite makes its "
                f"own of the videos' sound in {AUDIO}/<video>.wav. Where the videos lie in AVE/: {EXTRACT}"
            )
        return missing(wanted, absent)

    return find_in("AVE", root, FOLDERS, LAYOUT, lacking)


def check(path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: lists, and whether a sample of recordings and frames is there;
    `deep` opens all of them."""
    try:
        sets = _read(Path(path))
    except DataError as error:
        return [str(error)]
    return media.problems(Path(path), sets, _KINDS, deep)


def differs(path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for lists that cannot be read."""
    return _differences(_read(Path(path)))


def load(path: Path) -> ModalitySets:
    """Recordings, each the part of its event, and folders of frames, relative to `path`, in the order of the lists.

    Raises DataError: damaged lists, another class, a class without training sample, absent files.
    """
    sets = _read(Path(path))
    media.require(Path(path), sets, _KINDS)
    return sets


def read_list(path: Path) -> tuple[Event, ...]:
    """The events of a list, in its order, a heading line left out. Raises DataError, with file and line."""
    found: list[Event] = []
    lines = read_text(path, media.MAX_LIST, "copy the list again").rstrip("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        fields = [field.strip() for field in line.split("&")]
        if number == 1 and fields[0] == "Category":
            continue
        event = _event(fields)
        if isinstance(event, str):
            raise DataError(
                f"{path}:{number}: {event}; {_LINE}; found {shown(line)}; copy the list again"
            )
        found.append(event)
    if not found:
        raise DataError(f"{path} names no event; copy the list again")
    return tuple(found)


def _event(fields: Sequence[str]) -> Event | str:
    """What a line stands for, or what is wrong with it."""
    if len(fields) != 5:
        return media.counted(len(fields), "field")
    name, video, _, *times = fields
    if name not in CLASSES:
        return f"no class of AVE is called {shown(name)}"
    if "/" in video or not is_plain(video) or "#" in video:
        return f"{shown(video)} is no name of a video"
    if not all(time.isascii() and time.isdigit() and len(time) < 4 for time in times):
        return "start and end are no whole seconds"
    start, end = map(int, times)
    if not start < end <= _LONGEST:
        return f"the event goes from {start} to {end} s, of a video of {_LONGEST} s"
    return Event(CLASSES.index(name), video, start, end)


def _read(path: Path) -> ModalitySets:
    train, test = (read_list(path / LISTS[split]) for split in ("train", "test"))
    counted = Counter(event.label for event in train)
    counts = tuple(counted[c] for c in range(len(CLASSES)))
    if min(counts) == 0:
        raise DataError(
            f"{path / LISTS['train']}: class {CLASSES[counts.index(0)]!r} has no training sample; copy the list again"
        )
    sets = ModalitySets(
        train=_samples(train),
        test=_samples(test),
        class_counts=counts,
        observed={"train-list": _digest(train), "test-list": _digest(test)},
    )
    return replace(sets, variant=bool(_differences(sets)))


def _samples(events: Sequence[Event]) -> Modalities:
    import numpy as np

    return Modalities(
        inputs={
            "audio": tuple(
                media.part_of_recording(f"{AUDIO}/{event.video}.wav", event.start, event.end)
                for event in events
            ),
            "visual": tuple(f"{VISUAL}/{event.video}" for event in events),
        },
        labels=np.array([event.label for event in events], np.int64),
    )


def _differences(sets: ModalitySets) -> str:
    train, test = (set(part.inputs["visual"]) for part in (sets.train, sets.test))
    found = other_than(
        (
            ("training events", SIZES["train"], len(sets.train)),
            ("test events", SIZES["test"], len(sets.test)),
        )
    )
    both = len(train & test)
    return ", ".join(
        found + [f"{media.counted(both, 'video')} in both training and test"] * (both > 0)
    )


def _digest(events: Sequence[Event]) -> str:
    lines = "".join(f"{CLASSES[e.label]}&{e.video}&{e.start}&{e.end}\n" for e in events)
    return hashlib.sha256(lines.encode()).hexdigest()


SET = register(
    ModalitySet(
        dataset=DataSet(
            name=NAME,
            summary="AVE: 28 events in 10 s of video, 3,339 train and 402 test (402 more, the validation list, are left out)",
            layout=LAYOUT,
            classes=CLASSES,
            groups={},
            group_rule="",
            find=find,
            check=check,
            differs=differs,
        ),
        modalities=MODALITIES,
        split=f"{NAME}@{short_hash({'classes': list(CLASSES), 'sizes': SIZES, 'val': 'left out'})}",
        counts=(),
        load=load,
    )
)
