"""`rescore`: stored runs under a test label distribution of your own, without training."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.completion import method_names, task_names
from suite.cli.leaderboard import FORMATS
from suite.cli.options import OnlyProtocol, Plugins, Root, catalog_at, each, parse_format

if TYPE_CHECKING:
    from suite.boards.rescore import Block, Shift
    from suite.define.task import Task

_MOST_DRAWS = 100_000


def rescore(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Run ids: these alone, not ranked. Default: every finished run."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            autocompletion=task_names,
            help="Task. Default: the only one with test distributions.",
            show_default=False,
        ),
    ] = None,
    protocol: OnlyProtocol = None,
    method: Annotated[
        list[str],
        typer.Option(
            "--method",
            autocompletion=method_names,
            metavar="METHOD",
            help="Show only this method, or several, such as ce,la; repeatable. Ranks are over all of "
            "them all the same.",
            show_default=False,
            callback=each,
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    prior: Annotated[
        list[Path],
        typer.Option(
            "--prior",
            metavar="FILE",
            help="CSV file of class shares, `class,share`; repeatable. Its name is the distribution's.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    dirichlet: Annotated[
        float | None,
        typer.Option(
            "--dirichlet",
            metavar="ALPHA",
            help="Test sets drawn from a symmetric Dirichlet distribution of this concentration.",
            show_default=False,
        ),
    ] = None,
    ratio: Annotated[
        list[float],
        typer.Option(
            "--ratio",
            metavar="R",
            help="Test sets forward-R and backward-R of this imbalance ratio; repeatable.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    draws: Annotated[
        int | None, typer.Option(help="Test sets drawn. Default: 10.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the drawing. Default: 0.", show_default=False)
    ] = None,
    independent: Annotated[
        bool,
        typer.Option(
            "--independent", help="Scores that adapt to a test set adapt to another draw of it."
        ),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", help="Metric that ranks. Default: the task's for these.", show_default=False
        ),
    ] = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Score stored predictions under test label distributions of your own; nothing is written.

    Without --prior, --dirichlet and --ratio, --draws, --seed and --independent change the task's own test
    sets.

    \b
    Examples:
      python -m suite rescore --prior hospital.csv
      python -m suite rescore --dirichlet 0.5 --draws 100 --method ce --method sade
      python -m suite rescore 3f2a9c --prior hospital.csv --prior street.csv --format json
    """
    from suite.base import settings
    from suite.base.errors import UserError
    from suite.base.text import plain
    from suite.boards.rescore import rescore as scores_of
    from suite.boards.rescore import shifting_task
    from suite.define.metrics import canonical_key

    parse_format(format, FORMATS)
    asked = _asked(prior, dirichlet, ratio, draws, seed, independent)
    if runs and (protocol or method):
        raise UserError("name runs, or choose them by --protocol and --method, not both")
    by = canonical_key(by) if by else None
    # the file of a method that adapts scores may import OpenMMLab, which warns of optional parts
    warnings.filterwarnings("ignore", module="mm(engine|seg|cv)")
    results = settings.existing_root(root)
    catalog = catalog_at(plugin, results)
    chosen = shifting_task(catalog, task)
    made = scores_of(
        results,
        catalog,
        chosen,
        asked,
        runs=runs or (),
        protocol=catalog.protocol(chosen, protocol) if protocol else None,
        methods=method,
        by=by,
    )
    _print(made.blocks, chosen, format, by)
    sys.stdout.flush()
    for line in (*made.notes, *made.problems):
        # on stderr: the rows on stdout may be piped into a file
        print(plain(line), file=sys.stderr)
    if made.problems:
        sys.exit(1)


def _asked(
    prior: list[Path],
    dirichlet: float | None,
    ratios: list[float],
    draws: int | None,
    seed: int | None,
    independent: bool,
) -> Shift:
    """What the options ask for. Raises UserError: nothing, a missing file, a number out of range."""
    from suite.base.errors import UserError
    from suite.boards.rescore import Shift

    chosen = prior or ratios or independent
    if not chosen and dirichlet is None and draws is None and seed is None:
        raise UserError(
            "under which test distribution? Give --prior FILE.csv, --dirichlet ALPHA or --ratio R "
            "(`evaluate` scores runs under the task's own)"
        )
    priors: dict[str, Path] = {}
    for path in prior:
        if not path.is_file():
            raise UserError(f"--prior {path}: no such file")
        if path.stem in priors:
            raise UserError(f"--prior {path}: {priors[path.stem]} has the same name; rename one")
        priors[path.stem] = path
    if dirichlet is not None and not (math.isfinite(dirichlet) and dirichlet > 0):
        raise UserError(f"--dirichlet {dirichlet:g}: a concentration is a number above 0")
    for ratio in ratios:
        if not (math.isfinite(ratio) and ratio >= 1):
            raise UserError(f"--ratio {ratio:g}: an imbalance ratio is a number from 1 on")
    if draws is not None and not 1 <= draws <= _MOST_DRAWS:
        raise UserError(f"--draws {draws}: 1 to {_MOST_DRAWS:,}")
    if seed is not None and not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed}: seeds lie in 0..4294967295")
    return Shift(
        priors=priors,
        dirichlet=dirichlet,
        ratios=tuple(dict.fromkeys(ratios)),
        draws=Shift.draws if draws is None else draws,
        seed=Shift.seed if seed is None else seed,
        independent=independent,
    )


def _print(blocks: Sequence[Block], task: Task, format: str, by: str | None) -> None:
    from suite.cli.output import console
    from suite.render import board as tables
    from suite.render import formats
    from suite.render.view import View

    rows = [row for block in blocks for row in block.rows]
    if format == "json":
        sys.stdout.write(formats.to_json(formats.envelope("rescore", rows)))
    elif format == "csv":
        sys.stdout.write(tables.to_csv(rows))
    elif format == "table":
        out = console()
        if not blocks:
            tables.terminal([], task, out)
        for number, block in enumerate(blocks):
            if number:
                out.print()
            tables.terminal(block.rows, block.task, out, View(by=by))
    else:
        written = tables.to_markdown if format == "markdown" else tables.to_latex
        sys.stdout.write(
            "\n".join(written(block.rows, block.task, View(by=by)) for block in blocks)
        )
