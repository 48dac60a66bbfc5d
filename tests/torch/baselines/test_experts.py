"""Multi-expert methods and LADE: known answers, naive loops, the split network, aggregation, training.

The toy: z = (2, 1, .1) for every expert, n = (100, 10, 1).
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cls_training import CATALOG, ITERATIONS, SMOKE, config, state, train
from hypothesis import given, settings
from hypothesis import strategies as st
from methods import baseline
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.utils import import_modules_from_strings
from torch import nn

from baselines.classification.ldam import LDAMLoss
from baselines.parts import aggregation
from baselines.parts.aggregation import aggregate, agreement, learn_weights, mean_entropy
from baselines.parts.experts import (
    ExpertAdjustedLoss,
    ExpertHeads,
    reversed_prior,
    split,
    use_experts,
)
from baselines.parts.log_prior import log_prior
from baselines.shared.la import LogitAdjustedLoss
from baselines.test_agnostic import dirmixe, lade, sade
from baselines.test_agnostic.dirmixe import (
    DirMixELoss,
    components,
    draw_losses,
    draw_priors,
    semi_variance,
)
from baselines.test_agnostic.ride import RIDELoss, temperatures
from suite.base.errors import UserError
from suite.define.card import resolve
from tasks.vision.groups import class_counts
from tasks.vision.networks.classifier import CrossEntropy, SmallResNet
from tasks.vision.networks.wide_stem import WideStemResNet
from tasks.vision.recipes.image_files import ListRecipe, image_lists

COUNTS = [100, 10, 1]
TOY = torch.tensor([[2.0, 1.0, 0.1]]).expand(3, 3)[None]  # (1, E, C)
GEOMETRIC = [500 * 0.01 ** (c / 19) for c in range(20)]  # not truncated to whole images
C100, C10 = class_counts("exp", 500, 100, 100), class_counts("exp", 5000, 10, 100)
EXPERTS = ("ride", "sade", "balpoe", "dirmixe")


def built(method, counts=COUNTS, **changed):
    """The loss that a method configures, its parameters at their defaults but for `changed`."""
    head = {"type": "LinearHead", "in_channels": 4, "classes": len(counts), "loss": None}
    cfg = Config(
        {
            "model": {"type": "ImageClassifier", "backbone": {}, "head": head},
            "optim_wrapper": {"optimizer": {"weight_decay": 5e-4}},
            "randomness": {"seed": 0},
        }
    )
    facts = SimpleNamespace(class_counts=counts, iterations=100, batch=128)
    params = {**CATALOG.resolve(method, SMOKE, {}), **changed}
    cfg = baseline(method).configure(cfg, facts, **params)
    return MODELS.build(cfg.model.head.loss)


def values(loss, scores=TOY):
    """The loss of each label alone."""
    return [loss(scores, torch.tensor([y])).item() for y in range(scores.shape[-1])]


def batch(classes=20, size=16, experts=3, seed=0, dtype=torch.float64):
    """Scaled cosines (B, E, C) and ids (B,)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size, experts, classes)
    scores = 30 * (2 * torch.rand(shape, generator=generator, dtype=dtype) - 1)
    return scores, torch.randint(classes, (size,), generator=generator)


# -- known answers

TABLE = {
    "CE": (0.417030, 1.417030, 2.317030),
    "log pi": (0.037569, 3.340154, 6.542739),
    "SADE e3 tau 1": (0.003687, 5.608857, 11.114027),
    "SADE e3 tau 2": (0.000368, 7.908123, 15.715878),
    "BalPoE": (0.152762, 3.455347, 6.657932),
    "SADE tau 2": (0.454967, 12.665307, 24.575647),
}


def sade_expert(k, tau):
    """The loss of one expert of SADE alone."""
    shifts = built("sade", tau=tau).adjustments
    return ExpertAdjustedLoss(shifts[[k]].tolist(), mean=False)


def test_the_toy_table():
    one = TOY[:, :1]
    found = {
        "CE": values(sade_expert(0, 2.0), one),
        "log pi": values(sade_expert(1, 2.0), one),
        "SADE e3 tau 1": values(sade_expert(2, 1.0), one),
        "SADE e3 tau 2": values(sade_expert(2, 2.0), one),
        "BalPoE": values(built("balpoe")),
        "SADE tau 2": values(built("sade")),
    }
    for name, expected in TABLE.items():
        assert found[name] == pytest.approx(expected, abs=5e-6), name


def dirmixe_at_the_means(counts, power, **changed):
    """DirMixE's loss with one draw of each expert, which is the component's mean itself."""
    loss = built("dirmixe", counts, draws=3, power=power, **changed)
    means = components(counts)
    loss._kind = np.arange(3)
    loss._shift = dirmixe.adjustment(means[0], means, power, True).astype(np.float32)
    loss.epoch = 1
    return loss


def test_dirmixe_on_the_toy():
    loss = dirmixe_at_the_means(COUNTS, 1.3, spread=5.0)
    columns = [
        (0.417030, 0.018639, 0.000925),
        (1.417030, 4.011999, 6.987645),
        (2.317030, 7.905360, 13.874367),
    ]
    for y, expected in enumerate(columns):
        found = draw_losses(TOY, torch.tensor([y]), np.arange(3), loss._shift)
        assert found.tolist() == pytest.approx(expected, abs=5e-6)
    first = torch.tensor([0])
    assert loss(TOY, first).item() == pytest.approx(0.145531, abs=2e-6)
    loss.set_progress(0.8)
    assert loss(TOY, first).item() == pytest.approx(0.514089, abs=2e-6)
    losses = torch.tensor(columns[0])
    assert semi_variance(losses).item() == pytest.approx(0.073712, abs=1e-6)


def test_the_adjustment_is_capped_as_released():
    prior, power = np.array([0.5, 0.3, 0.2]), 1.6
    drawn = np.array([[0.5, 0.3, 0.2], [0.9999, 1e-4, 0.0], [0.3, 0.7, 1e-30]])
    found = dirmixe.adjustment(prior, drawn, power, capped=True)
    # -log 1e-9 for a class without a share in the test prior, however small its share in training
    assert found.max() == found[1, 2] == pytest.approx(20.723266, abs=1e-6)
    assert found[2, 2] == pytest.approx(20.723266, abs=1e-6)
    assert found[0] == pytest.approx(-1e-9, abs=1e-12)
    expected = -1.6 * np.array([np.log(0.9999 / 0.5), np.log(1e-4 / 0.3)])
    assert found[1, :2] == pytest.approx(expected, abs=4e-4)
    assert found[1, 1] == pytest.approx(-np.log((1e-4 / 0.3) ** 1.6 + 1e-9), abs=1e-12)
    # the form of before: 1.6 log(.2 / 1e-12)
    other = dirmixe.adjustment(prior, drawn, power, capped=False)
    assert other[1, 2] == pytest.approx(41.634, abs=1e-3) == other[2, 2]
    assert other[:, 0] == pytest.approx(found[:, 0], abs=1e-8)


