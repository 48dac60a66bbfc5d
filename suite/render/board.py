"""A board's rows as a terminal table, JSON, CSV, Markdown or LaTeX.

Names and messages come from records, which may be a stranger's: every format escapes them its own
way. Fractions are shown in percent here and nowhere else; JSON and CSV keep them as they are stored.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple
from typing import Protocol as Shape

import msgspec

from suite.base import text as escape
from suite.base.text import clipped, csv_text, pipes, plain
from suite.define.protocol import Protocol
from suite.define.task import Metric, Task
from suite.stats.tests import ALPHA, LEVEL, MIN_REPLICATES
from suite.store.row import COST, Cell, MeanCost, Row, RowFailure

if TYPE_CHECKING:
    from rich.console import Console

Escape = Callable[[str], str]


class Published(NamedTuple):
    """A published number: as stored, as shown (in percent where a fraction), what became of it here (a
    status of `suite.claims.read`), and where it is printed."""

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
    notes: tuple[str, ...]
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
            *(plain(note) for note in _notes(rows, names, task)),
            *(f"[{number}] {source}" for source, number in sources.items()),
        ),
        names=tuple(map(plain, names)),
        keys=(*keys, *[None] * len(trailing)),
    )


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
            numeric = title not in ("method", "flags")
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
            console.print(Text(note), soft_wrap=True)


def to_json(rows: Sequence[Row]) -> str:
    """The rows as they are, fractions in [0, 1]; what is not printable as JSON escapes."""
    text = msgspec.json.format(msgspec.json.encode(list(rows)), indent=2).decode() + "\n"
    if text.isascii() and "\x7f" not in text:
        return text
    # JSON itself escapes C0 controls only; a terminal obeys others, too
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def to_csv(rows: Sequence[Row], claims: Claims = {}) -> str:  # noqa: B006 - never written to
    """One line per row; `<metric>`, `<metric> low` and `<metric> high` per metric, as stored.

    With claims also `<metric> published`, where there are any. A text that a spreadsheet would take for a formula gets a leading apostrophe; control characters
    are spelled out.
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
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(csv_text, [*names, "flags", "failures", *COST, *metric_head]))
    for row in rows:
        texts = [_json(row.params) if name == "params" else getattr(row, name) for name in names]
        failures = "; ".join(_failure(failure) for failure in row.failures)
        line = [csv_text(text) for text in (*texts, " ".join(row.flags), failures)]
        line += [getattr(row.cost, name) for name in COST]
        for key in keys:
            cell = row.cell(key)
            line += (cell.mean, cell.low, cell.high)
        for key in published:
            claim = claims.get((row.method, row.protocol, key))
            shown = (claim.value, claim.status, claim.source) if claim else (None, None, None)
            line += map(csv_text, shown)
        writer.writerow(line)
    return out.getvalue()


