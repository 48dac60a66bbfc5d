"""One-way partial AUC by a KL-regularised worst case over the negatives of each positive."""

CARD = {
    "title": "Partial AUC by KL-regularised DRO",
    "paper": "When AUC meets DRO: Optimizing Partial AUC for Deep Learning with Non-Convex Convergence Guarantee",
    "venue": "ICML 2022",
    "arxiv": "2203.00176",
    "cite": "zhu2022auc",
    "tasks": ["robust-auc"],
    "names": {
        "pauc-kl": {"summary": "pairs weighted by exp(loss / Lambda), against a moving mean"},
    },
    "params": {
        "gamma": {
            "default": 0.9,
            "low": 0.000001,
            "high": 1.0,
            "help": "share of the batch's value in a positive's moving mean",
        },
        "kl_weight": {
            "default": 1.0,
            "low": 0.000001,
            "help": "Lambda, weight of the KL divergence: small weighs the worst negatives alone",
        },
        "margin": {
            "default": 1.0,
            "low": 0.000001,
            "help": "by how much a positive's score is to lie above a negative's",
        },
    },
    "search": {
        "gamma": [0.1, 0.3, 0.5, 0.7, 0.9],
        "kl_weight": [0.1, 1.0, 10.0],
        "margin": [0.1, 0.3, 0.5, 0.7, 0.9, 1.0],
    },
    "notes": "DRAUC's paper calls it AUCDRO. Squared hinge on sigmoid scores; with margin 1 that is the square. "
    "The moving mean of a training positive is a number of state, part of checkpoints and not of kept weights; it is "
    "kept as its logarithm, so that no exponent overflows, and starts at 0 without a correction, as in LibAUC. The "
    "optimiser is the protocol's SGD with momentum, where LibAUC has SOPA-s. With kl_weight .1 "
    "training on `quick` fell apart. A batch of one class only is refused.",
    "needs": {"passes": 1},
}

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss
from baselines.parts.missing_labels import rows_of, training_set
from baselines.parts.two_classes import is_positive


@MODELS.register_module()
class PartialAUCDRO(nn.Module):
    """mean_ij stop(exp(l_ij / Lambda) / u_i) l_ij over the pairs of a batch, l_ij = max(0, c - (h_i - h_j))^2 of
    sigmoid scores h, and for every training positive u_i <- (1 - gamma) u_i + gamma mean_j exp(l_ij / Lambda) before
    it is used, u_i = 0 at first (Zhu et al., ICML 2022, the KL form, SOPA-s).

    Buffers: `log_u` (n_P,), log u of the training positives in the order of the data set, -inf before the first visit.
    A positive that is in a batch more than once has one update, of the mean over its copies.

    Args:
        gamma: in (0, 1].
        kl_weight: Lambda > 0.
        margin: c > 0.
        dataset: config of the training data, whose `labels` are bool (N,) or (N, 1).
    """

    per_instance = ("log_u",)
    log_u: Tensor
    row: Tensor

    def __init__(
        self, gamma: float, kl_weight: float, margin: float, dataset: Mapping[str, Any]
    ) -> None:
        super().__init__()
        if not (0 < gamma <= 1 and kl_weight > 0 and margin > 0):
            raise ValueError(
                f"gamma is {gamma}, kl_weight {kl_weight} and margin {margin}, expected (0, 1] and numbers above 0"
            )
        self.gamma, self.kl_weight, self.margin = gamma, kl_weight, margin
        labels = training_set(dataset).labels.cpu().flatten() > 0
        self.register_buffer("log_u", torch.full((int(labels.sum()),), -torch.inf))
        # of a sample its place in log_u: derived from the data, so not part of the weights
        row = torch.where(labels, labels.cumsum(0) - 1, -1)
        self.register_buffer("row", row, persistent=False)

    def forward(
        self, scores: Tensor, label: Tensor, index: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits and labels of 0 and 1, both (B, 1), and the samples' places in the training set (B,).
        In training mode it updates `log_u`. Raises UserError for a batch of one class."""
        positive = is_positive(scores, label, "pauc-kl")
        rows = self.row[rows_of(index, "pauc-kl")[positive]]
        if bool((rows < 0).any()):
            raise ValueError("pauc-kl: index names a negative training sample for a positive")
        h = scores.sigmoid()[:, 0]
        losses = (self.margin - (h[positive][:, None] - h[~positive])).clamp(min=0).square()
        exponent = losses.detach() / self.kl_weight
        log_u = self._updated(rows, exponent.logsumexp(1) - math.log(exponent.shape[1]))
        # at most 1 / gamma times the number of negatives: u_i holds gamma of each pair's share
        return ((exponent - log_u[:, None]).exp() * losses).mean()

    def _updated(self, rows: Tensor, log_mean: Tensor) -> Tensor:
        """log u of the batch's positives (P,), from their log mean_j exp(l_ij / Lambda)."""
        same = rows[:, None] == rows
        # equal numbers for equal rows, so that it does not matter which of them is written last
        copies = same.sum(1).to(log_mean)
        log_mean = torch.where(same, log_mean, -torch.inf).logsumexp(1) - copies.log()
        fresh = log_mean.to(self.log_u) + math.log(self.gamma)
        if self.gamma < 1:
            fresh = torch.logaddexp(self.log_u[rows] + math.log1p(-self.gamma), fresh)
        if self.training:
            self.log_u[rows] = fresh
        return fresh.to(log_mean)


def configure(cfg: Any, facts: Any, *, gamma: float, kl_weight: float, margin: float) -> Any:
    """Make it the only loss."""
    loss = {"type": "PartialAUCDRO", "gamma": gamma, "kl_weight": kl_weight, "margin": margin}
    return set_loss(cfg, {**loss, "dataset": cfg.train_dataloader.dataset})
