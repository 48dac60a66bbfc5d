"""One modality alone: what training on several is measured against."""

CARD = {
    "title": "Unimodal training",
    "tasks": ["multimodal"],
    "names": {
        "unimodal-1": {
            "summary": "the first modality alone, with cross entropy",
            "params": {"modality": 1},
        },
        "unimodal-2": {
            "summary": "the second modality alone, with cross entropy",
            "params": {"modality": 2},
        },
    },
    "params": {
        "modality": {
            "default": 1,
            "low": 1,
            "help": "which of the protocol's modalities, counted from 1 in its order",
        },
    },
    "notes": "Encoder, head and augmentation draw the same random numbers as in ume, so that a run is the same as the "
    "modality's part there, bit for bit. A third modality is unimodal-1 with --set unimodal-1.modality=3.",
    "needs": {"passes": 0.5},
}

from typing import Any

from baselines.parts.fusing import set_fusion, set_objective
from baselines.parts.passes import count_passes
from suite.base.errors import UserError


def configure(cfg: Any, facts: Any, *, modality: int) -> Any:
    """Cross entropy of a linear head on one encoder; the others are not built."""
    names = list(cfg.model.encoders)
    if modality > len(names):
        told = ", ".join(f"{place} {name}" for place, name in enumerate(names, 1))
        raise UserError(f"modality={modality}: the protocol's modalities are {told}")
    cfg.model.modalities = [names[modality - 1]]
    set_fusion(cfg, "SumFusion")
    set_objective(cfg, "JointCrossEntropy")
    return count_passes(cfg)
