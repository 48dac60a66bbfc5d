"""An exported site in a real browser, without a network."""

import shutil

import pytest
from exported import (
    CARD,
    NAMES,
    content,  # noqa: F401
    hostile,
    root,  # noqa: F401
)
from records import TASK

from suite.render.export import Export
from suite.render.write import write


# -- browser
def chromium():
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.browser
@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
def test_a_browser_without_a_network_sorts_and_asks_for_nothing(content, tmp_path, monkeypatch):
    sync = pytest.importorskip("playwright.sync_api")
    rows = [*content.rows, hostile(content.rows, NAMES[8]), hostile(content.rows, NAMES[11])]
    site = tmp_path / "site"
    write(Export(root=content.root, task=TASK, rows=rows, cards={"ce": CARD}), "html", site)
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        context = browser.new_context(offline=True)
        page = context.new_page()
        told, asked = [], []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())

        table = page.locator("table.board").filter(has_text="la").filter(has_text="bad").first
        heads = table.locator("thead th")
        column = [text.split("\u00a0")[0] for text in heads.all_inner_texts()].index("mIoU")

        def shown():
            cells = table.locator(f"tbody tr td:nth-child({column + 1})").all_inner_texts()
            return [float(text.split()[0]) if text != "–" else None for text in cells]

        assert heads.nth(column).get_attribute("aria-sort") == "descending"
        before = shown()
        heads.nth(column).locator("button").click()
        assert heads.nth(column).get_attribute("aria-sort") == "ascending"
        values = [value for value in before if value is not None]
        # what has no value stays last
        assert shown() == sorted(values) + [None] * (len(before) - len(values))
        assert shown() != before
        method = [text.split("\u00a0")[0] for text in heads.all_inner_texts()].index("method")
        heads.nth(method).locator("button").press("Enter")
        names = table.locator(f"tbody tr td:nth-child({method + 1})").all_inner_texts()
        assert names == sorted(names)
        # the policy holds: a script that got in would not run
        page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = 'window.bad = 1';"
            " document.body.append(s); }"
        )
        assert page.evaluate("window.bad") is None
        assert any("Content Security Policy" in text for text in told)
        told = [text for text in told if "Content Security Policy" not in text]
        browser.close()
    assert told == []
    assert asked
    assert all(url.startswith("file://") for url in asked)
