"""The one function that carries out a run, the same on this machine and on a cluster.

`execute(assignment, catalog, ...)` takes the run's lock, trains (or resumes), stores predictions and
weights, writes the record, evaluates. A kill at any instant leaves either the record or what is
needed to resume.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.flags import DATA_VARIANT
from suite.define.method import Method
from suite.define.protocol import Protocol
from suite.records.attempt import Attempt, finished_digest
from suite.records.environment import environment
from suite.records.files import INFRASTRUCTURE, InputRun, Record, Status
from suite.records.inputs import digest_of, resolve_inputs
from suite.records.lease import LeaseLost, cancel_request, is_leased_by_another, run_lock
from suite.runs.evaluate import evaluate_attempt
from suite.runs.failures import classify
from suite.runs.job import JOB_VARIABLE, Assignment, Job, Outcome, Report, Stopped


def execute(
    assignment: Assignment,
    catalog: Catalog,
    *,
    report: Callable[[Report], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Report:
    """Carry out one run. Never raises for what happens inside the run: the report says it."""
    root = Path(assignment.root)
    spec = assignment.spec
    started = time.monotonic()
    attempt = Attempt(root, spec.run_id, assignment.attempt)
    is_cancelled = _every(0.5, lambda: bool(cancel_request(root, spec, assignment.wanted)))
    try:
        # a protocol that a user brought lies below the root
        catalog = catalog.at(root)
        with run_lock(root, spec.run_id) as mine:
            if not mine or is_leased_by_another(attempt.status()):
                return Report(run_id=spec.run_id, state="busy")
            if is_cancelled():
                return Report(run_id=spec.run_id, state="cancelled")
            attempt.sweep()
            final = _execute(
                assignment, catalog, attempt, report, lambda: stopping() or is_cancelled()
            )
            if final.state == "stopped" and not stopping():
                final = msgspec.structs.replace(final, state="cancelled")
    except LeaseLost:
        final = Report(run_id=spec.run_id, state="busy")
    except (OSError, UserError) as error:
        # not even a status could be written (disk full, folder gone), or the stored predictions of a
        # finished run are damaged: say it all the same
        final = Report(run_id=spec.run_id, state="failed", failure=classify(error))
    return msgspec.structs.replace(final, seconds=time.monotonic() - started)


def _every(seconds: float, look: Callable[[], bool]) -> Callable[[], bool]:
    """`look`, called at most every so many seconds; once True it stays so."""
    found, due = False, 0.0

    def asked() -> bool:
        nonlocal found, due
        now = time.monotonic()
        if not found and now >= due:
            found, due = look(), now + seconds
        return found

    return asked


def _execute(
    assignment: Assignment,
    catalog: Catalog,
    attempt: Attempt,
    report: Callable[[Report], None],
    stopping: Callable[[], bool],
) -> Report:
    spec, root = assignment.spec, attempt.root
    protocol = catalog.protocol_of(spec)
    finished = not assignment.evaluate_only and catalog.code.same(
        finished_digest(attempt), digest_of(root, catalog, spec)
    )
    if finished:
        _tidy(attempt)
    if finished or assignment.evaluate_only:
        evaluate_all(attempt, catalog, protocol)
        return Report(run_id=spec.run_id, state="done")

    method = catalog.method(spec)
    required = protocol.required(method.adapts)
    attempt.create(spec)
    before = attempt.status()
    if before and before.failure and before.failure.kind not in INFRASTRUCTURE:
        # another command's worker found out while this one waited for the lock
        return Report(run_id=spec.run_id, state="failed", failure=before.failure)
    now = time.time()
    status = Status(
        state="running",
        digest=assignment.digest,
        started=before.started if before else now,
        heartbeat=now,
        step=before.step if before else 0,
        total=before.total if before else None,
        restarts=before.restarts + 1 if before else 0,
        elapsed=before.elapsed if before else 0.0,
        host=platform.node(),
        pid=os.getpid(),
        owner=os.urandom(6).hex(),
        job=os.environ.get(JOB_VARIABLE, ""),
        wanted=assignment.wanted,
        ranks=assignment.ranks,
    )
    job = Job(
        spec=spec,
        method=method,
        protocol=protocol,
        attempt=attempt,
        device=assignment.device,
        data_root=Path(assignment.data_root) if assignment.data_root else None,
        checkpoint_seconds=assignment.checkpoint_seconds,
        time_limit=assignment.time_limit,
        status=status,
        report=report,
        stopping=stopping,
        required=required,
        sets=[name for name in assignment.sets if name not in required],
        ranks=assignment.ranks,
    )
    # durable, unlike later heartbeats: it says whose code the checkpoint belongs to
    job.write("running", durable=True)
    try:
        job.inputs = resolve_inputs(root, catalog, spec)
        if digest_of(root, catalog, spec) != assignment.digest:
            raise UserError(f"{method.source.path} changed after the run was planned; run again")
        method.check_infer()
        _require_inferring(method, catalog, protocol)
        with job.alive():
            outcome = protocol.train(job)
            _store(job, outcome, assignment.digest)
        _tidy(attempt)
        evaluate_all(attempt, catalog, protocol)
    except Stopped:
        job.write("stopped")
        return Report(run_id=spec.run_id, state="stopped", step=job.status.step)
    except LeaseLost:
        raise
    except Exception as error:
        failure = classify(error, [part.source.path for part in method.parts])
        # goes to the run's log.txt: the worker redirects its output there
        traceback.print_exc()
        job.write("failed", failure=failure)
        return Report(run_id=spec.run_id, state="failed", failure=failure)
    job.write("done", step=outcome.cost.iterations)
    return Report(run_id=spec.run_id, state="done", step=outcome.cost.iterations)


def _require_inferring(method: Method, catalog: Catalog, protocol: Protocol) -> None:
    # before the training, not after it
    for task in catalog.accepting(protocol) if method.infers else ():
        if not task.infers:
            raise UserError(
                f"{method.name} brings an infer(), but task {task.name!r} keeps no scores to adapt"
            )
    if method.adapts and not protocol.views:
        raise UserError(
            f"{method.name} adapts to unlabelled test inputs, of which protocol {protocol.name!r} makes "
            "no views"
        )


def _store(job: Job, outcome: Outcome, digest: str) -> None:
    attempt, facts = job.attempt, outcome.facts
    job.require_owner()
    attempt.write_predictions(outcome.predictions)
    if outcome.save_weights is not None:
        attempt.write_weights(outcome.save_weights)
    for name, content in outcome.samples.items():
        attempt.write_sample(name, content)
    flags = {*job.method.flags, *outcome.flags}
    inputs = {role: (one, one.record()) for role, one in job.inputs.items()}
    before = [record.cost for _, record in inputs.values()]
    if facts.variant:
        flags.add(DATA_VARIANT)
    job.require_owner()
    attempt.write_record(
        Record(
            run_id=attempt.run_id,
            attempt=attempt.number,
            spec=job.spec,
            digest=digest,
            files=job.method.files,
            infers=job.method.infers,
            inputs={
                role: InputRun(
                    run_id=one.run_id,
                    attempt=one.number,
                    method=record.spec.method,
                    digest=record.digest,
                )
                for role, (one, record) in inputs.items()
            },
            warnings=job.warnings,
            dataset=job.protocol.dataset.name,
            flags=sorted(flags),
            class_counts=list(facts.class_counts),
            classes=list(facts.classes),
            cost=msgspec.structs.replace(
                outcome.cost,
                wall_seconds=round(job.elapsed - outcome.aside_seconds, 3),
                samples_seen=outcome.cost.samples_seen + sum(c.samples_seen for c in before),
                gpu_hours=outcome.cost.gpu_hours + sum(c.gpu_hours for c in before),
                input_seconds=sum(c.wall_seconds + c.input_seconds for c in before),
            ),
            curves=dict(outcome.curves),
            rows=outcome.rows,
            environment={
                **environment(job.device, job.protocol.threads, job.spec.seed, job.status.job),
                **outcome.environment,
            },
            data=dict(facts.observed),
            finished=time.time(),
        )
    )


def evaluate_all(attempt: Attempt, catalog: Catalog, protocol: Protocol) -> None:
    """Evaluate a finished attempt under every task that accepts its protocol, where still due."""
    for task in catalog.accepting(protocol):
        evaluate_attempt(attempt, task, protocol, catalog)


def _tidy(attempt: Attempt) -> None:
    # only once the record stands: until then the checkpoint is all there is
    shutil.rmtree(attempt.checkpoint_dir, ignore_errors=True)
