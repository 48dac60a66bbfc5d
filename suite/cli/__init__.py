"""The command line: one file a verb, each thin."""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from suite import __version__
from suite.base.command import Call, answer
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
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    # without it one verb would be no verb
    app.callback()(_of_all_verbs)
    for name in () if verb == "--version" else [verb] if verb in VERBS else VERBS:
        module = importlib.import_module(f"suite.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command()(getattr(module, name))
    return app


_COMPLETION = frozenset({"--install-completion", "--show-completion"})

# typer brings the click that it is built on, which has had two names
_WrongUse: Any = next(one for one in typer.BadParameter.__mro__ if one.__name__ == "ClickException")


def _print_version(asked: bool) -> None:
    if asked:
        print(f"longtail-suite {__version__}")
        raise typer.Exit


def _of_all_verbs(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            callback=_print_version,
            is_eager=True,
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Train every method of a long-tailed vision task under one protocol, and rank them."""


def main() -> Any:
    """Console script. Exit codes: 0 all done, 1 some run failed, 2 wrong use or bad input."""
    streams.settle()
    # a plug-in that imports an old name is told the new one, once for the line
    warnings.filterwarnings("default", category=MovedWarning)
    answer(Call())
    as_json = _asks_for_json(sys.argv[1:])
    try:
        app = application(sys.argv[1] if len(sys.argv) > 1 else "")
        try:
            if not as_json:
                # completion is of the console script: a shell completes no module
                scripted = not _COMPLETION.isdisjoint(sys.argv)
                return app(prog_name="longtail-suite") if scripted else app()
            # an option that is wrong is told as JSON, too
            code = app(standalone_mode=False)
        finally:
            streams.finish()
        sys.exit(code if isinstance(code, int) else 0)
    except _WrongUse as error:
        _tell(error.format_message(), as_json)
    except typer.Abort:
        sys.exit(1)
    except OSError as error:
        if error.errno not in _PLACES or error.filename is None:
            raise
        _tell(f"{error.filename}: {error.strerror}", as_json)
    except UserError as error:
        _tell(str(error), as_json)


_PLACES = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG}
)
"""What is wrong is a place that the user chose, and no traceback says more of it."""


def _asks_for_json(words: Sequence[str]) -> bool:
    return "--format=json" in words or ("--format", "json") in itertools.pairwise(words)


def _tell(text: str, as_json: bool) -> NoReturn:
    """A wrong use or bad input, in one line or as one JSON object on stderr; ends with code 2."""
    # the message may quote a record or a file name
    line = "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
    if as_json:
        print(json.dumps({"schema": "longtail-suite/error/1", "error": line}), file=sys.stderr)
    else:
        print(f"Error: {line}", file=sys.stderr)
    sys.exit(2)
