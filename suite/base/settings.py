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


def config_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "longtail-suite" / "config.toml"


def cache_dir() -> Path:
    """Folder for what the suite makes itself (embedded data); safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "longtail-suite"


@lru_cache(maxsize=1)
def config() -> dict[str, Any]:
    """The config file, {} if there is none. Raises UserError for bad TOML or unknown keys."""
    path = config_path()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
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
    """Results root; not created here."""
    root = _absolute(given or config().get("root") or "results")
    try:
        if root.exists() and not root.is_dir():
            raise UserError(f"--root {root}: is a file, not a folder")
    except OSError as error:
        raise UserError(f"--root {root}: {error.strerror}") from None
    return root


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


def data_root(given: Path | None) -> Path | None:
    """Data root, None if none is named anywhere; need not exist (the reader of the data says)."""
    chosen = given or os.environ.get("LONGTAIL_DATA") or config().get("data_root")
    return _absolute(chosen) if chosen else None


def default_protocol(task: str) -> str | None:
    """The config file's protocol for a task, None if it names none."""
    chosen = config().get("protocol", {}).get(task)
    return str(chosen) if chosen else None
