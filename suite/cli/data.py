"""`data list|check`: which data sets are wanted, which are here and sound."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from suite.cli.options import DataRoot, Format, load_catalog, parse_format

_EVERY_SECONDS = 15.0

app = typer.Typer(help="Data sets: which are wanted, which are here, which are sound.")


@app.command("list")
def list_(
    data_root: DataRoot = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """List data sets, where they are, and the layout expected.

    \b
    Examples:
      python -m suite data list
      python -m suite data list --data-root ~/data --format json
    """
    from suite.base import settings
    from suite.base.aside import aside
    from suite.base.errors import UserError
    from suite.cli.output import console, print_rows, table

    parse_format(format, ("table", "json"))
    root = settings.data_root(data_root)
    listing = []
    for name, dataset in load_catalog().datasets().items():
        state, where = "found", ""
        try:
            if not dataset.embedded and root is None:
                state = "no data root (--data-root, $LONGTAIL_DATA)"
            else:
                above = root if root and not dataset.embedded else settings.cache_dir()
                with aside():
                    where = str(dataset.find(above))
        except UserError as error:
            state = str(error)
        listing.append(
            {
                "dataset": name,
                "state": "embedded" if dataset.embedded and state == "found" else state,
                "path": where,
                "summary": dataset.summary,
                "layout": dataset.layout,
            }
        )
    if format == "json":
        print_rows("data-list", listing)
        return
    out = console()
    rows = [(e["dataset"], e["state"], e["summary"]) for e in listing]
    out.print(table(("data set", "state", ""), rows))
    for e in listing:
        out.print(f"\n{e['dataset']}: {e['layout']}", soft_wrap=True, markup=False)


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Data sets. Default: all found.")
    ] = None,
    data_root: DataRoot = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Count files only; do not open them.")
    ] = False,
    format: Format = "table",
) -> None:
    """Check the user's copies: every file opened, sizes and label ids held against the data set.

    Exit code 2 if a copy is damaged, or one that was named is missing. A large data set takes minutes, with a thread for each
    core and its progress on stderr; what is counted on the way is kept for the first training.

    \b
    Examples:
      python -m suite data check camvid --data-root ~/data
      python -m suite data check ade20k --quick
    """
    from suite.base import settings
    from suite.base.aside import aside
    from suite.base.errors import DataError, UserError, did_you_mean
    from suite.cli.output import print_rows
    from suite.define.flags import DATA_VARIANT

    parse_format(format, ("table", "json"))
    root = settings.data_root(data_root)
    known = load_catalog().datasets()
    for name in names or []:
        if name not in known:
            raise UserError(f"unknown data set {name!r}{did_you_mean(name, known)}")
    rows: list[dict[str, Any]] = []
    bad = False
    clear = _show_progress()

    def tell(name: str, state: str, problems: Sequence[str] = (), path: Path | None = None) -> None:
        rows.append(
            {
                "dataset": name,
                "state": state,
                "path": None if path is None else str(path),
                "problems": list(problems),
            }
        )
        if format == "table":
            for line in problems or [state]:
                print(f"{name}: {line}", flush=True)

    for name in names or known:
        dataset = known[name]
        if root is None and not dataset.embedded:
            if names:
                raise DataError(f"{name}: no data root; give --data-root DIR or set $LONGTAIL_DATA")
            tell(name, "not checked, no data root")
            continue
        try:
            above = settings.cache_dir() if dataset.embedded or root is None else root
            with aside():
                path = dataset.find(above)
        except DataError as error:
            tell(name, "missing", [str(error)])
            # whoever has one data set lacks others: no fault where nothing of the name was asked for
            bad = bad or bool(names) or bool(root and (root / name).exists())
            continue
        try:
            with aside():
                problems = list(dataset.check(path, not quick))
                other = "" if problems else dataset.differs(path, not quick)
        except DataError as error:
            problems, other = [str(error)], ""
        clear()
        if other:
            said = f"sound, but not the published data: {other}; its runs carry the flag {DATA_VARIANT}"
            tell(name, said, path=path)
        else:
            tell(name, "damaged" if problems else "sound", problems, path)
        bad = bad or bool(problems)
    if format == "json":
        print_rows("data-check", rows)
    if bad:
        sys.exit(2)


def _show_progress() -> Callable[[], None]:
    """What data sets log of their progress goes to stderr: on a terminal on one line that is written
    over, and cleared by what is returned, else as a line every quarter of a minute."""
    terminal = sys.stderr.isatty()

    def clear() -> None:
        if terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    class Progress(logging.Handler):
        told = time.monotonic()

        def emit(self, record: logging.LogRecord) -> None:
            if terminal and record.levelno <= logging.INFO:
                clear()
                sys.stderr.write(record.getMessage()[:100])
                sys.stderr.flush()
            elif time.monotonic() - self.told > _EVERY_SECONDS or record.levelno > logging.INFO:
                self.told = time.monotonic()
                print(record.getMessage(), file=sys.stderr)

    log = logging.getLogger("longtail_suite.data")
    log.handlers = [Progress()]
    log.setLevel(logging.INFO)
    log.propagate = False
    return clear
