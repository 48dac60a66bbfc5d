"""Classes: scores by class against training counts, paired differences, and which class pays for which."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard import charts, class_charts, confusions, controls, say, source, tables
from dashboard.views import common
from suite.base.command import Command
from suite.base.errors import UserError
from suite.boards import classes as by_class
from suite.boards.classes import ClassScores
from suite.boards.confusions import CONFUSION, Flow, busiest, flows, share_difference
from suite.boards.more_seeds import next_seeds, run_command
from suite.define.protocol import Protocol
from suite.define.task import Metric, Task
from suite.render.cells import metric_of
from suite.render.grid import row_names
from suite.render.table import Column, Sheet
from suite.stats.tests import MIN_REPLICATES
from suite.store.rows import Side

TITLE = "Classes"
ICON = ":material/category:"

MOST_ROWS = 4
MOST_CELLS = 30

Named = dict[str, ClassScores]


def page() -> None:
    first, second, third = st.columns([2, 2, 2])
    with first:
        task = controls.pick_task(_tasks(source.current()) or None)
    lines = [line for line in source.coverage(task.name) if line.current]
    if not lines:
        common.no_runs(task)
        return
    with second:
        name = common.pick_protocol(task, lines)
    protocol = task.protocols[name]
    keys = _keys(source.current(), task.name, name)
    if not keys:
        say.nothing(f"no finished run under {name} has scores by class", _evaluate_command(task))
        return
    with third:
        key = controls.pick("Metric", keys, "metric", help="Those with a value per class.")
    named = _named(task, name, _scores(source.current(), task.name, name, key))
    if not named:
        say.nothing(f"no row under {name} has {key} by class")
        return
    counts = _counts(source.current(), task.name, name)
    metric = metric_of(task, key)
    if counts is None:
        say.note("No record tells the training counts: classes are in the data set's own order.")
    _against_frequency(named, task, protocol, metric, key, counts)
    st.divider()
    pair = _pick_pair(named, task)
    if pair is not None:
        _paired(named, pair, task, protocol, metric, key, counts)
        _who_pays(named, pair, task, protocol, counts)


# -- what is read


@source.kept
def _tasks(stamp: source.Stamp) -> list[str]:
    with source.connection() as store:
        return by_class.tasks_with_classes(store)


@source.kept
def _keys(stamp: source.Stamp, task: str, protocol: str) -> list[str]:
    of = source.task(task)
    with source.connection() as store:
        return by_class.class_keys(store, of, of.protocols[protocol])


@source.kept
def _scores(stamp: source.Stamp, task: str, protocol: str, key: str) -> list[ClassScores]:
    of = source.task(task)
    with source.connection() as store:
        return by_class.class_scores(store, of, of.protocols[protocol], key)


@source.kept
def _values(
    stamp: source.Stamp, task: str, protocol: str, key: str, rows: tuple[int, int]
) -> list[dict[int, list[float | None]]]:
    of = source.task(task)
    found = {one.side.row_id: one.side for one in _scores(stamp, task, protocol, key)}
    with source.connection() as store:
        return by_class.class_values(
            store, of, of.protocols[protocol], key, [found[row] for row in rows]
        )


@source.kept
def _counts(stamp: source.Stamp, task: str, protocol: str) -> tuple[int, ...] | None:
    of = source.task(task)
    under = of.protocols[protocol]
    keys = _keys(stamp, task, protocol)
    sides = [one.side for one in _scores(stamp, task, protocol, keys[0])] if keys else []
    runs = ((run.run_id, run.attempt) for side in sides for run in side.runs)
    return by_class.class_counts(source.root(), under.dataset, runs)


def _named(task: Task, protocol: str, found: Sequence[ClassScores]) -> Named:
    """The rows by the names and in the order that the board gives them, the best first."""
    of_run = {run.run_id: one for one in found for run in one.side.runs}
    evaluation = task.evaluation_hash(task.protocols[protocol])
    block = [
        row
        for row in source.board(task.name, protocol, task.primary[0])
        if row.evaluation_hash == evaluation
        and row.state not in ("stale", "planned")
        and any(run in of_run for run in row.runs)
    ]
    named: Named = {}
    for row, name in zip(block, row_names(block), strict=True):
        one = next(of_run[run] for run in row.runs if run in of_run)
        named[name if name not in named else f"{name} ({one.side.row_id})"] = one
    return named


def _evaluate_command(task: Task) -> str:
    return str(Command("evaluate", "--task", task.name))


# -- against training frequency


def _against_frequency(
    named: Named,
    task: Task,
    protocol: Protocol,
    metric: Metric,
    key: str,
    counts: tuple[int, ...] | None,
) -> None:
    st.subheader("Score by class against training frequency")
    names = list(named)
    chosen = controls.pick_many(
        f"Rows, at most {MOST_ROWS}",
        names,
        "rows",
        default=common.reference_first(names, task),
        most=MOST_ROWS,
        help="In the board's order, the best first.",
    )[:MOST_ROWS]
    if not chosen:
        say.nothing("choose a row")
        return
    groups = by_class.groups_of(task, protocol, counts)
    order = by_class.by_frequency(len(groups), counts)
    labels = confusions.labels(chosen)
    data = class_charts.points(
        [named[name] for name in chosen], labels, protocol, metric, counts, groups
    )
    classes = f"{len(order)} classes"
    charts.show(
        class_charts.frequency_chart(data, labels, task, metric, key, counts, groups),
        "by-frequency",
        f"{key} of {classes} against their training counts, for {', '.join(labels)}",
    )
    say.note(
        "Mean over seeds"
        + (
            " with its 95 % t interval"
            if len(order) <= class_charts.MOST_BARS
            else "; intervals are in the table"
        )
        + "; points of one class lie beside each other."
    )
    sheet = class_charts.sheet(
        f"{task.name}, {protocol.name}: {key} by class",
        ("class", f"training {by_class.counted(task)}"),
        "percent" if metric.unit == "fraction" else "number",
        {name: named[name] for name in chosen},
        protocol,
        counts,
        groups,
    )
    with st.expander("Table"):
        tables.show(sheet, "classes")


# -- paired differences


def _pick_pair(named: Named, task: Task) -> tuple[str, str] | None:
    st.subheader("What one row gains and pays against another")
    names = list(named)
    if len(names) < 2:
        say.nothing("two rows are needed; train another method under this protocol")
        return None
    first, second, _ = st.columns([2, 2, 2])
    base = task.reference if task.reference in names else names[-1]
    best = next(name for name in names if name != base)
    with first:
        a = controls.pick("A", names, "a", default=best)
    with second:
        b = controls.pick("against B", names, "b", default=base)
    if a == b:
        say.nothing("A and B are the same row: choose two")
        return None
    # from B to A: what A gains is what the change to it brings
    return b, a


def _paired(
    named: Named,
    pair: tuple[str, str],
    task: Task,
    protocol: Protocol,
    metric: Metric,
    key: str,
    counts: tuple[int, ...] | None,
) -> None:
    sides = [named[name].side for name in pair]
    rows = sides[0].row_id, sides[1].row_id
    a, b = _values(source.current(), task.name, protocol.name, key, rows)
    seeds, found = by_class.differences(a, b)
    if not seeds:
        say.nothing(
            "A and B share no seed, so that there is nothing to pair; add one:",
            _add_command(sides, task) or "",
        )
        return
    if not metric.higher_is_better:
        say.note(f"Of {key}, less is better: a gain is a difference below 0.")
    groups = by_class.groups_of(task, protocol, counts)
    changes = by_class.group_changes(a, b, groups)
    if not changes:
        say.nothing("no class has a value in all common seeds")
        return
    say.note(_sentence(changes, pair, metric, len(seeds)))
    data, left_out = class_charts.changes(found, protocol, metric, counts, groups)
    charts.show(
        class_charts.difference_chart(data, pair, metric, key),
        "differences",
        f"difference of {key} by class, {pair[1]} minus {pair[0]}, the most frequent class first",
    )
    if left_out:
        say.note(
            f"The {class_charts.MOST_CHANGES} largest changes are drawn; the table has all {len(groups)}."
        )
    kind: Any = "points" if metric.unit == "fraction" else "number"
    sheet = Sheet(
        f"{key}: {pair[1]} minus {pair[0]}, summed over the classes of a group",
        (
            Column("group"),
            Column("classes", "integer", "With a value in all common seeds."),
            Column("sum", kind, "Sum of the classes' differences, mean over common seeds."),
            Column("low", kind, "95 % t interval over common seeds."),
            Column("high", kind),
            Column("per class", kind),
            Column("classes up", "integer", "The class's own interval lies above 0."),
            Column("classes down", "integer", "The class's own interval lies below 0."),
        ),
        [
            (
                change.group or "all",
                change.classes,
                change.total.mean,
                change.total.low,
                change.total.high,
                change.total.mean / change.classes,
                change.gained,
                change.lost,
            )
            for change in changes
        ],
        notes=("Intervals of classes are not corrected for their number.",),
    )
    tables.show(sheet, "group-changes")
    order = by_class.by_frequency(len(groups), counts)
    each = Sheet(
        f"{key} by class: {pair[1]} minus {pair[0]}, over {len(seeds)} common seed(s)",
        (
            Column("class"),
            Column("group"),
            Column(f"training {by_class.counted(task)}", "integer"),
            Column("difference", kind),
            Column("low", kind),
            Column("high", kind),
        ),
        [
            (
                protocol.dataset.classes[c],
                groups[c],
                counts[c] if counts else None,
                *((one.mean, one.low, one.high) if (one := found[c]) else (None, None, None)),
            )
            for c in order
        ],
    )
    with st.expander("Table by class"):
        tables.show(each, "class-changes")


def _add_command(sides: Sequence[Side], task: Task) -> Command | None:
    a, b = ([run.seed for run in side.runs] for side in sides)
    return run_command(source.catalog(), task, sides, next_seeds(a, b, MIN_REPLICATES))


def _sentence(
    changes: Sequence[by_class.GroupChange], pair: tuple[str, str], metric: Metric, seeds: int
) -> str:
    factor, _, unit = class_charts.scale(metric)
    parts = []
    for change in changes:
        value = factor * change.total.mean
        better = (value > 0) == metric.higher_is_better
        verb = "stays" if not value else "gains" if better else "pays"
        amount = f"{abs(value):.1f} {unit}" if value else ""
        parts.append(f"{change.group or 'all together'} {verb} {amount}".strip())
    words = f"{pair[1]} against {pair[0]}, summed over classes: {', '.join(parts)} "
    return f"{words}(mean over {seeds} common seed(s))."


# -- which class pays for which


def _who_pays(
    named: Named,
    pair: tuple[str, str],
    task: Task,
    protocol: Protocol,
    counts: tuple[int, ...] | None,
) -> None:
    st.subheader("Which class pays for which")
    if CONFUSION.of(task) is None:
        say.note(f"{task.name} keeps no predictions from which classes could be confused.")
        return
    runs = [by_class.by_seed(named[name].side) for name in pair]
    seeds = sorted(runs[0].keys() & runs[1].keys())
    if not seeds:
        say.note("A and B share no seed.")
        return
    needed = [[of[seed] for seed in seeds] for of in runs]
    if not confusions.wanted([(run.run_id, run.attempt) for of_row in needed for run in of_row]):
        return
    try:
        with st.spinner("reading stored predictions"):
            a, b = (
                sum(confusions.confusion(task, run.run_id, run.attempt) for run in of_row)
                for of_row in needed
            )
        found = flows(a, b, len(seeds))
        difference = share_difference(a, b)
    except UserError as error:
        confusions.problem(error)
        return
    _flow_table(found, pair, task, protocol, len(seeds))
    _difference_map(difference, pair, protocol, counts)


def _flow_table(
    found: Sequence[Flow],
    pair: tuple[str, str],
    task: Task,
    protocol: Protocol,
    seeds: int,
) -> None:
    names = protocol.dataset.classes
    if not found:
        say.note("No class loses anything to another.")
        return
    units = f"test {by_class.counted(task)}"
    sheet = Sheet(
        f"From {pair[0]} to {pair[1]}: the largest flows",
        (
            Column("payer"),
            Column("gainer"),
            Column("lost", "number", f"{units} of the payer that B calls the gainer, less A's"),
            Column("lost share", "points", f"of all {units} of the payer"),
            Column(
                "won",
                "number",
                f"{units} of the gainer that A calls the payer, less B's; below 0 it loses them too",
            ),
            Column("won share", "points", f"of all {units} of the gainer"),
        ),
        [
            (
                names[flow.payer],
                names[flow.gainer],
                flow.lost,
                flow.lost_share,
                flow.won,
                flow.won_share,
            )
            for flow in found
        ],
        notes=(
            f"{units.capitalize()} per seed, mean over {seeds} common seed(s). lost: of the payer's, those "
            f"that {pair[1]} calls the gainer beyond those that {pair[0]} calls so. won: of the gainer's, "
            f"those that {pair[0]} calls the payer beyond those that {pair[1]} calls so.",
        ),
    )
    tables.show(sheet, "flows")


def _difference_map(
    difference: Any,
    pair: tuple[str, str],
    protocol: Protocol,
    counts: tuple[int, ...] | None,
) -> None:
    shown = set(busiest(difference, MOST_CELLS))
    order = [c for c in by_class.by_frequency(len(difference), counts) if c in shown]
    charts.show(
        confusions.heat_map(
            100 * difference[order][:, order],
            [protocol.dataset.classes[c] for c in order],
            signed=True,
        ),
        "difference-map",
        f"change of the share of each true class that is called each class, {pair[1]} minus {pair[0]}",
    )
    rest = f" The {len(order)} classes in which most has changed." * (len(order) < len(difference))
    say.note(
        f"Difference of row-normalised confusions, {pair[1]} minus {pair[0]}, in points; classes the most "
        f"frequent first; a row sums to 0.{rest}"
    )
