"""The code that a queued job will run: a copy made when it was submitted.

A job may start days later; until then the checkout is edited, switched or deleted. The copy is named
by its content, so a thousand submissions of one state share one, and it is never changed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from suite.base.errors import UserError
from suite.base.shipped import HERE, shipped
from suite.define.history import ATTESTED, FROZEN
from suite.records.environment import GIT_FILE, git_state

MAX_BYTES = 256 << 20
"""A package larger than this is no code; what else lies in it does not belong there."""
SKIPPED = frozenset({"__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


@dataclass(frozen=True)
class CodeCopy:
    """`path` goes on PYTHONPATH; `plugins` are the copies of the `--plugin` files, in order."""

    path: Path
    plugins: tuple[Path, ...]


def copy_code(
    folder: Path,
    packages: Iterable[str],
    plugins: Sequence[Path],
    distributions: Iterable[str] = (),
) -> CodeCopy:
    """Copy the top-level `packages` and the plug-in files below `folder`, unless that copy is there.

    Of `distributions` the entry points are copied too: a package that lies on this shell's PYTHONPATH alone is found by a
    job that has another. A plug-in that lies in a package is copied with it. A copy that is there is held against its name:
    one that was damaged, or put there by somebody else, is put aside and made anew. Raises UserError: a
    package that cannot be found or is larger than `MAX_BYTES`.
    """
    files: dict[str, Path] = {}
    for name in sorted(set(packages)):
        files.update(_package(name))
    copies = []
    for number, given in enumerate(plugins):
        plugin = given.resolve()
        top = plugin.parent
        while (top / "__init__.py").exists() and (top.parent / "__init__.py").exists():
            top = top.parent
        base = f"plugins/{number}"
        if (top / "__init__.py").exists():
            files.update({f"{base}/{name}": path for name, path in _tree(top)})
            copies.append(f"{base}/{plugin.relative_to(top.parent)}")
        else:
            files[f"{base}/{plugin.name}"] = plugin
            copies.append(f"{base}/{plugin.name}")
    contents = {name: path.read_bytes() for name, path in sorted(files.items())}
    for name in (FROZEN, ATTESTED):
        if shipped(name).is_file():
            contents[f"{HERE.name}/{name}"] = shipped(name).read_bytes()
    for name in sorted(set(distributions)):
        contents.update(_entry_points(name))
    # a copy is not a checkout: it has to say which commit it was made from
    contents[GIT_FILE] = msgspec.json.encode(git_state())
    path = folder / _digest(contents)
    if path.is_symlink() or (path.exists() and _content(path) != contents):
        os.rename(path, path.with_name(f".{path.name}.damaged.{time.time_ns()}"))
    if not path.exists():
        _write(path, contents)
    return CodeCopy(path, tuple(path / copy for copy in copies))


def job_environment(path: Path) -> dict[str, str]:
    """Variables under which Python takes the copy at `path` before whatever is installed or lies in
    the working folder, and adds nothing to it, so that it can be held against its name."""
    return {"PYTHONPATH": str(path), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def try_plugins(copy: CodeCopy) -> None:
    """Load the plug-ins from their copy as a job will. Raises UserError: one needs a file beside it."""
    if not copy.plugins:
        return
    environment = {**os.environ, **job_environment(copy.path)}
    if before := os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] += os.pathsep + before
    code = "import sys, pathlib, suite.define.catalog as c; c.Catalog.load([pathlib.Path(p) for p in sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, copy.plugins)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise UserError(
            f"a --plugin does not load in a job ({said[0].removeprefix('suite.base.errors.UserError: ')}): "
            "put it and what it imports into one package (a folder with __init__.py)"
        )


def _digest(contents: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, content in sorted(contents.items()):
        whole.update(f"{name}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()[:12]


def _content(path: Path) -> dict[str, bytes]:
    """Every file of a copy, whatever it is called: what does not belong there would be imported.

    Empty where there is a link: a copy has none, and Python would follow it.
    """
    contents = {}
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            file = Path(folder) / name
            if file.is_symlink():
                return {}
            if name in names:
                contents[str(file.relative_to(path))] = file.read_bytes()
    return contents


def _write(path: Path, contents: Mapping[str, bytes]) -> None:
    work = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    for name, content in contents.items():
        target = work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    try:
        os.rename(work, path)
    except OSError:
        # another process has made it meanwhile
        shutil.rmtree(work, ignore_errors=True)
        if not path.exists():
            raise


def _entry_points(name: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files by which an installed distribution is found, and its entry points."""
    found = importlib.metadata.distribution(name)
    folder = f"{name.replace('-', '_')}-{found.version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {found.version}\n"
    yield f"{folder}/METADATA", head.encode()
    yield f"{folder}/entry_points.txt", (found.read_text("entry_points.txt") or "").encode()


def _package(name: str) -> dict[str, Path]:
    found = importlib.util.find_spec(name)
    if found is not None and found.submodule_search_locations:
        return dict(
            pair for folder in found.submodule_search_locations for pair in _tree(Path(folder))
        )
    if found is not None and found.origin:
        return {Path(found.origin).name: Path(found.origin)}
    raise UserError(f"package {name!r} is not to be found, so no job can be given a copy of it")


def _tree(top: Path) -> Iterator[tuple[str, Path]]:
    """(name below the folder's parent, path) of every file of a package."""
    size = 0
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(set(folders) - SKIPPED)
        for name in sorted(names):
            path = Path(folder) / name
            if name.endswith((".pyc", ".tmp")) or not path.is_file():
                continue
            size += path.stat().st_size
            if size > MAX_BYTES:
                raise UserError(
                    f"{top}: larger than {MAX_BYTES >> 20} MiB, and every job is given a copy of the "
                    "package; keep data out of it"
                )
            yield str(path.relative_to(top.parent)), path
