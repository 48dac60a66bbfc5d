"""Folders that a command names and that are not there: nothing is created, one line says which."""

import os

import pytest

pytestmark = pytest.mark.usefixtures("fake")

READING = (
    ("leaderboard", "--task", "fake"),
    ("export", "--task", "fake", "-o", "board.csv"),
    ("export", "--task", "fake", "--format", "html", "-o", "site"),
    ("compare", "calm", "steady", "--task", "fake"),
    ("compare", "--all", "--task", "fake"),
    ("power", "calm", "steady", "--task", "fake"),
    ("rescore", "--task", "fake", "--dirichlet", "1"),
    ("show", "3f2a9c"),
    ("logs", "3f2a9c"),
    ("evaluate",),
    ("predict", "3f2a9c", "--set", "train"),
    ("cancel", "--all"),
    ("retry",),
    ("ingest",),
)
"""What needs results to answer."""
LENIENT = (
    ("claims", "--task", "longtail-cls", "--method", "sade"),
    ("status",),
    ("prune", "--dry-run"),
    ("tasks",),
    ("plan", "--task", "fake"),
    ("doctor", "--format", "json"),
)
"""What has an answer before there are any."""


def test_a_mistyped_root_is_refused_by_every_verb_that_reads(inside, tmp_path):
    # `plan` and `doctor` ask of a place where a run may begin
    verbs = (
        *READING,
        ("verify",),
        *(verb for verb in LENIENT if verb[0] not in ("plan", "doctor")),
    )
    (tmp_path / "results").mkdir()
    for verb in verbs:
        done = inside(*verb, "--root", "resluts")
        assert done.returncode == 2, verb
        assert done.stdout == "", verb
        wanted = f"Error: --root {tmp_path}/resluts: no such folder; did you mean results?\n"
        assert done.stderr == wanted, verb
        assert os.listdir(tmp_path) == ["results"], verb
    assert os.listdir(tmp_path / "results") == []


def test_without_results_a_verb_says_what_makes_some(inside, tmp_path):
    for verb in READING:
        done = inside(*verb)
        assert done.returncode == 2, verb
        assert done.stderr.startswith(f"Error: no results yet: there is no {tmp_path}/results;")
        assert done.stderr.count("\n") == 1
    for verb in LENIENT:
        assert inside(*verb).returncode in (0, 1), verb
    assert os.listdir(tmp_path) == []


def test_an_empty_root_is_an_empty_board(inside, tmp_path):
    (tmp_path / "results").mkdir()
    done = inside("leaderboard", "--task", "fake")
    assert done.returncode == 0
    assert (
        "fake under quick: 3 methods not run: brisk, calm, steady (--all: as rows)" in done.stdout
    )
    assert done.stdout.endswith(
        "fake: no runs yet; type `python -m suite run --task fake --protocol quick`\n"
    )
    assert inside("leaderboard", "--task", "fake", "--all").stdout.count("(planned)") == 3
    done = inside("export", "--task", "fake", "-o", "board.csv")
    assert (done.returncode, os.listdir(tmp_path)) == (2, ["results"])
    assert "nothing to export; make some: python -m suite run --task fake" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("merge", "/nope"), "/nope: no such folder"),
        (("review", "/nope"), "/nope: no such folder"),
        (("verify", "/nope/results"), "/nope/results: no such folder"),
        (("claims", "--claims", "/nope"), "/nope: no such folder"),
        (("run", "--task", "fake", "--data-root", "/nope"), "--data-root /nope: no such folder"),
        (("data", "list", "--data-root", "/nope"), "--data-root /nope: no such folder"),
        (("data", "check", "--data-root", "/nope"), "--data-root /nope: no such folder"),
        (("plan", "--task", "fake", "--plugin", "/nope.py"), "/nope.py: no such file"),
    ],
)
def test_other_places(inside, tmp_path, arguments, part):
    done = inside(*arguments)
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_unknown_rows_and_columns_are_one_line(inside, tmp_path):
    (tmp_path / "results").mkdir()
    for arguments, part in (
        (
            ("--method", "calm,steddy"),
            "--method steddy: task fake has no such method; did you mean ste",
        ),
        (
            ("--columns", "rnak"),
            "--columns rnak: the board of fake has no such column; did you mean rank",
        ),
        (
            ("--protocol", "quick,quik"),
            "--protocol quik: task fake has no such protocol; did you mean qui",
        ),
    ):
        for verb in (("leaderboard",), ("export", "-o", "x.csv")):
            done = inside(*verb, "--task", "fake", *arguments)
            assert (done.returncode, done.stdout) == (2, ""), verb
            assert part in done.stderr
            assert done.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["results"]
