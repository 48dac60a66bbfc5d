"""A run's resolved config as a file for mmengine's own tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.catalog import Source
from suite.protocol import Protocol


def config_text(
    source: Source, protocol: Protocol, params: Mapping[str, Any], seed: int, data: Path
) -> str:
    """Config file text for `mmengine.config.Config.fromfile`.

    It trains and tests what the suite's run does. What the suite adds for itself is not in it:
    heartbeat, exact resume, records.
    """
    from suite.engine.run import resolve_config

    module = source.load()
    # a plug-in file is importable by its own name where its folder is on PYTHONPATH
    name = source.module or source.path.stem
    imports = [source.module] if source.module else []
    cfg, _ = resolve_config(protocol.build, data, module.configure, params, seed, imports)
    if source.module is None:
        cfg.custom_imports.imports.append(name)
    cfg.pop("prediction_dataloaders", None)
    cfg.work_dir = f"./work_dirs/{name.rpartition('.')[2]}"
    head = (
        f"# longtail-suite: {name} under {protocol.name} (protocol {protocol.hash}), seed {seed}\n"
    )
    if source.module is None:
        head += f"# needs PYTHONPATH={source.path.parent}\n"
    return head + str(cfg.pretty_text)
