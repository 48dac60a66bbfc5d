"""The conditions that a protocol tests under, and the metric keys of their AUCs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.robust_auc.data.constants import set_name

CLEAN = 0
"""The severity of the clean test set."""


@dataclass(frozen=True)
class Conditions:
    """Corruptions and their severities, of the settings of an evaluation (`evaluation.settings`).

    Attributes:
        corruptions: names, in the protocol's order.
        severities: ascending, of every corruption; () where each has one strength.
    """

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Conditions:
        return cls(tuple(settings["corruptions"]), tuple(settings["severities"]))

    def key(self, corruption: str | None, severity: int | None = None) -> str:
        """Metric key of an AUC: under a corruption, at a severity, or both. `CLEAN` is the clean test set whatever the
        corruption; None is the mean over all of them (and the AUC itself of a corruption of one strength)."""
        if severity == CLEAN:
            return "auc"
        if corruption is None:
            return "auc_corrupted" if severity is None else f"auc[severity={severity}]"
        return f"auc[{set_name(corruption, severity)}]"

    def along(self, corruption: str | None) -> dict[int, str]:
        """Severity, `CLEAN` first -> metric key of the AUC; `corruption` None: of the mean over all."""
        return {level: self.key(corruption, level) for level in (CLEAN, *self.severities)}

    def columns(self) -> dict[str, str]:
        """What a table by corruption shows -> metric key: the clean set, every corruption, their mean."""
        found = {"clean": self.key(None, CLEAN)}
        found |= {name: self.key(name) for name in self.corruptions}
        # a corruption may be called anything
        mean = "mean of all" if "mean of all" not in found else "auc_corrupted"
        return {**found, mean: self.key(None)}
