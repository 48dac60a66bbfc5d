"""Modalities: which one starves which over training, gap against accuracy, Shapley values, and who is right about what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import streamlit as st

from dashboard import charts, confusions, controls, say, source, tables, task_rows
from dashboard.palette import PALETTE
from suite.base.command import Command
from suite.base.errors import UserError
from suite.records.attempt import Attempt
from tasks.multimodal.utilisation import Utilisation, read_utilisation
from tasks.multimodal.views import agreement, curves, drawings, encoded, scores, sharing, use
from tasks.multimodal.views import training as over_training
from tasks.multimodal.views.board import PRIMARY, UNIMODAL, Board, Line, some, without
from tasks.multimodal.views.encoded import Encoded
from tasks.multimodal.views.sharing import Answers
from tasks.multimodal.views.training import BY_MODALITY, BY_ROW, Curves

T = TypeVar("T")

TITLE = "Modalities"
ICON = ":material/join_inner:"

TRAINING, GAP, SHAPLEY = "over training", "gap and accuracy", "Shapley values"
USE, AGREEMENT, GROUPS = "utilisation", "agreement", "by frequency"
PANELS = 4
"""Rows that are drawn in panels of their own, by default."""
_STYLES = encoded.Palette(PALETTE, charts.SHAPES, charts.DASHES)
_AGREED = (PALETTE[2], PALETTE[0], PALETTE[1], "#B8B8B8")
"""Of the patterns of `agreement`."""


def page() -> None:
    found = task_rows.pick_scored(
        {PRIMARY, scores.GAP, scores.GAIN, "probe", "shapley"},
        "no task here scores modalities apart",
    )
    if found is None:
        return
    task, protocol = found
    rows = task_rows.largest_first(task_rows.rows(task, protocol, PRIMARY), PRIMARY)
    if not rows:
        return
    board = Board.of(task, protocol, [Line(*one) for one in rows])
    shown = {
        TRAINING: _training,
        GAP: _gap,
        SHAPLEY: _shapley,
        USE: _utilisation,
        AGREEMENT: _agreement,
        GROUPS: _groups,
    }
    shown[controls.tabs(tuple(shown), "view")](board)


def _chosen(board: Board, most: int, *first: str) -> list[Line]:
    """Rows for a chart; by default the reference, the rows `first`, and the best, `most` in all."""
    rows = [task_rows.Scored(*line) for line in board.lines]
    return [Line(*one) for one in task_rows.pick_rows(rows, board.default(most, first), PRIMARY)]


def _parts(board: Board, *, fused: bool = True) -> Encoded:
    labels = [label for _, label in board.parts] if fused else board.labels
    return encoded.of_parts(labels, _STYLES)


def _cells(panels: Sequence[T]) -> Iterator[tuple[T, Any]]:
    """Each with a place on the page, two beside each other."""
    for place in range(0, len(panels), 2):
        yield from zip(panels[place : place + 2], st.columns(2), strict=False)


# -- over training


def _training(board: Board) -> None:
    first, second, third = st.columns([4, 2, 2])
    with first:
        chosen = _chosen(board, PANELS, UNIMODAL)
    with second:
        by = controls.pick("A panel for", (BY_ROW, BY_MODALITY), "panels")
    with third:
        smooth = controls.slide(
            "Smoothing / %",
            0.0,
            20.0,
            "smooth",
            default=5.0,
            step=1.0,
            format="%d",
            help="A running mean over this share of training.",
        )
    if not chosen:
        return
    alone = board.unimodal
    read = {line.name: _curves(line) for line in [*chosen, *([alone] if alone else [])]}
    found = over_training.training(
        board, chosen, read, by=by, smooth=smooth / 100, alone=alone.name if alone else None
    )
    if not found.panels:
        say.nothing("the records of these rows hold no accuracy of training batches")
        return
    if found.told:
        st.markdown(say.words(found.told))
    for panel, cell in _cells(found.panels):
        with cell:
            st.markdown(f"**{say.words(panel.title)}**")
            seen = _parts(board) if by == BY_ROW else encoded.of_rows(panel.names, _STYLES)
            charts.show(
                curves.trajectories(panel.spots, seen, found.top, found.last),
                f"training-{panel.title}",
                f"accuracy of training batches over iterations: {panel.title}",
            )
    for note in over_training.notes(found, by):
        say.note(note)
    tables.show(over_training.end_sheet(board, found), "ends")
    with st.expander("Points of the curves"):
        tables.show(over_training.curve_sheet(board, found.panels), "curves")


def _curves(line: Line) -> Curves:
    runs = [(run.seed, run.run_id, run.attempt) for run in line.side.runs]
    return _read_curves(source.current(), tuple(runs))


@source.kept
def _read_curves(stamp: source.Stamp, runs: tuple[tuple[int, str, int], ...]) -> Curves:
    return over_training.read(source.root(), runs)


# -- scores of rows


def _gap(board: Board) -> None:
    declared = {metric.name for metric in board.task.metrics}
    offered = [one for one in (PRIMARY, "balanced_accuracy", "macro_f1") if one in declared]
    first, second, _ = st.columns([2, 2, 2])
    with first:
        metric = controls.pick("Accuracy", offered, "metric")
    with second:
        way = controls.pick("Of a modality", scores.WAYS, "alone", help=scores.ABOUT_WAYS)
    places = scores.places(board, metric, way)
    if places:
        charts.show(
            drawings.gap_and_score(
                places, encoded.of_rows([one.row for one in places], _STYLES), metric
            ),
            "gap",
            f"{metric} of {len(places)} rows against the gap between their modalities",
        )
        say.note(scores.about_gap(way))
    if lost := [line.name for line in board.lines if line.name not in {one.row for one in places}]:
        told = say.note if places else say.nothing
        told(f"Without a modality gap ({way}): {some(lost)}.")
    tables.show(scores.gap_sheet(board, metric, way), "gaps")


def _shapley(board: Board) -> None:
    first, second = st.columns([4, 2])
    with first:
        chosen = _chosen(board, task_rows.MOST_ROWS)
    group = None
    if board.groups:
        with second:
            of = controls.pick("Classes", [controls.ALL, *board.groups], "of")
            group = None if of == controls.ALL else of
    if not chosen:
        return
    points = scores.shapley(board, chosen, group)
    lost = without(points)
    rows = [line.name for line in chosen if line.name not in lost]
    if rows:
        charts.show(
            drawings.lanes(
                points, rows, _parts(board, fused=False), "Shapley value / points", bars=True
            ),
            "shapley",
            f"Shapley values of {len(board.labels)} modalities, for {', '.join(rows)}",
        )
        say.note(scores.ABOUT_SHAPLEY)
    if lost:
        told = say.note if rows else say.nothing
        told(f"{scores.NO_SHAPLEY}: {some(lost)}.")
    tables.show(scores.shapley_sheet(board, points, group), "shapley-values")


def _utilisation(board: Board) -> None:
    used = use.used(board, _ratios(source.current(), board.task.name, board.protocol.name))
    if not used:
        said = ("run", "--task", board.task.name, "--protocol", board.protocol.name)
        say.nothing(use.NONE, Command(*said, "--method", UNIMODAL, "--seeds", "0-2"))
        return
    rows = list(dict.fromkeys(one.row for one in used))
    charts.show(
        drawings.lanes(
            use.points(used), rows, _parts(board, fused=False), "utilisation / %", line_at=100.0
        ),
        "utilisation",
        f"utilisation of {len(board.labels)} modalities, for {', '.join(rows)}",
    )
    for note in use.notes(board, used):
        say.note(note)
    tables.show(use.sheet(board, used), "utilised")


@source.kept
def _ratios(stamp: source.Stamp, task: str, protocol: str) -> list[Utilisation]:
    of = source.task(task)
    with source.connection() as store:
        return read_utilisation(store, of, of.protocols[protocol], source.catalog())


def _groups(board: Board) -> None:
    if not board.groups:
        name = board.protocol.name
        say.nothing(f"{name} has no groups of classes; its long-tailed variants have")
        return
    first, second = st.columns([4, 2])
    with first:
        chosen = _chosen(board, PANELS, UNIMODAL)
    with second:
        way = controls.pick(
            "Of a modality", (*scores.WAYS, scores.PROBE), "alone", help=scores.ABOUT_WAYS
        )
    if not chosen:
        return
    points = scores.by_group(board, chosen, way)
    top = scores.ceiling([point for point, _ in points])
    for line, cell in _cells(chosen):
        with cell:
            st.markdown(f"**{say.words(line.name)}**")
            own = [one for one in points if one[0].row == line.name]
            charts.show(
                curves.steps(own, board.groups, _parts(board), top),
                f"groups-{line.name}",
                f"recall by group of classes and modality: {line.name}",
            )
    say.note(scores.about_groups(board, way))
    tables.show(scores.group_sheet(board, points, way), "groups")


# -- agreement


def _agreement(board: Board) -> None:
    columns = st.columns([3, 2, 3, 3])
    rows = [task_rows.Scored(*line) for line in board.lines]
    line, run = task_rows.pick_run(rows, columns[0], columns[1])
    if not confusions.wanted([(run.run_id, run.attempt)]):
        return
    try:
        with st.spinner("reading stored predictions"):
            stamp, of = task_rows.stamp_of(run), (board.task.name, board.protocol.name)
            found = _answers(stamp, of, board.modalities, run.run_id, run.attempt)
    except UserError as error:
        confusions.problem(error)
        return
    labels = dict(board.named)
    names = {labels[name]: name for name in found.names}
    if len(names) < 2:
        say.nothing(agreement.too_few(line.name, list(names)))
        return
    with columns[2]:
        a = controls.pick("Modality A", list(names), "a")
    with columns[3]:
        b = controls.pick("Modality B", [name for name in names if name != a], "b")
    made = agreement.agreement(found, (names[a], names[b]), labels, board.protocol.dataset.classes)
    title = f"{board.title}: {line.name}, seed {run.seed}"
    charts.show(
        drawings.stacked(made.bars, made.drawn, made.patterns, _AGREED),
        "agreement",
        f"shares of the test samples that {a} and {b} are right about, by class",
    )
    for note in made.notes:
        say.note(note)
    with st.expander("Table"):
        tables.show(agreement.share_sheet(f"{title}, {a} and {b}", made), "agreement")
    if len(names) > 2:
        tables.show(agreement.pair_sheet(f"{title}, all pairs", found, labels), "pairs")
        tables.show(agreement.vote_sheet(f"{title}, how many are right", found), "votes")
    with st.columns([2, 4])[0]:
        wanted = controls.pick("Samples", made.patterns, "samples", default=made.patterns[1])
    numbers = made.samples[made.patterns.index(wanted)]
    if not numbers:
        say.nothing(f"no test sample has {wanted}")
        return
    title = f"{title}: {wanted}"
    tables.show(agreement.sample_sheet(title, found, numbers, made, labels), "samples")


@st.cache_resource(show_spinner=False, max_entries=8)
def _answers(
    stamp: source.Stamp, of: tuple[str, str], modalities: tuple[str, ...], run: str, attempt: int
) -> Answers:
    under = source.task(of[0]).protocols[of[1]]
    return sharing.read(Attempt(source.root(), run, attempt), under, source.catalog(), modalities)
