"""A block of a board laid out as texts: what every human-readable format shows.

Names and messages come from records, which may be a stranger's. Fractions are shown in percent here and
nowhere else; JSON and CSV keep them as they are stored.
"""

import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from suite.base.command import Command, Note
from suite.base.text import clipped, plain
from suite.define.protocol import Protocol
from suite.define.task import Metric, Task
from suite.stats.tests import ALPHA, LEVEL, MIN_REPLICATES
from suite.store.row import Cell, MeanCost, Row, RowFailure


class Published(NamedTuple):
    """A published number: as stored, as shown (in percent where a fraction), what became of it here (a
    status of `suite.claims.compare`), and where it is printed."""

    value: float
    text: str
    status: str
    source: str


Claims = Mapping[tuple[str, str, str], Published]
"""(method, protocol name, metric key) -> what was published."""


@dataclass(frozen=True)
class Grid:
    """One block as texts, not escaped: what every human-readable format shows.

    `head` and the rows of `body` have equal lengths; `ranking` is the column of the ranking metric;
    `best[i]` says that row i is best or tied with it (rank 1); `trailing` counts the columns after
    the metrics. `notes` are lines below the table. `names` are the methods without their state, `keys`
    the metric of each column, None for a column of no metric.
    """

    caption: tuple[str, ...]
    head: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]
    ranking: int
    trailing: int
    best: tuple[bool, ...]
    notes: tuple[Note, ...]
    names: tuple[str, ...] = ()
    keys: tuple[str | None, ...] = ()


def blocks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows of one protocol and one evaluation at a time, in the order given."""
    for _, block in groupby(rows, key=lambda row: row.block):
        yield list(block)


def grid(
    rows: Sequence[Row],
    task: Task,
    by: str | None = None,
    *,
    claims: Claims = {},  # noqa: B006 - never written to
    more: Sequence[str] = (),
) -> Grid:
    """Lay out one block. `by` is the ranking metric's key, default the task's first primary.

    `claims` are shown beside the metric that they are about; `more` are metric keys to show after the
    task's own.
    """
    key = by or task.primary[0]
    shown = list(dict.fromkeys([key, *task.columns, *more]))
    metrics = {column: metric_of(task, column) for column in shown}
    published = {
        column
        for column in (shown if claims else ())
        if any((row.method, row.protocol, column) in claims for row in rows)
    }
    flagged = any(row.flags for row in rows)
    names = row_names(rows)
    head, keys = ["rank", "method", "n"], [None, None, None]  # type: list[str], list[str | None]
    for column in shown:
        head.append(column)
        keys.append(column)
        if column in published:
            head.append(f"{column} published")
            keys.append(None)
    known = [row.cost.parameters for row in rows if row.cost.parameters]
    least = min(known, default=None)
    trailing = ["cost", *(["flags"] if flagged else [])]
    sources: dict[str, int] = {}
    body = []
    for row, name in zip(rows, names, strict=True):
        cells = []
        for column in shown:
            cells.append(_cell(row.cell(column), metrics[column]))
            if column in published:
                claim = claims.get((row.method, row.protocol, column))
                if claim is None:
                    cells.append("")
                    continue
                number = sources.setdefault(plain(claim.source), len(sources) + 1)
                cells.append(f"{claim.text} ({claim.status}) [{number}]")
        flags = [clipped(" ".join(row.flags))] if flagged else []
        rank = "" if row.rank is None else str(row.rank)
        body.append((rank, name + _state(row), str(row.n), *cells, _cost(row.cost, least), *flags))
    return Grid(
        caption=_caption(rows[0], task, key),
        head=tuple(map(plain, [*head, *trailing])),
        body=tuple(tuple(map(plain, line)) for line in body),
        ranking=3,
        trailing=len(trailing),
        best=tuple(row.rank == 1 for row in rows),
        notes=(
            *_notes(rows, names, task),
            *(Note(f"[{number}] {source}") for source, number in sources.items()),
        ),
        names=tuple(map(plain, names)),
        keys=(*keys, *[None] * len(trailing)),
    )


def legend(made: Grid) -> tuple[str, ...]:
    """What bold means, where anything is."""
    tied = sum(made.best)
    if not tied:
        return ()
    rows = "the best" if tied == 1 else f"the best and those tied with it ({tied} rows)"
    return (f"bold: rank 1, {rows}: no row is significantly better",)


def metric_of(task: Task, key: str) -> Metric:
    """The metric that a key such as `mIoU[group=tail]` is of; a bare one where the task has none."""
    name = key.partition("[")[0]
    return next((m for m in task.metrics if m.name == name), Metric(name=name, unit=""))


def _cell(cell: Cell, metric: Metric) -> str:
    """Mean and half-width of the interval; percent with one decimal for fractions."""
    if cell.mean is None:
        return "–"
    mean, low, high = cell.mean, cell.low, cell.high
    half = None if low is None or high is None else (high - low) / 2
    if metric.unit == "fraction":
        text = f"{100 * mean:.1f}"
        return text if half is None else f"{text} ±{100 * half:.1f}"
    return f"{mean:.4g}" if half is None else f"{mean:.4g} ±{half:.2g}"


def _cost(cost: MeanCost, least: float | None = None) -> str:
    """Wall time of a run and its input runs; passes per step where they are more than one; parameters where
    they are a tenth above `least`, the board's fewest."""
    seconds, passes, size_of = cost.wall_seconds, cost.passes_per_step, cost.parameters
    if seconds is None:
        return "–"
    size, unit = (1, "s") if seconds < 120 else (60, "min") if seconds < 7200 else (3600, "h")
    text = f"{seconds / size:.3g} {unit}"
    if passes is not None and passes != 1:
        text += f", {passes:.3g}x passes"
    if least and size_of is not None and size_of > 1.1 * least:
        text += f", {size_of / least:.2g}x params"
    return text


