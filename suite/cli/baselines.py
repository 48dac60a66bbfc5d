"""`baselines`: the methods, with paper, parameters and needs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from suite.cli.completion import task_names
from suite.cli.options import Plugins, load_catalog, parse_format


def baselines(
    method: Annotated[
        str | None, typer.Argument(help="Show one method in full, with its BibTeX.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            autocompletion=task_names,
            help="Only the methods of a task.",
            show_default=False,
        ),
    ] = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """List methods: paper, tasks, parameters, needs, BibTeX.

    \b
    Examples:
      python -m suite baselines
      python -m suite baselines aucseg
      python -m suite baselines --task longtail-seg --format json
    """
    import msgspec

    from suite.base.command import Command
    from suite.cli.output import clean, console, params, print_rows, table

    parse_format(format, ("table", "json"))
    catalog = load_catalog(plugin)
    if task is not None:
        catalog.task(task)
    names = [method] if method else catalog.methods(task)
    listing: list[dict[str, Any]] = []
    for name in names:
        card = catalog.card(name)
        shown = msgspec.to_builtins(card)
        preset = shown.pop("names")[name]
        tasks = list(catalog.tasks_of(name))
        listing.append({"method": name, **preset, **shown, "tasks": tasks, "flags": card.flags})
        listing[-1]["params"] = shown["params"]
        listing[-1]["preset"] = preset["params"]
        listing[-1]["preset_protocol_defaults"] = preset["protocol_defaults"]
        listing[-1]["digest"] = catalog.code.digests[name]
    if format == "json":
        print_rows("baselines", listing)
        return
    out = console()
    if not method:
        rows: list[tuple[object, ...]] = [
            (e["method"], " ".join(e["tasks"]), e["summary"], e["venue"] or "-") for e in listing
        ]
        out.print(table(("method", "tasks", "", "paper"), rows))
        out.print(f"\nOne in full, with BibTeX: {Command('baselines', 'METHOD')}", markup=False)
        return
    entry = listing[0]
    out.print(f"[bold]{clean(entry['method'])}[/]  {clean(entry['summary'])}")
    paper = ", ".join(filter(None, (entry["paper"], entry["venue"], entry["arxiv"])))
    out.print(f"paper   {clean(paper or '-')}", soft_wrap=True)
    out.print(f"tasks   {clean(' '.join(entry['tasks']))}")
    out.print(f"needs   {clean(params(entry['needs']))}", soft_wrap=True)
    if entry["notes"]:
        out.print(f"notes   {clean(entry['notes'])}", soft_wrap=True)
    if entry["flags"]:
        out.print(f"flags   {clean(' '.join(entry['flags']))}")
    rows = [
        (key, entry["preset"].get(key, p["default"]), p["help"])
        for key, p in entry["params"].items()
    ]
    if rows:
        out.print()
        out.print(table(("parameter", "value", ""), rows))
    if entry["bibtex"]:
        print("\n" + entry["bibtex"].strip())
