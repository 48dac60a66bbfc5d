"""Curvature of a classifier's training loss where its training ended, for each group of classes apart.

The ends of the Hessian's spectrum tell a sharp valley (a large positive eigenvalue) from a saddle (a
clearly negative one) of the head's or the tail's loss, which SSE-SAM (AAAI 2025) is about. They come from
Hessian-vector products (Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural Computation 6,
1994) and either of two solvers:

- `power_ends`: power iteration, on H and then on H - shift I. The largest eigenvalue takes a few
  products; the smallest hundreds, for it is smaller than the shift by orders of magnitude.
- `lanczos_ends`: the same iteration that keeps its iterates, and takes both ends from their span, where
  a shift changes nothing. It needs some twenty products for both, and memory for as many vectors.

This is a torch module.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, FUNCTIONS, HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from suite.base.errors import RecordError
from suite.engine.resume import bare_model

Product = Callable[[Tensor], Tensor]
"""v (P,) -> H v (P,)."""
Parts = Callable[[], Iterable[Tensor]]
"""The terms of a loss, scalars, made one after another: what is added up need not fit into memory."""

TOLERANCE = 1e-3
"""Relative change of an eigenvalue from one product to the next at which it counts as found."""
_ROUNDING = 1e-6  # of the spectral radius: what float32 products cannot tell from zero
_SEED = 0


@dataclass(frozen=True)
class Extreme:
    """An end of a spectrum: the Rayleigh quotient v'Hv and ||Hv - (v'Hv) v||, v of length 1.

    An eigenvalue lies within `residual` of `value`. The quotient lies within the spectrum: the largest
    eigenvalue is not below it, the smallest not above it.
    """

    value: float
    residual: float


def power_ends(
    product: Product, start: Tensor, iterations: int = 30, tolerance: float = TOLERANCE
) -> tuple[Extreme, Extreme]:
    """(smallest, largest) eigenvalue of a symmetric operator by power iteration with a shift.

    Args:
        product: the operator.
        start: (P,), random, so that it has a share in every eigenvector.
        iterations: products at most, for each end.
        tolerance: relative to the operator's own quotient, also where it is shifted.

    NaN where a product is not finite.
    """
    first, radius = _power(product, start, 0.0, iterations, tolerance)
    # by the length of Hv rather than the quotient, which lies between the ends where they are opposite
    second, _ = _power(product, start, math.copysign(radius, first.value), iterations, tolerance)
    low, high = sorted((first, second), key=lambda end: end.value)
    return low, high


def _power(
    product: Product, start: Tensor, shift: float, iterations: int, tolerance: float
) -> tuple[Extreme, float]:
    """(quotient of H, ||Hv||) after power iteration on H - shift I."""
    vector, before = start / _norm(start), math.nan
    for left in reversed(range(iterations)):
        image = product(vector)
        value, radius = _dot(vector, image), _norm(image)
        extreme = Extreme(value, _norm(image - value * vector))
        image = image - shift * vector
        length = _norm(image)
        # not length > 0: zero or NaN
        if abs(value - before) < tolerance * abs(value) or not left or not length > 0:
            break
        vector, before = image / length, value
    return extreme, radius


def lanczos_ends(
    product: Product, start: Tensor, iterations: int = 30, tolerance: float = TOLERANCE
) -> tuple[Extreme, Extreme]:
    """(smallest, largest) eigenvalue of a symmetric operator by Lanczos' method.

    Arguments as in `power_ends`, but that `iterations` products are for both ends, and two more for
    their residuals. Ends when neither Ritz value changes any more and both residuals are small (the
    error is of second order in them). All vectors are kept and orthogonalised against each other, which
    in finite precision the three-term recurrence is not enough for (Parlett, "The Symmetric Eigenvalue
    Problem", 1980, chapter 13).
    """
    basis = [start / _norm(start)]
    diagonal: list[float] = []
    beside: list[float] = []
    before = torch.full((2,), math.nan, dtype=torch.float64)
    while True:
        image = product(basis[-1])
        diagonal.append(_dot(basis[-1], image))
        for _ in range(2):  # once leaves what rounding left of the largest component
            for vector in basis:
                image = image - _dot(vector, image) * vector
        length = _norm(image)
        if not math.isfinite(length):
            return Extreme(math.nan, math.nan), Extreme(math.nan, math.nan)
        ritz, vectors = torch.linalg.eigh(_tridiagonal(diagonal, beside))
        ends, radius = ritz[[0, -1]], float(ritz.abs().max())
        scale = ends.abs().clamp(min=_ROUNDING * radius)
        settled = (ends - before).abs() < tolerance * scale
        settled &= length * vectors[-1, [0, -1]].abs() < math.sqrt(tolerance) * scale
        # the span is closed under H where nothing is left of the image
        if bool(settled.all()) or len(basis) == iterations or length <= _ROUNDING * radius:
            break
        basis.append(image / length)
        beside.append(length)
        before = ends
    found = []
    for column in (0, -1):
        vector = torch.zeros_like(start)
        for share, kept in zip(vectors[:, column].tolist(), basis, strict=True):
            vector += share * kept
        # not from the recurrence: rounding is in the residual then
        found.append(_power(product, vector, 0.0, 1, tolerance)[0])
    return found[0], found[1]


def _tridiagonal(diagonal: list[float], beside: list[float]) -> Tensor:
    """Symmetric, float64."""
    off = torch.tensor(beside, dtype=torch.float64)
    middle = torch.tensor(diagonal, dtype=torch.float64)
    return middle.diag() + off.diag(1) + off.diag(-1)


def _dot(a: Tensor, b: Tensor) -> float:
    # in double: the terms are millions
    return float((a.double() * b.double()).sum())


def _norm(a: Tensor) -> float:
    return math.sqrt(_dot(a, a))


SOLVERS = {"lanczos": lanczos_ends, "power": power_ends}


def loss_gradient(parts: Parts, parameters: Sequence[Tensor]) -> tuple[float, Tensor]:
    """The loss (the sum of its parts) and its gradient, flat (P,); zero for what it does not depend on."""
    loss, total = 0.0, _flat([torch.zeros_like(p) for p in parameters])
    for part in parts():
        total += _flat(_grad(part, parameters))
        loss += part.item()
    return loss, total


def hessian_product(parts: Parts, parameters: Sequence[Tensor], vector: Tensor) -> Tensor:
    """Hessian of the loss times `vector`, both flat (P,) over the parameters."""
    sizes = [p.numel() for p in parameters]
    along = [v.view_as(p) for v, p in zip(torch.split(vector, sizes), parameters, strict=True)]
    total = torch.zeros_like(vector)
    for part in parts():
        gradient = _grad(part, parameters, create_graph=True)
        slope = torch.stack([(g * v).sum() for g, v in zip(gradient, along, strict=True)]).sum()
        total += _flat(_grad(slope, parameters))
    return total


def _grad(value: Tensor, inputs: Sequence[Tensor], create_graph: bool = False) -> Sequence[Tensor]:
    return torch.autograd.grad(
        value, inputs, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@HOOKS.register_module()
class SharpnessHook(Hook):
    """At the end of a training: ends of the Hessian's spectrum of each group's loss.

    The loss is the mean cross entropy of the model's logits over the group's training images, as they
    are stored, with the statistics of batch normalisation fixed: the same function whatever loss and
    augmentation the method trained with. The Hessian is that of all the model's weights, in float32. A group
    without images is left out. Model and generators are left as they were.

    Args:
        dataset: config of the training images without augmentation; it has `labels` (N,).
        collate: name of its collate function.
        groups: group name -> class ids.
        images: of a group at most so many are taken, evenly spaced in the data set's order.
        batch: images at a time: what memory allows, the results are the same but for rounding.
        iterations: of the solver at most.
        solver: `lanczos` or `power`.

    Raises ValueError for another solver and for numbers below 1.
    """

    priority = "LOWEST"  # after hooks that put other weights in place at the end

    def __init__(
        self,
        dataset: dict[str, Any],
        collate: str,
        groups: Mapping[str, Sequence[int]],
        images: int = 512,
        batch: int = 128,
        iterations: int = 30,
        solver: str = "lanczos",
    ) -> None:
        if solver not in SOLVERS:
            known = ", ".join(SOLVERS)
            raise ValueError(f"SharpnessHook: unknown solver {solver!r}; known: {known}")
        if min(images, batch, iterations) < 1:
            raise ValueError("SharpnessHook: images, batch and iterations must be at least 1")
        self.dataset, self.collate, self.groups = dataset, collate, groups
        self.images, self.batch = images, batch
        self.iterations, self.solver = iterations, solver
        self._arrays: dict[str, np.ndarray] | None = None

    def after_train(self, runner: Runner) -> None:
        model = bare_model(runner)
        dataset = DATASETS.build(self.dataset)
        found = []
        with _as_measured(model):
            for name, classes in self.groups.items():
                chosen = choose(dataset.labels, classes, self.images)
                if chosen:
                    found.append({"group": name, **self._measure(model, dataset, chosen)})
        self._arrays = {key: np.array([one[key] for one in found]) for key in (found or [{}])[0]}

    def arrays(self) -> dict[str, np.ndarray]:
        """Of G groups, (G,) each: `group`, names; `lambda_max`, `lambda_min`, float64, with `residual_max`
        and `residual_min` (`Extreme`), NaN where the loss has no finite Hessian; `loss` (nats) and
        `gradient_norm` at the weights; `images`, int64, the number taken.

        Raises RecordError before a training has ended, or if no group had images.
        """
        if not self._arrays:
            raise RecordError(
                "no sharpness: no training has ended, or no group has a training image"
            )
        return dict(self._arrays)

    def _measure(self, model: Any, dataset: Any, chosen: Sequence[int]) -> dict[str, float | int]:
        # a generator of its own: a loader draws from the global one else
        loader = DataLoader(
            Subset(dataset, chosen),
            self.batch,
            collate_fn=FUNCTIONS.get(self.collate),
            generator=torch.Generator(),
        )
        batches = [model.data_preprocessor(batch, False) for batch in loader]
        parameters = [p for p in model.parameters() if p.is_floating_point()]

        def parts() -> Iterator[Tensor]:
            for batch in batches:
                logits = model(**batch, mode="tensor")
                yield F.cross_entropy(logits, batch["label"], reduction="sum") / len(chosen)

        loss, gradient = loss_gradient(parts, parameters)
        start = torch.randn(len(gradient), generator=torch.Generator().manual_seed(_SEED))
        low, high = SOLVERS[self.solver](
            lambda vector: hessian_product(parts, parameters, vector),
            start.to(gradient),
            self.iterations,
        )
        return {
            "lambda_max": high.value,
            "lambda_min": low.value,
            "residual_max": high.residual,
            "residual_min": low.residual,
            "loss": loss,
            "gradient_norm": _norm(gradient),
            "images": len(chosen),
        }


def choose(labels: Tensor, classes: Sequence[int], images: int) -> list[int]:
    """At most `images` places of samples of the classes, evenly spaced among all such places."""
    wanted = torch.tensor(list(classes), dtype=torch.int64)
    members = torch.isin(labels.cpu(), wanted).nonzero()[:, 0]
    taken = min(images, len(members))
    return members[torch.arange(taken) * len(members) // max(taken, 1)].tolist()


@contextlib.contextmanager
def _as_measured(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, gradients of all weights, float32 without autocast and TF32; all undone after."""
    modes = {module: module.training for module in model.modules()}
    wanted = {p: p.requires_grad for p in model.parameters() if p.is_floating_point()}
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    device = next(iter(wanted)).device.type
    try:
        model.eval()
        for parameter in wanted:
            parameter.requires_grad_(True)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        with torch.enable_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)
        # one by one: a part may have been frozen in evaluation mode
        for module, mode in modes.items():
            module.training = mode
