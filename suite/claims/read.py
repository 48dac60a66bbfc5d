"""Claims as files: `results/claims/*.toml`, in the format of results/claims/README.md."""

import math
import tomllib
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import msgspec

from suite.base.errors import UserError, did_you_mean
from suite.base.shipped import shipped
from suite.claims.claim import FRACTIONS, UNVERIFIED, VERIFIED, Claim, Source
from suite.claims.statement import Statement, Test, methods_of, metrics_of
from suite.define.card import covers
from suite.define.metrics import canonical_key, split_key
from suite.define.task import Task
from suite.store.row import COST

MAX_BYTES = 1 << 20


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


class _Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    text: str
    task: str
    location: str
    verified: bool
    tag: str
    objections: list[str] = []
    untested: str = ""
    test: list[Test] = []


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    source: Source
    future_tasks: list[str] = []
    table: list[_Table] = []
    claim: list[_Entry] = []
    statement: list[_Statement] = []


class _Bad(Exception):
    """What is wrong with one entry."""


def default_folder() -> Path:
    """The claims that come with the suite, `results/claims` of a checkout; need not exist."""
    return shipped("claims")


def read_claims(
    folder: Path, methods: Collection[str], tasks: Mapping[str, Task]
) -> tuple[Claim, ...]:
    """All claims of the folder's `*.toml`, file after file, each in its own order.

    Raises UserError that names file, entry and what is wrong: no such folder or no file in it, no valid
    TOML, an unknown field, method, task, metric or protocol, a value out of range, a number without its
    source, one given twice.
    """
    return tuple(claim for path in _paths(folder) for claim in _read_file(path, methods, tasks))


def read_statements(
    folder: Path, methods: Collection[str], tasks: Mapping[str, Task]
) -> tuple[Statement, ...]:
    """All statements of the folder's `*.toml`. Raises UserError as `read_claims`."""
    found: list[Statement] = []
    for path in _paths(folder):
        content = _opened(path, tasks)
        for number, entry in enumerate(content.statement, 1):
            try:
                found.append(_statement(content, path.name, entry, methods, tasks))
            except _Bad as error:
                raise UserError(f"{path}: statement {number}: {error}") from None
    return tuple(found)


def _paths(folder: Path) -> list[Path]:
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
    return paths


def _read_file(path: Path, methods: Collection[str], tasks: Mapping[str, Task]) -> list[Claim]:
    content = _opened(path, tasks)
    known = {*tasks, *content.future_tasks}
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


def _opened(path: Path, tasks: Mapping[str, Task]) -> _File:
    content = _decoded(path)
    taken = sorted(set(content.future_tasks) & set(tasks))
    if taken:
        raise UserError(f"{path}: future_tasks: {taken[0]!r} is a task by now; remove it there")
    _texts(str(path), "source", content.source.title, content.source.where)
    return content


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
    _check_source(claim, known)
    task = tasks.get(claim.task)
    if task is not None:
        _check_metric(claim, task)
        _check_protocol(claim, task)


def _check_source(claim: Claim | Statement, known: Collection[str]) -> None:
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


def _statement(
    content: _File,
    file: str,
    entry: _Statement,
    methods: Collection[str],
    tasks: Mapping[str, Task],
) -> Statement:
    for name in ("text", "location"):
        if not getattr(entry, name).strip():
            raise _Bad(f"has no {name}")
    if bool(entry.test) == bool(entry.untested.strip()):
        raise _Bad("give tests, or in untested why there is none: one of the two")
    made = Statement(
        source=content.source,
        file=file,
        location=entry.location,
        text=entry.text,
        task=entry.task,
        objections=tuple(entry.objections),
        tests=tuple(entry.test),
        untested=entry.untested,
        verified=entry.verified,
        tag=entry.tag,
    )
    _check_source(made, {*tasks, *content.future_tasks})
    for number, test in enumerate(made.tests, 1):
        try:
            _check_test(test, tasks.get(made.task), methods)
        except _Bad as error:
            raise _Bad(f"test {number}: {error}") from None
    return made


def _check_test(test: Test, task: Task | None, methods: Collection[str]) -> None:
    if not (math.isfinite(test.smallest) and test.smallest > 0):
        raise _Bad(f"smallest = {test.smallest}: above 0, the least effect that would matter")
    if not math.isfinite(getattr(test, "bound", 0.0)):
        raise _Bad("bound is not a number")
    if task is None:
        # nothing is known of what is to come
        return
    for method in methods_of(test):
        if method not in methods:
            raise _Bad(f"unknown method {method!r}{did_you_mean(method, methods)}")
    names = {metric.name for metric in task.metrics}
    for key in metrics_of(test):
        if split_key(key)[0] not in names:
            near = did_you_mean(split_key(key)[0], names)
            raise _Bad(f"task {task.name} has no metric {key!r}{near}")
    if test.protocol not in task.protocols.names:
        near = did_you_mean(test.protocol, task.protocols.names)
        raise _Bad(f"task {task.name} has no protocol {test.protocol!r}{near}")


def _check_metric(claim: Claim, task: Task) -> None:
    name = split_key(claim.metric)[0]
    units = {metric.name: metric.unit for metric in task.metrics}
    if name not in units and claim.metric not in COST:
        near = did_you_mean(name, {*units, *COST})
        raise _Bad(f"task {task.name} has no metric {name!r}{near}")
    if (units.get(name) == "fraction") != claim.is_fraction:
        raise _Bad(f"unit {claim.unit!r} does not go with {name}")


def _check_protocol(claim: Claim, task: Task) -> None:
    names = task.protocols.names
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
