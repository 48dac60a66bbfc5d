"""Which runs below a root count, by their files alone: as in the store (`suite/sql/attempts.sql`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from suite.base.errors import RecordError, UserError
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.spec import RunSpec
from suite.define.task import Task
from suite.records.attempt import Attempt
from suite.records.files import Record
from suite.records.inputs import digest_of
from suite.records.lookup import all_attempts, find_spec

STALE = "stale"
UNKNOWN = "of a protocol that nothing here knows"
UNFINISHED = "not finished"
OTHER = "of another task or protocol"


@dataclass(frozen=True)
class Run:
    """A run as it counts: its newest finished attempt of today's code."""

    attempt: Attempt
    record: Record
    protocol: Protocol
    digest: str
    """Today's of its code; the record may hold an earlier one of the same code."""


@dataclass
class RunsBelow:
    """The runs below a root, as one task and one or all of its protocols see them.

    Attributes:
        counted: run id -> what counts of it.
        left_out: run id -> why nothing does: `STALE`, `UNKNOWN`, `UNFINISHED`, `OTHER`.
        damaged: run id -> what is wrong with its files, a line each.
    """

    counted: dict[str, Run] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, list[str]] = field(default_factory=dict)


def runs_below(root: Path, catalog: Catalog, task: Task, only: Protocol | None = None) -> RunsBelow:
    """Look through all runs of a root; `only`: of that protocol alone."""
    accepted: dict[str, Protocol | None] = {}

    def protocol_of(spec: RunSpec) -> Protocol | None:
        if spec.protocol_hash not in accepted:
            known = catalog.accepted(task, spec.protocol_hash, spec.protocol)
            accepted[spec.protocol_hash] = known if only is None or only == known else None
        return accepted[spec.protocol_hash]

    found = RunsBelow()
    recorded: dict[str, list[tuple[Attempt, Record]]] = {}
    for run_id, group in groupby(all_attempts(root), key=lambda attempt: attempt.run_id):
        records, problems = [], []
        for attempt in reversed([one for one in group if one.finished]):
            try:
                records.append((attempt, _record(attempt)))
            except FileNotFoundError:  # removed since
                continue
            except RecordError as error:
                problems.append(str(error))
        spec = records[0][1].spec if records else find_spec(root, run_id)
        if spec is not None and protocol_of(spec) is None:
            unknown = catalog.protocol_with(spec.protocol_hash, spec.protocol) is None
            found.left_out[run_id] = UNKNOWN if unknown else OTHER
            continue
        if problems:
            found.damaged[run_id] = problems
        if records:
            recorded[run_id] = records
        elif not problems:
            found.left_out[run_id] = UNFINISHED
    newest = _newest(recorded.values())
    for run_id, records in recorded.items():
        spec = records[0][1].spec
        digest = _digest(root, catalog, spec) or (
            records[0][1].digest
            if spec.inputs or spec.method in catalog.code.links
            else newest[spec.method]
        )
        of_today = next(((a, r) for a, r in records if catalog.code.same(r.digest, digest)), None)
        protocol = protocol_of(spec)
        if of_today is None or protocol is None:
            found.left_out[run_id] = STALE
        else:
            found.counted[run_id] = Run(*of_today, protocol, digest)
    return found


def _record(attempt: Attempt) -> Record:
    record = attempt.record()
    said = record.run_id, record.attempt, record.spec.run_id
    if said != (attempt.run_id, attempt.number, attempt.run_id):
        raise RecordError(f"{attempt.path / 'record.json'}: describes another run or attempt")
    return record


def _digest(root: Path, catalog: Catalog, spec: RunSpec) -> str | None:
    """Today's; None where the method, or an input run, is not known here."""
    try:
        return digest_of(root, catalog, spec)
    except UserError:
        return None


def _newest(recorded: Iterable[Sequence[tuple[Attempt, Record]]]) -> dict[str, str]:
    """Method -> digest of its newest record: counts as today's where the method is not known here."""
    newest: dict[str, Record] = {}
    for records in recorded:
        for _, record in records:
            method = record.spec.method
            if method not in newest or newest[method].finished < record.finished:
                newest[method] = record
    return {method: record.digest for method, record in newest.items()}
