"""Protocols made of a user's mmsegmentation config file, of initial weights, or of both.

Of a config file (mmsegmentation 1.x) are taken, each where the file has it: the network with its data
preprocessor (`model`), optimiser, schedule and length (`optim_wrapper`, `param_scheduler`, `train_cfg`;
together), and batch size and augmentation (`train_dataloader`). Data set, split, test inputs and how they
are tested, evaluator, hooks and losses are those of the protocol and the method.

Settings are JSON: what a file says, with tuples marked as `{"()": [...]}`. They may come from a stranger's
results folder, so `make` refuses whatever mmengine would take for something to import, download or
unpickle. Nothing heavy is imported at the top.
"""

from __future__ import annotations

import copy
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.base.canonical import short_hash
from suite.base.errors import UserError
from suite.define.protocol import Budget, Facts, Protocol
from suite.define.task import Bring, Initial

Config = dict[str, Any]
Settings = Mapping[str, Any]

PARTS = {
    "model": "network",
    "optim_wrapper": "optimiser and schedule",
    "pipeline": "augmentation",
    "batch": "batch size",
}
"""What settings replace, in words; `param_scheduler` and `max_iters` come with `optim_wrapper`."""
_KNOWN = {*PARTS, "param_scheduler", "max_iters", "size"}
_TAKEN = {
    "model", "data_preprocessor", "optim_wrapper", "param_scheduler", "train_cfg", "train_dataloader",
}  # fmt: skip
_SCHEDULE = ("optim_wrapper", "param_scheduler", "train_cfg")
_VERSION = 1
"""Raised when the same settings come to mean another training."""
_NEVER = 10**9
_TUPLE = "()"
_NAME = re.compile(r"[A-Za-z_]\w{0,79}", re.ASCII)
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


# -- reading a config file


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
    settings = _plain(settings, where, "")
    try:
        make(base, settings, None)
        _components().require_registered(settings)
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
        if _last(preprocessor["type"]) != "SegDataPreProcessor":
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
            plain = _last(str(first.get("type"))) == "CrossEntropyLoss"
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
                    if isinstance(entry, dict) and _last(str(entry.get("type"))) == "Pretrained"
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
    if _last(wrapper["type"]) != "OptimWrapper":
        raise UserError(
            f"{where}: optim_wrapper.type = {wrapper['type']!r}: protocols train in full precision; write "
            "OptimWrapper"
        )
    if not isinstance(loop, dict):
        raise UserError(f"{where}: train_cfg: is no dict")
    if _last(loop.get("type", "IterBasedTrainLoop")) != "IterBasedTrainLoop" or (
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
                _last(str(step.get("type"))).startswith("Load")
                or _last(str(step.get("type"))) == "PackSegInputs"
            )
        ]
    return settings


