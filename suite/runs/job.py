"""What passes between a dispatch, a worker and an engine: an assignment, a job, its reports, its outcome."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from suite.define.data import find_data
from suite.define.method import Method
from suite.define.metrics import MetricRow
from suite.define.protocol import Facts, Protocol
from suite.define.spec import RunSpec
from suite.records.attempt import Attempt
from suite.records.files import HEARTBEAT_SECONDS, Cost, Failure, Status
from suite.records.lease import LeaseLost
from suite.records.states import AttemptState, ReportState

if TYPE_CHECKING:
    import numpy as np

JOB_VARIABLE = "LONGTAIL_JOB"
"""Environment variable with the id of the cluster job that a worker runs in."""


PULSE_SECONDS = 15.0
"""Between two heartbeats that no iteration makes; a quarter of what a lease lasts."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is handed to a worker. `evaluate_only`: the record stands, only metrics are due.

    `sets` names prediction sets to be stored beside the protocol's own, once the training is through;
    `checkpoint_seconds` is the least wall time between two resume checkpoints; `time_limit` is in
    seconds of wall time over all sittings, null for none; `wanted` is when the command that wants the
    run was given (Unix seconds): a `cancel` after it counts; `ranks` is how many processes share the run.
    """

    spec: RunSpec
    attempt: int
    digest: str
    root: str
    data_root: str | None = None
    device: str = "cpu"
    checkpoint_seconds: float = 60.0
    time_limit: float | None = None
    evaluate_only: bool = False
    sets: list[str] = []
    wanted: float = 0.0
    ranks: int = 1


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of a run.

    `seconds` is the wall time of this sitting; `warning` what the method has to say of its settings.
    """

    run_id: str
    state: ReportState
    step: int = 0
    total: int | None = None
    failure: Failure | None = None
    seconds: float = 0.0
    warning: str = ""


class Stopped(Exception):
    """The run was asked to stop and has saved what it needs to resume."""


class TimeLimit(Exception):
    """The run used up its time limit, at iteration `step`."""

    def __init__(self, limit: float, step: int) -> None:
        super().__init__(f"time limit of {limit:g} s reached at iteration {step}")
        self.step = step


class NonFiniteLoss(Exception):
    """The training loss became NaN or infinite at iteration `step`."""

    def __init__(self, step: int, name: str = "loss") -> None:
        super().__init__(f"{name} is not finite at iteration {step}")
        self.step = step


@dataclass
class Outcome:
    """What training hands back.

    Attributes:
        facts: of the training data.
        cost: wall_seconds is filled in by the worker.
        predictions: prediction set -> array name -> array.
        curves: name -> [(iteration, value)].
        save_weights: writes the final weights to the given path; None without weights.
        samples: file name -> PNG bytes.
        rows: metric rows made during training.
        flags: fairness flags beyond those of the card.
        environment: added to the record's environment.
        aside_seconds: wall time spent on further prediction sets, which is no cost of the run.
    """

    facts: Facts
    cost: Cost
    predictions: Mapping[str, Mapping[str, np.ndarray]]
    curves: Mapping[str, list[tuple[int, float | None]]] = field(default_factory=dict)
    save_weights: Callable[[Path], None] | None = None
    samples: Mapping[str, bytes] = field(default_factory=dict)
    rows: list[MetricRow] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    environment: Mapping[str, Any] = field(default_factory=dict)
    aside_seconds: float = 0.0


@dataclass
class Job:
    """What an engine gets: the run, where to put things, and how to say it is alive.

    `inputs` maps roles to the attempts that fill them; `required` names prediction sets that the method's
    scores need, whose making is part of the test and its cost, `sets` others to be stored beside the
    protocol's own; `warnings` is what the method has said of its settings; `ranks` is how many processes
    share the run.
    """

    spec: RunSpec
    method: Method
    protocol: Protocol
    attempt: Attempt
    device: str
    data_root: Path | None
    checkpoint_seconds: float
    time_limit: float | None
    status: Status
    report: Callable[[Report], None]
    stopping: Callable[[], bool]
    inputs: Mapping[str, Attempt] = field(default_factory=dict)
    required: Sequence[str] = ()
    sets: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)
    ranks: int = 1
    _sitting: float = field(default_factory=time.monotonic)
    _reported: float = 0.0
    _written: float = 0.0
    _step: int = 0
    _owns: bool = False
    _lost: bool = False
    _closed: bool = False
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def data(self) -> Path:
        """Folder of the protocol's data set. Raises DataError."""
        return find_data(self.protocol, self.data_root)

    @property
    def elapsed(self) -> float:
        """Wall seconds of the attempt over all its sittings."""
        return self.status.elapsed + time.monotonic() - self._sitting

    def warn(self, text: str) -> None:
        """Tell whoever started the run, and its record, what is odd about its settings."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.report(Report(run_id=self.spec.run_id, state="running", warning=text))

    def beat(self, step: int, total: int | None) -> None:
        """Say that iteration `step` of `total` is reached. Cheap; call it at every iteration.

        Raises TimeLimit when the run's time is used up.
        """
        if self._lost:
            raise LeaseLost
        now, self._step = time.monotonic(), step
        if now - self._reported > 0.5:
            self._reported = now
            self.report(Report(run_id=self.spec.run_id, state="running", step=step, total=total))
            if self.time_limit is not None and self.elapsed > self.time_limit:
                raise TimeLimit(self.time_limit, step)
        if now - self._written > HEARTBEAT_SECONDS:
            self._written = now
            self.write("running", step=step, total=total)

    def write(
        self,
        state: AttemptState,
        *,
        failure: Failure | None = None,
        durable: bool = False,
        **progress: Any,
    ) -> None:
        """Rewrite status.json; on disk for certain if `durable` or not `running` any more.

        Raises LeaseLost where another process has written it since.
        """
        with self._guard:
            self.require_owner()
            # between two heartbeats the training has gone on
            progress = {"step": max(self._step, self.status.step), **progress}
            # the sitting's own start stays the base of `elapsed`; only the file gets the sum
            self.attempt.write_status(
                msgspec.structs.replace(
                    self.status,
                    state=state,
                    failure=failure,
                    heartbeat=time.time(),
                    elapsed=self.elapsed,
                    **progress,
                ),
                durable=durable or state != "running",
            )
            self._owns, self._closed = True, state != "running"
            self.status = msgspec.structs.replace(self.status, **progress)

    def require_owner(self) -> None:
        """Raise LeaseLost if another process has taken up the run since this one did."""
        if self._owns:
            present = self.attempt.status()
            if present is not None and present.owner != self.status.owner:
                self._lost = True
                raise LeaseLost

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Keep the heartbeat going for the block, whatever it does between two iterations (imports,
        reading data, testing): without it another machine would take the run for abandoned."""
        ended = threading.Event()

        def pulse() -> None:
            while not ended.wait(PULSE_SECONDS):
                with self._guard, contextlib.suppress(LeaseLost, OSError):
                    if not self._closed:
                        self.write("running")

        thread = threading.Thread(target=pulse, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
