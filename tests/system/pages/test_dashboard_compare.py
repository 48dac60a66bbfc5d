"""The pages compare, trade-off and claims, run without a browser."""

import json
from dataclasses import replace

import pytest
from dashboards import _restored, check, open_page, texts  # noqa: F401
from records import HOSTILE, TASK, Records, protocol

from dashboard import charts
from dashboard import tables as buttons
from dashboard.views import compare as view
from dashboard.views import tradeoff
from suite.base.errors import UserError
from suite.boards.compare import compare
from suite.boards.overview import overview
from suite.claims import read as published
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.define.spec import RunSpec

PROTOCOLS = (
    *TASK.protocols,
    *(protocol(f"toy:p{k}", recipe=f"sgd-{k}") for k in range(5)),
)
KNOWN = replace(
    TASK,
    protocols=PROTOCOLS,
    reference="ce",
    columns=("mIoU", "mIoU[group=head]", "mIoU[group=tail]", "loss"),
)
CATALOG = Catalog({KNOWN.name: KNOWN}, {})
METHODS = ("ce", "la", "sam", "vs", "few", "two", "old")


def rows(score, head, tail):
    return [
        MetricRow(metric="mIoU", value=score),
        MetricRow(metric="mIoU", subset="group=head", value=head),
        MetricRow(metric="mIoU", subset="group=tail", value=tail),
        MetricRow(metric="loss", value=1 - score),
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    made = Records(root)
    for method, head, tail in (("ce", 0.8, 0.1), ("la", 0.7, 0.5), ("sam", 0.6, 0.4)):
        for seed, shift in enumerate((0.0, 0.01, 0.03)):
            score = rows((head + tail) / 2 + shift, head + shift, tail + shift / 2)
            made.run(method, seed=seed, rows=score)
    # hollow: unranked
    made.run("few", seed=0, rows=rows(0.5, 0.5, 0.6))
    made.run("old", seed=0, rows=rows(0.9, 0.9, 0.9), digest="d0")
    for seed in range(3):
        made.run("two", seed=seed, rows=rows(0.2 + seed / 100, 0.2, 0.2), params={"k": 2})
        made.run("two", seed=seed, rows=rows(0.3, 0.3, 0.3), params={"k": 1})
    for number, under in enumerate(PROTOCOLS[2:]):
        evaluation = KNOWN.evaluation_hash(under)
        for method, level in (("ce", 0.3), ("la", 0.4), ("sam", 0.35)):
            values = [level + seed / 1000 + number / 100 for seed in range(3)]
            made.seeds(method, values, under=under, evaluation_hash=evaluation)
    made.seeds("vs", [0.5, 0.5, 0.6], under=PROTOCOLS[1])
    made.ingest(dict.fromkeys(METHODS, "d1"))
    return root


@pytest.fixture
def seen(monkeypatch):
    """Charts (as Vega-Lite) and tables that pages show, by key and title."""
    found = {}
    plot, table = charts.show, buttons.show

    def show(chart, key, alt_text):
        found[key] = chart.to_dict(), alt_text
        plot(chart, key, alt_text)

    def shown(sheet, key, **more):
        found[key] = sheet
        table(sheet, key, **more)

    monkeypatch.setattr(charts, "show", show)
    monkeypatch.setattr(buttons, "show", shown)
    return found


def opened(root, name, catalog=CATALOG, **query):
    return open_page(root, name, catalog=catalog, **query)


def values(chart):
    return [row for part in chart[0]["datasets"].values() for row in part]


def cell(sheet, title):
    at = [column.title for column in sheet.columns].index(title)
    return sheet.column(at)


# -- compare


def test_verdict_difference_and_pairs_are_those_of_suite_compare(root, seen):
    page = opened(root, "compare", protocol="toy:quick", a="la", b="ce")
    found = compare(root, CATALOG, KNOWN, "la", "ce", only=PROTOCOLS[0])
    (line,) = found.lines
    words = texts(page)
    assert "la is better than ce by 15.00 points" in words
    # in words before any table
    assert words.index("la is better") < words.index("Rows differ in")
    sheet = seen["compare-toy-task-mIoU"]
    assert cell(sheet, "A − B") == [line.difference] == [pytest.approx(0.15)]
    assert cell(sheet, "low") == [line.low] and cell(sheet, "p") == [line.p]
    pairs = values(seen["pairs"])
    assert sorted((row["seed"], row["side"]) for row in pairs) == [
        (seed, side) for seed in "012" for side in ("A la", "B ce")
    ]
    assert [row["value"] for row in pairs if row["side"] == "A la"] == pytest.approx([60, 61, 63])
    (gap,) = [row for row in values(seen["differences"]) if "difference" in row]
    assert gap["difference"] == pytest.approx(15) and gap["verdict"] == "A is better"
    assert cell(seen["rows-differ"], "what") == ["method"]


def test_the_best_is_held_against_the_reference_at_first(root, seen):
    page = opened(root, "compare", protocol="toy:quick", by="mIoU[group=tail]")
    chosen = {box.label: box.value for box in page.selectbox}
    # `few` has the best tail, but the board goes by the task's metric
    assert (chosen["A"], chosen["B"]) == ("la", "ce")
    assert "compare-toy-task-mIoU[group=tail]" in seen


def test_all_protocols_have_a_line_each_and_a_test_over_them(root, seen):
    page = opened(root, "compare", every="true", a="la", b="ce")
    found = compare(root, CATALOG, KNOWN, "la", "ce")
    assert len(found.lines) == 6
    sheet = seen["compare-toy-task-mIoU"]
    assert cell(sheet, "protocol") == [line.protocol for line in found.lines]
    assert "over 6 protocols" in texts(page) and "6 better" in texts(page)
    assert "Wilcoxon signed rank over 6 protocols" in texts(page)
    assert len([r for r in values(seen["differences"]) if "verdict" in r]) == 6
    # seeds of one protocol: the one that is chosen
    assert seen["pairs"][0]["title"] == "Seed by seed, toy:quick"


def test_a_run_names_another_row_of_its_method(root, seen):
    ids = {
        params: RunSpec(
            protocol="toy:quick",
            protocol_hash=PROTOCOLS[0].hash,
            method="two",
            seed=0,
            params={"k": params},
        ).run_id
        for params in (1, 2)
    }
    page = opened(root, "compare", protocol="toy:p1", run_a=ids[1], run_b=ids[2][:8])
    # whatever protocol is chosen: a run has its own
    assert f"two (run {ids[1]}) is better" in texts(page).replace("\\", "")
    sheet = seen["rows-differ"]
    assert list(zip(*(sheet.column(k) for k in range(3)), strict=True)) == [("params.k", "1", "2")]
    labels = {row["side"] for row in values(seen["pairs"])}
    assert labels == {f"A two ({ids[1]})", f"B two ({ids[2]})"}


def test_rows_of_different_protocols_are_not_compared_but_told_apart(root, seen):
    of = {
        method: RunSpec(
            protocol=under.name, protocol_hash=under.hash, method=method, seed=0, params={}
        ).run_id
        for method, under in (("vs", PROTOCOLS[1]), ("few", PROTOCOLS[0]))
    }
    page = opened(root, "compare", run_a=of["vs"], run_b=of["few"])
    assert "No protocol has both" in texts(page)
    assert "pairs" not in seen and "differences" not in seen
    assert cell(seen["protocols-differ"], "what") == ["budget"]


def test_what_cannot_be_compared_is_said_in_one_line(root):
    for query, words in (
        ({"a": "ce", "b": "ce"}, "are the same row"),
        ({"run_a": "ffff"}, "is neither a method nor a run here"),
        ({"a": "few", "b": "ce"}, "1 common seed"),
        ({"a": "two", "b": "ce"}, "name a run of the one that is meant"),
        ({"a": "nobody"}, "no such a"),
        ({"view": "nothing"}, "no such tab"),
        ({"over": "test images"}, "offers no bootstrap over test images"),
    ):
        page = opened(root, "compare", protocol="toy:quick", **query)
        assert words in texts(page), query


def test_all_methods_are_those_of_suite_overview(root, seen):
    page = opened(root, "compare", every="true", view="all methods")
    found = overview(root, CATALOG, KNOWN, reference="ce")
    assert found.ranks is not None
    sheet = seen["wins-toy-task-mIoU"]
    assert cell(sheet, "method") == list(found.methods)
    assert cell(sheet, "ce")[found.methods.index("la")] == 1.0
    ranks = {
        r["method"]: r["rank"] for r in values(seen["ranks"]) if r.keys() == {"method", "rank"}
    }
    assert ranks == dict(zip(found.ranks.methods, found.ranks.found.ranks, strict=True))
    # la and sam share a bar, sam and ce another one
    lanes = {}
    for row in values(seen["ranks"]):
        if "group" in row:
            lanes.setdefault(row["group"], set()).add(row["method"])
    assert list(lanes.values()) == [
        {found.ranks.methods[place] for place in clique} for clique in found.ranks.found.cliques
    ]
    assert len(lanes) == 2
    assert "critical difference" in seen["ranks"][1]
    prices = seen["exchange-toy-task"]
    assert cell(prices, "rate") == [price.exchange.rate for price in found.prices]
    assert "compare-toy-task-mIoU" not in seen, "the other tab is not computed"
    assert "Friedman" in texts(page)


def test_ranks_of_one_protocol_say_what_is_missing(root, seen):
    page = opened(root, "compare", protocol="toy:quick", view="all methods")
    assert "ranks" not in seen
    assert "there is 1 protocol; switch on “All protocols”" in texts(page)


def test_names_that_are_cut_off_stay_apart():
    assert view.unique(["a" * 60, "a" * 60 + "b", "", "x"])[2:] == ["(no name)", "x"]
    assert len(set(view.unique(["a" * 60, "a" * 60 + "b", "a" * 61]))) == 3


# -- trade-off


def test_front_and_who_dominates_whom(root, seen):
    page = opened(root, "trade-off", protocol="toy:quick")
    sheet = seen["trade-off-toy-task-toy:quick"]
    told = dict(
        zip(
            cell(sheet, "method"),
            zip(cell(sheet, "front"), cell(sheet, "dominated by"), strict=True),
            strict=True,
        )
    )
    assert {name for name, (front, _) in told.items() if front == "yes"} == {"ce", "la", "few"}
    assert told["sam"] == ("no", "la")
    # `old` would beat them all; it is of older code
    assert not any(name.startswith("old") for name in told)
    assert "left out: 1 row(s) of older code" in texts(page).replace("\\", "")
    chart, words = seen["trade-off"]
    assert "on the front" in words and "la" in words
    marks = [row for row in values(seen["trade-off"]) if "kind" in row]
    assert {row["name"]: row["rank"] for row in marks}["few"] == "unranked"
    assert [row["name"] for row in marks if row["kind"] == "reference"] == ["ce"]
    filled = {
        layer["mark"]["filled"] for layer in chart["layer"] if layer["mark"]["type"] == "point"
    }
    assert filled == {True, False}
    steps = [layer for layer in chart["layer"] if layer["mark"].get("interpolate")]
    assert [layer["mark"]["interpolate"] for layer in steps] == ["step-before"]
    corners = chart["datasets"][steps[0]["data"]["name"]]
    assert [round(row["x"], 1) for row in corners] == [50.0, 71.3, 81.3]
    assert [round(row["y"], 1) for row in corners] == [60.0, 50.7, 10.7]
    # the reference's sum of both, at both ends of the line
    (line,) = [layer for layer in chart["layer"] if layer["mark"].get("strokeDash")]
    ends = chart["datasets"][line["data"]["name"]]
    assert [row["x"] + row["y"] for row in ends] == pytest.approx([92.0, 92.0], abs=0.01)


def test_axes_and_ranked_rows_alone_are_in_the_url(root, seen):
    opened(root, "trade-off", protocol="toy:quick", x="all classes", y="head", ranked="true")
    sheet = seen["trade-off-toy-task-toy:quick"]
    assert "few" not in cell(sheet, "method")
    assert sheet.title == "mIoU and mIoU[group=head], toy:quick"


def test_no_groups_no_trade(root, seen):
    page = opened(root, "trade-off", protocol="toy:p1")
    assert "there is nothing to trade" in texts(page) and not seen


def test_labels_keep_off_each_other():
    chosen = tradeoff.placed([(500, 200), (510, 200), (500, 206)], dict.fromkeys(range(3), "name"))
    assert len(set(chosen.values())) == 3
    # not over the edge
    assert tradeoff.placed([(tradeoff.WIDTH - 2, 200)], {0: "a long name"}) == {0: 1}


# -- claims


class Known(Catalog):
    """Knows methods by name alone."""

    def methods(self, task=None):
        return list(METHODS)

    def spec(self, method, protocol, *_, **__):
        return RunSpec(
            protocol=protocol.name, protocol_hash=protocol.hash, method=method, seed=0, params={}
        )


NAMED = Known({KNOWN.name: KNOWN}, {})


def entry(**changes):
    usual = {"method": "la", "task": "toy-task", "metric": "mIoU", "value": 61.0}
    usual |= {"unit": "percent", "location": "table 1", "protocol_as_printed": "toy, 10 iterations"}
    usual |= {"protocol": "toy:quick", "verified": True, "tag": "R"}
    return {key: value for key, value in {**usual, **changes}.items() if value is not None}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    claims = [
        entry(),
        entry(method="ce", value=20.0, differs=["a larger backbone"]),
        entry(method="sam", value=99.0),
        entry(method="few", value=50.0),
        entry(method="vs", value=50.0),
        entry(method="vs", value=50.0, protocol="toy:full", protocol_as_printed="toy, 90"),
        entry(method=None, method_as_printed="<script>alert(1)</script>", value=1.0),
        entry(metric="loss", value=0.4, unit="nats"),
    ]
    text = '[source]\ntitle = "A [paper](x)"\nwhere = "its README"\nvenue = "V"\n'
    for claim in claims:
        lines = (f"{key} = {json.dumps(value)}" for key, value in claim.items())
        text += "[[claim]]\n" + "\n".join(lines) + "\n"
    (tmp_path / "paper.toml").write_text(text)
    monkeypatch.setattr(published, "default_folder", lambda: tmp_path)
    return tmp_path


STATED = """
[source]
title = "Another paper"
where = "abstract"
[[statement]]
text = "[la](x) is better than ce"
task = "toy-task"
location = "abstract"
verified = false
tag = "P"
objections = ["one seed"]
[[statement.test]]
kind = "difference"
protocol = "toy:quick"
a = "la"
b = "ce"
metric = "mIoU"
expects = "above"
smallest = 0.01
[[statement.test]]
kind = "level"
protocol = "toy:full"
method = "vs"
metric = "mIoU"
bound = 0.9
expects = "above"
smallest = 0.01
[[statement]]
text = "Nobody knows"
task = "toy-task"
location = "abstract"
verified = false
tag = "P"
untested = "it is in no run"
"""


def counts(page):
    return {one.label: one.value for one in page.metric}


def test_claims_beside_ours(root, seen, folder):
    page = opened(root, "claims", NAMED)
    sheet = seen["claims-toy-task"]
    found = dict(zip(cell(sheet, "as printed"), cell(sheet, "status"), strict=True))
    assert found["la"] == "within noise" or found["la"] == "confirmed"
    assert found["sam"] == "below" and found["few"] == "not enough seeds"
    assert found["ce"] == "protocol differs"
    told = dict(zip(cell(sheet, "as printed"), cell(sheet, "what differs"), strict=True))
    assert "a larger backbone" in told["ce"]
    assert counts(page)["claims"] == "8" and counts(page)["below"] == "1"
    assert cell(sheet, "location")[0] == "table 1"
    assert cell(seen["sources-toy-task"], "title") == ["A [paper](x)"]
    # other units are a table of their own
    assert cell(seen["claims-toy-task-units"], "published") == [0.4]
    points = [row for row in values(seen["claims-chart"]) if "status" in row]
    assert {row["method"] for row in points} == {"la", "ce", "sam", "few", "vs"}
    assert [round(r["ours"], 1) for r in points if r["method"] == "la"] == [61.3]
    # vs has no run under toy:quick
    assert "--protocol toy:quick --method vs" in texts(page)


def test_filters_of_claims_are_in_the_url(root, seen, folder):
    page = opened(root, "claims", NAMED, method="SAM", status=["below"], near="toy:quick")
    assert cell(seen["claims-toy-task"], "as printed") == ["sam"]
    assert counts(page)["claims"] == "1"
    page = opened(root, "claims", NAMED, near="toy:full")
    assert counts(page)["claims"] == "1"
    page = opened(root, "claims", NAMED, method="nobody")
    assert "no claim is left" in texts(page)


def test_statements_are_told_in_full_and_filtered_as_claims_are(root, seen, folder):
    (folder / "said.toml").write_text(STATED)
    told = texts(opened(root, "claims", NAMED))
    assert "3 tests of 2 statements" in told.replace("\\", "")
    # a badge is Markdown, what a file says is not
    assert "(x)" not in told and "-badge[no test]" in told and "Held against it" in told
    assert "**Statements about toy" in told
    assert cell(seen["statements-toy-task"], "protocol") == ["toy:quick", "toy:full", None]
    sheet = seen["sources-toy-task"]
    assert cell(sheet, "source") == ["paper", "said"] and cell(sheet, "statements") == [0, 2]
    opened(root, "claims", NAMED, near="toy:full")
    assert cell(seen["statements-toy-task"], "test") == ["mIoU of vs above 0.9 (at least 0.01)"]
    opened(root, "claims", NAMED, status=["no test"])
    assert cell(seen["statements-toy-task"], "statement") == ["Nobody knows"]
    seen.clear()
    opened(root, "claims", NAMED, method="sam")
    assert "statements-toy-task" not in seen and "claims-toy-task" in seen


def test_a_folder_of_statements_alone_has_a_page(root, seen, folder):
    (folder / "paper.toml").unlink()
    (folder / "said.toml").write_text(STATED)
    page = opened(root, "claims", NAMED)
    assert cell(seen["statements-toy-task"], "statement")[-1] == "Nobody knows"
    assert "no claim is left" not in texts(page) and not page.metric


def test_only_boards_that_a_claim_is_about_are_read(root, folder, monkeypatch):
    from dashboard.views import claims as page

    read = []
    board = page.board
    monkeypatch.setattr(
        page,
        "board",
        lambda *a, protocol, **k: read.append(protocol) or board(*a, protocol=protocol, **k),
    )
    opened(root, "claims", NAMED)
    assert sorted(read) == ["toy:full", "toy:quick"]


def test_claims_without_a_folder_or_with_a_broken_one(root, folder, monkeypatch):
    (folder / "paper.toml").write_text("x = [")
    assert "paper.toml" in texts(opened(root, "claims", NAMED))
    monkeypatch.setattr(published, "default_folder", lambda: folder / "none")
    assert "there are no claims here" in texts(opened(root, "claims", NAMED))


# -- all three


@pytest.mark.parametrize("name", ["compare", "trade-off", "claims"])
def test_names_of_strangers_are_harmless(tmp_path, name, folder):
    made = Records(tmp_path / "results")
    strange = [*HOSTILE, "<script>alert(1)</script>", "a:b.c[0]", "x" * 10_000, "datum['y']"]
    for method in strange:
        for seed in range(3):
            made.run(method, seed=seed, rows=rows(0.3 + seed / 100, 0.5, 0.2 + seed / 50))
    made.ingest(dict.fromkeys(strange, "d1"))
    views = ({}, {"view": "all methods"}) if name == "compare" else ({},)
    for query in views:
        page = opened(made.root, name, NAMED if name == "claims" else CATALOG, **query)
        told = texts(page)
        # a name in bold or in a heading is escaped
        assert "[bold red]" not in told
        assert all("<script" not in one.value for one in page.markdown)


@pytest.mark.parametrize("name", ["compare", "trade-off"])
@pytest.mark.parametrize(
    ("made", "command"),
    [
        # its method is not here: a command would train others
        (lambda made: made.run("ce", mIoU=0.3, digest="d0"), ""),
        (lambda made: made.run("ce", evaluated=False), "evaluate --task toy-task"),
        (lambda made: made.unfinished("ce"), "status"),
        (lambda made: made.run("ce", under=protocol("x:y", recipe="x")), "run --task toy-task"),
    ],
    ids=["stale", "unscored", "running", "none"],
)
def test_no_score_says_what_to_type(tmp_path, name, made, command):
    records = Records(tmp_path / "results")
    made(records)
    records.ingest({"ce": "d1"})
    page = opened(records.root, name)
    told = texts(page)
    assert f"python -m suite {command}" in told if command else "python -m suite" not in told


def test_run_ids_are_read_by_the_store_alone(root):
    """What somebody types is a parameter, and long nonsense one clear line."""
    page = opened(root, "compare", run_a="'; DROP TABLE facts; --" + "x" * 5000)
    assert "is neither a method nor a run here" in texts(page)
    with pytest.raises(UserError):
        compare(root, CATALOG, KNOWN, "'; DROP TABLE facts; --", "ce")
