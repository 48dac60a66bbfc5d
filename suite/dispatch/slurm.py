"""SLURM's own commands: what cluster this is, its queue, how jobs ended; cancel and release them.

What submits jobs is `suite.dispatch.sbatch`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from suite.base.errors import UserError

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


def queue(names: Iterable[str]) -> dict[str, Queued]:
    """Job id (`12_3` or `12`) -> its place in the queue, for the jobs of these names."""
    wanted = ",".join(names)
    if not wanted:
        return {}
    text = _call("squeue", "-h", f"--name={wanted}", "-o", "%i|%T|%N|%r")
    found: dict[str, Queued] = {}
    for shown, state, node, reason in _rows(text, 4):
        entry = Queued(state, node, "" if reason == "None" else reason)
        found.update(dict.fromkeys(_expand(shown), entry))
    return found


_SHOWN = re.compile(r"[0-9]+(_[0-9]+|_\[[0-9,%-]+\])?")


def _rows(text: str, columns: int) -> Iterator[list[str]]:
    """Lines of that many columns that begin with a job's id: a site's commands may say more than that."""
    for line in text.splitlines():
        cells = line.strip().split("|", columns - 1)
        if len(cells) == columns and _SHOWN.fullmatch(cells[0]):
            yield cells


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
    for job, state, code, node in _rows(text, 4):
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
            if not job:
                continue
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
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=COMMAND_SECONDS,
            env=environment,
        )
    except FileNotFoundError:
        raise NoAnswer(f"{command[0]} is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]} has not answered for {COMMAND_SECONDS:g} s") from None
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise NoAnswer(f"SLURM does not answer: {words}")
    return done.stdout
