"""The handwritten digits as scikit-learn has them, without importing it."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tasks.vision.data import handwritten


@pytest.mark.parametrize("there", [True, False])
def test_they_are_those_of_load_digits(there, monkeypatch):
    if not there:
        # a scikit-learn that keeps its file elsewhere
        monkeypatch.setattr(handwritten, "FILE", Path("elsewhere.csv.gz"))
    assert (handwritten.file() is not None) == there
    images, labels = handwritten.digits()
    bunch = load_digits()
    for own, theirs in ((images, bunch.images), (labels, bunch.target)):
        assert own.dtype == theirs.dtype and np.array_equal(own, theirs)


def test_the_version_is_the_installed_ones():
    import sklearn

    assert handwritten.version() == sklearn.__version__
