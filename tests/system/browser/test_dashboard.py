"""The dashboard in a real Chromium: every page, links, downloads, hostile names, a writer at work."""

import csv
import io
import re
import threading
import time

import multilabel_records
import pytest
import robust_records
import strangers
from dashboards import (
    BOARD,
    Visit,
    browser,  # noqa: F401
    needs_browser,
    served,
)
from playwright.sync_api import expect
from records import HOSTILE

from dashboard import pages
from suite.define.metrics import MetricRow
from suite.define.spec import RunSpec
from suite.records.attempt import Attempt
from suite.records.files import Cost, Evaluation, Failure, Record, Status
from suite.store.ingest import ingest

pytestmark = needs_browser

NASTY = [
    *filter(None, HOSTILE),
    "<script>alert('name')</script>",
    "<img src=http://192.0.2.1/x onerror=alert(1)>",
    "[link](javascript:alert(1)) :material/home: **bold** $x$",
    "€" * 10_000,
]
PAGES = {
    url: view.TITLE
    for section in pages.views(strangers.catalog()).values()
    for url, view in section.items()
}


def hostile(root, number, name):
    """A finished run and a failed one whose every text is `name`."""
    under = strangers.protocol()
    task = strangers.catalog().task("longtail-cls")
    for failed in (False, True):
        spec = RunSpec(
            protocol=name,
            protocol_hash=under.hash,
            method=f"{name}{'!' * failed}",
            params={name: name},
            seed=number,
            inputs={},
        )
        attempt = Attempt(root, spec.run_id, 1)
        attempt.create(spec)
        status = Status(
            state="failed" if failed else "done", digest="d", started=1.0, heartbeat=2.0
        )
        if failed:
            failure = Failure(kind="code", message=name, step=3)
            attempt.write_status(
                Status(
                    state="failed",
                    digest="d",
                    started=1.0,
                    heartbeat=2.0,
                    failure=failure,
                    host=name,
                )
            )
            continue
        attempt.write_status(status)
        attempt.write_record(
            Record(
                run_id=spec.run_id,
                attempt=1,
                spec=spec,
                digest="d",
                files={name: name},
                warnings=[name],
                dataset=name,
                flags=[name],
                class_counts=[number + 1] * 10,
                classes=[f"{name}{k}" for k in range(10)],
                cost=Cost(parameters=1),
                curves={name: [(1, 1.0), (2, None)]},
                environment={name: name, "git": name, "packages": [name]},
                data={name: name},
                finished=float(number),
            )
        )
        rows = [
            MetricRow(metric=metric, value=0.1) for metric in ("balanced_accuracy", "top1", name)
        ]
        rows += [MetricRow(metric="recall", class_=f"{name}{k}", value=0.1) for k in range(10)]
        rows += [
            MetricRow(metric="top1", subset=f"group={group}", value=0.1)
            for group in ("head", "tail", name)
        ]
        attempt.write_evaluation(
            Evaluation(
                run_id=spec.run_id,
                attempt=1,
                task=task.name,
                evaluation_hash=task.evaluation_hash(under),
                metrics=rows,
                made=1.0,
            )
        )


def bring(root):
    ingest(root, strangers.catalog().tasks(), strangers.catalog().code)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Runs with predictions of three methods, four that rank labels, two tested under corruption, and a stranger's."""
    root = tmp_path_factory.mktemp("dashboard") / "results"
    for method in ("ce", "la", "focal"):
        for seed in range(3):
            strangers.finished(root, seed + 10 * len(method), method)
    for place, method in enumerate(("bce", "lsep", "zlpr", "warp")):
        for seed in range(2):
            multilabel_records.finished(root, method, seed, knows=1.0 + place)
    for place, method in enumerate(("bce", "wdro")):
        for seed in range(2):
            robust_records.finished(root, method, seed, knows=2.0 + place)
    for number, name in enumerate(NASTY):
        hostile(root, number, name)
    bring(root)
    return root


@pytest.fixture(scope="module")
def url(results):
    with served(results) as address:
        yield address


