"""What is left to do: wanted specs minus finished records, and the input runs they need.

Needs no data and no torch.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from suite.base.canonical import canonical
from suite.base.errors import InputError, UserError, did_you_mean
from suite.define.card import parse_setting
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.spec import RunSpec
from suite.define.task import Task
from suite.records.inputs import digest_of, usable_attempt
from suite.records.lookup import find_run, find_spec
from suite.records.states import TODOS, Todo
from suite.runs.todo import PlannedRun, plan_run


@dataclass(frozen=True)
class Plan:
    """Wanted runs in the order they will be started."""

    task: Task
    protocol: Protocol
    items: list[PlannedRun]

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
        if task.name not in catalog.tasks_of(method):
            raise UserError(
                f"method {method!r} is not for task {task.name!r} but for "
                f"{', '.join(catalog.tasks_of(method))}"
            )
    chosen = list(dict.fromkeys(methods)) or catalog.methods(task.name)
    if not chosen:
        raise UserError(
            f'task {task.name!r} has no method: name those it takes in its Task, methods=("ce", "la"), or the '
            f'task in a method\'s CARD, "tasks": ["{task.name}"]'
        )
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
    items: dict[str, PlannedRun] = field(default_factory=dict)
    planned: set[str] = field(default_factory=set)
    _specs: dict[str, RunSpec] = field(default_factory=dict)
    _digests: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._evaluation = self.task.evaluation_hash(self.protocol)

    def add(self, method: str, seed: int) -> None:
        """Plan a run that was asked for."""
        spec = self._spec(method, seed, ())
        self._put(self._look(spec, self.fresh))

    def _put(self, item: PlannedRun) -> None:
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

    def _input(self, run_id: str) -> PlannedRun:
        spec = self._specs.get(run_id) or find_spec(self.root, run_id)
        if spec is None:
            raise InputError(f"run {run_id}, which a run here needs, is not below {self.root}")
        item = self._look(spec, fresh=False)
        if (
            item.todo in ("done", "evaluate")
            and usable_attempt(self.root, self.catalog.code, run_id, item.digest) is None
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
            if self.task.name not in self.catalog.tasks_of(named):
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
                f"{where}: run {run_id} ({spec.method}) is not there to be used: {TODOS[item.todo]}"
            )
        return run_id

    def _look(self, spec: RunSpec, fresh: bool) -> PlannedRun:
        changed: dict[str, Any] = {
            **self.overrides.get(spec.method, {}),
            **self.roles.get(spec.method, {}),
        }
        item = plan_run(
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
