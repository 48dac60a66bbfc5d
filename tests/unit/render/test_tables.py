"""Every format says the same and lets no name break out."""

import csv
import dataclasses
import io
import json
import re

import msgspec
import pytest
from msgspec.structs import replace
from records import EVALUATION, HOSTILE, TASK, Records
from rich.console import Console

from suite.base.text import plain
from suite.boards.leaderboard import board
from suite.render import board as tables
from suite.render import formats
from suite.render.grid import ALL, grid
from suite.render.view import View
from suite.store.row import Cell, RowFailure

QUICK = TASK.protocols[0]


@pytest.fixture
def rows(tmp_path):
    records = Records(tmp_path)
    for seed in range(3):
        records.run("la", seed=seed, mIoU=0.60 + seed / 100, tail=0.50 + seed / 100, loss=1.25)
        records.run("ce", seed=seed, mIoU=0.40 + seed / 100, tail=0.20 + seed / 100, loss=2.5)
    records.run("mine", mIoU=0.7, flags=("extra-budget",))
    records.unfinished("bad", failure="nan", message="loss is nan")
    records.ingest()
    planned = [("later", {}, QUICK.name, QUICK.hash, EVALUATION, "toy")]
    made = board(tmp_path, TASK, protocol=None, by=None, today={}, planned=planned)
    return [replace(row, settings=[]) for row in made]


def hostile_row(rows, name):
    return replace(
        rows[0],
        **dict.fromkeys(("method", "protocol", "dataset", "digest"), name),
        params={name: name},
        flags=[name],
        state="failed",
        failures=[RowFailure(run=name, seed=0, kind=name, message=name, step=1)],
        metrics={**rows[0].metrics, name: Cell(mean=0.5)},
    )


def printed(rows, width=100, view=ALL):
    console = Console(
        file=io.StringIO(), width=width, color_system="truecolor", force_terminal=True
    )
    tables.terminal(rows, TASK, console, view)
    return console.file.getvalue()


def plainly(rows, width=100, view=ALL):
    console = Console(file=io.StringIO(), width=width, no_color=True)
    tables.terminal(rows, TASK, console, view)
    return console.file.getvalue()


def test_terminal(rows):
    text = plainly(rows)
    assert "toy-task under toy:quick" in text
    assert "groups: tail: the last third" in text
    assert "ranked by mIoU (higher is better); fractions in percent" in text
    lines = [line.split() for line in text.splitlines()]
    assert [
        "1",
        "a",
        "apart",
        "la",
        "3",
        "61.0",
        "±2.5",
        "51.0",
        "±2.5",
        "1.25",
        "±0",
        "61",
        "s",
    ] in lines
    assert ["mine", "1", "70.0", "–", "–", "60", "s", "extra-budget"] in lines
    assert ["bad", "(failed:", "nan)", "0", "–", "–", "–", "–"] in lines
    assert "1 method not run: later (--all: as rows)" in text
    assert "(planned)" not in text
    assert "unranked (n=1): mine" in text
    assert (
        "python -m suite run --task toy-task --protocol toy:quick --method mine --seeds 0-2" in text
    )
    assert "failed: bad, seed 0" in text
    assert "nan at step 7: loss is nan" in text


def test_terminal_fits_into_72_columns(rows):
    text = plainly(rows, width=72)
    table, _, notes = text.partition("not shown at this width: ")
    assert max(map(len, table.splitlines())) <= 72
    assert "61.0 ±2.5" in table
    assert "bad (failed: nan)" in table
    assert notes.startswith("cost, loss, flags (a pipe shows all)")
    # a command that is broken into two lines cannot be copied
    assert (
        "python -m suite run --task toy-task --protocol toy:quick --method mine --seeds 0-2\n"
        in notes
    )


def test_terminal_of_nothing_says_what_to_type():
    assert "python -m suite run --task toy-task" in plainly([])


def test_blocks_are_apart(rows):
    other = replace(rows[0], protocol="toy:other", protocol_hash="0" * 12)
    text = plainly([*rows, other])
    assert "toy-task under toy:other" in text
    assert "not a protocol of this task any more" in text
    stale = replace(rows[0], evaluation_hash="0" * 12)
    assert "not today's evaluation" in plainly([stale])


def test_rows_of_one_method_show_the_parameters_that_differ(rows):
    a = replace(rows[0], params={"lr": 0.1, "wd": 1})
    b = replace(rows[0], params={"lr": 0.2, "wd": 1})
    names = [line[1] for line in grid([a, b], TASK).body]
    assert names == ["mine lr=0.1", "mine lr=0.2"]


def test_rows_that_differ_in_their_code_alone_show_it(rows):
    stale = replace(rows[0], state="stale", digest="0123456789")
    names = [line[1] for line in grid([rows[0], stale], TASK).body]
    assert names[1] == "mine @0123456 (stale)"
    assert any("--stale" in str(note) for note in grid([rows[0], stale], TASK).notes)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_cannot_steer_the_terminal(rows, name):
    text = printed([hostile_row(rows, name)])
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert all(c.isprintable() or c == "\n" for c in bare)
    assert "\x1b[2J" not in text
    if "markup" in name:
        assert "[bold red]" in bare.replace("\n", "")


def test_json_is_the_rows_as_they_are(rows):
    assert json.loads(formats.to_json(rows)) == msgspec.to_builtins(rows)


def test_csv_has_fractions_and_a_column_per_bound(rows):
    lines = list(csv.DictReader(io.StringIO(tables.to_csv(rows))))
    by_method = {line["method"]: line for line in lines}
    la = by_method["la"]
    assert float(la["mIoU"]) == pytest.approx(0.61)
    assert float(la["mIoU[group=tail] low"]) == pytest.approx(0.51 - 0.0248414)
    assert (la["rank"], la["n"], la["state"]) == ("1", "3", "done")
    assert by_method["mine"]["mIoU low"] == ""
    assert "loss is nan" in by_method["bad"]["failures"]


