"""A task's protocols: known by name at once, built when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import overload

from suite.base.aside import aside
from suite.define.protocol import CARVED, Protocol


@dataclass(frozen=True)
class Declared:
    """A protocol that is built when it is first asked for: its base config takes a while, and a command
    needs a few of hundreds.

    Attributes:
        name, dataset: the protocol's name and that of its data set.
        make: builds it. Raises nothing; called once.
    """

    name: str
    dataset: str
    make: Callable[[], Protocol]

    @cached_property
    def protocol(self) -> Protocol:
        with aside():
            made = self.make()
        if (made.name, made.dataset.name) != (self.name, self.dataset):
            raise ValueError(
                f"protocol {self.name!r} on {self.dataset!r} was declared, "
                f"{made.name!r} on {made.dataset.name!r} was built"
            )
        return made


class Protocols:
    """Protocols of different names in the order of their declaration. Immutable, but that a protocol is
    built when it is first asked for; several tasks may share declarations, and so what was built.

    `protocols[name]` and `protocols[place]` build one, iterating builds all. Each has one more, `NAME:carved`
    (`Protocol.carved`), that is found by its name and hash as the others are, and neither counted nor listed.
    """

    def __init__(self, *members: Declared | Protocol) -> None:
        declared = tuple(_declared(member) for member in members)
        self._declared = {member.name: member for member in declared}
        if len(self._declared) < len(declared):
            names = [member.name for member in declared]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two protocols are called {twice!r}")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """In the order of their declaration. Builds nothing."""
        return tuple(self._declared)

    @property
    def members(self) -> tuple[Declared, ...]:
        """As they are declared. Builds nothing."""
        return tuple(self._declared.values())

    @property
    def datasets(self) -> dict[str, str]:
        """Name of a data set -> name of the first protocol on it. Builds nothing."""
        found: dict[str, str] = {}
        for member in self._declared.values():
            found.setdefault(member.dataset, member.name)
        return found

    def on(self, datasets: Collection[str]) -> Protocols:
        """Those on the data sets of these names. Builds nothing."""
        return Protocols(*(one for one in self._declared.values() if one.dataset in datasets))

    def plus(self, *protocols: Declared | Protocol) -> Protocols:
        """These and some more. Builds nothing."""
        return Protocols(*self._declared.values(), *protocols)

    def get(self, name: str) -> Protocol | None:
        """The protocol of that name."""
        member = self._declared.get(name)
        if member is not None:
            return member.protocol
        if not name.endswith(CARVED):
            return None
        whole = self._declared.get(name.removesuffix(CARVED))
        return None if whole is None else whole.protocol.carved

    def having(self, text: str) -> list[str]:
        """Names that begin with `text`, for completion: carved ones once the whole name stands there."""
        carved = [name + CARVED for name in self.names if text.startswith(f"{name}:")]
        return [name for name in (*self.names, *carved) if name.startswith(text)]

    def with_hash(self, hash_: str, *names: str) -> Protocol | None:
        """The protocol of that hash, of whatever name.

        `names`: names that it had, as specs, records and the store carry them beside the hash. Where one of
        them is still its name, no other is built; else all are, once.
        """
        return self._named(hash_, names) or self._by_hash.get(hash_)

    def _named(self, hash_: str, names: Iterable[str]) -> Protocol | None:
        found = (self.get(name) for name in names)
        return next((one for one in found if one is not None and one.hash == hash_), None)

    @cached_property
    def _by_hash(self) -> dict[str, Protocol]:
        carved = (protocol.carved for protocol in self)
        return {one.hash: one for one in (*carved, *self) if one is not None}

    @overload
    def __getitem__(self, which: str) -> Protocol: ...
    @overload
    def __getitem__(self, which: int) -> Protocol: ...
    def __getitem__(self, which: str | int) -> Protocol:
        if isinstance(which, int):
            return self._declared[self.names[which]].protocol
        found = self.get(which)
        if found is None:
            raise KeyError(which)
        return found

    def __iter__(self) -> Iterator[Protocol]:
        return (member.protocol for member in self._declared.values())

    def __len__(self) -> int:
        return len(self._declared)

    def __contains__(self, protocol: object) -> bool:
        """Whether the protocol is one of these, under its name. Builds that one at most."""
        if not isinstance(protocol, Protocol):
            return False
        return self._named(protocol.hash, (protocol.name,)) is not None

    def __repr__(self) -> str:
        return f"Protocols({', '.join(self.names)})"


def with_hash(every: Iterable[Protocols], hash_: str, *names: str) -> Protocol | None:
    """The protocol of that hash in any of these; names are looked up everywhere before all are built."""
    every = tuple(every)
    named = (one._named(hash_, names) for one in every)
    found = next((one for one in named if one is not None), None)
    if found is None:
        found = next((one._by_hash[hash_] for one in every if hash_ in one._by_hash), None)
    return found


def _declared(member: Declared | Protocol) -> Declared:
    if isinstance(member, Declared):
        return member
    return Declared(member.name, member.dataset.name, lambda: member)
