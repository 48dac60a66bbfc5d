"""Protocols of `multilabel`. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from suite.define.protocol import DataSet, Facts, Protocol
from suite.define.protocols import Declared, Protocols
from tasks.multilabel.data import catalogued, scenes
from tasks.multilabel.data.labelled import positives
from tasks.multilabel.data.missing import MISSING, token
from tasks.multilabel.data.sources import LabelSource, load
from tasks.multilabel.recipes import FileRecipe, MemoryRecipe, label_files, memory_labels
from tasks.multilabel.stored import STORED
from tasks.vision.carved import carve, carved_config
from tasks.vision.data.carving import CARVING, chosen_by_image, part_of
from tasks.vision.groups import groups
from tasks.vision.protocols import trained
from tasks.vision.recipes.base import Config

_TOP = {
    scenes.NAME: 3,
    "yeast": 5,
    "scene": 3,
    "emotions": 3,
    "corel5k": 5,
    "bibtex": 5,
    "voc-lt": 3,
    "voc07": 3,
    "voc12": 3,
    "coco-lt": 5,
    "coco14": 5,
    "coco17": 5,
    "nuswide": 3,
}
_TRAIN = "training samples without augmentation; stored as `test` is"
_TRAIN_PART = CARVING.part("train")
_BY_LABEL = "drawn so that every label keeps its share"


def top_k(name: str) -> int:
    """K of the measures on the data set of that name; 3 on one that this task does not bring."""
    return _TOP.get(name, 3)


@cache
def _data(name: str) -> tuple[DataSet, str]:
    """The data set, and the manifest of its training and test samples. K is told with every board's groups."""
    if name == scenes.NAME:
        data, split = scenes.DATASET, f"{scenes.NAME}@{scenes.SHA256[:12]}"
    else:
        data, split = catalogued.dataset(name), catalogued.split(name)
    return replace(data, group_rule=f"{data.group_rule}; K = {top_k(name)}"), split


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What the protocols on one kind of samples share.

    Attributes:
        blank: source -> the config without data, whose digest is the recipe's.
        config: (source, folder, training samples) -> the config.
        fields: further fields of `Protocol`.
    """

    blank: Callable[[LabelSource], Config]
    config: Callable[[LabelSource, str, Any], Config]
    fields: dict[str, Any]


def _scenes(recipe: MemoryRecipe) -> _Kind:
    shape = (scenes.SHAPE[0], scenes.MEAN, scenes.STD)
    return _Kind(
        blank=lambda source: memory_labels(recipe, source, "", shape),
        config=lambda source, root, inputs: memory_labels(recipe, source, root, shape),
        fields={
            "test": "whole test set, at full size" if recipe.limit is None else "first test scenes",
            "backbone": f"scenenet-{'-'.join(map(str, recipe.widths))}",
        },
    )


def _vectors(recipe: MemoryRecipe) -> _Kind:
    def config(source: LabelSource, root: str, inputs: Any) -> Config:
        if not recipe.standardise:
            return memory_labels(recipe, source, root, None)
        spread = inputs.std(axis=0, dtype=float)
        # a feature that never varies says nothing, whatever it is divided by
        spread[spread == 0] = 1
        shape = inputs.mean(axis=0, dtype=float).tolist(), spread.tolist()
        return memory_labels(recipe, source, root, shape)

    standardised = "standardised by the training set" if recipe.standardise else "as they are"
    return _Kind(
        blank=lambda source: memory_labels(recipe, source, "", None),
        config=config,
        fields={
            "test": f"whole test set, features {standardised}",
            "backbone": f"mlp-{recipe.hidden}",
        },
    )


def _files(recipe: FileRecipe) -> _Kind:
    return _Kind(
        blank=lambda source: label_files(recipe, source, ""),
        config=lambda source, root, inputs: label_files(recipe, source, root),
        fields={
            "test": "whole test set, shorter side 256, centre 224, no test-time augmentation",
            "backbone": "resnet50",
            "precision": "bf16",
            "threads": 8,
        },
    )


def _build(
    name: str, kind: _Kind, source: LabelSource, augmentation: str, summary: str, seconds: float
) -> Protocol:
    dataset, split = _data(source.name)
    blank = kind.blank(source)
    thresholds = dataset.group_thresholds
    assert thresholds is not None

    def build(data: Path, carved: bool = False) -> tuple[Config, Facts]:
        sets = load(source, data)
        inputs, labels, counts = sets.train.inputs, sets.train.labels, sets.class_counts
        places: Any = slice(None)
        if carved:
            observed_labels = labels
            places = part_of(_TRAIN_PART, lambda how: chosen_by_image(observed_labels, how))
            full = load(replace(source, missing=""), data).train.labels
            labels, counts = labels[places], positives(full[places])
        kept = inputs if isinstance(inputs, tuple) else inputs[places]
        config = kind.config(source, str(data), kept)
        if carved:
            carved_config(config, config["prediction_dataloaders"]["train"])
        return config, Facts(
            classes=dataset.classes,
            class_counts=counts,
            image_counts=positives(labels),
            groups=groups(counts, *thresholds),
            iterations=blank["train_cfg"]["max_iters"],
            batch=blank["train_dataloader"]["batch_size"],
            observed=sets.observed,
            variant=sets.variant,
        )

    whole: Protocol = trained(
        name,
        dataset,
        blank,
        build,
        carve=lambda: carve(whole, lambda data: build(data, True), _BY_LABEL),
        split=f"{split}+{token(source.missing)}" if source.missing else split,
        augmentation=augmentation,
        prediction_sets={"test": f"test samples; {STORED}"},
        extra_sets={"train": _TRAIN},
        summary=f"{summary}; {MISSING[source.missing]}" if source.missing else summary,
        seconds=seconds,
        **kind.fields,
    )
    return whole


def _family(
    name: str, data: str, kind: _Kind, augmentation: str, summary: str, seconds: float
) -> list[Declared]:
    """The protocol with complete training labels, and those with missing ones."""
    made = []
    for missing in ("", *MISSING):
        full = f"{name}{',' if ':' in name else ':'}{missing}" if missing else name
        source = LabelSource(data, missing)
        build = partial(_build, full, kind, source, augmentation, summary, seconds)
        made.append(Declared(full, data, build))
    return made


_QUICK = MemoryRecipe(
    samples=scenes.TRAIN, labels=len(scenes.NAMES), k=top_k(scenes.NAME), epochs=25, lr=3e-3
)
_HOUR = 3600.0


def _table(
    data: str,
    samples: int,
    features: int,
    labels: int,
    epochs: int,
    standardise: bool,
    seconds: float,
) -> list[Declared]:
    """Protocols on one of Mulan's tables; sizes as published."""
    recipe = MemoryRecipe(
        samples=samples,
        labels=labels,
        features=features,
        k=top_k(data),
        epochs=epochs,
        lr=1e-3,
        weight_decay=1e-4,
        standardise=standardise,
    )
    summary = f"{data} (Mulan), a perceptron on its {features:,} features, {epochs} epochs"
    return _family(f"{data}:mlp", data, _vectors(recipe), "none", summary, seconds)


