"""A method as it is carried out: its file, its parameters, and the methods it is built on."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from suite.base.aside import aside
from suite.base.canonical import short_hash
from suite.base.errors import UserError
from suite.define.card import Card
from suite.define.digest import method_files


@dataclass(frozen=True)
class Source:
    """Where a method comes from: its card and file; `module` is None for a `--plugin` file."""

    card: Card
    path: Path
    module: str | None

    def load(self) -> ModuleType:
        """Import the file, so that its components are registered. Raises what the file raises."""
        with aside():
            return self._load()

    def _load(self) -> ModuleType:
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
            given = {k: v for k, v in told.items() if k in taken}
            with aside():
                return infer(arrays, class_counts, **bound, **given)

        return call


def plugin_module(path: Path) -> str:
    """Import name given to a `--plugin` file: two files may share a stem."""
    return f"longtail_plugin_{path.stem}_{short_hash(str(path.resolve()), 8)}"


@dataclass(frozen=True)
class Part:
    """A method's file with its own parameters; `key` is the parameter of the next part that names it."""

    source: Source
    params: Mapping[str, Any]
    key: str = ""


@dataclass(frozen=True)
class Method:
    """A method with resolved parameters. `parts` are those it is built on, then its own file: each
    configures what the ones before it have left."""

    name: str
    parts: tuple[Part, ...]

    @property
    def source(self) -> Source:
        return self.parts[-1].source

    @property
    def params(self) -> Mapping[str, Any]:
        """The method's own parameters."""
        return self.parts[-1].params

    def configure(self, cfg: Any, facts: Any, inputs: Mapping[str, Path] | None = None) -> Any:
        """The base config changed by every part. `inputs`: role -> weights of the input runs."""
        for part in self.parts:
            given = dict(part.params)
            if part.source.card.needs.inputs:
                given["inputs"] = {role: str(path) for role, path in (inputs or {}).items()}
            with aside():
                changed = part.source.load().configure(cfg, facts, **given)
            if not isinstance(changed, type(cfg)):
                raise UserError(
                    f"{part.source.path}: configure() returned a {type(changed).__name__}; return the "
                    "cfg it was given"
                )
            cfg = changed
        return cfg

    @property
    def modules(self) -> list[str]:
        """Import names of the parts that are no `--plugin` files."""
        return [part.source.module for part in self.parts if part.source.module]

    @property
    def flags(self) -> set[str]:
        return {flag for part in self.parts for flag in part.source.card.flags}

    @property
    def extra_budget(self) -> bool:
        return any(part.source.card.needs.extra_budget for part in self.parts)

    @property
    def adapts(self) -> bool:
        """Whether its scores depend on unlabelled test inputs."""
        return any(part.source.card.needs.unlabelled for part in self.parts)

    @property
    def passes(self) -> float:
        """Nominal forward-backward passes a step."""
        return max(part.source.card.needs.passes for part in self.parts)

    @property
    def files(self) -> dict[str, str]:
        """Name -> digest of the syntax tree of every file behind the digest."""
        return {
            name: content
            for part in self.parts
            for name, content in method_files(part.source.path).items()
        }

    @property
    def infers(self) -> bool:
        """Whether scores go through an `infer`. Imports the files."""
        return any(part.source.infers for part in self.parts)

    def check_infer(self) -> None:
        """Raise UserError where an `infer` and its card disagree, or where two parts bring one."""
        for part in self.parts:
            part.source.check_infer()
        bringing = [str(part.source.path) for part in self.parts if part.source.infers]
        if len(bringing) > 1:
            raise UserError(f"{' and '.join(bringing)} both bring an infer(); choose one of them")

    def infer(self, class_counts: Sequence[int]) -> Callable[..., Any]:
        """The `infer` of the part that brings one, bound to a run."""
        self.check_infer()
        (part,) = (part for part in self.parts if part.source.infers)
        return part.source.infer(class_counts, part.params)
