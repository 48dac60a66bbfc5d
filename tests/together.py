"""All tests, in groups of processes beside each other, and one line of what came of them.

    python tests/together.py [-n PROCESSES]

Every process of a group imports all files of the group, so files that import torch are a group of their
own. Those in `system/` wait for most of their time, so that there are twice as many of their processes;
the others take what is left of the cores, first what is short. Prints what each group says when it ends, and at last, as pytest does,
`3007 passed, 1 skipped in 400.00s`. Ends with the first exit status that is not 0.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
PYTEST = ("-m", "pytest", "--dist", "loadfile", "--no-loadscope-reorder", "--durations=10")
KINDS = ("failed", "passed", "skipped", "xfailed", "xpassed", "error")


class Group:
    """The tests of a folder, in processes of their own."""

    def __init__(self, folder: str, processes: int) -> None:
        self.folder, self.processes = folder, processes
        self.status = 1
        self.counts: dict[str, int] = {}

    def run(self) -> None:
        with tempfile.TemporaryFile("w+") as said:
            command = [sys.executable, *PYTEST, "-n", str(self.processes), str(HERE / self.folder)]
            self.status = subprocess.call(command, stdout=said, stderr=subprocess.STDOUT)
            said.seek(0)
            text = said.read()
        last = text.rstrip().rpartition("\n")[2]
        self.counts = {kind: int(number) for number, kind in re.findall(r"(\d+) (\w+?)s?\b", last)}
        print(f"\n---- tests/{self.folder} ----\n{text}", end="", flush=True)


def one_after_another(*groups: Group) -> None:
    for group in groups:
        group.run()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run all tests.")
    parser.add_argument("-n", type=int, default=2, help="processes for each group")
    processes = parser.parse_args().n
    # each test process and what it starts uses one thread: more threads than cores slow each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    start = time.monotonic()
    system = Group("system", 2 * processes)
    unit, torch = (Group(folder, processes) for folder in ("unit", "torch"))
    beside = threading.Thread(target=one_after_another, args=(unit, torch))
    beside.start()
    system.run()
    beside.join()
    groups = (unit, torch, system)
    totals = {kind: sum(group.counts.get(kind, 0) for group in groups) for kind in KINDS}
    told = ", ".join(f"{count} {kind}" for kind, count in totals.items() if count)
    print(f"==== {told} in {time.monotonic() - start:.2f}s ====")
    return next((group.status for group in groups if group.status), 0)


if __name__ == "__main__":
    sys.exit(main())
