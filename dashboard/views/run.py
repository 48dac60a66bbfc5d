"""Run: everything kept of one run, and the list of runs to choose it from."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import msgspec
import pandas as pd
import streamlit as st

from dashboard import charts, confusions, controls, say, source, tables
from dashboard.views import common
from suite.base.command import Command
from suite.base.errors import RecordError, UserError
from suite.base.text import clipped, plain
from suite.boards import classes as by_class
from suite.boards.confusions import CONFUSION, largest_confusions, row_shares
from suite.define.catalog import Catalog
from suite.define.metrics import split_key
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.records.again import settings_of
from suite.records.attempt import Attempt
from suite.records.describe import log_tail, run_facts, sample_image, sample_names, thinned
from suite.records.states import STORED_STATES
from suite.render.table import Column, Sheet, Value, duration, moment, shown
from suite.store.listing import ListedRun, newest_runs
from suite.store.rows import Side

TITLE = "Run"
ICON = ":material/science:"

Facts = dict[str, Any]

MOST_RUNS = 200
MOST_CELLS = 60
"""Classes of which the confusion is drawn."""
MOST_CURVES = 40
MOST_SAMPLES = 12
MOST_LINES = 500
NARROW = 140
"""Pixels that the legend of one of two charts beside each other has in a narrow window."""
MOST_TRACKED = 20_000
"""Rows of a table of what a record says: it may be a stranger's."""


def page() -> None:
    run = controls.text("Run", "run", placeholder="its id, or the first few digits of it")
    if run:
        _show(run_facts(source.root(), run))
    else:
        _list()


# -- the list


def _list() -> None:
    first, second, third, fourth = st.columns(4)
    with first:
        task = controls.pick_task()
    lines = [line for line in source.coverage(task.name) if line.current]
    if not lines:
        common.no_runs(task)
        return
    with second:
        names = list(dict.fromkeys(line.protocol for line in lines))
        protocol = controls.pick("Protocol", [controls.ALL, *names], "protocol")
    with third:
        method = controls.text("Method contains", "contains", placeholder="such as sam")
    with fourth:
        states = controls.pick_many("State", STORED_STATES, "state", help="None chosen: all.")
    found, count = _newest(
        source.current(),
        task.name,
        None if protocol == controls.ALL else protocol,
        method,
        tuple(states),
    )
    if not found:
        say.nothing("no run is left by these filters")
        return
    columns = (
        Column("run", "run"),
        Column("method"),
        Column("seed", "integer"),
        Column("protocol"),
        Column("state"),
        Column("attempt", "integer"),
        Column("last heard of", "time"),
        Column("parameters"),
    )
    rows = [
        (
            one.run,
            one.method,
            one.seed,
            one.protocol,
            one.state,
            one.attempt,
            one.seen,
            _parameters(one),
        )
        for one in found
    ]
    more = (f"the newest {len(found)} of {count:,}",) if count > len(found) else ()
    tables.show(Sheet(f"Runs of {task.name}, the newest first", columns, rows, more), "runs")


@source.kept
def _newest(
    stamp: source.Stamp, task: str, protocol: str | None, method: str, states: tuple[str, ...]
) -> tuple[list[ListedRun], int]:
    with source.connection() as store:
        return newest_runs(
            store,
            source.task(task),
            protocol=protocol,
            method=method,
            states=states,
            most=MOST_RUNS,
            catalog=source.catalog(),
        )


def _parameters(run: ListedRun) -> str:
    try:
        params = msgspec.json.decode(run.params)
    except (msgspec.DecodeError, RecursionError):
        return run.params
    return ", ".join(f"{key}={_text(value)}" for key, value in params.items())


# -- one run


def _show(facts: Facts) -> None:
    spec, listing = facts["spec"], facts["attempts"]
    done = [entry for entry in listing if entry["state"] == "done"]
    shown_of = done[-1] if done else listing[-1]
    attempt = Attempt(source.root(), facts["run"], shown_of["attempt"])
    protocol = _protocol(spec)
    tasks = source.catalog().accepting(protocol) if protocol is not None else []
    _header(facts, shown_of, tasks, protocol.name if protocol is not None else "")
    _attempts(facts["run"], listing)
    record = facts["record"]
    if record is not None:
        _curves(record["curves"])
        _tracked(facts["evaluations"])
        for evaluation in facts["evaluations"]:
            _scores(evaluation, source.catalog())
        if not facts["evaluations"] and tasks:
            say.nothing(
                "not scored yet",
                Command("evaluate", facts["run"], "--task", tasks[0].name),
            )
        _confusion(attempt, tasks)
    _samples(attempt)
    _config(facts, tasks)
    if record is not None:
        _cost(record)
        _provenance(facts, record)
    _log(Attempt(source.root(), facts["run"], listing[-1]["attempt"]))


