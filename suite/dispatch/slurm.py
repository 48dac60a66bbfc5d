"""SLURM, through submitit: submit the jobs of a batch, look at the queue, ask how jobs ended."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from suite.base.errors import UserError
from suite.dispatch.batch import Batch, batch_folder, batches, jobs_folder, write_batch
from suite.dispatch.code_copy import job_environment
from suite.dispatch.request import Site

COMMAND_SECONDS = 60.0
"""A SLURM command that has not answered by then is taken for dead."""
REFUSED = 78
"""Exit code of a job that cannot work where it is (EX_CONFIG): trying again would not help."""
STOPPED_EXIT = 75
"""Exit code of a job that stopped at its checkpoints and wants to go on later (EX_TEMPFAIL)."""
NO_OUTPUT = "0:53"
"""How SLURM (22.05) reports a job whose output file it could not open on the node."""


@dataclass(frozen=True)
class Cluster:
    """`name` as SLURM calls itself; `max_array`: jobs an array may have."""

    name: str
    max_array: int


@dataclass(frozen=True)
class Queued:
    """A job that the cluster has in its queue: its state (`PENDING`, `RUNNING`, ...), node, reason."""

    state: str
    node: str
    reason: str


@dataclass(frozen=True)
class Ending:
    """How a job ended: SLURM's state (`TIMEOUT`, ..., `UNKNOWN`), `exit` as `code:signal`, node, by
    whom it was cancelled (a user id, else "")."""

    state: str
    exit: str = ""
    node: str = ""
    by: str = ""


LIVE = frozenset(
    {
        "PENDING",
        "RUNNING",
        "SUSPENDED",
        "COMPLETING",
        "CONFIGURING",
        "REQUEUED",
        "RESIZING",
        "SIGNALING",
        "STAGE_OUT",
    }
)


class NoAnswer(UserError):
    """SLURM is there but does not answer."""


@cache
def cluster() -> Cluster:
    """The cluster of this machine. Raises UserError: no SLURM, NoAnswer: slurmctld is down."""
    if shutil.which("sbatch") is None:
        raise UserError(
            "no SLURM on this machine (no sbatch on PATH): run here with --on local, or type this on "
            "a login node"
        )
    text = _call("scontrol", "show", "config")
    found = dict(re.findall(r"^(\w+)\s+= (.*?)\s*$", text, re.MULTILINE))
    # MaxArraySize is the first index that is too large
    return Cluster(found.get("ClusterName", ""), max(1, int(found.get("MaxArraySize", 1001)) - 1))


def array_limit() -> int:
    """Jobs an array may have here; SLURM's own default where there is no cluster to ask."""
    try:
        return cluster().max_array
    except UserError:
        return 1000


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


def submit(root: Path, batch: Batch) -> Batch:
    """Hand all jobs of `batch` to the cluster, in arrays as large as it and the site take.

    The batch is written before the first job and after the last. Raises UserError with sbatch's own
    words if one array is refused; those taken before are then cancelled.
    """
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from suite.dispatch.on_node import CarryOut

    largest = cluster().max_array
    limit = min(largest, batch.site.max_array or largest)
    write_batch(root, batch)
    folder = batch_folder(root, batch.id) / "slurm"
    numbers = list(range(len(batch.jobs)))
    ids: list[str] = []
    said = io.StringIO()
    try:
        with _sbatch_environment(batch.site), contextlib.redirect_stderr(said):
            for first in range(0, len(numbers), limit):
                executor = submitit.SlurmExecutor(folder=folder, python=_python(batch.site))
                executor.update_parameters(**_parameters(root, batch))
                if ids and batch.site.array_parallelism:
                    # %N holds within an array; one after the other it holds over all
                    before = ids[-1].partition("_")[0]
                    executor.update_parameters(dependency=f"afterany:{before}")
                chunk = [
                    CarryOut(str(root), batch.id, number)
                    for number in numbers[first : first + limit]
                ]
                with executor.batch():
                    jobs = [executor.submit(carry_out) for carry_out in chunk]
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
        cancel_by_name(batch.job_name)
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
            cancel_by_name(batch.job_name)
            write_batch(root, msgspec.structs.replace(batch, state="abandoned"))


