"""Tables and JSON that several verbs print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from suite.base.text import plain
from suite.render.table import duration

if TYPE_CHECKING:
    from suite.render.formats import Table as Laid


def console() -> Console:
    """Console on stdout; without a terminal as wide as the table needs."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    columns = os.environ.get("COLUMNS", "")
    return Console(highlight=False, width=int(columns) if columns.isdecimal() else 160)


def print_json(value: Any) -> None:
    """Print as JSON, indented and in ASCII: names from records may hold terminal escapes."""
    print(json.dumps(value, indent=2, allow_nan=False))


def clean(text: object) -> str:
    """`text` without control characters and Rich markup: it may come from a stranger's record."""
    return escape(printable(text))


def printable(text: object) -> str:
    """`text` without control characters, which could steer the terminal."""
    return "".join(c if c.isprintable() else "�" for c in str(text))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> Table:
    """A plain table; numbers are right-aligned, texts cleaned."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(clean(cell) for cell in row))
    return made


def print_tables(tables: Iterable[Laid]) -> None:
    """Each with its title, and its notes below; a table without rows is not drawn."""
    from rich.text import Text

    out = console()
    for number, each in enumerate(tables):
        if number:
            out.print()
        if each.title is not None:
            out.print(Text(plain(each.title), style="bold"), soft_wrap=True)
        if each.rows:
            out.print(table(each.head, [list(map(plain, row)) for row in each.rows]))
        for line in (*each.fixed, *each.notes):
            # commands among them are to be copied: Rich must not wrap them
            out.print(Text(plain(line)), soft_wrap=True)


def plan_table(plan: Mapping[str, Any]) -> None:
    """A described plan: one line a run, then what it comes to."""
    from suite.records.states import TODOS

    out = console()
    rows = [
        (
            run["run"],
            run["method"],
            run["seed"],
            run["attempt"],
            run["todo"] + (f" ({run['failure']['kind']})" if run["failure"] else ""),
            params(run["changed"]),
            _needs(run),
        )
        for run in plan["runs"]
    ]
    title = f"{plan['task']} under {plan['protocol']}"
    columns = ["run", "method", "seed", "attempt", "todo", "changed", "needs"]
    shown = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
    out.print(table(columns[:shown], [row[:shown] for row in rows], title))
    out.print()
    for todo, count in plan["counts"].items():
        out.print(f"{count:>5} {todo:<9} {TODOS[todo]}")
    seconds = plan["estimated_seconds"]
    if seconds:
        out.print(f"about {duration(seconds)} with {plan['workers']} worker(s)")
    elif seconds is None:
        out.print("duration unknown: no run of this protocol has been measured yet")
    if plan.get("ranks", 1) > 1:
        out.print(f"{plan['ranks']} ranks share each run's batch, each on a GPU of its own")
    if plan.get("cluster_problem"):
        out.print(f"[yellow]cluster:[/] {clean(plan['cluster_problem'])}", soft_wrap=True)
    if plan["data_problem"]:
        out.print(f"[yellow]data:[/] {clean(plan['data_problem'])}", soft_wrap=True)


def _needs(run: Mapping[str, Any]) -> str:
    """The runs that one needs, or for whom it is there."""
    needed = params(run["inputs"])
    return f"(for {run['input_of']}) {needed}".strip() if run["input_of"] else needed


def params(values: Mapping[str, Any]) -> str:
    """`a=1, b=x`."""
    return ", ".join(f"{key}={value}" for key, value in values.items())
