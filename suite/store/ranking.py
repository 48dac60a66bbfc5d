"""Shared ranks of the store's boards: `suite.stats.ranking.rank_rows` over what the store holds."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from suite.define.metrics import split_key
from suite.stats.ranking import rank_rows

if TYPE_CHECKING:
    import duckdb

Wanted = Mapping[tuple[str, str], bool]
"""(task, metric key) -> whether higher is better."""

RankRow = tuple[str, str, str, int, int | None, str, int | None, str]
"""(task, evaluation hash, metric key, row id, rank, groups, seeds to next, test); see `suite.store.row.Row`."""


def ranks(connection: "duckdb.DuckDBPyConnection", wanted: Wanted) -> Iterator[RankRow]:
    """Ranks of every board for each wanted key, over the rows whose digest is today's.

    A row with a counted run that does not define the key has rank None: a mean over some of its
    replicates is not the row's.
    """
    import pyarrow as pa

    from suite.store.connection import statements

    if not wanted:
        return
    keys = list(wanted)
    metric, subset = zip(*(split_key(key) for _, key in keys), strict=True)
    connection.register(
        "wanted",
        pa.table(
            {
                "task": [task for task, _ in keys],
                "key": [key for _, key in keys],
                "metric": metric,
                "subset": subset,
            }
        ),
    )
    cells = connection.execute(statements("samples")).fetchall()
    connection.unregister("wanted")
    for (task, evaluation, _, key), board in groupby(cells, key=lambda cell: cell[:4]):
        rows = list(board)
        samples = [sample(*row[5:]) for row in rows]
        found = rank_rows(samples, wanted[task, key])
        for row, place in zip(rows, found.places, strict=True):
            yield (
                *(task, evaluation, key, row[4]),
                *(place.rank, place.groups, place.seeds_to_next, found.test),
            )


def sample(
    seeds: Sequence[int], runs: Sequence[str], values: Sequence[float | None]
) -> dict[Hashable, float]:
    """Replicate -> value of a row, of runs with their seeds; empty, so unranked, where a value is missing."""
    defined = [value for value in values if value is not None]
    if len(defined) < len(values):
        return {}
    # two runs of one seed (trained on different inputs) leave no pairs across rows
    replicates: Sequence[Hashable] = seeds if len(set(seeds)) == len(seeds) else runs
    return dict(zip(replicates, defined, strict=True))
