"""`compare`: two methods held against each other, or all of a task."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.cli.options import OnlyProtocol, Plugins, Root, catalog_at, parse_format

if TYPE_CHECKING:
    from suite.boards.compare import Cell, Comparison
    from suite.boards.overview import Overview
    from suite.define.catalog import Catalog

FORMATS = ("table", "json", "markdown")


def compare(
    a: Annotated[
        str | None,
        typer.Argument(metavar="A", help="Method, or id of a run of its row.", show_default=False),
    ] = None,
    b: Annotated[
        str | None,
        typer.Argument(metavar="B", help="Method, or id of a run of its row.", show_default=False),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="Task. Default: the only one with both.", show_default=False),
    ] = None,
    protocol: OnlyProtocol = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="Metric key, such as 'mIoU[group=tail]'. Default: the task's first.",
            show_default=False,
        ),
    ] = None,
    over: Annotated[
        str,
        typer.Option(
            help="seeds, or images: resamples of the test images of stored predictions, for the models "
            "as trained."
        ),
    ] = "seeds",
    bootstrap: Annotated[
        bool, typer.Option("--bootstrap", help="Over seeds: bootstrap in place of t.")
    ] = False,
    all_: Annotated[
        bool,
        typer.Option(
            "--all",
            help="All methods: win rates, critical difference, exchange rate of head and tail.",
        ),
    ] = False,
    reference: Annotated[
        str | None,
        typer.Option(
            help="With --all: the method that exchange rates are against. Default: the task's.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Compare two methods: difference with 95 % interval and p, and what their runs were made of.

    \b
    Examples:
      python -m suite compare ce la --task longtail-cls
      python -m suite compare ce la --task longtail-cls --metric 'top1[group=tail]' --over images
      python -m suite compare 3f2a9c 81bb02 --format json
      python -m suite compare --all --task longtail-cls
    """
    from suite.base import settings
    from suite.base.errors import UserError
    from suite.boards.compare import compare as compare_two
    from suite.boards.overview import overview
    from suite.store.rows import pick_task

    parse_format(format, FORMATS)
    if over not in ("seeds", "images"):
        raise UserError(f"--over {over!r}: use seeds or images")
    if bootstrap and (over == "images" or all_):
        raise UserError("--bootstrap is for two methods over seeds")
    if all_ and a is not None:
        raise UserError("--all compares every method: leave A and B out")
    if all_ and task is None:
        raise UserError("--all needs --task; see `python -m suite tasks`")
    if not all_ and (a is None or b is None):
        raise UserError("compare what? Give two methods or run ids, or --all")
    if not all_ and reference is not None:
        raise UserError("--reference is for --all")
    results = settings.results_root(root)
    catalog = catalog_at(plugin, results)
    refresh(results, catalog)
    chosen = pick_task(results, catalog, task, [side for side in (a, b) if side is not None])
    only = catalog.protocol(chosen, protocol) if protocol else None
    found: Comparison | Overview
    if all_:
        against = reference or chosen.reference
        if not against:
            raise UserError(f"task {chosen.name!r} names no plain method: give --reference METHOD")
        found = overview(
            results,
            catalog,
            chosen,
            metric=metric,
            only=only,
            reference=against,
            images=over == "images",
        )
    else:
        assert a is not None and b is not None
        found = compare_two(
            results,
            catalog,
            chosen,
            a,
            b,
            metric=metric,
            only=only,
            over="images" if over == "images" else "seeds",
            bootstrap=bootstrap,
        )
    _print(found, format)


def refresh(root: Path, catalog: Catalog) -> None:
    """Bring the store up to date; files that it refuses are named on stderr."""
    from suite.base.text import plain
    from suite.store import ingest as store

    for refused in store.refresh(root, catalog.tasks(), catalog.code).refused:
        print(f"refused {plain(refused.path)}: {plain(refused.reason)}", file=sys.stderr)


@dataclass(frozen=True)
class Part:
    """A table or lines of text, not escaped: what both human-readable formats show.

    `fixed` lines keep their spaces (a diagram).
    """

    title: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    lines: Sequence[str] = field(default=())
    fixed: Sequence[str] = ()


def _print(found: Comparison | Overview, format: str) -> None:
    from suite.boards.compare import Comparison

    if format == "json":
        import msgspec

        from suite.cli.output import print_json

        print_json(msgspec.to_builtins(found))
        return
    parts = _pair_parts(found) if isinstance(found, Comparison) else _overview_parts(found)
    if format == "markdown":
        sys.stdout.write(_markdown(parts))
        return
    from rich.text import Text

    from suite.base.text import plain
    from suite.cli.output import console, table

    out = console()
    for number, part in enumerate(parts):
        if number:
            out.print()
        out.print(Text(plain(part.title), style="bold"), soft_wrap=True)
        if part.rows:
            out.print(table(part.head, [list(map(plain, row)) for row in part.rows]))
        for line in (*part.fixed, *part.lines):
            # commands among them are to be copied: Rich must not wrap them
            out.print(Text(plain(line)), soft_wrap=True)


