"""What a new task costs: the one in `tests/toy` is found, trained, scored and ranked by what the floor gives."""

import importlib
import json
import os

import dashboards
import pytest
from conftest import ROOT
from dashboards import _restored  # noqa: F401

from dashboard import pages
from suite.define.catalog import Catalog
from suite.define.protocol import recipe_digest
from tasks.vision.recipes.small_images import small_images

TOY = ROOT / "tests/toy"
MOST_LINES = 120


@pytest.fixture
def toy(monkeypatch):
    """The task in this process and in those it starts, as an installed package would be."""
    monkeypatch.syspath_prepend(str(TOY))
    monkeypatch.setenv("PYTHONPATH", f"{TOY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def test_a_task_with_two_methods_is_short():
    files = sorted(TOY.rglob("*.py"))
    assert {"toy_task.py", "plain.py", "weighted.py"} <= {file.name for file in files}
    assert sum(len(file.read_text().splitlines()) for file in files) <= MOST_LINES


def test_its_protocol_is_whole_without_import_paths(toy):
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("toy"), "smoke")
    assert protocol.dataset.groups == {"head": (0, 1, 2), "medium": (3, 4, 5, 6), "tail": (7, 8, 9)}
    assert protocol.dataset.check(TOY, True) == []
    config, facts = protocol.build(TOY)
    assert "toy_task" in config["custom_imports"]["imports"]
    assert facts.class_counts[0] == 80 and facts.class_counts[-1] == 8
    assert facts.observed and not facts.variant
    toy_task = importlib.import_module("toy_task")
    blank = small_images(toy_task.RECIPE, toy_task.SOURCE, "")
    del blank["custom_imports"]  # where modules are is no part of the protocol
    assert protocol.recipe == recipe_digest(blank)


def test_both_methods_are_trained_and_ranked_by_its_metric(toy, suite, inside, tmp_path):
    both = ("--task", "toy", "--method", "plain", "--method", "weighted")
    done = suite("run", *both, "--seeds", "0")
    assert done.returncode == 0, done.stderr
    rows = json.loads(inside("leaderboard", "--task", "toy", "--format", "json").stdout)["rows"]
    assert {row["method"] for row in rows} == {"plain", "weighted"}
    board = inside("leaderboard", "--task", "toy").stdout
    assert "ranked by gap (lower is better)" in board and "recall" in board
    # its page, which is its own, too
    dashboards._pages.cache_clear()
    page = dashboards.open_page(tmp_path / "results", "toy")
    assert "How far apart are the best and the worst class?" in dashboards.texts(page)


def test_its_page_is_found(toy):
    assert pages.views(Catalog.load())["Boards"]["toy"].TITLE == "Toy"
