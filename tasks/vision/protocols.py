"""Protocols from their parts: data set, base config and how it is built on a user's copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from suite import engine
from suite.define.protocol import Budget, DataSet, Facts, Protocol, recipe_digest
from suite.engine import keys
from tasks.vision import groups
from tasks.vision.carved import carve, carved_config, carved_set
from tasks.vision.data import list_images, lists
from tasks.vision.data.carving import CARVING
from tasks.vision.data.sources import Source, load
from tasks.vision.image_sets import list_set
from tasks.vision.recipes.base import Config
from tasks.vision.recipes.image_files import ListRecipe, image_lists
from tasks.vision.recipes.small_images import SmallRecipe, small_images
from tasks.vision.stored import STORED

FIXED = (*keys.FIXED, "model.backbone")
"""Keys of a base config that methods leave as they are."""

Build = Callable[[Path], tuple[Config, Facts]]
Images = Callable[[Any, Source, str], Config]
"""(recipe, source, root) -> the base config, all of which is hashed."""
Further = Callable[[Config, Mapping[str, tuple[int, ...]]], Config]
"""(config, groups of the classes) -> the config with what is no part of the training, such as more prediction
sets."""
BY_CLASS = "drawn from every class alike"
_STORED = {"test": f"test images; {STORED}"}


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
        blank=blank,
        fixed=FIXED,
        train=engine.train,
        predict=engine.predict,
        **fields,
    )


def image_protocol(
    name: str,
    dataset: DataSet,
    source: Source,
    recipe: SmallRecipe,
    *,
    imports: tuple[str, ...] = (),
    images: Images = small_images,
    further: Further | None = None,
    promised: Mapping[str, str] | None = None,
    **fields: Any,
) -> Protocol:
    """A classifier of small images in memory, whose logits are stored.

    Args:
        source: which images train, of `dataset`.
        imports: modules of the task's own that a worker needs.
        images: what makes the base config.
        promised: prediction sets beside `test` that every run stores, name -> one line; `further` says how.
        fields: further fields of `Protocol`: `summary`, `seconds`, `extra_sets`, `views`, ...
    """

    def config(root: str) -> Config:
        made = images(recipe, source, root)
        made["custom_imports"]["imports"] += imports
        return made

    blank = config("")

    def build(data: Path, of: DataSet = dataset, carved: bool = False) -> tuple[Config, Facts]:
        arrays = load(source, data)
        made = config(str(data))
        if carved:
            carved_config(made, made["prediction_dataloaders"]["train"])
        counts = CARVING.kept(arrays.class_counts) if carved else arrays.class_counts
        return made if further is None else further(made, of.groups), Facts(
            classes=of.classes,
            class_counts=counts,
            image_counts=counts,
            groups=of.groups,
            iterations=blank["train_cfg"]["max_iters"],
            batch=recipe.batch,
            observed=arrays.observed,
            variant=arrays.variant,
        )

    def part() -> Protocol:
        of = carved_set(dataset, CARVING.kept(source.counts))
        return carve(whole, lambda data: build(data, of, True), BY_CLASS, of)

    size = f"average-pooled by {recipe.pool}" if recipe.pool > 1 else "at full size"
    whole: Protocol = trained(
        name,
        dataset,
        blank,
        build,
        carve=part,
        split=source.split,
        test=f"whole test set, {size}, no test-time augmentation",
        backbone=f"resnet{recipe.depth}-w{recipe.width}",
        precision=recipe.precision,
        augmentation=recipe.augmentation,
        selection="best-on-test" if recipe.legacy else "last",
        prediction_sets={**_STORED, **(promised or {})},
        **fields,
    )
    return whole


def list_protocol(
    name: str,
    spec: lists.ListSpec,
    recipe: ListRecipe,
    *,
    further: Further | None = None,
    **fields: Any,
) -> Protocol:
    """A classifier of image files, whose logits are stored. Arguments as those of `image_protocol`."""
    dataset = list_set(spec)
    blank = image_lists(recipe, "")

    def build(data: Path, carved: bool = False) -> tuple[Config, Facts]:
        train = lists.read_list(data / spec.train, spec.classes, training=True)
        test = lists.read_list(data / spec.test, spec.classes)
        list_images.require_images(data, train, test)
        counts = lists.class_counts(train, spec.classes)
        if carved:
            counts = CARVING.kept(counts)
        members = groups.groups(counts, *lists.THRESHOLDS)
        made = image_lists(recipe, str(data))
        if carved:
            carved_config(made, made["prediction_dataloaders"]["train"])
        return made if further is None else further(made, members), Facts(
            classes=dataset.classes,
            class_counts=counts,
            image_counts=counts,
            groups=members,
            iterations=blank["train_cfg"]["max_iters"],
            batch=recipe.batch,
            observed=lists.observed(train, test),
            variant=lists.variant(spec, train, test),
        )

    whole: Protocol = trained(
        name,
        dataset,
        blank,
        build,
        carve=lambda: carve(whole, lambda data: build(data, True), BY_CLASS),
        split=f"{spec.name}@lists",
        test="whole test list, shorter side 256, centre 224, no test-time augmentation",
        backbone=f"resne{'x' if recipe.next else ''}t{recipe.depth}"
        + ("-32x4d" if recipe.next else ""),
        precision="bf16",
        augmentation="random resized crop 224, flip"
        + ("" if recipe.spec == "inat18" else ", colour jitter 0.4"),
        prediction_sets=_STORED,
        threads=8,
        **fields,
    )
    return whole
