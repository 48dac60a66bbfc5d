"""The command that makes more runs of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from suite.base.command import Command
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.records.again import Made, Wanted, run_commands, settings_of
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


def run_command(
    catalog: Catalog, task: Task, sides: Sequence[Side], seeds: Sequence[int]
) -> Command | None:
    """The command that trains the rows' methods with these seeds; None where no single one can here."""
    protocol = task.protocols.get(sides[0].protocol)
    if protocol is None:
        return None
    settings = settings_together(catalog, protocol, sides)
    if settings is None:
        return None
    wanted = [
        Wanted(side.method, tuple(texts), tuple(seeds), tuple(filter(None, side.inputs.values())))
        for side, texts in zip(sides, settings, strict=True)
    ]
    found = run_commands(task.name, protocol.name, wanted)
    return found[0] if len(found) == 1 else None


def settings_together(
    catalog: Catalog, protocol: Protocol, sides: Sequence[Made]
) -> list[list[str]] | None:
    """The `--set` texts of each row as one `run` takes them; None if they cannot be said here.

    Where two rows are of one method, each says all that the two differ in: several values of a parameter
    are a grid.
    """
    found = []
    for side in sides:
        alone = [settings_of(catalog, protocol, one) for one in sides if one.method == side.method]
        said = {
            text.partition("=")[0].removeprefix(f"{side.method}.")
            for texts in alone
            for text in texts or ()
        }
        texts = settings_of(catalog, protocol, side, said if len(alone) > 1 else ())
        if texts is None:
            return None
        found.append(texts)
    return found
