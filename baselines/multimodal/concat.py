"""Concatenation: one linear layer on the features of all modalities, every other method's reference."""

CARD = {
    "title": "Concatenation",
    "tasks": ["multimodal"],
    "names": {"concat": {"summary": "cross entropy of one linear layer on all features"}},
    "notes": "A modality's own logits are its part of the layer and as much of the bias as the others have, so that they "
    "add up to the whole.",
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.fusing import set_fusion, set_objective


def configure(cfg: Any, facts: Any) -> Any:
    """Joint cross entropy of the concatenation."""
    set_fusion(cfg, "ConcatFusion")
    return set_objective(cfg, "JointCrossEntropy")
