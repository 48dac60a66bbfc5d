"""Commands that answer a call, and the line of the user's own that raised."""

import importlib
import inspect
import shlex

import pytest

from suite.base import command
from suite.base.command import Call, Command, Note
from suite.base.raised import raised
from suite.cli import VERBS

OPTIONS = {"root": "--root", "data_root": "--data-root", "plugin": "--plugin"}


def test_a_command_repeats_what_its_call_said_of_folders():
    assert str(Command("run", "--task", "x")) == "python -m suite run --task x"
    command.answer(Call("my results", "/data", ("a b.py", "c.py")))
    words = shlex.split(str(Command("run", "--task", "x y")))
    assert words[3:] == [
        *("run", "--task", "x y", "--root", "my results", "--data-root", "/data"),
        *("--plugin", "a b.py", "--plugin", "c.py"),
    ]
    # verbs that have no such option, and one that names it itself
    assert str(Command("sites")) == "python -m suite sites"
    assert str(Command("data", "check", "x")) == "python -m suite data check x --data-root /data"
    assert str(Command("show", "ab")) == "python -m suite show ab --root 'my results'"
    assert str(Command("logs", "ab", "--root", "r")) == "python -m suite logs ab --root r"
    assert str(Note("type", Command("tasks"))) == "type: python -m suite tasks --root 'my results'"


@pytest.mark.parametrize("verb", VERBS)
def test_what_a_verb_takes_is_what_is_repeated(verb):
    module = importlib.import_module(f"suite.cli.{verb}")
    functions = (
        [one.callback for one in module.app.registered_commands]
        if hasattr(module, "app")
        else [getattr(module, verb)]
    )
    for function in functions:
        taken = inspect.signature(function).parameters
        for name, option in OPTIONS.items():
            assert (name in taken) == command.takes(verb, option), (verb, option)


def fail(source, tmp_path, name="mine.py"):
    path = tmp_path / name
    path.write_text(source)
    try:
        exec(compile(source, str(path), "exec"), {})
    except BaseException as error:
        return error, path
    raise AssertionError


def test_the_users_last_line_comes_before_the_librarys(tmp_path):
    error, _ = fail("import json\n\ndef f():\n    json.loads('{')\n\nf()\n", tmp_path)
    text = raised(error)
    assert text.startswith("JSONDecodeError: Expecting property name")
    assert "(mine.py:4; raised in decoder.py:" in text
    error, _ = fail("x = 1\nraise KeyError\n", tmp_path)
    assert raised(error) == "KeyError (mine.py:2)"
    error, _ = fail("\n\nx = = 1\n", tmp_path)
    assert raised(error) == "SyntaxError: invalid syntax (mine.py:3)"


def test_a_line_of_the_harness_is_not_the_users(tmp_path):
    error, _ = fail("from suite.define.syntax import parsed\nparsed(None)\n", tmp_path)
    assert raised(error).startswith("TypeError") and "(mine.py:2; raised in " in raised(error)
    # where a method lies among the libraries, it is the user's all the same
    folder = tmp_path / "site-packages"
    folder.mkdir()
    error, path = fail("raise ValueError('a  b\\nc')\n", folder)
    assert raised(error, [path]) == "ValueError: a b c (mine.py:1)"