def _pictures(
    name: str, data: str, labels: int, summary: str, hours: float, **recipe: Any
) -> list[Declared]:
    """Protocols of a ResNet-50 on image files; weights of ImageNet are the user's (`--pretrained`)."""
    kind = _files(FileRecipe(labels=labels, k=top_k(data), **recipe))
    augmentation = "random resized crop 224, flip, colour jitter 0.4"
    return _family(name, data, kind, augmentation, f"{summary}, ResNet-50 at 224", hours * _HOUR)


# of the code of the distribution-balanced loss: 8 epochs of batches of 32, rate / 10 after 5 and 7; weight decay and
# batches that are not class-aware (but for `db`, which brings them) are ours
_LONG_TAILED = {"batch": 32, "lr": 0.02, "weight_decay": 1e-4, "sgd": True, "steps": (5 / 8, 7 / 8)}
# no paper's: Adam as in the code of the asymmetric loss, for 20 to 40 passes
_WHOLE = {"batch": 64, "lr": 1e-4, "weight_decay": 1e-4}

PROTOCOLS = Protocols(
    *_family(
        "quick",
        scenes.NAME,
        _scenes(_QUICK),
        "none",
        "embedded digit scenes, a small network, seconds a run",
        6.0,
    ),
    *_family(
        "smoke",
        scenes.NAME,
        _scenes(replace(_QUICK, epochs=1.25, widths=(4, 8, 8), limit=100)),
        "none",
        "quick in a second, for tests: its numbers mean nothing",
        1.0,
    ),
    *_table("yeast", 1500, 103, 14, 30, True, 2.0),
    *_table("scene", 1211, 294, 6, 30, True, 2.0),
    *_table("emotions", 391, 72, 6, 30, True, 1.0),
    *_table("corel5k", 4500, 499, 374, 20, False, 6.0),
    *_table("bibtex", 4880, 1836, 159, 20, False, 15.0),
    *_pictures("voc-lt:r50", "voc-lt", 20, "VOC-LT", 0.1, iterations=288, **_LONG_TAILED),
    *_pictures("coco-lt:r50", "coco-lt", 80, "COCO-LT", 0.2, iterations=480, **_LONG_TAILED),
    *_pictures("voc07", "voc07", 20, "VOC 2007", 1.0, iterations=3_160, **_WHOLE),
    *_pictures("voc12", "voc12", 20, "VOC 2012", 1.0, iterations=3_600, **_WHOLE),
    *_pictures("coco14", "coco14", 80, "COCO 2014", 10.0, iterations=25_660, **_WHOLE),
    *_pictures("coco17", "coco17", 80, "COCO 2017", 14.0, iterations=36_660, **_WHOLE),
    *_pictures("nuswide", "nuswide", 81, "NUS-WIDE", 20.0, iterations=50_000, **_WHOLE),
)
