"""Utilisation as the page shows it: rows and their probes beside those of training each modality alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from suite.render.table import Column, Sheet
from suite.stats.tests import Interval
from tasks.multimodal.utilisation import Utilisation
from tasks.multimodal.views.board import UNIMODAL, Board, Point, some


class Used(NamedTuple):
    """A row's modality: its probe and that of the row `reference`, means over the seeds of `ratio`, in which both are."""

    row: str
    part: str
    own: float
    alone: float
    reference: str
    ratio: Interval


def used(board: Board, found: Sequence[Utilisation]) -> list[Used]:
    """In the order of the board; without the rows that are held against, and what shares no seed with them."""
    names = {line.side.row_id: line.name for line in board.lines}
    labels = dict(board.named)
    references = {one.reference.row_id for one in found}
    made = []
    for one in found:
        ratio, row = one.interval, names.get(one.side.row_id)
        if ratio is None or row is None or one.side.row_id in references:
            continue
        own, alone = (
            sum(side.values[seed] for seed in one.ratios) / len(one.ratios)
            for side in (one.side, one.reference)
        )
        # a reference's code may have changed since: then it is no row of today
        beside = names.get(one.reference.row_id, one.reference.method)
        made.append(Used(row, labels[one.modality], own, alone, beside, ratio))
    order = [line.name for line in board.lines]
    return sorted(made, key=lambda one: order.index(one.row))


def points(found: Sequence[Used]) -> list[Point]:
    """In percent."""

    def percent(value: float | None) -> float | None:
        return None if value is None else 100 * value

    return [
        Point(
            u.row,
            u.part,
            100 * u.ratio.mean,
            percent(u.ratio.low),
            percent(u.ratio.high),
            u.ratio.n,
        )
        for u in found
    ]


NONE = f"no row shares a seed with {UNIMODAL}, whose linear probes others are held against:"


def notes(board: Board, found: Sequence[Used]) -> list[str]:
    made = [
        f"A linear probe's accuracy on a modality's features over that of {', '.join(dict.fromkeys(u.reference for u in found))} with the same seed, where "
        "each modality is trained alone: left of the dashed line it has learnt less than it does alone. Bars are 95 % t intervals "
        "over the seeds that both have, cut at the frame."
    ]
    known = {name for one in found for name in (one.row, one.reference)}
    if lost := [line.name for line in board.lines if line.name not in known]:
        made.append(f"Without a seed to compare: {some(lost)}.")
    return made


def sheet(board: Board, found: Sequence[Used]) -> Sheet:
    """A line a row and modality."""
    return Sheet(
        f"{board.title}: utilisation",
        (
            Column("row"),
            Column("modality"),
            Column("seeds", "integer", "That both rows have."),
            Column("probe", "percent", "Linear probe on the row's features."),
            Column(
                "alone",
                "percent",
                "The same where the modality is trained alone, over these seeds.",
            ),
            Column("utilisation", "percent", "Mean over seeds of probe / alone."),
            Column("low", "percent"),
            Column("high", "percent"),
            Column("alone is"),
        ),
        [(u.row, u.part, u.ratio.n, u.own, u.alone, *u.ratio[:3], u.reference) for u in found],
        notes=("low, high: 95 % t interval over the seeds that both rows have",),
    )
