"""What the configurations of segmentors share: the model around a backbone and a head, and the data."""

from __future__ import annotations

from tasks.longtail_seg.networks import BN
from tasks.vision.recipes.base import Config, config, test_loader, train_loader

_META_KEYS = (
    "sample_id", "img_path", "ori_shape", "img_shape", "pad_shape", "scale_factor", "flip",
    "flip_direction", "reduce_zero_label",
)  # fmt: skip
PACK: Config = {"type": "PackSegInputs", "meta_keys": _META_KEYS}


def segmentor(
    backbone: Config,
    head: Config,
    *,
    classes: int,
    size: tuple[int, int],
    mean: list[float],
    std: list[float],
) -> Config:
    """Encoder-decoder on images whose training crops are padded to `size` (height, width)."""
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": mean,
            "std": std,
            "bgr_to_rgb": True,
            "pad_val": 0,
            "seg_pad_val": 255,
            "size": size,
        },
        "backbone": backbone,
        "decode_head": {
            **head,
            "num_classes": classes,
            "norm_cfg": BN,
            "align_corners": False,
            # avg_non_ignore: the mean is over labelled pixels, not over void and padding too.
            "loss_decode": [
                {"type": "CrossEntropyLoss", "loss_weight": 1.0, "avg_non_ignore": True}
            ],
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }


def inference_pipeline(dataset: Config) -> list[Config]:
    """What mmseg's `inference_model` does to a picture from a file, or in memory, before the network sees
    it: what the test set `dataset` does to its own ones."""
    reading: list[Config] = [{"type": "LoadImageFromFile"}]
    if dataset.get("scale", 1.0) != 1.0:
        # a pixel is the mean of 2x2, as in `CamVidDataset`
        resize = {"type": "Resize", "scale_factor": dataset["scale"], "interpolation": "area"}
        reading.append({**resize, "keep_ratio": False})
    return [*reading, *dataset["pipeline"]]


def segmentation(
    model: Config,
    *,
    train: Config,
    evaluated: dict[str, Config],
    batch: int,
    eval_batch: int,
    iterations: int,
    optimizer: Config,
    schedule: list[Config],
) -> Config:
    return config(
        model,
        scope="mmseg",
        # the data sets first: they import mmseg without its prints
        imports=["tasks.vision.data.segmentation", "mmseg.models"],
        loaders={"train": train_loader(train, batch)}
        | {split: test_loader(dataset, eval_batch) for split, dataset in evaluated.items()},
        iterations=iterations,
        optimizer=optimizer,
        schedule=schedule,
    )
