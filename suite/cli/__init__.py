"""The command line: one file a verb, each thin."""

from __future__ import annotations

import sys
from typing import Any

import typer

from suite.cli import (
    baselines,
    cancel,
    claims,
    compare,
    config,
    dashboard,
    data,
    doctor,
    evaluate,
    export,
    ingest,
    leaderboard,
    logs,
    merge,
    plan,
    power,
    predict,
    prune,
    rescore,
    retry,
    review,
    run,
    show,
    sites,
    status,
    tasks,
    verify,
)
from suite.errors import UserError

app = typer.Typer(
    name="longtail-suite",
    help="Train every method of a long-tailed vision task under one protocol, and rank them.",
    epilog="Start with: python -m suite run --task longtail-seg",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(plan.plan)
app.command()(status.status)
app.command()(logs.logs)
app.command()(cancel.cancel)
app.command()(retry.retry)
app.command()(leaderboard.leaderboard)
app.command()(compare.compare)
app.command()(power.power)
app.command()(export.export)
app.command()(dashboard.dashboard)
app.command()(show.show)
app.command()(claims.claims)
app.command()(tasks.tasks)
app.command()(baselines.baselines)
app.command()(sites.sites)
app.command()(evaluate.evaluate)
app.command()(rescore.rescore)
app.command()(verify.verify)
app.command()(review.review)
app.command()(merge.merge)
app.command()(predict.predict)
app.command()(prune.prune)
app.command()(doctor.doctor)
app.command()(config.config)
app.command()(ingest.ingest)
app.add_typer(data.app, name="data")


def main() -> Any:
    """Console script. Exit codes: 0 all done, 1 some run failed, 2 wrong use or bad input."""
    try:
        return app()
    except UserError as error:
        # the message may quote a record or a file name
        line = "".join(c if c.isprintable() else "�" for c in " ".join(str(error).split()))
        print(f"Error: {line}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # the reader of a pipe has gone (| head)
        sys.stderr.close()
        sys.exit(0)
