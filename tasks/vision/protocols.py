"""Protocols from their parts: data set, base config and how it is built on a user's copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from suite import engine
from suite.define.protocol import Budget, DataSet, Facts, Protocol, recipe_digest
from tasks.vision import groups
from tasks.vision.data.sources import Source, load
from tasks.vision.recipes.base import Config
from tasks.vision.recipes.small_images import SmallRecipe, small_images
from tasks.vision.stored import STORED

Build = Callable[[Path], tuple[Config, Facts]]


def trained(
    name: str,
    dataset: DataSet,
    blank: Config,
    build: Build,
    *,
    hashed_imports: Mapping[str, str] | None = None,
    **fields: Any,
) -> Protocol:
    """A protocol that OpenMMLab trains; budget and recipe are those of `blank`, its config without data.

    `hashed_imports` is for protocols older than `recipe_digest` without import paths; `fields` are the
    other fields of `Protocol`.
    """
    return Protocol(
        name=name,
        dataset=dataset,
        budget=Budget(
            iterations=blank["train_cfg"]["max_iters"],
            batch=blank["train_dataloader"]["batch_size"],
        ),
        recipe=recipe_digest(blank, hashed_imports),
        build=build,
        train=engine.train,
        predict=engine.predict,
        **fields,
    )


def embedded(
    name: str,
    summary: str,
    source: Source,
    *,
    thresholds: tuple[int, int],
    layout: str = "embedded: made where it is needed",
) -> DataSet:
    """The data set of images that no user has to bring.

    `thresholds` in training images: a class is head above the first, tail below the second.
    """

    def check(path: Path, deep: bool) -> list[str]:
        source.images.load(source, path)
        return []

    return DataSet(
        name=name,
        summary=summary,
        layout=layout,
        classes=source.classes,
        groups=groups.groups(source.counts, *thresholds),
        group_rule=groups.group_rule(*thresholds),
        find=lambda cache: cache,
        check=check,
        embedded=True,
    )


def image_protocol(
    name: str,
    dataset: DataSet,
    source: Source,
    recipe: SmallRecipe,
    *,
    imports: tuple[str, ...] = (),
    further: Callable[[Config], Config] | None = None,
    **fields: Any,
) -> Protocol:
    """A classifier of small images in memory, whose logits are stored.

    Args:
        source: which images train, of `dataset`.
        imports: modules of the task's own that a worker needs.
        further: adds to the config what is no part of the training, such as more prediction sets.
        fields: further fields of `Protocol`: `summary`, `seconds`, `extra_sets`, `views`, ...
    """

    def config(root: str) -> Config:
        made = small_images(recipe, source, root)
        made["custom_imports"]["imports"] += imports
        return made

    blank = config("")

    def build(data: Path) -> tuple[Config, Facts]:
        arrays = load(source, data)
        made = config(str(data))
        return made if further is None else further(made), Facts(
            classes=dataset.classes,
            class_counts=arrays.class_counts,
            image_counts=arrays.class_counts,
            groups=dataset.groups,
            iterations=blank["train_cfg"]["max_iters"],
            batch=recipe.batch,
            observed=arrays.observed,
            variant=arrays.variant,
        )

    size = f"average-pooled by {recipe.pool}" if recipe.pool > 1 else "at full size"
    return trained(
        name,
        dataset,
        blank,
        build,
        split=source.split,
        test=f"whole test set, {size}, no test-time augmentation",
        backbone=f"resnet{recipe.depth}-w{recipe.width}",
        precision=recipe.precision,
        augmentation=recipe.augmentation,
        selection="best-on-test" if recipe.legacy else "last",
        prediction_sets={"test": f"test images; {STORED}"},
        **fields,
    )
