"""Distribution-balanced loss: weights that know of label co-occurrence, tolerant negatives, class-aware batches."""

CARD = {
    "title": "Distribution-balanced loss",
    "paper": "Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed Datasets",
    "venue": "ECCV 2020",
    "arxiv": "2007.09654",
    "cite": "wu2020distribution",
    "tasks": ["multilabel"],
    "names": {
        "db": {"summary": "re-balanced, negative-tolerant focal BCE on class-aware batches"},
    },
    "params": {
        "alpha": {"default": 0.1, "low": 0.0, "help": "least weight of a label"},
        "beta": {"default": 10.0, "low": 0.0, "help": "steepness of the map of weights"},
        "mu": {"default": 0.3, "help": "re-balancing ratio r at which the map is in its middle"},
        "neg_scale": {
            "default": 5.0,
            "low": 0.001,
            "help": "lambda: factor of absent labels' scores; their weight is divided by it",
        },
        "kappa": {
            "default": 0.05,
            "low": 0.0,
            "help": "strength of the bias by frequency; 0 is none",
        },
        "gamma": {"default": 2.0, "low": 0.0, "help": "focusing parameter; 0 is no focal form"},
        "balance": {"default": 2.0, "low": 0.0, "help": "factor of the whole"},
        "class_aware": {
            "default": True,
            "help": "batches in which every label is drawn equally often; False: the protocol's",
        },
    },
    "protocol_defaults": {
        "voc-lt": {"mu": 0.3, "neg_scale": 5.0},
        "coco-lt": {"mu": 0.2, "neg_scale": 2.0},
    },
    "notes": "Defaults are the authors' for VOC-LT. Their sampler goes through every label's samples in "
    "turn; ours draws a label, then one of its samples. Samples without an observed label are never drawn "
    "by it. A label without an observed positive counts as having one.",
    "needs": {"passes": 1},
}

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATA_SAMPLERS, DATASETS, MODELS
from torch import Tensor, nn
from torch.utils.data import Sampler

from baselines.parts.checks import at_least_zero
from baselines.parts.losses import set_loss
from baselines.parts.sampling import draws
from baselines.shared.focal_bce import focal_terms

_BLOCK = 4096


@MODELS.register_module()
class DistributionBalancedLoss(nn.Module):
    """Mean over samples and labels of b w (1 - p_t)^gamma BCE on z + nu (the paper's DB-focal).

    w_c = alpha + sigmoid(beta (r_c - mu)) with r_c = (1/n_c) / sum_{relevant j} 1/n_j, 0 for a sample without a
    relevant label; nu_c = -log(N/n_c - 1) kappa / lambda. Where a label is absent, z + nu comes times lambda and w
    divided by it.

    Args:
        class_counts: n, observed training positives of each label, (L,).
        samples: N, the number of training samples, >= 1.
        alpha, beta, mu: of the weights.
        neg_scale: lambda, > 0.
        kappa, gamma, balance: >= 0; b is `balance`.
    """

    inverse: Tensor
    bias: Tensor

    def __init__(
        self,
        class_counts: Sequence[float],
        samples: int,
        alpha: float = 0.1,
        beta: float = 10.0,
        mu: float = 0.3,
        neg_scale: float = 5.0,
        kappa: float = 0.05,
        gamma: float = 2.0,
        balance: float = 2.0,
    ) -> None:
        super().__init__()
        at_least_zero(alpha=alpha, beta=beta, kappa=kappa, gamma=gamma, balance=balance)
        if neg_scale <= 0:
            raise ValueError(f"neg_scale is {neg_scale}, expected > 0")
        counts = torch.tensor(list(class_counts), dtype=torch.float64).clamp(min=1)
        # of a label that all samples have, N/n - 1 is 0: rarer than any other's
        odds = (samples / counts - 1).clamp(min=1 / samples)
        # Derived from the data, so not part of the weights.
        self.register_buffer("inverse", 1 / counts, persistent=False)
        self.register_buffer("bias", -odds.log() * kappa / neg_scale, persistent=False)
        self.alpha, self.beta, self.mu = alpha, beta, mu
        self.neg_scale, self.gamma, self.balance = neg_scale, gamma, balance

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        return self.terms(scores, targets).mean()

    def terms(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The loss of every sample and label, (B, L)."""
        inverse = self.inverse.to(scores.dtype)
        # inf where no label is relevant, so that r is 0
        # (no matrix product: autocast would take it in bfloat16)
        repeat = (targets * inverse).sum(1).masked_fill(~(targets > 0).any(1), torch.inf)
        weight = self.alpha + (self.beta * (inverse / repeat[:, None] - self.mu)).sigmoid()
        scale = torch.where(targets > 0, 1.0, self.neg_scale)
        shifted = (scores + self.bias.to(scores.dtype)) * scale
        return self.balance * weight / scale * focal_terms(shifted, targets, self.gamma)


@DATA_SAMPLERS.register_module()
class LabelAwareSampler(Sampler):
    """Draws a label with an observed positive, each with equal probability, then one of its samples uniformly, for ever.

    Args:
        dataset: has `labels`, bool (N, L). Raises ValueError where none of them is set.
        seed: of the stream; each process of a distributed training takes every world-size-th draw.
    """

    def __init__(self, dataset: Any, seed: int | None) -> None:
        labels = torch.as_tensor(dataset.labels).cpu()
        counts = labels.sum(dim=0)
        if not counts.any():
            raise ValueError("LabelAwareSampler: no training sample has a label")
        inverse = torch.where(counts > 0, 1 / counts.double().clamp(min=1), 0.0)
        # in blocks: float64 takes eight times the memory of the labels
        blocks = [labels[at : at + _BLOCK] for at in range(0, len(labels), _BLOCK)]
        self._p: np.ndarray = np.concatenate([(b.double() @ inverse).numpy() for b in blocks])
        self._seed, self._size = seed or 0, len(labels)

    def __iter__(self) -> Iterator[int]:
        return draws(self._p, self._seed)

    def __len__(self) -> int:
        return self._size


def configure(
    cfg: Any,
    facts: Any,
    *,
    alpha: float,
    beta: float,
    mu: float,
    neg_scale: float,
    kappa: float,
    gamma: float,
    balance: float,
    class_aware: bool,
) -> Any:
    """Make the distribution-balanced loss the only one, on class-aware batches."""
    if class_aware:
        cfg.train_dataloader.sampler = {"type": "LabelAwareSampler"}
    loss = {
        "type": "DistributionBalancedLoss",
        "class_counts": list(facts.image_counts),
        "samples": len(DATASETS.build(cfg.train_dataloader.dataset)),
        "alpha": alpha,
        "beta": beta,
        "mu": mu,
        "neg_scale": neg_scale,
        "kappa": kappa,
        "gamma": gamma,
        "balance": balance,
    }
    return set_loss(cfg, loss)
