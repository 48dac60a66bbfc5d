"""Measures of neural collapse of a stored geometry, each a pure function in float64.

Papyan, Han and Donoho, "Prevalence of neural collapse during the terminal phase of deep learning training",
PNAS 2020, named the four properties; the distances to the simplex are those of Zhu et al., "A Geometric
Analysis of Neural Collapse with Unconstrained Features", NeurIPS 2021. Means over classes are over the K' classes
that have samples. A measure that is not defined for the arrays at hand is None: `reasons` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from suite.base.errors import RecordError
from tasks.vision.geometry import seli
from tasks.vision.geometry.stored import Geometry, row_distances

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

WEIGHTINGS = ("class", "sample")
CUT = 1e-8
"""Eigenvalues of S_B below this share of the largest count as 0."""
MOST_HULLS = 300
"""Above so many classes `one_vs_rest` is left out where it has no closed form."""


def centred_means(geometry: Geometry) -> Array:
    """(K', D), class means less their own mean mu_G, of the classes with samples."""
    means = geometry.mean[geometry.present]
    centred: Array = means - means.mean(axis=0)
    return centred


# -- NC1: scatter within classes


def nc1(geometry: Geometry, weighting: str = "class") -> float | None:
    """tr(S_W pinv(S_B)) / K', at least 0; 0 where features have collapsed to their class means.

    `weighting`: `class`, mu_G and S_W are means over classes; `sample`, over all samples (released code of
    Zhu et al. 2021): the same where classes are equally large. S_B = (1/K') sum (mu_c - mu_G)(mu_c - mu_G)^T either way,
    inverted over its largest K' - 1 eigenvalues at most, those above `CUT` of the largest: it has no larger
    rank. None where all means coincide. Raises RecordError for another weighting.
    """
    import numpy as np

    if weighting not in WEIGHTINGS:
        raise RecordError(f"nc1: unknown weighting {weighting!r}; known: {', '.join(WEIGHTINGS)}")
    here = geometry.present
    means, middle = geometry.mean[here], geometry.counts[here] / geometry.counts.sum()
    means = means - (means.mean(axis=0) if weighting == "class" else middle @ means)
    left, size, right = np.linalg.svd(means, full_matrices=False)
    kept = size[: len(here) - 1] ** 2 > CUT * size[0] ** 2
    if not size[0] > 0:
        return None
    left, size, right = (
        left[:, : len(kept)][:, kept],
        size[: len(kept)][kept],
        right[: len(kept)][kept],
    )
    # S_B = right^T diag(size^2) right / K', so K' cancels
    if weighting == "class" and geometry.within is not None:
        along = np.einsum("jd,jd->j", right @ geometry.within, right)
    else:
        stored = geometry.within_sample if weighting == "sample" else geometry.within_means
        assert stored is not None  # one of the two is there: `checked`
        part = stored[np.ix_(here, here)]
        along = np.einsum("cj,cj->j", part @ left, left) / size**2
    return float((along / size**2).sum())


def nc1_trace(geometry: Geometry) -> float | None:
    """tr S_W / tr S_B, at least 0: sees scatter outside the span of the means too. None where all means coincide."""
    between = (centred_means(geometry) ** 2).sum(axis=1).mean()
    within = geometry.within_trace[geometry.present].mean()
    return float(within / between) if between > 0 else None


def cdnv(geometry: Geometry, classes: Sequence[int] | None = None) -> float | None:
    """Class-distance normalised variance: mean over pairs of (v_c + v_c') / (2 ||mu_c - mu_c'||^2), at least 0.

    `classes`: only pairs among these. None where fewer than two of them have samples, or two means
    coincide. Source: Galanti, György and Hutter, "On the Role of Neural Collapse in Transfer Learning",
    ICLR 2022, definition 1.
    """
    import numpy as np

    chosen = _among(geometry, classes)
    if len(chosen) < 2:
        return None
    first, second = np.triu_indices(len(chosen), 1)
    spread = geometry.within_trace[chosen]
    means = geometry.mean[chosen]
    apart = row_distances(means - means.mean(axis=0))[first, second] ** 2
    value = ((spread[first] + spread[second]) / (2 * apart)).mean()
    return float(value) if np.isfinite(value) else None


# -- NC2: where class means and classifier rows lie


def simplex_gram(classes: int) -> Array:
    """T = (I - 11^T/K) / sqrt(K - 1), (K, K): the simplex's Gram matrix, of Frobenius norm 1."""
    import numpy as np

    found: Array = (np.eye(classes) - 1 / classes) / np.sqrt(classes - 1)
    return found


def gram_gap(product: Array, reference: Array) -> float | None:
    """|| P/||P||_F - R/||R||_F ||_F of two (K, K) matrices, in [0, 2]; None where one is 0."""
    import numpy as np

    norms = np.linalg.norm(product), np.linalg.norm(reference)
    if not min(norms) > 0:
        return None
    return float(np.linalg.norm(product / norms[0] - reference / norms[1]))


def nc2_of(rows: Array, orthogonal: bool = False) -> float | None:
    """Distance of the rows' (K, D) normalised Gram matrix from the simplex's, or from that of orthogonal rows of
    equal length (I/sqrt K); 0 iff it is that, in [0, 2]. Rows are not centred. None where all are 0, and for fewer
    than two."""
    import numpy as np

    if len(rows) < 2:
        return None
    reference = np.eye(len(rows)) if orthogonal else simplex_gram(len(rows))
    return gram_gap(rows @ rows.T, reference)


def nc2_means(geometry: Geometry) -> float | None:
    """`nc2_of` the centred class means. None for two classes: centred, they are opposite whatever they are."""
    return None if len(geometry.present) < 3 else nc2_of(centred_means(geometry))


def nc2_weights(geometry: Geometry, centred: bool = False) -> float | None:
    """`nc2_of` all rows of W, as they are or less their mean (None for two classes then)."""
    weight = geometry.weight
    if weight is None or (centred and len(weight) < 3):
        return None
    return nc2_of(weight - weight.mean(axis=0) if centred else weight)


def nc2_orthogonal(geometry: Geometry) -> float | None:
    """Distance of the *uncentred* class means from orthogonal ones of equal length.

    What ReLU features tend to under imbalance (Dang et al., "Neural Collapse for Cross-entropy
    Class-Imbalanced Learning with Unconstrained ReLU Features Model", ICML 2024).
    """
    return nc2_of(geometry.mean[geometry.present], orthogonal=True)


def equinorm(rows: Array) -> float | None:
    """Standard deviation over mean of the rows' norms, at least 0 (Papyan et al. 2020). None where all are 0."""
    import numpy as np

    norms = np.linalg.norm(rows, axis=1)
    return float(norms.std() / norms.mean()) if len(norms) and norms.mean() > 0 else None


def pair_cosines(rows: Array) -> Array | None:
    """Cosines of all pairs of K >= 2 rows, (K (K-1) / 2,) in [-1, 1]. None where a row is 0."""
    import numpy as np

    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if len(rows) < 2 or not (norms > 0).all():
        return None
    unit = rows / norms
    found: Array = np.clip((unit @ unit.T)[np.triu_indices(len(rows), 1)], -1, 1)
    return found


def equiangular(rows: Array) -> float | None:
    """Mean over pairs of |cos + 1/(K-1)|, in [0, K/(K-1)] (Papyan et al. 2020)."""
    import numpy as np

    cosine = pair_cosines(rows)
    return None if cosine is None else float(np.abs(cosine + 1 / (len(rows) - 1)).mean())


def max_cos(rows: Array) -> float | None:
    """Largest cosine of two rows, in [-1, 1]."""
    cosine = pair_cosines(rows)
    return None if cosine is None else float(cosine.max())


def min_angle(rows: Array) -> float | None:
    """Smallest angle of two rows, degrees in [0, 180]: 0 where two classes have merged (Fang et al., "Exploring
    deep neural networks via layer-peeled model: Minority collapse in imbalanced training", PNAS 2021)."""
    import numpy as np

    cosine = max_cos(rows)
    return None if cosine is None else float(np.degrees(np.arccos(cosine)))


def frame_gap(rows: Array) -> float | None:
    """`max_cos` less the least that is known for K rows in D dimensions (`frames.best_known`); at least 0
    where that is an optimum. None where none is known."""
    from tasks.vision.geometry.frames import best_known

    best, found = best_known(*rows.shape), max_cos(rows)
    return None if best is None or found is None else found - best


def one_vs_rest(rows: Array) -> float | None:
    """min_c dist(w_c/|w_c|, conv of the others), in [0, 2]; exact to 1e-8.

    Jiang et al., "Generalized Neural Collapse for a Large Number of Classes", ICML 2024: the softmax code
    is the frame for which it is largest (GNC2). None where a row is 0, for fewer than two rows, and above `MOST_HULLS`
    rows where the nearest points are not inside the others' hulls.
    """
    import numpy as np

    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if len(rows) < 2 or not (norms > 0).all():
        return None
    unit = rows / norms
    if unit.shape[1] > len(unit):
        # the same distances in at most K dimensions
        unit = np.linalg.qr(unit.T)[1].T
    inside = _hull_distances_inside(unit)
    if inside is not None:
        return float(inside.min())
    if len(rows) > MOST_HULLS:
        return None
    return min(_hull_distance(unit, c) for c in range(len(unit)))


def _hull_distances_inside(unit: Array) -> Array | None:
    """(K,) distances of each row from the others' hull, where each one's nearest point has all weights at least 0 of
    the others' affine hull; else None. O(K^3) for all.

    The weights a (own 1, of the others -lambda, sum 0) minimise a^T G a. Where sums are 0, G + 11^T is as
    good as G, and not singular for affinely independent rows: a = (G + 11^T)^-1 (alpha e_c + beta 1).
    """
    import numpy as np

    gram = unit @ unit.T + 1
    values, vectors = np.linalg.eigh(gram)
    if values[0] < 1e-10 * values[-1]:
        return None
    inverse = (vectors / values) @ vectors.T
    total = inverse.sum(axis=1)
    a = inverse - np.outer(total, total) / total.sum()
    size = np.diag(a)
    # column c, up to its own weight: a / size
    others = a / size
    np.fill_diagonal(others, -1)
    if (others > 1e-12).any():
        return None
    found: Array = 1 / np.sqrt(size)
    return found


def _hull_distance(unit: Array, c: int) -> float:
    """Distance of row c from the hull of the others, by non-negative least squares.

    With differences b_j = w_j - w_c the least ||sum x_j b_j||^2 + (sum x_j - 1)^2 over x >= 0 has the direction of
    the nearest point's weights, whatever the weight of the second term: along a ray t lambda it is least at
    d^2/(1 + d^2), which grows with the distance d of lambda.
    """
    import numpy as np
    from scipy.optimize import nnls

    apart = np.delete(unit, c, axis=0) - unit[c]
    target = np.zeros(unit.shape[1] + 1)
    target[-1] = 1
    weights = nnls(np.vstack([apart.T, np.ones(len(apart))]), target)[0]
    return float(np.linalg.norm(weights @ apart / weights.sum()))


# -- NC3: classifier and means beside each other


def nc3(geometry: Geometry) -> float | None:
    """|| W M^T/||W M^T||_F - T ||_F, M the centred means, in [0, 2]. 0 says that W M^T is the simplex's Gram
    matrix, not that W is M up to a factor (W S and M S^-T have the same product): see `duality`."""
    if geometry.weight is None:
        return None
    product = geometry.weight[geometry.present] @ centred_means(geometry).T
    return gram_gap(product, simplex_gram(len(product)))


def duality(geometry: Geometry) -> float | None:
    """Mean over classes of 1 - cos(w_c, m_c), in [0, 2] (GNC3 of Jiang et al. 2024). None where a row is 0, and
    where a class has no samples: means centred without it point elsewhere."""
    import numpy as np

    if geometry.weight is None or len(geometry.present) < geometry.classes:
        return None
    means = centred_means(geometry)
    sizes = np.linalg.norm(means, axis=1) * np.linalg.norm(geometry.weight, axis=1)
    if not (sizes > 0).all():
        return None
    cosine = np.einsum("kd,kd->k", means, geometry.weight) / sizes
    return float((1 - cosine).mean())


def nc_bias(geometry: Geometry) -> float | None:
    """|| W mu_G + b ||_2, in logits, at least 0."""
    import numpy as np

    if geometry.weight is None or geometry.bias is None:
        return None
    middle = geometry.mean[geometry.present].mean(axis=0)
    return float(np.linalg.norm(geometry.weight @ middle + geometry.bias))


# -- NC4: decisions


def nc4(geometry: Geometry) -> float | None:
    """Share of samples, in [0, 1], whose largest logit is not that of the nearest class mean. None without W."""
    if geometry.weight is None:
        return None
    return float(1 - geometry.agree.sum() / geometry.counts.sum())


def top1(geometry: Geometry) -> float:
    """Share of samples, in [0, 1], whose margin is above 0: 1 iff `margin_min` > 0."""
    return float(geometry.correct.sum() / geometry.counts.sum())


def ncc_top1(geometry: Geometry) -> float:
    """Share of samples, in [0, 1], whose nearest class mean is their class's."""
    return float(geometry.ncc_correct.sum() / geometry.counts.sum())


def nll(geometry: Geometry) -> float | None:
    """Mean over samples of the negative log-likelihood of the true class, nats."""
    if geometry.nll is None:
        return None
    here = geometry.present
    return float(geometry.counts[here] @ geometry.nll[here] / geometry.counts.sum())


# -- margins


def margin_min(geometry: Geometry, classes: Sequence[int] | None = None) -> float | None:
    """Smallest margin z_y - max_{c != y} z_c, in logits, of samples of `classes` or of all; None of none."""
    values = _of(geometry, geometry.margin, classes)
    return float(values.min()) if len(values) else None


def margin_q01(geometry: Geometry, classes: Sequence[int] | None = None) -> float | None:
    """1 % quantile of the margins (linear between order statistics)."""
    return _quantile(_of(geometry, geometry.margin, classes))


def margin_norm(geometry: Geometry, classes: Sequence[int] | None = None) -> float | None:
    """Mean distance to the nearest boundary over the feature's length, in [-1, 1] without a bias; samples where it
    is NaN are left out. The simplex's at exact collapse is sqrt(K / (2 (K-1)))."""
    values = _known(_of(geometry, geometry.margin_norm, classes))
    return float(values.mean()) if len(values) else None


def margin_norm_min(geometry: Geometry, classes: Sequence[int] | None = None) -> float | None:
    """Smallest normalised margin."""
    values = _known(_of(geometry, geometry.margin_norm, classes))
    return float(values.min()) if len(values) else None


def margin_norm_q01(geometry: Geometry, classes: Sequence[int] | None = None) -> float | None:
    """1 % quantile of the normalised margins."""
    return _quantile(_known(_of(geometry, geometry.margin_norm, classes)))


# -- class by class


def mean_norms(geometry: Geometry) -> Array:
    """(K,) norms of the centred class means, NaN for a class without samples."""
    import numpy as np

    found = np.full(geometry.classes, np.nan)
    found[geometry.present] = np.linalg.norm(centred_means(geometry), axis=1)
    return found


def weight_norms(geometry: Geometry) -> Array:
    """(K,) norms of W's rows, NaN without a linear layer."""
    import numpy as np

    if geometry.weight is None:
        return np.full(geometry.classes, np.nan)
    norms: Array = np.linalg.norm(geometry.weight, axis=1)
    return norms


def class_margins(geometry: Geometry) -> Array:
    """(K,) 1 % quantile of each class's margins, NaN for a class without samples."""
    import numpy as np

    order = np.argsort(geometry.label, kind="stable")
    parts = np.split(geometry.margin[order], np.cumsum(geometry.counts)[:-1])
    return np.array([np.quantile(p, 0.01) if len(p) else np.nan for p in parts])


# -- the reference for long tails


def seli_weights(geometry: Geometry, class_counts: Sequence[int] | Array) -> float | None:
    """Distance of W's normalised Gram matrix from that of the SELI geometry for the training counts, in [0, 2].
    None without a linear layer and where a class has no training image."""
    if geometry.weight is None or min(class_counts) < 1:
        return None
    return gram_gap(geometry.weight @ geometry.weight.T, seli.grams(class_counts)[0])


def seli_means(geometry: Geometry, class_counts: Sequence[int] | Array) -> float | None:
    """As `seli_weights`, of the centred class means. None where a class has no samples."""
    if len(geometry.present) < geometry.classes or min(class_counts) < 1:
        return None
    means = centred_means(geometry)
    return gram_gap(means @ means.T, seli.grams(class_counts)[1])


# -- parts


def _among(geometry: Geometry, classes: Sequence[int] | None) -> Array:
    import numpy as np

    here = geometry.present
    return here if classes is None else here[np.isin(here, list(classes))]


def _of(geometry: Geometry, values: Array, classes: Sequence[int] | None) -> Array:
    import numpy as np

    return values if classes is None else values[np.isin(geometry.label, list(classes))]


def _known(values: Array) -> Array:
    import numpy as np

    return values[~np.isnan(values)]


def _quantile(values: Array) -> float | None:
    import numpy as np

    return float(np.quantile(values, 0.01)) if len(values) else None
