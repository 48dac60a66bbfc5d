"""Small copies of the papers' multimodal data sets, in the layouts that users bring."""

import io
import json
import wave
from functools import cache

import numpy as np
from multilabel_files import text
from PIL import Image
from scipy.io import wavfile

from tasks.multimodal.data import ave, crema_d, modelnet40, sentiment


def sound(path, samples, rate=16_000):
    """A wav file of samples of any type that scipy writes, (N,) or (N, channels)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, samples)
    return path


def sound_24(path, samples, rate=16_000):
    """A wav file of 24-bit samples (N, channels), whole numbers in -2^23 .. 2^23 - 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(3)
        file.setframerate(rate)
        bytes_of = samples.astype("<i4").reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :3]
        file.writeframes(bytes_of.tobytes())
    return path


def tone(hertz, rate, seconds=1.0, amplitude=0.5):
    """float32 (rate * seconds,)."""
    at = np.arange(round(rate * seconds)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def picture(path, shade=0, size=(12, 10)):
    """One grey picture, width and height."""
    return text(path, _encoded(shade, size, path.suffix == ".png"))


@cache
def _encoded(shade, size, png):
    made = io.BytesIO()
    pixels = np.full((size[1], size[0], 3), shade, np.uint8)
    Image.fromarray(pixels).save(made, "PNG" if png else "JPEG")
    return made.getvalue()


# -- CREMA-D


def clip(actor, code, sentence="DFA"):
    return f"{actor}_{sentence}_{code}_XX"


def write_crema_d(root, train=None, test=None, mark=False, files=True):
    """A copy with these clips (names; the label is the one in the name): by default two actors of each part of the suite's
    split by actor in both lists, as in the released ones. `mark`: lists begin with a byte order mark; `files`: recordings and frames
    are there too."""
    actors = ("1001", "1002", *crema_d.held_out_actors()[:2])
    if train is None:
        train = [clip(actor, code) for actor in actors for code in crema_d.CODES]
    if test is None:
        test = [clip(actor, code, "IEO") for actor in actors for code in crema_d.CODES]
    for name, clips in zip(crema_d.LISTS, (train, test), strict=True):
        lines = "".join(f"{c},{c.split('_')[2]}\r\n" for c in clips)
        text(root / name, ("\ufeff" if mark else "") + lines)
    for number, name in enumerate([*train, *test] if files else ()):
        sound(root / crema_d.AUDIO / f"{name}.wav", (tone(440, 16_000, 0.2) * 32767).astype("i2"))
        for second in range(3):
            picture(root / crema_d.VISUAL / name / f"{second + 8}.jpg", 10 * number % 250)
    return root


# -- AVE


def write_ave(root, train=None, test=None, files=True):
    """A copy with these lines of lists; by default a video of each class, and a test video of the first four."""
    if train is None:
        train = [f"{name}&train_{i:06}&good&2&4" for i, name in enumerate(ave.CLASSES)]
    if test is None:
        test = [f"{name}&-test{i:06}&good&0&10" for i, name in enumerate(ave.CLASSES[:4])]
    for split, lines in (("train", train), ("test", test), ("val", [])):
        text(root / ave.LISTS[split], "\n".join(lines))
    for line in [*train, *test] if files else ():
        video = line.split("&")[1]
        # one level a second
        levels = np.repeat(np.arange(10, dtype=np.int16) * 3000, 8_000)
        sound(root / ave.AUDIO / f"{video}.wav", levels, 8_000)
        for second in range(4):
            picture(root / ave.VISUAL / video / f"{second:04}.jpg", 60 * second)
    return root


# -- ModelNet40

VIEWS = (0, 45, 89, 90, 135, 179)


def write_modelnet40(root, train=None, test=None, views=VIEWS):
    """A copy with objects by split; by default one of each class, and one test object of two classes. Of the pictures only
    `views` are written."""
    if train is None:
        train = [f"{name}/{name}_0001" for name in modelnet40.CLASSES]
    if test is None:
        test = [f"{name}/{name}_0900" for name in modelnet40.CLASSES[:2]]
    half = len(train) // 2
    parts = {"train_0": train[:half], "train_1": train[half:], "test_0": test}
    for name, objects in parts.items():
        text(
            root / "pt" / f"ply_data_{name}_id2file.json",
            json.dumps([f"{thing}.ply" for thing in objects]),
        )
    for thing in [*train, *test]:
        for view in views:
            picture(root / "image" / thing / f"{thing.split('/')[1]}.{view}.png", view)
    return root


# -- sentiment


def features(name, sizes=(12, 6), seed=0):
    """Arrays of an npz file, by name; steps of text, sound and vision differ in number, the last ones are padding."""
    draw = np.random.default_rng(seed)
    arrays = {}
    for split, count in zip(("train", "test"), sizes, strict=True):
        for modality, width, steps in zip(
            sentiment.MODALITIES, sentiment.SPECS[name].widths, (5, 7, 9), strict=True
        ):
            values = draw.normal(size=(count, steps, width)).astype(np.float32)
            values[:, -2:] = 0
            arrays[f"{split}_{modality}"] = values
        arrays[f"{split}_label"] = np.arange(count) % 3
    return arrays


def write_features(path, name, **changed):
    """An npz file of `features`, some of them changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{**features(name), **changed})
    return path
