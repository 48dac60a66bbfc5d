"""Adversarial perturbations of pixels in [0, 1], within L2 distances: what attacks of training batches share.

delta is of the shape of the pixels, (B, C, H, W); norms are of a sample's whole perturbation. The network is asked in
evaluation mode, by gradients that go nowhere but to delta, so that its weights' gradients and its batch statistics are
what they would be without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_EPSILON = 1e-10
"""Added to norms of gradients, as the authors of DRAUC do."""

Objective = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, 1), delta) -> what is ascended, a scalar."""
Value = Callable[[Tensor], Tensor]
"""logits (B, 1) -> by what the best of a sample's perturbations is chosen, (B, 1)."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the block; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def squared_norms(delta: Tensor) -> Tensor:
    """(B,) of (B, ...)."""
    return delta.flatten(1).square().sum(1)


def over(values: Tensor, like: Tensor) -> Tensor:
    """Values (B,) in a shape that broadcasts over `like`, (B, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


def random_start(pixels: Tensor, radii: Tensor) -> Tensor:
    """Gaussian directions with norms that are uniform in [0, radius], (B, ...).

    Drawn from torch's generator of the CPU, whatever the device: it is what checkpoints hold.
    """
    direction = torch.randn(pixels.shape, dtype=pixels.dtype)
    share = torch.rand(len(pixels), dtype=pixels.dtype)
    share /= squared_norms(direction).sqrt().clamp(min=torch.finfo(share.dtype).tiny)
    scale = share.to(pixels.device) * radii
    return direction.to(pixels.device) * over(scale, direction)


def in_box(pixels: Tensor, delta: Tensor) -> Tensor:
    """delta so that no pixel leaves [0, 1]."""
    return (pixels + delta).clamp(0, 1) - pixels


def in_ball(delta: Tensor, radii: Tensor) -> Tensor:
    """delta with norms of at most `radii`, (B,)."""
    norms = squared_norms(delta).sqrt()
    shrunk = (radii / norms.clamp(min=torch.finfo(norms.dtype).tiny)).clamp(max=1)
    return delta * over(shrunk, delta)


def strongest(
    model: Any,
    pixels: Tensor,
    *,
    start: Tensor,
    step: float,
    iterations: int,
    objective: Objective,
    value: Value | None = None,
    radii: Tensor | None = None,
) -> Tensor:
    """The perturbation of each sample, after steps of length `step` along the gradient of `objective`.

    With `value` it is, of those after each step, the one of the highest value (of equal ones the last); without, the
    last. `start` itself is none of them. What a step has found is judged by the forward pass that the next step makes
    anyway: T steps take T passes, and half a pass more where there is something to choose from.

    Args:
        model: has `logits` and `autocast`.
        start: delta_0, within [0, 1] with the pixels; it is where no step is made.
        iterations: T >= 0.
        radii: (B,), of balls to which every step is projected; None: none.
    """
    delta = start.detach()
    best: Tensor | None = None
    highest: Tensor | None = None

    def judge(scores: Tensor) -> None:
        nonlocal best, highest
        assert value is not None
        found = value(scores.detach())
        if best is None or highest is None:
            best, highest = delta.detach(), found
            return
        better = found >= highest
        best = torch.where(over(better.flatten(), delta), delta.detach(), best)
        highest = torch.where(better, found, highest)

    choosing = value is not None and iterations > 1
    with evaluating(model), torch.enable_grad():
        for taken in range(iterations):
            delta.requires_grad_(True)
            scores = _logits(model, pixels + delta)
            if choosing and taken:
                judge(scores)
            (gradient,) = torch.autograd.grad(objective(scores, delta), delta)
            with torch.no_grad():
                length = squared_norms(gradient).sqrt() + _EPSILON
                delta = delta + gradient * over(step / length, gradient)
                if radii is not None:
                    delta = in_ball(delta, radii)
                delta = in_box(pixels, delta)
        if choosing:
            with torch.no_grad():
                judge(_logits(model, pixels + delta))
    return delta.detach() if best is None else best


def _logits(model: Any, pixels: Tensor) -> Tensor:
    with model.autocast(pixels):
        scores: Tensor = model.logits(pixels)
    return scores


def perturbed(pixels: Tensor, delta: Tensor) -> Tensor:
    """Pixels in [0, 1], without a graph."""
    return (pixels + delta).clamp(0, 1).detach()
