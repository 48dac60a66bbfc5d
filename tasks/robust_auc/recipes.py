"""Training on rare positives: batches with their share of positives, pixels in [0, 1], one logit.

A method changes loss, attack or optimiser; the base config's loss is binary cross entropy and its optimiser SGD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.robust_auc.data.generated import Recipe
from tasks.robust_auc.data.sources import BinarySource
from tasks.vision.recipes.base import Config, sgd, steps
from tasks.vision.recipes.classifier import classification

MONITOR = "binary/auc"
"""What `:val-selection` selects by: the clean AUC of the validation set."""


@dataclass(frozen=True, kw_only=True)
class BinaryRecipe:
    """Training on small binary images.

    Attributes:
        depth, width, initial: of the ResNet for small images (`SmallResNet`).
        iterations, batch: the training.
        pool: edge of the pixel squares averaged into one.
        crop: zero padding of the random crop; 0: none.
        flip: whether.
        lr, weight_decay: SGD with momentum 0.9, whose rate is divided by ten at `steps`, shares of the training.
        limit: test images of each class (tests only); None for all.
    """

    depth: int
    width: int
    initial: str = "he"
    iterations: int
    batch: int
    pool: int = 1
    crop: int = 0
    flip: bool = False
    lr: float = 0.1
    weight_decay: float = 5e-4
    steps: tuple[float, ...] = (0.75, 0.9)
    limit: int | None = None

    @property
    def augmentation(self) -> str:
        """One line."""
        parts = [f"crop {self.crop}" if self.crop else "", "flip" if self.flip else ""]
        return ", ".join(filter(None, parts)) or "none"


def binary_images(
    recipe: BinaryRecipe,
    source: BinarySource,
    root: str,
    corrupted: Mapping[str, Config],
) -> Config:
    """Config of a binary classifier.

    `corrupted`: prediction set -> `recipe` or `release` of `BinaryImages`.
    """
    transforms: list[Config] = []
    if recipe.crop:
        transforms.append({"type": "BatchCrop", "padding": recipe.crop})
    if recipe.flip:
        transforms.append({"type": "BatchFlip", "prob": 0.5})
    data = {"type": "BinaryImages", "source": source.config(), "root": root, "pool": recipe.pool}
    test = {**data, "split": "test", "limit": recipe.limit}
    share = source.counts[1] / sum(source.counts)
    made = classification(
        {
            "type": "BinaryClassifier",
            "data_preprocessor": {"type": "PixelBatch"},
            "mean": list(source.mean),
            "std": list(source.std),
            "backbone": {
                "type": "SmallResNet",
                "depth": recipe.depth,
                "width": recipe.width,
                "in_channels": source.channels,
                "initial": recipe.initial,
            },
            "head": {
                "type": "MultiLabelHead",
                "in_channels": 4 * recipe.width,
                "classes": 1,
                "loss": {"type": "BinaryCrossEntropy"},
            },
        },
        train={**data, "split": "train", "transforms": transforms},
        test=test,
        extra={
            **{name: {**test, **how} for name, how in corrupted.items()},
            "train": {**data, "split": "train"},
        },
        collate="whole_batch",
        imports=[
            "tasks.vision.networks.labels",
            "tasks.robust_auc.networks",
            "tasks.robust_auc.datasets",
            "tasks.robust_auc.sampler",
            "tasks.robust_auc.scores",
            "tasks.vision.augment.batch",
        ],
        classes=1,
        batch=recipe.batch,
        eval_batch=500,
        iterations=recipe.iterations,
        optimizer=sgd(recipe.lr, recipe.weight_decay),
        schedule=[steps([round(share * recipe.iterations) for share in recipe.steps], 0.1)],
        evaluator={"type": "BinaryScores"},
    )
    made["train_dataloader"]["sampler"] = {
        "type": "StratifiedSampler",
        "batch": recipe.batch,
        "positives": max(1, round(share * recipe.batch)),
    }
    return made


def generated(
    table: str, names: tuple[str, ...], severities: tuple[int, ...], pool: int
) -> dict[str, Config]:
    """Prediction set -> how it is made, of generated corruptions."""
    recipes = [
        Recipe(corruption=name, severity=severity, table=table, pool=pool)
        for name in names
        for severity in severities
    ]
    return {one.set_name: {"recipe": one.config()} for one in recipes}


def select_on_validation(config: Config, interval: int) -> Config:
    """`config`, changed: of the weights at every `interval` iterations the best on the set `val` are the model."""
    config["val_dataloader"] = config["prediction_dataloaders"]["val"]
    config["val_evaluator"] = config["test_evaluator"]
    config["val_cfg"] = {"type": "ValLoop"}
    config["train_cfg"]["val_interval"] = interval
    config["custom_hooks"] = [
        *config.get("custom_hooks", []),
        {"type": "BestOnValidationHook", "metric": MONITOR},
    ]
    return config