def _protocol(spec: Mapping[str, Any]) -> Protocol | None:
    """The run's protocol, where it is known here."""
    return source.catalog().protocol_with(spec["protocol_hash"], spec["protocol"])


def _header(facts: Facts, entry: Mapping[str, Any], tasks: Sequence[Task], protocol: str) -> None:
    """`protocol`: its name today, under which the tasks have the run's row."""
    spec = facts["spec"]
    name = f"{clipped(plain(spec['method']))}, seed {_text(spec['seed'])}"
    st.subheader(say.words(name))
    words = [
        f"run {facts['run']}",
        f"under {clipped(plain(spec['protocol']))}",
        f"attempt {entry['attempt']}: {_state(entry)}",
    ]
    record = facts["record"]
    if record is not None:
        words.append(f"finished {moment(record['finished'])} UTC")
        words += [f"flag {clipped(plain(flag), 40)}" for flag in record["flags"][:10]]
    say.note(" · ".join(words))
    if entry["alive"] and entry["total"]:
        share = min(1.0, max(0.0, entry["step"] / entry["total"]))
        st.progress(share, f"iteration {entry['step']:,} of {entry['total']:,}")
    with st.container(horizontal=True):
        for task in tasks:
            common.link(
                "leaderboard",
                f"its row in {task.name}, {protocol}",
                task=task.name,
                protocol=protocol,
                contains=spec["method"],
            )
    if not tasks:
        say.note("Its protocol is none of today's: no board has it.")
    for warning in (record or {}).get("warnings", [])[:20]:
        say.warning(clipped(plain(warning), 300))


def _state(entry: Mapping[str, Any]) -> str:
    state = str(entry["state"])
    return "stopped" if state == "running" and not entry["alive"] else state


def _attempts(run: str, listing: Sequence[Mapping[str, Any]]) -> None:
    columns = (
        Column("attempt", "integer"),
        Column("state"),
        Column("iteration"),
        Column("restarts"),
        Column("failure"),
        Column("what happened"),
        Column("last heard of (UTC)"),
        Column("host"),
        Column("code"),
    )
    rows: list[list[Value]] = []
    for entry in listing[-MOST_LINES:]:
        failure = entry["failure"] or {}
        at = entry["heartbeat"]
        rows.append(
            [
                entry["attempt"],
                _state(entry),
                f"{_text(entry['step'])} of {_text(entry['total'])}" if entry["total"] else None,
                _text(entry["restarts"]),
                failure.get("kind"),
                failure.get("message") or entry["problem"],
                None if at is None else moment(at),
                entry["host"],
                entry["digest"],
            ]
        )
    failed = any(entry["failure"] or entry["problem"] for entry in listing)
    if failed or len(listing) > 1 or listing[-1]["state"] != "done":
        tables.show(Sheet("Attempts", columns, rows), "attempts")
    if failed and listing[-1]["state"] == "failed":
        say.nothing("go on with it, or begin anew:", Command("retry", run))


def _curves(curves: Mapping[str, Sequence[tuple[int, float | None]]]) -> None:
    if not curves:
        return
    st.subheader("Curves")
    names = list(curves)[:MOST_CURVES]
    labels = confusions.labels(names)
    chosen = controls.pick_many("Curves", labels, "curve", default=labels[:4], most=8)
    for place in range(0, len(chosen), 2):
        for label, cell in zip(chosen[place : place + 2], st.columns(2), strict=False):
            with cell:
                _curve(label, curves[names[labels.index(label)]])


