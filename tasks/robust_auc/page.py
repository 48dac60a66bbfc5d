"""Robustness: AUC by severity and corruption, level against drop, and corrupted images beside clean ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import streamlit as st

from dashboard import charts, confusions, controls, say, source, tables, task_rows
from dashboard.task_rows import Scored
from suite.base.errors import UserError
from suite.boards import classes as by_class
from suite.define.protocol import Protocol
from suite.define.task import Predictions, Task
from suite.records.attempt import Attempt
from suite.render.table import Column, Sheet, Value
from suite.stats.tests import Interval
from suite.store.row import Row
from suite.store.rows import Run, Side
from tasks.robust_auc import changes, drawings, levels, pictures
from tasks.robust_auc.changes import ORDERS, Changes, Order
from tasks.robust_auc.conditions import CLEAN, Conditions
from tasks.robust_auc.data.constants import set_name
from tasks.robust_auc.drawings import Cell, Encoded, Point, Spot
from tasks.robust_auc.evaluation import clean_intervals
from tasks.robust_auc.levels import Level
from tasks.robust_auc.pictures import Pictures

TITLE = "Robustness"
ICON = ":material/blur_on:"

SEVERITY, GRID, DROP, IMAGES = (
    "AUC by severity",
    "by corruption",
    "level and drop",
    "images and scores",
)
PRIMARY = "auc_corrupted"
MEAN = "all, their mean"
BY_NUMBER = "by number"
IMAGES_SHOWN = 4
"""Of each class."""
MOST_IMAGES = 12
"""That are asked for by number."""
_CARD = 192
"""Pixels of two pictures beside each other."""


def page() -> None:
    picked = task_rows.pick_scored(
        {PRIMARY, "auc", "auc_pooled"}, "no task here scores the AUC under corruption"
    )
    if picked is None:
        return
    task, protocol = picked
    lines = task_rows.largest_first(task_rows.rows(task, protocol, PRIMARY), PRIMARY)
    if not lines:
        return
    conditions = Conditions.of(task.evaluation(protocol))
    if not conditions.corruptions:
        say.nothing(f"{protocol.name} tests clean images alone: there is no corruption to show")
        return
    part = controls.tabs((SEVERITY, GRID, DROP, IMAGES), "view")
    shown = {SEVERITY: _by_severity, GRID: _by_corruption, DROP: _level_and_drop, IMAGES: _images}
    shown[part](task, protocol, conditions, lines)


def _encoded(names: Sequence[str]) -> Encoded:
    return Encoded(
        charts.colour("row", names), charts.shape("row", names), charts.dash("row", names)
    )


def _reference(task: Task, names: Sequence[str]) -> str:
    """The task's reference, or the last row where it has none here."""
    return task.reference if task.reference in names else names[-1]


def _some_rows(task: Task, lines: Sequence[Scored]) -> list[Scored]:
    """Those chosen for a chart."""
    names = [line.name for line in lines]
    reference = [name for name in names if name == task.reference]
    default = [*reference, *(name for name in names if name not in reference)][
        : task_rows.MOST_ROWS
    ]
    return task_rows.pick_rows(lines, default, PRIMARY)


def _point(line: Scored, key: str, where: str, severity: int = CLEAN) -> Point:
    mean, low, high = drawings.percents(line.row.cell(key))
    return Point(line.name, where, severity, mean, low, high, line.row.n)


def _undefined(points: Sequence[Point]) -> None:
    lost = [one for one in points if one.mean is None]
    if lost:
        say.note(
            f"{len(lost)} of {len(points)} means are undefined and left out ({lost[0].row}, {lost[0].where}): a run has all "
            "scores equal there, or images of one class alone."
        )


def _long_sheet(title: str, points: Sequence[Point]) -> Sheet:
    """A line a point."""

    def share(value: float | None) -> float | None:
        return None if value is None else value / 100

    return Sheet(
        title,
        (
            Column("row"),
            Column("test set"),
            Column("n", "integer", "Replicates."),
            Column("AUC", "percent"),
            Column("low", "percent"),
            Column("high", "percent"),
        ),
        [
            (one.row, one.where, one.n, share(one.mean), share(one.low), share(one.high))
            for one in points
        ],
        notes=("low, high: 95 % t interval over seeds",),
    )


# -- AUC by severity


