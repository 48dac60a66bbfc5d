"""Carry out a plan, on this machine or on a cluster, and bring the store up to date."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from suite.catalog import Catalog
from suite.dispatch.batch import Batch, jobs_folder, new_id, user
from suite.dispatch.local import LocalDispatch, Slot
from suite.dispatch.packing import Measured, Packing, pack
from suite.errors import UserError
from suite.plan import Item, Plan, measured
from suite.protocol import Protocol
from suite.provenance import PACKAGES
from suite.record import Attempt, Failure
from suite.sites import Site
from suite.worker import Assignment, Report


@dataclass(frozen=True)
class Result:
    """What a command's runs came to.

    `reports` are of the runs worked on in this command; `interrupted` is True after Ctrl-C.
    """

    plan: Plan
    reports: dict[str, Report]
    interrupted: bool

    def state(self, item: Item) -> str:
        """done, failed, cancelled, stopped or stale."""
        report = self.reports.get(item.spec.run_id)
        if report is not None:
            return report.state
        return item.todo if item.todo in ("done", "failed", "stale") else "stopped"

    @property
    def failures(self) -> list[tuple[Item, Failure]]:
        """Runs that failed, now or earlier and left as they are."""
        found = []
        for item in self.plan.items:
            report = self.reports.get(item.spec.run_id)
            failure = report.failure if report else item.status.failure if item.status else None
            if failure is not None and self.state(item) == "failed":
                found.append((item, failure))
        return found

    @property
    def cancelled(self) -> list[Item]:
        """Runs that somebody cancelled meanwhile."""
        return [item for item in self.plan.items if self.state(item) == "cancelled"]


def assignments(
    items: Iterable[Item],
    root: Path,
    data_root: Path | None,
    *,
    checkpoint_seconds: float = 60.0,
    time_limit: float | None = None,
) -> list[Assignment]:
    """What the workers are to be told of those items that need work, in the same order."""
    wanted = time.time()
    return [
        Assignment(
            spec=item.spec,
            attempt=item.attempt.number,
            digest=item.digest,
            root=str(root),
            data_root=str(data_root) if data_root else None,
            checkpoint_seconds=checkpoint_seconds,
            time_limit=time_limit,
            evaluate_only=item.todo == "evaluate",
            wanted=wanted,
        )
        for item in items
        if item.work
    ]


def launch(
    plan: Plan,
    work: Sequence[Assignment],
    slots: Sequence[Slot],
    *,
    plugins: Sequence[Path] = (),
    on_report: Callable[[Report], None] = lambda _: None,
) -> Result:
    """Run the work here; returns when all of it is through or Ctrl-C has stopped it in order."""
    if not work:
        return Result(plan, {}, False)
    dispatch = LocalDispatch(slots, plugins, on_report)
    reports = dispatch.run(work)
    return Result(plan, reports, dispatch.interrupted)


@dataclass(frozen=True)
class Request:
    """How work goes to a cluster: what a job asks for and the profile that says so, runs at a time in a
    job (None: what fits), and the `--plugin` files."""

    site: Site
    site_name: str | None = None
    workers: int | None = None
    plugins: tuple[Path, ...] = ()


def draft(
    root: Path,
    catalog: Catalog,
    protocol: Protocol,
    work: Sequence[Assignment],
    request: Request,
    cluster: str,
) -> tuple[Batch, Packing]:
    """The batch that `submit` would submit, and how its runs are packed. Writes nothing.

    Raises UserError: a run needs more memory than a job asks for.
    """
    on_gpu = request.site.gpus > 0
    costs = measured(root, protocol, gpu=on_gpu)
    packing = pack(
        work,
        request.site,
        threads=protocol.threads,
        workers=request.workers,
        measured={method: Measured(*cost) for method, cost in costs.items()},
        rough_seconds=protocol.seconds,
    )
    now = time.time()
    batch = Batch(
        id=new_id(now),
        created=now,
        cluster=cluster,
        site=request.site,
        site_name=request.site_name,
        workers=request.workers,
        slots=packing.slots,
        threads=protocol.threads,
        code="",
        plugin_files=[str(plugin) for plugin in request.plugins],
        needs=sorted({*_installed(PACKAGES), *catalog.distributions}),
        jobs=[[msgspec.structs.replace(a, wanted=now) for a in job] for job in packing.jobs],
        uid=os.getuid(),
        user=user(),
        host=platform.node(),
    )
    return batch, packing


def submit(
    root: Path,
    catalog: Catalog,
    protocol: Protocol,
    work: Sequence[Assignment],
    request: Request,
) -> tuple[Batch, Packing]:
    """Submit the work, with a copy of today's code. Call it under `submission_lock`.

    Raises UserError: no SLURM, a plug-in that does not load from its copy, a root that sbatch cannot
    name, or sbatch refused; nothing is then left in the queue.
    """
    from suite import snapshot
    from suite.dispatch import slurm

    if bad := [sign for sign in "%:\\\n" if sign in str(root)]:
        raise UserError(f"--root {root}: with --on slurm its path cannot hold {bad[0]!r}")
    cluster = slurm.cluster()
    batch, packing = draft(root, catalog, protocol, work, request, cluster.name)
    code = snapshot.take(jobs_folder(root) / "code", catalog.packages, request.plugins)
    snapshot.try_plugins(code)
    batch = msgspec.structs.replace(
        batch,
        code=code.path.name,
        plugins=[str(plugin.relative_to(code.path)) for plugin in code.plugins],
    )
    limit = min(cluster.max_array, request.site.max_array or cluster.max_array)
    return slurm.submit(root, batch, limit), packing


def renew(batch: Batch, work: Sequence[Assignment]) -> Batch:
    """A batch for runs that `batch` has lost: one job each, the same request and the same code."""
    now = time.time()
    jobs = [[msgspec.structs.replace(assignment, wanted=now)] for assignment in work]
    return msgspec.structs.replace(
        batch, id=new_id(now), state="submitting", created=now, jobs=jobs, ids=[]
    )


def _installed(names: Iterable[str]) -> list[str]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found


POLL_SECONDS = 2.0, 30.0
"""Between two looks: from the first, growing to the second with a suite's length, since every look is a
question to the cluster's one controller."""
MAX_RESUBMITS = 3
"""So often `follow` submits a run again that its job has lost."""


