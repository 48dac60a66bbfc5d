"""Boards and contents for `export`, and a reader of the pages that it writes."""

from html.parser import HTMLParser

import pytest
from msgspec.structs import replace
from records import HOSTILE, TASK, Records

from suite.boards.leaderboard import board
from suite.define.card import Card, Preset
from suite.define.metrics import MetricRow
from suite.render.export import Export
from suite.store.row import Cell, RowFailure

NAMES = [
    *HOSTILE,
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "</style><script>alert(1)</script>",
    "a & b < c > d",
    r"\input{/etc/passwd} \write18{id} 50% $x$ a_b #1 ~ ^",
    "=cmd()|' /C calc'!A0",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200f",
    "\x1b]0;title\x07\x00\x9b2J",
    "\u6f22\u5b57 \U0001f600 e\u0301 \u00df",
    "../../etc/passwd",
    "x" * 5000,
]
CARD = Card(
    title="Cross-entropy",
    tasks=[TASK.name],
    names={"ce": Preset(summary="plain & simple")},
    paper="On <losses>",
    arxiv="1234.56789",
    bibtex="@misc{ce,\n  title = {A & B}\n}",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    records = Records(tmp_path_factory.mktemp("root") / "results")
    for seed in range(3):
        records.run(
            "la",
            seed=seed,
            flags=("extra-budget",),
            rows=[
                MetricRow(metric="mIoU", value=0.60 + seed / 100),
                MetricRow(metric="mIoU", subset="group=head", value=0.7 + seed / 100),
                MetricRow(metric="mIoU", subset="group=tail", value=0.5 + seed / 100),
                MetricRow(metric="IoU", class_="sky", value=0.9),
                MetricRow(metric="loss", step=5, value=1.5, source="hook"),
            ],
        )
        records.run("ce", seed=seed, mIoU=0.40 + seed / 100, tail=0.20 + seed / 100, loss=2.5)
    records.run("few", mIoU=0.7)
    records.unfinished("bad", failure="nan", message="loss is nan")
    records.run("ce", under=TASK.protocols[1], mIoU=0.3)
    records.ingest()
    return records.root


def rows_of(root, **more):
    made = board(root, TASK, protocol=None, by=None, today={}, planned=[], **more)
    # as of a catalog that has the methods
    return [replace(row, settings=[]) for row in made]


@pytest.fixture(scope="module")
def content(root):
    return Export(root=root, task=TASK, rows=rows_of(root), cards={"ce": CARD})


def hostile(rows, name):
    """Rows as a stranger's records might bring them."""
    texts = ("method", "protocol", "dataset", "digest", "protocol_hash", "evaluation_hash")
    return replace(
        rows[0],
        **dict.fromkeys(texts, name),
        params={name: name},
        flags=[name],
        failures=[RowFailure(run=name, seed=0, kind=name, message=name, step=1)],
        metrics={**rows[0].metrics, f"m[group={name}]": Cell(0.5, 0.4, 0.6)},
    )


# -- HTML
class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and text outside of style and script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self._inside = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag in ("style", "script"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if tag in ("style", "script"):
            self._inside.pop()

    def handle_data(self, data):
        if not self._inside:
            self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)
