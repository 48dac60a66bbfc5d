"""The page of test distributions, run without a browser."""

import json
from dataclasses import replace

import pytest
from dashboards import _restored, check, open_page, texts  # noqa: F401
from records import HOSTILE, SCORED, TASK, Records, edit, scored

from dashboard import controls
from suite.boards.rescore import Shift
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Task
from tasks.test_agnostic import axis
from tasks.test_agnostic import page as agnostic

LEVELS = {"head": (0.1, 0.9, 0.5), "flat": (0.6, 0.6, 0.6), "tail": (0.9, 0.1, 0.5)}
"""Recalls of road (rarest), sky (most frequent) and sign."""


def shifted(protocol: Protocol, asked: Shift):
    raise AssertionError("nothing is rescored here")


def catalog(*tasks: Task, methods=()) -> Catalog:
    found = Catalog({task.name: task for task in tasks or (SCORED,)}, {})
    found.methods = lambda task=None: list(methods)
    return found


CATALOG = catalog()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    records = Records(tmp_path_factory.mktemp("results"))
    for method, levels in LEVELS.items():
        for seed in range(3):
            values = [level + 0.001 * (seed + at * seed) for at, level in enumerate(levels)]
            scored(records, method, values, seed=seed)
    for seed in range(3):
        low = (0.2, 0.2, 0.2 + seed / 1000)
        scored(
            records,
            "sade",
            [0.3, 0.3, 0.3],
            unadapted=low,
            seed=seed,
            flags=("transductive",),
        )
    records.ingest()
    return records.root


def opened(root, found=CATALOG, **query):
    return open_page(root, "test-agnostic", catalog=found, **query)


def table(page, place=-1):
    """The rows of a table, by its columns' titles."""
    frame = page.dataframe[place]
    titles = {
        key: config["label"]
        for key, config in json.loads(frame.proto.columns).items()
        if key != "_index"
    }
    return [
        {titles[name]: value for name, value in line.items()}
        for line in frame.value.to_dict("records")
    ]


def charts(page):
    return [(json.loads(one.proto.spec), one.proto) for one in page.get("vega_lite_chart")]


def standing(page):
    return [(line["rank"], line["method"]) for line in table(page)]


def test_the_ranking_follows_the_slider(root):
    page = opened(root)
    assert standing(page)[0] == (1, "flat") and standing(page)[-1] == (4, "sade *")
    for prior, order in (
        ("forward-50", ["head", "flat", "sade *", "tail"]),
        ("backward-25", ["tail", "flat", "sade *", "head"]),
    ):
        page.select_slider(key="shift").set_value(prior).run()
        check(page)
        lines = table(page)
        assert [line["method"] for line in lines] == order
        assert [line["rank"] for line in lines] == [1, 2, 3, 4]
        shares = axis.shares(axis.class_order([7, 700, 70]), axis.place_of(prior))
        for line in lines:
            levels = LEVELS.get(line["method"], (0.3, 0.3, 0.3))
            assert line["expected top-1 / %"] == pytest.approx(100 * shares @ levels, abs=0.4)
        assert lines[0]["to the best / points"] == 0
        assert lines[3]["to the best / points"] < -10


def test_a_link_opens_the_view(root):
    page = opened(root, shift="backward-10", alpha="0.5", rows=["head", "tail"], unadapted="true")
    assert page.select_slider(key="shift").value == "backward-10"
    assert page.multiselect(key="rows").value == ["head", "tail"]
    asked = page.session_state[controls.ASKED]
    assert (asked["shift"], asked["alpha"], asked["rows"]) == (
        "backward-10",
        "0.5",
        ["head", "tail"],
    )
    told = texts(page)
    assert "Expected top-1 at backward-10, Dirichlet draws of concentration 0.5 around it" in told
    assert "central 90% of 1000 draws" in told
    for line in table(page):
        assert line["worst decile / %"] < line["expected top-1 / %"] + 1e-9
    assert standing(page)[-1][1] in ("head", "sade (un-adapted)")
    # exact under every distribution: nothing is marked, nothing has to be rescored
    assert "depend on the test set" not in told


def test_exact_numbers_of_methods_that_adapt(root):
    other = replace(SCORED, name="others", metrics=TASK.metrics, offers={"shifts": shifted})
    found = catalog(SCORED, other, methods=("sade",))
    told = texts(opened(root, found, shift="forward-25"))
    command = "python -m suite rescore --task others --protocol toy:quick"
    assert f"{command} --ratio 25 --method sade" in told and "exact there only" in told
    quick = TASK.protocols[0]
    drawn = agnostic._rescore(["sade", "sade", "; rm"], quick, "uniform", 0.2)
    assert drawn == f"{command} --dirichlet 0.2 --draws 200 --method sade"
    # exact already; draws that no command makes; nothing that is known here
    assert agnostic._rescore(["sade"], quick, "uniform", None) is None
    assert agnostic._rescore(["sade"], quick, "forward-2", 1.0) is None
    assert agnostic._rescore(["$(rm)"], quick, "forward-2", None) is None
    told = texts(opened(root, shift="forward-25"))
    assert "exact there only" in told and "rescore" not in told


