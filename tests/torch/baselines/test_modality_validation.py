"""Methods for several modalities that hold training samples out, and trainings of all of the balanced ones."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS

from baselines.parts.modalities import HeldOutSampler, held_out
from suite.base.errors import UserError
from suite.engine import weights
from suite.engine.data import PositionSampler
from tests import modality_training as toy
from tests.methods import baseline

gblend = baseline("gblend")
OUT = held_out(torch.arange(3).repeat_interleave(20), 0.2)


# -- which samples are held out


def test_a_share_of_every_class_is_held_out_for_ever_the_same():
    labels = torch.arange(3).repeat_interleave(20)
    assert [int(OUT[labels == c].sum()) for c in range(3)] == [4, 4, 4]
    # by SHA-256: of no generator's stream
    assert OUT.nonzero()[:5, 0].tolist() == held_out(labels, 0.2).nonzero()[:5, 0].tolist()
    assert int(held_out(labels, 0.5).sum()) == 30


def test_too_few_samples_are_refused():
    with pytest.raises(UserError, match="3 training samples are too few"):
        held_out(torch.arange(3), 0.2)


def taken(sampler, number, start=0):
    return list(itertools.islice(iter(sampler), start, number))


def test_held_out_samples_are_in_no_batch():
    data = toy.DrawnModalities(["vector"])
    places = taken(HeldOutSampler(data, 0.2, seed=1), 48 * 3)
    for k in range(3):
        assert sorted(places[48 * k : 48 * k + 48]) == (~OUT).nonzero()[:, 0].tolist()
    assert places[:48] != places[48:96]
    assert places != taken(HeldOutSampler(data, 0.2, seed=2), 48 * 3)


def test_after_a_trial_all_samples_are_there():
    data = toy.DrawnModalities(["vector"])
    places = taken(HeldOutSampler(data, 0.2, until=50, seed=1), 50 + 120)
    assert not OUT[places[:50]].any()
    assert sorted(places[50:110]) == sorted(places[110:]) == list(range(60))


def test_the_sampler_goes_on_where_a_run_left_off():
    data = toy.DrawnModalities(["vector"])
    config = {"type": "HeldOutSampler", "fraction": 0.2, "until": 50}
    whole, resumed = (PositionSampler(dict(config), data, 4) for _ in range(2))
    resumed.skip(70)
    assert taken(resumed, 30) == taken(whole, 100, 70)


# -- what is asked of them


def built(method, **overrides):
    cfg = toy.configured(method, **overrides)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.train()
    return model, build_optim_wrapper(model, cfg.optim_wrapper)


def logits_of(model, places):
    data = toy.DrawnModalities(["image", "vector"])
    batch = model.data_preprocessor(data.__getitems__(places), False)
    model.eval()
    with torch.no_grad():
        features = model.features(batch["inputs"])
    model.train()
    return features, batch["label"]


def test_modalities_are_judged_by_their_own_logits_on_what_is_held_out():
    model, _ = built("mslr")
    features, label = logits_of(model, OUT.nonzero()[:, 0].tolist())
    own = model.fusion.modality_logits(features)
    losses, accuracies = model.objective.validated(model)
    for k, logits in enumerate(own.values()):
        assert losses[k].item() == pytest.approx(F.cross_entropy(logits, label).item(), rel=1e-5)
        assert accuracies[k].item() == pytest.approx((logits.argmax(1) == label).float().mean())
    assert all(module.training for module in model.modules())


def test_the_generator_is_left_as_it_was():
    model, _ = built("mslr")
    before = torch.get_rng_state()
    model.objective.validated(model)
    assert torch.equal(torch.get_rng_state(), before)


def batches(number, seed=0):
    data = toy.DrawnModalities(["image", "vector"])
    generator = torch.Generator().manual_seed(seed)
    for _ in range(number):
        yield data.__getitems__(torch.randperm(60, generator=generator)[: toy.BATCH].tolist())


# -- MSLR


def test_encoders_have_rates_of_their_own_in_a_step_and_the_schedules_after_it():
    model, wrapper = built("mslr", spread=0.5)
    seen = {}
    kept = wrapper.optimizer.step

    def step():
        seen.update(
            {
                id(p): group["lr"]
                for group in wrapper.optimizer.param_groups
                for p in group["params"]
            }
        )
        kept()

    wrapper.optimizer.step = step
    model.train_step(next(batches(1)), wrapper)
    rate = toy.plain().optim_wrapper.optimizer.lr
    expected = {"encoders.image": 0.5 * rate, "encoders.vector": 1.5 * rate, "fusion": rate}
    for name, parameter in model.named_parameters():
        (found,) = (r for prefix, r in expected.items() if name.startswith(prefix))
        assert seen[id(parameter)] == pytest.approx(found)
    assert {group["lr"] for group in wrapper.optimizer.param_groups} == {rate}


def test_factors_change_after_so_many_passes():
    model, _ = built("mslr", spread=0.0, history=2)
    objective = model.objective
    nothing = torch.zeros(2)
    objective.judge(nothing, torch.tensor([0.4, 0.5]))
    assert objective.factors.tolist() == [1, 1]
    objective.judge(nothing, torch.tensor([0.8, 0.5]))
    assert objective.factors.tolist() == pytest.approx([0.8 / 0.6, 1])
    objective.judge(nothing, torch.tensor([0.8, 0.25]))
    assert objective.factors.tolist() == pytest.approx([0.8 / 0.6, 1])
    objective.judge(nothing, torch.tensor([0.8, 0.75]))
    assert objective.factors.tolist() == pytest.approx([0.8 / 0.6, 1.5])


# -- MSES


def test_an_encoder_stops_when_its_loss_has_not_fallen_for_the_patience():
    model, _ = built("mses", patience=0.25)  # of 24 iterations: 6
    objective = model.objective
    told = [(3, [1.0, 1.0]), (6, [0.9, 1.1]), (9, [0.9, 1.0]), (12, [0.9, 0.2]), (14, [0.1, 0.3])]
    stopped = []
    for iteration, losses in told:
        objective.set_progress(iteration / toy.ITERATIONS)
        objective.judge(torch.tensor(losses, dtype=torch.float64), torch.zeros(2))
        stopped.append(objective.stopped.tolist())
    # the first's loss is least at 6, the second's at 3, and then it does not come back
    assert stopped == [
        [False, False],
        [False, False],
        [False, True],
        [True, True],
        [True, True],
    ]


def test_an_encoder_that_has_stopped_stays_as_it_is():
    model, wrapper = built("mses")
    (first, second) = batches(2)
    model.train_step(first, wrapper)  # so that there is momentum
    model.objective.stopped[0] = True
    model.objective._known = None
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train_step(second, wrapper)
    moved = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert not any(name.startswith("encoders.image") for name in moved)
    assert any(name.startswith("encoders.vector") for name in moved)
    assert "fusion.fc.weight" in moved
    assert model.encoders.image.training
    # a pass, then one that goes back through one encoder of two
    assert wrapper.passes_per_step == pytest.approx((1 + 0.75) / 2)


def test_with_all_encoders_stopped_the_classifier_goes_on():
    model, wrapper = built("mses")
    model.objective.stopped[:] = True
    before = model.fusion.fc.weight.clone()
    model.train_step(next(batches(1)), wrapper)
    assert not torch.equal(model.fusion.fc.weight, before)
    assert wrapper.passes_per_step == pytest.approx(0.5)


# -- G-Blend


def test_the_trial_goes_back_to_the_initial_weights_and_gives_the_weights_of_the_losses():
    model, wrapper = built("gblend", trial=0.5)  # of 24 iterations: 6 and 6
    objective = model.objective
    initial = {n: v.clone() for n, v in model.state_dict().items() if "objective" not in n}
    held = OUT.nonzero()[:, 0].tolist()
    trained = (~OUT).nonzero()[:, 0].tolist()

    def now():
        found = []
        for places in (trained, held):
            features, label = logits_of(model, places)
            own = objective.heads.logits(features)
            values = [*own.values(), model.fusion(features)]
            found.append([F.cross_entropy(z, label).item() for z in values])
        return torch.tensor(found, dtype=torch.float64)

    first = now()
    measured = []
    for iteration, batch in enumerate(batches(14)):
        objective.set_progress(iteration / toy.ITERATIONS)
        measured.append(now())
        before = {n: v.clone() for n, v in model.state_dict().items()}
        model.train_step(batch, wrapper)
        if iteration == 0:
            assert len(objective.start)
        if 0 < iteration < 6:  # the encoders alone, each with its own classifier
            assert torch.equal(model.fusion.fc.weight, before["fusion.fc.weight"])
        if 6 < iteration < 12:  # together
            name = "objective.heads.image.weight"
            assert torch.equal(model.state_dict()[name], before[name])
        if iteration in (6, 12):  # one step from where it began, without momentum
            rate = wrapper.optimizer.param_groups[0]["lr"]
            for name, parameter in model.named_parameters():
                state = wrapper.optimizer.state.get(parameter)
                if name in initial and state:
                    expected = initial[name] - rate * state["momentum_buffer"]
                    assert torch.allclose(parameter, expected, atol=1e-6), name
    assert torch.allclose(objective.first.double(), first, atol=1e-4)
    last = torch.cat([measured[6][:, :2], measured[12][:, 2:]], 1)
    assert torch.allclose(objective.last.double(), last, atol=1e-4)
    drop = (first - last)[1]
    growth = (last[1] - last[0]) - (first[1] - first[0])
    assert torch.allclose(objective.weights.double(), gblend.blend(drop, growth), atol=1e-3)
    assert not len(objective.start)


def test_after_the_trial_the_loss_is_weighted():
    model, wrapper = built("gblend", trial=0.1)
    objective = model.objective
    objective.set_progress(0.75)
    objective.weights.copy_(torch.tensor([0.2, 0.5, 0.3]))
    (batch,) = batches(1)
    inputs = model.data_preprocessor(batch, True)
    features = model.features(inputs["inputs"])
    own = objective.heads.logits(features)
    parts = [F.cross_entropy(z, inputs["label"]) for z in (*own.values(), model.fusion(features))]
    expected = 0.2 * parts[0] + 0.5 * parts[1] + 0.3 * parts[2]
    log = model.train_step(batch, wrapper)
    assert log["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_trial_that_leaves_nothing_is_refused():
    with pytest.raises(UserError, match=r"trial=0\.9: of 2 iterations the trial takes 2"):
        gblend.half(2, 0.9)
    assert gblend.half(20, 0.1) == 1
    assert gblend.half(400, 0.1) == 20


# -- trainings

TRAINED = {
    "ogm-ge": {"alpha": 0.5},
    "pmr": {},
    "agm": {},
    "mmpareto": {},
    "gblend": {"trial": 0.5},
    "mslr": {"history": 2},
    "mses": {"patience": 0.2},
}
PASSES = {"agm": 2, "mmpareto": 1.5}
CUTS = {"gblend": (3, 9), "mslr": (9,), "mses": (9, 20)}


@pytest.mark.slow
@pytest.mark.parametrize("method", TRAINED)
def test_resume_equals_the_undisturbed_training_bit_for_bit(tmp_path, method):
    cfg = toy.configured(method, **TRAINED[method])
    calm = toy.state(toy.train(tmp_path / "calm", cfg))
    for cut in CUTS.get(method, (9,)):
        folder = tmp_path / f"cut-{cut}"
        toy.train(folder, cfg, cut)
        torch.rand(17)
        assert toy.same(toy.state(toy.train(folder, cfg)), calm)
    assert calm["passes"] == PASSES.get(method, calm["passes"])
    if method == "gblend":
        assert calm["objective.start"].shape == (0,)
        assert calm["objective.weights"].sum().item() == pytest.approx(1)
    if method == "mslr":
        assert calm["objective.passes"] == 7  # 24 batches of 16 are 8 passes over 48 samples
        assert calm["objective.factors"].tolist() != [0.9, 1.1]
    if method == "mses":
        assert calm["objective.since"].max() > 0
    if method == "pmr":
        assert calm["objective.prototypes_image"].isfinite().all()
    if method == "agm":
        assert calm["objective.steps"] == toy.ITERATIONS


@pytest.mark.slow
@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("names", [("image", "vector"), ("image", "vector", "other")])
def test_it_learns(tmp_path, method, names):
    settings = {**TRAINED[method], **({"trial": 0.1} if method == "gblend" else {})}
    runner = toy.train(tmp_path, toy.configured(method, names, **settings))
    assert toy.accuracy(runner) > 0.55
    curves = runner.monitor.curves
    assert {"loss", "lr", "top1", *(f"top1_{name}" for name in names)} <= curves.keys()


@pytest.mark.parametrize("method", PASSES)
def test_nominal_passes_are_those_counted(method):
    assert toy.CATALOG.card(method).needs.passes == PASSES[method]


class IndexHook(Hook):
    """Samples that were trained on, by iteration."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(data_batch["index"].tolist())


