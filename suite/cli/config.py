"""`config`: the resolved OpenMMLab config of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from suite.cli.completion import method_names
from suite.cli.options import (
    BaseConfig,
    DataRoot,
    Plugins,
    Pretrained,
    ProtocolName,
    Root,
    Settings,
    TaskName,
    catalog_at,
    under,
)


def config(
    task: TaskName,
    method: Annotated[
        str, typer.Option("--method", autocompletion=method_names, help="Method, see `baselines`.")
    ],
    protocol: ProtocolName = None,
    base_config: BaseConfig = None,
    pretrained: Pretrained = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    set_: Settings = [],  # noqa: B006 - typer copies defaults
    data_root: DataRoot = None,
    root: Root = None,
    plugin: Plugins = [],  # noqa: B006
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File; default: print.", show_default=False),
    ] = None,
) -> None:
    """Write the resolved config of a run as a file that mmengine's own tools accept.

    \b
    Examples:
      python -m suite config --task longtail-seg --method aucseg -o aucseg.py
      python -c "from mmengine.config import Config; from mmengine.runner import Runner;
      Runner.from_cfg(Config.fromfile('aucseg.py')).train()"
    """
    from suite.base import settings
    from suite.base.aside import aside
    from suite.base.errors import UserError
    from suite.base.raised import raised
    from suite.define.data import find_data
    from suite.engine.export import config_text
    from suite.render.files import is_stream, write_file
    from suite.runs.plan import split_settings

    results = settings.results_root(root)
    catalog = catalog_at(plugin, results)
    catalog, chosen, accepted, _ = under(
        catalog, catalog.task(task), protocol, results, base_config, pretrained
    )
    catalog.card_for(chosen, method)
    given = split_settings(catalog, set_, chosen)
    if other := [name for name in given if name != method]:
        raise UserError(f"--set {other[0]}.…: the config is of {method!r}")
    grid = given.get(method, [])
    if len(grid) > 1:
        raise UserError(
            f"--set: the config is of one run, and these are {len(grid)}: one value each"
        )
    spec = catalog.spec(method, accepted, seed, grid[0].params if grid else None)
    data = find_data(accepted, settings.data_root(data_root))
    of = catalog.method(spec)
    try:
        with aside():
            text = config_text(of, accepted, seed, data)
    except UserError:
        raise
    except Exception as error:
        own = [part.source.path for part in of.parts]
        raise UserError(f"{method} cannot be configured: {raised(error, own)}") from None
    if output is None:
        print(text)
        return
    told = sys.stderr if is_stream(output) else sys.stdout
    write_file(output, text.encode())
    print(f"{output}: {method} under {accepted.name}, seed {seed}", file=told)
