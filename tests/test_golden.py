"""The first losses of every task's smallest protocol, as they were when its results were made."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

GOLDEN = json.loads((ROOT / "tests/golden.json").read_text())


@pytest.mark.parametrize("task", ["longtail-seg", "longtail-cls"])
def test_golden_losses_of_the_shared_code(task):
    """Fails when shared code changes results. Then raise the protocols' `revision` (so that old and
    new runs are never ranked together) and store the new losses here."""
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "from pathlib import Path; import tempfile, json\n"
        "from suite.catalog import Catalog; from suite.engine.run import resolve_config\n"
        "from mmengine.runner import Runner\n"
        f"c = Catalog.load(); p = c.protocol(c.task('{task}'), 'smoke')\n"
        "s = c.source('ce'); d = Path(tempfile.mkdtemp())\n"
        "from suite.settings import find_data\n"
        "cfg, _ = resolve_config(p.build, find_data(p, None), s.load().configure, {}, 0)\n"
        "cfg.work_dir = str(d); cfg.log_level = 'ERROR'; cfg.train_cfg.max_iters = 3\n"
        "from suite.engine.hooks import MonitorHook\n"
        "cfg.default_hooks = dict(logger=None, timer=None, checkpoint=None, runtime_info=None)\n"
        "r = Runner.from_cfg(cfg); m = MonitorHook(); r.register_hook(m); r.train()\n"
        "print(json.dumps([p.revision, [v for _, v in m.curves['loss']]]))"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    revision, losses = json.loads(printed.stdout.splitlines()[-1])
    golden = GOLDEN[f"{task}/smoke"]
    assert revision == golden["revision"]
    assert losses == pytest.approx(golden["losses"], rel=1e-4)
