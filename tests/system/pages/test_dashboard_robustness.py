"""The page of robustness, run without a browser."""

import json

import numpy as np
import pandas as pd
import pytest
import strangers
from dashboards import _restored, check, open_page, texts  # noqa: F401
from multilabel_records import catalog as other_catalog
from records import edit
from robust_records import LABEL, arrays, bring, finished, protocol
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df

from dashboard import source
from tasks.robust_auc import page as robustness
from tasks.robust_auc.measures import auc
from tasks.robust_auc.stored import store

KNOWS = {"bce": 2.0, "wdro": 2.5, "pauc-kl": 3.5}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    made = tmp_path_factory.mktemp("results")
    for method, knows in KNOWS.items():
        for seed in range(3):
            # the one that knows most moves its scores most
            finished(made, method, seed, knows=knows, shift=3.0 * (method == "pauc-kl"))
    bring(made)
    return made


def opened(root, view=robustness.SEVERITY, **query):
    query = {"task": "robust-auc", "protocol": "smoke", **query}
    return open_page(root, "robustness", catalog=strangers.catalog(), view=view, **query)


def told_by(page):
    """All that the page says, without the marks that keep it from being Markdown."""
    return texts(page).replace("\\", "")


def table(page, place=0):
    """The rows of a table, as lists in the order of its columns."""
    return page.dataframe[place].value.to_numpy(dtype=object).tolist()


def titles(page, place=0):
    config = json.loads(page.dataframe[place].proto.columns)
    return [one["label"] for key, one in config.items() if key != "_index"]


def charts(page):
    return [(json.loads(one.proto.spec), one.proto.alt) for one in page.get("vega_lite_chart")]


def drawn(page):
    """All data of the first chart: a list of lines for each layer that has its own."""
    sets = page.get("vega_lite_chart")[0].proto.datasets
    frames = [convert_arrow_bytes_to_pandas_df(one.data.data) for one in sets]
    return [frame.astype(object).where(frame.notna(), None).to_dict("records") for frame in frames]


def pictures(page):
    return page.get("image")


def scores_of(method, seed, name):
    shift = 3.0 * (method == "pauc-kl")
    sets = arrays(protocol(), seed + 10 * len(method), KNOWS[method], shift=shift)
    return sets[name]["score"]


# -- by severity


def test_auc_by_severity(root):
    page = opened(root)
    (spec, alt), *_ = charts(page)
    assert alt == ("mean AUC of 2 corruptions from clean to severity 5, for pauc-kl, wdro, bce")
    lines = table(page)
    assert [line[1] for line in lines[:3]] == ["clean", "severity 1", "severity 5"]
    mean = np.mean([auc(LABEL, scores_of("pauc-kl", s, "test")) for s in range(3)])
    assert lines[0][:3] == ["pauc-kl", "clean", 3]
    assert lines[0][3] == pytest.approx(100 * mean)
    assert lines[0][4] < lines[0][3] < lines[0][5]
    marks = [layer["mark"]["type"] for layer in spec["layer"]]
    assert marks == ["rule", "line", "point"]


def test_one_corruption_and_some_rows(root):
    page = opened(root, of="contrast", rows=["bce"])
    (_, alt), *_ = charts(page)
    assert "AUC under contrast" in alt and alt.endswith("for bce")
    expected = np.mean(
        [auc(LABEL, scores_of("bce", s, "corruption=contrast,severity=5")) for s in range(3)]
    )
    assert table(page)[-1][3] == pytest.approx(100 * expected)
    page.multiselect(key="rows").set_value([]).run()
    check(page)
    assert "choose a row" in told_by(page)


