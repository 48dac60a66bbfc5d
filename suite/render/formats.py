"""One table as Markdown, LaTeX or CSV: every board, sheet, comparison and list of claims goes through here.

Names and messages come from records, which may be a stranger's: every format escapes them its own way.
"""

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from suite.base import text as escape
from suite.base.text import csv_text, pipes, plain

ONE_PAGE = 40
"""Rows of a LaTeX table that fit onto a page."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table as texts, not escaped.

    Attributes:
        title: in bold above it, in LaTeX its caption; None for none.
        about: further lines above the table, in LaTeX sentences of the caption.
        head, rows: of equal lengths; without a head there is no table.
        right: whether a column is aligned to the right; default none is.
        strong: (row, column) of the cells in bold.
        fixed: lines that keep their spaces (a diagram).
        notes: lines below.
    """

    title: str | None = None
    about: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    right: Sequence[bool] = ()
    strong: Collection[tuple[int, int]] = ()
    fixed: Sequence[str] = ()
    notes: Sequence[str] = ()

    def aligned(self) -> Sequence[bool]:
        return self.right or [False] * len(self.head)

    def cells(self, escaped: Callable[[str], str], start: str, end: str) -> Iterable[list[str]]:
        """The rows escaped, strong cells between `start` and `end`."""
        for i, row in enumerate(self.rows):
            yield [
                f"{start}{escaped(cell)}{end}" if (i, j) in self.strong else escaped(cell)
                for j, cell in enumerate(row)
            ]


def to_markdown(table: Table) -> str:
    """A pipe table below its title, then the notes as a list."""
    lines = [] if table.title is None else [f"**{escape.markdown(table.title)}**", ""]
    if table.about:
        lines += [*map(escape.markdown, table.about), ""]
    if table.head:
        lines.append(pipes(map(escape.markdown, table.head)))
        lines.append(pipes("---:" if right else "---" for right in table.aligned()))
        lines += [pipes(cells) for cells in table.cells(escape.markdown, "**", "**")]
        lines.append("")
    if table.fixed:
        # indented code: no text can end it
        lines += [*(f"    {plain(line)}" for line in table.fixed), ""]
    lines += [f"- {escape.markdown(note)}" for note in table.notes]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(table: Table) -> str:
    r"""A `booktabs` table (`\usepackage{booktabs}`), with title and head; of more than `ONE_PAGE` rows a
    `longtable` (`\usepackage{longtable}`), which goes on over pages.

    A metric's subset stands below its name, so that columns are as narrow as their values. ASCII for any
    engine and font encoding: letters with accents are written as LaTeX's commands, what has none as its code
    point (`U+6F22`).
    """
    align = "".join("r" if right else "l" for right in table.aligned())
    caption = rf"\caption{{{escape.latex('. '.join((table.title or '', *table.about)))}}}"
    titles = [_latex_title(title, side) for title, side in zip(table.head, align, strict=True)]
    head = [r"\toprule", " & ".join(titles) + r" \\", r"\midrule"]
    rows = [" & ".join(cells) + r" \\" for cells in table.cells(escape.latex, r"\textbf{", "}")]
    notes = [rf"\par\footnotesize {escape.latex(note)}" for note in table.notes]
    if len(rows) > ONE_PAGE:
        lines = [
            rf"\begin{{longtable}}{{{align}}}",
            rf"{caption} \\",
            *(*head, r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endfoot"),
            *(*rows, r"\end{longtable}"),
            *(("{", *notes, r"\par}") if notes else ()),
        ]
    else:
        lines = [
            *(r"\begin{table}", r"\centering", caption, rf"\begin{{tabular}}{{{align}}}"),
            *(*head, *rows, r"\bottomrule", r"\end{tabular}", *notes, r"\end{table}"),
        ]
    return "\n".join(lines) + "\n"


def _latex_title(title: str, side: str) -> str:
    name, bracket, subset = title.partition("[")
    if not (name and bracket):
        return escape.latex(title)
    return rf"\shortstack[{side}]{{{escape.latex(name)}\\ {escape.latex(bracket + subset)}}}"


def to_csv(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Values as they are stored (fractions in [0, 1]).

    A text that a spreadsheet would take for a formula gets a leading apostrophe; control characters are
    spelled out.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(csv_text, head))
    writer.writerows(map(csv_text, row) for row in rows)
    return out.getvalue()


def envelope(kind: str, rows: Sequence[Any], **more: Any) -> dict[str, Any]:
    """What every verb's JSON is: which rows these are (`suite/rows.schema.json` describes them), what is said
    of all of them, and the rows."""
    return {"schema": f"longtail-suite/{kind}/1", **more, "rows": list(rows)}


def to_json(value: Any) -> str:
    """A value as it is, fractions in [0, 1]; what is not printable as JSON escapes."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"
    if text.isascii() and "\x7f" not in text:
        return text
    # JSON itself escapes C0 controls only; a terminal obeys others, too
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
