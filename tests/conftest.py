"""Fixtures: the fake task on the path, and `python -m suite` as a user starts it."""

import compileall
import contextlib
import gc
import importlib.abc
import io
import multiprocessing.process
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Lab, board, started
from hypothesis import settings as examples

from suite import cli
from suite.base import command, settings
from suite.dispatch import slurm

FAKE = Path(__file__).parent / "fake"
ROOT = Path(__file__).parent.parent
UNIT = ROOT / "tests" / "unit"

# two tests at a time on two cores: more threads than cores slow each other twentyfold
os.environ.setdefault("OMP_NUM_THREADS", "1")

# what an example takes on a busy machine says nothing of the code
examples.register_profile("untimed", deadline=None)
examples.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Compile once what hundreds of processes import, a quarter of a short one's time: where
    PYTHONDONTWRITEBYTECODE is set, none of them keeps what it has compiled.

    A shell that starts the tests in the background has them ignore Ctrl-C, and so whatever they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = getattr(config, "workerinput", None)
    if worker is None:
        for folder in ("suite", "tasks", "baselines", "dashboard", "tests/fake", "tests/toy"):
            compileall.compile_dir(ROOT / folder, quiet=2)
    else:
        number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
        # pytest's own, which may change: then every process does it all, as without this
        with contextlib.suppress(Exception):
            _rewrite(sorted((ROOT / "tests").rglob("test_*.py"))[number::count], config)


def _rewrite(paths: list[Path], config: pytest.Config) -> None:
    """Keep the tests with their asserts rewritten, a share in each process: all of them collect all tests,
    and half of that time is this."""
    from _pytest.assertion import rewrite

    for path in paths:
        kept = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
        if rewrite._read_pyc(path, kept) is None:
            source, code = rewrite._rewrite_test(path, config)
            kept.parent.mkdir(exist_ok=True)
            rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, kept)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's config, data root or results."""
    home = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    for name in ("LONGTAIL_ROOT", "LONGTAIL_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_call() -> None:
    """No command that is proposed answers another test's call."""
    command.answer(command.Call())


@pytest.fixture(autouse=True)
def _own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's AppTest leaves its script as the main module; a process spawned later would run it."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True, scope="module")
def _own_scope() -> Iterator[None]:
    """A runner leaves its registry scope as the process's default; the next file's builds would look there."""
    yield
    if registry := sys.modules.get("mmengine.registry"):
        registry.DefaultScope._instance_dict.clear()


HEAVY = ("torch", "mmengine", "mmcv", "mmseg")


class _NoHeavyImports(importlib.abc.MetaPathFinder):
    """Stands before all finders, and fails the test whose code looks for one of `HEAVY`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in HEAVY:
            pytest.fail(
                f"a test in tests/unit imports {name}: it belongs in tests/torch", pytrace=True
            )


def _no_process(*_: Any, **__: Any) -> None:
    pytest.fail("a test in tests/unit starts a process: it belongs in tests/system/processes")


@pytest.fixture(autouse=True, scope="module")
def _light(request: pytest.FixtureRequest) -> Iterator[None]:
    """What is in tests/unit takes seconds: no torch, no processes, neither in tests nor in fixtures of
    their files."""
    with pytest.MonkeyPatch.context() as patch:
        if UNIT in request.path.parents:
            patch.setattr(sys, "meta_path", [_NoHeavyImports(), *sys.meta_path])
            start = subprocess.Popen.__init__

            def only_git(self: Any, command: Any, *others: Any, **options: Any) -> None:
                # a record names the commit of its code, asked once for each process of tests
                if command[0] != "git":
                    _no_process()
                start(self, command, *others, **options)

            patch.setattr(subprocess.Popen, "__init__", only_git)
            patch.setattr(multiprocessing.process.BaseProcess, "start", _no_process)
            for name in ("fork", "posix_spawn", "system"):
                patch.setattr(os, name, _no_process)
            # no power fails here: nobody waits until the disk has it
            patch.setattr(os, "fsync", lambda descriptor: None)
        yield


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


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """As `suite`, in this process, which has imported everything: for what starts no worker, where a
    process of its own shows nothing more. Every verb has tests that give it one."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        out, errors = io.StringIO(), io.StringIO()
        code: Any = 0
        for kept in (settings.config, slurm.cluster):
            kept.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["suite", *arguments])
            # of what `predict` sets, nothing stays
            patch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
                try:
                    cli.main()
                except SystemExit as end:
                    code = end.code or 0
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())

    return call


@pytest.fixture(scope="module")
def plain_dumps() -> Iterator[None]:
    """Printing a config prettily takes mmengine's own `Runner` longer than trainings of tests."""
    from mmengine.config import Config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, "pretty_text", property(str))
        yield


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


def pytest_collection_finish() -> None:
    """What is imported by now stays: collections of garbage, which mmengine asks for with each list of
    files it packs, take a third of a second where they look at all of it."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest start first, so that none is left when the other test processes are
    through: those that wait for SLURM, then the main jobs and the browser's."""
    long = (
        "test_slurm_faults", "test_slurm", "test_longtail_seg", "test_longtail_cls", "test_cli",
        "test_dispatch", "test_dashboard", "test_ddp", "test_large_seg_training", "test_variants",
        "test_store", "test_compare", "test_tables", "test_export", "test_claims",
    )  # fmt: skip

    def place(item: pytest.Item) -> int:
        name = "test_dashboard" if item.path.stem.startswith("test_dashboard") else item.path.stem
        return long.index(name) if name in long else len(long)

    items.sort(key=place)
