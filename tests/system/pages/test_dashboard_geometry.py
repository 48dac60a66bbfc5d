"""The page Geometry, and what was measured on the way on the page Run, in this process."""

import json

import numpy as np
import pytest
import strangers
from dashboards import _restored, check, open_page, texts  # noqa: F401
from records import Records
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df

from suite.define.metrics import MetricRow
from suite.store.ingest import ingest
from tasks.vision.geometry.stored import TRAIN, accumulate

METHODS = ("ce", "la", "focal", "ldam", "cdt", "vs")
COUNTS = np.arange(120, 20, -10)
"""Of the record of a run that `strangers` makes."""


def looked(spread, seed):
    """Ten classes, the further spread the larger `spread` is."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(10), 4)
    features = np.eye(10, 12)[label] + spread * rng.normal(size=(40, 12))
    weight = np.eye(10, 12)
    return accumulate(features, label, features @ weight.T, weight)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = tmp_path_factory.mktemp("results")
    for k, method in enumerate(METHODS):
        for seed in range(2):
            sets = {**strangers.arrays(seed + 10 * k), TRAIN: looked(0.02 * 1.9**k, seed)}
            strangers.finished(made, seed, method, sets=sets)
    # a row without: trained before anybody asked for it
    strangers.finished(made, 0, "mixup")
    _bring(made)
    return made


def _bring(root):
    catalog = strangers.catalog()
    ingest(root, catalog.tasks(), catalog.code)


def opened(root, **query):
    asked = {"task": "longtail-cls", "protocol": "quick", **query}
    return open_page(root, "geometry", catalog=strangers.catalog(), **asked)


def said(page):
    return texts(page).replace("\\", "")


def drawn(page):
    (chart,) = page.get("vega_lite_chart")
    (data,) = chart.proto.datasets
    return json.loads(chart.proto.spec), convert_arrow_bytes_to_pandas_df(data.data.data)


def test_every_run_is_a_mark_and_the_correlation_a_sentence(root):
    page = opened(root)
    spec, data = drawn(page)
    assert len(data) == 12 and set(data["row"]) == set(METHODS)
    assert spec["encoding"]["x"]["title"] == "nc1[split=train]"
    assert spec["encoding"]["y"]["title"] == "top1[group=tail] / %"
    # over two orders of magnitude
    assert spec["encoding"]["x"]["scale"]["type"] == "log"
    assert "over 12 runs of 6 rows" in said(page)
    assert "1 of 7 rows have no run with both nc1[split=train] and top1[group=tail]." in said(page)
    table = page.dataframe[0].value
    assert len(table) == 6 and "nc1[split=train]" in table.to_numpy().tolist()[0]


def test_another_measure_and_score_are_asked_for_in_the_url(root):
    page = opened(root, by="cdnv[group=tail,split=train]", of="balanced_accuracy")
    spec, _ = drawn(page)
    assert spec["encoding"]["x"]["title"] == "cdnv[group=tail,split=train]"
    assert spec["encoding"]["y"]["title"] == "balanced_accuracy / %"
    # also one that the task does not name, in a line of its own
    page = opened(root, by="duality[split=train]")
    assert page.dataframe[0].value.to_numpy().tolist()[0][0] == "duality[split=train]"
    assert len(page.dataframe[0].value) == 7


def test_rows_that_are_not_chosen_are_grey(root):
    _, data = drawn(opened(root, rows=["ce"]))
    assert set(data.loc[data["row"] == "ce", "told"]) == {"ce"}
    assert set(data.loc[data["row"] != "ce", "told"]) == {"other rows"}


def test_arms_are_in_colour_last_and_the_reference_method_first(tmp_path):
    for number in range(1, 9):
        sets = {**strangers.arrays(number), TRAIN: looked(0.05 * number, 0)}
        strangers.finished(tmp_path, 0, "etf", sets=sets, overrides={"permutation": number})
    for k, method in enumerate(("la", "ce")):
        sets = {**strangers.arrays(20 + k), TRAIN: looked(0.5, k)}
        strangers.finished(tmp_path, 0, method, sets=sets)
    _bring(tmp_path)
    page = opened(tmp_path)
    (coloured,) = page.multiselect
    assert {"ce", "la"} <= set(coloured.value) and len(coloured.value) == 7
    spec, data = drawn(page)
    assert len(data) == 10
    assert "8 row(s) that set permutation are not counted" in said(page).replace(" or rotation", "")
    # as wide as the names need: what does not fit is cut off
    assert spec["encoding"]["color"]["legend"]["columns"] == 2


def test_a_score_that_no_run_has_is_not_said_of_the_measure(tmp_path):
    test = strangers.arrays(0)["test"]
    # no test image of a tail class: its score is undefined
    sets = {"test": {**test, "label": test["label"] % 7}, TRAIN: looked(0.1, 0)}
    strangers.finished(tmp_path, 0, "ce", sets=sets)
    _bring(tmp_path)
    told = said(opened(tmp_path))
    assert "no run under quick has both nc1[split=train] and top1[group=tail]" in told
    assert "--predict" not in told


def test_without_the_set_the_page_says_what_makes_it(tmp_path):
    strangers.finished(tmp_path, 0, "ce")
    _bring(tmp_path)
    page = opened(tmp_path)
    assert "no run under quick has nc1[split=train]" in said(page)
    assert "--predict collapse" in said(page)
    assert not page.get("vega_lite_chart")


def test_what_was_measured_on_the_way_is_drawn_on_the_page_of_the_run(tmp_path):
    rows = [MetricRow(metric="mIoU", value=0.3)]
    for step in (5, 10):
        for split, value in (("train", 9.0 / step**2), ("test", 90.0 / step**3)):
            where = f"split={split}"
            rows.append(
                MetricRow(metric="nc1", subset=where, step=step, value=value, source="hook")
            )
        rows.append(MetricRow(metric="top1", step=step, value=None, source="hook"))
    records = Records(tmp_path)
    run = records.run("ce", rows=rows).run_id
    records.ingest()
    page = open_page(tmp_path, "run", run=run)
    specs = {}
    for chart in page.get("vega_lite_chart"):
        spec = json.loads(chart.proto.spec)
        specs[spec["encoding"]["y"]["title"]] = chart.proto
    data = convert_arrow_bytes_to_pandas_df(specs["nc1"].datasets[0].data.data)
    assert set(zip(data["of"], data["iteration"], strict=True)) == {
        (f"split={split}", step) for split in ("train", "test") for step in (5.0, 10.0)
    }
    assert "nc1 over iterations, for split=train, split=test" in specs["nc1"].alt
    assert "top1" not in specs  # an empty chart says nothing
    assert "top1: 2 value(s) are undefined." in said(page)
    assert "Measured on the way" in said(page)


def test_a_run_that_nothing_was_measured_of_has_no_such_part(tmp_path):
    records = Records(tmp_path)
    run = records.run("ce", mIoU=0.3).run_id
    records.ingest()
    assert "Measured on the way" not in texts(open_page(tmp_path, "run", run=run))
