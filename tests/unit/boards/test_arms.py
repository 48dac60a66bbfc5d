"""`compare --arms`: rows of one method that differ in one parameter, crossed with seeds; typed, and as a function."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from scipy import stats as reference

import suite
from suite.base.errors import UserError
from suite.boards.arm_checks import ArmChecks, Covariate
from suite.boards.arms import arms, curve_end
from suite.boards.correlations import correlations
from suite.cli import main
from suite.define.catalog import Catalog
from suite.records.attempt import Attempt
from suite.records.files import Cost, Record
from suite.records.inputs import digest_of
from suite.runs.evaluate import evaluate_attempt
from suite.stats.correlation import Correlates
from suite.store.connection import connect
from suite.store.ingest import refresh

SCHEMA = json.loads((Path(suite.__file__).parent / "rows.schema.json").read_text("utf-8"))
EFFECT = {0.0: [0.90, 0.92, 0.93], 1.0: [0.95, 0.97, 0.979], 2.0: [0.90, 0.921, 0.93]}
NONE = {0.0: [0.90, 0.92, 0.91], 1.0: [0.91, 0.90, 0.92], 2.0: [0.92, 0.91, 0.90]}


@pytest.fixture
def made(fake, tmp_path, monkeypatch):
    """`made({start: [score of seed 0, ...]})` writes runs of `steady`; nothing is trained."""
    monkeypatch.chdir(tmp_path)
    catalog = Catalog.load()
    task = catalog.task("fake")

    def write(table, under=None, losses=None, **params):
        protocol = catalog.protocol(task, under)
        for start, scores in table.items():
            for seed, score in enumerate(scores):
                if score is None:
                    continue
                spec = catalog.spec("steady", protocol, seed, {"start": start, **params})
                attempt = Attempt(tmp_path / "results", spec.run_id, 1)
                attempt.create(spec)
                attempt.write_predictions({"test": {"score": np.array([score])}})
                loss = losses[start][seed] if losses else 0.5
                attempt.write_record(
                    Record(
                        run_id=spec.run_id,
                        attempt=1,
                        spec=spec,
                        digest=digest_of(tmp_path / "results", catalog, spec),
                        dataset="fake-data",
                        cost=Cost(parameters=7),
                        curves={"total": [(1, 9.0), (2, loss)]},
                        finished=1000.0,
                    )
                )
                evaluate_attempt(attempt, task, protocol, catalog)

    return write


@pytest.fixture
def call(monkeypatch, capsys):
    def typed(*arguments):
        monkeypatch.setattr(sys, "argv", ["suite", "compare", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return typed


def found(call, *more):
    done = call("--arms", "steady.start", "--format", "json", *more)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    described = {"$defs": SCHEMA["$defs"], "$ref": "#/$defs/compare-arms"}
    assert not [error.message for error in Draft202012Validator(described).iter_errors(content)]
    return content


def test_an_effect(made, call):
    made(EFFECT)
    content = found(call)
    assert (content["task"], content["metric"]) == ("fake", "score[group=tail]")
    assert [row["value"] for row in content["rows"]] == [0.0, 1.0, 2.0]
    assert content["rows"][1]["values"]["score[group=tail]"] == pytest.approx(
        [0.475, 0.485, 0.4895]
    )
    (test,) = content["tests"]
    expected = reference.f_oneway(*([v / 2 for v in row] for row in EFFECT.values()))
    assert test["one_way"]["f"] == pytest.approx(float(expected.statistic))
    assert (test["decides"], test["verdict"], test["left_out"]) == ("crossed", "effect", "")
    (finding,) = content["findings"]
    assert "arms of start differ beyond seeds by 1." in finding["words"][0]
    assert finding["words"][1].startswith("3 arms x 3 seeds are few")
    assert finding["next"] is None


def test_no_effect_says_what_could_have_been_seen(made, call):
    made(NONE)
    content = found(call, "--metric", "score")
    (test,) = content["tests"]
    assert test["verdict"] == "none found" and test["crossed"]["icc"] == 0
    points = f"{100 * test['crossed']['detectable']:.2f} points"
    assert "no effect of start beyond seeds was found" in test["words"]
    assert (
        f"{points} (s.d. of arms) would have been found with a probability of 80%" in test["words"]
    )


def test_tables_and_markdown(made, call):
    made(EFFECT, losses={k: [0.1 * k + seed for seed in range(3)] for k in EFFECT})
    table = call("--arms", "steady.start", "--also", "curve:total")
    assert table.returncode == 0 and "Arms of steady.start: fake under quick" in table.stdout
    assert "decides" in table.stdout and "arms differ in optimisation (curve:total)" in table.stdout
    text = call("--arms", "steady.start", "--also", "curve:total", "--format", "markdown").stdout
    assert "| crossed | 3 | 3 |" in text and "| 1.0 | 3 | 48.32" in text


@pytest.mark.parametrize(
    ("scores", "losses", "words"),
    [
        (EFFECT, NONE, "an effect on generalisation"),
        (EFFECT, EFFECT, "need not be generalisation"),
        (NONE, EFFECT, "and not in score[group=tail] as far as could be seen"),
        (NONE, NONE, "arms are alike as far as could be seen"),
    ],
)
def test_what_follows_from_further_metrics(made, call, scores, losses, words):
    made(scores, losses=losses)
    (finding,) = found(call, "--also", "curve:total")["findings"]
    assert words in finding["words"][-1]


def test_runs_that_did_not_fit(made, call):
    made({0.0: [1.0, 1.0, 1.0], 1.0: [1.0, 1.0, 1.0], 2.0: [1.0, 1.0, 0.4]})
    content = found(call, "--metric", "score[group=tail]", "--fitted", "score")
    assert [row["unfitted"] for row in content["rows"]] == [[], [], [2]]
    tests = {test["without"]: test for test in content["tests"]}
    assert tests[""]["verdict"] == "none found" and tests[""]["one_way"]["values"] == 9
    assert (tests["runs"]["one_way"]["values"], tests["runs"]["one_way"]["p"]) == (8, 1.0)
    assert tests["arms"]["one_way"]["arms"] == 2
    words = content["findings"][0]["words"]
    assert "1 run(s) of 1 arm(s) have score below 1: 2.0 seeds 2" in words
    assert "1 of 3 not fitted" in call("--arms", "steady.start", "--fitted", "score").stdout


def test_a_verdict_that_rests_on_failures_is_said(made, call):
    made({0.0: [1.0, 1.0, 1.0], 1.0: [1.0, 1.0, 1.0], 2.0: [0.5, 0.51, 0.5], 3.0: [1.0, 1.0, 1.0]})
    words = found(call, "--metric", "score", "--fitted", "score")["findings"][0]["words"]
    assert any("rests on runs that did not fit" in line for line in words)


def test_missing_cells_and_what_trains_them(made, call):
    made({0.0: [0.90, 0.92, 0.93], 1.0: [0.95, 0.97, None], 2.0: [0.90, 0.921, 0.93]})
    content = found(call)
    (test,) = content["tests"]
    assert "over 3 arms x 2 seeds that they share and leaves out seeds 2" in test["left_out"]
    (finding,) = content["findings"]
    assert finding["next"] == (
        "python -m suite run --task fake --protocol quick --method steady --set steady.start=1.0 --seeds 0-2"
    )
    assert sum(line.startswith("left out:") for line in finding["words"]) == 1


def test_all_else_is_equal(made, call):
    made(EFFECT)
    made(NONE, later=2)
    made({5.0: [0.5]}, later=3)
    made({0.0: [0.4, 0.5], 4.0: [0.4, 0.6]}, under="other")
    content = found(call)
    places = [(one["protocol"], one["beside"]) for one in content["findings"]]
    assert places == [("other", []), ("quick", []), ("quick", ["steady.later=2"])]
    assert [len(c) for c in (content["rows"], content["tests"])] == [8, 3]
    assert any("1 row(s) that no other value of start stands beside" in n for n in content["notes"])
    assert {one["protocol"] for one in found(call, "--protocol", "quick")["findings"]} == {"quick"}
    # seen from the other parameter, values of `start` are what is equal
    other = call("--arms", "steady.later", "--format", "json")
    assert [d["beside"] for d in json.loads(other.stdout)["findings"]] == [
        [],
        ["steady.start=1.0"],
        ["steady.start=2.0"],
    ]


def test_without_an_arm(made, call):
    made(EFFECT)
    content = found(call, "--without", "1")
    assert [row["left_out"] for row in content["rows"]] == [False, True, False]
    assert content["tests"][0]["crossed"]["arms"] == 2
    assert "left out" in call("--arms", "steady.start", "--without", "1.0").stdout


def test_a_task_may_offer_what_is_tested_beside(made, tmp_path):
    made(EFFECT, losses=NONE)
    catalog = Catalog.load()
    task = replace(
        catalog.task("fake"), offers={"arms": ArmChecks(also=("curve:total",), fitted="score")}
    )
    refresh(tmp_path / "results", catalog.tasks(), catalog.code)
    offered = arms(tmp_path / "results", catalog, task, "steady.start")
    assert (offered.also, offered.fitted) == (("curve:total",), "score")
    (design,) = offered.designs
    assert design.test("curve:total").verdict == "none found"
    assert design.test("score[group=tail]").verdict == "effect"
    assert all(arm.unfitted == (0, 1, 2) for arm in design.arms)
    plain = arms(tmp_path / "results", catalog, task, "steady.start", also=(), fitted="")
    assert plain.also == () and len(plain.designs[0].tests) == 1


def test_a_metric_without_values_is_a_note(made, call):
    made(EFFECT)
    content = found(call, "--also", "curve:nothing")
    assert content["notes"] == [
        "curve:nothing: no run has a value of it, so that nothing is said of it"
    ]
    assert content["tests"][1]["verdict"] == "untested"


def test_the_end_of_a_curve(made, tmp_path):
    made({0.0: [0.5]})
    (record,) = (tmp_path / "results").rglob("record.json")
    run = record.parent.parent.name

    def end(points):
        content = json.loads(record.read_text())
        record.write_text(json.dumps({**content, "curves": {"loss": points}}))
        return curve_end(tmp_path / "results", run, 1, "loss")

    assert end([[k, float(k)] for k in range(30)]) == pytest.approx(28.0)
    assert end([[1, 4.0]]) == 4.0 and end([]) is None
    assert end([[1, 4.0], [2, None]]) is None


WRONG = [
    (("--arms", "steady"), "write METHOD.PARAM"),
    (("--arms", "steddy.start"), "did you mean steady"),
    (("--arms", "steady.strat"), "no such parameter; did you mean start"),
    (("--arms", "steady.start", "--also", "nope"), "--also nope: task fake has no such metric"),
    (("--arms", "steady.start", "--also", "curve:"), "name a curve"),
    (("--arms", "steady.start", "--fitted", "nope"), "--fitted nope"),
    (("--arms", "steady.start", "--without", "9"), "no arm has this value; there are 0.0, 1.0"),
    (("--arms", "steady.start", "--all"), "leave A, B, --all"),
    (("steady", "brisk", "--arms", "steady.start"), "leave A, B, --all"),
    (("--arms", "steady.start", "--over", "images"), "leave A, B, --all"),
    (("steady", "brisk", "--also", "score"), "are for --arms METHOD.PARAM"),
    (("--arms", "steady.later"), "has no two values with all else equal"),
    (("--arms", "brisk.start", "--task", "fake"), "brisk has no evaluated run"),
    (("--arms", "brisk.strat", "--task", "fake"), "no such parameter; did you mean start"),
    (("--arms", "steady.start", "--reference", "calm"), "--reference is for --all"),
    (("--arms", "steady.start", "--format", "yaml"), "use one of"),
]


def test_wrong_use_is_one_line(made, call):
    made({0.0: [0.5, 0.6], 1.0: [0.6, 0.7], 2.0: [0.6, 0.7]})
    for arguments, message in WRONG:
        done = call(*arguments)
        assert done.returncode == 2 and message in done.stderr, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1 and not done.stdout, arguments


def test_no_run_is_taken_twice(made, call, tmp_path):
    """A stranger's run of the same arm is a row of its own: neither is pooled, nor silently chosen."""
    made(EFFECT)
    for path in (tmp_path / "results" / "runs").iterdir():
        record = path / "1" / "record.json"
        content = json.loads(record.read_text())
        if content["spec"]["params"].get("start") == 1.0 and content["spec"]["seed"] == 2:
            record.write_text(json.dumps({**content, "flags": ["external"]}))
    content = found(call)
    assert [row["value"] for row in content["rows"]] == [0.0, 2.0]
    assert any("start=1.0 under quick are 2 rows" in note for note in content["notes"])


