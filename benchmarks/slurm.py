"""What SLURM costs: submission, `status`, and a run's way from the command to its first step.

    python benchmarks/slurm.py [--runs 1000] [--known 10000] [--repeat 3]

Needs root and Debian's SLURM packages (see tests/slurm/cluster.sh). Submission is one command, as a
whole process, of `--runs` runs packed by tens, which are then cancelled. `status` is a whole process
over `--known` runs: a third done, a third in the queue, a third never begun. The first step of the
fake task is timed from the start of the command, on SLURM and here in turn; the overhead of a packed
run is the time from one record to the next in a job of twenty instantaneous runs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS / "fake"))
PATH = f"{TESTS.parent}{os.pathsep}{TESTS / 'fake'}"
"""This checkout, and the fake task, for every process started."""

from cluster import Lab, missing, started, until  # noqa: E402

from suite.define.catalog import Catalog  # noqa: E402
from suite.records.files import Cost, Evaluation, Record, Status, read  # noqa: E402
from suite.runs.plan import make_plan  # noqa: E402

RUN = ("run", "--task", "fake", "--method", "steady")
INSTANT = ("--set", "steady.sleep=0.0")
SLURM = ("--on", "slurm")


def seconds(call, *arguments):
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def submission(lab: Lab, runs: int) -> None:
    command = (*RUN, *SLURM, "--seeds", f"0-{runs - 1}", "--pack", "10", "--sbatch", "hold")
    took = seconds(lab.suite, *command)
    jobs = len(json.loads(next(lab.root.glob("jobs/2*/batch.json")).read_bytes())["ids"])
    print(f"{f'submit {runs} runs in {jobs} jobs':52} {took:.2f} s")
    single = ("--seeds", f"{runs}-{2 * runs - 1}", "--pack", "1", "--sbatch", "hold")
    took = seconds(lab.suite, *RUN, *SLURM, *single)
    print(f"{f'submit {runs} runs in {runs} jobs':52} {took:.2f} s")
    took = seconds(lab.suite, *RUN, *SLURM, "--seeds", f"0-{2 * runs - 1}")
    print(f"{f'the same again, {2 * runs} runs queued already':52} {took:.2f} s")
    took = seconds(lab.suite, "cancel", "--all")
    print(f"{f'cancel {2 * runs} runs':52} {took:.2f} s")


def known(lab: Lab, runs: int, repeat: int) -> None:
    third = runs // 3
    catalog = Catalog.load()
    task = catalog.task("fake")
    quick = catalog.protocol(task, "quick")
    plan = make_plan(lab.root, catalog, task, quick, methods=["steady"], seeds=range(third))
    for item in plan.items:
        _finish(item, task.name, task.evaluation_hash(quick))
    held = ("--seeds", f"{third}-{2 * third - 1}", "--pack", "10", "--sbatch", "hold")
    lab.suite(*RUN, *SLURM, *held)
    command = ("status", "--task", "fake", "--method", "steady", "--seeds", f"0-{3 * third - 1}")
    took = [seconds(lab.suite, *command) for _ in range(repeat)]
    print(lab.suite(*command).stdout.splitlines()[1])
    print(f"{f'status of {3 * third} runs':52} {statistics.median(took):.2f} s")
    lab.cluster.call("scancel", "-u", "root")


def _finish(item, task: str, evaluation: str) -> None:
    attempt, spec = item.attempt, item.spec
    attempt.create(spec)
    (attempt.path / "evaluations").mkdir()
    files = {
        "status.json": Status(state="done", digest=item.digest, started=0.0, heartbeat=0.0),
        "record.json": Record(
            run_id=spec.run_id, attempt=1, spec=spec, digest=item.digest, dataset="fake-data",
            cost=Cost(parameters=1), finished=1.0,
        ),
        f"evaluations/{task}-{evaluation}.json": Evaluation(
            run_id=spec.run_id, attempt=1, task=task, evaluation_hash=evaluation, metrics=[], made=1.0
        ),
    }  # fmt: skip
    for name, content in files.items():
        (attempt.path / name).write_bytes(msgspec.json.encode(content))


def first_step(lab: Lab, repeat: int) -> None:
    found: dict[str, list[float]] = {"on slurm": [], "here": []}
    for seed in range(repeat):
        for where, more in (("on slurm", SLURM), ("here", ())):
            root = lab.folder / f"first-{where[:2]}-{seed}"
            start = time.time()
            lab.suite(
                *RUN, *more, "--root", str(root), "--seeds", str(seed), "--set", "steady.sleep=0.01"
            )
            path = until(lambda root=root: next(iter(root.glob("runs/*/1/status.json")), None))
            # the sitting's start is written before the first step, and never changed
            found[where].append(read(Status, path).started - start)
    for where, took in found.items():
        print(
            f"{f'from the command to the first step, {where}':52} {statistics.median(took):.2f} s"
        )


def per_run(lab: Lab, repeat: int) -> None:
    def job(where: str, count: int, number: int) -> float:
        root = lab.folder / f"pack-{where[:2]}-{count}-{number}"
        more = (*SLURM, "--pack", str(count)) if where == "on slurm" else ("--workers", "1")
        lab.suite(*RUN, *INSTANT, *more, "--root", str(root), "--seeds", f"0-{count - 1}")
        until(lambda: len(list(root.glob("runs/*/1/record.json"))) == count, 60)
        ends = sorted(
            json.loads(p.read_bytes())["finished"] for p in root.glob("runs/*/1/record.json")
        )
        return (ends[-1] - ends[0]) / (count - 1)

    for where in ("on slurm", "here"):
        took = [job(where, 20, number) for number in range(repeat)]
        print(
            f"{f'from one run of a pack to the next, {where}':52} {1000 * statistics.median(took):.0f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--known", type=int, default=9999)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    if reason := missing("dbd"):
        sys.exit(reason)
    os.environ["PYTHONPATH"] = PATH
    with started("dbd") as cluster, tempfile.TemporaryDirectory() as name:
        for measure in (first_step, per_run, submission, known):
            folder = Path(name) / measure.__name__
            folder.mkdir()
            lab = Lab(cluster, folder, {"PYTHONPATH": PATH, "OMP_NUM_THREADS": "1"})
            arguments = {
                "submission": (given.runs,),
                "known": (given.known, given.repeat),
            }.get(measure.__name__, (given.repeat,))
            measure(lab, *arguments)
            subprocess.run(["scancel", "-u", "root"], env=cluster.environment, check=False)


if __name__ == "__main__":
    main()
