"""`verify`: stored metrics, recomputed from the stored predictions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.cli.options import Plugins, Root, catalog_at, parse_format

if TYPE_CHECKING:
    from suite.exchange.verify import CheckedEvaluation, Verdict

FORMATS = ("table", "json")
_SHOWN = 20
"""Mismatches of one evaluation that a table names."""


def verify(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|FOLDER]...",
            help="Run ids, or folders with runs. Default: every finished run.",
        ),
    ] = None,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "table",
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Recompute every metric from the stored predictions; exit code 0 if all of them match.

    Records are also held against themselves: run id and spec, class counts, ranges. Nothing is written.

    \b
    Examples:
      python -m suite verify
      python -m suite verify 3f2a9c
      python -m suite verify downloaded/results --format json
    """
    import warnings

    from suite.base import settings
    from suite.base.errors import UserError
    from suite.cli.output import print_rows
    from suite.exchange.verify import attempts_named
    from suite.exchange.verify import verify as verify_one

    parse_format(format, FORMATS)
    # the file of a method that adapts scores may import OpenMMLab, which warns of optional parts
    warnings.filterwarnings("ignore", module="mm(engine|seg|cv)")
    # where folders alone are asked about, the root is not read
    folders = bool(runs) and all(Path(name).is_dir() for name in runs or ())
    results = (
        settings.results_root(root) if folders else settings.existing_root(root, or_none_yet=True)
    )
    found = attempts_named(results, runs or ())
    if not found:
        raise UserError(f"no finished run below {results}; name a run or a folder, or give --root")
    catalog = catalog_at(plugin, results)
    verdicts = [verify_one(attempt, catalog) for attempt in found]
    if format == "json":
        print_rows("verify", [_json(one) for one in verdicts])
    else:
        _print(verdicts)
    if not all(one.holds for one in verdicts):
        sys.exit(1)


def _json(one: Verdict) -> dict[str, Any]:
    return {
        "run": one.run_id,
        "attempt": one.attempt,
        "method": one.method,
        "protocol": one.protocol,
        "seed": one.seed,
        "holds": one.holds,
        "problems": list(one.problems),
        "evaluations": [
            {
                "task": e.task,
                "evaluation_hash": e.evaluation_hash,
                "state": e.state,
                "why": e.why,
                "exact": e.compared.exact,
                "near": e.compared.near,
                "not_recomputable": e.compared.hooks,
                "mismatches": [
                    {
                        "metric": m.key[0],
                        "subset": m.key[1],
                        "class": m.key[2],
                        "step": m.key[3],
                        "stored": m.stored,
                        "recomputed": m.recomputed,
                    }
                    for m in e.compared.mismatches
                ],
            }
            for e in one.evaluations
        ],
    }


def _print(verdicts: list[Verdict]) -> None:
    from suite.base.text import clipped, plain
    from suite.cli.output import console, table

    out = console()
    rows = []
    for one in verdicts:
        head = (one.run_id, one.attempt, clipped(plain(one.method)), _word(one.seed))
        for e in one.evaluations:
            rows.append((*head, clipped(plain(e.task)), plain(_result(e))))
        if not one.evaluations:
            rows.append((*head, "", "not verified"))
    out.print(table(("run", "attempt", "method", "seed", "task", "result"), rows))
    for one in verdicts:
        for problem in one.problems:
            print(f"{one.run_id}/{one.attempt}: {clipped(plain(problem), 400)}")
        for e in one.evaluations:
            wrong = e.compared.mismatches
            for m in wrong[:_SHOWN]:
                print(
                    f"{one.run_id}/{one.attempt}: {clipped(plain(e.task))}: "
                    f"{clipped(plain(m.name), 200)}: stored {m.stored}, recomputed {m.recomputed}"
                )
            if len(wrong) > _SHOWN:
                print(
                    f"{one.run_id}/{one.attempt}: ... and {len(wrong) - _SHOWN} more (--format json)"
                )
    bad = sum(not one.holds for one in verdicts)
    hooks = sum(e.compared.hooks for one in verdicts for e in one.evaluations)
    print(f"{len(verdicts) - bad} of {len(verdicts)} finished run(s) match their predictions")
    if hooks:
        print(f"{hooks} row(s) were made during training and cannot be recomputed")


def _word(value: object) -> str:
    return "" if value is None else str(value)


def _result(e: CheckedEvaluation) -> str:
    c = e.compared
    if e.state == "match":
        near = f", {c.near} of them within 1e-9" if c.near else ""
        hooks = f"; {c.hooks} not recomputable" if c.hooks else ""
        return f"match ({c.exact + c.near} rows{near}{hooks})"
    if e.state == "mismatch":
        return f"{len(c.mismatches)} mismatch(es), {c.exact + c.near} rows match"
    return {"version": "not compared: ", "task": "not compared: "}.get(e.state, "") + e.why[:300]
