"""ReconBoost: its losses by hand, its parts, what moves in them, and resume at every boundary."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from multimodal_training import ITERATIONS, NAMES, build, changed, config, state, train

from baselines.multimodal.recon_boost import (
    BoostedSum,
    BoostingObjective,
    Part,
    consolidation,
    masked,
    parts_of,
    reconciled,
)
from suite.base.errors import MethodWarning, UserError
from suite.engine import weights

OWN = [[1, 0.2, -0.5], [-0.3, 0.4, 0.1]]
OTHERS = [[0.6, -0.1, 0.2], [0.3, -0.2, 0.5]]
LABEL = torch.tensor([0, 2])
BEFORE = [[0.2, 0.1, 0], [-0.4, 0.3, 0.6]]


def double(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def near(found, wanted):
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=6e-11)


# -- the losses


@pytest.mark.parametrize(
    ("lam", "wanted"), [(0.0, 0.8098055628), (0.5, 0.7532542791), (1.0, 0.6967029954)]
)
def test_reconcilement_over_all_classes(lam, wanted):
    own, others = double(OWN), double(OTHERS)
    loss = reconciled(own, others, LABEL, lam)
    near(loss.detach(), wanted)
    loss.backward()
    # (1 - lam) p + lam q - Y: at lam = 1 the pseudo-residual of gradient boosting
    target = F.one_hot(LABEL, 3)
    p, q = own.detach().softmax(1), others.detach().softmax(1)
    torch.testing.assert_close(own.grad, ((1 - lam) * p + lam * q - target) / 2)
    assert others.grad is None


def test_gradients_of_the_ends():
    for lam, wanted in (
        (0.0, [[-0.2010390312, 0.1343318224, 0.0667072088], [0.1109735679, 0.2234733228, -0.3344468907]]),
        (1.0, [[-0.2692561883, 0.1145839858, 0.1546722025], [0.1768075574, 0.1072392044, -0.2840467618]]),
    ):  # fmt: skip
        own = double(OWN)
        reconciled(own, double(OTHERS), LABEL, lam).backward()
        near(own.grad, wanted)


def test_the_released_loss():
    own = double(OWN)
    loss = masked(own, double(OTHERS), LABEL, 5.0, 1.0)
    near(loss.detach(), 1.2305536092)
    loss.backward()
    near(own.grad, [[-0.3041393772, 0.2032222129, 0.1009171643], [0.1689792122, 0.3402823461, -0.5092615584]])  # fmt: skip
    # its memory consolidation is a constant, of a mean over classes too
    near((loss + 0.5 * consolidation(own, double(BEFORE)) / 3).detach(), 1.2403141713)
    # without others it is a multiple of cross entropy
    torch.testing.assert_close(
        masked(own, None, LABEL, 5.0, 1.0), 5 / 3 * F.cross_entropy(own, LABEL)
    )


def test_memory_consolidation_has_a_gradient():
    own, before = double(OWN), double(BEFORE)
    value = consolidation(own, before)
    near(value.detach(), 0.0585633727)
    value.backward()
    near(own.grad, [[0.0790243608, -0.0435645816, -0.0354597792], [0.0092318727, 0.0401076645, -0.0493395372]])  # fmt: skip
    assert before.grad is None


def test_gradients_are_those_of_differences():
    others, before = double(OTHERS).detach(), double(BEFORE).detach()
    for loss in (
        lambda own: reconciled(own, others, LABEL, 0.3),
        lambda own: masked(own, others, LABEL, 4.0, 2.0),
        lambda own: consolidation(own, before),
    ):
        assert torch.autograd.gradcheck(loss, double(OWN))


def head(rate=1.0, hidden=0, names=NAMES, width=3, classes=3, **more):
    widths = dict.fromkeys(names, width)
    made = BoostedSum(names, widths, classes, hidden=hidden, rate=rate, **more).double()
    return made


def identity(made):
    """A head whose logits are the features."""
    with torch.no_grad():
        made.head.weight.copy_(torch.eye(3))
        made.head.bias.zero_()
    return made


def test_global_rectification_by_hand():
    features = dict(zip(NAMES, (double(OWN), double(OTHERS)), strict=True))
    fusion = identity(head(1.5))
    near(F.cross_entropy(fusion(features), LABEL).detach(), 0.4108987368)
    own = fusion.modality_logits(features)
    torch.testing.assert_close(fusion(features), 1.5 * (own["sound"] + own["sight"]))
    torch.testing.assert_close(fusion(features, ["sight"]), 1.5 * own["sight"])


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 50.0), st.integers(0, 1000))
def test_the_boost_rate_leaves_predictions(rate, seed):
    drawn = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(7, 3, generator=drawn, dtype=torch.float64) for name in NAMES}
    fusion = head()
    before = fusion(features).argmax(1)
    with torch.no_grad():
        fusion.rate.fill_(rate)
    assert torch.equal(fusion(features).argmax(1), before)


def test_a_hidden_layer_and_widths_that_differ():
    assert [type(layer).__name__ for layer in head(hidden=5).head] == ["Linear", "ReLU", "Linear"]
    with pytest.raises(UserError, match="sound 3, sight 4"):
        BoostedSum(NAMES, {"sound": 3, "sight": 4}, 3)


# -- parts


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 20), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_parts_cover_the_training(iterations, stages, share):
    if iterations < 4 * stages:
        iterations += 4 * stages
    parts = parts_of(iterations, stages, share)
    starts = [part.start for part in parts]
    assert starts[0] == 0 and starts == sorted(set(starts)) and starts[-1] < iterations
    assert [part.stage for part in parts] == sorted(part.stage for part in parts)
    assert {part.stage for part in parts} == set(range(stages))
    assert len(parts) == stages * (1 + (0 < share < 1))


@pytest.mark.parametrize(
    ("iterations", "stages", "share"), [(5, 6, 1.0), (10, 8, 0.5), (4, 4, 0.3)]
)
def test_a_part_without_an_iteration_is_refused(iterations, stages, share):
    with pytest.raises(UserError, match=f"stages={stages}, .* choose fewer stages"):
        parts_of(iterations, stages, share)


def test_parts_by_hand():
    assert parts_of(20, 2, 0.5) == [
        Part(0, 0, True),
        Part(5, 0, False),
        Part(10, 1, True),
        Part(15, 1, False),
    ]


@settings(deadline=None, max_examples=20)
@given(st.integers(8, 400), st.integers(1, 4))
def test_every_iteration_knows_its_part(iterations, stages):
    objective = BoostingObjective(iterations, stages, 0.5, 0.25, 0.5)
    begun = []
    for iteration in range(iterations):
        objective.set_progress(iteration / iterations)
        begun += [iteration] * objective.begins
        assert objective.part.start <= iteration
    assert begun == [part.start for part in objective.parts]


def loss_of(objective, names=NAMES, rate=1.0):
    """What the objective minimises, of logits z_k that are given as features."""
    fusion = identity(head(rate, names=names))
    given_ = dict(zip(names, (double(OWN), double(OTHERS)), strict=False))
    model = type("Model", (), {"fusion": fusion, "modalities": names})()
    return objective.losses(model, given_, LABEL, None)["loss"], given_


def at(iteration, *args, iterations=16, **kwargs):
    made = BoostingObjective(iterations, 4, 0.5, *args, **kwargs)
    made.set_progress(iteration / iterations)
    return made


def test_the_loss_of_each_part():
    own, others = double(OWN).detach(), double(OTHERS).detach()
    plain = F.cross_entropy(own, LABEL)
    # stage 0: nobody has learnt anything
    torch.testing.assert_close(loss_of(at(0, 0.25, 0.5))[0], plain)
    # all together
    torch.testing.assert_close(
        loss_of(at(2, 0.25, 0.5), rate=1.5)[0], F.cross_entropy(1.5 * (own + others), LABEL)
    )
    # stage 2: the first modality again, after the second; q has the boost rate in it
    found, given_ = loss_of(at(8, 0.25, 0.5), rate=1.5)
    wanted = reconciled(own, 1.5 * others, LABEL, 0.25) + 0.5 * consolidation(own, others)
    torch.testing.assert_close(found, wanted)
    found.backward()
    assert given_["sight"].grad is None and given_["sound"].grad.any()
    # no reconcilement: cross entropy
    torch.testing.assert_close(loss_of(at(8, 0.0, 0.0))[0], plain)
    torch.testing.assert_close(
        loss_of(at(8, 0.0, 0.0, kl="masked", w1=5.0, w2=1.0))[0], masked(own, others, LABEL, 5, 1)
    )


def test_one_modality_alone_has_cross_entropy():
    for iteration in (0, 4, 8):
        found, _ = loss_of(at(iteration, 1.0, 0.5), names=("sound",))
        torch.testing.assert_close(found, F.cross_entropy(double(OWN).detach(), LABEL))


# -- trainings


class Watch(Hook):
    """State of the network and number of momenta, after every iteration."""

    priority = "LOWEST"

    def before_train(self, runner):
        self.states = [state(runner)]
        self.momenta = []

    def after_train_iter(self, runner, *args, **kwargs):
        self.states.append(state(runner))
        self.momenta.append(len(runner.optim_wrapper.optimizer.state))


def owners(names):
    return {".".join(name.split(".")[:2]) if name.startswith("enc") else "head" for name in names}


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_only_the_modality_in_turn_moves(share, tmp_path):
    watch = Watch()
    cfg = config("recon-boost", stages=4, share=share, hidden=0)
    runner = train(tmp_path, cfg, hooks=[watch])
    length = ITERATIONS // 4
    for i, (before, after) in enumerate(zip(watch.states, watch.states[1:], strict=False)):
        names = changed(before, after)
        alternating = i % length < share * length
        turn = NAMES[i // length % 2]
        wanted = {f"encoders.{turn}"} if alternating else {f"encoders.{name}" for name in NAMES}
        assert owners(names) == wanted | {"head"}, i
        # the boost rate is global rectification's
        assert ("fusion.rate" in names) == (not alternating)
        # batch statistics too: the first modality's encoder has some
        assert ("encoders.sound.layers.1.running_mean" in names) == ("encoders.sound" in wanted)
    # momenta are dropped where a part begins
    everything = len(list(runner.model.parameters()))
    if share == 0.5:
        assert watch.momenta[2] < everything and watch.momenta[3] == everything
        assert watch.momenta[6] < everything
        passes = (0.75 + 1) / 2
    else:
        assert max(watch.momenta) < everything
        passes = 0.75
    assert runner.optim_wrapper.passes_per_step == pytest.approx(passes)


def test_a_learning_rate_of_zero_is_no_step(tmp_path):
    # without an alternating part no modality needs a turn
    cfg = config("recon-boost", build=build(lr=0.0), stages=1, share=0.0)
    watch = Watch()
    train(tmp_path, cfg, hooks=[watch])
    names = changed(watch.states[0], watch.states[-1])
    assert names and all("running" in name or "num_batches" in name for name in names)


def test_a_fixed_boost_rate_stays(tmp_path):
    runner = train(tmp_path, config("recon-boost", stages=2, boost_rate=1.5, learn_boost=False))
    assert runner.model.fusion.rate.item() == 1.5
    assert runner.model.fusion.head[0].out_features == 256


@pytest.mark.parametrize("method", ["recon-boost", "recon-boost-masked", "recon-boost-kl0"])
def test_presets(method, tmp_path):
    cfg = config(method, stages=4)
    wanted = {
        "recon-boost": ("full", 0.25, 0.5),
        "recon-boost-masked": ("masked", 0.25, 0.5),
        "recon-boost-kl0": ("full", 0.0, 0.0),
    }[method]
    objective = cfg.model.objective
    assert (objective.kl, objective.lam, objective.alpha) == wanted
    assert math.isfinite(train(tmp_path, cfg).model.fusion.rate.item())


def test_too_many_stages_are_refused_before_anything_is_built():
    with pytest.raises(UserError, match="has no iteration, since the training has 24"):
        config("recon-boost", stages=20)


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ({"kl": "masked", "lam": 0.9}, r"lam=0\.9 has no effect with kl=masked"),
        ({"w1": 3.0}, "w1=3 has no effect with kl=full"),
        ({"share": 0.0, "lam": 0.9}, r"lam=0\.9 has no effect with share=0"),
        ({"share": 0.0, "kl": "masked"}, "kl=masked has no effect with share=0"),
    ],
)
def test_settings_without_effect_are_named(overrides, wanted):
    with pytest.warns(MethodWarning, match=wanted):
        config("recon-boost", stages=4, **overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"lam": 0.9},
        {"kl": "masked", "w1": 3.0, "w2": 0.5},
        {"lam": 0.0, "alpha": 0.0},
        {"w1": 1.0, "w2": 0.25},
        {"share": 0.0},
    ],
)
def test_settings_with_effect_and_those_of_protocols_are_not_named(overrides):
    with warnings.catch_warnings():
        warnings.simplefilter("error", MethodWarning)
        config("recon-boost", stages=4, **overrides)


def test_a_share_that_rounds_to_nothing_is_named_too():
    with pytest.raises(UserError, match=r"share=0\.01.* or a share nearer to 0\.5$"):
        parts_of(20, 1, 0.01)


def test_a_modality_without_a_turn_is_named():
    with pytest.warns(MethodWarning, match=r"sight is in turn in none .* from stages=2 on"):
        config("recon-boost", stages=1)


@pytest.mark.slow
@pytest.mark.parametrize("names", [NAMES, ("sound", "touch", "sight")])
def test_resume_at_every_boundary_is_bit_equal(names, tmp_path):
    def cfg():
        return config("recon-boost", build=build(names), stages=4, hidden=5)

    watch = Watch()
    calm = train(tmp_path / "calm", cfg(), hooks=[watch])
    starts = [part.start for part in calm.model.objective.parts]
    # one training, interrupted before, at and after the first iteration of every part
    for cut in sorted({c for start in starts[1:] for c in (start - 1, start, start + 1)}):
        reached = train(tmp_path / "torn", cfg(), cut=cut)
        assert not changed(watch.states[cut], state(reached)), cut
    torn = train(tmp_path / "torn", cfg())
    assert not changed(state(calm), state(torn))
    momenta = [
        [kept["momentum_buffer"] for kept in runner.optim_wrapper.optimizer.state.values()]
        for runner in (calm, torn)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*momenta, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", [{}, {"lam": 0.5}, {"kl": "masked"}, {"share": 1.0}, {"hidden": 16}]
)
def test_overfits_toy_data(overrides, tmp_path):
    given_ = {"stages": 6, "hidden": 0, **overrides}
    runner = train(tmp_path, config("recon-boost", build=build(iterations=240), **given_))
    assert accuracy(runner) == 1.0


def accuracy(runner):
    """Of the training samples without noise."""
    data = runner.train_dataloader.dataset.inner
    model = runner.model.eval()
    with torch.no_grad():
        logits = model(data.inputs, data.label)
    return (logits.argmax(1) == data.label).float().mean().item()


def test_warm_start_takes_the_encoders_of_ume(tmp_path):
    ume = train(tmp_path / "ume", config("ume"))
    path = tmp_path / "weights.safetensors"
    weights.save(weights.model_weights(ume.model), path)
    watch = Watch()
    cfg = config("recon-boost-warm", {"warm": str(path)}, stages=4)
    train(tmp_path / "warm", cfg, hooks=[watch])
    start, taught = watch.states[0], state(ume)
    assert all(torch.equal(start[k], v) for k, v in taught.items() if k.startswith("encoders."))
    fresh = MODELS.build(config("recon-boost", stages=4).model)
    assert {k for k in start if k.startswith("fusion.")} == {
        f"fusion.{k}" for k in fresh.fusion.state_dict()
    }


def test_a_longer_training_is_a_stretched_one():
    short, long = config("recon-boost", stages=4), config("recon-boost-long", stages=4, times=3)
    assert long.train_cfg.max_iters == 3 * short.train_cfg.max_iters
    assert long.model.objective.iterations == 3 * short.model.objective.iterations
    (schedule,), (stretched,) = short.param_scheduler, long.param_scheduler
    assert stretched.end == 3 * schedule.end and stretched.T_max == 3 * schedule.T_max
    assert stretched.begin == 0 and stretched.eta_min == schedule.eta_min
    same = config("recon-boost-long", stages=4, times=1)
    assert same.model == short.model and same.param_scheduler == short.param_scheduler
