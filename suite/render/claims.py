"""Claims and statements beside ours as a terminal table, JSON, CSV or Markdown."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from suite.base.text import plain
from suite.boards.statements import Finding
from suite.boards.statements import counted as counted_tests
from suite.claims.claim import Claim
from suite.claims.compare import DIFFERS, FEW, STATUSES, Comparison
from suite.claims.statement import spoken
from suite.render import formats
from suite.render.formats import Table

ROW = (
    *("task", "method", "method_as_printed", "metric", "protocol_as_printed", "protocol"),
    *("claim", "claim_std", "claim_n", "unit", "our_protocol", "ours", "low", "high", "n"),
    *("difference", "status", "note", "differs", "verified", "tag"),
    *("source", "where", "location", "venue", "arxiv", "url", "file"),
    *("statement", "test", "estimate", "p", "power", "finding", "objections"),
)
"""Columns of the CSV, keys of `as_row`."""


def as_row(made: Comparison) -> dict[str, Any]:
    """Everything that is known, flat, fractions in [0, 1]; what JSON and CSV hold."""
    claim, ours = made.claim, made.ours
    return {
        "task": claim.task,
        "method": claim.method,
        "method_as_printed": claim.method_as_printed,
        "metric": claim.metric,
        "protocol_as_printed": claim.protocol_as_printed,
        "protocol": claim.full_protocol,
        "claim": claim.value,
        "claim_std": claim.std,
        "claim_n": claim.n,
        "unit": claim.unit,
        "our_protocol": made.protocol or None,
        "ours": ours and ours.mean,
        "low": ours and ours.low,
        "high": ours and ours.high,
        "n": ours.n if ours else 0,
        "difference": made.difference,
        "status": made.status,
        "note": made.note,
        "differs": list(made.differences),
        "verified": claim.verified,
        "tag": claim.tag,
        "source": claim.source.title,
        "where": claim.source.where,
        "location": claim.location,
        "venue": claim.source.venue,
        "arxiv": claim.source.arxiv,
        "url": claim.source.url,
        "file": claim.file,
    }


HEAD = {
    "method": False,
    "metric": False,
    "protocol as printed": False,
    "claim": True,
    "ours": True,
    "difference": True,
    "status": False,
    "source": False,
}
"""Column -> whether it is of numbers."""


def as_table(comparisons: Sequence[Comparison]) -> Table:
    """A line a claim; fractions in percent.

    Ways in which protocols differ are numbered; the notes tell them, and what the sources are.
    """
    sources: dict[str, str] = {}
    numbers: dict[str, int] = {}
    lines = []
    for made in comparisons:
        marks = ""
        if made.status == DIFFERS:
            found = [numbers.setdefault(text, len(numbers) + 1) for text in made.differences]
            marks = f" ({', '.join(map(str, found))})"
        elif made.status == FEW and made.ours:
            marks = f" (n={made.ours.n})"
        elif made.note:
            marks = f" ({made.note})"
        claim = made.claim
        name = claim.method_as_printed
        if claim.method is not None and claim.method != name:
            name = claim.method if claim.method == name.lower() else f"{name} ({claim.method})"
        texts = (
            name,
            claim.metric,
            claim.protocol_as_printed,
            value_text(claim),
            _ours_text(made),
            _difference_text(made),
            made.status + marks,
            claim.name,
        )
        lines.append(tuple(map(plain, texts)))
        cited = ", ".join(filter(None, (claim.source.title, claim.source.venue)))
        sources[claim.name] = f"{claim.name}: {cited}; {claim.source.where}"
    notes = [f"{number}: {plain(text)}" for text, number in numbers.items()]
    if any(not made.claim.verified for made in comparisons):
        notes.append("?: not verified where it was printed (abstract, aggregator, second hand)")
    notes += [*map(plain, sources.values()), counted(comparisons)]
    return Table(head=tuple(HEAD), rows=lines, right=tuple(HEAD.values()), notes=notes)


def value_text(claim: Claim) -> str:
    """The printed number: percent for fractions, `?` behind what was not verified."""
    if claim.is_fraction:
        text = f"{100 * claim.value:.{claim.decimals}f}"
        spread = "" if claim.std is None else f" ±{100 * claim.std:.{claim.decimals}f}"
    else:
        text = f"{claim.value:.6g}"
        spread = "" if claim.std is None else f" ±{claim.std:.2g}"
    return text + spread + ("" if claim.verified else " ?")


def _ours_text(made: Comparison) -> str:
    ours = made.ours
    if ours is None:
        return "–"
    half = None if ours.low is None or ours.high is None else (ours.high - ours.low) / 2
    if made.claim.is_fraction:
        text = f"{100 * ours.mean:.1f}" + ("" if half is None else f" ±{100 * half:.1f}")
    else:
        text = f"{ours.mean:.6g}" + ("" if half is None else f" ±{half:.2g}")
    return f"{text} (n={ours.n})"


def _difference_text(made: Comparison) -> str:
    difference = made.difference
    if difference is None:
        return "–"
    return f"{100 * difference:+.1f}" if made.claim.is_fraction else f"{difference:+.4g}"


def counted(comparisons: Sequence[Comparison]) -> str:
    """`12 claims: 2 confirmed, 10 not run`."""
    counts = Counter(made.status for made in comparisons)
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    what = f"{len(comparisons)} claim" + ("" if len(comparisons) == 1 else "s")
    return what + (f": {', '.join(parts)}" if parts else "")


def statement_row(made: Finding) -> dict[str, Any]:
    """Everything that is known of a finding; of fractions in [0, 1]. What JSON holds, and CSV under these names."""
    one, test = made.statement, made.test
    return {
        "statement": one.text,
        "task": one.task,
        "protocol": test and test.protocol,
        "test": test and spoken(test),
        "smallest": test and test.smallest,
        "status": made.status,
        "finding": made.words,
        "estimate": made.estimate,
        "low": made.low,
        "high": made.high,
        "p": made.p,
        "n": made.n,
        "power": made.power,
        "objections": list(one.objections),
        "next": None if made.next is None else str(made.next),
        "verified": one.verified,
        "tag": one.tag,
        "source": one.source.title,
        "where": one.source.where,
        "location": one.location,
        "venue": one.source.venue,
        "arxiv": one.source.arxiv,
        "url": one.source.url,
        "file": one.file,
    }


def statements_table(found: Sequence[Finding]) -> Table:
    """A line a test, by the number of the statement and of the test. What is said, what has been held against it and what
    our runs say in full is in the notes."""
    of: dict[int, list[Finding]] = {}
    for made in found:
        of.setdefault(id(made.statement), []).append(made)
    rows, notes = [], []
    for number, members in enumerate(of.values(), 1):
        one = members[0].statement
        cited = ", ".join(filter(None, (one.name, one.location)))
        notes.append(f"{number}: {one.text} ({cited}{'' if one.verified else '; not verified'})")
        notes += [f"{number}: objection: {text}" for text in one.objections]
        for place, made in enumerate(members, 1):
            name = f"{number}.{place}" if len(members) > 1 else str(number)
            rows.append(tuple(map(plain, (name, *_test_texts(made)))))
            notes.append(f"{name}: {made.status}: {made.words}")
            if made.next is not None:
                notes.append(f"{name}: {made.next}")
    sources = {made.statement.name: made.statement.source for made in found}
    for name, source in sources.items():
        cited = ", ".join(filter(None, (source.title, source.venue, source.arxiv)))
        notes.append(f"{name}: {cited}; {source.where}")
    head = ("", "test", "protocol", "ours", "p", "n", "power / %", "status", "source")
    right = (False, False, False, True, True, True, True, False, False)
    notes.append(counted_tests(found))
    return Table(
        title="Statements", head=head, rows=rows, right=right, notes=[plain(note) for note in notes]
    )


def _test_texts(made: Finding) -> tuple[str, ...]:
    test = made.test
    return (
        spoken(test) if test else "–",
        test.protocol if test else "–",
        _value(made.estimate),
        "–" if made.p is None else f"{made.p:.2g}",
        str(made.n),
        "–" if made.power is None else f"{100 * made.power:.0f}",
        made.status,
        made.statement.name,
    )


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def to_csv(comparisons: Sequence[Comparison], found: Sequence[Finding] = ()) -> str:
    """A line a claim, as `as_row`, then a line a test of a statement, as `statement_row`; texts escaped as those of a
    board."""
    rows = [{**as_row(made), "differs": "; ".join(made.differences)} for made in comparisons]
    for made in found:
        rows.append({**statement_row(made), "objections": "; ".join(made.statement.objections)})
    return formats.to_csv(ROW, ([row.get(name) for name in ROW] for row in rows))
