"""stdout and stderr as a command finds them: closed, full, in another encoding, or with a reader that goes.

None of that may end a training or change what an exit code says.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any

from suite.base.errors import UserError


class _Output(io.FileIO):
    """A descriptor that is written to. Once its reader has gone (`| head`), or it cannot be written, what
    follows is dropped."""

    gone = False

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.label = name

    def write(self, content: Any, /) -> int:
        """Write all of it."""
        whole = left = memoryview(content).cast("B")
        try:
            while left:
                written = super().write(left)
                if written is None:
                    # shared with a process that does not want to wait
                    select.select([], [self], [])
                left = left[written or 0 :]
        except OSError as error:
            self._drop()
            if not isinstance(error, BrokenPipeError) and self.label != "stderr":
                raise UserError(f"{self.label}: cannot be written ({error.strerror})") from None
        return len(whole)

    def _drop(self) -> None:
        self.gone = True
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.fileno())
        os.close(nothing)


def settle() -> None:
    """Take over this process's stdout and stderr. Nothing where they are somebody's own (tests, notebooks)."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # closed (`>&-`): the next file opened would be printed into
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _output(sys.stdout, sys.__stdout__, "stdout", 1)
    sys.stderr = _output(sys.stderr, sys.__stderr__, "stderr", 2)


def _output(present: Any, own: Any, name: str, descriptor: int) -> Any:
    if present is not own or not (present is None or isinstance(present, io.TextIOWrapper)):
        return present
    raw: Any = _Output(descriptor, name)
    if present is None:
        return io.TextIOWrapper(raw, encoding="utf-8", errors="replace", write_through=True)
    # python -u: nothing is held back
    direct = isinstance(present.buffer, io.RawIOBase)
    # a glyph that the encoding lacks costs that glyph
    errors = present.errors if present.errors not in ("strict", "surrogateescape") else "replace"
    return io.TextIOWrapper(
        raw if direct else io.BufferedWriter(raw),
        encoding=present.encoding,
        errors=errors,
        line_buffering=present.line_buffering,
        write_through=direct,
    )


def reader_gone() -> bool:
    """Whether nobody reads stdout any more: what follows a run, or a log, has nobody to tell."""
    buffer = getattr(sys.stdout, "buffer", None)
    output = getattr(buffer, "raw", buffer)
    if not isinstance(output, _Output):
        return False
    poll = select.poll()
    poll.register(output, 0)
    return output.gone or any(event & select.POLLERR for _, event in poll.poll(0))


def finish() -> None:
    """Write what is held back. Raises UserError where stdout cannot be written (a full disk)."""
    if sys.stdout is not None:
        sys.stdout.flush()
