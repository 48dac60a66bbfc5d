"""Protocols of `multimodal`. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from suite.define.protocols import Protocols
from tasks.multimodal.data import digit_pairs
from tasks.multimodal.data.sources import Modalities, ModalitySource
from tasks.multimodal.families import Family, Samples, Training
from tasks.multimodal.recipes import Stream
from tasks.vision.recipes.base import Config

_WIDTHS = (16, 32, 64)
_SHIFT = {"type": "BatchShift", "padding": 1, "fill": 0.0}
_MEMORY = ("tasks.multimodal.datasets", "tasks.multimodal.augment")


def convolutions(
    channels: int,
    mean: float,
    std: float,
    *,
    widths: tuple[int, ...] = _WIDTHS,
    small: bool = False,
) -> Stream:
    """Three 3x3 convolutions of stride 2 on images; `small`: the first keeps the size. Mean and standard deviation are of
    pixels as they are stored."""
    strides = [1 if small else 2, 2, 2]
    return Stream(
        encoder={
            "type": "ConvEncoder",
            "in_channels": channels,
            "widths": list(widths),
            "strides": strides,
        },
        width=widths[-1],
        statistics={"mean": [mean] * channels, "std": [std] * channels},
    )


def memory(transforms: Mapping[str, list[Config]], limit: int | None = None) -> Samples:
    """Samples in memory; `transforms` of each modality in training; `limit` test samples of each class."""

    def samples(source: ModalitySource, root: str, split: str, training: bool) -> Config:
        made: Config = {
            "type": "MemoryModalities",
            "source": source.config(),
            "root": root,
            "split": split,
        }
        if training and transforms:
            made["transforms"] = dict(transforms)
        if split == "test" and limit is not None:
            made["limit"] = limit
        return made

    return samples


def _fixed(streams: Mapping[str, Stream]) -> Callable[[Modalities | None], Mapping[str, Stream]]:
    """Streams that need no data."""
    return lambda train: streams


def _pairs(widths: tuple[int, ...]) -> Callable[[Modalities | None], Mapping[str, Stream]]:
    stream = convolutions(1, digit_pairs.MEAN, digit_pairs.STD, widths=widths, small=True)
    return _fixed(dict.fromkeys(digit_pairs.NOISE, stream))


# 200 iterations: the sheet of five seeds. Encoders are still learning then, which is when modalities compete (at 400 the
# clean one's own logits have caught up with training alone), and a run takes two seconds.
_QUICK = Family(
    name="quick",
    data=digit_pairs.NAME,
    streams=_pairs(_WIDTHS),
    samples=memory({name: [_SHIFT] for name in digit_pairs.NOISE}),
    training=Training(iterations=200),
    collate="whole_batch",
    imports=(*_MEMORY, "tasks.multimodal.data.digit_pairs"),
    test="whole test set, at full size",
    backbone="conv-16-32-64 a modality",
    augmentation="shift 1",
    summary="embedded pairs of a clean and a noisy digit, a small network for each, seconds a run",
    seconds=3.0,
)
_SMOKE = replace(
    _QUICK,
    name="smoke",
    streams=_pairs((4, 8, 8)),
    samples=memory({name: [_SHIFT] for name in digit_pairs.NOISE}, limit=10),
    training=Training(iterations=20),
    test="the first ten test pairs of each digit",
    backbone="conv-4-8-8 a modality",
    summary="quick in a second, for tests: its numbers mean nothing",
    seconds=1.0,
)

FAMILIES = (_QUICK, _SMOKE)
PROTOCOLS = Protocols(*(declared for family in FAMILIES for declared in family.declared()))
