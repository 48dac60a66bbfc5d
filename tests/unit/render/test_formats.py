"""Tables as Markdown, LaTeX and CSV, and commands beside texts."""

import json
import shlex
from pathlib import Path

import pytest
from records import HOSTILE

import suite
from suite.base.command import Command, Note
from suite.render.formats import Table, to_csv, to_latex, to_markdown
from suite.store.row import COST, Row

TABLE = Table(
    title="a board",
    about=("one line",),
    head=("method", "top1"),
    rows=[("ce", "40.1"), ("la", "50.2")],
    right=(False, True),
    strong={(1, 1)},
    notes=("a note",),
)


def test_markdown_has_the_title_the_strong_cells_and_the_notes():
    assert to_markdown(TABLE) == (
        "**a board**\n\none line\n\n"
        "| method | top1 |\n| --- | ---: |\n| ce | 40.1 |\n| la | **50.2** |\n\n- a note\n"
    )


def test_a_table_without_head_is_its_texts():
    assert to_markdown(Table(notes=("a note",))) == "- a note\n"
    assert to_markdown(Table(title="ranks", fixed=("  *|",), notes=("x",))) == (
        "**ranks**\n\n      *|\n\n- x\n"
    )


def test_latex_says_what_stands_above_the_table_in_its_caption():
    text = to_latex(TABLE)
    assert r"\caption{a board. one line}" in text
    assert r"\begin{tabular}{lr}" in text
    assert r"la & \textbf{50.2} \\" in text
    assert r"\par\footnotesize a note" in text


def test_csv_keeps_numbers_and_takes_the_formula_out_of_texts():
    assert to_csv(("a", "=b"), [(0.5, "=1"), (None, "x")]) == "a,'=b\n0.5,'=1\n,x\n"


@pytest.mark.parametrize("word", [*HOSTILE, "a b", "r32:c100,ir10", "top1[group=tail]"])
def test_a_command_reads_back_as_its_words(word):
    command = Command("run", "--task", word)
    assert shlex.split(str(command)) == ["python", "-m", "suite", "run", "--task", word]
    assert str(Note("add seeds", command)) == f"add seeds: {command}"
    assert str(Note("add seeds")) == "add seeds"


def test_the_schema_describes_every_field_of_a_row():
    described = json.loads((Path(suite.__file__).parent / "rows.schema.json").read_text("utf-8"))
    properties = described["$defs"]["row"]["properties"]
    assert list(properties) == list(Row.__struct_fields__)
    assert list(properties["cost"]["properties"]) == list(COST)
