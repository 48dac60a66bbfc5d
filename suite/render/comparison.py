"""Two methods, all of a task, or arms of one, held against each other: as tables for people."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from suite.boards.arm_tests import Arm, Design, Test
from suite.boards.arms import CURVE, ArmsFound
from suite.boards.comparison import Comparison, Line, SideSummary
from suite.boards.correlations import NAME, Correlations
from suite.boards.overview import Overview
from suite.render.formats import Table
from suite.stats.components import Anova
from suite.stats.critical_difference import diagram

Found = Comparison | Overview | ArmsFound


def tables_of(found: Found) -> Iterator[Table]:
    """The tables, in the order in which they are shown."""
    if isinstance(found, ArmsFound):
        return _arms_parts(found)
    return _pair_parts(found) if isinstance(found, Comparison) else _overview_parts(found)


def as_json(found: Found) -> tuple[str, list[Any], dict[str, Any]]:
    """What kind of rows these are, the rows, and all else that is known; commands as text. Of two methods a
    row is a protocol; of all, a pair of them; of arms, an arm under a protocol."""
    if isinstance(found, ArmsFound):
        return _arms_json(found)
    made: dict[str, Any] = msgspec.to_builtins(found)
    if isinstance(found, Comparison):
        del made["lines"]
        rows = [
            {
                **{
                    name: value for name, value in fields.items() if name not in ("finding", "next")
                },
                "words": line.words,
                "next": None if line.next is None else str(line.next),
            }
            for line, fields in zip(found.lines, msgspec.to_builtins(found.lines), strict=True)
        ]
        return "compare", rows, made
    del made["wins"]
    # the runs' own values are rows of `export`
    for one in (made["correlations"] or {"found": ()})["found"]:
        del one["points"]
        one["arms"] = len(one["arms"])
    wins = [
        {"a": a, "b": b, "rate": cell.rate, "pairs": cell.pairs}
        for a, cells in zip(found.methods, found.wins, strict=True)
        for b, cell in zip(found.methods, cells, strict=True)
        if cell is not None
    ]
    return "compare-all", wins, made


def _table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> Table:
    """Without rows there are only title and notes."""
    return Table(title=title, head=head if rows else (), rows=rows, notes=notes)


def _pair_parts(found: Comparison) -> Iterator[Table]:
    better = "higher" if found.higher_is_better else "lower"
    percent = ", in percent" if found.unit == "fraction" else ""
    title = f"{found.a} and {found.b}: {found.metric} ({better} is better{percent}), {found.task}"
    rows = []
    for line in found.lines:
        rows.append(
            (
                line.protocol,
                _side(line.a, found.unit),
                _side(line.b, found.unit),
                str(len(line.common_seeds)),
                _number(line.difference, found.unit, signed=True),
                _limits(line.low, line.high, found.unit),
                "–" if line.p is None else f"{line.p:.2g}",
                line.verdict,
                on_board(line),
            )
        )
    head = (
        *("protocol", "A", "B", "common seeds", "A - B"),
        *("95 % interval", "p", "A is", "on the board"),
    )
    words = [
        f"{line.protocol}: {line.words}" if len(found.lines) > 1 else line.words
        for line in found.lines
    ]
    if found.overall:
        words.append(f"over protocols: {found.overall.words}")
    notes = [*words, *(f"note: {note}" for note in found.notes)]
    yield _table(title, head, rows, notes)
    if found.protocols:
        yield _changes("Protocols differ in", found.protocols)
    yield _changes("Rows differ in", found.config)


def on_board(line: Line) -> str:
    """The board's own verdict, all its pairs taken together."""
    if line.apart_on_board is None:
        return "–"
    return "told apart" if line.apart_on_board else "tied"


def _changes(title: str, changes: Sequence[Any]) -> Table:
    rows = [
        (
            change.key,
            *(
                value if isinstance(value, str) else "–" if value is None else json.dumps(value)
                for value in (change.a, change.b)
            ),
        )
        for change in changes
    ]
    return _table(title if rows else f"{title} nothing", ("", "A", "B"), rows)


