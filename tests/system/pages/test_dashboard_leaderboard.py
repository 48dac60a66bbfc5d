"""The pages overview and leaderboard, run without a browser."""

import csv
import io
import re

import pytest
from by_hand import GROUPED, QUICK, ranked
from dashboards import _restored, cells, check, open_page, texts  # noqa: F401
from records import HOSTILE, TASK, Records, edit, protocol

from dashboard import board as boards
from dashboard import source
from dashboard import tables as buttons
from dashboard.views import leaderboard
from suite.boards.leaderboard import board as read_board
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.render.grid import grid
from suite.render.view import View

CATALOG = Catalog({TASK.name: TASK}, {})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    made = Records(root)
    for method, level in (("ce", 0.30), ("la", 0.40), ("sam", 0.35)):
        for seed in range(3):
            made.run(method, seed=seed, mIoU=level + seed / 1000, tail=0.9 - level, loss=level)
    made.run("vs", seed=0, mIoU=0.5, flags=("test-prior",))
    made.seeds("old", [0.2, 0.2, 0.2], digest="d0")
    made.unfinished("broken", failure="nan", message="loss is nan at [red]step[/]")
    for attempt in made.seeds("ce", [0.6, 0.7], under=TASK.protocols[1]):
        edit(attempt.path / "record.json", class_counts=[100, 10, 1], dataset="other")
    made.ingest({"ce": "d1", "la": "d1", "sam": "d1", "vs": "d1", "old": "d1", "broken": "d1"})
    return root


def opened(root, **query):
    return open_page(root, "leaderboard", catalog=CATALOG, **query)


def rows(page):
    """Cells of the board's rows, without the runs."""
    found = [one.proto.body for one in page.get("html") if "<table" in one.proto.body]
    return [line[:-1] for html in found for line in cells(html)]


def methods(page):
    found = [one.proto.body for one in page.get("html") if "<table" in one.proto.body]
    names = re.findall(r'<th scope="row".*?>(.*?)</th>', "".join(found))
    return [re.sub(r"<[^>]*>", "", name) for name in names]


def test_the_board_shows_what_every_format_shows(root):
    page = opened(root, protocol="toy:quick")
    assert methods(page) == ["vs", "la", "sam", "ce", "old stale", "broken failed: nan"]
    la = rows(page)[1]
    assert la[:5] == ["1", "a", "apart", "la", "3"]
    assert la[5:8] == ["40.1 ±0.2", "50.0 ±0.0", "0.4 ±0"]
    # `vs` has one seed only, and no rank
    assert [line[0] for line in rows(page)] == ["–", "1", "2", "3", "–", "–"]
    told = texts(page)
    assert "unranked \\(n=1\\)\\: vs" in told
    assert "loss is nan at \\[red\\]step\\[/\\]" in told
    # its method is not here: a command would train others
    assert "none for old" in told and "--stale" not in told
    assert "groups\\: tail\\: the last third" in told


def test_rows_that_are_tied_share_a_bar():
    html = boards.html(grid(ranked(), GROUPED))
    body = html.partition("<tbody>")[2]
    lanes = [
        re.findall(r"<i(?: class=\"([a-z ]+)\")?>(.?)</i>", row) for row in body.split("</tr>")
    ]
    assert lanes[:5] == [
        [("on first", "a"), ("", "")],
        [("on", "a"), ("", "")],
        [("on last", "a"), ("on first", "b")],
        [("", ""), ("on last", "b")],
        [("on first last", "c"), ("", "")],
    ]
    assert [line[:4] for line in cells(html)][1:3] == [
        ["1", "a", "12", "logit-adjustment"],
        ["3", "ab", "&gt;1000", "sade"],
    ]
    # groups of classes by their names, the whole key for whoever points at it
    assert 'title="mIoU[group=tail]">mIoU<br>tail</th>' in html


