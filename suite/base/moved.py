"""Old names of modules: they can still be imported, with a DeprecationWarning that names the new place.

Every top-level package may list in `moved.toml` what has moved:

    "old.module" = ["new.module", ...]      where what stood there is now; none: it is gone
    "old.module:name" = ["new.module:other"]    of what has another name too

A finder stands behind all others (`serve`, called where `suite` is first imported): it is asked, and the lists are read,
only when an import would fail. Where a package has taken an old module's place, what stood in the module is not found
in the package, and the error says where it is.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

FILE = "moved.toml"


class MovedWarning(DeprecationWarning):
    """An import of an old name."""


def serve() -> None:
    """Have imports of old names answered, once for the process."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())


class _OldNames:
    """Finder and loader of modules that stand for what has moved."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ImportError for a module that is gone, and for a name that a package's predecessor had."""
        package, _, last = name.rpartition(".")
        if not package:
            return None
        table = _table(name.partition(".")[0])
        if name in table:
            if not table[name]:
                raise ModuleNotFoundError(f"{name} is gone", name=name)
            inside = any(other.startswith(f"{name}.") for other in table)
            # a loader by its two methods
            loader: Any = self
            return ModuleSpec(name, loader, origin=f"moved to {_homes(name)}", is_package=inside)
        taken = sys.modules.get(package)
        if package in table and not isinstance(taken, _Moved) and not last.startswith("_"):
            # `from package import last`, which the package has not
            where = _where(package, last)
            if where is None:
                raise _no_longer(package, last)
            said = f"write from {where[0]} import {where[1]}"
            raise ImportError(f"{package} is now {_homes(package)}: {said}", name=package)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Moved(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        homes = _homes(module.__name__)
        if " / " not in homes:  # of several, the names that are taken from it say which
            _warn(module.__name__, homes)
        # whoever imports a module for what it registers (a config's custom_imports) takes no name from it
        for home in homes.split(" / "):
            importlib.import_module(home)


class _Moved(ModuleType):
    """Stands for a module that has moved: its names are looked up where they are now."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        where = _where(self.__name__, name)
        if where is None:
            # no AttributeError: of that `from old import name` would say nothing
            raise _no_longer(self.__name__, name)
        if where[1] != name or len(_table(self.__name__.partition(".")[0])[self.__name__]) > 1:
            _warn(f"{self.__name__}.{name}", ".".join(where))
        else:
            _warn(self.__name__, where[0])
        return getattr(importlib.import_module(where[0]), where[1])


def _no_longer(old: str, name: str) -> ImportError:
    return ImportError(f"{old} is now {_homes(old)}; {name} is no longer called so", name=old)


def _warn(old: str, new: str) -> None:
    """At the line of the import: a loader is called by importlib alone, whose frames do not count."""
    warnings.warn(f"{old} is now {new}", MovedWarning, stacklevel=3)


def _homes(old: str) -> str:
    return " / ".join(_table(old.partition(".")[0])[old])


def _where(old: str, name: str) -> tuple[str, str] | None:
    """(module, name in it) of what was called `name` in an old module: where it is defined, before where it is only
    imported. Imports these modules."""
    table = _table(old.partition(".")[0])
    found: list[tuple[str, str]] = []
    for home in (*table.get(f"{old}:{name}", ()), *table[old]):
        module, _, other = home.partition(":")
        value = getattr(importlib.import_module(module), other or name, None)
        if getattr(value, "__module__", "") == module:
            return module, other or name
        if value is not None:
            found.append((module, other or name))
    return found[0] if found else None


@cache
def _table(top: str) -> Mapping[str, Sequence[str]]:
    """What has moved of a top-level package."""
    import tomllib

    folders = list(getattr(sys.modules.get(top), "__path__", ()))
    try:
        table: dict[str, list[str]] = tomllib.loads((Path(folders[0]) / FILE).read_text("utf-8"))
    except (IndexError, OSError, ValueError):
        return {}
    return table
