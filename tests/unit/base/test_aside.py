"""What other people's code prints is no part of an answer."""

import os
import sys
import threading

import pytest

from suite.base.aside import aside


def test_what_is_printed_goes_to_stderr_from_python_and_beneath_it(capfd):
    print("before")
    with aside():
        print("python")
        os.write(1, b"library\n")
    print("after")
    out, errors = capfd.readouterr()
    assert out == "before\nafter\n"
    assert sorted(errors.split()) == ["library", "python"]


def test_an_error_in_the_block_turns_it_back(capfd):
    def fails():
        with aside(), aside():
            os.write(1, b"lost\n")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    os.write(1, b"answer\n")
    assert capfd.readouterr() == ("answer\n", "lost\n")


def test_threads_that_overlap_leave_stdout_as_it_was(capfd):
    entered, leave = threading.Event(), threading.Event()

    def other():
        with aside():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with aside():
        thread.start()
        entered.wait()
    os.write(1, b"aside\n")
    leave.set()
    thread.join()
    os.write(1, b"answer\n")
    assert capfd.readouterr() == ("answer\n", "aside\n")


def test_without_a_stdout_nothing_breaks(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with aside():
        pass
    assert sys.stdout is None
