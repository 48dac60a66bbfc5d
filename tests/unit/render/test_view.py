"""Rows and columns that are chosen, and ties that are shown, in every format."""

import csv
import io
import json

import msgspec
import pytest
from by_hand import FULL, GROUPED, planned, ranked, row

from suite.base.errors import UserError
from suite.cli.options import each_key
from suite.render import board as tables
from suite.render import formats
from suite.render import parquet as wide
from suite.render.cells import seeds_text
from suite.render.grid import grid, grids
from suite.render.ties import bars
from suite.render.view import View, check, named_columns

TAIL = "mIoU[group=tail]"


def lines(text):
    return list(csv.DictReader(io.StringIO(text)))


# -- ties
def test_ties_and_the_seeds_that_would_break_them_stand_beside_the_rank():
    made = grid(ranked(), GROUPED)
    assert made.head[:4] == ("rank", "tied", "seeds to next", "method")
    assert [line[:3] for line in made.body] == [
        ("1", "a", "45"),
        ("1", "a", "12"),
        ("3", "ab", ">1000"),
        ("4", "b", "apart"),
        ("5", "c", ""),
    ]
    said = " ".join(made.caption)
    assert "rows that share a letter cannot be told apart" in said
    assert "apart: it is told from it already" in said


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("moderated t", "(moderated t test, Holm over the board, 5%)"),
        ("t", "(t tests, Holm over the board, 5%: fewer than five rows vary"),
        ("", "; from two rows with 3 replicates on"),
    ],
)
def test_the_rule_names_the_test(test, words):
    (line,) = (line for line in grid([row(test=test)], GROUPED).caption if "rank: " in line)
    assert line.startswith("rank: 1 + rows significantly better") and words in line


def test_a_board_without_ranks_has_neither_column():
    made = grid([row(n=1)], GROUPED)
    assert made.head[:3] == ("rank", "method", "n")
    assert "told apart" not in " ".join(made.caption)


@pytest.mark.parametrize(
    ("seeds", "text"),
    [(None, ""), (2, "apart"), (3, "apart"), (4, "4"), (1000, "1000"), (1001, ">1000")],
)
def test_seeds_to_next(seeds, text):
    assert seeds_text(row(seeds_to_next=seeds)) == text


def test_ties_are_in_every_format():
    rows = ranked()
    assert "| 3 | ab | \\>1000 | sade |" in tables.to_markdown(rows, GROUPED)
    assert r"3 & ab & {\textgreater}1000 & sade" in tables.to_latex(rows, GROUPED).replace(
        r"\textgreater{}", r"{\textgreater}"
    )
    sade = lines(tables.to_csv(rows))[2]
    assert (sade["groups"], sade["seeds_to_next"]) == ("ab", "1001")
    columns = wide.table(rows).to_pydict()
    assert columns["groups"] == ["a", "a", "ab", "b", "c"]
    assert columns["seeds_to_next"] == [45, 12, 1001, 3, None]
    assert json.loads(formats.to_json(rows)) == msgspec.to_builtins(rows)


def test_bars_go_through_the_rows_that_share_a_letter():
    made = bars(["a", "ab", "b", "", "c"])
    assert [[bar and (bar.letter, bar.kind) for bar in line] for line in made] == [
        [("a", "on first"), None],
        [("a", "on last"), ("b", "on first")],
        [None, ("b", "on last")],
        [None, None],
        # the first lane is free again
        [("c", "on first last"), None],
    ]
    assert bars([]) == [] and bars([""]) == [[]]
    # after z comes aa
    (first, last) = bars(["a z", "z aa"])
    assert [bar and bar.letter for bar in (*first, *last)] == ["a", "z", "aa", "z"]
    # a bar with a gap keeps its lane
    assert [len(line) for line in bars(["a", "b", "a"])] == [2, 2, 2]


# -- rows
def test_chosen_rows_keep_the_ranks_of_the_whole_board():
    view = View(methods=["sade", "ce"])
    made = grid(ranked(), GROUPED, view)
    assert [(line[0], line[3]) for line in made.body] == [("3", "sade"), ("5", "ce")]
    assert "2 of 5 rows are shown; ranks are over all of them" in made.caption
    assert not any("rows are shown" in line for line in grid(ranked(), GROUPED).caption)
    for text in (tables.to_csv(ranked(), view), formats.to_json(view.data(ranked()))):
        assert "sade" in text and "lade" not in text
    assert wide.table(ranked(), view)["method"].to_pylist() == ["sade", "ce"]


def test_what_is_tied_for_the_first_rank_is_told_of_the_whole_board():
    text = tables.to_latex(ranked(), GROUPED, View(methods=["lade", "ce"]))
    assert text.count(r"\textbf") == 1
    assert "bold: rank 1, the best and those tied with it (2 rows)" in text
    assert "bold" not in tables.to_latex(ranked(), GROUPED, View(columns=["rank"]))


