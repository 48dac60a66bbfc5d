"""Settings from a user's mmsegmentation config file.

Of a config file (mmsegmentation 1.x) are taken, each where the file has it: the network with its data
preprocessor (`model`), optimiser, schedule and length (`optim_wrapper`, `param_scheduler`, `train_cfg`;
together), and batch size and augmentation (`train_dataloader`). Data set, split, test inputs and how they
are tested, evaluator, hooks and losses are those of the protocol and the method.
"""

from __future__ import annotations

import copy
import importlib.util
import traceback
import warnings
from pathlib import Path
from typing import Any

from suite.base.errors import UserError
from suite.define.protocol import Protocol
from suite.define.variants import Bring
from tasks.longtail_seg.settings import Config, as_json, last, taken
from tasks.longtail_seg.variants import check, components, make

_TAKEN = {
    "model", "data_preprocessor", "optim_wrapper", "param_scheduler", "train_cfg", "train_dataloader",
}  # fmt: skip
_SCHEDULE = ("optim_wrapper", "param_scheduler", "train_cfg")
_OLD = {
    "data": "train_dataloader = dict(batch_size=..., dataset=dict(pipeline=...))",
    "optimizer": "optim_wrapper = dict(type='OptimWrapper', optimizer=...)",
    "optimizer_config": "optim_wrapper",
    "lr_config": "param_scheduler = [dict(type='PolyLR', by_epoch=False, ...)]",
    "runner": "train_cfg = dict(type='IterBasedTrainLoop', max_iters=...)",
    "evaluation": "nothing (the protocol evaluates)",
    "checkpoint_config": "nothing (the suite makes checkpoints)",
    "img_norm_cfg": "mean and std in model.data_preprocessor",
}
"""Keys of mmsegmentation 0.x, and what 1.x has in their place."""
_SURELY_OLD = ("optimizer_config", "lr_config", "runner", "evaluation", "checkpoint_config")
_NOT_A_LINE = ("load_from", "resume", "resume_from")


def read(path: Path, base: Protocol, pretrained: bool) -> tuple[Config, tuple[str, ...]]:
    """Settings of a config file, and a line on what of it is not taken. Executes the file.

    `pretrained`: initial weights are given apart, so those that the file names are left out.
    """
    where = f"--base-config {path}"
    cfg = _execute(path, where)
    old = [key for key in _OLD if key in cfg]
    data = cfg.get("data")
    old_data = isinstance(data, dict) and bool({"train", "samples_per_gpu"} & set(data))
    if (
        old_data
        or any(key in cfg for key in _SURELY_OLD)
        or ("optimizer" in cfg and "optim_wrapper" not in cfg)
    ):
        changes = "; ".join(f"{key} -> {_OLD[key]}" for key in old)
        raise UserError(f"{where}: is a config of mmsegmentation 0.x; in 1.x: {changes}")
    for key in _NOT_A_LINE:
        if cfg.get(key):
            raise UserError(
                f"{where}: {key} = {cfg[key]!r}: runs start from the protocol's initial weights; remove "
                "it (and give weights of the backbone with --pretrained PATH)"
            )
    cfg = {key: value for key, value in cfg.items() if key in _TAKEN | {"custom_imports"}} | {
        "_left": sorted(key for key in cfg if key not in _TAKEN and key.endswith(_LEFT))
    }
    left: list[str] = cfg.pop("_left")
    settings: Config = {}
    if "model" in cfg:
        settings["model"] = _model(cfg, where, pretrained, left)
    if any(key in cfg for key in _SCHEDULE):
        settings |= _schedule(cfg, where)
    loader = cfg.get("train_dataloader")
    if loader is not None:
        settings |= _loader(loader, where)
    if not settings:
        raise UserError(
            f"{where}: has none of model, optim_wrapper, param_scheduler, train_cfg, train_dataloader: "
            "is it a whole config of mmsegmentation 1.x?"
        )
    size = _size(settings, where)
    if size is not None:
        settings["size"] = size
    settings = as_json(settings, where, "")
    try:
        make(base, settings, None)
        components().require_registered(settings)
    except UserError as error:
        why = ""
        if "custom_imports" in cfg:
            why = (
                "; types of your own code (custom_imports) are not taken: the protocol's hash would not "
                "cover it"
            )
        raise UserError(f"{where}: {error}{why}") from None
    said = [f"taken from {path.name}: {taken(settings)}"]
    if left:
        said.append(f"not taken (the protocol's or the method's): {', '.join(left)}")
    return settings, tuple(said)


_LEFT = ("custom_hooks", "_dataloader", "_evaluator", "tta_model", "custom_imports")
"""Endings of the keys that a user may believe to be taken."""


