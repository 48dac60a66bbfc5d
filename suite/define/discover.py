"""Tasks, protocols and methods, found through entry points, never by import order.

Entry point groups (see pyproject.toml; a third party's package declares the same, tests/example/ is one):
    longtail_suite.tasks        ->  a mapping {task name: "module:ATTRIBUTE"}; the attribute is a `Task`
    longtail_suite.protocols    ->  a mapping {task name: "module:ATTRIBUTE"}; protocols that the task accepts too
    longtail_suite.baselines    ->  a package whose files hold a CARD, in folders or not
A single file with a method joins with `--plugin FILE`. What is wrong with somebody else's package is said
(`Discovered.problems`) and left out; all the rest works on.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, NamedTuple

from suite.base.errors import UserError, did_you_mean
from suite.base.raised import raised
from suite.define.borrowed import BIBLIOGRAPHY, complete, read_bibliography
from suite.define.card import WrittenCard, read_card
from suite.define.method import Source
from suite.define.protocol import CARVED, Protocol
from suite.define.protocols import Declared, Protocols
from suite.define.task import Task

TASKS_GROUP = "longtail_suite.tasks"
PROTOCOLS_GROUP = "longtail_suite.protocols"
BASELINES_GROUP = "longtail_suite.baselines"
OURS = "longtail-suite"
"""The distribution whose faults end a command."""

_NAME = re.compile(r"[A-Za-z0-9][\w.,:=+-]{0,99}", re.ASCII)


@dataclass
class Discovered:
    """What entry points and plug-ins have.

    Attributes:
        tasks, sources: name -> task; method -> where it comes from.
        packages: top-level import names of those that declare them.
        distributions: names of the installed distributions that do.
        problems: a line on each package of somebody else's, or part of it, that was left out.
    """

    tasks: dict[str, Task] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    distributions: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def _of(self, group: str) -> Iterator[EntryPoint]:
        """The entry points of a group: ours first, which nobody's names take the place of."""
        for entry in sorted(
            entry_points(group=group), key=lambda e: (not _ours(e), _dist(e), e.name)
        ):
            self.packages.add(_top(entry.module))
            self.distributions.add(_dist(entry))
            yield entry

    @contextmanager
    def _apart(self, entry: EntryPoint | None) -> Iterator[None]:
        """What fails within the block is left out, with a line in `problems`; ours, and plug-ins, raise."""
        try:
            yield
        except (Exception, SystemExit) as error:
            if entry is None or _ours(entry):
                raise
            text = " ".join(str(error).split()) if isinstance(error, UserError) else raised(error)
            self.problems.append(
                f"package {_dist(entry) or entry.module}: {entry.group} {entry.name} = {entry.value}: {text}; "
                "left out"
            )


def discover(plugins: Sequence[Path] = ()) -> Discovered:
    """Installed tasks, protocols and methods, and those of the `--plugin` files.

    Raises UserError: a plug-in that is missing, has a malformed card or a name that is taken, or raises on
    import (it is imported here, so that the mistake shows before anything starts).
    """
    found = Discovered()
    for entry in found._of(TASKS_GROUP):
        _read_tasks(found, entry)
    for entry in found._of(PROTOCOLS_GROUP):
        _read_protocols(found, entry)
    files: dict[str, _File] = {}
    entries: dict[str, str] = {}
    for entry in found._of(BASELINES_GROUP):
        with found._apart(entry):
            entries = _read_package(found, files, entry) | entries
    brought = [(path, _read_plugin(found, files, path, entries)) for path in plugins]
    _sources(found, files)
    for path, name in brought:
        _import_plugin(path, found.sources[name])
    return found


def _read_tasks(found: Discovered, entry: EntryPoint) -> None:
    with found._apart(entry):
        for name, target in _load(entry).items():
            with found._apart(entry):
                task = _attribute(found, target)
                if not isinstance(task, Task) or task.name != name:
                    raise UserError(f"{target} is no Task of the name {name!r}")
                if name in found.tasks:
                    raise UserError(f"two tasks are called {name!r}; the second is {target}")
                if not _ours(entry):
                    kept = _entering(found, entry, task.protocols.members, None)
                    if task.default_protocol not in kept.names:
                        raise UserError(
                            f"task {name!r} lacks {task.default_protocol!r}, its default protocol"
                        )
                    task = replace(task, protocols=kept)
                found.tasks[name] = task


def _read_protocols(found: Discovered, entry: EntryPoint) -> None:
    with found._apart(entry):
        for name, target in _load(entry).items():
            with found._apart(entry):
                if name not in found.tasks:
                    raise UserError(f"no task is called {name!r}{did_you_mean(name, found.tasks)}")
                task = found.tasks[name]
                more = _entering(found, entry, tuple(_attribute(found, target)), task)
                found.tasks[name] = replace(task, protocols=task.protocols.plus(*more.members))


