"""Tables and bars of which modalities are right about which test samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from suite.render.table import Column, Sheet, Value
from tasks.multimodal.views import sharing
from tasks.multimodal.views.board import shown, unique
from tasks.multimodal.views.drawings import Part
from tasks.multimodal.views.sharing import Answers, Shares

ALL = "all classes"
MOST_LANES = 60
"""Classes that are drawn."""
MOST_SAMPLES = 1000
"""Samples that are listed."""


class Agreement(NamedTuple):
    """Of modalities A and B of a run.

    Attributes:
        pair: their names.
        classes: the data set's.
        patterns: both right, only A, only B, none.
        lanes: all samples, then those of every class.
        drawn, bars: the lanes that have a bar, and their shares.
        samples: of every pattern the places in the test set.
    """

    pair: tuple[str, str]
    classes: Sequence[str]
    patterns: tuple[str, str, str, str]
    lanes: list[tuple[str, Shares]]
    drawn: list[str]
    bars: list[Part]
    samples: tuple[list[int], ...]
    notes: list[str]


def agreement(
    found: Answers, pair: tuple[str, str], labels: Mapping[str, str], classes: Sequence[str]
) -> Agreement:
    """`labels`: modality -> as charts show it; `classes`: names, C."""
    a, b = (labels[name] for name in pair)
    patterns = "both right", f"only {a} right", f"only {b} right", "none right"
    pattern = sharing.patterns(found, *pair)
    whole = sharing.shares(found, pattern)
    each = sharing.by_class(found, pattern, len(classes))
    # a class may be called as the bar of all is, and two alike where names are cut
    named = unique([ALL, *map(shown, classes)])
    lanes = list(zip(named, [whole, *each], strict=True))
    drawn = [lane for lane in lanes if lane[1].total][: MOST_LANES + 1]
    bars = [
        Part(lane, text, k, 100 * of.patterns[k] / of.total, of.patterns[k], of.fused[k])
        for lane, of in drawn
        for k, text in enumerate(patterns)
    ]
    samples = tuple(sharing.samples(pattern, k) for k in range(4))
    notes = [_told(whole, patterns)]
    others = len(found.names) - 2
    if others > 0:
        notes.append(
            f"{a} and {b} of {others + 2} modalities are shown; all pairs are in a table below."
        )
    empty = sum(not lane[1].total for lane in lanes)
    if empty:
        notes.append(f"{empty} of {len(classes)} classes have no test sample.")
    if len(lanes) - empty > len(drawn):
        notes.append(f"The first {MOST_LANES} classes are drawn; all are in the table.")
    return Agreement(
        pair, classes, patterns, lanes, [lane for lane, _ in drawn], bars, samples, notes
    )


def _told(whole: Shares, patterns: Sequence[str]) -> str:
    """Whom the fused logits follow, where one modality alone is right."""
    parts = [
        f"{100 * whole.fused[k] / whole.patterns[k]:.0f} % of those with {patterns[k]}"
        for k in range(4)
        if whole.patterns[k]
    ]
    return f"{whole.total:,} test samples, by each modality's own logits. The fused logits are right on {', '.join(parts)}."


def too_few(row: str, names: Sequence[str]) -> str:
    """Why there is nothing to show of a run with logits of fewer than two modalities."""
    if names:
        return f"{row} uses {names[0]} alone: there is no other modality to agree with"
    return f"{row} stores no logits of single modalities: its fusion has none"


def share_sheet(title: str, made: Agreement) -> Sheet:
    """A line a lane: how many samples, of them the share of each pattern, and of these that where the fused logits are
    right."""
    columns = [Column("class"), Column("samples", "integer")]
    for text in made.patterns:
        columns += [
            Column(text, "percent"),
            Column(
                "of which fused",
                "percent",
                f"Of the samples with {text}: the fused logits are right.",
            ),
        ]
    rows: list[list[Value]] = []
    for lane, found in made.lanes:
        line: list[Value] = [lane, found.total]
        for count, fused in zip(found.patterns, found.fused, strict=True):
            line += [count / found.total if found.total else None, fused / count if count else None]
        rows.append(line)
    return Sheet(title, tuple(columns), rows)


def pair_sheet(title: str, found: Answers, labels: Mapping[str, str]) -> Sheet:
    """A line a pair of modalities."""
    columns = (
        Column("A"),
        Column("B"),
        Column("both right", "percent"),
        Column("only A", "percent"),
        Column("only B", "percent"),
        Column("none", "percent", "Double fault."),
        Column(
            "one of them",
            "percent",
            "At least one is right: the most that choosing one a sample can reach.",
        ),
    )
    rows: list[list[Value]] = []
    for (a, b), shares in sharing.of_pairs(found).items():
        all_of = shares.total or None
        part = [count / all_of if all_of else None for count in shares.patterns]
        best = 1 - shares.patterns[sharing.NONE] / all_of if all_of else None
        rows.append([labels[a], labels[b], *part, best])
    return Sheet(title, columns, rows)


def vote_sheet(title: str, found: Answers) -> Sheet:
    """A line for each number of modalities that are right."""
    count = len(found.label)
    return Sheet(
        title,
        (
            Column("modalities right", "integer"),
            Column("samples", "integer"),
            Column("share", "percent"),
            Column("fused", "percent", "Of these samples: the fused logits are right."),
        ),
        [
            (k, n, n / count if count else None, fused / n if n else None)
            for k, (n, fused) in enumerate(sharing.votes(found))
        ],
    )


def sample_sheet(
    title: str, found: Answers, numbers: Sequence[int], made: Agreement, labels: Mapping[str, str]
) -> Sheet:
    """A line a test sample: its class, and what each of the pair and the fused logits say."""
    columns = [Column("sample", "integer", "Place in the test set, 0 the first."), Column("class")]
    for text in (*(labels[name] for name in made.pair), "fused logits"):
        columns += [Column(f"by {text}"), Column("softmax", "percent", "Of the class named.")]
    rows: list[list[Value]] = []
    for number in numbers[:MOST_SAMPLES]:
        line: list[Value] = [number, made.classes[int(found.label[number])]]
        for one in made.pair:
            k = found.names.index(one)
            line += [made.classes[int(found.called[number, k])], float(found.sure[number, k])]
        line += [made.classes[int(found.fused[number])], float(found.fused_sure[number])]
        rows.append(line)
    more = len(numbers) > MOST_SAMPLES
    return Sheet(
        title,
        tuple(columns),
        rows,
        notes=(f"the first {MOST_SAMPLES:,} of {len(numbers):,}",) if more else (),
    )
