"""Protocols of `longtail-seg`, and the data sets they train on. Nothing heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from suite.base import settings
from suite.base.canonical import short_hash
from suite.define.protocol import DataSet, Facts, Protocol
from suite.define.protocols import Declared, Protocols
from tasks.longtail_seg.networks import NETWORKS
from tasks.longtail_seg.recipes import HASHED_IMPORTS, base_config
from tasks.longtail_seg.schedules import SCHEDULES
from tasks.longtail_seg.segmentor import inference_pipeline
from tasks.vision.carved import carve, carved_config, carved_set
from tasks.vision.data import ade20k, camvid, cityscapes, coco_stuff, official, survey
from tasks.vision.data import digit_scenes as digits
from tasks.vision.groups import groups_beside_tail
from tasks.vision.protocols import Build, trained

STORED = {"test": "test images; confusion per image, pixel-AUC histograms, three rendered samples"}
JOIN = "tasks.longtail_seg.ranks"
# Every score of 2,000 pictures x 150 classes takes a core half an hour to count; what the network puts
# out has an eighth of the resolution or a quarter, so that neighbouring pixels say nearly the same. An odd
# stride meets all phases of that enlargement alike; 4 would always meet the same two, and be biased.
AUC_STRIDE = 5
# from this number of classes on: 500 pictures of 19 x 19 cells are nothing
_SPARSE_CLASSES = 100
THREADS = 4
"""Of a run at the papers' scale: for its losses and scores on the CPU, and as many loader workers."""


def _check_digits(cache: Path, deep: bool) -> list[str]:
    # made from scikit-learn's digits and held against its checksum
    digits.load(cache)
    return []


DIGITS = DataSet(
    name="digit-scenes",
    summary="64x64 scenes of scikit-learn's handwritten digits, imbalance ratio 30 in instances",
    layout="embedded: made on first use from what pip installed",
    classes=digits.CLASSES,
    groups=digits.GROUPS,
    group_rule=digits.GROUP_RULE,
    find=lambda cache: cache,
    check=_check_digits,
    embedded=True,
)
CAMVID = DataSet(
    name="camvid",
    summary="CamVid, 11 classes of street scenes, 367 train / 233 test images of 480x360",
    layout=camvid.LAYOUT,
    classes=camvid.CLASSES,
    groups=camvid.GROUPS,
    group_rule=camvid.GROUP_RULE,
    find=camvid.find,
    check=camvid.check,
    differs=camvid.differs,
)


def _official_dataset(spec: official.Spec, summary: str) -> DataSet:
    def find(root: Path) -> Path:
        return official.find(spec, root)

    def check(path: Path, deep: bool) -> list[str]:
        return survey.check(spec, path, deep, settings.cache_dir())

    return DataSet(
        name=spec.name,
        summary=summary,
        layout=spec.layout,
        classes=spec.classes,
        groups=spec.groups,
        group_rule=spec.group_rule,
        find=find,
        check=check,
    )


ADE20K = _official_dataset(
    ade20k.SPEC, "ADE20K, 150 classes of scenes, 20,210 train / 2,000 test images"
)
CITYSCAPES = _official_dataset(
    cityscapes.SPEC,
    "Cityscapes, 19 classes of street scenes, 2,975 train / 500 test images of 2048x1024",
)
COCO_STUFF = _official_dataset(
    coco_stuff.SPEC,
    "COCO-Stuff 164k, 171 classes of things and stuff, 118,287 train / 5,000 test images",
)


def _protocol(name: str, dataset: DataSet, **about: Any) -> Declared:
    """`_build_protocol` with these arguments, when it is asked for."""
    return Declared(name, dataset.name, partial(_build_protocol, name, dataset, **about))


def _build_protocol(
    name: str,
    dataset: DataSet,
    *,
    recipe: str | None = None,
    split: str,
    test: str,
    backbone: str,
    augmentation: str,
    summary: str,
    seconds: float,
    extra_sets: Mapping[str, str],
    threads: int = 1,
    revision: int = 1,
) -> Protocol:
    recipe = recipe or name
    whole: Protocol = trained(
        name,
        dataset,
        base_config(recipe, {"cache_dir": "", "data_root": ""}),
        lambda data: _build(recipe, dataset, data),
        carve=lambda: _carved(whole, lambda data: _build(recipe, dataset, data, carved=True)),
        hashed_imports=HASHED_IMPORTS,
        split=split,
        test=test,
        backbone=backbone,
        augmentation=augmentation,
        revision=revision,
        summary=summary,
        prediction_sets=STORED,
        join=JOIN,
        extra_sets=extra_sets,
        threads=threads,
        seconds=seconds,
    )
    return whole


