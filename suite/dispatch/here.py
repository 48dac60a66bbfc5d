"""Runs on this machine: worker processes with a device slot and a thread count each."""

from __future__ import annotations

import heapq
import itertools
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from suite.base import interpreter
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


class _Queue:
    """Assignments that still have to be carried out, and the final reports of those that are through."""

    def __init__(self, assignments: Sequence[Assignment]) -> None:
        self.final: dict[str, Report] = {}
        self.tries: dict[str, int] = {}
        self._waiting = deque(assignments)
        self._open = {assignment.spec.run_id for assignment in assignments}
        self._later: list[tuple[float, int, Assignment]] = []
        self._order = itertools.count()

    def __bool__(self) -> bool:
        return bool(self._waiting or self._later)

    def pop(self) -> Assignment | None:
        """Take out the first that is due and whose input runs are through; None where there is none (yet)."""
        while self._later and self._later[0][0] <= time.monotonic():
            self._waiting.append(heapq.heappop(self._later)[-1])
        for place, assignment in enumerate(self._waiting):
            if self._open.isdisjoint(assignment.spec.inputs.values()):
                del self._waiting[place]
                return assignment
        return None

    def finish(self, assignment: Assignment, report: Report) -> bool:
        """Take the report of an assignment that was taken out. False: it is to be tried again later."""
        delay = BUSY_POLL_SECONDS if report.state == "busy" else self._delay(report)
        if delay is not None:
            due = time.monotonic() + delay
            heapq.heappush(self._later, (due, next(self._order), assignment))
            return False
        self.final[report.run_id] = report
        self._open.discard(report.run_id)
        return True

    def _delay(self, report: Report) -> float | None:
        """Seconds until a failed run is tried again; None where it is not."""
        if report.failure is None or report.failure.kind not in RETRIED:
            return None
        self.tries[report.run_id] = count = self.tries.get(report.run_id, 0) + 1
        return BACKOFF_SECONDS * 4 ** (count - 1) if count < MAX_TRIES else None


@dataclass
class _Pool:
    """Slots without a process, and the processes: with nothing in hand, with a run, or on their way out."""

    idle: list[Slot]
    free: list[_Process] = field(default_factory=list)
    working: list[_Process] = field(default_factory=list)
    ending: list[_Process] = field(default_factory=list)

    def gone(self, worker: _Process) -> None:
        """It died, or ended as it was told to, while it had nothing in hand."""
        for group in (self.free, self.ending):
            if worker in group:
                group.remove(worker)
                self.idle.append(worker.slot)

    def rest(self, worker: _Process, assignment: Assignment, failure: Failure | None) -> None:
        """Its run is through; after some failures the process is not to be used again."""
        assert worker.process.stdin is not None
        if failure is not None and assignment.ranks > 1:
            # it has said everything, and may still wait for a rank that is gone
            worker.process.kill()
            self.ending.append(worker)
        elif failure is not None and failure.kind == "oom":
            # what the process still holds would be missing at the next try
            worker.process.stdin.close()
            self.ending.append(worker)
        else:
            self.free.append(worker)

    def close(self) -> None:
        """Let all processes end; kill those that do not within ten seconds."""
        for worker in [*self.free, *self.working]:
            if worker.process.stdin:
                worker.process.stdin.close()
        for worker in [*self.free, *self.working, *self.ending]:
            try:
                worker.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()


@dataclass
class LocalDispatch:
    """Carries out assignments on `slots`; never more at a time than there are slots.

    A run begins when the input runs that are among the assignments are through, however they ended: the
    worker says what is missing. One run's failure never stops the others. A run whose process dies, or
    that fails for a reason in `records.files.RETRIED`, is taken up again from its checkpoint, `MAX_TRIES`
    times in all. A run that another process holds is looked at again until that one is through. When
    `stopping()` turns true the workers checkpoint and stop; after `grace` seconds they are killed.
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
        work = _Queue(assignments)
        pool = _Pool(list(reversed(self.slots[: max(1, len(assignments))])))
        try:
            while work or pool.working:
                if self.stopping():
                    self.interrupted = True
                    self._stop(pool.working, work.final)
                    break
                while (pool.free or pool.idle) and (following := work.pop()):
                    worker = pool.free.pop() if pool.free else self._start(pool.idle.pop())
                    worker.current, worker.since = following, time.monotonic()
                    pool.working.append(worker)
                    self._send(worker, following)
                self._end_hung(pool.working)
                try:
                    worker, report = self._events.get(timeout=0.5)
                except queue.Empty:
                    continue
                self._hear(worker, report, work, pool)
        except KeyboardInterrupt:
            self.interrupted = True
            self._stop(pool.working, work.final)
        finally:
            pool.close()
        return work.final

    def _hear(self, worker: _Process, report: Report | None, work: _Queue, pool: _Pool) -> None:
        """Take a worker's report; None: its process has ended."""
        if report is not None and report.state == "running":
            self.on_report(report)
            return
        if worker not in pool.working:
            pool.gone(worker)
            return
        pool.working.remove(worker)
        assignment, worker.current = worker.current, None
        assert assignment is not None
        died = report is None
        if report is None:
            pool.idle.append(worker.slot)
            report = _death(worker, assignment, work.tries)
        else:
            pool.rest(worker, assignment, report.failure)
        if work.finish(assignment, report):
            if died and report.failure is not None:
                leave_failure(assignment, report.failure)
            self.on_report(report)

    def _start(self, slot: Slot) -> _Process:
        threads = str(slot.threads)
        environment = {
            **interpreter.environment(),
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "CUDA_VISIBLE_DEVICES": slot.visible,
        }
        worker = "suite.dispatch.worker_process"
        command = interpreter.python("-m", worker, *map(str, self.plugins))
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            # Ctrl-C goes to this process alone, which then stops the workers in order
            start_new_session=True,
        )
        started = _Process(slot, process)
        threading.Thread(target=self._listen, args=(started,), daemon=True).start()
        return started

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


def _death(worker: _Process, assignment: Assignment, tries: Mapping[str, int]) -> Report:
    """What is to be said of a run whose process is gone."""
    run_id, failure = assignment.spec.run_id, worker.killed_for
    if failure is None:
        code = worker.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        nth = f"try {tries.get(run_id, 0) + 1} of {MAX_TRIES}"
        failure = Failure(kind="killed", message=f"worker process died by {how}, {nth}")
    return Report(run_id=run_id, state="failed", failure=failure)
