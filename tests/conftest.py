"""Fixtures: the fake task on the path, and `python -m suite` as a user starts it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FAKE = Path(__file__).parent / "fake"
ROOT = Path(__file__).parent.parent

# two tests at a time on two cores: more threads than cores slow each other twentyfold
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's config, data root or results."""
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    for name in ("LONGTAIL_ROOT", "LONGTAIL_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake task, in this process and in those it starts."""
    monkeypatch.syspath_prepend(str(FAKE))
    monkeypatch.setenv("PYTHONPATH", f"{FAKE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


Suite = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """`suite("run", "--task", ...)`: the command line in a process of its own, below tmp_path."""

    def call(*arguments: str, timeout: float = 240, **options) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "suite", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=tmp_path, **options
        )

    return call


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that share the smoke suite run in one process, those on SLURM in another, and both
    start first: they take longest."""
    shared = [item for item in items if "smoke" in getattr(item, "fixturenames", ())]
    for item in shared:
        item.add_marker(pytest.mark.xdist_group("smoke"))
    slurm = [item for item in items if item.get_closest_marker("slurm_real")]
    items.sort(key=lambda item: item not in shared and item not in slurm)
