"""Training and test of the large data sets at the papers' scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Training and test of a data set at the papers' scale: AUCSeg's released configurations.

    Attributes:
        dataset: registered name of the mmseg data set.
        classes: number of classes.
        crop: side of the square training crop, in pixels.
        scale: (long, short) side to which a picture is resized: times 0.5 to 2 in training, as it is at
            test time, where labels keep their size.
        iterations, batch: the budget; the papers' batch is of their one GPU.
        stride: of a sliding test window of `crop`; None for whole pictures.
    """

    dataset: str
    classes: int
    crop: int
    scale: tuple[int, int]
    iterations: int
    batch: int
    stride: int | None = None


SCHEDULES: Mapping[str, Schedule] = {
    "ade20k": Schedule(
        dataset="OfficialADE20K",
        classes=150,
        crop=512,
        scale=(2048, 512),
        iterations=160_000,
        batch=4,
    ),
    "cityscapes": Schedule(
        dataset="OfficialCityscapes",
        classes=19,
        crop=1024,
        scale=(2048, 1024),
        iterations=160_000,
        batch=2,
        stride=768,
    ),
    "coco-stuff164k": Schedule(
        dataset="OfficialCOCOStuff",
        classes=171,
        crop=512,
        scale=(2048, 512),
        iterations=80_000,
        batch=4,
    ),
}
