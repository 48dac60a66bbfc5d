"""A run's terminal phase (TPT) from what hooks told during its training."""

from __future__ import annotations

from collections.abc import Iterable

from suite.define.metrics import MetricRow
from tasks.vision.geometry.terminal import Point, tpt_gain, tpt_rho, tpt_start

_SERIES = {"top1[split=train]": "train", "top1": "test", "nc1[split=train]": "nc1"}


def points(rows: Iterable[MetricRow]) -> list[Point]:
    """The tracked points in the order of training; the last step is its end.

    Of hook rows with a step: accuracy of the training images and of the test images that are tracked, without either of
    which there is no point, and nc1 of the training images. Rows of classes and of other subsets are no part.
    """
    found: dict[int, dict[str, float | None]] = {}
    for row in rows:
        name = _SERIES.get(row.key)
        if name is not None and row.step is not None and row.class_ is None:
            found.setdefault(row.step, {})[name] = row.value
    made = []
    for step in sorted(found):
        train, test = found[step].get("train"), found[step].get("test")
        if train is not None and test is not None:
            share = step / max(found)
            made.append(Point(share=share, train=train, test=test, nc1=found[step].get("nc1")))
    return made


def terminal_rows(rows: Iterable[MetricRow]) -> list[MetricRow]:
    """`tpt_start`, `tpt_gain` and `tpt_rho` (`tasks.vision.geometry.terminal`) of a run's hook rows.

    They are `hook` rows themselves: nothing that is stored besides could repeat them.
    """
    tracked = points(rows)
    values = {
        "tpt_start": tpt_start(tracked),
        "tpt_gain": tpt_gain(tracked),
        "tpt_rho": tpt_rho(tracked),
    }
    return [MetricRow(metric=name, value=value, source="hook") for name, value in values.items()]
