"""Prediction sets beside the test set: random views of the test images, the sharpness of the loss, and the geometry of
the last layer."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.vision.geometry.stored import SETS
from tasks.vision.predicted import VIEW
from tasks.vision.recipes.base import Config
from tasks.vision.recipes.small_images import SmallRecipe

SMALL_VIEWS, LIST_VIEWS = 10, 2
"""Views of the test images: SADE adapts for up to five epochs on a fresh pair each; of large images a pair
is kept, which all epochs share."""


def view_names(count: int) -> tuple[str, ...]:
    """Names of prediction sets."""
    return tuple(f"{VIEW}{k}" for k in range(1, count + 1))


def small_views(recipe: SmallRecipe, edge: int) -> list[Config]:
    """Transforms of SADE's test-time views of small images (`edge` x `edge` pixels).

    The crop and flip are the recipe's; the blur's sigma is in proportion to 32 pixels.
    """
    scale = edge / 32
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "prob": 0.8}
    return [
        *([{"type": "BatchCrop", "padding": recipe.crop}] if recipe.crop else []),
        {"type": "BatchColorJitter", **jitter},
        {"type": "BatchGrayscale", "prob": 0.2},
        {"type": "BatchBlur", "sigma": [0.1 * scale, 2.0 * scale], "prob": 0.2},
        *([{"type": "BatchFlip", "prob": 0.5}] if recipe.flip else []),
    ]


def list_views(spec: str) -> list[Config]:
    """Transforms of SADE's test-time views of image files of the data set `spec`.

    As released, a crop has at least a fifth of an image, on iNaturalist 0.08 of it (torchvision's default; DirMixE's
    code takes a fifth there for its own test sets).
    """
    smallest = 0.08 if spec == "inat18" else 0.2
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "prob": 0.8}
    return [
        {"type": "RandomResizedCrop", "size": 224, "scale": [smallest, 1.0]},
        {"type": "ColorJitter", **jitter},
        {"type": "Grayscale", "prob": 0.2},
        {"type": "GaussianBlur", "sigma": [0.1, 2.0], "prob": 0.5},
        {"type": "HorizontalFlip", "prob": 0.5},
    ]


def with_further_sets(
    config: Config,
    groups: Mapping[str, tuple[int, ...]],
    views: list[Config],
    count: int,
    batch: int = 128,
) -> Config:
    """`config` with the prediction sets `sharpness`, `collapse`, `collapse=test` and `view=1` to `view=COUNT`.

    Added apart from the recipe, whose hash identifies the training.

    Args:
        groups: group name -> class ids.
        views: transforms of the test images, drawn anew for each view, the same for every run.
        batch: images whose second derivatives are computed at a time.
    """
    images = config["prediction_dataloaders"]["train"]
    test = config["test_dataloader"]
    seen = {
        name: {
            **test,
            "sampler": {"type": "PositionSampler", "sampler": test["sampler"]},
            "dataset": {
                "type": "SeededDataset",
                "dataset": {**test["dataset"], "transforms": views},
                "seed": seed,
            },
        }
        for seed, name in enumerate(view_names(count), start=1)
    }
    hook = {
        "type": "SharpnessHook",
        "dataset": images["dataset"],
        "collate": images["collate_fn"]["type"],
        "groups": {name: list(members) for name, members in groups.items()},
        "batch": batch,
    }
    looks = {name: {"type": "CollapseHook", "split": split} for name, split in SETS.items()}
    imports = config["custom_imports"]
    modules = [
        "tasks.longtail_cls.sharpness",
        "tasks.vision.augment.photometric",
        "tasks.vision.geometry.hook",
    ]
    return {
        **config,
        "custom_imports": {
            **imports,
            "imports": list(dict.fromkeys([*imports["imports"], *modules])),
        },
        "prediction_dataloaders": {**config["prediction_dataloaders"], **seen},
        "prediction_hooks": {"sharpness": hook, **looks},
    }
