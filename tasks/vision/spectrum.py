"""Ends of the spectrum of a loss's Hessian.

They come from Hessian-vector products (Pearlmutter, "Fast Exact Multiplication by the Hessian", Neural
Computation 6, 1994) and either of two solvers:

- `power_ends`: power iteration, on H and then on H - shift I. The largest eigenvalue takes a few
  products; the smallest hundreds, for it is smaller than the shift by orders of magnitude.
- `lanczos_ends`: the same iteration that keeps its iterates, and takes both ends from their span, where
  a shift changes nothing. It needs some twenty products for both, and memory for as many vectors.

This is a torch module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""v (P,) -> H v (P,)."""
Parts = Callable[[], Iterable[Tensor]]
"""The terms of a loss, scalars, made one after another: what is added up need not fit into memory."""

TOLERANCE = 1e-3
"""Relative change of an eigenvalue from one product to the next at which it counts as found."""
_ROUNDING = 1e-6  # of the spectral radius: what float32 products cannot tell from zero


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
    vector, before = start / norm(start), math.nan
    for left in reversed(range(iterations)):
        image = product(vector)
        value, radius = _dot(vector, image), norm(image)
        extreme = Extreme(value, norm(image - value * vector))
        image = image - shift * vector
        length = norm(image)
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
    basis = [start / norm(start)]
    diagonal: list[float] = []
    beside: list[float] = []
    before = torch.full((2,), math.nan, dtype=torch.float64)
    while True:
        image = product(basis[-1])
        diagonal.append(_dot(basis[-1], image))
        for _ in range(2):  # once leaves what rounding left of the largest component
            for vector in basis:
                image = image - _dot(vector, image) * vector
        length = norm(image)
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


def norm(a: Tensor) -> float:
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
