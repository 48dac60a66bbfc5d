"""Protocols made of the settings of a user's config file (`config_file`), of initial weights, or of both."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.base.canonical import short_hash
from suite.base.errors import UserError
from suite.define.protocol import Budget, Facts, Protocol
from suite.define.variants import Initial
from tasks.longtail_seg.settings import Config, Settings, apply, require_settings
from tasks.vision.pretrained import start

_VERSION = 1
"""Raised when the same settings come to mean another training."""


def make(base: Protocol, settings: Settings | None, initial: Initial | None) -> Protocol:
    """`base` with the settings and initial weights. Raises UserError for settings that are none."""
    budget = base.budget
    if budget is None:
        raise UserError(f"protocol {base.name!r} trains nothing that settings could change")
    changes: dict[str, Any] = {}
    if settings is not None:
        require_settings(settings)
        made = Budget(
            iterations=settings.get("max_iters", budget.iterations),
            batch=settings.get("batch", budget.batch),
        )
        changes["budget"] = made
        changes["blank"] = None
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
            components().require_registered(settings)
            cfg = apply(cfg, settings)
            facts = replace(facts, iterations=made.iterations, batch=made.batch)
        if initial is not None:
            cfg = start(cfg, initial)
        return cfg, facts

    return replace(base, build=build, **changes)


def check(base: Protocol, settings: Settings | None, initial: Initial | None) -> list[str]:
    """Build what is about to be trained. Lines for the user; raises UserError."""
    lines: list[str] = components().try_out(base, settings, initial)
    return lines


def components() -> Any:
    """The OpenMMLab side of it, `try_out`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what mmcv was built without
        from tasks.longtail_seg import try_out
    return try_out
