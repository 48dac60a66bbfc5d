"""The dashboard's page of a run, of methods that infer with torch."""

import io

import pytest
from dashboards import _restored, check, open_page, texts  # noqa: F401
from PIL import Image
from strangers import catalog as installed
from strangers import finished

from suite.records.attempt import Attempt
from suite.records.describe import (
    run_facts,
)
from suite.store.ingest import ingest


def png(width, height, colour=(10, 20, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def frame(page, words):
    """The table whose title holds these words."""
    return next(found.value for found in page.dataframe if words in found.proto.alt)


# -- the page


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    for seed in range(2):
        finished(place, seed, "ce")
        finished(place, seed, "la-posthoc", infers=True)
    ingest(place, installed().tasks(), installed().code)
    return place


def test_everything_of_a_finished_run(root):
    run = run_facts(root, next((root / "runs").iterdir()).name)["run"]
    folder = Attempt(root, run, 1)
    (folder.path / "log.txt").write_text("begun\n\x1b[31m<b>ended</b>\n")
    folder.write_sample("0.png", png(30, 10))
    folder.write_sample("1.png", b"no image")
    page = open_page(root, "run", run=run[:8])
    said = texts(page)
    record = folder.record()
    assert record.spec.method.replace("-", "\\-") in said or record.spec.method in said
    assert f"run {run}" in said and "attempt 1" in said
    assert page.multiselect(key="curve").value == ["loss"]
    assert "1 value" in said  # one is not finite
    scores = frame(page, "Scores: longtail-cls")
    stored = {
        row.key: row.value
        for row in evaluation(folder, "longtail-cls").metrics
        if row.class_ is None and row.value is not None
    }
    shown = dict(zip(scores["0"], scores["1"], strict=True))
    assert shown["top1"] == pytest.approx(100 * stored["top1"])
    assert "nll" not in shown
    assert len(frame(page, "largest confusions")) > 0
    assert len(page.get("image")) == 1
    assert "no readable PNG" in said
    assert any("python -m suite config --task longtail-cls" in code.value for code in page.code)
    log = next(code.value for code in page.code if "begun" in code.value)
    assert log.splitlines() == ["begun", "\\x1b[31m<b>ended</b>"]
    facts = frame(page, "Provenance")
    assert record.digest in set(facts["1"]) and "predictions.npz" in set(facts["1"])
    links = [link.proto for link in page.get("page_link")]
    assert links and all(f"contains={record.spec.method}" in link.query_string for link in links)


def evaluation(folder, task):
    from suite.records.files import Evaluation, read

    (path,) = (folder.path / "evaluations").glob(f"{task}-*.json")
    return read(Evaluation, path)


def test_the_list_is_filtered_by_what_the_url_says(root):
    page = open_page(root, "run", task="longtail-cls")
    assert len(frame(page, "Runs of")) == 4
    some = open_page(root, "run", task="longtail-cls", contains="POSTHOC", state="done")
    assert set(frame(some, "Runs of")["1"]) == {"la-posthoc"}
    assert len(frame(some, "Runs of")) == 2
    assert "no run is left" in texts(open_page(root, "run", task="longtail-cls", state="failed"))
    odd = open_page(root, "run", task="longtail-cls", state="nonsense")
    assert any("nonsense" in warning.value for warning in odd.warning)


@pytest.mark.parametrize("asked", ["ffffffffffff", "'; DROP", "../../etc", "x" * 10_000])
def test_no_such_run(root, asked):
    page = open_page(root, "run", run=asked)
    assert "no run" in texts(page)


def test_a_run_that_is_not_scored_says_how(root, tmp_path):
    run = finished(tmp_path, 0, evaluated=False)
    ingest(tmp_path, installed().tasks(), installed().code)
    page = open_page(tmp_path, "run", run=run.run_id)
    assert f"python -m suite evaluate {run.run_id} --task longtail-cls" in [
        code.value for code in page.code
    ]
    (run.path / "predictions.npz").unlink()
    page = open_page(tmp_path, "run", run=run.run_id)
    assert "no stored predictions" in texts(page)
    assert any("--fresh" in code.value for code in page.code)
