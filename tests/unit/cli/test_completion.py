"""What shells complete."""

from types import SimpleNamespace

import pytest

from suite.base.errors import UserError
from suite.cli.completion import method_names, protocol_names, task_names
from suite.cli.options import each

pytestmark = pytest.mark.usefixtures("fake")


def given(**params):
    return SimpleNamespace(params=params)


def test_names_come_from_the_catalog_and_are_of_the_task_that_is_named(tmp_path):
    assert task_names(given(), "fa") == ["fake"]
    assert method_names(given(task="fake"), "") == ["brisk", "calm", "steady"]
    assert method_names(given(), "aucs") and not method_names(given(task="fake"), "aucs")
    assert method_names(given(task="fake"), "calm,s") == ["calm,steady"]
    assert method_names(given(task="fake"), "calm,c") == []
    assert protocol_names(given(task="fake"), "") == ["quick", "other"]
    assert protocol_names(given(), "oth") == ["other"]


def test_nothing_is_completed_where_a_plug_in_is_broken(tmp_path):
    assert method_names(given(plugin=[tmp_path / "none.py"]), "") == []
    assert task_names(given(plugin=[tmp_path / "none.py"]), "") == []
    assert protocol_names(given(plugin=[tmp_path / "none.py"]), "") == []


def test_names_with_commas_and_spaces_between_them():
    assert each(["ce, la", "la", " vs"]) == ["ce", "la", "vs"]
    for wrong in ("ce,", ",", "ce,,la"):
        with pytest.raises(UserError, match="a name is missing"):
            each([wrong])
