"""Runs that bring nothing new: here already, or with the predictions of another run."""

from __future__ import annotations

from collections.abc import Sequence

from suite.base.errors import UserError
from suite.define.spec import RunSpec
from suite.exchange.merge import present
from suite.exchange.reference import Reference, key_of
from suite.exchange.review.findings import ExaminedRun
from suite.records.attempt import Attempt, attempts, finished_digest
from suite.records.files import Record
from suite.records.inputs import digest_of


def check_duplicates(runs: Sequence[ExaminedRun], reference: Reference) -> None:
    """The same predictions under another seed, method or parameters."""
    seen: dict[str, list[tuple[str, RunSpec, bool]]] = {}
    for run in runs:
        if run.record is None or not run.prints:
            continue
        hash_ = run.record.spec.protocol_hash
        if hash_ not in seen:
            seen[hash_] = list(reference.predicted(hash_))
        seen[hash_].append((key_of(run.prints), run.record.spec, run.record.infers))
    for run in runs:
        if run.record is None or not run.prints:
            continue
        spec = run.record.spec
        protocol = reference.catalog.protocol_of(spec)
        for key, other, infers in seen[spec.protocol_hash]:
            if key != key_of(run.prints) or other.run_id == spec.run_id:
                continue
            text = (
                f"predictions equal those of run {other.run_id} ({other.method}, seed {other.seed})"
            )
            if other.seed != spec.seed and protocol.replicate == "seed":
                run.say("duplicate", "problem", f"{text}: another seed never gives the same")
            elif infers or run.record.infers:
                run.say("duplicate", "note", f"{text}: one of them adapts stored scores")
            else:
                run.say("duplicate", "problem", f"{text}: nothing new")
            break


def check_presence(run: ExaminedRun, record: Record, reference: Reference) -> None:
    """Whether the run is here already: this attempt, or another one of its own."""
    run.here, same = present(reference.root, record, run.prints)
    if run.here is not None and not same:
        run.say("duplicate", "problem", f"is here as attempt {run.here.number}, with other arrays")
    elif run.here is not None:
        run.say("duplicate", "note", f"is here already, as attempt {run.here.number}")
    elif any(_same_code(reference, record, a) for a in attempts(reference.root, run.run_id)):
        text = "this run is here, finished, of the same code: an external one never takes its place"
        run.say("duplicate", "problem", text)


def _same_code(reference: Reference, record: Record, attempt: Attempt) -> bool:
    """Whether our attempt is finished, of the code that the record names."""
    here = finished_digest(attempt)
    if here is None or here == record.digest:
        return here is not None
    try:
        today = digest_of(reference.root, reference.catalog, record.spec)
    except UserError:
        return False
    code = reference.catalog.code
    return code.same(here, today) and code.same(record.digest, today)
