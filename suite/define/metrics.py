"""Metric rows and the keys that name them, such as `mIoU[group=tail]`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


def split_key(key: str) -> tuple[str, str]:
    """`mIoU[group=tail]` -> (`mIoU`, `group=tail`); `mIoU` -> (`mIoU`, "")."""
    metric, bracket, subset = key.partition("[")
    return (metric, subset.removesuffix("]")) if bracket else (key, "")


def canonical_key(key: str) -> str:
    """The key with its subset's parts sorted, as rows have it: `top1[prior=uniform,draw=mean]` may be typed."""
    metric, where = split_key(key)
    return f"{metric}[{','.join(sorted(where.split(',')))}]" if where else key


class MetricRow(msgspec.Struct, frozen=True, kw_only=True):
    """One value. `subset` is canonical `key=value,...`; `value` is null where undefined.

    Fractions are in [0, 1]; `step` is an iteration, null for the final model; `source` is `arrays`
    (recomputable from the stored predictions) or `hook` (made during training).
    """

    metric: str
    subset: str = ""
    class_: str | None = msgspec.field(default=None, name="class")
    step: int | None = None
    value: float | None
    source: Literal["arrays", "hook"] = "arrays"

    @property
    def key(self) -> str:
        """`mIoU[group=tail]`, or `mIoU` for the whole set."""
        return f"{self.metric}[{self.subset}]" if self.subset else self.metric


def subset(**keys: Any) -> str:
    """Canonical subset string: keys sorted, `subset(group="tail")` -> `group=tail`."""
    return ",".join(f"{key}={value}" for key, value in sorted(keys.items()))
