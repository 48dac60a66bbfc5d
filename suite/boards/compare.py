"""Two methods, or two runs' rows, held against each other: over seeds, protocols and test images.

What is compared are rows of the board, with today's code: runs of one protocol and one evaluation. The test is
the board's, but p is of one comparison: it is not corrected for how many pairs somebody looks at. What the board
says, which is, stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from suite.base.errors import UserError
from suite.base.text import plain
from suite.boards.comparison import Change, Comparison, Line, Over, Overall, Verdict, shown
from suite.boards.named_rows import listed, metric_key, paired_rows
from suite.boards.over_images import line_over_images
from suite.boards.over_seeds import line_over_seeds
from suite.boards.whole_board import whole_boards
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Task, direction
from suite.stats.tests import ALPHA
from suite.store.rows import Side

MIN_PAIRS_WILCOXON = 6
"""Below, the exact signed-rank test cannot reach 5 %: its smallest two-sided p is 2 / 2^n."""
FEW_TO_RESAMPLE = 8
"""Below so many seeds a bootstrap interval is too narrow (benchmarks/intervals.py)."""


def compare(
    root: Path,
    catalog: Catalog,
    task: Task,
    a: str,
    b: str,
    *,
    metric: str | None = None,
    only: Protocol | None = None,
    over: Over = "seeds",
    bootstrap: bool = False,
) -> Comparison:
    """A against B: under each protocol that has both, and over these protocols.

    Args:
        a, b: method names, or run ids (their first digits), which stand for their rows.
        metric: key; default the task's first primary.
        only: the only protocol; default all.
        over: what varies: seeds, or the test images of stored predictions.
        bootstrap: interval and p over seeds by bootstrap, not by t.

    Raises UserError; RecordError where `over` is `images` and predictions are not stored.
    """
    key, about = metric_key(task, metric)
    both, alone, notes = paired_rows(root, catalog, task, a, b, key, only)
    higher = direction(task, key) is not False
    show = shown(about)
    lines = []
    whole = whole_boards(root, catalog, task, key, both) if over == "seeds" else {}
    for x, y in both:
        if over == "images":
            lines.append(line_over_images(root, catalog, task, x, y, key, higher, show))
        else:
            on = whole.get(x.protocol_hash)
            lines.append(line_over_seeds(catalog, task, x, y, higher, show, bootstrap, on))
    if few := sorted({line.n for line in lines if bootstrap and 1 < line.n < FEW_TO_RESAMPLE}):
        notes.append(
            f"a bootstrap interval of n = {', '.join(map(str, few))} seeds lies within their range and is too "
            "narrow: it covers at most 75 % at n = 3, 92 % at n = 5; leave --bootstrap out for t"
        )
    protocols: list[Change] = []
    if not lines:
        left = [[s for s in sides if s] for sides in zip(*alone, strict=True)]
        notes.append(
            "no protocol has both: "
            + "; ".join(
                f"{text} under {listed([side.protocol for side in sides])}"
                for text, sides in zip((a, b), left, strict=True)
            )
            + "; values of different protocols are not compared"
        )
        if len(left[0]) == len(left[1]) == 1:
            protocols = protocol_changes(catalog, left[0][0], left[1][0])
        config = _config(catalog, task, left[0][0], left[1][0])
    else:
        for text, sides in zip((a, b), zip(*alone, strict=True) if alone else (), strict=False):
            if names := [side.protocol for side in sides if side]:
                notes.append(f"{text} alone: {listed(names)}")
        config = _config(catalog, task, *both[0])
        if any(_config(catalog, task, *sides) != config for sides in both[1:]):
            notes.append(f"parameters are those under {lines[0].protocol}; elsewhere they differ")
    return Comparison(
        task=task.name,
        metric=key,
        higher_is_better=higher,
        unit=about.unit,
        a=a,
        b=b,
        over=over,
        lines=tuple(lines),
        overall=_overall(lines, a, b, higher, show) if len(lines) > 1 else None,
        protocols=tuple(protocols),
        config=tuple(config),
        notes=tuple(dict.fromkeys(notes)),
    )


def protocol_changes(catalog: Catalog, a: Side, b: Side) -> list[Change]:
    """Keys of the protocols' identities that differ; their hashes where one is not known here."""
    known = [catalog.protocol_with(side.protocol_hash, side.protocol) for side in (a, b)]
    if known[0] is None or known[1] is None:
        return [Change("hash", a.protocol_hash, b.protocol_hash)]
    x, y = known[0].identity, known[1].identity
    return [Change(key, x.get(key), y.get(key)) for key in {**x, **y} if x.get(key) != y.get(key)]


def _overall(
    lines: Sequence[Line], a: str, b: str, higher: bool, show: Callable[[float], str]
) -> Overall | None:
    gaps = [line.difference for line in lines if line.difference is not None]
    if len(gaps) < 2:
        return None
    datasets = len({line.dataset or line.protocol for line in lines if line.difference is not None})
    mean = sum(gaps) / len(gaps)
    nonzero = sum(gap != 0 for gap in gaps)
    p = None
    if nonzero:
        from scipy.stats import wilcoxon

        p = float(wilcoxon(gaps).pvalue)
    verdict: Verdict = "undecided"
    if p is not None and p <= ALPHA:
        verdict = "better" if (mean > 0) == higher else "worse"
    what = f"Wilcoxon signed rank over {len(gaps)} protocols"
    if nonzero < MIN_PAIRS_WILCOXON:
        words = (
            f"no conclusion: {what} cannot reach 5 % below {MIN_PAIRS_WILCOXON} that differ; "
            f"mean difference {show(mean)}"
        )
    elif verdict == "undecided":
        words = f"no conclusion: mean difference {show(mean)} (p = {p:.2g}, {what})"
    else:
        words = f"{plain(a)} is {verdict} than {plain(b)}: mean difference {show(mean)} (p = {p:.2g}, {what})"
    if datasets < len(gaps):
        words += (
            f"; they are on {datasets} data set(s), and protocols of one data set are not independent: "
            "the true p is larger"
        )
    return Overall(len(gaps), datasets, mean, p, verdict, words)


def _config(catalog: Catalog, task: Task, a: Side, b: Side) -> list[Change]:
    """Resolved parameters that differ, neutral values filled in; methods of inputs; code."""
    x, y = (resolved(catalog, side) for side in (a, b))
    changes = [
        Change(f"params.{key}", x.get(key), y.get(key))
        for key in sorted({**x, **y})
        if x.get(key) != y.get(key)
    ]
    roles = sorted({**a.inputs, **b.inputs})
    changes += [
        Change(f"inputs.{role}", a.inputs.get(role), b.inputs.get(role))
        for role in roles
        if a.inputs.get(role) != b.inputs.get(role)
    ]
    if a.method != b.method:
        changes.insert(0, Change("method", a.method, b.method))
    if a.digest != b.digest:
        changes.append(Change("digest", a.digest, b.digest))
    return changes


def resolved(catalog: Catalog, side: Side) -> dict[str, Any]:
    """All parameters of a row's runs, neutral values filled in; as they are recorded where the method is not here."""
    from suite.define.spec import RunSpec

    spec = RunSpec(
        protocol=side.protocol,
        protocol_hash=side.protocol_hash,
        method=side.method,
        params=dict(side.params),
    )
    try:
        parts = catalog.method(spec).parts
    except UserError:
        # of a method that is not here, or of an older card of it
        return dict(side.params)
    full = {
        f"{part.key}.{key}" if part.key else key: value
        for part in parts
        for key, value in part.params.items()
    }
    return {**full, **side.params}
