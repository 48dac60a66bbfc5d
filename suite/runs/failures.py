"""What kind of failure an exception is, and failures written in the place of a process that is gone."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from suite.base.errors import DataError, DeviceError, InputError, UserError
from suite.base.raised import raised
from suite.records.attempt import Attempt
from suite.records.files import Failure, FailureKind
from suite.records.lease import run_lock
from suite.runs.job import JOB_VARIABLE, Assignment, NonFiniteLoss, TimeLimit


def classify(error: BaseException, own: Collection[Path] = ()) -> Failure:
    """The failure kind of an exception out of a run; `own` are the files of its method."""
    failure = getattr(error, "failure", None)
    if isinstance(failure, Failure):
        # of another process of the run, which has classified it
        return failure
    step = getattr(error, "step", None)
    return Failure(
        kind=_kind(error),
        message=_message(error, own),
        step=step if isinstance(step, int) else None,
    )


def _kind(error: BaseException) -> FailureKind:
    text = str(error)
    if isinstance(error, NonFiniteLoss):
        return "nan"
    if isinstance(error, TimeLimit):
        return "timeout"
    if isinstance(error, DataError):
        return "bad-data"
    if isinstance(error, InputError):
        return "input"
    if isinstance(error, DeviceError):
        return "environment"
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "oom"
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # a network file system that fails for the moment
    failing = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO)
    # torch.save and safetensors report a full disk as their own error, with the system's text
    if (
        isinstance(error, OSError) and error.errno in full + failing
    ) or "No space left on device" in text:
        return "disk"
    return "code"


def _message(error: BaseException, own: Collection[Path]) -> str:
    text = " ".join(str(error).split())
    if text.startswith("EOF when reading a line") or type(error).__name__ == "BdbQuit":
        said = f"it asks for input, and nobody can answer in a run ({text or type(error).__name__})"
        return raised(EOFError(said).with_traceback(error.__traceback__), own)
    if isinstance(error, NonFiniteLoss | TimeLimit | UserError):
        return " ".join(str(error).split()) or type(error).__name__
    return raised(error, own)


def refuse_breakpoint(*_: Any, **__: Any) -> None:
    """`sys.breakpointhook` of a run, where nobody can answer: a forgotten `breakpoint()` is a failure at once.
    One that $PYTHONBREAKPOINT turns off, or leads elsewhere, is that."""
    if os.environ.get("PYTHONBREAKPOINT"):
        sys.__breakpointhook__()
        return
    frame = sys._getframe(1)
    raise UserError(
        f"breakpoint() in {frame.f_code.co_filename}:{frame.f_lineno}: nobody can answer in a run; take it out"
    )


def leave_failure(assignment: Assignment, failure: Failure) -> None:
    """Write the failure of a run whose own process could not; nothing where somebody is at the run, or
    where nothing can be written."""
    spec, root = assignment.spec, Path(assignment.root)
    with contextlib.suppress(OSError), run_lock(root, spec.run_id) as mine:
        if mine:
            Attempt(root, spec.run_id, assignment.attempt).write_failure(
                spec,
                assignment.digest,
                failure,
                wanted=assignment.wanted,
                job=os.environ.get(JOB_VARIABLE, ""),
            )
