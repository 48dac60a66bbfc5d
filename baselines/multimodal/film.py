"""FiLM: one modality's features scale and shift another's."""

CARD = {
    "title": "Feature-wise linear modulation (FiLM)",
    "paper": "FiLM: Visual Reasoning with a General Conditioning Layer",
    "venue": "AAAI 2018",
    "arxiv": "1709.07871",
    "cite": "perez2018film",
    "tasks": ["multimodal"],
    "names": {"film": {"summary": "features of a modality, scaled and shifted by those before it"}},
    "notes": "A fusion after the encoders, as in the literature on modality competition, where the paper modulates maps within a "
    "network. Of more than two modalities each is modulated by what the ones before it have made. A modality "
    "has no logits of its own: its rows come from the others' features set to zero.",
    "needs": {"passes": 1},
}

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.fusing import set_fusion, set_objective
from suite.base.errors import UserError
from tasks.multimodal.fusions import Fusion, zeroed
from tasks.multimodal.networks import Features


@MODELS.register_module()
class FiLMFusion(Fusion):
    """h_1 = f_1, h_k = gamma_k * f_k + beta_k with (gamma_k, beta_k) = U_k h_(k-1) + u_k, and z = W h_M + b.

    Raises UserError for one modality alone, which nothing modulates.
    """

    def __init__(self, modalities: Sequence[str], widths: Mapping[str, int], classes: int) -> None:
        super().__init__(modalities, widths, classes)
        if len(self.modalities) < 2:
            raise UserError(
                f"{self.modalities[0]} is the only modality, which nothing modulates; choose unimodal-1"
            )
        self.conditions = nn.ModuleList(
            nn.Linear(widths[before], 2 * widths[name])
            for before, name in pairwise(self.modalities)
        )
        self.fc = nn.Linear(widths[self.modalities[-1]], classes)

    def forward(self, features: Features, present: Collection[str] | None = None) -> Tensor:
        hidden, *others = zeroed(features, self.modalities, present)
        for condition, values in zip(self.conditions, others, strict=True):
            scale, shift = condition(hidden).chunk(2, 1)
            hidden = scale * values + shift
        logits: Tensor = self.fc(hidden)
        return logits


def configure(cfg: Any, facts: Any) -> Any:
    """Joint cross entropy of the modulated features."""
    set_fusion(cfg, "FiLMFusion")
    return set_objective(cfg, "JointCrossEntropy")