def _carved(whole: Protocol, build: Build) -> Protocol:
    how = "drawn so that every class keeps its share of images"
    return carve(whole, build, how, carved_set(whole.dataset, ()))


def _build(
    recipe: str, dataset: DataSet, data: Path, carved: bool = False
) -> tuple[dict[str, Any], Facts]:
    from tasks.vision.data import segmentation as datasets

    cfg = base_config(recipe, {"cache_dir": str(data), "data_root": str(data)})
    cfg["prediction_dataloaders"] = _prediction_loaders(cfg)
    if carved:
        carved_config(cfg, cfg["prediction_dataloaders"]["train"])
    source = {k: v for k, v in cfg["train_dataloader"]["dataset"].items() if k != "pipeline"}
    observed: dict[str, str] = {}
    if source.pop("type") == "ArraySegDataset":
        train = datasets.ArraySegDataset(**source)
        test = {**source, "split": "test", "carved": None}
        test_images = len(datasets.ArraySegDataset(**test))
        variant = False  # held against its checksum when it is loaded
        observed["digit-scenes"] = digits.SHA256
    else:
        train = datasets.CamVidDataset(**source, in_memory=False)
        test_images = len(camvid.split_ids("test"))
        compact = camvid.compact(camvid.manifest(data))
        observed = {split: part["labels_sha256"] for split, part in compact.items()}
        variant = compact != camvid.tracked_manifest()
    pixels, images = train.label_statistics()
    cfg["test_evaluator"] = dict(
        type="SegSketch",
        classes=len(dataset.classes),
        palette=train.METAINFO["palette"],
        # spread over the test set: neighbours are alike
        shown=[test_images * i // 3 for i in range(3)],
    )
    cfg["test_cfg"] = dict(type="TestLoop")
    cfg["test_pipeline"] = inference_pipeline(cfg["test_dataloader"]["dataset"])
    cfg["custom_imports"]["imports"] += ["tasks.longtail_seg.sketch"]
    return cfg, Facts(
        classes=dataset.classes,
        class_counts=tuple(int(n) for n in pixels),
        image_counts=tuple(int(n) for n in images),
        groups=dataset.groups,
        iterations=cfg["train_cfg"]["max_iters"],
        batch=cfg["train_dataloader"]["batch_size"],
        unit="pixels",
        observed=observed,
        variant=variant,
    )


def _official(spec: official.Spec, dataset: DataSet, network: str) -> Declared:
    """`_at_scale` with these arguments, when it is asked for."""
    name = f"{spec.name}:{network}"
    return Declared(name, dataset.name, partial(_at_scale, spec, dataset, network))


def _at_scale(spec: official.Spec, dataset: DataSet, network: str) -> Protocol:
    """A protocol at the scale of AUCSeg's tables: its crop, schedule, optimiser and test mode."""
    recipe = f"{spec.name}:{network}"
    schedule = SCHEDULES[spec.name]
    if schedule.stride:
        mode = f"windows of {schedule.crop} at a stride of {schedule.stride}"
    else:
        mode = f"resized to {schedule.scale[0]}x{schedule.scale[1]} at most, whole image"
    crop = schedule.crop

    whole: Protocol = trained(
        recipe,
        dataset,
        base_config(recipe, {"data_root": ""}),
        lambda data: _build_official(recipe, spec, data),
        carve=lambda: _carved(whole, lambda data: _build_official(recipe, spec, data, True)),
        hashed_imports=HASHED_IMPORTS,
        # without a copy nothing is known of the labels: what is counted in one is in `observed`
        split=f"{spec.name}-official@{short_hash(spec.identity)}",
        test=f"official val split, {mode}; pixel AUC on every {AUC_STRIDE}th row and column",
        backbone=network,
        augmentation=f"scale 0.5-2, crop {crop}, flip, photometric distortion",
        summary=f"{spec.title}, {network}, AUCSeg's schedule, for a GPU",
        prediction_sets=STORED,
        join=JOIN,
        threads=THREADS,
    )
    return whole


def _build_official(
    recipe: str, spec: official.Spec, data: Path, carved: bool = False
) -> tuple[dict[str, Any], Facts]:
    from tasks.vision.data import segmentation as datasets

    cfg = base_config(recipe, {"data_root": str(data)})
    kind = getattr(datasets, SCHEDULES[spec.name].dataset)
    loaded = cfg["test_dataloader"]
    cfg["prediction_dataloaders"] = {}
    if carved:
        carved_config(cfg, {**loaded, "dataset": {**loaded["dataset"], "split": "train"}})
    train = kind(str(data), "train", cfg["train_dataloader"]["dataset"].get("carved"))
    test = kind(str(data), "val")
    counted = {"train": train.statistics(), "val": test.statistics()}
    pixels = [int(n) for n in counted["train"].pixels]
    # resources, not identity: a sample is the same whatever worker makes it
    workers = min(THREADS, len(os.sched_getaffinity(0)) - 1)
    for loader in ("train_dataloader", "test_dataloader"):
        cfg[loader]["num_workers"] = workers
    cfg["test_evaluator"] = dict(
        type="SegSketch",
        classes=len(spec.classes),
        palette=[list(colour) for colour in spec.palette],
        shown=[len(test) * i // 3 for i in range(3)],
        sparse=len(spec.classes) >= _SPARSE_CLASSES,
        auc_stride=AUC_STRIDE,
    )
    cfg["test_cfg"] = dict(type="TestLoop")
    cfg["test_pipeline"] = inference_pipeline(cfg["test_dataloader"]["dataset"])
    cfg["custom_imports"]["imports"] += ["tasks.longtail_seg.sketch"]
    return cfg, Facts(
        classes=spec.classes,
        class_counts=tuple(pixels),
        image_counts=tuple(int(n) for n in counted["train"].presence.sum(axis=0)),
        groups=spec.groups
        if spec.by_pixels
        else groups_beside_tail(len(spec.classes), spec.tail, spec.head, pixels),
        iterations=cfg["train_cfg"]["max_iters"],
        batch=cfg["train_dataloader"]["batch_size"],
        unit="pixels",
        observed={split: known.sha256 for split, known in counted.items()},
    )


def _prediction_loaders(cfg: dict[str, Any]) -> dict[str, Any]:
    """Loaders of the extra prediction sets: `val` where there is one, and the training images."""
    loaders = {}
    test = cfg["test_dataloader"]
    if "val_dataloader" in cfg:
        # mmengine wants val loader, loop and evaluator together; nothing is validated in training
        loaders["val"] = cfg.pop("val_dataloader")
    loaders["train"] = {**test, "dataset": {**test["dataset"], "split": "train"}}
    return loaders


_TRAIN_SET = {"train": "training images as at test time; stored as `test` is"}
_DIGITS = dict(
    split=f"digit-scenes@{digits.SHA256[:12]}",
    test="100 instances of every digit, 64x64, whole image",
    augmentation="none",
    extra_sets=_TRAIN_SET,
)

_TRACKED = camvid.tracked_manifest()
_CAMVID_SPLIT = "camvid-carved@" + short_hash(
    {split: part["labels_sha256"] for split, part in _TRACKED.items()}
)


def _camvid(resolution: str, network: str, seconds: float) -> Declared:
    size = {"full": "480x360", "half": "240x180"}[resolution]
    crop = {"full": "scale 0.5-2, crop 352", "half": "scale 0.75-1.5, crop 128"}[resolution]
    return _protocol(
        f"camvid:{resolution},{network}",
        CAMVID,
        split=_CAMVID_SPLIT,
        test=f"official test split, {size}, whole image",
        backbone=network,
        augmentation=f"{crop}, flip",
        summary=f"CamVid at {size}, {network} from scratch",
        seconds=seconds,
        extra_sets={"val": "frames carved from the training split; stored as `test` is"}
        | _TRAIN_SET,
    )


PROTOCOLS = Protocols(
    _protocol(
        "quick",
        DIGITS,
        backbone="resnet18-3stage-w24",
        summary="embedded digit scenes, a small network, well under a minute a run",
        seconds=35.0,
        **_DIGITS,
    ),
    _protocol(
        "smoke",
        DIGITS,
        backbone="resnet18-3stage-w8",
        summary="quick in seconds, for tests: its numbers mean nothing",
        seconds=2.0,
        **_DIGITS,
    ),
    _camvid("full", "segformer-b0", seconds=20 * 3600.0),
    _camvid("full", "fcn-r18", seconds=40 * 3600.0),
    _camvid("half", "segformer-b0", seconds=1200.0),
    _camvid("half", "fcn-r18", seconds=2400.0),
    *(
        _official(spec, dataset, network)
        for spec, dataset in (
            (ade20k.SPEC, ADE20K),
            (cityscapes.SPEC, CITYSCAPES),
            (coco_stuff.SPEC, COCO_STUFF),
        )
        for network in NETWORKS
    ),
)
