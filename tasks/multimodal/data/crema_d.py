"""CREMA-D: acted sentences, heard and seen, in six emotions.

Cao et al., "CREMA-D: Crowd-Sourced Emotional Multimodal Actors Dataset", IEEE Transactions on Affective Computing, 2014. The
lists are those of OGM-GE's release, which ReconBoost and others follow: drawn over clips, so that all 91 actors are in both
parts. `BY_ACTOR` is a split of ours, of the same clips, in which no actor is in both.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.base.canonical import short_hash
from suite.base.errors import DataError
from suite.define.protocol import DataSet
from tasks.multimodal.data import media
from tasks.multimodal.data.sources import Modalities, ModalitySet, ModalitySets, register
from tasks.vision.data.find import find as find_in
from tasks.vision.data.find import missing, other_than
from tasks.vision.data.lists import shown
from tasks.vision.data.small_files import read_text

NAME, BY_ACTOR = "crema-d", "crema-d-by-actor"
CODES = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
CLASSES = ("neutral", "happy", "sad", "fear", "disgust", "anger")
MODALITIES = ("audio", "visual")
TEST = (114, 123, 140, 133, 129, 105)
"""Test clips of each class, in the released lists."""
TRAIN = (973, 1148, 1131, 1138, 1142, 1166)
"""Training clips: of 1,087 neutral clips and 1,271 of each other emotion those that do not test."""
HELD_OUT = 0.1
"""Share of the actors that test in `BY_ACTOR`."""
ACTORS = tuple(str(number) for number in range(1001, 1092))
FOLDERS = ("crema-d", "CREMA-D", "CREMAD", "cremad", "CREMA_D")
AUDIO, VISUAL = "AudioWAV", "Image-01-FPS"
LISTS = ("train.csv", "test.csv")
ACTOR_LISTS = ("actors_train.txt", "actors_test.txt")
LAYOUT = (
    f"train.csv and test.csv (lines `clip,LABEL`), recordings {AUDIO}/<clip>.wav and frames {VISUAL}/<clip>/*.jpg, one a "
    "second"
)
_KINDS = {"audio": media.RECORDING, "visual": media.FRAMES}
_CLIP = re.compile(r"(\d{4})_[A-Z0-9]{2,4}_([A-Z]{3})_[A-Z0-9]{1,3}", re.ASCII)
_LINE = f"expected `clip,LABEL`, such as 1001_DFA_ANG_XX,ANG, with LABEL one of {', '.join(CODES)}"


def held_out_actors() -> tuple[str, ...]:
    """The actors of the test set of `BY_ACTOR`, in order: those 9 of the 91 whose numbers have the smallest SHA-256."""
    first = sorted(ACTORS, key=lambda actor: hashlib.sha256(actor.encode()).hexdigest())
    return tuple(sorted(first[: round(HELD_OUT * len(ACTORS))]))


def layout(name: str) -> str:
    """One line."""
    own = f"; a split of your own in {ACTOR_LISTS[0]} and {ACTOR_LISTS[1]} (an actor a line)"
    return LAYOUT + own * (name == BY_ACTOR)


def find(name: str, root: Path) -> Path:
    """The folder of lists, recordings and frames: `root`, or one of the usual names below it. Raises DataError."""
    wanted = [*LISTS, AUDIO, VISUAL]

    def lacking(place: Path) -> list[str] | None:
        return missing(wanted, [name for name in wanted if not (place / name).exists()])

    return find_in("CREMA-D", root, FOLDERS, layout(name), lacking)


def check(name: str, path: Path, deep: bool = False) -> list[str]:
    """What is wrong with the copy in `path`, one line each: lists, and whether a sample of recordings and frames is there;
    `deep` opens all of them."""
    try:
        sets = _read(name, Path(path))
    except DataError as error:
        return [str(error)]
    return media.problems(Path(path), sets, _KINDS, deep)


def differs(name: str, path: Path, deep: bool) -> str:
    """See `DataSet.differs`. Raises DataError for lists that cannot be read."""
    return _differences(name, Path(path), _read(name, Path(path)))


def load(name: str, path: Path) -> ModalitySets:
    """Recordings and folders of frames, relative to `path`, in the order of the lists; of `BY_ACTOR` train.csv's clips before
    test.csv's.

    Raises DataError: damaged lists, a clip that trains and tests, an actor of the user's lists that trains and tests,
    absent files.
    """
    sets = _read(name, Path(path))
    media.require(Path(path), sets, _KINDS)
    return sets


def _read(name: str, path: Path) -> ModalitySets:
    parts = {file: read_list(path / file) for file in LISTS}
    both = sorted(parts[LISTS[0]].keys() & parts[LISTS[1]].keys())
    if both:
        raise DataError(
            f"{path}: {_some(both, 'clip')} in both {LISTS[0]} and {LISTS[1]}: {', '.join(both[:3])}; copy the lists again"
        )
    train, test = parts[LISTS[0]], parts[LISTS[1]]
    if name == BY_ACTOR:
        training, testing = split_of_actors(path)
        every = {**train, **test}
        train = {clip: label for clip, label in every.items() if actor_of(clip) in training}
        test = {clip: label for clip, label in every.items() if actor_of(clip) in testing}
        if not train or not test:
            which = "test" if train else "training"
            raise DataError(
                f"{path}: no clip is of the {which} actors; name actors of the lists in {' and '.join(ACTOR_LISTS)}"
            )
    sets = ModalitySets(
        train=_samples(train),
        test=_samples(test),
        class_counts=_counts(train),
        observed={"train-list": _digest(train), "test-list": _digest(test)},
    )
    if min(sets.class_counts) == 0:
        empty = CODES[sets.class_counts.index(0)]
        raise DataError(f"{path}: class {empty} has no training clip; copy the lists again")
    return replace(sets, variant=bool(_differences(name, path, sets)))


def read_list(path: Path) -> dict[str, int]:
    """Clip -> class, in the order of a list: lines `clip,LABEL`, with or without a byte order mark.

    Raises DataError, with file and line, for anything else, and for a clip listed twice.
    """
    found: dict[str, int] = {}
    lines = read_text(path, media.MAX_LIST, "copy the list again").rstrip("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        clip, _, label = (field.strip() for field in line.partition(","))
        if not _CLIP.fullmatch(clip) or label not in CODES:
            raise DataError(f"{path}:{number}: {_LINE}; found {shown(line)}; copy the list again")
        if clip in found:
            raise DataError(f"{path}:{number}: clip {clip} is listed twice; remove one line")
        found[clip] = CODES.index(label)
    return found


def actor_of(clip: str) -> str:
    """Four digits, with which a clip's name begins."""
    return clip[:4]


