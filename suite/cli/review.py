"""`review`: a stranger's results, examined and, if nothing is wrong, imported."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.options import DataRoot, Plugins, Root, catalog_at, parse_format

if TYPE_CHECKING:
    from suite.exchange.review.findings import Review

FORMATS = ("table", "json")


def review(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder with runs/<run id>/<attempt>/, or a single run's folder."),
    ],
    accept: Annotated[
        bool, typer.Option("--accept", help="Import the runs, marked as external.")
    ] = False,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    root: Root = None,
    data_root: DataRoot = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Examine somebody else's results; exit code 0 if nothing is wrong with them.

    Protocol, budget, data, code and metrics are held against what is here; the metrics are recomputed
    from the predictions. With --accept the runs are imported if all of them are in order: records,
    predictions and scores made here, marked `external`; no weights, no images, no logs.

    \b
    Examples:
      python -m suite review downloaded/results
      python -m suite review downloaded/results --format json
      python -m suite review downloaded/results --accept
    """
    import warnings

    from suite.base import settings
    from suite.exchange.importing import accept as bring
    from suite.exchange.review.examine import review as examine
    from suite.store.ingest import update_store

    parse_format(format, FORMATS)
    # the file of a method that adapts scores may import OpenMMLab, which warns of optional parts
    warnings.filterwarnings("ignore", module="mm(engine|seg|cv)")
    results = settings.results_root(root)
    catalog = catalog_at(plugin, results)
    found = examine(folder, results, catalog, settings.data_root(data_root))
    brought = []
    if accept and found.acceptable:
        settings.writable_root(results)
        brought = bring(found, results, catalog)
        # which may have come with protocols of their own
        update_store(results, catalog_at(plugin, results))
    _print(found, [f"{a.run_id}/{a.number}" for a in brought], format, accept)
    if not found.acceptable:
        sys.exit(1)


def _print(found: Review, brought: list[str], format: str, accept: bool) -> None:
    from suite.base.text import clipped, plain
    from suite.cli.output import console, print_rows, table

    if format == "json":
        made = found.as_dict()
        print_rows("review", made.pop("runs"), **made, imported=brought)
        return
    runs = [
        (one.run_id, clipped(plain(one.method)), one.seed, one.state, one.passed)
        for one in found.runs
    ]
    out = console()
    out.print(table(("run", "method", "seed", "result", "checks in order"), runs))
    said: dict[tuple[str, str, str], list[str]] = {}
    for one in found.runs:
        for finding in one.findings:
            if finding.level != "ok":
                key = finding.level, finding.check, finding.text
                said.setdefault(key, []).append(one.run_id or one.folder.name)
    for finding in found.findings:
        if finding.level != "ok":
            said.setdefault((finding.level, finding.check, finding.text), []).append("folder")
    # problems first; what is said of many runs is said once
    rows = [
        (
            level,
            check,
            plain(where[0]) if len(where) == 1 else f"{len(where)} runs",
            clipped(plain(text), 300),
        )
        for (level, check, text), where in sorted(
            said.items(), key=lambda item: item[0][0] == "note"
        )
    ]
    if rows:
        out.print()
        out.print(table(("", "check", "of", ""), rows))
        out.print()
    for line in found.comparison:
        print(clipped(plain(line), 300))
    if brought:
        print(f"{len(brought)} run(s) imported, marked external")
    elif not found.acceptable:
        print("not acceptable" + ("; nothing imported" if accept else ""))
    elif accept or not found.new:
        print("nothing new: every run is here already")
    else:
        print(f"acceptable: {len(found.new)} run(s); add --accept to import them")
