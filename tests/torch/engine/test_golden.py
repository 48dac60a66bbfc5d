"""The first losses of every task's smallest protocol, as they were when its results were made."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

GOLDEN = json.loads((ROOT / "tests/torch/engine/golden.json").read_text())


SCRIPT = """
import json, sys, tempfile
import torch; torch.set_num_threads(1)
from mmengine.config import Config
from mmengine.runner import Runner
from suite.define.catalog import Catalog
from suite.engine.hooks import MonitorHook
from suite.engine.run import resolve_config
from suite.define.data import find_data

Config.pretty_text = property(str)  # what mmengine prints of it takes longer than the losses
catalog, found = Catalog.load(), {}
source = catalog.source("ce")
for task in sys.argv[1:]:
    protocol = catalog.protocol(catalog.task(task), "smoke")
    data = find_data(protocol, None)
    cfg, _ = resolve_config(protocol.build, data, source.load().configure, {}, 0)
    cfg.work_dir, cfg.log_level, cfg.experiment_name = tempfile.mkdtemp(), "ERROR", task
    cfg.train_cfg.max_iters = 3
    cfg.default_hooks = dict(logger=None, timer=None, checkpoint=None, runtime_info=None)
    runner, monitor = Runner.from_cfg(cfg), MonitorHook()
    runner.register_hook(monitor)
    runner.train()
    found[task] = protocol.revision, [value for _, value in monitor.curves["loss"]]
print(json.dumps(found))
"""
TASKS = ("longtail-seg", "longtail-cls")


@pytest.fixture(scope="module")
def found():
    """Task -> (revision, losses), from a process of its own."""
    command = [sys.executable, "-c", SCRIPT, *TASKS]
    printed = subprocess.run(command, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    return json.loads(printed.stdout.splitlines()[-1])


@pytest.mark.parametrize("task", TASKS)
def test_golden_losses_of_the_shared_code(task, found):
    """Fails when shared code changes results. Then raise the protocols' `revision` (so that old and
    new runs are never ranked together) and store the new losses here."""
    revision, losses = found[task]
    golden = GOLDEN[f"{task}/smoke"]
    assert revision == golden["revision"]
    assert losses == pytest.approx(golden["losses"], rel=1e-4)
