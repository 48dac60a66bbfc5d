"""A table of values with a kind a column: for the dashboard's tables, and as CSV, Markdown or LaTeX.

Boards have their own layout (`suite.render.grid`); this is for all else.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from suite.base.text import clipped, plain
from suite.render import formats

Kind = Literal["text", "number", "integer", "percent", "points", "seconds", "time", "run"]
"""What the values of a column are:

- `text`, and `run` (a run's id, which the dashboard makes a link);
- `number` and `integer`, as they are;
- `percent`: a fraction in [0, 1], shown as percent; `points`: a difference of two, shown with its sign;
- `seconds`: a duration; `time`: Unix seconds, shown in UTC.
"""
Value = str | float | int | bool | None

TEXT_KINDS = ("text", "run", "time")


@dataclass(frozen=True)
class Column:
    """A column: its title, what its values are, and a line on what it means."""

    title: str
    kind: Kind = "text"
    help: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table. `rows` have a value a column, None where there is none; `notes` are lines below it."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Value]]
    notes: Sequence[str] = ()

    def column(self, place: int) -> list[Value]:
        """The values of a column."""
        return [row[place] for row in self.rows]


def shown(value: Value, kind: Kind) -> str:
    """A value as people read it, not escaped; an en dash for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool | str):
        return plain(value)
    if kind == "percent":
        return f"{100 * value:.1f}"
    if kind == "points":
        return f"{100 * value:+.1f}"
    if kind == "integer" and math.isfinite(value):
        return f"{round(value):,}"
    if kind == "seconds":
        return duration(value)
    if kind == "time":
        return moment(value)
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    if not math.isfinite(seconds):
        return "unknown"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(seconds: float) -> str:
    """Unix seconds as `2026-11-25 14:05:30` in UTC; `unknown` for what no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "unknown"


def to_csv(sheet: Sheet) -> str:
    """See `formats.to_csv`."""
    return formats.to_csv((column.title for column in sheet.columns), sheet.rows)


def to_markdown(sheet: Sheet) -> str:
    """See `formats.to_markdown`."""
    return formats.to_markdown(_as_texts(sheet))


def to_latex(sheet: Sheet) -> str:
    """See `formats.to_latex`."""
    return formats.to_latex(_as_texts(sheet))


def _as_texts(sheet: Sheet) -> formats.Table:
    kinds = [column.kind for column in sheet.columns]
    return formats.Table(
        title=sheet.title,
        head=[_title(column) for column in sheet.columns],
        rows=[
            [clipped(shown(value, kind)) for value, kind in zip(row, kinds, strict=True)]
            for row in sheet.rows
        ],
        right=[kind not in TEXT_KINDS for kind in kinds],
        notes=sheet.notes,
    )


def _title(column: Column) -> str:
    return f"{column.title} / %" if column.kind == "percent" else column.title
