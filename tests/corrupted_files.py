"""Small copies of the official corrupted test sets, in their layouts."""

import struct
from dataclasses import replace
from functools import lru_cache

import numpy as np
from PIL import Image

from tasks.robust_auc.data import cifar10_1
from tasks.robust_auc.data.constants import SEVERITIES, TABLES
from tasks.robust_auc.data.official import RELEASES
from tasks.robust_auc.data.release import CleanTest

COUNT = 20
"""Images of the small clean test sets."""
CLASSES = {"cifar10-c": 10, "cifar100-c": 20, "mnist-c": 10, "tiny-imagenet-c": 4}


def small(name):
    """The release with a clean test set of `COUNT` images; of files, which take their time, with two corruptions."""
    made = replace(RELEASES[name], count=COUNT, classes=CLASSES[name])
    return replace(made, corruptions=("snow", "fog")) if name == "tiny-imagenet-c" else made


def clean_labels(release):
    return np.arange(release.count) * 7 % release.classes


def clean_test(release, places=(3, 17, 0, 8)):
    """Of the copies below: their labels, and which images test."""
    files = ()
    if release.name == "tiny-imagenet-c":
        files = tuple(f"n{c:08}/val_{i}.JPEG" for i, c in enumerate(clean_labels(release)))
    return CleanTest(
        labels=clean_labels(release).astype(np.int64),
        places=np.array(places, np.int64),
        files=files,
    )


@lru_cache(maxsize=256)
def block(release, corruption, severity):
    """What a copy holds of a condition, uint8 (count, H, W, C): other pixels for every condition and place."""
    known = (*release.corruptions, *release.further)
    draw = np.random.RandomState(known.index(corruption) * 10 + (severity or 0))
    return draw.randint(0, 256, (release.count, *release.shape), np.uint8)


def picture(release, corruption, severity, place):
    return block(release, corruption, severity)[place]


def contrasts(release, factors=TABLES["32x32"]["contrast"]):
    """`contrast.npy` as it is made."""
    clean = block(release, "contrast", 1) / 255
    mean = clean.mean(axis=(1, 2), keepdims=True)
    return np.concatenate([((clean - mean) * c + mean) * 255 for c in factors]).astype(np.uint8)


def make_cifar_c(release, folder, further=()):
    folder.mkdir(parents=True)
    for corruption in (*release.corruptions, *further):
        blocks = [block(release, corruption, s) for s in SEVERITIES]
        np.save(folder / f"{corruption}.npy", np.concatenate(blocks))
    np.save(folder / "contrast.npy", contrasts(release))
    np.save(folder / "labels.npy", np.tile(clean_labels(release), 5).astype(np.uint8))
    return folder


def make_mnist_c(release, folder):
    for corruption in release.corruptions:
        (folder / corruption).mkdir(parents=True)
        np.save(folder / corruption / "test_images.npy", block(release, corruption, None))
        np.save(folder / corruption / "test_labels.npy", clean_labels(release))
    return folder


def make_tiny_imagenet_c(release, folder):
    names = clean_test(release).files
    for corruption in release.corruptions:
        for severity in release.severities:
            for i, name in enumerate(names):
                file = folder / corruption / str(severity) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                level = picture(release, corruption, severity, i)[0, 0]
                Image.new("RGB", release.shape[:2], tuple(level.tolist())).save(file, "JPEG")
    return folder


def make(release, folder):
    makers = {"mnist-c": make_mnist_c, "tiny-imagenet-c": make_tiny_imagenet_c}
    return makers.get(release.name, make_cifar_c)(release, folder)


def make_cifar10_1(folder, names=("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy")):
    folder.mkdir(parents=True)
    images = np.random.RandomState(0).randint(0, 256, (cifar10_1.COUNT, *cifar10_1.SHAPE))
    np.save(folder / names[0], images.astype(np.uint8))
    np.save(folder / names[1], (np.arange(cifar10_1.COUNT) % 10).astype(np.int32))
    return folder


def with_header(header, content=b""):
    """An npy file whose header says whatever it likes."""
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content
