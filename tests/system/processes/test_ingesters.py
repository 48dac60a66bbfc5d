"""Several processes on one store, ended at any instant."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stored import (
    board,  # noqa: F401
    everything,
    query,
)

HERE = str(Path(__file__).parents[2])


def test_an_ingest_with_nothing_to_do_imports_neither_scipy_nor_pyarrow(board, tmp_path):
    """Nor does one that makes the store of a new root: its first board takes as long as the second."""
    board.seeds("ce", [0.30, 0.31, 0.32])
    board.ingest()
    code = (
        f"import sys; sys.path.insert(0, {HERE!r}); from pathlib import Path; from records import Records;"
        f"assert not Records(Path({str(board.root)!r})).ingest().changed;"
        f"assert Records(Path({str(tmp_path / 'new')!r})).ingest({{'ce': 'd1'}}).rebuilt;"
        "print([m for m in ('scipy', 'pyarrow', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


INGEST = f"""
import sys
from pathlib import Path
sys.path.insert(0, {HERE!r})
from records import Records
board = Records(Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    report = board.ingest(rebuild=sys.argv[3] == "rebuild")
print(report.attempts, len(report.refused))
"""


def start(board, times=1, how="update"):
    return subprocess.Popen(
        [sys.executable, "-c", INGEST, str(board.root), str(times), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_ingesters_at_once_take_turns_and_readers_see_whole_states(board):
    for method in ("a", "b", "c"):
        board.seeds(method, [0.30, 0.31, 0.32])
    board.ingest()
    processes = [start(board, 4, "rebuild") for _ in range(2)]
    reads = 0
    while any(process.poll() is None for process in processes):
        rows = query(
            board, "SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM summary)"
        )
        assert rows == [(9, 3)]
        reads += 1
    assert reads > 3
    for process in processes:
        out, error = process.communicate()
        assert out.split() == ["9", "0"], error
    assert not list(board.root.glob("store.duckdb.*"))


@pytest.mark.fault
def test_an_ingester_killed_at_any_instant_leaves_a_readable_store(board):
    for method in range(20):
        board.seeds(f"m{method}", [0.30, 0.31, 0.32])
    board.ingest()
    whole = everything(board)
    begun = time.perf_counter()
    start(board, 1, "rebuild").wait()
    duration, killed = time.perf_counter() - begun, 0
    for _ in range(40):
        if killed == 8:
            break
        process = start(board, 1, "rebuild")
        time.sleep(duration * (0.3 + 0.7 * killed / 7))
        process.send_signal(signal.SIGKILL)
        done = process.wait() != -signal.SIGKILL
        process.communicate()
        # the machine is less busy than when it was measured
        duration *= 0.8 if done else 1
        killed += not done
        assert query(board, "SELECT count(*) FROM attempts") == [(60,)]
    assert killed == 8
    board.run("after", mIoU=0.9)
    report = board.ingest()
    assert (report.attempts, report.rebuilt) == (61, False)
    kept = everything(board)
    assert [row for row in kept["summary"] if "0.9" not in row] == whole["summary"]
    assert not list(board.root.glob("store.duckdb.*"))
