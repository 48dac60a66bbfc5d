"""What the runs of a block were made of: protocol, evaluation, code, packages, machines and data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from suite.base.bounded import read_regular
from suite.base.text import clipped, plain
from suite.records.attempt import Attempt
from suite.store.connection import connect, statements
from suite.store.row import Row

if TYPE_CHECKING:
    from suite.define.protocol import Protocol
    from suite.define.task import Task

RECORDS = 10_000
"""Records read for the package versions, over all boards; at most `RECORDS_A_BOARD` for each."""
RECORDS_A_BOARD = 200
MOST_VALUES = 6


class _Facts(msgspec.Struct):
    """What the provenance needs of a record."""

    digest: str = ""
    environment: dict[str, Any] = {}
    data: dict[str, str] = {}


_decode_facts = msgspec.json.Decoder(_Facts).decode


class Seen(NamedTuple):
    """Runs under a protocol: how many there are, and the facts of those that were read."""

    runs: int
    facts: list[_Facts]


def provenance(
    block: Sequence[Row], protocol: Protocol | None, task: Task, seen: Seen | None
) -> Iterator[dict[str, Any]]:
    """Parts for the page: a title, a note and (name, value) pairs each.

    `protocol` is the block's of today, None where the task has it no more.
    """
    first = block[0]
    facts = [("hash", first.protocol_hash)]
    note = "All that the protocol's hash covers: what the methods of this board share."
    if protocol is None:
        note = "The task does not have this protocol any more: only its hash is known."
    else:
        facts += [(name, _text(value)) for name, value in protocol.described.items()]
    yield _part("Protocol", note, facts)
    facts = [("hash", first.evaluation_hash)]
    note = ""
    if protocol is not None:
        evaluation = task.evaluation(protocol)
        if task.evaluation_hash(protocol) == first.evaluation_hash:
            facts += [(name, _text(value)) for name, value in evaluation.items()]
        else:
            note = "Not today's evaluation of this protocol: only its hash is known."
    yield _part("Evaluation", note, facts)
    digests = Counter((row.method, row.digest) for row in block if row.digest)
    yield _part("Code digests of the methods", "", list(digests))
    if seen is None or not seen.facts:
        return
    read = "" if len(seen.facts) == seen.runs else f"From {len(seen.facts)} of {seen.runs} runs."
    values: dict[str, Counter[str]] = {}
    for run in seen.facts:
        environment = dict(run.environment)
        packages = environment.pop("packages", None)
        git = environment.pop("git", None)
        known = {name: environment.get(name) for name in ("python", "system", "cpu", "device")}
        known |= {f"git {name}": value for name, value in _mapping(git)}
        known |= dict(_mapping(packages))
        known |= {f"data {name}": value for name, value in run.data.items()}
        for name, value in known.items():
            if value is not None:
                values.setdefault(str(name), Counter())[_text(value)] += 1
    facts = []
    for name, found in values.items():
        shown = [f"{text} ({count} runs)" if len(found) > 1 else text
                 for text, count in found.most_common(MOST_VALUES)]  # fmt: skip
        more = len(found) - len(shown)
        facts.append((name, ", ".join(shown) + (f", and {more} others" if more else "")))
    yield _part("Packages, machines and data of the runs", read, facts)


def _part(title: str, note: str, facts: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    shown = [(clipped(plain(name)), clipped(plain(value), 2000)) for name, value in facts]
    return {"title": title, "note": note, "facts": shown}


def _mapping(value: Any) -> list[tuple[str, Any]]:
    """Items of what a record says is a mapping, in the order of their names."""
    return sorted((str(k), v) for k, v in value.items()) if isinstance(value, dict) else []


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value, order="sorted").decode()


def seen_runs(root: Path, rows: Sequence[Row]) -> dict[str, Seen]:
    """Protocol hash -> facts of its runs, from their records."""
    shown = sorted({row.protocol_hash for row in rows})
    most = max(1, min(RECORDS_A_BOARD, RECORDS // max(1, len(shown))))
    connection = connect(root)
    try:
        found = connection.execute(
            statements("export_counted"), {"shown": shown, "most": most}
        ).fetchall()
    finally:
        connection.close()
    seen: dict[str, Seen] = {}
    for protocol, run_id, number, runs in found:
        here = seen.setdefault(protocol, Seen(runs, []))
        path = Attempt(root, run_id, number).path / "record.json"
        try:
            here.facts.append(_decode_facts(read_regular(path)))
        except (OSError, msgspec.DecodeError, RecursionError):
            # gone or changed since the ingest: one run fewer to read versions from
            continue
    return seen
