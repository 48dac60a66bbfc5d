"""Fixtures: the fake task on the path, and `python -m suite` as a user starts it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Lab, board, started

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


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real SLURM with accounts, one for each test process that needs it."""
    with started("dbd") as running:
        yield running


@pytest.fixture
def lab(cluster: Cluster, tmp_path: Path) -> Iterator[Lab]:
    """A results root on the idle cluster."""
    cluster.ready()
    yield Lab(cluster, tmp_path, {})
    cluster.call("scancel", "-u", "root", check=False)


@pytest.fixture(scope="session")
def _boards() -> dict[tuple[str, ...], Any]:
    return {}


@pytest.fixture
def undisturbed(suite: Suite, _boards: dict[tuple[str, ...], Any]) -> Callable[..., Any]:
    """`undisturbed(*arguments)`: the board of the fake task's runs on this machine, made once."""

    def made(*arguments: str) -> Any:
        if arguments not in _boards:
            done = suite("run", "--task", "fake", *arguments)
            assert done.returncode == 0, done.stderr
            _boards[arguments] = board(suite)
        return _boards[arguments]

    return made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest start first: the tests on SLURM, and those of the main job."""
    long = ("test_slurm.py", "test_slurm_faults.py", "test_longtail_seg.py", "test_longtail_cls.py")
    items.sort(key=lambda item: item.path.name not in long)
