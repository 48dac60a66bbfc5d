"""The rows of a protocol with their scores by modality, as all views of the page are given them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from suite.base.text import clipped, plain
from suite.define.metrics import canonical_key, split_key
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.store.row import Row
from suite.store.rows import Side

FUSED = "fused logits"
"""Among names of modalities, which have no space."""
PRIMARY = "top1"
UNIMODAL = "ume"
"""The method that trains each modality on its own, in one run: what others are compared with."""
_GROUPS = ("head", "medium", "tail")


class Line(NamedTuple):
    """A row of the board with a score of today: by the name that all of the page gives it."""

    name: str
    row: Row
    side: Side


class Board(NamedTuple):
    """A protocol's rows, the best by `top1` first.

    Attributes:
        modalities: names as in metric keys, in the protocol's order.
        labels: the same as charts show them, each once.
        missing: how modalities are left out, as in metric keys.
    """

    task: Task
    protocol: Protocol
    modalities: tuple[str, ...]
    labels: tuple[str, ...]
    lines: tuple[Line, ...]
    missing: str

    @classmethod
    def of(cls, task: Task, protocol: Protocol, lines: Sequence[Line]) -> Board:
        settings = task.evaluation(protocol)
        names = tuple(settings["modalities"])
        labels = tuple(unique([shown(name) for name in names]))
        return cls(task, protocol, names, labels, tuple(lines), settings["missing"])

    def default(self, most: int, first: Sequence[str] = ()) -> list[str]:
        """Names of the rows that a chart begins with: the task's reference, those called `first`, and the best."""
        wanted = (self.task.reference, *first)
        ranked = sorted(self.lines, key=lambda line: line.name not in wanted)
        return [line.name for line in ranked[:most]]

    @property
    def title(self) -> str:
        """What titles of tables begin with."""
        return f"{self.task.name}, {self.protocol.name}"

    @property
    def named(self) -> list[tuple[str, str]]:
        """(modality, its label)."""
        return list(zip(self.modalities, self.labels, strict=True))

    @property
    def parts(self) -> list[tuple[str | None, str]]:
        """As `named`, then None for the fused logits."""
        return [*self.named, (None, FUSED)]

    @property
    def groups(self) -> list[str]:
        """Groups of classes that some row has a recall of, the most frequent first."""
        found = {
            subset.removeprefix("group=")
            for line in self.lines
            for metric, subset in map(split_key, line.row.metrics)
            if metric == PRIMARY and subset.startswith("group=") and "," not in subset
        }
        known = [name for name in _GROUPS if name in found]
        return [*known, *sorted(found - set(known))]

    @property
    def unimodal(self) -> Line | None:
        """The row of `UNIMODAL`: that of its default parameters, else its best."""
        found = [line for line in self.lines if line.row.method == UNIMODAL]
        return min(found, key=lambda line: line.name != UNIMODAL, default=None)


class Point(NamedTuple):
    """A row's mean over seeds of one part (a modality's label or `FUSED`), with its 95 % t interval, in percent."""

    row: str
    part: str
    mean: float | None
    low: float | None
    high: float | None
    n: int


def key_of(
    metric: str,
    modality: str | None = None,
    group: str | None = None,
    missing: str | None = None,
) -> str:
    """Metric key of a modality's score, None for that of all of them; on a group of classes, None for all. `missing`: how the
    others are left out, None where a modality is seen by itself."""
    parts = {"group": group, "missing": missing, "modality": modality}
    subset = ",".join(f"{name}={value}" for name, value in parts.items() if value is not None)
    return canonical_key(f"{metric}[{subset}]") if subset else metric


def point(line: Line, key: str, part: str) -> Point:
    cell = line.row.cell(key)
    mean, low, high = (None if v is None else 100 * v for v in (cell.mean, cell.low, cell.high))
    return Point(line.name, part, mean, low, high, line.row.n)


def share(value: float | None) -> float | None:
    """A percentage as tables take it."""
    return None if value is None else value / 100


def some(names: Sequence[str], most: int = 6) -> str:
    """Names in a line of text."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def without(points: Sequence[Point]) -> list[str]:
    """The rows of which no point has a mean."""
    known = {p.row for p in points if p.mean is not None}
    return list(dict.fromkeys(p.row for p in points if p.row not in known))


def shown(text: object) -> str:
    """A name as charts show it."""
    return clipped(plain(text), 40)


def unique(names: Sequence[str]) -> list[str]:
    """The names, each once: of equal ones the later with their number."""
    made: dict[str, None] = {}
    for number, one in enumerate(names):
        made[one if one not in made else f"{one} ({number})"] = None
    return list(made)
