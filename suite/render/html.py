"""A board as a folder that opens from disk: no server, no network, and without scripts too.

    index.html            boards (or links to them, where they are many), methods with BibTeX
    boards/*.html         a page a board, where they are many
    data/board.csv, .json, .parquet      the rows of all boards
    data/runs.parquet     one line per run and metric, for re-analysis
    references.bib        BibTeX of the methods shown

Names and messages come from records, which may be a stranger's. Templates escape every text; the
pages' Content-Security-Policy admits our one script and our one style by their hashes and nothing else,
so that not even an escape forgotten could run or load anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import __version__
from suite.base.canonical import short_hash
from suite.base.text import clipped, plain
from suite.render import board as tables
from suite.render import files, formats, long_form
from suite.render import parquet as wide
from suite.render.cells import metric_of
from suite.render.charts import charts, group_metrics
from suite.render.grid import (
    TEXT_KINDS,
    blocks,
    grid,
    legend,
    protocol_of,
    state_text,
)
from suite.render.provenance import Seen, provenance, seen_runs
from suite.render.ties import bars
from suite.stats.tests import MIN_REPLICATES
from suite.store.row import Row

if TYPE_CHECKING:
    import jinja2

    from suite.render.export import Export

TEMPLATES = Path(__file__).parent / "templates"
ONE_PAGE = 300
"""Up to so many rows all boards stand on the first page."""
ARXIV = re.compile(r"[a-z-]+/\d{7}|\d{4}\.\d{4,5}(v\d+)?")


def write(content: Export, path: Path) -> None:
    """Write the folder. Raises UserError, see `files.write_folder`."""
    files.write_folder(path, lambda folder: _fill(content, folder))


def _fill(content: Export, folder: Path) -> None:
    rows, view = content.view.rows(content.rows), content.view
    data = folder / "data"
    data.mkdir()
    listed = [
        ("data/board.csv", "the tables"),
        ("data/board.json", "the same"),
        ("data/board.parquet", "the same"),
        ("data/runs.parquet", "one line per run and metric"),
    ]
    (data / "board.csv").write_text(tables.to_csv(rows, view), encoding="utf-8")
    (data / "board.json").write_text(formats.to_json(view.data(rows)), encoding="utf-8")
    (data / "board.parquet").write_bytes(wide.parquet(wide.table(rows, view)))
    (data / "runs.parquet").write_bytes(wide.parquet(long_form.read(content)))

    boards = [block for block in blocks(content.rows) if any(map(view.has, block))]
    seen = seen_runs(content.root, rows)
    single = len(rows) <= ONE_PAGE
    methods = _methods(content)
    linked = {method["name"] for method in methods}
    references = _references(methods)
    if references:
        (folder / "references.bib").write_text(references, encoding="utf-8")
        listed.append(("references.bib", "BibTeX"))
    if not single:
        (folder / "boards").mkdir()
    page, index = _environment().get_template("board.html"), "index.html"
    sections, overview = [], []
    for block in boards:
        made = _board(block, content, seen.get(block[0].protocol_hash), linked)
        href = f"#{made['id']}" if single else f"boards/{made['id']}.html"
        overview.append(_line(block, made, content, href))
        if single:
            sections.append(made)
        else:
            text = page.render(board=made, task=content.task.name, title=made["title"])
            (folder / href).write_text(text, encoding="utf-8")
    text = (
        _environment()
        .get_template(index)
        .render(
            title=f"{content.task.name} leaderboard",
            question=content.task.question,
            min_replicates=MIN_REPLICATES,
            files=[{"path": name, "what": what} for name, what in listed],
            overview=overview,
            key=plain(view.key(content.task)),
            boards=sections,
            methods=methods,
            has_references=bool(references),
        )
    )
    (folder / index).write_text(text, encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    import jinja2
    from markupsafe import Markup

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    made.globals.update(
        script=Markup(script),
        style=Markup(style),
        version=__version__,
        csp="; ".join(
            [
                "default-src 'none'",
                f"script-src '{_digest(script)}'",
                f"style-src '{_digest(style)}'",
                "base-uri 'none'",
                "form-action 'none'",
            ]
        ),
    )
    return made


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _board(
    block: Sequence[Row], content: Export, seen: Seen | None, linked: set[str]
) -> dict[str, Any]:
    """What a template shows of a block."""
    task, view = content.task, content.view
    key = view.key(task)
    groups = group_metrics(block, task, key)
    made = grid(block, task, view, more=list(groups.values()))
    costs = _costs(made.rows) if view.shows("cost") else []
    # what a row lacks is worth a column of its own, beside its name
    lacking = any(row.state != "done" for row in made.rows)
    columns: list[dict[str, Any]] = []
    for column in made.columns:
        if column.kind == "metric":
            higher = metric_of(task, column.key or "").higher_is_better
            first = "down" if higher else "up"
            order = ("descending" if higher else "ascending") if column.key == key else ""
            columns.append(_column(column.title, first, order=order))
        elif column.kind == "cost":
            columns += [_column(title) for title, _, _, _ in costs]
        else:
            first = "down" if column.kind == "n" else "up"
            numeric = column.kind not in TEXT_KINDS
            columns.append(_column(column.title, first, numeric=numeric))
        if column.kind == "method" and lacking:
            columns.append(_column("state", numeric=False))
    tied = bars([row.groups for row in made.rows])
    lines = []
    for number, row in enumerate(made.rows):
        cells: list[dict[str, Any]] = []
        for column, text in zip(made.columns, made.body[number], strict=True):
            if column.kind == "rank":
                cells.append(_cell(text or "unranked", row.rank))
            elif column.kind == "tied":
                cells.append({**_cell(text, None), "kind": "tied", "bars": tied[number]})
            elif column.kind == "seeds":
                cells.append(_cell(text, row.seeds_to_next))
            elif column.kind == "method":
                link = f"method-{row.method}" if row.method in linked else ""
                cells.append({**_cell(made.names[number], None), "kind": "name", "link": link})
                if lacking:
                    cells.append({**_cell(state_text(row), None), "kind": "state"})
            elif column.kind == "n":
                cells.append(_cell(text, row.n))
            elif column.kind == "metric":
                cells.append(_cell(text, row.cell(column.key or "").mean))
                if column.key == key and row.rank == 1:
                    cells[-1]["kind"] += " best"
            elif column.kind == "published":
                cells.append(_cell(text, _number(text)))
            elif column.kind == "flags":
                cells.append({**_cell(text, None), "kind": "flags"})
            else:
                for _, cost, scale, form in costs:
                    value = getattr(row.cost, cost)
                    words = "–" if value is None else format(value / scale, form)
                    cells.append(_cell(words, value))
        kind = "failed" if row.failures else ""
        lines.append({"cells": cells, "kind": kind if row.rank else f"unranked {kind}".strip()})
    protocol = protocol_of(task, block[0])
    return {
        "id": _name(block[0]),
        "title": made.caption[0],
        "caption": (*made.caption[1:], *legend(made)),
        "columns": columns,
        "rows": lines,
        "best": [name for name, row in zip(made.names, made.rows, strict=True) if row.rank == 1],
        "notes": made.lines,
        "charts": list(charts(made, task, key, groups)),
        "provenance": list(provenance(block, protocol, content.task, seen)),
    }


def _column(
    title: str, first: str = "up", *, numeric: bool = True, order: str = ""
) -> dict[str, Any]:
    """A column's heading; `first` is the direction of the first click, `order` the present one."""
    # a long heading may be broken before its subset and after an underscore
    parts = re.split(r"(?=\[)|(?<=_)", clipped(title))
    return {"parts": parts, "numeric": numeric, "first": first, "sorted": order}


