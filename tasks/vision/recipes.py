"""Base configurations of the task's protocols: plain dicts in mmengine's format.

A recipe fixes network, augmentation, optimiser and budget; a method changes the loss (or more) through
its `configure`; the harness adds seeds, sampler and hooks. Networks start from random weights. An
epoch is ceil(images / batch) iterations; batches are always full and run on over the end of a pass.
Nothing heavy is imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.vision.data.sources import Source

Config = dict[str, Any]

# per channel, in grey levels
_MEAN = {
    "cifar10": [125.307, 122.961, 113.8575],
    "cifar100": [125.307, 122.961, 113.8575],
    "fashion-mnist": [72.94],
    "digits": [73.0],
}
_STD = {
    "cifar10": [51.5865, 50.847, 51.255],
    "cifar100": [51.5865, 50.847, 51.255],
    "fashion-mnist": [90.02],
    "digits": [90.0],
}
_IMAGENET_MEAN, _IMAGENET_STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
_INAT_MEAN, _INAT_STD = [118.83, 120.105, 96.9], [49.725, 48.96, 49.47]
_NEVER = 10**9
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
# channels of the last maps over `width`
_WIDENING = {"SmallResNet": 4, "WideStemResNet": 8}


@dataclass(frozen=True, kw_only=True)
class SmallRecipe:
    """Training on small images in memory.

    Attributes:
        network: `SmallResNet` or `WideStemResNet`.
        depth, width: of the network.
        pool: edge of the pixel squares averaged into one.
        crop: zero padding of the random crop; 0: none.
        flip, auto_augment: whether.
        rotate: random rotation by so many degrees to either side; 0: none.
        cutout: side of the square; 0: none.
        lr, weight_decay, nesterov: SGD with momentum 0.9.
        decay: the rate is multiplied by this after 80 % and after 90 % of the training.
        cosine: it falls along a cosine to 0, without warm-up, instead.
        limit: images per test class (tests only); None for all.
        precision: `fp32`, or `bf16` (autocast in training).
        channels_last: NHWC instead of NCHW.
        legacy: test after every epoch, keep the best.
    """

    network: str = "SmallResNet"
    depth: int
    width: int
    epochs: int
    batch: int = 128
    pool: int = 1
    crop: int = 4
    flip: bool = True
    auto_augment: bool = False
    rotate: float = 0.0
    cutout: int = 0
    lr: float = 0.1
    weight_decay: float = 2e-4
    nesterov: bool = False
    decay: float = 0.01
    cosine: bool = False
    limit: int | None = None
    precision: str = "fp32"
    channels_last: bool = False
    legacy: bool = False

    @property
    def augmentation(self) -> str:
        """One line."""
        parts = [
            f"crop {self.crop}" if self.crop else "",
            "flip" if self.flip else "",
            f"rotation {self.rotate:g} degrees" if self.rotate else "",
            "AutoAugment (CIFAR-10 policy)" if self.auto_augment else "",
            f"Cutout {self.cutout}" if self.cutout else "",
        ]
        return ", ".join(filter(None, parts)) or "none"


def small_images(recipe: SmallRecipe, source: Source, root: str) -> Config:
    """Config of a classifier of small images; its loss is plain cross entropy."""
    name = source.name
    mean, std = _MEAN[name], _STD[name]
    epoch = math.ceil(sum(source.counts) / recipe.batch)
    iterations = recipe.epochs * epoch
    transforms: list[Config] = []
    if recipe.crop:
        transforms.append({"type": "BatchCrop", "padding": recipe.crop})
    if recipe.flip:
        transforms.append({"type": "BatchFlip", "prob": 0.5})
    if recipe.rotate:
        transforms.append({"type": "BatchRotate", "degrees": recipe.rotate})
    if recipe.auto_augment:
        transforms.append({"type": "BatchAutoAugment", "policy": "cifar10"})
    if recipe.cutout:
        # grey levels that normalise to zero
        transforms.append({"type": "BatchCutout", "size": recipe.cutout, "fill": mean})
    data = {"type": "MemoryImages", "source": source.config(), "root": root, "pool": recipe.pool}
    further = [] if recipe.network == "SmallResNet" else ["tasks.vision.networks.wide_stem"]
    if recipe.rotate:
        further.append("tasks.vision.augment.photometric")
    model = _classifier(
        {
            "type": recipe.network,
            "depth": recipe.depth,
            "width": recipe.width,
            "in_channels": len(mean),
        },
        features=_WIDENING[recipe.network] * recipe.width,
        classes=len(source.classes),
        mean=mean,
        std=std,
        channels_last=recipe.channels_last,
        bf16=recipe.precision == "bf16",
    )
    if recipe.network == "WideStemResNet":
        model["head"]["type"] = "TorchLinearHead"
    config = _config(
        model,
        train={**data, "split": "train", "transforms": transforms},
        test={**data, "split": "test", "limit": recipe.limit},
        extra={"train": {**data, "split": "train"}},
        collate="whole_batch",
        imports=["tasks.vision.data.datasets", "tasks.vision.augment.batch", *further],
        classes=len(source.classes),
        batch=recipe.batch,
        eval_batch=500,
        iterations=iterations,
        optimizer=_sgd(recipe.lr, recipe.weight_decay, recipe.nesterov),
        schedule=[_cosine(0, iterations)]
        if recipe.cosine
        else _warm_steps(iterations, recipe.decay),
    )
    return _select_on_test(config, epoch) if recipe.legacy else config


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
    mean, std = (_INAT_MEAN, _INAT_STD) if natural else (_IMAGENET_MEAN, _IMAGENET_STD)
    epoch = math.ceil(recipe.images / recipe.batch)
    iterations = recipe.epochs * epoch
    augment: list[Config] = [
        {"type": "RandomResizedCrop", "size": 224},
        {"type": "HorizontalFlip", "prob": 0.5},
    ]
    if not natural:
        jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
        augment.append({"type": "ColorJitter", **jitter})
    centre: list[Config] = [
        {"type": "ResizeShorter", "size": 256},
        {"type": "CenterCrop", "size": 224},
    ]
    backbone: Config = {
        "type": "mmseg.ResNeXt" if recipe.next else "mmseg.ResNet",
        "depth": recipe.depth,
        "num_stages": 4,
        "out_indices": (3,),
        "strides": (1, 2, 2, 2),
        "dilations": (1, 1, 1, 1),
        "norm_cfg": {"type": "BN", "requires_grad": True},
    }
    if recipe.next:
        backbone |= {"groups": 32, "base_width": 4}
    data = {"type": "ImageListDataset", "root": root, "spec": recipe.spec}
    config = _config(
        _classifier(backbone, 2048, recipe.classes, mean, std, channels_last=True, bf16=True),
        train={**data, "split": "train", "transforms": augment},
        test={**data, "split": "test", "transforms": centre},
        extra={"train": {**data, "split": "train", "transforms": centre}},
        collate="collate_images",
        imports=["tasks.vision.data.images", "mmseg.models"],
        classes=recipe.classes,
        batch=recipe.batch,
        eval_batch=128,
        iterations=iterations,
        optimizer=_sgd(recipe.lr, recipe.weight_decay, nesterov=True),
        schedule=_file_schedule(recipe, epoch),
    )
    for loader in (config["train_dataloader"], config["test_dataloader"]):
        loader |= {"num_workers": 8, "persistent_workers": True, "pin_memory": True}
    return config


def _file_schedule(recipe: ListRecipe, epoch: int) -> list[Config]:
    iterations, warm = recipe.epochs * epoch, recipe.warm * epoch
    schedule: list[Config] = []
    if warm:
        schedule.append(_warm_up(warm))
    if recipe.steps:
        milestones = [step * epoch for step in recipe.steps]
        step = {"type": "MultiStepLR", "milestones": milestones, "gamma": 0.1}
        return [*schedule, {**step, "by_epoch": False}]
    return [*schedule, _cosine(warm, iterations)]


def _cosine(begin: int, end: int) -> Config:
    cosine = {"type": "CosineAnnealingLR", "T_max": end - begin, "eta_min": 0.0}
    return {**cosine, "by_epoch": False, "begin": begin, "end": end}


SMALL_VIEWS, LIST_VIEWS = 10, 2
"""Views of the test images: SADE adapts for up to five epochs on a fresh pair each; of large images a pair
is kept, which all epochs share."""


def view_names(count: int) -> tuple[str, ...]:
    """Names of prediction sets."""
    return tuple(f"view={k}" for k in range(1, count + 1))


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


def list_views() -> list[Config]:
    """Transforms of SADE's test-time views of image files."""
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "prob": 0.8}
    return [
        {"type": "RandomResizedCrop", "size": 224, "scale": [0.2, 1.0]},
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
    """`config` with the prediction sets `sharpness` and `view=1` to `view=COUNT`.

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
    imports = config["custom_imports"]
    modules = ["tasks.longtail_cls.sharpness", "tasks.vision.augment.photometric"]
    return {
        **config,
        "custom_imports": {
            **imports,
            "imports": list(dict.fromkeys([*imports["imports"], *modules])),
        },
        "prediction_dataloaders": {**config["prediction_dataloaders"], **seen},
        "prediction_hooks": {"sharpness": hook},
    }


def _warm_up(warm: int) -> Config:
    ramp = {"type": "LinearLR", "start_factor": 1 / warm, "by_epoch": False}
    return {**ramp, "begin": 0, "end": warm}


def _classifier(
    backbone: Config,
    features: int,
    classes: int,
    mean: list[float],
    std: list[float],
    channels_last: bool,
    bf16: bool,
) -> Config:
    return {
        "type": "ImageClassifier",
        "data_preprocessor": {
            "type": "ImageBatch",
            "mean": mean,
            "std": std,
            "channels_last": channels_last,
        },
        "backbone": backbone,
        "head": {
            "type": "LinearHead",
            "in_channels": features,
            "classes": classes,
            "loss": {"type": "CrossEntropy"},
        },
        "channels_last": channels_last,
        "bf16": bf16,
    }


def _config(
    model: Config,
    *,
    train: Config,
    test: Config,
    extra: dict[str, Config],
    collate: str,
    imports: list[str],
    classes: int,
    batch: int,
    eval_batch: int,
    iterations: int,
    optimizer: Config,
    schedule: list[Config],
) -> Config:
    evaluated = {
        "batch_size": eval_batch,
        "num_workers": 0,
        "collate_fn": {"type": collate},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
    }
    return {
        "default_scope": "mmengine",
        "custom_imports": {
            "imports": ["tasks.vision.networks.classifier", "tasks.vision.scores", *imports],
            "allow_failed_imports": False,
        },
        "model": model,
        "train_dataloader": {
            "batch_size": batch,
            "num_workers": 0,
            "collate_fn": {"type": collate},
            "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": train,
        },
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": optimizer},
        "param_scheduler": schedule,
        "train_cfg": {
            "type": "IterBasedTrainLoop",
            "max_iters": iterations,
            "val_interval": _NEVER,  # the last iteration is the model
        },
        "test_dataloader": {**evaluated, "dataset": test},
        "test_evaluator": {"type": "ClassScores", "classes": classes},
        "test_cfg": {"type": "TestLoop"},
        "prediction_dataloaders": {
            name: {**evaluated, "dataset": dataset} for name, dataset in extra.items()
        },
    }


def _select_on_test(config: Config, epoch: int) -> Config:
    """The test set as validation set after every epoch; its best weights are the model."""
    config["val_dataloader"] = config["test_dataloader"]
    config["val_evaluator"] = config["test_evaluator"]
    config["val_cfg"] = {"type": "ValLoop"}
    config["train_cfg"]["val_interval"] = epoch
    config["custom_hooks"] = [{"type": "BestOnTestHook", "metric": "cls/top1"}]
    return config


def _sgd(lr: float, weight_decay: float, nesterov: bool) -> Config:
    sgd: Config = {"type": "SGD", "lr": lr, "momentum": 0.9, "weight_decay": weight_decay}
    return {**sgd, "nesterov": True} if nesterov else sgd


def _warm_steps(iterations: int, factor: float) -> list[Config]:
    """Linear warm-up over 2.5 %, x `factor` after 80 % and after 90 % of the training.

    At 200 epochs the schedule of the unified study (0.01; at 400 its code warms up to twice the rate) and
    of SADE and DirMixE (0.1).
    """
    warm = max(1, iterations // 40)
    milestones = [iterations * 4 // 5, iterations * 9 // 10]
    steps = {"type": "MultiStepLR", "milestones": milestones, "gamma": factor, "by_epoch": False}
    return [_warm_up(warm), steps]
