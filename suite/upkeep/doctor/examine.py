"""All checks at once, each within its time.

Every check is a function `Place -> findings` in `CHECKS`. Each runs in a thread of its own with a time
limit, so a dead network file system or a cluster that does not answer costs a line, not the rest. Checks
change nothing but for a probe file in the results root, which goes at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from suite.base.errors import UserError
from suite.upkeep.doctor import cluster, contents, data, environment, filesystem
from suite.upkeep.doctor.finding import CHECK_SECONDS, Finding, Place

Check = Callable[[Place], Iterable[Finding]]

CHECKS: dict[str, Check] = {
    "python": environment.check_python,
    "packages": environment.check_packages,
    "imports": environment.check_imports,
    "catalog": environment.check_catalog,
    "config": data.check_config,
    "data": data.check_data,
    "root": filesystem.check_root,
    "disk": filesystem.check_disk,
    "leftovers": contents.check_leftovers,
    "runs": contents.check_runs,
    "store": contents.check_store,
    "slurm": cluster.check_slurm,
    "sites": cluster.check_sites,
}
"""Name -> check, in the order in which they are shown. All run at the same time."""


def examine(
    place: Place,
    checks: Mapping[str, Check] | None = None,
    seconds: float = CHECK_SECONDS,
) -> list[Finding]:
    """Findings of all checks in their order. Never raises, and is through after `seconds` or little more:
    a check that breaks or hangs is a finding of its own."""
    checks = CHECKS if checks is None else checks
    deadline = time.monotonic() + seconds
    started = [(name, *_start(name, check, place)) for name, check in checks.items()]
    findings: list[Finding] = []
    for name, thread, results in started:
        thread.join(max(0.0, deadline - time.monotonic()))
        # a copy: a check given up on may still add to the list
        findings += list(results)
        if thread.is_alive():
            text = f"has not answered for {seconds:g} s"
            findings.append(Finding(name, "problem", text, "look whether its file system is there"))
    return findings


def _start(name: str, check: Check, place: Place) -> tuple[threading.Thread, list[Finding]]:
    results: list[Finding] = []

    def work() -> None:
        try:
            # one by one: what was found before a hang is kept
            for finding in check(place):
                results.append(finding)
        except UserError as error:
            results.append(Finding(name, "problem", str(error)))
        except BaseException as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            results.append(Finding(name, "problem", f"cannot be looked at ({text})"))

    # daemon: a thread that hangs in a dead file system must not keep the process
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, results
