"""MMPareto: the common descent direction of the joint loss and a modality's own, for each encoder."""

CARD = {
    "title": "Pareto integration of unimodal and multimodal gradients (MMPareto)",
    "paper": "MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance",
    "venue": "ICML 2024",
    "cite": "wei2024mmpareto",
    "tasks": ["multimodal"],
    "names": {
        "mmpareto": {
            "summary": "a classifier for each modality beside the joint one, gradients joined without conflict"
        },
    },
    "params": {
        "gamma": {
            "default": 1.5,
            "low": 0.000001,
            "help": "factor of the joined gradient's norm",
        },
    },
    "search": {"gamma": [1.0, 1.25, 1.5, 2.0]},
    "notes": "Predictions are the joint classifier's; the modalities' own are trained beside it. Where the two gradients of an "
    "encoder do not conflict (their cosine is above 0) they are added, else the shortest vector between them is the "
    "direction. Its weight is clipped to [0, 1], in the released code to [.001, .999]; as there, the norm is restored "
    "for each parameter tensor. Classifiers have the gradients of their own losses, without gamma. Of two other codes' "
    "slips there is none here: gradients are not accumulated over the losses, and in a conflict no weight is 0/0. The "
    "rate is the protocol's (released: .002, times .1 after 30 epochs of 50).",
    "needs": {"passes": 1.5},
}

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from baselines.parts.modalities import OwnHeads, competing
from baselines.parts.passes import count_passes
from tasks.multimodal.objectives import Objective, accuracies

_TINY = 1e-30


def weight_of(joint: Sequence[Tensor], own: Sequence[Tensor]) -> Tensor:
    """c in [0, 1], a scalar: the weight of the joint gradient, 1 - c is the other's. 1/2 where their cosine is above 0,
    else of the point of least norm between them,

        c = <g_k, g_k - g> / ||g - g_k||^2

    (Wei and Hu, ICML 2024; the min-norm point is Desideri's of two gradients).

    Args:
        joint, own: g and g_k, as the gradients of one encoder's parameters, in the same order.
    """
    g, k = (torch.cat([part.flatten() for part in side]) for side in (joint, own))
    dot, square = g @ k, k @ k
    distance = (g @ g + square - 2 * dot).clamp(min=_TINY)
    least = ((square - dot) / distance).clamp(0, 1)
    return torch.where(dot > 0, torch.full_like(least, 0.5), least)


def joined(joint: Sequence[Tensor], own: Sequence[Tensor], gamma: float) -> list[Tensor]:
    """The encoder's gradient: gamma max(1, ||g + g_k|| / ||u||) u with u = 2 c g + 2 (1 - c) g_k, norms of each tensor.

    Args:
        joint, own: see `weight_of`.
        gamma: > 0.
    """
    c = weight_of(joint, own)
    first, second = list(joint), list(own)
    mixed = torch._foreach_mul(first, 2 * c)
    torch._foreach_add_(mixed, torch._foreach_mul(second, 2 * (1 - c)))
    before = torch.stack(torch._foreach_norm(torch._foreach_add(first, second)))
    after = torch.stack(torch._foreach_norm(mixed))
    # of a vector of zeros there is no direction to stretch
    ratio = torch.where(after > 0, (before / after.clamp(min=_TINY)).clamp(min=1), 1.0)
    return list(torch._foreach_mul(mixed, (gamma * ratio).unbind()))


@MODELS.register_module()
class ParetoGradients(Objective):
    """Steps of CE(z, y) and CE(z_k, y), z_k of a classifier of each modality's own: encoder k has the `joined` gradient of
    the two, a classifier that of its own loss (Wei and Hu, ICML 2024).

    Args:
        widths: modality -> D.
        classes: C.
        gamma: > 0.
    """

    def __init__(self, widths: Mapping[str, int], classes: int, gamma: float) -> None:
        super().__init__()
        if gamma <= 0:
            raise ValueError(f"gamma is {gamma}, expected > 0")
        self.gamma = gamma
        self.heads = OwnHeads(widths, classes)

    def train_step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """One forward and two backward passes; `loss`, its parts and the batch's accuracies."""
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            features = model.features(batch["inputs"])
            label = batch["label"]
            joint = F.cross_entropy(model.fusion(features), label)
            own = torch.stack(
                [F.cross_entropy(logits, label) for logits in self.heads.logits(features).values()]
            ).sum()
        seen = accuracies(model, features, label)
        # no two encoders share a weight: the sum's gradient at an encoder is that of its own loss
        first = _gradients(joint, [model.encoders, model.fusion], retain=True)
        second = _gradients(own, [model.encoders, self.heads])
        taken = {**first, **second}
        for encoder in model.encoders.values():
            both = [p for p in encoder.parameters() if p in first and p in second]
            found = joined([first[p] for p in both], [second[p] for p in both], self.gamma)
            taken.update(zip(both, found, strict=True))
        for parameter, gradient in taken.items():
            # its own memory: clipping is in place
            parameter.grad = gradient.detach().clone()
        optim_wrapper.step()
        optim_wrapper.zero_grad()
        parts = {"loss_joint": joint.detach(), "loss_own": own.detach()}
        return {"loss": (joint + own).detach(), **parts, **seen}


def _gradients(
    loss: Tensor, modules: Sequence[torch.nn.Module], retain: bool = False
) -> dict[Tensor, Tensor]:
    """Parameter -> gradient, of the parameters that the loss depends on."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, retain_graph=retain, allow_unused=True)
    return {p: g for p, g in zip(parameters, found, strict=True) if g is not None}


def configure(cfg: Any, facts: Any, *, gamma: float) -> Any:
    """The reference's fusion, with classifiers of the modalities beside it."""
    names = competing(cfg, "mmpareto")
    widths = cfg.model.fusion.widths
    cfg.model.objective = {
        "type": "ParetoGradients",
        "widths": {name: widths[name] for name in names},
        "classes": cfg.model.fusion.classes,
        "gamma": gamma,
    }
    return count_passes(cfg)
