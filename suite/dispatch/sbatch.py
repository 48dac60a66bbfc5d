"""Submit the jobs of a batch to SLURM, through submitit: their script, what sbatch is told, arrays."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from suite.base.errors import UserError
from suite.dispatch import slurm
from suite.dispatch.batch import Batch, batch_folder, batches, jobs_folder, write_batch
from suite.dispatch.code_copy import job_environment
from suite.dispatch.request import Site


def script(root: Path, batch: Batch, count: int) -> str:
    """The sbatch script of an array of `count` jobs (or of one job)."""
    from submitit.slurm.slurm import _make_sbatch_string

    folder = batch_folder(root, batch.id) / "slurm"
    command = f"{_python(batch.site)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    parameters = _parameters(root, batch)
    text: str = _make_sbatch_string(
        command=command, folder=folder, map_count=count if count > 1 else None, **parameters
    )
    return text


def job_id(said: str) -> str | None:
    """The id that sbatch gave a job; a site's own words may stand before and after it."""
    found = re.findall(r"^\s*Submitted batch job ([0-9]+)", said, re.MULTILINE)
    return found[-1] if found else None


def _executor(folder: Path, python: str) -> Any:
    """submitit's, which would take the first number after the word "job" for the id."""
    import submitit
    from submitit.core.utils import FailedSubmissionError

    class SlurmExecutor(submitit.SlurmExecutor):
        @staticmethod
        def _get_job_id_from_submission_command(string: str | bytes) -> str:
            said = string.decode(errors="replace") if isinstance(string, bytes) else string
            found = job_id(said)
            if found is None:
                raise FailedSubmissionError(f"sbatch names no job: {said}")
            return found

    return SlurmExecutor(folder=folder, python=python)


