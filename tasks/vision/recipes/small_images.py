"""Training on small images in memory: ResNets, batched augmentation, SGD.

An epoch is ceil(images / batch) iterations; batches are always full and run on over the end of a pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.vision.data.sources import Source
from tasks.vision.recipes.base import Config, cosine, sgd, steps, warm_up
from tasks.vision.recipes.classifier import classification, classifier

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
    images = source.images
    mean, std = list(images.mean), list(images.std)
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
        form = {"policy": "cifar10", "form": "released"}
        transforms.append({"type": "BatchAutoAugment", **form})
    if recipe.cutout:
        # black: the unified study's code covers before it normalises
        transforms.append({"type": "BatchCutout", "size": recipe.cutout, "fill": 0.0})
    data = {"type": "MemoryImages", "source": source.config(), "root": root, "pool": recipe.pool}
    further = [] if recipe.network == "SmallResNet" else ["tasks.vision.networks.wide_stem"]
    if recipe.rotate:
        further.append("tasks.vision.augment.photometric")
    model = classifier(
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
    config = classification(
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
        optimizer=sgd(recipe.lr, recipe.weight_decay, recipe.nesterov),
        schedule=[cosine(0, iterations)] if recipe.cosine else warm_steps(iterations, recipe.decay),
    )
    return select_on_test(config, epoch) if recipe.legacy else config


def select_on_test(config: Config, epoch: int) -> Config:
    """The test set as validation set after every epoch; its best weights are the model."""
    config["val_dataloader"] = config["test_dataloader"]
    config["val_evaluator"] = config["test_evaluator"]
    config["val_cfg"] = {"type": "ValLoop"}
    config["train_cfg"]["val_interval"] = epoch
    config["custom_hooks"] = [{"type": "BestOnTestHook", "metric": "cls/top1"}]
    return config


def warm_steps(iterations: int, factor: float) -> list[Config]:
    """Linear warm-up over 2.5 %, x `factor` after 80 % and after 90 % of the training.

    At 200 epochs the schedule of the unified study (0.01; at 400 its code warms up to twice the rate) and
    of SADE and DirMixE (0.1).
    """
    warm = max(1, iterations // 40)
    milestones = [iterations * 4 // 5, iterations * 9 // 10]
    return [warm_up(warm, 1 / warm), steps(milestones, factor)]
