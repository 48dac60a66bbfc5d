"""Methods that build on others: one that starts from another's weights, one that wraps another."""

import pytest

from suite.define.catalog import Catalog
from suite.dispatch.carry_out import assignments
from suite.runs.plan import make_plan
from suite.runs.worker import execute

SECOND = """
CARD = {
    "title": "Second stage",
    "tasks": ["fake"],
    "names": {"second": {"summary": "goes on where another run ended"}},
    "params": {"sleep": {"default": 0.0}},
    "needs": {"inputs": {"stage1": "steady"}, "extra_budget": True},
}


def configure(cfg, facts, *, inputs, sleep):
    start = float(open(inputs["stage1"]).read())
    return {"start": start, "sleep": sleep, "at": 0, "what": "none"}
"""
OVER = """
CARD = {
    "title": "Over",
    "tasks": ["fake"],
    "names": {"over": {"summary": "twice as slow as another"}},
    "params": {
        "factor": {"default": 2.0, "low": 0.0},
        "under": {"default": "steady", "method": True},
    },
}


def configure(cfg, facts, *, factor):
    return {**cfg, "start": cfg["start"] * factor}
"""


@pytest.fixture
def plugins(tmp_path):
    files = {"second.py": SECOND, "over.py": OVER}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return [tmp_path / name for name in files]


@pytest.fixture
def catalog(plugins):
    return Catalog.load(plugins)


def plan_of(catalog, root, protocol="quick", **options):
    task = catalog.task("fake")
    return make_plan(root, catalog, task, catalog.protocol(task, protocol), **options)


def carry_out(catalog, root, plan):
    return [execute(work, catalog).state for work in assignments(plan.items, root, None)]
