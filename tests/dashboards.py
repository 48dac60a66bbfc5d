"""Pages of the dashboard, without a browser and in a real one.

page = open_page(root, "leaderboard", task="longtail-cls")     # runs the page in this process
assert "63.0" in texts(page)

with served(root) as url: ...                                   # the real server
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

# of all installed packages Streamlit asks whether they bring components: two thirds of what a page takes
# here, if done for each; what is installed does not change meanwhile
manifest_scanner.scan_component_manifests = cache(manifest_scanner.scan_component_manifests)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
]

SCRIPT = """
import {view}
from dashboard import pages
from dashboard.views import common
pages.navigation()
common.run({view}.page)
"""


def open_page(
    root: Path,
    name: str,
    *,
    catalog: Any = None,
    plugins: Sequence[Path] = (),
    timeout: float = 30,
    **query: str | list[str],
) -> AppTest:
    """The page of that name in the URL, run once with the URL's parameters.

    `catalog` stands in for the installed tasks and methods. Fails where the page raises.
    """
    from dashboard import source

    st.cache_resource.clear()
    source._given.cache_clear()
    sys.argv = ["app.py", "--root", str(root), *(f"--plugin={path}" for path in plugins)]
    if catalog is not None:
        source.catalog = lambda: catalog
    found = _pages()[name]
    page = AppTest.from_string(SCRIPT.format(view=found.__name__), default_timeout=timeout)
    for key, value in query.items():
        page.query_params[key] = value
    page.run()
    check(page)
    return page


@cache
def _pages() -> dict[str, Any]:
    """Name in the URL -> module of every page that is installed."""
    from dashboard import pages
    from suite.define.catalog import Catalog

    sections = pages.views(Catalog.load()).values()
    return {name: page for section in sections for name, page in section.items()}


def check(page: AppTest) -> None:
    """Fail with what the page raised."""
    assert not page.exception, page.exception[0].stack_trace


def texts(page: AppTest) -> str:
    """All that the page says, a piece a line, as it was written (HTML with its tags)."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "warning", "error")
    found = [str(one.value) for kind in kinds for one in page.get(kind)]
    found += [one.proto.body for one in page.get("html")]
    found += [str(one.value) for one in page.get("code")]
    return "\n".join(found)


def cells(html: str) -> list[list[str]]:
    """The body of a board's HTML table, texts alone."""
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row)]
        for row in re.findall(r"<tr.*?>(.*?)</tr>", body)
    ]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `open_page` sets is as it was afterwards. Import it where `open_page` is used."""
    from dashboard import source

    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(source, "catalog", source.catalog)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def served(root: Path, *arguments: str, log: Path | None = None) -> Iterator[str]:
    """`python -m suite dashboard` on a free port; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "suite", "dashboard", "--root", str(root)]
    told = log or root.parent / "dashboard.log"
    with open(told, "wb") as out:
        server = subprocess.Popen(
            [*command, "--port", str(port), *arguments], stdout=out, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert server.poll() is None, told.read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                break
            time.sleep(0.25)
        else:
            raise AssertionError(f"no answer from {url}: {told.read_text()}")
        yield url
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium."""
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


BOARD = r"""() => [...document.querySelectorAll("table.board tbody tr")].map(
    row => [...row.querySelectorAll("th, td")].map(cell => cell.innerText.split("\n")[0]))"""


class Visit:
    """A browser's page on the dashboard, and what went wrong on it.

    `outside` are requests to other hosts, `errors` what scripts raised and dialogs said.
    """

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.url = url
        # one context, so one cache of Streamlit's scripts, for all who ask for nothing special
        wide = {"viewport": {"width": 1400, "height": 1000}, **options}
        known = [] if options else browser.contexts
        self.context = known[0] if known else browser.new_context(**wide)
        self.own = bool(options)
        self.page = self.context.new_page()
        self.outside: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", self._asked)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "dialog", lambda dialog: (self.errors.append(dialog.message), dialog.dismiss())
        )

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, self.url.replace("http", "ws"), "data:", "blob:")):
            self.outside.append(request.url)

    def open(self, path: str) -> None:
        """Go there and wait until the page has been run."""
        self.page.goto(f"{self.url}/{path}")
        self.settled()

    def settled(self) -> None:
        """Wait until the page is run and drawn; fail on an exception."""
        self.page.wait_for_selector('[data-testid="stMain"] h1', timeout=60_000)
        self.eventually(
            "() => !document.querySelector('[data-testid=\"stApp\"]').matches('[data-test-script-state=running]')"
            " && !document.querySelector('[data-testid=\"stSkeleton\"]')"
        )
        assert self.page.locator('[data-testid="stException"]').count() == 0

    def eventually(self, holds: str, given: Any = None) -> None:
        """Wait until a function of JavaScript returns something true.

        Whoever looks while a page is drawn anew finds elements gone: what the function raises then
        counts as "not yet".
        """
        self.page.wait_for_function(
            f"given => {{ try {{ return ({holds})(given); }} catch {{ return false; }} }}",
            arg=given,
            timeout=60_000,
        )

    def drawn(self) -> None:
        """Wait until the browser has drawn what it has got, and so has asked for all it needs."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def shown(self) -> list[list[str]]:
        """The first line of each cell of the board, read at one instant; [] where there is none."""
        found: list[list[str]] = self.page.evaluate(BOARD)
        return found

    def rows(self) -> list[list[str]]:
        """As `shown`, when there is a board."""
        self.eventually(f"() => ({BOARD})().length")
        return self.shown()

    def download(self, label: str, nth: int = 0) -> str:
        """What the button of that name saves."""
        with self.page.expect_download() as caught:
            self.page.get_by_role("button", name=label, exact=True).nth(nth).click()
        return Path(caught.value.path()).read_text(encoding="utf-8")

    def close(self) -> None:
        self.page.close()
        if self.own:
            self.context.close()


os.environ.setdefault("STREAMLIT_BROWSER_GATHER_USAGE_STATS", "false")
