"""`rescore`: numbers, rows as the board's, nothing written, and wrong input; `predict` of a lost set."""

import csv
import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from msgspec.structs import asdict
from rescored import (
    PRIOR,
    call,  # noqa: F401
    catalog,  # noqa: F401
    fill,
    finished,
    prior,  # noqa: F401
    refused,
    root,  # noqa: F401
    rows_of,
    task,  # noqa: F401
)

from suite.base.errors import UserError
from suite.boards.leaderboard import board
from suite.boards.rescore import SHIFTS, Shift, rescore, shifting_task
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.records.attempt import Attempt
from suite.runs.evaluate import evaluate_attempt
from suite.store.ingest import update_store

pytestmark = pytest.mark.usefixtures("fake")

SECOND = """
CARD = {
    "title": "Second stage",
    "tasks": ["fake"],
    "names": {"second": {"summary": "goes on where another run ended"}},
    "needs": {"inputs": {"stage1": "steady"}, "extra_budget": True},
}


def configure(cfg, facts, *, inputs):
    return {}
"""


def test_rows_are_the_boards_for_the_same_values(root, task, tmp_path):
    """Pooling, ranks, order, states: one test set, so everything must agree."""
    plugin = tmp_path / "second.py"
    plugin.write_text(SECOND)
    catalog = Catalog.load([plugin])
    first = fill(root, catalog)
    # params, a missing value, flags, another copy of the data, an older and a stale attempt
    for seed in range(3):
        finished(root, catalog, "steady", seed, 0.55 + seed / 100, params={"sleep": 0.25})
        score = np.nan if seed == 1 else 0.6
        finished(root, catalog, "steady", seed, score, params={"sleep": 0.5})
        kept = {"flags": ["extra-budget"]} if seed else {"flags": ["data-variant"]}
        finished(root, catalog, "calm", seed, 0.2 + seed / 1000, **kept)
    finished(root, catalog, "brisk", 0, 0.99, attempt=2)
    finished(root, catalog, "brisk", 1, 0.01, attempt=2, digest="0123456789ab")
    # rows made in training are repeated, those of a step and a class are not on a board
    extra = [
        MetricRow(metric="score", subset="hook=yes", value=0.3, source="hook"),
        MetricRow(metric="score", subset="hook=no", step=5, value=0.3, source="hook"),
        MetricRow(metric="score", class_="a", value=0.3, source="hook"),
    ]
    finished(root, catalog, "brisk", 7, 0.83, rows=extra)
    # a method that is not here: its newest code counts
    for seed in range(3):
        finished(root, catalog, "stranger", seed, 0.4, digest="aaaa", finished=10.0)
        finished(root, catalog, "stranger", seed, 0.7 + seed / 100, digest="bbbb", attempt=2)
    # runs on others: replicates share a row, a run on other inputs has its own, a lost input too
    second = {}
    for name, score in (("steady", 0.65), ("brisk", 0.75)):
        # two replicates of one seed, which so leaves no pairs
        for seed, place in ((0, 0), (0, 1), (1, 2)):
            inputs = {"stage1": first[name][place].run_id}
            value = score + place / 100
            second[name] = finished(root, catalog, "second", seed, value, inputs=inputs)
        inputs = {"stage1": second[name].run_id}
        finished(root, catalog, "second", 0, score, inputs=inputs)
    inputs = {"stage1": "0" * 12}
    finished(root, catalog, "second", 0, 0.3, inputs=inputs, digest="d1")
    stale = {"stage1": first["steady"][0].run_id}
    finished(root, catalog, "second", 9, 0.3, inputs=stale, digest="d1")
    made = rescore(root, catalog, task, Shift())
    assert (made.problems, made.notes) == ([], ["left out: 1 run(s) stale"])
    for attempt in root.glob("runs/*/*"):
        one = Attempt(root, attempt.parent.name, int(attempt.name))
        evaluate_attempt(one, task, task.protocols[0], catalog)
    update_store(root, catalog)
    shown = board(
        root, task, protocol=None, by=None, today=catalog.code.alone, planned=[], catalog=catalog
    )
    shown = [row for row in shown if row.state != "stale"]
    assert len(made.rows) == len(shown) == 12
    assert {row.rank for row in shown} >= {None, 1, 2}

    def sort(rows):
        return sorted(rows, key=lambda row: row.runs)

    for mine, theirs in zip(sort(made.rows), sort(shown), strict=True):
        for key, cell in mine.metrics.items():
            assert asdict(cell) == pytest.approx(asdict(theirs.metrics.pop(key))), key
        assert theirs.metrics == {}
        mine = msgspec.structs.replace(mine, metrics={})
        assert msgspec.to_builtins(mine) == msgspec.to_builtins(theirs)
    means = [row.runs for row in made.rows]
    assert means == [row.runs for row in shown]


