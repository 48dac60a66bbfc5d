"""The processes of a run on several ranks: rank 0, which is the worker itself, starts the others.

They live as long as it does: a rank whose parent is gone ends at once, whatever it is waiting for. A
rank that dies ends the run; what it died of is the run's failure.

Not `torch.distributed.elastic.multiprocessing`: to import it is to import torch, and the ranks are to do
that at the same time as rank 0, not after it; it takes SIGTERM over, at which a checkpoint is saved first;
and its children hear of their parent's death by SIGINT, which Python sees only when a wait in C++ is over.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

import msgspec

from suite.base import interpreter
from suite.define.spec import RunSpec
from suite.records.files import Failure
from suite.runs.job import Job, Report

NOTICE_SECONDS = 10.0
"""A rank whose connection broke waits so long to hear who died."""
STUCK_SECONDS = 60.0
"""Rank 0 ends its own process when, so long after a rank died, it has not noticed (NCCL waits on)."""
LEAVE_SECONDS = 60.0
"""Ranks get so long to end by themselves after the run's end."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What rank `rank` of `ranks` is told; `inputs`: role -> (run id, attempt). The port of the store
    follows on a line of its own."""

    rank: int
    ranks: int
    spec: RunSpec
    attempt: int
    root: str
    data_root: str | None
    device: str
    checkpoint_seconds: float
    plugins: list[str]
    inputs: dict[str, tuple[str, int]]
    required: list[str]
    sets: list[str]


class RankFailed(Exception):
    """A rank other than 0 has ended the run; `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Rank:
    """A started rank. `failure` is set when it has ended otherwise than in order."""

    def __init__(self, member: Member, environment: dict[str, str]) -> None:
        self.name = f"rank {member.rank} of {member.ranks}"
        self.failure: Failure | None = None
        self.told = False
        self.process = subprocess.Popen(
            interpreter.python("-m", "suite.engine.member", str(os.getpid())),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self.tell(msgspec.json.encode(member))

    def tell(self, line: bytes) -> None:
        assert self.process.stdin is not None
        # one that is gone is heard of
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + b"\n")
            self.process.stdin.flush()

    def wait(self) -> None:
        """Return when the process has ended and `failure` says how."""
        assert self.process.stdout is not None
        said = self.process.stdout.read()
        code = self.process.wait()
        if code == 0:
            return
        try:
            failure = msgspec.json.decode(said, type=Failure)
            self.told = True
            failure = msgspec.structs.replace(failure, message=f"{self.name}: {failure.message}")
        except msgspec.DecodeError:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            failure = Failure(kind="killed", message=f"{self.name} died by {how}")
        self.failure = failure


class Team:
    """The ranks of `job` for a `with` block; does nothing for a run on one.

    `join()` connects them once rank 0 is ready. Raises RankFailed out of the block where another rank
    ended the run. No rank outlives the block.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._ranks: list[_Rank] = []
        self._ended: list[_Rank] = []
        self._over = threading.Event()
        self._changed = threading.Condition()

    def __enter__(self) -> Team:
        job = self._job
        if job.ranks == 1:
            return self
        # between processes of one machine; also where its host name means nothing
        if any(name == "lo" for _, name in socket.if_nameindex()):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        visible = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
        try:
            for rank in range(1, job.ranks):
                environment = interpreter.environment()
                if job.device.startswith("cuda"):
                    environment["CUDA_VISIBLE_DEVICES"] = visible[rank]
                started = _Rank(self._member(rank), environment)
                self._ranks.append(started)
                threading.Thread(target=self._watch, args=(started,), daemon=True).start()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def _member(self, rank: int) -> Member:
        job = self._job
        files = [p.source.path for p in job.method.parts if p.source.module is None]
        return Member(
            rank=rank,
            ranks=job.ranks,
            spec=job.spec,
            attempt=job.attempt.number,
            root=str(job.attempt.root),
            data_root=str(job.data_root) if job.data_root else None,
            device=job.device,
            checkpoint_seconds=job.checkpoint_seconds,
            plugins=[str(path) for path in dict.fromkeys(files)],
            inputs={role: (attempt.run_id, attempt.number) for role, attempt in job.inputs.items()},
            required=list(job.required),
            sets=list(job.sets),
        )

    def join(self) -> None:
        """Connect. The others have imported everything meanwhile, and begin now."""
        if not self._ranks:
            return
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        from suite.engine import ranks

        number = self._job.ranks
        store = TCPStore("127.0.0.1", 0, number, is_master=True, wait_for_workers=False)
        for rank in self._ranks:
            rank.tell(str(store.port).encode())
        ranks.connect(0, number, store, self._job.device)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._ranks:
            return
        cause = self._cause() if isinstance(error, Exception) and _lost(error) else None
        try:
            if error is None:
                self._wait(LEAVE_SECONDS)
        finally:
            self._end(error)
        if cause is not None:
            raise RankFailed(cause) from error

    def _end(self, error: BaseException | None) -> None:
        for rank in self._ranks:
            rank.process.kill()
        for rank in self._ranks:
            rank.process.wait()
        # after an error NCCL would wait for those who are gone; the dispatcher ends this process then
        waits = error is not None and self._job.device.startswith("cuda")
        if "suite.engine.ranks" in sys.modules and not waits:
            from suite.engine import ranks

            with contextlib.suppress(RuntimeError):
                ranks.disconnect()
        self._over.set()

    def _watch(self, rank: _Rank) -> None:
        rank.wait()
        with self._changed:
            self._ended.append(rank)
            self._changed.notify_all()
        if rank.failure is None or self._over.wait(STUCK_SECONDS):
            return
        failure = self._cause()
        assert failure is not None
        with contextlib.suppress(Exception):
            self._job.write("failed", failure=failure)
        with contextlib.suppress(Exception):
            self._job.report(Report(run_id=self._job.spec.run_id, state="failed", failure=failure))
        os._exit(1)

    def _wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._ended) == len(self._ranks), seconds)

    def _cause(self) -> Failure | None:
        """Of the first rank that failed by itself, not for want of another. Waits a while for one."""
        with self._changed:
            self._changed.wait_for(self._failures, NOTICE_SECONDS)
        # whoever lost its connection first is seldom the one who died: let the others end too
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline and len(self._ended) < len(self._ranks):
            time.sleep(0.05)
        failures = self._failures()
        alone = [rank for rank in failures if not (rank.told and _lost_text(str(rank.failure)))]
        return (alone or failures)[0].failure if failures else None

    def _failures(self) -> list[_Rank]:
        return [rank for rank in self._ended if rank.failure is not None]


def _lost(error: BaseException) -> bool:
    return isinstance(error, RuntimeError | OSError) and _lost_text(f"{type(error)} {error}")


def _lost_text(text: str) -> bool:
    """Whether an error's text is about another rank that is gone."""
    signs = ("gloo", "NCCL", "ProcessGroup", "TCPStore", "c10d", "Connection", "torch.distributed")
    return any(sign in text for sign in signs)


def plugin_paths(member: Member) -> list[Path]:
    return [Path(name) for name in member.plugins]