def _by_severity(
    task: Task, protocol: Protocol, conditions: Conditions, lines: Sequence[Scored]
) -> None:
    first, second = st.columns([4, 2])
    with first:
        chosen = _some_rows(task, lines)
    if not chosen:
        return
    if not conditions.severities:
        _by_lane(task, protocol, conditions, chosen)
        return
    with second:
        of = controls.pick("Corruption", [MEAN, *conditions.corruptions], "of")
    corruption = None if of == MEAN else of
    points = [
        _point(line, key, "clean" if level == CLEAN else f"severity {level}", level)
        for line in chosen
        for level, key in conditions.along(corruption).items()
    ]
    what = f"mean AUC of {len(conditions.corruptions)} corruptions"
    if corruption:
        what = f"AUC under {charts.name(corruption)}"
    names = [line.name for line in chosen]
    if any(one.mean is not None for one in points):
        charts.show(
            drawings.by_severity(points, names, _encoded(names), what),
            "by-severity",
            f"{what} from clean to severity {conditions.severities[-1]}, for {', '.join(names)}",
        )
    _undefined(points)
    say.note(
        "Bars are 95 % t intervals over seeds, cut at 100 %. The same images are tested in every condition."
    )
    with st.expander("Table"):
        title = f"{task.name}, {protocol.name}: {what} by severity"
        tables.show(_long_sheet(title, points), "severities")


def _by_lane(
    task: Task, protocol: Protocol, conditions: Conditions, chosen: Sequence[Scored]
) -> None:
    """Where each corruption has one strength: there is no severity to go along."""
    keys = {"clean": "auc", **{name: conditions.key(name) for name in conditions.corruptions}}
    points = [_point(line, key, where) for line in chosen for where, key in keys.items()]
    names = [line.name for line in chosen]
    if any(one.mean is not None for one in points):
        charts.show(
            drawings.by_corruption(
                [one._replace(where=charts.name(one.where)) for one in points],
                names,
                [charts.name(one) for one in drawings.lowest_first(points, "clean")],
                _encoded(names),
            ),
            "by-severity",
            f"AUC clean and under {len(conditions.corruptions)} corruptions, for {', '.join(names)}",
        )
    _undefined(points)
    say.note(
        f"The corruptions of {protocol.name} have one strength each, so there are no severities: they stand below the clean "
        "set, the hardest first. Bars are 95 % t intervals over seeds, cut at 100 %."
    )
    with st.expander("Table"):
        title = f"{task.name}, {protocol.name}: AUC by corruption"
        tables.show(_long_sheet(title, points), "severities")


# -- corruption x method


def _by_corruption(
    task: Task, protocol: Protocol, conditions: Conditions, lines: Sequence[Scored]
) -> None:
    first, second = st.columns([2, 4])
    names = [line.name for line in lines]
    with first:
        signed = controls.switch(
            "Difference",
            "difference",
            help="Of each row to another one under each corruption, in points.",
        )
    if signed:
        with second:
            base = controls.pick("against B", names, "b", default=_reference(task, names))
        cells, shared = _differences(task, protocol, conditions, lines, lines[names.index(base)])
    else:
        base, shared = "", True
        cells = [
            Cell(line.name, column, *drawings.percents(line.row.cell(key)), n=line.row.n)
            for line in lines
            for column, key in conditions.columns().items()
        ]
    shown = {column: charts.name(column) for column in conditions.columns()}
    against = f", less that of {base}" if signed else ""
    if all(cell.value is None for cell in cells):
        say.nothing("no AUC is defined here")
    else:
        charts.show(
            drawings.heat_map(
                [cell._replace(column=shown[cell.column]) for cell in cells],
                names,
                list(shown.values()),
                signed=signed,
            ),
            "corruptions",
            f"AUC of {len(lines)} rows clean and under {len(conditions.corruptions)} corruptions{against}",
        )
    levels_of = (
        f"means over {len(conditions.severities)} severities"
        if conditions.severities
        else "one strength each"
    )
    lost = sum(cell.value is None for cell in cells)
    say.note(
        f"Rows in the order of auc_corrupted, the best first, which is the mean of all; corruptions: {levels_of}."
        + (f" {lost} of {len(cells)} cells are undefined (grey)." if lost else "")
    )
    if signed:
        say.note(
            f"Differences to {base} are means over the seeds that both rows have, in bold where their 95 % t interval leaves "
            "0 out; it is of each cell alone, without a correction for their number."
            + (
                ""
                if shared
                else " Where rows share no seed, it is the difference of their means, without an interval."
            )
        )
    title = f"{task.name}, {protocol.name}: AUC by corruption{against}"
    with st.expander("Table"):
        if signed:
            tables.show(_difference_sheet(title, cells), "corruptions")
        else:
            tables.show(_wide_sheet(title, cells, list(shown)), "corruptions")


