"""G-Blend: losses weighted by how they generalised and overfitted in a trial."""

CARD = {
    "title": "Gradient blending, offline (G-Blend)",
    "paper": "What Makes Training Multi-Modal Classification Networks Hard?",
    "venue": "CVPR 2020",
    "cite": "wang2020makes",
    "tasks": ["multimodal"],
    "names": {
        "gblend": {
            "summary": "joint and unimodal losses with fixed weights, found in a trial with held-out training samples"
        },
    },
    "params": {
        "trial": {
            "default": 0.1,
            "low": 0.001,
            "high": 0.9,
            "help": "share of the training that the trial takes",
        },
        "validation": {
            "default": 0.2,
            "low": 0.01,
            "high": 0.9,
            "help": "share of every class's training samples that is held out of the trial",
        },
    },
    "search": {"trial": [0.05, 0.1, 0.2]},
    "notes": "Validation samples are training samples that the method holds out of its trial, never test samples (one "
    "reimplementation estimates on the test set); after the trial all training samples are trained on. In the first "
    "half of the trial every encoder is trained with a classifier of its own, in the second all with the joint one, "
    "each from the initial weights, from which then the training proper begins, as in the paper; here trial and "
    "training share the protocol's iterations and its schedule, so that the training proper has what the trial "
    "leaves. With G the drop of the validation loss and O the growth of (validation - training) loss, both in eval "
    "mode on stored samples, weights are G/O^2 over their sum, 0 where G is not above 0, and equal where the joint G "
    "is not. Predictions are the joint classifier's. Initial weights lie in checkpoints until the trial is through; "
    "its three looks at all training samples are forward passes that are not counted. The online form, whose weights "
    "are estimated again and again, is not here. After a short trial O is a small difference, and its square a divisor: "
    "the modality that has learnt least can have most of the weight (on Scene-15 view2 .72 and the joint loss .07, seed "
    "0), and a joint classifier, which predicts, then learns as slowly as at so small a share of the rate. That is the "
    "method's; with a trial so short it may end below concat.",
    "needs": {"passes": 1},
}

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from baselines.parts.modalities import (
    OwnHeads,
    TimedObjective,
    TrainingSamples,
    competing,
    held_out,
    training_samples,
)
from suite.base.errors import UserError
from tasks.multimodal.networks import Features

_LEAST = 1e-8
"""Below which O^2 does not count: where nothing overfitted, a weight would be infinite."""


def blend(generalisation: Tensor, overfitting: Tensor) -> Tensor:
    """Weights (K,) of K losses, of sum 1: G / O^2, 0 where G <= 0 (Wang et al., CVPR 2020). Equal ones where that of the
    joint loss is 0, since nothing would train the classifier that predicts.

    Args:
        generalisation: G, drop of the validation loss over the trial, (K,), the joint one last.
        overfitting: O, growth of the gap between validation and training loss, (K,).
    """
    found = generalisation.clamp(min=0) / overfitting.square().clamp(min=_LEAST)
    if not found[-1] > 0:
        return torch.full_like(found, 1 / len(found))
    return found / found.sum()


def half(iterations: int, trial: float) -> int:
    """Iterations of either half of the trial. Raises UserError where they leave none to the training."""
    length = max(1, round(trial * iterations / 2))
    if 2 * length >= iterations:
        raise UserError(
            f"trial={trial:g}: of {iterations} iterations the trial takes {2 * length} and leaves none; choose a smaller one"
        )
    return length


