"""Runs are named by the first digits of their ids; what is not one run is said to be none, or several."""

import pytest

from suite.base.errors import UserError
from suite.records.lookup import find_run, match_run, run_folders

A, B, C = "aaaaaaaaaaaa", "aabbbbbbbbbb", "cccccccccccc"


def test_the_only_one_that_begins_so():
    assert match_run("c", [A, B, C], "here") == C
    assert match_run("aaa", [A, B, C], "here") == A
    # the same run, known from two places
    assert match_run("c", [C, C], "here") == C


def test_none_and_several():
    with pytest.raises(UserError, match=r"^no run 'd' here; look there$"):
        match_run("d", [A, B, C], "here; look there")
    with pytest.raises(UserError, match=rf"^run 'a' is not one run but 2: {A}, {B}$"):
        match_run("a", [B, A], "here")
    # of a list that was cut, nobody knows how many there are
    with pytest.raises(UserError, match=r"^run 'a' is not one run but several: "):
        match_run("a", [B, A], "here", cut=True)


def test_no_digits_name_no_run():
    with pytest.raises(UserError, match="no run ''"):
        match_run("", [A], "here")


def test_only_folders_of_runs_are_found(tmp_path):
    assert run_folders(tmp_path) == []
    with pytest.raises(UserError, match=rf"no run 'a' below {tmp_path / 'runs'}"):
        find_run(tmp_path, "a")
    for name in (A, C, "cancel-all.json", "cc"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert sorted(run_folders(tmp_path)) == [A, C]
    assert (find_run(tmp_path, "cc"), find_run(tmp_path, A)) == (C, A)
