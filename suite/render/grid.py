"""A block of a board laid out as texts: what every human-readable format shows.

Names and messages come from records, which may be a stranger's. Fractions are shown in percent here and
nowhere else; JSON and CSV keep them as they are stored.
"""

import typing
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import msgspec

from suite.base.command import Command, Note
from suite.base.text import clipped, plain
from suite.define.protocol import Protocol
from suite.define.task import Ability, Task
from suite.records.again import Wanted, enough, run_commands
from suite.render.cells import cell_text, cost_text, metric_of, seeds_text
from suite.render.view import KINDS, Kind, View
from suite.stats.ranking import TARGET
from suite.stats.tests import ALPHA, LEVEL, MIN_REPLICATES
from suite.store.row import Row, RowFailure, inputs_text

TEXT_KINDS = ("tied", "method", "flags")
TESTS = {
    "moderated t": f"moderated t test, Holm over the board, {ALPHA:.0%}",
    "t": f"t tests, Holm over the board, {ALPHA:.0%}: fewer than five rows vary, too few for a moderated one",
}
"""`Row.test` in words."""
ShownColumns = Callable[[Collection[str]], Sequence[str]]
"""Metric keys that the rows of a block have -> the metric keys of its board's columns, in order. Pure."""
SHOWN = Ability[ShownColumns]("columns")
"""Without it they are the task's `columns`: for tasks whose keys hold names of a protocol's own."""
ALL = View()
"""The board's own rows and columns."""


@dataclass(frozen=True)
class Column:
    """A column: what it shows, its title, and its metric key where it shows one."""

    kind: Kind
    title: str
    key: str | None = None


@dataclass(frozen=True)
class Grid:
    """One block as texts, not escaped: what every human-readable format shows.

    `rows` are those shown, each with as many texts in `body` as there are `columns`; `ranking` is the place
    of the ranking metric, None where it is not shown; `best[i]` says that row i is best or tied with it
    (rank 1), as `first` rows of the whole block are. `notes` are lines below the table, `not_run` one on the planned rows that are left out, "" for
    none. `names` are the methods without their state.
    """

    caption: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    body: tuple[tuple[str, ...], ...]
    ranking: int | None
    best: tuple[bool, ...]
    first: int
    notes: tuple[Note, ...]
    not_run: str
    names: tuple[str, ...]

    @property
    def head(self) -> tuple[str, ...]:
        return tuple(column.title for column in self.columns)

    @property
    def lines(self) -> list[str]:
        """What stands below the table."""
        return [*map(str, self.notes), *([self.not_run] if self.not_run else [])]

    @property
    def right(self) -> list[bool]:
        """Whether a column is aligned to the right."""
        return [column.kind not in TEXT_KINDS for column in self.columns]

    @property
    def strong(self) -> set[tuple[int, int]]:
        """(row, column) of the values that are best, or tied with the best."""
        if self.ranking is None:
            return set()
        return {(row, self.ranking) for row, best in enumerate(self.best) if best}


MOST_COMMANDS = 4
"""Commands below a board for one purpose; rows of one method that are no grid need one each."""


