"""Tables and points of a board's scores by modality: gap, Shapley values, groups of classes."""

from __future__ import annotations

from collections.abc import Sequence

from suite.render.table import Column, Sheet, Value
from tasks.multimodal.views.board import Board, Line, Point, key_of, point, share
from tasks.multimodal.views.drawings import Place

GAP, GAIN = "modality_gap", "fusion_gain"


OWN, LEFT, PROBE = "own logits", "all others left out", "linear probe"
WAYS = OWN, LEFT
"""How a modality is seen alone by the fusion."""


ABOUT_WAYS = (
    "Its own logits, which not every fusion has; or the fused logits, with the features of all other modalities zero or their "
    "votes left out."
)
ABOUT_SHAPLEY = (
    "What a modality adds to top1, averaged over all orders in which modalities can come (Shapley 1953): a row's values add up "
    "to its top1 less 1 / C, that of a guess. Lines are 95 % t intervals over seeds, cut at the frame."
)
NO_SHAPLEY = (
    "Without Shapley values, which take several modalities and a fusion that works without some"
)


def about_gap(way: str) -> str:
    return f"Gap: top1 of the best modality less that of the worst ({way}). Bars are 95 % t intervals over seeds, cut at the frame."


def about_groups(board: Board, way: str) -> str:
    return (
        f"Recall, the mean over a group's classes: of the fused logits, and of each modality ({way}). Bars are 95 % t intervals "
        f"over seeds, cut at the frame. Groups: {board.protocol.dataset.group_rule}"
    )


def alone_key(board: Board, way: str, modality: str, group: str | None = None) -> str:
    """Key of the accuracy of a modality seen in this way: of `WAYS`, or `PROBE`."""
    missing = board.missing if way == LEFT else None
    return key_of("probe" if way == PROBE else "top1", modality, group, missing)


def places(board: Board, metric: str, way: str) -> list[Place]:
    """The rows that have a gap and the metric."""
    made: list[Place] = []
    for line in board.lines:
        gap, score = point(line, _gap_key(board, way), ""), point(line, metric, "")
        if gap.mean is not None and score.mean is not None:
            spans = gap.low, gap.high, score.mean, score.low, score.high
            made.append(Place(line.name, gap.mean, *spans, line.row.n))
    return made


def _gap_key(board: Board, way: str) -> str:
    return key_of(GAP, missing=board.missing if way == LEFT else None)


def gap_sheet(board: Board, metric: str, way: str) -> Sheet:
    """A line a row: its accuracy, gap, gain, and each modality's own accuracy."""
    key = _gap_key(board, way)
    columns = [
        Column("row"),
        Column("n", "integer", "Replicates."),
        Column(metric, "percent"),
        Column("low", "percent"),
        Column("high", "percent"),
        Column("gap", "points", f"{key}: the best modality's top1 less the worst's."),
        Column("gap low", "points"),
        Column("gap high", "points"),
        Column("gain", "points", "fusion_gain: top1 less the best probe of a modality."),
        *(Column(label, "percent", f"top1 of this modality: {way}.") for label in board.labels),
    ]
    rows: list[list[Value]] = []
    for line in board.lines:
        score, gap = line.row.cell(metric), line.row.cell(key)
        rows.append(
            [
                *(line.name, line.row.n, score.mean, score.low, score.high),
                *(gap.mean, gap.low, gap.high, line.row.cell(GAIN).mean),
                *(line.row.cell(alone_key(board, way, name)).mean for name in board.modalities),
            ]
        )
    return Sheet(
        f"{board.title}: {metric} and modality gap, {way}",
        tuple(columns),
        rows,
        notes=("low, high: 95 % t interval over seeds",),
    )


def shapley(board: Board, lines: Sequence[Line], group: str | None) -> list[Point]:
    """Of `top1`, of all classes or of a group."""
    return [
        point(line, key_of("shapley", name, group), label)
        for line in lines
        for name, label in board.named
    ]


def shapley_sheet(board: Board, points: Sequence[Point], group: str | None) -> Sheet:
    """A line a row and modality; with what the row's values add up to."""
    rows: list[list[Value]] = []
    for row in dict.fromkeys(p.row for p in points):
        own = [p for p in points if p.row == row]
        known = [p.mean for p in own if p.mean is not None]
        total = sum(known) if known and len(known) == len(own) else None
        rows += [
            [row, p.part, p.n, share(p.mean), share(p.low), share(p.high), share(total)]
            for p in own
        ]
    return Sheet(
        f"{board.title}: Shapley values" + (f", {group} classes" if group else ""),
        (
            Column("row"),
            Column("modality"),
            Column("n", "integer", "Replicates."),
            Column("value", "points"),
            Column("low", "points"),
            Column("high", "points"),
            Column("sum", "points", "Of the row's values, where all are known."),
        ),
        rows,
        notes=("low, high: 95 % t interval over seeds",),
    )


def ceiling(points: Sequence[Point]) -> float:
    """Where an axis of percentages ends: at the next ten above the largest mean."""
    highest = max((p.mean for p in points if p.mean is not None), default=90.0)
    return min(100.0, 10.0 * (highest // 10 + 1))


def by_group(board: Board, lines: Sequence[Line], way: str) -> list[tuple[Point, str]]:
    """(recall of a modality, or of the fused logits; the group of classes it is on)."""
    return [
        (
            point(
                line,
                alone_key(board, way, name, group) if name else key_of("top1", group=group),
                label,
            ),
            group,
        )
        for line in lines
        for name, label in board.parts
        for group in board.groups
    ]


def group_sheet(board: Board, points: Sequence[tuple[Point, str]], way: str) -> Sheet:
    return Sheet(
        f"{board.title}: recall by group of classes, {way}",
        (
            Column("row"),
            Column("modality"),
            Column("group"),
            Column("n", "integer", "Replicates."),
            Column("recall", "percent", "Mean over the group's classes."),
            Column("low", "percent"),
            Column("high", "percent"),
        ),
        [
            (p.row, p.part, group, p.n, share(p.mean), share(p.low), share(p.high))
            for p, group in points
        ],
        notes=("low, high: 95 % t interval over seeds",),
    )