def submit(root: Path, batch: Batch) -> Batch:
    """Hand all jobs of `batch` to the cluster, in arrays as large as it and the site take.

    The batch is written before the first job and after the last. Raises UserError with sbatch's own
    words if one array is refused; those taken before are then cancelled.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from suite.dispatch.on_node import NodeJob

    largest = slurm.cluster().max_array
    limit = min(largest, batch.site.max_array or largest)
    write_batch(root, batch)
    folder = batch_folder(root, batch.id) / "slurm"
    numbers = list(range(len(batch.jobs)))
    ids: list[str] = []
    said = io.StringIO()
    try:
        with _sbatch_environment(batch.site), contextlib.redirect_stderr(said):
            for first in range(0, len(numbers), limit):
                executor = _executor(folder, _python(batch.site))
                executor.update_parameters(**_parameters(root, batch))
                if ids and batch.site.array_parallelism:
                    # %N holds within an array; one after the other it holds over all
                    before = ids[-1].partition("_")[0]
                    executor.update_parameters(dependency=f"afterany:{before}")
                chunk = [
                    NodeJob(str(root), batch.id, number)
                    for number in numbers[first : first + limit]
                ]
                with executor.batch():
                    jobs = [executor.submit(job) for job in chunk]
                ids += [job.job_id for job in jobs]
    except (FailedJobError, FailedSubmissionError) as error:
        words = _sbatch_words(said.getvalue() or str(error))
        raise UserError(f"sbatch refused: {words}; {_abandon(root, batch)}") from None
    except BaseException:
        _abandon(root, batch)
        raise
    submitted = msgspec.structs.replace(batch, state="submitted", ids=ids)
    write_batch(root, submitted)
    return submitted


def _abandon(root: Path, batch: Batch) -> str:
    """Take back what the cluster has of the batch; says whether it could."""
    try:
        # by name: sbatch may have given up on a job that was taken all the same
        slurm.cancel_by_name(batch.job_name)
    except UserError as error:
        return (
            f"what it took before may still be there, until the next submission ends it ({error})"
        )
    write_batch(root, msgspec.structs.replace(batch, state="abandoned"))
    return "nothing was submitted"


def recover(root: Path, cluster_name: str) -> None:
    """Take back what a submission left that was killed half-way; call under the submission lock."""
    for batch in batches(root):
        ours = batch.cluster == cluster_name and batch.uid == os.getuid()
        if batch.state == "submitting" and ours:
            slurm.cancel_by_name(batch.job_name)
            write_batch(root, msgspec.structs.replace(batch, state="abandoned"))


def _sbatch_words(text: str) -> str:
    lines = [line.removeprefix("sbatch: error: ") for line in text.splitlines() if line.strip()]
    return "; ".join(" ".join(line.split()) for line in lines[-3:]) or "no reason given"


def _python(site: Site) -> str:
    return site.python or shlex.quote(sys.executable)


_BEATEN = {
    "partition": "PARTITION",
    "account": "ACCOUNT",
    "qos": "QOS",
    "constraint": "CONSTRAINT",
    "time": "TIMELIMIT",
    "gpus_per_node": "GPUS_PER_NODE",
    "mem": "MEM_PER_NODE",
}
"""Our option -> the SBATCH_ variable that would beat it: sbatch prefers them to its script."""
_NEVER = (
    "ARRAY_INX",
    "ERROR",
    "JOB_NAME",
    "NO_REQUEUE",
    "OPEN_MODE",
    "OUTPUT",
    "REQUEUE",
    "SIGNAL",
    "WAIT",
)


@contextlib.contextmanager
def _sbatch_environment(site: Site) -> Iterator[None]:
    """Hide variables that sbatch would take for options: those of the job that this command runs in
    itself, and a user's defaults where they contradict what was asked for."""
    names = {f"SBATCH_{name}" for name in _NEVER}
    names |= {f"SBATCH_{theirs}" for ours, theirs in _BEATEN.items() if getattr(site, ours)}
    if "SLURM_JOB_ID" in os.environ:
        inside = ("SLURM_", "SLURMD_", "SRUN_")
        names |= {name for name in os.environ if name.startswith(inside)} - {"SLURM_CONF"}
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _parameters(root: Path, batch: Batch) -> dict[str, Any]:
    """submitit's parameters of the batch's jobs."""
    site = batch.site
    further: dict[str, Any] = {"requeue": True}
    if site.mem is not None:
        further["mem"] = site.mem
    further.update({key.replace("_", "-"): value for key, value in site.sbatch.items()})
    return {
        "job_name": batch.job_name,
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "time": site.minutes,
        "gpus_per_node": site.gpus_per_node if site.gpus else None,
        "cpus_per_task": site.cpus_per_task or batch.threads * batch.ranks * batch.slots,
        "signal_delay_s": site.signal_seconds,
        "array_parallelism": site.array_parallelism or 1_000_000,
        "stderr_to_stdout": True,
        "wckey": None,
        "setup": _setup(root, batch),
        "teardown": _TEARDOWN.read_text(encoding="utf-8").splitlines(),
        "additional_parameters": further,
    }


_TEARDOWN = Path(__file__).with_name("teardown.sh")


def _setup(root: Path, batch: Batch) -> list[str]:
    variables = job_environment(jobs_folder(root) / "code" / batch.code)
    folder = batch_folder(root, batch.id)
    seen = shlex.quote(str(folder / "batch.json"))
    unseen = shlex.quote(
        f"the results root {root} is not seen here: use a --root on a file system that the nodes share"
    )
    return [
        *batch.site.setup,
        "before=$PYTHONPATH",
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        "export PYTHONPATH=$PYTHONPATH${before:+:$before}",
        f"export LONGTAIL_BATCH={shlex.quote(str(folder))} LONGTAIL_BACKOFF={batch.site.backoff_seconds}",
        # since SLURM 22.05 srun does not take this over by itself
        '[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK',
        f"[ -f {seen} ] || {{ echo {unseen} >&2; exit {slurm.REFUSED}; }}",
        f"{_python(batch.site)} -c 'import submitit, suite.dispatch.on_node' || exit {slurm.REFUSED}",
    ]
