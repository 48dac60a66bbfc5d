"""Code of commits, written out of git and run: each command in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from suite.define.syntax import PROJECT
from suite.dispatch.code_copy import job_environment
from suite.upkeep.checkout import Checkout

STOP_SECONDS = 30.0
"""Time that a command has after Ctrl-C to end its workers."""


@dataclass(frozen=True)
class Codes:
    """Codes of a checkout's commits below `folder`, a temporary one."""

    checkout: Checkout
    folder: Path
    data_root: Path | None

    def suite(self, commit: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m suite` of the code of a commit, in a process and an empty folder of its own."""
        code = self.folder / commit
        if not code.exists():
            self.checkout.export(commit, code)
        empty = self.folder / "empty"
        empty.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **job_environment(code)}
        # compiled once for all trainings: the folder is our own
        del environment["PYTHONDONTWRITEBYTECODE"]
        if before := os.environ.get("PYTHONPATH"):
            environment["PYTHONPATH"] += os.pathsep + before
        if self.data_root is not None:
            environment["LONGTAIL_DATA"] = str(self.data_root)
        packages = ",".join(sorted(name for name in PROJECT if (code / name).is_dir()))
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(code), packages, *arguments],
            cwd=empty,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C comes to it through us: its folders must stand until it has ended
            start_new_session=True,
        )
        try:
            out, errors = process.communicate()
        except BaseException:
            _end(process)
            raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, errors)


_CHILD = """
import importlib.util, pathlib, runpy, sys
code, packages = pathlib.Path(sys.argv.pop(1)).resolve(), sys.argv.pop(1)
for name in packages.split(","):
    (found, *_) = importlib.util.find_spec(name).submodule_search_locations
    found = pathlib.Path(found).resolve()
    if code not in found.parents:
        sys.exit(f"{name} is imported from {found}, not from {code}")
sys.argv[0] = "suite"
runpy.run_module("suite", run_name="__main__", alter_sys=True)
"""


def _end(process: subprocess.Popen[str]) -> None:
    """End a training in order: it ends its workers first. Ctrl-C once more kills it."""
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.communicate()
