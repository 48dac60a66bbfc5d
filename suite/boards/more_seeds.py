"""The command that makes more runs of a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from suite.base.command import Command
from suite.base.errors import UserError
from suite.define.card import parse_setting
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.spec import spelled
from suite.define.task import Task
from suite.store.rows import Side


def next_seeds(a: Iterable[int], b: Iterable[int], common: int) -> list[int]:
    """Seeds to run so that the two share `common`: first those that one of them has, then the smallest."""
    have_a, have_b = set(a), set(b)
    missing = common - len(have_a & have_b)
    chosen = sorted(have_a ^ have_b)[: max(missing, 0)]
    seed = 0
    while len(chosen) < missing:
        if seed not in have_a | have_b:
            chosen.append(seed)
        seed += 1
    return sorted(chosen)


def settings_of(catalog: Catalog, protocol: Protocol, side: Side) -> list[str] | None:
    """The `--set` texts with which `run` makes runs of the row; None if it cannot be said here.

    It cannot where the method is unknown or its parameters are no longer those of today's card.
    """
    if side.method not in catalog.methods():
        return None
    card = catalog.card(side.method)
    try:
        default = catalog.spec(side.method, protocol).params
        params = dict(side.params)
        for name in default.keys() - params.keys():
            params[name] = card.params[name].neutral
        texts = [
            f"{side.method}.{name}={_literal(value)}"
            for name, value in params.items()
            if name not in default or default[name] != value
        ]
        given = [parse_setting(text, catalog.methods()) for text in texts]
        made = catalog.spec(side.method, protocol, 0, {one.key: one.value for one in given})
    except (UserError, KeyError):
        return None
    for role, of in card.needs.inputs.items():
        filled = side.inputs.get(role)
        if filled is None:
            return None
        if filled != of:
            texts.append(f"{side.method}.{role}={filled}")
    return texts if made.params == dict(side.params) else None


def run_command(
    catalog: Catalog, task: Task, sides: Sequence[Side], seeds: Sequence[int]
) -> Command | None:
    """The command that trains the rows' methods with these seeds; None where nothing here can."""
    protocol = task.protocols.get(sides[0].protocol)
    if protocol is None:
        return None
    settings = [settings_of(catalog, protocol, side) for side in sides]
    if any(texts is None for texts in settings) or clash(sides):
        return None
    words = ["run", "--task", task.name, "--protocol", protocol.name]
    for method in dict.fromkeys(side.method for side in sides):
        words += ["--method", method]
    for text in (text for texts in settings for text in texts or ()):
        words += ["--set", text]
    return Command(*words, "--seeds", spelled(seeds))


def clash(sides: Sequence[Side]) -> bool:
    """Whether two rows are of one method: one command makes runs of one set of parameters."""
    return len({side.method for side in sides}) < len(sides)


def _literal(value: Any) -> str:
    """As `parse_setting` reads it back."""
    if isinstance(value, str) and parse_setting(f"m.k={value}").value == value:
        return value
    return repr(value)
