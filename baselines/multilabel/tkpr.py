"""Top-K pairwise ranking: relevant labels against the K best-scored irrelevant ones."""

CARD = {
    "title": "TKPR",
    "paper": "Top-K Pairwise Ranking: Bridging the Gap Among Ranking-Based Measures for Multi-Label "
    "Classification",
    "venue": "IJCV 2025",
    "arxiv": "2407.06709",
    "cite": "wang2025topk",
    "tasks": ["multilabel"],
    "names": {
        "tkpr-sq": {
            "summary": "TKPR, square surrogate (1 - t)^2 on sigmoids",
            "params": {"surrogate": "square", "scores": "sigmoid"},
        },
        "tkpr-exp": {
            "summary": "TKPR, exponential surrogate e^-t on logits",
            "params": {"surrogate": "exp"},
        },
        "tkpr-log": {
            "summary": "TKPR, logistic surrogate log(1 + e^-t) on logits",
            "params": {"surrogate": "logistic", "alpha": "one"},
        },
        "tkpr-hinge": {
            "summary": "TKPR, hinge surrogate max(0, 1 - t) on logits",
            "params": {"surrogate": "hinge"},
        },
    },
    "params": {
        "surrogate": {
            "default": "logistic",
            "choices": ["square", "exp", "logistic", "hinge"],
            "help": "of t, a relevant label's score less one of the list",
        },
        "scores": {
            "default": "raw",
            "choices": ["sigmoid", "raw", "softmax"],
            "help": "what is compared; `square` needs bounded scores, so not `raw`",
        },
        "list": {
            "default": "irrelevant",
            "choices": ["irrelevant", "all"],
            "help": "labels whose K largest scores relevant ones are held against",
        },
        "extra": {
            "default": 0,
            "choices": [0, 1],
            "help": "entries of the list beyond K, of which the divisor knows nothing (1: AUTKC's code)",
        },
        "alpha": {
            "default": "n+",
            "choices": ["one", "n+", "min", "ideal"],
            "help": "divisor of a sample: 1, N+, min(K, N+), or the largest TKPR of N+ labels",
        },
        "k": {"default": None, "low": 1.0, "help": "K; None is the protocol's"},
        "warm": {
            "default": 0.0,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training on BCE first; 1 never leaves it",
        },
    },
    "notes": "Re-implemented; paper's surrogate details not verified: no code is public. The nearest code, "
    "of AUTKC by the same first author, has extra=1, and softmax scores but for the hinge. A list of all "
    "labels was clearly worse on yeast: relevant labels push each other apart. e^-t of logits overflows "
    "float32 at t = -88, which ends a run as one whose loss is not finite; scores=sigmoid cannot.",
    "needs": {"passes": 1},
}

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.labels import relevant, whole_k
from baselines.parts.losses import set_loss
from suite.base.errors import UserError

SURROGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "square": lambda t: (1 - t) ** 2,
    "exp": lambda t: (-t).exp(),
    "logistic": lambda t: F.softplus(-t),
    "hinge": lambda t: (1 - t).clamp(min=0),
}
"""Upper bounds of [t <= 0] (the logistic one times 1/log 2), t the advantage of a relevant label."""


def ideal(counts: Tensor, k: int) -> Tensor:
    """The largest sum_{i <= K} y_i (K + 1 - i) / K of N+ relevant labels: sum_{i <= min(K, N+)} (K + 1 - i) / K."""
    reached = counts.clamp(max=k)
    return reached * (2 * k + 1 - reached) / (2 * k)


