"""Who starves whom: the accuracy of each modality's own logits over training, a panel a row or a modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from suite.base.errors import UserError
from suite.records.attempt import Attempt
from suite.render.table import Column, Sheet, Value
from tasks.multimodal.views import trajectories
from tasks.multimodal.views.board import PRIMARY, UNIMODAL, Board, Line, some
from tasks.multimodal.views.curves import Spot
from tasks.multimodal.views.trajectories import End

BY_ROW, BY_MODALITY = "a row each", "a modality each"

Curve = Sequence[tuple[int, float]]
Curves = Mapping[str, Mapping[int, Curve]]
"""Name of a curve in records -> seed -> the curve, `trajectories.cleaned`."""


MOST_SEEDS = 20
"""Records of a row that are read."""


def read(root: Path, runs: Sequence[tuple[int, str, int]]) -> Curves:
    """Accuracies of (seed, run, attempt)s, of the records that can be read."""
    found: dict[str, dict[int, Curve]] = {}
    for seed, run, attempt in runs[:MOST_SEEDS]:
        try:
            record = Attempt(root, run, attempt).record()
        except (OSError, UserError):
            continue
        for name, curve in record.curves.items():
            if name.startswith(PRIMARY):
                found.setdefault(name, {})[seed] = trajectories.cleaned(curve)
    return found


class Panel(NamedTuple):
    """A chart: its title, its points, and the names in its legend."""

    title: str
    spots: list[Spot]
    names: tuple[str, ...]


class Training(NamedTuple):
    """All that is drawn of the rows. `silent`: rows without a curve of any modality; `top` percent, `last` iteration of
    the axes; `alone`: the row whose modalities are trained on their own; `told`: which modality is starved most."""

    panels: list[Panel]
    ends: list[End]
    silent: list[str]
    top: float
    last: float
    alone: str | None
    told: str


def training(
    board: Board,
    lines: Sequence[Line],
    curves: Mapping[str, Curves],
    *,
    by: str,
    smooth: float,
    alone: str | None,
) -> Training:
    """Means over seeds.

    Args:
        curves: row's name -> its curves.
        by: `BY_ROW` or `BY_MODALITY`, what a panel is of.
        smooth: share of training that a running mean is over.
        alone: name of the row whose modalities are trained on their own: dotted in panels of rows, and what ends are
            compared with.
    """
    of_row = {line.name: _spots(board, line.name, curves[line.name], smooth) for line in lines}
    spots = [one for found in of_row.values() for one in found]
    labels = [label for _, label in board.parts]
    if by == BY_MODALITY:
        rows = tuple(line.name for line in lines)
        panels = [
            Panel(label, [one for one in spots if one.part == label], rows) for label in labels
        ]
        panels = [one for one in panels if one.spots]
    else:
        beside = _spots(board, alone, curves[alone], smooth, reference=True) if alone else []
        panels = []
        for name, found in of_row.items():
            own = {one.part for one in found}
            # of the one trained alone, those that the row has curves of
            dotted = [] if name == alone else [one for one in beside if one.part in own]
            panels.append(Panel(name, [*found, *dotted], tuple(labels)))
        panels = [one for one in panels if one.spots]
    shown = [one for panel in panels for one in panel.spots]
    highest = max((one.value for one in shown), default=0.0)
    ends = _ends(board, lines, curves, alone)
    return Training(
        panels,
        ends,
        [line.name for line in lines if _silent(board, curves[line.name])],
        min(100.0, 10.0 * (highest // 10 + 1)) if shown else 100.0,
        max((one.step for one in shown), default=1.0),
        alone,
        trajectories.starved(ends, alone) if alone else "",
    )


def notes(found: Training, by: str) -> list[str]:
    """What is drawn."""
    alone = found.alone
    dotted = f" Dotted: the modality trained alone ({alone})." if alone and by == BY_ROW else ""
    made = [
        "Accuracy of training batches, the mean over seeds: of the fused logits, and of each modality's own."
        + dotted
    ]
    if alone is None:
        made.append(
            f"{UNIMODAL}, which trains each modality alone, has no row here to compare with."
        )
    if found.silent:
        made.append(
            f"Without curves of single modalities, of which the fusion has no logits: {some(found.silent)}."
        )
    return made


def _silent(board: Board, curves: Curves) -> bool:
    return not any(curves.get(trajectories.name_of(name)) for name in board.modalities)


def _spots(
    board: Board, row: str, curves: Curves, smooth: float, *, reference: bool = False
) -> list[Spot]:
    """Of the modalities alone where it is a reference."""
    parts = board.named if reference else board.parts
    return [
        Spot(row, label, float(step), 100 * value, n, reference)
        for modality, label in parts
        for step, value, n in trajectories.mean(
            [
                trajectories.smoothed(curve, smooth)
                for curve in curves.get(trajectories.name_of(modality), {}).values()
            ]
        )
    ]


def _ends(
    board: Board,
    lines: Sequence[Line],
    curves: Mapping[str, Curves],
    alone: str | None,
) -> list[End]:
    def by_seed(of: Curves, modality: str | None) -> dict[int, float]:
        found = of.get(trajectories.name_of(modality), {})
        ends = {seed: trajectories.end(curve) for seed, curve in found.items()}
        return {seed: value for seed, value in ends.items() if value is not None}

    made = [
        trajectories.ended(
            line.name,
            label,
            by_seed(curves[line.name], modality),
            by_seed(curves[alone], modality) if alone and modality is not None else None,
        )
        for line in lines
        for modality, label in board.parts
    ]
    return [one for one in made if one is not None]


def end_sheet(board: Board, found: Training) -> Sheet:
    """Where each part of each row ends, and what is lost against training it alone."""
    reference = found.alone
    columns = [
        Column("row"),
        Column("logits of"),
        Column("n", "integer", "Seeds."),
        Column("accuracy", "percent", "Of training batches, mean over the last tenth of training."),
        Column("low", "percent"),
        Column("high", "percent"),
    ]
    if reference is not None:
        columns += [
            Column("alone", "percent", f"The same of {reference}."),
            Column("difference", "points", "Mean over the seeds that both have."),
            Column("its low", "points"),
            Column("its high", "points"),
        ]
    rows: list[list[Value]] = []
    for one in found.ends:
        gap = one.difference
        line: list[Value] = [one.row, one.part, one.own.n, one.own.mean, one.own.low, one.own.high]
        if reference is not None:
            line += [one.alone.mean if one.alone else None]
            line += [gap.mean, gap.low, gap.high] if gap else [None, None, None]
        rows.append(line)
    return Sheet(
        f"{board.title}: accuracy of training batches at the end",
        tuple(columns),
        rows,
        notes=("low, high: 95 % t interval over seeds",),
    )


def curve_sheet(board: Board, panels: Sequence[Panel]) -> Sheet:
    """A line a point that is drawn."""
    spots = {(one.row, one.part, one.step): one for panel in panels for one in panel.spots}
    return Sheet(
        f"{board.title}: accuracy of training batches",
        (
            Column("row"),
            Column("logits of"),
            Column("iteration", "integer"),
            Column("accuracy", "percent"),
            Column("n", "integer", "Seeds."),
        ),
        [(s.row, s.part, s.step, s.value / 100, s.n) for s in spots.values()],
    )
