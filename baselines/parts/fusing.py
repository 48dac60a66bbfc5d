"""What methods for several modalities change in a config: fusion and objective, never the encoders."""

from __future__ import annotations

from typing import Any


def set_fusion(cfg: Any, kind: str, **settings: Any) -> Any:
    """`cfg` with another fusion of the same features and classes; `settings` are its own arguments."""
    found = cfg.model.fusion
    cfg.model.fusion = {
        "type": kind,
        "widths": found["widths"],
        "classes": found["classes"],
        **settings,
    }
    return cfg


def set_objective(cfg: Any, kind: str, **settings: Any) -> Any:
    """`cfg` with another objective."""
    cfg.model.objective = {"type": kind, **settings}
    return cfg
