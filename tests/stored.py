"""Records with a store, and what the store holds."""

import pytest
from records import Records

from suite.store.connection import connect


@pytest.fixture
def board(tmp_path):
    return Records(tmp_path / "results")


def query(board, sql, *parameters):
    with connect(board.root) as store:
        return store.execute(sql, list(parameters)).fetchall()


def everything(board):
    """All content, comparable between stores."""
    tables = {
        "attempts": "* EXCLUDE (row_id)",
        "evaluations": "* EXCLUDE (evaluation_id)",
        "summary": "* EXCLUDE (row_id)",
        "ranks": "* EXCLUDE (row_id)",
        "refused": "*",
        "files": "*",
    }
    content = {
        t: sorted(map(repr, query(board, f"SELECT {c} FROM {t}"))) for t, c in tables.items()
    }
    content["metrics"] = query(
        board,
        "SELECT e.path, m.* EXCLUDE (evaluation_id) FROM metrics m JOIN evaluations e "
        "USING (evaluation_id) ORDER BY ALL",
    )
    return content