@pytest.fixture
def visit(browser, url):
    """A visitor who must meet no error and cause no request to anywhere else."""
    made = Visit(browser, url)
    yield made
    made.close()
    assert made.errors == []
    assert made.outside == []


@pytest.mark.parametrize("name", PAGES)
def test_every_page_loads_with_hostile_names_and_asks_nobody_else(visit, name):
    visit.open(f"{name}?task=longtail-cls")
    expect(visit.page.locator("h1")).to_have_text(PAGES[name], use_inner_text=True)
    assert visit.page.title()
    visit.drawn()
    assert (
        visit.page.locator(
            '[data-testid="stMain"] script, [data-testid="stMain"] img[src*="192.0.2"]'
        ).count()
        == 0
    )


def test_filters_a_link_and_downloads(visit, browser, url):
    visit.open("leaderboard?task=longtail-cls&protocol=quick")
    before = visit.rows()
    assert all(any(name in line for line in before) for name in ("ce", "la", "focal"))
    visit.page.get_by_text("Filters and order").click()
    field = visit.page.get_by_label("Method contains")
    field.fill("a")
    field.press("Enter")
    visit.eventually(f"() => !({BOARD})().some(line => line.includes('ce'))")
    visit.page.get_by_role("combobox", name="Rank by").fill("top1[group=tail]")
    visit.page.get_by_role("option", name="top1[group=tail]", exact=True).click()
    visit.eventually(
        "() => document.querySelector('table.board th[aria-sort]').innerText.includes('tail')"
    )
    visit.settled()
    shown = visit.rows()
    assert 0 < len(shown) < len(before)
    # the page's address, and the link that it gives, open the same view
    link = visit.page.get_by_role("link", name="Link to this view").get_attribute("href")
    assert "protocol=quick" in link
    for address in (visit.page.url, link):
        other = Visit(browser, url)
        other.open(address.removeprefix(url).lstrip("/"))
        assert other.rows() == shown
        other.close()
    lines = list(csv.DictReader(io.StringIO(visit.download("CSV"))))
    for line in lines:
        if (name := line["method"]) in ("la", "focal"):
            tail = f"{100 * float(line['top1[group=tail]']):.1f}"
            (ours,) = (cells for cells in shown if name in cells)
            # method, n, what ranks
            assert ours[ours.index(name) + 2].startswith(tail)
    assert len(lines) == len(shown)
    assert "| la |" in visit.download("Markdown")
    assert r" & la & " in visit.download("LaTeX")


def test_nonsense_in_a_url_is_named_and_the_page_is_shown(visit):
    visit.open("leaderboard?task=longtail-cls&protocol=quikc&state=%F0%9F%9C%81&by=%3Cscript%3E")
    for told in (
        "protocol=quikc in the URL: no such protocol; did you mean quick?",
        "by=<script> in the URL",
    ):
        expect(visit.page.get_by_role("alert").filter(has_text=told).first).to_be_visible()
    assert visit.rows()


def test_the_slider_changes_the_ranking(visit):
    visit.open("test-agnostic?protocol=quick")

    def shown():
        lines = csv.DictReader(io.StringIO(visit.download("CSV", nth=-1)))
        return {line["method"]: line for line in lines}

    before = shown()
    expect(visit.page.get_by_text("Expected top-1 at uniform").first).to_be_visible()
    thumb = visit.page.get_by_role("slider").first
    thumb.focus()
    for _ in range(3):
        thumb.press("ArrowLeft")
    visit.page.get_by_text("Expected top-1 at forward-2", exact=True).wait_for()
    visit.settled()
    expect(visit.page).to_have_url(re.compile("shift=forward-2"))
    after = shown()
    assert after.keys() == before.keys()
    assert any(after[name]["expected top-1"] != before[name]["expected top-1"] for name in before)