def test_small_parameters_of_the_dirichlet_are_where_the_cap_matters():
    """A long tail of a thousand classes: a mean parameter A mu below one leaves shares of next to nothing."""
    counts = class_counts("exp", 1280, 1000, 256)
    made = {
        capped: DirMixELoss(counts, 10, 2, 0, 30, 10_000.0, 1.6, 1.0, 0.8, capped)
        for capped in (True, False)
    }
    assert made[True]._shift.max() <= 20.7233 < 30 < made[False]._shift.max()
    small = class_counts("exp", 5000, 10, 100)
    made = {
        capped: DirMixELoss(small, 10, 2, 0, 30, 10_000.0, 1.3, 15.0, 0.8, capped)._shift
        for capped in (True, False)
    }
    np.testing.assert_allclose(made[True], made[False], atol=1e-4)


def test_semi_variance():
    for losses, expected in (([1, 2, 3, 4], 2.5), ([1, 1, 1, 5], 9), ([2, 2, 2], 0), ([7], 0)):
        assert semi_variance(torch.tensor(losses).double()).item() == expected


def test_aggregation_on_the_toy():
    one = np.array([[2, 1, 0.1], [1, 2, 0], [0, 0, 1]])[:, None]
    other = np.array([[1.5, 1.2, 0], [0.5, 2.2, 0.1], [0.2, 0.1, 1.5]])[:, None]
    assert agreement(np.full(3, 1 / 3), one, other)[0] == pytest.approx(0.979382, abs=1e-6)
    views = np.stack([one, other], axis=1)
    start = learn_weights(views, lr=0.1, decay=0.0, batch=1, epochs=0)
    assert start.tolist() == [1 / 3] * 3


# -- identities between methods


def test_sade_is_three_times_balpoe_on_a_geometric_profile():
    scores, label = batch()
    for tau, taus in ((1.0, [0.0, 1.0, 2.0]), (2.0, [0.0, 1.0, 3.0])):
        one = built("sade", GEOMETRIC, tau=tau)(scores, label)
        other = built("balpoe", GEOMETRIC, taus=taus)(scores, label)
        torch.testing.assert_close(one, 3 * other, rtol=2e-6, atol=0)


def test_a_negative_tau_makes_an_expert_for_the_frequent():
    """BalPoE on iNaturalist: log pi is taken away from the first expert's logits."""
    counts = [100, 10, 1]
    loss = built("balpoe", counts, taus=[-1.0, 1.0, 3.0])
    prior = np.log(np.array(counts) / 111)
    assert loss.adjustments.numpy() == pytest.approx(np.stack([-prior, prior, 3 * prior]), abs=1e-6)
    # -log softmax of (2, 1, .1) - log pi at class 2: lse(2 + .1044, 1 + 2.4069, .1 + 4.7095) - 4.8095
    first = ExpertAdjustedLoss(loss.adjustments[:1].tolist(), mean=True)
    z = np.array([2.0, 1.0, 0.1]) - prior
    assert first(TOY[:, :1], torch.tensor([2])).item() == pytest.approx(
        np.log(np.exp(z).sum()) - z[2], abs=1e-6
    )


def test_what_truncation_leaves_of_the_identity():
    for counts, residual in ((C100, 0.143), (C10, 0.005), (GEOMETRIC, 0.0)):
        total = log_prior(counts).double() + torch.tensor(reversed_prior(counts)).log()
        assert (total.max() - total.min()).item() == pytest.approx(residual, abs=5e-4)


def test_dirmixe_at_the_means_is_balpoe():
    scores, label = batch()
    for power, taus in ((1.0, [0.0, 1.0, 2.0]), (1.3, [0.0, 1.3, 2.6])):
        loss = dirmixe_at_the_means(GEOMETRIC, power)
        other = built("balpoe", GEOMETRIC, taus=taus)(scores, label)
        torch.testing.assert_close(loss(scores, label), other, rtol=2e-6, atol=0)


def test_dirmixe_of_great_concentration_adjusts_by_multiples_of_the_prior():
    scores, label = batch()
    loss = built("dirmixe", GEOMETRIC, concentration=1e16, power=1.3)
    prior = log_prior(GEOMETRIC)
    expected = [
        F.cross_entropy(scores[:, k] + 1.3 * k * prior, label) for k in loss._kind[loss.drawn()]
    ]
    assert len(expected) == 60
    torch.testing.assert_close(loss(scores, label), torch.stack(expected).mean(), rtol=2e-6, atol=0)


# -- DirMixE's draws


def loop_over_draws(scores, label, kind, shift, weight=None):
    """Plain cross entropies, (M,), in the order of the experts."""
    found = []
    for t in np.argsort(kind, kind="stable"):
        adjusted = scores[:, kind[t]] + torch.from_numpy(shift[t]).to(scores)
        each = F.cross_entropy(adjusted, label, reduction="none")
        found.append((each if weight is None else each * weight).mean())
    return torch.stack(found)


def compare_with_the_loop(scores, label, kind, shift, weight, value_within, slope_within):
    made = []
    for way in (draw_losses, loop_over_draws):
        leaf = scores.clone().requires_grad_()
        losses = way(leaf, label, kind, shift, weight)
        # unequal factors: a mixed-up order shows in the gradient
        factors = torch.linspace(1, 2, len(losses), dtype=losses.dtype)
        (losses * factors).sum().backward()
        made.append((losses.detach(), leaf.grad))
    (found, slope), (expected, expected_slope) = made
    assert found.shape == (len(kind),)
    torch.testing.assert_close(found, expected, rtol=value_within, atol=value_within)
    torch.testing.assert_close(slope, expected_slope, rtol=slope_within, atol=slope_within)


def drawn_case(seed, size, experts, classes, draws):
    """Cosines at and between -1 and 1, times 30; shifts as for priors down to 1e-12, which is the least."""
    rng = np.random.default_rng(seed)
    cosines = np.clip(rng.normal(scale=1.0, size=(size, experts, classes)), -1, 1)
    prior = rng.dirichlet(np.full(classes, 0.3))
    test = rng.dirichlet(np.full(classes, 0.03), size=draws)
    ratio = np.maximum(prior, 1e-12) / np.maximum(test, 1e-12)
    shift = (1.6 * np.log(ratio + 1e-9)).astype(np.float32)
    label = torch.from_numpy(rng.integers(classes, size=size))
    weight = torch.from_numpy(rng.random(size))
    return torch.from_numpy(30 * cosines), label, rng.integers(experts, size=draws), shift, weight


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 7),
    experts=st.integers(1, 4),
    classes=st.integers(2, 9),
    draws=st.integers(1, 8),
    weighted=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_draw_losses_are_those_of_a_loop(seed, size, experts, classes, draws, weighted):
    scores, label, kind, shift, weight = drawn_case(seed, size, experts, classes, draws)
    weight = weight if weighted else None
    compare_with_the_loop(scores, label, kind, shift, weight, 1e-10, 1e-10)
    single = None if weight is None else weight.float()
    # of logits and shifts of up to 80: 1e-6 of it
    compare_with_the_loop(scores.float(), label, kind, shift, single, 8e-5, 8e-5)


@pytest.mark.parametrize("missing", range(3))
def test_draws_without_one_of_the_experts(missing):
    scores, label, _, shift, weight = drawn_case(1, 5, 3, 6, 8)
    kind = np.array([k for k in range(3) if k != missing])[np.arange(8) % 2]
    compare_with_the_loop(scores, label, kind, shift, weight, 1e-10, 1e-10)
    leaf = scores.requires_grad_()
    draw_losses(leaf, label, kind, shift).sum().backward()
    assert (leaf.grad[:, missing] == 0).all()


