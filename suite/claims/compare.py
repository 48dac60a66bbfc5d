"""Claims held against rows of ours. A claim never joins a statistic of ours and ranks nothing."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from suite.base.canonical import canonical
from suite.claims.claim import Claim
from suite.define.card import covers
from suite.define.flags import DATA_VARIANT
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.stats.tests import MIN_REPLICATES
from suite.store.row import COST, Cell, Row

_Placed = tuple[Row, Protocol]
Defaults = Callable[[str, Protocol], Mapping[str, Any]]
"""(method, protocol) -> the parameters of a run without `--set`, as its row has them."""

CONFIRMED, WITHIN, BELOW, ABOVE = "confirmed", "within noise", "below", "above"
FEW, DIFFERS, NOT_RUN = "not enough seeds", "protocol differs", "not run"
STATUSES = {
    CONFIRMED: "within noise, and our mean is at most 0.5 points away",
    WITHIN: "the printed value lies in our 95 % interval, or its own interval overlaps ours",
    BELOW: "ours is significantly lower",
    ABOVE: "ours is significantly higher",
    FEW: f"fewer than {MIN_REPLICATES} replicates of ours",
    DIFFERS: "what was printed was measured in another way; ours is shown beside it",
    NOT_RUN: "no finished and evaluated run of ours",
}
"""Status -> what it says."""
TOLERANCE = 0.005
"""Half a point: how far a confirming mean may be from a printed fraction; of other units, a share."""


class Ours(NamedTuple):
    """Mean and 95 % interval (None for n = 1, and for costs) over n replicates."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A claim and what we have beside it. `differences` are those of `claim.differs` and those of the row
    (of `protocol`, where nothing is there yet), `distance` counts them, each variant by itself; `protocol`
    is ours, "" where there is none."""

    claim: Claim
    status: str
    ours: Ours | None
    protocol: str
    differences: tuple[str, ...]
    distance: int
    note: str = ""

    @property
    def difference(self) -> float | None:
        """Our mean minus the printed value."""
        return None if self.ours is None else self.ours.mean - self.claim.value


def verdict(
    value: float,
    ours: Ours | None,
    *,
    differs: bool = False,
    std: float | None = None,
    n: int | None = None,
    tolerance: float = TOLERANCE,
) -> str:
    """Status of a printed value against ours, see `STATUSES`.

    In this order: without `ours` not run; where the protocol `differs`, that; below three replicates of
    ours not enough seeds. Else the value is within noise where it lies in our 95 % t interval, or where
    the source prints `std` and the number of replicates `n` >= 2 and its own t interval,
    value +- t(n - 1) std / sqrt(n), overlaps ours. Within noise and |ours - value| <= `tolerance` is
    confirmed; outside, ours is below or above. A printed value without a spread is so taken for exact,
    which its own seed noise makes too strict; and overlapping intervals are weaker than a test: of two as
    wide as each other, means 1.4 to 2 half-widths apart differ by Welch's test and still overlap.
    """
    if ours is None:
        return NOT_RUN
    if differs:
        return DIFFERS
    if ours.n < MIN_REPLICATES or ours.low is None or ours.high is None:
        return FEW
    low = high = value
    if std is not None and n is not None and n >= 2:
        from suite.stats.tests import t_quantiles

        half = t_quantiles([n])[n] * std / math.sqrt(n)
        low, high = value - half, value + half
    if low <= ours.high and high >= ours.low:
        # rounding must not decide whether half a point is half a point
        near = abs(ours.mean - value) <= tolerance * (1 + 1e-9)
        return CONFIRMED if near else WITHIN
    return BELOW if ours.mean < value else ABOVE


def compare(
    claims: Iterable[Claim],
    boards: Mapping[str, Sequence[Row]],
    tasks: Mapping[str, Task],
    defaults: Defaults | None = None,
) -> list[Comparison]:
    """Each claim beside the row of ours that is nearest to it.

    Candidates are rows of the method whose protocol the claim's covers, made by today's code and scored
    by today's evaluation. Of several the one with the fewest differences is taken, then the one with the
    most replicates: never the one with the better or the nearer value.

    Args:
        boards: task -> rows of its board, all protocols; a task without a board has no rows.
        defaults: what a row's parameters are held against; without it they are not looked at.
    """
    rows_of: dict[tuple[str, str], list[_Placed]] = {}
    for name, rows in boards.items():
        for row, protocol in _current(tasks[name], rows):
            rows_of.setdefault((name, row.method), []).append((row, protocol))
    return [
        _compared(claim, rows_of.get((claim.task, claim.method or ""), []), tasks, defaults)
        for claim in claims
    ]


def columns(
    claims: Iterable[Claim],
    rows: Sequence[Row],
    task: Task,
    keys: Collection[str],
    defaults: Defaults | None = None,
    *,
    verified: bool = True,
) -> dict[tuple[str, str, str], list[Comparison]]:
    """Claims for columns of a board: (method, protocol, metric key) -> comparisons, nearest first.

    Of a method under a protocol several sources may have printed a number: the first has the fewest
    differences from it, and of equals a spread; the values play no part. A pair of a planned row has its
    claims too. `verified=False` takes unverified claims as well, after the verified ones.
    """
    of_method: dict[str, list[Claim]] = {}
    for claim in claims:
        asked = claim.task == task.name and claim.metric in keys
        if asked and claim.method is not None and (claim.verified or not verified):
            of_method.setdefault(claim.method, []).append(claim)
    wanted = [row for row in rows if row.method in of_method]
    groups: dict[tuple[str, str], list[_Placed]] = {
        (row.method, row.protocol): [] for row in wanted
    }
    for row, current in _current(task, wanted):
        groups[row.method, row.protocol].append((row, current))
    found: dict[tuple[str, str, str], list[Comparison]] = {}
    for (method, protocol), members in groups.items():
        for claim in of_method[method]:
            if claim.protocol and covers(claim.protocol, protocol):
                made = _compared(claim, members, {task.name: task}, defaults, protocol)
                found.setdefault((method, protocol, claim.metric), []).append(made)
    for comparisons in found.values():
        comparisons.sort(key=lambda c: (not c.claim.verified, c.distance, c.claim.std is None))
    return found


def _compared(
    claim: Claim,
    rows: Sequence[_Placed],
    tasks: Mapping[str, Task],
    defaults: Defaults | None,
    protocol: str = "",
) -> Comparison:
    """`protocol`: of ours, for the differences where no row is there."""
    best: tuple[tuple[Any, ...], Row, Ours, tuple[str, ...]] | None = None
    undefined = False
    task = tasks.get(claim.task)
    fitting: dict[str, bool] = {}
    for row, current in rows if claim.protocol else ():
        if current.name not in fitting:
            fitting[current.name] = covers(claim.protocol, current.name)
        if not fitting[current.name]:
            continue
        ours = _ours(row, claim.metric)
        if ours is None:
            undefined |= row.n > 0
            continue
        own = tuple(_of_row(row, current, defaults))
        distance = _distance(claim, current.name) + len(own)
        order = distance, -ours.n, canonical(row.params), row.digest or ""
        if best is None or order < best[0]:
            best = order, row, ours, own
    if best is None:
        return Comparison(
            claim=claim,
            status=NOT_RUN,
            ours=None,
            protocol=protocol,
            differences=(*claim.differs, *(_of_protocol(claim, protocol) if protocol else ())),
            distance=_distance(claim, protocol) if protocol else len(claim.differs),
            note="some replicate has no value" if undefined else _why_not(claim, task),
        )
    (distance, *_), row, ours, own = best
    differences = (*claim.differs, *_of_protocol(claim, row.protocol), *own)
    return Comparison(
        claim=claim,
        status=verdict(
            claim.value,
            ours,
            differs=bool(differences),
            std=claim.std,
            n=claim.n,
            tolerance=TOLERANCE if claim.is_fraction else TOLERANCE * abs(claim.value),
        ),
        ours=ours,
        protocol=row.protocol,
        differences=differences,
        distance=distance,
    )


def _why_not(claim: Claim, task: Task | None) -> str:
    if task is None:
        return f"there is no task {claim.task} yet"
    if claim.method is None:
        return "not a method of ours"
    return "" if claim.protocol else "no protocol of ours comes near"


def _current(task: Task, rows: Iterable[Row]) -> Iterator[_Placed]:
    """Those made by today's code and scored by today's evaluation, with their protocol of today."""
    for row in rows:
        if row.state == "stale":
            continue
        protocol = task.protocols.with_hash(row.protocol_hash, row.protocol)
        if protocol is not None and task.evaluation_hash(protocol) == row.evaluation_hash:
            yield row, protocol


def _ours(row: Row, key: str) -> Ours | None:
    if row.n < 1:
        return None
    cell = row.metrics.get(key) or Cell(getattr(row.cost, key) if key in COST else None)
    return None if cell.mean is None else Ours(cell.mean, cell.low, cell.high, row.n)


def _of_protocol(claim: Claim, protocol: str) -> Iterator[str]:
    """How the variants of a protocol of ours differ from those of the claim, one line."""
    ours = _variants(protocol) - _variants(claim.protocol)
    has, lacks = sorted(ours - set(claim.variants)), sorted(set(claim.variants) - ours)
    parts = [f"is {', '.join(has)}"] if has else []
    parts += [f"is not {', '.join(lacks)}"] if lacks else []
    if parts:
        yield f"our protocol {' and '.join(parts)}"


def _distance(claim: Claim, protocol: str) -> int:
    """In how many ways and variants a protocol of ours differs."""
    ours = _variants(protocol) - _variants(claim.protocol)
    return len(claim.differs) + len(ours ^ set(claim.variants))


def _of_row(row: Row, protocol: Protocol, defaults: Defaults | None) -> Iterator[str]:
    if DATA_VARIANT in row.flags:
        yield f"our copy of the data is another ({DATA_VARIANT})"
    if defaults is None:
        return
    usual = defaults(row.method, protocol)
    params = row.params
    changed = sorted(
        key for key in {*usual, *params} if usual.get(key, _NONE) != params.get(key, _NONE)
    )
    if changed:
        texts = (f"{key}={params[key]}" if key in params else f"no {key}" for key in changed)
        yield f"our parameters are set: {', '.join(texts)}"


_NONE = object()


def _variants(name: str) -> set[str]:
    return set(filter(None, name.partition(":")[2].split(",")))
