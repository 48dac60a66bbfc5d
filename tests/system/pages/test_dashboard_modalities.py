"""The page of modalities, run without a browser."""

import json

import dashboards
import numpy as np
import pandas as pd
import pytest
from dashboards import _restored, check, open_page, texts  # noqa: F401
from modality_records import (
    CLASSES,
    COUNTS,
    LABEL,
    LENGTH,
    LONG_TAILED,
    PAIRS,
    SENSORS,
    SIX,
    ModalityRecords,
    arrays,
    catalog,
    curves,
    data,
    protocol,
    task,
)
from records import HOSTILE, edit
from records import TASK as OTHER
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df

from suite.define.task import Trained
from tasks.multimodal import page as modalities
from tasks.multimodal.evaluation import evaluate

KNOWS = {"concat": (3.0, 0.3), "ume": (3.0, 1.5), "mmpareto": (3.5, 1.4)}
SEEDS = range(3)


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    """The page is there whether or not the task that brings it is installed."""
    found = {**dashboards._pages(), "modalities": modalities}
    monkeypatch.setattr(dashboards, "_pages", lambda: found)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    board = ModalityRecords(tmp_path_factory.mktemp("results"))
    for seed in SEEDS:
        for under in (PAIRS, LONG_TAILED):
            for method, (clear, noisy) in KNOWS.items():
                board.finished(method, seed, under=under, clear=clear, noisy=noisy)
        board.finished("film", seed, fusion="film", clear=2.0, noisy=0.3)
        board.finished("gated", seed, fusion="masked", clear=2.0, noisy=0.3)
        board.finished("unimodal-1", seed, clear=3.0)
        for method in ("concat", "ume"):
            knows = {name: 0.5 * k + 0.1 for k, name in enumerate(SIX)}
            board.finished(method, seed, under=SENSORS, **knows)
    board.ingest()
    return board.root


def opened(root, view=modalities.TRAINING, found=None, **query):
    return open_page(root, "modalities", catalog=found or catalog(), view=view, **query)


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


def drawn(page, place=0):
    """All data of a chart: a list of lines for each layer that has its own."""
    sets = page.get("vega_lite_chart")[place].proto.datasets
    frames = [convert_arrow_bytes_to_pandas_df(one.data.data) for one in sets]
    return [frame.astype(object).where(frame.notna(), None).to_dict("records") for frame in frames]


def stored(method, seed, **how):
    """The test set of a run of the fixture."""
    return arrays(
        seed + 100 * len(method), dict(zip(("clear", "noisy"), KNOWS[method], strict=True)), **how
    )


def right(method, seed):
    """(N, 2): whether each modality's own logits are right."""
    own = stored(method, seed)["test"]["modality_logits"]
    return own.argmax(2) == LABEL[:, None]


def ends(method, seed, modality):
    strengths = dict(zip(("clear", "noisy"), KNOWS[method], strict=True))
    points = curves(seed, strengths)[f"top1_{modality}" if modality else "top1"]
    last = points[-1][0]
    return float(np.mean([value for step, value in points if step > 0.9 * last]))


# -- over training


def test_who_starves_whom(root):
    page = opened(root, rows=["concat", "ume", "mmpareto"])
    told = told_by(page)
    gaps = {
        name: np.mean([ends("concat", s, name) - ends("ume", s, name) for s in SEEDS])
        for name in ("clear", "noisy")
    }
    assert (
        f"Starved most: noisy under concat, which ends {-100 * gaps['noisy']:.1f} points below its training alone (ume; "
        in told
        and "3 seeds); the others of this row: clear " in told
    )
    assert "Dotted: the modality trained alone (ume)." in told
    assert len(charts(page)) == 3
    lines = {(line[0], line[1]): line[2:] for line in table(page)}
    assert len(lines) == 9
    n, own, low, high, alone, difference, *_ = lines["concat", "noisy"]
    assert n == 3 and low < own < high
    assert own == pytest.approx(100 * np.mean([ends("concat", s, "noisy") for s in SEEDS]))
    assert alone == pytest.approx(100 * np.mean([ends("ume", s, "noisy") for s in SEEDS]))
    assert difference == pytest.approx(100 * gaps["noisy"])
    assert pd.isna(lines["concat", "fused logits"][4])
    # a point of a panel is the mean over seeds
    page.slider(key="smooth").set_value(0.0).run()
    check(page)
    place = [alt.endswith(": concat") for _, alt in charts(page)].index(True)
    (spots,) = drawn(page, place)
    mean = np.mean([curves(s, {"clear": 3.0, "noisy": 0.3})["top1_noisy"][50][1] for s in SEEDS])
    found = [s for s in spots if s["part"] == "noisy" and s["step"] == 51 and not s["reference"]]
    assert [s["value"] for s in found] == [pytest.approx(100 * mean)] and found[0]["n"] == 3
    assert {s["part"] for s in spots if s["reference"]} == {"clear", "noisy"}
    assert len(table(page, 1)) == 3 * 3 * LENGTH