class Named(typing.Protocol):
    """What a row is called by."""

    @property
    def method(self) -> str: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def digest(self) -> str | None: ...


def row_names(rows: Sequence[Named]) -> list[str]:
    """Method names; with the parameters in which rows of one method differ."""
    groups: dict[str, list[Named]] = {}
    for row in rows:
        groups.setdefault(row.method, []).append(row)
    differing = {}
    for method, members in groups.items():
        keys = sorted({key for row in members for key in row.params})
        differing[method] = [
            key for key in keys if len({params_text(row.params.get(key)) for row in members}) > 1
        ]
    texts = []
    for row in rows:
        params = row.params
        parts = [f"{k}={params[k]}" for k in differing[row.method] if k in params]
        texts.append(clipped(" ".join([row.method, *parts])))
    counts = Counter(texts)
    # rows may differ in their code or inputs alone; then the code digest tells most of them apart
    return [
        f"{text} @{row.digest[:7]}" if counts[text] > 1 and row.digest else text
        for text, row in zip(texts, rows, strict=True)
    ]


def _state(row: Row) -> str:
    return "" if row.state == "done" else f" ({state_text(row)})"


def state_text(row: Row) -> str:
    """Such as `done`, `stale` or `failed: nan`."""
    if row.state != "failed":
        return plain(row.state)
    kinds = ",".join(sorted({failure.kind or "unknown" for failure in row.failures}))
    return plain(f"failed: {kinds}")


def protocol_of(task: Task, row: Row) -> Protocol | None:
    return task.protocols.with_hash(row.protocol_hash, row.protocol)


def _caption(row: Row, task: Task, key: str) -> tuple[str, ...]:
    metric, protocol = metric_of(task, key), protocol_of(task, row)
    first = f"{task.name} under {clipped(row.protocol)}"
    lines = [f"protocol {row.protocol_hash}, evaluation {row.evaluation_hash}"]
    if protocol is None:
        lines[0] += "; not a protocol of this task any more"
    elif task.evaluation_hash(protocol) != row.evaluation_hash:
        lines[0] += "; not today's evaluation: type `python -m suite evaluate`"
    if protocol is not None and protocol.dataset.group_rule:
        lines.append(f"groups: {protocol.dataset.group_rule}")
    better = "higher" if metric.higher_is_better else "lower"
    percent = "; fractions in percent" if metric.unit == "fraction" else ""
    lines.append(
        f"ranked by {key} ({better} is better){percent}; mean ± half-width of the {LEVEL:.0%} t "
        f"interval over n {protocol.replicate if protocol else 'replicate'}s"
    )
    lines.append(f"rank: 1 + rows significantly better (t tests, Holm over the board, {ALPHA:.0%})")
    return tuple(map(plain, (first, *lines)))


def _notes(rows: Sequence[Row], names: Sequence[str], task: Task) -> Iterator[Note]:
    few: dict[int, list[str]] = {}
    for row, name in zip(rows, names, strict=True):
        if 0 < row.n < MIN_REPLICATES and row.state != "stale":
            few.setdefault(row.n, []).append(name)
    for n, members in sorted(few.items()):
        yield Note(plain(f"unranked (n={n}): {_some(members)}"))
    # a command to copy must not hold a stranger's text, nor name what cannot be run here
    known = protocol_of(task, rows[0])
    again = () if known is None else ("run", "--task", task.name, "--protocol", known.name)
    if few and again:
        yield Note("  add seeds", Command(*again, "--seeds", "0,1,2"))
    stale = [name for row, name in zip(rows, names, strict=True) if row.state == "stale"]
    if stale:
        yield Note(plain(f"stale (made by other code than today's, not ranked): {_some(stale)}"))
        if again:
            yield Note("  train anew", Command(*again, "--stale"))
    for row, name in zip(rows, names, strict=True):
        for failure in row.failures:
            yield Note(plain(f"failed: {name}, {failure_text(failure)}"))


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def failure_text(failure: RowFailure, width: int = 160) -> str:
    at = "" if failure.step is None else f" at step {failure.step}"
    message = clipped(plain(failure.message or ""), width)
    return f"seed {failure.seed} (run {failure.run}): {failure.kind}{at}: {message}"


def params_text(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
