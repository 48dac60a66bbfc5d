"""A board's table, made narrow enough for a terminal: what ranks and the groups of classes stay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from suite.base.command import Note
from suite.render.grid import Column, Grid

GAP = 2
"""Spaces between two columns."""
BREAKABLE = {"method": (24, 14), "flags": (20, 14), "published": (20, 14)}
"""Columns whose texts may be broken into lines: how wide they are at least as long as other columns can go,
and at the very least."""
GROUPS_TO_GO = ("medium", "head", "tail")
"""The groups of classes, where there is no room for them either."""


@dataclass(frozen=True)
class Fitted:
    """A grid with the columns that there is room for, their widths, and their titles as lines."""

    grid: Grid
    widths: Sequence[int]
    titles: Sequence[Sequence[str]]


def fitted(made: Grid, width: int) -> Fitted:
    """What fits into `width` characters.

    First long titles are cut short; then columns go, cost first; then half-widths of intervals; then the
    groups of classes. Rank, method and ranking metric stay. A note names what is not shown.
    """
    steps = _steps(made)
    short = False
    gone: list[str] = []
    while (step := next(steps, None)) is not None and _total(_least(made, short)) > width:
        if isinstance(step, Column):
            gone.append(step.title)
            made = _without(made, step)
        elif step:
            gone.append(
                "intervals of the groups" if len(step) > 1 else f"interval of {step[0].title}"
            )
            made = _without_halves(made, step)
        else:
            short = True
    notes = [Note(f"not shown at this width: {', '.join(gone)} (a pipe shows all)")] if gone else []
    return Fitted(
        replace(made, notes=(*notes, *made.notes)),
        _shared(made, short, width),
        [title_lines(title, short) for title in made.head],
    )


def title_lines(title: str, short: bool = False) -> list[str]:
    """A title as lines: a subset below its metric; `short`: of `top1[group=tail]` only `top1` and `tail`,
    broken after commas and an underscore too."""
    name, bracket, subset = title.partition("[")
    if bracket and short:
        return [
            name,
            *subset.removesuffix("]").replace("group=", "").replace(",", ",\n").split("\n"),
        ]
    if bracket:
        return [name, f"[{subset}"]
    if title == "seeds to next":
        return ["seeds", "to next"]
    first, underscore, rest = title.partition("_")
    return [first + underscore, rest] if short and rest else [title]


def _steps(made: Grid) -> Iterator[Column | list[Column]]:
    """What is done for room, one after the other: a column goes, columns lose their half-widths, or (for an
    empty list) titles are cut short."""
    ranking = None if made.ranking is None else made.columns[made.ranking]
    metrics = [c for c in made.columns if c.kind == "metric" and c != ranking]
    groups = [c for c in metrics if c.key and "[group=" in c.key]
    yield []
    for kind in ("cost", "published"):
        yield from (c for c in made.columns if c.kind == kind)
    yield from reversed([c for c in metrics if c not in groups])
    for kind in ("flags", "n", "seeds"):
        yield from (c for c in made.columns if c.kind == kind)
    yield from (some for some in (groups, [ranking] if ranking else []) if some)
    yield from (c for c in made.columns if c.kind == "tied")
    ends = [f"[group={name}]" for name in GROUPS_TO_GO]
    yield from (c for end in ends for c in groups if c.title.endswith(end))
    yield from reversed([c for c in groups if not c.title.endswith(tuple(ends))])


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _natural(made: Grid, short: bool) -> list[int]:
    """Width of each column with every text on one line."""
    return [
        max(map(cell_len, (*title_lines(column.title, short), *(line[at] for line in made.body))))
        for at, column in enumerate(made.columns)
    ]


def _least(made: Grid, short: bool, last: bool = False) -> list[int]:
    """Width of each column with long texts broken; `last`: as narrow as they may be."""
    return [
        min(width, BREAKABLE.get(column.kind, (width, width))[last])
        for width, column in zip(_natural(made, short), made.columns, strict=True)
    ]


def _shared(made: Grid, short: bool, width: int) -> list[int]:
    """Widths of the columns: room that is left goes to those with broken texts, first to the left."""
    natural, widths = _natural(made, short), _least(made, short)
    if _total(widths) > width:
        widths = _least(made, short, last=True)
    for at, wanted in enumerate(natural):
        widths[at] += max(0, min(wanted - widths[at], width - _total(widths)))
    return widths


def _without(made: Grid, column: Column) -> Grid:
    kept = [at for at, other in enumerate(made.columns) if other != column]
    return replace(
        made,
        columns=tuple(made.columns[at] for at in kept),
        body=tuple(tuple(line[at] for at in kept) for line in made.body),
        ranking=None if made.ranking is None else kept.index(made.ranking),
    )


def _without_halves(made: Grid, columns: Sequence[Column]) -> Grid:
    """Means alone, where a mean and its half-width stand."""
    body = tuple(
        tuple(
            text.partition(" ±")[0] if column in columns else text
            for text, column in zip(line, made.columns, strict=True)
        )
        for line in made.body
    )
    return replace(made, body=body)
