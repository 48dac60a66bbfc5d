"""Rivals of DRAUC: known answers, loops as oracles, second-order gradients, state that resumes exactly, cards.

Known answers were computed apart from this code, in float64.
"""

import math
from types import SimpleNamespace

import pytest
from methods import baseline

torch = pytest.importorskip("torch")
F = torch.nn.functional

from hypothesis import given, settings, strategies  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.registry import DATASETS, MODELS  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from baselines.robust_auc.advshift import AdversarialPriorBCE, worst_prior  # noqa: E402
from baselines.robust_auc.drolt import PrototypeHook, PrototypeLoss  # noqa: E402
from baselines.robust_auc.pairwise_auc import PairwiseAUCLoss  # noqa: E402
from baselines.robust_auc.pauc_kl import PartialAUCDRO  # noqa: E402
from baselines.robust_auc.wdro import GradientPenalty  # noqa: E402
from baselines.shared.focal_bce import LabelFocalLoss  # noqa: E402
from suite.base.errors import MethodWarning, UserError  # noqa: E402
from suite.define.card import resolve  # noqa: E402
from suite.define.catalog import Catalog  # noqa: E402
from suite.engine import data, stages, weights  # noqa: E402, F401 - registers sampler and hook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook  # noqa: E402
from suite.engine.runner import SuiteRunner  # noqa: E402
from tasks.robust_auc import networks, sampler  # noqa: E402, F401 - registers them
from tasks.vision.networks.labels import BinaryCrossEntropy  # noqa: E402

H = torch.tensor([[0.9], [0.3], [0.6], [0.2], [0.4]], dtype=torch.float64)
Z, Y = H.logit(), torch.tensor([[1], [1], [0], [0], [0]], dtype=torch.float64)
CATALOG = Catalog.load()
METHODS = ("pairwise-square", "pairwise-hinge2", "wdro", "pauc-kl", "drolt", "advshift")
SHARED = ("bce", "focal-bce")


@DATASETS.register_module(force=True)
class FewPixels(Dataset):
    """Images uint8 (1, 4, 4), of which the first `positives` are brighter at the top and labelled 1."""

    def __init__(self, samples=12, positives=3):
        generator = torch.Generator().manual_seed(samples)
        self.labels = torch.arange(samples) < positives
        images = torch.randint(0, 128, (samples, 1, 4, 4), generator=generator)
        images[:positives, :, :2] += 90
        self.images = images.to(torch.uint8)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        label = self.labels[index].float()[None]
        return {"inputs": self.images[index], "label": label, "index": index}


TWELVE = {"type": "FewPixels"}


def pauc(gamma=0.9, kl_weight=1.0, margin=1.0, **dataset):
    return PartialAUCDRO(gamma, kl_weight, margin, {**TWELVE, **dataset}).double()


def known(value):
    """To the ten digits that are printed."""
    return pytest.approx(value, abs=6e-11)


@strategies.composite
def batches(draw, scale=3.0):
    """Logits and labels, (B, 1), with both classes, and distinct places of B training samples, positives first 6."""
    positives, negatives = draw(strategies.integers(1, 6)), draw(strategies.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(strategies.integers(0, 10**6)))
    scores = scale * torch.randn(positives + negatives, 1, generator=generator, dtype=torch.float64)
    order = torch.randperm(positives + negatives, generator=generator)
    index = torch.cat([torch.arange(positives), 6 + torch.arange(negatives)])[order]
    return scores, (index < 6).double()[:, None], index


TWELVE_BOTH = {"samples": 12, "positives": 6}


# -- shared with several labels


def test_focal_bce_is_per_sample():
    """D11: the released form takes the factor of the batch's mean, which only scales the gradient."""
    scores = torch.tensor([[2.0], [-1.0], [0.5]], dtype=torch.float64)
    label = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
    assert LabelFocalLoss(2.0)(scores, label).item() == pytest.approx(0.0306784, abs=5e-8)
    bce = BinaryCrossEntropy()(scores, label)
    released = (1 - (-bce).exp()) ** 2 * bce
    assert released.item() == pytest.approx(0.0210310, abs=5e-8)

    def direction(loss):
        z = scores.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(z), z)
        return gradient / gradient.norm()

    plain = direction(lambda z: BinaryCrossEntropy()(z, label))
    assert (direction(lambda z: LabelFocalLoss(2.0)(z, label)) - plain).abs().max() > 0.1
    batch = direction(
        lambda z: (
            (1 - (-BinaryCrossEntropy()(z, label)).exp()) ** 2 * BinaryCrossEntropy()(z, label)
        )
    )
    torch.testing.assert_close(batch, plain)


# -- pairs


def oracle_pairs(h, label, surrogate, margin):
    positives = [v for v, y in zip(h, label, strict=True) if y]
    negatives = [v for v, y in zip(h, label, strict=True) if not y]
    total = 0.0
    for a in positives:
        for b in negatives:
            short = margin - (a - b)
            total += short**2 if surrogate == "square" else max(0.0, short) ** 2
    return total / len(positives) / len(negatives)


def test_known_pairwise_risk():
    assert PairwiseAUCLoss()(Z, Y).item() == known(0.7566666667)


@settings(max_examples=40, deadline=None)
@given(
    batches(),
    strategies.sampled_from(["square", "hinge2"]),
    strategies.sampled_from(["sigmoid", "logit"]),
    strategies.sampled_from([0.1, 1.0, 2.5]),
)
def test_pairwise_risk_is_what_a_loop_gives(batch, surrogate, of, margin):
    scores, label, _ = batch
    h = (scores.sigmoid() if of == "sigmoid" else scores).flatten().tolist()
    expected = oracle_pairs(h, label.flatten().tolist(), surrogate, margin)
    found = PairwiseAUCLoss(surrogate, of, margin)(scores, label)
    assert found.item() == pytest.approx(expected, rel=1e-10)


