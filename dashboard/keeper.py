"""Brings the store up to date while somebody looks.

In a process of its own, which reads the methods' code anew each time: what a running server has imported may
be older than what is on disk, and a long ingest would hold up the pages.
"""

import atexit
import contextlib
import subprocess
import threading
import time
from pathlib import Path

import streamlit as st

from dashboard import source
from suite.base import interpreter
from suite.records.attempt import change_mark

SECONDS = 5.0
"""Between two looks at the least; longer where a look takes long."""
SHARE = 10
"""A look that took a second is not repeated for so many seconds."""
UNASKED_SECONDS = 60.0
"""After this, a look is taken even where nothing seems to have changed (files copied by other means)."""


class Keeper:
    """Starts `ingest` when something has changed, one at a time. For all sessions of a server.

    Attributes:
        problem: why the store could not be brought up to date the last time; empty if it could.
    """

    def __init__(self, root: Path, plugins: list[Path]) -> None:
        self._root = root
        self._command = interpreter.python("-m", "suite", "ingest", "--if-changed")
        self._command += ["--root", str(root)]
        for plugin in plugins:
            self._command += ["--plugin", str(plugin)]
        self._lock = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._begun = 0.0
        self._next = 0.0
        self._seen: list[int] = []
        self.problem = ""
        atexit.register(self.close)

    def close(self) -> None:
        """End the look that is going on: the store stays as it is, see `suite.store.ingest`."""
        process = self._running
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)

    def look(self) -> None:
        """Reap the look that has ended, and begin another if it is time for one. Returns at once."""
        with self._lock:
            if self._running is not None:
                self._reap(self._running)
            now = time.monotonic()
            if self._running is None and now >= self._next:
                marks = self._marks()
                if not marks[0]:
                    return  # no runs: `ingest` would make the folder
                if marks != self._seen or now - self._begun > UNASKED_SECONDS:
                    self._begun, self._seen = now, marks
                    self._start()

    def _start(self) -> None:
        try:
            self._running = subprocess.Popen(
                self._command,
                env=interpreter.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            self.problem = f"ingest cannot be started ({error.strerror})"
            self._next = time.monotonic() + UNASKED_SECONDS

    def _reap(self, process: "subprocess.Popen[str]") -> None:
        if process.poll() is None:
            return
        _, told = process.communicate()
        last = (told.strip().splitlines() or ["it said nothing"])[-1].removeprefix("Error: ")
        if process.returncode == 2:
            self.problem = last
        elif process.returncode:
            self.problem = f"ingest ended with code {process.returncode}: {last}"
        else:
            self.problem = ""
        self._running = None
        self._next = time.monotonic() + max(SECONDS, SHARE * (time.monotonic() - self._begun))

    def _marks(self) -> list[int]:
        """What changes when the suite writes below the root."""
        found = []
        for path in (self._root / "runs", change_mark(self._root)):
            try:
                found.append(path.stat().st_mtime_ns)
            except OSError:
                found.append(0)
        return found


@st.cache_resource(show_spinner=False)
def keeper() -> Keeper:
    """The server's only one."""
    return Keeper(source.root(), source.plugins())
