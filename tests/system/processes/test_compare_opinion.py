"""Critical differences against scikit-posthocs, whose matplotlib asks the system for fonts."""

import numpy as np
import pytest

from suite.stats import critical_difference as posthoc
from suite.stats import tests as stats


def test_pairs_told_apart_are_scikit_posthocs():
    package = pytest.importorskip("scikit_posthocs")
    rng = np.random.default_rng(1)
    scores = rng.random((12, 5)) + np.array([0, 0.1, 0.3, 0.6, 0.9])
    found = posthoc.critical_difference(scores)
    p = package.posthoc_nemenyi_friedman(scores).to_numpy()
    together = {(i, j) for clique in found.cliques for i in clique for j in clique}
    for i in range(5):
        for j in range(5):
            if i != j:
                assert ((i, j) in together) == (p[i, j] > stats.ALPHA)
