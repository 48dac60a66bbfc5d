"""tau-normalisation: the classifier's weights over a power of their norms, without any training."""

CARD = {
    "title": "tau-normalised classifier",
    "paper": "Decoupling Representation and Classifier for Long-Tailed Recognition",
    "venue": "ICLR 2020",
    "arxiv": "1910.09217",
    "cite": "kang2020decoupling",
    "tasks": ["longtail-cls"],
    "names": {"tau-norm": {"summary": "trained classifier with w_c / |w_c|^tau; no training"}},
    "params": {
        "tau": {
            "default": 1.0,
            "low": 0.0,
            "high": 2.0,
            "help": "0 leaves the weights as they are, 1 makes all norms 1",
        },
        "bias": {
            "default": False,
            "help": "keep the classifier's bias; the paper drops it",
        },
    },
    "notes": "Stage 1 needs a linear classifier. The paper chooses tau on a validation set, which the "
    "protocols do not have: it is fixed here. Nothing is trained, so under legacy-selection nothing is "
    "selected either.",
    "needs": {"inputs": {"stage1": "ce"}, "extra_budget": True, "passes": 1},
}

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from suite.engine.resume import bare_model


def tau_normalized(weight: Tensor, tau: float) -> Tensor:
    """w_c / ||w_c||^tau of the rows of `weight` (C, D) (section 4 of the paper). A row of zeros stays."""
    norms = weight.norm(dim=1, keepdim=True)
    scaled: Tensor = weight / norms.clamp(min=torch.finfo(weight.dtype).tiny) ** tau
    return scaled


@HOOKS.register_module()
class TauNormHook(Hook):
    """Replaces the linear classifier's weights at the end.

    Args:
        tau: in [0, 2].
        bias: whether the bias is kept; else it becomes 0.
    """

    def __init__(self, tau: float, bias: bool) -> None:
        self.tau, self.bias = tau, bias

    def after_train(self, runner: Runner) -> None:
        fc = bare_model(runner).head.fc
        with torch.no_grad():
            fc.weight.copy_(tau_normalized(fc.weight, self.tau))
            if not self.bias:
                fc.bias.zero_()


def configure(cfg: Any, facts: Any, *, inputs: Mapping[str, str], tau: float, bias: bool) -> Any:
    """No iteration, and the classifier changed at its end."""
    cfg.start_from = {"weights": inputs["stage1"], "skip": []}
    cfg.train_cfg.max_iters = 0
    cfg.param_scheduler = []
    # which puts back the best of the validations, of which there is none
    kept = [hook for hook in cfg.get("custom_hooks", []) if hook["type"] != "BestOnTestHook"]
    cfg.custom_hooks = [*kept, {"type": TauNormHook.__name__, "tau": tau, "bias": bias}]
    return cfg
