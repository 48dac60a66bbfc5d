"""What a shell completes: names of tasks, protocols and methods, from the catalog. Nothing is completed where it
cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from suite.define.catalog import Catalog


def task_names(ctx: typer.Context, incomplete: str) -> list[str]:
    found = _catalog(ctx)
    return [name for name in found.tasks() if name.startswith(incomplete)] if found else []


def method_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Of the task that is named, or of all; the last of several with commas between them."""
    found = _catalog(ctx)
    before, comma, last = incomplete.rpartition(",")
    if found is None:
        return []
    return [
        before + comma + name
        for name in found.methods(_task(ctx, found))
        if name.startswith(last) and name not in before.split(",")
    ]


def protocol_names(ctx: typer.Context, incomplete: str) -> list[str]:
    found = _catalog(ctx)
    if found is None:
        return []
    chosen = _task(ctx, found)
    tasks = found.tasks() if chosen is None else [chosen]
    names = [name for task in tasks for name in found.task(task).protocols.names]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _catalog(ctx: typer.Context) -> Catalog | None:
    from suite.base import settings
    from suite.base.errors import UserError
    from suite.define.catalog import Catalog

    try:
        found = Catalog.load(tuple(ctx.params.get("plugin") or ()))
        return found.at(settings.results_root(ctx.params.get("root")))
    except UserError:
        return None


def _task(ctx: typer.Context, catalog: Catalog) -> str | None:
    name = ctx.params.get("task")
    return name if name in catalog.tasks() else None
