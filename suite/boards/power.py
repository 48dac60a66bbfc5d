"""How many more seeds would tell two methods apart, from the runs there are.

See `suite.stats.power`. Adding seeds until a test
comes out significant, and looking in between, makes its 5 % more than 5 %: the number is to be run at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.base.command import Command
from suite.base.errors import UserError
from suite.base.text import plain
from suite.boards.comparison import shown
from suite.boards.more_seeds import next_seeds, run_command, settings_together
from suite.boards.named_rows import metric_key, paired_rows
from suite.boards.whole_board import WholeBoard, whole_boards
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.runs.plan import make_plan
from suite.stats.power import MOST_SEEDS, RANGE_LEVEL, Estimate, estimate
from suite.stats.tests import ALPHA, MIN_REPLICATES
from suite.store.rows import Side

FEW = 5
"""A standard deviation of fewer seeds is hardly known."""


@dataclass(frozen=True)
class Needed:
    """An estimate for two rows under one protocol, and what to run; see `Estimate`.

    `seeds` are to be run of both methods; what is finished among them is not trained again. `command` is
    None where there is nothing to run, or nothing here can make the runs. `settings` are its `--set` texts.
    """

    task: str
    protocol: str
    metric: str
    a: str
    b: str
    target: float
    estimate: Estimate
    seeds: tuple[int, ...]
    methods: tuple[str, ...]
    settings: tuple[str, ...]
    command: Command | None
    words: str
    warnings: tuple[str, ...]


def needed(
    root: Path,
    catalog: Catalog,
    task: Task,
    a: str,
    b: str,
    *,
    protocol: Protocol,
    metric: str | None = None,
    target: float = 0.8,
) -> Needed:
    """What would tell A from B under the protocol with power `target`; from the store's runs.

    `a` and `b` are method names or run ids. Raises UserError: unknown names, a protocol without runs of
    both, too few pilot runs (with the command that makes some), a target outside of (0.05, 1).
    """
    if not ALPHA < target < 1:
        raise UserError(f"--power {target:g}: a probability above {ALPHA} and below 1")
    key, about = metric_key(task, metric)
    both, _, notes = paired_rows(root, catalog, task, a, b, key, protocol)
    if not both:
        raise UserError(f"{a!r} and {b!r} have no runs under {protocol.name} both")
    x, y = both[0]
    for side in (x, y):
        if not side.values:
            raise UserError(
                f"{plain(side.method)} has runs without a value of {key}, or several of one seed: no estimate"
            )
    whole = whole_boards(root, catalog, task, key, both)[x.protocol_hash]
    try:
        found = _estimate(whole, x, y, target)
    except ValueError:
        pilot = run_command(catalog, task, (x, y), next_seeds(x.values, y.values, MIN_REPLICATES))
        more = f"; type {pilot}" if pilot else ""
        raise UserError(
            f"{a} and {b} have {len(x.values)} and {len(y.values)} run(s): an estimate needs two common "
            f"seeds, better {FEW}{more}"
        ) from None
    seeds: list[int] = []
    if found.total is not None and not found.reached:
        seeds = next_seeds(x.values, y.values, found.total)
    command = run_command(catalog, task, (x, y), seeds) if seeds else None
    if command and not _same_rows(root, catalog, task, protocol, (x, y)):
        command = None
    settings = settings_together(catalog, protocol, (x, y)) if command else None
    warnings = [*_warnings(found), *notes]
    if seeds and command is None:
        warnings.append(
            "these runs cannot be made by one command here: "
            "two rows of one method that are no grid, or parameters or inputs that are not today's card's"
        )
    return Needed(
        task=task.name,
        protocol=protocol.name,
        metric=key,
        a=a,
        b=b,
        target=target,
        estimate=found,
        seeds=tuple(seeds),
        methods=tuple(dict.fromkeys((x.method, y.method))) if command else (),
        settings=tuple(dict.fromkeys(text for texts in settings or () for text in texts)),
        command=command,
        words=_words(found, plain(a), plain(b), target, len(seeds), shown(about)),
        warnings=tuple(warnings),
    )


def _estimate(whole: WholeBoard, a: Side, b: Side, target: float) -> Estimate:
    """By the board's test where it has both rows, else from their own runs alone."""
    pair = whole.pair(a, b)
    moderated = whole.board.estimate(*pair, target) if pair else None
    return moderated or estimate(a.values, b.values, target)


def _same_rows(
    root: Path, catalog: Catalog, task: Task, protocol: Protocol, sides: Sequence[Side]
) -> bool:
    """Whether `run` would plan the pilot runs themselves: their row is what it adds seeds to."""
    settings = [
        text for texts in settings_together(catalog, protocol, sides) or () for text in texts
    ]
    seeds = [side.runs[0].seed for side in sides]
    try:
        plan = make_plan(
            root,
            catalog,
            task,
            protocol,
            methods=[side.method for side in sides],
            seeds=seeds,
            settings=settings,
        )
    except UserError:
        return False
    planned = {item.spec.run_id for item in plan.items}
    return all(side.runs[0].run_id in planned for side in sides)


def _warnings(found: Estimate) -> list[str]:
    warnings = []
    if found.pilot < FEW and found.test != "moderated t":
        pairs = "common seeds" if found.paired else "seeds"
        warnings.append(
            f"rests on {found.pilot} {pairs}: too few to know the spread; run {FEW} first, or take the "
            "number for its order of magnitude"
        )
    if found.test == "Welch t":
        warnings.append("no common seeds: with the same seeds for both, fewer may do")
    return warnings


def _words(
    found: Estimate, a: str, b: str, target: float, more: int, show: Callable[[float], str]
) -> str:
    basis = (
        f"{a} - {b} is {show(found.difference)}, standard deviation {show(found.deviation)} over "
        f"{found.pilot} {'common seeds' if found.paired else 'seeds each'}"
        + (", with the spread of the whole board" if found.test == "moderated t" else "")
    )
    if found.test == "moderated t":
        told = found.on_board is not None and found.on_board <= found.pilot
        board = "; the board, which tests all its pairs together, " + (
            "tells them apart, too" if told else f"would need {_seeds(found.on_board)} seeds each"
        )
        basis += board
    if found.reached:
        return f"the runs there are tell them apart already ({basis})"
    if found.deviation == 0 and found.total is None:
        return f"equal in every seed: no number of seeds tells them apart ({basis})"
    if found.total is None:
        return f"more than {MOST_SEEDS} seeds: as good as equal ({basis})"
    if found.deviation == 0:
        text = "the difference is the same in every seed"
    else:
        text = (
            f"{RANGE_LEVEL:.0%} range of that number: {_seeds(found.low)} to {_seeds(found.high)}"
        )
    if not more:
        return (
            f"{found.total} seeds each, which they have: the runs there are fell short by chance, or the "
            f"difference is smaller than it looks ({basis}; {text})"
        )
    return (
        f"{more} more seed(s), {found.total} in all, tell them apart with probability {target:.0%} "
        f"({basis}; {text})"
    )


def _seeds(number: int | None) -> str:
    return f"more than {MOST_SEEDS}" if number is None else str(number)
