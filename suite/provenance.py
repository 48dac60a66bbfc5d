"""Which code, on which machine, made a number."""

import ast
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from suite.card import without_card
from suite.jsonio import canonical

PACKAGES = (
    "torch",
    "numpy",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmsegmentation",
    "scikit-learn",
    "longtail-suite",
)
"""Distributions whose versions a record names."""


@cache
def method_files(path: Path) -> dict[str, str]:
    """The method's file and the files of its own package that it imports, directly or not.

    Returns name -> SHA-256 of the content (line ends normalised) without cards; the name is
    `package/file.py`, the same on every machine. What a card gives to a training (parameters, inputs) is in
    the run's identity, so a mended citation or one more task makes no result stale. Imports are read from
    the syntax tree: nothing is run. What lies outside the file's package (torch, `suite`, `tasks`) is
    covered by the protocol's revision instead.
    """
    top = path.parent
    while (top / "__init__.py").exists() and (top.parent / "__init__.py").exists():
        top = top.parent
    package = top if (top / "__init__.py").exists() else None
    files: dict[str, str] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        name = str(file.relative_to(top.parent)) if package else file.name
        if name in files:
            continue
        files[name], imported = _read(file, package)
        waiting += imported
    return dict(sorted(files.items()))


@cache
def _read(file: Path, package: Path | None) -> tuple[str, list[Path]]:
    """SHA-256 of a file and the files of its package that it imports: many methods share their helpers."""
    source = without_card(file.read_bytes().replace(b"\r\n", b"\n"))
    digest = hashlib.sha256(source).hexdigest()
    return digest, _imported(source, file, package) if package else []


def _imported(source: bytes, file: Path, package: Path) -> list[Path]:
    """Files of `package` (a top-level one) that `file` imports by absolute or relative import."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []  # it will not run; its own bytes are covered
    here = file.relative_to(package.parent).with_suffix("").parts
    modules: set[tuple[str, ...]] = set()
    # statements alone, without the expressions in them: every command does this for every method
    statements: list[Any] = [*tree.body]
    while statements:
        node = statements.pop()
        for inner in ("body", "orelse", "finalbody", "handlers", "cases"):
            statements += getattr(node, inner, ())
        if isinstance(node, ast.Import):
            modules.update(tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: -node.level] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            modules.add(base)
            modules.update((*base, alias.name) for alias in node.names)
    files = []
    for parts in modules:
        if len(parts) > 1 and parts[0] == package.name:
            target = package.joinpath(*parts[1:])
            # an empty __init__.py says nothing; one with code is code the method runs
            candidates = (target.with_suffix(".py"), target / "__init__.py")
            files += [f for f in candidates if f.is_file() and f.stat().st_size]
    return sorted(files)


@cache
def method_digest(path: Path) -> str:
    """Twelve hex digits over `method_files`."""
    return hashlib.sha256(canonical(method_files(path))).hexdigest()[:12]


@dataclass(frozen=True)
class Code:
    """Digests of the methods' files today, and how those of runs follow from them.

    Attributes:
        digests: method -> digest of its own file.
        links: method -> its parameters that name another method, which is part of it.
        fed: methods that take input runs, whose code is part of theirs.
    """

    digests: Mapping[str, str]
    links: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fed: frozenset[str] = frozenset()

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
        if own is None or not others:
            return own
        return hashlib.sha256(canonical([own, others])).hexdigest()[:12]

    @property
    def alone(self) -> dict[str, str]:
        """Method -> digest of its runs, of those that no other method's code is part of."""
        mixed = {*self.links, *self.fed}
        return {name: digest for name, digest in self.digests.items() if name not in mixed}


def environment(device: str, threads: int, seed: int, job: str = "") -> dict[str, Any]:
    """Versions, code state, hardware and settings of this process, for the record."""
    from importlib.metadata import PackageNotFoundError, version

    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": packages,
        "git": git_state(),
        "system": f"{platform.system()} {platform.machine()}",
        "host": platform.node(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "device": device,
        "threads": threads,
        "seed": seed,
        **({"job": job} if job else {}),
    }


GIT_FILE = "longtail-git.json"
"""In a copy of the code: what `git_state` said of the checkout it was made from."""


@lru_cache(maxsize=1)
def git_state() -> dict[str, str] | None:
    """Commit of the suite's checkout and digest of its uncommitted changes; None outside of one."""
    here = Path(__file__).resolve().parent.parent
    try:
        copied: dict[str, str] | None = json.loads((here / GIT_FILE).read_bytes())
        return copied
    except FileNotFoundError:
        pass

    def git(*arguments: str) -> bytes:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, check=True, timeout=20).stdout

    try:
        commit = git("rev-parse", "HEAD").decode().strip()
        dirty = git("diff", "HEAD", "--", "*.py")
    except (OSError, subprocess.SubprocessError):
        return None
    state = {"commit": commit}
    if dirty:
        state["dirty"] = hashlib.sha256(dirty).hexdigest()[:12]
    return state


@lru_cache(maxsize=1)
def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
