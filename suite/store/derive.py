"""What the store works out of the facts: rows, and their statistics."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import duckdb

from suite.define.digest import Code
from suite.records.files import STALE_HEARTBEAT_SECONDS
from suite.store.connection import statements
from suite.store.lineage import related, renamed
from suite.store.tables import given, insert_rows


def derive_attempts(connection: duckdb.DuckDBPyConnection, today: Code) -> None:
    """Which attempts are of today's code, and which make a row together."""
    lineages, digests = related(connection, today)
    of_methods, of_runs = renamed(connection, today, dict(digests))
    tables: dict[str, tuple[tuple[str, ...], Sequence[Sequence[str]]]] = {
        "today": (("method", "digest"), list(today.digests.items())),
        "lineages": (("run_id", "input_methods", "lineage"), lineages),
        "combined": (("run_id", "digest"), digests),
        "earlier_of_methods": (("method", "earlier", "digest"), of_methods),
        "earlier_of_runs": (("run_id", "earlier", "digest"), of_runs),
    }
    with ExitStack() as stack:
        for name, (columns, rows) in tables.items():
            types = dict.fromkeys(columns, "VARCHAR")
            stack.enter_context(given(connection, name, types, rows))
        # a view takes no parameters
        sql = statements("attempts").replace("{stale_seconds}", str(STALE_HEARTBEAT_SECONDS))
        connection.execute(sql)


def derive_statistics(
    connection: duckdb.DuckDBPyConnection, wanted: Mapping[tuple[str, str], bool]
) -> None:
    """Means, intervals and shared ranks. `wanted`: (task, metric key) -> whether higher is better."""
    counts = connection.execute(
        "SELECT DISTINCT count(*) FROM attempt_rows WHERE counted GROUP BY row_id"
    ).fetchall()
    # a metric may be undefined in some runs: any smaller n can occur
    most = max((n for (n,) in counts), default=1)
    types = {"n": "BIGINT", "t": "DOUBLE"}
    with given(connection, "quantiles", types, list(_quantiles(most).items())):
        connection.execute(statements("summary"))
    connection.execute("DELETE FROM ranks")
    if counts:
        from suite.store.ranking import ranks

        insert_rows(connection, "ranks", list(ranks(connection, wanted)))


def _quantiles(most: int) -> dict[int, float]:
    if most < 2:
        # a store of no runs, or of one a row, needs nothing that takes long to import
        return {}
    from suite.stats.tests import t_quantiles

    return t_quantiles(range(2, most + 1))
