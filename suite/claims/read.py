"""Published numbers beside ours: read `results/claims/*.toml`, and compare them with a board.

A claim is a number that somebody printed, with its source, its protocol as printed and the ways in which
ours differs. It never joins a statistic of ours and ranks nothing. The format is in
results/claims/README.md.
"""

import csv
import io
import math
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from suite.base.canonical import canonical
from suite.base.errors import UserError, did_you_mean
from suite.base.shipped import shipped
from suite.base.text import csv_text, markdown, pipes, plain
from suite.define.card import covers
from suite.define.flags import DATA_VARIANT
from suite.define.metrics import canonical_key, split_key
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

FRACTIONS = ("percent", "fraction", "percent-error", "fraction-error")
"""Units that are kept as a fraction in [0, 1]; an error rate as 1 - error."""
VERIFIED, UNVERIFIED = ("C", "R", "paper"), ("P", "V", "2nd")
"""Tags: read in released code, in a README or log, in the paper itself; or an abstract or aggregator, a
public review, another second hand. Recollection is not a source."""
MAX_BYTES = 1 << 20


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who printed the numbers. `where`: what was read (README, log, ...); `sheet`: our method sheet."""

    title: str
    where: str
    venue: str = ""
    arxiv: str = ""
    url: str = ""
    sheet: str = ""
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published number.

    Attributes:
        source, file, location: who printed it, the file that says so, and the table.
        method: name of ours; None where there is no such method here.
        method_as_printed: as the source calls it.
        task, metric: as ours; the task may be one that does not exist yet.
        value, std: fractions in [0, 1] where they are fractions; std None where none is printed.
        n: replicates behind `value`, None where the source does not say.
        decimals: printed decimals, of the percentage for fractions.
        unit: as printed, one of `FRACTIONS` or a name such as `G`.
        protocol_as_printed: data set, ratio, backbone, epochs, as far as the source tells them.
        protocol: name of our nearest protocol, or the beginning of one; "" where there is none.
        variants: the further variants under which it is as printed.
        differs: how every protocol of ours differs from what was printed.
        verified, tag: see `VERIFIED`.
    """

    source: Source
    file: str
    location: str
    method: str | None
    method_as_printed: str
    task: str
    metric: str
    value: float
    std: float | None
    n: int | None
    decimals: int
    unit: str
    protocol_as_printed: str
    protocol: str
    variants: tuple[str, ...]
    differs: tuple[str, ...]
    verified: bool
    tag: str

    @property
    def name(self) -> str:
        """The source in a word: its file's name."""
        return self.file.removesuffix(".toml")

    @property
    def is_fraction(self) -> bool:
        return self.unit in FRACTIONS

    @property
    def full_protocol(self) -> str:
        """`protocol` with the variants."""
        mark = "," if ":" in self.protocol else ":"
        return self.protocol + (mark + ",".join(self.variants) if self.variants else "")


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


# -- reading


class _Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    task: str | None = None
    metric: str | None = None
    location: str | None = None
    protocol_as_printed: str | None = None
    protocol: str | None = None
    variants: list[str] | None = None
    differs: list[str] = []
    unit: str | None = None
    scale: float | None = None
    n: int | None = None
    verified: bool | None = None
    tag: str | None = None

    def over(self, below: "_Facts") -> "_Facts":
        """These facts where given, else those of `below`; `differs` of both."""
        values = {
            name: getattr(below if getattr(self, name) is None else self, name)
            for name in _Facts.__struct_fields__
        }
        return _Facts(**{**values, "differs": [*below.differs, *self.differs]})


_Cell = float | list[float] | str


