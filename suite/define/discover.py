"""Tasks and methods, found through entry points, never by import order.

Entry point groups (see pyproject.toml; a third party's package declares the same):
    longtail_suite.tasks        ->  a mapping {task name: "module:ATTRIBUTE"}
    longtail_suite.baselines    ->  a package whose files hold a CARD, in folders or not
A single file joins with `--plugin FILE`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple

from suite.base.errors import UserError
from suite.base.moved import Moved, told
from suite.define.borrowed import BIBLIOGRAPHY, complete, read_bibliography
from suite.define.card import WrittenCard, read_card
from suite.define.method import Source
from suite.define.task import Task

TASKS_GROUP = "longtail_suite.tasks"
BASELINES_GROUP = "longtail_suite.baselines"


@dataclass
class Discovered:
    """What entry points and plug-ins have.

    Attributes:
        tasks, sources: name -> task; method -> where it comes from.
        packages: top-level import names of those that declare them.
        distributions: names of the installed distributions that do.
    """

    tasks: dict[str, Task] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    distributions: set[str] = field(default_factory=set)

    def _declared(self, entry: EntryPoint) -> None:
        self.packages.add(_top(entry.module))
        self.distributions.add(entry.dist.name if entry.dist else "")


def discover(plugins: Sequence[Path] = ()) -> Discovered:
    """Installed tasks and methods, and those of the `--plugin` files.

    Raises UserError: two tasks or methods of one name, a malformed card, a plug-in that is missing or
    raises on import (it is imported here, so that the mistake shows before anything starts).
    """
    found = Discovered()
    for entry in entry_points(group=TASKS_GROUP):
        found._declared(entry)
        _read_tasks(found, entry)
    files: dict[str, _File] = {}
    entries: dict[str, str] = {}
    for entry in entry_points(group=BASELINES_GROUP):
        found._declared(entry)
        entries = _read_package(files, entry) | entries
    brought = [(path, _read_plugin(files, path, entries)) for path in plugins]
    found.sources = _sources(files)
    for path, name in brought:
        _import_plugin(path, found.sources[name])
    return found


def _read_tasks(found: Discovered, entry: EntryPoint) -> None:
    for name, target in _load(entry).items():
        found.packages.add(_top(target))
        if name in found.tasks:
            raise UserError(f"two tasks are called {name!r}; the second is {target}")
        home, _, attribute = target.partition(":")
        with told(f"entry point {entry.name!r} ({target})"):
            found.tasks[name] = getattr(importlib.import_module(home), attribute)


def _read_package(files: dict[str, _File], entry: EntryPoint) -> dict[str, str]:
    """Add the package's files with a card; its BibTeX entries."""
    package = importlib.util.find_spec(entry.value)
    if package is None or not package.submodule_search_locations:
        raise UserError(f"entry point {entry.name!r}: no package {entry.value!r}")
    entries: dict[str, str] = {}
    for folder in package.submodule_search_locations:
        own = read_bibliography(Path(folder) / BIBLIOGRAPHY)
        entries = own | entries
        for path in sorted(Path(folder).rglob("[!_]*.py")):
            place = path.relative_to(folder).with_suffix("").parts
            _add(files, path, ".".join((entry.value, *place)), own)
    return entries


def _read_plugin(files: dict[str, _File], path: Path, entries: Mapping[str, str]) -> str:
    """Add a plug-in's file; the name of its first method."""
    if not path.is_file():
        raise UserError(f"--plugin {path}: no such file")
    known = set(files)
    _add(files, path.resolve(), None, entries)
    added = sorted(set(files) - known)
    if not added:
        raise UserError(
            f"--plugin {path}: has no CARD = {{...}}; see 'A method of your own' in README.md"
        )
    return added[0]


def _import_plugin(path: Path, source: Source) -> None:
    try:
        module = source.load()
    except Moved as error:
        raise UserError(f"--plugin {path}: {error.hint}") from None
    except (Exception, SystemExit) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"--plugin {path}: raises on import: {text}") from None
    if not callable(getattr(module, "configure", None)):
        raise UserError(f"--plugin {path}: has no function configure(cfg, facts, **params)")
    source.check_infer()


def _top(target: str) -> str:
    return target.partition(":")[0].partition(".")[0]


def _load(entry: EntryPoint) -> Mapping[str, str]:
    try:
        with told("it imports an old name"):
            listing: Mapping[str, str] = entry.load()
    except Exception as error:
        raise UserError(
            f"entry point {entry.name!r} ({entry.value}) cannot be loaded: {error}"
        ) from None
    return listing


class _File(NamedTuple):
    """A file with a card, and the BibTeX entries that it may cite."""

    path: Path
    module: str | None
    card: WrittenCard
    entries: Mapping[str, str]


def _add(
    files: dict[str, _File], path: Path, module: str | None, entries: Mapping[str, str]
) -> None:
    card = read_card(path)
    if card is None:
        return
    if module and not (path.parent / "__init__.py").exists():
        raise UserError(
            f"{path}: lies in a folder without __init__.py, so that changes of what it imports would go "
            "unseen; put one there"
        )
    file = _File(path, module, card, entries)
    for name in card.names:
        if name in files and files[name].path != path:
            raise UserError(
                f"{path}: the name {name!r} is taken by {files[name].path}; choose another"
            )
        files[name] = file


def _sources(files: Mapping[str, _File]) -> dict[str, Source]:
    """Method -> source; methods of one file share it."""
    cards = {name: file.card for name, file in files.items()}
    made = {}
    for path, file in {file.path: file for file in files.values()}.items():
        card = complete(path, file.card, cards, file.entries)
        made[path] = Source(card, path, file.module)
    return {name: made[file.path] for name, file in files.items()}
