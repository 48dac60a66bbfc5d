"""A sheet of values as texts, CSV, Markdown and LaTeX."""

import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import HOSTILE

from suite.render.table import Column, Sheet, duration, moment, shown, to_csv, to_latex, to_markdown

COLUMNS = (
    Column("method"),
    Column("top1", "percent"),
    Column("gain", "points"),
    Column("n", "integer"),
    Column("loss", "number"),
    Column("time", "seconds"),
    Column("at", "time"),
    Column("run", "run"),
)
ROW = ("ce", 0.4567, -0.0123, 12345, 0.123456, 3725.0, 0.0, "0123456789ab")
SHEET = Sheet("a board", COLUMNS, [ROW, (None,) * 8], ["one note"])


def test_values_as_people_read_them():
    texts = [shown(value, column.kind) for value, column in zip(ROW, COLUMNS, strict=True)]
    assert texts == [
        *("ce", "45.7", "-1.2", "12,345", "0.1235", "1 h 02 min", "1970-01-01 00:00:00"),
        "0123456789ab",
    ]
    assert [shown(None, column.kind) for column in COLUMNS] == ["–"] * 8
    assert shown(math.nan, "percent") == "–"
    assert shown(True, "text") == "True"


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("column", COLUMNS)
def test_no_number_is_too_large_to_show(value, column):
    assert shown(value, column.kind)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (7325, "2 h 02 min"), (math.inf, "unknown")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_moments_that_no_calendar_has():
    assert moment(1e18) == "unknown"
    assert moment(math.nan) == "unknown"


def test_csv_keeps_values_as_stored():
    lines = list(csv.reader(io.StringIO(to_csv(SHEET))))
    assert lines[0] == [column.title for column in COLUMNS]
    assert lines[1] == [str(value) for value in ROW]
    assert lines[2] == [""] * 8


def test_markdown_and_latex_show_the_same():
    assert to_markdown(SHEET) == (
        "**a board**\n"
        "\n"
        "| method | top1 / % | gain | n | loss | time | at | run |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | --- |\n"
        "| ce | 45.7 | -1.2 | 12,345 | 0.1235 | 1 h 02 min | 1970-01-01 00:00:00 | 0123456789ab |\n"
        "| – | – | – | – | – | – | – | – |\n"
        "\n"
        "- one note\n"
    )
    latex = to_latex(SHEET)
    assert r"\begin{tabular}{lrrrrrll}" in latex
    assert r"method & top1 / \% & gain" in latex
    assert r"ce & 45.7 & -1.2 & 12,345 & 0.1235" in latex


@given(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=300), min_size=1, max_size=4))
def test_no_text_breaks_a_format(texts):
    columns = tuple(Column(text) for text in texts)
    sheet = Sheet(texts[0], columns, [texts], texts)
    lines = list(csv.reader(io.StringIO(to_csv(sheet))))
    assert [len(line) for line in lines] == [len(texts)] * 2
    assert not any(cell.lstrip()[:1] in tuple("=+-@") for line in lines for cell in line if cell)
    table = [line for line in to_markdown(sheet).splitlines() if line.startswith("| ")]
    assert len(table) == 3
    latex = to_latex(sheet)
    assert latex.isascii()
    assert latex.count(r"\begin{") == latex.count(r"\end{") == 2
    assert latex.count(" & ") >= 2 * (len(texts) - 1)