def test_a_value_that_is_missing_in_one_run(made, call, tmp_path):
    made(EFFECT)
    catalog = Catalog.load()
    task = catalog.task("fake")
    protocol = catalog.protocol(task, None)
    spec = catalog.spec("steady", protocol, 1, {"start": 1.0})
    path = Attempt(tmp_path / "results", spec.run_id, 1).evaluation_path(
        "fake", task.evaluation_hash(protocol)
    )
    content = json.loads(path.read_text())
    for row in content["metrics"]:
        row["value"] = None
    path.write_text(json.dumps(content))
    made({}, None)
    (test,) = found(call)["tests"]
    assert test["left_out"].startswith("no value of 1.0 seed 1; the crossed analysis is over")
    assert test["one_way"]["values"] == 8


def test_a_covariate_says_which_arm_is_good(made):
    starts = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    made({start: [0.9 - 0.01 * start, 0.91 - 0.01 * start] for start in starts})
    catalog = Catalog.load()
    task = catalog.task("fake")
    refresh(Path("results"), catalog.tasks(), catalog.code)

    def found(value, reference="steady"):
        checks = ArmChecks(covariate=Covariate(name="height", value=value))
        told = replace(task, reference=reference, offers={**task.offers, "arms": checks})
        (design,) = arms(Path("results"), catalog, told, "steady.start").designs
        assert design.words[-1] == design.association.words
        return design.association

    own = found(lambda arrays, others: 1 - float(arrays["test"]["score"][0]) + len(others))
    assert (own.found.rho, own.found.n) == (-1.0, 6) and "go together over arms" in own.words
    # the reference's runs are those of the protocol, twelve here
    assert own.values["0.0"] == pytest.approx(12 + 0.095)
    assert "the same height" in found(lambda arrays, others: 1 / 3).words
    assert "0 arm(s) have both" in found(lambda arrays, others: None).words
    assert "takes a run of absent" in found(lambda arrays, others: 1.0, "absent").words

    def undefined(arrays, others):
        raise ValueError("no class is like another")

    assert "no class is like another" in found(undefined).words


