"""Which pages there are."""

import sys
from dataclasses import replace

import pytest
from records import TASK

from dashboard import pages, source
from suite.base.command import Command
from suite.base.errors import UserError
from suite.define.catalog import Catalog


def catalog(**offered):
    task = replace(TASK, offers={"pages": offered}) if offered else TASK
    return Catalog({TASK.name: task}, {})


def test_pages_in_their_order():
    found = pages.views(Catalog.load())
    assert {section: list(names) for section, names in found.items()} == {
        "Boards": [
            *("overview", "leaderboard", "compare", "trade-off", "classes", "geometry"),
            *("test-agnostic", "labels", "robustness", "modalities"),
        ],
        "Runs": ["jobs", "run"],
        "Literature": ["claims"],
    }
    assert found["Boards"]["test-agnostic"].TITLE == "Test-agnostic"


def test_without_a_task_its_page_is_not_there():
    assert pages.views(catalog()) == pages.VIEWS


def test_a_page_that_cannot_be_imported_says_so():
    page = pages.views(catalog(mine="no.such.module"))["Boards"]["mine"]
    assert page.TITLE == "mine"
    with pytest.raises(UserError, match=r"page mine: no\.such\.module cannot be imported: ModuleN"):
        page.page()


def test_a_name_that_is_taken_stays_what_it_is():
    assert pages.views(catalog(run="tasks.test_agnostic.page")) == pages.VIEWS


def test_commands_on_pages_say_what_the_server_was_told(monkeypatch):
    root = ("app.py", "--root", "/my results")
    for more, said in (
        ((), ""),
        (("--say-root", "--plugin=/a b.py"), " --root '/my results' --plugin '/a b.py'"),
        (("--data-root", "/data"), ""),
    ):
        monkeypatch.setattr(sys, "argv", [*root, *more])
        source._given.cache_clear()
        source.answer_the_call()
        assert str(Command("ingest")) == f"python -m suite ingest{said}"
    assert str(Command("plan")) == "python -m suite plan --data-root /data"
    source._given.cache_clear()
