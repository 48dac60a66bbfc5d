"""What is shown of a board: which of its rows and columns, ranked by what, beside which claims.

Rows and columns are chosen after ranking: ranks are over the whole board all the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from msgspec.structs import replace

from suite.base.errors import UserError, did_you_mean
from suite.define.metrics import canonical_key
from suite.define.task import Task
from suite.store.row import Row

Kind = Literal["rank", "tied", "seeds", "method", "n", "metric", "published", "cost", "flags"]
"""What a column shows."""
KINDS: dict[str, Kind] = {
    "rank": "rank",
    "tied": "tied",
    "seeds to next": "seeds",
    "method": "method",
    "n": "n",
    "cost": "cost",
    "flags": "flags",
}
"""The columns of a board that are no metric, by their titles."""
CHOSEN = {
    "n": "n",
    "rank": "rank",
    "tied": "groups",
    "seeds to next": "seeds_to_next",
    "test": "test",
}
"""Columns that the data formats have too -> what they are called there."""


class Published(NamedTuple):
    """A published number: as stored, as shown (in percent where a fraction), what became of it here (a
    status of `suite.claims.compare`), and where it is printed."""

    value: float
    text: str
    status: str
    source: str


Claims = Mapping[tuple[str, str, str], Published]
"""(method, protocol name, metric key) -> what was published."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What to show of a board.

    Attributes:
        by: metric key that ranks; default the task's first primary.
        methods: only rows of these; none for all.
        columns: only these, in this order: of `KINDS`, or metric keys; none for the board's own.
        planned: rows too of which nothing is there yet, which otherwise are a line with their number.
        claims: published numbers, shown beside the metric that they are about.
    """

    by: str | None = None
    methods: Sequence[str] = ()
    columns: Sequence[str] = ()
    planned: bool = False
    claims: Claims = field(default_factory=dict)

    def key(self, task: Task) -> str:
        """The metric key that ranks."""
        return self.by or task.primary[0]

    def has(self, row: Row) -> bool:
        """Whether the row is shown."""
        return self.wants(row) and (self.planned or row.state != "planned")

    def wants(self, row: Row) -> bool:
        """Whether the row is of a method that is shown."""
        return not self.methods or row.method in self.methods

    def rows(self, rows: Iterable[Row]) -> list[Row]:
        """Those that are shown."""
        return [row for row in rows if self.has(row)]

    def shows(self, column: str) -> bool:
        """Whether a column, or a metric key, is shown where there is something to show in it."""
        return not self.columns or column in self.columns

    def data(self, rows: Iterable[Row]) -> list[Row]:
        """Those that are shown, with the metrics that are: for formats that hold rows as they are."""
        shown = self.rows(rows)
        if not self.columns:
            return shown
        return [
            replace(row, metrics={key: row.metrics[key] for key in self.metrics([row])})
            for row in shown
        ]

    def metrics(self, rows: Iterable[Row]) -> list[str]:
        """Metric keys of the data formats: all that the rows have, or those chosen."""
        found = dict.fromkeys(key for row in rows for key in row.metrics)
        return [key for key in self.columns if key in found] if self.columns else list(found)


def named_columns(asked: Sequence[str]) -> list[str]:
    """Columns as typed, by the names that boards have for them; `groups` is one of the data formats."""
    titles = {name: column for column, name in CHOSEN.items()}
    return [titles.get(name, name if name in KINDS else canonical_key(name)) for name in asked]


def check(view: View, task: Task, rows: Sequence[Row], methods: Iterable[str]) -> None:
    """Raise UserError where the view names a method that is neither of `methods` nor of a row, or a column
    that no board of the task has."""
    known = {*methods, *(row.method for row in rows)}
    for name in view.methods:
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"--method {name}: task {task.name} has no such method{near}")
    keys = {*KINDS, *task.primary, *task.columns}.union(*(row.metrics for row in rows))
    for name in view.columns:
        if name not in keys:
            near = did_you_mean(name, keys)
            raise UserError(f"--columns {name}: the board of {task.name} has no such column{near}")
