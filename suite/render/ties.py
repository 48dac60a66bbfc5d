"""Rows that cannot be told apart as bars, which go through the rows that share a letter.

Letter and place say what is tied, so no colour has to.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Bar(NamedTuple):
    """A bar's part in one row: its letter, and whether it begins or ends there."""

    letter: str
    first: bool
    last: bool

    @property
    def kind(self) -> str:
        """Words for a style sheet."""
        return " ".join(["on", *["first"] * self.first, *["last"] * self.last])


def bars(groups: Sequence[str]) -> list[list[Bar | None]]:
    """For each row (its letters given) what stands in each lane: a part of a bar, or None.

    A lane takes the next bar when one has ended, so that there are as many lanes as bars side by side.
    """
    rows = letters_of(groups)
    spans: dict[str, tuple[int, int]] = {}
    for number, letters in enumerate(rows):
        for letter in letters:
            spans[letter] = spans.get(letter, (number, number))[0], number
    free: list[int] = []
    lanes: dict[str, int] = {}
    for letter, (first, last) in spans.items():
        lane = next((at for at, row in enumerate(free) if row < first), len(free))
        free[lane : lane + 1] = [last]
        lanes[letter] = lane
    made: list[list[Bar | None]] = [[None] * len(free) for _ in rows]
    around: list[Sequence[str]] = ["", *rows, ""]
    for number, letters in enumerate(rows):
        for letter in letters:
            first, last = letter not in around[number], letter not in around[number + 2]
            made[number][lanes[letter]] = Bar(letter, first, last)
    return made


def letters_of(groups: Sequence[str]) -> list[list[str]]:
    """The letters of each row: after z comes aa, and they stand apart where there are so many."""
    many = any("aa" in text.split() for text in groups)
    return [text.split() if many or " " in text else list(text) for text in groups]
