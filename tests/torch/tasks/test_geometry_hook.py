"""A look at the last layer: what is stored, heads of every kind, and a training that is tracked as if it were not."""

import random

import numpy as np
import pytest
import torch
from cls_training import ITERATIONS, config, state, train
from mmengine.registry import MODELS
from torch import nn

from baselines.classification.lws import ScaledLinearHead
from baselines.parts.experts import ExpertHeads
from suite.base.errors import RecordError
from suite.engine.resume import bare_model
from tasks.vision.geometry import stored
from tasks.vision.geometry.hook import (
    CollapseHook,
    TrackHook,
    as_measured,
    collect,
    loader_of,
    means_of,
    tracked_steps,
)
from tasks.vision.networks.classifier import CosineHead, Head, LinearHead, TorchLinearHead

LOSS = {"type": "CrossEntropy"}


def drawn(head):
    for parameter in head.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    return head


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Plain(Head):
    """Weights under other names than the suite's own."""

    def __init__(self):
        super().__init__(LOSS)
        self.rows = nn.Parameter(torch.zeros(8, 5))

    def forward(self, features):
        return features @ self.rows + 2.0


class Quadratic(Head):
    def forward(self, features):
        return features.square()[:, :5]


class Wrong(LinearHead):
    def forward(self, features):
        return 2 * self.fc(features)


# -- heads


@pytest.mark.parametrize(
    "head",
    [
        LinearHead(8, 5, LOSS),
        TorchLinearHead(8, 5, LOSS),
        CosineHead(8, 5, LOSS, scale=7.0),
        ScaledLinearHead(8, 5, LOSS, bias=True),
        ScaledLinearHead(8, 5, LOSS),
        Plain(),
    ],
    ids=lambda head: type(head).__name__,
)
def test_logits_are_the_linear_layer_of_what_it_sees(head):
    given = features(6, 8)
    seen, weight, bias = drawn(head).linear(given)
    assert seen.shape == (6, 8) and weight.shape == (5, 8)
    made = seen @ weight.T + (0 if bias is None else bias)
    torch.testing.assert_close(made, head(given), rtol=1e-5, atol=1e-5)
    if isinstance(head, CosineHead):
        torch.testing.assert_close(seen.norm(dim=1), torch.ones(6))
        torch.testing.assert_close(weight.norm(dim=1), torch.full((5,), 7.0))


def test_factors_of_lws_are_in_its_weights():
    head = drawn(ScaledLinearHead(8, 5, LOSS, bias=True))
    _, weight, bias = head.linear(features(6, 8))
    torch.testing.assert_close(weight, head.scale[:, None] * head.fc.weight)
    torch.testing.assert_close(bias, head.scale * head.fc.bias)


def test_every_expert_has_its_layer():
    head, given = drawn(ExpertHeads(3, 8, 5, LOSS, 30.0)), features(6, 3, 8)
    seen, weight, bias = head.linear(given)
    assert seen.shape == (6, 3, 8) and weight.shape == (3, 5, 8) and bias.shape == (3, 5)
    made = torch.einsum("bed,ecd->bec", seen, weight) + bias
    torch.testing.assert_close(made, head(given), rtol=1e-5, atol=1e-4)


def test_a_head_that_is_not_linear_has_no_layer():
    given = features(6, 8)
    seen, weight, bias = Quadratic(LOSS).linear(given)
    assert weight is None and bias is None and seen is given


# -- what is stored