def _side(cell: SideSummary, unit: str) -> str:
    half = "" if cell.low is None or cell.high is None else _half(cell.high - cell.low, unit)
    return f"{cell.name} {_number(cell.mean, unit)}{half} (n={len(cell.runs)})"


def _half(width: float, unit: str) -> str:
    return f" ±{50 * width:.2f}" if unit == "fraction" else f" ±{width / 2:.2g}"


def _number(value: float | None, unit: str, signed: bool = False) -> str:
    if value is None:
        return "–"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.2f}" if unit == "fraction" else f"{value:{sign}.4g}"


def _limits(low: float | None, high: float | None, unit: str) -> str:
    if low is None or high is None:
        return "–"
    return f"{_number(low, unit, True)} to {_number(high, unit, True)}"


def _overview_parts(found: Overview) -> Iterator[Table]:
    notes = [f"note: {note}" for note in found.notes]
    rows = [
        (
            name,
            *(
                "" if cell is None else f"{100 * cell.rate:.0f} ({cell.pairs})"
                for cell in found.wins[i]
            ),
        )
        for i, name in enumerate(found.methods)
    ]
    yield _table(
        f"{found.task}: how often the row beats the column in {found.metric}, % of (protocol, seed) pairs",
        ("", *found.methods),
        rows,
        notes,
    )
    fixed = diagram(found.ranks.found, found.ranks.methods) if found.ranks else []
    yield Table(
        title="Average ranks, 1 is best, and Nemenyi's critical difference at 5 %",
        notes=[found.ranks_words],
        fixed=fixed,
    )
    prices = [
        (
            price.protocol,
            price.method,
            str(price.exchange.n),
            _gain(price.exchange.head, found.unit),
            _gain(price.exchange.tail, found.unit),
            "–" if price.exchange.rate is None else f"{price.exchange.rate:.2f}",
            "–"
            if price.exchange.low is None or price.exchange.high is None
            else f"{price.exchange.low:.2f} to {price.exchange.high:.2f}",
            price.exchange.words,
        )
        for price in found.prices
    ]
    yield _table(
        f"Exchange rate against {found.reference}: tail gain for a point of head loss "
        "(95 % interval by Fieller)",
        ("protocol", "method", "seeds", "head", "tail", "rate", "95 % interval", ""),
        prices,
        [found.prices_words] if found.prices_words else [],
    )
    if found.correlations:
        yield _correlations(found.correlations)
    if found.images:
        yield _table(
            f"{found.metric} over test images (expanded percentile bootstrap, models as trained)",
            ("protocol", "method", "runs", "score", "95 % interval"),
            [
                (
                    one.protocol,
                    one.method,
                    str(one.runs),
                    _number(one.interval.mean if one.interval else None, found.unit),
                    _limits(one.interval.low, one.interval.high, found.unit).replace("+", "")
                    if one.interval
                    else "–",
                )
                for one in found.images
            ],
        )


def _correlations(found: Correlations) -> Table:
    of = ", ".join(dict.fromkeys(one.of for one in found.found))
    beside = next((one.beside for one in found.found if one.beside), None)
    rows = []
    for one in found.found:
        rho, gain = one.found, one.gain
        cells = ["–", "–", "–", "–"]
        if rho is not None:
            cells = [str(rho.rows), str(rho.runs), f"{rho.rho:+.2f}", _span(rho.low, rho.high)]
        if beside:
            cells.append("–" if gain is None else f"{gain.mean:+.2f}")
            cells.append("–" if gain is None else _span(gain.low, gain.high))
        rows.append((one.protocol, one.by, *cells, one.words))
    head = ["protocol", "metric", "rows", "runs", "rho", "95 % interval"]
    if beside:
        head += [f"|rho| less that of {beside}", "95 % interval"]
    title = f"What goes with {of or 'the score'}: {NAME}"
    return _table(title, [*head, ""], rows, [found.words] if found.words else [])


def _span(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:+.2f} to {high:+.2f}"


def _gain(interval: Any, unit: str) -> str:
    half = "" if interval.low is None else _half(interval.high - interval.low, unit)
    return _number(interval.mean, unit, signed=True) + half