def test_rows_are_named_by_what_they_differ_in_on_the_whole_board():
    rows = [row("ce", params={"lr": 1}), *planned("ce"), row("la", params={"lr": 1})]
    assert [line[1] for line in grid(rows, GROUPED).body] == ["ce lr=1", "la"]


def test_blocks_of_which_nothing_is_shown_are_left_out():
    rows = [*ranked(), *planned("ce", "la", under=FULL)]
    assert [made.caption[0] for made in grids(rows, GROUPED)] == ["toy-task under toy:quick"]
    assert len(list(grids(rows, GROUPED, View(planned=True)))) == 2
    assert list(grids(rows, GROUPED, View(methods=["la"]))) == []


@pytest.mark.parametrize("method", ["ce", "la"])
def test_only_the_planned_rows_asked_for_are_counted(method):
    made = grid([*ranked(), *planned("la", "mix")], GROUPED, View(methods=[method]))
    assert made.not_run == ("1 method not run: la" if method == "la" else "")


def test_where_nothing_is_shown_the_line_says_what_to_type():
    note = tables.nothing(planned("ce", "la"), GROUPED, View(methods=["la"]))
    assert note.text == "toy-task: no runs of la yet"
    assert str(note.command).endswith("run --task toy-task --protocol toy:quick --method la")


# -- columns
def test_chosen_columns_stand_in_their_order():
    made = grid(ranked(), GROUPED, View(columns=[TAIL, "rank", "method"]))
    assert made.head == (TAIL, "rank", "method")
    assert made.ranking is None
    assert "**" not in tables.to_markdown(ranked(), GROUPED, View(columns=["rank"]))[60:]
    # a row has a name, and the ranking metric is bold where it stands
    made = grid(ranked(), GROUPED, View(columns=["n", "mIoU"]))
    assert made.head == ("method", "n", "mIoU")
    assert made.strong == {(0, 2), (1, 2)}


def test_chosen_columns_of_the_data_formats():
    view = View(columns=["rank", TAIL])
    first = lines(tables.to_csv(ranked(), view))[0]
    assert list(first)[:6] == [
        *("task", "protocol", "protocol_hash", "evaluation_hash", "dataset", "method")
    ]
    assert list(first)[6:] == [
        *("params", "inputs", "digest", "state", "rank", TAIL, f"{TAIL} low", f"{TAIL} high")
    ]
    assert set(json.loads(formats.to_json(view.data(ranked())))[0]["metrics"]) == {TAIL}
    names = wide.table(ranked(), view).column_names
    assert TAIL in names and "n" not in names and "mIoU" not in names and "gpu_hours" not in names


def test_columns_as_typed():
    typed = each_key(["rank,top1[prior=uniform,draw=mean]", "top1, groups", "rank"])
    assert typed == ["rank", "top1[prior=uniform,draw=mean]", "top1", "groups"]
    assert named_columns(typed) == ["rank", "top1[draw=mean,prior=uniform]", "top1", "tied"]
    assert named_columns(["seeds_to_next", "seeds to next"]) == ["seeds to next"] * 2


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (
            View(methods=["ce", "sad"]),
            r"--method sad: task toy-task has no such method; did .* sade",
        ),
        (
            View(columns=["mIuO"]),
            "--columns mIuO: the board of toy-task has no such column; did .* mIoU",
        ),
        (View(columns=["ranks"]), "did you mean rank"),
    ],
)
def test_unknown_names_get_the_nearest(view, message):
    with pytest.raises(UserError, match=message):
        check(view, GROUPED, ranked(), ["sam"])


def test_known_names_pass():
    view = View(methods=["sam", "ce"], columns=["rank", "cost", "mIoU", TAIL])
    check(view, GROUPED, ranked(), ["sam"])


# -- LaTeX
def test_a_long_latex_table_goes_on_over_pages():
    rows = [row(f"m{number}", rank=number) for number in range(1, 42)]
    text = tables.to_latex(rows, GROUPED)
    assert r"\begin{longtable}" in text and r"\begin{tabular}" not in text
    # the head stands on every page
    assert text.count(r"\toprule") == text.count(r"\midrule") == 2
    assert text.index(r"\endhead") < text.index(" m1 &")
    assert "longtable" not in tables.to_latex(rows[:40], GROUPED)


def test_a_latex_table_of_chosen_columns_fits_into_a_column():
    text = tables.to_latex(ranked(), GROUPED, View(columns=["rank", "method", "mIoU", TAIL]))
    assert r"rank & method & mIoU & \shortstack[r]{mIoU\\ {[}group=tail{]}} \\" in text
    assert r"\begin{tabular}{rlrr}" in text
