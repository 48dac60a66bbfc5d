"""A board's block as an HTML table: text that can be read, searched and copied, with an interval below
each value.

The texts are those of `suite.render.grid.Grid`, which every other format shows too.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from markupsafe import escape

from dashboard.charts import GROUP_COLOURS
from dashboard.tables import run_link
from suite.base.text import MAX_TEXT, clipped, plain
from suite.define.flags import FLAGS
from suite.render.grid import TEXT_KINDS, Grid, state_text
from suite.render.ties import Bar, bars
from suite.store.row import Cell, Row

STATES = {
    "stale": "made by other code than today's: not ranked",
    "running": "a replicate is being trained",
    "partial": "some replicates are missing, were interrupted or have no evaluation",
    "failed": "no replicate is finished, and some failed",
    "planned": "nothing is there yet",
}
"""What the state of a row means, one line each."""

MOST_RUNS = 5
"""Runs of a row that are linked."""


class Scale(NamedTuple):
    """Range of a column's intervals."""

    low: float
    high: float

    def place(self, value: float) -> float:
        """Percent of the way from low to high."""
        span = self.high - self.low
        return 50.0 if span <= 0 else 100 * min(1.0, max(0.0, (value - self.low) / span))


def html(made: Grid) -> str:
    """The block's table. Every text in it is escaped."""
    scales = {
        at: _scale(made.rows, column.key)
        for at, column in enumerate(made.columns)
        if column.kind == "metric" and column.key is not None
    }
    tied = bars([row.groups for row in made.rows])
    head = "".join(_heading(made, at) for at in range(len(made.columns)))
    body = "".join(_line(row, made, at, scales, tied[at]) for at, row in enumerate(made.rows))
    return (
        f'<div class="board-frame"><table class="board"><caption>{_safe(made.caption[0])}</caption>'
        f'<thead><tr>{head}<th scope="col" class="text">runs</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


@lru_cache(10_000)
def _safe(text: str, width: int = MAX_TEXT) -> str:
    # cells of a board hold few different texts
    return str(escape(clipped(plain(text), width)))


def _heading(made: Grid, at: int) -> str:
    column = made.columns[at]
    name, bracket, subset = clipped(column.title).partition("[")
    if subset.startswith("group=") and subset.endswith("]"):
        # the groups of classes are known by their names, and their values are narrow
        bracket, subset = "", subset[len("group=") : -1]
    # a long name may be broken after an underscore
    text = _safe(name).replace("_", "_<wbr>") + (f"<br>{_safe(bracket + subset)}" if subset else "")
    kind = "text" if column.kind in TEXT_KINDS else "number"
    ranking = ' aria-sort="other"' if at == made.ranking else ""
    return f'<th scope="col" class="{kind}"{ranking} title="{_safe(column.title)}">{text}</th>'


def _line(
    row: Row,
    made: Grid,
    number: int,
    scales: Mapping[int, Scale | None],
    tied: Sequence[Bar | None],
) -> str:
    cells = []
    for at, (column, text) in enumerate(zip(made.columns, made.body[number], strict=True)):
        if column.kind == "rank":
            rank = _safe(text) or f'<i title="{_safe(_unranked(row))}">–</i>'
            cells.append(f'<td class="number">{rank}</td>')
        elif column.kind == "tied":
            cells.append(_tied(tied))
        elif column.kind == "method":
            cells.append(_method(row, made.names[number]))
        elif column.kind == "metric":
            best = " best" if (number, at) in made.strong else ""
            key = column.key or ""
            bar = _bar(row.cell(key), scales[at], _group(key))
            cells.append(f'<td class="number{best}">{_safe(text)}{bar}</td>')
        elif column.kind == "flags":
            cells.append(_flags(row.flags))
        else:
            kind = "number wide" if column.kind == "cost" else "number"
            cells.append(f'<td class="{kind}">{_safe(text)}</td>')
    cells.append(_runs(row.runs))
    kind = ' class="unranked"' if row.rank is None else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def _tied(tied: Sequence[Bar | None]) -> str:
    """Bars through all rows that share a letter."""
    parts = [f'<i class="{bar.kind}">{_safe(bar.letter)}</i>' if bar else "<i></i>" for bar in tied]
    return f'<td class="tied"><span class="ties">{"".join(parts)}</span></td>'


def _method(row: Row, name: str) -> str:
    state = ""
    if row.state != "done":
        title, words = _safe(_explained(row)), _safe(state_text(row))
        state = f' <span class="state {_safe(row.state)}" title="{title}">{words}</span>'
    return f'<th scope="row" class="text">{_safe(name)}{state}</th>'


def _unranked(row: Row) -> str:
    if row.state in ("stale", "planned", "failed"):
        return _explained(row)
    return f"unranked: {row.n} replicate(s), or a value is missing"


def _explained(row: Row) -> str:
    """A state in a few words."""
    return STATES.get(row.state, "")


def _flags(flags: Sequence[str]) -> str:
    parts = [
        f'<span class="flag" title="{_safe(FLAGS.get(flag, ""))}">{_safe(flag, 40)}</span>'
        for flag in flags
    ]
    return f'<td class="text">{" ".join(parts)}</td>'


def _runs(runs: Sequence[str]) -> str:
    links = [
        f'<a href="{_safe(run_link(run))}" target="_self" title="run {_safe(run)}">{number}</a>'
        for number, run in enumerate(runs[:MOST_RUNS], 1)
    ]
    more = f" +{len(runs) - MOST_RUNS}" if len(runs) > MOST_RUNS else ""
    return f'<td class="text">{" ".join(links)}{more}</td>'


def _scale(rows: Sequence[Row], key: str) -> Scale | None:
    ends = []
    for row in rows:
        cell = row.cell(key)
        ends += [value for value in (cell.mean, cell.low, cell.high) if value is not None]
    return Scale(min(ends), max(ends)) if ends else None


def _bar(cell: Cell, scale: Scale | None, group: str) -> str:
    """The interval as a line and the mean as a point, on the column's own scale."""
    if cell.mean is None or scale is None:
        return ""
    line = ""
    if cell.low is not None and cell.high is not None:
        left, right = scale.place(cell.low), scale.place(cell.high)
        line = f'<i style="left:{left:.1f}%;width:{right - left:.1f}%"></i>'
    colour = GROUP_COLOURS.get(group)
    style = f' style="color:{colour}"' if colour else ""
    mean = scale.place(cell.mean)
    return f'<div class="interval" aria-hidden="true"{style}>{line}<b style="left:{mean:.1f}%"></b></div>'


def _group(key: str) -> str:
    subset = key.partition("[")[2].removesuffix("]")
    return subset.removeprefix("group=") if subset.startswith("group=") else ""
