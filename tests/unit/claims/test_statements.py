"""Published statements: what a file may say, and what our runs say of it. Typed, below a results folder of our own."""

import csv
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from claims_files import ENTRY, write
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import suite
from suite.base.errors import UserError
from suite.boards.statements import (
    NOT_SUPPORTED,
    STATUSES,
    SUPPORTED,
    UNDECIDED,
    status_of,
)
from suite.claims.read import default_folder, read_claims, read_statements
from suite.cli import main
from suite.define.catalog import Catalog
from suite.records.attempt import Attempt
from suite.records.files import Cost, Record
from suite.records.inputs import digest_of
from suite.runs.evaluate import evaluate_attempt

SCHEMA = json.loads((Path(suite.__file__).parent / "rows.schema.json").read_text("utf-8"))
SAID = {
    "text": "Brisk is better",
    "task": "fake",
    "location": "section 1",
    "verified": False,
    "tag": "P",
    "objections": ["one seed"],
}
BASE = {"protocol": "quick", "smallest": 0.01, "metric": "score"}
DIFFERENCE = {**BASE, "kind": "difference", "a": "brisk", "b": "steady", "expects": "above"}
ARMS = {**BASE, "kind": "arms", "method": "steady", "param": "start", "expects": "effect"}
LEVEL = {**BASE, "kind": "level", "method": "steady", "bound": 0.5, "expects": "above"}
CORRELATION = {
    "kind": "correlation",
    "protocol": "quick",
    "smallest": 0.5,
    "x": "score",
    "y": "score[group=tail]",
    "expects": "positive",
}


def said(*tests, **changes):
    return {**SAID, "test": list(tests), **changes}


@pytest.fixture
def runs(fake, tmp_path, monkeypatch):
    """`runs(method, [score of seed 0, ...], start=...)`; nothing is trained."""
    monkeypatch.chdir(tmp_path)
    catalog = Catalog.load()
    task = catalog.task("fake")
    protocol = catalog.protocol(task, None)

    def made(method, scores, **params):
        for seed, score in enumerate(scores):
            spec = catalog.spec(method, protocol, seed, params)
            attempt = Attempt(tmp_path / "results", spec.run_id, 1)
            attempt.create(spec)
            attempt.write_predictions({"test": {"score": np.array([score])}})
            attempt.write_record(
                Record(
                    run_id=spec.run_id,
                    attempt=1,
                    spec=spec,
                    digest=digest_of(tmp_path / "results", catalog, spec),
                    dataset="fake-data",
                    cost=Cost(parameters=7),
                    finished=1000.0,
                )
            )
            evaluate_attempt(attempt, task, protocol, catalog)

    return made