def blocks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows of one protocol and one evaluation at a time, in the order given."""
    for _, block in groupby(rows, key=lambda row: row.block):
        yield list(block)


def grids(rows: Sequence[Row], task: Task, view: View = ALL) -> Iterator[Grid]:
    """Every block of which the view shows a row, laid out."""
    for block in blocks(rows):
        if any(map(view.has, block)):
            yield grid(block, task, view)


def grid(block: Sequence[Row], task: Task, view: View = ALL, more: Sequence[str] = ()) -> Grid:
    """Lay out what the view shows of one block; `more` are metric keys to show after the task's own."""
    key = view.key(task)
    called = dict(zip(map(id, block), row_names(block), strict=True))
    rows = view.rows(block)
    names = [called[id(row)] for row in rows]
    columns = _columns(rows, task, view, more)
    units = {c.key: metric_of(task, c.key) for c in columns if c.key is not None}
    known = [row.cost.parameters for row in block if row.cost.parameters]
    least = min(known, default=None)
    sources: dict[str, int] = {}

    def text(column: Column, row: Row, name: str) -> str:
        if column.kind == "rank":
            return "" if row.rank is None else str(row.rank)
        if column.kind == "tied":
            return row.groups
        if column.kind == "seeds":
            return seeds_text(row)
        if column.kind == "method":
            return name + _state(row)
        if column.kind == "n":
            return str(row.n)
        if column.kind == "cost":
            return cost_text(row.cost, least)
        if column.kind == "flags":
            return clipped(" ".join(row.flags))
        assert column.key is not None
        if column.kind == "metric":
            return cell_text(row.cell(column.key), units[column.key])
        claim = view.claims.get((row.method, row.protocol, column.key))
        if claim is None:
            return ""
        number = sources.setdefault(plain(claim.source), len(sources) + 1)
        return f"{claim.text} ({claim.status}) [{number}]"

    body = [
        tuple(plain(text(column, row, name)) for column in columns)
        for row, name in zip(rows, names, strict=True)
    ]
    places = [at for at, c in enumerate(columns) if c.kind == "metric" and c.key == key]
    return Grid(
        caption=(*_caption(block[0], task, key), *_reading(block, rows, columns, view)),
        columns=columns,
        rows=tuple(rows),
        body=tuple(body),
        ranking=places[0] if places else None,
        best=tuple(row.rank == 1 for row in rows),
        first=sum(row.rank == 1 for row in block),
        notes=(
            *_notes(rows, names, task),
            *(Note(f"[{number}] {source}") for source, number in sources.items()),
        ),
        not_run=not_run(
            [
                called[id(row)]
                for row in block
                if row.state == "planned" and view.wants(row) and not view.has(row)
            ]
        ),
        names=tuple(map(plain, names)),
    )


def _columns(
    rows: Sequence[Row], task: Task, view: View, more: Sequence[str]
) -> tuple[Column, ...]:
    """The board's own columns, of which those without anything in them are left out; or those asked for."""

    def of(name: str) -> Iterator[Column]:
        if name in KINDS:
            yield Column(KINDS[name], name)
            return
        yield Column("metric", plain(name), name)
        if any((row.method, row.protocol, name) in view.claims for row in rows):
            yield Column("published", plain(f"{name} published"), name)

    if view.columns:
        asked = view.columns if "method" in view.columns else ("method", *view.columns)
        return tuple(chain.from_iterable(map(of, asked)))
    several = sum(bool(row.groups) for row in rows) > 1
    shown = SHOWN.of(task)
    own = shown({key for row in rows for key in row.metrics}) if shown else task.columns
    names = [
        "rank",
        *(["tied"] if several else []),
        *(["seeds to next"] if any(row.seeds_to_next for row in rows) else []),
        *("method", "n"),
        *dict.fromkeys([view.key(task), *own, *more]),
        "cost",
        *(["flags"] if any(row.flags for row in rows) else []),
    ]
    return tuple(chain.from_iterable(map(of, names)))


def legend(made: Grid) -> tuple[str, ...]:
    """What bold means, where anything is."""
    if not made.strong:
        return ()
    rows = "the best" if made.first == 1 else f"the best and those tied with it ({made.first} rows)"
    return (f"bold: rank 1, {rows}: no row is significantly better",)


class Named(typing.Protocol):
    """What a row is called by."""

    @property
    def method(self) -> str: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def digest(self) -> str | None: ...
    @property
    def inputs(self) -> Mapping[str, str | None]: ...


