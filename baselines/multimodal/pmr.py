"""PMR: the modality that is behind is pulled to the prototypes of the classes."""

CARD = {
    "title": "Prototypical modality rebalance (PMR)",
    "paper": "PMR: Prototypical Modal Rebalance for Multimodal Learning",
    "venue": "CVPR 2023",
    "cite": "fan2023pmr",
    "tasks": ["multimodal"],
    "names": {
        "pmr": {"summary": "a prototype loss for the modality whose features are behind"},
    },
    "params": {
        "alpha": {
            "default": 1.0,
            "low": 0.0,
            "help": "weight of the prototype loss of a modality that is behind",
        },
        "momentum": {
            "default": 0.2,
            "low": 0.0,
            "high": 1.0,
            "help": "weight of the old prototypes when they are made anew",
        },
    },
    "search": {"alpha": [0.5, 1.0, 3.0], "momentum": [0.0, 0.2, 0.5]},
    "notes": "Prototypes are means of a class's features in eval mode over the training samples without augmentation, made anew "
    "at the start of each pass over them; the released code takes the first tenth of its training loader, and "
    "on AVE the validation set. alpha is 1 in the released code (3 in one script), momentum .2 (0 in the script for "
    "CREMA-D). As released, the weights are alpha or 0 and nothing between, and there is no entropy term. For more "
    "than two modalities those are behind whose score is below the mean of the others', which is ours. Prototypes "
    "are state, part of checkpoints. The forward pass over the training set is half a pass a step.",
    "needs": {"passes": 1.5},
}

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from baselines.parts.checks import at_least_zero
from baselines.parts.modalities import (
    TimedObjective,
    TrainingSamples,
    competing,
    of_others,
    training_samples,
    true_class,
)
from tasks.multimodal.networks import Features

_SAFE = 1e-12
"""Added to squared distances: the root has no slope at 0."""


def prototype_logits(features: Tensor, prototypes: Tensor) -> Tensor:
    """-sqrt(||f_i - m_c||^2 + 1e-12), (B, C), of features (B, D) and prototypes (C, D)."""
    return -((features[:, None] - prototypes).square().sum(2) + _SAFE).sqrt()


def pulled(scores: Tensor, alpha: float) -> Tensor:
    """Weights (M,) of the modalities' prototype losses: alpha of those whose score is below the mean of the others', else
    0. Scores (M,) are sums over the batch of the true class's probability by the prototypes."""
    return alpha * (scores < of_others(scores)).to(scores)


@MODELS.register_module()
class PrototypeRebalance(TimedObjective):
    """CE(z, y) + sum_k w_k CE(-d_k, y), d_k the distances of modality k's features from the prototypes of the classes
    (`prototype_logits`) and w_k of `pulled` (Fan et al., CVPR 2023).

    With the mean features n of the classes, prototypes m become c m + (1 - c) n at the start of each pass over the
    training samples, and n at the first.

    Buffers: `prototypes_NAME` (C, D) of each modality, not a number until they are first made.

    Args:
        widths: modality -> D.
        classes: C.
        alpha: >= 0.
        momentum: c in [0, 1].
        iterations: of the whole training.
        batch: samples of a training step.
        data: arguments of `TrainingSamples`.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        classes: int,
        alpha: float,
        momentum: float,
        iterations: int,
        batch: int,
        data: Mapping[str, Any],
    ) -> None:
        super().__init__(iterations)
        at_least_zero(alpha=alpha, momentum=momentum)
        self.classes, self.alpha, self.momentum, self.batch = classes, alpha, momentum, batch
        self.data = TrainingSamples(**data)
        for name, width in widths.items():
            self.register_buffer(f"prototypes_{name}", torch.full((classes, width), torch.nan))

    def prototypes(self, name: str) -> Tensor:
        """(C, D) of a modality."""
        made: Tensor = getattr(self, f"prototypes_{name}")
        return made

    def train_step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """One forward and one backward pass, after the prototypes where a pass over the samples begins."""
        if self.begins_pass(self.batch, self.data.samples):
            self.renew(model)
        return super().train_step(model, data, optim_wrapper)

    def losses(
        self, model: Any, features: Features, label: Tensor, index: Tensor | None
    ) -> dict[str, Tensor]:
        near = {
            name: prototype_logits(features[name], self.prototypes(name))
            for name in model.modalities
        }
        with torch.no_grad():
            scores = torch.stack([true_class(near[name], label).sum() for name in near])
            weights = pulled(scores, self.alpha)
        own = torch.stack([F.cross_entropy(logits, label) for logits in near.values()])
        return {
            "loss_joint": F.cross_entropy(model.fusion(features), label),
            "loss_prototypes": (weights * own).sum(),
        }

    @torch.no_grad()
    def renew(self, model: Any) -> None:
        """Make the prototypes anew, in the model's present eval mode."""
        for name, means in self.class_means(model).items():
            kept = self.prototypes(name)
            old = kept.to(means)
            mixed = self.momentum * old + (1 - self.momentum) * means
            kept.copy_(torch.where(old.isnan(), means, mixed))

    def class_means(self, model: Any) -> dict[str, Tensor]:
        """Modality -> mean features (C, D) of the training samples of each class, summed in double precision; of a
        class without samples 0."""
        sums: dict[str, Tensor] = {}
        counts: Tensor | float = 0.0
        for features, label in self.data.features(model):
            member = F.one_hot(label, self.classes).double().T
            counts = counts + member.sum(1, keepdim=True)
            for name, values in features.items():
                sums[name] = sums.get(name, 0.0) + member @ values.double()
        assert isinstance(counts, Tensor)
        return {name: total / counts.clamp(min=1) for name, total in sums.items()}


def configure(cfg: Any, facts: Any, *, alpha: float, momentum: float) -> Any:
    """The reference's fusion, with the prototypes' loss."""
    names = competing(cfg, "pmr")
    widths = cfg.model.fusion.widths
    cfg.model.objective = {
        "type": "PrototypeRebalance",
        "widths": {name: widths[name] for name in names},
        "classes": cfg.model.fusion.classes,
        "alpha": alpha,
        "momentum": momentum,
        "iterations": facts.iterations,
        "batch": facts.batch,
        "data": training_samples(cfg, facts, "pmr"),
    }
    return cfg
