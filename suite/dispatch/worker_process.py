"""A worker process: takes assignments as JSON lines on stdin, answers with reports on stdout.

Started by `suite.dispatch.here` with its device and thread count in the environment. It imports
torch once and carries out many runs. It stops, checkpointing the run in hand, on SIGTERM or USR2 and when
its stdin closes, which is how it notices that its parent has died.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from suite.base import interpreter
from suite.base.command import Call, answer
from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.records.attempt import Attempt
from suite.runs.failures import classify, leave_failure, refuse_breakpoint
from suite.runs.job import Assignment, Report
from suite.runs.worker import execute

_decode = msgspec.json.Decoder(Assignment).decode


def main() -> None:
    # reports own the real stdout; whatever libraries print goes to the run's log
    reports = os.fdopen(os.dup(1), "wb", buffering=0)
    orders = os.fdopen(os.dup(0), "rb")
    quiet = os.open(os.devnull, os.O_RDWR)
    # code that asks (a forgotten breakpoint, a login) gets no answer, and no order of ours
    os.dup2(quiet, 0)
    os.dup2(quiet, 1)
    # what OpenMMLab's libraries lack, they say at their import
    warnings.filterwarnings("ignore", module="mm(engine|seg|cv)")
    interpreter.settle()
    interpreter.log_in_utf8()
    sys.breakpointhook = refuse_breakpoint
    stop = threading.Event()
    # SLURM signals every process of a job: USR2 ahead of the time limit, TERM before it kills
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assignments: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(orders, assignments, stop), daemon=True).start()

    try:
        catalog = Catalog.load([Path(name) for name in sys.argv[1:]])
    except UserError as error:
        # a traceback of it would say less
        sys.exit(f"longtail: {error}")
    while (line := assignments.get()) is not None and not stop.is_set():
        assignment = _decode(line)
        # what a run's failure proposes is read wherever somebody looks
        answer(Call(assignment.root, assignment.data_root, sys.argv[1:]))
        try:
            with _log(assignment):
                final = execute(
                    assignment,
                    catalog,
                    report=lambda report: _send(reports, report),
                    stopping=stop.is_set,
                )
        except Exception as error:
            # `execute` reports what happens in a run; this is something before it
            failure = classify(error)
            leave_failure(assignment, failure)
            final = Report(run_id=assignment.spec.run_id, state="failed", failure=failure)
        _send(reports, final)


def _read(
    orders: BinaryIO, assignments: "queue.SimpleQueue[bytes | None]", stop: threading.Event
) -> None:
    for line in orders:
        assignments.put(line)
    stop.set()
    assignments.put(None)


def _send(reports: BinaryIO, report: Report) -> None:
    # the parent may be gone; the closing of stdin then stops this process at the next iteration
    with contextlib.suppress(BrokenPipeError):
        reports.write(msgspec.json.encode(report) + b"\n")


@contextlib.contextmanager
def _log(assignment: Assignment) -> Iterator[None]:
    """Send this process's stdout and stderr to the attempt's log.txt for the block."""
    path = Attempt(Path(assignment.root), assignment.spec.run_id, assignment.attempt).path
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    try:
        path.mkdir(parents=True, exist_ok=True)
        log = os.open(path / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            # a full disk must not turn into an error of the run
            with contextlib.suppress(OSError):
                stream.flush()
        for saved, target in zip(before, (1, 2), strict=True):
            os.dup2(saved, target)
            os.close(saved)


if __name__ == "__main__":
    main()
