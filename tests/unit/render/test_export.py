"""Exports: whole or absent, the same everywhere, and no name breaks out of any format."""

import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from exported import (
    CARD,
    NAMES,
    Page,
    content,  # noqa: F401
    hostile,
    root,  # noqa: F401
    rows_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from records import TASK, Records

from suite.base.errors import UserError
from suite.base.text import csv_text
from suite.base.text import plain as printable
from suite.define.metrics import MetricRow
from suite.render import board as tables
from suite.render import files, long_form
from suite.render import html as pages
from suite.render.export import Export, format_of
from suite.render.view import Published, View
from suite.render.write import check, write
from suite.store.row import Cell


# -- files
@pytest.mark.parametrize(
    ("path", "given", "long", "found"),
    [
        ("a.csv", None, False, "csv"),
        ("a.MD", None, False, "markdown"),
        ("a.tex", None, False, "latex"),
        ("a.parquet", None, True, "parquet"),
        ("a.txt", "csv", True, "csv"),
        ("folder", "html", False, "html"),
    ],
)
def test_the_format_follows_from_the_ending(path, given, long, found):
    assert format_of(Path(path), given, long) == found


@pytest.mark.parametrize(
    ("path", "given", "long", "message"),
    [
        ("folder", None, False, "add --format"),
        ("a.csv", "xlsx", False, "use one of csv"),
        ("a.tex", None, True, "--long is for csv and parquet"),
    ],
)
def test_a_format_that_cannot_be_is_one_clear_line(path, given, long, message):
    with pytest.raises(UserError, match=message):
        format_of(Path(path), given, long)


def test_a_file_is_replaced_whole_and_folders_are_made(content, tmp_path):
    path = tmp_path / "paper" / "table.tex"
    for _ in range(2):
        write(content, "latex", path)
    assert path.read_text() == tables.to_latex(content.rows, TASK)
    assert os.listdir(path.parent) == ["table.tex"]
    with pytest.raises(UserError, match="is a folder"):
        write(content, "csv", path.parent)


@pytest.mark.parametrize("long", [False, True])
def test_a_pipe_or_a_device_is_written_to_and_stays_what_it_is(content, tmp_path, long):
    """As root, a file renamed over /dev/null would be everybody's."""
    write(content, "csv", tmp_path / "board.csv", long=long)
    whole = (tmp_path / "board.csv").read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write(content, "csv", pipe, long=long)
    assert os.read(reading, 1 << 20) == whole
    os.close(reading)
    assert pipe.is_fifo()
    (tmp_path / "null").symlink_to("/dev/null")
    write(content, "csv", tmp_path / "null", long=long)
    write(content, "csv", Path("/dev/null"), long=long)
    assert (tmp_path / "null").is_symlink() and Path("/dev/null").is_char_device()
    with pytest.raises(UserError, match="-o /dev/full: cannot be written"):
        write(content, "csv", Path("/dev/full"), long=long)


def test_a_stream_of_this_process_is_written_to_wherever_it_leads(content, tmp_path):
    with open(tmp_path / "out", "wb") as out:
        write(content, "csv", Path(f"/dev/fd/{out.fileno()}"))
        assert os.fstat(out.fileno()).st_ino == os.stat(tmp_path / "out").st_ino
    assert (tmp_path / "out").read_bytes().startswith(b"task,protocol")


def test_what_a_link_leads_to_is_written_and_the_link_stays(content, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "board.csv").symlink_to("there/board.csv")
    for _ in range(2):
        write(content, "csv", tmp_path / "board.csv")
        assert (tmp_path / "board.csv").is_symlink()
        assert (tmp_path / "there" / "board.csv").read_bytes().startswith(b"task,protocol")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["board.csv"]


def test_a_failed_export_leaves_what_was_there(content, tmp_path, monkeypatch):
    folder = tmp_path / "site"
    write(content, "html", folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    monkeypatch.setattr(pages, "_methods", lambda content: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(content, "html", folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


@pytest.mark.parametrize("exchange", [True, False])
def test_an_export_replaces_an_earlier_one(content, tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    folder = tmp_path / "site"
    folder.mkdir()
    write(content, "html", folder)
    write(Export(root=content.root, task=TASK, rows=content.rows), "html", folder)
    # the second one knows no card
    assert not (folder / "references.bib").exists()
    assert os.listdir(tmp_path) == ["site"]


@pytest.mark.parametrize("place", ["notes.txt", "data/mine.csv"])
def test_a_folder_with_other_files_is_refused(content, tmp_path, place):
    folder = tmp_path / "site"
    write(content, "html", folder)
    (folder / place).write_text("mine")
    for refuse in (lambda: check(folder, "html"), lambda: write(content, "html", folder)):
        with pytest.raises(UserError, match="no export wrote"):
            refuse()
    assert (folder / place).read_text() == "mine"


def test_a_link_and_a_file_are_refused_where_a_folder_is_meant(content, tmp_path):
    there, link = tmp_path / "there", tmp_path / "link"
    there.mkdir()
    link.symlink_to(there)
    with pytest.raises(UserError, match="is a link"):
        write(content, "html", link)
    assert not os.listdir(there)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(UserError, match="is a file"):
        write(content, "html", file)


def test_a_link_inside_an_export_is_not_followed(content, tmp_path):
    folder, other = tmp_path / "site", tmp_path / "other"
    write(content, "html", folder)
    other.mkdir()
    (other / "kept").write_text("kept")
    (folder / "more").symlink_to(other)
    with pytest.raises(UserError, match="more"):
        write(content, "html", folder)
    assert (other / "kept").exists()


def test_equal_boards_give_equal_bytes(content, tmp_path):
    for name in "ab":
        write(content, "html", tmp_path / name)
    listing = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(listing) >= 7
    for name in listing:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


# -- data
def test_the_long_form_has_every_value_and_no_silent_gap(content, root, tmp_path):
    write(content, "parquet", tmp_path / "runs.parquet", long=True)
    lines = pq.read_table(tmp_path / "runs.parquet").to_pylist()
    la = [line for line in lines if (line["method"], line["seed"]) == ("la", 1)]
    values = {
        (x["metric"], x["subset"], x["class"], x["step"], x["value"], x["source"]) for x in la
    }
    assert values == {
        ("mIoU", "", None, None, 0.61, "arrays"),
        ("mIoU", "group=head", None, None, 0.71, "arrays"),
        ("mIoU", "group=tail", None, None, 0.51, "arrays"),
        ("IoU", "", "sky", None, 0.9, "arrays"),
        ("loss", "", None, 5, 1.5, "hook"),
    }
    assert {(x["state"], x["today"], x["flags"]) for x in la} == {("done", True, "extra-budget")}
    (bad,) = [line for line in lines if line["method"] == "bad"]
    assert (bad["state"], bad["failure"], bad["metric"]) == ("failed", "nan", None)
    assert {line["protocol"] for line in lines} == {"toy:quick", "toy:full"}


def test_the_long_form_keeps_to_the_protocols_shown(content, root):
    shown = [row for row in content.rows if row.protocol == "toy:full"]
    table = long_form.read(Export(root=root, task=TASK, rows=shown))
    assert set(table["protocol"].to_pylist()) == {"toy:full"}
    assert table.num_rows == 1


def test_superseded_attempts_are_in_no_form(tmp_path):
    records = Records(tmp_path)
    records.run("ce", attempt=1, mIoU=0.1)
    records.run("ce", attempt=2, mIoU=0.2)
    records.unfinished("ce", attempt=3)
    records.ingest()
    table = long_form.read(Export(root=tmp_path, task=TASK, rows=rows_of(tmp_path)))
    assert table["value"].to_pylist() == [0.2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x", "\t=1", 'a,b"c', "\x1b[2J\r\n", "‮"])
def test_long_csv_texts_are_no_formulas_and_stay_in_their_cell(tmp_path, name):
    records = Records(tmp_path)
    records.run(name, mIoU=-0.5, rows=[MetricRow(metric="mIoU", class_=name, value=-0.5)])
    records.ingest()
    content = Export(root=tmp_path, task=TASK, rows=rows_of(tmp_path))
    text = long_form.csv(long_form.read(content)).decode()
    assert all(c.isprintable() or c == "\n" for c in text)
    (line,) = csv.DictReader(io.StringIO(text, newline=""))
    assert line["method"] == line["class"] == csv_text(name)
    assert line["method"][:1] not in tuple("=+-@")
    assert line["value"] == "-0.5"


def test_wide_parquet_is_the_board(content, tmp_path):
    write(content, "parquet", tmp_path / "board.parquet")
    lines = {
        (line["method"], line["protocol"]): line
        for line in pq.read_table(tmp_path / "board.parquet").to_pylist()
    }
    la = lines["la", "toy:quick"]
    assert la["mIoU"] == pytest.approx(0.61)
    assert la["mIoU[group=tail] low"] == pytest.approx(0.51 - 0.0248414)
    assert (la["rank"], la["n"], la["flags"], len(la["runs"])) == (1, 3, ["extra-budget"], 3)
    bad = lines["bad", "toy:quick"]
    assert (bad["rank"], bad["mIoU"]) == (None, None)
    assert json.loads(bad["failures"])[0]["kind"] == "nan"


# -- claims
def test_claims_stand_beside_ours_with_their_source(content, tmp_path):
    claim = Published(0.615, "61.5 ?", "within noise", "A & B, table 2")
    claims = {("la", "toy:quick", "mIoU"): claim}
    told = Export(root=content.root, task=TASK, rows=content.rows, view=View(claims=claims))
    write(told, "csv", tmp_path / "a.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    (la,) = [line for line in lines if line["method"] == "la"]
    assert (la["mIoU published"], la["mIoU published status"]) == ("0.615", "within noise")
    write(told, "latex", tmp_path / "a.tex")
    latex = (tmp_path / "a.tex").read_text()
    assert r"61.5 ? (within noise) {[}1{]}" in latex
    assert r"{[}1{]} A \& B, table 2" in latex
    # a board without one has no empty column
    assert latex.count("published") == 1
    write(told, "html", tmp_path / "site")
    page = (tmp_path / "site" / "index.html").read_text()
    assert "61.5 ? (within noise) [1]" in page
    assert "[1] A &amp; B, table 2" in page


# -- LaTeX
ENVIRONMENTS = re.compile(r"\\(begin|end)\{(\w+)\}")
COMMANDS = re.compile(r"\\(?:[a-zA-Z]+|.)", re.DOTALL)
OURS = {
    *("begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "textbf"),
    *("par", "footnotesize", "pm", "textbackslash", "textasciitilde", "textasciicircum"),
    *("textless", "textgreater", "textbar", "char", "textasciigrave", "ldots", "times", "leq"),
    *("geq", "rightarrow", "cdot", "ss", "ae", "AE", "o", "O", "oe", "OE", "l", "L", "i", "alpha"),
    *("beta", "gamma", "delta", "epsilon", "eta", "theta", "kappa", "lambda", "mu", "rho", "sigma"),
    *("shortstack", "endfirsthead", "endhead", "endfoot"),
    *("tau", "phi", "u", "r", "H", "v", "c"),
}


def check_latex(text):
    """What a compiler would stumble over: letters beyond ASCII, a command of a name, open braces, a
    row of another number of cells."""
    assert text.isascii()
    assert all(c.isprintable() or c == "\n" for c in text)
    for command in COMMANDS.findall(text):
        name = command[1:]
        assert name in OURS or name in tuple("&%$#_{}\\`'^~=.\""), command
    bare = re.sub(r"\\[{}]", "", text)
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    assert [kind for kind, _ in ENVIRONMENTS.findall(text)].count("begin") == text.count("\\end{")
    unescaped = re.sub(r"\\.", "", text)
    assert "%" not in unescaped
    assert "#" not in unescaped
    assert "_" not in unescaped
    assert "~" not in unescaped
    assert unescaped.count("$") % 2 == 0
    inside = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in inside.splitlines() if line.endswith(r" \\")]
    assert len({re.sub(r"\\.", "", line).count("&") for line in rows}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_latex_of_hostile_names(content, name):
    text = tables.to_latex([hostile(content.rows, name)], TASK)
    check_latex(text)
    assert max(map(len, text.splitlines())) < 12_000


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(name=st.text(max_size=30))
def test_latex_of_any_name(content, name):
    check_latex(tables.to_latex([hostile(content.rows, name)], TASK))


def test_latex_says_what_bold_means_and_keeps_options_whole(content):
    text = tables.to_latex(content.rows, TASK)
    check_latex_blocks = text.split("\n\n")
    assert r"bold: rank 1, the best: no row is significantly better" in text
    assert text.count(r"\textbf") == 1
    assert "-{}-seeds 0-2" in text
    tied = [replace(row, rank=1) for row in content.rows if row.n == 3]
    assert "tied with it (2 rows)" in tables.to_latex(tied, TASK)
    for part in check_latex_blocks:
        check_latex(part)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("Müller", r"M\"{u}ller"),
        ("e\u0301", r"\'{e}"),
        ("α–β", r"$\alpha$--$\beta$"),
        ("漢", "U+6F22"),
        ("--set", "-{}-set"),
        ("---", "-{}-{}-"),
        ('"', r"{\char34}"),
    ],
)
def test_latex_letters(content, text, latex):
    row = replace(content.rows[0], flags=[text])
    assert f"& {latex} \\\\" in tables.to_latex([row], TASK)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(content, tmp_path):
    rows = [row for name in NAMES for row in [hostile(content.rows, name)]]
    body = tables.to_latex([*content.rows, *rows], TASK)
    document = (
        "\\documentclass{article}\\usepackage{booktabs}\\extrafloats{100}\\begin{document}\n"
        + body.replace(r"\end{table}", "\\end{table}\\clearpage")
        + "\\end{document}\n"
    )
    (tmp_path / "t.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-1500:]


def made_pages(content, folder):
    write(content, "html", folder)
    return {
        str(path.relative_to(folder)): Page(path.read_text(encoding="utf-8"))
        for path in folder.rglob("*.html")
    }


def test_the_site_shows_ties_and_no_row_to_come(content, tmp_path):
    later = replace(
        content.rows[-1], method="later", state="planned", failures=[], n=0, rank=None, metrics={}
    )
    site = tmp_path / "site"
    write(replace_rows(content, [*content.rows, later]), "html", site)
    text = (site / "index.html").read_text()
    assert '<i class="on first last">a</i>' in text
    assert "1 method not run: later" in text
    assert "later" not in (site / "data" / "board.csv").read_text()
    # every script and style is known to the policy by its hash: none stands in an element
    assert "style=" not in text.partition("<body>")[2]
    every = replace_rows(content, [*content.rows, later], View(planned=True))
    write(every, "html", site)
    assert "later" in (site / "data" / "board.csv").read_text()
    write(
        replace_rows(content, content.rows, View(methods=["la"], columns=["rank", "mIoU"])),
        "html",
        site,
    )
    page = Page((site / "index.html").read_text())
    assert "rows are shown; ranks are over all of them" in page.text
    assert "loss" not in (site / "data" / "board.csv").read_text()


def replace_rows(content, rows, view=View()):
    return dataclasses.replace(content, rows=rows, view=view)


def test_the_long_form_keeps_to_the_rows_and_columns_chosen(content):
    chosen = View(methods=["la", "bad"], columns=["mIoU[group=tail]"])
    lines = long_form.read(dataclasses.replace(content, view=chosen)).to_pylist()
    assert {(x["method"], x["metric"], x["subset"]) for x in lines} == {
        ("la", "mIoU", "group=tail"),
        # a failed run is no silent gap
        ("bad", None, None),
    }


def test_the_first_page_tells_all(content, tmp_path):
    pages = made_pages(content, tmp_path / "site")
    assert list(pages) == ["index.html"]
    page = pages["index.html"]
    for text in (
        "toy-task under toy:quick",
        "toy-task under toy:full",
        "61.0 ±2.5",
        "mIoU[group=head]",
        "mIoU[group=tail]",
        "unranked",
        "failed: nan",
        "loss is nan",
        "extra-budget",
        "groups: tail: the last third",
        TASK.protocols[0].hash,
        "toy@1",
        "plain & simple",
        "title = {A & B}",
    ):
        assert text in page.text, text
    assert ("a", "href", "#method-ce") not in page.attributes
    assert ("a", "href", "index.html#method-ce") in page.attributes
    assert ("a", "href", "https://arxiv.org/abs/1234.56789") in page.attributes
    assert page.tags.count("svg") >= 3
    folder = tmp_path / "site"
    assert (folder / "references.bib").read_text() == CARD.bibtex + "\n"
    data = ["board.csv", "board.json", "board.parquet", "runs.parquet"]
    assert sorted(os.listdir(folder / "data")) == data
    assert json.loads((folder / "data" / "board.json").read_text()) == msgspec.to_builtins(
        content.rows
    )


def test_every_link_leads_to_something(content, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "ONE_PAGE", 2)
    folder = tmp_path / "site"
    found = made_pages(content, folder)
    assert len(found) == 3
    for name, page in found.items():
        ids = {value for _, attribute, value in page.attributes if attribute == "id"}
        for tag, attribute, value in page.attributes:
            assert attribute not in ("src", "style", "onclick", "action"), (tag, attribute)
            if attribute != "href" or value.startswith("https://arxiv.org/abs/"):
                continue
            path, _, anchor = value.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            assert (folder / target).is_file(), value
            if anchor and target == name:
                assert anchor in ids
            elif anchor:
                assert ("section", "id", anchor) in found[target].attributes


def test_the_pages_admit_one_script_and_one_style(content, tmp_path):
    (page,) = made_pages(content, tmp_path / "site").values()
    (policy,) = [v for t, a, v in page.attributes if t == "meta" and v and "default-src" in v]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert page.tags.count("script") == page.tags.count("style") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_text_and_nothing_else(content, tmp_path, name):
    def forged(name):
        rows = [*content.rows, hostile(content.rows, name)]
        return Export(root=content.root, task=TASK, rows=rows, cards={"ce": CARD})

    plain = made_pages(forged("harmless"), tmp_path / "plain")["index.html"]
    folder = tmp_path / "site"
    page = made_pages(forged(name), folder)["index.html"]
    assert set(page.tags) == set(plain.tags)
    assert {pair[:2] for pair in page.attributes} == {pair[:2] for pair in plain.attributes}
    assert page.tags.count("script") == 1
    assert ("7 * 7" in page.text) == ("7 * 7" in name)
    assert all(c.isprintable() or c in "\n " for c in page.text)
    if name:
        assert printable(name)[:60].strip() in page.text
    inside = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert all(re.fullmatch(r"(data/)?[\w.-]+", path) for path in inside)


@pytest.mark.parametrize("name", NAMES)
def test_page_names_are_safe(content, name):
    made = pages._name(hostile(content.rows, name))
    assert re.fullmatch(r"board-[a-z0-9-]{1,60}", made)


def test_values_that_no_run_has_are_drawn_or_left_out(content, tmp_path):
    for number, value in enumerate((1e308, -1e308, 5e-324, float("inf"), float("nan"))):
        cell = Cell(mean=value, low=-1e308, high=value)
        rows = [replace(content.rows[0], metrics={"mIoU": cell})]
        forged = Export(root=content.root, task=TASK, rows=rows)
        (page,) = made_pages(forged, tmp_path / str(number)).values()
        for tag, attribute, text in page.attributes:
            if attribute in ("x", "y", "x1", "x2", "cx", "cy"):
                assert "nan" not in text
                assert "inf" not in text, tag


def test_an_empty_board_is_a_page_too(tmp_path):
    records = Records(tmp_path / "results")
    records.ingest()
    page = made_pages(Export(root=records.root, task=TASK, rows=[]), tmp_path / "site")
    assert "No runs yet." in page["index.html"].text