def test_corruptions_of_one_strength_stand_in_lanes(tmp_path):
    for seed in range(2):
        finished(tmp_path, "bce", seed, under="mnist:r20,p10", noise=0.2)
        finished(tmp_path, "wdro", seed, under="mnist:r20,p10", noise=0.3)
    bring(tmp_path)
    page = opened(tmp_path, protocol="mnist:r20,p10")
    told = told_by(page)
    assert "have one strength each, so there are no severities" in told
    assert len(table(page)) == 2 * 16
    ((spec, alt),) = charts(page)
    assert alt == "AUC clean and under 15 corruptions, for bce, wdro"
    lanes = spec["layer"][0]["encoding"]["y"]["sort"]
    assert lanes[0] == "clean" and len(lanes) == 16
    page = opened(tmp_path, robustness.GRID, protocol="mnist:r20,p10")
    assert "corruptions: one strength each" in told_by(page) and len(titles(page)) == 2 + 17
    # seventeen numbers beside each other would overlap: the two rows go across
    ((spec, _),) = charts(page)
    assert spec["layer"][1]["encoding"]["x"]["field"] == "row"
    page = opened(tmp_path, robustness.IMAGES, protocol="mnist:r20,p10", corruption="zigzag")
    told = told_by(page)
    assert "Severity" not in [one.label for one in page.selectbox]
    assert "under zigzag. Pairs won" in told
    # the data are not embedded, and no root is named
    assert "of which this dashboard knows none" in told and not pictures(page)
    assert len(table(page)) == 4


# -- by corruption


def test_corruption_by_method(root):
    page = opened(root, robustness.GRID)
    ((_, alt),) = charts(page)
    assert alt == "AUC of 3 rows clean and under 2 corruptions"
    assert titles(page)[2:] == [
        "clean / %",
        "gaussian_noise / %",
        "contrast / %",
        "mean of all / %",
    ]
    lines = table(page)
    assert [line[0] for line in lines] == ["pauc-kl", "wdro", "bce"]
    assert [line[-1] for line in lines] == sorted((line[-1] for line in lines), reverse=True)
    assert lines[0][-1] == pytest.approx((lines[0][3] + lines[0][4]) / 2)
    (cells,) = drawn(page)
    assert {
        cell["text"] for cell in cells if cell["row"] == "bce" and cell["column"] == "clean"
    } == {f"{lines[2][2]:.1f}"}


def test_differences_to_a_row(root):
    page = opened(root, robustness.GRID, difference="true", b="bce")
    ((spec, alt),) = charts(page)
    assert alt.endswith("less that of bce")
    lines = {(line[0], line[1]): line[2:] for line in table(page)}
    assert set(lines) == {
        (m, c) for m in KNOWS for c in ("clean", "gaussian_noise", "contrast", "mean of all")
    }
    gaps = [
        auc(LABEL, scores_of("pauc-kl", s, "test")) - auc(LABEL, scores_of("bce", s, "test"))
        for s in range(3)
    ]
    seeds, value, low, high = lines["pauc-kl", "clean"]
    assert seeds == 3 and value == pytest.approx(100 * np.mean(gaps))
    assert low < value < high
    assert lines["bce", "clean"][1] == 0
    colour = spec["layer"][0]["encoding"]["color"]["condition"]
    assert colour["scale"]["scheme"] == "blueorange"
    assert colour["scale"]["domain"][1] == 0
    (cells,) = drawn(page)
    for cell in cells:
        apart = cell["row"] != "bce" and (cell["low"] > 0 or cell["high"] < 0)
        assert cell["apart"] == apart
    assert any(cell["apart"] for cell in cells)


def test_rows_that_share_no_seed(tmp_path):
    finished(tmp_path, "bce", 0)
    finished(tmp_path, "wdro", 1)
    bring(tmp_path)
    page = opened(tmp_path, robustness.GRID, difference="true", b="bce")
    assert "Where rows share no seed, it is the difference of their means" in told_by(page)
    line = next(line for line in table(page) if line[:2] == ["wdro", "clean"])
    assert line[2] == 0 and not pd.isna(line[3]) and pd.isna(line[4])


# -- level and drop


def test_level_and_drop(root):
    page = opened(root, robustness.DROP)
    told = told_by(page)
    assert (
        "Mean and pooled AUC order 2 of 3 pairs of rows differently; the clearest: pauc-kl" in told
    )
    ((_, alt),) = charts(page)
    assert alt.startswith("clean AUC of 3 rows against their AUC under corruption")
    lines = {line[0]: line[1:] for line in table(page)}
    for line in lines.values():
        assert line[9] == pytest.approx(line[1] - line[2])
    assert [lines["pauc-kl"][5], lines["pauc-kl"][7]] == [1, 3]
    drops = [one["text"] for data in drawn(page) for one in data if "x2" in one]
    assert drops and all(text.startswith("drop ") for text in drops)
    swaps = table(page, 1)
    assert {(line[0], line[3]) for line in swaps} == {("pauc-kl", "wdro"), ("pauc-kl", "bce")}


