"""SLURM, and the profiles of its sites."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from suite.base.errors import UserError
from suite.upkeep.doctor import finding
from suite.upkeep.doctor.finding import Finding, Place, State, call, root_of, typed


def check_slurm(place: Place) -> Iterator[Finding]:
    """SLURM's commands, whether the controller answers, its partitions and accounts."""
    from suite.dispatch import request as sites
    from suite.dispatch.batch import jobs_folder

    lacking = [name for name in ("sbatch", "squeue", "sinfo") if shutil.which(name) is None]
    wanted = sites.sites_path().exists() or jobs_folder(root_of(place)).is_dir()
    bad: State = "problem" if wanted else "warning"
    if lacking:
        if len(lacking) == 3 and not wanted:
            yield Finding("slurm", "ok", "none on this machine: runs go here, with --on local")
        else:
            words = f"no {', '.join(lacking)} on PATH"
            yield Finding("slurm", bad, words, "type this on a login node, or module load slurm")
        return
    code, output, words = call(["sinfo", "-h", "-o", "%R|%a|%D|%l"], finding.COMMAND_SECONDS)
    if code:
        todo = "ask whoever runs the cluster; --on local works without"
        yield Finding("slurm", bad, f"it does not answer: {words}", todo)
        return
    rows = [line.split("|") for line in output.splitlines() if line.count("|") == 3]
    partitions = sorted({row[0] for row in rows})
    shown = ", ".join(f"{row[0]} ({row[1]}, {row[2]} node(s), {row[3]})" for row in rows[:8])
    yield Finding("slurm", "ok", f"answers; partitions: {shown or 'none'}")
    for name, site in sites.sites().items():
        unknown = set((site.partition or "").split(",")) - {"", *partitions}
        if unknown:
            words = f"[{name}] names partition {', '.join(sorted(unknown))}, which is not there"
            todo = f"partition of [{name}] in {sites.sites_path()}"
            yield Finding("slurm", "warning", words, todo)
    code, _, words = call(
        ["sacct", "-n", "-P", "-X", "-o", "JobID", "-S", "now"], finding.COMMAND_SECONDS
    )
    if code:
        text = f"no accounts ({words}): how a job ended is known for some minutes only"
        yield Finding("slurm", "warning", text, typed(place, "status"))
    else:
        yield Finding("slurm", "ok", "accounts answer (sacct)")


def check_sites(place: Place) -> Iterator[Finding]:
    """The file of site profiles is valid."""
    from suite.dispatch import request as sites

    path = sites.sites_path()
    try:
        known = sites.sites()
    except UserError as error:
        yield Finding(
            "sites", "problem", str(error), f"edit {path}; {typed(place, 'sites')} lists the keys"
        )
        return
    if known:
        yield Finding("sites", "ok", f"{path}: {', '.join(known)}")
    else:
        yield Finding("sites", "ok", f"{path}: no profiles (for --on slurm --site NAME)")