def _differences(
    task: Task, protocol: Protocol, conditions: Conditions, lines: Sequence[Scored], base: Scored
) -> tuple[list[Cell], bool]:
    """Cells in points, and whether every row shares a seed with `base`."""
    cells, shared = [], True
    for column, key in conditions.columns().items():
        sides = task_rows.sides(task, protocol, key)
        theirs = _by_seed(sides.get(base.side.row_id))
        for line in lines:
            seeds, gaps = by_class.differences(theirs, _by_seed(sides.get(line.side.row_id)))
            shared = shared and bool(seeds)
            found = gaps[0] if gaps else _apart(line.row, base.row, key)
            if found is None:
                cells.append(Cell(line.name, column, None, None, None, len(seeds)))
                continue
            value, low, high = (
                None if v is None else 100 * v for v in (found.mean, found.low, found.high)
            )
            apart = line is not base and by_class.side_of(found) != 0
            cells.append(Cell(line.name, column, value, low, high, len(seeds), apart))
    return cells, shared


def _by_seed(side: Side | None) -> dict[int, list[float | None]]:
    return {} if side is None else {s: [run.value] for s, run in by_class.by_seed(side).items()}


def _apart(row: Row, base: Row, key: str) -> Interval | None:
    """The difference of the means of rows that share no seed."""
    one, other = row.cell(key).mean, base.cell(key).mean
    return None if one is None or other is None else Interval(one - other, None, None, 0)


def _wide_sheet(title: str, cells: Sequence[Cell], columns: Sequence[str]) -> Sheet:
    rows: dict[str, list[Value]] = {}
    for cell in cells:
        line = rows.setdefault(cell.row, [cell.row, cell.n])
        line.append(None if cell.value is None else cell.value / 100)
    heads = [Column(column, "percent") for column in columns]
    return Sheet(
        title, (Column("row"), Column("n", "integer", "Replicates."), *heads), list(rows.values())
    )


def _difference_sheet(title: str, cells: Sequence[Cell]) -> Sheet:
    def share(value: float | None) -> float | None:
        return None if value is None else value / 100

    return Sheet(
        title,
        (
            Column("row"),
            Column("test set"),
            Column("seeds", "integer", "That both rows have."),
            Column("difference", "points"),
            Column("low", "points"),
            Column("high", "points"),
        ),
        [
            (c.row, c.column, c.n, share(c.value), share(c.low), share(c.high))
            for c in sorted(cells, key=lambda cell: cell.row != cells[0].row)
        ],
        notes=("low, high: 95 % t interval over the seeds that both rows have",),
    )


# -- level and drop


def _level_and_drop(
    task: Task, protocol: Protocol, conditions: Conditions, lines: Sequence[Scored]
) -> None:
    found = [
        Level(
            line.name,
            line.row.cell("auc").mean,
            line.row.cell("auc_corrupted").mean,
            line.row.cell("auc_pooled").mean,
        )
        for line in lines
    ]
    orders = levels.orders(found)
    told = levels.finding(orders)
    if told:
        st.markdown(say.words(told))
    spots = []
    for line in lines:
        clean, mean = (drawings.percents(line.row.cell(key)) for key in ("auc", "auc_corrupted"))
        pooled = drawings.percents(line.row.cell("auc_pooled"))[0]
        if clean[0] is not None and mean[0] is not None:
            spots.append(Spot(line.name, *_known(clean), *_known(mean), pooled, line.row.n))
    if spots:
        y_range = drawings.padded(
            [one.mean for one in spots] + [one.pooled for one in spots if one.pooled is not None]
        )
        # steps of like size on both axes, about: else a small gain in level would look as a large one in drop would
        x_range = drawings.padded(
            [one.clean for one in spots],
            least=(max(one.mean for one in spots) - min(one.mean for one in spots)) / 2,
        )
        names = [line.name for line in lines]
        charts.show(
            drawings.level_and_drop(
                spots, levels.equal_drops(x_range, y_range), x_range, y_range, _encoded(names)
            ),
            "level-and-drop",
            f"clean AUC of {len(spots)} rows against their AUC under corruption, with lines of equal drop",
        )
        say.note(
            "Filled: auc_corrupted, the mean over all conditions, with its 95 % t interval over seeds (cut at the frame); "
            "hollow, joined by a dotted line: auc_pooled, one AUC over the scores of all conditions, which falls where a "
            "corruption shifts all scores. On a dashed line the drop from the clean AUC to either is the same: up and right "
            "is a better level, up and left a smaller drop."
        )
    if len(spots) < len(lines):
        say.note(f"{len(lines) - len(spots)} of {len(lines)} rows have no clean or corrupted AUC.")
    tables.show(_level_sheet(task, protocol, lines, found), "levels")
    if orders.swaps:
        with st.expander(f"Pairs that mean and pooled AUC order differently ({len(orders.swaps)})"):
            tables.show(_swap_sheet(task, protocol, orders.swaps), "swaps")
    st.subheader("Clean AUC over test images")
    _clean(task, protocol, lines)


