"""`logs`: what a run, or its cluster job, has printed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from suite.cli.options import Root


def logs(
    run: Annotated[str, typer.Argument(help="Run id, or the first few digits of it.")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="Last lines; 0 for all.")] = 50,
    job: Annotated[
        bool, typer.Option("--job", help="The log of its cluster job instead of its own.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing what is added (Ctrl-C ends it).")
    ] = False,
    root: Root = None,
) -> None:
    """Print a run's log; of a run that has not begun, the log of its cluster job.

    \b
    Examples:
      python -m suite logs 3f2a9c
      python -m suite logs 3f2a9c --job --lines 0
    """
    from suite.base import settings
    from suite.base.errors import UserError
    from suite.cli.output import printable
    from suite.dispatch.states import find_log

    if lines < 0:
        raise UserError(f"--lines {lines}: 0 or more")
    path = find_log(settings.existing_root(root), run, job)
    print(f"{printable(path)}:", file=sys.stderr)
    try:
        _print(path, lines, follow)
    except KeyboardInterrupt:
        sys.exit(130)


def _print(path: Path, lines: int, follow: bool) -> None:
    from suite.cli.output import printable
    from suite.cli.streams import reader_gone

    with open(path, encoding="utf-8", errors="replace") as file:
        content = file.read().splitlines()
        for line in content[-lines:] if lines else content:
            print(printable(line.expandtabs()))
        while follow and not reader_gone():
            line = file.readline()
            if line:
                print(printable(line.rstrip("\n").expandtabs()), flush=True)
            else:
                time.sleep(0.5)