class Model(nn.Module):
    """Features are the inputs."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def data_preprocessor(self, batch, training):
        assert not training and not self.training
        return batch

    def features(self, inputs):
        return inputs


def batches(inputs, label, size):
    return [
        {"inputs": inputs[i : i + size], "label": label[i : i + size]}
        for i in range(0, len(label), size)
    ]


LABEL = torch.arange(40) % 5


@pytest.mark.parametrize("kept", [1 << 28, 100])
def test_arrays_do_not_depend_on_batches_nor_on_where_they_are_kept(kept, monkeypatch):
    monkeypatch.setattr("tasks.vision.geometry.hook.KEPT_VALUES", kept)
    head, given = drawn(LinearHead(8, 5, LOSS)), features(40, 8)
    model = Model(head).train()
    found = collect(model, batches(given, LABEL, 7))
    logits = head(given).detach()
    expected = stored.accumulate(
        given.numpy(),
        LABEL.numpy(),
        logits.numpy(),
        head.fc.weight.detach().numpy(),
        head.fc.bias.detach().numpy(),
    )
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5, err_msg=name)
    loss = nn.functional.cross_entropy(logits.double(), LABEL, reduction="none").numpy()
    means = [loss[LABEL.numpy() == c].mean() for c in range(5)]
    np.testing.assert_allclose(found["nll"], means, rtol=1e-6)
    stored.checked(found, 5)
    assert model.training


def test_the_geometry_of_experts_is_that_of_their_mean_and_of_each():
    head, given = drawn(ExpertHeads(3, 8, 5, LOSS, 30.0)), features(40, 3, 8)
    parts = stored.split(collect(Model(head), batches(given, LABEL, 16)))
    assert list(parts) == ["", "expert0", "expert1", "expert2"]
    whole = parts[""]
    seen = nn.functional.normalize(given, dim=-1).flatten(1)
    made = seen.numpy() @ whole["weight"].T + whole["bias"]
    np.testing.assert_allclose(made, head(given).mean(1).detach(), atol=1e-4)
    own = head(given)[:, 1].detach()
    margin = (
        own.gather(1, LABEL[:, None])[:, 0] - own.scatter(1, LABEL[:, None], -1e9).max(1).values
    )
    np.testing.assert_allclose(parts["expert1"]["margin"], margin, rtol=1e-5, atol=1e-5)
    for part in parts.values():
        stored.checked(part, 5)


def test_a_head_without_a_linear_layer_has_no_weights():
    found = collect(Model(Quadratic(LOSS)), batches(features(40, 8), LABEL, 40))
    assert "weight" not in found and "bias" not in found
    assert np.isnan(found["margin_norm"]).all() and np.isfinite(found["margin"]).all()


def test_test_images_are_compared_with_the_means_of_the_training_images():
    model = Model(drawn(LinearHead(8, 5, LOSS)))
    # every class's test images lie where the next class's training images do
    shifted = torch.zeros(40, 8)
    shifted[torch.arange(40), (LABEL + 1) % 5] = 9.0
    train = torch.zeros(40, 8)
    train[torch.arange(40), LABEL] = 9.0
    means = means_of(collect(model, batches(train, LABEL, 40)))
    assert collect(model, batches(shifted, LABEL, 40))["ncc_correct"].sum() == 40
    assert collect(model, batches(shifted, LABEL, 40), means)["ncc_correct"].sum() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.half(), "features are float16"),
        (lambda x: x.bfloat16(), "features are bfloat16"),
        (lambda x: x.masked_fill(torch.arange(8) == 3, torch.nan), "NaN or infinite"),
        (lambda x: x[:, :1], "one dimension"),
    ],
)
def test_features_without_a_geometry_are_refused(change, said):
    given = change(features(40, 8))
    head = drawn(LinearHead(given.shape[1], 5, LOSS)).to(given.dtype)
    with pytest.raises(RecordError, match=said):
        collect(Model(head), batches(given, LABEL, 40))


def test_no_image_at_all_is_refused():
    with pytest.raises(RecordError, match="no image"):
        collect(Model(drawn(LinearHead(8, 5, LOSS))), [])


def test_a_head_that_says_it_is_linear_and_is_not_is_refused():
    with pytest.raises(RecordError, match=r"Wrong\.linear gives other logits"):
        collect(Model(drawn(Wrong(8, 5, LOSS))), batches(features(40, 8), LABEL, 40))


def test_a_look_leaves_modes_gradients_and_generators_as_they_were():
    model = Model(drawn(LinearHead(8, 5, LOSS)))
    model.frozen = nn.Dropout()
    model.train()
    model.frozen.eval()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with as_measured(model):
        assert not any(module.training for module in model.modules())
        assert not torch.is_grad_enabled()
        torch.rand(3), np.random.rand(3), random.random()
    assert model.training and model.head.training and not model.frozen.training
    assert torch.is_grad_enabled()
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    assert torch.equal(before[0], after[0]) and np.array_equal(before[1], after[1])
    assert before[2] == after[2]


# -- on the way


def test_points_end_with_the_last_iteration():
    assert tracked_steps(720, 24) == {30 * k for k in range(1, 25)}
    assert tracked_steps(22, 4) == {6, 11, 17, 22}
    assert tracked_steps(3, 24) == {1, 2, 3}
    assert tracked_steps(0, 4) == {0}  # which no iteration is


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splits": ["val"]}, "unknown split 'val'"),
        ({"images": {"tset": 3}}, "unknown split 'tset'"),
        ({"points": 0}, "at least 1"),
        ({"images": {"test": 0}}, "at least 1"),
    ],
)
def test_arguments_are_checked(options, said):
    with pytest.raises(ValueError, match=said):
        TrackHook(**options)


def test_a_hook_that_has_seen_no_end_has_no_arrays():
    with pytest.raises(RecordError, match="no training has ended"):
        CollapseHook().arrays()
    with pytest.raises(ValueError, match="unknown split"):
        CollapseHook("val")


def tracking(cfg):
    cfg.custom_hooks = [
        *cfg.custom_hooks,
        {"type": "TrackHook", "points": 4, "images": {"test": 30}},
    ]


def rows_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, TrackHook)).metric_rows()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ce", "sade"])
def test_a_tracked_training_ends_bit_for_bit_where_the_other_does(method, tmp_path):
    plain = state(train(tmp_path / "plain", method))
    tracked = train(tmp_path / "tracked", method, change=tracking)
    for name, value in state(tracked).items():
        assert torch.equal(value, plain[name]), name
    rows = rows_of(tracked)
    assert {row.step for row in rows} == {6, 11, 17, 22}
    assert {row.source for row in rows} == {"hook"}
    keys = [(row.key, row.step) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {"top1", "top1[split=train]", "nll", "nll[split=train]"} <= {row.key for row in rows}


@pytest.mark.slow
def test_what_was_tracked_survives_an_interruption(tmp_path):
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    whole = rows_of(train(tmp_path / "whole", "ce", change=tracking))
    train(tmp_path / "cut", "ce", cut=13, change=tracking)
    resumed = rows_of(train(tmp_path / "cut", "ce", change=tracking))
    assert resumed == whole and len(whole) >= 16
    assert whole[-1].step == ITERATIONS


@pytest.mark.slow
def test_the_last_point_is_the_final_models(tmp_path):
    runner = train(tmp_path, "ce", change=tracking)
    hook = CollapseHook()
    hook.after_train(runner)
    arrays = hook.arrays()
    last = {row.key: row.value for row in rows_of(runner) if row.step == ITERATIONS}
    assert last["top1[split=train]"] == arrays["correct"].sum() / arrays["counts"].sum()
    test = CollapseHook("test")
    test.after_train(runner)
    means = means_of(collect(bare_model(runner), loader_of(runner.cfg, "train")))
    expected = collect(bare_model(runner), loader_of(runner.cfg, "test"), means)
    for name, array in test.arrays().items():
        np.testing.assert_array_equal(array, expected[name])


def test_a_hook_is_built_from_a_config():
    cfg = config("ce")
    assert len(loader_of(cfg, "test", 7).dataset) == 7
    assert len(loader_of(cfg, "train").dataset) == 347
    assert MODELS.get("LinearHead") is LinearHead
