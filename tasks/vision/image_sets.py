"""Data sets of images as tasks declare them: small images in memory, and lists of image files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.base.errors import DataError
from suite.define.protocol import DataSet
from tasks.vision import groups as profiles
from tasks.vision.data import cifar, digits, fashion, list_images, lists
from tasks.vision.data.sources import Source


def embedded(
    name: str,
    summary: str,
    source: Source,
    *,
    thresholds: tuple[int, int] | None,
    layout: str = "embedded: made where it is needed",
) -> DataSet:
    """The data set of images that no user has to bring.

    `thresholds` in training images: a class is head above the first, tail below the second; None for no groups.
    """

    def check(path: Path, deep: bool) -> list[str]:
        source.images.load(source, path)
        return []

    return DataSet(
        name=name,
        summary=summary,
        layout=layout,
        classes=source.classes,
        groups=profiles.groups(source.counts, *thresholds) if thresholds else {},
        group_rule=profiles.group_rule(*thresholds) if thresholds else "",
        group_thresholds=thresholds,
        find=lambda cache: cache,
        check=check,
        embedded=True,
    )


def _data(name: str, summary: str, layout: str, classes: tuple[str, ...], reader: Any) -> DataSet:
    return DataSet(
        name=name,
        summary=summary,
        layout=layout,
        classes=classes,
        groups={},
        group_rule="",
        find=lambda root: reader.find(name, root),
        check=lambda path, deep: reader.check(name, path, deep),
        differs=lambda path, deep: reader.differs(name, path, deep),
    )


DATASETS: dict[str, DataSet] = {
    "cifar10": _data(
        "cifar10",
        "CIFAR-10, 10 classes of 32x32 colour images, long-tailed by profile",
        cifar.LAYOUT["cifar10"],
        cifar.CLASSES["cifar10"],
        cifar,
    ),
    "cifar100": _data(
        "cifar100",
        "CIFAR-100, 100 classes of 32x32 colour images, long-tailed by profile",
        cifar.LAYOUT["cifar100"],
        cifar.CLASSES["cifar100"],
        cifar,
    ),
    "fashion-mnist": _data(
        "fashion-mnist",
        "Fashion-MNIST, 10 classes of 28x28 grey images, long-tailed by profile",
        fashion.LAYOUT,
        fashion.CLASSES,
        fashion,
    ),
    "digits": embedded(
        "digits-lt",
        "scikit-learn's handwritten digits, 8x8, imbalance ratio 40",
        Source("digits"),
        thresholds=digits.THRESHOLDS,
        layout="embedded: part of scikit-learn",
    ),
}


_BALANCED = {
    "digits": embedded(
        "digits-balanced",
        "scikit-learn's handwritten digits, 8x8, 30 training images of every class",
        Source("digits", profiles.BALANCED, 1),
        thresholds=None,
        layout="embedded: part of scikit-learn",
    ),
}


def image_set(source: Source) -> DataSet:
    """The data set with the groups of the source's profile, of a balanced one none; `find` says what the copy cannot
    give."""
    balanced = source.profile == profiles.BALANCED
    base = _BALANCED.get(source.name) if balanced else None
    base = base or DATASETS[source.name]
    if base.embedded:
        return base

    def find(root: Path) -> Path:
        path = base.find(root)
        problem = _reader(source.name).cannot_give(
            path, source.profile, source.ratio, source.convention, source.n_max
        )
        if problem:
            raise DataError(problem)
        return path

    if balanced:
        summary = base.summary.replace("long-tailed by profile", "as many of every class")
        return replace(base, summary=summary, find=find)
    high, low = profiles.thresholds(source.name, source.ratio)
    return replace(
        base,
        groups=profiles.groups(source.counts, high, low),
        group_rule=profiles.group_rule(high, low),
        group_thresholds=(high, low),
        find=find,
    )


def _reader(name: str) -> Any:
    return fashion if name == "fashion-mnist" else cifar


def list_set(spec: lists.ListSpec) -> DataSet:
    """A data set of list files; its groups follow from the training counts of the user's lists."""
    return DataSet(
        name=spec.name,
        summary=spec.summary,
        layout=lists.layout(spec),
        classes=tuple(f"class {c}" for c in range(spec.classes)),
        groups={},
        group_rule=lists.GROUP_RULE,
        group_thresholds=lists.THRESHOLDS,
        find=lambda root: lists.find(spec, root),
        check=lambda path, deep: list_images.check(spec, path, deep),
        differs=lambda path, deep: list_images.differs(spec, path),
    )
