"""What a review says of a stranger's results."""

import pytest
from strangers import (
    Stranger,
    catalog,
    tree,
)

from suite.base.errors import UserError
from suite.exchange.importing import accept
from suite.exchange.review.examine import review


def reviewed(one: Stranger):
    return review(one.folder, one.root, catalog())


def refused(one: Stranger) -> set[str]:
    """Checks that found a problem; nothing may have been written."""
    before = tree(one.folder, one.root)
    found = reviewed(one)
    assert tree(one.folder, one.root) == before
    assert not found.acceptable
    with pytest.raises(UserError):
        accept(found, one.root, catalog())
    assert tree(one.folder, one.root) == before
    everything = [*found.findings, *(f for run in found.runs for f in run.findings)]
    return {finding.check for finding in everything if finding.level == "problem"}
