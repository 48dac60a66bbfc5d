"""ARFF files, dense or sparse, as Mulan's data sets have them: numbers, and nominal attributes whose values are numbers.

The rows are split by `liac-arff`. The declarations are read here: its expression for nominal ones takes a time that doubles
with every comma of a damaged line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.errors import DataError
from tasks.vision.data.lists import shown
from tasks.vision.data.small_files import read_text

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_FILE = 1 << 28
"""Bytes of a file; the largest known (bibtex, dense) has some 20 million."""
MAX_VALUES = 1 << 28
"""Values of its table; the largest known has 10 million."""
_ATTRIBUTE = re.compile(
    r"""@attribute\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s{},%'"]+))\s*(\{[^{}]*\}|[a-z]+)\s*""",
    re.IGNORECASE,
)
_NUMERIC = ("numeric", "real", "integer")
_ROW = re.compile(r"""[0-9A-Za-z+\-.,{}?'"\s]*""", re.ASCII)
_LONGEST = 1 << 12
"""Characters of a declaration."""
_VALUE = 64
"""Characters of a value of a row, with its index and comma."""


@dataclass(frozen=True)
class Attribute:
    """`values`: those declared of a nominal one, in order; None of a numeric one."""

    name: str
    values: tuple[float, ...] | None

    @property
    def default(self) -> float:
        """What a sparse row that leaves it out means: 0, or the first value declared."""
        return self.values[0] if self.values else 0.0


@dataclass(frozen=True, eq=False)
class Table:
    """`values` float32 (N, A) without NaN and inf, of A attributes."""

    attributes: tuple[Attribute, ...]
    values: Array


def require_library(path: Path) -> Any:
    """The module `arff` of liac-arff. Raises DataError where it is not installed."""
    try:
        import arff
    except ImportError:
        arff = None
    if not hasattr(arff, "ArffDecoder"):
        raise DataError(
            f"{path} is read with liac-arff, which is not installed: pip install liac-arff"
        )
    return arff


def read_arff(path: Path, count: int) -> Table:
    """The table of a file of `count` attributes.

    Raises DataError, with file and line: another number of attributes, attributes that are neither numbers nor nominal
    numbers, rows of another length, values that are missing, undeclared or not finite, other encodings.
    """
    import numpy as np

    library = require_library(path)
    lines = _Lines(path, read_text(path, MAX_FILE), _VALUE * (count + 1))
    attributes = _declared(lines, count)
    sparse = lines.rest_is_sparse()
    kind = library.LOD_GEN if sparse else library.DENSE_GEN
    header = ["@RELATION r", *(f"@ATTRIBUTE a{i} NUMERIC" for i in range(count)), "@DATA"]
    default = np.array([attribute.default for attribute in attributes])
    rows: list[Array] = []
    try:
        decoded = library.ArffDecoder().decode(lines.after(header), return_type=kind)
        for row in decoded["data"]:
            rows.append(lines.dense(row, default) if sparse else lines.checked(row))
            if len(rows) * count > MAX_VALUES:
                raise lines.error(f"more than {MAX_VALUES:,} values, so it is another file")
    except DataError:
        raise
    except Exception as error:  # the text of liac-arff's own errors would hold the whole row
        name = type(error).__name__
        raise lines.error(_REASONS.get(name, name).format(count=count)) from None
    if not rows:
        raise DataError(f"{path} has no row after @data; copy it again")
    values = np.stack(rows)
    for place, attribute in enumerate(attributes):
        if attribute.values is not None:
            odd = np.flatnonzero(~np.isin(values[:, place], np.array(attribute.values, np.float32)))
            if odd.size:
                raise DataError(
                    f"{path}: {shown(attribute.name)} is {values[odd[0], place]:g} in row {odd[0] + 1}, expected one of "
                    f"{', '.join(f'{value:g}' for value in attribute.values[:5])}; copy it again"
                )
    return Table(attributes, values)


