"""Runs with stored scores, and `rescore` on them in this process."""

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
def call(tmp_path, monkeypatch, capsys):
    """`rescore` as typed below tmp_path, in this process: a start costs more than the command."""
    monkeypatch.chdir(tmp_path)

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
