"""Balanced training of modalities: known answers, properties, what a step changes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from suite.base.errors import UserError
from tests import modality_training as toy
from tests.methods import baseline

ogm, pmr, agm, mmpareto = map(baseline, ("ogm_ge", "pmr", "agm", "mmpareto"))
gblend, mslr = map(baseline, ("gblend", "modality_lr"))

OWN = torch.tensor([[1, 0.2, -0.5], [-0.3, 0.4, 0.1]], dtype=torch.float64)
BEFORE = torch.tensor([[0.2, 0.1, 0], [-0.4, 0.3, 0.6]], dtype=torch.float64)
LABEL = torch.tensor([0, 2])


def exact(values, digits=10):
    return pytest.approx(values, abs=0.5 * 10**-digits, rel=0)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


# -- known answers, to the digits that the sheet prints


def test_ogm_ge_slows_the_modality_that_is_ahead():
    scores = torch.stack([ogm.true_class(z, LABEL).sum() for z in (OWN, BEFORE)])
    assert scores.tolist() == exact([0.9290281562, 0.8413917533])
    assert (scores[1] / scores[0]).item() == exact(0.9056687, 7)
    assert ogm.coefficients(scores, 0.1).tolist() == exact([0.8900308896, 1])
    assert ogm.coefficients(scores, 0.8).tolist() == exact([0.2919187665, 1])


def test_ogm_ge_compares_with_the_mean_of_several_others():
    found = ogm.coefficients(vector(3.0, 1.0, 2.0), 0.5)
    assert found.tolist() == pytest.approx([1 - torch.tanh(vector(1.0)).item(), 1, 1])


def test_pmr_pulls_the_modality_that_is_behind():
    features, prototypes = vector([1, 0], [0, 2]), vector([1, 1], [0, 0], [2, 0])
    logits = pmr.prototype_logits(features, prototypes)
    assert pmr.true_class(logits, LABEL).tolist() == exact([0.3333333333, 0.1350810142])
    assert F.cross_entropy(logits, LABEL).item() == exact(1.550246432, 9)


def test_a_feature_on_its_prototype_has_a_slope_that_is_a_number():
    features = torch.ones(1, 2, requires_grad=True)
    F.cross_entropy(pmr.prototype_logits(features, torch.ones(3, 2)), LABEL[:1]).backward()
    assert torch.isfinite(features.grad).all()


def test_agm_slows_what_is_ahead_of_its_running_score():
    found = agm.coefficients(vector(0.7, 1.2), vector(0.9, 1.0), 1.0)
    assert found.tolist() == exact([0.580682959, 1.3475751044])


def test_parts_of_agm_are_the_papers_for_two_modalities():
    both, first, second = (torch.randn(4, 3, dtype=torch.float64) for _ in range(3))
    of = {("a", "b"): both, ("a",): first, ("b",): second}
    found = agm.shares(["a", "b"], of)
    assert torch.allclose(found["a"], (both - second + first) / 2)
    assert torch.allclose(found["b"], (both - first + second) / 2)


def test_parts_of_agm_add_up_and_give_equals_the_same():
    names = ("a", "b", "c")
    subsets = [*toy_subsets(names), names]
    of = {subset: torch.randn(2, 3, dtype=torch.float64) for subset in subsets}
    assert torch.allclose(sum(agm.shares(names, of).values()), of[names])
    # a game that counts players: each has one
    equal = {subset: torch.full((1, 1), float(len(subset))) for subset in subsets}
    assert all(value.item() == pytest.approx(1) for value in agm.shares(names, equal).values())
    # a player that changes nothing has nothing
    idle = {s: torch.full((1, 1), float("a" in s) + 2.0 * ("b" in s)) for s in subsets}
    found = agm.shares(names, idle)
    assert [found[name].item() for name in names] == pytest.approx([1, 2, 0])


def toy_subsets(names):
    from tasks.multimodal.networks import proper_subsets

    return proper_subsets(names)


def test_mmpareto_takes_the_shortest_vector_in_a_conflict():
    g, k = vector(1, 2, -1), vector(-2, 0.5, 1)
    assert torch.cosine_similarity(g, k, 0).item() == exact(-0.35635, 5)
    c = mmpareto.weight_of([g], [k])
    assert c.item() == exact(0.4754098361)
    shortest = c * g + (1 - c) * k
    assert shortest.tolist() == exact([-0.5737704918, 1.2131147541, 0.0491803279])
    assert shortest.norm().item() == exact(1.3428621257)
    (found,) = mmpareto.joined([g], [k], 1.5)
    assert found.tolist() == exact([-1.7257069438, 3.6486375384, 0.147917738], 9)


def test_mmpareto_adds_without_a_conflict():
    (found,) = mmpareto.joined([vector(1, 2)], [vector(3, -1)], 1.5)
    assert found.tolist() == pytest.approx([6, 1.5])


def test_gblend_weighs_generalisation_over_overfitting_squared():
    found = gblend.blend(vector(0.4, 0.2, 0.5), vector(0.3, 0.1, 0.6))
    assert found.tolist() == exact([0.1720430108, 0.7741935484, 0.0537634409])
    assert gblend.blend(vector(-0.4, 0.2, 0.5), vector(0.3, 0.1, 0.5)).tolist() == pytest.approx(
        [0, 10 / 11, 1 / 11]
    )
    assert gblend.blend(vector(-0.4, -1, 0), vector(0.3, 0.1, 0)).tolist() == [1 / 3] * 3
    # without a weight the classifier that predicts would not be trained
    assert gblend.blend(vector(0.4, 0.2, -0.1), vector(0.3, 0.1, 0.6)).tolist() == [1 / 3] * 3
    assert gblend.blend(vector(0.1, 0.1), vector(0, 0.1)).isfinite().all()


def test_mslr_multiplies_by_the_last_accuracy_over_the_mean():
    found = mslr.adapted(vector(0.9, 1.1), vector([0.2, 0.0], [0.6, 0.0]))
    assert found.tolist() == pytest.approx([0.9 * 1.5, 1.1])
    assert mslr.spaced(2, 0.1) == pytest.approx([0.9, 1.1])
    assert mslr.spaced(3, 0.1) == pytest.approx([0.9, 1, 1.1])


# -- properties

numbers = st.floats(-5, 5, allow_nan=False, width=32)
gradients = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(pairs=gradients)
def test_mmparetos_direction_descends_for_both(pairs):
    g, k = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    c = mmpareto.weight_of([g], [k])
    assert 0 <= c <= 1
    shortest = c * g + (1 - c) * k
    slack = 1e-9 * (1 + g.norm() * k.norm() + g.norm() ** 2 + k.norm() ** 2)
    assert shortest @ g >= -slack
    assert shortest @ k >= -slack
    if g @ k <= 0:
        # nothing between the two is shorter
        between = torch.linspace(0, 1, 21, dtype=torch.float64)[:, None]
        assert shortest.norm() <= (between * g + (1 - between) * k).norm(dim=1).min() + 1e-6
    (found,) = mmpareto.joined([g], [k], 1.5)
    assert torch.isfinite(found).all()
    # as long as the sum at least, but where there is nothing to stretch
    if shortest.norm() > 1e-6:
        assert found.norm() >= 1.5 * (g + k).norm() * (1 - 1e-6)


ROUNDING = 1e-9


@settings(max_examples=50, deadline=None)
@given(scores=st.lists(st.floats(0.01, 100), min_size=2, max_size=5), alpha=st.floats(0, 3))
@example([0.01, 0.01, 0.01], 1.0)
def test_weights_of_pmr_are_nothing_or_alpha(scores, alpha):
    found = pmr.pulled(vector(*scores), alpha)
    assert set(found.tolist()) <= {0.0, alpha}
    if len(set(scores)) == 1:
        # of several equal scores rounding may put some below the mean of the others
        assert len(scores) > 2 or not found.any()
    elif max(scores) > min(scores) * (1 + ROUNDING):
        assert found[scores.index(min(scores))] == alpha
        assert found[scores.index(max(scores))] == 0


@settings(max_examples=50, deadline=None)
@given(scores=st.lists(st.floats(0.01, 100), min_size=2, max_size=5), alpha=st.floats(0, 3))
@example([0.01, 0.01, 0.01], 1.0)
def test_ogm_ge_slows_and_never_turns(scores, alpha):
    found = ogm.coefficients(vector(*scores), alpha)
    assert ((found >= 0) & (found <= 1)).all()
    # of several equal scores rounding may put some above the mean of the others
    if len(scores) == 2 or max(scores) > min(scores) * (1 + ROUNDING):
        assert found[scores.index(min(scores))] == 1


@settings(max_examples=50, deadline=None)
@given(drops=st.lists(st.floats(-1, 1), min_size=2, max_size=5), data=st.data())
def test_weights_of_gblend_are_shares(drops, data):
    growth = data.draw(st.lists(st.floats(-1, 1), min_size=len(drops), max_size=len(drops)))
    found = gblend.blend(vector(*drops), vector(*growth))
    assert found.sum().item() == pytest.approx(1)
    assert (found >= 0).all()


# -- what a step does


def step(method, names=("image", "vector"), done=0.0, change=None, **overrides):
    """(model before, model after a step, gradients that the step took, the step's log)."""
    cfg = toy.plain(names) if method is None else toy.configured(method, names, **overrides)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    if change:
        change(model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    taken = {}
    kept = wrapper.optimizer.step

    def keep():
        taken.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        kept()

    wrapper.optimizer.step = keep
    before = copy.deepcopy(model)
    model.train()
    getattr(model.objective, "set_progress", lambda _: None)(done)
    data = toy.DrawnModalities(names)
    batch = data.__getitems__(list(range(0, 60, 4)))
    log = model.train_step(batch, wrapper)
    return before, model, taken, log


def same_gradients(one, other):
    return one.keys() == other.keys() and all(torch.allclose(one[n], other[n]) for n in one)


@pytest.mark.parametrize("names", [("image", "vector"), ("image", "vector", "other")])
@pytest.mark.parametrize(
    ("method", "overrides"),
    [
        ("ogm-ge", {"alpha": 0.0, "noise": False}),
        ("pmr", {"alpha": 0.0}),
        ("mses", {}),
    ],
)
def test_with_nothing_to_balance_it_is_the_reference(method, overrides, names):
    _, _, expected, reference = step(None, names)
    _, _, found, log = step(method, names, **overrides)
    assert same_gradients(found, expected)
    assert torch.allclose(log["loss"], reference["loss"])
    assert {"loss", "top1", *(f"top1_{name}" for name in names)} <= log.keys()
    assert torch.equal(log["top1_vector"], reference["top1_vector"])


def test_ogm_ge_changes_weights_of_convolutions_or_matrices_in_its_window_only():
    _, _, plain, _ = step(None)
    _, _, found, _ = step("ogm-ge", alpha=1.0, noise=False)
    changed = {name for name in plain if not torch.equal(plain[name], found[name])}
    # one of the two modalities is ahead
    assert changed in (
        {"encoders.image.layers.0.weight", "encoders.image.layers.3.weight"},
        {"encoders.vector.layers.0.weight", "encoders.vector.layers.2.weight"},
    )
    ratios = [(found[n] / plain[n])[plain[n].abs() > 1e-6] for n in changed]
    assert torch.cat(ratios).std() < 1e-4
    assert 0 < torch.cat(ratios).mean() < 1
    _, _, found, _ = step("ogm-ge", alpha=1.0, noise=False, done=0.5)
    assert same_gradients(found, plain)


@pytest.mark.parametrize(("begin", "end"), [(0.6, 0.5), (0.5, 0.5)])
def test_ogm_ge_that_never_changes_a_gradient_is_refused(begin, end):
    with pytest.raises(UserError, match=f"begin={begin}, end={end}: .* choose an end beyond begin"):
        toy.configured("ogm-ge", begin=begin, end=end)


def test_noise_of_ogm_ge_has_the_gradients_deviation_for_all_modalities():
    _, model, plain, _ = step("ogm-ge", alpha=0.0, noise=False)
    model.objective.noise = True
    torch.manual_seed(5)
    drawn = {name: [] for name in plain}
    for _ in range(200):
        for name, parameter in model.named_parameters():
            parameter.grad = plain[name].clone()
        model.objective.modulate(model, torch.tensor([0.5, 1.0]))
        for name, parameter in model.named_parameters():
            scale = 0.5 if name.startswith("encoders.image") and parameter.ndim == 4 else 1.0
            drawn[name].append(parameter.grad - scale * plain[name])
    for name, values in drawn.items():
        noise = torch.stack(values)
        if name.startswith("encoders") and plain[name].ndim > 1:
            expected = plain[name].std().item()
            assert noise.std().item() == pytest.approx(expected, rel=0.1)
            assert noise.mean().abs().item() < 5 * expected / noise.numel() ** 0.5
        else:
            assert not noise.any()


def test_pmr_measures_distances_from_the_means_of_the_classes():
    before, after, _, log = step("pmr", alpha=1.0)
    data = toy.DrawnModalities(["image", "vector"])
    batch = before.data_preprocessor(data.__getitems__(list(range(60))), False)
    before.eval()
    with torch.no_grad():
        features = before.features(batch["inputs"])
    for name, values in features.items():
        means = torch.stack([values[data.labels == c].mean(0) for c in range(3)])
        assert torch.allclose(after.objective.prototypes(name), means, atol=1e-6)
    assert log["loss"] > log["loss_joint"]
    assert after.training
    assert all(module.training for module in after.encoders.modules())


def test_pmr_keeps_a_share_of_the_old_prototypes():
    _, model, _, _ = step("pmr", momentum=0.25)
    old = model.objective.prototypes("vector").clone()
    model.encoders.vector.layers[0].bias.data += 1.0
    model.objective.renew(model)
    new = model.objective.class_means(model)["vector"].float()
    assert torch.allclose(model.objective.prototypes("vector"), 0.25 * old + 0.75 * new)
    assert not torch.allclose(new, old)


def test_prototypes_are_of_training_samples_at_the_start_of_each_pass():
    _, model, _, _ = step("pmr")
    objective = model.objective
    begun = []
    for iteration in range(toy.ITERATIONS):
        objective.set_progress(iteration / toy.ITERATIONS)
        if objective.begins_pass(toy.BATCH, 60):
            begun.append(iteration)
    # samples 60, 120, 180, .. are first seen in these
    assert begun == [0, 4, 8, 12, 15, 19, 23]
    assert objective.data.dataset.labels.shape == (60,)


def test_a_train_set_of_other_samples_is_refused():
    with pytest.raises(UserError, match="holds 60 samples, and 61 are trained"):
        step("pmr", change=lambda model: setattr(model.objective.data, "samples", 61))


def test_agms_logits_are_those_of_training_and_its_gradient_goes_by_parts():
    def ahead(model):
        model.objective.steps += 4
        model.objective.running += torch.tensor([0.2, 1.4])

    _, _, plain, reference = step(None)
    before, after, found, log = step("agm", change=ahead, alpha=0.5)
    assert log["loss"].item() == pytest.approx(reference["loss"].item(), abs=1e-5)
    assert after.objective.steps == 5
    # by hand, with one graph for each part
    data = toy.DrawnModalities(["image", "vector"])
    batch = data.__getitems__(list(range(0, 60, 4)))
    batch = before.data_preprocessor(batch, True)
    before.train()
    inputs, label = batch["inputs"], batch["label"]
    both = before.fusion(before.features(inputs))
    before.eval()
    zero = {name: torch.zeros_like(values) for name, values in inputs.items()}
    image = before.fusion(before.features({"image": inputs["image"], "vector": zero["vector"]}))
    vectors = before.fusion(before.features({"image": zero["image"], "vector": inputs["vector"]}))
    parts = [(both - vectors + image) / 2, (both - image + vectors) / 2]
    s = [F.nll_loss(part.log_softmax(1), label).item() for part in parts]
    c = agm.coefficients(torch.tensor(s), torch.tensor([0.2, 1.4]), 0.5)
    assert after.objective.running.tolist() == pytest.approx(
        [0.2 * 0.8 + s[0] * 0.2, 1.4 * 0.8 + s[1] * 0.2], rel=1e-4
    )
    back = (both.softmax(1) - F.one_hot(label, 3)).detach() / len(label)
    expected = dict.fromkeys(found, 0.0)
    parameters = dict(before.named_parameters())
    for coefficient, part in zip(c, parts, strict=True):
        grads = torch.autograd.grad(
            part, [parameters[n] for n in found], coefficient * back, retain_graph=True
        )
        for name, grad in zip(found, grads, strict=True):
            expected[name] = expected[name] + grad
    norm = torch.stack([g.norm() for g in expected.values()]).norm()
    assert max(expected[n].abs().max() for n in found if n.startswith("fusion")) < 1
    for name in found:
        assert torch.allclose(found[name], expected[name], atol=1e-5), name
    assert norm > 0
    assert not same_gradients(found, plain)
    # batch statistics are those of one training pass
    _, reference_model, _, _ = step(None)
    for name, value in reference_model.encoders.named_buffers():
        assert torch.allclose(dict(after.encoders.named_buffers())[name], value), name


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_agm_without_strength_or_before_any_score_is_the_reference(alpha):
    """Gradients of the passes with a modality left out add up to nothing."""
    _, _, plain, _ = step(None)
    _, _, found, _ = step("agm", alpha=alpha)
    assert found.keys() == plain.keys()
    assert all(torch.allclose(found[name], plain[name], atol=1e-6) for name in found)


@pytest.mark.parametrize(("clip", "clipped"), [(0.001, True), (1000.0, False)])
def test_agm_clips_the_norm_where_the_classifiers_gradient_is_large(clip, clipped):
    _, _, found, _ = step("agm", clip=clip)
    norm = torch.stack([g.norm() for g in found.values()]).norm().item()
    assert (norm == pytest.approx(clip, rel=1e-2)) == clipped


def test_mmpareto_joins_gradients_for_each_encoder():
    before, _, found, log = step("mmpareto")
    data = toy.DrawnModalities(["image", "vector"])
    batch = before.data_preprocessor(data.__getitems__(list(range(0, 60, 4))), True)
    before.train()
    features = before.features(batch["inputs"])
    label = batch["label"]
    joint = F.cross_entropy(before.fusion(features), label)
    own = {
        name: F.cross_entropy(logits, label)
        for name, logits in before.objective.heads.logits(features).items()
    }
    assert log["loss"].item() == pytest.approx((joint + sum(own.values())).item(), rel=1e-5)
    for name, encoder in before.encoders.items():
        parameters = list(encoder.parameters())
        g, k = (
            torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (joint, own[name])
        )
        expected = mmpareto.joined(g, k, 1.5)
        names = [f"encoders.{name}.{n}" for n, _ in encoder.named_parameters()]
        for place, value in zip(names, expected, strict=True):
            assert torch.allclose(found[place], value, atol=1e-6), place
    (weight,) = torch.autograd.grad(joint, [before.fusion.fc.weight], retain_graph=True)
    assert torch.allclose(found["fusion.fc.weight"], weight, atol=1e-6)
    head = before.objective.heads["image"].weight
    (weight,) = torch.autograd.grad(own["image"], [head])
    assert torch.allclose(found["objective.heads.image.weight"], weight, atol=1e-6)


def test_mmpareto_is_clipped_where_the_config_says_so():
    cfg = toy.configured("mmpareto")
    cfg.optim_wrapper.clip_grad = {"max_norm": 0.01}
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = [p.detach().clone() for p in model.parameters()]
    batch = toy.DrawnModalities(["image", "vector"]).__getitems__(list(range(0, 60, 4)))
    model.train()
    model.train_step(batch, wrapper)
    moved = nn.utils.get_total_norm(
        [p.detach() - b for p, b in zip(model.parameters(), before, strict=True)]
    )
    # 0.1 times the clipped gradient and weight decay
    assert moved < 0.1 * 0.01 + 0.1 * 5e-4 * nn.utils.get_total_norm(before) + 1e-5


@pytest.mark.parametrize("method", ["ogm-ge", "pmr", "agm", "mmpareto", "gblend", "mslr", "mses"])
def test_one_modality_is_refused_and_so_are_accumulated_gradients(method):
    with pytest.raises(UserError, match=f"{method} balances modalities.*'vector' alone"):
        toy.configured(method, ("vector",))
    module = baseline(toy.CATALOG.source(method).path.stem)
    cfg = toy.plain()
    cfg.optim_wrapper.accumulative_counts = 2
    with pytest.raises(UserError, match="accumulative_counts must be 1"):
        module.configure(cfg, toy.facts(), **toy.params(method))


@pytest.mark.parametrize("method", ["pmr", "gblend", "mslr", "mses"])
def test_a_protocol_that_does_not_show_its_training_samples_is_refused(method):
    module = baseline(toy.CATALOG.source(method).path.stem)
    cfg = toy.plain()
    cfg.prediction_dataloaders = {}
    with pytest.raises(UserError, match="prediction set `train`"):
        module.configure(cfg, toy.facts(), **toy.params(method))
