"""Files of weights that others wrote: their tensors come in, and nothing of the rest is looked up or called."""

import argparse
import collections
import contextlib
import os
import pathlib

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from suite.base.errors import UserError
from suite.engine import weights

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3)}


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class Shell(Trap):
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def message_hub():
    """As mmengine's Runner stores it: buffers that name their methods through getattr."""
    hub = MessageHub.get_instance("of-a-runner")
    hub.update_scalar("train/loss", 0.5)
    hub.update_info("iter", np.int64(4))
    return hub.state_dict()


BESIDE = {
    "mmengine": message_hub,
    "timm": lambda: argparse.Namespace(lr=0.1, path=pathlib.Path("x")),
    "defaultdict": lambda: collections.defaultdict(list, {"loss": [1.0, 2.0]}),
    "numpy": lambda: {"best": np.float64(0.5), "curve": np.zeros(3)},
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", BESIDE)
def test_tensors_come_in_whatever_lies_beside_them(tmp_path, kind, zipped):
    path = tmp_path / "a.pth"
    whole = {"state_dict": STATE, "meta": BESIDE[kind](), "epoch": 3}
    torch.save(whole, path, _use_new_zipfile_serialization=zipped)
    found = weights.load(path, only_tensors=True)
    assert torch.equal(found["state_dict"]["layer.weight"], STATE["layer.weight"])
    assert found["epoch"] == 3
    if kind == "timm":
        # a checkpoint of our own that holds such a thing is refused, or a resume would not be exact
        with pytest.raises(UserError, match="holds more than tensors"):
            weights.load(path)


@pytest.mark.parametrize("trap", [Trap, Shell])
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_called(tmp_path, trap, zipped):
    path, mark = tmp_path / "a.pth", tmp_path / "mark"
    whole = {"state_dict": STATE, "meta": trap(str(mark))}
    torch.save(whole, path, _use_new_zipfile_serialization=zipped)
    # torch looks at no module that runs programs
    refused = pytest.raises(UserError, match="holds more than tensors")
    with refused if trap is Shell else contextlib.nullcontext():
        weights.load(path, only_tensors=True)
    assert not mark.exists()


def test_a_file_that_is_none(tmp_path):
    path = tmp_path / "a.pth"
    for content in (b"", b"not a checkpoint", b"\x80\x02}q\x00."):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.pth: "):
            weights.load(path, only_tensors=True)
