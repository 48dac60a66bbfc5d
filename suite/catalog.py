"""What can be run: tasks, protocols and methods, found through entry points, never by import order.

Entry point groups (see pyproject.toml; a third party's package declares the same):
    longtail_suite.tasks        ->  a mapping {task name: "module:ATTRIBUTE"}
    longtail_suite.baselines    ->  a package whose files open with a CARD
A single file joins with `--plugin FILE`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from suite.card import Card, covers, identity, read_card, resolve
from suite.errors import UserError, did_you_mean
from suite.jsonio import canonical, short_hash
from suite.protocol import DataSet, Protocol
from suite.provenance import method_digest
from suite.spec import RunSpec
from suite.task import Task

TASKS_GROUP = "longtail_suite.tasks"
BASELINES_GROUP = "longtail_suite.baselines"


@dataclass(frozen=True)
class Source:
    """Where a method comes from: its card and file; `module` is None for a `--plugin` file."""

    card: Card
    path: Path
    module: str | None

    def load(self) -> ModuleType:
        """Import the file, so that its components are registered. Raises what the file raises."""
        if self.module is not None:
            return importlib.import_module(self.module)
        import sys

        name = plugin_module(self.path)
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, self.path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
        return sys.modules[name]

    @property
    def infers(self) -> bool:
        """Whether the file brings an `infer`. Imports it."""
        return callable(getattr(self.load(), "infer", None))

    def check_infer(self) -> None:
        """Raise UserError where what `infer` takes and what the card says it needs disagree."""
        infer = getattr(self.load(), "infer", None)
        taken = inspect.signature(infer).parameters if callable(infer) else {}
        for name in ("prior", "unlabelled"):
            if getattr(self.card.needs, name) and name not in taken:
                raise UserError(f"{self.path}: the card needs {name!r}, which no infer() takes")
            if name in taken and not getattr(self.card.needs, name):
                raise UserError(
                    f"{self.path}: infer() takes {name!r}; say so: CARD['needs'][{name!r}] = True"
                )

    def infer(self, class_counts: Sequence[int], params: Mapping[str, Any]) -> Callable[..., Any]:
        """The file's `infer`, bound to a run: (arrays, prior=None, unlabelled=None) -> scores."""
        self.check_infer()
        infer = self.load().infer
        taken = inspect.signature(infer).parameters
        bound = {k: v for k, v in params.items() if k in taken}

        def call(arrays: Any, prior: Any = None, unlabelled: Any = None) -> Any:
            told = {"prior": prior, "unlabelled": unlabelled}
            return infer(
                arrays, class_counts, **bound, **{k: v for k, v in told.items() if k in taken}
            )

        return call


def plugin_module(path: Path) -> str:
    """Import name given to a `--plugin` file: two files may share a stem."""
    return f"longtail_plugin_{path.stem}_{short_hash(str(path.resolve()), 8)}"