def test_draw_losses_at_the_ends_of_the_cosines():
    # the label has the lowest logit and the greatest shift, and the other way round
    scores = torch.tensor([[[30.0, -30.0]], [[-30.0, 30.0]]])
    label = torch.tensor([1, 1])
    shift = np.array([[-36.0, 36.0], [36.0, -36.0], [0.0, 0.0]], np.float32)
    compare_with_the_loop(scores, label, np.zeros(3, int), shift, None, 1e-6, 1e-6)
    assert draw_losses(scores, label, np.zeros(3, int), shift)[1].item() == pytest.approx(72, 1e-6)


def test_moments_of_the_drawn_priors():
    means = components([50, 30, 15, 5])
    mass, count = 40.0, 30_000
    kind, shares = draw_priors(means, mass, count, np.random.default_rng(0))
    assert kind.shape == (count,) and shares.shape == (count, 4)
    assert shares.sum(1) == pytest.approx(np.ones(count))
    members = np.bincount(kind, minlength=3)
    assert (np.abs(members / count - 1 / 3) < 5 * math.sqrt(2 / 9 / count)).all()
    for k, mu in enumerate(means):
        drawn = shares[kind == k]
        variance = mu * (1 - mu) / (mass + 1)
        assert (np.abs(drawn.mean(0) - mu) < 5 * np.sqrt(variance / len(drawn))).all()
        assert drawn.var(0) == pytest.approx(variance, rel=0.06)
        # -mu_i mu_j / (A + 1): not four independent numbers
        assert np.cov(drawn.T)[0, 1] == pytest.approx(-mu[0] * mu[1] / (mass + 1), rel=0.1)


def test_components():
    found = components([10, 100, 0])
    assert found.sum(1) == pytest.approx(np.ones(3))
    assert found[0] == pytest.approx(np.array([10, 100, 1]) / 111)
    assert found[1] == pytest.approx(np.full(3, 1 / 3))
    assert found[2] == pytest.approx(np.array([10, 1, 100]) / 111)


def pooled(seed=0, iterations=22, **changed):
    given = {"draws": 5, "concentration": 50.0, "power": 1.3, "spread": 5.0, "switch": 0.8}
    return DirMixELoss([50, 30, 15, 5], iterations, 4, seed, **{**given, **changed})


def test_draws_have_a_generator_of_their_own():
    scores, label = batch(4)
    np.random.seed(3)
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    one, two, other = pooled(0), pooled(0), pooled(1)
    one(scores, label)
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(one._shift, two._shift) and np.array_equal(one.drawn(), two.drawn())
    assert not np.array_equal(one._shift, other._shift)
    assert not np.array_equal(one.drawn(), other.drawn())


def test_an_epoch_takes_every_prior_of_the_pool_once_in_an_order_of_its_own():
    loss = pooled()
    orders = []
    for step in range(22):
        loss.set_progress(step / 22)
        assert len(loss.drawn()) == 5
        orders.append(loss.drawn().tolist())
    epochs = np.reshape(orders[:20], (5, 20))
    assert (np.sort(epochs, axis=1) == np.arange(20)).all()
    assert len(np.unique(epochs, axis=0)) == 5
    # progress alone tells the draws: a fresh loss, in any order of asking
    fresh = pooled()
    for step in (21, 3, 4, 0, 13):
        fresh.set_progress(step / 22)
        assert fresh.drawn().tolist() == orders[step]


def test_the_share_of_the_training_tells_the_step_exactly():
    loss = pooled(iterations=17_000)
    for step in range(17_000):
        loss.set_progress(step / 17_000)
        assert loss.step == step


def test_the_semi_variance_sets_in_at_the_switch():
    scores, label = batch(4)
    loss = pooled(iterations=100)
    for step in (0, 79, 80, 99):
        loss.set_progress(step / 100)
        now = loss.drawn()
        losses = draw_losses(scores, label, loss._kind[now], loss._shift[now])
        spread = 5 * semi_variance(losses) if step >= 80 else 0
        torch.testing.assert_close(loss(scores, label), losses.mean() + spread)
        assert (spread != 0) == (step >= 80)
    always, never = pooled(switch=0.0), pooled(switch=1.0)
    never.set_progress(0.999)
    assert always.late and not never.late


# -- RIDE

RIDE = {
    "margin": 0.5, "scale": 30.0, "beta": 0.9999, "switch": 0.8, "diversity": 0.2, "spread": 0.05,
}  # fmt: skip
RIDE_COUNTS = [400, 90, 30, 5]


def backward_nodes(value):
    """Names of the operations that a backward pass goes through."""
    names, left, seen = [], [value.grad_fn], set()
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names.append(node.name())
            left += [before for before, _ in node.next_functions]
    return names


def naive_ride(scores, label, late, weight=None, held=True, diversity=0.2):
    """One expert after another, as the paper has it."""
    counts = torch.tensor(RIDE_COUNTS).double()
    margin = 30 * 0.5 * (counts / counts.min()) ** -0.25
    temperature, class_weight = torch.ones(4).double(), torch.ones(4).double()
    if late:
        raw = 4 * counts / counts.sum() * 0.05 + 0.95
        temperature = raw / raw.max()
        class_weight = (1 - 0.9999) / (1 - 0.9999**counts)
    mean = scores.mean(1)
    if held:
        mean = mean.detach()
    total = 0
    for k in range(scores.shape[1]):
        own = scores[:, k]
        each = []
        for row, y in zip(own, label.tolist(), strict=True):
            lowered = row.clone()
            lowered[y] = lowered[y] - margin[y]
            each.append(-lowered.log_softmax(0)[y])
        each = torch.stack(each)
        if weight is not None:
            each = each * weight
        shares = class_weight[label]
        total = total + (each * shares).sum() / shares.sum()
        apart = F.kl_div(
            (own / temperature).log_softmax(1), (mean / temperature).softmax(1), reduction="none"
        ).sum(1)
        if weight is not None:
            apart = apart * weight
        total = total - diversity * temperature.mean() ** 2 * apart.mean()
    return total


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_ride_is_that_of_a_loop_over_experts(late, weighted):
    scores, label = batch(4, seed=2)
    scores = scores / 6  # near enough for the divergences to matter
    weight = torch.rand(16, generator=torch.Generator().manual_seed(0)).double()
    weight = weight if weighted else None
    loss = RIDELoss(RIDE_COUNTS, **RIDE)
    loss.set_progress(0.8 if late else 0.79)
    made = []
    for way in (
        lambda s: loss(s, label, weight),
        lambda s: naive_ride(s, label, late, weight),
        lambda s: naive_ride(s, label, late, weight, held=False),
    ):
        leaf = scores.clone().requires_grad_()
        value = way(leaf)
        value.backward()
        made.append((value.detach(), leaf.grad))
    torch.testing.assert_close(made[0], made[1], rtol=1e-5, atol=1e-7)
    # that the mean is held changes nothing: of all m it has the least sum of divergences, so it is flat
    torch.testing.assert_close(made[1], made[2], rtol=1e-9, atol=1e-9)


def test_no_gradient_reaches_the_mean_expert():
    scores, label = batch(4)
    loss = RIDELoss(RIDE_COUNTS, **RIDE)
    for late in (0.0, 0.9):
        loss.set_progress(late)
        passed = backward_nodes(loss(scores.clone().requires_grad_(), label))
        assert "LogSoftmaxBackward0" in passed and "MeanBackward1" not in passed
    held = naive_ride(scores.clone().requires_grad_(), label, False, held=False)
    assert "MeanBackward1" in backward_nodes(held)  # as it would show