def queue(names: Iterable[str]) -> dict[str, Queued]:
    """Job id (`12_3` or `12`) -> its place in the queue, for the jobs of these names."""
    wanted = ",".join(names)
    if not wanted:
        return {}
    text = _call("squeue", "-h", f"--name={wanted}", "-o", "%i|%T|%N|%r")
    found: dict[str, Queued] = {}
    for line in text.splitlines():
        shown, state, node, reason = line.split("|", 3)
        entry = Queued(state, node, "" if reason == "None" else reason)
        found.update(dict.fromkeys(_expand(shown), entry))
    return found


def _expand(shown: str) -> Iterator[str]:
    """`7`, `7_3`, and `7_[0-2,5%4]`, as SLURM shows array jobs that wait together, as single ids."""
    from submitit.slurm.slurm import read_job_id

    for job, *span in read_job_id(shown):
        if not span:
            yield job
        for index in range(int(span[0]), int(span[-1]) + 1) if span else ():
            yield f"{job}_{index}"


def endings(ids: Iterable[str]) -> dict[str, Ending]:
    """How the jobs ended, by the cluster's accounts; those still alive are left out.

    Where the cluster keeps no accounts, or they lag behind and call a job alive, slurmctld's memory is
    asked; what has gone from there too is `UNKNOWN`.
    """
    wanted = set(ids)
    bases = sorted({job.partition("_")[0] for job in wanted}, key=int)
    if not bases:
        return {}
    try:
        rows = _accounts(bases)
    except NoAnswer:
        rows = {}
    found = {job: rows[job] for job in wanted if job in rows and rows[job].state not in LIVE}
    left = wanted - found.keys()
    now = _memory(sorted({job.partition("_")[0] for job in left}, key=int))
    found.update({job: now.get(job, Ending("UNKNOWN")) for job in left})
    return {job: ending for job, ending in found.items() if ending.state not in LIVE}


def _accounts(bases: Iterable[str]) -> dict[str, Ending]:
    fields = "JobID,State,ExitCode,NodeList"
    text = _call("sacct", "-n", "-P", "-X", "-o", fields, "-j", ",".join(bases))
    rows = {}
    for line in text.splitlines():
        job, state, code, node = (line.split("|") + [""] * 4)[:4]
        word, _, by = state.partition(" by ")
        ending = Ending(word, code, "" if node == "None assigned" else node, by)
        rows.update(dict.fromkeys(_expand(job), ending))
    return rows


def _memory(bases: Iterable[str]) -> dict[str, Ending]:
    rows = {}
    for base in bases:
        try:
            text = _call("scontrol", "-o", "show", "job", base)
        except NoAnswer as error:
            if "Invalid job id" not in str(error):
                raise
            continue  # slurmctld forgets a job some minutes after its end
        for line in text.splitlines():
            fields = dict(re.findall(r"(\w+)=(\S*)", line))
            job, tasks = fields.get("JobId", ""), fields.get("ArrayTaskId", "")
            if tasks:
                job = f"{fields['ArrayJobId']}_{tasks if tasks.isdecimal() else f'[{tasks}]'}"
            node = fields.get("NodeList", "").replace("(null)", "")
            ending = Ending(fields.get("JobState", ""), fields.get("ExitCode", ""), node)
            rows.update(dict.fromkeys(_expand(job), ending))
    return rows


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs; those that have ended already are no error."""
    chosen = sorted(ids)
    for first in range(0, len(chosen), 500):
        _call("scancel", "--quiet", *chosen[first : first + 500])


def release(ids: Iterable[str]) -> None:
    """Let held jobs go on."""
    for job in sorted(ids):
        _call("scontrol", "release", job)


def cancel_by_name(name: str, *, waiting: bool = False) -> None:
    """Cancel the jobs of a name; `waiting`: only those that have not started."""
    _call("scancel", "--quiet", f"--name={name}", *(["--state=PENDING"] if waiting else []))


def _call(*command: str) -> str:
    """Output of a SLURM command. Raises NoAnswer with its own words."""
    # a user's own filters would hide jobs; array ranges are cut short otherwise
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_", "SCANCEL_"))
    }
    environment = {**kept, "SLURM_BITSTR_LEN": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_SECONDS, env=environment
        )
    except FileNotFoundError:
        raise NoAnswer(f"{command[0]} is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]} has not answered for {COMMAND_SECONDS:g} s") from None
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise NoAnswer(f"SLURM does not answer: {words}")
    return done.stdout


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
        f"[ -f {seen} ] || {{ echo {unseen} >&2; exit {REFUSED}; }}",
        f"{_python(batch.site)} -c 'import submitit, suite.dispatch.on_node' || exit {REFUSED}",
    ]
