"""`tasks`: the questions, their protocols and metrics."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from suite.cli.options import parse_format


def tasks(format: Annotated[str, typer.Option(help="table or json.")] = "table") -> None:
    """List tasks with their protocols and metrics.

    \b
    Examples:
      python -m suite tasks
      python -m suite tasks --format json
    """
    from suite.catalog import Catalog
    from suite.cli.output import clean, console, print_json, table

    parse_format(format, ("table", "json"))
    catalog = Catalog.load()
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
                }
                for protocol in task.protocols
            ],
        }
        for task in catalog.tasks().values()
    ]
    if format == "json":
        print_json(listing)
        return
    out = console()
    for entry in listing:
        out.print(f"[bold]{clean(entry['task'])}[/]  {clean(entry['question'])}")
        out.print(f"  ranked by {clean(entry['primary'][0])}; {len(entry['methods'])} methods")
        rows = [
            (
                p["name"] + (" (default)" if p["name"] == entry["default_protocol"] else ""),
                p["dataset"],
                p["fixes"]["budget"]["iterations"] if p["fixes"]["budget"] else "-",
                p["summary"],
            )
            for p in entry["protocols"]
        ]
        out.print(table(("protocol", "data", "iterations", ""), rows))
        out.print()
        out.print(table(("metric", ""), [(m["name"], m["summary"]) for m in entry["metrics"]]))
