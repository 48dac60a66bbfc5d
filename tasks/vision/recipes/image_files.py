"""Training on image files at 224x224: mmseg's ResNets, per-image augmentation, SGD."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.vision.recipes.base import Config, cosine, sgd, steps, warm_up
from tasks.vision.recipes.classifier import classification, classifier

IMAGENET_MEAN, IMAGENET_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
# (.466, .471, .380) and (.195, .194, .192) of SADE's code, in grey levels
_INAT_MEAN, _INAT_STD = [118.83, 120.105, 96.9], [49.725, 49.47, 48.96]


@dataclass(frozen=True, kw_only=True)
class ListRecipe:
    """Training on image files at 224x224.

    Attributes:
        spec: `imagenet-lt`, `places-lt` or `inat18`.
        images: training images.
        classes: C.
        depth: of mmseg's ResNet (`next`: ResNeXt 32x4d).
        batch, lr, weight_decay, epochs: SGD with Nesterov momentum 0.9.
        warm: epochs of linear warm-up.
        steps: epochs after which the rate is divided by ten; none: a cosine to 0.
    """

    spec: str
    images: int
    classes: int
    depth: int
    next: bool = False
    batch: int
    lr: float
    weight_decay: float
    epochs: int
    warm: int = 0
    steps: tuple[int, ...] = ()


def image_lists(recipe: ListRecipe, root: str) -> Config:
    """Config of a ResNet on image files; its loss is plain cross entropy."""
    natural = recipe.spec == "inat18"
    mean, std = (_INAT_MEAN, _INAT_STD) if natural else (IMAGENET_MEAN, IMAGENET_STD)
    epoch = math.ceil(recipe.images / recipe.batch)
    iterations = recipe.epochs * epoch
    augment: list[Config] = [
        {"type": "RandomResizedCrop", "size": 224},
        {"type": "HorizontalFlip", "prob": 0.5},
    ]
    if not natural:
        jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
        augment.append({"type": "ColorJitter", **jitter})
    backbone = resnet(recipe.depth, recipe.next)
    data = {"type": "ImageListDataset", "root": root, "spec": recipe.spec}
    config = classification(
        classifier(backbone, 2048, recipe.classes, mean, std, channels_last=True, bf16=True),
        train={**data, "split": "train", "transforms": augment},
        test={**data, "split": "test", "transforms": centred()},
        extra={"train": {**data, "split": "train", "transforms": centred()}},
        collate="collate_images",
        imports=["tasks.vision.data.images", "mmseg.models"],
        classes=recipe.classes,
        batch=recipe.batch,
        eval_batch=128,
        iterations=iterations,
        optimizer=sgd(recipe.lr, recipe.weight_decay, nesterov=True),
        schedule=_file_schedule(recipe, epoch),
    )
    for loader in (config["train_dataloader"], config["test_dataloader"]):
        loader |= {"num_workers": 8, "persistent_workers": True, "pin_memory": True}
    return config


def centred() -> list[Config]:
    """Transforms of a test image."""
    return [{"type": "ResizeShorter", "size": 256}, {"type": "CenterCrop", "size": 224}]


def resnet(depth: int, next: bool = False) -> Config:
    """mmseg's ResNet (`next`: ResNeXt 32x4d) as a classifier's backbone."""
    backbone: Config = {
        "type": "mmseg.ResNeXt" if next else "mmseg.ResNet",
        "depth": depth,
        "num_stages": 4,
        "out_indices": (3,),
        "strides": (1, 2, 2, 2),
        "dilations": (1, 1, 1, 1),
        "norm_cfg": {"type": "BN", "requires_grad": True},
    }
    return backbone | {"groups": 32, "base_width": 4} if next else backbone


def _file_schedule(recipe: ListRecipe, epoch: int) -> list[Config]:
    iterations, warm = recipe.epochs * epoch, recipe.warm * epoch
    schedule: list[Config] = []
    if warm:
        schedule.append(warm_up(warm, 1 / warm))
    if recipe.steps:
        return [*schedule, steps([step * epoch for step in recipe.steps], 0.1)]
    return [*schedule, cosine(warm, iterations)]
