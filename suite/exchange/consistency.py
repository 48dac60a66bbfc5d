"""A record against itself, its protocol and its method's card; rows against their task."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.define.protocol import Protocol
from suite.define.task import Task
from suite.exchange.comparison import TOLERANCE
from suite.records.files import Record


def record_problems(record: Record, protocol: Protocol | None, catalog: Catalog) -> list[str]:
    """What contradicts itself, its protocol or its method's card in a record, a line each."""
    spec, cost = record.spec, record.cost
    problems = []
    if spec.run_id != record.run_id:
        problems.append(f"says run {record.run_id}, its spec is that of run {spec.run_id}")
    if not 0 <= spec.seed < 2**32:
        problems.append("seed out of range")
    if record.attempt < 1:
        problems.append(f"says attempt {record.attempt}")
    numbers = {name: getattr(cost, name) for name in cost.__struct_fields__}
    numbers |= {"finished": record.finished}
    for name, value in numbers.items():
        if not (math.isfinite(value) and 0 <= value < 2**63):
            problems.append(f"{name} is {value!r}")
    counts = record.class_counts
    if any(not 0 <= count < 2**63 for count in counts):
        problems.append("a class count is out of range")
    if record.classes and counts and len(record.classes) != len(counts):
        problems.append(f"{len(counts)} class counts of {len(record.classes)} classes")
    if any(row.source != "hook" for row in record.rows):
        problems.append("holds rows said to be made from arrays: those belong to evaluations")
    if set(record.inputs) != set(spec.inputs) or any(
        named.run_id != spec.inputs[role] for role, named in record.inputs.items()
    ):
        problems.append("its input runs are not those of its spec")
    if protocol is not None:
        classes = protocol.dataset.classes
        if record.dataset != protocol.dataset.name:
            problems.append(f"data set {record.dataset!r}, not {protocol.dataset.name!r}")
        if record.classes and classes and tuple(record.classes) != tuple(classes):
            problems.append("its classes are not those of the protocol's data set")
        if counts and classes and len(counts) != len(classes):
            problems.append(f"{len(counts)} class counts; the data set has {len(classes)} classes")
    return problems + _infers_problem(record, catalog)


def _infers_problem(record: Record, catalog: Catalog) -> list[str]:
    try:
        method = catalog.method(record.spec)
    except UserError:
        return []
    if record.files != method.files:
        return []  # other code, of which nothing is known
    brings = any(_brings_infer(part.source.path) for part in method.parts)
    if brings == record.infers:
        return []
    says = "adapts stored scores" if record.infers else "does not adapt stored scores"
    return [f"says that {record.spec.method!r} {says}, which is not so"]


@cache
def _brings_infer(path: Path) -> bool:
    """Whether a baseline file defines `infer`. From its syntax: importing it may take seconds."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, ast.FunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [alias.asname or alias.name for alias in node.names]
        if "infer" in names:
            return True
    return False


def row_problems(rows: Iterable[MetricRow], task: Task) -> list[str]:
    """Rows that cannot be: of a metric the task has not, or a fraction outside of [0, 1] ([-1, 1] of a signed one)."""
    metrics = {metric.name: metric for metric in task.metrics}
    problems = []
    for row in rows:
        if row.metric not in metrics and row.source == "arrays":
            problems.append(f"{row.key[:100]}: task {task.name!r} has no such metric")
        elif row.value is None:
            continue
        elif not math.isfinite(row.value):
            problems.append(f"{row.key[:100]} is {row.value}")
        elif row.metric in metrics and metrics[row.metric].unit == "fraction":
            low = -1 if metrics[row.metric].signed else 0
            if not low - TOLERANCE <= row.value <= 1 + TOLERANCE:
                problems.append(f"{row.key[:100]} = {row.value!r} is no fraction in [{low}, 1]")
    return problems