def follow(
    root: Path,
    work: Mapping[str, Assignment],
    submit_again: Callable[[Sequence[Assignment]], Mapping[str, Assignment]],
    own: Container[str],
    *,
    backoff: float,
    on_report: Callable[[Report], None] = lambda _: None,
) -> dict[str, Report]:
    """Watch runs on a cluster until each has an end; run id -> final report.

    A run of `own` whose job is gone for a reason of the cluster's (time limit, preemption, a dead node)
    is handed to `submit_again`, `MAX_RESUBMITS` times at most, after `backoff` seconds, doubled each
    time; it answers with what it has submitted, or another command has in the queue. A job that SLURM
    holds after a failed launch is released as often, and then cancelled. What fails for lack of the
    package or of the results root takes the waiting jobs of its batch with it: they would fail the
    same way. A cluster that does not answer is waited for.
    """
    from suite.dispatch import slurm
    from suite.dispatch.standing import standing

    left, began = dict(work), time.monotonic()
    final: dict[str, Report] = {}
    submitted: dict[str, int] = {}
    due: dict[str, float] = {}
    released: dict[str, int] = {}
    while left:
        now = standing(root)
        for job in {place.job for run, place in now.places.items() if run in left and place.stuck}:
            released[job] = released.get(job, 0) + 1
            with contextlib.suppress(UserError):  # it has gone on by itself
                (slurm.release if released[job] <= MAX_RESUBMITS else slurm.cancel)([job])
        for run_id, assignment in list(left.items()):
            waits = run_id in now.places or now.silent is not None
            report = _standing_report(root, assignment, waits)
            if report is None:
                continue
            if report.state == "running":
                on_report(report)
                continue
            if run_id in own and _lost(assignment, report):
                count = submitted.get(run_id, 0)
                if run_id not in due and count < MAX_RESUBMITS:
                    submitted[run_id] = count + 1
                    due[run_id] = time.monotonic() + backoff * 2**count
                if run_id in due:
                    continue
            due.pop(run_id, None)
            del left[run_id]
            final[run_id] = report
            on_report(report)
            if report.failure and report.failure.kind == "environment" and run_id in now.holds:
                with contextlib.suppress(UserError):
                    slurm.cancel_by_name(now.holds[run_id].batch.job_name, waiting=True)
        ready = [run_id for run_id, moment in due.items() if moment <= time.monotonic()]
        if ready:
            # where the cluster does not take it now, the next look tries again
            with contextlib.suppress(UserError):
                sent = submit_again([left[run_id] for run_id in ready])
                left.update(sent)
                for run_id in sent:
                    del due[run_id]
        if left:
            shortest, longest = POLL_SECONDS
            time.sleep(min(longest, max(shortest, (time.monotonic() - began) / 20)))
    return final


def _standing_report(root: Path, assignment: Assignment, waits: bool) -> Report | None:
    """What the run's files say: its end, its step, or None where it waits for its job, or for what the
    cluster will say of it."""
    from suite.hold import cancelled

    spec = assignment.spec
    attempt = Attempt(root, spec.run_id, assignment.attempt)
    status = attempt.status()
    since = status is not None and status.wanted >= assignment.wanted
    seconds = status.elapsed if status else 0.0
    if attempt.finished:
        return Report(run_id=spec.run_id, state="done", seconds=seconds)
    if since and status is not None and status.state == "running" and waits:
        return Report(run_id=spec.run_id, state="running", step=status.step, total=status.total)
    if waits:
        return None
    if cancelled(root, spec, assignment.wanted):
        return Report(run_id=spec.run_id, state="cancelled", seconds=seconds)
    if since and status is not None and status.state == "failed":
        return Report(run_id=spec.run_id, state="failed", failure=status.failure, seconds=seconds)
    return None


def _lost(assignment: Assignment, report: Report) -> bool:
    """Whether the cluster has ended the run, rather than anything of its own."""
    if report.failure is None:
        return False
    if report.failure.kind == "timeout":
        # its job's limit, not the run's own
        return assignment.time_limit is None or report.seconds < assignment.time_limit
    return report.failure.kind == "killed"


def update_store(root: Path, catalog: Catalog) -> None:
    """Ingest what is new."""
    from suite.store import ingest

    ingest(root, catalog.tasks(), catalog.digests())
