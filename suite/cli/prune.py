"""`prune`: free space, and never lose a result that counts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.base.errors import UserError
from suite.cli.options import Format, Plugins, Root, catalog_at, parse_format

if TYPE_CHECKING:
    from suite.upkeep.prune.survey import Candidate, Kind


def prune(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Run ids, or the first few digits. Default: all.")
    ] = None,
    checkpoints: Annotated[
        bool,
        typer.Option(
            "--checkpoints",
            help="What killed processes left: checkpoints of finished runs, temporary files.",
        ),
    ] = False,
    weights: Annotated[
        bool, typer.Option("--weights", help="Weights of superseded attempts.")
    ] = False,
    superseded: Annotated[
        bool,
        typer.Option(
            "--superseded",
            help="Whole attempts older than the newest finished one of today's code, with their scores.",
        ),
    ] = False,
    all_: Annotated[
        bool,
        typer.Option("--all", help="Also the newest attempts' weights, not superseded ones alone."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    root: Root = None,
    format: Format = "table",
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Free space. Without a flag: --checkpoints --weights, which lose no score and no prediction.

    A run that another one names as its input keeps its weights and attempts, and nothing is taken from
    a run that somebody is at. Without its weights a run gets no further prediction set (`predict`), and
    is trained again where a new run needs it. Superseded attempts go with everything in them, and only
    where --superseded is given.

    \b
    Examples:
      python -m suite prune --dry-run
      python -m suite prune --all --dry-run
      python -m suite prune 3f2a9c --all
      python -m suite prune --superseded --dry-run
    """
    from suite.base import settings
    from suite.base.text import plain
    from suite.cli.output import console, print_rows, table
    from suite.records.lookup import find_run
    from suite.store.ingest import update_store
    from suite.upkeep.prune.removal import remove
    from suite.upkeep.prune.survey import survey

    parse_format(format, ("table", "json"))
    if all_ and not weights and (checkpoints or superseded):
        raise UserError("--all is for weights; add --weights to the kinds you name")
    results = settings.existing_root(root, or_none_yet=True)
    chosen = {find_run(results, run) for run in runs or ()}
    catalog = catalog_at(plugin, results)
    kinds = _kinds(checkpoints, weights, superseded)
    kept = survey(results, kinds, catalog=catalog, all_=all_, runs=chosen)
    going = [one for one in kept if one.goes]
    # what stays is worth a line where it was asked for by name
    shown = [one for one in kept if one.goes or chosen or one.kind == "attempt"]
    if shown and format == "table":
        console().print(table(("", "run", "method", "seed", "attempt", "size", ""), _rows(shown)))
    freed, left = (sum(one.size for one in going), []) if dry_run else remove(going)
    if format == "json":
        print_rows("prune", map(_fields, shown), dry_run=dry_run, freed_bytes=freed)
    elif dry_run:
        print(f"{_size(freed)} would be freed")
    else:
        print(f"{_size(freed)} freed")
    for one in left:
        name = f"run {one.candidate.run_id}" if one.candidate.run_id else plain(one.candidate.path)
        said = f"{name}: {_WORDS[one.candidate.kind]} left as it is: {plain(one.why)}"
        print(said, file=sys.stderr if format == "json" else sys.stdout)
    if dry_run:
        return
    if len(left) < len(going) and (results / "runs").is_dir():
        update_store(results, catalog)
    if any(one.failed for one in left):
        sys.exit(1)


_WORDS: dict[Kind, str] = {
    "temporary": "temporary file",
    "checkpoint": "checkpoint",
    "weights": "weights",
    "attempt": "whole attempt",
}


def _kinds(checkpoints: bool, weights: bool, superseded: bool) -> set[Kind]:
    if not (checkpoints or weights or superseded):
        checkpoints = weights = True
    found: set[Kind] = set()
    if checkpoints:
        found |= {"temporary", "checkpoint"}
    if weights:
        found.add("weights")
    if superseded:
        found.add("attempt")
    return found


def _fields(one: Candidate) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "run": one.run_id or None,
        "method": one.spec.method if one.spec else None,
        "seed": one.spec.seed if one.spec else None,
        "attempt": one.attempt.number if one.attempt else None,
        "path": str(one.path),
        "bytes": one.size,
        "goes": one.goes,
        "why": one.why or None,
    }


def _rows(kept: list[Candidate]) -> list[tuple[object, ...]]:
    return [
        (
            _WORDS[one.kind],
            one.run_id or one.path.name,
            one.spec.method if one.spec else "",
            one.spec.seed if one.spec else "",
            one.attempt.number if one.attempt else "",
            _size(one.size),
            f"stays: {one.why}" if one.why else "goes",
        )
        for one in kept
    ]


def _size(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
