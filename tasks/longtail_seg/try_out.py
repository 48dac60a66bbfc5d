"""Users' networks and initial weights, tried out before anything is trained: the OpenMMLab side of
`variants`."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from suite.base.errors import UserError, did_you_mean
from suite.define.protocol import Protocol
from suite.define.variants import Initial
from tasks.longtail_seg import heads  # noqa: F401 - registers
from tasks.longtail_seg.recipes import base_config
from tasks.longtail_seg.settings import apply, walk
from tasks.vision.initial import told

# the data sets first: they import mmseg without its prints

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what mmcv was built without
    import mmseg.models  # noqa: F401 - registers
    from mmseg.registry import (
        MODELS,
        OPTIM_WRAPPER_CONSTRUCTORS,
        OPTIM_WRAPPERS,
        OPTIMIZERS,
        PARAM_SCHEDULERS,
        TRANSFORMS,
        WEIGHT_INITIALIZERS,
    )

_REGISTRIES = {
    "model": (MODELS, WEIGHT_INITIALIZERS),
    "pipeline": (TRANSFORMS,),
    "optim_wrapper": (OPTIM_WRAPPERS, OPTIMIZERS, OPTIM_WRAPPER_CONSTRUCTORS),
    "param_scheduler": (PARAM_SCHEDULERS,),
}
_LARGEST = 512
"""Side of the image that a network is tried out on, at most: what a larger one shows, this one does."""


def require_registered(settings: Mapping[str, Any]) -> None:
    """Raise UserError for a type that is not registered: mmengine would try to import it."""
    for section, registries in _REGISTRIES.items():
        if section not in settings:
            continue
        known = {name for registry in registries for name in _names(registry)}
        for at, key, value in walk(settings[section], section):
            if key in ("type", "constructor") and value not in known:
                raise UserError(
                    f"{at}: {str(value)[:80]!r} is not registered in mmsegmentation"
                    f"{did_you_mean(str(value), known)}"
                )


def _names(registry: Any) -> Iterator[str]:
    while registry is not None:
        registry.import_from_location()
        yield from registry.module_dict
        registry = registry.parent


def try_out(
    base: Protocol, settings: Mapping[str, Any] | None, initial: Initial | None
) -> list[str]:
    """Build network, optimiser, schedule and pipeline of a variant, pass one image through, and hold the
    initial weights against the backbone. Lines for the user; raises UserError."""
    cfg = base_config(base.name, {"cache_dir": "", "data_root": ""})
    if settings is not None:
        require_registered(settings)
        cfg = apply(cfg, settings)
    notes = []
    with (
        warnings.catch_warnings(),
        _quiet(),
        DefaultScope.overwrite_default_scope("mmseg"),
        torch.random.fork_rng(devices=[]),
    ):
        warnings.simplefilter("ignore")
        if settings is None:
            backbone = _built("model.backbone", lambda: MODELS.build(cfg["model"]["backbone"]))
        else:
            backbone = _try_settings(cfg, settings)
        if initial is not None:
            notes.append(told(initial, backbone))
    return notes


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """mmengine tells the learning rate of every parameter; what verbs print may be JSON."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _built(at: str, build: Any) -> Any:
    try:
        return build()
    except UserError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"--base-config: {at}: {type(error).__name__}: {text[:300]}") from None


def _try_settings(cfg: dict[str, Any], settings: Mapping[str, Any]) -> nn.Module:
    """The backbone, if everything can be built and fits together."""
    model = _built("model", lambda: MODELS.build(cfg["model"]))
    if "model" in settings:
        _built("model", lambda: _pass_an_image(model, cfg))
    if "optim_wrapper" in settings:
        wrapper = _built(
            "optim_wrapper", lambda: build_optim_wrapper(model, dict(cfg["optim_wrapper"]))
        )
        for number, one in enumerate(cfg["param_scheduler"]):
            _built(
                f"param_scheduler.{number}",
                lambda one=one: PARAM_SCHEDULERS.build(
                    {**one}, default_args={"optimizer": wrapper}
                ),
            )
    if {"pipeline", "size"} & set(settings):
        _built("train_dataloader.dataset.pipeline", lambda: _try_pipeline(cfg))
    backbone: nn.Module = model.backbone
    return backbone


def _pass_an_image(model: Any, cfg: Mapping[str, Any]) -> None:
    head: Any = getattr(model, "decode_head", None)
    if not hasattr(head, "loss_decode"):
        raise UserError(
            "--base-config: model.decode_head: has no loss_decode, where methods put their loss"
        )
    size = cfg["model"]["data_preprocessor"].get("size") or (_LARGEST, _LARGEST)
    channels = len(cfg["model"]["data_preprocessor"].get("mean") or (0, 0, 0))
    image = torch.zeros(1, channels, *(min(int(side), _LARGEST) for side in size))
    model.eval()
    with torch.no_grad():
        features = model.extract_feat(image)
        logits = head(features)
        auxiliary = getattr(model, "auxiliary_head", None) or ()
        for one in auxiliary if isinstance(auxiliary, nn.ModuleList) else [auxiliary]:
            if isinstance(one, nn.Module):
                one(features)
    classes = cfg["model"]["decode_head"]["num_classes"]
    if not isinstance(logits, Tensor) or logits.dim() != 4 or logits.shape[1] != classes:
        raise UserError(
            f"--base-config: model.decode_head: gives no map of scores of {classes} classes, which methods "
            "are written for"
        )


def _try_pipeline(cfg: Mapping[str, Any]) -> None:
    """Raises UserError for crops larger than what they are padded to, and whatever a step raises."""
    steps = cfg["train_dataloader"]["dataset"]["pipeline"]
    size = cfg["model"]["data_preprocessor"].get("size")
    side = 2 * max(size) if size else _LARGEST
    generator = np.random.default_rng(0)
    sample = {
        "img": generator.integers(0, 256, (side, side, 3), dtype=np.uint8),
        "gt_seg_map": generator.integers(0, 2, (side, side), dtype=np.uint8),
        "seg_fields": ["gt_seg_map"],
        "img_shape": (side, side),
        "ori_shape": (side, side),
        "sample_id": "0",
        "img_path": "0",
        "label_map": None,
        "reduce_zero_label": False,
    }
    state = np.random.get_state()
    try:
        packed = Compose([step for step in steps if not step["type"].startswith("Load")])(sample)
    finally:
        np.random.set_state(state)
    if packed is None:
        return  # this noise was turned down
    made = tuple(packed["inputs"].shape[-2:])
    # a pipeline without a crop gives what the data set gives
    crops = any(step["type"] in ("RandomCrop", "Resize") for step in steps)
    if size and crops and (made[0] > size[0] or made[1] > size[1]):
        raise UserError(
            f"--base-config: the pipeline gives {made[0]}x{made[1]}, and the data preprocessor pads to "
            f"{size[0]}x{size[1]}: set model.data_preprocessor.size"
        )
