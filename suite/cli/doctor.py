"""`doctor`: what works here, and what to type where it does not."""

from __future__ import annotations

import sys

import typer

from suite.cli.options import DataRoot, Format, Plugins, Root, parse_format


def doctor(
    ctx: typer.Context,
    root: Root = None,
    data_root: DataRoot = None,
    format: Format = "table",
    plugin: Plugins = [],  # noqa: B006 - typer copies defaults
) -> None:
    """Look at the environment, the folders, the store and the cluster. Changes nothing.

    Every line says how something is, and after the arrow what to type or to do. Exit code 1 if there is
    a problem; warnings are things that stop no run here.

    \b
    Examples:
      python -m suite doctor
      python -m suite doctor --root /data/results --format json
    """
    from suite.cli.output import clean, console, print_rows
    from suite.upkeep.doctor.examine import examine
    from suite.upkeep.doctor.finding import Place

    parse_format(format, ("table", "json"))
    source = ctx.get_parameter_source("root")
    by_variable = source is not None and source.name == "ENVIRONMENT"
    place = Place(root, "$LONGTAIL_ROOT" if by_variable else "--root", data_root, plugin)
    found = examine(place)
    problems = sum(finding.state == "problem" for finding in found)
    if format == "json":
        print_rows("doctor", [finding.as_dict() for finding in found])
    else:
        out = console()
        for finding in found:
            out.print(
                f"{_MARKS[finding.state]} {finding.check:<10} {clean(finding.text)}"
                + (f" [bold]-> {clean(finding.todo)}[/]" if finding.todo else ""),
                soft_wrap=True,
            )
        warnings = sum(finding.state == "warning" for finding in found)
        out.print(f"{problems} problem(s), {warnings} warning(s)")
    sys.stdout.flush()
    if problems:
        sys.exit(1)


_MARKS = {
    "ok": "[green]ok     [/]",
    "warning": "[yellow]warning[/]",
    "problem": "[red]problem[/]",
}