def _known(cell: tuple[float | None, ...]) -> tuple[float, float | None, float | None]:
    mean, low, high = cell
    return 0.0 if mean is None else mean, low, high


def _level_sheet(
    task: Task, protocol: Protocol, lines: Sequence[Scored], found: Sequence[Level]
) -> Sheet:
    by_mean = levels.places([one.mean for one in found])
    by_pooled = levels.places([one.pooled for one in found])
    rows: list[list[Value]] = []
    for k, line in enumerate(lines):
        clean, mean, pooled, worst, drop = (
            line.row.cell(key)
            for key in ("auc", "auc_corrupted", "auc_pooled", "auc_worst_corruption", "auc_drop")
        )
        rows.append(
            [
                *(line.name, line.row.n, clean.mean, mean.mean, mean.low, mean.high, by_mean[k]),
                *(pooled.mean, by_pooled[k], worst.mean),
                drop.mean,
            ]
        )
    return Sheet(
        f"{task.name}, {protocol.name}: level and drop",
        (
            Column("row"),
            Column("n", "integer", "Replicates."),
            Column("clean", "percent", "auc"),
            Column("mean", "percent", "auc_corrupted"),
            Column("low", "percent", "Of the mean: 95 % t interval over seeds."),
            Column("high", "percent", "Of the mean: 95 % t interval over seeds."),
            Column("place", "integer", "By the mean."),
            Column("pooled", "percent", "auc_pooled"),
            Column("pooled place", "integer", "By the pooled AUC."),
            Column("worst", "percent", "auc_worst_corruption"),
            Column("drop", "percent", "auc_drop: clean less mean."),
        ),
        rows,
    )


def _swap_sheet(task: Task, protocol: Protocol, swaps: Sequence[levels.Swap]) -> Sheet:
    return Sheet(
        f"{task.name}, {protocol.name}: ahead by the mean, behind by the pooled AUC",
        (
            Column("ahead by the mean"),
            Column("mean", "percent"),
            Column("pooled", "percent"),
            Column("ahead by the pooled AUC"),
            Column("its mean", "percent"),
            Column("its pooled", "percent"),
        ),
        [
            (one.a.name, one.a.mean, one.a.pooled, one.b.name, one.b.mean, one.b.pooled)
            for one in swaps
        ],
        notes=("Means over seeds alone: no account is taken of noise.",),
    )