def test_a_panel_for_each_modality(root):
    page = opened(root, panels="a modality each", rows=["concat", "ume"])
    assert [alt.rpartition(": ")[2] for _, alt in charts(page)] == [
        "clear",
        "noisy",
        "fused logits",
    ]
    (spots,) = drawn(page, 1)
    assert {s["row"] for s in spots} == {"concat", "ume"} and {s["part"] for s in spots} == {
        "noisy"
    }
    assert "Dotted" not in told_by(page)


def test_a_fusion_without_logits_of_its_own(root):
    page = opened(root, rows=["film", "unimodal-1"])
    told = told_by(page)
    assert "Without curves of single modalities, of which the fusion has no logits: film." in told
    lines = {(line[0], line[1]) for line in table(page)}
    assert lines == {
        ("film", "fused logits"),
        ("unimodal-1", "clear"),
        ("unimodal-1", "fused logits"),
    }


def test_no_training_alone_to_compare_with(tmp_path):
    board = ModalityRecords(tmp_path)
    board.finished("concat", clear=2.0, noisy=0.5)
    board.ingest()
    page = opened(tmp_path)
    told = told_by(page)
    assert "ume, which trains each modality alone, has no row here" in told
    assert "Starved" not in told and len(titles(page)) == 6


def test_curves_that_are_odd(tmp_path):
    board = ModalityRecords(tmp_path)
    odd = {
        "top1": [(1, None), (5, 0.5), (3, 0.9), (9, 0.6), (1 << 60, 0.7)],
        "top1_clear": [],
        "top1_noisy": [(k, 0.1) for k in range(5000)],
        "top1_<b>": [(1, 0.5)],
    }
    board.finished("concat", drawn=odd, clear=2.0, noisy=0.5)
    board.finished("sum", drawn={}, clear=2.0, noisy=0.5)
    board.ingest()
    page = opened(tmp_path, rows=["concat"], smooth="0.0")
    (spots,) = drawn(page)
    assert [s["step"] for s in spots if s["part"] == "fused logits"] == [5, 9]
    assert len([s for s in spots if s["part"] == "noisy"]) <= 1000
    assert "clear" not in {s["part"] for s in spots}
    assert "hold no accuracy of training batches" in told_by(opened(tmp_path, rows=["sum"]))
    assert "choose a row" in told_by(_without_rows(page))


def _without_rows(page):
    page.multiselect(key="rows").set_value([]).run()
    check(page)
    return page


# -- gap and accuracy


def test_gap_against_accuracy(root):
    page = opened(root, modalities.GAP)
    ((_, alt),) = charts(page)
    assert alt == "top1 of 3 rows against the gap between their modalities"
    assert "Without a modality gap (own logits): " in told_by(page)
    lines = {line[0]: line[1:] for line in table(page)}
    assert len(lines) == 6
    accuracies = np.array([right("concat", s).mean(0) for s in SEEDS])
    gap = 100 * np.mean(accuracies.max(1) - accuracies.min(1))
    n, top1, low, high, found, *_ = lines["concat"]
    assert n == 3 and low < top1 < high and found == pytest.approx(gap)
    assert lines["concat"][8:] == pytest.approx(100 * accuracies.mean(0))
    assert pd.isna(lines["film"][4]) and pd.isna(lines["unimodal-1"][4])
    assert lines["unimodal-1"][8] == pytest.approx(lines["unimodal-1"][1])
    (places,) = drawn(page)
    assert {p["row"]: p["gap"] for p in places}["concat"] == pytest.approx(gap)


