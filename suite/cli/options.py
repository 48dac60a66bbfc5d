"""Options that several verbs share."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.base import command
from suite.base.errors import UserError
from suite.cli.completion import method_names, protocol_names, task_names

if TYPE_CHECKING:
    from suite.define.bring import Brought
    from suite.define.catalog import Catalog
    from suite.define.protocol import Protocol
    from suite.define.task import Task
    from suite.dispatch.request import Site


def _kept_as(field: str) -> Callable[..., Any]:
    """A callback that keeps what was typed for the commands that are proposed; what the environment says
    holds for them as it is."""

    def keep(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
        source = ctx.get_parameter_source(param.name or "")
        if value and source is not None and source.name == "COMMANDLINE":
            command.answer(replace(command.answered(), **{field: value}))
        return value

    return keep


Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        envvar="LONGTAIL_ROOT",
        help="Results folder. Default: ./results",
        show_default=False,
        callback=_kept_as("root"),
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        help="Folder that holds the data sets. Default: $LONGTAIL_DATA, then the config file.",
        show_default=False,
        callback=_kept_as("data_root"),
    ),
]
ProposedDataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        help="Folder that holds the data sets, for the commands that are proposed.",
        show_default=False,
        callback=_kept_as("data_root"),
    ),
]
TaskName = Annotated[
    str, typer.Option("--task", autocompletion=task_names, help="Task, see `tasks`.")
]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        autocompletion=protocol_names,
        help="Protocol, see `tasks`; NAME:carved with a validation set. Default: the task's.",
        show_default=False,
    ),
]
OnlyProtocol = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        autocompletion=protocol_names,
        help="Only this protocol. Default: all.",
        show_default=False,
    ),
]
BaseConfig = Annotated[
    Path | None,
    typer.Option(
        "--base-config",
        metavar="FILE",
        help="mmsegmentation 1.x config whose network, schedule and augmentation replace the protocol's, "
        "as a protocol of its own. Executed once.",
        show_default=False,
    ),
]
Pretrained = Annotated[
    Path | None,
    typer.Option(
        "--pretrained",
        metavar="PATH",
        help="Initial weights of the backbone (.pth, .safetensors), as a protocol of its own.",
        show_default=False,
    ),
]


RankBy = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="Metric that ranks, such as mIoU or 'mIoU[group=tail]'. Default: the task's.",
        show_default=False,
    ),
]
AllRows = Annotated[
    bool, typer.Option("--all", help="Rows too for methods that have not run: else one line.")
]


def each(given: list[str]) -> list[str]:
    """What was named, one by one: `a,b` and `a, b` as well as `a` and `b`, each once."""
    names = [name.strip() for some in given for name in some.split(",")]
    if not all(names):
        raise UserError(f"{','.join(given)!r}: a name is missing")
    return list(dict.fromkeys(names))


def each_key(given: list[str]) -> list[str]:
    """As `each`, of metric keys: the commas of `top1[draw=mean,prior=uniform]` divide nothing."""
    parts = [part for some in given for part in re.split(r",(?![^\[]*\])", some)]
    return list(dict.fromkeys(part.strip() for part in parts))


OnlyMethods = Annotated[
    list[str],
    typer.Option(
        "--method",
        metavar="METHOD",
        help="Only rows of this method, or of several, such as ce,la; repeatable. Ranks are over all rows.",
        show_default=False,
        callback=each,
    ),
]
OnlyProtocols = Annotated[
    list[str],
    typer.Option(
        "--protocol",
        metavar="PROTOCOL",
        help="Only this protocol, or several, such as quick,camvid; repeatable. Default: all.",
        show_default=False,
        callback=each,
    ),
]
Columns = Annotated[
    list[str],
    typer.Option(
        "--columns",
        metavar="COLUMN",
        help="Only these, in this order: rank, tied, 'seeds to next', method, n, cost, flags, or metrics "
        "such as 'mIoU[group=tail]'; a list with commas, repeatable.",
        show_default=False,
        callback=each_key,
    ),
]
Methods = Annotated[
    list[str],
    typer.Option(
        "--method",
        autocompletion=method_names,
        metavar="METHOD",
        help="Method, or several, such as ce,la; repeatable. Default: all of the task.",
        show_default=False,
        callback=each,
    ),
]
Seeds = Annotated[str, typer.Option("--seeds", help="Seeds, such as 0,1,2 or 0-4.")]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="SETTING",
        help="METHOD.key=value, a parameter of a method; repeatable.",
        show_default=False,
    ),
]
Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="File with a method of your own; repeatable.",
        show_default=False,
        callback=_kept_as("plugins"),
    ),
]

On = Annotated[
    str, typer.Option("--on", help="local: this machine. slurm: the cluster, through submitit.")
]
SiteName = Annotated[
    str | None,
    typer.Option("--site", help="Profile of what a job asks for, see `sites`.", show_default=False),
]
Partition = Annotated[str | None, typer.Option(help="sbatch --partition.", show_default=False)]
Account = Annotated[str | None, typer.Option(help="sbatch --account.", show_default=False)]
Qos = Annotated[str | None, typer.Option(help="sbatch --qos.", show_default=False)]
Constraint = Annotated[str | None, typer.Option(help="sbatch --constraint.", show_default=False)]
Time = Annotated[
    str | None,
    typer.Option(
        "--time", help="Time limit of a job: minutes, 4:00:00 or 2-12.", show_default=False
    ),
]
GpusPerNode = Annotated[
    str | None, typer.Option(help="GPUs of a job, such as 1 or a100:2.", show_default=False)
]
CpusPerTask = Annotated[int | None, typer.Option(help="Cores of a job.", show_default=False)]
Memory = Annotated[
    str | None, typer.Option("--mem", help="Memory of a job, such as 16G.", show_default=False)
]
ArrayParallelism = Annotated[
    int | None, typer.Option(help="Jobs that may run at a time.", show_default=False)
]
Sbatch = Annotated[
    list[str],
    typer.Option(
        "--sbatch",
        metavar="KEY=VALUE",
        help="A further option of sbatch; repeatable.",
        show_default=False,
    ),
]
Pack = Annotated[
    str | None,
    typer.Option(
        "--pack",
        help="Runs in a job, or auto: by measured time and memory. Default: auto.",
        show_default=False,
    ),
]
Ranks = Annotated[
    int | None,
    typer.Option(
        "--ranks",
        help="Processes that share a run's batch, each on a GPU of its own. Default: the protocol's.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the jobs and their script; submit nothing.")
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Follow the jobs to the end, then print the leaderboard.")
]


Format = Annotated[str, typer.Option("--format", help="table or json.")]


def catalog_at(plugins: Sequence[Path], results: Path) -> Catalog:
    """What is installed, the `--plugin` files, and the protocols brought to the results root. What is left
    out of somebody's package, and a file there that is no protocol, is a line on stderr."""
    return _said(load_catalog(plugins, quiet=True).at(results))


