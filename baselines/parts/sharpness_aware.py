"""Sharpness-aware training of parts of the classes apart: what SAM, ImbSAM, Focal-SAM and SSE-SAM share.

A step's gradient is the sum over parts p of

    grad L_p(w + rho_p grad L_p(w) / ||grad L_p(w)||),   L_p = 1/|B| sum_i c_p[y_i] l_i

(Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization", ICLR 2021, for one
part that weighs every class 1). The norm is over all parameters jointly, without weight decay.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, OPTIM_WRAPPERS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from suite.base.errors import MethodWarning, UserError
from tasks.vision.networks.classifier import ImageClassifier, Target

EPSILON = 1e-16
"""Added to the norm, as the authors do: a gradient of zero perturbs nothing."""

Gradients = list[Tensor | None]
"""One for each parameter, None where the loss does not depend on it."""
LossesAt = Callable[[Sequence[int], bool], list[Tensor]]
"""(parts, whether the weights are perturbed) -> their losses at the present weights."""


def step_gradient(
    parameters: Sequence[Tensor], radii: Sequence[float], losses_at: LossesAt
) -> tuple[Gradients, Tensor]:
    """The gradient of a step, and the sum of the parts' losses at the weights themselves.

    Parts of radius 0 share one backward pass. The parameters are afterwards what they were, bit for bit.

    Args:
        parameters: w, leaves.
        radii: rho_p >= 0 of every part.
        losses_at: evaluates parts, which are named by their places in `radii`.
    """
    flat = [i for i, rho in enumerate(radii) if rho == 0]
    sharp = [i for i, rho in enumerate(radii) if rho > 0]
    losses = losses_at([*flat, *sharp], False)
    total = _sum([loss.detach() for loss in losses])
    # all directions first: the perturbation invalidates the graph that they share
    gradient: Gradients = [None] * len(parameters)
    if flat:
        gradient = _grad(_sum(losses[: len(flat)]), parameters, retain=bool(sharp))
    ascents = [
        _grad(losses[len(flat) + k], parameters, i != sharp[-1]) for k, i in enumerate(sharp)
    ]
    del losses  # and with them the graph, before the next ones are made
    for i in sharp:
        with perturbed(parameters, ascents.pop(0), radii[i]):
            gradient = _add(gradient, _grad(losses_at([i], True)[0], parameters))
    return gradient, total


def passes_of(radii: Sequence[float], shares: Sequence[float], together: bool) -> float:
    """Passes over the batch that `step_gradient` makes, a forward and a backward being one.

    Args:
        shares: part of the batch that a pass of each part takes, in [0, 1].
        together: whether the parts share the forward pass at the weights themselves.
    """
    flat = [share for rho, share in zip(radii, shares, strict=True) if rho == 0]
    sharp = [share for rho, share in zip(radii, shares, strict=True) if rho > 0]
    forward = max(shares, default=0.0) if together else sum(shares)
    backward = max(flat, default=0.0) if together else sum(flat)
    return (forward + backward + 3 * sum(sharp)) / 2


@contextmanager
def perturbed(parameters: Sequence[Tensor], ascent: Gradients, rho: float) -> Iterator[None]:
    """w + rho g / (||g|| + 1e-16) for the block; afterwards w again, bit for bit."""
    moved = [p.detach() for p, g in zip(parameters, ascent, strict=True) if g is not None]
    full = [g.float() if g.itemsize < 4 else g for g in ascent if g is not None]
    kept = [p.clone() for p in moved]
    scale = rho / (nn.utils.get_total_norm(full) + EPSILON)
    torch._foreach_add_(moved, torch._foreach_mul(full, scale))
    try:
        yield
    finally:
        torch._foreach_copy_(moved, kept)


def _grad(loss: Tensor, parameters: Sequence[Tensor], retain: bool = False) -> Gradients:
    found = torch.autograd.grad(loss, parameters, retain_graph=retain, allow_unused=True)
    return list(found)


def _add(one: Gradients, other: Gradients) -> Gradients:
    return [b if a is None else a if b is None else a + b for a, b in zip(one, other, strict=True)]


def _sum(losses: Sequence[Tensor]) -> Tensor:
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total


@contextmanager
def moving_statistics(model: nn.Module, share: float) -> Iterator[None]:
    """Running statistics of batch normalisation move by `share` in [0, 1] of their momentum.

    Whatever the share, batches are normalised by their own statistics in training.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        # without tracking rather than with momentum 0, which would still let an infinite value in
        layer.track_running_stats = share > 0
        if layer.momentum is not None:  # None: a plain mean over all batches
            layer.momentum *= share
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.track_running_stats, layer.momentum = True, momentum


