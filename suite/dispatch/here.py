"""Runs on this machine: worker processes with a device slot and a thread count each."""

from __future__ import annotations

import heapq
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from suite.records.files import RETRIED, Failure
from suite.runs.failures import leave_failure
from suite.runs.job import Assignment, Report
from suite.runs.slots import Slot

MAX_TRIES = 3
"""So often a run is tried in all whose process dies, or which finds no memory or no room on the disk."""
BACKOFF_SECONDS = 2.0
"""Wait before the second try; each further one waits four times as long."""

BUSY_POLL_SECONDS = 1.0
STOP_GRACE_SECONDS = 60.0
HANG_GRACE_SECONDS = 60.0

_decode = msgspec.json.Decoder(Report).decode


@dataclass
class _Process:
    slot: Slot
    process: subprocess.Popen[bytes]
    current: Assignment | None = None
    since: float = 0.0
    killed_for: Failure | None = None


@dataclass
class LocalDispatch:
    """Carries out assignments on `slots`; never more at a time than there are slots.

    A run begins when the input runs that are among the assignments are through, however they ended: the
    worker says what is missing. One run's failure never stops the others. A run whose process dies, or that fails for a reason in
    `record.RETRIED`, is taken up again from its checkpoint, `MAX_TRIES` times in all. A run that
    another process holds is looked at again until that one is through. When `stopping()` turns true
    the workers checkpoint and stop; after `grace` seconds they are killed.
    """

    slots: Sequence[Slot]
    plugins: Sequence[Path] = ()
    on_report: Callable[[Report], None] = lambda _: None
    stopping: Callable[[], bool] = lambda: False
    grace: float = STOP_GRACE_SECONDS
    _events: queue.SimpleQueue[tuple[_Process, Report | None]] = field(
        default_factory=queue.SimpleQueue
    )

    def run(self, assignments: Sequence[Assignment]) -> dict[str, Report]:
        """Final report per run id. After `stopping()`, or on KeyboardInterrupt, what was not reached
        is missing from the result; `interrupted` is then True."""
        self.interrupted = False
        waiting = deque(assignments)
        open_runs = {assignment.spec.run_id for assignment in assignments}
        later: list[tuple[float, int, Assignment]] = []
        order = itertools.count()
        tries: dict[str, int] = {}
        final: dict[str, Report] = {}
        idle = list(reversed(self.slots[: max(1, len(waiting))]))
        free: list[_Process] = []
        working: list[_Process] = []
        ending: list[_Process] = []
        try:
            while waiting or later or working:
                if self.stopping():
                    self.interrupted = True
                    self._stop(working, final)
                    break
                while later and later[0][0] <= time.monotonic():
                    waiting.append(heapq.heappop(later)[-1])
                while (free or idle) and (following := _next(waiting, open_runs)):
                    worker = free.pop() if free else self._start(idle.pop())
                    worker.current, worker.since = following, time.monotonic()
                    working.append(worker)
                    self._send(worker, worker.current)
                self._end_hung(working)
                try:
                    worker, report = self._events.get(timeout=0.5)
                except queue.Empty:
                    continue
                if report is not None and report.state == "running":
                    self.on_report(report)
                    continue
                if worker not in working:
                    # it died, or ended as it was told to, while it had nothing in hand
                    for group in (free, ending):
                        if worker in group:
                            group.remove(worker)
                            idle.append(worker.slot)
                    continue
                working.remove(worker)
                assignment = worker.current
                assert assignment is not None
                worker.current = None
                died = report is None
                if report is None:
                    idle.append(worker.slot)
                    report = _death(worker, assignment, tries)
                if report.state == "busy":
                    delay: float | None = BUSY_POLL_SECONDS
                else:
                    delay = _delay(report, tries)
                if not died:
                    if report.failure is not None and assignment.ranks > 1:
                        # it has said everything, and may still wait for a rank that is gone
                        worker.process.kill()
                        ending.append(worker)
                    elif report.failure is not None and report.failure.kind == "oom":
                        # what the process still holds would be missing at the next try
                        worker.process.stdin.close()  # type: ignore[union-attr]
                        ending.append(worker)
                    else:
                        free.append(worker)
                if delay is not None:
                    heapq.heappush(later, (time.monotonic() + delay, next(order), assignment))
                    continue
                if died and report.failure is not None:
                    leave_failure(assignment, report.failure)
                final[report.run_id] = report
                open_runs.discard(report.run_id)
                self.on_report(report)
        except KeyboardInterrupt:
            self.interrupted = True
            self._stop(working, final)
        finally:
            for worker in [*free, *working]:
                if worker.process.stdin:
                    worker.process.stdin.close()
            for worker in [*free, *working, *ending]:
                try:
                    worker.process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    worker.process.kill()
                    worker.process.wait()
        return final

    def _start(self, slot: Slot) -> _Process:
        threads = str(slot.threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "CUDA_VISIBLE_DEVICES": slot.visible,
        }
        command = [sys.executable, "-m", "suite.dispatch.worker_process", *map(str, self.plugins)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            # Ctrl-C goes to this process alone, which then stops the workers in order
            start_new_session=True,
        )
        worker = _Process(slot, process)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _listen(self, worker: _Process) -> None:
        assert worker.process.stdout is not None
        for line in worker.process.stdout:
            self._events.put((worker, _decode(line)))
        worker.process.wait()
        self._events.put((worker, None))

    def _send(self, worker: _Process, assignment: Assignment) -> None:
        message = msgspec.structs.replace(assignment, device=worker.slot.device)
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(msgspec.json.encode(message) + b"\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; the listener says so

    def _end_hung(self, working: Sequence[_Process]) -> None:
        """Kill runs that are over their time limit and do not notice it themselves."""
        now = time.monotonic()
        for worker in working:
            limit = worker.current.time_limit if worker.current else None
            if limit is not None and now - worker.since > limit + HANG_GRACE_SECONDS:
                worker.killed_for = Failure(
                    kind="timeout",
                    message=f"no progress; ended {HANG_GRACE_SECONDS:g} s after "
                    f"its time limit of {limit:g} s",
                )
                worker.process.kill()

    def _stop(self, working: list[_Process], final: dict[str, Report]) -> None:
        """Let the workers checkpoint; Ctrl-C meanwhile, or the grace period's end, kills them."""
        for worker in working:
            worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.grace
        try:
            while working and time.monotonic() < deadline:
                try:
                    worker, report = self._events.get(timeout=0.5)
                except queue.Empty:
                    continue
                if report is not None and report.state == "running":
                    continue
                if worker in working:
                    working.remove(worker)
                if report is not None:
                    final[report.run_id] = report
                    self.on_report(report)
        except KeyboardInterrupt:
            pass
        for worker in working:
            worker.process.kill()


def _next(waiting: deque[Assignment], open_runs: Container[str]) -> Assignment | None:
    """Take out the first whose input runs are not open; None where there is none (yet)."""
    for place, assignment in enumerate(waiting):
        if not any(run_id in open_runs for run_id in assignment.spec.inputs.values()):
            del waiting[place]
            return assignment
    return None


def _death(worker: _Process, assignment: Assignment, tries: Mapping[str, int]) -> Report:
    """What is to be said of a run whose process is gone."""
    run_id, failure = assignment.spec.run_id, worker.killed_for
    if failure is None:
        code = worker.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        nth = f"try {tries.get(run_id, 0) + 1} of {MAX_TRIES}"
        failure = Failure(kind="killed", message=f"worker process died by {how}, {nth}")
    return Report(run_id=run_id, state="failed", failure=failure)


def _delay(report: Report, tries: dict[str, int]) -> float | None:
    """Seconds until a failed run is tried again; None where it is not."""
    if report.failure is None or report.failure.kind not in RETRIED:
        return None
    tries[report.run_id] = count = tries.get(report.run_id, 0) + 1
    return BACKOFF_SECONDS * 4 ** (count - 1) if count < MAX_TRIES else None