def _clean(task: Task, protocol: Protocol, lines: Sequence[Scored]) -> None:
    """Intervals of the clean AUC of one run a row, over test images."""
    seeds = sorted({run.seed for line in lines for run in line.side.runs})
    first, _ = st.columns([1, 3])
    with first:
        seed = int(
            controls.pick(
                "Seed", [str(one) for one in seeds], "seed", help="One replicate of each row."
            )
        )
    runs = [(line, run) for line in lines if (run := _of_seed(line, seed)) is not None]
    if not confusions.wanted([(run.run_id, run.attempt) for _, run in runs]):
        return
    rows: list[list[Value]] = []
    problems, images = [], set()
    with st.spinner("resampling test images"):
        for line, run in runs:
            made: dict[str, Interval] = {}
            try:
                made = _intervals(
                    task_rows.stamp_of(run), task.name, protocol.name, run.run_id, run.attempt
                )
            except UserError as error:
                problems.append(error)
            cells: list[Value] = [line.name, _run_auc(made)]
            for name in ("delong", "bootstrap"):
                cells += [made[name].low, made[name].high] if name in made else [None, None]
            images |= {one.n for one in made.values()}
            cell = line.row.cell("auc")
            rows.append([*cells, cell.mean, cell.low, cell.high, run.run_id])
    sheet = Sheet(
        f"{task.name}, {protocol.name}: clean AUC of seed {seed}, with 95 % intervals",
        (
            Column("row"),
            Column("AUC", "percent", "Of this run."),
            Column("DeLong low", "percent", "Over test images (DeLong et al. 1988)."),
            Column("DeLong high", "percent", "Over test images (DeLong et al. 1988)."),
            Column("boot. low", "percent", "Bootstrap over test images, percentiles."),
            Column("boot. high", "percent", "Bootstrap over test images, percentiles."),
            Column("mean of seeds", "percent", "Of the row's replicates."),
            Column("seeds low", "percent", "t interval over seeds."),
            Column("seeds high", "percent", "t interval over seeds."),
            Column("run", "run"),
        ),
        rows,
        notes=(
            "DeLong and bootstrap: other test images, the model as it is trained"
            + (f" ({', '.join(f'{n:,}' for n in sorted(images))} images)" if images else "")
            + "; seeds: other trainings, the same test images. Neither holds the other. DeLong's is not clipped, and is missing "
            "where nothing varies.",
        ),
    )
    tables.show(sheet, "clean-auc")
    if len(runs) < len(lines):
        say.note(f"{len(lines) - len(runs)} of {len(lines)} rows have no run of seed {seed}.")
    if problems:
        say.note(
            f"{len(problems)} of {len(runs)} runs have no predictions that can be read; the first:"
        )
        confusions.problem(problems[0])


def _of_seed(line: Scored, seed: int) -> Run | None:
    return next((run for run in line.side.runs if run.seed == seed), None)


def _run_auc(made: Mapping[str, Interval]) -> float | None:
    """Of one run; None where it is undefined or not known."""
    value = made["delong"].mean if made else float("nan")
    return value if value == value else None


# -- images


def _images(
    task: Task, protocol: Protocol, conditions: Conditions, lines: Sequence[Scored]
) -> None:
    # two lines of two: in a narrow window four would be cut
    columns = [*st.columns([3, 2, 2])[:2], *st.columns([3, 2, 2])[:2]]
    named = {line.name: line for line in lines}
    with columns[0]:
        line = named[controls.pick("Row", list(named), "row")]
    seeds = sorted({run.seed for run in line.side.runs})
    with columns[1]:
        seed = int(controls.pick("Seed", [str(one) for one in seeds], "seed"))
    run = _of_seed(line, seed) or line.side.runs[0]
    with columns[2]:
        corruption = controls.pick("Corruption", conditions.corruptions, "corruption")
    severity = None
    if conditions.severities:
        with columns[3]:
            options = [str(one) for one in conditions.severities]
            severity = int(controls.pick("Severity", options, "severity", default=options[-1]))
    name = set_name(corruption, severity)
    if not confusions.wanted([(run.run_id, run.attempt)]):
        return
    try:
        with st.spinner("reading stored predictions"):
            stored = _predictions(
                task_rows.stamp_of(run), task.name, protocol.name, run.run_id, run.attempt
            )
            found = changes.changes(stored, name)
    except UserError as error:
        confusions.problem(error)
        return
    _told(found, charts.name(corruption), severity)
    numbers = _pick_images(found)
    if numbers is None:
        return
    shown = _pictures(protocol, name, found)
    for kind, of in zip(("Positives", "Negatives"), numbers, strict=True):
        if of:
            st.markdown(f"**{kind}**")
            if shown is not None:
                _cards(shown, found, of)
            _score_table(found, of, f"{kind} of {line.name}, seed {seed}, {name}", kind.lower())


def _told(found: Changes, corruption: str, severity: int | None) -> None:
    """The AUC that these scores have, clean and corrupted."""
    at = f", severity {severity}" if severity is not None else ""
    one, other = (changes.auc_text(found, corrupted=which) for which in (False, True))
    positives = int(found.label.sum())
    say.note(
        f"{len(found.label):,} test images, {positives:,} positive. AUC of this run: {one} clean, {other} under {corruption}{at}. "
        "Pairs won: the share of the images of the other class that an image is ranked on the right side of; its mean over "
        "images of a class is the AUC. Logits have a scale that is the method's own."
    )


