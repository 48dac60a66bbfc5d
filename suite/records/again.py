"""Commands that make runs again: of a run that is there, or of the rows of a board, and of no other."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from typing import Protocol as Shape

from suite.base.command import Command
from suite.base.errors import UserError
from suite.define.card import parse_setting
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.spec import spelled
from suite.records.lookup import find_spec
from suite.stats.tests import MIN_REPLICATES


class Made(Shape):
    """What a row's runs were made of."""

    @property
    def method(self) -> str: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def inputs(self) -> Mapping[str, str | None]: ...


def settings_of(
    catalog: Catalog, protocol: Protocol, side: Made, said: Collection[str] = ()
) -> list[str] | None:
    """The `--set` texts with which `run` makes runs of the row; None if it cannot be said here.

    It cannot where the method is unknown or its parameters are no longer those of today's card. `said`:
    parameters that are said also where they are as they would be without.
    """
    try:
        card = catalog.card(side.method)
        default = catalog.spec(side.method, protocol).params
        if not said and not side.inputs and default == side.params:
            return [] if not card.needs.inputs else None
        params = dict(side.params)
        for name in default.keys() - params.keys():
            params[name] = card.params[name].neutral
        texts = [
            setting(side.method, name, value)
            for name, value in params.items()
            if name not in default or default[name] != value or name in said
        ]
        given = [parse_setting(text, catalog.methods()) for text in texts]
        made = catalog.spec(side.method, protocol, 0, {one.key: one.value for one in given})
    except (UserError, KeyError):
        return None
    for role, of in card.needs.inputs.items():
        filled = side.inputs.get(role)
        if filled is None:
            return None
        if filled != of or role in said:
            texts.append(f"{side.method}.{role}={filled}")
    # a stranger's text is in no command
    sound = made.params == dict(side.params) and all(map(str.isprintable, texts))
    return texts if sound else None


def settings_of_run(
    root: Path, catalog: Catalog, protocol: Protocol, run_id: str
) -> list[str] | None:
    """The same for the row of a run, with the settings of its input runs, which its files below `root` tell."""
    spec = find_spec(root, run_id)
    if spec is None:
        return None
    inputs = {role: find_spec(root, source) for role, source in spec.inputs.items()}
    methods = {role: None if of is None else of.method for role, of in inputs.items()}
    texts = settings_of(catalog, protocol, _Side(spec.method, spec.params, methods))
    for source in spec.inputs.values():
        more = settings_of_run(root, catalog, protocol, source)
        if texts is None or more is None:
            return None
        texts += more
    if texts is not None and len({text.partition("=")[0] for text in texts}) < len(set(texts)):
        # two input runs of one method and other parameters: a grid would be made of them
        return None
    return texts and list(dict.fromkeys(texts))


class _Side(NamedTuple):
    method: str
    params: Mapping[str, Any]
    inputs: Mapping[str, str | None]


def train_again(root: Path, catalog: Catalog, run_id: str, flag: str) -> str:
    """What to type to train a run anew with `flag` (`--stale`, `--fresh`), as the end of a message."""
    spec = find_spec(root, run_id)
    protocol = None if spec is None else catalog.protocol_with(spec.protocol_hash, spec.protocol)
    settings = None if protocol is None else settings_of_run(root, catalog, protocol, run_id)
    tasks = catalog.accepting(protocol) if protocol else []
    if spec is None or protocol is None or settings is None or not tasks:
        return f"; train it again with {flag}"
    wanted = Wanted(spec.method, tuple(settings), (spec.seed,))
    return f"; type `{run_commands(tasks[0].name, protocol.name, [wanted], flag)[0]}`"


class Wanted(NamedTuple):
    """Runs to make: the method, its `--set` texts, the seeds, and the methods of the input runs."""

    method: str
    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    needs: tuple[str, ...] = ()

    def fits(self, other: Wanted) -> bool:
        """Whether one command makes both, and neither's settings change the other."""
        return (
            self.seeds == other.seeds
            and self.method != other.method
            and self._about(other) <= set(other.settings)
            and other._about(self) <= set(self.settings)
        )

    def _about(self, other: Wanted) -> set[str]:
        """Those of the settings that the other's runs would take, too."""
        heads = tuple(f"{method}." for method in (other.method, *other.needs))
        return {text for text in self.settings if text.startswith(heads)}


def run_commands(task: str, protocol: str, wanted: Iterable[Wanted], *flags: str) -> list[Command]:
    """The commands that make these runs and no other: rows of one method together where their parameters
    are a grid, rows of several where they want the same seeds."""
    grids = [one for group in _by_method(wanted).values() for one in _grids(group)]
    calls: list[list[Wanted]] = []
    for one in grids:
        for call in calls:
            if all(map(one.fits, call)):
                call.append(one)
                break
        else:
            calls.append([one])
    return [_one_command(task, protocol, call, flags) for call in calls]


def _one_command(task: str, protocol: str, call: Sequence[Wanted], flags: Sequence[str]) -> Command:
    words = ["run", "--task", task, "--protocol", protocol]
    words += ["--method", ",".join(one.method for one in call)]
    settings = dict.fromkeys(text for one in call for text in one.settings)
    words += [word for text in settings for word in ("--set", text)]
    return Command(*words, "--seeds", spelled(call[0].seeds), *flags)


def _by_method(wanted: Iterable[Wanted]) -> dict[tuple[str, tuple[int, ...]], list[Wanted]]:
    groups: dict[tuple[str, tuple[int, ...]], list[Wanted]] = {}
    for one in dict.fromkeys(wanted):
        groups.setdefault((one.method, one.seeds), []).append(one)
    return groups


def _grids(rows: Sequence[Wanted]) -> Iterable[Wanted]:
    """Rows of one method as one, where `run` makes just them of all their settings: several values of a
    parameter are a grid."""
    values: dict[str, dict[str, None]] = {}
    for row in rows:
        for text in row.settings:
            values.setdefault(text.partition("=")[0], {})[text] = None
    whole = math.prod(map(len, values.values()))
    if len(rows) == 1 or whole != len(rows) or any(len(row.settings) < len(values) for row in rows):
        return rows
    settings = tuple(text for texts in values.values() for text in texts)
    return [rows[0]._replace(settings=settings)]


def enough(seeds: Iterable[int], least: int = MIN_REPLICATES) -> list[int]:
    """These seeds, and the smallest others up to `least` in all."""
    have = sorted(set(seeds))
    more = [seed for seed in range(least + len(have)) if seed not in have]
    return sorted([*have, *more[: max(least - len(have), 0)]])


def setting(method: str, key: str, value: Any) -> str:
    """A value as a `--set` text, as `parse_setting` reads it back."""
    as_it_is = isinstance(value, str) and parse_setting(f"m.k={value}").value == value
    return f"{method}.{key}={value if as_it_is else repr(value)}"