_REASONS = {
    "BadDataFormat": "a row of other than {count} values, or an index that is not below {count}",
    "BadNumericalValue": "a value that is no number",
    "ValueError": "a value that is no number",
    "BadLayout": "neither a row of values nor a sparse row, or a mixture of both",
}


class _Lines:
    """The lines of a file, and how far they have been read, for messages."""

    def __init__(self, path: Path, text: str, longest: int) -> None:
        """`longest`: characters of a row."""
        self.path, self.longest = path, longest
        self._lines = text.split("\n")
        self._at = 0

    def error(self, what: str) -> DataError:
        return DataError(f"{self.path}:{self._at}: {what}; copy it again")

    def __iter__(self) -> Iterator[str]:
        """Lines that say something, stripped."""
        while self._at < len(self._lines):
            line = self._lines[self._at].strip()
            self._at += 1
            if line and not line.startswith("%"):
                yield line

    def rest_is_sparse(self) -> bool:
        at = self._at
        first = next(iter(self), "")
        self._at = at
        return first.startswith("{")

    def after(self, header: list[str]) -> Iterator[str]:
        """The header, then the rows, each of them looked at before the library sees it."""
        yield from header
        for line in self:
            if len(line) > self.longest:
                raise self.error(f"a row of more than {self.longest:,} characters")
            if not _ROW.fullmatch(line):
                raise self.error("a row with characters that no number has")
            self._commas = line.count(",")
            yield line

    def dense(self, row: dict[int, float | None], default: Array) -> Array:
        """float32 (A,) of a sparse row."""
        if row and len(row) != self._commas + 1:
            raise self.error("a sparse row that names an index twice")
        made = default.copy()
        for place, value in row.items():
            made[place] = self._number(value)
        return self._narrowed(made)

    def checked(self, row: list[float | None]) -> Array:
        """float32 (A,) of a row."""
        import numpy as np

        if None in row:
            self._number(None)
        return self._narrowed(np.array(row, np.float64))

    def _number(self, value: float | None) -> float:
        if value is None:
            raise self.error("a missing value (?), which no release has")
        return value

    def _narrowed(self, row: Array) -> Array:
        import numpy as np

        with np.errstate(over="ignore"):
            made = row.astype(np.float32)
        if not np.isfinite(made).all():
            raise self.error("a value that is not finite (nan, inf, or beyond 32 bits)")
        return made


def _declared(lines: _Lines, count: int) -> tuple[Attribute, ...]:
    """The attributes that stand before @data."""
    found: dict[str, Attribute] = {}
    for line in lines:
        word = line[:10].lower()
        if word.startswith("@data"):
            break
        if word.startswith("@relation"):
            continue
        match = _ATTRIBUTE.fullmatch(line) if len(line) <= _LONGEST else None
        if match is None:
            raise lines.error(f"expected `@attribute NAME TYPE` or @data, found {shown(line)}")
        quoted, double, plain, kind = match.groups()
        name = plain if plain is not None else re.sub(r"\\(.)", r"\1", quoted or double or "")
        if name in found:
            raise lines.error(f"attribute {shown(name)} is declared twice")
        if len(found) == count:
            raise lines.error(f"more than {count} attributes, so it is another data set")
        found[name] = Attribute(name, _values(lines, name, kind))
    else:
        raise lines.error("the file ends before @data")
    if len(found) != count:
        raise lines.error(f"{len(found)} attributes, expected {count}, so it is another data set")
    return tuple(found.values())


def _values(lines: _Lines, name: str, kind: str) -> tuple[float, ...] | None:
    if kind.lower() in _NUMERIC:
        return None
    try:
        return tuple(float(word.strip().strip("'\"")) for word in kind.strip("{}").split(","))
    except ValueError:
        raise lines.error(
            f"attribute {shown(name)} is {shown(kind)}, expected numeric or numbers such as {{0,1}}"
        ) from None