def test_lists_of_labels_along_an_order(visit, browser, url):
    visit.open("labels?protocol=quick&view=top-K+lists&samples=differ+most&a=warp&b=bce")
    field = visit.page.get_by_test_id("stNumberInputField")
    first = field.input_value()
    visit.page.get_by_role("button", name="Next").click()
    expect(field).not_to_have_value(first)
    visit.settled()
    second = field.input_value()
    expect(visit.page).to_have_url(re.compile(f"sample={second}(&|$)"))
    lines = list(csv.DictReader(io.StringIO(visit.download("CSV"))))
    assert [line["rank"] for line in lines[:3]] == ["1", "2", "3"]
    other = Visit(browser, url)
    other.open(visit.page.url.removeprefix(url).lstrip("/"))
    expect(other.page.get_by_test_id("stNumberInputField")).to_have_value(second)
    other.close()
    visit.page.get_by_role("tab", name="which measures agree").click()
    expect(visit.page.get_by_text("Which methods change places")).to_be_visible()
    visit.settled()


def test_images_clean_and_corrupted(visit, browser, url):
    visit.open("robustness?protocol=smoke&view=images+and+scores&row=bce&severity=5")
    shown = visit.page.get_by_test_id("stMain").get_by_role("img")
    expect(shown).to_have_count(8)
    before = [line["number"] for line in csv.DictReader(io.StringIO(visit.download("CSV")))]
    assert len(before) == 4
    visit.open(f"{visit.page.url.removeprefix(url).lstrip('/')}&images=by+number")
    field = visit.page.get_by_test_id("stTextInputField")
    field.fill("3")
    field.press("Enter")
    expect(shown).to_have_count(1)
    expect(visit.page).to_have_url(re.compile("numbers=3(&|$)"))
    other = Visit(browser, url)
    other.open(visit.page.url.removeprefix(url).lstrip("/"))
    expect(other.page.get_by_text("number 3: logit")).to_be_visible()
    other.close()
    visit.page.get_by_role("tab", name="by corruption").click()
    visit.page.get_by_text("Difference", exact=True).click()
    expect(visit.page.get_by_text("Differences to bce are means")).to_be_visible()
    visit.settled()


def test_light_and_dark(browser, url):
    grounds = {}
    for scheme in ("light", "dark"):
        visit = Visit(browser, url, color_scheme=scheme)
        visit.open("leaderboard?task=longtail-cls&protocol=quick")
        ground, text = (
            visit.page.locator(of).first.evaluate(
                "(element, what) => getComputedStyle(element)[what]", what
            )
            for what, of in (("backgroundColor", ".stApp"), ("color", "table.board td"))
        )
        grounds[scheme] = ground, text
        visit.close()
    assert grounds["light"][0] != grounds["dark"][0]
    assert grounds["light"][1] != grounds["dark"][1]


COUNT = f"({BOARD})().flatMap(row => row.filter((_, at) => at && row[at - 1].startsWith('vs')))[0] ?? null"
"""Replicates of the row of `vs`: the cell after its name; None where there is none."""


def test_a_writer_at_work_breaks_no_page_and_new_runs_appear(visit, results):
    visit.open("leaderboard?task=longtail-cls&protocol=quick&contains=vs&state=partial&state=done")
    stop, problems = threading.Event(), []

    def write():
        seed = 100
        try:
            while not stop.is_set():
                strangers.finished(results, seed, "vs")
                bring(results)
                seed += 1
                # each takes in all results anew: more often only takes the page its processor
                stop.wait(3.0)
        except Exception as error:
            problems.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen, until = set(), time.time() + 120
        while time.time() < until and len(seen) < 2:
            for name in ("leaderboard?task=longtail-cls&protocol=quick&contains=vs", "overview"):
                visit.open(name)
                seen |= {visit.page.evaluate(f"() => {COUNT}")} - {None}
        # and without being asked
        visit.open("leaderboard?task=longtail-cls&protocol=quick&contains=vs")
        visit.rows()
        before = visit.page.evaluate(f"() => {COUNT}")
        visit.eventually(f"text => ({COUNT}) !== text", before)
        visit.settled()
    finally:
        stop.set()
        writer.join()
    assert not problems
    assert len(seen) >= 2
