"""What may be imported without torch and its like."""

import json
import subprocess
import sys

import pytest

TRAINED = """
import sys, json
if sys.argv[1] == "light":
    import suite.engine
import torch, mmengine.runner

def trained(kind, **more):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    made = getattr(torch.optim, kind)(model.parameters(), lr=0.1, **more)
    for _ in range(3):
        made.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        made.step()
    return [p.tolist() for p in model.parameters()]

found = [trained("SGD", momentum=0.9), trained("Adam"), trained("AdamW", fused=True)]
heavy = sorted({"torch._dynamo", "torch.distributed.fsdp", "sympy"} & set(sys.modules))
import torch._dynamo
found.append(trained("Adam"))
found.append(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist())
print(json.dumps([heavy, found]))
"""
"""Which heavy modules a training has imported, and its weights: before and after the compiler is there."""


def test_importing_it_needs_no_heavy_package():
    heavy = "{'torch', 'numpy', 'sklearn', 'mmseg', 'cv2'}"
    code = (
        "import sys, tasks.vision.data.digit_scenes, tasks.vision.data.camvid, "
        f"tasks.longtail_seg.recipes; print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_is_light():
    code = "import sys, tasks.test_agnostic.distributions; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_training_without_what_nobody_uses_is_the_same_to_the_last_bit():
    def said(how):
        command = [sys.executable, "-c", TRAINED, how]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    (light, here), (heavy, plain) = said("light"), said("plain")
    assert here == plain
    assert light == []
    # else there is nothing to leave out any more
    assert heavy


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mmengine.registry.OPTIMIZERS", "ZeroRedundancyOptimizer"),
        ("mmengine.registry.MODEL_WRAPPERS", "MMFullyShardedDataParallel"),
    ],
)
def test_what_is_left_out_says_so_where_a_config_names_it(name, said):
    room, _, registry = name.rpartition(".")
    code = (
        f"import suite.engine, mmengine.runner\nfrom {room} import {registry}\n"
        "from suite.base.errors import UserError\n"
        f"try:\n    {registry}.build(dict(type={said!r}))\nexcept UserError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{said} keeps a part of the state on each rank")
