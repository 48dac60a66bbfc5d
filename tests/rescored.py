"""Runs with stored scores, and `rescore` on them in this process."""

import json
import sys
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from suite.cli import main
from suite.define.catalog import Catalog
from suite.records.attempt import Attempt
from suite.records.files import Cost, Record
from suite.records.inputs import digest_of

PRIOR = "0.8\n0.2\n"
SCORES = {"steady": (0.50, 0.52, 0.57), "brisk": (0.80, 0.81, 0.85)}


@pytest.fixture
def catalog():
    return Catalog.load()


@pytest.fixture
def task(catalog):
    return catalog.task("fake")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "results"


def finished(
    root,
    catalog,
    method="steady",
    seed=0,
    score=0.5,
    *,
    protocol="quick",
    attempt=1,
    digest=None,
    params=None,
    inputs=None,
    **changes,
):
    """A finished run with its prediction, without training."""
    under = catalog.protocol(catalog.task("fake"), protocol)
    spec = catalog.spec("steady", under, seed, inputs=inputs)
    # of any name, also of a method that is not here
    spec = msgspec.structs.replace(spec, method=method, params={**spec.params, **(params or {})})
    made = Attempt(root, spec.run_id, attempt)
    made.create(spec)
    made.write_predictions({"test": {"score": np.array([score])}})
    fields = {
        "run_id": spec.run_id,
        "attempt": attempt,
        "spec": spec,
        "digest": digest or digest_of(root, catalog, spec),
        "dataset": "fake-data",
        "cost": Cost(parameters=7, wall_seconds=60.0 + seed, input_seconds=5.0),
        "finished": 1000.0 + attempt,
    }
    made.write_record(Record(**{**fields, **changes}))
    return made


@pytest.fixture
def prior(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(PRIOR)
    return path


def fill(root, catalog):
    return {
        method: [finished(root, catalog, method, seed, score) for seed, score in enumerate(scores)]
        for method, scores in SCORES.items()
    }


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """`rescore` as typed below tmp_path, in this process: a start costs more than the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()

    def made(*arguments, task="fake"):
        asked = ("--task", task) if task else ()
        monkeypatch.setattr(sys, "argv", ["longtail-suite", "rescore", *asked, *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as error:
            code = error.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return made


def rows_of(result, code=0):
    assert result.returncode == code, result.stderr
    return {row["method"]: row for row in json.loads(result.stdout)["rows"]}


def refused(result, *parts):
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr
