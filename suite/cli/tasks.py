"""`tasks`: the questions, their protocols and metrics."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from suite.cli.options import Root, catalog_at, parse_format

_FOLDED = 6
"""Protocols of one base name beyond so many share a line."""


def _protocol_rows(protocols: list[dict[str, Any]], default: str) -> list[tuple[str, ...]]:
    families: dict[str, list[dict[str, Any]]] = {}
    for protocol in protocols:
        families.setdefault(protocol["name"].partition(":")[0], []).append(protocol)
    rows: list[tuple[str, ...]] = []
    for base, members in families.items():
        parts = [(m["name"], [m], m["summary"]) for m in members]
        if len(members) > _FOLDED:
            text = f"{members[0]['summary']}; {_variants([name for name, _, _ in parts])}"
            parts = [(f"{base}:...", members, text)]
        for name, those, summary in parts:
            budgets = [m["fixes"]["budget"]["iterations"] for m in those if m["fixes"]["budget"]]
            ends = sorted({min(budgets), max(budgets)}) if budgets else []
            rows.append(
                (
                    name + (" (default)" if name == default else ""),
                    ", ".join(dict.fromkeys(m["dataset"] for m in those)),
                    "-".join(map(str, ends)) or "-",
                    summary,
                )
            )
    return rows


def _brought_row(protocol: dict[str, Any]) -> tuple[str, ...]:
    iterations = str(protocol["fixes"]["budget"]["iterations"])
    return protocol["name"], protocol["dataset"], iterations, protocol["summary"]


def _variants(names: list[str]) -> str:
    """The choices at each place of the names' variants, and what only some end with."""
    variants = [name.partition(":")[2].split(",") for name in names]
    least = min(map(len, variants))
    places = ["|".join(dict.fromkeys(v[i] for v in variants)) for i in range(least)]
    ends = dict.fromkeys(end for v in variants for end in v[least:])
    return f"{', '.join(places)}" + "".join(f" [, {end}]" for end in ends) + " (first if not named)"


def tasks(
    format: Annotated[str, typer.Option(help="table or json.")] = "table", root: Root = None
) -> None:
    """List tasks with their protocols and metrics; protocols brought to the results root too.

    \b
    Examples:
      python -m suite tasks
      python -m suite tasks --format json
    """
    from suite.base.settings import existing_root
    from suite.cli.output import clean, console, print_rows, table
    from suite.define.protocol import CARVED
    from suite.define.variants import described

    parse_format(format, ("table", "json"))
    results = existing_root(root, or_none_yet=True)
    catalog = catalog_at((), results)
    listing: list[dict[str, Any]] = [
        {
            "task": task.name,
            "question": task.question,
            "default_protocol": task.default_protocol,
            "primary": list(task.primary),
            "methods": catalog.methods(task.name),
            "metrics": [
                {
                    "name": metric.name,
                    "higher_is_better": metric.higher_is_better,
                    "unit": metric.unit,
                    "summary": metric.summary,
                }
                for metric in task.metrics
            ],
            "protocols": [
                {
                    "name": protocol.name,
                    "hash": protocol.hash,
                    "summary": protocol.summary,
                    "dataset": protocol.dataset.name,
                    "groups": {k: list(v) for k, v in protocol.dataset.groups.items()},
                    "group_rule": protocol.dataset.group_rule,
                    "fixes": protocol.identity,
                    "prediction_sets": dict(protocol.prediction_sets),
                    "extra_sets": dict(protocol.extra_sets),
                    "threads": protocol.threads,
                    "variant": described(catalog.variants[protocol.hash])
                    if protocol.hash in catalog.variants
                    else None,
                }
                for protocol in task.protocols
            ],
        }
        for task in catalog.tasks().values()
    ]
    if format == "json":
        print_rows("tasks", listing)
        return
    out = console()
    for entry in listing:
        out.print(f"[bold]{clean(entry['task'])}[/]  {clean(entry['question'])}")
        out.print(f"  ranked by {clean(entry['primary'][0])}; {len(entry['methods'])} methods")
        own = [one for one in entry["protocols"] if one["variant"] is None]
        rows = _protocol_rows(own, entry["default_protocol"])
        out.print(table(("protocol", "data", "iterations", ""), rows))
        brought = [one for one in entry["protocols"] if one["variant"] is not None]
        if brought:
            out.print(f"  brought to {clean(str(results))}:")
            lines = [_brought_row(one) for one in brought]
            out.print(table(("protocol", "data", "iterations", ""), lines))
        out.print()
        out.print(table(("metric", ""), [(m["name"], m["summary"]) for m in entry["metrics"]]))
    out.print(
        f"\nNAME{CARVED} is protocol NAME with a validation set, the prediction set val, left out of its training"
    )
