"""What can be run: the tasks, protocols and methods known to this process (found by `discover`)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from suite.base.aside import aside
from suite.base.canonical import canonical
from suite.base.errors import UserError, did_you_mean
from suite.define import variants
from suite.define.card import Card, covers, identity, resolve
from suite.define.digest import Code, first_digest, method_digest
from suite.define.discover import discover
from suite.define.history import History
from suite.define.method import Method, Part, Source
from suite.define.protocol import CARVED, DataSet, Protocol
from suite.define.protocols import with_hash
from suite.define.spec import RunSpec
from suite.define.task import Task


class _Digests(Mapping[str, str]):
    """Method -> digest of its file as it is when first asked for: a worker asks for one of fifty."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths

    def __getitem__(self, method: str) -> str:
        return method_digest(self._paths[method])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class Catalog:
    """Tasks and methods known to this process."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        sources: Mapping[str, Source],
        packages: Iterable[str] = (),
        distributions: Iterable[str] = (),
        problems: Iterable[str] = (),
    ) -> None:
        self._tasks = dict(tasks)
        self._sources = dict(sources)
        self.packages = frozenset({"suite", *packages})
        """Top-level import names of everything known here but `--plugin` files."""
        self.distributions = frozenset(filter(None, distributions))
        """Names of the installed distributions that declare them."""
        self.variants: Mapping[str, variants.Variant] = {}
        """Protocols that users brought, by hash; their tasks accept them."""
        self.problems = (*problems, *_unknown_methods(tasks, sources))
        """A line on each part of somebody's package, and each file below `<root>/protocols`, that was left out."""
        self._seen: tuple[Path, tuple[str, ...], Catalog] | None = None
        self.history = History.shipped()
        # resolved once, not per seed
        self._params: dict[tuple[str, str, bytes], dict[str, Any]] = {}

    @classmethod
    def load(cls, plugins: Sequence[Path] = ()) -> Catalog:
        """Installed tasks, protocols and methods, and the methods of the `--plugin` files. Raises as `discover`."""
        with aside():
            found = discover(plugins)
        return cls(found.tasks, found.sources, found.packages, found.distributions, found.problems)

    def at(self, root: Path) -> Catalog:
        """This catalog with the protocols that users brought to a results root (`suite.define.variants`).

        Cheap where nothing has come since it was last asked. A file that is no variant is left out, with a
        line in `problems`.
        """
        names = variants.listing(root)
        if not names:
            return self
        if self._seen is None or self._seen[:2] != (root, names):
            made, problems = variants.found(root, names, self._tasks, self.variants)
            self._seen = root, names, self.having(made, problems)
        return self._seen[2]

    def having(
        self,
        made: Mapping[str, tuple[variants.Variant, Protocol]],
        problems: Sequence[str] = (),
    ) -> Catalog:
        """This catalog and some variants. Each is accepted by all tasks that accept its base."""
        other = copy.copy(self)
        other._seen = None
        other.problems = (*self.problems, *problems)
        other.variants = {**self.variants, **{hash_: one for hash_, (one, _) in made.items()}}
        for variant, protocol in made.values():
            base = self.task(variant.task).protocols[variant.base]
            for name, task in other.tasks().items():
                if base in task.protocols:
                    more = replace(task, protocols=task.protocols.plus(protocol))
                    other._tasks = {**other._tasks, name: more}
        return other

    # -- tasks and protocols
    def tasks(self) -> dict[str, Task]:
        return dict(self._tasks)

    def task(self, name: str) -> Task:
        if name not in self._tasks:
            raise UserError(f"unknown task {name!r}{did_you_mean(name, self._tasks)}")
        return self._tasks[name]

    def protocol_with(self, hash_: str, *names: str) -> Protocol | None:
        """The protocol of that hash, accepted by some task (names are unique only within a task).

        `names`: those that it had, as specs, records and the store carry them beside the hash; see
        `Protocols.with_hash`.
        """
        return with_hash((task.protocols for task in self._tasks.values()), hash_, *names)

    def accepted(self, task: Task, hash_: str, *names: str) -> Protocol | None:
        """The protocol of that hash, where the task accepts it. A protocol has one name in all tasks: to know
        that it is another task's, none but those of its name are built."""
        others = (other.protocols for other in self._tasks.values())
        known = with_hash((task.protocols, *others), hash_, *names)
        return known if known is not None and known in task.protocols else None

    def accepting(self, protocol: Protocol) -> list[Task]:
        """The tasks that accept a protocol."""
        return [task for task in self._tasks.values() if protocol in task.protocols]

    def protocol(self, task: Task, name: str | None) -> Protocol:
        """The task's protocol of that name; its default one for None.

        `camvid` or `camvid:half` stands for the first variant declared that has all of it, and with `:carved` behind
        for that one with a validation set (`Protocol.carved`).
        """
        name = name or task.default_protocol
        found = self._whole(task, name.removesuffix(CARVED))
        if not name.endswith(CARVED):
            return found
        if found.carved is None:
            raise UserError(
                f"--protocol {name}: {found.name!r} trains nothing that validation samples could be left out of; "
                f"use --protocol {found.name}"
            )
        return found.carved

    def _whole(self, task: Task, name: str) -> Protocol:
        names = task.protocols.names
        for full in (name, *(full for full in names if covers(name, full))):
            if full in names:
                return task.protocols[full]
        base, _, words = name.partition(":")
        brought = [
            protocol
            for hash_, variant in self.variants.items()
            if variant.name.partition(":")[0] == base
            and set(words.split(",")) <= variants.short_names(variant.name)
            and (protocol := task.protocols.get(variant.name)) is not None
            and protocol.hash == hash_
        ]
        if len(brought) == 1:
            return brought[0]
        if brought:
            which = ", ".join(protocol.name for protocol in brought)
            raise UserError(f"--protocol {name}: which of {which}?")
        raise UserError(f"task {task.name!r} has no protocol {name!r}{did_you_mean(name, names)}")

    def protocol_of(self, spec: RunSpec) -> Protocol:
        """The protocol of a run. Raises UserError: not known here."""
        found = self.protocol_with(spec.protocol_hash, spec.protocol)
        if found is None:
            why = f" ({self.problems[0]})" if self.problems else ""
            raise UserError(
                f"run {spec.run_id}: protocol {spec.protocol!r} ({spec.protocol_hash}) is not known "
                f"here{why}"
            )
        return found

    def datasets(self) -> dict[str, DataSet]:
        """Data set name -> data set, as the first protocol on it declares it."""
        found: dict[str, DataSet] = {}
        for task in self._tasks.values():
            for name, first in task.protocols.datasets.items():
                if name not in found:
                    found[name] = task.protocols[first].dataset
        return found

    # -- methods
    def source(self, method: str) -> Source:
        if method not in self._sources:
            raise UserError(f"unknown method {method!r}{did_you_mean(method, self._sources)}")
        return self._sources[method]

    def card(self, method: str) -> Card:
        return self.source(method).card

    def card_for(self, task: Task | None, method: str) -> Card:
        """The card of one of the task's methods (None: of any). Raises UserError, which proposes names of the
        task's own alone, and says of another task's method whose it is."""
        if task is None:
            return self.card(method)
        if method not in self._sources:
            near = did_you_mean(method, self.methods(task.name))
            others = get_close_matches(method, self._sources, n=1, cutoff=0.7)
            if others and task.name not in self.tasks_of(others[0]):
                near += f"; {others[0]!r} is for {', '.join(self.tasks_of(others[0]))}"
            raise UserError(f"unknown method {method!r}{near}")
        card = self.card(method)
        of = self.tasks_of(method)
        if task.name not in of:
            raise UserError(
                f"method {method!r} is not for task {task.name!r} but for {', '.join(of)}"
            )
        return card

    def methods(self, task: str | None = None) -> list[str]:
        """Names of the methods for the task (all methods for None), sorted."""
        return sorted(n for n in self._sources if task is None or task in self.tasks_of(n))

    def tasks_of(self, method: str) -> tuple[str, ...]:
        """Names of the tasks that a method is for: those that its card names, and those that take it
        (`Task.methods`)."""
        taking = (name for name, task in self._tasks.items() if method in task.methods)
        return tuple(dict.fromkeys((*self.card(method).tasks, *taking)))

    @cached_property
    def code(self) -> Code:
        """Digests of today's files, and how those of runs follow from them."""
        cards = {name: source.card for name, source in self._sources.items()}
        digests = _Digests({name: source.path for name, source in self._sources.items()})

        def before(method: str) -> frozenset[str]:
            known = self.history.before(method, digests[method])
            return known | {first_digest(self._sources[method].path)}

        return Code(
            digests,
            {name: card.built_on for name, card in cards.items() if card.built_on},
            frozenset(name for name, card in cards.items() if card.needs.inputs),
            before,
            self.history.token,
        )

    def digest(self, spec: RunSpec, inputs: Mapping[str, str] | None = None) -> str:
        """Today's code digest of a run; `inputs`: role -> digest of the run that fills it.

        Raises UserError for a method that is not known here.
        """
        found = self.code.digest(spec.method, spec.params, inputs or {})
        if found is None:
            # says which name it is
            list(self._parts(spec.method, spec.params))
            raise UserError(f"run {spec.run_id}: unknown method {spec.method!r}")
        return found

    def resolve(
        self, method: str, protocol: Protocol, overrides: Mapping[str, Any], typed: str = ""
    ) -> dict[str, Any]:
        """All parameters of the method under the protocol, and as `KEY.name` those of the method that
        its parameter KEY names. Raises UserError for a bad override, which was typed as `typed`."""
        card = self.card(method)
        heads = tuple(f"{key}." for key in card.built_on)
        own = {key: value for key, value in overrides.items() if not key.startswith(heads)}
        values = dict(resolve(card, method, protocol.name, own, typed))
        for key in card.built_on:
            inner = self._check_link(method, key, values[key])
            nested = self.resolve(inner, protocol, _nested(overrides, key), f"{method}.{key}")
            values |= {f"{key}.{name}": value for name, value in nested.items()}
        return values

    def _check_link(self, method: str, key: str, inner: Any) -> str:
        """`inner`, if it is the name of a method that `method` can be built on. Raises UserError."""
        tasks = set(self.tasks_of(method))
        where = f"--set {method}.{key}={inner}"
        options = [
            name
            for name, source in self._sources.items()
            if set(self.tasks_of(name)) & tasks
            and not source.card.built_on
            and not source.card.needs.inputs
        ]
        if inner in options:
            return str(inner)
        if not isinstance(inner, str) or inner not in self._sources:
            raise UserError(f"{where}: no such method{did_you_mean(str(inner), options)}")
        if not set(self.tasks_of(inner)) & tasks:
            raise UserError(f"{where}: {inner!r} is for {', '.join(self.tasks_of(inner))}")
        raise UserError(
            f"{where}: {inner!r} is itself built on another method or run; choose a plain one"
        )

    def spec(
        self,
        method: str,
        protocol: Protocol,
        seed: int = 0,
        overrides: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
    ) -> RunSpec:
        """The run of a method under a protocol; `inputs`: role -> id of the run that fills it."""
        key = (method, protocol.hash, canonical(overrides or {}))
        if key not in self._params:
            params = self.resolve(method, protocol, overrides or {})
            self._params[key] = self._identity(method, params)
        return RunSpec(
            protocol=protocol.name,
            protocol_hash=protocol.hash,
            method=method,
            params=self._params[key],
            seed=seed,
            inputs=dict(inputs or {}),
        )

    def _identity(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        card = self.card(method)
        found = identity(card, {key: value for key, value in params.items() if key in card.params})
        for key in card.built_on:
            nested = self._identity(params[key], _nested(params, key))
            found |= {f"{key}.{k}": value for k, value in nested.items()}
        return found

    def method(self, spec: RunSpec) -> Method:
        """The method of a run, neutral values filled in again.

        Raises UserError: a method or a parameter that is not known here.
        """
        return Method(spec.method, tuple(self._full(self._parts(spec.method, spec.params), spec)))

    def _parts(self, method: str, params: Mapping[str, Any], key: str = "") -> Iterable[Part]:
        source = self.source(method)
        own = {k: value for k, value in params.items() if "." not in k}
        for link in source.card.built_on:
            inner = self._check_link(method, link, own.pop(link, source.card.params[link].neutral))
            yield from self._parts(inner, _nested(params, link), link)
        yield Part(source, own, key)

    @staticmethod
    def _full(parts: Iterable[Part], spec: RunSpec) -> Iterable[Part]:
        for part in parts:
            neutral = {
                key: param.neutral
                for key, param in part.source.card.params.items()
                if key not in part.params and not param.method
            }
            for key, value in neutral.items():
                if value is msgspec.UNSET:
                    raise UserError(
                        f"run {spec.run_id} of {spec.method!r} knows no parameter {key!r}, which came "
                        "later and declares no neutral value; train it again with --stale"
                    )
            yield Part(part.source, {**neutral, **part.params}, part.key)


def _unknown_methods(tasks: Mapping[str, Task], sources: Mapping[str, Source]) -> Iterator[str]:
    for name, task in tasks.items():
        for method in task.methods:
            if method not in sources:
                near = did_you_mean(method, sources)
                yield f"task {name!r} takes method {method!r}, which is not installed{near}; left out"


def _nested(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Those of `values` that begin with `key.`, without it."""
    head = f"{key}."
    return {k.removeprefix(head): value for k, value in values.items() if k.startswith(head)}
