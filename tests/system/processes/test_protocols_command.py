"""Which protocols a command builds."""

import subprocess
import sys

import pytest
from records import Records

from suite.define.catalog import Catalog

# -- by commands

COMMAND = """
import sys
from suite.cli import main

try:
    main()
finally:
    from tasks.longtail_cls.protocols import PROTOCOLS as classification
    from tasks.longtail_seg.protocols import PROTOCOLS as segmentation

    for known in (classification, segmentation):
        built = [name for name, one in known._declared.items() if "protocol" in one.__dict__]
        print(*built, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A run under a protocol each of two tasks."""
    known = Catalog.load()
    records = Records(tmp_path_factory.mktemp("results"))
    for task, name in (("longtail-cls", "cpu-cifar"), ("longtail-seg", "smoke")):
        records.run("ce", under=known.task(task).protocols[name])
    return records.root


CLS = ("--task", "longtail-cls")


@pytest.mark.parametrize(
    ("arguments", "classification", "segmentation"),
    [
        (("plan", *CLS), "quick", ""),
        (("plan", *CLS, "--protocol", "r32-200:cifar10"), "r32-200:cifar10,exp,ir100,first", ""),
        (("leaderboard", *CLS, "--protocol", "cpu-cifar"), "cpu-cifar", ""),
        # those with runs and the default one, and what another task has under a run's name
        (("leaderboard", *CLS), "quick smoke cpu-cifar", "smoke"),
        (("status",), "smoke cpu-cifar", "smoke"),
        (("baselines",), "", ""),
    ],
)
def test_a_command_builds_what_it_needs(results, arguments, classification, segmentation):
    root = () if arguments == ("baselines",) else ("--root", str(results))
    command = [sys.executable, "-c", COMMAND, *arguments, *root]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-2:] == [classification, segmentation]
