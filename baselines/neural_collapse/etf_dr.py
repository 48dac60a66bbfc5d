"""Dot regression to a fixed simplex ETF: each feature is drawn to its class's vertex, and pushed from none."""

CARD = {
    "title": "Dot regression to a fixed ETF",
    "venue": "NeurIPS 2022",
    "notes": "Yang et al., NeurIPS 2022. As released, features pass a learned batch normalisation instead of the projection "
    "(`batch_norm`, with d=0), lengths are counted in the batch, and the loss is divided by |h| alone, so that it depends "
    "on the batch size. The logits M h have scale 1: their NLL is near ln K by construction and says nothing.",
    "tasks": ["neural-collapse", "longtail-cls"],
    "names": {"etf-dr": {"summary": "frozen ETF, unit features, 1/2 (<h, m_y> - 1)^2"}},
    "params": {
        "d": {
            "default": 16,
            "low": 0,
            "high": 4096,
            "help": "dimensions of the projection, K - 1 at least; 0: none, the features themselves",
        },
        "lengths": {
            "default": "none",
            "choices": ["none", "batch", "counts"],
            "help": "squared lengths gamma / n_c of the vertices: none, n_c counted in the batch (as released) or in the "
            "training set",
        },
        "batch_norm": {
            "default": False,
            "help": "a learned batch normalisation before unit length, as released",
        },
        "permutation": "etf",
        "rotation": "etf",
    },
    "protocol_defaults": {"*:cifar100": {"d": 128}},
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.frame_heads import set_frame
from baselines.parts.losses import labelled_mean
from baselines.parts.staged import counts_of


@MODELS.register_module()
class DotRegression(nn.Module):
    """(<w_y, h> - |w_y| |h|)^2 / (2 |w_y| |h|), the mean over the batch, with |h| = 1 and w_c = sqrt(E_c) m_c.

    In t = <m_y, h>: sqrt(E_y) (t - 1)^2 / 2 with `counts`, where E_c = gamma / n_c of the training set and gamma is its
    mean count; E_y (t - 1)^2 / 2 with `batch`, where n_c and gamma (over the classes present) are the batch's and the
    divisor is |h| alone, as released; (t - 1)^2 / 2 with `none`.

    Args:
        lengths: `none`, `batch` or `counts`.
        class_counts: training images per class, (K,).
    """

    factor: Tensor

    def __init__(self, lengths: str, class_counts: Sequence[float]) -> None:
        super().__init__()
        if lengths not in ("none", "batch", "counts"):
            raise ValueError(f"lengths are {lengths!r}, expected none, batch or counts")
        self.lengths = lengths
        counts = torch.tensor(list(class_counts), dtype=torch.float64).clamp(min=1)
        factor = (counts.mean() / counts).sqrt() if lengths == "counts" else torch.ones_like(counts)
        # derived from the data, so not part of the weights
        self.register_buffer("factor", factor.float(), persistent=False)

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from the inner products <m_c, h> (B, K), ids (B,) and optional weights (B,)."""
        factor = self.factor
        if self.lengths == "batch":
            counts = label.bincount(minlength=scores.shape[1])
            gamma = len(label) / (counts > 0).sum()
            factor = gamma / counts.clamp(min=1)
        short = scores.gather(1, label[:, None])[:, 0] - 1
        return labelled_mean(factor[label].to(scores) * short.square() / 2, label, weight, -100)


def configure(
    cfg: Any,
    facts: Any,
    *,
    d: int,
    lengths: str,
    batch_norm: bool,
    permutation: int | None,
    rotation: int | None,
) -> Any:
    """Projection and frame in place of the classifier. Raises UserError where there are too few dimensions."""
    frame = {"kind": "etf", "permutation": permutation, "rotation": rotation}
    loss = {
        "type": DotRegression.__name__,
        "lengths": lengths,
        "class_counts": counts_of(facts),
    }
    # the loss is of inner products: any other scale would be another loss
    return set_frame(cfg, loss, frame, scale=1.0, dims=d or None, unit=True, batch_norm=batch_norm)
