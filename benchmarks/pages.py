"""The dashboard at 100,000 runs and 1,000,000 metric rows, measured in a real Chromium.

    python benchmarks/pages.py [--runs 100000] [--rows 10] [--repeat 7] [--sessions 10] [--folder DIR]

The runs are those of benchmarks/store.py: boards of 100 rows with three seeds each. Times are wall seconds
from the navigation (or the click) until the browser shows the content; the median and the largest of the
repeats, with the server up. Before them stands the first visit of all, with an empty browser cache and an
empty server cache. Ten sessions are ten tabs of one browser, whose own work is part of
their time. Memory is the server's resident set. Needs playwright and a Chromium. `--folder` is kept
and used again where it holds a store already.
"""

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from store import BOARD, SEEDS, make_task, write_runs

from suite.define.digest import Code
from suite.store.connection import store_path
from suite.store.ingest import ingest

# the server knows the task through entry points, as it would know anybody's package
TASK_MODULE = """
from store import make_task
TASK = make_task({boards})
TASKS = {{"bench": "bench_task:TASK"}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    given = parser.parse_args()
    boards = -(-given.runs // (SEEDS * BOARD))
    task = make_task(boards)
    with tempfile.TemporaryDirectory() as temporary:
        root = given.folder or Path(temporary) / "results"
        if not store_path(root).exists():
            write_runs(root, task, given.runs, given.rows)
            ingest(root, {task.name: task}, Code({f"method-{k}": "d1" for k in range(BOARD)}))
        package = Path(temporary) / "package"
        info = package / "longtail_bench-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: longtail-bench\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text("[longtail_suite.tasks]\nbench = bench_task:TASKS\n")
        (package / "bench_task.py").write_text(TASK_MODULE.format(boards=boards))
        with server(root, package) as (url, pid):
            print(f"{given.runs:,} runs, {given.runs * given.rows:,} metric rows, {boards} boards")
            print(f"{'server, before the first visit':44} {memory(pid):.0f} MB")
            measure(url, pid, given.repeat, given.sessions)


@contextlib.contextmanager
def server(root: Path, package: Path) -> Iterator[tuple[str, int]]:
    """Address and process id of `python -m suite dashboard`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = [str(package), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-m", "suite", "dashboard", "--root", str(root), "--port", str(port)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            time.sleep(0.25)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


def measure(url: str, pid: int, repeat: int, sessions: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
        overview, board = f"{url}/?task=bench", f"{url}/leaderboard?task=bench"

        def show(where: str, sign: str, page: Any = page) -> Callable[[], None]:
            def call() -> None:
                page.goto(where)
                page.wait_for_selector(sign)

            return call

        told("first visit, overview", [timed(show(overview, OVERVIEW))])
        told("first visit, leaderboard", [timed(show(board, TABLE))])
        # the first visit has the store looked through, in a process beside the server
        while children(pid):
            time.sleep(0.5)
        told("overview", [timed(show(overview, OVERVIEW)) for _ in range(repeat)])
        others = [f"{board}&protocol=toy:{number}" for number in range(1, repeat + 1)]
        told("leaderboard, another protocol each", [timed(show(one, TABLE)) for one in others])
        told("leaderboard, the same", [timed(show(others[0], TABLE)) for _ in range(repeat)])
        told("filter: method contains", filters(page, repeat))
        told("filter: another protocol", protocols(page, repeat))
        told("rank by another metric", ranked(page, repeat))
        print(f"{'server, after these':44} {memory(pid):.0f} MB")
        pages = [page.context.new_page() for _ in range(sessions)]
        begun, busy = time.perf_counter(), processor(pid)
        for number, one in enumerate(pages):
            one.goto(f"{board}&protocol=toy:{20 + number}", wait_until="commit")
        for one in pages:
            one.wait_for_selector(TABLE)
        seconds, busy = time.perf_counter() - begun, processor(pid) - busy
        what = f"{sessions} sessions at once, until all are shown"
        print(f"{what:44} {seconds:.2f} s, of which the server worked {busy:.2f} s")
        told(f"filter, with {sessions} sessions open", filters(pages[0], repeat))
        print(f"{f'server, with {sessions + 1} sessions':44} {memory(pid):.0f} MB")
        browser.close()


OVERVIEW = '[data-testid="stDataFrame"] canvas'
TABLE = "table.board tbody tr"


def timed(call: Callable[[], None]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def told(what: str, seconds: list[float]) -> None:
    middle, most = statistics.median(seconds), max(seconds)
    print(f"{what:44} {middle:.2f} s" + (f" (at most {most:.2f})" if len(seconds) > 1 else ""))


def filters(page: Any, repeat: int) -> list[float]:
    """Typing a method's name, Enter, until its row alone is there."""
    if not page.get_by_label("Method contains").is_visible():
        page.get_by_text("Filters and order").click()
    field = page.get_by_label("Method contains")
    field.wait_for(state="visible")
    found = []
    for number in range(repeat):
        name = f"method-{11 + number}"
        field.fill(name)
        begun = time.perf_counter()
        field.press("Enter")
        page.wait_for_function(
            "name => { const rows = document.querySelectorAll('table.board tbody tr');"
            " return rows.length === 1 && rows[0].innerText.includes(name); }",
            arg=name,
        )
        found.append(time.perf_counter() - begun)
    field.fill("")
    field.press("Enter")
    page.wait_for_function("document.querySelectorAll('table.board tbody tr').length > 1")
    return found


def chosen(page: Any, label: str, option: str, until: str) -> float:
    """Choosing an option, from the click on it until `until` is true of `option`."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("combobox", name=label).fill(option)
    entry = page.get_by_role("option", name=option, exact=True)
    entry.wait_for()
    begun = time.perf_counter()
    entry.click()
    page.wait_for_function(until, arg=option)
    return time.perf_counter() - begun


def protocols(page: Any, repeat: int) -> list[float]:
    until = (
        "name => { const found = document.querySelector('table.board caption');"
        " return found && found.innerText.endsWith(name); }"
    )
    return [chosen(page, "Protocol", f"toy:{200 + number}", until) for number in range(repeat)]


def ranked(page: Any, repeat: int) -> list[float]:
    until = (
        "name => { const found = document.querySelector('table.board th[aria-sort]');"
        " return found && found.innerText.replace(/\\n/g, '') === name; }"
    )
    options = ["mIoU[k=1]", "mIoU[k=0]"]
    return [chosen(page, "Rank by", options[number % 2], until) for number in range(repeat)]


def children(pid: int) -> bool:
    """Whether a process has children."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return any(one.read_text().strip() for one in tasks)


def processor(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Resident memory in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return 0.0


if __name__ == "__main__":
    main()
