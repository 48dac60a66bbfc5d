"""Imports of old names, from plug-ins and from packages: they work, and say the new name."""

import importlib.util
import re
import sys
import tomllib
import warnings
from pathlib import Path

import pytest
from conftest import ROOT

from suite.base import moved
from suite.base.errors import UserError
from suite.base.moved import MovedWarning
from suite.define.catalog import Catalog
from tasks.vision.data.read_image import read_image

TABLES = {
    name: tomllib.loads((ROOT / name / "moved.toml").read_text())
    for name in ("suite", "tasks", "baselines")
}
OLD = {old for table in TABLES.values() for old in table if ":" not in old}


@pytest.mark.parametrize("package", TABLES)
def test_every_new_name_can_be_imported(package):
    """A module that moves again, or is split, has its new name(s) put here, under all of its old ones."""
    for old, homes in TABLES[package].items():
        assert old.partition(".")[0] == package
        assert old.partition(":")[0] in TABLES[package]
        for home in homes:
            module, _, name = home.partition(":")
            found = importlib.util.find_spec(module)
            assert found is not None and found.origin, f"{old}: no {home}"
            assert not name or hasattr(importlib.import_module(module), name), f"{old}: no {home}"


def test_no_module_stands_where_an_old_name_is():
    """But for a few that are the names of rooms now."""
    for old in OLD:
        place = ROOT / old.replace(".", "/")
        assert not place.with_suffix(".py").exists()


PLUGIN = """
CARD = {
    "title": "Mine",
    "tasks": ["fake"],
    "names": {"mine": {"summary": "mine"}},
}
TOP


def configure(cfg, facts):
    return {"start": 0.0, "sleep": 0.0, "at": 0, "what": "none"}
"""


def plugin(folder: Path, top: str = "") -> Path:
    path = folder / "mine.py"
    path.write_text(PLUGIN.replace("TOP", top))
    return path


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    """Nobody has imported an old name before."""
    for name in [name for name in sys.modules if name in OLD]:
        monkeypatch.delitem(sys.modules, name)
        package, _, last = name.rpartition(".")
        if last in vars(sys.modules.get(package, sys)):
            monkeypatch.delattr(sys.modules[package], last)


def tried(line: str) -> tuple[dict[str, object], list[warnings.WarningMessage]]:
    """What an import gives, and what it warns of."""
    names: dict[str, object] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(line, "theirs.py", "exec"), names)
    del names["__builtins__"]
    return names, caught


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("from suite.jsonio import canonical", ["suite.jsonio.canonical is now suite.base.canonical.canonical"]),
        (
            "from suite.record import (\n    Attempt,\n    Record as R,\n)",
            [
                "suite.record.Attempt is now suite.records.attempt.Attempt",
                "suite.record.Record is now suite.records.files.Record",
            ],
        ),
        ("import suite.errors", ["suite.errors is now suite.base.errors"]),
        ("import math, suite.errors as e", ["suite.errors is now suite.base.errors"]),
        ("from suite import errors", ["suite.errors is now suite.base.errors"]),
        ("from suite.errors import UserError", ["suite.errors is now suite.base.errors"] * 2),
        ("import baselines.aggregation", ["baselines.aggregation is now baselines.parts.aggregation"]),
        ("import suite.export.charts", ["suite.export.charts is now suite.render.svg"]),
        # what is called otherwise too
        ("from suite.plan import Item", ["suite.plan.Item is now suite.runs.todo.PlannedRun"]),
    ],
)  # fmt: skip
def test_an_old_name_can_be_imported_and_says_the_new_one(line, says):
    _, caught = tried(line)
    assert [str(one.message) for one in caught] == says
    assert {one.category for one in caught} == {MovedWarning}
    # at the line of whoever imports it
    assert {one.filename for one in caught} == {"theirs.py"}


