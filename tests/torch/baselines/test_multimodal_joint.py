"""Unimodal and joint training, UME, MLA and UMT on toy modalities."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from multimodal_training import (
    BATCH,
    CLASSES,
    ITERATIONS,
    NAMES,
    SAMPLES,
    WIDTH,
    build,
    changed,
    config,
    runner_of,
    state,
    train,
)

from baselines.multimodal.film import FiLMFusion
from baselines.multimodal.gated import GatedFusion
from baselines.multimodal.mla import (
    AlternatingObjective,
    EntropyGatedHead,
    entropy_weights,
    projector_after,
)
from baselines.multimodal.umt import teachers_of
from suite.base.errors import InputError, MethodWarning, UserError
from suite.engine import weights
from tasks.multimodal.fusions import ConcatFusion, MeanProbability, SharedHead, SumFusion
from tasks.multimodal.networks import proper_subsets

THREE = ("sound", "touch", "sight")
DOUBLE = torch.float64
OWN = torch.tensor([[1, 0.2, -0.5], [-0.3, 0.4, 0.1]], dtype=DOUBLE)
BEFORE = torch.tensor([[0.2, 0.1, 0], [-0.4, 0.3, 0.6]], dtype=DOUBLE)


class StepHook(Hook):
    """State of the network after every step of the optimiser."""

    priority = "LOWEST"

    def before_train(self, runner):
        self.states = [state(runner)]
        runner.optim_wrapper.optimizer.register_step_post_hook(
            lambda *_: self.states.append(state(runner))
        )


def kept(folder, runner):
    path = folder / "weights.safetensors"
    weights.save(weights.model_weights(runner.model), path)
    return str(path)


def accuracy(runner):
    """Of the training samples without noise."""
    data = runner.train_dataloader.dataset.inner
    model = runner.model.eval()
    with torch.no_grad():
        logits = model(data.inputs, data.label)
    return (logits.argmax(1) == data.label).float().mean().item()


# -- fusions


def fused(kind, names=NAMES, width=4, classes=3, **more):
    torch.manual_seed(0)
    return kind(names, dict.fromkeys(names, width), classes, **more).double()


def features_of(names=NAMES, batch=5, width=4):
    torch.manual_seed(1)
    return {name: torch.randn(batch, width, dtype=DOUBLE) for name in names}


@pytest.mark.parametrize("names", [NAMES, THREE])
def test_parts_of_concatenation_and_sum_add_up(names):
    for kind in (ConcatFusion, SumFusion, SharedHead):
        fusion, features = fused(kind, names), features_of(names)
        torch.testing.assert_close(
            sum(fusion.modality_logits(features).values()), fusion(features), msg=kind.__name__
        )


def test_film_by_hand():
    fusion, features = fused(FiLMFusion), features_of()
    first, second = features.values()
    gamma, beta = fusion.conditions[0](first).split(4, 1)
    torch.testing.assert_close(fusion(features), fusion.fc(gamma * second + beta))
    assert fusion.modality_logits(features) is None
    # without the first the condition is its bias, without the second only the shift is left
    zero = torch.zeros_like(first)
    gamma0, beta0 = fusion.conditions[0](zero).split(4, 1)
    torch.testing.assert_close(fusion(features, ["sight"]), fusion.fc(gamma0 * second + beta0))
    torch.testing.assert_close(fusion(features, ["sound"]), fusion.fc(beta))


def test_gates_by_hand():
    fusion, features = fused(GatedFusion), features_of()
    first, second = features.values()
    one, two = fusion.projections
    torch.testing.assert_close(fusion(features), fusion.fc(one(first).sigmoid() * two(second)))
    assert fusion.modality_logits(features) is None
    torch.testing.assert_close(
        fusion(features, ["sound"]), fusion.fc(one(first).sigmoid() * two.bias)
    )


@pytest.mark.parametrize("kind", [FiLMFusion, GatedFusion])
def test_fusions_without_own_logits(kind):
    with pytest.raises(UserError, match="only modality"):
        fused(kind, ("sound",))
    # of several widths, and of three modalities, all of which matter
    widths = {"sound": 4, "touch": 6, "sight": 5}
    fusion = kind(THREE, widths, 3).double()
    features = {
        name: torch.randn(2, width, dtype=DOUBLE, requires_grad=True)
        for name, width in widths.items()
    }
    fusion(features).square().sum().backward()
    assert all(values.grad.abs().sum() > 0 for values in features.values())
    assert torch.autograd.gradcheck(
        lambda *values: fusion(dict(zip(THREE, values, strict=True))), tuple(features.values())
    )


def test_the_mean_of_softmaxes():
    fusion, features = fused(MeanProbability, THREE), features_of(THREE)
    own = fusion.modality_logits(features)
    mean = sum(logits.softmax(1) for logits in own.values()) / 3
    torch.testing.assert_close(fusion(features), mean.log())
    pair = (own["sound"].softmax(1) + own["sight"].softmax(1)) / 2
    torch.testing.assert_close(fusion(features, ["sight", "sound"]), pair.log())


# -- joint training


@pytest.mark.parametrize("method", ["concat", "sum", "film", "gated", "ume", "mla"])
def test_overfits_toy_data(method, tmp_path):
    runner = train(tmp_path, config(method, build=build(iterations=160)))
    assert accuracy(runner) >= 0.95


@pytest.mark.parametrize("method", ["concat", "sum", "film", "gated", "ume", "mla"])
def test_three_modalities_and_what_is_predicted(method, tmp_path):
    runner = train(tmp_path, config(method, build=build(THREE, iterations=4)))
    data = runner.train_dataloader.dataset.inner
    with torch.no_grad():
        (made,) = runner.model.eval()(data.inputs, data.label, mode="predict")
    assert made["logits"].shape == (SAMPLES, CLASSES)
    assert made["subset_logits"].shape == (SAMPLES, len(proper_subsets(THREE)), CLASSES)
    assert ("modality_logits" in made) == (method not in ("film", "gated"))
    curves = next(hook for hook in runner.hooks if type(hook).__name__ == "MonitorHook").curves
    own = {f"top1_{name}" for name in THREE} if "modality_logits" in made else set()
    assert {name for name in curves if name.startswith("top1")} == own | {"top1"}


def test_a_modality_that_the_protocol_has_not():
    with pytest.raises(UserError, match="modality=3: the protocol's modalities are 1 sound, 2"):
        config("unimodal-1", modality=3)


# -- UME


@pytest.mark.parametrize("names", [NAMES, THREE])
def test_ume_equals_separate_runs_bit_for_bit(names, tmp_path):
    ume = train(tmp_path / "ume", config("ume", build=build(names), seed=3))
    together = state(ume)
    for place, name in enumerate(names, 1):
        method = "unimodal-2" if place == 2 else "unimodal-1"
        cfg = config(method, build=build(names), seed=3, modality=place)
        alone = train(tmp_path / name, cfg)
        assert alone.model.modalities == (name,)
        assert alone.optim_wrapper.passes_per_step == pytest.approx(1 / len(names))
        for key, value in state(alone).items():
            assert torch.equal(together[key], value), key
        heads = [key for key in state(alone) if key.startswith("fusion.")]
        assert heads == [f"fusion.heads.{name}.weight", f"fusion.heads.{name}.bias"]
    # and not by standing still, nor whatever the seed
    fresh = MODELS.build(config("ume", build=build(names)).model).state_dict()
    assert len(changed(together, fresh)) == len(together)


def test_initial_weights_follow_from_the_seed(tmp_path):
    first, second = (
        state(runner_of(tmp_path / str(seed), config("ume", seed=seed))) for seed in (0, 1)
    )
    # heads too, which are made in blocks within blocks
    weights_ = {k for k in first if first[k].ndim > 1 or "head" in k}
    assert weights_ <= changed(first, second)
    again = state(runner_of(tmp_path / "again", config("ume", seed=0)))
    assert not changed(first, again)


def test_ume_refuses_a_norm_over_all():
    def clipped(root):
        cfg, facts = build()(root)
        cfg["optim_wrapper"]["clip_grad"] = {"max_norm": 1.0}
        return cfg, facts

    with pytest.raises(UserError, match="clips gradients"):
        config("ume", build=clipped)


def test_making_a_network_draws_nothing_from_the_stream():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    MODELS.build(config("ume").model)
    assert torch.equal(torch.rand(3), wanted)


def test_making_a_network_leaves_generators_of_gpus_alone(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(5)
    assert seeds == [5], "torch seeds GPUs otherwise, and this test sees nothing"
    MODELS.build(config("ume").model)
    assert seeds == [5]


# -- MLA


def test_recursive_least_squares_by_hand():
    r = torch.tensor([0.5, 1, -0.5], dtype=DOUBLE)
    found = projector_after(torch.eye(3, dtype=DOUBLE), r, 0.1)
    wanted = [[0.84375, -0.3125, 0.15625], [-0.3125, 0.375, 0.3125], [0.15625, 0.3125, 0.84375]]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=DOUBLE))
    torch.testing.assert_close(found @ r, torch.tensor([0.03125, 0.0625, -0.03125], dtype=DOUBLE))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_projector_forgets_no_direction(seed, count):
    """With many means P is (I + sum r r^T / a)^-1; as a goes to 0, the projector beside them."""
    drawn = torch.randn(count, 8, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    for a in (0.1, 1e-9):
        projector = torch.eye(8, dtype=DOUBLE)
        for r in drawn:
            projector = projector_after(projector, r, a)
        if a == 0.1:
            wanted = torch.linalg.inv(torch.eye(8, dtype=DOUBLE) + drawn.T @ drawn / a)
            torch.testing.assert_close(projector, wanted)
        else:
            assert (projector @ drawn.T).abs().max() < 1e-4
            torch.testing.assert_close(projector @ projector, projector, atol=1e-4, rtol=0)


def test_weights_by_the_entropy_of_each_sample():
    found = entropy_weights(torch.stack([OWN, BEFORE]))
    torch.testing.assert_close(
        found[0], torch.tensor([0.5413899808, 0.4914789261], dtype=DOUBLE), rtol=0, atol=6e-11
    )
    torch.testing.assert_close(found.sum(0), torch.ones(2, dtype=DOUBLE))
    # a sample's weights do not depend on the batch
    alone = entropy_weights(torch.stack([OWN[:1], BEFORE[:1]]))
    torch.testing.assert_close(alone, found[:, :1])


def test_the_gate_leaves_out_what_is_missing():
    fusion, features = fused(EntropyGatedHead, THREE), features_of(THREE)
    own = fusion.modality_logits(features)
    torch.testing.assert_close(fusion(features, ["touch"]), own["touch"])
    pair = torch.stack([own["sound"], own["sight"]])
    wanted = (entropy_weights(pair)[..., None] * pair).sum(0)
    torch.testing.assert_close(fusion(features, ["sight", "sound"]), wanted)


def test_turns_of_mla_step_by_step(tmp_path):
    """Each step moves the encoder in turn and the head, whose gradient is times P of the features before."""
    watch = StepHook()
    runner = train(tmp_path, config("mla", build=build(iterations=2, lr=0.1)), hooks=[watch])
    assert len(watch.states) == 5 and runner.optim_wrapper.passes_per_step == 1
    for step, (before, after) in enumerate(zip(watch.states, watch.states[1:], strict=False)):
        names = {name for name in changed(before, after) if "projector" not in name}
        other = NAMES[(step + 1) % 2]
        trained = {name for name in names if "running" not in name and "num_b" not in name}
        assert trained and not any(f"encoders.{other}." in name for name in trained)
        assert {"fusion.head.weight", "fusion.head.bias"} <= trained
    # the first batch again, by hand
    cfg = config("mla", build=build(iterations=2, lr=0.1))
    fresh = runner_of(tmp_path / "fresh", cfg)
    batch = next(iter(fresh.build_train_loop(fresh.train_loop).dataloader))
    model = fresh.model.train()
    inputs, label = batch["inputs"], batch["label"]
    first = model.features_of("sound", inputs["sound"]).detach().double()
    projector = projector_after(torch.eye(WIDTH, dtype=DOUBLE), first.mean(0), 0.1)
    second = model.features_of("sight", inputs["sight"]).detach()
    weight = watch.states[1]["fusion.head.weight"].clone().requires_grad_(True)
    F.cross_entropy(second @ weight.T + watch.states[1]["fusion.head.bias"], label).backward()
    begun = watch.states[0]["fusion.head.weight"]
    momentum = (begun - watch.states[1]["fusion.head.weight"]) / 0.1
    step = 0.9 * momentum + weight.grad @ projector.float() + 5e-4 * weight.detach()
    torch.testing.assert_close(
        watch.states[2]["fusion.head.weight"],
        watch.states[1]["fusion.head.weight"] - 0.1 * step,
        rtol=1e-4,
        atol=1e-6,
    )


def test_an_iteration_of_several_steps_counts_once(tmp_path):
    runner = train(tmp_path, config("mla", build=build(iterations=8)))
    assert runner.iter == 8
    curves = next(hook for hook in runner.hooks if type(hook).__name__ == "MonitorHook").curves
    # the schedule is stepped once in an iteration
    reference = train(tmp_path / "concat", config("concat", build=build(iterations=8)))
    other = next(h for h in reference.hooks if type(h).__name__ == "MonitorHook").curves
    assert curves["lr"] == other["lr"]


def test_regularisation_falls_within_an_epoch():
    objective = AlternatingObjective(WIDTH, SAMPLES, BATCH, 100)
    for iteration, share in ((0, 0), (1, 0.2), (4, 0.8), (5, 0), (7, 0.4)):
        objective.set_progress(iteration / 100)
        assert objective.regularisation == pytest.approx(0.1 ** (1 + share))


def test_regularisation_without_projection_is_named():
    with pytest.warns(MethodWarning, match=r"a=0\.5 has no effect with project=false"):
        config("mla", project=False, a=0.5)


def test_without_projection_there_is_no_projector(tmp_path):
    plain = train(tmp_path / "plain", config("mla", project=False))
    assert not any("projector" in name for name in plain.model.state_dict())
    projected = train(tmp_path / "projected", config("mla"))
    shared = {key: v for key, v in state(projected).items() if "projector" not in key}
    assert changed(shared, state(plain))


# -- UMT


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """(runner, path of the weights) of a trained `ume`."""
    folder = tmp_path_factory.mktemp("ume")
    runner = train(folder, config("ume"))
    return runner, kept(folder, runner)


def test_teachers_are_frozen_and_no_part_of_the_model(tmp_path, taught):
    ume, path = taught
    runner = train(tmp_path, config("umt", {"teacher": path}))
    concat = config("concat")
    assert runner.model.state_dict().keys() == MODELS.build(concat.model).state_dict().keys()
    assert len(list(runner.model.parameters())) == len(
        list(MODELS.build(concat.model).parameters())
    )
    (teachers,) = runner.model.objective._teachers
    for name, teacher in teachers.items():
        assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
        for key, value in teacher.state_dict().items():
            assert torch.equal(value, ume.model.state_dict()[f"encoders.{name}.{key}"])
    own, ume_s = (Path(file).stat().st_size for file in (kept(tmp_path, runner), path))
    assert own < 1.2 * ume_s
    checkpoint = max((tmp_path / "checkpoint").glob("*.pth"))
    assert not any("teacher" in key for key in weights.load(checkpoint)["model"])


def test_the_loss_of_umt_by_hand(taught):
    ume, path = taught
    model = MODELS.build(config("umt", {"teacher": path}, w=3.0).model).train()
    data = ume.train_dataloader.dataset.inner
    losses = model(data.inputs, data.label, mode="loss")
    features = model.features(data.inputs)
    ume.model.eval()
    wanted = sum(
        (features[name] - ume.model.features_of(name, data.inputs[name])).square().mean()
        for name in NAMES
    )
    torch.testing.assert_close(losses["loss_teacher"], 3 * wanted)
    torch.testing.assert_close(
        losses["loss_ce"], F.cross_entropy(model.fusion(features), data.label)
    )
    # the teachers' gradient reaches every encoder, and no teacher
    losses["loss_teacher"].backward()
    assert all(p.grad is not None for p in model.encoders.parameters())
    assert model.fusion.fc.weight.grad is None


def test_a_strong_teacher_is_followed(tmp_path, taught):
    _, path = taught

    def distance(w):
        runner = train(
            tmp_path / str(w), config("umt", {"teacher": path}, build=build(iterations=80), w=w)
        )
        model = runner.model.eval()
        data = runner.train_dataloader.dataset.inner
        with torch.no_grad():
            return model(data.inputs, data.label, mode="loss")["loss_teacher"].item() / max(w, 1)

    model = train(tmp_path / "free", config("concat", build=build(iterations=80))).model.eval()
    teachers = teachers_of(Path(path), config("concat").model.encoders)
    data = taught[0].train_dataloader.dataset.inner
    with torch.no_grad():
        free = sum(
            (model.features_of(n, data.inputs[n]) - teachers[n](data.inputs[n])).square().mean()
            for n in NAMES
        ).item()
    assert distance(10.0) < 0.5 * free


def test_teachers_that_do_not_fit(tmp_path, taught):
    _, path = taught
    for inputs, build_, said in (
        (path, build(widths=(WIDTH, 8)), r"encoder of sight \(encoders.sight.layers.2"),
        (path, build(THREE), "encoder of touch"),
        (str(tmp_path / "gone.safetensors"), build(), "no such weights file"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            train(tmp_path / said[:9], config("umt", {"teacher": inputs}, build=build_))
        assert "\n" not in str(caught.value)
    alone = train(tmp_path / "alone", config("unimodal-1"))
    with pytest.raises(InputError, match="is a run of ume"):
        train(tmp_path / "x", config("umt", {"teacher": kept(tmp_path / "alone", alone)}))


def test_prediction_needs_no_teacher(tmp_path, taught):
    runner = train(tmp_path, config("umt", {"teacher": taught[1]}, build=build(iterations=2)))
    model = MODELS.build(config("umt", {"teacher": str(tmp_path / "gone")}).model)
    path = kept(tmp_path, runner)
    weights.restore(model, Path(path))
    data = runner.train_dataloader.dataset.inner
    with torch.no_grad():
        assert torch.equal(
            model.eval()(data.inputs, data.label),
            runner.model.eval()(data.inputs, data.label),
        )


# -- resume


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ume", "mla", "umt", "film", "gated", "unimodal-2"])
def test_resume_is_bit_equal(method, tmp_path, taught):
    def cfg():
        return config(method, {"teacher": taught[1]} if method == "umt" else None)

    calm = state(train(tmp_path / "calm", cfg()))
    for cut in (1, 9, ITERATIONS - 1):
        train(tmp_path / str(cut), cfg(), cut=cut)
        assert not changed(calm, state(train(tmp_path / str(cut), cfg()))), cut
