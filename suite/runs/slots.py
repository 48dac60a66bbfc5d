"""Places for runs on this machine: a device and CPU threads each; and which runs depend on each other."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from suite.base.errors import UserError
from suite.runs.job import Assignment

MAX_WORKERS = 1024


@dataclass(frozen=True)
class Slot:
    """Room for one run at a time: `device` as torch names it, CUDA_VISIBLE_DEVICES (a GPU for every rank
    of the run), CPU threads of a rank."""

    device: str
    visible: str
    threads: int


def usable_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def gpus() -> list[str]:
    """Ids of the NVIDIA GPUs this process may use, found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    found = glob.glob("/dev/nvidia[0-9]*")
    if found:
        return sorted((path.removeprefix("/dev/nvidia") for path in found), key=int)
    if shutil.which("nvidia-smi"):
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
        return [str(i) for i, line in enumerate(listing.splitlines()) if line.startswith("GPU ")]
    return []


def make_slots(device: str, workers: int | None, threads: int, ranks: int = 1) -> list[Slot]:
    """Slots for `--device auto|cpu|cuda|cuda:0,1` and `--workers N`, of runs on `ranks` ranks.

    Default number: GPUs divided by `ranks`, or on the CPU usable cores divided by `threads` of all ranks.
    More workers share the GPUs in turn. Raises UserError.
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: at least 1")
    if workers is not None and workers > MAX_WORKERS:
        raise UserError(f"--workers {workers}: at most {MAX_WORKERS} on one machine")
    kind, _, chosen = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (chosen and kind != "cuda"):
        raise UserError(f"--device {device!r}: use auto, cpu, cuda or cuda:0,1")
    available = gpus() if kind != "cpu" else []
    if kind == "cuda":
        if not available:
            raise UserError(f"--device {device}: no GPU here; use --device cpu")
        if chosen:
            picked = [part.strip() for part in chosen.split(",")]
            missing = [part for part in picked if part not in available]
            if missing:
                raise UserError(f"--device {device}: no GPU {missing[0]}; there is {available}")
            available = picked
    if not available:
        count = workers or max(1, usable_cores() // (threads * ranks))
        return [Slot("cpu", "", threads)] * count
    if len(available) < ranks:
        raise UserError(
            f"--ranks {ranks}: each takes a GPU of its own, and there are {len(available)}; use --ranks "
            f"{len(available)} or fewer, or --device cpu"
        )
    count = workers or len(available) // ranks
    turn = itertools.cycle(available)
    return [Slot("cuda:0", ",".join(itertools.islice(turn, ranks)), threads) for _ in range(count)]


def chains(work: Sequence[Assignment]) -> list[list[Assignment]]:
    """`work` in groups that hold every run together with its input runs, each in the order of `work`."""
    place = {assignment.spec.run_id: i for i, assignment in enumerate(work)}
    leader = list(range(len(work)))

    def first(i: int) -> int:
        while leader[i] != i:
            i = leader[i]
        return i

    for i, assignment in enumerate(work):
        for run_id in assignment.spec.inputs.values():
            if run_id in place:
                one, other = sorted((first(i), first(place[run_id])))
                leader[other] = one
    groups: dict[int, list[Assignment]] = {}
    for i, assignment in enumerate(work):
        groups.setdefault(first(i), []).append(assignment)
    return list(groups.values())
