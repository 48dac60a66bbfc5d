"""`show`: everything kept of one run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from suite.cli.options import Root, parse_format


def show(
    run: Annotated[str, typer.Argument(help="Run id, or the first few digits of it.")],
    root: Root = None,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Show a run: spec, every attempt, provenance, cost, scores, files.

    \b
    Examples:
      python -m suite show 3f2a9c
      python -m suite show 3f2a9c --format json
    """
    from suite.base import settings
    from suite.cli.output import clean, console, params, print_rows, table
    from suite.define.catalog import Catalog
    from suite.records.describe import run_facts
    from suite.render.table import duration

    parse_format(format, ("table", "json"))
    facts: dict[str, Any] = run_facts(settings.existing_root(root), run)
    if format == "json":
        print_rows("show", [_same_names(facts)])
        return
    out = console()
    spec = facts["spec"]
    out.print(
        f"[bold]{facts['run']}[/]  {clean(spec['method'])} seed {spec['seed']} under "
        f"{clean(spec['protocol'])}"
    )
    out.print(f"parameters  {clean(params(spec['params']) or '-')}", soft_wrap=True)
    rows = [
        (a["attempt"], a["state"], a["step"], a["restarts"], a["digest"], a["path"])
        for a in facts["attempts"]
    ]
    out.print(table(("attempt", "state", "step", "restarts", "code", "folder"), rows))
    for attempt in facts["attempts"]:
        if attempt["failure"]:
            failure = attempt["failure"]
            out.print(
                f"[red]failed({failure['kind']})[/] {clean(failure['message'])}", soft_wrap=True
            )
        if attempt["problem"]:
            out.print(f"[yellow]{clean(attempt['problem'])}[/]", soft_wrap=True)
    record = facts["record"]
    if record is None:
        return
    cost = record["cost"]
    out.print(
        f"\ncost        {cost['parameters']:,} parameters, {cost['passes_per_step']:g} pass(es) a "
        f"step, {duration(cost['train_seconds'])} training, {duration(cost['wall_seconds'])} in "
        f"all, {cost['peak_memory_bytes'] / 2**20:,.0f} MiB"
    )
    units = {
        (task.name, metric.name): metric.unit
        for task in Catalog.load().tasks().values()
        for metric in task.metrics
    }
    # a stranger's environment may be of any shape
    environment = record["environment"]
    git = _mapping(environment.get("git"))
    packages = _mapping(environment.get("packages"))
    out.print(
        f"environment Python {clean(environment.get('python'))}, "
        f"torch {clean(packages.get('torch'))}, "
        f"{clean(environment.get('cpu'))}, {clean(environment.get('device'))}, "
        f"{clean(environment.get('threads'))} thread(s), commit {clean(git.get('commit', '-'))[:12]}"
        + (" + uncommitted changes" if git.get("dirty") else ""),
        soft_wrap=True,
    )
    for role, source in record["inputs"].items():
        out.print(
            f"{clean(role):<11} run {clean(source['run_id'])}, attempt {source['attempt']}, of "
            f"{clean(source['method'])}; {duration(cost['input_seconds'])} in all",
            soft_wrap=True,
        )
    for warning in record["warnings"]:
        out.print(f"[yellow]warning[/]     {clean(warning)}", soft_wrap=True)
    if record["flags"]:
        out.print(f"flags       {clean(' '.join(record['flags']))}")
    for evaluation in facts["evaluations"]:
        out.print(f"\n{clean(evaluation['task'])} ({clean(evaluation['evaluation_hash'])})")
        overall = [m for m in evaluation["metrics"] if m["class"] is None and m["step"] is None]
        scores = [
            (
                m["metric"] + (f"[{m['subset']}]" if m["subset"] else ""),
                _value(m["value"], units.get((evaluation["task"], m["metric"]), "")),
            )
            for m in overall
        ]
        out.print(table(("metric", "value"), scores))
    out.print("\nfiles       " + clean(", ".join(facts["files"])), soft_wrap=True)


def _same_names(value: Any) -> Any:
    """A run's id is `run` in all that is printed; in files it is `run_id`."""
    if isinstance(value, dict):
        return {"run" if k == "run_id" else k: _same_names(of) for k, of in value.items()}
    return [_same_names(one) for one in value] if isinstance(value, list) else value


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f} %" if unit == "fraction" else f"{value:.4g} {unit}".strip()


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