def test_rows_of_protocols_stand_apart(call, root, catalog, prior):
    for seed in range(6):
        finished(root, catalog, seed=seed, score=0.5)
    finished(root, catalog, score=0.6, protocol="other")
    printed = call("--prior", str(prior))
    assert printed.stdout.index("fake under other") < printed.stdout.index("fake under quick")
    assert "not today's evaluation" not in printed.stdout
    only = call("--prior", str(prior), "--protocol", "quick", "--format", "json")
    (row,) = json.loads(only.stdout)["rows"]
    assert row["metrics"]["score[prior=mine]"]["mean"] == pytest.approx(0.45)


@pytest.mark.parametrize("format", ["table", "csv", "markdown", "latex"])
def test_formats(call, root, catalog, prior, format):
    fill(root, catalog)
    done = call("--prior", str(prior), "--format", format)
    assert done.returncode == 0, done.stderr
    key = {"latex": "score{[}prior=mine{]}", "markdown": r"score\[prior=mine\]"}
    if format == "table":
        assert "[prior=mine]" in done.stdout
    else:
        assert key.get(format, "score[prior=mine]") in done.stdout
    if format == "csv":
        first = next(csv.DictReader(done.stdout.splitlines()))
        assert (first["method"], first["n"]) == ("brisk", "3")
    else:
        assert "73.8" in done.stdout  # 0.82 of 0.9


def test_several_distributions_and_by(call, root, catalog, prior, tmp_path):
    fill(root, catalog)
    other = tmp_path / "other.csv"
    other.write_text("0 1")
    asked = ("--prior", str(prior), "--prior", str(other), "--dirichlet", "0.5")
    rows = rows_of(call(*asked, "--format", "json"))
    cells = rows["steady"]["metrics"]
    assert set(cells) == {"score[prior=mine]", "score[prior=other]", "score[prior=dirichlet]"}
    assert cells["score[prior=other]"]["mean"] == pytest.approx(0.265)
    drawn = cells["score[prior=dirichlet]"]["mean"]
    assert 0.265 < drawn < 0.53
    more = rows_of(call(*asked, "--format", "json", "--draws", "20", "--seed", "3"))
    assert more["steady"]["metrics"]["score[prior=dirichlet]"]["mean"] != drawn
    assert more["steady"]["evaluation_hash"] != rows["steady"]["evaluation_hash"]
    by = call(*asked, "--by", "score[prior=other]")
    assert "ranked by score[prior=other]" in by.stdout
    wrong = call(*asked, "--by", "scroe[prior=other]")
    refused(wrong, "--by scroe[prior=other]: task fake has no such metric; did you mean score")


def test_methods_are_shown_with_their_rank_on_the_whole_board(call, root, catalog, prior):
    fill(root, catalog)
    one = call("--prior", str(prior), "--method", "steady", "--format", "json")
    (row,) = rows_of(one).values()
    assert (row["method"], row["rank"]) == ("steady", 2)
    both = call("--prior", str(prior), "--method", "steady,brisk", "--format", "json")
    assert rows_of(both).keys() == {"steady", "brisk"}
    refused(call("--prior", str(prior), "--method", "steddy"), "unknown method", "mean steady?")
    nothing = call("--prior", str(prior), "--method", "calm", "--format", "json")
    assert rows_of(nothing) == {}
    assert nothing.stderr == "no finished run of 'calm'\n"


def test_named_runs_alone_are_scored_and_not_ranked(call, root, catalog, prior):
    runs = fill(root, catalog)
    chosen = [run.run_id for run in runs["brisk"]]
    (runs["steady"][0].path / "predictions.npz").unlink()  # of no concern
    done = call(*chosen, chosen[0][:10], "--prior", str(prior), "--format", "json")
    (row,) = rows_of(done).values()
    assert (row["method"], row["n"], row["rank"], row["runs"]) == ("brisk", 3, None, chosen)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "Give --prior FILE.csv, --dirichlet ALPHA or --ratio R"),
        (("--prior", "none.csv"), "--prior none.csv: no such file"),
        (("--prior", "bad.csv"), "bad.csv: not two shares"),
        (("--prior", "mine.csv", "--prior", "sub/mine.csv"), "has the same name; rename one"),
        (("--prior", "mine.csv", "abc"), "no run 'abc'"),
        (("--prior", "mine.csv", "abc", "--protocol", "quick"), "not both"),
        (("--prior", "mine.csv", "--protocol", "quik"), "no protocol 'quik'; did you mean quick?"),
        (("--prior", "mine.csv", "--format", "word"), "--format 'word'"),
        (("--prior", "mine.csv", "--by", "scroe"), "no such metric; known: score[prior=mine]"),
        (("--dirichlet", "0"), "--dirichlet 0: a concentration is a number above 0"),
        (("--dirichlet", "inf"), "--dirichlet inf"),
        (("--dirichlet", "1", "--draws", "0"), "--draws 0"),
        (("--dirichlet", "1", "--seed", "-1"), "--seed -1"),
        (("--task", "fak", "--dirichlet", "1"), "unknown task 'fak'; did you mean fake?"),
        (
            ("--task", "longtail-seg", "--dirichlet", "1"),
            "task 'longtail-seg' knows no test distributions; those that do: fake, test-agnostic",
        ),
        (("--root", "mine.csv", "--dirichlet", "1"), "is a file, not a folder"),
    ],
)
def test_wrong_input_is_one_line(call, tmp_path, prior, arguments, part):
    (tmp_path / "bad.csv").write_text("0.1\n0.2\n0.7")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.csv").write_text(PRIOR)
    refused(call(*arguments), part)


