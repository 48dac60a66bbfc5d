"""A board's block as an HTML table: text that can be read, searched and copied, with an interval below
each value.

The texts are those of `suite.tables.Grid`, which every other format shows too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from dashboard.charts import GROUP_COLOURS
from dashboard.tables import run_link
from suite import tables
from suite.escape import clipped, plain
from suite.task import Task

FLAGS = {
    "data-variant": "trained on a copy of the data that differs from the protocol's manifest",
    "extra-budget": "trained longer or on more samples than the protocol gives",
    "external": "somebody else's record: scores recomputed, training taken on trust",
    "test-prior": "knows the class proportions of the test set",
    "transductive": "adapts to the unlabelled test inputs",
}
"""What the fairness flags mean, one line each."""

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


def html(rows: Sequence[Mapping[str, Any]], made: tables.Grid, task: Task) -> str:
    """The block's table; `made` is the grid of these rows."""
    scales = {at: _scale(rows, key) for at, key in enumerate(made.keys) if key is not None}
    head = Markup("").join(_heading(made, at) for at in range(len(made.head)))
    body = Markup("").join(_line(row, made, number, scales) for number, row in enumerate(rows))
    caption = clipped(made.caption[0])
    return str(
        Markup('<div class="board-frame"><table class="board"><caption>{}</caption>').format(
            caption
        )
        + Markup("<thead><tr>{}<th>runs</th></tr></thead><tbody>{}</tbody></table></div>").format(
            head, body
        )
    )


def _heading(made: tables.Grid, at: int) -> Markup:
    title = clipped(made.head[at])
    name, bracket, subset = title.partition("[")
    text = escape(name) + (Markup("<br>") + escape(bracket + subset) if bracket else Markup(""))
    kind = "text" if title in ("method", "flags") else "number"
    ranking = Markup(' aria-sort="other"') if at == made.ranking else Markup("")
    return Markup('<th scope="col" class="{}"{}>{}</th>').format(kind, ranking, text)


def _line(
    row: Mapping[str, Any], made: tables.Grid, number: int, scales: Mapping[int, Scale | None]
) -> Markup:
    cells = []
    for at, text in enumerate(made.body[number]):
        title, key = made.head[at], made.keys[at]
        if title == "method":
            cells.append(_method(row, made, number))
        elif title == "flags":
            cells.append(_flags(row["flags"]))
        elif title == "rank" and at == 0:
            cells.append(
                Markup('<td class="number">{}</td>').format(
                    text or Markup('<i title="{}">–</i>').format(_unranked(row))
                )
            )
        elif key is None:
            cells.append(Markup('<td class="number">{}</td>').format(clipped(text)))
        else:
            best = " best" if made.best[number] and at == made.ranking else ""
            bar = _bar(row["metrics"].get(key), scales[at], _group(key))
            cells.append(Markup('<td class="number{}">{}{}</td>').format(best, text, bar))
    cells.append(_runs(row["runs"]))
    kind = Markup(' class="unranked"') if row["rank"] is None else Markup("")
    return Markup("<tr{}>{}</tr>").format(kind, Markup("").join(cells))


def _method(row: Mapping[str, Any], made: tables.Grid, number: int) -> Markup:
    state = ""
    if row["state"] != "done":
        words = tables.state(row)
        state = Markup(' <span class="state {}" title="{}">{}</span>').format(
            row["state"], _explained(row), clipped(words)
        )
    return Markup('<th scope="row" class="text">{}{}</th>').format(
        clipped(made.names[number]), state
    )


def _unranked(row: Mapping[str, Any]) -> str:
    if row["state"] in ("stale", "planned", "failed"):
        return _explained(row)
    return f"unranked: {row['n']} replicate(s), or a value is missing"


def _explained(row: Mapping[str, Any]) -> str:
    """A state in a few words."""
    meanings = {
        "stale": "made by other code than today's: not ranked",
        "running": "a replicate is being trained",
        "partial": "some replicates are missing, were interrupted or have no evaluation",
        "failed": "no replicate is finished, and some failed",
        "planned": "nothing is there yet",
    }
    return meanings.get(row["state"], "")


def _flags(flags: Sequence[str]) -> Markup:
    parts = [
        Markup('<span class="flag" title="{}">{}</span>').format(
            FLAGS.get(flag, ""), clipped(plain(flag), 40)
        )
        for flag in flags
    ]
    return Markup('<td class="text">{}</td>').format(Markup(" ").join(parts))


def _runs(runs: Sequence[str]) -> Markup:
    links = [
        Markup('<a href="{}" target="_self" title="run {}">{}</a>').format(
            run_link(run), run, number
        )
        for number, run in enumerate(runs[:MOST_RUNS], 1)
    ]
    more = f" +{len(runs) - MOST_RUNS}" if len(runs) > MOST_RUNS else ""
    return Markup('<td class="text">{}{}</td>').format(Markup(" ").join(links), more)


def _scale(rows: Sequence[Mapping[str, Any]], key: str) -> Scale | None:
    ends = []
    for row in rows:
        cell = row["metrics"].get(key)
        if cell is not None:
            ends += [value for value in cell.values() if value is not None]
    return Scale(min(ends), max(ends)) if ends else None


def _bar(cell: Mapping[str, float | None] | None, scale: Scale | None, group: str) -> Markup:
    """The interval as a line and the mean as a point, on the column's own scale."""
    if cell is None or cell["mean"] is None or scale is None:
        return Markup("")
    line = Markup("")
    if cell["low"] is not None and cell["high"] is not None:
        left, right = scale.place(cell["low"]), scale.place(cell["high"])
        line = Markup('<i style="left:{:.1f}%;width:{:.1f}%"></i>').format(left, right - left)
    colour = GROUP_COLOURS.get(group, "")
    style = Markup(' style="color:{}"').format(colour) if colour else Markup("")
    return Markup(
        '<div class="interval" aria-hidden="true"{}>{}<b style="left:{:.1f}%"></b></div>'
    ).format(style, line, scale.place(cell["mean"]))


def _group(key: str) -> str:
    subset = key.partition("[")[2].removesuffix("]")
    return subset.removeprefix("group=") if subset.startswith("group=") else ""
