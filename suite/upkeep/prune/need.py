"""What stands against a removal: a run that names another one as its input, a record that is not whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from suite.base.errors import RecordError
from suite.define.spec import RunSpec
from suite.dispatch.batch import batches
from suite.records.attempt import Attempt
from suite.records.lookup import all_attempts, find_spec


def is_sound(attempt: Attempt) -> bool:
    """Whether the attempt is finished by a record that is whole and its own."""
    try:
        record = attempt.record()
    except (FileNotFoundError, RecordError):
        return False
    own = (attempt.run_id, attempt.number, attempt.run_id)
    return (record.run_id, record.attempt, record.spec.run_id) == own


def inputs_named(root: Path) -> dict[str, RunSpec]:
    """Run id -> a run that names it as an input: of those with a folder, and of those submitted."""
    named: dict[str, RunSpec] = {}
    specs = [a.spec for batch in batches(root) for job in batch.jobs for a in job]
    for run_id in dict.fromkeys(attempt.run_id for attempt in all_attempts(root)):
        spec = find_spec(root, run_id)
        specs += [spec] if spec is not None else []
    for spec in specs:
        named.update(dict.fromkeys(spec.inputs.values(), spec))
    return named


def why_named(named: Mapping[str, RunSpec], run_id: str) -> str:
    by = named.get(run_id)
    return f"run {by.run_id} ({by.method}) names it" if by is not None else ""
