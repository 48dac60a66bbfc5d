"""Writing an export to where it goes, whole or not at all (`suite.render.files`)."""

from __future__ import annotations

from pathlib import Path

from suite.base.errors import UserError
from suite.render import files
from suite.render.export import FORMATS, Export


def check(path: Path, format: str) -> None:
    """Raise UserError where `path` may not be written: before work is spent on what goes there."""
    if format == "html":
        files.check_folder(path)
    elif path.is_dir():
        raise UserError(f"-o {path}: is a folder; name a file in it, or use --format html")


def write(content: Export, format: str, path: Path, *, long: bool = False) -> None:
    """Write `content` to `path`, replacing what an earlier export left there.

    Args:
        long: one line per run and metric in place of one per row of the board.

    Raises UserError: `path` cannot be written, is a folder where a file is wanted or the other way
    round, or holds what no export wrote.
    """
    from suite.render import board as tables
    from suite.render import long_form
    from suite.render import parquet as wide

    rows, task, view = content.rows, content.task, content.view
    if format == "html":
        from suite.render import html

        html.write(content, path)
    elif long:
        table = long_form.read(content)
        files.write_file(path, long_form.csv(table) if format == "csv" else wide.parquet(table))
    elif format == "parquet":
        files.write_file(path, wide.parquet(wide.table(rows, view)))
    elif format == "csv":
        files.write_file(path, tables.to_csv(rows, view).encode())
    elif format == "markdown":
        files.write_file(path, tables.to_markdown(rows, task, view).encode())
    elif format == "latex":
        files.write_file(path, tables.to_latex(rows, task, view).encode())
    else:
        raise UserError(f"--format {format!r}: use one of {', '.join(FORMATS)}")