@pytest.mark.slow
@pytest.mark.parametrize(("method", "until"), [("mslr", 24), ("mses", 24), ("gblend", 12)])
def test_nothing_that_is_held_out_is_trained_on(tmp_path, method, until):
    hook = IndexHook()
    toy.train(tmp_path, toy.configured(method, **TRAINED[method]), hook=hook)
    assert all(len(places) == toy.BATCH for places in hook.seen)
    assert not OUT[[*itertools.chain(*hook.seen[:until])]].any()
    if until < toy.ITERATIONS:
        assert OUT[[*itertools.chain(*hook.seen[until:])]].any()


@pytest.mark.slow
def test_kept_weights_of_gblend_hold_no_initial_ones(tmp_path):
    cfg = toy.configured("gblend", trial=0.5)
    runner = toy.train(tmp_path, cfg, 3)  # in the trial
    kept = weights.model_weights(runner.model)
    assert "objective.start" not in kept
    weights.save(kept, tmp_path / "weights.safetensors")
    weights.restore(MODELS.build(cfg.model), tmp_path / "weights.safetensors")
    checkpoint = weights.load(tmp_path / "checkpoint/3.pth")
    assert len(checkpoint["model"]["objective.start"])


@pytest.mark.slow
def test_noise_of_ogm_ge_is_of_the_seed(tmp_path):
    cfg = toy.configured("ogm-ge")
    one, again = (toy.state(toy.train(tmp_path / name, cfg)) for name in ("one", "again"))
    assert toy.same(one, again)
    quiet = toy.configured("ogm-ge", noise=False)
    other = toy.state(toy.train(tmp_path / "quiet", quiet))
    assert not toy.same(one, other)
