"""What is to be done with one run that is wanted, by the files of its attempts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from suite.define.digest import Code
from suite.define.spec import RunSpec
from suite.records.attempt import Attempt, attempts, finished_digest
from suite.records.files import INFRASTRUCTURE, Status
from suite.records.lease import is_leased
from suite.records.states import Todo


@dataclass(frozen=True)
class PlannedRun:
    """One wanted run: what is to be done with it and in which attempt; `changed` is what `--set` gave.
    `input_of` names the method that needs it, where it was not asked for itself."""

    spec: RunSpec
    todo: Todo
    attempt: Attempt
    digest: str
    status: Status | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)
    input_of: str = ""

    @property
    def work(self) -> bool:
        """Whether a worker has to look at it."""
        return self.todo in ("new", "resume", "retry", "running", "evaluate")


def plan_run(
    root: Path,
    spec: RunSpec,
    digest: str,
    code: Code,
    task: str,
    evaluation_hash: str,
    changed: Mapping[str, Any] = MappingProxyType({}),
    fresh: bool = False,
    stale: bool = False,
) -> PlannedRun:
    """What is to be done with one run whose method's code has this digest today."""
    known = attempts(root, spec.run_id)

    def item(todo: Todo, attempt: Attempt, status: Status | None = None) -> PlannedRun:
        return PlannedRun(spec, todo, attempt, digest, status, changed)

    if not known:
        return item("new", Attempt(root, spec.run_id, 1))
    newest = known[-1]
    digests = {newest.number: finished_digest(newest)}
    # the usual case by far, decided with one file read
    if not fresh and code.same(digests[newest.number], digest):
        return item(_finished(newest, task, evaluation_hash), newest)

    status = newest.status()
    # nothing was begun in an attempt that has only its folder: it is not used up
    unused = status is None and not newest.finished and not newest.checkpoint_dir.exists()
    following = newest if unused else Attempt(root, spec.run_id, newest.number + 1)
    digests |= {attempt.number: finished_digest(attempt) for attempt in known[:-1]}
    current = [attempt for attempt in known if code.same(digests[attempt.number], digest)]
    resumable = (
        not newest.finished
        and status is not None
        and code.same(status.digest, digest)
        and not (status.failure and status.failure.kind not in INFRASTRUCTURE)
    )
    # an attempt once begun is finished first, also where an older one is finished
    if resumable and (not fresh or is_leased(status)):
        assert status is not None
        todo: Todo = "retry" if status.failure else "running" if is_leased(status) else "resume"
        return item(todo, newest, status)
    if fresh:
        return item("new", following)
    if current:
        return item(_finished(current[-1], task, evaluation_hash), current[-1])
    if any(digests.values()):
        return item("new", following) if stale else item("stale", newest, status)
    if status is not None and status.failure and code.same(status.digest, digest):
        return item("failed", newest, status)
    return item("new", following)


def _finished(attempt: Attempt, task: str, evaluation_hash: str) -> Todo:
    scores = f"{attempt.folder}/evaluations/{task}-{evaluation_hash}.json"
    return "done" if os.path.exists(scores) else "evaluate"
