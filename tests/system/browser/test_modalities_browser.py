"""The page of modalities in a real Chromium: every view is drawn, a sample's address, downloads."""

import csv
import io
import re

import pytest
import strangers
from dashboards import (
    Visit,
    browser,  # noqa: F401
    needs_browser,
    served,
)
from modality_records import installed
from playwright.sync_api import expect

from suite.store.ingest import ingest
from tasks.multimodal import page as modalities

pytestmark = [*needs_browser, pytest.mark.slow]

DRAWN = {
    modalities.TRAINING: 4,
    modalities.GAP: 1,
    modalities.SHAPLEY: 1,
    modalities.USE: 1,
    modalities.AGREEMENT: 1,
    modalities.GROUPS: 0,
}
"""Charts of each view."""

CHARTS_OF = """count => count === [...document.querySelectorAll('[data-testid="stVegaLiteChart"]')].filter(
    one => one.querySelector("canvas, svg")?.getBoundingClientRect().height > 100).length"""
"""Whether so many charts are drawn on the page: one in another tab, or not drawn yet, has no height."""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    root = tmp_path_factory.mktemp("modalities") / "results"
    for seed in range(2):
        installed(root, "concat", seed, clean=3.0, noisy=0.5)
        installed(root, "ume", seed, clean=3.0, noisy=1.5)
        installed(root, "mmpareto", seed, clean=3.5, noisy=1.5)
        installed(root, "film", seed, fusion="film", clean=2.0, noisy=0.5)
    found = strangers.catalog()
    ingest(root, found.tasks(), found.code)
    with served(root) as address:
        yield address


@pytest.fixture
def visit(browser, url):
    """A visitor who must meet no error and cause no request to anywhere else."""
    made = Visit(browser, url)
    yield made
    made.close()
    assert made.errors == []
    assert made.outside == []


def test_every_view_is_drawn(visit):
    visit.open("modalities?task=multimodal&protocol=smoke")
    for view, count in DRAWN.items():
        visit.page.get_by_role("tab", name=view).click()
        expect(visit.page.get_by_role("tab", name=view)).to_have_attribute("aria-selected", "true")
        visit.settled()
        visit.eventually(CHARTS_OF, count)
        assert visit.page.get_by_test_id("stAlert").filter(has_text="expression").count() == 0
    expect(visit.page.get_by_text("smoke has no groups of classes")).to_be_visible()


def test_samples_of_a_pattern_have_an_address(visit, browser, url):
    query = "view=agreement&row=concat&seed=1&samples=only+clean+right"
    visit.open(f"modalities?task=multimodal&protocol=smoke&{query}")
    # the other table is folded
    lines = list(csv.DictReader(io.StringIO(visit.download("CSV"))))
    assert lines and all(line["class"] == line["by clean"] != line["by noisy"] for line in lines)
    field = visit.page.get_by_role("combobox", name="Row", exact=True)
    field.click()
    field.fill("film")
    visit.page.get_by_role("option", name="film", exact=True).click()
    expect(visit.page.get_by_text("film stores no logits of single modalities")).to_be_visible()
    expect(visit.page).to_have_url(re.compile("row=film"))
    other = Visit(browser, url)
    other.open(visit.page.url.removeprefix(url).lstrip("/"))
    expect(other.page.get_by_text("film stores no logits of single modalities")).to_be_visible()
    other.close()
