"""What is left to do: wanted specs minus finished records, and the input runs they need.

Needs no data and no torch.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from suite.base.canonical import canonical
from suite.base.errors import InputError, UserError, did_you_mean
from suite.define.card import parse_setting
from suite.define.catalog import Catalog
from suite.define.digest import Code
from suite.define.protocol import Protocol
from suite.define.spec import RunSpec
from suite.define.task import Task
from suite.records.attempt import Attempt, attempts, finished_digest
from suite.records.files import INFRASTRUCTURE, Status
from suite.records.inputs import digest_of, ready
from suite.records.lease import worked_on
from suite.records.lookup import find_run, find_spec

Todo = Literal[
    "done", "evaluate", "new", "resume", "retry", "running", "queued", "waiting", "failed", "stale"
]

EXPLAIN: dict[Todo, str] = {
    "done": "finished",
    "evaluate": "finished; to be evaluated",
    "new": "to be trained",
    "resume": "interrupted; goes on from its checkpoint",
    "retry": "failed for a reason another try may mend",
    "running": "running in another process",
    "queued": "in a cluster job; `cancel` takes it out",
    "waiting": "needs a run that has failed, is stale or in a cluster job",
    "failed": "failed by the method's own doing; --fresh trains it again",
    "stale": "trained with other code of the method; --stale trains it again",
}


@dataclass(frozen=True)
class Item:
    """One wanted run: what is to be done with it and in which attempt; `changed` is what `--set` gave.
    `input_of` names the method that needs it, where it was not asked for itself."""

    spec: RunSpec
    todo: Todo
    attempt: Attempt
    digest: str
    status: Status | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)
    input_of: str = ""

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
    """Plan `methods` (default: all whose card names the task) for every seed, and before each the input
    runs it needs that are not there.

    `settings` are `METHOD.key=value` texts; `METHOD.role=` takes a method or a run id. `fresh` trains
    finished and failed runs again, `stale` those whose code has changed; `queued` are ids of runs that a
    cluster job has in hand. Raises UserError for unknown names and values, and for an input run that is
    named but unfinished, or of another protocol or seed.
    """
    for method in methods:
        if task.name not in catalog.card(method).tasks:
            raise UserError(
                f"method {method!r} is not for task {task.name!r} but for "
                f"{', '.join(catalog.card(method).tasks)}"
            )
    chosen = list(dict.fromkeys(methods)) or catalog.methods(task.name)
    overrides, roles = split_settings(catalog, settings)
    planner = _Planner(root, catalog, task, protocol, overrides, roles, fresh, stale, queued)
    for seed in dict.fromkeys(seeds):
        for method in chosen:
            planner.add(method, seed)
    for name in [*overrides, *roles]:
        if name not in planner.planned:
            raise UserError(f"--set {name}.…: {name!r} is not among the methods of this run")
    return Plan(task, protocol, list(planner.items.values()))


Overrides = Mapping[str, dict[str, Any]]


def split_settings(catalog: Catalog, settings: Sequence[str]) -> tuple[Overrides, Overrides]:
    """`--set` texts -> method -> parameter -> value, and method -> role -> method or run id."""
    overrides: dict[str, dict[str, Any]] = {}
    roles: dict[str, dict[str, Any]] = {}
    for text in settings:
        setting = parse_setting(text, catalog.methods())
        card = catalog.card(setting.method)
        if setting.key in card.needs.inputs:
            # a run id may look like a number
            roles.setdefault(setting.method, {})[setting.key] = setting.raw
        else:
            overrides.setdefault(setting.method, {})[setting.key] = setting.value
    return overrides, roles


@dataclass
class _Planner:
    """Collects the items of a plan, input runs before those that need them."""

    root: Path
    catalog: Catalog
    task: Task
    protocol: Protocol
    overrides: Overrides
    roles: Overrides
    fresh: bool
    stale: bool
    queued: Container[str]
    items: dict[str, Item] = field(default_factory=dict)
    planned: set[str] = field(default_factory=set)
    _specs: dict[str, RunSpec] = field(default_factory=dict)
    _digests: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._evaluation = self.task.evaluation_hash(self.protocol)

    def add(self, method: str, seed: int) -> None:
        """Plan a run that was asked for."""
        spec = self._spec(method, seed, ())
        self._put(self._look(spec, self.fresh))

    def _put(self, item: Item) -> None:
        """Plan a run, and those it needs where they are not there."""
        blocked = False
        if item.todo in ("new", "resume", "retry"):
            for run_id in item.spec.inputs.values():
                of_input = self.items.get(run_id) or self._input(run_id)
                if of_input.todo == "done":
                    continue
                if run_id not in self.items:
                    self._put(replace(of_input, input_of=item.spec.method))
                blocked |= not self.items[run_id].work
        if blocked:
            item = replace(item, todo="waiting")
        before = self.items.get(item.spec.run_id)
        if before is None or not item.input_of:
            # asked for after it was needed: it keeps its place
            self.items[item.spec.run_id] = item

    def _input(self, run_id: str) -> Item:
        spec = self._specs.get(run_id) or find_spec(self.root, run_id)
        if spec is None:
            raise InputError(f"run {run_id}, which a run here needs, is not below {self.root}")
        item = self._look(spec, fresh=False)
        if (
            item.todo in ("done", "evaluate")
            and ready(self.root, self.catalog.code, run_id, item.digest) is None
        ):
            return self._look(spec, fresh=True)  # its weights are gone
        return item

    def _spec(self, method: str, seed: int, below: tuple[str, ...]) -> RunSpec:
        """The run of a method, its inputs resolved; `below` are the methods that need it."""
        self.planned.add(method)
        inputs = {}
        for role, default in self.catalog.card(method).needs.inputs.items():
            named = self.roles.get(method, {}).get(role, default)
            where = f"--set {method}.{role}={named}"
            if named not in self.catalog.methods():
                inputs[role] = self._named_run(named, seed, where)
                continue
            if self.task.name not in self.catalog.card(named).tasks:
                raise UserError(f"{where}: {named!r} is not for task {self.task.name!r}")
            if named in (*below, method):
                raise UserError(f"{where}: {named!r} would be its own input")
            inputs[role] = self._spec(named, seed, (*below, method)).run_id
        changed = self.overrides.get(method, {})
        spec = self.catalog.spec(method, self.protocol, seed, changed, inputs)
        self._specs[spec.run_id] = spec
        return spec

    def _named_run(self, named: str, seed: int, where: str) -> str:
        """The id of the finished run that is named by (the first digits of) its id."""
        try:
            run_id = find_run(self.root, named)
        except UserError as error:
            near = did_you_mean(named, self.catalog.methods(self.task.name))
            raise UserError(f"{where}: neither a method{near} nor a run here ({error})") from None
        spec = find_spec(self.root, run_id)
        if spec is None:
            raise UserError(f"{where}: run {run_id} has no readable spec.json")
        if spec.protocol_hash != self.protocol.hash:
            raise UserError(
                f"{where}: run {run_id} is of protocol {spec.protocol}, not {self.protocol.name}"
            )
        if spec.seed != seed:
            raise UserError(
                f"{where}: run {run_id} has seed {spec.seed}, not {seed}; name its method "
                f"({spec.method}) to take each seed's own run"
            )
        self._specs[run_id] = spec
        item = self._look(spec, fresh=False)
        if item.todo not in ("done", "evaluate"):
            raise UserError(
                f"{where}: run {run_id} ({spec.method}) is not there to be used: {EXPLAIN[item.todo]}"
            )
        return run_id

    def _look(self, spec: RunSpec, fresh: bool) -> Item:
        changed: dict[str, Any] = {
            **self.overrides.get(spec.method, {}),
            **self.roles.get(spec.method, {}),
        }
        item = look(
            self.root,
            spec,
            self._digest(spec),
            self.catalog.code,
            self.task.name,
            self._evaluation,
            changed,
            fresh,
            self.stale,
        )
        if item.work and item.todo != "running" and spec.run_id in self.queued:
            item = replace(item, todo="queued")
        return item

    def _digest(self, spec: RunSpec) -> str:
        if spec.inputs:
            return digest_of(self.root, self.catalog, spec, self._specs)
        # ten thousand seeds of a method share one
        key = (spec.method, canonical(spec.params))
        if key not in self._digests:
            self._digests[key] = self.catalog.digest(spec)
        return self._digests[key]


def look(
    root: Path,
    spec: RunSpec,
    digest: str,
    code: Code,
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
    if not fresh and code.same(digests[newest.number], digest):
        return item(_finished(newest, task, evaluation_hash), newest)

    status = newest.status()
    # nothing was begun in an attempt that has only its folder: it is not used up
    unused = status is None and not newest.finished and not newest.checkpoint_dir.exists()
    following = newest if unused else Attempt(root, spec.run_id, newest.number + 1)
    digests |= {attempt.number: finished_digest(attempt) for attempt in known[:-1]}
    current = [attempt for attempt in known if code.same(digests[attempt.number], digest)]
    resumable = (
        not newest.finished
        and status is not None
        and code.same(status.digest, digest)
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
    if status is not None and status.failure and code.same(status.digest, digest):
        return item("failed", newest, status)
    return item("new", following)


def _finished(attempt: Attempt, task: str, evaluation_hash: str) -> Todo:
    scores = f"{attempt.folder}/evaluations/{task}-{evaluation_hash}.json"
    return "done" if os.path.exists(scores) else "evaluate"


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


def describe(
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
        "counts": {todo: plan.count(todo) for todo in EXPLAIN if plan.count(todo)},
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