def test_what_has_not_run_is_a_line_with_its_number(tmp_path, monkeypatch):
    catalog = Catalog({TASK.name: TASK}, {})
    made = Records(tmp_path)
    made.run("ce", mIoU=0.5)
    made.ingest()
    to_come = [
        (name, {}, QUICK.name, QUICK.hash, TASK.evaluation_hash(QUICK), "toy")
        for name in ("ce", *(f"m{number}" for number in range(9)))
    ]
    monkeypatch.setattr(source.leaderboard, "rows_to_come", lambda *_: to_come)
    page = open_page(tmp_path, "leaderboard", catalog=catalog, protocol="toy:quick")
    assert methods(page) == ["ce"]
    names = ", ".join(f"m{number}" for number in range(9))
    assert f"9 methods not run\\: {names}" in texts(page)
    page = open_page(
        tmp_path, "leaderboard", catalog=catalog, protocol="toy:quick", state="planned"
    )
    assert len(methods(page)) == 9


def test_intervals_lie_on_one_scale_a_column(root):
    made = read_board(root, TASK, protocol="toy:quick", by="mIoU", today={}, planned=[])
    html = boards.html(grid(made, TASK, View(by="mIoU")))
    first = [line.partition("</td>")[0] for line in html.split('<td class="number')]
    bars = [re.findall(r"left:([\d.]+)%", cell) for cell in first if "±" in cell or "0.5" in cell]
    assert all(0 <= float(place) <= 100 for bar in bars for place in bar)
    # the best mean is the rightmost of its column
    assert boards.Scale(0.2, 0.6).place(0.5) == pytest.approx(75.0)
    assert boards.Scale(0.2, 0.2).place(0.2) == 50.0


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ({"contains": "SA"}, ["sam"]),
        ({"contains": "nothing"}, []),
        ({"state": "stale"}, ["old stale"]),
        ({"state": ["stale", "failed"]}, ["old stale", "broken failed: nan"]),
        ({"without": "test-prior", "state": "done"}, ["la", "sam", "ce"]),
        ({"with": "test-prior"}, ["vs"]),
        ({"by": "loss", "state": "done"}, ["ce", "sam", "la", "vs"]),
        ({"data": "other"}, ["ce"]),
        ({"ratio": "100"}, ["ce"]),
        ({"protocol": "toy:full"}, ["ce"]),
    ],
)
def test_filters_come_from_the_url(root, query, left):
    page = opened(root, **{"protocol": "toy:quick", **query})
    assert methods(page) == left
    if not left:
        assert "no row is left by these filters" in texts(page)


def test_filters_do_not_change_ranks(root):
    page = opened(root, protocol="toy:quick", contains="ce")
    assert rows(page)[0][0] == "3" and methods(page) == ["ce"]


def test_the_order_can_be_that_of_a_cost(root):
    # 60, 61, 62 s a seed: `vs` has the first alone
    page = opened(root, protocol="toy:quick", order="wall_seconds", state="done")
    assert methods(page)[0] == "vs"
    page = opened(root, protocol="toy:quick", cost="wall_seconds", most="1.0")
    assert methods(page) == ["vs"]


@pytest.mark.parametrize(
    "query",
    [
        {"task": "nope"},
        {"protocol": "'; DROP TABLE facts; --"},
        {"by": "<script>alert(1)</script>"},
        {"state": "done?"},
        {"with": "x" * 10_000},
        {"cost": "NaN"},
        {"cost": "wall_seconds", "most": "NaN"},
        {"cost": "wall_seconds", "most": "1e999"},
        {"data": "🜁", "ratio": "-1"},
    ],
)
def test_nonsense_in_the_url_is_one_line_and_the_rest_is_shown(root, query):
    page = opened(root, **{"protocol": "toy:quick", **query})
    told = [str(one.value) for one in page.warning]
    assert len(told) == len(query) - ("most" in query)
    assert all(len(line) < 500 for line in told)
    assert all("in the URL" in line for line in told)
    assert methods(page)[:2] == ["vs", "la"]


