"""Which GPUs a process may use, without torch."""

from types import SimpleNamespace

import pytest

from suite.base.errors import UserError
from suite.runs import slots
from suite.runs.slots import gpus, make_slots


@pytest.fixture
def machine(monkeypatch):
    def made(visible=None, *, driver=0, installed=0, torch="cuda"):
        monkeypatch.setattr(slots, "_torch_built_for", lambda: torch)
        monkeypatch.setattr(slots, "_driver_count", lambda: driver)
        monkeypatch.setattr(slots, "_installed", lambda: installed)
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return gpus()

    return made


@pytest.mark.parametrize(
    ("visible", "what", "found"),
    [
        # what a module or a job has left on a machine without one
        ("0", dict(driver=0), []),
        ("GPU-7f", dict(driver=0), []),
        ("0", dict(driver=1, installed=1, torch="cpu"), []),
        (None, dict(driver=3, installed=8), ["0", "1", "2"]),
        (None, dict(driver=0), []),
        ("", dict(driver=2, installed=2), []),
        ("-1", dict(driver=2, installed=2), []),
        ("0, 1", dict(driver=2, installed=2), ["0", "1"]),
        ("1", dict(driver=1, installed=2), ["1"]),
        # as CUDA counts: up to the first that is not there
        ("0,7,1", dict(driver=1, installed=2), ["0"]),
        ("0,-1,1", dict(driver=1, installed=2), ["0"]),
        # slices of one GPU, of which CUDA shows a process one
        ("MIG-a,MIG-b", dict(driver=1, installed=1), ["MIG-a", "MIG-b"]),
        # nothing below /dev, no nvidia-smi, and the driver is there (WSL)
        ("1", dict(driver=1, installed=0), []),
        ("0", dict(driver=1, installed=0), ["0"]),
        ("0,1", dict(torch="hip"), ["0", "1"]),
    ],
)
def test_gpus_are_those_that_torch_would_see(machine, visible, what, found):
    assert machine(visible, **what) == found


def test_auto_is_the_cpu_where_there_is_none_and_cuda_says_why(machine):
    machine("0")
    assert [slot.device for slot in make_slots("auto", 1, 1)] == ["cpu"]
    with pytest.raises(UserError, match="no GPU here by CUDA_VISIBLE_DEVICES='0'"):
        make_slots("cuda", None, 1)
    machine(torch="cpu", driver=1)
    with pytest.raises(UserError, match="no GPU here for torch, which is built for the CPU"):
        make_slots("cuda", None, 1)


@pytest.mark.parametrize(
    ("text", "built_for"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", "cpu"),
        ("cuda: Optional[str] = '12.6'\nhip: Optional[str] = None\n", "cuda"),
        ("cuda = '11.8'\n", "cuda"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.1'\n", "hip"),
        ("__version__ = '1.0'\n", "cuda"),
        (None, "cuda"),
    ],
)
def test_what_torch_is_built_for_is_read_without_it(tmp_path, monkeypatch, text, built_for):
    if text is not None:
        (tmp_path / "version.py").write_text(text)
    found = SimpleNamespace(locate_file=lambda name: tmp_path / "version.py")
    monkeypatch.setattr(slots, "distribution", lambda name: found)
    assert slots._torch_built_for() == built_for


def test_without_torch_or_a_driver_nothing_breaks(monkeypatch):
    def missing(name):
        raise slots.PackageNotFoundError(name)

    monkeypatch.setattr(slots, "distribution", missing)
    assert slots._torch_built_for() == "cuda"

    def no_library(name):
        raise OSError(name)

    monkeypatch.setattr(slots.ctypes, "CDLL", no_library)
    assert slots._driver_count() == 0
    stub = SimpleNamespace(cuInit=lambda flags: 34, cuDeviceGetCount=lambda count: 0)
    monkeypatch.setattr(slots.ctypes, "CDLL", lambda name: stub)
    assert slots._driver_count() == 0
