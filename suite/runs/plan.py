"""What is left to do: wanted specs minus finished records, and the input runs they need.

Needs no data and no torch.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
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

    `settings` are `METHOD.key=value` texts; `METHOD.role=` takes a method or a run id. Several values of one
    key are a run each, those of several keys a grid. `fresh` trains
    finished and failed runs again, `stale` those whose code has changed; `queued` are ids of runs that a
    cluster job has in hand. Raises UserError for unknown names and values, and for an input run that is
    named but unfinished, or of another protocol or seed.
    """
    for method in methods:
        catalog.card_for(task, method)
    chosen = list(dict.fromkeys(methods)) or catalog.methods(task.name)
    if not chosen:
        raise UserError(
            f'task {task.name!r} has no method: name those it takes in its Task, methods=("ce", "la"), or the '
            f'task in a method\'s CARD, "tasks": ["{task.name}"]'
        )
    given = split_settings(catalog, settings, task)
    planner = _Planner(root, catalog, task, protocol, given, fresh, stale, queued)
    for seed in dict.fromkeys(seeds):
        for method in chosen:
            planner.add(method, seed)
    for name in given:
        if name not in planner.planned:
            raise UserError(f"--set {name}.…: {name!r} is not among the methods of this run")
    return Plan(task, protocol, list(planner.items.values()))


@dataclass(frozen=True)
class Changed:
    """What `--set` gives one run: parameter -> value, and role -> method or run id."""

    params: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, Any]:
        return {**self.params, **self.roles}


def split_settings(
    catalog: Catalog, settings: Sequence[str], task: Task | None = None
) -> dict[str, list[Changed]]:
    """`--set` texts -> method -> what they give its runs: of one if every key has one value, else of the grid
    of all values. `task`: whose methods are proposed for an unknown one."""
    values: dict[str, dict[str, list[Any]]] = {}
    for text in settings:
        setting = parse_setting(text, catalog.methods())
        card = catalog.card_for(task, setting.method)
        # a run id may look like a number
        value = setting.raw if setting.key in card.needs.inputs else setting.value
        known = values.setdefault(setting.method, {}).setdefault(setting.key, [])
        if (type(value), value) not in ((type(one), one) for one in known):
            known.append(value)
    return {method: list(_grid(catalog, method, keys)) for method, keys in values.items()}


def _grid(catalog: Catalog, method: str, keys: Mapping[str, Sequence[Any]]) -> Iterator[Changed]:
    roles = catalog.card(method).needs.inputs
    for chosen in product(*keys.values()):
        given = dict(zip(keys, chosen, strict=True))
        yield Changed(
            {key: value for key, value in given.items() if key not in roles},
            {key: value for key, value in given.items() if key in roles},
        )


@dataclass
class _Planner:
    """Collects the items of a plan, input runs before those that need them."""

    root: Path
    catalog: Catalog
    task: Task
    protocol: Protocol
    given: Mapping[str, Sequence[Changed]]
    fresh: bool
    stale: bool
    queued: Container[str]
    items: dict[str, PlannedRun] = field(default_factory=dict)
    planned: set[str] = field(default_factory=set)
    _specs: dict[str, RunSpec] = field(default_factory=dict)
    _changed: dict[str, Changed] = field(default_factory=dict)
    _digests: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._evaluation = self.task.evaluation_hash(self.protocol)

    def add(self, method: str, seed: int) -> None:
        """Plan a run that was asked for."""
        for spec in self._specs_of(method, seed, ()):
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

    def _specs_of(self, method: str, seed: int, below: tuple[str, ...]) -> Iterator[RunSpec]:
        """The runs of a method, their inputs resolved; `below` are the methods that need them."""
        self.planned.add(method)
        for changed in self.given.get(method) or (Changed(),):
            needed = self.catalog.card(method).needs.inputs
            fillings = [
                self._filling(method, role, changed.roles.get(role, default), seed, below)
                for role, default in needed.items()
            ]
            for inputs in product(*fillings):
                spec = self.catalog.spec(
                    method,
                    self.protocol,
                    seed,
                    changed.params,
                    dict(zip(needed, inputs, strict=True)),
                )
                self._specs[spec.run_id] = spec
                self._changed[spec.run_id] = changed
                yield spec

    def _filling(
        self, method: str, role: str, named: str, seed: int, below: tuple[str, ...]
    ) -> list[str]:
        """Ids of the runs that fill a role: of a method's grid, or the one that is named."""
        where = f"--set {method}.{role}={named}"
        if named not in self.catalog.methods():
            return [self._named_run(named, seed, where)]
        if self.task.name not in self.catalog.tasks_of(named):
            raise UserError(f"{where}: {named!r} is not for task {self.task.name!r}")
        if named in (*below, method):
            raise UserError(f"{where}: {named!r} would be its own input")
        return [spec.run_id for spec in self._specs_of(named, seed, (*below, method))]

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
        changed = self._changed.get(spec.run_id, Changed()).all
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
