"""A board's rows as a terminal table, CSV, Markdown or LaTeX, laid out by `suite.render.grid`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from suite.base.command import Note
from suite.define.task import Task
from suite.render import formats
from suite.render.grid import Claims, Grid, blocks, failure_text, grid, legend, params_text
from suite.store.row import COST, Row

if TYPE_CHECKING:
    from rich.console import Console

TEXT_COLUMNS = ("method", "flags")
"""Titles of the columns that are aligned to the left."""


def terminal(
    rows: Sequence[Row],
    task: Task,
    console: "Console",
    by: str | None = None,
    claims: Claims = {},  # noqa: B006 - never written to
) -> None:
    """Print one table per block, metric columns as many as fit. Texts are never Rich markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not rows:
        console.print(
            Text(f"{task.name}: no runs yet; type `python -m suite run --task {task.name}`")
        )
        return
    for number, block in enumerate(blocks(rows)):
        made = _fitted(grid(block, task, by, claims=claims), console.width)
        if number:
            console.print()
        console.print(Text(made.caption[0], style="bold"))
        for line in made.caption[1:]:
            console.print(Text(line, style="dim"))
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
        for title in made.head:
            numeric = title not in TEXT_COLUMNS
            # a subset goes on a second line: four metric columns then fit into 80 characters
            table.add_column(
                Text(title.replace("[", "\n[")),
                justify="right" if numeric else "left",
                no_wrap=numeric,
                overflow="fold",
            )
        for texts, best in zip(made.body, made.best, strict=True):
            cells = [Text(text) for text in texts]
            if best:
                cells[made.ranking].stylize("bold green")
            table.add_row(*cells)
        console.print(table)
        for note in made.notes:
            # commands among them are to be copied: the terminal may wrap them, Rich must not
            console.print(Text(str(note)), soft_wrap=True)


def to_csv(rows: Sequence[Row], claims: Claims = {}) -> str:  # noqa: B006 - never written to
    """One line per row; `<metric>`, `<metric> low` and `<metric> high` per metric, as stored.

    With claims also `<metric> published`, where there are any. See `formats.to_csv`.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row.metrics))
    names = [
        *("task", "protocol", "protocol_hash", "evaluation_hash", "dataset"),
        *("method", "params", "digest", "n", "state", "rank"),
    ]
    metric_head = [f"{key}{end}" for key in keys for end in ("", " low", " high")]
    published = [
        key
        for key in (keys if claims else ())
        if any((row.method, row.protocol, key) in claims for row in rows)
    ]
    ends = ("published", "published status", "published source")
    metric_head += [f"{key} {end}" for key in published for end in ends]

    def line(row: Row) -> Iterator[Any]:
        for name in names:
            yield params_text(row.params) if name == "params" else getattr(row, name)
        yield " ".join(row.flags)
        yield "; ".join(failure_text(failure) for failure in row.failures)
        for name in COST:
            yield getattr(row.cost, name)
        for key in keys:
            cell = row.cell(key)
            yield from (cell.mean, cell.low, cell.high)
        for key in published:
            claim = claims.get((row.method, row.protocol, key))
            yield from (claim.value, claim.status, claim.source) if claim else (None, None, None)

    return formats.to_csv([*names, "flags", "failures", *COST, *metric_head], map(line, rows))


def to_markdown(
    rows: Sequence[Row],
    task: Task,
    by: str | None = None,
    claims: Claims = {},  # noqa: B006 - never written to
) -> str:
    """One table per block; best and tied-best values in bold."""
    return "\n".join(map(formats.to_markdown, _tables(rows, task, by, claims)))


def to_latex(
    rows: Sequence[Row],
    task: Task,
    by: str | None = None,
    claims: Claims = {},  # noqa: B006 - never written to
) -> str:
    """One table per block, see `formats.to_latex`; rank 1 in bold, as the caption says."""
    return "\n".join(map(formats.to_latex, _tables(rows, task, by, claims)))


def _tables(
    rows: Sequence[Row], task: Task, by: str | None, claims: Claims
) -> Iterator[formats.Table]:
    for block in blocks(rows):
        made = grid(block, task, by, claims=claims)
        yield formats.Table(
            title=made.caption[0],
            about=(*made.caption[1:], *legend(made)),
            head=made.head,
            rows=made.body,
            right=[title not in TEXT_COLUMNS for title in made.head],
            strong={(row, made.ranking) for row, best in enumerate(made.best) if best},
            notes=[str(note) for note in made.notes],
        )


def _fitted(made: Grid, width: int) -> Grid:
    """Without the last metric columns where the table is wider than `width`, and a note on them."""

    def needs(column: int) -> int:
        head = made.head[column].replace("[", "\n[").split("\n")
        # two of padding
        return 2 + max(len(text) for text in (*head, *(line[column] for line in made.body)))

    columns = list(range(len(made.head)))
    metrics = [column for column in columns if column >= made.ranking][: -made.trailing]
    left_out: list[str] = []
    while len(metrics) > 1 and sum(map(needs, columns)) > width:
        last = metrics.pop()
        columns.remove(last)
        left_out.insert(0, made.head[last])
    if not left_out:
        return made
    note = Note(f"not shown at this width: {', '.join(left_out)} (all with --format csv)")
    return replace(
        made,
        head=tuple(made.head[c] for c in columns),
        keys=tuple(made.keys[c] for c in columns),
        body=tuple(tuple(line[c] for c in columns) for line in made.body),
        notes=(note, *made.notes),
    )
