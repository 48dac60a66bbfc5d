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
from suite.exchange.merge import EXTERNAL, bring, inputs_first, renumbered
from suite.exchange.review import Examined, Review
from suite.records.attempt import Attempt
from suite.records.files import Evaluation


def accept(found: Review, root: Path, catalog: Catalog) -> list[Attempt]:
    """Import the new runs of an acceptable review, each whole or not at all, marked external.

    Files are read again, and must be those that were examined; protocols that the folder brings for
    them are written as they were examined. Returns the new attempts. Raises UserError: not acceptable,
    changed since, or another process is at one of the runs.
    """
    if not found.acceptable:
        raise UserError(f"{found.folder}: the review found problems; nothing is imported")
    new = {one.run_id: one for one in found.new}
    moved = {(one.run_id, one.number): one.here.number for one in found.runs if one.here}
    needs = {run_id: one.record.spec.inputs.values() for run_id, one in new.items() if one.record}
    # before the runs: killed in between, a run would be of an unknown protocol
    variants.write(found.protocols, root)
    catalog = catalog.having(found.protocols)
    made = []
    for run_id in inputs_first(needs):
        attempt = _import(new[run_id], root, catalog, moved)
        moved[run_id, new[run_id].number] = attempt.number
        made.append(attempt)
    return made


def _import(
    one: Examined, root: Path, catalog: Catalog, moved: Mapping[tuple[str, int], int]
) -> Attempt:
    try:
        content = read_file(one.folder / "predictions.npz", MAX_FILE)
        again = read_file(one.folder / "record.json", MAX_JSON)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: gone since it was examined") from None
    for name, data in {"predictions.npz": content, "record.json": again}.items():
        if hashlib.sha256(data).hexdigest() != one.sha[name]:
            raise UserError(f"{one.folder / name}: changed since it was examined; review it again")
    record = one.record
    assert record is not None
    protocol = catalog.protocols[record.spec.protocol_hash]
    held = parse_arrays(content, Path("predictions.npz"))
    predictions = {
        name: {key: array for key, array in arrays.items() if f"{name}/{key}" not in one.unread}
        for name, arrays in held.items()
        if name in one.sets
    }
    del content

    def fill(staged: Attempt) -> None:
        staged.create(record.spec)
        staged.write_predictions(predictions)
        for name, rows in one.rows.items():
            task = catalog.task(name)
            staged.write_evaluation(
                Evaluation(
                    run_id=one.run_id,
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
                external=one.sha["record.json"],
            )
        )

    made = bring(root, one.run_id, fill)
    if made is None:
        raise UserError(f"run {one.run_id} is in use by another process; try again later")
    return made
