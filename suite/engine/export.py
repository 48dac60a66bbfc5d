"""A run's resolved config as a file for mmengine's own tools."""

from __future__ import annotations

from pathlib import Path

from suite.base.errors import UserError
from suite.define.method import Method
from suite.define.protocol import Protocol


def config_text(method: Method, protocol: Protocol, seed: int, data: Path) -> str:
    """Config file text for `mmengine.config.Config.fromfile`.

    It trains and tests what the suite's run does. What the suite adds for itself is not in it:
    heartbeat, exact resume, records. Raises UserError for a method that starts from another run.
    """
    from suite.engine.keys import PREDICTION_KEYS
    from suite.engine.run import resolve_config

    if roles := method.source.card.needs.inputs:
        raise UserError(
            f"{method.name} starts from another run ({', '.join(roles)}), which mmengine's own tools "
            "cannot do; train it with `run`"
        )
    source = method.source
    # a plug-in file is importable by its own name where its folder is on PYTHONPATH
    name = source.module or source.path.stem
    cfg, _ = resolve_config(
        protocol.build,
        data,
        method.configure,
        {},
        seed,
        method.modules,
        fixed=protocol.fixed,
    )
    files = [part.source.path for part in method.parts if not part.source.module]
    cfg.custom_imports.imports += [path.stem for path in files]
    for key in PREDICTION_KEYS:
        cfg.pop(key, None)
    cfg.work_dir = f"./work_dirs/{name.rpartition('.')[2]}"
    head = (
        f"# longtail-suite: {name} under {protocol.name} (protocol {protocol.hash}), seed {seed}\n"
    )
    if files:
        head += (
            f"# needs PYTHONPATH={':'.join(dict.fromkeys(str(path.parent) for path in files))}\n"
        )
    return head + str(cfg.pretty_text)