def test_gap_with_all_others_left_out(root):
    page = opened(root, modalities.GAP, alone="all others left out", metric="macro_f1")
    ((_, alt),) = charts(page)
    # gated has no logits of single modalities, but takes missing ones
    assert alt == "macro_f1 of 4 rows against the gap between their modalities"
    assert "Without a modality gap (all others left out): " in told_by(page)
    assert titles(page)[2] == "macro_f1 / %"
    assert "gated" in {p["row"] for p in drawn(page)[0]}


def test_no_gap_at_all(tmp_path):
    board = ModalityRecords(tmp_path)
    board.finished("film", fusion="film", clear=2.0, noisy=0.5)
    board.ingest()
    page = opened(tmp_path, modalities.GAP)
    assert not charts(page) and len(table(page)) == 1
    assert "Without a modality gap (own logits): film." in told_by(page)


# -- Shapley values


def test_shapley_values(root):
    page = opened(root, modalities.SHAPLEY)
    ((spec, alt),) = charts(page)
    assert alt.startswith("Shapley values of 2 modalities, for ")
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["bar", "rule"]
    told = told_by(page)
    assert "Without Shapley values, which take several modalities" in told
    assert "film" in told.rpartition("without some")[2] and "unimodal-1" in told
    lines = {(line[0], line[1]): line[2:] for line in table(page)}
    top1 = np.mean(
        [(stored("concat", s)["test"]["logits"].argmax(1) == LABEL).mean() for s in SEEDS]
    )
    total = lines["concat", "clear"][1] + lines["concat", "noisy"][1]
    assert total == pytest.approx(100 * (top1 - 1 / len(CLASSES)))
    assert lines["concat", "clear"][4] == pytest.approx(total)
    assert pd.isna(lines["film", "clear"][1])
    assert {bar["row"] for bar in drawn(page)[0] if bar["mean"] is not None}.isdisjoint({"film"})


def test_shapley_values_of_a_group(root):
    page = opened(root, modalities.SHAPLEY, protocol="pairs:ir10", of="tail")
    whole = opened(root, modalities.SHAPLEY, protocol="pairs:ir10")
    assert [line[3] for line in table(page)] != [line[3] for line in table(whole)]
    assert "tail classes" in told_by(page)


def test_no_shapley_values(root):
    page = opened(root, modalities.SHAPLEY, rows=["film"])
    assert not charts(page) and "Without Shapley values" in told_by(page)


# -- utilisation


def test_utilisation_against_training_alone(root):
    page = opened(root, modalities.USE)
    ((spec, _),) = charts(page)
    assert "rule" in {layer["mark"]["type"] for layer in spec["layer"]}
    lines = {(line[0], line[1]): line[2:] for line in table(page)}
    # the row compared with is not compared with itself; the others are, without logits of their own too
    assert {row for row, _ in lines} == {"concat", "mmpareto", "film", "gated", "unimodal-1"}
    assert ("unimodal-1", "noisy") not in lines
    ratios, probes = [], []
    for seed in SEEDS:
        both = [_probe(method, seed, "noisy") for method in ("concat", "ume")]
        ratios.append(both[0] / both[1])
        probes.append(both)
    seeds, own, alone, ratio, low, high, reference = lines["concat", "noisy"]
    assert seeds == 3 and reference == "ume" and low < ratio < high
    assert ratio == pytest.approx(100 * np.mean(ratios))
    assert [own, alone] == pytest.approx(100 * np.mean(probes, axis=0))


def _probe(method, seed, modality):
    about = Trained(class_counts=COUNTS)
    rows = evaluate(stored(method, seed), task().evaluation(PAIRS), about)
    return next(row.value for row in rows if row.key == f"probe[modality={modality}]")


def test_utilisation_without_a_run_to_compare_with(tmp_path):
    board = ModalityRecords(tmp_path)
    board.finished("concat", 0, clear=2.0, noisy=0.5)
    board.finished("ume", 1, clear=2.0, noisy=0.5)
    board.ingest()
    told = told_by(opened(tmp_path, modalities.USE))
    assert "no row shares a seed with ume" in told
    assert "--protocol pairs --method ume --seeds 0-2" in told


# -- agreement


