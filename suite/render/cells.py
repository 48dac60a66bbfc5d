"""Values of a row as people read them."""

from suite.define.task import Metric, Task
from suite.stats.power import MOST_SEEDS
from suite.store.row import Cell, MeanCost, Row


def metric_of(task: Task, key: str) -> Metric:
    """The metric that a key such as `mIoU[group=tail]` is of; a bare one where the task has none."""
    name = key.partition("[")[0]
    return next((m for m in task.metrics if m.name == name), Metric(name=name, unit=""))


def cell_text(cell: Cell, metric: Metric) -> str:
    """Mean and half-width of the interval; percent with one decimal for fractions."""
    if cell.mean is None:
        return "–"
    mean, low, high = cell.mean, cell.low, cell.high
    half = None if low is None or high is None else (high - low) / 2
    if metric.unit == "fraction":
        text = f"{100 * mean:.1f}"
        return text if half is None else f"{text} ±{100 * half:.1f}"
    return f"{mean:.4g}" if half is None else f"{mean:.4g} ±{half:.2g}"


def cost_text(cost: MeanCost, least: float | None = None) -> str:
    """Wall time of a run and its input runs; passes per step where they are more than one; parameters where
    they are a tenth above `least`, the board's fewest."""
    seconds, passes, size_of = cost.wall_seconds, cost.passes_per_step, cost.parameters
    if seconds is None:
        return "–"
    size, unit = (1, "s") if seconds < 120 else (60, "min") if seconds < 7200 else (3600, "h")
    text = f"{seconds / size:.3g} {unit}"
    if passes is not None and passes != 1:
        text += f", {passes:.3g}x passes"
    if least and size_of is not None and size_of > 1.1 * least:
        text += f", {size_of / least:.2g}x params"
    return text


def seeds_text(row: Row) -> str:
    """Seeds in all that would tell a row from the next one; `apart` where it is told from it already."""
    if row.seeds_to_next is None:
        return ""
    if row.seeds_to_next <= row.n:
        return "apart"
    return str(row.seeds_to_next) if row.seeds_to_next <= MOST_SEEDS else f">{MOST_SEEDS}"
