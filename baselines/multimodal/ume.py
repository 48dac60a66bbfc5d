"""UME: modalities trained side by side, each as if it were alone, and the mean of what they say."""

CARD = {
    "title": "Unimodal ensemble (UME)",
    "paper": "On Uni-Modal Feature Learning in Supervised Multi-Modal Learning",
    "venue": "ICML 2023",
    "arxiv": "2305.01233",
    "cite": "du2023unimodal",
    "tasks": ["multimodal"],
    "names": {
        "ume": {
            "summary": "a network for each modality, trained alone; the mean of their softmaxes"
        }
    },
    "notes": "One run holds as many trainings as there are modalities: losses are added and no weight is shared, so that each is "
    "what a run of unimodal-1, unimodal-2 and so on is, bit for bit, at the same seed. It is the teacher of umt and "
    "the warm start of recon-boost-warm.",
    "needs": {"passes": 1},
}

from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from baselines.parts.fusing import set_fusion, set_objective
from suite.base.errors import UserError
from tasks.multimodal.networks import Features
from tasks.multimodal.objectives import Objective


@MODELS.register_module()
class UnimodalCrossEntropies(Objective):
    """The sum of the cross entropies of the modalities' own logits."""

    def losses(
        self, model: Any, features: Features, label: Tensor, index: Tensor | None
    ) -> dict[str, Tensor]:
        own = model.fusion.modality_logits(features)
        return {f"loss_{name}": F.cross_entropy(logits, label) for name, logits in own.items()}


def configure(cfg: Any, facts: Any) -> Any:
    """A head and a cross entropy for each modality. Raises UserError where a step ties modalities together."""
    if cfg.optim_wrapper.get("clip_grad"):
        raise UserError(
            "ume trains every modality as if it were alone, and the protocol clips gradients by a norm over all of "
            "them; train unimodal-1, unimodal-2 and so on"
        )
    set_fusion(cfg, "MeanProbability")
    return set_objective(cfg, "UnimodalCrossEntropies")
