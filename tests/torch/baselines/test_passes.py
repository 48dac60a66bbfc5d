"""Passes over the batch, counted at a backbone or at the encoders of modalities."""

import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

from baselines.parts.passes import PassCountingOptimWrapper, count_passes
from suite.base.errors import UserError


class Encoders(nn.Module):
    def __init__(self, names=("a", "b", "c")):
        super().__init__()
        self.encoders = nn.ModuleDict({name: nn.Linear(2, 2) for name in names})


def wrapper(model, networks=3):
    return PassCountingOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), networks=networks)


def step(model, wrapped, trained, seen=()):
    """A step that trains some encoders, and only asks others."""
    with wrapped.optim_context(model):
        with torch.no_grad():
            for name in seen:
                model.encoders[name](torch.ones(1, 2))
        loss = sum(model.encoders[name](torch.ones(1, 2)).sum() for name in trained)
    wrapped.update_params(loss)


@pytest.mark.parametrize(
    ("trained", "seen", "passes"),
    [
        (["a", "b", "c"], [], 1),
        (["a"], [], 1 / 3),
        (["a"], ["b", "c"], 2 / 3),
        (["a", "b", "c"], ["a", "b", "c"], 1.5),
    ],
)
def test_an_encoder_counts_for_its_share(trained, seen, passes):
    model = Encoders()
    wrapped = wrapper(model)
    step(model, wrapped, trained, seen)
    assert wrapped.passes_per_step == pytest.approx(passes)


def test_several_optimiser_steps_in_one_iteration_are_one_step():
    model = Encoders()
    wrapped = wrapper(model)
    for _ in range(2):
        with wrapped.optim_context(model):
            for name in "abc":
                with wrapped.optim_context(model):
                    loss = model.encoders[name](torch.ones(1, 2)).sum()
                wrapped.update_params(loss)
    assert wrapped.passes_per_step == 1


def test_every_gradient_that_comes_back_counts():
    model = Encoders()
    wrapped = wrapper(model)
    with wrapped.optim_context(model):
        out = model.encoders["a"](torch.ones(1, 2))
        torch.autograd.grad(out.sum(), list(model.parameters())[:1], retain_graph=True)
    wrapped.update_params(out.sum())
    assert wrapped.passes_per_step == pytest.approx(3 / 6)


def test_nothing_is_counted_between_steps():
    model = Encoders()
    wrapped = wrapper(model)
    step(model, wrapped, ["a", "b", "c"])
    model.encoders["a"](torch.ones(1, 2)).sum().backward()
    assert wrapped.passes_per_step == 1


def test_counts_go_on_from_a_checkpoint():
    model = Encoders()
    whole, first, second = (wrapper(model) for _ in range(3))
    step(model, whole, ["a", "b", "c"])
    step(model, whole, ["a"])
    step(model, first, ["a", "b", "c"])
    second.load_state_dict(first.state_dict())
    step(model, second, ["a"])
    assert second.passes_per_step == whole.passes_per_step == pytest.approx(2 / 3)


def test_a_backbone_is_the_whole_network():
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    wrapped = PassCountingOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapped.optim_context(model):
        loss = model.backbone(torch.ones(1, 2)).sum()
    wrapped.update_params(loss)
    assert wrapped.passes_per_step == 1


def test_the_config_tells_how_many_encoders_the_protocol_has():
    cfg = ConfigDict(
        model={"encoders": {"a": {}, "b": {}}, "modalities": ["a"]},
        optim_wrapper={"type": "OptimWrapper"},
    )
    assert count_passes(count_passes(cfg)).optim_wrapper == {
        "type": "PassCountingOptimWrapper",
        "networks": 2,
    }
    cfg = ConfigDict(model={"backbone": {}}, optim_wrapper={})
    assert count_passes(cfg).optim_wrapper == {"type": "PassCountingOptimWrapper"}


def test_another_wrapper_is_refused():
    cfg = ConfigDict(model={}, optim_wrapper={"type": "AmpOptimWrapper"})
    with pytest.raises(UserError, match="AmpOptimWrapper"):
        count_passes(cfg)
