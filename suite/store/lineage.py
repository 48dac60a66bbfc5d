"""What the input runs of runs, and the methods that methods are built on, do to rows and digests."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import msgspec

from suite.base.canonical import canonical, short_hash
from suite.define.digest import Code

MAX_LINEAGE = 64
"""Inputs of inputs are followed this far; beyond, an input's id stands in for it."""


def renamed(
    connection: duckdb.DuckDBPyConnection, today: Code, combined: Mapping[str, str]
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """(method, recorded digest, today's), and the same by run where other methods' code is part of it, of
    recorded digests that stand for today's code."""
    recorded = connection.execute(
        "SELECT DISTINCT method, digest FROM facts WHERE digest <> ''"
    ).fetchall()
    alone = today.alone
    of_methods = []
    for method, digest in recorded:
        now = alone.get(method)
        if now is not None and now != digest:
            today.digest(method, {}, {})
            if today.same(digest, now):
                of_methods.append((method, digest, now))
    # whatever could be among them is a digest that is not yet anybody's today
    others = {digest for _, digest in recorded} - set(combined.values())
    if not combined or not others:
        return of_methods, []
    runs = connection.execute(
        "SELECT DISTINCT run_id, digest FROM facts WHERE list_contains($others, digest)",
        {"others": sorted(others)},
    ).fetchall()
    of_runs = [
        (run, digest, combined[run])
        for run, digest in runs
        if run in combined and today.same(digest, combined[run])
    ]
    return of_methods, of_runs


def related(
    connection: duckdb.DuckDBPyConnection, today: Code
) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """(run, role -> method, lineage) of the runs that have inputs; and (run, digest of today) of those,
    and of the runs whose method is built on another.

    The lineage tells rows apart: role -> hash of the input's protocol, method, params and own
    lineage, its seed left out, so that replicates trained on replicates share one. An input run that
    is not in the store cannot be vouched for: its id stands in, and only runs that share it are
    pooled; and the newest digest counts as today's.
    """
    some = "inputs <> '{}' OR list_contains($linked, method)"
    facts = connection.execute(
        "SELECT run_id, any_value(protocol_hash), any_value(method), any_value(params), "
        "any_value(inputs), arg_max(digest, coalesce(finished, started, 0)) "
        f"FILTER (WHERE digest <> '') FROM facts WHERE {some} "
        f"OR (SELECT bool_or({some}) FROM facts) GROUP BY run_id",
        {"linked": list(today.links)},
    ).fetchall()
    runs = {run: rest for run, *rest in facts}
    inputs = {run: msgspec.json.decode(rest[3], type=dict[str, str]) for run, rest in runs.items()}
    known: dict[str, str] = {}
    digests: dict[str, str | None] = {}

    def identity(run: str, depth: int = 0) -> str:
        # honest chains are two or three long; a forged one must not exhaust the stack
        if depth > MAX_LINEAGE:
            return run
        if run not in known:
            # ids are hashes that cover the inputs' ids, so there are no cycles to run into
            above = {
                role: identity(source, depth + 1) for role, source in inputs.get(run, {}).items()
            }
            known[run] = short_hash([*runs[run][:3], above]) if run in runs else run
        return known[run]

    def digest(run: str, depth: int = 0) -> str | None:
        if run not in runs or depth > MAX_LINEAGE:
            return None
        if run not in digests:
            _, method, params, _, newest = runs[run]
            of = {role: digest(source, depth + 1) for role, source in inputs[run].items()}
            whole = {role: found for role, found in of.items() if found is not None}
            settings = msgspec.json.decode(params) if method in today.links else {}
            now = today.digest(method, settings, whole) if len(whole) == len(of) else None
            digests[run] = now or newest
        return digests[run]

    rows, combined = [], []
    for run, sources in inputs.items():
        if sources:
            methods = {role: runs[s][1] if s in runs else None for role, s in sources.items()}
            lineage = {role: identity(source) for role, source in sources.items()}
            rows.append((run, canonical(methods).decode(), canonical(lineage).decode()))
        if sources or runs[run][1] in today.links:
            combined.append((run, digest(run) or ""))
    return rows, combined
