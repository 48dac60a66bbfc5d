"""What is said of code that waits for somebody to answer."""

import bdb

import pytest

from suite.base.errors import DeviceError, UserError
from suite.runs.failures import classify, refuse_breakpoint


def test_a_breakpoint_is_a_failure_that_names_its_line(monkeypatch):
    monkeypatch.delenv("PYTHONBREAKPOINT", raising=False)
    monkeypatch.setattr("sys.breakpointhook", refuse_breakpoint)
    with pytest.raises(UserError, match=r"breakpoint\(\) in .*test_failures.py:\d+: nobody can"):
        breakpoint()


def test_one_that_is_turned_off_or_led_elsewhere_is_that(monkeypatch):
    monkeypatch.setattr("sys.breakpointhook", refuse_breakpoint)
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")
    breakpoint()
    monkeypatch.setenv("PYTHONBREAKPOINT", "os.getcwd")
    breakpoint()


def test_who_asks_is_told_that_nobody_answers():
    for error in (EOFError("EOF when reading a line"), bdb.BdbQuit()):
        failure = classify(error)
        assert failure.kind == "code"
        assert "asks for input, and nobody can answer" in failure.message
    # a file that was cut short asks for nothing
    assert "input, and" not in classify(EOFError("Ran out of input")).message


def test_a_gpu_that_is_not_there_is_the_machines_fault():
    failure = classify(DeviceError("torch sees no GPU"))
    assert (failure.kind, failure.message) == ("environment", "torch sees no GPU")
