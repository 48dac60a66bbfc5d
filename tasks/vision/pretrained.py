"""Protocols that start from weights which a user brings (`--pretrained`), and from nothing else of theirs: the ability
`variants` of tasks whose networks and recipes are the protocols' own. Nothing heavy is imported."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.base.errors import UserError
from suite.define.protocol import Facts, Protocol
from suite.define.variants import Bring, Initial
from tasks.vision.recipes.base import Config

Settings = Mapping[str, Any]


def start(cfg: Config, initial: Initial) -> Config:
    """The config of a training whose backbone starts from the weights. `cfg` is changed."""
    cfg["custom_imports"]["imports"] += ["tasks.vision.initial"]
    hook = {
        "type": "InitialWeightsHook",
        "path": str(initial.path),
        "sha256": initial.sha256,
    }
    cfg["custom_hooks"] = [*cfg.get("custom_hooks", []), hook]
    return cfg


def make(base: Protocol, settings: Settings | None, initial: Initial | None) -> Protocol:
    """`base` whose backbone starts from the weights.

    Raises UserError: settings, which these protocols take none of; a protocol that trains nothing, or whose
    network is not known before its data are.
    """
    if settings is not None:
        raise UserError(f"settings: protocol {base.name!r} takes initial weights alone")
    _blank(base)

    def build(data: Path) -> tuple[Config, Facts]:
        cfg, facts = base.build(data)
        return (cfg if initial is None else start(cfg, initial)), facts

    return replace(base, build=build)


def _blank(base: Protocol) -> Mapping[str, Any]:
    """The base config without data, which has a backbone. Raises UserError as `make` does."""
    if base.budget is None or base.blank is None or "backbone" not in base.blank["model"]:
        raise UserError(
            f"--pretrained: protocol {base.name!r} has no backbone that initial weights could be put into"
        )
    return base.blank


def check(base: Protocol, settings: Settings | None, initial: Initial | None) -> list[str]:
    """Build the backbone and hold the weights against it. Lines for the user; raises UserError."""
    if initial is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what mmcv was built without
        from tasks.vision import initial as weights_of
    return [weights_of.try_out(_blank(base), initial)]


def refuse(path: Path, base: Protocol, pretrained: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Raises UserError: no file of a user's says how these protocols train. It is not opened."""
    raise UserError(
        f"--base-config {path}: protocol {base.name!r} takes no config file, its network and training are fixed; "
        f"what it takes is --pretrained FILE, weights from which its backbone ({base.backbone}) starts"
    )


BRING_WEIGHTS = Bring(read=refuse, check=check, make=make, taken=lambda settings: "nothing")
"""`variants` of a task's `offers`. Its protocols are made by `tasks.vision.protocols.trained` (or have `blank`), and
their models have a `backbone`."""