def split_of_actors(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """(training, test) actors: those of the user's lists (`ACTOR_LISTS`, an actor's number a line) where they lie in `path`,
    else all others and `held_out_actors`.

    Raises DataError for one list without the other, a line that is no number of four digits, and actors who are in both.
    """
    there = [(path / file).exists() for file in ACTOR_LISTS]
    if not any(there):
        testing = frozenset(held_out_actors())
        return frozenset(ACTORS) - testing, testing
    if not all(there):
        has, lacks = ACTOR_LISTS if there[0] else ACTOR_LISTS[::-1]
        raise DataError(
            f"{path / has} names actors, but {lacks} beside it is missing; write both, or remove it for the split of this "
            "suite"
        )
    training, testing = (_actors(path / file) for file in ACTOR_LISTS)
    leaking = sorted(training & testing)
    if leaking:
        more = ", ..." * (len(leaking) > 10)
        raise DataError(
            f"{path}: {_some(leaking, 'actor')} in both {ACTOR_LISTS[0]} and {ACTOR_LISTS[1]}: {', '.join(leaking[:10])}{more}; "
            "a speaker who trains and tests makes the test easier: leave each in one list"
        )
    return training, testing


def _actors(path: Path) -> frozenset[str]:
    found = set()
    lines = read_text(path, media.MAX_LIST, "name the actors again").rstrip("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        actor = line.strip()
        if not re.fullmatch(r"\d{4}", actor, re.ASCII):
            raise DataError(
                f"{path}:{number}: expected an actor's number, such as 1001; found {shown(line)}; correct the line"
            )
        found.add(actor)
    return frozenset(found)


def _samples(clips: Mapping[str, int]) -> Modalities:
    import numpy as np

    return Modalities(
        inputs={
            "audio": tuple(f"{AUDIO}/{clip}.wav" for clip in clips),
            "visual": tuple(f"{VISUAL}/{clip}" for clip in clips),
        },
        labels=np.array(list(clips.values()), np.int64),
    )


def _differences(name: str, path: Path, sets: ModalitySets) -> str:
    import numpy as np

    tested = np.bincount(sets.test.labels, minlength=len(CODES)).tolist()
    trained = list(sets.class_counts)
    if name == BY_ACTOR:
        found = other_than([("clips", sum(TRAIN) + sum(TEST), sum(trained) + sum(tested))])
        if (path / ACTOR_LISTS[0]).exists():
            found.append(f"actors as listed in {ACTOR_LISTS[0]} and {ACTOR_LISTS[1]}")
    else:
        found = other_than(
            (f"{what} clips of {code}", known, there)
            for what, wanted, counted in (("training", TRAIN, trained), ("test", TEST, tested))
            for code, known, there in zip(CODES, wanted, counted, strict=True)
        )
    named = _named_otherwise(sets)
    return ", ".join(
        found
        + [f"{media.counted(named, 'clip')} with another label than in the name"] * (named > 0)
    )


def _named_otherwise(sets: ModalitySets) -> int:
    """Clips whose label is not the emotion in their name."""
    wrong = 0
    for part in (sets.train, sets.test):
        for folder, label in zip(part.inputs["visual"], part.labels.tolist(), strict=True):
            named = _CLIP.fullmatch(folder.rpartition("/")[2])
            assert named is not None
            wrong += named[2] != CODES[label]
    return wrong


def _counts(clips: Mapping[str, int]) -> tuple[int, ...]:
    counted = Counter(clips.values())
    return tuple(counted[c] for c in range(len(CODES)))


def _digest(clips: Mapping[str, int]) -> str:
    lines = "".join(f"{clip},{CODES[label]}\n" for clip, label in clips.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _some(things: Sequence[str], noun: str) -> str:
    return f"{len(things):,} {noun}{'s are' if len(things) > 1 else ' is'}"


def declare(name: str) -> ModalitySet:
    """The data set of that name, as tasks declare it."""
    by_actor = name == BY_ACTOR
    summary = "CREMA-D: 7,442 clips of 91 actors, six emotions, sound and face; " + (
        "no actor both trains and tests"
        if by_actor
        else "the released lists, in which all actors train and test"
    )
    about: dict[str, Any] = {"classes": list(CODES), "clips": sum(TRAIN) + sum(TEST)}
    about |= (
        {"test actors": list(held_out_actors())}
        if by_actor
        else {"train": list(TRAIN), "test": list(TEST)}
    )
    return ModalitySet(
        dataset=DataSet(
            name=name,
            summary=summary,
            layout=layout(name),
            classes=CLASSES,
            groups={},
            group_rule="",
            find=lambda root: find(name, root),
            check=lambda path, deep: check(name, path, deep),
            differs=lambda path, deep: differs(name, path, deep),
        ),
        modalities=MODALITIES,
        split=f"{name}@{short_hash(about)}",
        counts=() if by_actor else TRAIN,
        load=lambda path: load(name, path),
    )


SETS = {name: register(declare(name)) for name in (NAME, BY_ACTOR)}