def test_which_modality_is_right_about_which_sample(root):
    page = opened(root, modalities.AGREEMENT, row="concat", seed="1", samples="only clear right")
    both = right("concat", 1)
    fused = stored("concat", 1)["test"]["logits"].argmax(1)
    patterns = [both.all(1), both[:, 0] & ~both[:, 1], ~both[:, 0] & both[:, 1], ~both.any(1)]
    lines = {line[0]: line[1:] for line in table(page)}
    assert list(lines) == ["all classes", *CLASSES]
    assert lines["all classes"][0] == len(LABEL)
    assert lines["all classes"][1::2] == pytest.approx([100 * one.mean() for one in patterns])
    owls = LABEL == 3
    assert lines["owl"][1::2] == pytest.approx([100 * one[owls].mean() for one in patterns])
    picked = patterns[1]
    assert lines["all classes"][4] == pytest.approx(100 * (fused == LABEL)[picked].mean())
    samples = table(page, 1)
    assert [line[0] for line in samples] == np.flatnonzero(picked).tolist()
    assert [line[1] for line in samples] == [CLASSES[c] for c in LABEL[picked]]
    assert all(line[1] == line[2] for line in samples) and all(
        line[1] != line[4] for line in samples
    )
    assert [line[6] for line in samples] == [CLASSES[c] for c in fused[picked]]
    shown = {(p["lane"], p["order"]): p["share"] for p in drawn(page)[0]}
    assert shown["bird", 0] == pytest.approx(100 * patterns[0][LABEL == 0].mean())


def test_pairs_of_more_than_two_modalities(root):
    long = SIX[-1]
    page = opened(root, modalities.AGREEMENT, protocol="sensors", a="rgb", b=long)
    told = told_by(page)
    assert f"rgb and {long} of 6 modalities are shown; all pairs are in a table below." in told
    assert len(table(page, 1)) == 15
    votes = table(page, 2)
    assert [line[0] for line in votes] == list(range(7)) and sum(line[1] for line in votes) == len(
        LABEL
    )
    pair = next(line for line in table(page, 1) if line[:2] == ["rgb", long])
    assert sum(pair[2:6]) == pytest.approx(100) and pair[6] == pytest.approx(100 - pair[5])
    assert table(page)[0][2::2][:4] == pytest.approx(pair[2:6])
    # what is A is no choice for B
    assert "rgb" not in page.selectbox(key="b").options


def test_nothing_to_agree(root):
    told = told_by(opened(root, modalities.AGREEMENT, row="film"))
    assert "film stores no logits of single modalities" in told
    told = told_by(opened(root, modalities.AGREEMENT, row="unimodal-1"))
    assert "unimodal-1 uses clear alone" in told


def test_no_sample_has_the_pattern(tmp_path):
    board = ModalityRecords(tmp_path)
    board.finished("concat", clear=80.0, noisy=80.0)
    board.ingest()
    page = opened(tmp_path, modalities.AGREEMENT)
    assert "no test sample has only clear right" in told_by(page)


def test_predictions_that_are_gone_or_damaged(tmp_path):
    board = ModalityRecords(tmp_path)
    board.finished("concat", clear=2.0, noisy=0.5, kept=False)
    damaged = board.finished("sum", clear=2.0, noisy=0.5)
    (damaged.path / "predictions.npz").write_bytes(b"PK\x03\x04 no")
    other = board.finished("agm", clear=2.0, noisy=0.5)
    board.ingest()
    assert "no stored predictions" in told_by(opened(tmp_path, modalities.AGREEMENT, row="concat"))
    assert "damaged" in told_by(opened(tmp_path, modalities.AGREEMENT, row="sum"))
    sets = arrays(0, {"clear": 1.0, "noisy": 1.0})
    sets["test"]["modality_logits"] = sets["test"]["modality_logits"][:, :1]
    (other.path / "predictions.npz").unlink()
    other.write_predictions(sets)
    assert "modality_logits are" in told_by(opened(tmp_path, modalities.AGREEMENT, row="agm"))


