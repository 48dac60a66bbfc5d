"""Logit adjustment of the training loss, with the pixel frequencies as prior."""

CARD = {
    "title": "Long-Tail Learning via Logit Adjustment",
    "paper": "Long-Tail Learning via Logit Adjustment",
    "venue": "ICLR 2021",
    "arxiv": "2007.07314",
    "bibtex": """@inproceedings{menon2021longtail,
  title = {Long-Tail Learning via Logit Adjustment},
  author = {Aditya Krishna Menon and Sadeep Jayasumana and Ankit Singh Rawat and Himanshu Jain
            and Andreas Veit and Sanjiv Kumar},
  booktitle = {International Conference on Learning Representations},
  year = {2021}}""",
    "tasks": ["longtail-seg"],
    "names": {"la": {"summary": "CE on logits + tau * log(training pixel share of the class)"}},
    "params": {
        "tau": {"default": 1.0, "low": 0.0, "help": "strength of the adjustment; 0 is plain CE"}
    },
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class LogitAdjustedLoss(nn.Module):
    """Cross entropy of z + tau * log pi, equation (10) of the paper, averaged over valid pixels.

    Prediction uses the unadjusted logits z. A class absent from training has no log prior; it
    counts as one pixel, which keeps its logit finite.

    Args:
        class_counts: training pixels per class, (C,).
        tau: >= 0.
        loss_weight: factor of the whole.
    """

    log_prior: Tensor

    def __init__(
        self,
        class_counts: Sequence[float],
        tau: float = 1.0,
        loss_weight: float = 1.0,
        loss_name: str = "loss_la",
    ) -> None:
        super().__init__()
        if tau < 0:
            raise ValueError(f"tau is {tau}, expected >= 0")
        counts = torch.tensor(list(class_counts), dtype=torch.float64).clamp(min=1)
        # Derived from the data, so not part of the weights.
        self.register_buffer("log_prior", (counts / counts.sum()).log().float(), persistent=False)
        self.tau = tau
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
        **_: Any,
    ) -> Tensor:
        """Scalar, from logits (B, C, H, W), ids (B, H, W) and optional pixel weights (B, H, W)."""
        adjusted = cls_score + self.tau * self.log_prior.view(1, -1, 1, 1)
        loss = F.cross_entropy(adjusted, label, ignore_index=ignore_index, reduction="none")
        if weight is not None:
            loss = loss * weight
        # Ignored pixels are zero in the sum; the clamp keeps an all-ignored batch finite.
        valid = (label != ignore_index).sum().clamp(min=1)
        return self.loss_weight * loss.sum() / valid


def configure(cfg: Any, facts: Any, *, tau: float) -> Any:
    """Replace the head's losses by the logit-adjusted one."""
    cfg.model.decode_head.loss_decode = [
        {"type": "LogitAdjustedLoss", "class_counts": list(facts.class_counts), "tau": tau}
    ]
    return cfg