class _Table(_Facts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rows: dict[str, list[_Cell]]
    methods: dict[str, str] = {}
    row_differs: dict[str, list[str]] = {}
    metrics: list[str] | None = None
    columns: list[_Facts] | None = None


class _Entry(_Facts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    value: float
    std: float | None = None
    method: str | None = None
    method_as_printed: str | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    source: Source
    future_tasks: list[str] = []
    table: list[_Table] = []
    claim: list[_Entry] = []


class _Bad(Exception):
    """What is wrong with one entry."""


def default_folder() -> Path:
    """The tracked claims, `results/claims` of a checkout; need not exist."""
    return shipped("claims")


def read_claims(
    folder: Path, methods: Collection[str], tasks: Mapping[str, Task]
) -> tuple[Claim, ...]:
    """All claims of the folder's `*.toml`, file after file, each in its own order.

    Raises UserError that names file, entry and what is wrong: no such folder or no file in it, no valid
    TOML, an unknown field, method, task, metric or protocol, a value out of range, a number without its
    source, one given twice.
    """
    try:
        paths = sorted(folder.glob("*.toml"))
        there = folder.is_dir()
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from None
    if not there:
        raise UserError(
            f"{folder}: no such folder; give --claims FOLDER, one with claims in *.toml"
        )
    if not paths:
        raise UserError(f"{folder}: holds no *.toml; give --claims FOLDER, one with claims in it")
    found: list[Claim] = []
    for path in paths:
        found += _read_file(path, methods, tasks)
    return tuple(found)


def _read_file(path: Path, methods: Collection[str], tasks: Mapping[str, Task]) -> list[Claim]:
    content = _decoded(path)
    known = {*tasks, *content.future_tasks}
    taken = sorted(set(content.future_tasks) & set(tasks))
    if taken:
        raise UserError(f"{path}: future_tasks: {taken[0]!r} is a task by now; remove it there")
    _texts(str(path), "source", content.source.title, content.source.where)
    found: list[Claim] = []
    places: dict[tuple[str, ...], str] = {}
    try:
        for where, entry, facts in _entries(content):
            try:
                claim = _claim(content.source, path.name, entry, facts)
                _check(claim, methods, tasks, known)
                key = claim.method_as_printed, claim.task, claim.metric, claim.protocol_as_printed
                if key in places:
                    raise _Bad(f"the same claim as {places[key]}")
            except _Bad as error:
                raise _Bad(f"{where}: {error}") from None
            places[key] = where
            found.append(claim)
    except _Bad as error:
        raise UserError(f"{path}: {error}") from None
    return found


def _decoded(path: Path) -> _File:
    try:
        if not path.is_file():
            raise UserError(f"{path}: not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: larger than {MAX_BYTES >> 10} KiB: no file of claims is")
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        # TOML and unicode errors are ValueErrors; so is a number too long to convert
        raise UserError(f"{path}: {error}") from None


def _entries(content: _File) -> Iterator[tuple[str, _Entry, _Facts]]:
    """(place in the file, number and method, everything else) of each claim."""
    for number, table in enumerate(content.table, 1):
        where = f"table {number}"
        columns = _columns(table, where)
        for field in ("methods", "row_differs"):
            strangers = set(getattr(table, field)) - set(table.rows)
            if strangers:
                near = did_you_mean(min(strangers), table.rows)
                raise _Bad(f"{where}: {field}: {min(strangers)!r} is no row of it{near}")
        for printed, cells in table.rows.items():
            if len(cells) != len(columns):
                raise _Bad(
                    f"{where}, row {printed!r}: {len(cells)} values for {len(columns)} columns"
                )
            for place, (cell, facts) in enumerate(zip(cells, columns, strict=True), 1):
                at = f"{where}, row {printed!r}, column {place}"
                if cell == "-":
                    continue
                value, std = _cell(cell, at)
                method = table.methods.get(printed)
                entry = _Entry(value=value, std=std, method=method, method_as_printed=printed)
                own = _Facts(differs=table.row_differs.get(printed, []))
                yield at, entry, own.over(facts)
    for number, entry in enumerate(content.claim, 1):
        yield f"claim {number}", entry, entry


def _columns(table: _Table, where: str) -> list[_Facts]:
    if (table.metrics is None) == (table.columns is None):
        raise _Bad(f"{where}: give either metrics or columns")
    columns = table.columns or [_Facts(metric=metric) for metric in table.metrics or []]
    return [column.over(table) for column in columns]


def _cell(cell: _Cell, where: str) -> tuple[float, float | None]:
    if isinstance(cell, list) and len(cell) == 2:
        return cell[0], cell[1]
    if isinstance(cell, str | list):
        raise _Bad(f'{where}: {cell!r}: a number, [value, std], or "-" where none is printed')
    return cell, None


def _claim(source: Source, file: str, entry: _Entry, facts: _Facts) -> Claim:
    printed = entry.method_as_printed or entry.method
    if not printed or not printed.strip():
        raise _Bad("names no method: give method (a name of ours) or method_as_printed")
    given = {
        name: getattr(facts, name)
        for name in ("task", "metric", "location", "protocol_as_printed", "unit", "tag", "verified")
    }
    for name, value in given.items():
        if value is None or (isinstance(value, str) and not value.strip()):
            raise _Bad(f"has no {name}")
    unit = given["unit"]
    if facts.scale is not None and unit in FRACTIONS:
        raise _Bad(f"scale is for units other than {', '.join(FRACTIONS)}")
    value, std, decimals = _converted(entry.value, entry.std, unit, facts.scale or 1.0)
    if facts.n is not None and facts.n < 1:
        raise _Bad(f"n = {facts.n}: at least 1")
    return Claim(
        source=source,
        file=file,
        location=given["location"],
        method=entry.method,
        method_as_printed=printed,
        task=given["task"],
        metric=canonical_key(given["metric"]),
        value=value,
        std=std,
        n=facts.n,
        decimals=decimals,
        unit=unit,
        protocol_as_printed=given["protocol_as_printed"],
        protocol=facts.protocol or "",
        variants=tuple(facts.variants or ()),
        differs=tuple(facts.differs),
        verified=given["verified"],
        tag=given["tag"],
    )


def _converted(
    value: float, std: float | None, unit: str, scale: float
) -> tuple[float, float | None, int]:
    """(value, std, decimals) of a printed number; decimal arithmetic, so that 62.3 % is 0.623."""
    for number in (value, scale, *(() if std is None else (std,))):
        if not math.isfinite(number):
            raise _Bad(f"{number} is not a number")
    if std is not None and std < 0:
        raise _Bad(f"std = {std}: at least 0")
    places = max(0, -_exponent(value), 0 if std is None else -_exponent(std))
    if unit not in FRACTIONS:
        return value * scale, None if std is None else std * scale, places
    percent = unit.startswith("percent")
    shift = Decimal(100 if percent else 1)
    exact = Decimal(repr(value)) / shift
    if not 0 <= exact <= 1:
        raise _Bad(f"value = {value}: not in 0..{shift} ({unit})")
    if unit.endswith("error"):
        exact = 1 - exact
    spread = None if std is None else float(Decimal(repr(std)) / shift)
    if spread is not None and spread > 1:
        raise _Bad(f"std = {std}: not in 0..{shift} ({unit})")
    return float(exact), spread, places if percent else max(0, places - 2)


def _exponent(value: float) -> int:
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _check(
    claim: Claim, methods: Collection[str], tasks: Mapping[str, Task], known: Collection[str]
) -> None:
    if claim.method is not None and claim.method not in methods:
        near = did_you_mean(claim.method, methods)
        raise _Bad(
            f"unknown method {claim.method!r}{near} (one that we do not have has "
            "method_as_printed alone)"
        )
    if claim.task not in known:
        raise _Bad(
            f"unknown task {claim.task!r}{did_you_mean(claim.task, known)} (one that is to come "
            "belongs in future_tasks)"
        )
    if claim.tag not in (*VERIFIED, *UNVERIFIED):
        tags = ", ".join((*VERIFIED, *UNVERIFIED))
        raise _Bad(f"tag {claim.tag!r}: use one of {tags}; recollection is no source")
    if claim.verified and claim.tag in UNVERIFIED:
        raise _Bad(f"verified, but its tag is {claim.tag!r}: it was not read where it was printed")
    task = tasks.get(claim.task)
    if task is not None:
        _check_metric(claim, task)
        _check_protocol(claim, task)


def _check_metric(claim: Claim, task: Task) -> None:
    name = split_key(claim.metric)[0]
    units = {metric.name: metric.unit for metric in task.metrics}
    if name not in units and claim.metric not in COST:
        near = did_you_mean(name, {*units, *COST})
        raise _Bad(f"task {task.name} has no metric {name!r}{near}")
    if (units.get(name) == "fraction") != claim.is_fraction:
        raise _Bad(f"unit {claim.unit!r} does not go with {name}")


def _check_protocol(claim: Claim, task: Task) -> None:
    names = [protocol.name for protocol in task.protocols]
    if claim.protocol.startswith("*"):
        raise _Bad(f"protocol {claim.protocol!r}: name one")
    if not claim.protocol:
        if claim.variants:
            raise _Bad("variants without a protocol")
        return
    if not any(covers(claim.protocol, name) for name in names):
        near = did_you_mean(claim.protocol, names)
        raise _Bad(f"task {task.name} has no protocol {claim.protocol!r}{near}")
    if not any(covers(claim.full_protocol, name) for name in names):
        raise _Bad(f"no protocol {claim.protocol!r} has the variants {', '.join(claim.variants)}")


def _texts(path: str, where: str, *texts: str) -> None:
    if not all(text.strip() for text in texts):
        raise UserError(f"{path}: {where}: title and where must not be empty")


# -- comparing


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
    today = {(p.hash, task.evaluation_hash(p)): p for p in task.protocols}
    for row in rows:
        protocol = today.get(row.block)
        if protocol is not None and row.state != "stale":
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


# -- showing


_ROW = (
    *("task", "method", "method_as_printed", "metric", "protocol_as_printed", "protocol"),
    *("claim", "claim_std", "claim_n", "unit", "our_protocol", "ours", "low", "high", "n"),
    *("difference", "status", "note", "differs", "verified", "tag"),
    *("source", "where", "location", "venue", "arxiv", "url", "file"),
)


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


HEAD = (
    "method",
    "metric",
    "protocol as printed",
    "claim",
    "ours",
    "difference",
    "status",
    "source",
)


def as_table(
    comparisons: Sequence[Comparison],
) -> tuple[list[tuple[str, ...]], list[str]]:
    """(lines with the columns of `HEAD`, notes); plain texts, fractions in percent.

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
    return lines, [*notes, *map(plain, sources.values())]


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


def to_csv(comparisons: Sequence[Comparison]) -> str:
    """A line a claim, as `as_row`; texts escaped as those of a board."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(name for name in _ROW)
    for made in comparisons:
        values = {**as_row(made), "differs": "; ".join(made.differences)}
        writer.writerow(csv_text(values[name]) for name in _ROW)
    return out.getvalue()


def to_markdown(comparisons: Sequence[Comparison]) -> str:
    """One table and its notes."""
    lines, notes = as_table(comparisons)
    numeric = ("claim", "ours", "difference")
    texts = [
        pipes(HEAD),
        pipes("---:" if name in numeric else "---" for name in HEAD),
        *(pipes(map(markdown, line)) for line in lines),
        "",
        *(f"- {markdown(note)}" for note in [*notes, counted(comparisons)]),
    ]
    return "\n".join(texts) + "\n"