@pytest.mark.parametrize("late", [False, True])
def test_ride_without_diversity_is_a_sum_of_ldam(late):
    scores, label = batch(4)
    loss = RIDELoss(RIDE_COUNTS, **{**RIDE, "diversity": 0.0})
    loss.set_progress(0.9 if late else 0.0)
    weights = [(1 - 0.9999) / (1 - 0.9999**n) for n in RIDE_COUNTS] if late else None
    single = LDAMLoss(RIDE_COUNTS, 0.5, 30.0, weights)
    expected = sum(single(scores[:, k], label) for k in range(3))
    torch.testing.assert_close(loss(scores, label), expected, rtol=1e-6, atol=0)


def test_temperatures_by_class():
    found = temperatures(C100, 0.05)
    assert found.max() == found[0] == 1
    assert found[-1].item() == pytest.approx(0.807, abs=5e-4)
    assert (temperatures(C100, 0.0) == 1).all()


# -- LADE


def naive_lade(f, label, counts, alpha, remine, importance, weight=None):
    classes, prior = len(counts), [n / sum(counts) for n in counts]
    w = [1.0] * len(label) if weight is None else weight.tolist()
    label = label.tolist()
    total = 0.0
    for i, y in enumerate(label):
        adjusted = [f[i, c] + math.log(prior[c]) for c in range(classes)]
        total = total + w[i] * (torch.stack(adjusted).logsumexp(0) - adjusted[y]) / len(label)
    for c in range(classes):
        own = [i for i, y in enumerate(label) if y == c]
        mass = sum(w[i] for i in own)
        first = sum(w[i] * f[i, c] for i in own) / mass if mass else 0.0
        shares = [
            w[i] / (classes * prior[label[i] if importance == "label" else c])
            for i in range(len(label))
        ]
        mean = sum(s * f[i, c].exp() for i, s in enumerate(shares)) / sum(w)
        partition = mean.log()
        total = total + alpha * prior[c] * (partition - first + remine * partition**2)
    return total


@pytest.mark.parametrize("weights", ["none", "random", "some zero", "a class at zero"])
@pytest.mark.parametrize("importance", ["label", "class"])
def test_lade_is_that_of_plain_loops(importance, weights):
    counts = [50, 30, 15, 5]
    generator = torch.Generator().manual_seed(4)
    scores = 2 * torch.randn(12, 4, generator=generator, dtype=torch.float64)
    label = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 3, 3])  # none of class 2
    weight = torch.rand(12, generator=generator).double()
    if weights == "some zero":
        weight[[0, 6]] = 0
    elif weights == "a class at zero":
        weight[-2:] = 0
    weight = None if weights == "none" else weight
    # strong enough to be seen beside the cross entropy
    about = {"alpha": 0.7, "remine": 0.3, "importance": importance}
    loss = lade.LADELoss(counts, **about)
    made = []
    for way in (
        lambda s: loss(s, label, weight),
        lambda s: naive_lade(s, label, counts, **about, weight=weight),
    ):
        leaf = scores.clone().requires_grad_()
        value = way(leaf)
        value.backward()
        made.append((value.detach(), leaf.grad))
    torch.testing.assert_close(made[0], made[1], rtol=1e-6, atol=1e-7)
    assert all(value.isfinite().all() for value in made[0])


def test_kinds_of_importance_differ_and_weights_of_one_are_none():
    scores, label = batch(4)
    scores = scores[:, 0]
    one, other = (built("lade", [50, 30, 15, 5], importance=i) for i in ("label", "class"))
    assert not torch.isclose(one(scores, label), other(scores, label))
    ones = torch.ones(16).double()
    torch.testing.assert_close(one(scores, label, ones), one(scores, label))


def test_lade_without_its_regulariser_is_balanced_softmax():
    scores, label = batch(4)
    weight = torch.rand(16).double()
    loss = built("lade", [50, 30, 15, 5], alpha=0.0)
    for given_weight in (None, weight):
        expected = LogitAdjustedLoss([50, 30, 15, 5], 1.0)(scores[:, 0], label, given_weight)
        torch.testing.assert_close(loss(scores[:, 0], label, given_weight), expected)


@pytest.mark.filterwarnings("error")
def test_lade_is_told_the_test_prior():
    rng = np.random.default_rng(0)
    f = rng.normal(size=(6, 3))
    train_prior, prior = np.array([0.7, 0.2, 0.1]), np.array([0.25, 0.0, 0.75])
    found = lade.infer({"logits": f}, [70, 20, 10], prior=prior)
    plain_softmax = f + np.log(train_prior)  # v
    expected = np.exp(plain_softmax) / train_prior * prior
    np.testing.assert_allclose(np.exp(found), expected)
    assert np.isneginf(found[:, 1]).all() and np.isfinite(found[:, [0, 2]]).all()


# -- all losses


def every_loss():
    late = {name: built(name, RIDE_COUNTS) for name in ("ride", "dirmixe")}
    for loss in late.values():
        loss.set_progress(0.9)
    made = {name: built(name, RIDE_COUNTS) for name in (*EXPERTS, "lade")}
    made |= {f"{name}, late": loss for name, loss in late.items()}
    made["lade, class"] = built("lade", RIDE_COUNTS, importance="class")
    return made


@pytest.mark.parametrize("name", every_loss())
def test_gradients(name):
    scores, label = batch(4, size=5)
    scores = scores / 10
    if name.startswith("lade"):
        scores = scores[:, 0]
    loss = every_loss()[name]
    weight = torch.rand(5, generator=torch.Generator().manual_seed(1)).double()
    for given_weight in (None, weight):
        leaf = scores.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda s, w=given_weight: loss(s, label, w), leaf)


@pytest.mark.parametrize("name", every_loss())
def test_a_weight_of_one_is_none_and_losses_have_no_state(name):
    scores, label = batch(4, dtype=torch.float32)
    scores = scores[:, 0] if name.startswith("lade") else scores
    loss = every_loss()[name]
    torch.testing.assert_close(loss(scores, label, torch.ones(16)), loss(scores, label))
    # what follows from the data is no part of the weights
    assert not loss.state_dict()


def test_reversed_prior():
    def found(counts):
        return reversed_prior(counts)

    assert found([100, 10, 1]) == pytest.approx([1 / 111, 10 / 111, 100 / 111])
    assert found([10, 100, 1]) == pytest.approx([10 / 111, 1 / 111, 100 / 111])
    # of equal ones the lower id is the more frequent: it gets the smaller share
    assert found([4, 4, 2, 1]) == pytest.approx([1 / 11, 2 / 11, 4 / 11, 4 / 11])
    assert found([1, 4, 2, 4]) == pytest.approx([4 / 11, 1 / 11, 4 / 11, 2 / 11])
    assert found([3, 3, 3]) == pytest.approx([1 / 3] * 3)
    # absent from training: one sample
    assert found([10, 0]) == pytest.approx([1 / 11, 10 / 11])
    assert sum(found(C100)) == pytest.approx(1)
    assert sorted(found(C100)) == pytest.approx(sorted(n / sum(C100) for n in C100))


# -- the network