@pytest.mark.slow
@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t=", "\r\n="])
def test_csv_texts_are_no_formulas_and_numbers_stay_numbers(rows, start):
    row = hostile_row(rows, f"{start}cmd|' /C calc'!A0")
    row.metrics["mIoU"] = Cell(mean=-0.5)
    head, line = csv.reader(io.StringIO(tables.to_csv([row]), newline=""))
    cells = dict(zip(head, line, strict=True))
    assert cells["method"].startswith("'")
    assert cells["method"].endswith(f"{start[-1]}cmd|' /C calc'!A0")
    assert cells["mIoU"] == "-0.5"
    assert not any(cell[:1] in ("=", "+", "@") for cell in [*head, *line])


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_csv_keeps_hostile_names_in_their_cell(rows, name):
    text = tables.to_csv([hostile_row(rows, name)])
    assert all(c.isprintable() or c == "\n" for c in text)
    (line,) = csv.DictReader(io.StringIO(text, newline=""))
    assert line["method"] == plain(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*HOSTILE, "\x9b2J"])
def test_json_gives_hostile_names_back_without_raw_controls(rows, name):
    text = formats.to_json([hostile_row(rows, name)])
    assert json.loads(text)[0]["method"] == name
    assert all(c.isprintable() or c == "\n" for c in text)


def test_markdown(rows):
    text = tables.to_markdown(rows, TASK)
    assert "| 1 | a | apart | la | 3 | **61.0 ±2.5** | 51.0 ±2.5 |" in text
    assert "| 2 | b |  | ce | 3 | 41.0 ±2.5 |" in text
    assert r"- unranked \(n=1\): mine" in text


def test_markdown_names_stay_in_their_cell(rows):
    row = hostile_row(rows, "a|b\n<script>alert(1)</script>[x](javascript:1)")
    table = [line for line in tables.to_markdown([row], TASK).splitlines() if line[:1] == "|"]
    assert len(table) == 3
    unescaped = [line.replace("\\|", "").count("|") for line in table]
    assert len(set(unescaped)) == 1
    assert "<script>" not in tables.to_markdown([row], TASK)
    assert r"\]\(javascript" in tables.to_markdown([row], TASK)


def test_latex_is_a_booktabs_table_with_the_best_in_bold(rows):
    text = tables.to_latex(rows, TASK)
    assert r"1 & a & apart & la & 3 & \textbf{61.0 $\pm$2.5} & 51.0 $\pm$2.5" in text
    assert text.count(r"\textbf") == 1
    assert r"\shortstack[r]{mIoU\\ {[}group=tail{]}}" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1


def test_all_that_tie_for_the_first_rank_are_bold(rows):
    tied = [replace(row, rank=1) for row in rows[:3]]
    assert tables.to_latex(tied, TASK).count(r"\textbf") == 3


def test_latex_names_are_escaped(rows):
    row = hostile_row(rows, r"\input{/etc/passwd} 50% a_b & c # $x$ ^ ~ {")
    text = tables.to_latex([row], TASK)
    expected = (
        r"\textbackslash{}input\{/etc/passwd\} 50\% a\_b \& c \# \$x\$ "
        r"\textasciicircum{} \textasciitilde{} \{"
    )
    assert expected in text
    assert r"\input{" not in text


def test_ranking_by_another_metric_puts_it_first_and_bold(rows):
    made = grid(rows, TASK, View(by="loss"))
    assert made.head[made.ranking] == "loss"
    assert made.ranking < made.head.index("mIoU")
    assert "lower is better" in " ".join(made.caption)


@pytest.mark.parametrize(
    ("seconds", "passes", "text"),
    [(61, 1, "61 s"), (600, 2, "10 min, 2x passes"), (7200, 1, "2 h"), (None, None, "–")],
)
def test_cost(rows, seconds, passes, text):
    cost = replace(rows[0].cost, wall_seconds=seconds, passes_per_step=passes)
    assert text in grid([replace(rows[0], cost=cost)], TASK).body[0]


def test_cost_tells_of_larger_networks(rows):
    made = []
    for parameters in (100.0, 105.0, 290.0, None):
        cost = {"wall_seconds": 61, "parameters": parameters, "passes_per_step": 1}
        made.append(replace(rows[0], cost=replace(rows[0].cost, **cost)))
    cells = [texts[-1 - bool(made[0].flags)] for texts in grid(made, TASK).body]
    assert cells == ["61 s", "61 s", "61 s, 2.9x params", "61 s"]


def test_a_task_may_show_columns_that_hang_on_its_rows(rows):
    def by_group(keys):
        return ["mIoU", *(key for key in sorted(keys) if "group=" in key)]

    task = dataclasses.replace(TASK, offers={"columns": by_group})

    def keys(made):
        return [column.key for column in made.columns if column.kind == "metric"]

    assert keys(grid(rows, task)) == ["mIoU", "mIoU[group=tail]"]
    # the ranking metric is there whatever the task shows, and what is asked for is what is shown
    assert keys(grid(rows, task, View(by="loss"))) == ["loss", "mIoU", "mIoU[group=tail]"]
    assert keys(grid(rows, task, View(columns=["loss"]))) == ["loss"]
    nothing = [replace(row, metrics={}) for row in rows]
    assert keys(grid(nothing, task)) == ["mIoU"]
    assert keys(grid(rows, TASK)) == list(TASK.columns)
