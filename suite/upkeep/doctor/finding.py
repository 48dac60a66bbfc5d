"""What a check is given and what it says, and how checks ask: of the catalog, of other programs."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from suite.base.command import Call, Command

if TYPE_CHECKING:
    from suite.define.catalog import Catalog

State = Literal["ok", "warning", "problem"]

CHECK_SECONDS = 60.0
"""A check that is not through by then is given up. The engine takes half a minute to import from a cold network disk."""
COMMAND_SECONDS = 4.0
"""A command of the cluster or of the GPU that has not answered by then is given up."""


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, in words; `todo` is what to type or do next."""

    check: str
    state: State
    text: str
    todo: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Place:
    """What the command was given: folders as typed (None: not), and where the root came from."""

    root: Path | None = None
    root_from: str = "--root"
    data_root: Path | None = None
    plugins: Sequence[Path] = field(default_factory=tuple)


_loading = threading.Lock()


def catalog_of(place: Place) -> Catalog:
    from suite.define.catalog import Catalog

    # importing the same packages in two threads at once may show one of them half a module
    with _loading:
        return Catalog.load(list(place.plugins))


def root_of(place: Place) -> Path:
    from suite.base import settings

    return settings.results_root(place.root)


def typed(place: Place, *words: str) -> str:
    """The command, with the folders and plug-ins that were given to this one."""
    root = place.root if place.root_from == "--root" else None
    return Command(*words).answering(Call(root, place.data_root, place.plugins))


def call(command: Sequence[str], seconds: float) -> tuple[int, str, str]:
    """Exit code, output and reason of failure of a command; never raises, never takes longer."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"{command[0]} has not answered for {seconds:g} s"
    except OSError as error:
        return 127, "", f"{command[0]}: {error.strerror}"
    words = " ".join(done.stderr.split())[-300:]
    if done.returncode < 0:
        words = f"killed by signal {-done.returncode}" + (f": {words}" if words else "")
    return done.returncode, done.stdout, words or f"exit code {done.returncode}"