def total(module):
    return sum(p.numel() for p in module.parameters())


def small_stage(inputs, width, blocks):
    """Parameters of a stage of 3x3 convolutions without bias, and its normalisations."""
    return 9 * width * (inputs + (2 * blocks - 1) * width) + 4 * blocks * width


@pytest.mark.parametrize(("depth", "blocks"), [(32, 5), (8, 1)])
@pytest.mark.parametrize(("reduced", "widths"), [(True, (24, 48)), (False, (32, 64))])
def test_experts_of_a_small_resnet(depth, blocks, reduced, widths):
    backbone = SmallResNet(depth)
    stages = split(backbone, 3, reduced)
    assert total(backbone) == 9 * 3 * 16 + 2 * 16 + small_stage(16, 16, blocks)
    each = small_stage(16, widths[0], blocks) + small_stage(*widths, blocks)
    assert [total(one) for one in stages] == [each] * 3
    maps = backbone(torch.zeros(2, 3, 32, 32))
    assert maps.shape == (2, 16, 32, 32)
    assert stages[0](maps).shape == (2, widths[1], 8, 8)
    if not reduced:
        # with one expert it is the protocol's network
        assert total(backbone) + each == total(SmallResNet(depth))


def bottleneck_stage(inputs, planes, blocks, wide, groups):
    found = 0
    for i in range(blocks):
        found += inputs * wide + 9 * wide * wide // groups + wide * 4 * planes
        found += 2 * (wide + wide + 4 * planes)
        if i == 0:  # the shortcut's convolution
            found += inputs * 4 * planes + 2 * 4 * planes
        inputs = 4 * planes
    return found


def listed(next_=False, depth=50, experts=3, reduced=True, shared=1, **backbone):
    """Config of a classifier of image files with experts."""
    recipe = ListRecipe(
        spec="imagenet-lt", images=100, classes=10, depth=depth, next=next_, batch=8, lr=0.1,
        weight_decay=0.0, epochs=1,
    )  # fmt: skip
    cfg = Config(image_lists(recipe, ""))
    import_modules_from_strings(["tasks.vision.networks.classifier", "mmseg.models"])
    cfg.model.backbone.update(backbone)
    if "base_channels" in backbone:
        cfg.model.head.in_channels = 32 * backbone["base_channels"]
    return use_experts(cfg, {"type": "CrossEntropy"}, experts, reduced, shared=shared)


@pytest.mark.parametrize("next_", [False, True])
@pytest.mark.parametrize("reduced", [True, False])
def test_experts_of_a_large_resnet(next_, reduced):
    with torch.device("meta"):
        model = MODELS.build(listed(next_, reduced=reduced).model)
        features = model.features(torch.zeros(2, 3, 64, 64))
    planes = (192, 384) if reduced else (256, 512)
    width = 4 * planes[1]
    assert features.shape == (2, 3, width) and width == (1536 if reduced else 2048)
    factor, groups = (2, 32) if next_ else (1, 1)

    def stage(inputs, planes, blocks):
        return bottleneck_stage(inputs, planes, blocks, factor * planes, groups)

    trunk = 3 * 64 * 49 + 2 * 64 + stage(64, 64, 3)
    each = stage(256, 128, 4) + stage(512, planes[0], 6) + stage(4 * planes[0], planes[1], 3)
    assert total(model.backbone) == trunk
    assert [total(one) for one in model.experts] == [each] * 3
    assert total(model) == trunk + 3 * each + 3 * 10 * width
    assert model.experts[0].layer3[0].conv1.out_channels == factor * planes[0]
    assert model.experts[2].layer4[2].conv2.out_channels == factor * planes[1]


@pytest.mark.parametrize(("next_", "fewer"), [(False, 2_439_168), (True, 2_394_112)])
def test_experts_of_a_large_resnet_share_two_stages_as_released(next_, fewer):
    """`Expert_ResNet.py`: stem, layer1 and layer2 are shared."""
    with torch.device("meta"):
        one, two = (MODELS.build(listed(next_, shared=shared).model) for shared in (1, 2))
        maps = two.backbone(torch.zeros(2, 3, 64, 64))[-1]
        assert two.features(torch.zeros(2, 3, 64, 64)).shape == (2, 3, 1536)
    assert maps.shape == (2, 512, 8, 8)
    assert [name for name, _ in two.experts[0].named_children()] == ["layer3", "layer4"]
    # two copies of layer2 less
    assert total(one) - total(two) == fewer == 2 * total(two.backbone.layer2)


def test_experts_share_as_many_stages_as_the_released_code_of_each_network():
    for method in EXPERTS:
        for protocol, shared in {
            "imagenet-lt:resnet50": 2,
            "imagenet-lt:resnext50": 2,
            "places-lt:resnet152": 2,
            "inat18:resnet50": 2,
            "r32-200-rot:cifar100,exp,ir100,shuffled": 1,
            "cpu-cifar": 1,
        }.items():
            assert resolve(CATALOG.card(method), method, protocol, {})["shared"] == shared


@pytest.mark.parametrize("reduced", [True, False])
def test_experts_of_a_small_resnet_that_share_two_stages(reduced):
    backbone = SmallResNet(32)
    stages = split(backbone, 2, reduced, 2)
    assert total(backbone) == 9 * 3 * 16 + 2 * 16 + small_stage(16, 16, 5) + small_stage(16, 32, 5)
    assert [total(one) for one in stages] == [small_stage(32, 48 if reduced else 64, 5)] * 2
    maps = backbone(torch.zeros(2, 3, 32, 32))
    assert maps.shape == (2, 32, 16, 16)
    assert stages[0](maps).shape == (2, 48 if reduced else 64, 8, 8)


def test_each_expert_has_a_stage_of_its_own():
    for backbone, shared in ((SmallResNet(8), 3), (WideStemResNet(18, width=8), 4)):
        with pytest.raises(UserError, match=f"share {shared} of the {shared} stages"):
            split(backbone, 2, False, shared)


@pytest.mark.parametrize("reduced", [True, False])
def test_experts_of_the_wide_stem(reduced):
    backbone = WideStemResNet(34, width=8)
    whole = total(backbone)
    stages = split(backbone, 2, reduced)
    backbone.init_weights()
    (maps,) = backbone(torch.zeros(2, 3, 32, 32))
    assert maps.shape == (2, 8, 32, 32)
    last = maps
    for stage in stages[1].children():
        last = stage(last)
    assert last.shape == (2, 48 if reduced else 64, 4, 4)
    assert [len(stage) for stage in stages[0].children()] == [4, 6, 3]
    if not reduced:
        assert total(backbone) + total(stages[0]) == whole


@pytest.mark.parametrize("network", ["resnet50", "wide-stem"])
def test_experts_start_as_the_backbone_would_have(network):
    """Normal convolutions of variance 2 / fan-out; of bottlenecks the last normalisation is zero."""
    cfg = listed(experts=2, base_channels=16, stem_channels=16)
    if network == "wide-stem":
        cfg.model.backbone = {"type": "WideStemResNet", "depth": 18, "width": 16}
        cfg.model.head.in_channels = 96
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    # what mmengine's Runner calls before a training
    model.init_weights()
    convolutions = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and (name.startswith("experts") or "layer1" in name):
            convolutions += 1
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            within = 5 / math.sqrt(2 * module.weight.numel())
            expected = pytest.approx(math.sqrt(2 / fan_out), rel=within)
            assert module.weight.std().item() == expected, name
        elif isinstance(module, nn.BatchNorm2d):
            zero = network == "resnet50" and name.endswith("bn3")
            assert (module.weight == (0 if zero else 1)).all(), name
            assert (module.bias == 0).all(), name
    assert convolutions == (10 + 2 * 42 if network == "resnet50" else 4 + 2 * 15)


