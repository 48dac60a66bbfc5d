"""The command line: one file a verb, each thin."""

from __future__ import annotations

import errno
import importlib
import sys
import warnings
from typing import Any, NoReturn

import typer

from suite.base.errors import UserError
from suite.base.moved import MovedWarning
from suite.cli import streams

VERBS = (
    "run",
    "plan",
    "status",
    "logs",
    "cancel",
    "retry",
    "leaderboard",
    "compare",
    "power",
    "export",
    "dashboard",
    "show",
    "claims",
    "tasks",
    "baselines",
    "sites",
    "evaluate",
    "rescore",
    "verify",
    "review",
    "merge",
    "predict",
    "prune",
    "doctor",
    "attest",
    "config",
    "ingest",
    "data",
)
"""Each is a file beside this one, with a function of that name, or an `app` of further verbs."""


def application(verb: str) -> typer.Typer:
    """The command line with `verb` alone, or with all verbs where it is none of them: to read the options
    of all takes as long as many a verb's work."""
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
    # without it one verb would be no verb
    app.callback()(lambda: None)
    for name in [verb] if verb in VERBS else VERBS:
        module = importlib.import_module(f"suite.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command()(getattr(module, name))
    return app


def main() -> Any:
    """Console script. Exit codes: 0 all done, 1 some run failed, 2 wrong use or bad input."""
    streams.settle()
    # a plug-in that imports an old name is told the new one, once for the line
    warnings.filterwarnings("default", category=MovedWarning)
    try:
        try:
            return application(sys.argv[1] if len(sys.argv) > 1 else "")()
        finally:
            streams.finish()
    except OSError as error:
        if error.errno not in _PLACES or error.filename is None:
            raise
        _end(f"{error.filename}: {error.strerror}")
    except UserError as error:
        _end(str(error))


_PLACES = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG}
)
"""What is wrong is a place that the user chose, and no traceback says more of it."""


def _end(message: str) -> NoReturn:
    # it may quote a record or a file name
    line = "".join(c if c.isprintable() else "�" for c in " ".join(message.split()))
    print(f"Error: {line}", file=sys.stderr)
    sys.exit(2)