@given(batches())
@settings(max_examples=20, deadline=None)
def test_the_square_is_the_saddle_value_of_the_minimax_form(batch):
    """F at a = E_P h, b = E_N h, alpha = c + b - a."""
    scores, label, _ = batch
    h, positive = scores.sigmoid()[:, 0], label[:, 0] > 0
    a, b = h[positive].mean(), h[~positive].mean()
    spread = (h[positive] - a).square().mean() + (h[~positive] - b).square().mean()
    saddle = spread + (1 + b - a) ** 2
    torch.testing.assert_close(PairwiseAUCLoss()(scores, label), saddle)


@given(batches(scale=30.0))
@settings(max_examples=20, deadline=None)
def test_the_hinge_bends_nowhere_on_sigmoid_scores_with_margin_1(batch):
    """Why pairwise-hinge2 compares logits."""
    scores, label, _ = batch
    square = PairwiseAUCLoss("square")(scores, label)
    assert PairwiseAUCLoss("hinge2")(scores, label).item() == square.item()
    apart = torch.tensor([[4.0], [-4.0]]), torch.tensor([[1.0], [0.0]])
    assert PairwiseAUCLoss("hinge2", "logit")(*apart).item() == 0
    assert PairwiseAUCLoss("square", "logit")(*apart).item() == 49