def _size(settings: Config, where: str) -> list[int] | None:
    """Height and width that training crops are padded to; None where the config does not say."""
    crops = [
        step["crop_size"]
        for step in settings.get("pipeline", ())
        if isinstance(step, dict)
        and _last(str(step.get("type"))) == "RandomCrop"
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


def _plain(value: Any, where: str, at: str) -> Any:
    """`value` as JSON data. Raises UserError naming the key of what has no such form."""
    here = f"{where}: {at or 'config'}"
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            if not isinstance(key, str) or key == _TUPLE:
                raise UserError(f"{here}: has the key {key!r}; keys are texts")
            if key in ("_scope_", "_delete_"):
                continue
            found[key] = _plain(item, where, f"{at}.{key}" if at else key)
            if key in ("type", "constructor") and isinstance(item, str):
                found[key] = _norm(_last(item))
        return found
    if isinstance(value, list | tuple):
        items = [_plain(item, where, f"{at}.{number}") for number, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, float) and value - value != 0:
        raise UserError(f"{here}: is {value}, which JSON has no form for")
    if value is None or type(value) in (bool, int, float, str):
        return value
    kind = type(value).__name__
    if isinstance(value, type) or callable(value):
        raise UserError(
            f"{here}: is a {kind} ({getattr(value, '__name__', kind)}), and a protocol's settings are "
            "plain data; write the registered name as a text"
        )
    raise UserError(f"{here}: is a {kind}, and a protocol's settings are plain data (JSON)")


def _last(name: str) -> str:
    """`mmseg.ResNet`, or what a lazy config makes of a class, -> `ResNet`."""
    return str(name).rpartition(".")[2]


def _norm(name: str) -> str:
    # batches lie on one device, and SyncBN fails on a CPU; with several ranks the engine synchronises
    return {"SyncBN": "BN", "LightHamHead": "SeededHamHead"}.get(name, name)


# -- settings -> protocol


def taken(settings: Settings) -> str:
    """What settings replace, in words."""
    return ", ".join(text for part, text in PARTS.items() if part in settings)


def make(base: Protocol, settings: Settings | None, initial: Initial | None) -> Protocol:
    """`base` with the settings and initial weights. Raises UserError for settings that are none."""
    budget = base.budget
    if budget is None:
        raise UserError(f"protocol {base.name!r} trains nothing that settings could change")
    changes: dict[str, Any] = {}
    if settings is not None:
        _require_settings(settings)
        made = Budget(
            iterations=settings.get("max_iters", budget.iterations),
            batch=settings.get("batch", budget.batch),
        )
        changes["budget"] = made
        changes["recipe"] = short_hash({"settings": settings, "version": _VERSION})
        if "model" in settings:
            changes["backbone"] = settings["model"]["backbone"]["type"]
        if "pipeline" in settings:
            steps = [str(step["type"]) for step in settings["pipeline"]]
            changes["augmentation"] = ", ".join(steps) or "none"
        if set(settings) - {"batch", "size"}:
            changes["seconds"] = None

    def build(data: Path) -> tuple[Config, Facts]:
        cfg, facts = base.build(data)
        if settings is not None:
            _components().require_registered(settings)
            cfg = apply(cfg, settings)
            facts = replace(facts, iterations=made.iterations, batch=made.batch)
        if initial is not None:
            cfg = start(cfg, initial)
        return cfg, facts

    return replace(base, build=build, **changes)


def apply(cfg: Config, settings: Settings) -> Config:
    """The protocol's base config with what the settings replace. `cfg` is changed."""
    values = {key: _tuples(value) for key, value in settings.items()}
    before = cfg["model"]
    if "model" in values:
        model = values["model"]
        head = before["decode_head"]
        fixed = {
            "num_classes": head["num_classes"],
            "loss_decode": head["loss_decode"],
        }
        model["decode_head"] |= fixed
        auxiliary = model.get("auxiliary_head") or []
        for one in auxiliary if isinstance(auxiliary, list | tuple) else [auxiliary]:
            one["num_classes"] = head["num_classes"]
        model.setdefault("data_preprocessor", before["data_preprocessor"])
        model["test_cfg"] = before.get("test_cfg", {"mode": "whole"})
        model.setdefault("train_cfg", {})
        cfg["model"] = model
        imports = cfg["custom_imports"]["imports"]
        imports += [name for name in ("tasks.longtail_seg.heads",) if name not in imports]
    if "size" in values:
        preprocessor = cfg["model"]["data_preprocessor"]
        preprocessor.pop("size_divisor", None)
        preprocessor["size"] = tuple(values["size"])
    elif not {"size", "size_divisor"} & set(cfg["model"]["data_preprocessor"]):
        cfg["model"]["data_preprocessor"]["size"] = before["data_preprocessor"]["size"]
    if "optim_wrapper" in values:
        cfg["optim_wrapper"] = values["optim_wrapper"]
        cfg["param_scheduler"] = values["param_scheduler"]
        cfg["train_cfg"] = {
            "type": "IterBasedTrainLoop",
            "max_iters": values["max_iters"],
            "val_interval": _NEVER,
        }
    loader = cfg["train_dataloader"]
    if "batch" in values:
        loader["batch_size"] = values["batch"]
    if "pipeline" in values:
        own = loader["dataset"]["pipeline"]
        reading = [step for step in own if step["type"].startswith("Load")]
        packing = [step for step in own if step["type"] == "PackSegInputs"]
        loader["dataset"]["pipeline"] = [*reading, *values["pipeline"], *packing]
    return cfg


def start(cfg: Config, initial: Initial) -> Config:
    """The config of a training whose backbone starts from the weights. `cfg` is changed."""
    cfg["custom_imports"]["imports"] += ["tasks.longtail_seg.initial"]
    hook = {
        "type": "InitialWeightsHook",
        "path": str(initial.path),
        "sha256": initial.sha256,
    }
    cfg["custom_hooks"] = [*cfg.get("custom_hooks", []), hook]
    return cfg


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_TUPLE}:
            return tuple(_tuples(item) for item in value[_TUPLE])
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tuples(item) for item in value]
    return value