def test_intervals_of_the_clean_auc(root):
    page = opened(root, robustness.DROP, seed="1")
    lines = {line[0]: line[1:] for line in table(page, 2)}
    assert titles(page, 2)[:6] == [
        *("row", "AUC / %", "DeLong low / %", "DeLong high / %", "boot. low / %", "boot. high / %")
    ]
    value, low, high, boot_low, boot_high, mean = lines["bce"][:6]
    assert value == pytest.approx(100 * auc(LABEL, scores_of("bce", 1, "test")))
    assert low < value < high and boot_low < value < boot_high
    assert abs(low - boot_low) < 4 and abs(high - boot_high) < 4
    assert mean == pytest.approx(table(page)[2][2])
    assert "(100 images)" in told_by(page)


def test_predictions_that_are_gone(tmp_path):
    finished(tmp_path, "bce", kept=False)
    finished(tmp_path, "wdro")
    bring(tmp_path)
    page = opened(tmp_path, robustness.DROP)
    told = told_by(page)
    assert "1 of 2 runs have no predictions that can be read; the first:" in told
    assert "no stored predictions" in told
    lines = {line[0]: line[1:] for line in table(page, 1)}
    assert pd.isna(lines["bce"][0]) and not pd.isna(lines["wdro"][0])
    told = told_by(opened(tmp_path, robustness.IMAGES, row="bce"))
    assert "predictions.npz" in told and "no stored predictions" in told
    attempt = finished(tmp_path, "bce", 7)
    (attempt.path / "predictions.npz").write_bytes(b"PK\x03\x04 no")
    bring(tmp_path)
    assert "damaged" in told_by(opened(tmp_path, robustness.IMAGES, row="bce", seed="7"))


# -- images


def test_images_and_both_scores(root):
    chosen = {"row": "bce", "seed": "2", "corruption": "contrast", "severity": "5"}
    page = opened(root, robustness.IMAGES, **chosen, images="score changed")
    clean = scores_of("bce", 2, "test").astype(float)
    changed = scores_of("bce", 2, "corruption=contrast,severity=5").astype(float) - clean
    order = sorted(range(100), key=lambda i: -abs(changed[i]))
    for place, kind in enumerate((1, 0)):
        lines = table(page, place)
        expected = [i for i in order if LABEL[i] == kind][:4]
        assert [line[0] for line in lines] == expected
        assert [line[1] for line in lines] == pytest.approx([clean[i] for i in expected])
        assert [line[3] for line in lines] == pytest.approx([changed[i] for i in expected])
    told = told_by(page)
    assert f"AUC of this run: {100 * auc(LABEL, clean):.2f} % clean" in told
    assert "under contrast, severity 5" in told and f"number {order[0]}: logit" in told
    assert len(pictures(page)) == 8


def test_images_by_number(root):
    page = opened(root, robustness.IMAGES, images="by number", numbers="99, 3 700 x")
    told = told_by(page)
    assert "700: expected numbers of test images between 0 and 99" in told
    assert [line[0] for line in table(page, 0)] == [99]
    assert [line[0] for line in table(page, 1)] == [3]
    page.text_input(key="numbers").set_value("").run()
    check(page)
    assert "give numbers of test images" in told_by(page)
    page.text_input(key="numbers").set_value(" ".join(map(str, range(40)))).run()
    check(page)
    assert "The first 12 of 40 are shown" in told_by(page) and len(table(page)) == 12


def test_pairs_lost_come_first(root):
    page = opened(root, robustness.IMAGES, row="bce", severity="5")
    lines = table(page)
    lost = [line[4] - line[5] for line in lines]
    assert lost == sorted(lost, reverse=True) and lost[0] > 20


def test_a_run_that_was_tested_on_other_images(tmp_path):
    sets = arrays(protocol(), 0, 2.0)
    sets = {name: store(one["score"], 1 - LABEL) for name, one in sets.items()}
    finished(tmp_path, "bce", sets=sets)
    bring(tmp_path)
    page = opened(tmp_path, robustness.IMAGES)
    assert "whose labels are not those of the 100 images" in told_by(page)
    assert not pictures(page) and len(table(page)) == 4


