"""Where modules that have moved are now: a failed import of an old name is answered with the new one.

Every top-level package may list its own in `moved.toml` (old module = [new modules]; none: it is gone). The list is read only
when an import fails.
"""

from __future__ import annotations

import ast
import importlib.util
import tomllib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from suite.base.errors import UserError

FILE = "moved.toml"


class Moved(UserError):
    """An import of an old name. `hint` names the new one, without the place of the import."""

    def __init__(self, where: object, hint: str) -> None:
        super().__init__(f"{where}: {hint}")
        self.hint = hint


@contextmanager
def told(where: object) -> Iterator[None]:
    """Have the import of an old name within the block raise Moved, which says that it happened in `where`."""
    try:
        yield
    except ImportError as error:
        hint = moved(error)
        if hint is None:
            raise
        raise Moved(where, hint) from error


def moved(error: ImportError) -> str | None:
    """`suite.old is now suite.a.new: write from suite.a.new import thing`; None where nothing has moved."""
    asked = dict.fromkeys(_asked(error))
    if not asked and error.name in _table(error.name or ""):
        asked = {(error.name or "", ""): None}
    if not asked:
        return None
    names: dict[str, list[str]] = {}
    said, writing = [], []
    for old, name in asked:
        names.setdefault(old, []).append(name)
    for old, wanted in names.items():
        homes = _table(old)[old]
        if not homes:
            said.append(f"{old} is gone")
            continue
        said.append(f"{old} is now {' / '.join(homes)}")
        for home in homes:
            inside = [name for name in wanted if name and name in _defined(home)]
            if inside:
                writing.append(f"from {home} import {', '.join(inside)}")
            elif len(homes) == 1 and "" in wanted:
                writing.append(f"import {home}")
        lost = [name for name in wanted if name and not any(name in _defined(h) for h in homes)]
        if lost:
            said.append(f"{', '.join(lost)} is no longer called so")
    return "; ".join(said) + (f": write {'; '.join(writing)}" if writing else "")


def _asked(error: ImportError) -> Iterator[tuple[str, str]]:
    """(old module, name in it, or "" for the module itself) of the import statement that has failed."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen importlib")
    ]
    try:
        tree = ast.parse(Path(frames[-1].filename).read_bytes())
    except (IndexError, OSError, SyntaxError, ValueError):
        return
    line = frames[-1].lineno or 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if not node.lineno <= line <= (node.end_lineno or node.lineno):
            continue
        for alias in node.names:
            if isinstance(node, ast.Import):
                if alias.name in _table(alias.name):
                    yield alias.name, ""
            elif node.module and not node.level:
                whole = f"{node.module}.{alias.name}"
                if whole in _table(whole):
                    yield whole, ""
                elif node.module in _table(node.module) and not _there(node.module, alias.name):
                    yield node.module, alias.name


def _there(module: str, name: str) -> bool:
    """Whether the package that has taken an old module's place has this name, as a module or otherwise."""
    return name in _defined(module) or _file(f"{module}.{name}") is not None


@cache
def _table(module: str) -> Mapping[str, Sequence[str]]:
    """Moved modules of the top-level package of `module`."""
    try:
        found = importlib.util.find_spec(module.partition(".")[0])
        folders = list(found.submodule_search_locations or ()) if found else []
        table: dict[str, list[str]] = tomllib.loads((Path(folders[0]) / FILE).read_text("utf-8"))
    except (ImportError, IndexError, OSError, ValueError):
        return {}
    return table


def _file(module: str) -> Path | None:
    """The file of a module, which is not imported (the packages that it lies in are)."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found and found.origin else None


@cache
def _defined(module: str) -> frozenset[str]:
    """Names that a module defines at its top level, from its syntax."""
    file = _file(module)
    if file is None:
        return frozenset()
    names = set()
    for node in ast.parse(file.read_bytes()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names.add(getattr(node, "name", ""))
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(names - {""})
