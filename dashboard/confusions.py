"""Confusions of classes, for the pages that show them: read, drawn, and what is in their way."""

import os
import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, controls, say, source
from suite.base.errors import UserError
from suite.boards.confusions import confusion_of
from suite.define.flags import TRANSDUCTIVE
from suite.define.task import Task
from suite.records.attempt import Attempt

READ_AT_ONCE = 1 << 26
"""Bytes of stored predictions that are read without being asked for."""
MOST_NUMBERS = 30
"""Classes of which a heat map has room for numbers."""


def confusion(task: Task, run: str, attempt: int) -> Any:
    """Confusion (C, C) of a finished attempt. Raises UserError, see `suite.boards.confusions.confusion_of`."""
    found = _stat(run, attempt)
    stamp = (found.st_ino, found.st_mtime_ns) if found else (0, 0)
    return _confusion(stamp, task.name, run, attempt)


# kept for as long as the file is the same; a matrix of 1000 classes takes 8 MB
@st.cache_resource(show_spinner=False, max_entries=24)
def _confusion(stamp: source.Stamp, task: str, run: str, attempt: int) -> Any:
    there = Attempt(source.root(), run, attempt)
    return confusion_of(there, source.task(task), source.catalog())


def wanted(runs: Sequence[tuple[str, int]]) -> bool:
    """Whether to make the confusions of these (run, attempt): what takes long is asked for."""
    size = sum(found.st_size for run in runs if (found := _stat(*run)))
    # scores that adapt to the test inputs take seconds a run
    if any(TRANSDUCTIVE in _flags(*run) for run in runs):
        label = "Adapt the stored scores to the test inputs once more, which takes a while"
    elif size > READ_AT_ONCE:
        label = f"Read {size / 1e6:,.0f} MB of stored predictions"
    else:
        return True
    return controls.switch(label, "read")


def _flags(run: str, attempt: int) -> list[str]:
    try:
        return Attempt(source.root(), run, attempt).record().flags
    except (OSError, UserError):
        return []


def _stat(run: str, attempt: int) -> os.stat_result | None:
    try:
        return (Attempt(source.root(), run, attempt).path / "predictions.npz").stat()
    except OSError:
        return None


_ENDS_WITH_COMMAND = re.compile(r"(.*?)[;:] (?:type )?`?(python -m suite [^`]*)`?")


def problem(error: UserError) -> None:
    """What is in the way, and the command that the message ends with."""
    text = " ".join(str(error).split())
    found = _ENDS_WITH_COMMAND.fullmatch(text)
    if found:
        say.nothing(found[1], found[2])
    else:
        say.warning(text)


def labels(names: Sequence[str]) -> list[str]:
    """Names as charts show them, each once."""
    made: dict[str, None] = {}
    for number, name in enumerate(names, 1):
        label = charts.name(name)
        made[label if label not in made else f"{label} ({number})"] = None
    return list(made)


def heat_map(values: Any, names: Sequence[str], *, signed: bool) -> Any:
    """A matrix (C, C) in percent or points by (true, called) class, with its numbers where there is room.

    `signed`: differences, whose colours part at 0; else shares.
    """
    shown = labels(names)
    top = float(pd.Series(values.ravel()).abs().max() or 1.0) if signed else 100.0
    data = pd.DataFrame(
        [
            {"true": of, "called": to, "value": float(values[i, j])}
            for i, of in enumerate(shown)
            for j, to in enumerate(shown)
        ]
    )
    scale = (
        alt.Scale(scheme="blueorange", domain=[-top, 0, top], reverse=True)
        if signed
        else alt.Scale(scheme="blues", domain=[0, 100])
    )
    unit, form = ("points", "+.1f") if signed else ("%", ".1f")
    base = alt.Chart(data).encode(
        x=alt.X(
            "called:N",
            sort=shown,
            axis=alt.Axis(
                title="called", orient="top", labelAngle=-50, labelLimit=140, labelOverlap=False
            ),
        ),
        y=alt.Y(
            "true:N",
            sort=shown,
            axis=alt.Axis(title="true class", labelLimit=140, labelOverlap=False),
        ),
    )
    cells = base.mark_rect().encode(
        color=alt.Color("value:Q", scale=scale, title=unit),
        tooltip=[
            alt.Tooltip("true:N"),
            alt.Tooltip("called:N"),
            alt.Tooltip("value:Q", title=unit, format=form),
        ],
    )
    layers = [cells]
    if len(shown) <= MOST_NUMBERS:
        dark = f"abs(datum.value) > {0.6 * top}"
        layers.append(
            # what would be read as 0 is left out, or the rest would not be seen
            base.transform_filter("abs(datum.value) >= 0.5")
            .mark_text(fontSize=11 if len(shown) <= 15 else 8)
            .encode(
                text=alt.Text("value:Q", format=form.replace(".1", ".0")),
                color=alt.condition(dark, alt.value("white"), alt.value("black")),
            )
        )
    return alt.layer(*layers).properties(height=min(30 * len(shown), 900) + 80)
