"""AUC risk over the pairs of a batch: the square's without a minimax form, and the squared hinge's."""

CARD = {
    "title": "Pairwise AUC risk",
    "paper": "On the Consistency of AUC Pairwise Optimization",
    "venue": "IJCAI 2015",
    "arxiv": "1208.0645",
    "cite": "gao2015consistency",
    "tasks": ["robust-auc"],
    "names": {
        "pairwise-square": {
            "summary": "square of the margin's shortfall over all pairs of a batch, on sigmoid scores",
            "params": {"surrogate": "square", "of": "sigmoid"},
        },
        "pairwise-hinge2": {
            "summary": "squared hinge over all pairs of a batch, on logits",
            "params": {"surrogate": "hinge2", "of": "logit"},
        },
    },
    "params": {
        "surrogate": {
            "default": "square",
            "choices": ["square", "hinge2"],
            "help": "of a pair's difference t: (margin - t)^2, or max(0, margin - t)^2",
        },
        "of": {
            "default": "sigmoid",
            "choices": ["sigmoid", "logit"],
            "help": "the scores that are compared",
        },
        "margin": {
            "default": 1.0,
            "low": 0.000001,
            "help": "by how much a positive is to lie above a negative",
        },
    },
    "search": {"margin": [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]},
    "notes": "References of the minimax form: pairwise-square is the risk that aucm has as its saddle value, with the "
    "protocol's SGD and without a, b and alpha. On sigmoid scores, which differ by 1 at most, the squared "
    "hinge with margin 1 is the square itself; so pairwise-hinge2 compares logits. A batch of one class only is "
    "refused.",
    "needs": {"passes": 1},
}

import warnings
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss
from baselines.parts.two_classes import is_positive
from suite.base.errors import MethodWarning

_SURROGATES = ("square", "hinge2")
_SCORES = ("sigmoid", "logit")


@MODELS.register_module()
class PairwiseAUCLoss(nn.Module):
    """Mean over the pairs of a positive i and a negative j of a batch of (c - t)^2, or max(0, c - t)^2, with
    t = h_i - h_j (Gao and Zhou, IJCAI 2015, section 2).

    Args:
        surrogate: `square` or `hinge2`.
        of: h, `sigmoid` or `logit`.
        margin: c > 0.
    """

    def __init__(self, surrogate: str = "square", of: str = "sigmoid", margin: float = 1.0) -> None:
        super().__init__()
        if surrogate not in _SURROGATES or of not in _SCORES or margin <= 0:
            raise ValueError(
                f"surrogate is {surrogate!r}, of {of!r} and margin {margin}, expected one of "
                f"{', '.join(_SURROGATES)}, one of {', '.join(_SCORES)} and a number above 0"
            )
        self.surrogate, self.of, self.margin = surrogate, of, margin

    def forward(self, scores: Tensor, label: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits and labels of 0 and 1, both (B, 1). Raises UserError for a batch of one class."""
        positive = is_positive(scores, label, f"pairwise-{self.surrogate}")
        h = (scores.sigmoid() if self.of == "sigmoid" else scores)[:, 0]
        short = self.margin - (h[positive][:, None] - h[~positive])
        if self.surrogate == "hinge2":
            short = short.clamp(min=0)
        return short.square().mean()


def configure(cfg: Any, facts: Any, *, surrogate: str, of: str, margin: float) -> Any:
    """Make it the only loss. Warns where the hinge bends nowhere."""
    if surrogate == "hinge2" and of == "sigmoid" and margin >= 1:
        warnings.warn(
            f"hinge2 on sigmoid scores with margin={margin:g} is pairwise-square: they differ by 1 at most; set "
            "of=logit, or a margin below 1",
            MethodWarning,
            stacklevel=2,
        )
    return set_loss(
        cfg, {"type": "PairwiseAUCLoss", "surrogate": surrogate, "of": of, "margin": margin}
    )
