"""Protocols whose training leaves out a validation set (`Protocol.carve`): the same budget, schedule and test, on
four fifths of the training images of every class. What is tuned on the set `val` never sees the test set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from suite.define.protocol import DataSet, Facts, Protocol
from tasks.vision.data.carving import CARVING
from tasks.vision.groups import groups
from tasks.vision.recipes.base import Config

_BEFORE = "before the validation set was left out"
VAL = "training images that are left out of the training; stored as `test` is"


def carve(
    whole: Protocol,
    build: Callable[[Path], tuple[Config, Facts]],
    how: str,
    dataset: DataSet | None = None,
) -> Protocol:
    """The protocol `whole` on a part of its training images.

    Args:
        build: as `Protocol.build`; its config trains on the part `train` and has the set `val`
            (`carved_config`), its facts are of what is trained.
        how: which images are left out, in words.
        dataset: with the groups that its classes have then; None where they stay.
    """
    share = f"{CARVING.fraction:.0%} of the training images as the validation set val, {how}"
    return replace(
        whole,
        dataset=dataset or whole.dataset,
        split=f"{whole.split}+{CARVING.token}",
        summary=f"{whole.summary}; {share}",
        build=build,
        extra_sets={"val": VAL, **whole.extra_sets},
    )


def carved_set(whole: DataSet, counts: Sequence[int]) -> DataSet:
    """The data set with groups by the training images that are left, `counts` of each class; by another rule than
    thresholds the groups stay, and the rule says so."""
    if whole.group_thresholds is None:
        return replace(
            whole, group_rule=f"{whole.group_rule} ({_BEFORE})" if whole.group_rule else ""
        )
    return replace(whole, groups=groups(counts, *whole.group_thresholds))


def carved_config(config: Config, shown: Config) -> Config:
    """`config`, changed: it trains on the part `train`, and has the prediction sets `train` and `val` of the two parts.

    `shown` is a loader of the whole training set as at test time.
    """
    config["train_dataloader"]["dataset"]["carved"] = CARVING.part("train")
    for part in ("train", "val"):
        data = {**shown["dataset"], "carved": CARVING.part(part)}
        config["prediction_dataloaders"][part] = {**shown, "dataset": data}
    return config
