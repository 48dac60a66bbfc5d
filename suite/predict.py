"""Prediction sets added after training."""

from __future__ import annotations

import time
from pathlib import Path

from suite.catalog import Catalog
from suite.errors import UserError, did_you_mean
from suite.evaluate import evaluate_attempt
from suite.record import Attempt, Status
from suite.worker import Job, run_lock


def predict_set(
    attempt: Attempt, catalog: Catalog, name: str, data_root: Path | None, device: str
) -> None:
    """Compute prediction set `name` from the kept weights, store it, evaluate anew.

    Raises UserError: unknown set, a protocol unknown here, the run in use, missing data or weights.
    """
    record = attempt.record()
    protocol = catalog.protocols.get(record.spec.protocol_hash)
    if protocol is None:
        raise UserError(
            f"run {attempt.run_id}: its protocol {record.spec.protocol!r} is not known here"
        )
    sets = {**protocol.prediction_sets, **protocol.extra_sets}
    if name not in sets:
        raise UserError(
            f"protocol {protocol.name!r} has no prediction set {name!r}{did_you_mean(name, sets)}"
        )
    if protocol.predict is None:
        raise UserError(f"protocol {protocol.name!r} cannot predict from kept weights")
    with run_lock(attempt.root, attempt.run_id) as mine:
        if not mine:
            raise UserError(f"run {attempt.run_id} is in use by another process; try again later")
        now = time.time()
        job = Job(
            spec=record.spec,
            params=catalog.full_params(record.spec),
            protocol=protocol,
            source=catalog.source(record.spec.method),
            attempt=attempt,
            device=device,
            data_root=data_root,
            checkpoint_seconds=0.0,
            time_limit=None,
            status=Status(state="done", digest=record.digest, started=now, heartbeat=now),
            report=lambda _: None,
            stopping=lambda: False,
        )
        arrays = protocol.predict(job, name)
        attempt.write_predictions({**attempt.predictions(), name: arrays})
        for task in catalog.tasks().values():
            if protocol in task.protocols:
                evaluate_attempt(attempt, task, protocol, again=True)