# -- settings that may be a stranger's


def _require_settings(settings: Settings) -> None:
    """Raise UserError for what `read` does not give, or what building a config could import, download or
    unpickle. That its types are registered is checked before anything is built."""
    for key in settings:
        if key not in _KNOWN:
            raise UserError(f"settings: unknown key {key[:60]!r}")
    schedule = {"optim_wrapper", "param_scheduler", "max_iters"}
    if schedule & set(settings) and not schedule <= set(settings):
        raise UserError(f"settings: {', '.join(sorted(schedule))} come together")
    for key, kind in (
        ("model", dict), ("optim_wrapper", dict), ("param_scheduler", list), ("pipeline", list),
    ):  # fmt: skip
        if key in settings and not isinstance(settings[key], kind):
            raise UserError(f"settings: {key}: is no {kind.__name__}")
    for key in ("max_iters", "batch"):
        value = settings.get(key, 1)
        if type(value) is not int or not 1 <= value <= 10**8:
            raise UserError(f"{key} = {value!r}: a whole number of at least 1 is needed")
    size = settings.get("size", [1, 1])
    if not isinstance(size, list) or [type(n) for n in size] != [int, int] or min(size) < 1:
        raise UserError(f"settings: size: {size!r} is no height and width")
    for step in [*settings.get("pipeline", ()), *settings.get("param_scheduler", ())]:
        if not isinstance(step, dict) or "type" not in step:
            raise UserError(f"settings: {str(step)[:60]!r} is no dict with a type")
    if "model" in settings:
        model = settings["model"]
        for part in ("backbone", "decode_head"):
            if not isinstance(model.get(part), dict) or "type" not in model[part]:
                raise UserError(f"settings: model.{part}: is no dict with a type")
        others = model.get("auxiliary_head") or []
        others = others if isinstance(others, list) else [others]
        if not all(isinstance(one, dict) for one in others):
            raise UserError("settings: model.auxiliary_head: is no dict")
        if not isinstance(model.get("data_preprocessor", {}), dict):
            raise UserError("settings: model.data_preprocessor: is no dict")
    for at, key, value in _walk(dict(settings), ""):
        if key in ("type", "constructor"):
            # a name with dots is imported by mmengine
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                raise UserError(f"{at}: {str(value)[:80]!r} is no registered name")
            if value.startswith(("Load", "Inferencer")) or value == "Pretrained":
                raise UserError(f"{at}: {value} reads a file, which settings may not name")
        if key in ("custom_imports", "_scope_", "_base_"):
            raise UserError(f"{at}: is no setting of a network or training")
        if _FILES.search(key) and value and not (key == "use_checkpoint" and value is True):
            raise UserError(
                f"{at} = {str(value)[:80]!r}: settings name no files; use --pretrained PATH"
            )


_FILES = re.compile(r"pretrained|checkpoint$|checkpoint_|_path$|_file$|_url$|^file|^path$|^url$")


def _walk(value: Any, at: str) -> Iterator[tuple[str, str, Any]]:
    """(path, key, value) of every entry of every dict."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = f"{at}.{key}" if at else str(key)
            yield here, str(key), item
            yield from _walk(item, here)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _walk(item, f"{at}.{number}")


# -- trying out


def check(base: Protocol, settings: Settings | None, initial: Initial | None) -> list[str]:
    """Build what is about to be trained. Lines for the user; raises UserError."""
    lines: list[str] = _components().try_out(base, settings, initial)
    return lines


def _components() -> Any:
    """The OpenMMLab side of this file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what mmcv was built without
        from tasks.longtail_seg import initial
    return initial


BRING = Bring(read=read, check=check, make=make, taken=taken)
