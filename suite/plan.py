"""What is left to do: wanted specs minus finished records. Needs no data and no torch."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from suite.card import parse_setting
from suite.catalog import Catalog
from suite.errors import UserError
from suite.hold import worked_on
from suite.protocol import Protocol
from suite.record import (
    INFRASTRUCTURE,
    SCHEMA,
    Attempt,
    Status,
    attempts,
    read_regular,
)
from suite.spec import RunSpec
from suite.task import Task

Todo = Literal["done", "evaluate", "new", "resume", "retry", "running", "queued", "failed", "stale"]

EXPLAIN: dict[Todo, str] = {
    "done": "finished",
    "evaluate": "finished; to be evaluated",
    "new": "to be trained",
    "resume": "interrupted; goes on from its checkpoint",
    "retry": "failed for a reason another try may mend",
    "running": "running in another process",
    "queued": "in a cluster job; `cancel` takes it out",
    "failed": "failed by the method's own doing; --fresh trains it again",
    "stale": "trained with other code of the method; --stale trains it again",
}


@dataclass(frozen=True)
class Item:
    """One wanted run: what is to be done with it and in which attempt; `changed` are the parameters
    that `--set` gave."""

    spec: RunSpec
    todo: Todo
    attempt: Attempt
    digest: str
    status: Status | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def work(self) -> bool:
        """Whether a worker has to look at it."""
        return self.todo in ("new", "resume", "retry", "running", "evaluate")


@dataclass(frozen=True)
class Plan:
    """Wanted runs in the order they will be started."""

    task: Task
    protocol: Protocol
    items: list[Item]

    def count(self, todo: Todo) -> int:
        return sum(item.todo == todo for item in self.items)


def make_plan(
    root: Path,
    catalog: Catalog,
    task: Task,
    protocol: Protocol,
    *,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    settings: Sequence[str] = (),
    fresh: bool = False,
    stale: bool = False,
    queued: Container[str] = (),
) -> Plan:
    """Plan `methods` (default: all whose card names the task) for every seed.

    `settings` are `METHOD.key=value` texts. `fresh` trains finished and failed runs again, `stale`
    those whose code has changed; `queued` are ids of runs that a cluster job has in hand. Raises
    UserError for unknown names and values.
    """
    overrides = _overrides(catalog, settings)
    for method in methods:
        if task.name not in catalog.card(method).tasks:
            raise UserError(
                f"method {method!r} is not for task {task.name!r} but for "
                f"{', '.join(catalog.card(method).tasks)}"
            )
    chosen = list(dict.fromkeys(methods)) or catalog.methods(task.name)
    for method in chosen:
        if roles := catalog.card(method).needs.inputs:
            raise UserError(
                f"method {method!r} needs input runs ({', '.join(roles)}), which this version "
                "cannot carry out yet; choose others with --method"
            )
    for method in overrides:
        if method not in chosen:
            raise UserError(f"--set {method}.…: {method!r} is not among the methods of this run")
    evaluation_hash = task.evaluation_hash(protocol)
    digests = {method: catalog.digest(method) for method in chosen}
    items = []
    for seed in dict.fromkeys(seeds):
        for method in chosen:
            changed = overrides.get(method, {})
            spec = catalog.spec(method, protocol, seed, changed)
            item = look(
                root, spec, digests[method], task.name, evaluation_hash, changed, fresh, stale
            )
            if item.work and item.todo != "running" and spec.run_id in queued:
                item = replace(item, todo="queued")
            items.append(item)
    return Plan(task, protocol, items)


def _overrides(catalog: Catalog, settings: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in settings:
        method, key, value = parse_setting(text)
        catalog.source(method)
        found.setdefault(method, {})[key] = value
    return found


class _Head(msgspec.Struct):
    # what a plan needs of a record: decoding the rest for 10,000 runs would take seconds
    schema: int
    run_id: str
    digest: str


_decode_head = msgspec.json.Decoder(_Head).decode


def finished_digest(attempt: Attempt) -> str | None:
    """Code digest of a finished attempt; None if it has no readable record."""
    path = f"{attempt.root}/runs/{attempt.run_id}/{attempt.number}/record.json"
    try:
        head = _decode_head(read_regular(path))
    except (OSError, msgspec.DecodeError):
        return None
    return head.digest if (head.schema, head.run_id) == (SCHEMA, attempt.run_id) else None


def look(
    root: Path,
    spec: RunSpec,
    digest: str,
    task: str,
    evaluation_hash: str,
    changed: Mapping[str, Any] = MappingProxyType({}),
    fresh: bool = False,
    stale: bool = False,
) -> Item:
    """What is to be done with one run whose method's code has this digest today."""
    known = attempts(root, spec.run_id)

    def item(todo: Todo, attempt: Attempt, status: Status | None = None) -> Item:
        return Item(spec, todo, attempt, digest, status, changed)

    if not known:
        return item("new", Attempt(root, spec.run_id, 1))
    newest = known[-1]
    digests = {newest.number: finished_digest(newest)}
    # the usual case by far, decided with one file read
    if not fresh and digests[newest.number] == digest:
        return item(_finished(newest, task, evaluation_hash), newest)

    status = newest.status()
    # nothing was begun in an attempt that has only its folder: it is not used up
    unused = status is None and not newest.finished and not newest.checkpoint_dir.exists()
    following = newest if unused else Attempt(root, spec.run_id, newest.number + 1)
    digests |= {attempt.number: finished_digest(attempt) for attempt in known[:-1]}
    current = [attempt for attempt in known if digests[attempt.number] == digest]
    resumable = (
        not newest.finished
        and status is not None
        and status.digest == digest
        and not (status.failure and status.failure.kind not in INFRASTRUCTURE)
    )
    # an attempt once begun is finished first, also where an older one is finished
    if resumable and (not fresh or worked_on(status)):
        assert status is not None
        todo: Todo = "retry" if status.failure else "running" if worked_on(status) else "resume"
        return item(todo, newest, status)
    if fresh:
        return item("new", following)
    if current:
        return item(_finished(current[-1], task, evaluation_hash), current[-1])
    if any(digests.values()):
        return item("new", following) if stale else item("stale", newest, status)
    if status is not None and status.failure and status.digest == digest:
        return item("failed", newest, status)
    return item("new", following)


