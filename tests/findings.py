"""A place for `doctor` to examine, and what it finds there."""

import pytest

from suite.base import settings
from suite.upkeep.doctor.finding import Place


@pytest.fixture(autouse=True)
def _fresh_config():
    settings.config.cache_clear()
    yield
    settings.config.cache_clear()


@pytest.fixture
def place(tmp_path):
    return Place(root=tmp_path)


def states(found):
    return [(one.check, one.state) for one in found]


def one(found, state):
    """The single finding of that state."""
    (only,) = (finding for finding in found if finding.state == state)
    return only
