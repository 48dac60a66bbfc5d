"""Sum: a linear head for each modality, whose logits are added."""

CARD = {
    "title": "Sum of logits",
    "tasks": ["multimodal"],
    "names": {"sum": {"summary": "cross entropy of the sum of a linear head for each modality"}},
    "notes": "It is concat with other initial weights and a bias for each modality.",
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.fusing import set_fusion, set_objective


def configure(cfg: Any, facts: Any) -> Any:
    """Joint cross entropy of the sum."""
    set_fusion(cfg, "SumFusion")
    return set_objective(cfg, "JointCrossEntropy")