def load_catalog(plugins: Sequence[Path] = (), *, quiet: bool = False) -> Catalog:
    """What is installed, and the `--plugin` files; what is left out is a line on stderr unless `quiet`."""
    from suite.define.catalog import Catalog

    catalog = Catalog.load(tuple(plugins))
    return catalog if quiet else _said(catalog)


def _said(catalog: Catalog) -> Catalog:
    for problem in catalog.problems:
        print("".join(c if c.isprintable() else "�" for c in problem), file=sys.stderr)
    return catalog


def under(
    catalog: Catalog,
    task: Task,
    protocol: str | None,
    results: Path,
    base_config: Path | None,
    pretrained: Path | None,
) -> tuple[Catalog, Task, Protocol, Brought | None]:
    """The protocol that a command names, and the catalog and task that know it; where it was brought by
    `--base-config` or `--pretrained`, with what `suite.define.bring.keep` writes."""
    from suite.base import settings

    chosen = catalog.protocol(task, protocol or settings.default_protocol(task.name))
    if base_config is None and pretrained is None:
        return catalog, task, chosen, None
    from suite.define.bring import bring

    brought = bring(catalog, task, chosen, results, base_config, pretrained)
    for note in (*brought.notes, f"protocol {brought.protocol.name} ({brought.protocol.hash})"):
        print("".join(c if c.isprintable() else "�" for c in note), file=sys.stderr)
    return brought.catalog, brought.catalog.task(task.name), brought.protocol, brought


def where(
    on: str, site_name: str | None, workers: int | None, flags: dict[str, Any]
) -> Site | None:
    """What a job asks for; None to run on this machine.

    `flags` are those that mean something on a cluster only. Raises UserError, also where one of them
    is given without --on slurm: it would be ignored.
    """
    from suite.dispatch.request import requested_site

    if on not in ("local", "slurm"):
        raise UserError(f"--on {on!r}: use local or slurm")
    if on == "slurm":
        if workers is not None and workers < 1:
            raise UserError(f"--workers {workers}: at least 1")
        return requested_site(site_name, flags)
    given = [
        name
        for name, value in {"site": site_name, **flags}.items()
        if value is not None and value != [] and value is not False
    ]
    if given:
        flag = "--" + given[0].replace("_", "-")
        raise UserError(f"{flag} is for a cluster job; add --on slurm")
    return None


def parse_seeds(text: str) -> list[int]:
    """`0,1,2` or `0-4` -> seeds. Raises UserError."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last) if dash else int(first)
        except ValueError:
            raise UserError(f"--seeds {text!r}: write numbers such as 0,1,2 or 0-4") from None
        if not 0 <= low <= high < 2**32:
            raise UserError(f"--seeds {text!r}: {part!r}: seeds lie in 0..4294967295, low-high")
        if high - low > 10_000:
            raise UserError(f"--seeds {text!r}: {part!r} is more than 10,000 seeds")
        seeds += range(low, high + 1)
    return seeds


def parse_format(given: str, known: tuple[str, ...]) -> str:
    """The output format, checked."""
    if given not in known:
        raise UserError(f"--format {given!r}: use one of {', '.join(known)}")
    return given
