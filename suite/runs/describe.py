"""A plan in words and numbers: a line a run, counts, how long it will take, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from suite.base.errors import UserError
from suite.define.protocol import Protocol
from suite.records.states import TODOS
from suite.runs.plan import Plan


def measured(
    root: Path, protocol: Protocol, *, gpu: bool | None = None
) -> dict[str, tuple[float, int]]:
    """Method -> (mean wall seconds, largest peak memory in bytes) of finished runs under the
    protocol, from the store's snapshot; `gpu` takes only those on a GPU, or only those without."""
    from suite.store.connection import connect, cost_by_method

    try:
        with connect(root) as store:
            return cost_by_method(store, protocol.hash, gpu)
    except UserError:
        return {}


def describe_plan(
    plan: Plan, root: Path, workers: int, data_root: Path | None, ranks: int
) -> dict[str, Any]:
    """The plan as plain data: one entry a run, counts, estimated seconds, and what is missing.

    `estimated_seconds` takes earlier runs of the method, else the protocol's own figure; null where
    neither is known. A missing data set is reported in `data_problem`, it is not an error.
    """
    coming = ("new", "resume", "retry", "running", "queued", "waiting")
    left = [item for item in plan.items if item.todo in coming]
    costs = measured(root, plan.protocol) if left else {}
    each = [costs.get(item.spec.method, (plan.protocol.seconds,))[0] for item in left]
    known = [seconds for seconds in each if seconds is not None]
    estimate = sum(known) / max(workers, 1) if len(known) == len(each) else None
    return {
        "task": plan.task.name,
        "protocol": plan.protocol.name,
        "protocol_hash": plan.protocol.hash,
        "evaluation_hash": plan.task.evaluation_hash(plan.protocol),
        "counts": {todo: plan.count(todo) for todo in TODOS if plan.count(todo)},
        "estimated_seconds": estimate if left else 0.0,
        "workers": workers,
        "ranks": ranks,
        "data_problem": _data_problem(plan.protocol, data_root) if left else None,
        "runs": [
            {
                "run": item.spec.run_id,
                "method": item.spec.method,
                "seed": item.spec.seed,
                "params": item.spec.params,
                "changed": dict(item.changed),
                "inputs": item.spec.inputs,
                "input_of": item.input_of or None,
                "todo": item.todo,
                "attempt": item.attempt.number,
                "digest": item.digest,
                "step": item.status.step if item.status else 0,
                "failure": msgspec.to_builtins(item.status.failure) if item.status else None,
            }
            for item in plan.items
        ],
    }


def _data_problem(protocol: Protocol, data_root: Path | None) -> str | None:
    from suite.define.data import find_data

    try:
        find_data(protocol, data_root)
    except UserError as error:
        return str(error)
    return None