def _entering(
    found: Discovered, entry: EntryPoint, members: Iterable[Any], task: Task | None
) -> Protocols:
    """Those of a package's protocols that can stand beside what is there (in `task`, where they are added to one)."""
    kept = Protocols()
    for member in members:
        with found._apart(entry):
            if task is not None:
                _check_name(getattr(member, "name", ""), task)
            if not any(member in other.protocols.members for other in found.tasks.values()):
                # not one that a task has already, which would only be built to know that
                _check(member, found.tasks)
            kept = kept.plus(member)
    return kept


def _check_name(name: str, task: Task) -> None:
    if not _NAME.fullmatch(name) or name.endswith(CARVED):
        raise UserError(f"{name[:60]!r} is no name for a protocol: letters, digits and .,:=+-")
    if name in task.protocols.names:
        raise UserError(f"task {task.name!r} has a protocol {name!r} already; choose another name")


def _check(member: Any, tasks: Mapping[str, Task]) -> None:
    """Build a protocol, so that what is wrong with it shows before anything starts. Raises UserError: none, or one
    with the identity of another, of which its runs would be taken to be."""
    made = member.protocol if isinstance(member, Declared) else member
    if not isinstance(made, Protocol):
        raise UserError(f"{type(member).__name__} {str(member)[:60]!r} is no Protocol")
    for task in tasks.values():
        # the identity covers the data set: protocols on others need not be built to know
        for other in task.protocols.on({made.dataset.name}):
            if other.hash == made.hash and other is not made:
                raise UserError(
                    f"protocol {made.name!r} has the identity of {other.name!r} of {task.name} ({made.hash}): runs of "
                    "one would be taken for the other's; use that one, or tell them apart by a field of the identity "
                    "(recipe, split, revision)"
                )


def _read_package(found: Discovered, files: dict[str, _File], entry: EntryPoint) -> dict[str, str]:
    """Add the package's files with a card; its BibTeX entries."""
    package = importlib.util.find_spec(entry.value)
    if package is None or not package.submodule_search_locations:
        raise UserError(f"no package {entry.value!r}")
    entries: dict[str, str] = {}
    for folder in package.submodule_search_locations:
        own = read_bibliography(Path(folder) / BIBLIOGRAPHY)
        entries = own | entries
        for path in sorted(Path(folder).rglob("[!_]*.py")):
            place = path.relative_to(folder).with_suffix("").parts
            with found._apart(entry):
                _add(files, path, ".".join((entry.value, *place)), own, entry)
    return entries


def _read_plugin(
    found: Discovered, files: dict[str, _File], path: Path, entries: Mapping[str, str]
) -> str:
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
    except (Exception, SystemExit) as error:
        raise UserError(f"--plugin {path}: raises on import: {raised(error, [path])}") from None
    if not callable(getattr(module, "configure", None)):
        raise UserError(f"--plugin {path}: has no function configure(cfg, facts, **params)")
    source.check_infer()


def _ours(entry: EntryPoint) -> bool:
    return _dist(entry) == OURS


def _dist(entry: EntryPoint) -> str:
    """Name of the distribution that declares it, as indexes write names."""
    return re.sub(r"[-_.]+", "-", entry.dist.name).lower() if entry.dist else ""


def _top(target: str) -> str:
    return target.partition(":")[0].partition(".")[0]


def _load(entry: EntryPoint) -> Mapping[str, str]:
    listing = entry.load()
    if not isinstance(listing, Mapping):
        raise UserError('is no mapping {task name: "module:ATTRIBUTE"}')
    return listing


def _attribute(found: Discovered, target: str) -> Any:
    found.packages.add(_top(target))
    home, _, attribute = target.partition(":")
    return getattr(importlib.import_module(home), attribute)


class _File(NamedTuple):
    """A file with a card, the BibTeX entries that it may cite, and who declares it; None for a plug-in."""

    path: Path
    module: str | None
    card: WrittenCard
    entries: Mapping[str, str]
    entry: EntryPoint | None


def _add(
    files: dict[str, _File],
    path: Path,
    module: str | None,
    entries: Mapping[str, str],
    entry: EntryPoint | None = None,
) -> None:
    card = read_card(path)
    if card is None:
        return
    if module and not (path.parent / "__init__.py").exists():
        raise UserError(
            f"{path}: lies in a folder without __init__.py, so that changes of what it imports would go "
            "unseen; put one there"
        )
    file = _File(path, module, card, entries, entry)
    for name in card.names:
        if name in files and files[name].path != path:
            raise UserError(
                f"{path}: the name {name!r} is taken by {files[name].path}; choose another"
            )
    files.update(dict.fromkeys(card.names, file))


def _sources(found: Discovered, files: Mapping[str, _File]) -> None:
    """Method -> source; methods of one file share it."""
    cards = {name: file.card for name, file in files.items()}
    made = {}
    for path, file in {file.path: file for file in files.values()}.items():
        with found._apart(file.entry):
            card = complete(path, file.card, cards, file.entries)
            made[path] = Source(card, path, file.module)
    found.sources = {name: made[file.path] for name, file in files.items() if file.path in made}
