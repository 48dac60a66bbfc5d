"""Baseline files by their names alone: which folder they lie in is not what a test is about."""

import importlib
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent


def baseline(name: str) -> ModuleType:
    """The module of `baselines/**/NAME.py`, imported."""
    (path,) = (ROOT / "baselines").rglob(f"{name}.py")
    return importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
