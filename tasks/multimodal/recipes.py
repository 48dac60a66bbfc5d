"""Training on several modalities: an encoder for each, a linear fusion, SGD. Nothing heavy is imported.

A method changes fusion, objective and optimiser wrapper; encoders are the protocol's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.vision.recipes.base import Config, config, test_loader, train_loader


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What becomes of one modality.

    Attributes:
        encoder: config of the module (`MultimodalClassifier`).
        width: D of its features.
        statistics: {"mean": [...], "std": [...]} of `ModalityBatch`, or None where inputs stay as they are, or where only
            the data tell.
    """

    encoder: Config
    width: int
    statistics: Config | None = None


def multimodal(
    streams: Mapping[str, Stream],
    *,
    classes: int,
    train: Config,
    test: Config,
    extra: Mapping[str, Config],
    collate: str,
    imports: Sequence[str],
    batch: int,
    eval_batch: int,
    iterations: int,
    optimizer: Config,
    schedule: Sequence[Config],
    bf16: bool = False,
) -> Config:
    """Config of a multimodal classifier.

    `train`, `test` and, by prediction set, `extra` are data sets; `collate` joins their samples.
    """

    def evaluated(dataset: Config) -> Config:
        return test_loader(dataset, eval_batch, collate_fn={"type": collate})

    model = {
        "type": "MultimodalClassifier",
        "data_preprocessor": {
            "type": "ModalityBatch",
            "statistics": {
                name: stream.statistics for name, stream in streams.items() if stream.statistics
            },
        },
        "encoders": {name: stream.encoder for name, stream in streams.items()},
        "fusion": {
            "type": "ConcatFusion",
            "widths": {name: stream.width for name, stream in streams.items()},
            "classes": classes,
        },
        "objective": {"type": "JointCrossEntropy"},
        "bf16": bf16,
    }
    made = config(
        model,
        scope="mmengine",
        imports=[
            "tasks.multimodal.networks",
            "tasks.multimodal.fusions",
            "tasks.multimodal.objectives",
            "tasks.multimodal.scores",
            *imports,
        ],
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
        "test_evaluator": {
            "type": "ModalityScores",
            "classes": classes,
            "modalities": list(streams),
        },
        "test_cfg": {"type": "TestLoop"},
        "prediction_dataloaders": {name: evaluated(dataset) for name, dataset in extra.items()},
    }
