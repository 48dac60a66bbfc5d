"""Where a data set lies: the folder that a user names, or one of the usual names below it; and in what counts a copy differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from suite.base.errors import DataError, found_in


def find(
    title: str,
    root: Path,
    below: Iterable[str],
    layout: str,
    lacking: Callable[[Path], Sequence[str] | None],
    searched: str = "",
) -> Path:
    """The place of a data set: `root`, or one of the names `below` it.

    Args:
        title: name of the data set, for messages.
        layout: what is expected, one line.
        lacking: place -> what it lacks of the data set, one line each; None where it holds nothing of it.
            By names only: what is damaged shows in a check.
        searched: where was looked, for the message; "" for `root` alone.

    Raises DataError, saying what was expected and what was found, where the data set is missing, empty or
    half-copied. A half copy ends the search, even beside a whole one: which of the two is meant is not for
    us to guess.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{title}: there is no folder {root}; expected {layout}")
    for place in (root, *(root / name for name in below)):
        problems = lacking(place)
        if problems is None:
            continue
        if not problems:
            return place
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise DataError(f"{title} in {place} is not whole: {problems[0]}{more}; expected {layout}")
    if searched:
        raise DataError(
            f"{title}: {searched}: expected {layout}; found in {root}: {found_in(root)}"
        )
    raise DataError(f"{title}: expected {layout} in {root}; found there: {found_in(root)}")


def missing(files: Sequence[str], absent: Sequence[str]) -> list[str] | None:
    """What `find` takes for a place that lacks some of its files; None where it lacks them all."""
    return None if len(absent) == len(files) else [f"{name} is missing" for name in absent]


def other_than(facts: Iterable[tuple[str, int | None, int]]) -> list[str]:
    """`4,999 test images instead of 5,000` for each (what, known or None, found) that differs."""
    return [
        f"{found:,} {what} instead of {known:,}"
        for what, known, found in facts
        if known is not None and known != found
    ]