def classifier(method="sade", **changed):
    """Of the smoke protocol, with a method's experts."""
    cfg = config(method)
    cfg.model.update(changed)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def smoke_batch(size=6):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (size, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return {"inputs": images, "label": torch.arange(size) % 10}


@pytest.mark.parametrize("method", EXPERTS)
def test_the_trunk_is_shared_and_experts_are_their_own(method):
    model = classifier(method)
    ran = []
    model.backbone.register_forward_hook(lambda *call: ran.append("trunk"))
    data = model.data_preprocessor(smoke_batch(), True)
    loss = model(**data, mode="loss")["loss"]
    assert ran == ["trunk"]
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert len(list(model.experts)) == 3
    first = [dict(one.named_parameters()) for one in model.experts]
    for a in range(3):
        for b in range(a):
            for name, one in first[a].items():
                assert one is not first[b][name]
                if one.ndim == 4:
                    assert not torch.equal(one, first[b][name])
            assert not torch.equal(model.head.weight[a], model.head.weight[b])


def test_what_the_classifier_gives_in_its_modes():
    model = classifier().eval()
    data = model.data_preprocessor(smoke_batch(), False)
    with torch.no_grad():
        (sample,) = model(**data, mode="predict")
        assert sample["logits"].shape == (6, 3, 10)
        assert sample["logits"].abs().max() <= 30
        torch.testing.assert_close(model(**data, mode="tensor"), sample["logits"].mean(1))
        # expert k has its own stages and its own classifier
        maps = model.backbone(data["inputs"])
        for k, stages in enumerate(model.experts):
            features = stages(maps).mean((2, 3))
            cosines = F.cosine_similarity(features[:, None], model.head.weight[k][None], dim=-1)
            torch.testing.assert_close(sample["logits"][:, k], 30 * cosines)


def test_expert_heads_are_blind_to_norms():
    head = ExpertHeads(2, 8, 3, {"type": "CrossEntropy"}, scale=5.0)
    features = torch.randn(4, 2, 8)
    torch.testing.assert_close(head(features), head(7 * features))
    assert head(features).abs().max() <= 5
    assert isinstance(head.loss_module, CrossEntropy)


def test_memory_format_of_experts():
    model = classifier(channels_last=True)
    for name, weight in model.named_parameters():
        if weight.ndim == 4:
            assert weight.is_contiguous(memory_format=torch.channels_last), name


def test_experts_where_they_cannot_be():
    with pytest.raises(ValueError, match="Sequential cannot be split among experts"):
        split(nn.Sequential(nn.Conv2d(3, 4, 3)), 3, True)
    cfg = Config({"model": {"type": "Other", "head": {"in_channels": 4, "classes": 3}}})
    with pytest.raises(UserError, match=r"experts need an ImageClassifier, .* is a Other"):
        use_experts(cfg, {"type": "CrossEntropy"}, 3, True)
    for method in EXPERTS:
        with pytest.raises(UserError, match="put ExpertClassifier there") as caught:
            config("sam", overrides={"loss": method})
        assert "\n" not in str(caught.value)
    for taus in ([], ["one"], [None]):
        with pytest.raises(UserError, match="a list of numbers, one an expert") as caught:
            built("balpoe", taus=taus)
        assert "\n" not in str(caught.value)


def test_methods_configure_their_experts():
    for method, width, number in (("ride", 12, 3), ("balpoe", 16, 3), ("dirmixe", 12, 3)):
        head = config(method).model.head
        assert (head.in_channels, head.experts, head.classes) == (width, number, 10)
    assert config("ride", overrides={"experts": 4}).model.experts == 4
    assert config("balpoe", overrides={"taus": [0.0, 1.0]}).model.experts == 2
    assert config("balpoe").model.mixing.alpha == 0.4
    assert "mixing" not in config("balpoe", overrides={"alpha": 0.0}).model
    loss = config("dirmixe").model.head.loss
    assert (loss.iterations, loss.epoch, loss.seed) == (ITERATIONS, 11, 0)
    changed = config("dirmixe", overrides={"weight_decay": 0.25})
    assert changed.optim_wrapper.optimizer.weight_decay == 0.25


@pytest.mark.parametrize(
    ("method", "protocol", "expected"),
    [
        ("sade", "r32-200-rot", {"tau": 2.0, "adapt_lr": 0.1, "adapt_decay": 5e-4}),
        ("sade", "inat18", {"tau": 1.0, "adapt_lr": 0.2, "adapt_decay": 2e-4}),
        (
            "sade",
            "places-lt",
            {"tau": 1.0, "adapt_lr": 0.01, "adapt_decay": 4e-4, "reduced": False},
        ),
        ("sade", "r32-200-rot", {"reduced": True, "adapt_entropy": 0.0}),
        ("sade", "imagenet-lt", {"reduced": True, "adapt_entropy": 0.0}),
        ("sade", "inat18", {"reduced": True, "adapt_entropy": 0.01}),
        ("dirmixe", "inat18", {"adapt_entropy": 0.01, "capped": True}),
        ("dirmixe", "imagenet-lt", {"adapt_entropy": 0.0, "capped": True}),
        ("ride", "r32-200-rot:cifar100", {"diversity": 0.45, "spread": 0.05}),
        ("ride", "r32-200:cifar100,ir10", {"diversity": 0.45, "spread": 0.05}),
        ("ride", "r32-200-rot:cifar10", {"diversity": 0.2, "spread": 0.05}),
        ("ride", "imagenet-lt", {"diversity": 0.2, "spread": 0.02}),
        ("ride", "inat18", {"diversity": 0.2, "spread": 0.015}),
        ("balpoe", "r32-200-rot:cifar100", {"taus": [0.0, 1.0, 2.0], "alpha": 0.4}),
        ("balpoe", "r32-200-rot:cifar10", {"taus": [0.0, 1.0, 2.0], "alpha": 0.8}),
        ("balpoe", "r32-400-aa:cifar10,ir10", {"taus": [0.0, 1.0, 2.0], "alpha": 0.8}),
        ("balpoe", "cpu-cifar", {"taus": [0.0, 1.0, 2.0], "alpha": 0.8}),
        ("balpoe", "imagenet-lt", {"taus": [0.0, 1.25, 2.5], "alpha": 0.3}),
        ("balpoe", "inat18", {"taus": [-1.0, 1.0, 3.0], "alpha": 0.2}),
        ("lade", "r32-200-rot", {"alpha": 0.1, "remine": 0.01}),
        ("lade", "inat18", {"alpha": 0.05, "remine": 0.5}),
        ("dirmixe", "r32-200-rot", {"spread": 5.0, "weight_decay": 1e-3, "adapt_decay": 1e-3}),
        ("dirmixe", "r32-200-rot:cifar10", {"spread": 15.0, "power": 1.3, "weight_decay": None}),
        ("dirmixe", "imagenet-lt", {"spread": 1.0, "power": 1.6, "adapt_batch": 64}),
        ("dirmixe", "inat18", {"spread": 1.0, "concentration": 1e5, "adapt_lr": 0.2}),
        ("lade", "imagenet-lt", {"alpha": 0.05, "remine": 0.5}),
        ("lade", "places-lt", {"alpha": 0.005, "remine": 0.1}),
    ],
)
def test_settings_of_the_papers_by_protocol(method, protocol, expected):
    task = CATALOG.task("test-agnostic")
    found = CATALOG.resolve(method, CATALOG.protocol(task, protocol), {})
    assert {key: found[key] for key in expected} == expected


# -- aggregation at test time


def random_views(experts=3, views=4, images=50, classes=6, seed=0, dtype=np.float64):
    """Logits (E, V, M, C) of which each expert's views agree to another degree."""
    rng = np.random.default_rng(seed)
    centre = 3 * rng.normal(size=(experts, 1, images, classes))
    noise = rng.normal(size=(experts, views, images, classes))
    return (centre + np.linspace(0.3, 2, experts)[:, None, None, None] * noise).astype(dtype)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_the_agreement(seed):
    views = random_views(seed=seed)
    raw = np.random.default_rng(seed).normal(size=3)
    value, slope = agreement(raw, views[:, 0], views[:, 1])
    assert -1 <= value <= 1
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        up, down = (agreement(raw + s, views[:, 0], views[:, 1])[0] for s in (step, -step))
        assert slope[k] == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-9)