def _curve(label: str, curve: Sequence[tuple[int, float | None]]) -> None:
    data = pd.DataFrame(
        [
            {"iteration": float(step), "value": value}
            for step, value in thinned(curve)
            if abs(step) < 1e15
        ],
        columns=["iteration", "value"],
    )
    missing = int(data["value"].isna().sum())
    chart = (
        alt.Chart(data)
        .mark_line(point=len(data) < 30)
        .encode(
            x=alt.X("iteration:Q", title="iteration"),
            y=alt.Y("value:Q", title=label, scale=alt.Scale(zero=False)),
            tooltip=[alt.Tooltip("iteration:Q", format=","), alt.Tooltip("value:Q", format=".4g")],
        )
        .properties(height=220)
    )
    charts.show(chart, f"curve-{label}", f"{label} over iterations")
    if missing:
        say.note(f"{missing} value(s) were not finite.")


# -- values on the way


def _tracked(evaluations: Sequence[Mapping[str, Any]]) -> None:
    """Metrics that hooks measured at iterations: a chart a metric, a line a subset."""
    lines: dict[str, dict[str, list[tuple[int, float | None]]]] = {}
    for row in next(filter(None, map(_on_the_way, evaluations)), [])[:MOST_TRACKED]:
        curves = lines.setdefault(str(row["metric"]), {})
        curves.setdefault(row["subset"] or "test set", []).append((row["step"], row["value"]))
    if not lines:
        return
    st.subheader("Measured on the way")
    # what the task ranks by comes first: accuracy is read beside what may explain it
    first = [split_key(key)[0] for key in _primary(evaluations)]
    names = sorted(lines, key=lambda one: first.index(one) if one in first else len(first))
    labels = confusions.labels(names)
    chosen = controls.pick_many("Metrics", labels, "tracked", default=labels[:4], most=8)
    for place in range(0, len(chosen), 2):
        for label, cell in zip(chosen[place : place + 2], st.columns(2), strict=False):
            with cell:
                _trajectory(label, lines[names[labels.index(label)]])