def test_downloads_are_what_the_page_shows(root, monkeypatch):
    saved = {}

    def keep(key, csv, markdown, latex):
        saved[key] = csv(), markdown(), latex()

    monkeypatch.setattr(buttons, "downloads", keep)
    page = opened(root, protocol="toy:quick", state="done", by="mIoU[group=tail]")
    (key, (text, markdown, latex)), *others = saved.items()
    assert key == "toy-task-toy:quick"
    assert not others
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["method"] for line in lines] == methods(page)
    for line, shown in zip(lines, rows(page), strict=True):
        assert line["rank"] == (shown[0] if shown[0] != "–" else "")
        tail = line["mIoU[group=tail]"]
        assert shown[5].split(" ")[0] == (f"{100 * float(tail):.1f}" if tail else "–")
    for name in methods(page):
        assert f"| {name} |" in markdown
        assert f" & {name} & " in latex


def test_a_board_of_many_rows_comes_in_pages(tmp_path):
    made = Records(tmp_path)
    for number in range(leaderboard.MOST_ROWS + 5):
        made.run(f"m{number:03}", mIoU=0.9 - number / 1000)
    made.ingest()
    page = opened(tmp_path)
    assert methods(page)[0] == "m000"
    assert len(methods(page)) == leaderboard.MOST_ROWS
    page.number_input[0].set_value(2).run()
    check(page)
    assert methods(page) == [f"m{leaderboard.MOST_ROWS + number:03}" for number in range(5)]


def test_hostile_names_are_texts(tmp_path):
    made = Records(tmp_path)
    nasty = [*HOSTILE, "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "é" * 10_000]
    for number, name in enumerate(nasty):
        made.run(
            name or "none",
            params={name: name},
            flags=(name,) if name else (),
            rows=[
                MetricRow(metric="mIoU", value=0.5),
                MetricRow(metric="IoU", subset=name, value=1),
            ],
            seed=number,
        )
        made.unfinished(f"failed {name}", failure="code", message=name * 3, seed=number)
    made.run("ce", under=protocol("<b>gone</b>", recipe="x"), mIoU=0.3)
    made.ingest()
    page = opened(tmp_path)
    html = "".join(one.proto.body for one in page.get("html"))
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert len(html) < 200_000
    page = opened(tmp_path, protocol="<b>gone</b>")
    assert "&lt;b&gt;gone&lt;/b&gt;" in "".join(one.proto.body for one in page.get("html"))
    overview = open_page(tmp_path, "overview", catalog=CATALOG)
    assert (
        max(
            len(str(value))
            for frame in overview.dataframe
            for value in frame.value.to_numpy().ravel()
        )
        < 400
    )


def test_overview_counts_and_failures(root):
    page = open_page(root, "overview", catalog=CATALOG)
    coverage, failed = (frame.value for frame in page.dataframe)
    assert list(coverage["1"]) == ["toy:full", "toy:quick"]
    assert list(coverage["3"]) == [pytest.approx(100.0), pytest.approx(float("nan"), nan_ok=True)]
    assert list(coverage["7"]) == [2, 10]
    assert failed["0"][0].startswith("run?run=")
    assert failed["6"][0] == "loss is nan at [red]step[/]"
    counts = "".join(one.proto.body for one in page.get("html"))
    for words in ("3</b> ranked rows", "12</b> runs done", "1</b> failed", "3</b> stale"):
        assert words in counts
    assert "running" not in counts


def test_empty_states_say_what_to_type(tmp_path):
    page = open_page(tmp_path / "nowhere", "leaderboard", catalog=CATALOG)
    assert "No results below" in texts(page)
    assert "python -m suite run --task toy-task" in texts(page)
    assert not (tmp_path / "nowhere").exists()
    Records(tmp_path).ingest()
    for name in ("overview", "leaderboard"):
        page = open_page(tmp_path, name, catalog=CATALOG)
        assert "toy-task has no runs yet" in texts(page)
        assert "python -m suite run --task toy-task --seeds 0-2" in texts(page)