def test_charts(root):
    page = opened(root, shift="backward-50")
    (lines, about), (strip, words) = charts(page)
    assert "At backward 50 the highest is tail with 8" in about.alt
    assert words.alt.startswith("Who wins where: forward 50 to forward ")
    order = ["head", "flat", "tail"]
    assert [words.alt.index(f": {name}, 1") for name in order] == sorted(
        words.alt.index(f": {name}, 1") for name in order
    )
    # a row is told by its dash, too, and names are no field names
    layer = lines["layer"][1]["encoding"]
    assert layer["strokeDash"]["field"] == layer["color"]["field"] == "row"
    fields = {
        one["field"]
        for spec in (lines, strip)
        for part in spec["layer"]
        for one in part["encoding"].values()
        if isinstance(one, dict) and "field" in one
    }
    assert fields <= {
        *("row", "place", "mean", "low", "high", "from", "to", "middle", "label", "lane", "tied"),
    }
    winners = [(line["highest mean"], line["rows that share rank 1"]) for line in table(page, 0)]
    assert [name for name, _ in winners] == order
    assert table(page, 0)[0]["from"] == "forward 50" and table(page, 0)[-1]["to"] == "backward 50"


def test_nonsense_in_the_url(root):
    page = opened(root, shift="sideways-7", alpha="<b>", rows="nobody", unadapted="perhaps")
    assert page.select_slider(key="shift").value == "uniform"
    assert page.select_slider(key="alpha").value == agnostic.EXACT
    told = texts(page)
    for text in ("shift=sideways-7", "alpha=\\<b\\>", "rows=nobody", "unadapted=perhaps"):
        assert f"{text} in the URL" in told
    assert len(table(page)) == 4


def test_hostile_names_are_texts(tmp_path):
    records = Records(tmp_path)
    names = [*(name for name in HOSTILE if name), "<script>alert(1)</script>", "x" * 10_000]
    for name in names:
        for seed in range(3):
            attempt = scored(records, name, [0.1, 0.2, 0.3 + seed / 100], seed=seed)
            edit(attempt.path / "record.json", flags=[name, "transductive"])
    records.ingest()
    page = opened(tmp_path, shift="forward-5", alpha="1")
    methods = [line["method"] for line in table(page)]
    assert len(set(methods)) == len(names) and all(name.isprintable() for name in methods)
    assert max(map(len, methods)) < 60
    assert "<script>" not in texts(page).replace("\\", "")
    (lines, about), _ = charts(page)
    assert about.alt.isprintable()
    assert "script" not in json.dumps(lines["layer"][1]["encoding"]["x"])
    assert len(lines["layer"][1]["encoding"]["color"]["scale"]["domain"]) == agnostic.MOST_ROWS


def test_empty_states(tmp_path):
    records = Records(tmp_path / "none")
    records.run("ce", mIoU=0.4)
    records.ingest()
    told = texts(opened(records.root))
    assert "has recalls by class" in told and "python -m suite evaluate" in told
    assert "no task here scores recall" in texts(opened(records.root, catalog(TASK)))
    records = Records(tmp_path / "unscored")
    records.run("ce", evaluated=False)
    records.ingest()
    assert "not scored yet" in texts(opened(records.root))
    records = Records(tmp_path / "running")
    records.unfinished("ce")
    records.ingest()
    assert "python -m suite run --task toy-task" in texts(opened(records.root))
    records = Records(tmp_path / "gaps")
    scored(records, "ce", [0.4, None, 0.4])
    scored(records, "la", [None, 0.4, 0.4])
    records.ingest()
    assert "no row has a recall of every class" in texts(opened(records.root))
    records = Records(tmp_path / "counts")
    edit(scored(records, "ce", [0.4] * 3).path / "record.json", class_counts=[])
    records.ingest()
    page = opened(records.root)
    assert "holds the training counts of the 3 classes" in texts(page) and not page.dataframe


def test_a_protocol_is_chosen(tmp_path, monkeypatch):
    records = Records(tmp_path)
    scored(records, "ce", [0.1, 0.2, 0.3])
    scored(records, "ce", [0.5, 0.5, 0.5], under=TASK.protocols[1])
    records.ingest()
    page = opened(tmp_path, protocol="toy:full")
    assert page.selectbox(key="protocol").options == ["toy:full", "toy:quick"]
    (line,) = table(page)
    assert line["expected top-1 / %"] == pytest.approx(50) and line["n"] == 1
    # names of protocols are unique within a task only
    lines = agnostic.source.coverage(SCORED.name)
    other = replace(SCORED, name="others")
    monkeypatch.setattr(agnostic.source, "catalog", lambda: catalog(SCORED, other))
    monkeypatch.setattr(agnostic.source, "coverage", lambda name: lines)
    found = agnostic._choices()
    assert [(name, one.task.name) for name, one in found.items()] == [
        ("toy:full", SCORED.name),
        ("toy:quick", SCORED.name),
        ("others, toy:full", "others"),
        ("others, toy:quick", "others"),
    ]
    assert agnostic._default(found) == "toy:quick"
