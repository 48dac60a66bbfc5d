"""Speed of `export` at 100,000 runs and 1,000,000 metric rows.

    python benchmarks/export.py [--runs 100000] [--rows 10] [--repeat 3] [--folder DIR]

The runs are those of benchmarks/store.py: boards of 100 rows with three seeds each. Times are wall
seconds of reading the board from the store and writing the file, without the command's start and
without the ingest before it, which benchmarks/store.py measures. CPU seconds beside them are what tells
on a machine that does other things too; DuckDB's threads count in them. `--folder` is kept and used again
where it holds a store already.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from store import BOARD, SEEDS, make_task, write_runs

from suite.boards.leaderboard import board
from suite.define.digest import Code
from suite.render.export import Export
from suite.render.write import write
from suite.store.connection import store_path
from suite.store.ingest import ingest
from suite.store.row import Row

FORMATS = (
    ("csv", False),
    ("markdown", False),
    ("latex", False),
    ("parquet", False),
    ("html", False),
    ("csv", True),
    ("parquet", True),
)


def best(repeat: int, call: Callable[[], object]) -> str:
    """Least wall and CPU seconds."""
    found = []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = map(min, zip(*found, strict=True))
    return f"{wall:.2f} s wall, {cpu:.2f} s CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    given = parser.parse_args()
    task = make_task(-(-given.runs // (SEEDS * BOARD)))
    today = Code({f"method-{k}": "d1" for k in range(BOARD)})
    with tempfile.TemporaryDirectory() as temporary:
        root = given.folder or Path(temporary)
        if not store_path(root).exists():
            write_runs(root, task, given.runs, given.rows)
            ingest(root, {task.name: task}, today)

        def read() -> list[Row]:
            return board(root, task, protocol=None, by=None, today=today.alone, planned=[])

        seconds = best(given.repeat, read)
        rows = read()
        print(f"{given.runs:,} runs, {given.runs * given.rows:,} metric rows, {len(rows):,} lines")
        print(f"{'board, all protocols':28} {seconds}")
        for format, long in FORMATS:
            path = Path(temporary) / f"out.{format}{'.long' * long}"

            def make(path: Path = path, format: str = format, long: bool = long) -> None:
                write(Export(root=root, task=task, rows=read()), format, path, long=long)

            seconds = best(given.repeat, make)
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            size = sum(file.stat().st_size for file in files)
            name = f"{format}{', long' * long}"
            print(f"{name:28} {seconds}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
