"""Speed of the store: ingest of 10,000 runs, an ingest with nothing to do, and a board's query.

    python benchmarks/store.py [--runs 10000] [--rows 30 100] [--repeat 5] [--folder DIR]

`--rows` metric rows per run, a tenth of them not by class; a table line per value. Runs are spread
over boards of 100 rows with three seeds each. Files are written with warm caches; rates are over the
wall time of `ingest`, statistics and ranks included.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from suite.boards.leaderboard import board
from suite.define.digest import Code
from suite.define.metrics import MetricRow
from suite.define.protocol import Budget, DataSet, Protocol
from suite.define.spec import RunSpec
from suite.define.task import Metric, Task
from suite.records.files import Cost, Evaluation, Record, Status
from suite.store.ingest import ingest

SEEDS, BOARD = 3, 100


def _unused(*_: object) -> None:
    raise AssertionError


def _protocol(number: int) -> Protocol:
    data = DataSet(
        name="toy",
        summary="",
        layout="",
        classes=(),
        groups={},
        group_rule="",
        find=_unused,  # type: ignore[arg-type]
        check=_unused,  # type: ignore[arg-type]
    )
    return Protocol(
        name=f"toy:{number}",
        dataset=data,
        split="1",
        test="1",
        backbone="tiny",
        budget=Budget(iterations=number + 1, batch=1),
        augmentation="",
        recipe="",
        summary="",
        build=_unused,  # type: ignore[arg-type]
        train=_unused,  # type: ignore[arg-type]
    )


def make_task(boards: int) -> Task:
    return Task(
        name="bench",
        question="",
        protocols=tuple(map(_protocol, range(boards))),
        default_protocol="toy:0",
        metrics=(Metric(name="mIoU"), Metric(name="IoU")),
        primary=("mIoU[k=0]",),
        columns=tuple(f"mIoU[k={k}]" for k in range(5)),
        version=1,
        settings=lambda protocol: {},
        evaluate=_unused,  # type: ignore[arg-type]
    )


def write_runs(root: Path, task: Task, runs: int, rows: int) -> None:
    """Finished runs as a worker leaves them, without its fsyncs."""
    overall = max(1, rows // 10)
    for number in range(runs):
        row, seed = divmod(number, SEEDS)
        protocol = task.protocols[row // BOARD]
        spec = RunSpec(
            protocol=protocol.name,
            protocol_hash=protocol.hash,
            method=f"method-{row % BOARD}",
            params={"lr": 0.01, "margin": row % 7},
            seed=seed,
        )
        path = root / "runs" / spec.run_id / "1"
        (path / "evaluations").mkdir(parents=True)
        value = (row % BOARD) / BOARD + seed / 1000
        metrics = [
            MetricRow(metric="mIoU", subset=f"k={k}", value=value + k / 1e4) for k in range(overall)
        ] + [
            MetricRow(metric="IoU", class_=f"class {k}", value=value + k / 1e4)
            for k in range(rows - overall)
        ]
        evaluation_hash = task.evaluation_hash(protocol)
        record = Record(
            run_id=spec.run_id,
            attempt=1,
            spec=spec,
            digest="d1",
            dataset="toy",
            cost=Cost(parameters=10),
            class_counts=list(range(100)),
            classes=[f"class {k}" for k in range(100)],
            curves={"loss": [(k, 1.0 / (k + 1)) for k in range(20)]},
            environment={"torch": "2", "host": "node"},
            finished=1.0,
        )
        evaluation = Evaluation(
            run_id=spec.run_id,
            attempt=1,
            task=task.name,
            evaluation_hash=evaluation_hash,
            metrics=metrics,
            made=1.0,
        )
        status = Status(state="done", digest="d1", started=0.0, heartbeat=1.0)
        files = {
            "spec.json": spec,
            "status.json": status,
            "record.json": record,
            f"evaluations/{task.name}-{evaluation_hash}.json": evaluation,
        }
        for name, content in files.items():
            (path / name).write_bytes(msgspec.json.encode(content))


def timed(repeat: int, call: Callable[[], object]) -> tuple[float, float]:
    """(median, worst) wall seconds."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), max(seconds)


def measure(root: Path, runs: int, rows: int, repeat: int) -> list[tuple[str, str]]:
    task = make_task(-(-runs // (SEEDS * BOARD)))
    tasks, today = {task.name: task}, Code({f"method-{k}": "d1" for k in range(BOARD)})
    write_runs(root, task, runs, rows)
    full, _ = timed(repeat, lambda: ingest(root, tasks, today, rebuild=True))
    same, _ = timed(repeat, lambda: ingest(root, tasks, today))
    changed = next((root / "runs").iterdir()) / "1" / "record.json"

    def one_more() -> None:
        changed.touch()
        ingest(root, tasks, today)

    one, _ = timed(repeat, one_more)

    def show(protocol: str | None) -> None:
        board(root, task, protocol=protocol, by=None, today=today.alone, planned=[])

    whole, worst = timed(repeat, lambda: show(None))
    single, _ = timed(repeat, lambda: show(task.protocols[0].name))
    size = (root / "store.duckdb").stat().st_size
    return [
        ("runs x metric rows", f"{runs:,} x {rows} = {runs * rows:,}"),
        ("ingest from nothing", f"{full:.2f} s = {runs / full:,.0f} records/s"),
        ("ingest, nothing changed", f"{same * 1000:.0f} ms"),
        ("ingest, one record changed", f"{one * 1000:.0f} ms"),
        ("board, all protocols", f"{whole * 1000:.0f} ms (worst {worst * 1000:.0f})"),
        ("board, one protocol", f"{single * 1000:.0f} ms"),
        ("store.duckdb", f"{size / 1e6:.1f} MB"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, nargs="+", default=[30, 100])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files are written (default: /tmp)")
    given = parser.parse_args()
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            lines = measure(Path(folder), given.runs, rows, given.repeat)
        for name, figure in lines:
            print(f"{name:28} {figure}")
        print()


if __name__ == "__main__":
    main()
