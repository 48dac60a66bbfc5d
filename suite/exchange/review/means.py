"""The means of a stranger's runs beside ours, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from suite.base.canonical import canonical
from suite.define.task import direction
from suite.exchange.reference import Reference, is_final
from suite.exchange.review.findings import ExaminedRun


def mean_lines(runs: Sequence[ExaminedRun], reference: Reference) -> Iterator[str]:
    """Their mean beside reference, of the same protocol, method and parameters, in words."""
    from suite.stats import tests as stats

    rows: dict[tuple[str, str, bytes, str], list[float]] = {}
    names: dict[str, str] = {}
    for run in runs:
        if run.record is None:
            continue
        spec = run.record.spec
        names[spec.protocol_hash] = spec.protocol
        for name, recomputed in run.rows.items():
            primary = reference.catalog.task(name).primary[0]
            for row in recomputed:
                if is_final(row, primary) and row.value is not None:
                    key = (name, spec.protocol_hash, canonical(spec.params), spec.method)
                    rows.setdefault(key, []).append(row.value)
    for (task_name, hash_, params, method), theirs in sorted(rows.items()):
        task = reference.catalog.task(task_name)
        primary = task.primary[0]
        mine = reference.scores(task, hash_, method, params)
        what = f"{task_name}, {names[hash_]}, {method}: {primary}"
        mean = math.fsum(theirs) / len(theirs)
        if not mine:
            yield f"{what} {mean:.4f} (n={len(theirs)}); no run of ours to compare"
            continue
        difference = mean - math.fsum(mine) / len(mine)
        better = (difference > 0) == direction(task, primary)
        text = (
            f"{what} theirs {mean:.4f} (n={len(theirs)}), ours {mean - difference:.4f} "
            f"(n={len(mine)}), difference {difference:+.4f}"
        )
        if min(len(theirs), len(mine)) < 2:
            yield f"{text}: too few seeds for a test"
            continue
        p = stats.welch(theirs, mine)
        if p > stats.ALPHA:
            yield f"{text}: no significant difference (Welch p = {p:.2g})"
        else:
            word = "better" if better else "worse"
            yield f"{text}: theirs is significantly {word} (Welch p = {p:.2g}); ask why"
