"""Tables and JSON that several verbs print."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from suite.base.text import plain
from suite.render.table import duration

if TYPE_CHECKING:
    from suite.render.formats import Table as Laid


PIPE = 1 << 20
"""Columns of what is no terminal: nothing is wrapped or left out, so that `grep` finds what it looks for."""


def console() -> Console:
    """Console on stdout; without a terminal as wide as any table needs."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=PIPE)


def print_rows(kind: str, rows: Iterable[Any], **more: Any) -> None:
    """Print rows as JSON, indented and in ASCII: names from records may hold terminal escapes."""
    from suite.render.formats import envelope

    print(json.dumps(envelope(kind, list(rows), **more), indent=2, allow_nan=False))


def clean(text: object) -> str:
    """`text` without control characters and Rich markup: it may come from a stranger's record."""
    return escape(printable(text))


def printable(text: object) -> str:
    """`text` without control characters, which could steer the terminal."""
    return "".join(c if c.isprintable() else "�" for c in str(text))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> Listing:
    """A plain table; numbers are right-aligned, texts cleaned."""
    return Listing(columns, rows, title)


class Listing:
    """A table that fits into the console: long texts are broken into lines, and where that is not enough,
    each row is a paragraph with a line a column, or a table of many columns (a matrix) is printed in parts. No text is left out, and no short one broken."""

    GAP, LONG, LEAST, MANY = 2, 24, 20, 10
    """Spaces between columns; longer texts may be broken, and how narrow their column may get; with more
    columns a row is no paragraph."""

    def __init__(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = ""
    ) -> None:
        self.columns, self.title = [printable(name) for name in columns], title
        self.right = [
            bool(rows) and all(isinstance(row[at], int | float) for row in rows)
            for at in range(len(columns))
        ]
        self.rows = [[printable(cell) for cell in row] for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(printable(self.title), style="italic")
        every = range(len(self.columns))
        filled = [at for at in every if any(row[at] for row in self.rows)]
        for places in (every, filled):
            widths = self._widths(places, options.max_width)
            if widths is not None:
                yield self._table(places, widths)
                return
        if len(self.columns) <= self.MANY:
            yield self._paragraphs()
            return
        for number, part in enumerate(self._parts(options.max_width)):
            if number:
                yield Text()
            yield self._table(part, self._widths(part, options.max_width) or [1] * len(part))

    def _parts(self, width: int) -> Iterator[list[int]]:
        """The columns in parts for which there is room, each with the first, which names the rows."""
        part = [0]
        for at in range(1, len(self.columns)):
            if len(part) > 1 and self._widths([*part, at], width) is None:
                yield part
                part = [0]
            part.append(at)
        yield part

    def _widths(self, places: Sequence[int], width: int) -> list[int] | None:
        """Width of each of these columns, the widest narrowed first; None where there is no room for all."""
        widths = [
            min(width, max(map(cell_len, (self.columns[at], *(row[at] for row in self.rows)))))
            for at in places
        ]
        least = [
            self.LEAST if wide > self.LONG and not self.right[at] else wide
            for at, wide in zip(places, widths, strict=True)
        ]
        room = width - self.GAP * (len(widths) - 1)
        if sum(least) > room:
            return None
        while sum(widths) > room:
            # of those that may be narrower
            at = max(range(len(widths)), key=lambda at: (widths[at] > least[at], widths[at]))
            widths[at] -= 1
        return widths

    def _table(self, places: Sequence[int], widths: Sequence[int]) -> Table:
        made = Table(box=None, pad_edge=False, padding=(0, self.GAP, 0, 0))
        for at, width in zip(places, widths, strict=True):
            made.add_column(
                Text(self.columns[at]),
                width=width,
                justify="right" if self.right[at] else "left",
                overflow="fold",
            )
        for row in self.rows:
            made.add_row(*(Text(row[at]) for at in places))
        return made

    def _paragraphs(self) -> Table:
        made = Table(box=None, pad_edge=False, show_header=False, padding=(0, self.GAP, 0, 0))
        made.add_column(no_wrap=True)
        made.add_column(overflow="fold")
        for number, row in enumerate(self.rows):
            if number:
                made.add_row("", "")
            for name, text in zip(self.columns, row, strict=True):
                if text:
                    made.add_row(Text(name, style="bold"), Text(text))
        return made


def print_tables(tables: Iterable[Laid]) -> None:
    """Each with its title, and its notes below; a table without rows is not drawn."""
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


def print_plan(plan: Mapping[str, Any], format: str) -> None:
    """Print a described plan, as a table or as JSON."""
    if format == "json":
        more = {key: value for key, value in plan.items() if key != "runs"}
        print_rows("plan", plan["runs"], **more)
    else:
        plan_table(plan)


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
