"""`--format json` of every verb: one envelope, and rows as suite/rows.schema.json describes them."""

import importlib
import inspect
import json
import os
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import suite as package
from suite.cli import VERBS

pytestmark = pytest.mark.usefixtures("fake")

SCHEMA = json.loads((Path(package.__file__).parent / "rows.schema.json").read_text("utf-8"))
FAKE = ("--task", "fake")
SHIFT = ("--dirichlet", "1", "--draws", "2")


def calls(run):
    """Verb -> the arguments of its calls, and the kinds of rows that these print."""
    return {
        "run": [((*FAKE, "--dry-run"), "plan"), (FAKE, "leaderboard")],
        "plan": [((*FAKE, "--seeds", "0-3"), "plan")],
        "status": [((), "status")],
        "retry": [(("--kind", "nan", "--dry-run"), "retry"), ((), "retry")],
        "leaderboard": [(FAKE, "leaderboard")],
        "compare": [
            (("steady", "brisk"), "compare"),
            (("--all", *FAKE, "--reference", "steady"), "compare-all"),
            (("--arms", "steady.start", *FAKE, "--also", "curve:total"), "compare-arms"),
        ],
        "power": [(("steady", "brisk", *FAKE), "power")],
        "show": [((run,), "show")],
        "claims": [((), "claims")],
        "tasks": [((), "tasks")],
        "baselines": [((), "baselines")],
        "sites": [((), "sites")],
        "rescore": [((*FAKE, *SHIFT), "rescore")],
        "verify": [((), "verify")],
        "review": [(("other",), "review")],
        "merge": [(("other",), "merge")],
        "prune": [(("--all", "--dry-run"), "prune"), ((), "prune")],
        "doctor": [((), "doctor")],
        "ingest": [((), "ingest")],
        "data": [(("list",), "data-list"), (("check",), "data-check")],
    }


def functions(verb):
    module = importlib.import_module(f"suite.cli.{verb}")
    if hasattr(module, "app"):
        return [command.callback for command in module.app.registered_commands]
    return [getattr(module, verb)]


def validate(kind, text):
    found = json.loads(text)
    assert found["schema"] == f"longtail-suite/{kind}/1"
    described = {"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{kind}"}
    wrong = Draft202012Validator(described).iter_errors(found)
    first = [(kind, list(one.absolute_path), one.message[:200]) for one in wrong][:3]
    assert first == []
    return found


def test_every_verb_prints_the_rows_that_the_schema_describes(suite, inside, tmp_path):
    Draft202012Validator.check_schema(SCHEMA)
    broken = ("--method", "calm", "--set", "calm.at=5", "--set", "calm.what=nan")
    done = suite("run", *FAKE, *broken, "--format", "json")
    (failed,) = [row for row in validate("leaderboard", done.stdout)["rows"] if row["failures"]]
    assert done.returncode == 1 and failed["failures"][0]["kind"] == "nan"
    assert suite("run", *FAKE, "--root", "other").returncode == 0
    both = ("--method", "steady,brisk", "--seeds", "0-2")
    arms = ("--set", "steady.start=0.0", "--set", "steady.start=1.0")
    done = suite("run", *FAKE, *both, *arms, "--format", "json")
    rows = validate("leaderboard", done.stdout)["rows"]
    run = next(row for row in rows if row["method"] == "steady")["runs"][0]
    asked = calls(run)
    # none is forgotten: a verb that has the option is called
    having = {
        verb
        for verb in VERBS
        for function in functions(verb)
        if "format" in inspect.signature(function).parameters and verb != "export"
    }
    assert having == set(asked)
    empty = {"sites", "ingest"}
    for verb, lines in asked.items():
        for arguments, kind in lines:
            done = inside(verb, *arguments, "--format", "json")
            assert done.returncode in (0, 1), (verb, done.stderr)
            found = validate(kind, done.stdout)
            assert found["rows"] or verb in empty or verb in ("retry", "prune"), verb
            assert "run_id" not in done.stdout, verb


def test_an_error_is_one_json_object_where_json_is_asked_for(inside, suite):
    for words in (
        ("leaderboard", "--task", "fak", "--format", "json"),
        ("leaderboard", "--format=json"),
        ("leaderboard", "--task", "fake", "--formt", "--format", "json"),
    ):
        done = inside(*words)
        assert (done.returncode, done.stdout) == (2, "")
        validate("error", done.stderr)
    assert suite("plan", *FAKE, "--set", "x", "--format", "json").stderr.count("\n") == 1
    assert inside("plan", "--task", "fak").stderr.startswith("Error: unknown task")


def test_the_version_and_what_shells_complete(suite):
    assert suite("--version").stdout == f"longtail-suite {package.__version__}\n"
    # else it asks which shell the test was started from
    told = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert "_LONGTAIL_SUITE_COMPLETE" in suite("--show-completion", "bash", env=told).stdout
