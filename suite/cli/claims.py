"""`claims`: published numbers and statements beside ours."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.completion import method_names, protocol_names, task_names
from suite.cli.options import Plugins, Root, catalog_at, parse_format

if TYPE_CHECKING:
    from suite.boards.statements import Finding
    from suite.claims.claim import Claim
    from suite.claims.compare import Comparison
    from suite.claims.statement import Statement
    from suite.define.catalog import Catalog
    from suite.store.row import Row

FORMATS = ("table", "json", "csv", "markdown")


def claims(
    task: Annotated[
        str | None,
        typer.Option(
            "--task", autocompletion=task_names, help="Only this task.", show_default=False
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            autocompletion=protocol_names,
            help="Only claims near this protocol, such as r32-200 or r32-200:cifar100.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            autocompletion=method_names,
            metavar="METHOD",
            help="Only this method, by our name or as printed.",
            show_default=False,
        ),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            help="Only this status, such as 'not run', below or supported.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--claims",
            metavar="FOLDER",
            help="Folder with *.toml of claims. Default: those that come with the suite.",
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Compare published numbers and statements, each with its source, with our runs.

    \b
    Examples:
      python -m suite claims --task longtail-cls
      python -m suite claims --method sade --protocol r32-200-rot:cifar100
      python -m suite claims --status below --format markdown
      python -m suite claims --status undecided
    """
    from suite.base.errors import UserError, did_you_mean
    from suite.base.settings import existing_root
    from suite.boards import statements as said
    from suite.claims.compare import STATUSES, compare
    from suite.claims.read import default_folder, read_claims, read_statements
    from suite.define.card import covers

    parse_format(format, FORMATS)
    statuses = {**STATUSES, **said.STATUSES}
    if status is not None and status not in statuses:
        raise UserError(f"--status {status}: {did_you_mean(status, statuses)[2:]}")
    results = existing_root(root, or_none_yet=True)
    catalog = catalog_at(plugin, results)
    known = folder or default_folder(), catalog.methods(), catalog.tasks()
    found, statements = read_claims(*known), read_statements(*known)
    _check_names(found, statements, task, protocol, method)
    wanted = _wanted(found, task, protocol, method)
    asked = _wanted_statements(statements, task, protocol, method)
    tasks = {claim.task for claim in wanted}
    boards = _boards(results, catalog, tasks, {one.task for one in asked})
    comparisons = compare(
        wanted, boards, catalog.tasks(), lambda name, under: catalog.spec(name, under).params
    )
    _print(
        [c for c in comparisons if status is None or c.status == status],
        [
            one
            for one in said.findings(results, catalog, asked)
            if (status is None or one.status == status)
            and (protocol is None or (one.test is not None and covers(protocol, one.test.protocol)))
        ],
        format,
    )


def _check_names(
    found: Sequence[Claim],
    statements: Sequence[Statement],
    task: str | None,
    protocol: str | None,
    method: str | None,
) -> None:
    """Raises UserError for a name that no claim and no statement has."""
    from suite.base.errors import UserError, did_you_mean
    from suite.define.card import covers

    tasks = {claim.task for claim in found} | {one.task for one in statements}
    methods = {name for claim in found for name in (claim.method, claim.method_as_printed) if name}
    methods.update(*(one.methods for one in statements))
    protocols = {claim.full_protocol for claim in found if claim.protocol}
    protocols |= {test.protocol for one in statements for test in one.tests}
    if task is not None and task not in tasks:
        raise UserError(f"--task {task}: no claim is about it{did_you_mean(task, tasks)}")
    if method is not None and method not in methods:
        raise UserError(f"--method {method}: no claim is about it{did_you_mean(method, methods)}")
    if protocol is not None and not any(covers(protocol, name) for name in protocols):
        near = did_you_mean(protocol, protocols)
        raise UserError(f"--protocol {protocol}: no claim is near it{near}")


def _wanted(
    found: Sequence[Claim], task: str | None, protocol: str | None, method: str | None
) -> list[Claim]:
    """The claims asked for."""
    from suite.define.card import covers

    return [
        claim
        for claim in found
        if (task is None or claim.task == task)
        and (method is None or method in (claim.method, claim.method_as_printed))
        and (protocol is None or (claim.protocol and covers(protocol, claim.full_protocol)))
    ]


def _wanted_statements(
    found: Sequence[Statement], task: str | None, protocol: str | None, method: str | None
) -> list[Statement]:
    """The statements asked for; of a protocol or method those that have a test of it."""
    from suite.define.card import covers

    return [
        one
        for one in found
        if (task is None or one.task == task)
        and (method is None or method in one.methods)
        and (protocol is None or any(covers(protocol, test.protocol) for test in one.tests))
    ]


def _boards(
    root: Path, catalog: Catalog, tasks: set[str], others: set[str]
) -> dict[str, list[Row]]:
    """Task -> rows of its board, for the tasks that exist; the store is then up to date. `others`: tasks of which no
    board is asked."""
    from suite.base.text import plain
    from suite.boards.leaderboard import board
    from suite.store import ingest as store

    there = sorted(tasks & set(catalog.tasks()))
    if not root.is_dir() or not (there or others & set(catalog.tasks())):
        return {}
    report = store.refresh(root, catalog.tasks(), catalog.code)
    for refused in report.refused:
        print(f"refused {plain(refused.path)}: {plain(refused.reason)}", file=sys.stderr)
    return {
        name: board(
            root,
            catalog.task(name),
            protocol=None,
            by=None,
            today=catalog.code.alone,
            planned=[],
            catalog=catalog,
        )
        for name in there
    }


def _print(comparisons: Sequence[Comparison], found: Sequence[Finding], format: str) -> None:
    from suite.render import claims as tables
    from suite.render import formats

    laid = [tables.as_table(comparisons)] if comparisons or not found else []
    laid += [tables.statements_table(found)] if found else []
    if format == "json":
        made = [tables.as_row(comparison) for comparison in comparisons]
        statements = [tables.statement_row(one) for one in found]
        sys.stdout.write(formats.to_json(formats.envelope("claims", made, statements=statements)))
    elif format == "csv":
        sys.stdout.write(tables.to_csv(comparisons, found))
    elif format == "markdown":
        sys.stdout.write("\n".join(map(formats.to_markdown, laid)))
    else:
        from suite.cli.output import print_tables

        print_tables(laid)