@given(batches(), strategies.sampled_from([0, 1]), strategies.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_copies_of_all_samples_of_a_class_change_nothing(batch, kind, times):
    """2.6 of the sheet, of every loss of pairs and of class means."""
    scores, label, index = batch
    own = label[:, 0] == kind
    more = [torch.cat([part, *[part[own]] * (times - 1)]) for part in (scores, label, index)]
    for loss in (PairwiseAUCLoss("square"), PairwiseAUCLoss("hinge2", "logit")):
        torch.testing.assert_close(loss(*more[:2]), loss(scores, label))
    losses = [pauc(**TWELVE_BOTH) for _ in range(2)]
    torch.testing.assert_close(losses[0](*more), losses[1](scores, label, index))
    torch.testing.assert_close(losses[0].log_u, losses[1].log_u)
    prior = AdversarialPriorBCE(0.1, (9, 3))
    torch.testing.assert_close(prior(*more[:2]), prior(scores, label))


# -- gradient penalty


def smooth_network(norm, seed=0):
    """(pixels (B, 1, 2, 3), first weights, second weights) -> logits (B, 1), and weights."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    second = torch.randn(4, 1, generator=generator, dtype=torch.float64, requires_grad=True)

    def network(pixels, first, second):
        hidden = pixels.flatten(1) @ first
        if norm == "train":
            hidden = F.batch_norm(hidden, None, None, training=True)
        elif norm == "eval":
            mean = torch.full((4,), 0.3, dtype=torch.float64)
            hidden = F.batch_norm(hidden, mean, 1 + mean, training=False)
        return torch.tanh(hidden) @ second

    return network, (first, second)


def some_pixels(samples=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(samples, 1, 2, 3, generator=generator, dtype=torch.float64)
    label = (torch.arange(samples) % 3 == 0).double()[:, None]
    return pixels.requires_grad_(), label


@pytest.mark.parametrize("norm", ["none", "eval", "train"])
def test_gradients_of_the_penalty_are_those_of_its_value(norm):
    """They are derivatives of second order, through batch normalisation in either mode."""
    network, parameters = smooth_network(norm)
    pixels, label = some_pixels()
    loss = GradientPenalty(0.7)

    def value(*parameters):
        return loss(network(pixels, *parameters), label, pixels=pixels)

    assert torch.autograd.gradcheck(value, parameters)
    if (
        norm != "train"
    ):  # torch's third derivative of batch normalisation by its own statistics is wrong
        assert torch.autograd.gradgradcheck(value, parameters)


def test_the_penalty_trains_what_the_released_form_does_not():
    """D10: without a graph of the first gradient the penalty is a constant, and WDRO is BCE bit for bit."""
    network, parameters = smooth_network("train")
    pixels, label = some_pixels(6)

    def gradients(loss):
        return torch.autograd.grad(loss, parameters)

    def scores():
        return network(pixels, *parameters)

    plain = gradients(BinaryCrossEntropy()(scores(), label))

    def released(scores):
        loss = BinaryCrossEntropy()(scores, label)
        (by_pixels,) = torch.autograd.grad(loss, pixels, retain_graph=True)
        return loss + 0.5 * by_pixels.square().sum()

    of_release = gradients(released(scores()))
    assert all(torch.equal(a, b) for a, b in zip(of_release, plain, strict=True))
    ours = gradients(GradientPenalty(0.5)(scores(), label, pixels=pixels))
    for a, b in zip(ours, plain, strict=True):
        assert (a - b).norm() > 0.01 * b.norm()


def test_the_penalty_is_the_mean_over_samples():
    network, parameters = smooth_network("eval")
    pixels, label = some_pixels(5)
    total = 0.0
    for i in range(5):
        one = pixels.detach()[i : i + 1].requires_grad_()
        bce = BinaryCrossEntropy()(network(one, *parameters), label[i : i + 1])
        (gradient,) = torch.autograd.grad(bce, one)
        total += gradient.square().sum().item() / 5
    scores = network(pixels, *parameters)
    bce = BinaryCrossEntropy()(scores, label).item()
    found = GradientPenalty(0.5)(scores, label, pixels=pixels).item()
    assert found == pytest.approx(bce + 0.5 * total, rel=1e-12)


def test_the_default_weight_is_the_released_one_at_its_batch():
    """.004 before the squared gradient of the mean loss is .004 / B here."""
    network, parameters = smooth_network("train")
    pixels, label = some_pixels(128)
    scores = network(pixels, *parameters)
    mean = BinaryCrossEntropy()(scores, label)
    (gradient,) = torch.autograd.grad(mean, pixels, retain_graph=True)
    released = 0.004 * gradient.square().sum().item()
    ours = GradientPenalty(0.004 / 128)(scores, label, pixels=pixels) - mean
    assert ours.item() == pytest.approx(released, rel=1e-9)
    assert CATALOG.card("wdro").params["lambda_g"].default == pytest.approx(0.004 / 128, rel=0.05)


def test_weight_0_is_bce_and_pixels_without_gradient_are_refused():
    network, parameters = smooth_network("none")
    pixels, label = some_pixels()
    scores = network(pixels, *parameters)
    assert torch.equal(GradientPenalty(0.0)(scores, label), BinaryCrossEntropy()(scores, label))
    for given_ in (None, pixels.detach()):
        with pytest.raises(ValueError, match="wdro needs the pixels"):
            GradientPenalty(0.1)(scores, label, pixels=given_)
    with pytest.raises(ValueError, match="lambda_g is -1"):
        GradientPenalty(-1)


def test_the_penalty_reaches_the_weights_of_the_real_network():
    """Through its batch normalisation and ReLUs in place."""
    found = {}
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        model = MODELS.build(configured("wdro", lambda_g=weight)[0].model).train()
        batch = batch_of(8)
        loss = model(**model.data_preprocessor(batch, True), mode="loss")["loss"]
        loss.backward()
        found[weight] = {name: p.grad for name, p in model.named_parameters()}
    change = [
        (found[0.5][n] - g).norm() / g.norm() for n, g in found[0.0].items() if g.norm() > 1e-5
    ]
    assert len(change) > 5 and max(change) > 0.05
    assert all(torch.isfinite(g).all() for g in found[0.5].values())


# -- partial AUC


class SlowPartialAUC:
    """With u itself, in Python floats."""

    def __init__(self, gamma, kl_weight, margin):
        self.gamma, self.kl_weight, self.margin, self.u = gamma, kl_weight, margin, {}

    def __call__(self, scores, label, index):
        h = [1 / (1 + math.exp(-z)) for z in scores.flatten().tolist()]
        rows = list(zip(h, label.flatten().tolist(), index.tolist(), strict=True))
        negatives = [v for v, y, _ in rows if not y]
        total, pairs = 0.0, 0
        for v, y, i in rows:
            if not y:
                continue
            losses = [max(0.0, self.margin - (v - other)) ** 2 for other in negatives]
            exps = [math.exp(one / self.kl_weight) for one in losses]
            before = self.u.get(i, 0.0)
            self.u[i] = (1 - self.gamma) * before + self.gamma * sum(exps) / len(exps)
            for one, exp in zip(losses, exps, strict=True):
                total += exp / self.u[i] * one
                pairs += 1
        return total / pairs


@settings(max_examples=25, deadline=None)
@given(
    strategies.lists(batches(), min_size=1, max_size=4),
    strategies.sampled_from([0.1, 0.9, 1.0]),
    strategies.sampled_from([0.2, 1.0, 10.0]),
    strategies.sampled_from([0.3, 1.0]),
)
def test_moving_means_are_what_a_loop_gives(steps, gamma, kl_weight, margin):
    """First visits among them: u is 0 before."""
    loss = pauc(gamma, kl_weight, margin, **TWELVE_BOTH)
    slow = SlowPartialAUC(gamma, kl_weight, margin)
    assert loss.log_u.shape == (6,) and (loss.log_u == -torch.inf).all()
    for scores, label, index in steps:
        found = loss(scores, label, index=index)
        assert found.item() == pytest.approx(slow(scores, label, index), rel=1e-9)
        for i in range(6):
            assert loss.log_u[i].exp().item() == pytest.approx(slow.u.get(i, 0.0), rel=1e-9)


def test_the_first_visit_has_gamma_of_the_batchs_value():
    loss = pauc(0.9, samples=5, positives=2)
    index = torch.arange(5)
    value = loss(Z, Y, index=index)
    each = [[(1 - (p - n)) ** 2 for n in (0.6, 0.2, 0.4)] for p in (0.9, 0.3)]
    means = [sum(map(math.exp, row)) / 3 for row in each]
    assert loss.log_u.exp().tolist() == pytest.approx([0.9 * mean for mean in means], rel=1e-12)
    rows = zip(each, means, strict=True)
    weighted = [math.exp(one) / (0.9 * mean) * one for row, mean in rows for one in row]
    assert value.item() == pytest.approx(sum(weighted) / 6, rel=1e-12)


def test_weights_are_held_fixed_in_the_gradient():
    loss = pauc(0.5, samples=5, positives=2)
    index = torch.arange(5)
    loss(Z + 0.3, Y, index=index)
    scores = Z.clone().requires_grad_()
    loss(scores, Y, index=index).backward()
    h = Z.sigmoid()[:, 0]
    slopes = (h * (1 - h)).tolist()
    expected = [0.0] * 5
    for i in range(2):
        for j in range(2, 5):
            short = 1 - (h[i] - h[j]).item()
            weight = math.exp(short**2 - loss.log_u[i].item())
            expected[i] -= weight * 2 * short * slopes[i] / 6
            expected[j] += weight * 2 * short * slopes[j] / 6
    assert scores.grad.flatten().tolist() == pytest.approx(expected, rel=1e-10)


@given(batches(), strategies.sampled_from([0.2, 1.0]))
@settings(max_examples=20, deadline=None)
def test_without_memory_the_gradient_is_that_of_the_regularised_worst_case(batch, kl_weight):
    """gamma = 1: of mean_i Lambda log mean_j exp(l_ij / Lambda)."""
    scores, label, index = batch
    ours, direct = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    pauc(1.0, kl_weight, **TWELVE_BOTH)(ours, label, index=index).backward()
    h, positive = direct.sigmoid()[:, 0], label[:, 0] > 0
    losses = (1 - (h[positive][:, None] - h[~positive])).square()
    (kl_weight * (losses / kl_weight).exp().mean(1).log()).mean().backward()
    torch.testing.assert_close(ours.grad, direct.grad, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kl_weight", [1e-6, 0.01, 1.0, 1e6])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_extreme_exponents_and_scores_stay_finite(kl_weight, scale):
    """In single precision exp(l / Lambda) would be infinite from 89 on."""
    loss = PartialAUCDRO(0.9, kl_weight, 1.0, {**TWELVE, "samples": 5, "positives": 2})
    for sign in (1.0, -1.0, -1.0):
        scores = (sign * scale * Z.float()).requires_grad_()
        value = loss(scores, Y.float(), index=torch.arange(5))
        (gradient,) = torch.autograd.grad(value, scores)
        assert torch.isfinite(value) and torch.isfinite(gradient).all()
        assert value <= 3 / 0.9 * 4
        assert torch.isfinite(loss.log_u).all()


def test_a_positive_that_is_in_the_batch_twice_has_one_update():
    loss = pauc(0.9, samples=4, positives=2)
    scores = torch.tensor([[0.3], [-1.0], [0.2]], dtype=torch.float64)
    label = torch.tensor([[1.0], [1.0], [0.0]], dtype=torch.float64)
    loss(scores, label, index=torch.tensor([1, 1, 3]))
    h = scores.sigmoid()[:, 0].tolist()
    mean = sum(math.exp((1 - (h[i] - h[2])) ** 2) for i in range(2)) / 2
    assert loss.log_u[1].exp().item() == pytest.approx(0.9 * mean, rel=1e-12)
    assert loss.log_u[0] == -torch.inf


def test_what_is_not_trained_moves_no_mean():
    loss = pauc(samples=5, positives=2)
    first = loss.eval()(Z, Y, index=torch.arange(5))
    assert (loss.log_u == -torch.inf).all()
    assert torch.equal(loss.train()(Z, Y, index=torch.arange(5)), first)
    assert torch.isfinite(loss.log_u).all()


def test_partial_auc_refuses_what_it_cannot_place():
    loss = pauc(samples=5, positives=2)
    with pytest.raises(ValueError, match="needs `index`"):
        loss(Z, Y)
    with pytest.raises(ValueError, match="index names a negative training sample"):
        loss(Z, Y, index=torch.tensor([0, 3, 1, 2, 4]))
    for bad in ((0.0, 1.0, 1.0), (1.1, 1.0, 1.0), (0.9, 0.0, 1.0), (0.9, 1.0, 0.0)):
        with pytest.raises(ValueError, match="gamma is"):
            PartialAUCDRO(*bad, TWELVE)


# -- prototypes


def prototype_loss(prototypes, share=0.5, epsilon=1.0, temperature=5.0):
    loss = PrototypeLoss(prototypes.shape[1], share, epsilon, temperature).double()
    loss.prototypes.copy_(prototypes)
    return loss


def oracle_prototypes(features, label, prototypes, epsilon, temperature):
    """-T mean over classes of the mean over its samples of log p, normalised over the batch."""
    classes = []
    for c in range(2):
        logits = []
        for row, y in zip(features.tolist(), label.flatten().tolist(), strict=True):
            distance = math.dist(row, prototypes[c].tolist())
            logits.append(-(distance + epsilon * (y == c)) / temperature)
        total = math.log(sum(map(math.exp, logits)))
        own = [v - total for v, y in zip(logits, label.flatten().tolist(), strict=True) if y == c]
        if own:
            classes.append(sum(own) / len(own))
    return -temperature * sum(classes) / len(classes)


@settings(max_examples=30, deadline=None)
@given(
    batches(),
    strategies.sampled_from([0.0, 0.3, 1.0]),
    strategies.sampled_from([0.0, 1.0, 2.0]),
    strategies.sampled_from([0.5, 5.0]),
)
def test_prototype_loss_is_the_direct_formula(batch, share, epsilon, temperature):
    scores, label, _ = batch
    generator = torch.Generator().manual_seed(len(scores))
    features = torch.randn(len(scores), 3, generator=generator, dtype=torch.float64)
    prototypes = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    loss = prototype_loss(prototypes, share, epsilon, temperature)
    robust = oracle_prototypes(features, label, prototypes, epsilon, temperature)
    bce = BinaryCrossEntropy()(scores, label).item()
    found = loss(scores, label, features=features).item()
    assert found == pytest.approx(share * robust + (1 - share) * bce, rel=1e-10)
    # normalised over the batch: a sample alone, of its class, costs nothing
    assert loss.robust(features[:1], label[:1]).item() == pytest.approx(0, abs=1e-12)


def test_one_class_in_a_batch_has_the_mean_over_that_class():
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    prototypes = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    label = torch.ones(4, 1, dtype=torch.float64)
    found = prototype_loss(prototypes).robust(features, label).item()
    assert found == pytest.approx(oracle_prototypes(features, label, prototypes, 1.0, 5.0))


def test_gradients_of_the_prototype_loss():
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    scores = Z.clone().requires_grad_()
    prototypes = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    loss = prototype_loss(prototypes)
    assert torch.autograd.gradcheck(lambda z, f: loss(z, Y, features=f), (scores, features))
    # on a prototype itself the distance has no slope
    on_top = prototypes[[0, 1, 0, 1, 0]].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss.robust(on_top, Y), on_top)
    assert torch.isfinite(gradient).all()


def test_before_the_first_prototypes_the_loss_is_no_number():
    loss = PrototypeLoss(3, 0.5, 1.0, 5.0)
    assert torch.isnan(loss(Z.float(), Y.float(), features=torch.zeros(5, 3)))
    with pytest.raises(ValueError, match="drolt needs the features"):
        loss(Z.float(), Y.float())
    for bad in ((1.1, 1.0, 5.0), (0.5, -1.0, 5.0), (0.5, 1.0, 0.0)):
        with pytest.raises(ValueError, match="share is"):
            PrototypeLoss(3, *bad)


@settings(max_examples=20, deadline=None)
@given(strategies.integers(1, 40), strategies.integers(1, 30))
def test_prototypes_are_renewed_as_passes_begin(samples, batch):
    hook = PrototypeHook({**TWELVE, "samples": samples}, "default_collate", batch)
    found = [i for i in range(60) if hook.begins_pass(i)]
    passes = [{(i * batch + j) // samples for j in range(batch)} for i in range(60)]
    first = [0, *(i for i in range(1, 60) if i * batch // samples > (i - 1) * batch // samples)]
    assert found == first
    # as many as passes begin, but for those that begin and end within a batch
    assert len(found) == len({min(one) for one in passes})


def test_prototypes_are_class_means_in_eval_mode_and_nothing_else_moves():
    cfg, _ = configured("drolt")
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    for _ in range(3):  # statistics of batch normalisation that are not the first ones
        model.train()(**model.data_preprocessor(batch_of(8), True), mode="loss")
    model.backbone.bn.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state_before = torch.get_rng_state()
    hook = PrototypeHook(cfg.custom_hooks[-1].dataset, "default_collate", 8, at_a_time=5)
    hook.before_train_iter(SimpleNamespace(iter=0, model=model))
    assert torch.equal(torch.get_rng_state(), state_before)
    assert model.training and model.head.training and not model.backbone.bn.training
    after = model.state_dict()
    changed = [key for key in after if not torch.equal(after[key], before[key])]
    assert changed == ["head.loss_module.prototypes"]
    model.eval()
    all_of_them = batch_of(SAMPLES)
    with torch.no_grad():
        features = model.features(all_of_them["inputs"].float() / 255)
    positive = all_of_them["label"][:, 0] > 0
    expected = torch.stack([features[~positive].mean(0), features[positive].mean(0)])
    torch.testing.assert_close(model.loss_module.prototypes, expected)
    hook.before_train_iter(SimpleNamespace(iter=1, model=SimpleNamespace()))  # asks nothing of it


# -- adversarial prior


def kl(pi, prior):
    return sum(q * math.log(q / p) for q, p in zip(pi, prior, strict=True) if q > 0)


priors = strategies.floats(1e-3, 0.999).map(lambda p: [1 - p, p])
loss_values = strategies.lists(strategies.floats(0, 20), min_size=2, max_size=2)


@settings(max_examples=200, deadline=None)
@given(loss_values, priors, strategies.floats(1e-4, 8))
def test_the_worst_prior_meets_its_constraint(losses, prior, radius):
    pi = worst_prior(losses, prior, radius)
    assert sum(pi) == pytest.approx(1) and min(pi) >= 0
    worst = losses.index(max(losses))
    least = -math.log(prior[worst])
    if losses[0] == losses[1]:
        assert pi == prior
    elif radius >= least:
        assert pi[worst] == 1
    elif abs(losses[0] - losses[1]) > 1e-9:
        assert kl(pi, prior) == pytest.approx(radius, rel=1e-6, abs=1e-12)
        assert kl(pi, prior) <= radius * (1 + 1e-9) + 1e-15
        assert pi[worst] > prior[worst]


def test_the_worst_prior_is_an_exponential_tilt_of_several_classes():
    losses, prior = [0.2, 1.5, 0.9, 1.5], [0.5, 0.2, 0.25, 0.05]
    pi = worst_prior(losses, prior, 0.15)
    assert kl(pi, prior) == pytest.approx(0.15, rel=1e-9)
    slopes = [math.log(q / p) for q, p in zip(pi, prior, strict=True)]
    tau = (losses[1] - losses[0]) / (slopes[1] - slopes[0])
    for y in range(4):
        assert slopes[y] - slopes[0] == pytest.approx((losses[y] - losses[0]) / tau, abs=1e-9)
    # beyond what its two worst classes alone cost there is no more to gain
    assert worst_prior(losses, prior, 2.0) == pytest.approx([0, 0.8, 0, 0.2])
    # no other prior within the radius is worse
    draws = torch.distributions.Dirichlet(torch.tensor(prior) * 8)
    best = sum(q * v for q, v in zip(pi, losses, strict=True))
    torch.manual_seed(0)
    others = [one for one in draws.sample((3000,)).double().tolist() if kl(one, prior) <= 0.15]
    assert len(others) > 100
    assert max(sum(q * v for q, v in zip(one, losses, strict=True)) for one in others) <= best


def test_radius_0_and_equal_losses_are_the_training_prior():
    assert worst_prior([0.1, 3.0], [0.9, 0.1], 0.0) == [0.9, 0.1]
    assert worst_prior([0.7, 0.7], [0.9, 0.1], 0.5) == [0.9, 0.1]
    assert worst_prior([0.7, 0.7 + 1e-300], [0.9, 0.1], 0.5) == [0.9, 0.1]
    # the default, at a share of .1
    assert worst_prior([0.1, 3.0], [0.9, 0.1], 0.1)[1] == pytest.approx(0.25687, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(batches(), strategies.sampled_from([0.0, 0.05, 0.1, 1.0, 9.0]))
def test_adversarial_prior_weighs_the_class_losses(batch, radius):
    scores, label, _ = batch
    positive = label[:, 0] > 0
    counts = [int((~positive).sum()), int(positive.sum())]
    loss = AdversarialPriorBCE(radius, counts)  # a batch with the classes as the data have them
    each = F.binary_cross_entropy_with_logits(scores, label, reduction="none")[:, 0]
    values = [each[~positive].mean().item(), each[positive].mean().item()]
    pi = worst_prior(values, loss.prior, radius)
    weight = torch.where(positive, pi[1] / loss.prior[1], pi[0] / loss.prior[0])
    torch.testing.assert_close(loss(scores, label), (weight * each).mean())
    if radius == 0:
        torch.testing.assert_close(loss(scores, label), each.mean())
    assert loss(scores, label) >= each.mean() - 1e-9


def test_gradient_of_the_adversarial_prior_is_that_of_the_maximum():
    """The prior is held fixed in the gradient; it moves in the value that is differentiated here."""
    for radius in (0.02, 0.1):
        loss = AdversarialPriorBCE(radius, (9, 1))
        assert torch.autograd.gradcheck(lambda z, loss=loss: loss(z, Y), Z.clone().requires_grad_())


def test_adversarial_prior_says_what_it_cannot_take():
    with pytest.raises(ValueError, match="radius is -1"):
        AdversarialPriorBCE(-1, (9, 1))
    for counts in ((9, 0), (9,), (9, 1, 1)):
        with pytest.raises(ValueError, match="expected two above 0"):
            AdversarialPriorBCE(0.1, counts)
    assert torch.isnan(AdversarialPriorBCE(0.1, (9, 1))(Z * torch.nan, Y))


# -- bad batches, extreme scores


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_a_batch_of_one_class_is_refused_where_it_would_teach_nothing(fill):
    """D9: the released means are 0/1e-6 there."""
    label = torch.full_like(Y, fill)
    missing = "positive" if fill == 0 else "negative"
    losses = {
        "pairwise-square": PairwiseAUCLoss(),
        "pairwise-hinge2": PairwiseAUCLoss("hinge2", "logit"),
        "pauc-kl": pauc(samples=5, positives=2),
        "advshift": AdversarialPriorBCE(0.1, (9, 1)),
    }
    for name, loss in losses.items():
        with pytest.raises(UserError, match=f"{name}: a batch of 5 has no {missing} sample"):
            loss(Z, label, index=torch.arange(5))
    # means over samples are defined
    for loss in (BinaryCrossEntropy(), LabelFocalLoss(2.0), GradientPenalty(0.0)):
        assert torch.isfinite(loss(Z, label))


def test_shapes_that_would_broadcast_are_refused():
    features, pixels = torch.zeros(5, 3), torch.zeros(5, 1, 2, 2)
    for loss in (
        PairwiseAUCLoss(),
        pauc(samples=5, positives=2),
        AdversarialPriorBCE(0.1, (9, 1)),
        GradientPenalty(0.1),
        PrototypeLoss(3, 0.5, 1.0, 5.0),
    ):
        for scores, label in ((Z, Y[:, 0]), (Z[:, 0], Y), (Z, Y[:3]), (Z.T, Y.T)):
            with pytest.raises(ValueError, match=r"expected \(B, 1\) both"):
                loss(scores, label, index=torch.arange(5), features=features, pixels=pixels)


@pytest.mark.parametrize("scale", [0.0, 30.0, 1e4, 1e30])
def test_extreme_scores_stay_finite(scale):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 3, generator=generator)
    prototypes = PrototypeLoss(3, 0.5, 1.0, 5.0)
    prototypes.prototypes.copy_(features[:2])
    for sign in (-1, 1):
        pixels = (sign * scale * torch.ones(5, 1, 1, 1)).requires_grad_()
        scores = (pixels.flatten(1) * Z.float().sign()).requires_grad_()
        for loss in (
            PairwiseAUCLoss(),
            PartialAUCDRO(0.9, 1.0, 1.0, {**TWELVE, "samples": 5, "positives": 2}),
            prototypes,
            AdversarialPriorBCE(0.1, (9, 1)),
            GradientPenalty(0.1),
            LabelFocalLoss(2.0),
        ):
            more = {"index": torch.arange(5), "features": features, "pixels": pixels}
            value = loss(scores, Y.float(), **more)
            (gradient,) = torch.autograd.grad(value, scores, retain_graph=True)
            assert torch.isfinite(value), type(loss).__name__
            assert torch.isfinite(gradient).all(), type(loss).__name__


@pytest.mark.parametrize(("surrogate", "of"), [("square", "sigmoid"), ("hinge2", "logit")])
def test_gradients_of_pairs(surrogate, of):
    loss = PairwiseAUCLoss(surrogate, of)
    assert torch.autograd.gradcheck(lambda z: loss(z, Y), Z.clone().requires_grad_())
    for bad in (("cube", "logit", 1.0), ("square", "rank", 1.0), ("square", "logit", 0.0)):
        with pytest.raises(ValueError, match="surrogate is"):
            PairwiseAUCLoss(*bad)


# -- cards, and training

SAMPLES, POSITIVES, ITERATIONS, BATCH = 20, 4, 12, 5
FACTS = SimpleNamespace(
    num_classes=2,
    class_counts=(SAMPLES - POSITIVES, POSITIVES),
    image_counts=(SAMPLES - POSITIVES, POSITIVES),
    iterations=ITERATIONS,
    batch=BATCH,
)
TRAIN = {"type": "FewPixels", "samples": SAMPLES, "positives": POSITIVES}


def batch_of(samples):
    """The first ones of the training set, every second batch of which is of both classes."""
    images = FewPixels(SAMPLES, POSITIVES)
    chosen = [images[i] for i in range(samples)]
    return torch.utils.data.default_collate(chosen)


def minimal():
    """The base config of a run, as `tasks.robust_auc.recipes` has it."""
    collate = {"type": "default_collate"}
    return Config(
        {
            "model": {
                "type": "BinaryClassifier",
                "data_preprocessor": {"type": "PixelBatch"},
                "mean": [0.4],
                "std": [0.3],
                "backbone": {"type": "SmallResNet", "depth": 8, "width": 2, "in_channels": 1},
                "head": {
                    "type": "MultiLabelHead",
                    "in_channels": 8,
                    "classes": 1,
                    "loss": {"type": "BinaryCrossEntropy"},
                },
            },
            "train_cfg": {
                "type": "IterBasedTrainLoop",
                "max_iters": ITERATIONS,
                "val_interval": 10**9,
            },
            "train_dataloader": {
                "batch_size": BATCH,
                "num_workers": 0,
                "collate_fn": collate,
                "sampler": {"type": "StratifiedSampler", "batch": BATCH, "positives": 1},
                "dataset": TRAIN,
            },
            "prediction_dataloaders": {
                "train": {"batch_size": 500, "collate_fn": collate, "dataset": TRAIN}
            },
            "optim_wrapper": {
                "type": "OptimWrapper",
                "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
            },
            "param_scheduler": [{"type": "MultiStepLR", "milestones": [9], "by_epoch": False}],
        }
    )


def configured(method, protocol="quick", cfg=None, **overrides):
    """The config of a method with its card's values under the protocol, and these values."""
    params = resolve(CATALOG.card(method), method, protocol, overrides)
    file = CATALOG.source(method).path.stem
    return baseline(file).configure(cfg or minimal(), FACTS, **params), params


@pytest.mark.parametrize("method", METHODS + SHARED)
def test_every_card_makes_its_loss(method):
    cfg, params = configured(method)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    if method == "drolt":
        PrototypeHook(TRAIN, "default_collate", BATCH).before_train_iter(
            SimpleNamespace(iter=0, model=model)
        )
    loss = model(**model.data_preprocessor(batch_of(8), True), mode="loss")["loss"]
    assert loss.shape == () and loss.item() > 0
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    # as a file for mmengine's own tools
    assert cfg.model.head.loss.type in cfg.pretty_text
    card = CATALOG.card(method)
    assert "robust-auc" in card.tasks and set(card.search) <= set(params)
    if method not in SHARED:
        assert card.tasks == ["robust-auc"] and card.arxiv and card.bibtex and card.paper


def test_parameters_reach_the_losses():
    def loss(method, **overrides):
        return MODELS.build(configured(method, **overrides)[0].model.head.loss)

    square, hinge = loss("pairwise-square"), loss("pairwise-hinge2", margin=0.5)
    assert (square.surrogate, square.of, square.margin) == ("square", "sigmoid", 1.0)
    assert (hinge.surrogate, hinge.of, hinge.margin) == ("hinge2", "logit", 0.5)
    assert loss("wdro").lambda_g == 0.00003 and loss("wdro", lambda_g=0.003).lambda_g == 0.003
    partial = loss("pauc-kl", gamma=0.5, kl_weight=0.1, margin=0.7)
    assert (partial.gamma, partial.kl_weight, partial.margin) == (0.5, 0.1, 0.7)
    assert partial.log_u.shape == (POSITIVES,)
    partial = loss("pauc-kl")
    assert (partial.gamma, partial.kl_weight, partial.margin) == (0.9, 1.0, 1.0)
    prior = loss("advshift", radius=0.3)
    assert prior.radius == 0.3 and prior.prior == [0.8, 0.2]
    near = loss("drolt", share=0.2, epsilon=2.0, temperature=1.0)
    assert (near.share, near.epsilon, near.temperature) == (0.2, 2.0, 1.0)
    assert near.prototypes.shape == (2, 8)
    near = loss("drolt")
    assert (near.share, near.epsilon, near.temperature) == (0.5, 1.0, 5.0)
    assert loss("focal-bce").gamma == 2.0


def test_costs_are_told():
    passes = {method: CATALOG.card(method).needs.passes for method in METHODS + SHARED}
    assert {name: n for name, n in passes.items() if n != 1} == {"wdro": 2, "drolt": 1.5}


@pytest.mark.slow
def test_the_penalty_costs_a_second_pass():
    """By operations of the ResNet: six convolutions where a pass of bce has three."""
    counted = {}
    for method in ("bce", "wdro"):
        model = MODELS.build(configured(method)[0].model).train()
        batch = model.data_preprocessor(batch_of(8), True)
        with FlopCounterMode(display=False) as counter:
            model(**batch, mode="loss")["loss"].backward()
        counted[method] = counter.get_total_flops()
    ratio = counted["wdro"] / counted["bce"]
    # the first layer's gradient by the pixels is one that bce has not
    assert ratio == pytest.approx(CATALOG.card("wdro").needs.passes, abs=0.2)


def test_a_hinge_that_is_the_square_is_told():
    with pytest.warns(MethodWarning, match="hinge2 on sigmoid scores with margin=1 is pairwise-sq"):
        configured("pairwise-hinge2", of="sigmoid")


@pytest.mark.filterwarnings("error::suite.base.errors.MethodWarning")
def test_a_hinge_that_bends_is_not():
    configured("pairwise-hinge2", of="sigmoid", margin=0.5)
    configured("pairwise-square")


def test_drolt_keeps_other_hooks_and_needs_images_as_they_are_stored():
    cfg = minimal()
    cfg.custom_hooks = [{"type": "Other"}]
    cfg, _ = configured("drolt", cfg=cfg)
    assert [hook.type for hook in cfg.custom_hooks] == ["Other", "PrototypeHook"]
    assert cfg.custom_hooks[1].batch == BATCH
    cfg = minimal()
    cfg.prediction_dataloaders = {}
    with pytest.raises(UserError, match="needs a prediction set `train`"):
        configured("drolt", cfg=cfg)


class Interrupted(Exception):
    pass


class InterruptHook(Hook):
    priority = "LOWEST"

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            raise Interrupted


class PrototypesSeen(Hook):
    """The prototypes of every iteration."""

    priority = "LOWEST"

    def __init__(self):
        self.found = {}

    def after_train_iter(self, runner, *args, **kwargs):
        self.found[runner.iter] = runner.model.loss_module.prototypes.clone()


def trained(folder, method, cut=None, hooks=(), **overrides):
    """A runner that has trained the method, or gone on from its checkpoint, to the end or up to iteration `cut`."""
    cfg, _ = configured(method, **overrides)
    loader = cfg.train_dataloader
    loader.sampler = {"type": "PositionSampler", "sampler": loader.sampler}
    loader.dataset = {"type": "SeededDataset", "dataset": loader.dataset, "seed": 7}
    runner = SuiteRunner(
        model=cfg.model,
        work_dir=str(folder / "work"),
        train_dataloader=loader,
        train_cfg=cfg.train_cfg,
        optim_wrapper=cfg.optim_wrapper,
        param_scheduler=cfg.param_scheduler,
        custom_hooks=cfg.get("custom_hooks"),
        default_hooks={"runtime_info": None, "timer": None, "logger": None, "checkpoint": None},
        visualizer={"type": "Visualizer", "vis_backends": [], "name": f"{folder}-{method}-{cut}"},
        randomness={"seed": 7},
        log_level="ERROR",
        experiment_name=f"{folder.name}-{method}-{cut}-{id(cfg)}",
    )
    resume = ResumeHook(folder / "checkpoint", 0.0)
    runner.resume_hook, runner.start_from = resume, None
    for hook in (RestoreGeneratorsHook(resume), resume, stages.ProgressHook(), *hooks):
        runner.register_hook(hook)
    if cut is not None:
        runner.register_hook(InterruptHook(cut))
        with pytest.raises(Interrupted):
            runner.train()
    else:
        runner.train()
    return runner


def state(runner):
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "own"), [("pauc-kl", "log_u"), ("drolt", "prototypes")])
def test_resume_equals_the_undisturbed_training_bit_for_bit(tmp_path, method, own):
    """Of 20 samples in batches of 5: a pass is 4 iterations; cut within one, and where one ends."""
    calm = state(trained(tmp_path / "calm", method))
    assert torch.isfinite(calm[f"head.loss_module.{own}"]).all()
    for cut in (2, 4, 11):
        folder = tmp_path / f"cut-{cut}"
        trained(folder, method, cut)
        torch.rand(17)
        resumed = state(trained(folder, method))
        assert resumed.keys() == calm.keys()
        assert all(torch.equal(resumed[name], calm[name]) for name in calm)
    checkpoint = weights.load(tmp_path / "calm/checkpoint/12.pth")
    assert f"head.loss_module.{own}" in checkpoint["model"]


def test_prototypes_stand_still_within_a_pass(tmp_path):
    seen = PrototypesSeen()
    trained(tmp_path, "drolt", hooks=[seen])
    changes = [i for i in range(1, ITERATIONS) if not torch.equal(seen.found[i], seen.found[i - 1])]
    assert changes == [4, 8]


def test_moving_means_are_no_part_of_kept_weights():
    model = MODELS.build(configured("pauc-kl")[0].model)
    assert weights.per_instance(model) == {"head.loss_module.log_u"}
    kept = weights.model_weights(model)
    assert not [key for key in kept if "loss_module" in key]


def test_the_network_starts_as_with_any_other_loss():
    made = []
    for method in ("bce", *METHODS):
        torch.manual_seed(5)
        kept = weights.model_weights(MODELS.build(configured(method)[0].model))
        made.append({key: value for key, value in kept.items() if "loss_module" not in key})
    for other in made[1:]:
        assert other.keys() == made[0].keys()
        assert all(torch.equal(other[name], made[0][name]) for name in other)
