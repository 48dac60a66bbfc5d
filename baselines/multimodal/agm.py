"""AGM: every modality's part of the logits sends back a gradient of its own strength."""

CARD = {
    "title": "Adaptive gradient modulation (AGM)",
    "paper": "Boosting Multi-modal Model Performance with Adaptive Gradient Modulation",
    "venue": "ICCV 2023",
    "cite": "li2023boosting",
    "tasks": ["multimodal"],
    "names": {
        "agm": {
            "summary": "Shapley values of the logits, each with a gradient of its own strength"
        },
    },
    "params": {
        "alpha": {
            "default": 1.0,
            "low": 0.0,
            "help": "how strongly a modality ahead of its running score is slowed down; 0 is plain training",
        },
        "clip": {
            "default": 1.0,
            "low": 0.000001,
            "help": "norm that the gradient is clipped to where an entry of the classifier's exceeds it",
        },
    },
    "search": {"alpha": [0.2, 0.5, 1.0, 2.0]},
    "notes": "A modality is left out by inputs of zero, in eval mode and with gradient, as released; the pass of all modalities "
    "is that of training. Parts are Shapley values with nothing for no modality, which for two is the paper's "
    "formula and adds up to the whole for any number; for more than two, scores are compared with the mean of the "
    "others. Running scores are means over all steps before (state, part of checkpoints), and the first step, before "
    "which there is none, is plain. Inputs of a modality are encoded twice, in either mode.",
    "needs": {"passes": 2},
}

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.attacks import evaluating
from baselines.parts.checks import at_least_zero
from baselines.parts.modalities import competing, of_others, true_class
from baselines.parts.passes import count_passes
from tasks.multimodal.networks import Features, proper_subsets
from tasks.multimodal.objectives import Objective, accuracies

_SMALLEST = 1e-8
_LARGEST = 10.0


def shares(modalities: Sequence[str], of: Mapping[tuple[str, ...], Tensor]) -> dict[str, Tensor]:
    """Shapley values phi_k (B, C) of the modalities for logits f(S) of every subset S but the empty, which has none:

        phi_k = sum_{S not with k} |S|! (M - 1 - |S|)! / M! (f(S + k) - f(S)),    sum_k phi_k = f(all)

    For two: phi_1 = (f(1, 2) - f(2) + f(1)) / 2 (Li et al., ICCV 2023).

    Args:
        of: logits (B, C) by the modalities of a subset, in their order.
    """
    count = len(modalities)
    made = {}
    for name in modalities:
        total: Tensor | float = 0.0
        for subset, logits in of.items():
            others = len(subset) - (name in subset)
            weight = math.factorial(others) * math.factorial(count - 1 - others)
            total = total + (weight if name in subset else -weight) * logits
        assert isinstance(total, Tensor)
        made[name] = total / math.factorial(count)
    return made


def coefficients(scores: Tensor, running: Tensor, alpha: float) -> Tensor:
    """exp(alpha min(exp(R_others - R_k) - exp(s_others - s_k), 10)), (M,), the others by their mean.

    Args:
        scores: s, mean negative log-likelihood of each modality's part in the batch, (M,).
        running: R, its running mean, (M,).
        alpha: >= 0.
    """
    expected = (of_others(running) - running).exp()
    found = (of_others(scores) - scores).exp()
    return (alpha * (expected - found).clamp(max=_LARGEST)).exp()


@MODELS.register_module()
class AdaptiveModulation(Objective):
    """Cross entropy of the fused logits, whose gradient goes back through modality k's part of them (`shares`) times
    `coefficients`. The gradient's norm is clipped where an entry of the fusion's is beyond `clip`.

    Buffers: `running` (M,), mean scores of the steps so far, and their number `steps`.

    Args:
        modalities: M, their number.
        alpha: >= 0.
        clip: > 0.
    """

    running: Tensor
    steps: Tensor

    def __init__(self, modalities: int, alpha: float, clip: float = 1.0) -> None:
        super().__init__()
        at_least_zero(alpha=alpha, clip=clip)
        self.alpha, self.clip = alpha, clip
        self.register_buffer("running", torch.zeros(modalities))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def train_step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """Two forward and two backward passes, in either mode; `loss` and the batch's accuracies."""
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            features = model.features(batch["inputs"])
            label = batch["label"]
            parts = self.parts(model, features, batch["inputs"])
            strength = self.strength(parts, label)
            # the sum is f(all), whatever the strengths
            logits = torch.stack(
                [
                    c * part + (1 - c) * part.detach()
                    for c, part in zip(strength, parts, strict=True)
                ]
            ).sum(0)
            loss = F.cross_entropy(logits, label)
        seen = accuracies(model, features, label)
        optim_wrapper.backward(loss)
        self.limit(model)
        optim_wrapper.step()
        optim_wrapper.zero_grad()
        return {"loss": loss.detach(), **seen}

    def parts(self, model: Any, features: Features, inputs: Features) -> list[Tensor]:
        """phi_k (B, C) of each modality.

        Args:
            features: of the training pass (B, D).
            inputs: normalised, (B, ...).
        """
        there, absent = {}, {}
        with evaluating(model):
            for name in model.modalities:
                values = inputs[name]
                # a last sample of zeros, which in eval mode changes nothing of the others
                encoded = model.features_of(name, torch.cat([values, torch.zeros_like(values[:1])]))
                there[name] = encoded[:-1]
                absent[name] = encoded[-1:].expand_as(there[name])
            of = {
                subset: model.fusion({k: (there if k in subset else absent)[k] for k in there})
                for subset in proper_subsets(model.modalities)
            }
        of[tuple(model.modalities)] = model.fusion(features)
        return list(shares(model.modalities, of).values())

    @torch.no_grad()
    def strength(self, parts: Sequence[Tensor], label: Tensor) -> Tensor:
        """Coefficients (M,) of this step, whose scores then count in the running means."""
        likelihood = [true_class(part, label).clamp(min=_SMALLEST) for part in parts]
        scores = torch.stack([-p.log().mean() for p in likelihood]).to(self.running)
        found = coefficients(scores, self.running, self.alpha)
        made = torch.where(self.steps > 0, found, torch.ones_like(found))
        self.steps += 1
        self.running += (scores - self.running) / self.steps
        return made

    @torch.no_grad()
    def limit(self, model: nn.Module) -> None:
        """Clip the norm of all gradients, where one of the fusion's is beyond the limit. Nothing waits for the device."""
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        fusion: Any = model.fusion
        largest = torch.stack(
            [p.grad.abs().max() for p in fusion.parameters() if p.grad is not None]
        ).max()
        norm = nn.utils.get_total_norm(gradients)
        shrunk = (self.clip / (norm + 1e-6)).clamp(max=1)
        torch._foreach_mul_(gradients, torch.where(largest > self.clip, shrunk, 1.0))


def configure(cfg: Any, facts: Any, *, alpha: float, clip: float) -> Any:
    """The reference's loss and fusion, with gradients by parts."""
    names = competing(cfg, "agm")
    cfg.model.objective = {
        "type": "AdaptiveModulation",
        "modalities": len(names),
        "alpha": alpha,
        "clip": clip,
    }
    return count_passes(cfg)
