"""Cross entropy plus Lovász-Softmax, the convex surrogate of the Jaccard index."""

CARD = {
    "title": "CE + Lovász-Softmax",
    "paper": "The Lovász-Softmax loss: A tractable surrogate for the optimization of the "
    "intersection-over-union measure in neural networks",
    "venue": "CVPR 2018",
    "arxiv": "1705.08790",
    "cite": "berman2018lovasz",
    "tasks": ["longtail-seg"],
    "names": {
        "lovasz": {"summary": "CE + Lovász-Softmax over the batch, mean over its classes"},
    },
    "params": {
        "lovasz_weight": {
            "default": 1.0,
            "low": 0.0,
            "help": "factor of Lovász-Softmax; CE has factor 1",
        },
        "cross_entropy": "tversky",
    },
    "notes": "The paper's loss is used alone, on networks trained with CE before. Here everything is "
    "trained from the protocol's weights: so CE stays beside it, as with `dice` and `tversky`. Classes in "
    "the batch enter the mean, and pixels are those of the whole batch.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn


def jaccard_slopes(truth: Tensor) -> Tensor:
    """Gradient of the Lovász extension of the Jaccard loss, (P,), given bool (P,) truth in the order
    of falling errors.

    Entry i is J(i + 1) - J(i), J(i) being the Jaccard loss of a prediction that is wrong exactly at the
    first i places: 1 - (G - hits lost) / (G + false alarms), G > 0 pixels of the class.
    """
    lost = truth.cumsum(0)
    alarms = torch.arange(1, len(truth) + 1, device=truth.device) - lost
    pixels = lost[-1]
    # in float64: the differences of neighbours are far below float32's resolution near 1
    loss = 1 - (pixels - lost).double() / (pixels + alarms).double()
    return torch.cat([loss[:1], loss.diff()])


@MODELS.register_module()
class LovaszSoftmax(nn.Module):
    """Mean over the classes in the batch of the Lovász extension of their Jaccard loss.

    Errors are 1 - p on the class and p elsewhere, p the softmax, over the batch's labelled pixels. The
    loss is linear in them as long as their order stays, so the slopes need no gradient. Own
    implementation: mmseg's gives no scalar for a batch without a label.

    Args:
        loss_weight: factor of the whole.
    """

    def __init__(self, loss_weight: float = 1.0, loss_name: str = "loss_lovasz") -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        scores: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        **_: Any,
    ) -> Tensor:
        """Scalar, from logits (B, C, ...) and ids (B, ...). Pixel weights are refused."""
        if weight is not None:
            raise ValueError("Lovász-Softmax is a set function: pixel weights do not apply")
        valid = label != ignore_index
        if not bool(valid.any()):
            return scores.sum() * 0
        # (P,) for each class; unbound at once, since the gradient of one row out of (C, P) is (C, P)
        shares = scores.softmax(1).transpose(0, 1)[:, valid].unbind()
        truth = label[valid]
        present = torch.bincount(truth).nonzero()[:, 0].tolist()
        total = scores.new_zeros(())
        for index in present:
            member = truth == index
            error = (shares[index] - member.to(scores.dtype)).abs()
            with torch.no_grad():
                order = error.argsort(descending=True)
                slopes = torch.empty_like(error)
                slopes[order] = jaccard_slopes(member[order]).to(error.dtype)
            total = total + error @ slopes
        return self.loss_weight * total / len(present)


def configure(cfg: Any, facts: Any, *, lovasz_weight: float, cross_entropy: bool) -> Any:
    """Add Lovász-Softmax to the recipe's cross entropy, or put it in its place."""
    lovasz = {"type": "LovaszSoftmax", "loss_weight": lovasz_weight}
    kept = cfg.model.decode_head.loss_decode if cross_entropy else []
    cfg.model.decode_head.loss_decode = [*kept, lovasz]
    return cfg
