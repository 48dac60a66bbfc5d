"""What was handed to a cluster: `<root>/jobs/<batch>/batch.json`, one a submission.

<root>/jobs/lock                  held while something is planned and submitted
<root>/jobs/code/<digest>/        copies of the code that jobs run (`suite.dispatch.code_copy`)
<root>/jobs/<batch>/batch.json    Batch: the jobs, the runs in each, and their ids on the cluster
<root>/jobs/<batch>/slurm/        submitit's files: script, a log per job
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from suite.base.bounded import read_regular
from suite.base.errors import RecordError, UserError
from suite.base.files import write_atomic
from suite.dispatch.request import Site
from suite.records.lease import lock_file, open_lock
from suite.runs.job import Assignment

BATCH_SCHEMA = 1
_JOB = re.compile(r"[0-9]{1,18}(_[0-9]{1,18})?")
_CODE = re.compile(r"[0-9a-f]{12}")
_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One submission.

    Attributes:
        id: folder name; jobs are called `longtail-<id>` on the cluster.
        state: `submitting` until the cluster has taken every job; then `submitted`; `abandoned` where
            that never came about: its jobs were cancelled.
        created: Unix seconds.
        uid, user, host: who submitted it, and where.
        cluster: name of the cluster; ids are unique only within one.
        site: what each job asks for; `site_name` the profile it was made from.
        workers: runs at a time in a job that were asked for, null for what fits; `slots`: those that
            there are; `threads`: CPU threads of each.
        code: name of the copy of the code below `jobs/code`.
        plugins: paths of the plug-in files in that copy; `plugin_files` where they came from.
        needs: distributions that a job's Python must have.
        jobs: the runs of each job. `ids`: their jobs on the cluster, `12_3` or `12`.
    """

    schema: int = BATCH_SCHEMA
    id: str
    state: Literal["submitting", "submitted", "abandoned"] = "submitting"
    created: float
    uid: int
    user: str = ""
    host: str = ""
    cluster: str
    site: Site
    site_name: str | None = None
    workers: int | None = None
    slots: int
    threads: int
    code: str
    plugins: list[str] = []
    plugin_files: list[str] = []
    needs: list[str] = []
    jobs: list[list[Assignment]]
    ids: list[str] = []

    @property
    def job_name(self) -> str:
        return job_name(self.id)

    @property
    def ranks(self) -> int:
        """Processes that share a run."""
        return max((a.ranks for job in self.jobs for a in job), default=1)

    @property
    def runs(self) -> dict[str, str]:
        """run id -> id of its job on the cluster, "" where the job has none (yet)."""
        ids = self.ids or [""] * len(self.jobs)
        return {
            assignment.spec.run_id: job
            for job, assignments in zip(ids, self.jobs, strict=True)
            for assignment in assignments
        }


def job_name(batch_id: str) -> str:
    """What the jobs of a batch are called on the cluster."""
    return f"longtail-{batch_id}"


def jobs_folder(root: Path) -> Path:
    return root / "jobs"


def batch_folder(root: Path, batch_id: str) -> Path:
    return jobs_folder(root) / batch_id


def log_path(root: Path, batch_id: str, job: str) -> Path:
    """What a job itself printed; the log of a run is in the run's folder."""
    return batch_folder(root, batch_id) / "slurm" / f"{job}_0_log.out"


def new_id(now: float) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    return f"{stamp}-{os.urandom(3).hex()}"


def user() -> str:
    """Name of the user, for people."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user on this machine (containers)
        return str(os.getuid())


def write_batch(root: Path, batch: Batch) -> None:
    folder = batch_folder(root, batch.id)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "batch.json", msgspec.json.encode(batch))


_decode = msgspec.json.Decoder(Batch).decode


def read_batch(root: Path, batch_id: str) -> Batch:
    """Raises RecordError: missing, malformed, of another version."""
    path = batch_folder(root, batch_id) / "batch.json"
    try:
        batch = _decode(read_regular(path))
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path}: {error}") from None
    if batch.schema != BATCH_SCHEMA or batch.id != batch_id:
        raise RecordError(f"{path}: schema {batch.schema}, batch {batch.id!r}")
    if batch.ids and len(batch.ids) != len(batch.jobs):
        raise RecordError(f"{path}: {len(batch.ids)} ids for {len(batch.jobs)} jobs")
    if not all(_JOB.fullmatch(job) for job in batch.ids) or not _CODE.fullmatch(batch.code):
        raise RecordError(f"{path}: an id that is no job's, or a code that is no copy's")
    return batch


def batches(root: Path) -> list[Batch]:
    """Every readable batch, oldest first."""
    try:
        names = sorted(name for name in os.listdir(jobs_folder(root)) if _NAME.fullmatch(name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for name in names:
        # a damaged one costs what it knew of its jobs, never a result
        with contextlib.suppress(RecordError):
            found.append(read_batch(root, name))
    return sorted(found, key=lambda batch: batch.created)


@contextlib.contextmanager
def submission_lock(root: Path) -> Iterator[None]:
    """Held while runs are planned and submitted: two shells must not send one run twice.

    Waits for the other one. Raises UserError where nothing can be written below `root`.
    """
    try:
        jobs_folder(root).mkdir(parents=True, exist_ok=True)
        descriptor = open_lock(jobs_folder(root) / "lock")
    except OSError as error:
        raise UserError(f"--root {root}: cannot be written ({error.strerror})") from None
    try:
        lock_file(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)
