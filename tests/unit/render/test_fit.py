"""A board on terminals of any width, and in a pipe."""

import io

import pytest
from by_hand import GROUPED, planned, ranked, row
from rich.console import Console

from suite.cli.output import PIPE, table
from suite.render import board as tables
from suite.render.fit import title_lines
from suite.render.view import View
from suite.store.row import RowFailure


def printed(rows, width, view=None):
    console = Console(file=io.StringIO(), width=width, no_color=True)
    tables.terminal(rows, GROUPED, console, view or View())
    return console.file.getvalue()


def parts(text):
    """(what is above the line, the rows, what is below) of one table."""
    lines = text.splitlines()
    rule = next(number for number, line in enumerate(lines) if line.startswith("──"))
    end = rule + 1
    while end < len(lines) and not lines[end].startswith(("not shown", "failed", "unranked")):
        end += 1
    return lines[:rule], lines[rule + 1 : end], lines[end:]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_what_ranks_and_the_groups_of_classes_stay(width):
    rows = [*ranked(), row("crt", 0.1, n=1, state="partial")]
    head, body, below = parts(printed(rows, width))
    assert max(map(len, [*head[-2:], *body])) <= width
    titles = " ".join(head[-2:])
    for name in ("rank", "method", "mIoU", "head", "medium", "tail"):
        assert name in titles
    # a row a line: no name is broken
    assert len(body) == len(rows)
    for line, name in zip(body, ["lade", "logit-adjustment", "sade"], strict=False):
        assert f" {name} " in line
    hidden = " ".join(line for line in below if line.startswith("not shown"))
    assert ("cost" in hidden) == (width < 150)
    assert "tail" not in hidden


def test_cost_goes_first_and_groups_go_last():
    rows, gone = ranked(), []
    for width in range(150, 30, -4):
        _, _, below = parts(printed(rows, width))
        hidden = next((line for line in below if line.startswith("not shown")), "")
        names = hidden.removeprefix("not shown at this width: ").partition(" (a pipe")[0]
        gone += [name for name in names.split(", ") if name and name not in gone]
    subsets = [f"mIoU[group={name}]" for name in ("medium", "head", "tail")]
    assert gone == [
        *("cost", "loss", "flags", "n", "seeds to next", "intervals of the groups"),
        *("interval of mIoU", "tied", *subsets),
    ]


@pytest.mark.parametrize(
    ("title", "lines", "short"),
    [
        ("mIoU[group=tail]", ["mIoU", "[group=tail]"], ["mIoU", "tail"]),
        (
            "top1[draw=mean,prior=x]",
            ["top1", "[draw=mean,prior=x]"],
            ["top1", "draw=mean,", "prior=x"],
        ),
        ("balanced_accuracy", ["balanced_accuracy"], ["balanced_", "accuracy"]),
        ("rank", ["rank"], ["rank"]),
    ],
)
def test_titles(title, lines, short):
    assert title_lines(title) == lines
    assert title_lines(title, short=True) == short


def test_intervals_go_before_groups_of_classes():
    assert "±" in "".join(parts(printed(ranked(), 90))[1])
    _, body, below = parts(printed(ranked(), 54))
    assert "±" not in "".join(body)
    assert ", intervals of the groups, interval of mIoU" in below[0]


def test_long_names_are_broken_into_few_lines():
    long = row("m" * 30, failures=[RowFailure(run="r", seed=0, kind="nan", message="", step=1)])
    _, body, _ = parts(printed([long], 60))
    assert 1 < len(body) < 4
    assert max(map(len, body)) <= 60


def test_a_pipe_has_no_width():
    rows = [row("m" * 70, 0.9, flags=["f" * 90]), *ranked()]
    _, body, below = parts(printed(rows, PIPE))
    assert len(body) == len(rows)
    assert "m" * 70 in body[0] and "f" * 90 in body[0] and "61 s, 2x passes" in body[0]
    assert below == []


def test_planned_rows_are_a_line_with_their_number():
    rows = [*ranked(), *planned(*(f"m{number}" for number in range(12)))]
    text = printed(rows, PIPE)
    assert "12 methods not run: m0, m1, m2, m3, m4, m5, m6, m7, and 4 more (--all: as rows)" in text
    assert "(planned)" not in text
    text = printed(rows, PIPE, View(planned=True))
    assert text.count("(planned)") == 12
    assert "not run" not in text


def listed(columns, rows, width):
    console = Console(file=io.StringIO(), width=width, no_color=True)
    console.print(table(columns, rows, "a title"))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


HEAD = ("run", "method", "seed", "changed", "")
LISTING = [("0123456789ab", "balanced-softmax", 10, "", "a long text of many words " * 3)]


def test_a_listing_breaks_long_texts_only():
    # without the column in which there is nothing
    assert listed(HEAD, LISTING, 66) == [
        "a title",
        "run           method            seed",
        "0123456789ab  balanced-softmax    10  a long text of many words a",
        "                                      long text of many words a",
        "                                      long text of many words",
    ]


def test_a_listing_without_room_is_a_paragraph_a_row():
    assert listed(HEAD, LISTING * 2, 40)[:6] == [
        "a title",
        "run     0123456789ab",
        "method  balanced-softmax",
        "seed    10",
        "        a long text of many words a long",
        "        text of many words a long text",
    ]


def test_a_matrix_without_room_is_printed_in_parts():
    names = [f"method-{number}" for number in range(12)]
    lines = listed(("", *names), [(name, *["50"] * 12) for name in names], 60)
    heads = [line.split() for line in lines if line.startswith("   ")]
    assert [name for head in heads for name in head] == names and len(heads) == 3
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("method-7 ") for line in lines) == 3


def test_a_listing_in_a_pipe_is_a_line_a_row():
    head, line = listed(HEAD, LISTING, PIPE)[1:]
    assert "changed" in head
    assert line.endswith(("a long text of many words " * 3).strip())
    assert listed(("a",), [], 40) == ["a title", "a"]
