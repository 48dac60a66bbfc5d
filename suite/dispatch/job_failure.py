"""Why a run failed whose job has ended for good: from how the cluster says it ended, and the job's log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from suite.base.bounded import read_regular
from suite.dispatch.batch import Batch, batch_folder, log_path
from suite.dispatch.slurm import NO_OUTPUT, REFUSED, STOPPED_EXIT, Ending
from suite.records.files import Failure, FailureKind

KIND_OF: Mapping[str, FailureKind] = {
    "OUT_OF_MEMORY": "oom",
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
}
_MEMORY = re.compile(r"exceeded (?:job |step )?memory limit|oom[-_]kill|Out Of Memory")
"""As slurmstepd words it."""


def job_failure(root: Path, batch: Batch, job: str, ending: Ending, begun: bool) -> Failure:
    """The failure of a run that its job left unfinished, in one line. `begun`: whether the run itself had
    said anything."""
    where = f"job {job}" + (f" on {ending.node}" if ending.node else "")
    tail = _since_last_start(log_path(root, batch.id, job))
    kind: FailureKind = KIND_OF.get(ending.state, "killed")
    if ending.exit == NO_OUTPUT or (ending.exit == f"{REFUSED}:0" and not tail):
        kind = "environment"
        text = (
            f"{where} does not see {batch_folder(root, batch.id)}; use a --root on a file system that "
            "the nodes share"
        )
    elif ending.exit == f"{REFUSED}:0":
        kind, text = "environment", f"{where}: {_last_words(tail)}"
    elif ending.state == "UNKNOWN":
        text = f"{where} has left the queue, and the cluster keeps no account of it"
    elif ending.exit == f"{STOPPED_EXIT}:0":
        text = f"{where} stopped at its checkpoints and was not queued again"
    else:
        if ending.state == "FAILED" and any(_MEMORY.search(line) for line in tail):
            kind = "oom"
        text = f"{where} ended {ending.state} (exit code {ending.exit})"
        if not begun and (said := _last_words(tail)):
            text += f" before the run began: {said}"
    return Failure(kind=kind, message=text)


def _since_last_start(path: Path, size: int = 16384) -> list[str]:
    """What a job printed since it was started last, the end of it."""
    try:
        content = read_regular(path)[-size:].decode("utf-8", "replace")
    except OSError:
        return []
    content = content.rpartition("Starting with JobEnvironment")[2]
    return [line for line in content.splitlines() if line.strip()]


def _last_words(lines: Iterable[str]) -> str:
    """The last line that says something about what went wrong, rather than that something did."""
    said = [
        line for line in lines if not line.startswith(("longtail: job ", "srun: ", "slurmstepd"))
    ]
    return " ".join(said[-1].removeprefix("longtail: ").split())[:300] if said else ""
