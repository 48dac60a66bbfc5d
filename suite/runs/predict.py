"""Prediction sets added after training."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from suite.base.aside import aside
from suite.base.command import Command
from suite.base.errors import RecordError, UserError, did_you_mean
from suite.define.catalog import Catalog
from suite.define.protocol import CARVED, Protocol
from suite.define.task import Predictions
from suite.records.again import train_again
from suite.records.attempt import Attempt
from suite.records.files import Record, Status
from suite.records.inputs import digest_of
from suite.records.lease import run_lock
from suite.runs.evaluate import evaluate_attempt
from suite.runs.job import Job
from suite.runs.slots import make_slots


def extra_sets(
    protocol: Protocol, names: Sequence[str], instead: Command | None = None
) -> tuple[str, ...]:
    """`names`, each once. Raises UserError for one that is not a further set of the protocol.

    `instead` is what trains the run under the protocol's carved variant, which has the set `val`.
    """
    for name in names:
        if name in protocol.prediction_sets:
            raise UserError(f"set {name!r} is stored by every run itself and is not made again")
        if name == "val" and name not in protocol.extra_sets and protocol.carved is not None:
            raise UserError(
                f"protocol {protocol.name!r} trains on all its training images and has no set 'val'; some are left "
                f"out under {protocol.carved.name!r}: "
                + (f"type {instead}" if instead else f"add --protocol {protocol.carved.name}")
            )
        if name not in protocol.extra_sets:
            near = did_you_mean(name, protocol.extra_sets)
            raise UserError(
                f"protocol {protocol.name!r} has no further prediction set {name!r}{near}"
            )
    return tuple(dict.fromkeys(names))


def predict_sets(
    attempt: Attempt, catalog: Catalog, names: Sequence[str], data_root: Path | None, device: str
) -> list[str]:
    """Compute prediction sets from the kept weights, store them, evaluate anew; returns their names.

    Sets that every run of the method stores itself are made again only where they are lost
    (`predictions.npz` missing or unreadable), and those that its scores need are made with any other. Raises UserError: unknown set, a protocol unknown here, the run in use, missing data or
    weights.
    """
    record = attempt.record()
    protocol = catalog.protocol_with(record.spec.protocol_hash, record.spec.protocol)
    if protocol is None:
        raise UserError(
            f"run {attempt.run_id}: its protocol {record.spec.protocol!r} is not known here"
        )
    there = _readable(attempt)
    lost = [name for name in names if name in protocol.prediction_sets and name not in there]
    val = "val" in names and "val" not in protocol.extra_sets
    instead = _carved(attempt, catalog, record) if val else None
    extra_sets(protocol, [name for name in names if name not in lost], instead)
    needed = protocol.required(catalog.method(record.spec).adapts)
    wanted = dict.fromkeys([*names, *(name for name in needed if name not in there)])
    if protocol.predict is None:
        raise UserError(f"protocol {protocol.name!r} cannot predict from kept weights")
    today = digest_of(attempt.root, catalog, record.spec)
    if not catalog.code.same(record.digest, today):
        again = train_again(attempt.root, catalog, attempt.run_id, "--stale")
        raise UserError(
            f"run {attempt.run_id} was trained with other code of {record.spec.method!r} than "
            f"today's{again}"
        )
    if not attempt.weights.is_file():
        again = train_again(attempt.root, catalog, attempt.run_id, "--fresh")
        raise UserError(
            f"run {attempt.run_id} has no kept weights (`prune` takes them), of which the set would be made{again}"
        )
    slot = make_slots(device, 1, protocol.threads)[0]
    # before torch is imported: mmengine takes a GPU wherever it sees one
    os.environ["CUDA_VISIBLE_DEVICES"] = slot.visible
    with run_lock(attempt.root, attempt.run_id) as mine:
        if not mine:
            raise UserError(f"run {attempt.run_id} is in use by another process; try again later")
        job = prediction_job(attempt, catalog, data_root, slot.device)
        try:
            with aside():
                made = {name: protocol.predict(job, name) for name in wanted}
        finally:
            shutil.rmtree(attempt.checkpoint_dir, ignore_errors=True)
        # of a damaged file nothing is left; where a further set is added, damage must not be overwritten
        before = _readable(attempt) if lost else attempt.predictions()
        # first, so that a kill between the two leaves scores to be made, not scores without the set
        for path in (attempt.path / "evaluations").glob("*.json"):
            path.unlink()
        attempt.write_predictions({**before, **made})
        for task in catalog.accepting(protocol):
            evaluate_attempt(attempt, task, protocol, catalog, again=True)
    return list(wanted)


def _carved(attempt: Attempt, catalog: Catalog, record: Record) -> Command:
    """What trains the run under the carved variant of its protocol."""
    spec = record.spec
    protocol = catalog.protocol_of(spec)
    tasks = [task.name for task in catalog.accepting(protocol)]
    task = next((name for name in tasks if spec.method in catalog.methods(name)), tasks[0])
    words = ["--task", task, "--protocol", f"{spec.protocol}{CARVED}", "--method", spec.method]
    words += ["--seeds", str(spec.seed), "--predict", "val"]
    plain = catalog.spec(spec.method, protocol, spec.seed).params
    for key, value in spec.params.items():
        if plain.get(key) != value:
            words += ["--set", f"{spec.method}.{key}={value}"]
    return Command("run", *words, "--root", str(attempt.root))


def _readable(attempt: Attempt) -> Predictions:
    """The stored sets; none where the file is missing or damaged."""
    try:
        return attempt.predictions()
    except RecordError:
        return {}


def prediction_job(
    attempt: Attempt, catalog: Catalog, data_root: Path | None, device: str = "cpu"
) -> Job:
    """The finished run as a job that an engine's `predict` takes."""
    record, now = attempt.record(), time.time()
    return Job(
        spec=record.spec,
        method=catalog.method(record.spec),
        protocol=catalog.protocol_of(record.spec),
        attempt=attempt,
        device=device,
        data_root=data_root,
        checkpoint_seconds=0.0,
        time_limit=None,
        # their weights are not read again
        inputs={
            role: Attempt(attempt.root, source.run_id, source.attempt)
            for role, source in record.inputs.items()
        },
        status=Status(state="done", digest=record.digest, started=now, heartbeat=now),
        report=lambda _: None,
        stopping=lambda: False,
    )
