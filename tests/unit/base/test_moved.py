"""Imports of old names, from plug-ins and from packages: one clear error that names the new one."""

import importlib.util
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT

from suite.base.errors import UserError
from suite.base.moved import Moved, told
from suite.define.catalog import Catalog
from suite.runs.plan import make_plan
from suite.runs.worker import classify

TABLES = {
    name: tomllib.loads((ROOT / name / "moved.toml").read_text())
    for name in ("suite", "tasks", "baselines")
}


@pytest.mark.parametrize("package", TABLES)
def test_every_new_name_can_be_imported(package):
    """A module that moves again, or is split, has its new name(s) put here, under all of its old ones."""
    for old, homes in TABLES[package].items():
        assert old.partition(".")[0] == package
        for home in homes:
            found = importlib.util.find_spec(home)
            assert found is not None and found.origin, f"{old}: no {home}"


@pytest.mark.parametrize("package", TABLES)
def test_old_names_are_gone(package):
    """But for a few that are the names of rooms now."""
    found = {old for old in TABLES[package] if _found(old)}
    assert all((ROOT / old.replace(".", "/") / "__init__.py").exists() for old in found)


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


PLUGIN = """
CARD = {
    "title": "Mine",
    "tasks": ["fake"],
    "names": {"mine": {"summary": "mine"}},
}
TOP


def configure(cfg, facts):
    INNER
    return {"start": 0.0, "sleep": 0.0, "at": 0, "what": "none"}
"""


def plugin(folder: Path, top: str = "", inner: str = "pass") -> Path:
    path = folder / "mine.py"
    path.write_text(PLUGIN.replace("TOP", top).replace("INNER", inner))
    return path


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "from suite.jsonio import canonical",
            "suite.jsonio is now suite.base.files / suite.base.canonical: "
            "write from suite.base.canonical import canonical",
        ),
        (
            "from suite.record import (\n    Attempt,\n    Record as R,\n)",
            "write from suite.records.files import Record; from suite.records.attempt import Attempt",
        ),
        (
            "import suite.errors",
            "suite.errors is now suite.base.errors: write import suite.base.errors",
        ),
        ("import math, suite.errors as e", "write import suite.base.errors"),
        ("from suite import errors", "suite.errors is now suite.base.errors"),
        (
            "from baselines.losses import set_loss",
            "baselines.losses is now baselines.parts.losses: "
            "write from baselines.parts.losses import set_loss",
        ),
        (
            # a room has its name now
            "from suite.stats import welch",
            "suite.stats is now suite.stats.tests: write from suite.stats.tests import welch",
        ),
        (
            "from suite.errors import UserError, nothing",
            "suite.errors is now suite.base.errors; nothing is no longer called so: "
            "write from suite.base.errors import UserError",
        ),
        ("from suite.migrate import migrate", "mine.py: suite.migrate is gone"),
        (
            "import importlib\nimportlib.import_module('suite.errors')",
            "suite.errors is now suite.base.errors: write import suite.base.errors",
        ),
    ],
)
def test_a_plugin_that_imports_an_old_name_is_told_the_new_one(fake, tmp_path, line, says):
    path = plugin(tmp_path, line)
    with pytest.raises(UserError) as caught:
        Catalog.load([path])
    assert str(caught.value).startswith(f"--plugin {path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["import nothing_here", "from suite.base.errors import nothing", "from suite import nix"],
)
def test_other_failed_imports_are_said_as_they_are(fake, tmp_path, line):
    with pytest.raises(UserError, match=r"raises on import: (ModuleNotFound|Import)Error"):
        Catalog.load([plugin(tmp_path, line)])


def test_the_command_line_says_it_in_one_line(fake, inside, tmp_path):
    plugin(tmp_path, "from suite.task import Task")
    done = inside("run", "--task", "fake", "--plugin", "mine.py")
    assert done.returncode == 2
    assert done.stderr == (
        f"Error: --plugin {tmp_path}/mine.py: suite.task is now suite.define.task: write from "
        "suite.define.task import Task\n"
    )


def test_a_worker_says_it_of_what_only_a_training_imports(fake, tmp_path):
    path = plugin(tmp_path, inner="from suite.task import Task")
    catalog = Catalog.load([path])
    task = catalog.task("fake")
    plan = make_plan(tmp_path, catalog, task, catalog.protocol(task, "quick"), methods=["mine"])
    with pytest.raises(Moved) as caught:
        catalog.method(plan.items[0].spec).configure({}, None)
    failure = classify(caught.value)
    assert failure.kind == "code"
    assert failure.message == (
        f"{path}: suite.task is now suite.define.task: write from suite.define.task import Task"
    )


def test_a_helper_of_a_package_is_looked_at_where_it_fails(tmp_path, monkeypatch):
    folder = tmp_path / "theirs_of_old"
    folder.mkdir()
    (folder / "__init__.py").write_text("from theirs_of_old import helper\n")
    (folder / "helper.py").write_text("x = 1\nfrom suite.spec import RunSpec\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with (
        pytest.raises(Moved, match=r"^here: suite\.spec is now suite\.define\.spec: "),
        told("here"),
    ):
        importlib.import_module("theirs_of_old")


def test_an_entry_point_is_named(tmp_path, monkeypatch):
    package(tmp_path, tasks={"old": "old_tasks:TASK"})
    (tmp_path / "old_tasks.py").write_text("from suite.task import Task\n")
    (tmp_path / "listing.py").write_text('TASKS = {"old": "old_tasks:TASK"}\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"'mine' \(old_tasks:TASK\): suite\.task is now"):
        Catalog.load()


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


def test_one_name_in_two_folders_is_one_clear_error(tmp_path, monkeypatch):
    whole = methods(tmp_path, monkeypatch, ("a/one.py", "same"), ("b/deep/other.py", "same"))
    with pytest.raises(UserError) as caught:
        Catalog.load()
    first, second = whole / "a/one.py", whole / "b/deep/other.py"
    assert str(caught.value) == f"{second}: the name 'same' is taken by {first}; choose another"


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
    with pytest.raises(UserError, match=r"a/one\.py: lies in a folder without __init__\.py"):
        Catalog.load()
