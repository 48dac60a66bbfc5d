"""Protocols of `multimodal`. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from suite.define.protocols import Protocols
from tasks.multimodal import paper_protocols
from tasks.multimodal.data import digit_pairs, views
from tasks.multimodal.data.feature_sets import FeatureSet
from tasks.multimodal.data.sources import Modalities, ModalitySource
from tasks.multimodal.families import Family, Samples, Training
from tasks.multimodal.recipes import Stream
from tasks.multimodal.streams import WIDTHS, convolutions, perceptrons
from tasks.vision.recipes.base import Config

_SHIFT: Config = {"type": "BatchShift", "padding": 1, "fill": 0.0}
# by the mean: a border without noise would tell which way a digit was shifted
_SHIFT_PAIRS: Config = {**_SHIFT, "fill": digit_pairs.MEAN}
_MEMORY = ("tasks.multimodal.datasets", "tasks.multimodal.augment")


def memory(
    transforms: Mapping[str, list[Config]] | None = None, limit: int | None = None
) -> Samples:
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


def feature_family(
    features: FeatureSet,
    iterations: int,
    summary: str,
    seconds: float,
    module: str = "tasks.multimodal.data.views",
) -> Family:
    """Perceptrons on a feature set of vectors, `NAME:mlp`; on one's own too, which `module` declares where it is imported."""
    return Family(
        name=f"{features.name}:mlp",
        data=features.name,
        streams=partial(perceptrons, features.shapes),
        samples=memory(),
        training=Training(iterations=iterations),
        collate="whole_batch",
        imports=(*_MEMORY, module),
        test="whole test set, features standardised by the training set",
        backbone="mlp-128-64 a modality",
        augmentation="none",
        summary="; ".join(filter(None, (summary, features.warning))),
        seconds=seconds,
    )


def _fixed(**streams: Stream) -> Callable[[Modalities | None], Mapping[str, Stream]]:
    """Streams that need no data."""
    return lambda train: streams


def _pairs(widths: tuple[int, ...]) -> Callable[[Modalities | None], Mapping[str, Stream]]:
    stream = convolutions(1, digit_pairs.MEAN, digit_pairs.STD, widths=widths, strides=(1, 2, 2))
    return _fixed(**dict.fromkeys(digit_pairs.NOISE, stream))


# 200 iterations, at which the sheet has five seeds: the noisy digits' encoder is still learning then, which is when modalities
# compete, and a run takes two seconds.
_QUICK = Family(
    name="quick",
    data=digit_pairs.NAME,
    streams=_pairs(WIDTHS),
    samples=memory({name: [_SHIFT_PAIRS] for name in digit_pairs.NOISE}),
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
    samples=memory({name: [_SHIFT_PAIRS] for name in digit_pairs.NOISE}, limit=10),
    training=Training(iterations=20),
    test="the first ten test pairs of each digit",
    backbone="conv-4-8-8 a modality",
    summary="quick in a second, for tests: its numbers mean nothing",
    seconds=1.0,
)
_AV_DIGITS = Family(
    name="av-digits:cnn",
    data=views.AV_DIGITS.name,
    # grey levels of the training samples, rounded
    streams=_fixed(audio=convolutions(1, 56.0, 45.0), image=convolutions(1, 33.6, 78.8)),
    samples=memory({name: [_SHIFT] for name in views.AV_DIGITS.shapes}),
    training=Training(iterations=1000),
    collate="whole_batch",
    imports=(*_MEMORY, "tasks.multimodal.data.views"),
    test="whole test set, at full size",
    backbone="conv-16-32-64 a modality",
    augmentation="shift 1",
    summary="spoken and written digits, a small network for each: real sounds and images on a CPU",
    seconds=20.0,
)

FAMILIES = (
    _QUICK,
    _SMOKE,
    feature_family(views.SCENE15, 2400, "Scene-15, perceptrons on three views, 57 epochs", 8.0),
    _AV_DIGITS,
    feature_family(views.MFEAT, 600, "mfeat, perceptrons on six views of digits", 5.0),
    feature_family(views.CREMAD, 300, "CREMA-D features, perceptrons on two views", 2.0),
)
PROTOCOLS = Protocols(
    *(declared for family in FAMILIES for declared in family.declared()), *paper_protocols.DECLARED
)
