"""A table with its CSV, Markdown and LaTeX buttons."""

import re
from collections.abc import Callable, Collection
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import say
from suite.base.text import clipped, plain
from suite.render import table as sheets
from suite.render.table import Sheet, Value

MOST_TEXT = 300
"""Characters of a text that a cell shows; the CSV has all of them."""

_FORMATS = {
    "percent": "%.1f",
    "points": "%+.1f",
    "integer": "localized",
    "number": "%.4g",
    "seconds": "%.1f",
}


def show(sheet: Sheet, key: str, *, height: int | None = None, bars: Collection[int] = ()) -> None:
    """The table, sortable and searchable, its notes and its buttons.

    Args:
        key: name of the table on its page, and of the files.
        height: pixels, at most; default as high as it needs up to ten rows.
        bars: columns of kind `percent` whose values are shown as bars too.
    """
    if sheet.title:
        st.markdown(f"**{say.words(sheet.title)}**")
    st.dataframe(
        _frame(sheet),
        hide_index=True,
        column_config=_config(sheet, bars),
        height=height or "auto",
        key=f"{key}-table",
        placeholder="–",
        alt=plain(sheet.title),
    )
    for line in sheet.notes:
        say.note(line)
    downloads(
        key,
        lambda: sheets.to_csv(sheet),
        lambda: sheets.to_markdown(sheet),
        lambda: sheets.to_latex(sheet),
    )


def downloads(
    key: str, csv: Callable[[], str], markdown: Callable[[], str], latex: Callable[[], str]
) -> None:
    """Buttons that save what a page shows; texts are made when one is pressed."""
    name = re.sub(r"[^a-zA-Z0-9]+", "-", key).strip("-")[:80] or "table"
    with st.container(horizontal=True, gap="small"):
        for label, ending, mime, make in (
            ("CSV", "csv", "text/csv", csv),
            ("Markdown", "md", "text/markdown", markdown),
            ("LaTeX", "tex", "text/x-tex", latex),
        ):
            st.download_button(
                label,
                data=make,
                file_name=f"{name}.{ending}",
                mime=mime,
                key=f"{key}-{ending}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
            )


def run_link(run_id: str) -> str:
    """The run's page, seen from any other."""
    return f"run?run={run_id}"


def _frame(sheet: Sheet) -> pd.DataFrame:
    # titles may be equal, or anything: columns go by number
    return pd.DataFrame(
        {
            str(place): _values(sheet.column(place), column.kind)
            for place, column in enumerate(sheet.columns)
        }
    )


def _values(column: list[Value], kind: str) -> Any:
    if kind == "time":
        return pd.to_datetime(pd.Series(column, dtype="float64"), unit="s", errors="coerce")
    return [_cell(value, kind) for value in column]


def _cell(value: Value, kind: str) -> Any:
    if value is None:
        return None
    if kind == "run":
        return run_link(str(value))
    if isinstance(value, str):
        return clipped(plain(value), MOST_TEXT)
    return 100 * value if kind in ("percent", "points") else value


def _config(sheet: Sheet, bars: Collection[int]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for place, column in enumerate(sheet.columns):
        title, about = clipped(plain(column.title)), column.help or None
        if place in bars:
            made[str(place)] = st.column_config.ProgressColumn(
                title, help=about, format="%.0f %%", min_value=0, max_value=100
            )
        elif column.kind == "run":
            made[str(place)] = st.column_config.LinkColumn(
                title, help=about, display_text=r"run=([0-9a-f]*)"
            )
        elif column.kind == "time":
            made[str(place)] = st.column_config.DatetimeColumn(
                f"{title} (UTC)", help=about, format="YYYY-MM-DD HH:mm:ss"
            )
        elif column.kind in _FORMATS:
            unit = {"percent": " / %", "points": " / points", "seconds": " / s"}.get(
                column.kind, ""
            )
            made[str(place)] = st.column_config.NumberColumn(
                title + unit, help=about, format=_FORMATS[column.kind]
            )
        else:
            made[str(place)] = st.column_config.TextColumn(title, help=about)
    return made