def _finished(attempt: Attempt, task: str, evaluation_hash: str) -> Todo:
    name = f"{attempt.root}/runs/{attempt.run_id}/{attempt.number}/evaluations"
    return "done" if os.path.exists(f"{name}/{task}-{evaluation_hash}.json") else "evaluate"


def measured(
    root: Path, protocol: Protocol, *, gpu: bool | None = None
) -> dict[str, tuple[float, int]]:
    """Method -> (mean wall seconds, largest peak memory in bytes) of finished runs under the
    protocol, from the store's snapshot; `gpu` takes only those on a GPU, or only those without."""
    from suite.store import connect, cost_by_method

    try:
        with connect(root) as store:
            return cost_by_method(store, protocol.hash, gpu)
    except UserError:
        return {}


def describe(plan: Plan, root: Path, workers: int, data_root: Path | None) -> dict[str, Any]:
    """The plan as plain data: one entry a run, counts, estimated seconds, and what is missing.

    `estimated_seconds` takes earlier runs of the method, else the protocol's own figure; null where
    neither is known. A missing data set is reported in `data_problem`, it is not an error.
    """
    coming = ("new", "resume", "retry", "running", "queued")
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
        "counts": {todo: plan.count(todo) for todo in EXPLAIN if plan.count(todo)},
        "estimated_seconds": estimate if left else 0.0,
        "workers": workers,
        "data_problem": _data_problem(plan.protocol, data_root) if left else None,
        "runs": [
            {
                "run": item.spec.run_id,
                "method": item.spec.method,
                "seed": item.spec.seed,
                "params": item.spec.params,
                "changed": dict(item.changed),
                "inputs": item.spec.inputs,
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
    from suite.settings import find_data

    try:
        find_data(protocol, data_root)
    except UserError as error:
        return str(error)
    return None
