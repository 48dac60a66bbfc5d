"""A board's rows as a terminal table, CSV, Markdown or LaTeX, laid out by `suite.render.grid`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from suite.base.command import Command, Note
from suite.base.text import plain
from suite.define.task import Task
from suite.render import formats
from suite.render.grid import (
    ALL,
    Grid,
    blocks,
    failure_text,
    grid,
    grids,
    legend,
    params_text,
)
from suite.render.view import CHOSEN, View
from suite.store.row import COST, Row

if TYPE_CHECKING:
    from rich.console import Console


def terminal(rows: Sequence[Row], task: Task, console: "Console", view: View = ALL) -> None:
    """Print one table per block, as many columns as fit (`suite.render.fit`). Texts are never Rich markup."""
    from rich.text import Text

    shown = list(grids(rows, task, view))
    for number, made in enumerate(shown):
        if number:
            console.print()
        _print(made, console)
    if not shown:
        for made in (grid(block, task, view) for block in blocks(rows)):
            if made.not_run:
                console.print(Text(f"{made.caption[0]}: {_not_run(made)}"), soft_wrap=True)
        note = nothing(rows, task, view)
        console.print(Text(f"{note.text}; type `{note.command}`"), soft_wrap=True)


def nothing(rows: Sequence[Row], task: Task, view: View) -> Note:
    """What is said where no row is shown, and the command that makes what was looked for."""
    words = ["run", "--task", task.name]
    under = next((task.protocols.with_hash(row.protocol_hash, row.protocol) for row in rows), None)
    if under is not None:
        words += ["--protocol", under.name]
    for method in view.methods:
        words += ["--method", method]
    of = f" of {', '.join(view.methods)}" if view.methods else ""
    return Note(plain(f"{task.name}: no runs{of} yet"), Command(*words))


def _print(made: Grid, console: "Console") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from suite.render.fit import fitted

    fit = fitted(made, console.width)
    console.print(Text(made.caption[0], style="bold"))
    for line in made.caption[1:]:
        console.print(Text(line, style="dim"))
    # one of padding and one of the divider
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for right, width, title in zip(fit.grid.right, fit.widths, fit.titles, strict=True):
        table.add_column(
            Text("\n".join(title)),
            justify="right" if right else "left",
            width=width,
            overflow="fold",
        )
    for number, texts in enumerate(fit.grid.body):
        cells = [Text(text) for text in texts]
        for row, column in fit.grid.strong:
            if row == number:
                cells[column].stylize("bold green")
        table.add_row(*cells)
    console.print(table)
    for note in fit.grid.notes:
        # commands among them are to be copied: the terminal may wrap them, Rich must not
        console.print(Text(str(note)), soft_wrap=True)
    if made.not_run:
        console.print(Text(_not_run(made)), soft_wrap=True)


def _not_run(made: Grid) -> str:
    return f"{made.not_run} (--all: as rows)"


def to_csv(rows: Sequence[Row], view: View = ALL) -> str:
    """One line per row that is shown; `<metric>`, `<metric> low` and `<metric> high` per metric, as stored.

    What says which row it is stands in every line, whatever columns are chosen. With claims also `<metric>
    published`, where there are any. See `formats.to_csv`.
    """
    rows = view.rows(rows)
    keys = view.metrics(rows)
    names = [
        *("task", "protocol", "protocol_hash", "evaluation_hash", "dataset"),
        *("method", "params", "inputs", "digest", "state"),
        *(name for column, name in CHOSEN.items() if view.shows(column)),
    ]
    costs = COST if view.shows("cost") else ()
    flags = ["flags"] if view.shows("flags") else []
    failures = [] if view.columns else ["failures"]
    published = [
        key
        for key in (keys if view.claims else ())
        if any((row.method, row.protocol, key) in view.claims for row in rows)
    ]
    ends = ("published", "published status", "published source")
    metric_head = [f"{key}{end}" for key in keys for end in ("", " low", " high")]
    metric_head += [f"{key} {end}" for key in published for end in ends]

    def line(row: Row) -> Iterator[Any]:
        for name in names:
            value = getattr(row, name)
            yield params_text(value) if name in ("params", "inputs") else value
        if flags:
            yield " ".join(row.flags)
        if failures:
            yield "; ".join(failure_text(failure) for failure in row.failures)
        for name in costs:
            yield getattr(row.cost, name)
        for key in keys:
            cell = row.cell(key)
            yield from (cell.mean, cell.low, cell.high)
        for key in published:
            claim = view.claims.get((row.method, row.protocol, key))
            yield from (claim.value, claim.status, claim.source) if claim else (None, None, None)

    head = [*names, *flags, *failures, *costs, *metric_head]
    return formats.to_csv(head, map(line, rows))


def to_markdown(rows: Sequence[Row], task: Task, view: View = ALL) -> str:
    """One table per block; best and tied-best values in bold."""
    return "\n".join(map(formats.to_markdown, _tables(rows, task, view)))


def to_latex(rows: Sequence[Row], task: Task, view: View = ALL) -> str:
    """One table per block, see `formats.to_latex`; rank 1 in bold, as the caption says."""
    return "\n".join(map(formats.to_latex, _tables(rows, task, view)))


def _tables(rows: Sequence[Row], task: Task, view: View) -> Iterator[formats.Table]:
    for made in grids(rows, task, view):
        yield formats.Table(
            title=made.caption[0],
            about=(*made.caption[1:], *legend(made)),
            head=made.head,
            rows=made.body,
            right=made.right,
            strong=made.strong,
            notes=made.lines,
        )
