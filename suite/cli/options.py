"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from suite.errors import UserError

Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        envvar="LONGTAIL_ROOT",
        help="Results folder. Default: ./results",
        show_default=False,
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        help="Folder that holds the data sets. Default: $LONGTAIL_DATA, then the config file.",
        show_default=False,
    ),
]
TaskName = Annotated[str, typer.Option("--task", help="Task, see `tasks`.")]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol", help="Protocol, see `tasks`. Default: the task's.", show_default=False
    ),
]
Methods = Annotated[
    list[str],
    typer.Option(
        "--method",
        metavar="METHOD",
        help="Method; repeatable. Default: all of the task.",
        show_default=False,
    ),
]
Seeds = Annotated[str, typer.Option("--seeds", help="Seeds, such as 0,1,2 or 0-4.")]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="SETTING",
        help="METHOD.key=value, a parameter of a method; repeatable.",
        show_default=False,
    ),
]
Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="File with a method of your own; repeatable.",
        show_default=False,
    ),
]


def parse_seeds(text: str) -> list[int]:
    """`0,1,2` or `0-4` -> seeds. Raises UserError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last) if dash else int(first)
        except ValueError:
            raise UserError(f"--seeds {text!r}: write numbers such as 0,1,2 or 0-4") from None
        if not 0 <= low <= high < 2**32:
            raise UserError(f"--seeds {text!r}: {part!r}: seeds lie in 0..4294967295, low-high")
        if high - low > 10_000:
            raise UserError(f"--seeds {text!r}: {part!r} is more than 10,000 seeds")
        seeds += range(low, high + 1)
    return seeds


def parse_format(given: str, known: tuple[str, ...]) -> str:
    """The output format, checked."""
    if given not in known:
        raise UserError(f"--format {given!r}: use one of {', '.join(known)}")
    return given
