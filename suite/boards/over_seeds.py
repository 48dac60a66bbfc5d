"""Two rows compared over their seeds, by the test that ranks their board.

Where the board is too small for that, or one of the rows not ranked: paired where they share enough seeds, else
by Welch's test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from suite.base.command import Command
from suite.base.text import plain
from suite.boards.comparison import Line, Verdict, finding_of, summary, verdict_of
from suite.boards.more_seeds import next_seeds, run_command
from suite.boards.whole_board import WholeBoard
from suite.define.catalog import Catalog
from suite.define.task import Task
from suite.records.again import settings_of
from suite.stats import tests
from suite.stats.tests import LEVEL, MIN_REPLICATES, Interval
from suite.store.rows import Side


def welch_interval(a: Sequence[float], b: Sequence[float]) -> tuple[Interval, float]:
    """(mean of a - mean of b with Welch's 95 % interval, p); two values each. See `suite.stats.tests.welch`."""
    import numpy as np
    from scipy.special import stdtrit

    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    parts = [0.0 if np.ptp(v) == 0 else float(v.var(ddof=1)) / len(v) for v in (x, y)]
    delta, total = float(x.mean() - y.mean()), sum(parts)
    n = min(len(x), len(y))
    if total == 0:
        return Interval(delta, delta, delta, n), tests.welch(a, b)
    shares = [part / total for part in parts]
    freedom = 1 / (shares[0] ** 2 / (len(x) - 1) + shares[1] ** 2 / (len(y) - 1))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * total**0.5
    return Interval(delta, delta - half, delta + half, n), tests.welch(a, b)


def line_over_seeds(
    catalog: Catalog,
    task: Task,
    a: Side,
    b: Side,
    higher: bool,
    show: Callable[[float], str],
    bootstrap: bool,
    whole: WholeBoard | None = None,
) -> Line:
    """`whole` is the board that the two stand on."""
    left, right = a.values, b.values
    common = sorted(left.keys() & right.keys())
    found: Interval | None = None
    p: float | None = None
    test = "none"
    why = ""
    if not left or not right:
        why = "; ".join(dict.fromkeys(_unpaired(side) for side in (a, b) if not side.values))
    elif not bootstrap and (moderated := _moderated(whole, a, b)):
        found, p, test = moderated
    elif tests.pairs_up(len(common), len(left), len(right)):
        gaps = [left[seed] - right[seed] for seed in common]
        found, p, test = _paired(gaps, bootstrap)
    elif min(len(left), len(right)) >= MIN_REPLICATES:
        found, p = welch_interval(list(left.values()), list(right.values()))
        test = "Welch t"
    elif common:
        gaps = [left[seed] - right[seed] for seed in common]
        found = Interval(sum(gaps) / len(gaps), None, None, len(gaps))
    command = None
    if p is None and left and right:
        seeds = next_seeds(left, right, MIN_REPLICATES)
        command = run_command(catalog, task, (a, b), seeds)
        why = f"{len(common)} common seed(s): no conclusion; add seeds"
    verdict = verdict_of(p, found, higher)
    if p is not None and found is not None:
        why = finding_of(a, b, found, p, verdict, test, show)
        if whole and not bootstrap:
            why += _on_board(whole, a, b, p, verdict)
        if test == "Welch t":
            # the board's own rule: below it, pairing throws away more than it explains
            why += f"; {len(common)} common seed(s) are too few of them for pairs"
        if verdict == "undecided":
            command = _power(catalog, task, a, b)
            why += "; seeds that would tell them apart" if command else ""
    return Line(
        protocol=a.protocol,
        protocol_hash=a.protocol_hash,
        evaluation_hash=a.evaluation_hash,
        dataset=a.dataset,
        a=summary(a),
        b=summary(b),
        common_seeds=tuple(common),
        test=test,
        n=found.n if found else 0,
        difference=found.mean if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        p=p,
        verdict=verdict,
        finding=why,
        next=command,
        apart_on_board=None if whole is None else _apart(whole, a, b),
    )


def _moderated(whole: WholeBoard | None, a: Side, b: Side) -> tuple[Interval, float, str] | None:
    """Difference with interval, p and name of the moderated t test; None where the board has none."""
    pair = whole.pair(a, b) if whole else None
    if whole is None or pair is None or whole.board.moderated is None:
        return None
    import numpy as np

    board, (x, y) = whole.board, pair
    low, high = whole.board.moderated.interval(x, y)
    p = whole.board.moderated.p_values(np.array([x]), np.array([y]))
    difference = float(board.mean[x] - board.mean[y])
    n = int(min(board.n[x], board.n[y]))
    return Interval(difference, low, high, n), float(p[0]), "moderated t"


def _apart(whole: WholeBoard, a: Side, b: Side) -> bool | None:
    pair = whole.pair(a, b)
    return None if pair is None else bool(whole.board.apart[pair])


def _on_board(whole: WholeBoard, a: Side, b: Side, p: float, verdict: Verdict) -> str:
    """What the board says of the two, whose p is of one comparison."""
    apart = _apart(whole, a, b)
    rows = len(whole.position)
    if apart is None or rows < 3:
        return ""
    if apart:
        return f"; the board of {rows} rows, where all pairs are tested together, tells them apart, too"
    return (
        f"; this p is of one comparison: the board of {rows} rows, where all pairs are tested together, "
        f"{'does not tell them apart' if verdict != 'undecided' else 'does not, either'}"
    )


def _paired(gaps: Sequence[float], bootstrap: bool) -> tuple[Interval, float, str]:
    if not bootstrap:
        return tests.mean_interval(gaps), tests.paired(gaps, [0.0] * len(gaps)), "paired t"
    from suite.stats import bootstrap as resampling

    found = resampling.bootstrap_interval(gaps, resampling.SEED_RESAMPLES)
    return found, resampling.bootstrap_p(gaps), f"paired {resampling.NAME}"


def _unpaired(side: Side) -> str:
    if not side.complete:
        return f"{plain(side.method)} has runs without a value of this metric: no conclusion"
    return (
        f"{plain(side.method)} has several runs of one seed (trained on other inputs): no pairs, no "
        "conclusion"
    )


def _power(catalog: Catalog, task: Task, a: Side, b: Side) -> Command | None:
    """`power` with run ids for rows that their methods' names do not stand for. Names of strangers are in no
    command."""
    protocol = task.protocols.get(a.protocol)
    names = [
        side.runs[0].run_id
        if a.method == b.method or (protocol and settings_of(catalog, protocol, side))
        else side.method
        for side in (a, b)
    ]
    if any(plain(name) != name or name.startswith("-") for name in names):
        return None
    return Command("power", *names, "--task", task.name, "--protocol", a.protocol)