def _markdown(parts: Iterator[Part]) -> str:
    from suite.base.text import plain

    # a backslash before every sign that may mean something
    signs = {ord(c): "\\" + c for c in r"\`*_{}[]()<>#|~!$"} | {ord("&"): "&amp;"}

    def escape(text: str) -> str:
        return plain(text).translate(signs)

    texts = []
    for part in parts:
        lines = [f"**{escape(part.title)}**", ""]
        if part.rows:
            lines.append("| " + " | ".join(map(escape, part.head)) + " |")
            lines.append("|" + " --- |" * len(part.head))
            lines += ["| " + " | ".join(map(escape, row)) + " |" for row in part.rows]
            lines.append("")
        if part.fixed:
            # indented code: no text can end it
            lines += [*(f"    {plain(line)}" for line in part.fixed), ""]
        lines += [f"- {escape(line)}" for line in part.lines]
        texts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(texts)


def _pair_parts(found: Comparison) -> Iterator[Part]:
    better = "higher" if found.higher_is_better else "lower"
    percent = ", in percent" if found.unit == "fraction" else ""
    title = f"{found.a} and {found.b}: {found.metric} ({better} is better{percent}), {found.task}"
    rows = []
    for line in found.lines:
        rows.append(
            (
                line.protocol,
                _side(line.a, found.unit),
                _side(line.b, found.unit),
                str(len(line.common_seeds)),
                _number(line.difference, found.unit, signed=True),
                _limits(line.low, line.high, found.unit),
                "–" if line.p is None else f"{line.p:.2g}",
                line.verdict,
            )
        )
    head = ("protocol", "A", "B", "common seeds", "A - B", "95 % interval", "p", "A is")
    words = [
        f"{line.protocol}: {line.words}" if len(found.lines) > 1 else line.words
        for line in found.lines
    ]
    if found.overall:
        words.append(f"over protocols: {found.overall.words}")
    yield Part(title, head, rows, [*words, *(f"note: {note}" for note in found.notes)])
    if found.protocols:
        yield _changes("Protocols differ in", found.protocols)
    yield _changes("Rows differ in", found.config)


def _changes(title: str, changes: Sequence[Any]) -> Part:
    import json

    rows = [
        (
            change.key,
            *(
                value if isinstance(value, str) else "–" if value is None else json.dumps(value)
                for value in (change.a, change.b)
            ),
        )
        for change in changes
    ]
    return Part(title if rows else f"{title} nothing", ("", "A", "B"), rows)


def _side(cell: Cell, unit: str) -> str:
    half = "" if cell.low is None or cell.high is None else _half(cell.high - cell.low, unit)
    return f"{cell.method} {_number(cell.mean, unit)}{half} (n={len(cell.runs)})"


def _half(width: float, unit: str) -> str:
    return f" ±{50 * width:.2f}" if unit == "fraction" else f" ±{width / 2:.2g}"


def _number(value: float | None, unit: str, signed: bool = False) -> str:
    if value is None:
        return "–"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f}" if unit == "fraction" else f"{value:{sign}.4g}"


def _limits(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None:
        return "–"
    return f"{_number(low, unit, True)} to {_number(high, unit, True)}"


def _overview_parts(found: Overview) -> Iterator[Part]:
    from suite.stats.critical_difference import diagram

    notes = [f"note: {note}" for note in found.notes]
    rows = [
        (
            name,
            *(
                "" if cell is None else f"{100 * cell.rate:.0f} ({cell.pairs})"
                for cell in found.wins[i]
            ),
        )
        for i, name in enumerate(found.methods)
    ]
    yield Part(
        f"{found.task}: how often the row beats the column in {found.metric}, % of (protocol, seed) pairs",
        ("", *found.methods),
        rows,
        notes,
    )
    fixed = diagram(found.ranks.found, found.ranks.methods) if found.ranks else []
    yield Part(
        "Average ranks, 1 is best, and Nemenyi's critical difference at 5 %",
        lines=[found.ranks_words],
        fixed=fixed,
    )
    prices = [
        (
            price.protocol,
            price.method,
            str(price.exchange.n),
            _gain(price.exchange.head, found.unit),
            _gain(price.exchange.tail, found.unit),
            "–" if price.exchange.rate is None else f"{price.exchange.rate:.2f}",
            "–"
            if price.exchange.low is None or price.exchange.high is None
            else f"{price.exchange.low:.2f} to {price.exchange.high:.2f}",
            price.exchange.words,
        )
        for price in found.prices
    ]
    yield Part(
        f"Exchange rate against {found.reference}: tail gain for a point of head loss "
        "(95 % interval by Fieller)",
        ("protocol", "method", "seeds", "head", "tail", "rate", "95 % interval", ""),
        prices,
        [found.prices_words] if found.prices_words else [],
    )
    if found.images:
        yield Part(
            f"{found.metric} over test images (expanded percentile bootstrap, models as trained)",
            ("protocol", "method", "runs", "score", "95 % interval"),
            [
                (
                    one.protocol,
                    one.method,
                    str(one.runs),
                    _number(one.interval.mean if one.interval else None, found.unit),
                    _limits(one.interval.low, one.interval.high, found.unit).replace("+", "")
                    if one.interval
                    else "–",
                )
                for one in found.images
            ],
        )


def _gain(interval: Any, unit: str) -> str:
    half = "" if interval.low is None else _half(interval.high - interval.low, unit)
    return _number(interval.mean, unit, signed=True) + half