def test_arms_are_drawn_and_not_counted_in_a_correlation(made, tmp_path):
    made({**EFFECT, 3.0: [0.99]})
    catalog = Catalog.load()
    task = catalog.task("fake")
    refresh(tmp_path / "results", catalog.tasks(), catalog.code)
    asked = Correlates(of="score", by=("score[group=tail]",))
    with connect(tmp_path / "results") as connection:
        every, apart = (
            correlations(connection, catalog, task, asked=replace(asked, arms=arms))
            for arms in ((), ("start",))
        )
        with pytest.raises(UserError, match="no method of fake has a parameter 'strat'"):
            correlations(connection, catalog, task, asked=replace(asked, arms=("strat",)))
    (one,) = every.found
    assert (one.found.rows, one.found.runs, len(one.arms)) == (4, 10, 0)
    (one,) = apart.found
    # start is 0 by default
    assert (one.found.rows, one.found.runs, len(one.arms), len(one.points)) == (1, 3, 3, 10)
    assert "3 row(s) that set start are not counted" in apart.words and "set" not in every.words


def test_one_value_alone_is_said_whatever_is_left_out(made, call):
    made({0.0: [0.9, 0.92]})
    done = call("--arms", "steady.start", "--without", "1")
    assert done.returncode == 2
    assert "steady.start has no two values" in done.stderr and "--without" not in done.stderr
    # a command that works as it stands, and makes an arm that is not there
    assert "--set steady.start=1.0 " in done.stderr and "VALUE" not in done.stderr


def test_the_arm_that_is_proposed_has_all_else_as_the_row_has_it(made, call):
    made({0.0: [0.9, 0.92]}, later=2)
    done = call("--arms", "steady.start")
    assert done.returncode == 2
    assert "--set steady.start=1.0 --set steady.later=2 --seeds 0-1" in done.stderr
    # one row has it at 0, and the command sets what is asked about alone
    assert done.stderr.count("steady.start=") == 1
