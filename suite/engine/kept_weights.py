"""Kept weights for OpenMMLab's own tools: mmengine's `load_checkpoint` and `load_from`, mmseg's `init_model`.

A config that the suite writes imports this module, and with it they take `.safetensors` files. Beside the
weights of a run lies its record, from which the names of the classes come.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from mmengine.runner.checkpoint import CheckpointLoader

from suite.base.errors import RecordError
from suite.engine import weights
from suite.records.files import Record, read


# what follows the tenth character of its name, mmengine says in its log
@CheckpointLoader.register_scheme(prefixes=r".*\.safetensors$", force=True)
def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, Any]:
    """`state_dict` and `meta` of a weights file; where a record lies beside it, `meta.dataset_meta` holds
    `classes` and `palette`. Raises UserError: no such file, or a damaged one."""
    path = Path(filename).expanduser()
    state = weights.load(path)
    if map_location is not None and not callable(map_location):
        state = {key: value.to(map_location) for key, value in state.items()}
    try:
        classes = read(Record, path.resolve().parent / "record.json").classes
    except (RecordError, OSError):
        return {"state_dict": state, "meta": {}}
    described = {"classes": tuple(classes), "palette": _palette(classes)}
    return {"state_dict": state, "meta": {"dataset_meta": described}}


def _palette(classes: list[str]) -> list[list[int]]:
    """(R, G, B) of each class: those of the registered data set that has these classes, else any."""
    for registry in (DATASETS, *DATASETS.children.values()):
        for kind in registry.module_dict.values():
            meta = getattr(kind, "METAINFO", None) or {}
            if list(meta.get("classes") or ()) == classes and meta.get("palette"):
                return [list(colour) for colour in meta["palette"]]
    colours: list[list[int]] = (
        np.random.default_rng(0).integers(256, size=(len(classes), 3)).tolist()
    )
    return colours