@MODELS.register_module()
class GradientBlending(TimedObjective):
    """sum_k w_k CE(z_k, y) + w CE(z, y), z_k of a classifier of each modality's own, after a trial that gives the weights
    (`blend`): of `half` iterations with CE(z_k, y) alone, and as many with CE(z, y) alone, each from the initial
    weights. The optimiser's state is dropped where a part begins.

    Buffers: `weights` (M + 1), the joint one last; `first` and `last` (2, M + 1), training and validation losses at the
    beginning and end of the trial; `start` (P,), initial values of encoders, fusion and classifiers, empty after the
    trial. `start` is no part of kept weights.

    Args:
        widths: modality -> D.
        classes: C.
        trial: share of the iterations.
        validation: share of each class that is held out, see `held_out`.
        iterations: of the whole training.
        data: arguments of `TrainingSamples`.
    """

    # of checkpoints alone, which is all that this says
    per_instance = ("start",)
    weights: Tensor
    first: Tensor
    last: Tensor
    start: Tensor

    def __init__(
        self,
        widths: Mapping[str, int],
        classes: int,
        trial: float,
        validation: float,
        iterations: int,
        data: Mapping[str, Any],
    ) -> None:
        super().__init__(iterations)
        self.length, self.validation = half(iterations, trial), validation
        self.data = TrainingSamples(**data)
        self.heads = OwnHeads(widths, classes)
        losses = len(widths) + 1
        self.register_buffer("weights", torch.full((losses,), 1 / losses))
        for name in ("first", "last"):
            self.register_buffer(name, torch.full((2, losses), torch.nan))
        self.register_buffer("start", torch.empty(0))

    def train_step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """One forward and one backward pass, after what is due where a part of the trial begins or ends."""
        if self.iteration in (0, self.length, 2 * self.length):
            self.turn(model)
            optim_wrapper.optimizer.state.clear()
        return super().train_step(model, data, optim_wrapper)

    def losses(
        self, model: Any, features: Features, label: Tensor, index: Tensor | None
    ) -> dict[str, Tensor]:
        if self.iteration < self.length:
            return {"loss": torch.stack(self._own(features, label)).sum()}
        joint = F.cross_entropy(model.fusion(features), label)
        if self.iteration < 2 * self.length:
            return {"loss": joint}
        every = torch.stack([*self._own(features, label), joint])
        return {"loss": (self.weights * every).sum()}

    def _own(self, features: Features, label: Tensor) -> list[Tensor]:
        own = self.heads.logits(features)
        return [F.cross_entropy(own[name], label) for name in self.heads]

    @torch.no_grad()
    def turn(self, model: Any) -> None:
        """At the beginning, the middle or the end of the trial: measure what has been trained, and go back."""
        found = self.measured(model)
        if self.iteration == 0:
            self.first.copy_(found)
            self.start = torch.cat([v.detach().float().flatten() for v in self._state(model)])
            return
        columns = slice(-1) if self.iteration == self.length else slice(-1, None)
        self.last[:, columns] = found[:, columns]
        self._go_back(model)
        if self.iteration == 2 * self.length:
            training, validation = self.last - self.first
            self.weights.copy_(blend(-validation, validation - training))
            self.start = self.start[:0].clone()

    def measured(self, model: Any) -> Tensor:
        """Mean losses (2, M + 1) of the training samples and of those that are held out, in eval mode."""
        out = held_out(self.data.labels, self.validation)
        made = []
        for chosen in (~out, out):
            total = torch.zeros_like(self.weights, dtype=torch.float64)
            places = chosen.nonzero()[:, 0].tolist()
            for features, label in self.data.features(model, places):
                joint = F.cross_entropy(model.fusion(features), label)
                mean = torch.stack([*self._own(features, label), joint])
                total += mean.double() * len(label)
            made.append(total / len(places))
        return torch.stack(made).to(self.weights)

    def _state(self, model: Any) -> list[Tensor]:
        """Weights and batch statistics of what is trained, in order."""
        modules = (model.encoders, model.fusion, self.heads)
        return [value for module in modules for value in module.state_dict().values()]

    def _go_back(self, model: Any) -> None:
        values = self._state(model)
        parts = torch.split(self.start, [value.numel() for value in values])
        for value, part in zip(values, parts, strict=True):
            value.copy_(part.view_as(value))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        stored = state_dict.get(f"{prefix}start")
        if stored is not None:
            # its length tells whether the trial is through
            self.start = self.start.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)  # type: ignore[no-untyped-call]


def configure(cfg: Any, facts: Any, *, trial: float, validation: float) -> Any:
    """The reference's fusion, classifiers of the modalities beside it, and a sampler that holds samples out."""
    names = competing(cfg, "gblend")
    widths = cfg.model.fusion.widths
    length = half(facts.iterations, trial)
    cfg.model.objective = {
        "type": "GradientBlending",
        "widths": {name: widths[name] for name in names},
        "classes": cfg.model.fusion.classes,
        "trial": trial,
        "validation": validation,
        "iterations": facts.iterations,
        "data": training_samples(cfg, facts, "gblend"),
    }
    cfg.train_dataloader.sampler = {
        "type": "HeldOutSampler",
        "fraction": validation,
        "until": 2 * length * facts.batch,
    }
    return cfg
