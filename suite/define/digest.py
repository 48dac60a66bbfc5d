"""Digests of methods' code: what a run was trained with, and which earlier code is the same."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from suite.base.canonical import canonical
from suite.define.card import without_card
from suite.define.syntax import Module, parsed

LENGTH = 12


@cache
def method_files(path: Path) -> dict[str, str]:
    """The method's file and the files of its own package that it imports, directly or not.

    Returns name -> digest of the syntax tree (`suite.define.syntax`); the name is `package/file.py`, the same on
    every machine. What a card gives to a training (parameters, inputs) is in the run's identity already.
    Imports are read from the syntax tree: nothing is run. What lies outside the file's package (torch,
    `suite`, `tasks`) is covered by the protocol's revision instead.
    """
    return {name: _read(file, package).digest for name, file, package in _files(path)}


@cache
def method_digest(path: Path) -> str:
    """Twelve hex digits over the trees of `method_files`: not over their names, so that files may move."""
    trees = sorted({tree for tree in method_files(path).values() if tree})
    return hashlib.sha256(canonical(trees)).hexdigest()[:LENGTH]


@cache
def first_digest(path: Path) -> str:
    """The digest that versions up to 0.1 gave the file: over names and bytes, but for the card.

    Of a plug-in's file, or another package's, that has not been touched since, records made then count.
    """
    files = {
        name: hashlib.sha256(without_card(_source(file))).hexdigest()
        for name, file, _ in _files(path)
    }
    return hashlib.sha256(canonical(dict(sorted(files.items())))).hexdigest()[:LENGTH]


def _files(path: Path) -> list[tuple[str, Path, Path | None]]:
    """(name, file, its top-level package) of a method's file and those that it imports, by name."""
    top = path.parent
    while (top / "__init__.py").exists() and (top.parent / "__init__.py").exists():
        top = top.parent
    package = top if (top / "__init__.py").exists() else None
    found: dict[str, Path] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        name = str(file.relative_to(top.parent)) if package else file.name
        if name in found:
            continue
        found[name] = file
        if package:
            waiting += _imported(_read(file, package).imports, file, package)
    return [(name, file, package) for name, file in sorted(found.items())]


@cache
def _read(file: Path, package: Path | None) -> Module:
    return parsed(_source(file), {package.name} if package else ())


@cache
def _source(file: Path) -> bytes:
    return file.read_bytes().replace(b"\r\n", b"\n")


def _imported(modules: Sequence[str], file: Path, package: Path) -> list[Path]:
    """Files of `package` (a top-level one) among `modules`, which `file` imports."""
    here = file.relative_to(package.parent).with_suffix("").parts
    files = []
    for module in modules:
        parts = tuple(module.split("."))
        if module.startswith("."):
            # `.LEVEL.name`
            parts = (*here[: -int(parts[1])], *filter(None, parts[2:]))
        if len(parts) > 1 and parts[0] == package.name:
            target = package.joinpath(*parts[1:])
            # an empty __init__.py says nothing; one with code is code the method runs
            candidates = (target.with_suffix(".py"), target / "__init__.py")
            files += [f for f in candidates if f.is_file() and f.stat().st_size]
    return sorted(files)


@dataclass(frozen=True)
class Code:
    """Digests of the methods' files today, and how those of runs follow from them.

    Attributes:
        digests: method -> digest of its own file.
        links: method -> its parameters that name another method, which is part of it.
        fed: methods that take input runs, whose code is part of theirs.
        before: method -> digests of its file earlier that stand for the same code as today's.
        history: changes where `before` may.
    """

    digests: Mapping[str, str]
    links: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fed: frozenset[str] = frozenset()
    before: Callable[[str], frozenset[str]] = lambda method: frozenset()
    history: str = ""
    # digest of today -> what it was made of: the method, and the digests of others that are part of it
    _made_of: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict, repr=False)

    def digest(
        self, method: str, params: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> str | None:
        """Of a run; `inputs`: role -> digest of the run that fills it. None for a method, or one that it
        is built on, that is not known."""
        own = self.digests.get(method)
        others = dict(inputs)
        for key in self.links.get(method, ()):
            named = params.get(key)
            found = self.digests.get(named) if isinstance(named, str) else None
            if found is None:
                return None
            others[key] = found
            self._made_of.setdefault(found, (str(named), {}))
        if own is None:
            return None
        made = _joined(own, others)
        self._made_of.setdefault(made, (method, others))
        return made

    def same(self, recorded: str | None, today: str) -> bool:
        """Whether a recorded digest stands for the same code as `today`, which `digest` has given."""
        return recorded == today or (recorded is not None and recorded in self.earlier(today))

    def earlier(self, today: str) -> frozenset[str]:
        """Other digests that stand for the same code as `today`, which `digest` has given: recorded by an
        older version, or before a change that is attested to change nothing."""
        if today not in self._made_of:
            return frozenset()
        method, others = self._made_of[today]
        own = self.digests[method]
        forms = [{own} | self.before(method)]
        forms += [{digest} | self.earlier(digest) for digest in others.values()]
        joined = (
            _joined(first, dict(zip(others, rest, strict=True)))
            for first, *rest in itertools.product(*forms)
        )
        return frozenset(joined) - {today}

    @property
    def alone(self) -> dict[str, str]:
        """Method -> digest of its runs, of those that no other method's code is part of."""
        mixed = {*self.links, *self.fed}
        return {name: digest for name, digest in self.digests.items() if name not in mixed}


def _joined(own: str, others: Mapping[str, str]) -> str:
    if not others:
        return own
    return hashlib.sha256(canonical([own, dict(others)])).hexdigest()[:LENGTH]
