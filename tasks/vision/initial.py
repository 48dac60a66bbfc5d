"""Initial weights of a backbone: whether a checkpoint fits, and the hook that puts it in. This is the
OpenMMLab side of `pretrained`."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn

from suite.base.errors import DataError, UserError
from suite.define.variants import Initial
from suite.engine import weights
from suite.engine.training_log import say

_FRESH = re.compile(r"(^|\.)num_batches_tracked$|relative_position_index$|^norm\d+\.")
"""Of a backbone, what checkpoints of ImageNet training do not hold: Swin's norms of its outputs."""
_HEADS = re.compile(
    r"^(head|heads|fc|classifier|norm|incre_modules|downsamp_modules|final_layer|aux_head)\."
)
"""Of a checkpoint, what belongs to the classifier it was trained with."""


def fit(
    path: Path, backbone: nn.Module, elsewhere: Mapping[str, Sequence[Tensor]] | None = None
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a checkpoint for a backbone, by their names in it, and names of those not used.

    A checkpoint holds the tensors at its top or under `state_dict` or `model`, named as torchvision and timm
    name them, with or without `module.`; of a whole segmentor or classifier, those of `backbone.` are taken.
    Raises UserError: no checkpoint, or that of another architecture, which a tensor of the backbone that is
    missing, or one too many, or of another shape, tells.

    `elsewhere`: the tensors of stages that a method has moved out of the backbone, by their names in it
    (`moved_stages`): they may be in the checkpoint, and are taken where a shape is that of one of these.
    """
    elsewhere = elsewhere or {}
    content = weights.load(path, only_tensors=True)
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), dict):
            content = content[key]
    tensors = {
        str(key).removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        names = ", ".join(sorted(map(str, content))[:5]) or "nothing"
        raise UserError(f"{path}: holds no weights by name (it holds {names})")
    left: list[str] = []
    if any(key.startswith("backbone.") for key in tensors):
        left = [key for key in tensors if not key.startswith("backbone.")]
        tensors = {
            key.removeprefix("backbone."): value
            for key, value in tensors.items()
            if key.startswith("backbone.")
        }
    own = backbone.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in own and v.shape == own[k].shape}
    wanted = needed(backbone)
    odd = [k for k in own if k in tensors and k not in fitting]
    missing = [k for k in own if k in wanted and k not in tensors]
    known = own.keys() | elsewhere.keys()
    surplus = [
        k for k in tensors if k not in known and not _HEADS.match(k) and not _FRESH.search(k)
    ]
    if odd or missing or surplus:
        told = []
        if missing:
            told.append(f"missing {some(missing)}")
        if surplus:
            told.append(f"unexpected {some(surplus)}")
        if odd:
            first = odd[0]
            shapes = f"{tuple(tensors[first].shape)} where {tuple(own[first].shape)} is needed"
            told.append(f"other shapes {some(odd)} ({shapes})")
        count = len(wanted & fitting.keys())
        share = f"{count} of {len(wanted)} tensors fit ({count / max(len(wanted), 1):.0%})"
        raise UserError(
            f"{path}: weights of another architecture than the backbone {type(backbone).__name__}: {share}; "
            + "; ".join(told)
        )
    fitting |= {
        key: tensors[key]
        for key, places in elsewhere.items()
        if key in tensors
        and key not in own
        and any(place.shape == tensors[key].shape for place in places)
    }
    for key, value in fitting.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UserError(f"{path}: {key} is not finite")
    return fitting, [*left, *(k for k in tensors if k not in own and k not in fitting)]


def needed(backbone: nn.Module) -> set[str]:
    """Names of the tensors that a checkpoint has to hold."""
    return {key for key in backbone.state_dict() if not _FRESH.search(key)}


def some(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def moved_stages(model: nn.Module) -> dict[str, list[Tensor]]:
    """Tensors of stages that a method has taken out of the backbone and given to several parts of the network, by
    their names in the backbone: the experts of `ExpertClassifier`, who each have the stages after the shared ones.

    Such parts are a list at the top of the model. Of a backbone whose stages have no names (`SmallResNet`), there are none
    that could be told.
    """
    found: dict[str, list[Tensor]] = {}
    for name, parts in model.named_children():
        if name != "backbone" and isinstance(parts, nn.ModuleList):
            for part in parts:
                for key, value in part.state_dict().items():
                    found.setdefault(key, []).append(value)
    return found


def told(initial: Initial, backbone: nn.Module) -> str:
    """What of a file starts the backbone, in a line. Raises UserError as `fit` does."""
    tensors, left = fit(initial.path, backbone)
    wanted = needed(backbone)
    share = f"{len(wanted & tensors.keys())} of {len(wanted)} tensors of the backbone"
    more = f"; not used: {some(left)}" if left else ""
    return f"initial weights {initial.sha256[:8]}: {share}{more}"


def try_out(blank: Mapping[str, Any], initial: Initial) -> str:
    """Hold initial weights against the backbone of a base config, which needs no data. A line for the user; raises
    UserError as `fit` does."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),  # mmseg announces what it lacks
        torch.random.fork_rng(devices=[]),
    ):
        warnings.simplefilter("ignore")
        import_modules_from_strings(list(blank["custom_imports"]["imports"]))
        with DefaultScope.overwrite_default_scope(blank["default_scope"]):
            backbone = MODELS.build(copy.deepcopy(blank["model"]["backbone"]))
    return told(initial, backbone)


@HOOKS.register_module()
class InitialWeightsHook(Hook):  # type: ignore[misc]
    """Put weights into the backbone, once its random ones are drawn, unless the run starts from others: a
    checkpoint of its own, or an input run's.

    Args:
        path: the file.
        sha256: what its content must be.
    """

    priority = "HIGHEST"

    def __init__(self, path: str, sha256: str) -> None:
        self._path, self._sha256 = Path(path), sha256

    def before_train(self, runner: Any) -> None:
        """Raises DataError: the file is missing or has changed; UserError: it does not fit."""
        if runner._has_loaded:
            return
        try:
            with open(self._path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DataError(
                f"initial weights {self._path}: {error.strerror}; bring them again with --pretrained FILE, "
                f"whose SHA-256 is {self._sha256}"
            ) from None
        if found != self._sha256:
            raise DataError(
                f"initial weights {self._path}: changed, SHA-256 {found[:12]} instead of "
                f"{self._sha256[:12]}; bring them again with --pretrained FILE"
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        moved = moved_stages(model)
        try:
            tensors, left = fit(self._path, model.backbone, moved)
        except UserError as error:
            # the command line held them against the protocol's backbone before any run was planned
            raise UserError(
                f"{error}; they fit the protocol's backbone, and {type(model).__name__} has another: the method cannot start "
                "from them"
            ) from None
        own = model.backbone.state_dict()
        model.backbone.load_state_dict({k: v for k, v in tensors.items() if k in own}, strict=False)
        apart = [
            key
            for key in moved
            if not _FRESH.search(key) and key not in own and (key in left or key in tensors)
        ]
        put = 0
        for key in tensors.keys() & apart:
            for place in moved[key]:
                if place.shape == tensors[key].shape:
                    place.copy_(tensors[key])
                    put += 1
        count = sum(len(moved[key]) for key in apart)
        more = f"; of {count} tensors of stages that the method has several times, {put} start from them"
        say(f"initial weights {self._sha256[:8]} are in the backbone{more if apart else ''}")
