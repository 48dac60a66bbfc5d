"""Places for runs on this machine: a device and CPU threads each; and which runs depend on each other."""

from __future__ import annotations

import ctypes
import glob
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

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


_GIVEN_BY_SLURM = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE")


def gpus() -> list[str]:
    """Ids of the GPUs that torch would see in this process, found without importing it.

    Of those that $CUDA_VISIBLE_DEVICES names (a module or a job may have left it), those that are there, up to
    the first that is not, as CUDA counts them. What SLURM has given a job is believed: a job that asked for
    GPUs and cannot use them must fail, and not go on without.
    """
    built_for = _torch_built_for()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [name.strip() for name in visible.split(",")] if visible else []
    if named and any(map(os.environ.get, _GIVEN_BY_SLURM)):
        return named
    if built_for == "cpu":
        return []
    if built_for == "hip":
        # its driver is another; what is named is believed
        return [name for name in named if name not in ("", "-1")]
    count = _driver_count()
    if visible is None:
        return [str(number) for number in range(count)]
    there = _installed() or len(named) or 1
    known = (name for name in named if count)
    return list(itertools.takewhile(lambda name: _is_there(name, there), known))


def _why_none() -> str:
    if _torch_built_for() == "cpu":
        return " for torch, which is built for the CPU"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" by CUDA_VISIBLE_DEVICES={visible!r}"


def _is_there(name: str, installed: int) -> bool:
    """Whether $CUDA_VISIBLE_DEVICES may name it: a number, or the id of a GPU or of a slice of one."""
    return int(name) < installed if name.isdecimal() else name.startswith(("GPU-", "MIG-"))


def _torch_built_for() -> str:
    """cuda, hip or cpu, as the installed torch says."""
    try:
        path = Path(str(distribution("torch").locate_file("torch/version.py")))
        text = path.read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError):
        return "cuda"  # none, or another layout: a run says what is wrong
    values = dict(re.findall(r"^(cuda|hip)\b[^=\n]*= *(\S+)", text, re.MULTILINE))
    if values.get("hip", "None") != "None":
        return "hip"
    return "cpu" if values.get("cuda") == "None" else "cuda"


def _driver_count() -> int:
    """GPUs that the driver offers this process, by $CUDA_VISIBLE_DEVICES; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def _installed() -> int:
    """GPUs of this machine or container, whoever may use them; 0 where that is not known."""
    found = glob.glob("/dev/nvidia[0-9]*")
    if found or not shutil.which("nvidia-smi"):
        return len(found)
    done = subprocess.run(
        ["nvidia-smi", "-L"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())


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
            raise UserError(f"--device {device}: no GPU here{_why_none()}; use --device cpu")
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
