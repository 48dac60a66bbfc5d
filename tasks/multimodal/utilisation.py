"""How well a training uses each modality: its encoder's probe beside that of training on this modality alone.

A comparison of rows of the store, as a paired difference is, and no metric of a run: no row of metrics reads another run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from suite.boards.named_rows import row_of_method
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.stats.tests import Interval, mean_interval
from suite.store.rows import Side, read_rows
from tasks.multimodal.evaluation import modality_names

if TYPE_CHECKING:
    import duckdb

    from suite.define.catalog import Catalog

REFERENCE = "ume"
"""Trains every modality alone, all in one run."""
ALONE = "unimodal-"
"""Before the modality's number: a run on one modality, whose encoder is that of `REFERENCE` bit for bit."""


@dataclass(frozen=True)
class Utilisation:
    """Of one modality by one row.

    Attributes:
        side: the row, with its values of the modality's probe.
        reference: the row it is held against.
        ratios: seed -> probe of the run / probe of the reference's run of that seed, for the seeds that both have; above 1
            where training together made better features of the modality than training it alone.
    """

    modality: str
    side: Side
    reference: Side
    ratios: Mapping[int, float]

    @property
    def interval(self) -> Interval | None:
        """Mean over seeds and its t interval; None where the two rows have no seed in common."""
        return mean_interval(list(self.ratios.values())) if self.ratios else None


def probe_key(modality: str) -> str:
    """Metric key of a modality's probe."""
    return f"probe[modality={modality}]"


def utilisation(
    sides: Mapping[str, Sequence[Side]], references: Mapping[str, Side]
) -> list[Utilisation]:
    """Modality by modality, of every row that has its probe.

    Args:
        sides: modality -> rows of one board with their values of its probe. Those in which a run has none (trained on
            other modalities), or two runs share a seed, are left out.
        references: modality -> the row it is held against; a modality without one is left out. A seed in which the
            reference's probe is 0 has no ratio.
    """
    found = []
    for modality, rows in sides.items():
        reference = references.get(modality)
        if reference is None:
            continue
        alone = reference.values
        for side in rows:
            if not side.values:
                continue
            ratios = {
                seed: value / alone[seed]
                for seed, value in side.values.items()
                if alone.get(seed, 0.0) > 0
            }
            found.append(Utilisation(modality, side, reference, ratios))
    return found


def reference_row(sides: Sequence[Side], catalog: Catalog, task: Task) -> Side | None:
    """Of the rows that have a modality's probe the one that stands for training on it alone: that of `ume`, else of the
    `unimodal-K` that has one. None where neither has run, or a method has rows with other than its default
    parameters only."""
    there = [side for side in sides if side.values]
    joint = [side for side in there if side.method == REFERENCE]
    single = [side for side in there if side.method.startswith(ALONE)]
    for rows in (joint, single):
        if rows and (found := row_of_method(rows, catalog, task)[0]) is not None:
            return found
    return None


def read_utilisation(
    connection: duckdb.DuckDBPyConnection, task: Task, protocol: Protocol, catalog: Catalog
) -> list[Utilisation]:
    """Of the rows with today's code under a protocol, modality by modality in the protocol's order; empty where no
    reference has run."""
    sides = {
        modality: read_rows(connection, task, probe_key(modality), only=protocol, catalog=catalog)
        for modality in modality_names(protocol)
    }
    references = {
        modality: found
        for modality, rows in sides.items()
        if (found := reference_row(rows, catalog, task)) is not None
    }
    return utilisation(sides, references)
