"""What the harness costs beside training: start-up, planning, and time per run.

    python benchmarks/harness.py [--runs 10000] [--repeat 5]

Start-up figures are whole processes, medians over alternating repeats with `python -c pass` beside
them. Planning is timed in one process over `--runs` wanted runs of `longtail-seg`, once with nothing
there and once with every run finished. Time per run is a smoke run's wall time less training and
test loop, of the second and later runs of one worker process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from suite.define.catalog import Catalog
from suite.dispatch.carry_out import assignments
from suite.dispatch.here import LocalDispatch
from suite.records.attempt import Attempt
from suite.records.files import Cost, Evaluation, Record, Status
from suite.runs.plan import Plan, make_plan
from suite.runs.slots import Slot


def plan(root: Path, seeds: int, *methods: str) -> Plan:
    catalog = Catalog.load()
    task = catalog.task("longtail-seg")
    smoke = catalog.protocol(task, "smoke")
    return make_plan(root, catalog, task, smoke, methods=methods, seeds=range(seeds))


def finish(made: Plan) -> None:
    """Write every run of the plan as finished and evaluated."""
    evaluation_hash = made.task.evaluation_hash(made.protocol)
    for item in made.items:
        attempt = item.attempt
        attempt.path.mkdir(parents=True)
        (attempt.path / "evaluations").mkdir()
        spec, run_id = item.spec, item.spec.run_id
        files = {
            "spec.json": spec,
            "status.json": Status(state="done", digest=item.digest, started=0.0, heartbeat=0.0),
            "record.json": Record(
                run_id=run_id,
                attempt=1,
                spec=spec,
                digest=item.digest,
                dataset="digit-scenes",
                cost=Cost(parameters=1, wall_seconds=1.0),
                curves={"loss": [(k, 1.0) for k in range(200)]},
                finished=1.0,
            ),
            f"evaluations/{made.task.name}-{evaluation_hash}.json": Evaluation(
                run_id=run_id,
                attempt=1,
                task=made.task.name,
                evaluation_hash=evaluation_hash,
                metrics=[],
                made=1.0,
            ),
        }
        for name, content in files.items():
            (attempt.path / name).write_bytes(msgspec.json.encode(content))


def median(repeat: int, call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def process(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "suite", *arguments]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)


def startup(folder: Path, repeat: int) -> None:
    verbs = {
        "--help": ("--help",),
        "plan": ("plan", "--task", "longtail-seg", "--protocol", "smoke"),
        "leaderboard": ("leaderboard", "--task", "longtail-seg"),
    }
    process(folder, *verbs["leaderboard"])
    found: dict[str, list[float]] = {name: [] for name in ("python -c pass", *verbs)}
    for _ in range(repeat):
        found["python -c pass"].append(
            median(1, lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))
        )
        for name, arguments in verbs.items():
            found[name].append(median(1, lambda arguments=arguments: process(folder, *arguments)))
    for name, seconds in found.items():
        print(f"{name:34} {statistics.median(seconds):.2f} s (best {min(seconds):.2f})")


def per_run(folder: Path) -> None:
    made = plan(folder, 4, "ce")
    reports = LocalDispatch([Slot("cpu", "", 1)]).run(assignments(made.items, folder, None))
    for number, item in enumerate(made.items):
        cost = Attempt(folder, item.spec.run_id, 1).record().cost
        own = reports[item.spec.run_id].seconds - cost.train_seconds - cost.test_seconds
        note = "first, with imports" if number == 0 else "later"
        print(f"{'harness per run, ' + note:34} {own:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        per_run(folder / "results")
        startup(folder, given.repeat)
        seeds = given.runs // len(plan(folder / "many", 1).items)
        many = folder / "many"
        new = median(given.repeat, lambda: plan(many, seeds))
        made = plan(many, seeds)
        finish(made)
        print(f"{'plan of ' + str(len(made.items)) + ' new runs':34} {new:.2f} s")
        done = median(given.repeat, lambda: plan(many, seeds))
        print(f"{'plan of as many finished runs':34} {done:.2f} s")
        run = ("run", "--task", "longtail-seg", "--protocol", "smoke", "--root", str(many))
        few, all_ = ("--seeds", "0"), ("--seeds", f"0-{seeds - 1}")
        process(folder, *run, *few)  # ingests them
        base = median(given.repeat, lambda: process(folder, *run, *few))
        whole = median(given.repeat, lambda: process(folder, *run, *all_))
        print(f"{'run again, one seed':34} {base:.2f} s")
        print(f"{'run again, all of them':34} {whole:.2f} s")


if __name__ == "__main__":
    main()
