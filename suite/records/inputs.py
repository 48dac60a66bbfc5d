"""Input runs: what a run needs of others (`RunSpec.inputs`), and whether they can give it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from suite.base.errors import InputError, UserError
from suite.define.catalog import Catalog
from suite.define.digest import Code
from suite.define.spec import RunSpec
from suite.records.again import train_again
from suite.records.attempt import Attempt, attempts, finished_digest
from suite.records.lookup import find_spec


def digest_of(
    root: Path, catalog: Catalog, spec: RunSpec, planned: Mapping[str, RunSpec] | None = None
) -> str:
    """Code digest of a run today: its method's, and those of its input runs.

    `planned`: run id -> spec of input runs that may not lie below `root` yet. Raises UserError: a method
    that is not known here; InputError: an input run of which nothing is known.
    """
    inputs = {}
    for role, run_id in spec.inputs.items():
        of_input = (planned or {}).get(run_id) or find_spec(root, run_id)
        if of_input is None:
            raise InputError(f"run {spec.run_id}: its {role} run {run_id} is not below {root}")
        inputs[role] = digest_of(root, catalog, of_input, planned)
    return catalog.digest(spec, inputs)


def usable_attempt(root: Path, code: Code, run_id: str, digest: str) -> Attempt | None:
    """The attempt that hands over the weights of an input run: the newest finished one of that code
    whose weights are kept."""
    for attempt in reversed(attempts(root, run_id)):
        if code.same(finished_digest(attempt), digest) and attempt.weights.is_file():
            return attempt
    return None


def resolve_inputs(root: Path, catalog: Catalog, spec: RunSpec) -> dict[str, Attempt]:
    """Role -> the attempt that fills it. Raises InputError: a run that is not finished, was trained with
    other code than today's or under another protocol, or whose weights are gone."""
    found = {}
    for role, run_id in spec.inputs.items():
        of_input = find_spec(root, run_id)
        name = f"its {role} run {run_id}"
        if of_input is None:
            raise InputError(
                f"{name} is not below {root}; `run` plans it where the method is named"
            )
        name = f"{name} ({of_input.method}, seed {of_input.seed})"
        if of_input.protocol_hash != spec.protocol_hash:
            raise InputError(f"{name} is of protocol {of_input.protocol}, not {spec.protocol}")
        try:
            attempt = usable_attempt(root, catalog.code, run_id, digest_of(root, catalog, of_input))
        except UserError as error:
            raise InputError(f"{name}: {error}") from None
        if attempt is None:
            known = attempts(root, run_id)
            status = known[-1].status() if known else None
            why = "is not finished"
            if any(one.finished for one in known):
                again = train_again(root, catalog, run_id, "--fresh")
                why = f"was trained with other code, or its weights are gone{again}"
            elif status is not None and status.failure is not None:
                why = f"failed ({status.failure.kind})"
            raise InputError(f"{name} {why}")
        found[role] = attempt
    return found