def test_many_classes_with_long_names(tmp_path):
    names = [f"a class whose name is far too long to be shown whole {k}" for k in range(80)]
    under = protocol("long", dataset=data(names))
    of = task(under)
    board = ModalityRecords(tmp_path, of)
    board.finished("concat", under=under, clear=2.0, noisy=0.5)
    board.ingest()
    page = opened(tmp_path, modalities.AGREEMENT, found=catalog(of))
    lanes = [line[0] for line in table(page)]
    assert len(lanes) == len(set(lanes)) == 81
    assert "The first 60 classes are drawn" in told_by(page)
    ((_, _),) = charts(page)
    assert len({p["lane"] for p in drawn(page)[0]}) == 61


# -- by frequency


def test_head_medium_and_tail_by_modality(root):
    page = opened(root, modalities.GROUPS, protocol="pairs:ir10", rows=["concat", "ume"])
    assert len(charts(page)) == 2
    assert "Groups: training samples: head > 50, medium 20-50, tail < 20" in told_by(page)
    lines = {tuple(line[:3]): line[3:] for line in table(page)}
    assert len(lines) == 2 * 3 * 3
    # the tail's classes are dog and owl
    recalls = [np.mean([right("concat", s)[c == LABEL, 1].mean() for c in (2, 3)]) for s in SEEDS]
    n, mean, *_ = lines["concat", "noisy", "tail"]
    assert n == 3 and mean == pytest.approx(100 * np.mean(recalls))
    page = opened(
        root, modalities.GROUPS, protocol="pairs:ir10", rows=["concat"], alone="linear probe"
    )
    probes = {tuple(line[:3]): line[4] for line in table(page)}
    assert probes["concat", "fused logits", "tail"] == lines["concat", "fused logits", "tail"][1]
    assert probes["concat", "clear", "head"] != lines["concat", "clear", "head"][1]


def test_no_groups_of_classes(root):
    told = told_by(opened(root, modalities.GROUPS, protocol="pairs"))
    assert "pairs has no groups of classes; its long-tailed variants have" in told


# -- states


def test_empty_states(tmp_path):
    (tmp_path / "none").mkdir()
    board = ModalityRecords(tmp_path / "none")
    board.ingest()
    told = told_by(opened(board.root))
    assert "toy-task has no runs yet" in told
    assert "python -m suite run --task toy-task --seeds 0-2" in told
    told = told_by(opened(board.root, found=catalog(OTHER)))
    assert "no task here scores modalities apart" in told
    board = ModalityRecords(tmp_path / "unscored")
    board.run("concat", under=PAIRS, evaluated=False)
    board.ingest()
    told = told_by(opened(board.root))
    assert "not scored yet" in told and "python -m suite evaluate --task toy-task" in told


@pytest.mark.parametrize(
    "view",
    [
        modalities.TRAINING,
        modalities.GAP,
        modalities.SHAPLEY,
        modalities.USE,
        modalities.AGREEMENT,
        modalities.GROUPS,
    ],
)
def test_one_row_alone(tmp_path, view):
    board = ModalityRecords(tmp_path)
    board.finished("concat", under=LONG_TAILED, clear=2.0, noisy=0.5)
    board.ingest()
    page = opened(tmp_path, view)
    assert (view == modalities.USE) or len(page.dataframe) >= 1


def test_nonsense_in_the_url(root):
    query = {"row": "nobody", "seed": "99", "a": "smell", "samples": "<b>", "view": "sideways"}
    told = told_by(opened(root, **{**query, "view": modalities.AGREEMENT}))
    for key, value in query.items():
        if key != "view":
            assert f"{key}={value} in the URL" in told
    told = told_by(opened(root, smooth="99", panels="<i>", rows=["no"]))
    assert "smooth=99 in the URL" in told and "panels=<i> in the URL" in told
    assert "rows=no in the URL" in told


def test_hostile_methods_are_texts(tmp_path):
    board = ModalityRecords(tmp_path)
    attempt = board.finished("concat", under=LONG_TAILED, clear=2.0, noisy=0.5)
    spec = json.loads((attempt.path / "record.json").read_text())["spec"]
    for name in ("<script>alert(1)</script>", HOSTILE[2]):
        edit(attempt.path / "record.json", spec={**spec, "method": name})
        board.ingest(rebuild=True)
        for view in (modalities.TRAINING, modalities.GAP, modalities.AGREEMENT, modalities.GROUPS):
            assert "<script>" not in texts(opened(tmp_path, view))
