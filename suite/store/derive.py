"""What the store works out of the facts: rows, and their statistics."""

from collections.abc import Mapping
from contextlib import ExitStack

import duckdb

from suite.define.digest import Code
from suite.records.files import STALE_HEARTBEAT_SECONDS
from suite.store.connection import statements
from suite.store.lineage import related, renamed
from suite.store.tables import arrow_table, insert_rows, registered, text_table


def derive_attempts(connection: duckdb.DuckDBPyConnection, today: Code) -> None:
    """Which attempts are of today's code, and which make a row together."""
    lineages, digests = related(connection, today)
    of_methods, of_runs = renamed(connection, today, dict(digests))
    tables = {
        "today": text_table(["method", "digest"], list(today.digests.items())),
        "lineages": text_table(["run_id", "input_methods", "lineage"], lineages),
        "combined": text_table(["run_id", "digest"], digests),
        "earlier_of_methods": text_table(["method", "earlier", "digest"], of_methods),
        "earlier_of_runs": text_table(["run_id", "earlier", "digest"], of_runs),
    }
    with ExitStack() as stack:
        for name, content in tables.items():
            stack.enter_context(registered(connection, name, content))
        # a view takes no parameters
        sql = statements("attempts").replace("{stale_seconds}", str(STALE_HEARTBEAT_SECONDS))
        connection.execute(sql)


def derive_statistics(
    connection: duckdb.DuckDBPyConnection, wanted: Mapping[tuple[str, str], bool]
) -> None:
    """Means, intervals and shared ranks. `wanted`: (task, metric key) -> whether higher is better."""
    from suite.stats import tests as stats
    from suite.store.ranking import ranks

    counts = connection.execute(
        "SELECT DISTINCT count(*) FROM attempt_rows WHERE counted GROUP BY row_id"
    ).fetchall()
    # a metric may be undefined in some runs: any smaller n can occur
    most = max((n for (n,) in counts), default=1)
    quantiles = stats.t_quantiles(range(2, most + 1))
    types = {"n": "BIGINT", "t": "DOUBLE"}
    content = arrow_table(types, [list(quantiles), list(quantiles.values())])
    with registered(connection, "quantiles", content):
        connection.execute(statements("summary"))
    connection.execute("DELETE FROM ranks")
    insert_rows(connection, "ranks", list(ranks(connection, wanted)))
