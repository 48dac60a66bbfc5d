"""Test label distributions, and test sets that follow them: which of the test images are taken.

Sizes are test images per class, (C,). Nothing draws from a global generator.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError, UserError, did_you_mean
from tasks.test_agnostic.axis import class_order as class_order
from tasks.test_agnostic.axis import falling
from tasks.vision.groups import select

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_TOLERANCE = 1e-3  # of a prior's sum
_LARGEST = 10_000_000  # bytes of a prior's file
_LEAST_PARAMETER = 1e-7
_LARGEST_PARAMETER = 1e100  # the sum of much larger ones overflows
_KINDS = ("forward", "uniform", "backward")


def shifted_counts(
    sizes: Sequence[int], order: Array, ratio: float, backward: bool = False
) -> tuple[int, ...]:
    """Images of each class in the set forward-RATIO, or backward-RATIO: int(size r^(-rank / (C - 1))).

    `order` are class ids by falling training count; forward, the first has rank 0; backward, the last.
    LADE's protocol (Hong et al., CVPR 2021), which SADE took over. Truncated, not rounded. Raises UserError
    for a ratio below 1.
    """
    if not (math.isfinite(ratio) and ratio >= 1):
        raise UserError(f"the ratio of a shifted test set is {ratio:g}; it is at least 1")
    counts = [0] * len(sizes)
    weights = falling(len(sizes), ratio)
    for c, weight in zip(
        reversed(order.tolist()) if backward else order.tolist(), weights, strict=True
    ):
        counts[c] = int(sizes[c] * weight)
    return tuple(counts)


def shifted_subset(label: Array, counts: Sequence[int]) -> Array:
    """Places (int64) of `counts[c]` images of each class among the labels (N,), class after class.

    Always the same: numpy's legacy generator with seed 0 shuffles one class after another (SADE's code).
    Raises DataError where a class has fewer images.
    """
    _check_counts(label, counts)
    return select(label, counts, "shuffled")


@dataclass(frozen=True)
class Meta:
    """DirMixE's meta-distribution of test priors.

    Attributes:
        factor: parameter of the last class over that of the first.
        mass: sum of the parameters.
        jitter: each parameter is changed by a share uniform on [-jitter, jitter].
        least: images of a class at least.
    """

    factor: float
    mass: float
    jitter: float = 0.05
    least: int = 1


def component_mean(order: Array, factor: float, kind: str) -> Array:
    """Mean prior (C,) of a component: `forward`, `uniform` or `backward`, without jitter.

    Raises UserError for another component.
    """
    import numpy as np

    ranks = np.arange(len(order)) / max(len(order) - 1, 1)
    shares = _placed(factor**ranks, order, kind)
    mean: Array = shares / shares.sum()
    return mean


def dirichlet_counts(
    sizes: Sequence[int], order: Array, meta: Meta, kind: str, rng: np.random.Generator
) -> tuple[int, ...]:
    """Images of each class in a set drawn from a component of DirMixE's meta-distribution.

    a_c = int(m factor^(rank / (C - 1))) (uniform: m), m the largest class; changed by the jitter, scaled to
    the mass; p ~ Dir(a); n_c = max(int(m p_c / max p), least), of what there is. Raises UserError for another
    component.
    """
    import numpy as np

    largest, steps = max(sizes), max(len(sizes) - 1, 1)
    falling = [int(largest * meta.factor ** (rank / steps)) for rank in range(len(sizes))]
    mean = _placed(np.array(falling, np.float64), order, kind)
    mean *= 1 + rng.uniform(-meta.jitter, meta.jitter, len(mean))
    # truncation leaves 0 where the largest class has fewer images than 1 / factor
    mean = np.maximum(mean, _LEAST_PARAMETER)
    return _drawn_counts(sizes, mean * meta.mass / mean.sum(), meta.least, rng)


def symmetric_counts(
    sizes: Sequence[int], alpha: float, rng: np.random.Generator, least: int = 1
) -> tuple[int, ...]:
    """Images of each class in a set drawn from Dir(alpha, ..., alpha), as `dirichlet_counts`.

    Raises UserError unless alpha is a number above 0.
    """
    import numpy as np

    if not (math.isfinite(alpha) and alpha > 0):
        raise UserError(f"the concentration is {alpha:g}; it is a number above 0")
    return _drawn_counts(sizes, np.full(len(sizes), alpha), least, rng)


def _placed(falling: Array, order: Array, kind: str) -> Array:
    """Values (C,) by rank, as values by class id; for the uniform component the first one everywhere."""
    import numpy as np

    if kind not in _KINDS:
        raise UserError(f"unknown component {kind!r}{did_you_mean(kind, _KINDS)}")
    if kind == "uniform":
        return np.full(len(falling), falling[0])
    placed = np.empty(len(falling), falling.dtype)
    placed[order if kind == "forward" else order[::-1]] = falling
    return placed


def _drawn_counts(
    sizes: Sequence[int], parameters: Array, least: int, rng: np.random.Generator
) -> tuple[int, ...]:
    import numpy as np

    there = np.flatnonzero(sizes)
    counts = np.zeros(len(sizes), np.int64)
    if len(there):
        # without the absent classes the shares of the others are still Dirichlet; had one of them the
        # largest share, the set could be empty
        prior = rng.dirichlet(np.minimum(parameters[there], _LARGEST_PARAMETER))
        wanted = (max(sizes) * (prior / prior.max())).astype(np.int64)
        counts[there] = np.minimum(np.maximum(wanted, least), np.asarray(sizes)[there])
    drawn: list[int] = counts.tolist()
    return tuple(drawn)


def prior_counts(sizes: Sequence[int], prior: Sequence[float]) -> tuple[int, ...]:
    """Images of each class in the largest test set with the shares of `prior`, rounded down.

    Raises UserError for a share above 0 of a class without test images, and if no image is left.
    """
    absent = [c for c, (n, share) in enumerate(zip(sizes, prior, strict=True)) if share and not n]
    if absent:
        raise UserError(
            f"the prior gives class {absent[0]} the share {prior[absent[0]]:g}, but the test set has no "
            "image of it"
        )
    scale = min((n / share for n, share in zip(sizes, prior, strict=True) if share), default=0.0)
    # a product of a quotient may fall short of a whole number by an ulp
    counts = [
        min(n, math.floor(scale * share * (1 + 1e-12)))
        for n, share in zip(sizes, prior, strict=True)
    ]
    if not sum(counts):
        raise UserError("no test set has the shares of the prior: every class is rounded down to 0")
    return tuple(counts)


def draw_subset(label: Array, counts: Sequence[int], rng: np.random.Generator) -> Array:
    """Places (int64) of `counts[c]` random images of each class among the labels (N,), class after class.

    Raises DataError where a class has fewer images.
    """
    import numpy as np

    _check_counts(label, counts)
    chosen = [rng.permutation(np.flatnonzero(label == c))[:count] for c, count in enumerate(counts)]
    return np.concatenate(chosen).astype(np.int64)


def _check_counts(label: Array, counts: Sequence[int]) -> None:
    import numpy as np

    sizes = np.bincount(label, minlength=len(counts))
    for c, count in enumerate(counts):
        if count > sizes[c]:
            raise DataError(f"class {c} has {sizes[c]} test images, {count} are asked for")


def check_prior(values: Sequence[float], classes: int, where: str) -> tuple[float, ...]:
    """`values` as a prior of C classes, divided by their sum. Raises UserError, naming `where`.

    They must be finite, not negative, and sum to 1 within a thousandth.
    """
    if len(values) != classes:
        raise UserError(f"{where}: {len(values)} shares, expected {classes}, one a class")
    for c, value in enumerate(values):
        _check_share(value, f"{where}: the share of class {c}")
    try:
        total = math.fsum(values)
    except OverflowError:
        total = math.inf
    if abs(total - 1) > _TOLERANCE:
        hint = f"; divide each by {total:g}" if 0 < total < math.inf else ""
        raise UserError(f"{where}: the shares sum to {total:g}, not to 1{hint}")
    return tuple(value / total for value in values)


def read_prior(path: Path, class_names: Sequence[str]) -> tuple[float, ...]:
    """Shares (C,) from a CSV file: a number a line in label order, or lines `class,share`.

    A class is a name or an id, each once, in any order; a first line that holds no number is a header.
    Raises UserError for a file of another form, with the line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise UserError(f"{path}: larger than 10 MB, which is no list of shares")
        reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV: {error}") from None
    if rows and _is_header(rows[0][1], class_names):
        rows = rows[1:]
    if not rows:
        raise UserError(f"{path}: holds no shares; write a line `class,share` for each class")
    width = len(rows[0][1])
    if width not in (1, 2):
        raise UserError(
            f"{path}, line {rows[0][0]}: {width} columns, expected 1 or 2 (class,share)"
        )
    values: list[float] = []
    for line, row in rows:
        share = _number(row[-1])
        if len(row) != width or share is None:
            raise UserError(f"{path}, line {line}: {','.join(row)[:60]!r} is no share of a class")
        name = repr(row[0].strip()[:60]) if width == 2 else len(values)
        _check_share(share, f"{path}, line {line}: the share of class {name}")
        values.append(share)
    if width == 1:
        return check_prior(values, len(class_names), str(path))
    found: dict[int, float] = {}
    for (line, row), value in zip(rows, values, strict=True):
        c = _class_id(row[0].strip(), class_names, f"{path}, line {line}")
        if c in found:
            raise UserError(f"{path}, line {line}: class {row[0].strip()!r} for the second time")
        found[c] = value
    missing = [c for c in range(len(class_names)) if c not in found]
    if missing:
        more = f" (and {len(missing) - 1} more classes)" if len(missing) > 1 else ""
        raise UserError(f"{path}: no share of class {class_names[missing[0]]!r}{more}")
    return check_prior([found[c] for c in range(len(class_names))], len(class_names), str(path))


def _check_share(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise UserError(f"{what} is {value}, which is no number")
    if value < 0:
        raise UserError(f"{what} is {value:g}; shares are 0 or more")


def _is_header(row: Sequence[str], names: Sequence[str]) -> bool:
    # a class with a mistyped share is none
    return _number(row[-1]) is None and row[0].strip() not in names


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _class_id(text: str, names: Sequence[str], where: str) -> int:
    if text in names:
        return list(names).index(text)
    # Python refuses to convert thousands of digits
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < len(names):
        return int(text)
    raise UserError(f"{where}: unknown class {text[:60]!r}{did_you_mean(text, names)}")