class Catalog:
    """Tasks and methods known to this process."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        sources: Mapping[str, Source],
        packages: Iterable[str] = (),
        distributions: Iterable[str] = (),
    ) -> None:
        self._tasks = dict(tasks)
        self._sources = dict(sources)
        self.packages = frozenset({"suite", *packages})
        """Top-level import names of everything known here but `--plugin` files."""
        self.distributions = frozenset(filter(None, distributions))
        """Names of the installed distributions that declare them."""
        # resolved once, not per seed
        self._params: dict[tuple[str, str, bytes], dict[str, Any]] = {}

    @classmethod
    def load(cls, plugins: Sequence[Path] = ()) -> Catalog:
        """Installed tasks and methods, and those of the `--plugin` files.

        Raises UserError: two methods of one name, a malformed card, a plug-in that is missing or
        raises on import (it is imported here, so that the mistake shows before anything starts).
        """
        tasks: dict[str, Task] = {}
        packages: set[str] = set()
        distributions: set[str] = set()
        for entry in entry_points(group=TASKS_GROUP):
            packages.add(_top(entry.module))
            distributions.add(entry.dist.name if entry.dist else "")
            for name, target in _load(entry).items():
                packages.add(_top(target))
                if name in tasks:
                    raise UserError(f"two tasks are called {name!r}; the second is {target}")
                home, _, attribute = target.partition(":")
                tasks[name] = getattr(importlib.import_module(home), attribute)
        sources: dict[str, Source] = {}
        for entry in entry_points(group=BASELINES_GROUP):
            packages.add(_top(entry.value))
            distributions.add(entry.dist.name if entry.dist else "")
            found = importlib.util.find_spec(entry.value)
            if found is None or not found.submodule_search_locations:
                raise UserError(f"entry point {entry.name!r}: no package {entry.value!r}")
            for folder in found.submodule_search_locations:
                for path in sorted(Path(folder).glob("[!_]*.py")):
                    _add(sources, Path(path), f"{entry.value}.{path.stem}")
        for path in plugins:
            if not path.is_file():
                raise UserError(f"--plugin {path}: no such file")
            known = set(sources)
            _add(sources, path.resolve(), None)
            added = sorted(set(sources) - known)
            if not added:
                raise UserError(
                    f"--plugin {path}: has no CARD = {{...}}; see 'A method of your own' in README.md"
                )
            try:
                module = sources[added[0]].load()
            except (Exception, SystemExit) as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())
                raise UserError(f"--plugin {path}: raises on import: {text}") from None
            if not callable(getattr(module, "configure", None)):
                raise UserError(f"--plugin {path}: has no function configure(cfg, facts, **params)")
            sources[added[0]].check_infer()
        return cls(tasks, sources, packages, distributions)

    # -- tasks and protocols
    def tasks(self) -> dict[str, Task]:
        return dict(self._tasks)

    def task(self, name: str) -> Task:
        if name not in self._tasks:
            raise UserError(f"unknown task {name!r}{did_you_mean(name, self._tasks)}")
        return self._tasks[name]

    @cached_property
    def protocols(self) -> dict[str, Protocol]:
        """Every protocol accepted by some task, by hash (names are unique only within a task)."""
        return {p.hash: p for task in self._tasks.values() for p in task.protocols}

    def protocol(self, task: Task, name: str | None) -> Protocol:
        """The task's protocol of that name; its default one for None.

        `camvid` or `camvid:half` stands for the first variant declared that has all of it.
        """
        name = name or task.default_protocol
        accepted = {protocol.name: protocol for protocol in task.protocols}
        if name in accepted:
            return accepted[name]
        for full, protocol in accepted.items():
            if covers(name, full):
                return protocol
        raise UserError(
            f"task {task.name!r} has no protocol {name!r}{did_you_mean(name, accepted)}"
        )

    def datasets(self) -> dict[str, DataSet]:
        """Data set name -> data set, as the first protocol on it declares it."""
        found: dict[str, DataSet] = {}
        for protocol in self.protocols.values():
            found.setdefault(protocol.dataset.name, protocol.dataset)
        return found

    # -- methods
    def source(self, method: str) -> Source:
        if method not in self._sources:
            raise UserError(f"unknown method {method!r}{did_you_mean(method, self._sources)}")
        return self._sources[method]

    def card(self, method: str) -> Card:
        return self.source(method).card

    def methods(self, task: str | None = None) -> list[str]:
        """Names of the methods whose card names the task (all methods for None), sorted."""
        sources = self._sources.items()
        return sorted(name for name, s in sources if task is None or task in s.card.tasks)

    def digest(self, method: str) -> str:
        return method_digest(self.source(method).path)

    def digests(self) -> dict[str, str]:
        """Method -> today's code digest."""
        return {name: self.digest(name) for name in self._sources}

    def resolve(
        self, method: str, protocol: Protocol, overrides: Mapping[str, Any]
    ) -> dict[str, Any]:
        """All parameters of the method under the protocol. Raises UserError for a bad override."""
        return dict(resolve(self.card(method), method, protocol.name, overrides))

    def spec(
        self,
        method: str,
        protocol: Protocol,
        seed: int = 0,
        overrides: Mapping[str, Any] | None = None,
    ) -> RunSpec:
        """The run of a method under a protocol."""
        card = self.card(method)
        key = (method, protocol.hash, canonical(overrides or {}))
        if key not in self._params:
            params = self.resolve(method, protocol, overrides or {})
            self._params[key] = identity(card, params)
        return RunSpec(
            protocol=protocol.name,
            protocol_hash=protocol.hash,
            method=method,
            params=self._params[key],
            seed=seed,
        )

    def full_params(self, spec: RunSpec) -> dict[str, Any]:
        """The parameters of a spec with the neutral values filled in again."""
        card = self.card(spec.method)
        neutral = {k: p.neutral for k, p in card.params.items() if k not in spec.params}
        for key, value in neutral.items():
            if value is msgspec.UNSET:
                raise UserError(
                    f"run {spec.run_id} of {spec.method!r} knows no parameter {key!r}, which came "
                    "later and declares no neutral value; train it again with --stale"
                )
        return {**neutral, **spec.params}


def _top(target: str) -> str:
    return target.partition(":")[0].partition(".")[0]


def _load(entry: EntryPoint) -> Mapping[str, str]:
    try:
        listing: Mapping[str, str] = entry.load()
    except Exception as error:
        raise UserError(
            f"entry point {entry.name!r} ({entry.value}) cannot be loaded: {error}"
        ) from None
    return listing


def _add(sources: dict[str, Source], path: Path, module: str | None) -> None:
    card = read_card(path)
    if card is None:
        return
    source = Source(card, path, module)
    for name in card.names:
        if name in sources and sources[name].path != path:
            raise UserError(
                f"{path}: the name {name!r} is taken by {sources[name].path}; choose another"
            )
        sources[name] = source
