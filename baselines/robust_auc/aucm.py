"""The square AUC risk in its minimax form, with PESG: deep AUC maximisation, and the reference of `robust-auc`."""

CARD = {
    "title": "AUC margin loss with PESG (AUCM)",
    "paper": "Large-scale Robust Deep AUC Maximization: A New Surrogate Loss and Empirical Studies on Medical Image "
    "Classification",
    "venue": "ICCV 2021",
    "arxiv": "2012.03173",
    "cite": ["yuan2021large", "ying2016stochastic"],
    "tasks": ["robust-auc"],
    "names": {"aucm": {"summary": "square AUC risk as a saddle point, solved by PESG"}},
    "params": {
        "margin": {
            "default": 1.0,
            "low": 0.000001,
            "help": "c, by which positives are to score above negatives",
        },
        "weighting": {
            "default": "class",
            "choices": ["class", "prior"],
            "help": "class: means over each class of the batch; prior: over the batch, weighted by the training prior",
        },
        "gamma": {
            "default": 0.003,
            "low": 0.0,
            "help": "pull towards the mean of the iterates before the last switch point",
        },
        "momentum": {
            "default": 0.9,
            "low": 0.000001,
            "high": 1.0,
            "help": "weight of the new gradient, the opposite of SGD's; 1: without memory",
        },
        "clip": {"default": 1.0, "low": 0.000001, "help": "of every element of the gradient"},
        "lr": {"default": None, "low": 0.0, "help": "at first; None is the protocol's"},
        "weight_decay": {
            "default": None,
            "low": 0.0,
            "high": 1.0,
            "help": "None is the protocol's",
        },
        "switches": {
            "default": [],
            "help": "shares of the training at which PESG's references are renewed; none: where the protocol's "
            "learning rate falls in steps; [1.0]: never",
        },
    },
    "notes": "Scores are sigmoids of logits. `weighting` prior is version 1 of LibAUC's AUCMLoss, whose gradients are "
    "p (1 - p) times those of class means; version 2.0.1's second misplaces a parenthesis. gamma as in the "
    "released code of DRAUC for this loss. a, b and alpha start at 0; the gradient's clip is of single elements.",
    "search": {"lr": [0.01, 0.02, 0.05, 0.1, 0.2]},
    "needs": {"passes": 1},
}

from collections.abc import Sequence
from typing import Any

from baselines.parts.losses import set_loss
from baselines.parts.minimax_auc import prior_of
from baselines.parts.pesg import with_pesg


def configure(
    cfg: Any,
    facts: Any,
    *,
    margin: float,
    weighting: str,
    gamma: float,
    momentum: float,
    clip: float,
    lr: float | None,
    weight_decay: float | None,
    switches: Sequence[float],
) -> Any:
    """Make the minimax objective the only loss, and PESG the optimiser."""
    prior = prior_of(facts) if weighting == "prior" else None
    set_loss(cfg, {"type": "AUCMarginLoss", "margin": margin, "prior": prior})
    return with_pesg(
        cfg,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        gamma=gamma,
        clip=clip,
        margin=margin,
        switches=switches,
    )