def _execute(path: Path, where: str) -> Config:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise UserError(f"{where}: {what}; give an mmsegmentation 1.x config (.py)")
    if path.suffix not in (".py", ".json", ".yaml", ".yml"):
        raise UserError(f"{where}: ends with {path.suffix or 'nothing'!r}; a config ends with .py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mmengine.config import Config as Reader
        from mmengine.config.utils import MODULE2PACKAGE
    # `_base_ = 'mmseg::...'`: mmengine looks for a distribution of OpenMMLab's old name, and finds an import name too
    for module in MODULE2PACKAGE:
        if importlib.util.find_spec(module) is not None:
            MODULE2PACKAGE[module] = module
    try:
        found: Config = Reader.fromfile(str(path), import_custom_modules=False).to_dict()
    except (Exception, SystemExit) as error:
        file, line = _place(error, path)
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        kind = type(error).__name__
        at = f"{file}:{line}" if line else file
        place = f"--base-config {at}" if Path(file) == path else f"{where}: its {at}"
        raise UserError(f"{place}: {kind}: {' '.join(text.split())[:300]}") from None
    return found


def _place(error: BaseException, path: Path) -> tuple[str, int | None]:
    """The file (of those that a config is made from) and line that an error comes from."""
    file, line = str(path), None
    for frame, number in traceback.walk_tb(error.__traceback__):
        # mmengine reads a config and those it is based on by functions with this local
        name = frame.f_locals.get("filename")
        if frame.f_code.co_name in ("_file2dict", "_parse_lazy_import") and isinstance(name, str):
            file, line = name, None
        elif frame.f_code.co_filename == file:
            line = number
    if isinstance(error, SyntaxError):
        line = error.lineno
    return file, line


def _model(cfg: Config, where: str, pretrained: bool, left: list[str]) -> Config:
    model = copy.deepcopy(cfg["model"])
    if not isinstance(model, dict) or not isinstance(model.get("backbone"), dict):
        raise UserError(f"{where}: model.backbone: a dict with the type of the network is missing")
    head = model.get("decode_head")
    if isinstance(head, list | tuple):
        raise UserError(
            f"{where}: model.decode_head: is a cascade of {len(head)} heads, and methods replace the loss "
            "of one; write one head (of OCRNet: type='RegionOCRHead' with the first head as `region`)"
        )
    if not isinstance(head, dict):
        raise UserError(f"{where}: model.decode_head: a dict with the type of the head is missing")
    model.pop("test_cfg", None)
    _drop_weights(model, where, "model", pretrained)
    dropped = _plain_heads(head, model.get("auxiliary_head"))
    left += [f"model.*.{key}" for key in sorted(dropped)]
    preprocessor = model.get("data_preprocessor") or cfg.get("data_preprocessor")
    if preprocessor is not None:
        if not isinstance(preprocessor, dict):
            raise UserError(f"{where}: model.data_preprocessor: is no dict")
        preprocessor = {"type": "SegDataPreProcessor", **copy.deepcopy(preprocessor)}
        if last(preprocessor["type"]) != "SegDataPreProcessor":
            raise UserError(
                f"{where}: model.data_preprocessor.type: only SegDataPreProcessor, with batch-level "
                "augmentation left to methods"
            )
        # unlabelled, as everywhere here
        preprocessor["seg_pad_val"] = 255
        model["data_preprocessor"] = preprocessor
    return model


def _plain_heads(head: Config, auxiliary: Any) -> set[str]:
    """Take out what is the method's or the data's; names of what said something."""
    dropped: set[str] = set()
    others = auxiliary if isinstance(auxiliary, list | tuple) else [auxiliary]
    for one in [head, *(other for other in others if isinstance(other, dict))]:
        for key in ("num_classes", "out_channels", "threshold", "ignore_index"):
            one.pop(key, None)
        if one.pop("sampler", None):
            dropped.add("sampler")
        loss = one.pop("loss_decode", None)
        first = loss[0] if isinstance(loss, list | tuple) and loss else loss
        weight = 1.0
        if isinstance(first, dict):
            weight = first.get("loss_weight", 1.0)
            odd = {"class_weight", "use_sigmoid", "use_mask"}
            plain = last(str(first.get("type"))) == "CrossEntropyLoss"
            if not plain or any(first.get(key) for key in odd) or first is not loss:
                dropped.add("loss_decode")
        if one is not head:
            # trained beside the head, whatever the method
            one["loss_decode"] = {
                "type": "CrossEntropyLoss",
                "loss_weight": weight,
                "avg_non_ignore": True,
            }
    return dropped


def _drop_weights(node: Any, where: str, at: str, pretrained: bool) -> None:
    """Take out initial weights that the config names; refuse them where none are given apart."""
    if isinstance(node, list | tuple):
        for number, item in enumerate(node):
            _drop_weights(item, where, f"{at}.{number}", pretrained)
        return
    if not isinstance(node, dict):
        return
    for key in list(node):
        value = node[key]
        named = value if key in ("pretrained", "checkpoint_path", "init_weights_from") else None
        if key == "init_cfg":
            entries = value if isinstance(value, list | tuple) else [value]
            named = next(
                (
                    entry.get("checkpoint", "Pretrained")
                    for entry in entries
                    if isinstance(entry, dict) and last(str(entry.get("type"))) == "Pretrained"
                ),
                None,
            )
            if named is None:
                continue
        elif key not in ("pretrained", "checkpoint_path", "init_weights_from"):
            _drop_weights(value, where, f"{at}.{key}", pretrained)
            continue
        if named and not pretrained:
            raise UserError(
                f"{where}: {at}.{key} names initial weights ({str(named)[:120]}), which the protocol's "
                "hash has to cover: give the file with --pretrained PATH, or set it to None"
            )
        del node[key]


def _schedule(cfg: Config, where: str) -> Config:
    missing = [key for key in _SCHEDULE if key not in cfg]
    if missing:
        given = ", ".join(key for key in _SCHEDULE if key in cfg)
        raise UserError(
            f"{where}: has {given} but no {', '.join(missing)}: optimiser, schedule and length are taken "
            "together or not at all"
        )
    wrapper, schedule, loop = (cfg[key] for key in _SCHEDULE)
    if not isinstance(wrapper, dict) or not isinstance(wrapper.get("optimizer"), dict):
        raise UserError(f"{where}: optim_wrapper.optimizer: a dict with its type is missing")
    wrapper = {"type": "OptimWrapper", **wrapper}
    if last(wrapper["type"]) != "OptimWrapper":
        raise UserError(
            f"{where}: optim_wrapper.type = {wrapper['type']!r}: protocols train in full precision; write "
            "OptimWrapper"
        )
    if not isinstance(loop, dict):
        raise UserError(f"{where}: train_cfg: is no dict")
    if last(loop.get("type", "IterBasedTrainLoop")) != "IterBasedTrainLoop" or (
        "max_iters" not in loop
    ):
        raise UserError(
            f"{where}: train_cfg: budgets are iterations; write "
            "dict(type='IterBasedTrainLoop', max_iters=...)"
        )
    schedule = [schedule] if isinstance(schedule, dict) else list(schedule or [])
    for number, one in enumerate(schedule):
        at = f"{where}: param_scheduler.{number}"
        if not isinstance(one, dict):
            raise UserError(f"{at}: is no dict")
        if one.get("by_epoch", True):
            raise UserError(f"{at}: counts epochs; write by_epoch=False and iterations")
        if "Plateau" in str(one.get("type")):
            raise UserError(f"{at}: {one['type']} waits for a validation, and there is none")
    return {
        "optim_wrapper": wrapper,
        "param_scheduler": schedule,
        "max_iters": loop["max_iters"],
    }


def _loader(loader: Any, where: str) -> Config:
    if not isinstance(loader, dict):
        raise UserError(f"{where}: train_dataloader: is no dict")
    settings: Config = {}
    if "batch_size" in loader:
        settings["batch"] = loader["batch_size"]
    source = loader.get("dataset")
    while isinstance(source, dict) and isinstance(source.get("dataset"), dict):
        if "pipeline" in source:
            raise UserError(
                f"{where}: train_dataloader.dataset.pipeline mixes images of the data set "
                f"({source.get('type')}); only what augments one image is taken"
            )
        source = source["dataset"]
    if isinstance(source, dict) and "pipeline" in source:
        # reading, and what is packed, are the data set's
        settings["pipeline"] = [
            step
            for step in source["pipeline"]
            if not isinstance(step, dict)
            or not (
                last(str(step.get("type"))).startswith("Load")
                or last(str(step.get("type"))) == "PackSegInputs"
            )
        ]
    return settings


def _size(settings: Config, where: str) -> list[int] | None:
    """Height and width that training crops are padded to; None where the config does not say."""
    crops = [
        step["crop_size"]
        for step in settings.get("pipeline", ())
        if isinstance(step, dict)
        and last(str(step.get("type"))) == "RandomCrop"
        and "crop_size" in step
    ]
    crop = _pair(crops[-1]) if crops else None
    preprocessor = settings.get("model", {}).get("data_preprocessor") or {}
    size = _pair(preprocessor.pop("size", None))
    if size and crop and size != crop:
        raise UserError(
            f"{where}: RandomCrop.crop_size {tuple(crop)} and model.data_preprocessor.size "
            f"{tuple(size)} differ; make them equal"
        )
    return size or crop


def _pair(size: Any) -> list[int] | None:
    if isinstance(size, int):
        return [size, size]
    if isinstance(size, list | tuple) and len(size) == 2:
        return [int(size[0]), int(size[1])]
    return None


BRING = Bring(read=read, check=check, make=make, taken=taken)