def row_names(rows: Sequence[Named]) -> list[str]:
    """Method names, with those of their input runs; with the parameters in which rows of one method differ."""
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
        texts.append(clipped(" ".join([row.method, *parts])) + clipped(inputs_text(row.inputs)))
    # rows may differ in their code alone
    codes: dict[str, set[str | None]] = {}
    for text, row in zip(texts, rows, strict=True):
        codes.setdefault(text, set()).add(row.digest)
    texts = [
        f"{text} @{row.digest[:7]}" if len(codes[text]) > 1 and row.digest else text
        for text, row in zip(texts, rows, strict=True)
    ]
    # or in the parameters of their input runs
    counts = Counter(texts)
    return [
        f"{text} run={runs[0]}" if counts[text] > 1 and (runs := getattr(row, "runs", ())) else text
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
        lines[0] += f"; not today's evaluation: type `{Command('evaluate')}`"
    if protocol is not None and protocol.dataset.group_rule:
        lines.append(f"groups: {protocol.dataset.group_rule}")
    better = "higher" if metric.higher_is_better else "lower"
    percent = "; fractions in percent" if metric.unit == "fraction" else ""
    lines.append(
        f"ranked by {key} ({better} is better){percent}; mean ± half-width of the {LEVEL:.0%} t "
        f"interval over n {protocol.replicate if protocol else 'replicate'}s"
    )
    return tuple(map(plain, (first, *lines)))


def rule(block: Sequence[Row]) -> str:
    """What a rank on this board is."""
    better = "1 + rows significantly better, in the order of the means"
    test = next((row.test for row in block if row.test), "")
    if not test:
        return f"{better}; from two rows with {MIN_REPLICATES} replicates on"
    return f"{better} ({TESTS.get(test, test)})"


def _reading(
    block: Sequence[Row], rows: Sequence[Row], columns: Sequence[Column], view: View
) -> Iterator[str]:
    """How ranks are to be read, and that rows are left out of sight."""
    kinds = {column.kind for column in columns}
    if "rank" in kinds:
        yield f"rank: {rule(block)}"
    if "tied" in kinds:
        yield "tied: rows that share a letter cannot be told apart"
    if "seeds" in kinds:
        yield (
            "seeds to next: seeds in all that would tell a row from the next one below it "
            f"(power {TARGET:.0%}); apart: it is told from it already"
        )
    there = sum(view.planned or row.state != "planned" for row in block)
    if len(rows) < there:
        yield f"{len(rows)} of {there} rows are shown; ranks are over all of them"


def not_run(names: Sequence[str], most: int = 8) -> str:
    """A line on methods that have not run, with the names of `most` of them; "" for none."""
    if not names:
        return ""
    return plain(
        f"{len(names)} method{'s' if len(names) > 1 else ''} not run: {_some(names, most)}"
    )


def _notes(rows: Sequence[Row], names: Sequence[str], task: Task) -> Iterator[Note]:
    if not rows:
        return
    few: dict[int, list[str]] = {}
    for row, name in zip(rows, names, strict=True):
        if 0 < row.n < MIN_REPLICATES and row.state != "stale":
            few.setdefault(row.n, []).append(name)
    for n, members in sorted(few.items()):
        yield Note(plain(f"unranked (n={n}): {_some(members)}"))
    known = protocol_of(task, rows[0])
    if few:
        again = [
            (row, tuple(enough(row.seeds)))
            for row in rows
            if 0 < row.n < MIN_REPLICATES and row.state != "stale"
        ]
        yield from _commands("  add seeds", task, known, again)
    stale = [(row, name) for row, name in zip(rows, names, strict=True) if row.state == "stale"]
    if stale:
        listed = _some([name for _, name in stale])
        yield Note(plain(f"stale (made by other code than today's, not ranked): {listed}"))
        again = [(row, tuple(sorted(set(row.seeds)))) for row, _ in stale]
        yield from _commands("  train anew", task, known, again, "--stale")
    for row, name in zip(rows, names, strict=True):
        for failure in row.failures:
            yield Note(plain(f"failed: {name}, {failure_text(failure)}"))


def _commands(
    text: str,
    task: Task,
    protocol: Protocol | None,
    again: Sequence[tuple[Row, tuple[int, ...]]],
    *flags: str,
) -> Iterator[Note]:
    """The commands that make runs of the rows with the seeds beside them."""
    # a command to copy must not hold a stranger's text, nor name what cannot be run here
    if protocol is None:
        return
    wanted = [
        Wanted(row.method, tuple(row.settings), seeds, tuple(filter(None, row.inputs.values())))
        for row, seeds in again
        if row.settings is not None and plain(row.method) == row.method
    ]
    found = run_commands(task.name, protocol.name, wanted, *flags)
    for command in found[:MOST_COMMANDS]:
        yield Note(text, command)
    if len(found) > MOST_COMMANDS:
        yield Note(
            f"  and {len(found) - MOST_COMMANDS} more commands, for rows of the same methods"
        )
    if len(wanted) < len(again):
        none = {row.method for row, _ in again if row.settings is None}
        yield Note(
            plain(
                f"  none for {_some(sorted(none))}: a method that is not here (give its --plugin FILE), "
                "parameters that it has no more, or somebody else's runs"
            )
        )


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def failure_text(failure: RowFailure, width: int = 160) -> str:
    at = "" if failure.step is None else f" at step {failure.step}"
    message = clipped(plain(failure.message or ""), width)
    return f"seed {failure.seed} (run {failure.run}): {failure.kind}{at}: {message}"


def params_text(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