def to_markdown(
    rows: Sequence[Row],
    task: Task,
    by: str | None = None,
    claims: Claims = {},  # noqa: B006 - never written to
) -> str:
    """One table per block; best and tied-best values in bold."""
    parts = []
    for block in blocks(rows):
        made = grid(block, task, by, claims=claims)
        lines = [f"**{escape.markdown(made.caption[0])}**", ""]
        lines += [*map(escape.markdown, (*made.caption[1:], *legend(made))), ""]
        lines.append(pipes(map(escape.markdown, made.head)))
        lines.append(pipes("---" if h in ("method", "flags") else "---:" for h in made.head))
        for line in _emphasised(made, escape.markdown, "**", "**"):
            lines.append(pipes(line))
        lines += ["", *(f"- {escape.markdown(note)}" for note in made.notes)]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def to_latex(
    rows: Sequence[Row],
    task: Task,
    by: str | None = None,
    claims: Claims = {},  # noqa: B006 - never written to
) -> str:
    r"""One `booktabs` table per block (`\usepackage{booktabs}`); rank 1 in bold, as the caption says.

    ASCII for any engine and font encoding: letters with accents are written as LaTeX's commands, what has
    none as its code point (`U+6F22`).
    """
    parts = []
    for block in blocks(rows):
        made = grid(block, task, by, claims=claims)
        align = "".join("l" if h in ("method", "flags") else "r" for h in made.head)
        body = [
            " & ".join(line) + r" \\" for line in _emphasised(made, escape.latex, r"\textbf{", "}")
        ]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{escape.latex('. '.join((*made.caption, *legend(made))))}}}",
                    rf"\begin{{tabular}}{{{align}}}",
                    r"\toprule",
                    " & ".join(map(escape.latex, made.head)) + r" \\",
                    r"\midrule",
                    *body,
                    r"\bottomrule",
                    r"\end{tabular}",
                    *(rf"\par\footnotesize {escape.latex(note)}" for note in made.notes),
                    r"\end{table}",
                ]
            )
            + "\n"
        )
    return "\n".join(parts)


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
    note = f"not shown at this width: {', '.join(left_out)} (all with --format csv)"
    return replace(
        made,
        head=tuple(made.head[c] for c in columns),
        keys=tuple(made.keys[c] for c in columns),
        body=tuple(tuple(line[c] for c in columns) for line in made.body),
        notes=(note, *made.notes),
    )


def legend(made: Grid) -> tuple[str, ...]:
    """What bold means, where anything is."""
    tied = sum(made.best)
    if not tied:
        return ()
    rows = "the best" if tied == 1 else f"the best and those tied with it ({tied} rows)"
    return (f"bold: rank 1, {rows}: no row is significantly better",)


def _emphasised(made: Grid, escaped: Escape, start: str, end: str) -> Iterator[list[str]]:
    for line, best in zip(made.body, made.best, strict=True):
        cells = [escaped(cell) for cell in line]
        if best:
            cells[made.ranking] = f"{start}{cells[made.ranking]}{end}"
        yield cells


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


class Named(Shape):
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
            key for key in keys if len({_json(row.params.get(key)) for row in members}) > 1
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
    return "" if row.state == "done" else f" ({state(row)})"


def state(row: Row) -> str:
    """Such as `done`, `stale` or `failed: nan`."""
    if row.state != "failed":
        return plain(row.state)
    kinds = ",".join(sorted({failure.kind or "unknown" for failure in row.failures}))
    return plain(f"failed: {kinds}")


def protocol_of(task: Task, row: Row) -> Protocol | None:
    return next((p for p in task.protocols if p.hash == row.protocol_hash), None)


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


def _notes(rows: Sequence[Row], names: Sequence[str], task: Task) -> Iterator[str]:
    few: dict[int, list[str]] = {}
    for row, name in zip(rows, names, strict=True):
        if 0 < row.n < MIN_REPLICATES and row.state != "stale":
            few.setdefault(row.n, []).append(name)
    for n, members in sorted(few.items()):
        yield f"unranked (n={n}): {_some(members)}"
    again = f"python -m suite run --task {task.name} --protocol {rows[0].protocol}"
    # a command to copy must not hold a stranger's text, nor name what cannot be run here
    runnable = protocol_of(task, rows[0]) is not None
    if few and runnable:
        yield f"  add seeds: {again} --seeds 0,1,2"
    stale = [name for row, name in zip(rows, names, strict=True) if row.state == "stale"]
    if stale:
        yield f"stale (made by other code than today's, not ranked): {_some(stale)}"
        if runnable:
            yield f"  train anew: {again} --stale"
    for row, name in zip(rows, names, strict=True):
        for failure in row.failures:
            yield f"failed: {name}, {_failure(failure)}"


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _failure(failure: RowFailure, width: int = 160) -> str:
    at = "" if failure.step is None else f" at step {failure.step}"
    message = clipped(plain(failure.message or ""), width)
    return f"seed {failure.seed} (run {failure.run}): {failure.kind}{at}: {message}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
