"""The copy of the code that a queued job runs."""

import json
import os
import subprocess
import sys

import pytest

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.digest import method_digest
from suite.dispatch import code_copy
from suite.dispatch.code_copy import copy_code, try_plugins
from suite.records.environment import GIT_FILE, git_state

PLUGIN = (
    'CARD = {\n    "title": "t",\n    "tasks": ["fake"],\n    "names": {"mine": {"summary": "s"}},\n}\n\n\n'
    "def configure(cfg, facts):\n    return {}\n"
)


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


@pytest.mark.usefixtures("fake")
def test_a_process_beside_the_copy_runs_the_copy(tmp_path, plugin):
    catalog = Catalog.load([plugin])
    assert {"suite", "tasks", "baselines", "fake_task", "fake_methods"} <= catalog.packages
    copy = copy_code(tmp_path / "code", catalog.packages, [plugin])
    code = (
        "import suite, fake_task, sys; from pathlib import Path; from suite.define.catalog import Catalog;"
        "c = Catalog.load([Path(sys.argv[1])]);"
        "print(suite.__file__, fake_task.__file__, c.code.digests['mine'], c.code.digests['steady'])"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": f"{copy.path}{os.pathsep}{os.environ['PYTHONPATH']}",
        "PYTHONSAFEPATH": "1",
    }
    printed = subprocess.run(
        [sys.executable, "-c", code, str(copy.plugins[0])],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert printed[0] == str(copy.path / "suite" / "__init__.py")
    assert printed[1] == str(copy.path / "fake_task.py")
    # the same digests as here, or a run made of the copy would be stale at once
    assert printed[2:] == [method_digest(plugin), catalog.code.digests["steady"]]


def test_one_state_is_one_copy_and_an_edit_makes_another(tmp_path, plugin):
    first = copy_code(tmp_path / "code", ["suite"], [plugin])
    assert copy_code(tmp_path / "code", ["suite"], [plugin]) == first
    assert os.listdir(tmp_path / "code") == [first.path.name]
    plugin.write_text(PLUGIN + "# edited\n")
    second = copy_code(tmp_path / "code", ["suite"], [plugin])
    assert second.path != first.path
    assert first.plugins[0].read_text() == PLUGIN


def test_the_copy_says_which_commit_it_was_made_from(tmp_path):
    copy = copy_code(tmp_path, ["suite"], [])
    assert json.loads((copy.path / GIT_FILE).read_bytes()) == git_state()


def test_a_plugin_in_a_package_brings_the_package(tmp_path):
    package = tmp_path / "lab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("x = 1\n")
    (package / "mine.py").write_text("from lab.helper import x\n" + PLUGIN)
    copy = copy_code(tmp_path / "code", [], [package / "mine.py"])
    assert (copy.plugins[0].parent / "helper.py").exists()
    assert method_digest(copy.plugins[0]) == method_digest(package / "mine.py")


def test_data_inside_a_package_are_refused_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(code_copy, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="keep data out of it"):
        copy_code(tmp_path, ["suite"], [])
    with pytest.raises(UserError, match="package 'no_such' is not to be found"):
        copy_code(tmp_path, ["no_such"], [])


def test_a_copy_that_is_not_what_its_name_says_is_made_anew(tmp_path):
    copy = copy_code(tmp_path, ["suite"], [])
    (copy.path / "suite" / "__init__.py").write_text("print('not ours')\n")
    again = copy_code(tmp_path, ["suite"], [])
    assert again == copy
    assert "not ours" not in (copy.path / "suite" / "__init__.py").read_text()
    (copy.path / "torch.py").write_text("print('not ours')\n")  # would be imported before torch
    copy_code(tmp_path, ["suite"], [])
    assert not (copy.path / "torch.py").exists()
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "__init__.py").write_text("print('not ours')\n")
    (copy.path / "torch").symlink_to(evil)
    copy_code(tmp_path, ["suite"], [])
    assert not (copy.path / "torch").exists()


def test_a_plugin_behind_a_link_keeps_its_digest(tmp_path, plugin):
    link = tmp_path / "link.py"
    link.symlink_to(plugin)
    copy = copy_code(tmp_path / "code", [], [link])
    assert method_digest(copy.plugins[0]) == method_digest(plugin)


def test_a_plugin_that_needs_a_file_beside_it_is_refused_before_it_is_queued(
    tmp_path, plugin, monkeypatch
):
    (tmp_path / "helper.py").write_text("x = 1\n")
    plugin.write_text("import helper\n" + PLUGIN)
    monkeypatch.chdir(tmp_path)
    copy = copy_code(tmp_path / "code", ["suite", "tasks", "baselines"], [plugin])
    with pytest.raises(UserError, match=r"No module named 'helper'.*into one package"):
        try_plugins(copy)
    plugin.write_text(PLUGIN)
    try_plugins(copy_code(tmp_path / "code", ["suite", "tasks", "baselines"], [plugin]))
