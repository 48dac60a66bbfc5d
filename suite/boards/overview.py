"""All methods of a task held against each other: win rates, critical difference, exchange rates, correlations.

Over the rows of today's code and today's evaluation, as `suite.boards.compare` reads them. Missing cells are
never filled in: what a number leaves out is said in its notes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.base.command import Command
from suite.base.errors import UserError, did_you_mean
from suite.base.text import plain
from suite.boards.correlations import Correlations, correlations
from suite.boards.named_rows import metric_key
from suite.boards.over_images import unit_scores_of
from suite.define.catalog import Catalog
from suite.define.metrics import split_key
from suite.define.protocol import Protocol
from suite.define.task import Task, direction
from suite.records.again import settings_of
from suite.stats.critical_difference import (
    MIN_BLOCKS,
    CriticalDifference,
    Exchange,
    WinRate,
    critical_difference,
    exchange_rate,
    win_rates,
)
from suite.stats.tests import Interval
from suite.store.connection import connect
from suite.store.row import inputs_text
from suite.store.rows import Side, read_rows


@dataclass(frozen=True)
class Ranks:
    """A critical-difference diagram: `found.ranks` are of `methods`, over `protocols`."""

    methods: tuple[str, ...]
    protocols: tuple[str, ...]
    found: CriticalDifference


@dataclass(frozen=True)
class Price:
    """The exchange rate of one method under one protocol."""

    protocol: str
    method: str
    exchange: Exchange


@dataclass(frozen=True)
class OverImages:
    """A row's score with its interval over test images, for the models as trained."""

    protocol: str
    method: str
    runs: int
    interval: Interval | None


@dataclass(frozen=True)
class Overview:
    """What `compare --all` found.

    Attributes:
        methods: labels; a row whose parameters are not the default ones carries them.
        wins: [i][j]: how often methods[i] beats methods[j] over (protocol, seed).
        ranks: None where `ranks_words` says why.
        head, tail: metric keys of the exchange rates; None where the task shows no such pair.
        prices: exchange rates against `reference`; `prices_words` says why there are none.
        images: intervals over test images, where they were asked for.
        correlations: what goes with a score of the task's over all runs; None where the task names nothing.
    """

    task: str
    metric: str
    higher_is_better: bool
    unit: str
    methods: tuple[str, ...]
    protocols: tuple[str, ...]
    wins: tuple[tuple[WinRate | None, ...], ...]
    ranks: Ranks | None
    ranks_words: str
    reference: str
    head: str | None
    tail: str | None
    prices: tuple[Price, ...]
    prices_words: str
    images: tuple[OverImages, ...]
    correlations: Correlations | None
    notes: tuple[str, ...]


def overview(
    root: Path,
    catalog: Catalog,
    task: Task,
    *,
    metric: str | None = None,
    only: Protocol | None = None,
    reference: str,
    images: bool = False,
) -> Overview:
    """All rows of the task's board (of one protocol) by one metric key.

    Args:
        reference: method that exchange rates are against.
        images: resample the test images of every row, from stored predictions.

    Raises UserError: unknown metric or reference, no evaluated run.
    """
    key, about = metric_key(task, metric)
    higher = direction(task, key) is not False
    head, tail = group_keys(task)
    with connect(root) as connection:
        asked: dict[str, Any] = {"only": only, "catalog": catalog}
        rows = read_rows(connection, task, key, **asked)
        ends = [read_rows(connection, task, end, **asked) if end else [] for end in (head, tail)]
        predicted = correlations(connection, catalog, task, only)
    if not rows:
        under = f" under {only.name}" if only else ""
        raise UserError(
            f"{task.name} has no evaluated run of today's code{under}; "
            f"type {Command('run', '--task', task.name)}"
        )
    labels = _labels(rows, catalog, task)
    methods = tuple(sorted(set(labels.values())))
    protocols = tuple(dict.fromkeys(row.protocol for row in rows))
    values: dict[str, dict[Any, float]] = {method: {} for method in methods}
    means: dict[str, dict[str, float]] = {method: {} for method in methods}
    notes = []
    for row in rows:
        method = labels[row.row_id]
        found = row.values
        if not found:
            notes.append(f"left out: {method} under {row.protocol}, which has runs without a value")
            continue
        values[method] |= {(row.protocol, seed): value for seed, value in found.items()}
        means[method][row.protocol] = math.fsum(found.values()) / len(found)
    sign = -1 if head and direction(task, head) is False else 1
    ranks, ranks_words = _ranks(means, protocols, higher)
    prices, prices_words = _prices(ends, labels, reference, head, tail, sign)
    return Overview(
        task=task.name,
        metric=key,
        higher_is_better=higher,
        unit=about.unit,
        methods=methods,
        protocols=protocols,
        wins=tuple(map(tuple, win_rates([values[method] for method in methods], higher))),
        ranks=ranks,
        ranks_words=ranks_words,
        reference=reference,
        head=head,
        tail=tail,
        prices=tuple(prices),
        prices_words=prices_words,
        images=tuple(board_over_images(root, catalog, task, rows, key, labels)) if images else (),
        correlations=predicted,
        notes=tuple(notes),
    )


def group_keys(task: Task) -> tuple[str | None, str | None]:
    """The keys of head and tail: of the first metric that the task shows both of."""
    shown = [*task.primary, *task.columns]
    for key in shown:
        metric, subset = split_key(key)
        if subset == "group=tail" and f"{metric}[group=head]" in shown:
            return f"{metric}[group=head]", key
    return None, None