def _primary(evaluations: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The first metrics of the task whose evaluation has values on the way."""
    tasks = source.catalog().tasks()
    there = next((one["task"] for one in evaluations if _on_the_way(one)), "")
    return tasks[there].primary if there in tasks else ()


def _on_the_way(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        row for row in evaluation["metrics"] if row["step"] is not None and row["class"] is None
    ]


def _trajectory(label: str, curves: Mapping[str, Sequence[tuple[int, float | None]]]) -> None:
    shown = dict(list(curves.items())[: charts.MOST_SERIES])
    names = confusions.labels(list(shown))
    data = pd.DataFrame(
        [
            {"iteration": float(step), "value": value, "of": name}
            for name, curve in zip(names, shown.values(), strict=True)
            for step, value in thinned(sorted(curve, key=lambda point: point[0]))
            if abs(step) < 1e15
        ],
        columns=["iteration", "value", "of"],
    )
    known = data["value"].dropna()
    # measures of collapse fall by orders of magnitude
    far = bool(len(known)) and known.min() > 0 and known.max() > 30 * known.min()
    scale = alt.Scale(type="log") if far else alt.Scale(zero=False)
    columns = charts.legend_columns(names, NARROW)
    legend = alt.Legend(
        orient="top", title=None, symbolType="stroke", symbolSize=300, columns=columns
    )
    chart = (
        alt.Chart(data)
        .transform_filter("isValid(datum.value)")
        .mark_line(point=alt.OverlayMarkDef(size=25))
        .encode(
            x=alt.X("iteration:Q", title="iteration"),
            y=alt.Y("value:Q", title=label, scale=scale, axis=alt.Axis(tickCount=5)),
            color=charts.colour("of", names, legend=legend),
            strokeDash=charts.dash("of", names),
            tooltip=[
                alt.Tooltip("of:N", title=label),
                alt.Tooltip("iteration:Q", format=","),
                alt.Tooltip("value:Q", format=".4g"),
            ],
        )
        .properties(height=220 + 20 * -(-len(names) // columns))
    )
    if len(known):
        charts.show(chart, f"tracked-{label}", f"{label} over iterations, for {', '.join(names)}")
    if missing := int(data["value"].isna().sum()):
        say.note(f"{label}: {missing} value(s) are undefined.")


# -- scores


def _scores(evaluation: Mapping[str, Any], catalog: Catalog) -> None:
    task = catalog.tasks().get(evaluation["task"])
    units = {metric.name: metric.unit for metric in task.metrics} if task else {}
    final = [row for row in evaluation["metrics"] if row["step"] is None]
    overall = [
        (_key(row), row["value"], units.get(row["metric"], ""))
        for row in final
        if row["class"] is None
    ][:MOST_LINES]
    key = clipped(plain(f"{evaluation['task']}-{evaluation['evaluation_hash']}"), 60)
    title = f"Scores: {evaluation['task']}, evaluation {evaluation['evaluation_hash']}"
    shares = [(name, value) for name, value, unit in overall if unit == "fraction"]
    others = [line for line in overall if line[2] != "fraction"]
    columns = (Column("metric"), Column("score", "percent"))
    left, right = st.columns([3, 2]) if shares and others else (st.container(), st.container())
    with left:
        if shares:
            height = min(38 + 35 * len(shares), 380)
            tables.show(Sheet(title, columns, shares), f"scores-{key}", height=height)
    with right:
        if others:
            units_of = (Column("metric"), Column("value", "number"), Column("unit"))
            tables.show(Sheet(f"{title}, other units", units_of, others), f"other-scores-{key}")
    by_name: dict[str, dict[str, float | None]] = {}
    keys: dict[str, str] = {}
    for row in final:
        if row["class"] is not None:
            by_name.setdefault(row["class"], {})[_key(row)] = row["value"]
            keys.setdefault(_key(row), units.get(row["metric"], ""))
    if by_name:
        names = list(keys)[:20]
        kinds: list[Any] = ["percent" if keys[name] == "fraction" else "number" for name in names]
        sheet = Sheet(
            f"{title}, by class",
            (
                Column("class"),
                *(Column(name, kind) for name, kind in zip(names, kinds, strict=True)),
            ),
            [[name, *(values.get(key) for key in names)] for name, values in by_name.items()],
        )
        with st.expander(say.words(f"By class: {evaluation['task']}")):
            tables.show(sheet, f"class-scores-{key}")


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['metric']}[{row['subset']}]" if row["subset"] else str(row["metric"])


def _confusion(attempt: Attempt, tasks: Sequence[Task]) -> None:
    task = next((one for one in tasks if CONFUSION.of(one) is not None), None)
    if task is None:
        return
    st.subheader("Confusion")
    if not confusions.wanted([(attempt.run_id, attempt.number)]):
        return
    try:
        with st.spinner("reading stored predictions"):
            found = confusions.confusion(task, attempt.run_id, attempt.number)
            record = attempt.record()
    except (OSError, UserError) as error:
        confusions.problem(error if isinstance(error, UserError) else UserError(str(error)))
        return
    protocol = source.catalog().protocol_of(record.spec)
    names = protocol.dataset.classes
    order = by_class.by_frequency(len(names), by_class.counts_of(record, protocol.dataset))
    if len(names) <= MOST_CELLS:
        shares = 100 * row_shares(found)[order][:, order]
        charts.show(
            confusions.heat_map(shares, [names[c] for c in order], signed=False),
            "confusion",
            "share of each true class's test units that is called each class, in percent",
        )
        say.note(
            f"Share of each true class's test {by_class.counted(task)}, in %; the most frequent first."
        )
    columns = (
        Column("true class"),
        Column("called"),
        Column(f"test {by_class.counted(task)}", "integer"),
        Column("share", "percent", f"of the true class's test {by_class.counted(task)}"),
    )
    rows = [(names[i], names[j], count, share) for i, j, count, share in largest_confusions(found)]
    sheet = Sheet("The 20 largest confusions", columns, rows)
    if len(names) > MOST_CELLS:
        tables.show(sheet, "confusions")
    else:
        with st.expander("The 20 largest confusions"):
            tables.show(sheet, "confusions")


def _samples(attempt: Attempt) -> None:
    names = sample_names(attempt)
    if not names:
        return
    st.subheader("Test samples")
    say.note("Each from left to right: image, label, prediction.")
    for name in names[:MOST_SAMPLES]:
        try:
            pixels = sample_image(attempt, name)
        except RecordError as error:
            say.warning(str(error))
        else:
            st.image(pixels, caption=say.words(clipped(plain(name), 60)), width="stretch")
    if len(names) > MOST_SAMPLES:
        say.note(f"{len(names) - MOST_SAMPLES} more in {attempt.path / 'samples'}")


# -- facts


def _config(facts: Facts, tasks: Sequence[Task]) -> None:
    spec = facts["spec"]
    protocol = _protocol(spec)
    lines: list[tuple[str, Any]] = [("method", spec["method"]), ("seed", spec["seed"])]
    lines += [(f"parameter {key}", value) for key, value in spec["params"].items()]
    lines += [(f"input run {role}", run) for role, run in spec["inputs"].items()]
    lines += [("protocol", spec["protocol"]), ("protocol hash", spec["protocol_hash"])]
    if protocol is not None:
        lines += [(f"protocol {key}", value) for key, value in protocol.identity.items()]
    with st.expander("Config"):
        _facts_table("Config", lines, "config")
        command = _config_command(facts, tasks[0], protocol) if protocol and tasks else None
        if command:
            say.note("The whole of it, as a file for mmengine's own tools:")
            st.code(command, language=None, wrap_lines=True)


def _config_command(facts: Facts, task: Task, protocol: Protocol) -> str | None:
    """None for what cannot be said here: a method that is not known, parameters that are not of today."""
    spec = facts["spec"]
    inputs = (facts["record"] or {}).get("inputs", {})
    side = Side(
        row_id=0,
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        evaluation_hash="",
        dataset=None,
        method=spec["method"],
        params=spec["params"],
        digest="",
        inputs={role: one["method"] for role, one in inputs.items()},
        runs=(),
    )
    settings = settings_of(source.catalog(), protocol, side)
    if settings is None:
        return None
    words = ["config", "--task", task.name, "--method", spec["method"]]
    words += ["--protocol", protocol.name, "--seed", str(spec["seed"])]
    return str(Command(*words, *(word for text in settings for word in ("--set", text))))


def _cost(record: Mapping[str, Any]) -> None:
    cost = record["cost"]
    lines = [
        (
            key.replace("_", " "),
            duration(value)
            if key.endswith("_seconds")
            else f"{value / 2**20:,.0f} MiB"
            if key == "peak_memory_bytes"
            else f"{value:,}"
            if isinstance(value, int)
            else f"{value:.4g}",
        )
        for key, value in cost.items()
    ]
    with st.expander("Cost"):
        _facts_table("Cost", lines, "cost")


def _provenance(facts: Facts, record: Mapping[str, Any]) -> None:
    lines: list[tuple[str, Any]] = [("code digest", record["digest"])]
    if record["external"]:
        lines.append(("record as it was given (SHA-256)", record["external"]))
    lines += [("flag", flag) for flag in record["flags"]]
    lines += [("warning", warning) for warning in record["warnings"]]
    lines += [("data set", record["dataset"])]
    lines += [(f"data {name}", digest) for name, digest in record["data"].items()]
    for role, one in record["inputs"].items():
        lines.append(
            (
                f"input {role}",
                f"run {one['run_id']}, attempt {one['attempt']}, of {one['method']}, code "
                f"{one['digest']}",
            )
        )
    for key, value in record["environment"].items():
        if isinstance(value, dict):
            lines += [(f"{key} {name}", inner) for name, inner in value.items()]
        else:
            lines.append((key, value))
    lines += [(f"code {path}", digest) for path, digest in record["files"].items()]
    lines += [("file", name) for name in facts["files"]]
    with st.expander("Provenance"):
        _facts_table("Provenance", lines, "provenance")


def _facts_table(title: str, lines: Sequence[tuple[str, Any]], key: str) -> None:
    """Names and values as texts: a record may hold anything."""
    left_out = len(lines) - MOST_LINES
    notes = (f"{left_out} more are left out",) if left_out > 0 else ()
    rows = [(str(name), _text(value)) for name, value in lines[:MOST_LINES]]
    tables.show(Sheet(title, (Column("what"), Column("value")), rows, notes), key)


def _text(value: Any) -> str:
    """Any JSON value on one line."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | int | float):
        return shown(value, "text") if value is None or isinstance(value, bool) else _number(value)
    try:
        return msgspec.json.encode(value).decode()
    except (RecursionError, ValueError, OverflowError):
        return "…"


def _number(value: float) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return "…"


def _log(attempt: Attempt) -> None:
    lines = log_tail(attempt)
    if not lines:
        return
    with st.expander(f"Log, the last {len(lines)} line(s)"):
        text = "\n".join(clipped(plain(line.expandtabs()), 2000) for line in lines)
        st.code(text, language=None, height=400)
        say.note(str(attempt.path / "log.txt"))
