"""Settings of a variant: what a user's config file replaces of a protocol, as JSON data.

Tuples are marked as `{"()": [...]}`. Settings may come from a stranger's results folder, so
`require_settings` refuses whatever mmengine would take for something to import, download or unpickle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from suite.base.errors import UserError
from tasks.vision.recipes.base import training_loop

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
TUPLE = "()"
_NAME = re.compile(r"[A-Za-z_]\w{0,79}", re.ASCII)


def taken(settings: Settings) -> str:
    """What settings replace, in words."""
    return ", ".join(text for part, text in PARTS.items() if part in settings)


def as_json(value: Any, where: str, at: str) -> Any:
    """`value` as JSON data. Raises UserError naming the key of what has no such form."""
    here = f"{where}: {at or 'config'}"
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            if not isinstance(key, str) or key == TUPLE:
                raise UserError(f"{here}: has the key {key!r}; keys are texts")
            if key in ("_scope_", "_delete_"):
                continue
            found[key] = as_json(item, where, f"{at}.{key}" if at else key)
            if key in ("type", "constructor") and isinstance(item, str):
                found[key] = _norm(last(item))
        return found
    if isinstance(value, list | tuple):
        items = [as_json(item, where, f"{at}.{number}") for number, item in enumerate(value)]
        return {TUPLE: items} if isinstance(value, tuple) else items
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise UserError(f"{here}: the number is too large")
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


def last(name: str) -> str:
    """`mmseg.ResNet`, or what a lazy config makes of a class, -> `ResNet`."""
    return str(name).rpartition(".")[2]


def _norm(name: str) -> str:
    # batches lie on one device, and SyncBN fails on a CPU; with several ranks the engine synchronises
    return {"SyncBN": "BN", "LightHamHead": "SeededHamHead"}.get(name, name)


def with_tuples(value: Any) -> Any:
    """Settings with the tuples that their JSON form marks."""
    if isinstance(value, dict):
        if set(value) == {TUPLE}:
            return tuple(with_tuples(item) for item in value[TUPLE])
        return {key: with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_tuples(item) for item in value]
    return value


def require_settings(settings: Settings) -> None:
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
    for at, key, value in walk(dict(settings), ""):
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


def walk(value: Any, at: str) -> Iterator[tuple[str, str, Any]]:
    """(path, key, value) of every entry of every dict."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = f"{at}.{key}" if at else str(key)
            yield here, str(key), item
            yield from walk(item, here)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from walk(item, f"{at}.{number}")


def apply(cfg: Config, settings: Settings) -> Config:
    """The protocol's base config with what the settings replace. `cfg` is changed."""
    values = {key: with_tuples(value) for key, value in settings.items()}
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
        cfg["train_cfg"] = training_loop(values["max_iters"])
    loader = cfg["train_dataloader"]
    if "batch" in values:
        loader["batch_size"] = values["batch"]
    if "pipeline" in values:
        own = loader["dataset"]["pipeline"]
        reading = [step for step in own if step["type"].startswith("Load")]
        packing = [step for step in own if step["type"] == "PackSegInputs"]
        loader["dataset"]["pipeline"] = [*reading, *values["pipeline"], *packing]
    return cfg
