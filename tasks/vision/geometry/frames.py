"""Frames: K unit vectors in d dimensions, one a class, that a classifier may be fixed to; and their arms.

Two things go by similar names and are kept apart. A *code* (signed; Tammes, Rankin) makes the largest cosine of two
vectors least: that is what separates classes, and for d >= K - 1 it is the simplex. *Lines* make the largest absolute
cosine least: the Grassmannian frame of frame theory, in which opposite vectors are the same line.

    python -m tasks.vision.geometry.frames 100 3

makes the code of 100 classes in 3 dimensions and stores it beside the others, in `codes/`: a tracked file, since
it decides results and an optimiser's last digits differ by machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError, UserError
from suite.base.files import write_atomic
from tasks.vision.data.drawing import Draw

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

CODES = Path(__file__).parent / "codes"
NAMED = (5, 3, 2)
"""Dimensions that have a method of their own, `code-D`."""
ARMS = 1000
"""Arms of a frame: numbers 0 to 999."""
RESTARTS = 40

_PERMUTATIONS, _ROTATIONS, _STARTS = 1, 2, 3  # seeds: each kind of draw from a stream of its own
_SHARPNESS = (10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)
_STEPS = 100  # linear programmes at most
_FIRST = 4  # restarts begin in turn at so many of the first: from the softest alone some optima are never reached

# Least largest cosine known where no formula gives it, found by `optimise` with 40 restarts (24 for 20 and
# more), rounded up in the 9th place. Those of d = 3 are Tammes' problem (proved up to K = 14 and for 24), (9, 3) is 1/3, (10, 4) 1/6
# and (24, 4) 1/2.
_BEST = {
    (7, 3): 0.210138313,
    (8, 3): 0.261203875,
    (9, 3): 0.333333334,
    (10, 3): 0.404394326,
    (11, 3): 0.447213596,
    (12, 3): 0.447213596,
    (13, 3): 0.542636487,
    (14, 3): 0.563950301,
    (15, 3): 0.592605903,
    (16, 3): 0.612294617,
    (20, 3): 0.676477139,
    (24, 3): 0.723078469,
    (9, 4): 0.162015200,
    (10, 4): 0.166666667,
    (11, 4): 0.230405564,
    (12, 4): 0.250000000,
    (13, 4): 0.307295654,
    (14, 4): 0.319518595,
    (15, 4): 0.350992176,
    (16, 4): 0.387628178,
    (20, 4): 0.434258546,
    (24, 4): 0.500000000,
    (11, 5): 0.132853543,
    (12, 5): 0.153931606,
    (13, 5): 0.187259852,
    (14, 5): 0.200000000,
    (15, 5): 0.200000000,
    (16, 5): 0.200000000,
    (20, 5): 0.299385693,
}


# -- frames


def simplex(classes: int, dimensions: int) -> Array:
    """The canonical simplex equiangular tight frame, (K, D) float64: unit rows, all cosines -1/(K-1).

    sqrt(K/(K-1)) (I - 11^T/K) U^T with U = I padded with zeros; for D = K - 1 its coordinates in Helmert's
    orthonormal contrasts. Raises UserError for fewer than two classes or dimensions, and for D < K - 1.
    """
    import numpy as np

    _check_sizes(classes, dimensions)
    if dimensions < classes - 1:
        below = [d for d in NAMED if d <= dimensions]
        raise UserError(
            f"a simplex ETF of {classes} classes needs {classes - 1} dimensions, there are {dimensions}; "
            f"take a signed code, which needs fewer: method code-{below[0]}"
        )
    frame = np.zeros((classes, dimensions))
    if dimensions == classes - 1:
        for j in range(1, classes):
            frame[:j, j - 1] = 1 / math.sqrt(j * (j + 1))
            frame[j, j - 1] = -j / math.sqrt(j * (j + 1))
    else:
        frame[:, :classes] = np.eye(classes) - 1 / classes
    return frame * math.sqrt(classes / (classes - 1))


def code(classes: int, dimensions: int) -> Array:
    """The stored signed code of K classes in d < K - 1 dimensions, (K, d) float64, unit rows.

    Raises UserError where none is stored (the command that makes it is named) and for d >= K - 1, where the
    code is the simplex; DataError where the file is not what its digest says.
    """
    import numpy as np

    _check_sizes(classes, dimensions)
    if dimensions >= classes - 1:
        raise UserError(
            f"in {dimensions} dimensions the code of {classes} classes is the simplex ETF: take method etf-cos, or "
            f"at most {classes - 2} dimensions"
        )
    path = _path(classes, dimensions)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"no code of {classes} classes in {dimensions} dimensions is stored; make it: "
            f"python -m tasks.vision.geometry.frames {classes} {dimensions}"
        ) from None
    try:
        found = json.loads(text)
        frame = np.array(found["vectors"], np.float64)
        sound = frame.shape == (classes, dimensions) and digest(frame) == found["digest"]
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise DataError(
            f"{path}: not the code of {classes} classes in {dimensions} dimensions with the digest it names; "
            "restore the tracked file"
        )
    return frame


def digest(frame: Array) -> str:
    """SHA-256 (hex) of a frame (K, D): its float64 numbers, row after row, little-endian."""
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(frame, "<f8").tobytes()).hexdigest()


def best_known(classes: int, dimensions: int) -> float | None:
    """The least largest cosine known of K unit vectors in d dimensions, in [-1, 1]; None where none is.

    -1/(K-1) for d >= K - 1; 0 for d + 2 <= K <= 2 d (Rankin, "The closest packing of spherical caps in n
    dimensions", 1955); cos(2 pi / K) in the plane; else a tabulated value or that of a stored code.
    """
    if classes < 2 or dimensions < 1:
        return None
    if dimensions >= classes - 1:
        return -1 / (classes - 1)
    if dimensions == 1:
        return 1.0
    if classes <= 2 * dimensions:
        return 0.0
    if dimensions == 2:
        return math.cos(2 * math.pi / classes)
    known = _BEST.get((classes, dimensions))
    if known is None and _path(classes, dimensions).exists():
        known = largest_cosine(code(classes, dimensions))
    return known


def largest_cosine(frame: Array, absolute: bool = False) -> float:
    """Largest cosine, or absolute cosine, of two different rows of unit length."""
    import numpy as np

    gram = frame @ frame.T
    cosine = gram[np.triu_indices(len(frame), 1)]
    return float((np.abs(cosine) if absolute else cosine).max())


def welch(classes: int, dimensions: int) -> float:
    """Welch's lower bound on the largest absolute cosine of K lines in d dimensions, sqrt((K-d)/(d(K-1))), 0 for
    K <= d."""
    return math.sqrt(max(classes - dimensions, 0) / (dimensions * (classes - 1)))


def nearest_simplex(means: Array) -> Array:
    """The simplex ETF (K, D), unit rows, whose orientation is nearest to class means (K, D), centred here.

    Orthogonal Procrustes: of all orthogonal R the canonical frame M R with the least distance from the means, whatever
    their length (the cheap form of Markou et al., "Guiding Neural Collapse", NeurIPS 2024). Raises UserError as
    `simplex`, and for means that are not finite.
    """
    import numpy as np

    means = np.asarray(means, np.float64)
    if means.ndim != 2 or not np.isfinite(means).all():
        raise UserError(
            "class means are NaN or infinite, or no matrix (K, D): no simplex is near them"
        )
    frame = simplex(*means.shape)
    left, _, right = np.linalg.svd(frame.T @ (means - means.mean(axis=0)))
    found: Array = frame @ (left @ right)
    return found


# -- arms


def permutation(classes: int, number: int) -> list[int]:
    """Arm `number` of the label assignments: place c of the result is the row that class c gets.

    All arms differ, and none is the identity. The same on every machine. Raises UserError for a number outside
    0 .. min(1000, K! - 1) - 1.
    """
    arms = ARMS if classes > 6 else min(ARMS, math.factorial(classes) - 1)
    _check_arm("permutation", number, arms)
    draw = Draw(_PERMUTATIONS)
    identity = list(range(classes))
    seen = {tuple(identity)}
    while True:
        found = draw.shuffled(identity)
        if tuple(found) in seen:
            continue
        seen.add(tuple(found))
        if len(seen) == number + 2:
            return found


def permuted(frame: Array, number: int | None) -> Array:
    """The frame with its rows in the order of `permutation`; as it is for None."""
    found: Array = frame if number is None else frame[permutation(len(frame), number)]
    return found


def haar(dimensions: int, number: int) -> Array:
    """Arm `number` of the rotations: an orthogonal matrix (D, D) from the uniform (Haar) distribution.

    Q of a Gaussian matrix's QR with the signs of R's diagonal (Mezzadri, "How to generate random matrices
    from the classical compact groups", 2007). Raises UserError for a number outside 0..999.
    """
    import numpy as np

    _check_arm("rotation", number, ARMS)
    q, r = np.linalg.qr(_gaussian(np.random.PCG64([_ROTATIONS, number]), dimensions, dimensions))
    found: Array = q * np.sign(np.diag(r))
    return found


def rotated(frame: Array, number: int | None) -> Array:
    """The frame (K, D) times `haar`; as it is for None."""
    found: Array = frame if number is None else frame @ haar(frame.shape[1], number)
    return found


# -- optimisation


def optimise(
    classes: int, dimensions: int, restarts: int = RESTARTS, *, lines: bool = False
) -> Array:
    """The best of `restarts` frames (K, d) float64 found, unit rows: a code, or lines.

    Minimises logsumexp over i != j of beta <m_i, m_j> (of beta |<m_i, m_j>|) over beta, in steps of beta up to
    10^4, by L-BFGS on the sphere, and goes on to the local optimum by linear programmes. Turned so that the
    first d rows are lower triangular, positive on the diagonal. In the plane a code is the regular polygon, and for
    K = 2 d the orthoplex, class c opposite to class c + d. Raises UserError for fewer than two classes or
    dimensions and fewer than one restart.
    """
    import numpy as np

    _check_sizes(classes, dimensions)
    if restarts < 1:
        raise UserError(f"{restarts} restarts; at least 1 is needed")
    if dimensions == 2 and not lines:
        angles = 2 * np.pi * np.arange(classes) / classes
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if classes == 2 * dimensions and not lines:
        return np.concatenate([np.eye(dimensions), 0 - np.eye(dimensions)])
    bits = np.random.PCG64([_STARTS, classes, dimensions])
    best: Array | None = None
    for restart in range(restarts):
        start = _gaussian(bits, classes, dimensions)
        found = _descend(start, _SHARPNESS[restart % _FIRST :], lines)
        if best is None or largest_cosine(found, lines) < largest_cosine(best, lines):
            best = found
    assert best is not None  # at least one restart
    best = _polish(best, lines)
    # m = L Q^T: turned by Q the rows are those of L
    lower: Array = np.linalg.qr(best.T).R.T
    turned = lower * np.where(np.diag(lower) < 0, -1, 1)
    # + 0: no -0, which reads oddly and has a digest of its own
    unit: Array = turned / np.linalg.norm(turned, axis=1, keepdims=True) + 0.0
    return unit


def _descend(start: Array, sharpness: Sequence[float], lines: bool) -> Array:
    import numpy as np
    from scipy.optimize import minimize

    shape = start.shape
    itself = np.eye(len(start), dtype=bool)

    def objective(values: Array, beta: float) -> tuple[float, Array]:
        rows = values.reshape(shape)
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / norm
        gram = unit @ unit.T
        scaled = beta * (np.abs(gram) if lines else gram)
        scaled[itself] = -np.inf
        top = scaled.max()
        share = np.exp(scaled - top)
        total = share.sum()
        share /= total
        slope = 2 * (share * np.sign(gram) if lines else share) @ unit
        slope -= (slope * unit).sum(axis=1, keepdims=True) * unit
        return (math.log(total) + top) / beta, (slope / norm).ravel()

    rows = start
    for beta in sharpness:
        options = {"maxiter": 1000, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-9}
        found = minimize(objective, rows.ravel(), (beta,), "L-BFGS-B", jac=True, options=options)
        rows = found.x.reshape(shape)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _polish(frame: Array, lines: bool) -> Array:
    """The frame at its local optimum to about 1e-12: a linear programme for the least largest cosine to first
    order, within a box that shrinks where it did not help."""
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import coo_matrix

    classes, dimensions = frame.shape
    unknowns = classes * dimensions + 1  # the moves and the bound t
    best, box = largest_cosine(frame, lines), 1e-2
    for _ in range(_STEPS):
        if box < 1e-13:
            break
        gram = frame @ frame.T
        sign = np.sign(gram) if lines else np.ones_like(gram)
        first, second = np.triu_indices(classes, 1)
        near = (sign * gram)[first, second] > best - 4 * box * math.sqrt(dimensions)
        first, second = first[near], second[near]
        # sign (<m_i, m_j> + <move_i, m_j> + <m_i, move_j>) - t <= 0
        pair, axis = np.indices((len(first), dimensions))
        along = sign[first, second][:, None]
        parts = (
            (pair, first[pair] * dimensions + axis, along * frame[second]),
            (pair, second[pair] * dimensions + axis, along * frame[first]),
            (pair[:, :1], np.full((len(first), 1), unknowns - 1), -np.ones((len(first), 1))),
        )
        row, column, value = (np.concatenate([p[k].ravel() for p in parts]) for k in range(3))
        bound = coo_matrix((value, (row, column)), (len(first), unknowns)).tocsr()
        # moves stay on the sphere to first order
        own, axis = np.indices(frame.shape)
        place = (own * dimensions + axis).ravel()
        tangent = coo_matrix((frame.ravel(), (own.ravel(), place)), (classes, unknowns)).tocsr()
        cost = np.zeros(unknowns)
        cost[-1] = 1
        found = linprog(
            cost,
            A_ub=bound,
            b_ub=-(sign * gram)[first, second],
            A_eq=tangent,
            b_eq=np.zeros(classes),
            bounds=[(-box, box)] * (unknowns - 1) + [(-1, 1)],
        )
        if found.x is not None:
            moved = frame + found.x[:-1].reshape(frame.shape)
            moved = moved / np.linalg.norm(moved, axis=1, keepdims=True)
            if largest_cosine(moved, lines) < best:
                frame, best = moved, largest_cosine(moved, lines)
                continue
        box /= 4
    return frame


def _gaussian(bits: Any, *shape: int) -> Array:
    """Independent standard normal numbers of PCG64's raw stream (Box and Muller): the methods of numpy's generators may
    change between releases."""
    import numpy as np

    count = math.prod(shape)
    # in (0, 1]: the logarithm is finite
    uniform = ((bits.random_raw(2 * count) >> np.uint64(11)) + np.uint64(1)) * 2.0**-53
    values = np.sqrt(-2 * np.log(uniform[:count])) * np.cos(2 * np.pi * uniform[count:])
    drawn: Array = values.reshape(shape)
    return drawn


# -- storing


def store(frame: Array, folder: Path = CODES) -> Path:
    """Writes a code (K, d) with its digest and largest cosine, and returns the file."""
    classes, dimensions = frame.shape
    path = _path(classes, dimensions, folder)
    fields = {
        "classes": classes,
        "dimensions": dimensions,
        "max_cos": largest_cosine(frame),
        "digest": digest(frame),
    }
    rows = ",\n".join(f"    {json.dumps([float(x) for x in row])}" for row in frame)
    head = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items())
    write_atomic(path, f'{{\n{head},\n  "vectors": [\n{rows}\n  ]\n}}\n'.encode())
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes and stores a code; an existing one is left, since results hang on it."""
    parser = argparse.ArgumentParser(prog="python -m tasks.vision.geometry.frames")
    parser.add_argument("classes", type=int)
    parser.add_argument("dimensions", type=int)
    parser.add_argument("--restarts", type=int, default=RESTARTS)
    parser.add_argument("--folder", type=Path, default=CODES)
    chosen = parser.parse_args(arguments)
    if chosen.dimensions >= chosen.classes - 1:
        parser.error("from K - 1 dimensions on the code is the simplex: nothing to store")
    path = _path(chosen.classes, chosen.dimensions, chosen.folder)
    if not chosen.folder.is_dir():
        parser.error(f"no folder {chosen.folder}; make it first")
    if path.exists():
        parser.error(f"{path} exists, and results hang on it; remove it first to make it anew")
    try:
        frame = optimise(chosen.classes, chosen.dimensions, chosen.restarts)
        store(frame, chosen.folder)
    except (UserError, OSError) as problem:
        parser.error(str(problem))
    print(f"{path}: largest cosine {largest_cosine(frame):.6f}, digest {digest(frame)}")


def _path(classes: int, dimensions: int, folder: Path = CODES) -> Path:
    return folder / f"code-{classes}-{dimensions}.json"


def _check_sizes(classes: int, dimensions: int) -> None:
    if classes < 2:
        raise UserError(f"a frame of {classes} classes separates nothing; at least two are needed")
    if dimensions < 2:
        raise UserError(
            f"a frame in {dimensions} dimension{'s' * (dimensions != 1)} has no angles; at least two are needed"
        )


def _check_arm(kind: str, number: int, arms: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < arms:
        raise UserError(
            f"{kind} {number!r}: arms have the numbers 0 to {arms - 1}; without one the frame is as it is"
        )


if __name__ == "__main__":
    main()