def cosine_of(raw, one, other):
    """Mean cosine of the views' probabilities, of logits (E, B, C) and raw weights (E,)."""
    shares = raw.softmax(0)
    p, q = (torch.einsum("e,ebc->bc", shares, view).softmax(1) for view in (one, other))
    return F.cosine_similarity(p, q, dim=1).mean()


def learnt_with_torch(logits_of, images, *, lr, decay, batch, epochs, objective=cosine_of):
    """SGD on the weights, upwards. `logits_of(view, places)` gives an image batch's logits (E, B, C)."""
    raw = torch.full((3,), 1 / 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([raw], lr, momentum=0.9, weight_decay=decay, nesterov=True)
    drawn = np.random.default_rng(0)
    for epoch in range(epochs):
        for places in np.split(drawn.permutation(images), range(batch, images, batch)):
            views = [logits_of(2 * epoch + k, places) for k in (0, 1)]
            optimiser.zero_grad()
            (-objective(raw, *views)).backward()
            optimiser.step()
        if raw.detach().softmax(0).numpy().round(2).min() < 0.05:
            break
    return raw.detach().softmax(0).numpy()


@pytest.mark.parametrize("given", [(0.1, 5e-4, 16), (2.0, 0.3, 50), (0.5, 0.0, 7)])
def test_weights_are_those_of_torchs_optimiser(given):
    lr, decay, size = given
    views = random_views(views=6)
    about = {"lr": lr, "decay": decay, "batch": size, "epochs": 3}
    found = learn_weights(views, **about)
    tensors = torch.from_numpy(views)
    expected = learnt_with_torch(lambda view, places: tensors[:, view, places], 50, **about)
    assert found == pytest.approx(expected, abs=1e-9)
    assert np.ptp(found) > 1e-3  # something was learnt
    single = learn_weights(views.astype(np.float32), **about)
    assert single == pytest.approx(expected, abs=1e-6)


def test_stored_logits_teach_what_the_network_would():
    torch.manual_seed(0)
    net = nn.ModuleList(
        nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))
        for _ in range(3)
    )
    net = net.double().eval()
    images = torch.randn(2 * 3, 40, 3, 2, 2).double()  # views first

    def run(view, places):
        with torch.no_grad():
            return 4 * torch.stack([one(images[view, places]) for one in net])

    stored = torch.stack([run(view, np.arange(40)) for view in range(6)], dim=1).numpy()
    about = {"lr": 1.0, "decay": 1e-3, "batch": 16, "epochs": 3}
    expected = learnt_with_torch(run, 40, **about)
    assert learn_weights(stored, **about) == pytest.approx(expected, abs=1e-9)
    assert np.ptp(expected) > 1e-3


def entropy_of(raw, view):
    """Mean over images and classes of -p log p."""
    p = torch.einsum("e,ebc->bc", raw.softmax(0), view).softmax(1)
    return -(p * p.log()).mean()


def test_the_mean_entropy_and_its_gradient():
    # of two classes at even odds: log 2 an image, over two classes
    even = np.zeros((3, 4, 2))
    assert mean_entropy(np.zeros(3), even)[0] == pytest.approx(np.log(2) / 2)
    for seed in range(3):
        view = random_views(seed=seed)[:, 0]
        raw = torch.from_numpy(np.random.default_rng(seed).normal(size=3)).requires_grad_()
        expected = entropy_of(raw, torch.from_numpy(view))
        expected.backward()
        value, slope = mean_entropy(raw.detach().numpy(), view)
        assert value == pytest.approx(expected.item(), abs=1e-12)
        assert slope == pytest.approx(raw.grad.numpy(), abs=1e-12)
    # classes that were not kept have no say, and no nan
    lost = view.copy()
    lost[:, ::2, 3] = -np.inf
    value, slope = mean_entropy(np.zeros(3), lost)
    assert np.isfinite([value, *slope]).all()


def test_entropy_is_rewarded_on_inaturalist_as_released():
    """-cos - 0.01 (H' + H''), H the mean over images and classes, learnt by torch's SGD."""
    views = random_views(views=6)
    tensors = torch.from_numpy(views)
    about = {"lr": 2.0, "decay": 2e-4, "batch": 16, "epochs": 3}
    for reward in (0.01, 3.0):

        def loss(raw, one, other, reward=reward):
            return cosine_of(raw, one, other) + reward * (
                entropy_of(raw, one) + entropy_of(raw, other)
            )

        def logits_of(view, places):
            return tensors[:, view, places]

        expected = learnt_with_torch(logits_of, 50, **about, objective=loss)
        found = learn_weights(views, **about, entropy=reward)
        assert found == pytest.approx(expected, abs=1e-9)
        plain = learn_weights(views, **about)
        assert np.abs(found - plain).max() > 1e-5
        assert plain.tolist() == learn_weights(views, **about, entropy=0.0).tolist()


def test_learning_ends_when_a_weight_is_nearly_lost(monkeypatch):
    # weights driven apart steadily, whatever the views: what is tested is when it ends
    steps = []

    def driven(raw, one, other):
        steps.append(np.exp(raw) / np.exp(raw).sum())
        return 0.0, np.array([0.0, 0.0, -1.0])

    monkeypatch.setattr(aggregation, "agreement", driven)
    found = learn_weights(random_views(), lr=0.002, decay=0.0, batch=50, epochs=1000)
    least = [weights.min() for weights in [*steps[1:], found]]  # after each epoch
    assert len(steps) < 1000
    assert all(weight >= 0.045 for weight in least[:-1]) and least[-1] < 0.045
    # below 0.05 it went on: rounded to two decimals these are 0.05
    assert any(0.045 < weight < 0.05 for weight in least[:-1])
    # only the end of an epoch counts
    steps.clear()
    learn_weights(random_views(), lr=0.5, decay=0.0, batch=5, epochs=1000)
    assert len(steps) == 10
    assert min(weights.min() for weights in steps) < 0.04


