"""Importing what a review has found acceptable: re-encoded, without weights, with our own evaluations."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from suite.base.bounded import MAX_FILE, MAX_JSON, parse_arrays, read_file
from suite.base.errors import UserError
from suite.define import variants
from suite.define.catalog import Catalog
from suite.define.flags import EXTERNAL
from suite.exchange.merge import bring, inputs_first, renumbered
from suite.exchange.review.findings import ExaminedRun, Review
from suite.records.attempt import Attempt
from suite.records.files import Evaluation


def accept(review: Review, root: Path, catalog: Catalog) -> list[Attempt]:
    """Import the new runs of an acceptable review, each whole or not at all, marked external.

    Files are read again, and must be those that were examined; protocols that the folder brings for
    them are written as they were examined. Returns the new attempts. Raises UserError: not acceptable,
    changed since, or another process is at one of the runs.
    """
    if not review.acceptable:
        raise UserError(f"{review.folder}: the review found problems; nothing is imported")
    new = {run.run_id: run for run in review.new}
    moved = {(run.run_id, run.number): run.here.number for run in review.runs if run.here}
    needs = {run_id: run.record.spec.inputs.values() for run_id, run in new.items() if run.record}
    # before the runs: killed in between, a run would be of an unknown protocol
    variants.write(review.protocols, root)
    catalog = catalog.having(review.protocols)
    imported = []
    for run_id in inputs_first(needs):
        attempt = _import(new[run_id], root, catalog, moved)
        moved[run_id, new[run_id].number] = attempt.number
        imported.append(attempt)
    return imported


def _import(
    run: ExaminedRun, root: Path, catalog: Catalog, moved: Mapping[tuple[str, int], int]
) -> Attempt:
    try:
        content = read_file(run.folder / "predictions.npz", MAX_FILE)
        again = read_file(run.folder / "record.json", MAX_JSON)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: gone since it was examined") from None
    for name, data in {"predictions.npz": content, "record.json": again}.items():
        if hashlib.sha256(data).hexdigest() != run.sha[name]:
            raise UserError(f"{run.folder / name}: changed since it was examined; review it again")
    record = run.record
    assert record is not None
    protocol = catalog.protocol_of(record.spec)
    held = parse_arrays(content, Path("predictions.npz"))
    predictions = {
        name: {key: array for key, array in arrays.items() if f"{name}/{key}" not in run.unread}
        for name, arrays in held.items()
        if name in run.sets
    }
    del content

    def fill(staged: Attempt) -> None:
        staged.create(record.spec)
        staged.write_predictions(predictions)
        for name, rows in run.rows.items():
            task = catalog.task(name)
            staged.write_evaluation(
                Evaluation(
                    run_id=run.run_id,
                    attempt=staged.number,
                    task=name,
                    evaluation_hash=task.evaluation_hash(protocol),
                    evaluation=task.evaluation(protocol),
                    metrics=rows,
                    made=time.time(),
                )
            )
        staged.write_record(
            msgspec.structs.replace(
                renumbered(record, staged.number, moved),
                flags=sorted({*record.flags, EXTERNAL}),
                external=run.sha["record.json"],
            )
        )

    attempt = bring(root, run.run_id, fill)
    if attempt is None:
        raise UserError(f"run {run.run_id} is in use by another process; try again later")
    return attempt