@MODELS.register_module()
class TKPRLoss(nn.Module):
    """Mean over the batch of 1/(alpha K) sum_{i relevant} sum_{k <= K} l(s_i - t_k), t_1 >= t_2 >= ... the list.

    Of a list that is shorter than K the sum is over what there is, and the divisor stays K. A sample without a
    relevant label, or (a list of irrelevant ones) without an irrelevant label, contributes 0. Gradient flows to both
    sides. O(L + N+ K) a sample beside the selection of the list.

    Args:
        surrogate: l, a key of `SURROGATES`.
        k: K >= 1.
        scores: s, `sigmoid`, `raw` (logits) or `softmax`; not `raw` for `square`, which would pull back what is well
            separated.
        list: `irrelevant` or `all`.
        extra: how many entries beyond K the list has.
        alpha: `one`, `n+`, `min` (of K and N+) or `ideal`.
    """

    def __init__(
        self,
        surrogate: str,
        k: int,
        scores: str = "raw",
        list: str = "irrelevant",
        extra: int = 0,
        alpha: str = "n+",
    ) -> None:
        super().__init__()
        if surrogate not in SURROGATES:
            raise ValueError(f"surrogate is {surrogate!r}, expected one of {', '.join(SURROGATES)}")
        if scores not in ("sigmoid", "raw", "softmax"):
            raise ValueError(f"scores is {scores!r}, expected 'sigmoid', 'raw' or 'softmax'")
        if surrogate == "square" and scores == "raw":
            raise ValueError("the square surrogate of raw scores is not monotone: use 'sigmoid'")
        if list not in ("irrelevant", "all"):
            raise ValueError(f"list is {list!r}, expected 'irrelevant' or 'all'")
        if alpha not in ("one", "n+", "min", "ideal"):
            raise ValueError(f"alpha is {alpha!r}, expected 'one', 'n+', 'min' or 'ideal'")
        if k < 1 or extra < 0:
            raise ValueError(f"k is {k} and extra {extra}, expected k >= 1 and extra >= 0")
        self.surrogate, self.k, self.scores = surrogate, k, scores
        self.list, self.extra, self.alpha = list, extra, alpha

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits (B, L) and targets (B, L) of 0 and 1."""
        size, width = scores.shape
        found = relevant(targets)
        # Scores grow with logits: the list is chosen, and everything gathered, before they are made. No gradient
        # runs through the masked copy.
        rivals = scores.detach()
        if self.list == "irrelevant":
            rivals = rivals.masked_fill(found.mask, -torch.inf)
        places = rivals.topk(min(self.k + self.extra, width), dim=1).indices
        top = scores.gather(1, places)
        own = scores[found.rows, found.labels]
        if self.scores == "softmax":
            total = scores.logsumexp(1)
            top, own = (top - total[:, None]).exp(), (own - total[found.rows]).exp()
        elif self.scores == "sigmoid":
            top, own = top.sigmoid(), own.sigmoid()

        # beyond a sample's irrelevant labels the list holds relevant ones
        length = torch.full_like(found.counts, width)
        if self.list == "irrelevant":
            length = length - found.counts
        beyond = torch.arange(places.shape[1], device=scores.device) >= length[:, None]
        beyond = beyond[found.rows]
        # before the surrogate as well: what overflows there has no finite gradient
        advantage = (own[:, None] - top.index_select(0, found.rows)).masked_fill(beyond, 0)
        terms = SURROGATES[self.surrogate](advantage).masked_fill(beyond, 0)
        divisor = size * self.k * self._alpha(found.counts.to(scores.dtype))
        loss: Tensor = (terms.sum(1) / divisor[found.rows]).sum()
        return loss

    def _alpha(self, counts: Tensor) -> Tensor:
        """alpha of each sample, from N+ as floats (B,)."""
        if self.alpha == "one":
            return torch.ones_like(counts)
        if self.alpha == "n+":
            return counts
        return counts.clamp(max=self.k) if self.alpha == "min" else ideal(counts, self.k)


def configure(
    cfg: Any,
    facts: Any,
    *,
    surrogate: str,
    scores: str,
    list: str,
    extra: int,
    alpha: str,
    k: float | None,
    warm: float,
) -> Any:
    """Make TKPR the only loss; until `warm` of the training binary cross entropy."""
    if surrogate == "square" and scores == "raw":
        raise UserError(
            "surrogate=square on scores=raw pulls back labels that are well separated; set scores=sigmoid"
        )
    loss = {
        "type": "TKPRLoss",
        "surrogate": surrogate,
        "k": whole_k(cfg, facts, k, "k"),
        "scores": scores,
        "list": list,
        "extra": extra,
        "alpha": alpha,
    }
    if warm > 0:
        first = {"type": "BinaryCrossEntropy"}
        loss = {"type": "StagedLoss", "first": first, "second": loss, "switch": warm}
    return set_loss(cfg, loss)
