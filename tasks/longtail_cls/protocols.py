"""Protocols of `longtail-cls`, and the data sets they train on. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from suite.define.protocol import Protocol
from suite.define.protocols import Declared, Protocols
from tasks.longtail_cls.further_sets import (
    LIST_VIEWS,
    SMALL_VIEWS,
    list_views,
    small_views,
    view_names,
    with_further_sets,
)
from tasks.vision.data import lists
from tasks.vision.data.sources import Source
from tasks.vision.image_sets import DATASETS, image_set
from tasks.vision.protocols import image_protocol, list_protocol
from tasks.vision.recipes.base import Config
from tasks.vision.recipes.image_files import ListRecipe
from tasks.vision.recipes.small_images import SmallRecipe

HASHED_IMPORTS = {
    "tasks.vision.augment.batch": "tasks.longtail_cls.augment",
    "tasks.vision.data.datasets": "tasks.longtail_cls.datasets",
    "tasks.vision.data.images": "tasks.longtail_cls.images",
    "tasks.vision.networks.classifier": "tasks.longtail_cls.model",
    "tasks.vision.networks.wide_stem": "tasks.longtail_cls.networks",
    "tasks.vision.augment.photometric": "tasks.longtail_cls.photometric",
    "tasks.vision.scores": "tasks.longtail_cls.scores",
}
"""Module -> the name by which the hashes of this task's protocols know it."""
_REVISIONS = {"WideStemResNet": 2}
"""By network, where shared code was corrected: 2, the stem starts as in SSE-SAM's code."""
RATIOS = (100, 10, 20, 50, 200)
_EXTRA = {
    "train": "training images without augmentation; stored as `test` is",
    "sharpness": (
        "largest and smallest Hessian eigenvalue of each group's training loss at the final weights, "
        "with residuals"
    ),
    "collapse": (
        "geometry of the last layer on the training images without augmentation at the final weights: class means, "
        "scatter, classifier and margins"
    ),
    "collapse=test": "the same on the test images",
}


def _extra(views: int) -> dict[str, str]:
    seen = (
        "test images under random augmentation, for methods that adapt to them; stored as `test` is"
    )
    return {**_EXTRA, **dict.fromkeys(view_names(views), seen)}


def _small(name: str, recipe: SmallRecipe, source: Source, *about: Any) -> Declared:
    """`_build_small` with these arguments, when it is asked for."""
    make = partial(_build_small, name, recipe, source, *about)
    return Declared(name, DATASETS[source.name].name, make)


