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


class Remembering(torch.nn.Module):
    """A layer with a state for each of `samples`: a parameter and a buffer."""

    per_instance = ("labels", "seen")

    def __init__(self, samples):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.labels = torch.nn.Parameter(torch.rand(samples, 2))
        self.register_buffer("seen", torch.zeros(samples, dtype=torch.bool))
        self.register_buffer("count", torch.zeros(2))


def nested(samples):
    return torch.nn.ModuleDict(
        {"head": torch.nn.ModuleDict({"loss": Remembering(samples)}), "fc": torch.nn.Linear(3, 2)}
    )


def test_what_belongs_to_single_samples_is_in_checkpoints_and_not_in_kept_weights(tmp_path):
    model = nested(4)
    aside = {"head.loss.labels", "head.loss.seen"}
    assert weights.per_instance(model) == aside
    kept = weights.model_weights(model)
    assert set(model.state_dict()) - set(kept) == aside
    assert set(weights.model_weights(model["head"]["loss"])) == {
        "layer.weight", "layer.bias", "count",
    }  # fmt: skip
    # of another data set, and of a model that remembers nothing
    path = tmp_path / "kept.safetensors"
    weights.save(kept, path)
    other = nested(9)
    before = other["head"]["loss"].labels.clone()
    weights.restore(other, path)
    assert torch.equal(other["head"]["loss"].labels, before)
    found = weights.model_weights(other)
    assert all(torch.equal(found[name], kept[name]) for name in kept)


def test_weights_that_hold_single_samples_leave_them_aside(tmp_path):
    model, other = nested(4), nested(9)
    path = tmp_path / "whole.pth"
    torch.save(model.state_dict(), path)
    weights.restore(other, path)
    assert torch.equal(other["fc"].weight, model["fc"].weight)
    assert len(other["head"]["loss"].labels) == 9


def test_what_is_missing_beside_single_samples_is_still_missing(tmp_path):
    kept = weights.model_weights(nested(4))
    del kept["head.loss.count"]
    path = tmp_path / "kept.safetensors"
    weights.save(kept, path)
    with pytest.raises(
        UserError, match=r"does not fit the network \('head.loss.count' and 0 more\)"
    ):
        weights.restore(nested(4), path)


def test_a_name_that_the_module_has_not():
    model = nested(4)
    model["head"]["loss"].per_instance = ("label",)
    with pytest.raises(AttributeError, match="label"):
        weights.model_weights(model)
