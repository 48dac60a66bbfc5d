"""Every command that is proposed, typed as it is printed: with the root, the plug-ins, the data root and the
parameters of the call that it answers."""

import json
import re
import shlex
import zipfile

import pytest

from suite.define import digest

pytestmark = pytest.mark.usefixtures("fake")

PLUGIN = """\
CARD = {
    "title": "Mine",
    "tasks": ["fake"],
    "names": {"mine": {"summary": "my own"}},
    "params": {"start": {"default": 0.5}, "gain": {"default": 1.0}},
}


def configure(cfg, facts, start, gain):
    return {"start": start * gain, "sleep": 0.0, "at": 0, "what": "none"}
"""
HERE = ("--root", "my results", "--plugin", "my method.py")
DATA = ("--data-root", "the data")
GRID = ("--set", "mine.start=1.0", "--set", "mine.start=2.0", "--set", "mine.gain=3.0")


def proposed(text):
    """The commands in a text, as a shell takes them apart."""
    found = re.findall(r"python -m suite ((?:'[^']*'|[^'`;\n])+)", text)
    return [shlex.split(line) for line in found]


def planned(inside, words):
    """What a proposed `run` would do: method, parameter, seed -> what is to be done."""
    assert words[0] == "run"
    done = inside("plan", *words[1:], "--format", "json")
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)["rows"]
    return {(run["method"], run["params"].get("start"), run["seed"]): run["todo"] for run in runs}


def holds_the_call(words, data=False):
    assert words[words.index("--root") + 1] == "my results"
    assert words[words.index("--plugin") + 1] == "my method.py"
    assert ("--data-root" in words) == data
    if data:
        assert words[words.index("--data-root") + 1] == "the data"


def test_every_proposed_command_works_as_it_is_printed(suite, inside, tmp_path):
    plugin = tmp_path / "my method.py"
    plugin.write_text(PLUGIN)
    (tmp_path / "the data").mkdir()
    run = ("run", "--task", "fake", "--method", "mine, steady", *GRID, *HERE, *DATA)
    done = suite(*run, "--set", "mine.start=1.0")
    assert done.returncode == 0, done.stderr
    few = {("mine", start, seed) for start in (1.0, 2.0) for seed in range(3)}
    few |= {("steady", 0.0, seed) for seed in range(3)}

    def adds_seeds(words, data):
        holds_the_call(words, data)
        found = planned(inside, words)
        assert found.keys() == few
        assert {one: todo for one, todo in found.items() if one[2] == 0} == dict.fromkeys(
            [one for one in few if one[2] == 0], "done"
        )

    # the board after the run, and by itself; every format that proposes something
    (words,) = proposed(done.stdout)
    adds_seeds(words, data=True)
    for format in ("table", "markdown"):
        board = inside("leaderboard", "--task", "fake", *HERE, "--format", format).stdout
        (words,) = proposed(board.replace("\\", ""))
        adds_seeds(words, data=False)
    (words,) = proposed(inside("leaderboard", "--task", "fake", *HERE, *DATA).stdout)
    adds_seeds(words, data=True)
    rows = json.loads(inside("leaderboard", "--task", "fake", *HERE, "--format", "json").stdout)[
        "rows"
    ]
    made = [sorted(row["settings"]) for row in rows if row["method"] == "mine" and row["n"]]
    assert sorted(made) == [["mine.gain=3.0", f"mine.start={start}"] for start in (1.0, 2.0)]

    # two rows of one method, and of two
    mine = [row["runs"][0] for row in rows if row["method"] == "mine" and row["n"]]
    steady = next(row["runs"][0] for row in rows if row["method"] == "steady")
    for pair, methods in ((mine, {"mine"}), ((mine[0], steady), {"mine", "steady"})):
        line = json.loads(inside("compare", *pair, *HERE, *DATA, "--format", "json").stdout)
        (words,) = proposed(line["rows"][0]["next"])
        holds_the_call(words, data=True)
        found = planned(inside, words)
        assert {method for method, _, _ in found} == methods
        assert len(found) == 4 and {seed for _, _, seed in found} == {1, 2}
    refused = inside("power", *mine, "--task", "fake", *HERE)
    assert refused.returncode == 2
    (words,) = proposed(refused.stderr)
    assert len(planned(inside, words)) == 4

    # lines of the other verbs
    (words,) = proposed(inside("compare", "brisk", "steady", "--task", "fake", *HERE).stderr)
    assert {method for method, _, _ in planned(inside, words)} == {"brisk"}
    (words,) = proposed(inside("show", "00", *HERE[:2]).stderr)
    assert inside(*words).returncode == 0
    for words in proposed(inside("doctor", *HERE, *DATA).stdout):
        assert inside(*words).returncode in (0, 2) or words[0] == "data"
        assert "my results" in words or words[0] in ("data", "sites")
    with zipfile.ZipFile(next(tmp_path.glob(f"my results/runs/{steady}/*/predictions.npz")), "w"):
        pass
    (words,) = proposed(inside("evaluate", steady, "--again", *HERE).stderr)
    assert words[0] == "predict" and inside(*words).returncode == 0

    # stale: that row's runs and no other's, under its own parameters
    plugin.write_text(PLUGIN + "\n\ndef more():\n    return 1\n")
    for kept in vars(digest).values():
        if hasattr(kept, "cache_clear"):
            kept.cache_clear()
    board = inside("leaderboard", "--task", "fake", *HERE).stdout
    again = next(words for words in proposed(board) if "--stale" in words)
    assert planned(inside, again) == {("mine", 1.0, 0): "new", ("mine", 2.0, 0): "new"}
    asked = ("--task", "fake", "--dirichlet", "1")
    (words,) = proposed(inside("rescore", mine[0], *asked, *HERE).stderr)
    assert len(planned(inside, words)) == 1 and "--stale" in words
    named = inside("compare", mine[0], "steady", "--task", "fake", *HERE).stderr
    assert proposed(named) == [words]
    # without its plug-in, nothing is proposed that would train others
    board = inside("leaderboard", "--task", "fake", *HERE[:2]).stdout
    assert all("mine" not in str(words) for words in proposed(board))


def test_what_a_failed_run_proposes(suite, inside, tmp_path):
    (tmp_path / "my method.py").write_text(PLUGIN)
    done = suite(
        *("run", "--task", "fake", "--method", "steady", "--set", "steady.at=5"),
        *("--set", "steady.what=nan", *HERE),
    )
    assert done.returncode == 1
    (words,) = proposed(done.stderr)
    holds_the_call(words)
    assert words[0] == "retry"
    again = inside(*words, "--dry-run")
    assert again.returncode == 0 and "1 new" in again.stdout