def test_the_default_task_is_the_only_one_with_distributions(call, catalog, task):
    refused(call("--dirichlet", "1", task=None), "--task", "there are 2: fake, test-agnostic")
    without = replace(task, name="plain", offers={})
    assert shifting_task(Catalog({"fake": task, "plain": without}, {}), None) is task
    with pytest.raises(UserError, match="there is none"):
        shifting_task(Catalog({"plain": without}, {}), None)


def test_no_runs_at_all(call, root, prior):
    done = call("--prior", str(prior))
    assert done.returncode == 0
    assert "no runs yet" in done.stdout
    root.rmdir()
    refused(call("--prior", str(prior)), "no results yet")
    assert not root.exists()


def test_stale_unknown_and_unfinished_runs_are_counted(call, root, catalog, task, prior):
    finished(root, catalog)
    stale = finished(root, catalog, seed=1, digest="0123456789ab")
    unknown = finished(root, catalog, seed=2)
    spec = msgspec.structs.replace(unknown.record().spec, protocol_hash="f" * 12, protocol="gone")
    gone = Attempt(root, spec.run_id, 1)
    gone.create(spec)
    gone.write_predictions(unknown.predictions())
    gone.write_record(
        msgspec.structs.replace(unknown.record(), run_id=spec.run_id, spec=spec, digest="x")
    )
    unknown.path.joinpath("record.json").unlink()  # now not finished
    done = call("--prior", str(prior), "--format", "json")
    (row,) = rows_of(done).values()
    assert row["n"] == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("left out: ")
    assert "1 run(s) stale" in line
    assert "1 run(s) not finished" in line
    assert "1 run(s) of a protocol that nothing here knows" in line
    asked = ("--prior", str(prior))
    refused(call(stale.run_id, *asked), "other code of 'steady'", "--stale")
    refused(call(unknown.run_id, *asked), "is not finished")
    refused(call(gone.run_id, *asked), "protocol 'gone' is none of task 'fake'")


def test_a_damaged_record_is_named_and_an_older_attempt_counts(call, root, catalog, prior):
    finished(root, catalog, score=0.5)
    newer = finished(root, catalog, score=0.9, attempt=2)
    (newer.path / "record.json").write_bytes(b'{"schema": 1')
    moved = finished(root, catalog, seed=1)
    moved.path.rename(moved.path.with_name("3"))
    done = call("--prior", str(prior), "--format", "json")
    (row,) = rows_of(done, code=1).values()
    assert row["metrics"]["score[prior=mine]"]["mean"] == pytest.approx(0.45)
    damaged, elsewhere = sorted(done.stderr.splitlines(), key=lambda line: "another run" in line)
    assert str(newer.path / "record.json") in damaged
    assert str(moved.path.with_name("3")) in elsewhere


def test_distributions_that_fit_some_protocols(root, catalog, task, prior):
    """A prior of two classes says nothing of a protocol with ten."""

    def shifted(protocol, asked):
        if protocol.name == "other":
            raise UserError("2 shares, expected 10")
        return SHIFTS.of(task)(protocol, asked)

    picky = replace(task, offers={"shifts": shifted})
    finished(root, catalog)
    finished(root, catalog, protocol="other")
    asked = Shift(priors={"mine": prior})
    made = rescore(root, catalog, picky, asked)
    assert [row.protocol for row in made.rows] == ["quick"]
    assert made.notes == ["left out: 1 run(s) under other: 2 shares, expected 10"]
    other = next(p for p in task.protocols if p.name == "other")
    with pytest.raises(UserError, match="expected 10"):
        rescore(root, catalog, picky, asked, protocol=other)
    nowhere = replace(task, offers={"shifts": lambda *_: shifted(other, asked)})
    with pytest.raises(UserError, match="expected 10"):
        rescore(root, catalog, nowhere, asked)
