"""Where things are: results root, data root, cache, config file. Command line beats environment beats
`~/.config/longtail-suite/config.toml` (keys `root`, `data_root`, `protocol.<task>`)."""

import errno
import os
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from suite.base.errors import UserError, did_you_mean

KEYS = ("root", "data_root", "protocol")
DEFAULT_ROOT = "results"


def config_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or _home() / ".config"
    return Path(base) / "longtail-suite" / "config.toml"


def cache_dir() -> Path:
    """Folder for what the suite makes itself (embedded data); safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or _home() / ".cache"
    return Path(base) / "longtail-suite"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no $HOME, and no such user on this machine (containers)
        return Path("/nonexistent")


@lru_cache(maxsize=1)
def config() -> dict[str, Any]:
    """The config file, {} if there is none. Raises UserError for bad TOML or unknown keys."""
    path = config_path()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}") from None
    for key in values:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key!r}{did_you_mean(key, KEYS)}")
        kind = dict if key == "protocol" else str
        if not isinstance(values[key], kind):
            wanted = "a table [protocol] of task = name" if kind is dict else "a text"
            raise UserError(f"{path}: {key} must be {wanted}")
    return values


def results_root(given: Path | None) -> Path:
    """Results root, for what makes it where it is not there; not created here."""
    root = _absolute(given or config().get("root") or DEFAULT_ROOT)
    try:
        if root.exists() and not root.is_dir():
            raise UserError(f"{_asked(given)}{root}: is a file, not a folder")
    except OSError as error:
        raise UserError(f"{_asked(given)}{root}: {error.strerror}") from None
    return root


def existing_root(given: Path | None, *, or_none_yet: bool = False) -> Path:
    """Results root of a verb that reads: nothing is created.

    `or_none_yet`: the default root may be missing, for verbs whose answer to no results is one. A root that
    was named must be there always. Raises UserError where it is not.
    """
    root = results_root(given)
    if root.exists():
        return root
    if given or config().get("root"):
        near = did_you_mean(root.name, _folders_beside(root)) if root.parent.is_dir() else ""
        near = near if near.startswith("; did") else "; name the folder that `run` wrote to"
        raise UserError(f"{_asked(given)}{root}: no such folder{near}")
    if or_none_yet:
        return root
    raise UserError(
        f"no results yet: there is no {root}; `python -m suite run --task TASK` makes some "
        "(`python -m suite tasks` lists the tasks), and --root DIR names results elsewhere"
    )


def _asked(given: Path | None) -> str:
    """Where a root's name was read."""
    if given is None:
        return f"{config_path()}: root " if config().get("root") else ""
    return "$LONGTAIL_ROOT " if os.environ.get("LONGTAIL_ROOT") == str(given) else "--root "


def _folders_beside(path: Path) -> list[str]:
    """Names of the folders in the one that `path` would lie in; none where that cannot be read."""
    try:
        return [one.name for one in os.scandir(path.parent) if one.is_dir()]
    except OSError:
        return []


def writable_root(root: Path) -> None:
    """Make the results root. Raises UserError where nothing can be written below it."""
    try:
        (root / "runs").mkdir(parents=True, exist_ok=True)
        if not os.access(root / "runs", os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
    except OSError as error:
        raise UserError(f"--root {root}: cannot be written ({error.strerror})") from None


def _absolute(path: Path | str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise UserError(f"{path}: {error}") from None


def data_root(given: Path | None, *, here: bool = True) -> Path | None:
    """Data root, None if none is named anywhere.

    One that was `given` must be there, also where the data of the protocol are embedded and it is not read;
    `here`: false where the nodes of a cluster read it, or somebody else says so. What the environment or the
    config file names stands for many commands: the reader of the data says.
    """
    chosen = given or os.environ.get("LONGTAIL_DATA") or config().get("data_root")
    path = _absolute(chosen) if chosen else None
    if here and given and path is not None and not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "no such folder"
        raise UserError(f"--data-root {path}: {what}")
    return path


def default_protocol(task: str) -> str | None:
    """The config file's protocol for a task, None if it names none."""
    chosen = config().get("protocol", {}).get(task)
    return str(chosen) if chosen else None