def _pick_images(found: Changes) -> tuple[list[int], list[int]] | None:
    """(positives, negatives): numbers of test images, 0 the first; None where none is asked for."""
    first, second, _ = st.columns([2, 3, 2])
    with first:
        order = controls.pick(
            "Images",
            [*ORDERS, BY_NUMBER],
            "images",
            help=f"The {IMAGES_SHOWN} of each class that lost most pairs, whose score changed most, or by their places in "
            "the test set.",
        )
    if order != BY_NUMBER:
        return changes.most(found, cast("Order", order), IMAGES_SHOWN)
    count = len(found.label)
    with second:
        text = controls.text(
            f"Numbers, 0 to {count - 1}",
            "numbers",
            placeholder="0, 7, 12",
            help=f"At most {MOST_IMAGES}.",
        )
    numbers, wrong = changes.numbers(text, count)
    if wrong:
        say.warning(
            f"{wrong[0]}: expected numbers of test images between 0 and {count - 1}, such as 0, 7, 12"
        )
    if not numbers:
        say.nothing("give numbers of test images")
        return None
    if len(numbers) > MOST_IMAGES:
        say.note(f"The first {MOST_IMAGES} of {len(numbers)} are shown.")
    kept = numbers[:MOST_IMAGES]
    return [n for n in kept if found.label[n]], [n for n in kept if not found.label[n]]


def _pictures(protocol: Protocol, name: str, found: Changes) -> Pictures | None:
    """None where they cannot be had, which is said."""
    root = source.data_root()
    if not pictures.embedded(protocol):
        if root is None:
            say.note(
                f"Pictures of {protocol.dataset.name} are read from a data root, of which this dashboard knows none: start it "
                "with --data-root DIR to see them. The scores alone:"
            )
            return None
        if not controls.switch(
            "Pictures",
            "pictures",
            help="Reads the test images from the data root, which may take a while.",
        ):
            return None
    try:
        with st.spinner("making the test images"):
            made = _made(protocol.hash, name, root, lambda: protocol)
            pictures.require_same(made, found.label)
    except UserError as error:
        confusions.problem(error)
        return None
    return made


# the protocol's hash says what is made
@st.cache_resource(show_spinner=False, max_entries=4)
def _made(hash_: str, name: str, root: Path | None, _of: Callable[[], Protocol]) -> Pictures:
    return pictures.read(_of(), name, root)


def _cards(shown: Pictures, found: Changes, numbers: Sequence[int]) -> None:
    """Clean and corrupted pictures, with both scores; beside each other as far as there is room."""
    with st.container(horizontal=True, gap="small"):
        for number in numbers:
            with st.container(width=_CARD, gap="small"):
                both = pictures.side_by_side(shown.clean[number], shown.corrupted[number])
                st.image(both, width=both.shape[1])
                change = found.corrupted[number] - found.clean[number]
                say.note(
                    f"number {number}: logit {_signed(found.clean[number])}, corrupted {_signed(found.corrupted[number])} "
                    f"({_signed(change)})"
                )


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _score_table(found: Changes, numbers: Sequence[int], title: str, key: str) -> None:
    def share(value: float) -> float | None:
        return float(value) if value == value else None

    sheet = Sheet(
        title,
        (
            Column("number", "integer", "Place in the test set, 0 the first."),
            Column("logit", "number", "Of the clean image."),
            Column("corrupted logit", "number"),
            Column("change", "number"),
            Column("pairs won", "percent", "Of the clean image, against the other class."),
            Column("pairs won corrupted", "percent"),
        ),
        [
            (
                number,
                float(found.clean[number]),
                float(found.corrupted[number]),
                float(found.corrupted[number]) - float(found.clean[number]),
                share(found.won[number]),
                share(found.won_corrupted[number]),
            )
            for number in numbers
        ],
    )
    tables.show(sheet, key)


# kept for as long as the file is the same
@st.cache_resource(show_spinner=False, max_entries=256)
def _intervals(
    stamp: source.Stamp, task: str, protocol: str, run: str, attempt: int
) -> dict[str, Interval]:
    return clean_intervals(_predictions(stamp, task, protocol, run, attempt))


@st.cache_resource(show_spinner=False, max_entries=4)
def _predictions(
    stamp: source.Stamp, task: str, protocol: str, run: str, attempt: int
) -> Predictions:
    under = source.task(task).protocols[protocol]
    return changes.read(Attempt(source.root(), run, attempt), under, source.catalog())
