"""A learned linear classifier under the squared error of one-hot targets."""

CARD = {
    "title": "Squared error into the terminal phase",
    "notes": "At the protocols' rate of .1 training may fail, so the default is .05, and a fifth of it where the rate "
    "stays.",
    "tasks": ["neural-collapse"],
    "names": {"nc-mse": {"summary": "linear classifier and 1/2 |z - one-hot(y)|^2"}},
    "params": {
        "lr": {
            "default": 0.05,
            "low": 0.000001,
            "high": 10.0,
            "help": "the optimiser's first rate",
        },
    },
    "protocol_defaults": {"*:constant-lr": {"lr": 0.01}},
    "needs": {"passes": 1},
}

from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import labelled_mean, set_loss


@MODELS.register_module()
class OneHotSquaredError(nn.Module):
    """1/2 sum_c (z_c - 1[y = c])^2, the mean over the batch."""

    def forward(
        self, scores: Tensor, label: Tensor, weight: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits (B, K), ids (B,) and optional weights (B,)."""
        target = F.one_hot(label, scores.shape[1]).to(scores)
        return labelled_mean((scores - target).square().sum(1) / 2, label, weight, -100)


def configure(cfg: Any, facts: Any, *, lr: float) -> Any:
    """Make the squared error the only loss."""
    cfg.optim_wrapper.optimizer.lr = lr
    return set_loss(cfg, {"type": OneHotSquaredError.__name__})
