"""The charts of a block on an exported page: the ranking metric, and a metric by group of classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from suite.base.text import plain
from suite.render import svg
from suite.render.cells import metric_of
from suite.render.grid import Grid
from suite.store.row import Row

if TYPE_CHECKING:
    from suite.define.task import Task

GROUPS = ("head", "medium", "tail")
MOST_GROUPS = 4


def group_metrics(block: Sequence[Row], task: Task, ranking: str) -> dict[str, str]:
    """Group -> metric key, of the ranking metric or else of the first metric that has groups."""
    found: dict[str, dict[str, str]] = {}
    for key in dict.fromkeys(key for row in block for key in row.metrics):
        metric, _, subset = key.partition("[")
        if subset.startswith("group=") and "," not in subset and subset.endswith("]"):
            found.setdefault(metric, {})[subset[len("group=") : -1]] = key
    wanted = [ranking, *task.columns]
    names = dict.fromkeys([key.partition("[")[0] for key in wanted] + sorted(found))
    groups = next((found[name] for name in names if name in found), {})
    known = [name for name in GROUPS if name in groups]
    order = known + sorted(set(groups) - set(known))
    return {name: groups[name] for name in order[:MOST_GROUPS]}


def charts(
    made: Grid, task: Task, ranking: str, groups: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """What the page shows of each chart; `groups` as `group_metrics` gives them."""
    # rows without a value have nothing to draw, and come last
    plotted = [(row, name) for row, name in zip(made.rows, made.names, strict=True) if row.n]
    ranked = [row.rank is not None for row, _ in plotted]
    labels = [name for _, name in plotted]
    left_out = max(0, len(labels) - svg.MOST)

    def draw(title: str, keys: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        metric = metric_of(task, next(iter(keys.values())))
        percent = metric.unit == "fraction"
        series = [
            svg.Series(plain(name), [row.cell(key) for row, _ in plotted], ranked)
            for name, key in keys.items()
        ]
        unit = "percent" if percent else metric.unit or metric.name
        drawn = svg.dots(title, labels, series, 100.0 if percent else 1.0, plain(unit))
        if drawn:
            legend = [line.name for line in series] if len(series) > 1 else []
            yield {
                "title": title,
                "svg": drawn,
                "legend": legend,
                "shapes": svg.KEYS,
                "shown": len(labels) - left_out,
                "left_out": left_out,
            }

    key = plain(ranking)
    yield from draw(f"{key}: mean and 95 % interval; hollow: unranked", {key: ranking})
    if groups:
        name = next(iter(groups.values())).partition("[")[0]
        yield from draw(f"{plain(name)} by group", groups)
