"""Rows that cannot be told apart as bars: a letter a column, drawn through the rows that share it.

Letter and place say what is tied, so no colour has to.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Bar(NamedTuple):
    """A letter's place in one row: whether the row has the letter, and whether the rows beside it do."""

    letter: str
    on: bool
    first: bool
    last: bool

    @property
    def kind(self) -> str:
        """Words for a style sheet."""
        ends = [word for word, is_end in (("first", self.first), ("last", self.last)) if is_end]
        return " ".join(["on", *ends]) if self.on else ""


def bars(groups: Iterable[str]) -> list[list[Bar]]:
    """For each row (its letters given) a `Bar` for every letter of the table, in the same order."""
    rows = list(groups)
    letters = list(dict.fromkeys(letter for row in rows for letter in row))
    around = ["", *rows, ""]
    return [
        [Bar(x, x in row, x not in around[number], x not in around[number + 2]) for x in letters]
        for number, row in enumerate(rows)
    ]
