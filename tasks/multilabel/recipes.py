"""Training on several labels: scenes and vectors in memory, and image files at 224x224.

A method changes the loss; the base config's is binary cross entropy, the mean over samples and labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tasks.multilabel.data.sources import LabelSource
from tasks.vision.recipes.base import Config, adam, cosine, sgd, steps, warm_up
from tasks.vision.recipes.classifier import classification
from tasks.vision.recipes.image_files import IMAGENET_MEAN, IMAGENET_STD, centred, resnet

LOSS = {"type": "BinaryCrossEntropy"}


@dataclass(frozen=True, kw_only=True)
class MemoryRecipe:
    """Adam with a cosine to 0, on samples in memory; an epoch is ceil(samples / batch) iterations.

    Attributes:
        samples, labels: training samples N and labels L, as published.
        features: D of vectors; 0 for scenes.
        k: K of the measures.
        epochs, batch, lr, weight_decay: the training.
        widths: of the scenes' convolutions.
        hidden, dropout: of the perceptron.
        standardise: whether vectors are standardised by the training samples' statistics.
        limit: samples of the test set (tests only); None for all.
    """

    samples: int
    labels: int
    features: int = 0
    k: int
    epochs: float
    batch: int = 64
    lr: float
    weight_decay: float = 0.0
    widths: tuple[int, ...] = (16, 32, 64)
    hidden: int = 256
    dropout: float = 0.2
    standardise: bool = False
    limit: int | None = None

    @property
    def length(self) -> int:
        """Iterations."""
        return round(self.epochs * math.ceil(self.samples / self.batch))


def memory_labels(recipe: MemoryRecipe, source: LabelSource, root: str, shape: Any) -> Config:
    """Config of a classifier of samples in memory.

    `shape` is (channels, mean, std) of images in grey levels, or (mean, std) of the training vectors, lists, which
    only the data tell: None leaves them out.
    """
    if recipe.features:
        mean, std = shape or (None, None)
        data = {"type": "VectorBatch", "mean": mean, "std": std}
        backbone: Config = {
            "type": "Perceptron",
            "in_features": recipe.features,
            "width": recipe.hidden,
            "dropout": recipe.dropout,
        }
        width = recipe.hidden
    else:
        channels, mean, std = shape
        data = {"type": "ImageBatch", "mean": [mean] * channels, "std": [std] * channels}
        backbone = {"type": "SceneNet", "in_channels": channels, "widths": list(recipe.widths)}
        width = recipe.widths[-1]
    samples = {"type": "MemoryLabels", "source": source.config(), "root": root}
    iterations = recipe.length
    return _labelled(
        _model(backbone, width, recipe.labels, data),
        train={**samples, "split": "train"},
        test={**samples, "split": "test", "limit": recipe.limit},
        extra={"train": {**samples, "split": "train"}},
        collate="whole_batch",
        imports=["tasks.vision.networks.vectors"],
        classes=recipe.labels,
        k=recipe.k,
        batch=recipe.batch,
        eval_batch=500,
        iterations=iterations,
        optimizer=adam(recipe.lr, recipe.weight_decay),
        schedule=[cosine(0, iterations)],
    )


@dataclass(frozen=True, kw_only=True)
class FileRecipe:
    """ResNet-50 on image files at 224x224.

    Attributes:
        labels: L.
        k: K of the measures.
        iterations, batch, lr, weight_decay: the training.
        sgd: SGD with momentum 0.9 whose rate is divided by ten at `steps`; else Adam with a cosine.
        steps: shares of the training.
    """

    labels: int
    k: int
    iterations: int
    batch: int
    lr: float
    weight_decay: float
    sgd: bool = False
    steps: tuple[float, ...] = ()


def label_files(recipe: FileRecipe, source: LabelSource, root: str) -> Config:
    """Config of a classifier of image files."""
    augment: list[Config] = [
        {"type": "RandomResizedCrop", "size": 224},
        {"type": "HorizontalFlip", "prob": 0.5},
        {"type": "ColorJitter", "brightness": 0.4, "contrast": 0.4, "saturation": 0.4},
    ]
    samples = {"type": "LabelledFiles", "source": source.config(), "root": root}
    data = {
        "type": "ImageBatch",
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
        "channels_last": True,
    }
    total = recipe.iterations
    if recipe.sgd:
        optimizer = sgd(recipe.lr, recipe.weight_decay)
        schedule = [steps([round(share * total) for share in recipe.steps], 0.1)]
    else:
        optimizer = adam(recipe.lr, recipe.weight_decay)
        warm = max(1, total // 20)
        schedule = [warm_up(warm, 1 / warm), cosine(warm, total)]
    config = _labelled(
        {
            **_model(resnet(50), 2048, recipe.labels, data),
            "channels_last": True,
            "bf16": True,
        },
        train={**samples, "split": "train", "transforms": augment},
        test={**samples, "split": "test", "transforms": centred()},
        extra={"train": {**samples, "split": "train", "transforms": centred()}},
        collate="collate_images",
        imports=["tasks.vision.data.images", "mmseg.models"],
        classes=recipe.labels,
        k=recipe.k,
        batch=recipe.batch,
        eval_batch=128,
        iterations=total,
        optimizer=optimizer,
        schedule=schedule,
    )
    for loader in (config["train_dataloader"], config["test_dataloader"]):
        loader |= {"num_workers": 8, "persistent_workers": True, "pin_memory": True}
    return config


def _model(backbone: Config, width: int, labels: int, data: Config) -> Config:
    return {
        "type": "MultiLabelClassifier",
        "data_preprocessor": data,
        "backbone": backbone,
        "head": {
            "type": "MultiLabelHead",
            "in_channels": width,
            "classes": labels,
            "loss": dict(LOSS),
        },
    }


def _labelled(model: Config, *, k: int, imports: list[str], classes: int, **parts: Any) -> Config:
    """`classification` with what every classifier of several labels has."""
    modules = (
        "tasks.vision.networks.labels",
        "tasks.multilabel.networks",
        "tasks.multilabel.datasets",
        "tasks.multilabel.scores",
    )
    return classification(
        model,
        imports=[*modules, *imports],
        classes=classes,
        evaluator={"type": "MultiLabelScores", "classes": classes, "k": k},
        **parts,
    )
