"""Where an exception of somebody's code comes from, in a few words: the user's own line first."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Collection
from pathlib import Path

import suite

_HERE = Path(suite.__file__).parents[1]
_HARNESS = tuple(_HERE / name for name in ("suite", "tasks", "dashboard"))
_LIBRARIES = tuple(
    Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def raised(error: BaseException, own: Collection[Path] = (), most: int = 500) -> str:
    """`TypeError: no such thing (my_method.py:12; raised in functional.py:340)`, on one line.

    `own`: files that are the user's wherever they lie; others are by where they lie: in no library, and not
    in the harness.
    """
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    text = ": ".join(filter(None, (type(error).__name__, " ".join(str(text).split())[:most])))
    places = _places(error, {path.resolve() for path in own})
    return f"{text} ({places})" if places else text


def _places(error: BaseException, own: Collection[Path]) -> str:
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = [
        (Path(frame.filename), f"{Path(frame.filename).name}:{frame.lineno}")
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    if not frames:
        return ""
    last = frames[-1][1]
    users = [place for path, place in frames if path.resolve() in own]
    users = users or [place for path, place in frames if not _is_library(path)]
    if not users or users[-1] == last:
        return last
    return f"{users[-1]}; raised in {last}"


def _is_library(path: Path) -> bool:
    if str(path).startswith("<"):
        return True
    if path.is_relative_to(_HERE / "baselines"):
        return False
    return (
        any(map(path.is_relative_to, _HARNESS))
        or any(map(path.is_relative_to, _LIBRARIES))
        or not {"site-packages", "dist-packages"}.isdisjoint(path.parts)
    )
