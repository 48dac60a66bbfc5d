"""Gated fusion: one modality's features decide how much of another's counts."""

CARD = {
    "title": "Gated fusion",
    "paper": "Efficient Large-Scale Multi-Modal Classification",
    "venue": "AAAI 2018",
    "arxiv": "1802.02892",
    "cite": "kiela2018efficient",
    "tasks": ["multimodal"],
    "names": {
        "gated": {"summary": "features of a modality, times a sigmoid gate of those before it"}
    },
    "notes": "Of more than two modalities each is gated by what the ones before it have made. A modality has no logits of its "
    "own: its rows come from the others' features set to zero.",
    "needs": {"passes": 1},
}

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.fusing import set_fusion, set_objective
from suite.base.errors import UserError
from tasks.multimodal.fusions import Fusion, zeroed
from tasks.multimodal.networks import Features


@MODELS.register_module()
class GatedFusion(Fusion):
    """h_1 = W_1 f_1 + b_1, h_k = sigmoid(h_(k-1)) * (W_k f_k + b_k), and z = W h_M + b.

    h is as wide as the widest features. Raises UserError for one modality alone, which nothing gates.
    """

    def __init__(self, modalities: Sequence[str], widths: Mapping[str, int], classes: int) -> None:
        super().__init__(modalities, widths, classes)
        if len(self.modalities) < 2:
            raise UserError(
                f"{self.modalities[0]} is the only modality, which nothing gates; choose unimodal-1"
            )
        width = max(self.widths.values())
        self.projections = nn.ModuleList(
            nn.Linear(self.widths[name], width) for name in self.modalities
        )
        self.fc = nn.Linear(width, classes)

    def forward(self, features: Features, present: Collection[str] | None = None) -> Tensor:
        first, *others = [
            projection(values)
            for projection, values in zip(
                self.projections, zeroed(features, self.modalities, present), strict=True
            )
        ]
        hidden: Tensor = first
        for values in others:
            hidden = hidden.sigmoid() * values
        logits: Tensor = self.fc(hidden)
        return logits


def configure(cfg: Any, facts: Any) -> Any:
    """Joint cross entropy of the gated features."""
    set_fusion(cfg, "GatedFusion")
    return set_objective(cfg, "JointCrossEntropy")