ABOUT = {"lr": 0.5, "decay": 5e-4, "batch": 16}


def test_where_there_is_nothing_to_learn_from():
    views = random_views()
    assert learn_weights(views, **ABOUT, epochs=0).tolist() == [1 / 3] * 3
    assert learn_weights(views[:, :, :0], **ABOUT, epochs=5).tolist() == [1 / 3] * 3
    with pytest.raises(ValueError, match="1 view of the test images"):
        learn_weights(views[:, :1], **ABOUT, epochs=5)
    # views that are the same agree whatever the weights
    twins = views[:, [0, 0]]
    same = learn_weights(twins, **{**ABOUT, "decay": 0.0}, epochs=5)
    assert same == pytest.approx(np.full(3, 1 / 3), abs=1e-9)


def test_which_views_an_epoch_takes():
    views = random_views(views=10)

    def learnt(*chosen, epochs=4):
        return learn_weights(views[:, list(chosen)], **ABOUT, epochs=epochs).tolist()

    # two views are taken again and again
    assert learnt(0, 1) == learnt(0, 1, 0, 1, 0, 1, 0, 1)
    # a view without partner is left out
    assert learnt(0, 1, 2) == learnt(0, 1)
    assert learnt(0, 1, 2, 3, 4) == learnt(0, 1, 2, 3) == learnt(0, 1, 2, 3, 0, 1, 2, 3)
    # more epochs than views: later ones are not looked at before
    assert learnt(0, 1, 2, 3, epochs=2) == learnt(*range(10), epochs=2)
    assert learnt(0, 1, 2, 3) != learnt(0, 1, 4, 5)


def test_classes_that_were_not_kept():
    views = random_views(dtype=np.float32)
    lost = views.copy()
    lost[:, 0, ::3, 1] = -np.inf
    lost[:, 1, 1::3, 4] = -np.inf
    found = learn_weights(lost, **ABOUT, epochs=3)
    assert np.isfinite(found).all() and found.sum() == pytest.approx(1)
    low = learn_weights(np.where(np.isneginf(lost), -1e4, lost), **ABOUT, epochs=3)
    assert found.tolist() == low.tolist()
    assert found != pytest.approx(learn_weights(views, **ABOUT, epochs=3), abs=1e-4)
    scores = aggregate(lost[:, 0], lost, **ABOUT, epochs=3)
    assert not np.isnan(scores).any()
    assert np.array_equal(np.isneginf(scores), np.isneginf(lost[0, 0]))


def test_the_expert_whose_views_agree_is_preferred():
    rng = np.random.default_rng(0)
    views = 3 * rng.normal(size=(3, 2, 200, 10))
    sure = np.eye(10)[rng.integers(10, size=200)] * 8
    for better in range(3):
        given = views.copy()
        given[better] = sure + 0.1 * rng.normal(size=(2, 200, 10))
        found = learn_weights(given, lr=0.1, decay=5e-4, batch=128, epochs=5)
        assert found.argmax() == better and found[better] > 0.4


def test_arrays_are_left_as_they_were_and_weigh_the_scores():
    views, logits = random_views(dtype=np.float32), random_views(seed=5, dtype=np.float32)[:, 0]
    kept = views.copy(), logits.copy()
    for array in (views, logits):
        array.flags.writeable = False
    scores = aggregate(logits, views, **ABOUT, epochs=3)
    weights = learn_weights(views, **ABOUT, epochs=3)
    assert scores.shape == (50, 6) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.einsum("e,enc->nc", weights, logits), rtol=1e-5)
    assert np.array_equal(views, kept[0]) and np.array_equal(logits, kept[1])


@pytest.mark.parametrize("module", [sade, dirmixe])
def test_methods_adapt_with_their_settings(module):
    views, logits = random_views(dtype=np.float32), random_views(seed=5, dtype=np.float32)[:, 0]
    given = {"adapt_lr": 0.5, "adapt_decay": 0.01, "adapt_batch": 16, "adapt_epochs": 2}
    sets = {"logits": logits}, {"logits": views}
    found = module.infer(sets[0], [9, 3, 1], unlabelled=sets[1], **given)
    expected = aggregate(logits, views, lr=0.5, decay=0.01, batch=16, epochs=2)
    assert np.array_equal(found, expected)
    even = module.infer(sets[0], [9, 3, 1], unlabelled=sets[1], **given, adapt_entropy=5.0)
    expected = aggregate(logits, views, lr=0.5, decay=0.01, batch=16, epochs=2, entropy=5.0)
    assert np.array_equal(even, expected) and not np.array_equal(even, found)
    mean = module.infer(sets[0], [9, 3, 1], unlabelled=sets[1], **{**given, "adapt_epochs": 0})
    np.testing.assert_allclose(mean, logits.mean(0), rtol=1e-5, atol=1e-6)


# -- training


def curve(runner):
    hooks = {type(hook).__name__: hook for hook in runner.hooks}
    return [point[-1] for point in hooks["MonitorHook"].curves["loss"]]


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """Undisturbed smoke trainings: method -> runner, made once."""
    made = {}

    def get(method):
        if method not in made:
            made[method] = train(tmp_path_factory.mktemp(method), method)
        return made[method]

    return get


@pytest.mark.parametrize("method", [*EXPERTS, "lade"])
def test_methods_train(method, calm):
    runner = calm(method)
    losses = curve(runner)
    assert losses and all(map(math.isfinite, losses))
    assert all(value.isfinite().all() for value in state(runner).values())
    runner.test()
    (metric,) = runner.test_evaluator.metrics
    shape = (100, 10) if method == "lade" else (100, 3, 10)
    assert metric.arrays()["logits"].shape == shape


# 0.8 * 22 = 17.6 for both; DirMixE's second epoch begins with iteration 11
CUTS = {"ride": (17, 18), "dirmixe": (4, 11, 17, 18)}


@pytest.mark.parametrize("method", CUTS)
def test_resume_around_the_switch_equals_the_undisturbed_run(method, calm, tmp_path):
    whole = state(calm(method))
    for cut in CUTS[method]:
        folder = tmp_path / f"cut-{cut}"
        train(folder, method, cut)
        torch.rand(17), np.random.rand(3)
        again = state(train(folder, method))
        assert whole.keys() == again.keys()
        for key in whole:
            assert torch.equal(whole[key], again[key]), (cut, key)


@pytest.mark.parametrize("method", EXPERTS)
def test_bf16_steps(method, tmp_path):
    def fast(cfg):
        cfg.model.update(bf16=True, channels_last=True)
        cfg.model.data_preprocessor.channels_last = True

    runner = train(tmp_path, method, 3, fast)
    assert runner.model.bf16
    losses = curve(runner)
    assert len(losses) == 3 and all(map(math.isfinite, losses))
    assert {p.dtype for p in runner.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("method", EXPERTS)
def test_selection_on_the_test_set(method, tmp_path):
    from tasks.vision.recipes.small_images import select_on_test

    def legacy(cfg):
        for key, value in select_on_test(dict(cfg.to_dict()), epoch=11).items():
            cfg[key] = value
        cfg.custom_hooks = [dict(type="BestOnTestHook", metric="cls/top1"), *cfg.custom_hooks]

    runner = train(tmp_path, method, change=legacy)
    assert 0 <= runner.test()["cls/top1"] <= 1