class _Generators:
    """States of the generators that a forward pass may draw from."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def rewind(self) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)


@dataclass(frozen=True, kw_only=True)
class Part:
    """c_p and rho_p: `rho` until `switch` of the training is through, then `rho2` (None: still rho).

    `class_weight` has an entry per class; None weighs all 1.
    """

    rho: float
    rho2: float | None = None
    switch: float = 1.0
    class_weight: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if min(self.rho, self.rho2 or 0) < 0:
            raise ValueError(f"radii are {self.rho} and {self.rho2}, expected >= 0")

    def radius(self, done: float) -> float:
        """rho_p when `done` in [0, 1) of the training is through."""
        return self.rho if self.rho2 is None or done < self.switch else self.rho2

    def config(self) -> dict[str, Any]:
        """Of which `Part(**config)` is made; equal weights of 1 are none."""
        weight = self.class_weight
        equal = weight is None or all(w == 1 for w in weight)
        return {
            "rho": self.rho,
            "rho2": self.rho2,
            "switch": self.switch,
            "class_weight": None if equal or weight is None else list(weight),
        }

    @property
    def everywhere(self) -> bool:
        """Whether no class has weight 0, so that no batch is without a sample of the part."""
        return self.class_weight is None or all(self.class_weight)


@OPTIM_WRAPPERS.register_module()
class SharpnessAwareOptimWrapper(OptimWrapper):  # type: ignore[misc]
    """Takes gradients instead of a loss. Clips and accumulates them, and counts passes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._passes, self._steps = 0.0, 0

    def update_params(self, loss: Tensor, *_: Any, **__: Any) -> None:
        """Raises TypeError: training would silently become plain SGD."""
        raise TypeError(
            "sharpness-aware training needs SharpnessAwareClassifier's own train_step, which this "
            "model (or its wrapper for distributed training) does not call"
        )

    def take(self, parameters: Sequence[Tensor], gradients: Gradients, passes: float) -> None:
        """Add the gradients to those of the parameters, and step where enough are accumulated."""
        share = self.scale_loss(torch.ones(())).item()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is None:
                continue
            if parameter.grad is None:
                # its own memory and layout: clipping is in place, and autograd may hand out one tensor twice
                parameter.grad = torch.empty_like(parameter).copy_(gradient).mul_(share)
            else:
                parameter.grad.add_(gradient, alpha=share)
        self._inner_count += 1
        self._passes += passes
        self._steps += 1
        if self.should_update():
            self.step()
            self.zero_grad()

    @property
    def passes_per_step(self) -> float:
        """Mean over the steps so far, in passes over the batch."""
        return self._passes / max(self._steps, 1)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "passes": self._passes, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        state = dict(state_dict)
        self._passes, self._steps = state.pop("passes"), state.pop("steps")
        super().load_state_dict(state)


