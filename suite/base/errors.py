"""Errors that end a command: one clear line, exit code 2, nothing lost."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Wrong use or bad input.

    The message is one line: what is wrong, where, and what to type next. The command line prints it
    and exits with code 2.
    """


class DataError(UserError):
    """A data set or a file in it is missing, half-copied or damaged. Names the file."""


class DeviceError(UserError):
    """The device that a run was to use is not there."""


class InputError(UserError):
    """A run that another one needs as an input is missing, unfinished or not as it has to be."""


class MethodWarning(UserWarning):
    """What a method has to say of the settings it was given: one line, shown with the run."""


class RecordError(UserError):
    """A record, evaluation or status file cannot be read: truncated, malformed or of a newer schema."""


def found_in(folder: Path) -> str:
    """The first names in a folder, for a message that says what was found instead."""
    inside = sorted(path.name for path in folder.iterdir())
    return ", ".join(inside[:5] + ["..."] * (len(inside) > 5)) or "nothing"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean a, b?` for the nearest known words, or the known words if none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {', '.join(near)}?"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"; known: {shown}" if known else ""