def _arms_json(found: ArmsFound) -> tuple[str, list[Any], dict[str, Any]]:
    made: dict[str, Any] = msgspec.to_builtins(found)
    del made["designs"]
    rows, tests, words = [], [], []
    for design in found.designs:
        place = {"protocol": design.protocol, "beside": list(design.beside)}
        whole = {
            **place,
            "protocol_hash": design.protocol_hash,
            "evaluation_hash": design.evaluation_hash,
            "dataset": design.dataset,
        }
        rows += [{**whole, **msgspec.to_builtins(arm)} for arm in design.arms]
        tests += [{**place, **msgspec.to_builtins(test)} for test in design.tests]
        follows = None if design.next is None else str(design.next)
        held = msgspec.to_builtins(design.association)
        words.append({**place, "words": list(design.words), "next": follows, "association": held})
    return "compare-arms", rows, {**made, "tests": tests, "findings": words}


def _arms_parts(found: ArmsFound) -> Iterator[Table]:
    for design in found.designs:
        beside = f", with {', '.join(design.beside)}" if design.beside else ""
        yield _arms_of(found, design, f"{found.task} under {design.protocol}{beside}")
        rows = [
            (*_test_cells(test, one), "decides" if one.kind == test.decides else "")
            for test in design.tests
            for one in (test.crossed, test.one_way)
            if one is not None
        ]
        head = (
            *(
                "metric",
                "without",
                "analysis",
                "arms",
                "seeds",
                "F",
                "df",
                "p",
                "share of arms / %",
            ),
            *("95 % interval", "s.d. of arms", "s.d. of error", "detectable s.d.", ""),
        )
        words = list(design.words)
        if design.next:
            words.append(f"runs that are missing: {design.next}")
        yield _table("Analysis of variance, arms as random effects", head, rows, words)
    if found.notes:
        yield Table(notes=[f"note: {note}" for note in found.notes])


def _arms_of(found: ArmsFound, design: Design, where: str) -> Table:
    unit_of = {test.metric: test.unit for test in design.tests}
    shown = [one for one in found.also if any(_means(arm, one) for arm in design.arms)]
    rows = []
    for arm in design.arms:
        half = "" if arm.low is None or arm.high is None else _half(arm.high - arm.low, found.unit)
        there = sum(value is not None for value in arm.values[found.metric])
        remarks = ["left out"] if arm.left_out else []
        if arm.unfitted:
            remarks.append(f"{len(arm.unfitted)} of {len(arm.seeds)} not fitted")
        rows.append(
            (
                arm.label,
                str(there),
                _number(arm.mean, found.unit) + half,
                *(_number(_means(arm, one), unit_of[one]) for one in shown),
                ", ".join(remarks),
            )
        )
    percent = " (fractions in percent)" if "fraction" in unit_of.values() else ""
    return _table(
        f"Arms of {found.method}.{found.param}: {where}{percent}",
        (found.param, "n", found.metric, *(one.removeprefix(CURVE) for one in shown), ""),
        rows,
    )


def _means(arm: Arm, key: str) -> float | None:
    there = [value for value in arm.values[key] if value is not None]
    return sum(there) / len(there) if there else None


def _test_cells(test: Test, one: Anova) -> tuple[str, ...]:
    interval = "–"
    if one.low is not None and one.high is not None:
        interval = f"{100 * one.low:.0f} to {100 * one.high:.0f}"
    left_out = {"": "", "runs": "runs not fitted", "arms": "arms not fitted"}[test.without]
    return (
        test.metric,
        left_out,
        one.kind,
        str(one.arms),
        f"{one.seeds:.3g}",
        "–" if one.f is None else f"{one.f:.3g}",
        f"{one.df_arm}, {one.df_error}",
        f"{one.p:.2g}",
        "–" if one.icc is None else f"{100 * one.icc:.0f}",
        interval,
        _number(one.arm_sd, test.unit),
        _number(one.error_sd, test.unit),
        _number(one.detectable, test.unit),
    )
