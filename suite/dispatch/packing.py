"""Which runs share a job: small ones share a process and a GPU, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from suite.base.errors import UserError
from suite.dispatch.request import Site
from suite.runs.job import Assignment
from suite.runs.slots import chains

MARGIN = 1.25
"""Measured time and peak memory are taken this much larger: other nodes, other neighbours."""
TARGET_SECONDS = 900.0
"""`auto` fills jobs up to about this long: start-up is about a hundredth of it, and a suite of short
runs still spreads over the nodes."""
TIME_SHARE = 0.8
"""... or to this share of the time limit, if that is less."""


@dataclass(frozen=True)
class Measured:
    """Of earlier runs of a method: mean wall seconds, largest peak memory in bytes."""

    seconds: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Packing:
    """`jobs`: the runs of each job, in plan order; `slots`: runs at a time in a job; `why`: one line."""

    jobs: list[list[Assignment]]
    slots: int
    why: str


def pack(
    work: Sequence[Assignment],
    site: Site,
    *,
    threads: int,
    workers: int | None,
    measured: Mapping[str, Measured],
    rough_seconds: float | None,
) -> Packing:
    """Divide `work` into jobs. A run goes into the job of its input runs.

    Args:
        threads: CPU threads of a run.
        workers: runs at a time in a job; default what its cores, GPUs and memory hold.
        measured: by method, on the device the jobs will use.
        rough_seconds: of a run whose method was never measured; None if unknown.

    A run on several ranks takes as many GPUs of its job, or `threads` cores for each.

    Raises UserError: one run needs more memory, or more GPUs, than the job asks for.
    """
    ranks = max((a.ranks for a in work), default=1)
    memory = [measured.get(a.spec.method, Measured()).memory for a in work]
    slots, room = _slots(site, threads, workers, memory, ranks)
    together = chains(work)
    if isinstance(site.pack, int):
        return Packing(_fill(together, site.pack), slots, f"{site.pack} run(s) a job, {room}")
    each = {
        a.spec.run_id: 1.0
        if a.evaluate_only
        else measured.get(a.spec.method, Measured()).seconds or rough_seconds
        for a in work
    }
    target = TARGET_SECONDS
    if site.minutes is not None:
        target = min(target, TIME_SHARE * 60 * site.minutes)
    jobs: list[list[Assignment]] = []
    used = 0.0
    for group in together:
        # where nothing is known: one round of its slots
        costs = (each[a.spec.run_id] for a in group)
        cost = sum(target if c is None else min(c * MARGIN, target) for c in costs)
        if not jobs or used + cost > target * slots:
            jobs.append([])
            used = 0.0
        jobs[-1] += group
        used += cost
    known = any(seconds is not None for seconds in each.values())
    basis = f"filled up to {target / 60:.0f} min, with {MARGIN - 1:.0%} margin"
    return Packing(jobs, slots, f"{room}; {basis if known else 'nothing measured yet'}")


def _fill(groups: Sequence[list[Assignment]], size: int) -> list[list[Assignment]]:
    """Jobs of `size` runs, more only where a run and its input runs are more."""
    jobs: list[list[Assignment]] = []
    for group in groups:
        if not jobs or len(jobs[-1]) + len(group) > size:
            jobs.append([])
        jobs[-1] += group
    return jobs


def _slots(
    site: Site, threads: int, workers: int | None, memory: Sequence[int | None], ranks: int
) -> tuple[int, str]:
    """Runs at a time in a job, and why."""
    if site.gpus and site.gpus < ranks:
        raise UserError(
            f"--ranks {ranks}: each takes a GPU of its own, and a job has {site.gpus}: ask for "
            f"--gpus-per-node {ranks}, or fewer ranks"
        )
    if workers is not None:
        return workers, f"{workers} at a time, as asked"
    known = [peak for peak in memory if peak]
    peak = ceil(max(known) * MARGIN) if known else None
    if site.gpus:
        share = 1
        if peak and site.gpu_mem_bytes:
            share = _share("gpu_mem", site.gpu_mem_bytes, peak)
        slots, on = site.gpus // ranks * share, f"{site.gpus} GPU(s)"
    else:
        cores = site.cpus_per_task or threads * ranks
        slots, on = max(1, cores // (threads * ranks)), f"{cores} core(s)"
        if peak and site.mem_bytes:
            slots = min(slots, _share("mem", site.mem_bytes, peak))
    if peak:
        on += f", peak memory {peak / 2**30:.1f} GiB a run with {MARGIN - 1:.0%} margin"
    if ranks > 1:
        on += f", {ranks} ranks a run"
    return slots, f"{slots} at a time on {on}"


def _share(name: str, room: int, peak: int) -> int:
    if room < peak:
        raise UserError(
            f"{name} is {room / 2**30:.1f} GiB, and an earlier run took {peak / MARGIN / 2**30:.1f} GiB "
            f"({MARGIN - 1:.0%} margin is added): ask for more, or say --workers 1"
        )
    return room // peak