def test_what_is_imported_by_its_old_name_is_the_same():
    names, _ = tried("from suite.errors import UserError\nfrom tasks.longtail_cls import lists")
    assert names["UserError"] is UserError
    assert names["lists"].read_image is read_image
    assert not hasattr(names["lists"], "__wrapped__")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        # a room has its name now
        (
            "from suite.stats import welch",
            "suite.stats is now suite.stats.tests: write from suite.stats.tests import welch",
        ),
        ("from suite.stats import nix", "suite.stats is now suite.stats.tests; nix is no longer called so"),
        (
            "from suite.errors import UserError, nothing",
            "suite.errors is now suite.base.errors; nothing is no longer called so",
        ),
        ("from suite.migrate import migrate", "suite.migrate is gone"),
        ("import suite.migrate", "suite.migrate is gone"),
        # nobody's old names
        ("import nothing_here", "No module named 'nothing_here'"),
        ("from suite.base.errors import nothing", "cannot import name 'nothing' from 'suite.base.errors'"),
        ("from suite import nix", "cannot import name 'nix' from 'suite'"),
        ("import suite.errors.deep", "No module named 'suite.errors.deep'; 'suite.errors' is not a package"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_one_clear_line(fake, tmp_path, line, says):
    path = plugin(tmp_path, line)
    with pytest.raises(UserError) as caught:
        Catalog.load([path])
    assert str(caught.value).startswith(f"--plugin {path}: raises on import: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_says_it_once_and_works_on(fake, inside, tmp_path):
    plugin(tmp_path, "from suite.task import Task, Metric\nfrom suite.stats.tests import welch")
    with pytest.warns(MovedWarning) as told:
        done = inside("plan", "--task", "fake", "--plugin", "mine.py", "--method", "mine")
    assert done.returncode == 0
    assert [(one.filename, one.lineno, str(one.message)) for one in told] == [
        (f"{tmp_path}/mine.py", 7, "suite.task.Task is now suite.define.task.Task"),
        (f"{tmp_path}/mine.py", 7, "suite.task.Metric is now suite.define.task.Metric"),
    ]


def test_no_list_is_read_where_imports_work(monkeypatch):
    monkeypatch.setattr(moved, "_table", lambda top: pytest.fail("a list is read"))
    tried("import json, suite.base.errors\nfrom suite.define import catalog")
    with pytest.raises(ModuleNotFoundError):
        tried("import nothing_here")


def test_an_entry_point_is_named(tmp_path, monkeypatch):
    package(tmp_path, tasks={"old": "old_tasks:TASK"})
    (tmp_path / "old_tasks.py").write_text("from suite.migrate import Change\n")
    (tmp_path / "listing.py").write_text('TASKS = {"old": "old_tasks:TASK"}\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    (said,) = Catalog.load().problems
    # with their own line, which is to be mended
    assert re.sub(r"moved.py:\d+", "moved.py", said) == (
        "package theirs: longtail_suite.tasks mine = listing:TASKS: ModuleNotFoundError: suite.migrate is gone "
        "(old_tasks.py:1; raised in moved.py); left out"
    )


def package(folder: Path, tasks: object = None, methods: str = "") -> None:
    """A distribution below `folder` that declares tasks, or a package of methods."""
    info = folder / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    lines = ["[longtail_suite.tasks]\nmine = listing:TASKS\n"] if tasks else []
    lines += [f"[longtail_suite.baselines]\nmine = {methods}\n"] if methods else []
    (info / "entry_points.txt").write_text("".join(lines))


# -- methods in folders of a package


def methods(top: Path, monkeypatch: pytest.MonkeyPatch, *places: tuple[str, str]) -> Path:
    """A package, of another name in every test, with (file below it, name of its method)."""
    whole = top / f"folders_of_{top.name}"
    package(top, methods=whole.name)
    for place, name in places:
        path = whole / place
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (path.parent, whole):
            (folder / "__init__.py").touch()
        path.write_text(PLUGIN.replace('"mine":', f'"{name}":').replace("TOP", f"NAME = {name!r}"))
    monkeypatch.syspath_prepend(str(top))
    return whole


def left_out() -> str:
    """What is said of the package; all the rest is there."""
    catalog = Catalog.load()
    assert "ce" in catalog.methods()
    (said,) = catalog.problems
    head = "package theirs: longtail_suite.baselines mine = "
    assert said.startswith(head) and said.endswith("; left out")
    return said.removeprefix(head).partition(": ")[2].removesuffix("; left out")


def test_one_name_in_two_folders_is_one_clear_line(tmp_path, monkeypatch):
    whole = methods(tmp_path, monkeypatch, ("a/one.py", "same"), ("b/deep/other.py", "same"))
    first, second = whole / "a/one.py", whole / "b/deep/other.py"
    assert left_out() == f"{second}: the name 'same' is taken by {first}; choose another"


def test_two_files_of_one_stem_are_two_methods(tmp_path, monkeypatch):
    whole = methods(tmp_path, monkeypatch, ("a/one.py", "left"), ("b/one.py", "right"))
    catalog = Catalog.load()
    for name, home in (("left", "a.one"), ("right", "b.one")):
        source = catalog.source(name)
        assert source.module == f"{whole.name}.{home}"
        assert vars(source.load())["NAME"] == name


def test_a_folder_of_methods_is_a_package(tmp_path, monkeypatch):
    """Otherwise what its files import would be no part of their digests."""
    whole = methods(tmp_path, monkeypatch, ("a/one.py", "left"))
    (whole / "a/__init__.py").unlink()
    assert "a/one.py: lies in a folder without __init__.py" in left_out()
