"""Attempts for `prune`, and what it asks of the code of today."""

import pytest
from records import TODAY, Records

from suite.define.digest import Code


class Today:
    """A catalog for whom every method's code is `TODAY`, but that of `unknown`."""

    code = Code({})

    def digest(self, spec, inputs=None):
        from suite.base.errors import UserError

        if spec.method == "unknown":
            raise UserError("unknown method 'unknown'")
        return TODAY


@pytest.fixture
def board(tmp_path):
    return Records(tmp_path)


def fill(attempt, name, size=1000):
    """A file of an attempt, or a checkpoint."""
    path = attempt.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path