@pytest.fixture
def call(fake, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def typed(*arguments):
        monkeypatch.setattr(sys, "argv", ["suite", "claims", "--claims", "claims", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return typed


@pytest.fixture
def found(call, tmp_path):
    """What `claims --format json` says of the tests of one statement."""

    def made(*tests, **changes):
        write(tmp_path / "claims", statement=[said(*tests, **changes)])
        done = call("--format", "json")
        assert done.returncode == 0, done.stderr
        content = json.loads(done.stdout)
        described = {"$defs": SCHEMA["$defs"], "$ref": "#/$defs/claims"}
        assert not [e.message for e in Draft202012Validator(described).iter_errors(content)]
        return content["statements"]

    return made


LIMITS = st.floats(-2, 2)


@given(LIMITS, LIMITS, st.floats(0.01, 1))
def test_a_status_is_of_the_interval_alone(one, other, smallest):
    low, high = min(one, other), max(one, other)
    above, below, none = (status_of(e, low, high, smallest) for e in ("above", "below", "none"))
    assert below == status_of("above", -high, -low, smallest)
    # what is there in one direction is not there in the other, and not absent
    if above == SUPPORTED:
        assert below == NOT_SUPPORTED and low > 0
        assert none != UNDECIDED
    if low < -smallest and high > smallest:
        assert (above, below, none) == (UNDECIDED,) * 3
    if -smallest < low and high < smallest:
        assert none == SUPPORTED and SUPPORTED in (none, above, below)
    assert status_of("above", None, None, smallest) == UNDECIDED


def test_a_difference(runs, found):
    (row,) = found(DIFFERENCE)
    assert row["status"] == "not run" and row["objections"] == ["one seed"]
    runs("steady", [0.50, 0.51, 0.52, 0.50])
    runs("brisk", [0.60, 0.612, 0.618, 0.60])
    above, below, none, great = found(
        DIFFERENCE,
        {**DIFFERENCE, "expects": "below"},
        {**DIFFERENCE, "expects": "none"},
        {**DIFFERENCE, "expects": "none", "smallest": 0.5},
    )
    assert [r["status"] for r in (above, below, none, great)] == [
        SUPPORTED,
        NOT_SUPPORTED,
        NOT_SUPPORTED,
        SUPPORTED,
    ]
    assert above["estimate"] == pytest.approx(0.1) and above["p"] < 0.05 and above["n"] == 4
    assert above["low"] < 0.1 < above["high"] and 0 < above["power"] <= 1
    assert "with a probability of" in above["finding"]


def test_what_is_missing_is_a_command(runs, found):
    runs("steady", [0.50, 0.51, 0.52])
    (row,) = found({**DIFFERENCE, "b": "steady start=2.0", "a": "steady"})
    assert row["status"] == "not run"
    assert row["next"] == (
        "python -m suite run --task fake --protocol quick --method steady --set steady.start=2.0 --seeds 0-4"
    )
    runs("steady", [0.60, 0.61, 0.63], start=2.0)
    (row,) = found({**DIFFERENCE, "a": "steady start=2", "b": "steady"})
    assert row["status"] == SUPPORTED


def test_a_level(runs, found):
    runs("steady", [0.60, 0.62, 0.64, 0.61])
    levels = [(0.5, "above"), (0.5, "below"), (0.7, "above"), (0.62, "above")]
    rows = found(*({**LEVEL, "bound": bound, "expects": e} for bound, e in levels))
    assert [row["status"] for row in rows] == [SUPPORTED, NOT_SUPPORTED, NOT_SUPPORTED, UNDECIDED]
    assert rows[0]["estimate"] == pytest.approx(0.6175) and rows[0]["n"] == 4


def test_two_seeds_decide_nothing(runs, found):
    runs("steady", [0.9, 0.9])
    runs("brisk", [0.1, 0.1])
    level, difference = found(LEVEL, DIFFERENCE)
    assert level["status"] == difference["status"] == UNDECIDED
    assert "2 run(s), at least 3 are needed" in level["finding"]
    assert "--seeds" in level["next"] and "--seeds" in difference["next"]


def test_arms(runs, found):
    (row,) = found(ARMS)
    assert row["status"] == "not run" and "no results" in row["finding"]
    for start in (0.0, 1.0, 2.0, 3.0):
        # seeds matter, arms do not
        runs(
            "steady",
            [0.5 + 0.1 * seed + 0.001 * ((seed * 7 + start) % 3) for seed in range(4)],
            start=start,
        )
    effect, none, blind = found(ARMS, {**ARMS, "expects": "none"}, {**ARMS, "smallest": 0.0001})
    assert (effect["status"], none["status"]) == (NOT_SUPPORTED, SUPPORTED)
    assert effect["power"] > 0.99
    # an effect that small would not have been seen
    assert blind["status"] == UNDECIDED and blind["power"] < 0.8
    runs("steady", [0.8, 0.9, 1.0, 1.1], start=4.0)
    effect, none, without = found(ARMS, {**ARMS, "expects": "none"}, {**ARMS, "without": ["4"]})
    assert (effect["status"], none["status"]) == (SUPPORTED, NOT_SUPPORTED)
    assert without["status"] == NOT_SUPPORTED and without["n"] == 4
    # what is no arm need not have been run
    (absent,) = found({**ARMS, "without": ["4", "9"]})
    assert (absent["status"], absent["n"]) == (NOT_SUPPORTED, 4)
    (few,) = found({**ARMS, "without": ["0", "1", "2", "3"]})
    assert few["status"] == "not run" and few["finding"].startswith("1 arm(s) of steady.start")
    (unlike,) = found({**ARMS, "alike": ["score[group=tail]"]})
    assert unlike["status"] == UNDECIDED and "were not optimised alike" in unlike["finding"]


def test_a_correlation(runs, found):
    runs("steady", [0.1, 0.2])
    (row,) = found(CORRELATION)
    assert row["status"] == UNDECIDED and "1 row(s)" in row["finding"]
    for start in range(1, 8):
        runs("steady", [0.1 + start / 10, 0.2 + start / 10], start=float(start))
    runs("brisk", [5.0, 5.0])
    positive, negative, alone = found(
        CORRELATION,
        {**CORRELATION, "expects": "negative"},
        {**CORRELATION, "methods": ["steady"]},
    )
    assert (positive["status"], negative["status"]) == (SUPPORTED, NOT_SUPPORTED)
    assert (positive["estimate"], positive["n"], alone["n"]) == (1.0, 9, 8)


def test_arms_are_no_points_of_a_correlation(runs, found):
    for start in range(8):
        runs("steady", [0.1 + start / 10, 0.2 + start / 10], start=float(start))
    runs("brisk", [5.0, 5.0])
    arms, apart, odd = found(
        CORRELATION,
        {**CORRELATION, "without": ["start"]},
        {**CORRELATION, "without": ["strat"]},
    )
    assert (arms["status"], arms["n"]) == (SUPPORTED, 9)
    # the default's row and that of the other method are left
    assert (apart["status"], apart["n"]) == (UNDECIDED, 2)
    assert "7 row(s) that set start are left out" in apart["finding"]
    assert apart["test"].endswith("over rows without start (rho at least 0.5)")
    assert odd["status"] == "not run" and "did you mean start" in odd["finding"]


def test_every_format(runs, call, tmp_path):
    runs("steady", [0.60, 0.62, 0.64])
    claim = {**ENTRY, "method": "steady", "task": "fake", "metric": "score", "protocol": "quick"}
    statements = [said(LEVEL, ARMS), said(text="+Nobody knows", untested="it is in no run")]
    write(tmp_path / "claims", claim, statement=statements)
    table = call().stdout
    assert "1.1: supported: score of steady: 0.62" in table and "1: objection: one seed" in table
    assert "2: no test: it is in no run" in table and "1 claim: 1 above" in table
    assert "3 tests of 2 statements: 1 supported, 1 not run, 1 no test" in table
    assert "| 1.1 | score of steady above 0.5" in call("--format", "markdown").stdout
    lines = list(csv.DictReader(io.StringIO(call("--format", "csv").stdout)))
    assert [line["status"] for line in lines] == ["above", "supported", "not run", "no test"]
    assert lines[0]["statement"] == "" and lines[1]["estimate"].startswith("0.62")
    # a formula to a spreadsheet
    assert lines[3]["statement"] == "'+Nobody knows"
    only = call("--status", "supported", "--format", "json")
    content = json.loads(only.stdout)
    assert (len(content["rows"]), len(content["statements"])) == (0, 1)
    assert call("--status", "suported").stderr.count("did you mean") == 1
    assert json.loads(call("--method", "brisk", "--format", "json").stdout or "{}") == {}
    assert call("--method", "brisk").returncode == 2


def test_names_of_statements_are_names(runs, call, tmp_path):
    runs("steady", [0.60, 0.62, 0.64])
    write(tmp_path / "claims", statement=[said(LEVEL), said(DIFFERENCE)])
    made = json.loads(call("--method", "brisk", "--format", "json").stdout)
    assert [row["test"] for row in made["statements"]] == [
        "score of brisk above that of steady (at least 0.01)"
    ]
    assert len(json.loads(call("--task", "fake", "--format", "json").stdout)["statements"]) == 2
    assert (
        len(json.loads(call("--protocol", "quick", "--format", "json").stdout)["statements"]) == 2
    )
    done = call("--protocol", "nope")
    assert done.returncode == 2 and done.stderr.count("\n") == 1


WRONG = [
    (said(), "give tests, or in untested why there is none"),
    (said(LEVEL, untested="why"), "one of the two"),
    (said(LEVEL, text=" "), "has no text"),
    (said(LEVEL, tag="X"), "recollection is no source"),
    (said(LEVEL, verified=True), "it was not read where it was printed"),
    (said(LEVEL, task="fak"), "unknown task 'fak'; did you mean fake?"),
    (said({**LEVEL, "smallest": 0}), "smallest = 0.0: above 0"),
    (said({**LEVEL, "smallest": float("inf")}), "above 0"),
    (said({**LEVEL, "bound": float("inf")}), "bound is not a number"),
    (said({**LEVEL, "metric": "scor"}), "has no metric 'scor'; did you mean score?"),
    (said({**LEVEL, "protocol": "quik"}), "has no protocol 'quik'; did you mean quick?"),
    (said({**LEVEL, "method": "steddy"}), "unknown method 'steddy'; did you mean steady"),
    (said(LEVEL, {**ARMS, "method": "steddy"}), "test 2: unknown method"),
    (said({**LEVEL, "kind": "guess"}), "guess"),
    (said({**ARMS, "alike": ["scor"]}), "has no metric 'scor'"),
    (said({**LEVEL, "expects": "better"}), "better"),
    (said({**LEVEL, "more": 1}), "more"),
]


def test_a_wrong_file_is_one_line(call, tmp_path):
    for statement, message in WRONG:
        write(tmp_path / "claims", statement=[said(LEVEL), statement])
        done = call()
        assert done.returncode == 2 and message in done.stderr, (statement, done.stderr)
        assert done.stderr.count("\n") == 1 and "paper.toml" in done.stderr, done.stderr


def test_a_task_to_come(call, tmp_path):
    statement = said({**LEVEL, "method": "not-yet", "metric": "depth"}, task="depth")
    write(tmp_path / "claims", statement=[statement], future_tasks=["depth"])
    (row,) = json.loads(call("--format", "json").stdout)["statements"]
    assert (row["status"], row["finding"]) == ("not run", "there is no task depth yet")


def test_our_own_statements_are_read():
    catalog = Catalog.load()
    known = default_folder(), catalog.methods(), catalog.tasks()
    found = read_statements(*known)
    assert {"nc-generalization", "nc-symmetry"} <= {one.name for one in found}
    for one in found:
        assert one.objections or one.tests, one.text
        assert one.text[0] == "." or one.text[0].isupper()
    assert len(read_claims(*known)) > 100
    assert set(STATUSES) >= {SUPPORTED, NOT_SUPPORTED, UNDECIDED}
    with pytest.raises(UserError, match="no such folder"):
        read_statements(Path("nowhere"), (), {})