def test_data_on_disk_are_read_when_asked_for(tmp_path, monkeypatch):
    finished(tmp_path / "results", "bce", under="mnist:r20,p10")
    bring(tmp_path / "results")
    monkeypatch.setattr(source, "data_root", lambda: tmp_path)
    page = opened(tmp_path / "results", robustness.IMAGES, protocol="mnist:r20,p10")
    assert "data root" not in told_by(page) and len(table(page)) == 4
    page.toggle(key="pictures").set_value(True).run()
    check(page)
    # there is no MNIST
    assert f"in {tmp_path}" in told_by(page) and "idx1-ubyte" in told_by(page)
    assert not pictures(page) and len(table(page)) == 4


# -- states


def test_one_row_alone(tmp_path):
    finished(tmp_path, "bce")
    bring(tmp_path)
    for view in (robustness.SEVERITY, robustness.GRID, robustness.DROP, robustness.IMAGES):
        page = opened(tmp_path, view)
        assert len(page.dataframe) >= 1
        if view == robustness.DROP:
            assert "order" not in told_by(page).partition("Filled")[0]
    # the reference is the row itself
    page = opened(tmp_path, robustness.GRID, difference="true")
    assert {line[3] for line in table(page)} == {0}


def test_undefined_aucs(tmp_path):
    name = "corruption=contrast,severity=5"
    sets = arrays(protocol(), 0, 2.0)
    sets[name] = store(np.zeros(100), LABEL)
    finished(tmp_path, "bce", sets=sets)
    finished(tmp_path, "wdro")
    bring(tmp_path)
    told = told_by(opened(tmp_path))
    assert "1 of 6 means are undefined and left out (bce, severity 5)" in told
    page = opened(tmp_path, robustness.GRID)
    assert "2 of 8 cells are undefined (grey)" in told_by(page)
    # what has no mean comes last
    assert [line[0] for line in table(page)] == ["wdro", "bce"]
    page = opened(tmp_path, robustness.GRID, difference="true", b="wdro")
    assert sum(pd.isna(line[3]) for line in table(page)) == 2
    assert "1 of 2 rows have no clean or corrupted AUC" in told_by(
        opened(tmp_path, robustness.DROP)
    )
    page = opened(tmp_path, robustness.IMAGES, row="bce", corruption="contrast", severity="5")
    assert "undefined under contrast, severity 5" in told_by(page)


def test_nothing_is_defined(tmp_path):
    sets = {name: store(np.zeros(100), LABEL) for name in protocol().prediction_sets}
    finished(tmp_path, "bce", sets=sets)
    bring(tmp_path)
    assert not charts(opened(tmp_path))
    page = opened(tmp_path, robustness.GRID)
    assert "no AUC is defined here" in told_by(page) and not charts(page)
    page = opened(tmp_path, robustness.DROP)
    assert not charts(page) and len(page.dataframe) == 2


def test_empty_states(tmp_path):
    (tmp_path / "none").mkdir()
    bring(tmp_path / "none")
    found = strangers.catalog()
    told = told_by(open_page(tmp_path / "none", "robustness", catalog=found))
    assert "robust-auc has no runs yet" in told
    assert "python -m suite run --task robust-auc --seeds 0-2" in told
    told = told_by(open_page(tmp_path / "none", "robustness", catalog=other_catalog()))
    assert "no task here scores the AUC under corruption" in told
    finished(tmp_path / "unscored", "bce", scored=False)
    bring(tmp_path / "unscored")
    told = told_by(open_page(tmp_path / "unscored", "robustness", catalog=found))
    assert "not scored yet" in told and "python -m suite evaluate --task robust-auc" in told


def test_nonsense_in_the_url(root):
    query = {"row": "nobody", "seed": "99", "corruption": "fgo", "severity": "9", "images": "<b>"}
    told = told_by(opened(root, robustness.IMAGES, **query))
    for key, value in query.items():
        assert f"{key}={value} in the URL" in told
    told = told_by(opened(root, of="<script>", rows=["no"]))
    assert "of=<script> in the URL" in told and "rows=no in the URL" in told


def test_hostile_methods_are_texts(tmp_path):
    attempt = finished(tmp_path, "bce")
    spec = json.loads((attempt.path / "record.json").read_text())["spec"]
    edit(attempt.path / "record.json", spec={**spec, "method": "<script>alert(1)</script>"})
    bring(tmp_path)
    for view in (robustness.SEVERITY, robustness.GRID, robustness.DROP, robustness.IMAGES):
        assert "<script>" not in texts(opened(tmp_path, view))
