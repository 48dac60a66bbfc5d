"""The process of a rank other than 0: started by `suite.engine.team`, told by a JSON line on stdin.

It ends with rank 0: by the kernel's signal on the parent's death, and when its stdin closes. Its failure
goes to stdout as JSON; whatever libraries print, to the run's log, which is its stderr.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import BinaryIO

import msgspec

from suite.base import interpreter
from suite.engine.team import Member

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main() -> None:
    said = os.dup(1)
    told = os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    # as in the worker: code that asks gets no answer
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    interpreter.settle()
    interpreter.log_in_utf8()
    # SLURM signals every process of a job; rank 0 says what is to be done
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # as rank 0 does: what OpenMMLab's libraries lack, they say at their import
    warnings.filterwarnings("ignore", module="mm(engine|seg|cv)")
    _end_with(int(sys.argv[1]))
    member = msgspec.json.decode(told.readline(), type=Member)
    from suite.runs.failures import classify, refuse_breakpoint
    from suite.runs.job import Stopped

    sys.breakpointhook = refuse_breakpoint
    code = 0
    try:
        _follow(member, told)
    except Stopped:
        pass
    except BaseException as error:
        traceback.print_exc()
        os.write(said, msgspec.json.encode(classify(error)))
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # threads of torch's may still wait for a rank that is gone
    os._exit(code)


def _end_with(parent: int) -> None:
    """End this process when its parent ends, also in the middle of waiting for another rank."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _watch(told: BinaryIO) -> None:
    """End when stdin closes, where the kernel has no such signal."""
    told.read()
    os._exit(1)


def _follow(member: Member, told: BinaryIO) -> None:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    from suite.define.catalog import Catalog
    from suite.engine.run import follow
    from suite.engine.team import plugin_paths
    from suite.records.attempt import Attempt
    from suite.records.files import Status
    from suite.runs.job import Job

    root = Path(member.root)
    catalog = Catalog.load(plugin_paths(member)).at(root)
    spec = member.spec
    job = Job(
        spec=spec,
        method=catalog.method(spec),
        protocol=catalog.protocol_of(spec),
        attempt=Attempt(root, spec.run_id, member.attempt),
        device=member.device,
        data_root=Path(member.data_root) if member.data_root else None,
        checkpoint_seconds=member.checkpoint_seconds,
        time_limit=None,
        status=Status(state="running", digest="", started=0.0, heartbeat=0.0),
        report=lambda _: None,
        stopping=lambda: False,
        inputs={role: Attempt(root, *which) for role, which in member.inputs.items()},
        required=member.required,
        sets=member.sets,
        ranks=member.ranks,
    )
    # heavy, and the same for rank 0, which does it meanwhile
    importlib.import_module(job.protocol.join or "suite.engine.ranks")
    port = int(told.readline())
    threading.Thread(target=_watch, args=(told,), daemon=True).start()
    store = TCPStore("127.0.0.1", port, member.ranks, is_master=False)
    follow(job, member.rank, store)


if __name__ == "__main__":
    main()
