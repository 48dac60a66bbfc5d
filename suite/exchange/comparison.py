"""Stored rows of metrics beside recomputed ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from suite.define.metrics import MetricRow

TOLERANCE = 1e-9
"""Relative difference up to which two values count as equal. Sums are float64, and numpy adds in another
order with other vector units: that moves the 15th digit. A changed score moves far more."""


Key = tuple[str, str, str | None, int | None]
"""Metric, subset, class, step."""


@dataclass(frozen=True)
class Mismatch:
    """A row that is not what the predictions give. Values as text: `no row`, `null` or the number."""

    key: Key
    stored: str
    recomputed: str

    @property
    def name(self) -> str:
        """`IoU[group=tail] class sign, step 10`."""
        metric, subset, class_, step = self.key
        text = f"{metric}[{subset}]" if subset else metric
        text += f" class {class_}" if class_ is not None else ""
        return text + (f", step {step}" if step is not None else "")


@dataclass(frozen=True)
class Comparison:
    """Stored rows beside recomputed ones.

    `exact` rows are equal, `near` ones within `TOLERANCE`, `hooks` were made during training and cannot be
    recomputed (they are the record's own rows, or a mismatch).
    """

    exact: int = 0
    near: int = 0
    hooks: int = 0
    mismatches: tuple[Mismatch, ...] = ()


def compare(stored: Sequence[MetricRow], recomputed: Sequence[MetricRow]) -> Comparison:
    """Compare row by row; `recomputed` repeats the record's hook rows, as `metric_rows` makes them."""
    there, here = _by_key(stored), _by_key(recomputed)
    mismatches = []
    if len(there) < len(stored):
        mismatches.append(Mismatch(("", "", None, None), "a row given twice", "every row once"))
    exact = near = hooks = 0
    for key in {**there, **here}:
        left, right = there.get(key), here.get(key)
        if left is None or right is None or not _same(left, right):
            mismatches.append(Mismatch(key, _text(left), _text(right)))
        elif left.source == "hook":
            hooks += 1
        elif left.value == right.value:
            exact += 1
        else:
            near += 1
    return Comparison(exact, near, hooks, tuple(mismatches))


def _by_key(rows: Iterable[MetricRow]) -> dict[Key, MetricRow]:
    return {(row.metric, row.subset, row.class_, row.step): row for row in rows}


def _same(a: MetricRow, b: MetricRow) -> bool:
    if a.source != b.source:
        return False
    if a.value is None or b.value is None or a.source == "hook":
        return a.value == b.value
    return math.isclose(a.value, b.value, rel_tol=TOLERANCE, abs_tol=0.0)


def _text(row: MetricRow | None) -> str:
    if row is None:
        return "no row"
    value = "null" if row.value is None else repr(row.value)
    return f"{value} (hook)" if row.source == "hook" else value
