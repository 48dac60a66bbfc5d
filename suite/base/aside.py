"""What other people's code prints while a command works: on stderr, since stdout is the command's answer."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_guard = threading.Lock()
_depth = 0
_kept: int | None = None


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """For the block, what is printed to stdout goes to stderr: by Python, by a library beneath it, by a
    process that is started."""
    _enter()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _leave()


def _flush_libraries() -> None:
    """What C code has printed and holds back; nothing where no such code was loaded."""
    if "ctypes" in sys.modules:
        sys.modules["ctypes"].CDLL(None).fflush(None)


def _enter() -> None:
    # of several threads the first turns the descriptor and the last turns it back
    global _depth, _kept
    with _guard:
        if _depth == 0:
            with contextlib.suppress(OSError, ValueError):
                if sys.stdout is not None:
                    sys.stdout.flush()
                kept = os.dup(1)
                os.dup2(2, 1)
                _kept = kept
        _depth += 1


def _leave() -> None:
    global _depth, _kept
    with _guard:
        _depth -= 1
        if _depth == 0 and _kept is not None:
            _flush_libraries()
            os.dup2(_kept, 1)
            os.close(_kept)
            _kept = None
