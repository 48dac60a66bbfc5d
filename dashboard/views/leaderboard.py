"""Leaderboard: the rows of a task under one protocol, ranked, with what their state means."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard import board, controls, say, source, tables
from dashboard.views import common
from suite.base.command import Command, Note
from suite.define.flags import FLAGS
from suite.define.task import Task, direction
from suite.render import board as boards
from suite.render.grid import blocks, grid, legend, not_run
from suite.render.view import View
from suite.stats.tests import MIN_REPLICATES
from suite.store.coverage import Coverage
from suite.store.row import Row

TITLE = "Leaderboard"
ICON = ":material/leaderboard:"

MOST_ROWS = 50
"""Rows of a block on a page."""
COSTS: dict[str, tuple[str, float, str]] = {
    "passes_per_step": ("passes a step", 1.0, "x"),
    "train_seconds": ("training time", 60.0, "min"),
    "wall_seconds": ("wall time with input runs", 60.0, "min"),
    "gpu_hours": ("GPU-hours", 1.0, "h"),
    "peak_memory_bytes": ("peak memory", 1e6, "MB"),
    "parameters": ("parameters", 1e6, "M"),
}
ANY = "any"
SCORE = "score"


def page() -> None:
    first, second, third, fourth = st.columns([2, 2, 2, 3])
    with first:
        task = controls.pick_task()
    lines = source.coverage(task.name)
    if not lines:
        common.no_runs(task)
        return
    with second:
        datasets = sorted({line.dataset or "" for line in lines})
        dataset = controls.pick("Data set", [controls.ALL, *datasets], "data")
    with third:
        ratios = sorted({_ratio(line) for line in lines}, key=_number)
        ratio = controls.pick(
            "Imbalance ratio",
            [controls.ALL, *ratios],
            "ratio",
            help="Largest over smallest training count of a class.",
        )
    chosen = [
        line
        for line in lines
        if dataset in (controls.ALL, line.dataset or "") and ratio in (controls.ALL, _ratio(line))
    ]
    if not chosen:
        say.nothing("no protocol with runs has this data set at this ratio")
        return
    with fourth:
        protocol = common.pick_protocol(task, chosen)
    by, rows = _rows(task, protocol)
    planned = [row.method for row in rows if row.state == "planned"]
    there = len(rows) - len(planned)
    rows = _filtered(rows)
    if len(rows) < there:
        say.note(f"{len(rows)} of {there} rows are shown: see the filters")
    found = list(blocks(rows))
    if not found:
        say.nothing("no row is left by these filters")
        return
    for number, block in enumerate(found):
        _block(block, task, by, f"{task.name}-{protocol}" + f"-{number + 1}" * (number > 0))
    if planned:
        say.nothing(
            not_run(planned, most=len(planned)),
            run_command(task, protocol),
        )


def run_command(task: Task, protocol: str) -> Command:
    return Command("run", "--task", task.name, "--protocol", protocol, "--seeds", "0-2")


def _ratio(line: Coverage) -> str:
    return "unknown" if line.imbalance is None else f"{line.imbalance:.3g}"


def _number(text: str) -> float:
    return float(text) if text != "unknown" else float("inf")


def _rows(task: Task, protocol: str) -> tuple[str, list[Row]]:
    """(ranking metric, rows of the board)."""
    shown = list(dict.fromkeys([*task.primary, *task.columns]))
    rows = source.board(task.name, protocol, task.primary[0])
    there = {key for row in rows for key in row.metrics}
    others = sorted(there - set(shown))
    by = controls.pick(
        "Rank by",
        [key for key in [*shown, *others] if direction(task, key) is not None],
        "by",
        help="Shared ranks are computed for this metric, over the whole board.",
    )
    return by, source.board(task.name, protocol, by)


def _filtered(rows: Sequence[Row]) -> list[Row]:
    """The rows that the filters leave, in the order asked for. Ranks stay those of the whole board."""
    with st.expander("Filters and order"):
        first, second, third = st.columns(3)
        with first:
            name = controls.text("Method contains", "contains", placeholder="such as sam")
            states = sorted({row.state for row in rows})
            state = controls.pick_many(
                "State", states, "state", help="None chosen: all but what is only planned."
            )
        with second:
            flags = sorted({flag for row in rows for flag in row.flags})
            meanings = "; ".join(f"{flag}: {FLAGS[flag]}" for flag in flags if flag in FLAGS)
            without = controls.pick_many(
                "Leave out rows with the flag", flags, "without", help=meanings or None
            )
            only = controls.pick_many("Only rows with the flag", flags, "with")
        with third:
            cost = controls.pick("Cost", [ANY, *COSTS], "cost")
            most = _most(rows, cost)
            order = controls.pick("Order by", [SCORE, *COSTS], "order")
        st.caption("Filters change what is shown; ranks are over the whole board.")
    left = [
        row
        for row in rows
        if name.lower() in row.method.lower()
        and (row.state in state if state else row.state != "planned")
        and not set(without) & set(row.flags)
        and set(only) <= set(row.flags)
        and (most is None or _within(getattr(row.cost, cost), most))
    ]
    if order == SCORE:
        return left
    # within a block, as rows of different blocks are not to be mixed
    place = {id(row): number for number, row in enumerate(rows)}
    block_of: dict[tuple[str, str], int] = {}
    for row in rows:
        block_of.setdefault(row.block, len(block_of))

    def key(row: Row) -> tuple[Any, ...]:
        value = getattr(row.cost, order)
        return block_of[row.block], value is None, value or 0.0, place[id(row)]

    return sorted(left, key=key)


def _most(rows: Sequence[Row], cost: str) -> float | None:
    """The most a row may cost, None for any."""
    if cost == ANY:
        return None
    title, scale, unit = COSTS[cost]
    known = [value / scale for row in rows if (value := getattr(row.cost, cost)) is not None]
    if not known or min(known) == max(known):
        say.note(f"{title}: the same for all rows, or not known")
        return None
    low, high = min(known), max(known)
    most = controls.slide(
        f"At most ({unit})", low, high, "most", default=high, step=(high - low) / 100
    )
    return most * scale


def _within(value: float | None, most: float) -> bool:
    # the slider's own steps are rounded
    return value is not None and value <= most * (1 + 1e-9)


def _block(block: Sequence[Row], task: Task, by: str, key: str) -> None:
    """One protocol hash and one evaluation hash."""
    pages = -(-len(block) // MOST_ROWS)
    start = 0
    if pages > 1:
        number = st.number_input(
            f"Page of {pages}, {MOST_ROWS} of {len(block)} rows each", 1, pages, key=f"{key}-page"
        )
        start = (int(number) - 1) * MOST_ROWS
    shown = block[start : start + MOST_ROWS]
    # what is planned is shown where a filter asks for it: the rows are chosen already
    view = View(by=by, planned=True)
    made = grid(shown, task, view)
    st.html(board.html(made))
    for line in (*made.caption[1:], *legend(made)):
        say.note(line)
    tables.downloads(
        key,
        lambda: boards.to_csv(block, view),
        lambda: boards.to_markdown(block, task, view),
        lambda: boards.to_latex(block, task, view),
    )
    _explained(block, made.notes)


def _explained(block: Sequence[Row], notes: Sequence[Note]) -> None:
    """Why rows are unranked, incomplete or failed, and what to type."""
    if not notes and all(row.state == "done" for row in block):
        return
    with st.expander("Rows that are unranked, incomplete or failed", expanded=True):
        say.note(
            f"A row is ranked from {MIN_REPLICATES} replicates on, if each has a value and the code is "
            "today's."
        )
        for note in notes:
            if note.command is not None:
                st.code(str(note.command), language=None, wrap_lines=True)
            else:
                say.note(note.text)
