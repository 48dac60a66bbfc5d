"""Which rows of a method are arms of one design: those that differ in one parameter alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from suite.base.canonical import canonical
from suite.base.command import Command
from suite.base.errors import UserError, did_you_mean
from suite.base.text import plain
from suite.boards.named_rows import listed
from suite.define.card import another_value, parse_setting
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.spec import spelled
from suite.define.task import Task
from suite.records.again import settings_of
from suite.store.rows import Side


def groups(
    rows: Sequence[Side],
    full: Mapping[int, Mapping[str, Any]],
    param: str,
    notes: list[str],
) -> list[list[tuple[Any, Side]]]:
    """Designs, each of (value of the parameter, row), in the order of the values. What is left out is in `notes`."""
    under: dict[tuple[str, str, bytes], list[tuple[Any, Side]]] = {}
    for row in rows:
        params = full[row.row_id]
        # what a method is built on brings its own parameters, which are the arm's
        rest = {k: v for k, v in params.items() if k != param and not k.startswith(f"{param}.")}
        place = row.protocol_hash, row.digest, canonical(rest)
        under.setdefault(place, []).append((params.get(param), row))
    groups = []
    lonely: list[Side] = []
    for members in under.values():
        group: list[tuple[Any, Side]] = []
        seen: dict[bytes, list[Side]] = {}
        for value, row in members:
            seen.setdefault(canonical(value), []).append(row)
        for value, row in members:
            doubles = seen[canonical(value)]
            if len(doubles) > 1:
                ids = listed([one.runs[0].run_id for one in doubles])
                notes.append(
                    f"left out: {param}={label(value)} under {row.protocol} are {len(doubles)} rows ({ids}), "
                    "which are not pooled"
                )
            elif len({run.seed for run in row.runs}) < len(row.runs):
                notes.append(
                    f"left out: {param}={label(value)} under {row.protocol} has several runs of one seed"
                )
            else:
                group.append((value, row))
        if len(group) > 1:
            groups.append(sorted(group, key=lambda one: _place(one[0])))
        else:
            lonely += [row for _, row in group]
    if lonely and groups:
        ids = listed([row.runs[0].run_id for row in lonely])
        notes.append(
            f"left out: {len(lonely)} row(s) that no other value of {param} stands beside, all else equal ({ids})"
        )
    return groups


def _place(value: Any) -> tuple[Any, ...]:
    """None first, then numbers, then the rest."""
    if value is None:
        return (0,)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (1, float(value))
    return (2, canonical(value))


def label(value: Any) -> str:
    """A value of a parameter as `--set` takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return plain(value)


def chosen(
    texts: Sequence[str], method: str, param: str, values: Sequence[Any], absent: bool = False
) -> list[Any]:
    """The values that `--without` names, of those that arms have. Raises UserError for another, unless `absent`."""
    found = []
    for text in texts:
        value = parse_setting(f"{method}.{param}={text}", (method,)).value
        if not absent and not any(same(value, one) for one in values):
            known = ", ".join(dict.fromkeys(map(label, values)))
            raise UserError(f"--without {text}: no arm has this value; there are {known}")
        found.append(value)
    return found


def setting(
    catalog: Catalog, task: Task, protocol: Protocol, rows: Iterable[Side], params: Sequence[str]
) -> set[int]:
    """The ids of those of the protocol's rows that have one of `params` away from its default of today. Raises UserError
    for a name that no method of the task has."""
    if not params:
        return set()
    methods = catalog.methods(task.name)
    known = {name for method in methods for name in catalog.card(method).params}
    for name in params:
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"no method of {task.name} has a parameter {name!r}{near}")
    rows = list(rows)
    usual = {
        method: dict(catalog.spec(method, protocol, 0, {}).params)
        for method in {row.method for row in rows} & set(methods)
    }
    return {
        row.row_id
        for row in rows
        if row.method in usual
        and any(row.params.get(name) != usual[row.method].get(name) for name in params)
    }


def same(a: Any, b: Any) -> bool:
    """Whether two values of a parameter are one: 2 is 2.0, and true is not 1."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def one_value(
    catalog: Catalog,
    task: Task,
    param: str,
    rows: Sequence[Side],
    full: Mapping[int, Mapping[str, Any]],
    only: Protocol | None,
) -> str:
    """Why these rows of a method are no arms, and what makes one of the first."""
    row = rows[0]
    taken = [full[one.row_id].get(param) for one in rows]
    values = dict.fromkeys(map(label, taken))
    what = f"{row.method}.{param} has no two values with all else equal"
    there = f" (there {'is' if len(values) == 1 else 'are'} {listed(list(values))})"
    protocol = only or task.protocols.get(row.protocol)
    own = f"{row.method}.{param}="
    words = [
        word
        for text in (settings_of(catalog, protocol, row) if protocol else None) or ()
        if not text.startswith(own)
        for word in ("--set", text)
    ]
    words += ["--seeds", spelled(sorted({run.seed for run in row.runs}))]
    made = makes_arm(catalog, task, row.method, param, row.protocol, taken, *words)
    return f"{what} under one protocol{there}; {made}"


def makes_arm(
    catalog: Catalog,
    task: Task,
    method: str,
    param: str,
    protocol: str,
    taken: Sequence[Any],
    *words: str,
) -> str:
    """The command that makes an arm whose value is none of `taken`, or, where the card names no such value, what to set.

    `protocol`: its name, "" for the task's default; `words`: what else is typed.
    """
    value = another_value(catalog.card(method), param, taken)
    if value is None:
        return f"another arm is a run with another value of {method}.{param} (--set)"
    setting = ("--method", method, "--set", f"{method}.{param}={label(value)}")
    under = ("--protocol", protocol) if protocol else ()
    return f"another arm is made by {Command('run', '--task', task.name, *under, *setting, *words)}"
