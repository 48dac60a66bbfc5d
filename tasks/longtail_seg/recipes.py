"""Base configurations of the task's protocols: plain dicts in OpenMMLab's format.

A recipe fixes network, augmentation, optimiser and budget; a method changes the loss (or more)
through its `configure`; the harness adds seeds, sampler, hooks, evaluator and the work folder.
All networks start from random weights. Nothing heavy is imported.
"""

from __future__ import annotations

import copy

from suite.base.errors import UserError
from tasks.longtail_seg.networks import BN, NETWORKS
from tasks.longtail_seg.schedules import SCHEDULES, Schedule
from tasks.longtail_seg.segmentor import PACK, segmentation, segmentor
from tasks.vision.data import camvid
from tasks.vision.data import digit_scenes as digits
from tasks.vision.recipes.base import (
    Config,
    adamw,
    cosine,
    poly,
    sgd,
    warm_up,
)

RECIPES: tuple[str, ...] = (
    "quick",
    "smoke",
    "camvid:full,segformer-b0",
    "camvid:full,fcn-r18",
    "camvid:half,segformer-b0",
    "camvid:half,fcn-r18",
    *(f"{data}:{network}" for data in SCHEDULES for network in NETWORKS),
)
HASHED_IMPORTS = {
    "tasks.vision.data.segmentation": "tasks.longtail_seg.datasets",
    "tasks.longtail_seg.heads": "tasks.longtail_seg.heads",
}
"""Module -> the name by which the hashes of this task's protocols know it."""


def base_config(recipe: str, data: dict[str, str]) -> Config:
    """The configuration of one of `RECIPES`, the loss being plain cross entropy.

    `data` holds `cache_dir` (where the digit scenes are kept) for `quick` and `smoke`, `data_root`
    (the data set's folder or the one above) for the rest. Evaluator and `test_cfg` are the harness's.

    Raises UserError for an unknown recipe.
    """
    if recipe not in RECIPES:
        raise UserError(f"longtail-seg has no recipe {recipe!r}; known: {' '.join(RECIPES)}")
    if recipe in ("quick", "smoke"):
        return _digits(recipe, data["cache_dir"])
    source, _, variant = recipe.partition(":")
    if source in SCHEDULES:
        return _official(SCHEDULES[source], variant, data["data_root"])
    resolution, network = variant.split(",")
    return _camvid(resolution, network, data["data_root"])


def _digits(recipe: str, cache_dir: str) -> Config:
    """ResNet-18 without its last stage (at 64x64 that sees 2x2) and a quarter-resolution head.

    No augmentation: a mirrored digit is another sign. `smoke` is the same with narrow layers, few
    iterations and few scenes: it exercises the machinery, its numbers mean nothing.
    """
    smoke = recipe == "smoke"
    width = 8 if smoke else 24
    source: Config = {"type": "ArraySegDataset", "cache_dir": str(cache_dir)}
    if smoke:
        source["limit"] = 64
    widths = [width, 2 * width, 4 * width]
    model = segmentor(
        {
            "type": "ResNet",
            "depth": 18,
            "num_stages": 3,
            "strides": (1, 2, 2),
            "dilations": (1, 1, 1),
            "out_indices": (0, 1, 2),
            "stem_channels": width,
            "base_channels": width,
            "norm_cfg": BN,
        },
        {
            "type": "SegformerHead",
            "in_channels": widths,
            "in_index": [0, 1, 2],
            "channels": 2 * width,
            "dropout_ratio": 0.0,
        },
        classes=len(digits.CLASSES),
        size=(digits.SIZE, digits.SIZE),
        mean=[100.0] * 3,
        std=[50.0] * 3,
    )
    iterations = 20 if smoke else 400
    warm = iterations // 15
    return segmentation(
        model,
        train={**source, "split": "train", "pipeline": [PACK]},
        evaluated={"test": {**source, "split": "test", "pipeline": [PACK], "test_mode": True}},
        batch=8,
        eval_batch=32,
        iterations=iterations,
        optimizer=adamw(lr=5e-3, weight_decay=0.01),
        schedule=[warm_up(warm, 0.1), cosine(warm, iterations, ratio=0.01)],
    )


