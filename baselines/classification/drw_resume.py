"""Deferred re-weighting as a stage of its own: a finished run trains on with another loss."""

CARD = {
    "title": "Deferred re-weighting, resumed",
    "paper": "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    "venue": "NeurIPS 2019",
    "arxiv": "1906.07413",
    "cite": "cao2019learning",
    "tasks": ["longtail-cls"],
    "names": {
        "drw-resume": {"summary": "all weights of a finished run, trained on with a balanced loss"}
    },
    "params": {
        "loss": {"default": "cb-ce", "method": True, "help": "method whose loss stage 2 has"},
        "length": {
            "default": 0.2,
            "low": 0.0001,
            "high": 1.0,
            "help": "stage 2, in shares of the protocol's iterations",
        },
        "lr": {
            "default": None,
            "low": 0.0000001,
            "help": "in the first half of stage 2, a hundredth of it after; None is a hundredth of what "
            "the protocol has, or the loss's method sets",
        },
        "weight_decay": {
            "default": None,
            "low": 0.0,
            "high": 1.0,
            "help": "stage 2; None is the protocol's, or what the loss's method sets",
        },
    },
    "notes": "By default the rates are those of the last fifth of the study's schedule (r32-200). The "
    "optimiser starts anew: no momentum is carried over, and the weight decay given here takes effect. The "
    "unified study's released code (NeurIPS 2023) restores the optimiser in its second stage, which "
    "undoes the new weight decay. A loss in stages of its own counts them in shares of stage 2; "
    "--set drw-resume.loss.switch=0 makes all of stage 2 its last stage.",
    "needs": {"inputs": {"stage1": "ce"}, "extra_budget": True, "passes": 1},
}

from collections.abc import Mapping
from typing import Any

from baselines.parts.decoupled import set_length
from baselines.parts.staged import set_weight_decay
from suite.base.errors import UserError

_DROP = 0.01
"""From the protocols' full rate to the one that stage 2 starts with, and from there to its second half."""


def configure(
    cfg: Any,
    facts: Any,
    *,
    inputs: Mapping[str, str],
    length: float,
    lr: float | None,
    weight_decay: float | None,
) -> Any:
    """All weights from stage 1, the loss that is configured already, a short schedule of its own."""
    # a schedule within the training is `baselines.parts.staged.scale_from`'s, in iterations of the protocol's
    staged = any(item["type"] == "MultiStepParamScheduler" for item in cfg.param_scheduler)
    if staged or cfg.train_cfg.max_iters != facts.iterations:
        raise UserError(
            "the loss of drw-resume changes learning rate, weight decay or length of a whole training, "
            "which stage 2 is not: take its last stage alone with --set drw-resume.loss.switch=0, or "
            "choose another, such as --set drw-resume.loss=cb-ce"
        )
    cfg.start_from = {"weights": inputs["stage1"], "skip": []}
    iterations = set_length(cfg, facts, length)
    set_weight_decay(cfg, weight_decay)
    optimizer = cfg.optim_wrapper.optimizer
    optimizer.lr = optimizer.lr * _DROP if lr is None else lr
    steps = {"type": "MultiStepLR", "milestones": [max(1, iterations // 2)], "gamma": _DROP}
    cfg.param_scheduler = [{**steps, "by_epoch": False}]
    return cfg