def _cell(text: str, value: float | None) -> dict[str, Any]:
    return {"text": text, "value": value, "kind": "num", "link": "", "bars": ()}


def _number(text: str) -> float | None:
    """The first number of a text: a published value is sorted by it."""
    found = re.search(r"-?\d+(\.\d+)?", text)
    return float(found[0]) if found else None


def _costs(block: Sequence[Row]) -> list[tuple[str, str, float, str]]:
    """(title, key, scale, format) of the costs that some row has."""
    costs = [
        ("parameters / M", "parameters", 1e6, ".2f"),
        ("passes a step", "passes_per_step", 1, ".3g"),
        ("training / min", "train_seconds", 60, ".2f"),
        ("wall time / min", "wall_seconds", 60, ".2f"),
        ("GPU-hours", "gpu_hours", 1, ".2f"),
        ("peak memory / MB", "peak_memory_bytes", 1e6, ".0f"),
    ]
    return [cost for cost in costs if any(getattr(row.cost, cost[1]) for row in block)]


def _name(row: Row) -> str:
    """A page's name: safe in any file system, and the same at every export."""
    slug = re.sub(r"[^a-z0-9]+", "-", row.protocol.lower()).strip("-")[:40]
    digest = short_hash([row.protocol_hash, row.evaluation_hash], 8)
    return f"board-{slug}-{digest}" if slug else f"board-{digest}"


def _line(
    block: Sequence[Row], made: Mapping[str, Any], content: Export, href: str
) -> dict[str, Any]:
    """A board's line in the overview."""
    first, best = block[0], made["best"]
    protocol = protocol_of(content.task, first)
    note = ""
    if protocol is None:
        note = "not a protocol of this task any more"
    elif content.task.evaluation_hash(protocol) != first.evaluation_hash:
        note = f"evaluation {plain(first.evaluation_hash)}, not today's"
    return {
        "href": href,
        "protocol": clipped(plain(first.protocol)) or "(no name)",
        "dataset": clipped(plain(first.dataset or "")),
        "note": note,
        "rows": len(made["rows"]),
        "ranked": sum(row.rank is not None for row in block),
        "failed": sum(bool(row.failures) for row in block),
        "best": ", ".join(best[:3]) + (f", and {len(best) - 3} more" if len(best) > 3 else ""),
    }


def _methods(content: Export) -> list[dict[str, Any]]:
    """The methods shown that have a card: only those are linked to."""
    shown = sorted({row.method for row in content.view.rows(content.rows)} & set(content.cards))
    made = []
    for name in shown:
        card = content.cards[name]
        paper = ", ".join(plain(part) for part in (card.paper, card.venue) if part)
        made.append(
            {
                "id": f"method-{name}",
                "name": name,
                "summary": plain(card.names[name].summary),
                "paper": paper,
                "arxiv": card.arxiv if ARXIV.fullmatch(card.arxiv) else "",
                "bibtex": _lines(card.bibtex),
            }
        )
    return made


def _references(methods: Sequence[Mapping[str, Any]]) -> str:
    """Every entry once: presets of one file share it."""
    entries = dict.fromkeys(method["bibtex"] for method in methods if method["bibtex"])
    return "\n\n".join(entries) + "\n" if entries else ""


def _lines(text: str) -> str:
    """Several lines, each without control characters."""
    return "\n".join(plain(line).rstrip() for line in text.strip().splitlines())