def board_over_images(
    root: Path,
    catalog: Catalog,
    task: Task,
    rows: Sequence[Side],
    key: str,
    labels: Mapping[int, str],
) -> list[OverImages]:
    """Intervals of the rows over test images; all rows of one protocol on the same resamples."""
    from suite.stats import bootstrap

    made = []
    weights: dict[int, Any] = {}
    for row in rows:
        scores = unit_scores_of(root, catalog, task, row, weights, bootstrap.RESAMPLES)
        if key not in scores.points:
            known = ", ".join(scores.points)
            raise UserError(f"--over images: {key} cannot be resampled; these can: {known}")
        interval = bootstrap.unit_interval(scores, key)
        made.append(OverImages(row.protocol, labels[row.row_id], scores.runs, interval))
    return made


def _labels(rows: Sequence[Side], catalog: Catalog, task: Task) -> dict[int, str]:
    """Row id -> name: the method's, with what `run --set` would take where there are several rows."""
    groups: dict[tuple[str, str], list[Side]] = {}
    for row in rows:
        groups.setdefault((row.protocol, row.method), []).append(row)
    labels = {}
    for (protocol, method), members in groups.items():
        taken: set[str] = set()
        for row in members:
            name = method + inputs_text(row.inputs)
            if len(members) > 1:
                texts = settings_of(catalog, task.protocols[protocol], row)
                if texts is None:
                    texts = [f"run={row.runs[0].run_id}"]
                said = [text.removeprefix(f"{method}.") for text in texts]
                # those of the input runs are said already
                said = [text for text in said if text.partition("=")[0] not in row.inputs]
                name = " ".join([method, *said]) + inputs_text(row.inputs)
            if name in taken:
                name = f"{name} run={row.runs[0].run_id}"
            taken.add(name)
            labels[row.row_id] = plain(name)
    return labels


def _ranks(
    means: Mapping[str, Mapping[str, float]], protocols: Sequence[str], higher: bool
) -> tuple[Ranks | None, str]:
    """Over the largest complete table of methods x protocols."""
    have = {p: {m for m, of in means.items() if p in of} for p in protocols}
    order = sorted(protocols, key=lambda p: (-len(have[p]), p))
    best: tuple[int, list[str], list[str]] = (0, [], [])
    for count in range(MIN_BLOCKS, len(order) + 1):
        methods = sorted(set.intersection(*(have[p] for p in order[:count])))
        size = len(methods) * count
        if len(methods) > 1 and size > best[0]:
            best = (size, methods, order[:count])
    _, methods, blocks = best
    if not methods:
        return None, (
            "average ranks need two methods with runs under the same two protocols or more; "
            f"there is {len(protocols)} protocol"
            if len(protocols) < MIN_BLOCKS
            else "no two methods have runs under the same two protocols"
        )
    blocks = sorted(blocks)
    found = critical_difference([[means[m][p] for m in methods] for p in blocks], higher)
    words = f"over {found.blocks} protocols"
    left = [m for m in means if m not in methods]
    if left:
        words += f"; left out, without runs under all of them: {', '.join(sorted(left))}"
    if others := [p for p in protocols if p not in blocks]:
        words += f"; protocols left out: {', '.join(sorted(others))}"
    if found.p is None:
        words += "; Friedman's test needs three methods that are not equal everywhere"
    elif not found.significant:
        words += f"; Friedman's test finds no difference (p = {found.p:.2g}): the pairs say nothing"
    else:
        words += f"; Friedman p = {found.p:.2g}; methods that share a bar are not told apart"
    return Ranks(tuple(methods), tuple(blocks), found), words


def _prices(
    ends: Sequence[Sequence[Side]],
    labels: Mapping[int, str],
    reference: str,
    head: str | None,
    tail: str | None,
    sign: int,
) -> tuple[list[Price], str]:
    """`sign`: 1 where higher is better, -1 where lower is."""
    if head is None or tail is None:
        return [], "the task shows no metric of both head and tail"
    heads = {row.row_id: row for row in ends[0]}
    under: dict[str, list[tuple[Side, Side]]] = {}
    for row in ends[1]:
        if row.row_id in heads:
            under.setdefault(row.protocol, []).append((heads[row.row_id], row))
    prices = []
    missing = []
    for protocol, rows in under.items():
        against = [pair for pair in rows if labels[pair[0].row_id] == reference]
        if not against:
            missing.append(protocol)
            continue
        of_head, of_tail = (side.values for side in against[0])
        for row_head, row_tail in rows:
            name = labels[row_head.row_id]
            x, y = row_head.values, row_tail.values
            seeds = sorted(x.keys() & y.keys() & of_head.keys() & of_tail.keys())
            if name == reference or not seeds:
                continue
            found = exchange_rate(
                [sign * (x[seed] - of_head[seed]) for seed in seeds],
                [sign * (y[seed] - of_tail[seed]) for seed in seeds],
            )
            prices.append(Price(protocol, name, found))
    words = ""
    if missing:
        words = f"no run of {plain(reference)} under {', '.join(sorted(missing))}"
        if not prices and reference not in set(labels.values()):
            words += did_you_mean(reference, set(labels.values()))
    elif not prices:
        words = f"no method shares a seed with {plain(reference)}"
    return prices, words
