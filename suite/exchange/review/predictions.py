"""A run's stored arrays against those here, and its scores against its arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.exchange.attempt_files import AttemptFiles
from suite.exchange.reference import Reference, units_of
from suite.exchange.review.findings import ExaminedRun
from suite.exchange.verify import check_evaluations
from suite.records.attempt import Attempt
from suite.records.files import Record

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Arrays = dict[str, dict[str, Array]]


class WatchedArrays(Mapping[str, "Array"]):
    """The arrays of a set, and the names of those that were looked at."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        array = self._arrays[name]
        self.read.add(name)
        return array

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def check_predictions(
    run: ExaminedRun, record: Record, protocol: Protocol, predictions: Arrays, reference: Reference
) -> None:
    """The sets are the protocol's, and the arrays that are the same in all our runs are the same here."""
    problems = [
        f"the set {name!r} is not stored"
        for name in protocol.prediction_sets
        if name not in predictions
    ]
    allowed = {*protocol.prediction_sets, *protocol.extra_sets, *protocol.views}
    problems += [f"the protocol has no set {name!r}" for name in predictions if name not in allowed]
    checked = False
    for name, wanted in reference.constants(protocol, record.data).items():
        if name in run.prints:
            checked = True
            if run.prints[name] != wanted:
                text = f"{name.removesuffix('.npy')} is the same in all our runs on this data, not here"
                problems.append(text)
    if not problems:
        for task, units in reference.units(protocol, record.data).items():
            checked = True
            if units_of(reference.catalog.task(task), protocol, predictions, record) != units:
                problems.append(f"its test units (labels) are not those of our runs ({task})")
    run.judge("predictions", problems)
    if not checked:
        run.say("labels", "note", "cannot be compared: too few runs on this data here")


def leave_out_unread(
    run: ExaminedRun, watched: Mapping[str, WatchedArrays], protocol: Protocol
) -> None:
    """What no score is made of cannot be held against one: it is left out, and wrong in a set that every run
    stores."""
    if not run.rows:
        return
    left = [name for name, arrays in watched.items() if not arrays.read]
    for name in left:
        run.say("predictions", "note", f"no score is made of the set {name!r}: left out")
    run.sets = frozenset(watched) - set(left)
    run.prints = {
        name: value for name, value in run.prints.items() if name.partition("/")[0] in run.sets
    }
    odd = [
        f"{name}/{key}"
        for name, arrays in watched.items()
        for key in arrays
        if arrays.read and key not in arrays.read
    ]
    run.unread = frozenset(odd)
    run.prints = {
        name: value
        for name, value in run.prints.items()
        if name.removesuffix(".npy") not in run.unread
    }
    wrong = [name for name in odd if name.partition("/")[0] in protocol.prediction_sets]
    if wrong:
        run.say(
            "predictions", "problem", f"no score is made of {wrong[0][:100]} ({len(wrong)} such)"
        )
    elif odd:
        run.say(
            "predictions", "note", f"no score is made of {odd[0][:100]} ({len(odd)} such): left out"
        )


def check_metrics(
    run: ExaminedRun,
    files: AttemptFiles,
    predictions: Mapping[str, WatchedArrays],
    protocol: Protocol,
    reference: Reference,
) -> None:
    """Every evaluation of today's version is what the predictions give."""
    attempt = Attempt(reference.root, run.run_id, run.number)
    checked, run.rows = check_evaluations(attempt, files, predictions, protocol, reference.catalog)
    problems = []
    for evaluation in checked:
        if evaluation.state == "damaged":
            problems.append(f"{evaluation.task}: {evaluation.why}")
        elif evaluation.state == "mismatch":
            wrong = evaluation.compared.mismatches
            first = wrong[0]
            problems.append(
                f"{evaluation.task}: {len(wrong)} row(s) are not what the predictions give: {first.name[:100]} is "
                f"{first.stored}, recomputed {first.recomputed}"
            )
        elif evaluation.state != "match":
            run.say("metrics", "note", f"{evaluation.task}: {evaluation.why}")
    if not problems and not any(evaluation.state == "match" for evaluation in checked):
        problems.append(
            "no evaluation of today's version to hold the predictions against: have them evaluated with "
            "this version of the suite"
        )
    for task in reference.catalog.accepting(protocol):
        if task.name not in run.rows and not problems:
            problems.append(f"{task.name}: cannot be recomputed")
    problems += _masquerading(files.record.rows, run.rows)
    run.judge("metrics", problems)
    hooks = sum(evaluation.compared.hooks for evaluation in checked)
    if hooks:
        text = f"{hooks} row(s) were made during training: taken on trust"
        run.say("metrics", "note", text)


def _masquerading(
    hooks: Sequence[MetricRow], recomputed: Mapping[str, list[MetricRow]]
) -> list[str]:
    """Rows made during training that would be read as final scores of the stored predictions."""
    computed = {
        row.metric for rows in recomputed.values() for row in rows if row.source == "arrays"
    }
    odd = [row for row in hooks if row.step is None and row.metric in computed]
    if not odd:
        return []
    return [f"{odd[0].key[:100]} is said to be made in training, but is made of predictions"]