def _build_small(
    name: str, recipe: SmallRecipe, source: Source, summary: str, seconds: float
) -> Protocol:
    views = small_views(recipe, source.edge // recipe.pool)
    return image_protocol(
        name,
        image_set(source),
        source,
        recipe,
        hashed_imports=HASHED_IMPORTS,
        further=lambda config, groups: with_further_sets(config, groups, views, SMALL_VIEWS),
        summary=summary,
        extra_sets=_extra(SMALL_VIEWS),
        views=view_names(SMALL_VIEWS),
        seconds=seconds,
        revision=_REVISIONS.get(recipe.network, 1),
    )


def _family(
    base: str,
    recipe: SmallRecipe,
    names: tuple[str, ...],
    seconds: Mapping[str, float],
    text: str,
    profiles: tuple[str, ...] = ("exp", "step"),
    conventions: tuple[str, ...] = ("first", "shuffled"),
) -> list[Declared]:
    """`base:DATA,PROFILE,irRATIO,CONVENTION` for every combination, the usual one first."""
    made = []
    for name in names:
        for profile in profiles:
            for ratio in RATIOS:
                for convention in conventions:
                    source = Source(name, profile, ratio, convention)
                    full = f"{base}:{name},{profile},ir{ratio},{convention}"
                    options = {"": recipe}
                    if (profile, ratio) == ("exp", 100):
                        options[",bf16"] = replace(recipe, precision="bf16", channels_last=True)
                    if profile == "exp" and not recipe.auto_augment:
                        options[",legacy-selection"] = replace(recipe, legacy=True)
                    for suffix, option in options.items():
                        one = _small(full + suffix, option, source, text, seconds[name])
                        made.append(one)
    return made


def _lists(name: str, recipe: ListRecipe, *about: Any) -> Declared:
    """`_build_lists` with these arguments, when it is asked for."""
    return Declared(name, recipe.spec, partial(_build_lists, name, recipe, *about))


def _build_lists(
    name: str, recipe: ListRecipe, summary: str, seconds: float, spec: lists.ListSpec
) -> Protocol:
    def further(config: Config, groups: Mapping[str, tuple[int, ...]]) -> Config:
        # 224x224 images through deep networks: the graph of second derivatives has to fit into memory
        return with_further_sets(config, groups, list_views(recipe.spec), LIST_VIEWS, batch=16)

    return list_protocol(
        name,
        spec,
        recipe,
        hashed_imports=HASHED_IMPORTS,
        further=further,
        summary=summary,
        extra_sets=_extra(LIST_VIEWS),
        views=view_names(LIST_VIEWS),
        seconds=seconds,
    )


_DIGITS = Source("digits")
_QUICK = SmallRecipe(depth=8, width=16, epochs=60, batch=32, crop=1, flip=False)
# channels last: a sixth faster on a CPU
_CPU_CIFAR = SmallRecipe(depth=8, width=16, epochs=40, pool=2, crop=2, channels_last=True)
_R32_200 = SmallRecipe(depth=32, width=16, epochs=200)
_R32_400 = SmallRecipe(
    depth=32, width=16, epochs=400, auto_augment=True, cutout=16, weight_decay=1e-4
)
_R34_200 = SmallRecipe(
    network="WideStemResNet",
    depth=34,
    width=64,
    epochs=200,
    batch=64,
    lr=0.01,
    weight_decay=1e-3,
    cosine=True,
)
_R32_200_ROT = SmallRecipe(
    depth=32, width=16, epochs=200, rotate=15.0, weight_decay=5e-4, nesterov=True, decay=0.1
)
_HOUR = 3600.0

PROTOCOLS = Protocols(
    _small("quick", _QUICK, _DIGITS, "embedded digits, a small network, seconds a run", 8.0),
    _small(
        "smoke",
        replace(_QUICK, width=4, epochs=2, limit=10),
        _DIGITS,
        "quick in a second, for tests: its numbers mean nothing",
        1.0,
    ),
    _small(
        "cpu-cifar",
        _CPU_CIFAR,
        Source("cifar10"),
        "CIFAR-10-LT (ratio 100) at 16x16, ResNet-8, 40 epochs: real images on a CPU",
        180.0,
    ),
    *_family(
        "r32-200",
        _R32_200,
        ("cifar100", "cifar10", "fashion-mnist"),
        {"cifar100": 3 * _HOUR, "cifar10": 3.5 * _HOUR, "fashion-mnist": 3 * _HOUR},
        "ResNet-32, 200 epochs, crop and flip",
    ),
    *_family(
        "r32-200-rot",
        _R32_200_ROT,
        ("cifar100", "cifar10"),
        {"cifar100": 3 * _HOUR, "cifar10": 3.5 * _HOUR},
        "SADE's and DirMixE's recipe: ResNet-32, 200 epochs, crop, flip and rotation, Nesterov",
        profiles=("exp",),
        # theirs first
        conventions=("shuffled", "first"),
    ),
    *_family(
        "r32-400-aa",
        _R32_400,
        ("cifar100", "cifar10"),
        {"cifar100": 6 * _HOUR, "cifar10": 7 * _HOUR},
        "ResNet-32, 400 epochs, AutoAugment and Cutout",
    ),
    *_family(
        "r34-200",
        _R34_200,
        ("cifar100", "cifar10"),
        {"cifar100": 28 * _HOUR, "cifar10": 32 * _HOUR},
        "SSE-SAM's wide ResNet-34, 200 epochs, crop and flip (its paper reports the best epoch on test, "
        "with mirrored images; here no mirroring and, but for legacy-selection, the last epoch)",
    ),
    # Settings of SADE's code (all but the pre-trained trunk of Places-LT). Training images: Liu et al.
    # 2019 (ImageNet-LT, Places-LT), the challenge's list (iNaturalist 2018).
    *(
        _lists(
            f"imagenet-lt:{network}",
            ListRecipe(
                spec="imagenet-lt",
                images=115_846,
                classes=1000,
                depth=50,
                next=network == "resnext50",
                batch=64,
                lr=0.025,
                weight_decay=5e-4,
                epochs=180,
            ),
            f"ImageNet-LT, {network}, 180 epochs from scratch",
            1000 * _HOUR,
            lists.SPECS["imagenet-lt"],
        )
        for network in ("resnet50", "resnext50")
    ),
    _lists(
        "places-lt:resnet152",
        ListRecipe(
            spec="places-lt",
            images=62_500,
            classes=365,
            depth=152,
            batch=128,
            lr=0.01,
            weight_decay=4e-4,
            epochs=30,
            steps=(10, 20),
        ),
        "Places-LT, ResNet-152, 30 epochs from scratch (published rows start from ImageNet weights)",
        400 * _HOUR,
        lists.SPECS["places-lt"],
    ),
    _lists(
        "inat18:resnet50",
        ListRecipe(
            spec="inat18",
            images=437_513,
            classes=8142,
            depth=50,
            batch=512,
            lr=0.2,
            weight_decay=2e-4,
            epochs=100,
            warm=5,
            steps=(60, 80),
        ),
        "iNaturalist 2018, ResNet-50, 100 epochs from scratch",
        2000 * _HOUR,
        lists.SPECS["inat18"],
    ),
)
