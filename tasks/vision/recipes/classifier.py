"""What the configurations of image classifiers share: the model around a backbone, and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.vision.recipes.base import Config, config, test_loader, train_loader


def classifier(
    backbone: Config,
    features: int,
    classes: int,
    mean: Sequence[float],
    std: Sequence[float],
    channels_last: bool,
    bf16: bool,
) -> Config:
    """The model: a linear head on the backbone's pooled maps of `features` channels, plain cross entropy.

    `mean` and `std` per channel, in grey levels.
    """
    return {
        "type": "ImageClassifier",
        "data_preprocessor": {
            "type": "ImageBatch",
            "mean": list(mean),
            "std": list(std),
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


def classification(
    model: Config,
    *,
    train: Config,
    test: Config,
    extra: Mapping[str, Config],
    collate: str,
    imports: Sequence[str],
    classes: int,
    batch: int,
    eval_batch: int,
    iterations: int,
    optimizer: Config,
    schedule: Sequence[Config],
    evaluator: Config | None = None,
) -> Config:
    """The config of a classifier whose logits are stored, by `evaluator` (None: by `tasks.vision.scores`).

    `train`, `test` and, by prediction set, `extra` are data sets; `collate` joins their samples.
    """

    def evaluated(dataset: Config) -> Config:
        return test_loader(dataset, eval_batch, collate_fn={"type": collate})

    made = config(
        model,
        scope="mmengine",
        imports=["tasks.vision.networks.classifier", "tasks.vision.scores", *imports],
        loaders={
            "train": train_loader(train, batch, collate_fn={"type": collate}),
            "test": evaluated(test),
        },
        iterations=iterations,
        optimizer=optimizer,
        schedule=schedule,
    )
    return {
        **made,
        "test_evaluator": evaluator or {"type": "ClassScores", "classes": classes},
        "test_cfg": {"type": "TestLoop"},
        "prediction_dataloaders": {name: evaluated(dataset) for name, dataset in extra.items()},
    }
