"""A board as files for papers, spreadsheets, re-analysis and browsers.

    csv, markdown, latex, parquet      one file
    html                               a folder that opens from disk, see `suite.render.html`

Names and messages come from records, which may be a stranger's: every format escapes them its own
way, but for Parquet and JSON, which are data and keep them as they are. `suite.render.write` writes
them, everything whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from suite.base.errors import UserError
from suite.render.view import Claims, Published, View

if TYPE_CHECKING:
    from suite.define.card import Card
    from suite.define.catalog import Catalog
    from suite.define.task import Task
    from suite.store.row import Row

FORMATS = ("csv", "markdown", "latex", "parquet", "html")
LONG_FORMATS = ("csv", "parquet")
SUFFIXES = {".csv": "csv", ".md": "markdown", ".tex": "latex", ".parquet": "parquet"}


@dataclass(frozen=True, kw_only=True)
class Export:
    """What is exported: the rows of a task's board as `suite.boards.leaderboard.board` gives them.

    Attributes:
        root: results folder; its store and records give the long form and the provenance.
        view: what of it is exported; its claims as `published` gives them.
        cards: method -> its card, for papers and BibTeX; methods without one are shown by name.
    """

    root: Path
    task: Task
    rows: Sequence[Row]
    view: View = field(default_factory=View)
    cards: Mapping[str, Card] = field(default_factory=dict)


def format_of(path: Path, given: str | None, long: bool) -> str:
    """The format asked for, or what the ending of `path` says. Raises UserError."""
    format = given or SUFFIXES.get(path.suffix.lower())
    if format is None:
        raise UserError(f"-o {path}: no format follows from its ending; add --format")
    if format not in FORMATS:
        raise UserError(f"--format {format!r}: use one of {', '.join(FORMATS)}")
    if long and format not in LONG_FORMATS:
        raise UserError(f"--long is for {' and '.join(LONG_FORMATS)}, not for {format}")
    return format


def published(catalog: Catalog, task: Task, rows: Sequence[Row]) -> Claims:
    """The nearest published number for each (method, protocol, metric) of a board.

    Raises UserError: there are no claims here, or they are malformed.
    """
    from suite.claims.compare import columns
    from suite.claims.read import default_folder, read_claims
    from suite.render.claims import value_text

    keys = {*task.primary, *task.columns}.union(*(row.metrics for row in rows))
    found = columns(
        read_claims(default_folder(), catalog.methods(), catalog.tasks()),
        rows,
        task,
        keys,
        lambda name, under: catalog.spec(name, under).params,
    )
    return {
        place: Published(
            nearest.claim.value,
            value_text(nearest.claim),
            nearest.status,
            f"{nearest.claim.source.title}, {nearest.claim.location}",
        )
        for place, (nearest, *_) in found.items()
    }