@MODELS.register_module()
class SharpnessAwareClassifier(ImageClassifier):
    """An `ImageClassifier` that makes its own training steps.

    Every pass of a step sees the same images, mixed once, and the same draws of the loss. A part without
    a sample in the batch is left out.

    Args:
        parts: configs of `Part`; each class has a weight in one of them at least.
        group_norm: `batch`: L_p is a sum over |B|, as above; `group`: L_p times |B| over the number of
            samples that the part has in the batch.
        group_batches: a pass takes only the samples of its part. Without batch normalisation that is the
            same and cheaper; with it, each part is normalised by itself, and moves the running statistics
            by its share of the batch.
        perturbed_statistics: passes at perturbed weights move running statistics too.
    """

    def __init__(
        self,
        *args: Any,
        parts: Sequence[Mapping[str, Any]],
        group_norm: str = "batch",
        group_batches: bool = False,
        perturbed_statistics: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.parts = [Part(**part) for part in parts]
        weights = [p.class_weight for p in self.parts if p.class_weight is not None]
        if len(weights) == len(self.parts) and not all(map(any, zip(*weights, strict=True))):
            raise ValueError("parts: a class has weight 0 in all of them")
        self.by_group = group_norm == "group"
        self.group_batches, self.perturbed_statistics = group_batches, perturbed_statistics
        for i, part in enumerate(self.parts):
            weight = part.class_weight
            # Derived from the data, so not part of the weights.
            self.register_buffer(
                f"part{i}", None if weight is None else torch.tensor(list(weight)), persistent=False
            )
        self.done = 0.0

    def set_progress(self, done: float) -> None:
        """`done` in [0, 1) of the iterations are through (`suite.engine.stages.ProgressHook`)."""
        self.done = done

    def train_step(self, data: Any, optim_wrapper: SharpnessAwareOptimWrapper) -> dict[str, Tensor]:
        """One step; {"loss": the sum of the parts' losses before it}."""
        data = self.data_preprocessor(data, True)
        batch = _Batch(self, *self.mixed(data["inputs"], data["label"]))
        radii = [self.parts[i].radius(self.done) for i in batch.present]
        shares = [batch.share(i) for i in batch.present]
        parameters = [p for p in self.parameters() if p.requires_grad]
        gradients, loss = step_gradient(
            parameters,
            radii,
            lambda places, moved: batch.losses([batch.present[at] for at in places], moved),
        )
        passes = passes_of(radii, shares, together=not self.group_batches)
        optim_wrapper.take(parameters, gradients, passes)
        return {"loss": loss}


class _Batch:
    """A mini-batch, run through the network as often as a step needs it."""

    def __init__(
        self, model: SharpnessAwareClassifier, images: Tensor, targets: Sequence[Target]
    ) -> None:
        self._model, self._images = model, images
        self._drawn = _Generators(images.device)
        self._counted = _counters(model.head.loss_module)
        self._targets = [self._weighted(i, targets) for i in range(len(model.parts))]
        self._members: list[Tensor | None] = [None] * len(model.parts)
        self.present = list(range(len(model.parts)))
        # looked at only where it matters: looking waits for the device
        if model.group_batches or not all(part.everywhere for part in model.parts):
            self._members = [self._chosen(i) for i in self.present]
            self.present = [i for i, m in enumerate(self._members) if m is not None and len(m)]

    def share(self, part: int) -> float:
        """Of the batch that a pass of the part takes."""
        members = self._members[part]
        if members is None or not self._model.group_batches:
            return 1.0
        return len(members) / len(self._images)

    def losses(self, parts: Sequence[int], moved: bool) -> list[Tensor]:
        """L_p of some parts at the present weights; `moved`: these are perturbed ones."""
        with self._model.autocast(self._images):
            if not self._model.group_batches:
                return self._pass(parts, None, moved)
            return [loss for i in parts for loss in self._pass([i], self._members[i], moved)]

    def _pass(self, parts: Sequence[int], members: Tensor | None, moved: bool) -> list[Tensor]:
        model = self._model
        images = self._images if members is None else self._images[members]
        counted = not moved or model.perturbed_statistics
        self._drawn.rewind()
        with moving_statistics(model, self.share(parts[0]) if counted else 0.0):
            features = model.features(images)
            scores = model.head(features)
        if members is not None:
            # the loss divides by what the whole batch has: the others are there, with weight 0
            size = len(self._images)
            features, scores = (_spread(values, members, size) for values in (features, scores))
        drawn = _Generators(images.device)
        losses = []
        for i in parts:
            drawn.rewind()
            for buffer, before in self._counted:
                buffer.copy_(before)
            losses.append(model.head.loss_of(scores, features, self._targets[i]))
        return losses

    def _weighted(self, part: int, targets: Sequence[Target]) -> list[Target]:
        """The targets with the part's weights."""
        by_class: Tensor | None = getattr(self._model, f"part{part}")
        if by_class is None:
            return list(targets)
        ours = [by_class[label] for label, _ in targets]
        scale: Tensor | float = 1.0
        if self._model.by_group:
            # a mixed image is a sample by the share that its label has
            shares = [
                (c != 0).to(c) * (1.0 if weight is None else weight)
                for c, (_, weight) in zip(ours, targets, strict=True)
            ]
            scale = len(self._images) / _sum(shares).sum().clamp(min=EPSILON)
        return [
            (label, c * scale if weight is None else c * weight * scale)
            for c, (label, weight) in zip(ours, targets, strict=True)
        ]

    def _chosen(self, part: int) -> Tensor:
        """Places (n,) of the samples that the part weighs."""
        weights = [torch.ones_like(label) if w is None else w for label, w in self._targets[part]]
        return _sum([weight != 0 for weight in weights]).nonzero()[:, 0]


def _counters(loss: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Buffers in which a loss counts what it has seen, such as seesaw's, with their values now.

    A step counts its batch once, in however many passes. What a loss only derives from its settings is no
    part of its state.
    """
    state = loss.state_dict(keep_vars=True)
    return [(b, b.clone()) for name, b in loss.named_buffers() if name in state]


def _spread(values: Tensor, members: Tensor, size: int) -> Tensor:
    """Rows (n, D) at the places `members` (n,) of zeros (size, D)."""
    return values.new_zeros(size, *values.shape[1:]).index_copy(0, members, values)


def split_by_size(counts: Sequence[float], eta: float) -> tuple[list[float], list[float]]:
    """(1 for head classes, 1 for tail classes), 0 elsewhere: tail classes are those with n_c < eta.

    Warns where one of the two is empty.
    """
    tail = [float(n < eta) for n in counts]
    if not 0 < sum(tail) < len(tail):
        missing = "tail" if not any(tail) else "head"
        listed = " ".join(f"{n:g}" for n in counts[:12]) + " ..." * (len(counts) > 12)
        warnings.warn(
            f"eta={eta:g} leaves no {missing} class: the training counts are {listed}; set eta between "
            f"{min(counts):g} and {max(counts):g}",
            MethodWarning,
            stacklevel=3,
        )
    return [1 - t for t in tail], tail


def sharpen(cfg: Any, parts: Sequence[Part], **settings: Any) -> Any:
    """`cfg` with sharpness-aware steps on whatever loss it has; `settings` of `SharpnessAwareClassifier`.

    A part that weighs no class is left out. Raises UserError where something else owns the step.
    """
    for where, wanted in ((cfg.model, "ImageClassifier"), (cfg.optim_wrapper, "OptimWrapper")):
        found = where.get("type", "OptimWrapper")
        if found != wanted:
            raise UserError(
                f"sharpness-aware training makes the steps of {wanted}, but the loss's method has put "
                f"{found} there; choose another loss, such as ce"
            )
    cfg.model.type = SharpnessAwareClassifier.__name__
    cfg.model.parts = [
        part.config() for part in parts if part.class_weight is None or any(part.class_weight)
    ]
    cfg.model.update(settings)
    cfg.optim_wrapper.type = SharpnessAwareOptimWrapper.__name__
    return cfg