def _camvid(resolution: str, network: str, data_root: str) -> Config:
    """SegFormer-B0 or FCN with ResNet-18 from random weights.

    `full`: 480x360, random scale 0.5-2, flip, crop 352x352; `half`: everything, evaluation too, at
    240x180, crop 128x128, sized for one CPU core.
    """
    half = resolution == "half"
    width, height = (240, 180) if half else (480, 360)
    crop = (128, 128) if half else (352, 352)
    source = {
        "type": "CamVidDataset",
        "data_root": str(data_root),
        "scale": 0.5 if half else 1.0,
    }
    augment = [
        {
            "type": "RandomResize",
            "scale": (width, height),
            "ratio_range": (0.75, 1.5) if half else (0.5, 2.0),
            "keep_ratio": True,
        },
        {"type": "RandomCrop", "crop_size": crop, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        PACK,
    ]
    backbone, head = _segformer_b0() if network == "segformer-b0" else _fcn_r18()
    model = segmentor(
        backbone,
        head,
        classes=len(camvid.CLASSES),
        size=crop,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    )
    if half:
        iterations, batch = 2500, 4
    else:
        iterations, batch = 10_000, 16
    warm = iterations // 20
    if network == "segformer-b0":
        # Pre-trained SegFormer takes 6e-5; random weights need more.
        optimizer = adamw(lr=1e-3 if half else 5e-4, weight_decay=0.01)
    else:
        optimizer = sgd(lr=0.02, weight_decay=5e-4)
    evaluated = {
        split: {**source, "split": split, "pipeline": [PACK], "test_mode": True}
        for split in ("val", "test")
    }
    return segmentation(
        model,
        train={**source, "split": "train", "pipeline": augment},
        evaluated=evaluated,
        batch=batch,
        eval_batch=4,
        iterations=iterations,
        optimizer=optimizer,
        schedule=[warm_up(warm, 0.01), poly(warm, iterations, 0.9)],
    )


def _official(schedule: Schedule, network: str, data_root: str) -> Config:
    """A network of `NETWORKS` under the schedule, optimiser and augmentation of AUCSeg's release.

    All networks share AdamW at 6e-5 with ten times that in the heads, the linear warm-up over 1500
    iterations and the linear decay to 0 (SegNeXt's, SegFormer's and Swin's own recipe), so that rows of
    two networks differ in the network. What a family needs besides is in its `Network`: no weight decay
    on its position biases, or on norm layers that are not called `norm`. ResNets and HRNets are
    usually trained with SGD; from ImageNet weights AdamW serves them too.

    Samples are drawn without end by their position, so there is no RepeatDataset (whose use is to avoid
    new loader workers at the end of a short epoch).
    """
    made = copy.deepcopy(NETWORKS[network])
    source = {"type": schedule.dataset, "data_root": str(data_root)}
    crop = (schedule.crop, schedule.crop)
    augment = [
        {
            "type": "RandomResize",
            "scale": schedule.scale,
            "ratio_range": (0.5, 2.0),
            "keep_ratio": True,
        },
        {"type": "RandomCrop", "crop_size": crop, "cat_max_ratio": 0.75},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        PACK,
    ]
    # at test time the data set keeps its labels out of `seg_fields`: they are not resized
    presented = [{"type": "Resize", "scale": schedule.scale, "keep_ratio": True}, PACK]
    model = segmentor(
        made.backbone,
        made.head,
        classes=schedule.classes,
        size=crop,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    )
    model["decode_head"]["norm_cfg"] = made.head["norm_cfg"]
    if made.auxiliary:
        loss = {"type": "CrossEntropyLoss", "loss_weight": 0.4, "avg_non_ignore": True}
        model["auxiliary_head"] = {
            **made.auxiliary,
            "num_classes": schedule.classes,
            "align_corners": False,
            "loss_decode": [loss],
        }
    if schedule.stride:
        step = (schedule.stride, schedule.stride)
        model["test_cfg"] = {"mode": "slide", "crop_size": crop, "stride": step}
    config = segmentation(
        model,
        train={**source, "split": "train", "pipeline": augment},
        evaluated={
            "test": {**source, "split": "val", "pipeline": presented, "test_mode": True},
        },
        batch=schedule.batch,
        eval_batch=1,  # pictures differ in size
        iterations=schedule.iterations,
        optimizer=adamw(lr=6e-5, weight_decay=0.01) | {"betas": (0.9, 0.999)},
        schedule=[warm_up(1500, 1e-6), poly(1500, schedule.iterations, 1.0)],
    )
    undecayed = {name: {"decay_mult": 0.0} for name in ("pos_block", "norm", *made.undecayed)}
    config["optim_wrapper"]["paramwise_cfg"] = {
        "custom_keys": undecayed | {"head": {"lr_mult": 10.0}},
        **({"norm_decay_mult": 0.0} if made.normless else {}),
    }
    config["custom_imports"]["imports"].append("tasks.longtail_seg.heads")
    return config


def _segformer_b0() -> tuple[Config, Config]:
    made = copy.deepcopy(NETWORKS["segformer-b0"])
    return made.backbone, made.head


def _fcn_r18() -> tuple[Config, Config]:
    """Output stride 16: a quarter of the work of mmseg's usual 8."""
    backbone = {
        "type": "ResNetV1c",
        "depth": 18,
        "num_stages": 4,
        "out_indices": (0, 1, 2, 3),
        "dilations": (1, 1, 1, 2),
        "strides": (1, 2, 2, 1),
        "norm_cfg": BN,
        "contract_dilation": True,
    }
    head = {
        "type": "FCNHead",
        "in_channels": 512,
        "in_index": 3,
        "channels": 128,
        "num_convs": 2,
        "concat_input": True,
        "dropout_ratio": 0.1,
    }
    return backbone, head
