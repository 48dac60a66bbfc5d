"""Try runs again: which of them, in which groups, and with what a cluster was asked for before."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.dispatch import slurm
from suite.dispatch.reconcile import ClusterState, SubmittedRun
from suite.dispatch.request import SHELL_KEYS, requested_site
from suite.dispatch.states import BY_US, TrackedRun
from suite.dispatch.submission import Request
from suite.records.files import INFRASTRUCTURE
from suite.records.inputs import digest_of
from suite.runs.plan import Plan
from suite.runs.todo import PlannedRun, plan_run

Where = Literal["local", "slurm"]


@dataclass(frozen=True)
class RetryGroup:
    """Runs that are tried again together, under one protocol, on as many ranks each. What was submitted
    together goes again together: `submitted` is the first of them as it was, None where none was."""

    where: Where
    protocol_hash: str
    ranks: int
    submitted: SubmittedRun | None
    runs: Sequence[TrackedRun]

    def plan(self, catalog: Catalog, task: str) -> Plan:
        """Each run in its attempt where that can go on, else in a new one."""
        items = [_again(catalog, run) for run in self.runs]
        return Plan(catalog.task(task), catalog.protocol_of(self.runs[0].spec), items)


def is_wanted(run: TrackedRun, kinds: Container[str], named: bool) -> bool:
    """Whether the run is to be tried again. `kinds`: failures asked for, none for those that another try
    may mend; `named`: its id was given."""
    if run.state == "failed":
        failure = run.status.failure if run.status else None
        kind = failure.kind if failure is not None else "killed"
        return kind in kinds if kinds else named or kind in INFRASTRUCTURE
    if run.state == "cancelled":
        return "cancelled" in kinds if kinds else named or run.note != BY_US
    return run.state == "stopped" and named and not kinds


def obstacle(
    catalog: Catalog, run: TrackedRun, submitted: SubmittedRun | None, limit: float | None
) -> str:
    """Why the run cannot be tried again as it stands; "" if it can. `limit`: minutes it may take, None for
    as many as before."""
    spec, status = run.spec, run.status
    if spec.method not in catalog.methods():
        files = " ".join(submitted.batch.plugin_files) if submitted else "FILE"
        return f"run {spec.run_id}: method {spec.method!r} is not known here; --plugin {files}"
    if catalog.protocol_with(spec.protocol_hash, spec.protocol) is None:
        return f"run {spec.run_id}: protocol {spec.protocol!r} is not known here any more"
    try:
        digest_of(run.item.attempt.root, catalog, spec)
    except UserError as error:
        return str(error)
    own = submitted.assignment.time_limit if submitted else None
    timed_out = status is not None and status.failure and status.failure.kind == "timeout"
    if timed_out and own is not None and limit is None and status and status.elapsed >= own:
        return f"run {spec.run_id} has used up its {own / 60:g} minutes: add --time-limit MINUTES"
    return ""


def groups(
    catalog: Catalog,
    runs: Iterable[TrackedRun],
    now: ClusterState,
    where: Where | None,
    ranks: int | None,
) -> list[RetryGroup]:
    """The runs in groups, those for the cluster first: they can wait there while this machine works.

    `where` and `ranks` None: as before.
    """
    found: dict[tuple[Where, str, str, int], list[TrackedRun]] = {}
    for run in runs:
        submitted = now.submitted.get(run.spec.run_id)
        place: Where = where or ("slurm" if submitted else "local")
        batch = submitted.batch.id if submitted else ""
        before = (
            submitted.assignment.ranks if submitted else run.status.ranks if run.status else None
        )
        number = catalog.protocol_of(run.spec).on(before if ranks is None else ranks)
        found.setdefault((place, run.spec.protocol_hash, batch, number), []).append(run)
    made = [
        RetryGroup(place, protocol, number, now.submitted.get(members[0].spec.run_id), members)
        for (place, protocol, _, number), members in found.items()
    ]
    return sorted(made, key=lambda group: group.where == "local")


def request_again(
    site_name: str | None,
    flags: Mapping[str, Any],
    workers: int | None,
    plugins: tuple[Path, ...],
    submitted: SubmittedRun | None,
) -> tuple[Request, bool]:
    """What the runs asked for before, changed by the flags given; and whether anything of it is left out.

    Shell lines, the interpreter and sbatch's further options are never taken from the results folder:
    it may come from a stranger. They are the profile's, as it is today.
    """
    if submitted is None or site_name is not None:
        return Request(requested_site(site_name, flags), site_name, workers, plugins), False
    before = submitted.batch
    profile = requested_site(before.site_name, {})
    own = {key: getattr(profile, key) for key in SHELL_KEYS}
    left_out = any(getattr(before.site, key) != value for key, value in own.items())
    asked = requested_site(None, flags, msgspec.structs.replace(before.site, **own))
    return Request(asked, before.site_name, workers or before.workers, plugins), left_out


def release_held(runs: Iterable[TrackedRun], *, dry_run: bool = False) -> tuple[set[str], int]:
    """Release the jobs that SLURM holds after a failed launch; ids of the runs in them, number of jobs."""
    held = {run.spec.run_id: run.job.id for run in runs if run.job and run.job.stuck}
    jobs = set(held.values())
    if jobs and not dry_run:
        slurm.release(jobs)
    return set(held), len(jobs)


def without(plan: Plan, queued: Container[str]) -> Plan:
    """The plan without what another shell has submitted meanwhile."""
    items = [item for item in plan.items if item.spec.run_id not in queued]
    return replace(plan, items=items)


def _again(catalog: Catalog, run: TrackedRun) -> PlannedRun:
    if run.item.work:
        return run.item
    root = run.item.attempt.root
    digest = digest_of(root, catalog, run.spec)
    return plan_run(root, run.spec, digest, catalog.code, "", "", fresh=True)
