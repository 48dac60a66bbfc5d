"""Where modules are looked for: the working folder comes last, in this process and in those it starts."""

import os
import sys

import pytest

from suite.base import interpreter


@pytest.fixture
def started(monkeypatch, tmp_path):
    """A process that was started in a folder with `python -m`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(interpreter, "_last", "")
    monkeypatch.setattr(sys, "flags", type("Flags", (), {"safe_path": False}))
    monkeypatch.delenv(interpreter.LAST, raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def start(*path):
        monkeypatch.setattr(sys, "path", [os.getcwd(), *path])
        interpreter.settle()
        return sys.path

    return start


def test_the_working_folder_comes_last_and_the_suite_before_it(started, tmp_path):
    assert started("/usr/lib") == ["/usr/lib", interpreter.HOME, str(tmp_path)]
    environment = interpreter.environment()
    assert environment[interpreter.LAST] == str(tmp_path)
    assert environment["PYTHONPATH"] == interpreter.HOME


def test_a_checkout_that_is_the_working_folder_stays_first(started, monkeypatch):
    monkeypatch.chdir(interpreter.HOME)
    assert started("/usr/lib") == [interpreter.HOME, "/usr/lib"]
    assert interpreter.LAST not in interpreter.environment()


def test_an_empty_part_of_pythonpath_is_the_working_folder_and_comes_last(
    started, monkeypatch, tmp_path
):
    monkeypatch.setenv("PYTHONPATH", ":/mine")
    assert started("/mine", str(tmp_path), "/usr/lib") == [
        *("/mine", "/usr/lib", interpreter.HOME, str(tmp_path))
    ]
    assert interpreter.environment()["PYTHONPATH"] == f"{interpreter.HOME}:/mine"


def test_a_child_is_told_and_tells_its_own(started, monkeypatch):
    monkeypatch.setenv(interpreter.LAST, "/project")
    monkeypatch.setattr(sys, "path", ["/usr/lib", interpreter.HOME])
    interpreter.settle()
    assert sys.path == ["/usr/lib", interpreter.HOME, "/project"]
    assert interpreter.LAST not in os.environ
    assert interpreter.environment()[interpreter.LAST] == "/project"


@pytest.mark.parametrize(
    ("home", "before", "after"),
    [
        ("/checkout", None, "/checkout"),
        ("/checkout", "/mine", "/checkout:/mine"),
        ("/checkout", "/mine:/checkout", "/mine:/checkout"),
        # before Python's own modules would come whatever is installed
        ("/venv/lib/site-packages", "/mine", "/mine"),
        ("/a:b", None, None),
    ],
)
def test_a_child_finds_the_suite(monkeypatch, home, before, after):
    monkeypatch.setattr(interpreter, "HOME", home)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before)
    assert interpreter.environment().get("PYTHONPATH") == after
    assert interpreter.python("-m", "x") == [sys.executable, "-P", "-m", "x"]
