"""Losses of several labels a sample: known answers, reductions, plain loops as oracle, edge cases, bounded memory.

`Z` and `Y` are two samples of five labels; the known answers were computed apart from this code, in float64.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from methods import baseline

torch = pytest.importorskip("torch")
F = torch.nn.functional

from hypothesis import given, settings, strategies  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import DATA_SAMPLERS, DATASETS, MODELS  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from baselines.multilabel.asl import AsymmetricLoss  # noqa: E402
from baselines.multilabel.db import DistributionBalancedLoss, LabelAwareSampler  # noqa: E402
from baselines.multilabel.lsep import LSEPLoss  # noqa: E402
from baselines.multilabel.pairwise import PairwiseRankingLoss  # noqa: E402
from baselines.multilabel.tkml import TKMLLoss  # noqa: E402
from baselines.multilabel.tkpr import SURROGATES, TKPRLoss, ideal  # noqa: E402
from baselines.multilabel.warp import WARPLoss  # noqa: E402
from baselines.multilabel.zlpr import ZLPRLoss  # noqa: E402
from baselines.parts import labels as parts  # noqa: E402
from baselines.parts.staged import StagedLoss  # noqa: E402
from baselines.shared.focal_bce import LabelFocalLoss  # noqa: E402
from suite.base.errors import UserError  # noqa: E402
from suite.define.card import resolve  # noqa: E402
from suite.define.catalog import Catalog  # noqa: E402
from tasks.vision.networks.labels import BinaryCrossEntropy  # noqa: E402

Z = torch.tensor([[1.2, -0.4, 0.7, -1.1, 0.1], [-0.3, 0.9, -0.8, 0.2, -1.5]], dtype=torch.float64)
Y = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]], dtype=torch.float64)
NORMALISE = ("none", "n+", "n-", "n+n-")
COUNTS, SAMPLES = [50, 30, 20, 8, 2], 100


def tkpr(surrogate, k, **more):
    return TKPRLoss(surrogate, k, "sigmoid" if surrogate == "square" else "raw", **more)


def known(value):
    return pytest.approx(value, abs=5e-11, rel=0)


# -- known answers
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (BinaryCrossEntropy(), 0.5977377686),
        (LabelFocalLoss(2.0), 0.1907327493),
        (AsymmetricLoss(reduction="sum"), 1.7780976627),
        (AsymmetricLoss(gamma_pos=0.0, reduction="sum"), 2.8027651376),
        (DistributionBalancedLoss(COUNTS, SAMPLES), 0.2940844216),
        (LSEPLoss(), 1.7675474595),
        (ZLPRLoss(), 2.3603876274),
        (WARPLoss(), 2.3666666667),
        (TKMLLoss(1), 1.85),
        (TKMLLoss(2), 1.3),
        (TKMLLoss(3), 0.85),
    ],
)
def test_known_values(loss, expected):
    assert loss(Z, Y).item() == known(expected)


@pytest.mark.parametrize(
    ("surrogate", "expected"),
    [
        ("logistic", (3.356545754, 1.678272877, 1.1188485847, 0.5594242923)),
        ("hinge", (3.65, 1.825, 1.2166666667, 0.6083333333)),
    ],
)
def test_known_values_of_pairwise_ranking(surrogate, expected):
    found = [PairwiseRankingLoss(kind, surrogate)(Z, Y).item() for kind in NORMALISE]
    assert found == known(expected)


@pytest.mark.parametrize(
    ("surrogate", "expected"),
    [
        ("square", (1.2412567143, 0.8592226601, 1.1342407446, 1.7184453203)),
        ("exp", (2.7811201258, 1.376036769, 1.6837860144, 2.7520735379)),
        ("logistic", (1.0356754676, 0.6491995443, 0.8391364385, 1.2983990886)),
        ("hinge", (1.425, 0.7, 0.9125, 1.4)),
    ],
)
def test_known_values_of_tkpr(surrogate, expected):
    forms = ({"list": "all"}, {}, {"extra": 1}, {"alpha": "one"})
    assert [tkpr(surrogate, 2, **form)(Z, Y).item() for form in forms] == known(expected)


def test_known_gradient_of_the_asymmetric_loss():
    scores = Z.clone().requires_grad_()
    AsymmetricLoss(reduction="sum")(scores, Y).backward()
    row = [-0.0535807759, 0.0056418405, -0.1100993545, 0.000372673, 0.024175559]
    assert scores.grad[0].tolist() == known(row)


def test_known_terms_of_the_distribution_balanced_loss():
    row = DistributionBalancedLoss(COUNTS, SAMPLES).terms(Z, Y)[0]
    assert row.tolist() == known([0.0159223306, 0.0006133324, 0.0991915733, 2.06e-8, 0.1250716747])


# -- reductions
def test_tkpr_over_all_irrelevant_labels_is_pairwise_ranking():
    for surrogate in ("logistic", "hinge"):
        by_pairs = PairwiseRankingLoss("n+n-", surrogate)(Z, Y)
        assert tkpr(surrogate, 3)(Z, Y).item() == pytest.approx(by_pairs.item(), rel=1e-14)
        # alpha one, K = N-: u3; a list that ends after N- = 3 entries, with divisor 5
        by_pairs = PairwiseRankingLoss("n-", surrogate)(Z, Y)
        assert tkpr(surrogate, 3, alpha="one")(Z, Y).item() == pytest.approx(by_pairs.item())
        assert tkpr(surrogate, 5, alpha="one")(Z, Y).item() == pytest.approx(
            by_pairs.item() * 3 / 5
        )


def test_alpha_of_tkpr():
    scores, targets = torch.randn(1, 8, dtype=torch.float64), torch.zeros(1, 8)
    targets[0, :3] = 1
    found = {a: tkpr("exp", 2, alpha=a)(scores, targets) for a in ("one", "n+", "min", "ideal")}
    divisor = {kind: (found["one"] / value).item() for kind, value in found.items()}
    assert divisor == pytest.approx({"one": 1, "n+": 3, "min": 2, "ideal": 2 / 2 + 1 / 2})
    for k in range(1, 7):
        for n in range(1, 7):
            most = sum((k + 1 - i) / k for i in range(1, min(k, n) + 1))
            assert ideal(torch.tensor([float(n)]), k).item() == pytest.approx(most)


def test_extra_takes_no_entry_where_the_list_is_at_its_end():
    assert tkpr("exp", 3, extra=1)(Z, Y).item() == tkpr("exp", 3)(Z, Y).item()
    assert tkpr("exp", 2, extra=1)(Z, Y).item() == pytest.approx(
        tkpr("exp", 3)(Z, Y).item() * 3 / 2
    )


def test_one_relevant_label_is_autkc():
    """Cao et al.'s AUTKC risk: sum over the K + 1 best other classes, of softmax scores, over K."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 7, generator=generator, dtype=torch.float64)
    label = torch.randint(7, (6,), generator=generator)
    p = scores.softmax(1)
    expected = 0.0
    for row, y in zip(p, label.tolist(), strict=True):
        others = sorted((v for j, v in enumerate(row.tolist()) if j != y), reverse=True)[:4]
        expected += sum((1 - (row[y].item() - v)) ** 2 for v in others) / 3 / 6
    loss = TKPRLoss("square", 3, "softmax", extra=1, alpha="one")
    assert loss(scores, F.one_hot(label, 7).double()).item() == pytest.approx(expected)


def test_scores_of_tkpr():
    for kind, made in (("sigmoid", Z.sigmoid()), ("softmax", Z.softmax(1))):
        expected = tkpr("logistic", 2)(made, Y)
        torch.testing.assert_close(TKPRLoss("logistic", 2, kind)(Z, Y), expected)
    with pytest.raises(ValueError, match="not monotone: use 'sigmoid'"):
        TKPRLoss("square", 2, "raw")


def test_no_focusing_is_plain_bce():
    bce = BinaryCrossEntropy()(Z, Y)
    torch.testing.assert_close(LabelFocalLoss(0.0)(Z, Y), bce)
    plain = AsymmetricLoss(gamma_neg=0.0, gamma_pos=0.0, margin=0.0)
    torch.testing.assert_close(plain(Z, Y), bce * 5)
    # no map of weights (alpha + 1/2 = 1), no bias, no tolerance, no focus
    flat = DistributionBalancedLoss(
        COUNTS, SAMPLES, alpha=0.5, beta=0.0, neg_scale=1.0, kappa=0.0, gamma=0.0, balance=1.0
    )
    torch.testing.assert_close(flat(Z, Y), bce)


def test_asymmetric_loss_reductions_and_margin():
    total = AsymmetricLoss(reduction="sum")(Z, Y)
    torch.testing.assert_close(AsymmetricLoss()(Z, Y), total / len(Z))
    easy = torch.tensor([[math.log(0.049 / 0.951), math.log(0.051 / 0.949)]])
    scores = easy.clone().requires_grad_()
    AsymmetricLoss()(scores, torch.zeros(1, 2)).backward()
    assert scores.grad[0, 0] == 0 < scores.grad[0, 1]


def test_the_focusing_weight_has_a_gradient_only_where_it_is_asked_for():
    def gradient(loss):
        scores = Z.clone().requires_grad_()
        loss(scores, Y).backward()
        return scores.grad

    frozen, flowing = (
        gradient(AsymmetricLoss(reduction="sum", focus_gradient=on)) for on in (False, True)
    )
    # the largest difference in the released code's two classes
    assert (frozen - flowing).abs().max().item() == pytest.approx(0.25, abs=0.05)
    focal = AsymmetricLoss(gamma_neg=2.0, gamma_pos=2.0, margin=0.0, focus_gradient=True)
    torch.testing.assert_close(gradient(focal), gradient(LabelFocalLoss(2.0)) * 5)


def test_losses_are_means_over_the_batch():
    """A sample without any relevant label is part of the mean: gradients of the others do not jump."""
    scores = torch.cat([Z, Z[:1]])
    targets = torch.cat([Y, torch.zeros(1, 5, dtype=torch.float64)])
    for name in ("rank-u1", "rank-u4", "lsep", "warp", "tkml", "tkpr-sq", "tkpr-log"):
        loss = LOSSES[name](5)
        torch.testing.assert_close(loss(scores, targets), loss(Z, Y) * 2 / 3)


def test_zlpr_pushes_all_labels_down_where_none_is_relevant():
    expected = torch.log1p(Z[:1].exp().sum())
    torch.testing.assert_close(ZLPRLoss()(Z[:1], torch.zeros(1, 5)), expected)


# -- plain loops as oracle
def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def one_sample(name, z, y, k):
    """The loss of one sample as its formula reads; means over labels for those that have them."""
    on = [i for i, t in enumerate(y) if t]
    off = [j for j, t in enumerate(y) if not t]
    pairs = [z[i] - z[j] for i in on for j in off]
    if name == "bce":
        return sum(math.log1p(math.exp(-v if t else v)) for v, t in zip(z, y, strict=True)) / len(z)
    if name.startswith("rank-u"):
        divisor = {"1": 1, "2": len(on), "3": len(off), "4": len(on) * len(off)}[name[-1]]
        return sum(math.log1p(math.exp(-d)) for d in pairs) / divisor if pairs else 0
    if name == "lsep":
        return math.log1p(sum(math.exp(-d) for d in pairs))
    if name == "zlpr":
        above, below = (sum(math.exp(s * z[c]) for c in part) for s, part in ((1, off), (-1, on)))
        return math.log1p(above) + math.log1p(below)
    if name == "warp":
        total = 0
        for i in on:
            over = [1 + z[j] - z[i] for j in off if 1 + z[j] - z[i] > 0]
            if over:
                total += sum(1 / m for m in range(1, len(over) + 1)) * sum(over) / len(over)
        return total
    if name == "tkml":
        order = sorted(z, reverse=True)
        return max(0, 1 + order[k] - min(z[i] for i in on)) if on and k < len(z) else 0
    kind = name.removeprefix("tkpr-")
    s = [sigmoid(v) for v in z] if kind == "sq" else z
    listed = sorted((s[j] for j in off), reverse=True)[:k]
    term = {
        "sq": lambda t: (1 - t) ** 2,
        "exp": lambda t: math.exp(-t),
        "log": lambda t: math.log1p(math.exp(-t)),
        "hinge": lambda t: max(0, 1 - t),
    }[kind]
    alpha = 1 if kind == "log" else max(len(on), 1)
    return sum(term(s[i] - t) for i in on for t in listed) / (alpha * k)


LOSSES = {
    "bce": lambda k: BinaryCrossEntropy(),
    "rank-u1": lambda k: PairwiseRankingLoss("none"),
    "rank-u2": lambda k: PairwiseRankingLoss("n+"),
    "rank-u3": lambda k: PairwiseRankingLoss("n-"),
    "rank-u4": lambda k: PairwiseRankingLoss("n+n-"),
    "lsep": lambda k: LSEPLoss(),
    "zlpr": lambda k: ZLPRLoss(),
    "warp": lambda k: WARPLoss(),
    "tkml": TKMLLoss,
    "tkpr-sq": lambda k: tkpr("square", k),
    "tkpr-exp": lambda k: tkpr("exp", k),
    "tkpr-log": lambda k: tkpr("logistic", k, alpha="one"),
    "tkpr-hinge": lambda k: tkpr("hinge", k),
}
SMOOTH = {
    "focal-bce": lambda k: LabelFocalLoss(0.5),
    "asl": lambda k: AsymmetricLoss(focus_gradient=True, margin=0.0),
    "db": lambda k: DistributionBalancedLoss([9, 5, 3, 1, 0], 9),
    "rank-hinge": lambda k: PairwiseRankingLoss("n-", "hinge"),
    "tkpr-all": lambda k: tkpr("exp", k, list="all", alpha="ideal"),
    "tkpr-softmax": lambda k: TKPRLoss("square", k, "softmax", extra=1, alpha="min"),
}
EVERY = LOSSES | SMOOTH


@strategies.composite
def batches(draw):
    """Scores (B, L) and targets, rows without a relevant or an irrelevant label among them."""
    size, width = draw(strategies.integers(1, 4)), draw(strategies.integers(1, 7))
    seed = draw(strategies.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    rates = draw(
        strategies.lists(strategies.sampled_from([0, 0.3, 0.7, 1]), min_size=size, max_size=size)
    )
    targets = rng.random((size, width)) < np.array(rates)[:, None]
    scores = torch.from_numpy(3 * rng.standard_normal((size, width)))
    return scores, torch.from_numpy(targets).double()


@settings(max_examples=25, deadline=None)
@given(batches(), strategies.integers(1, 8), strategies.sampled_from([3, 2**23]))
def test_every_sample_is_what_its_formula_says(batch, k, pairs):
    scores, targets = batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PAIRS", pairs)
        for name, make in LOSSES.items():
            rows = zip(scores.tolist(), targets.tolist(), strict=True)
            expected = sum(one_sample(name, z, y, k) for z, y in rows) / len(scores)
            found = make(k)(scores, targets).item()
            assert found == pytest.approx(expected, rel=1e-10, abs=1e-12), name


@settings(max_examples=40, deadline=None)
@given(batches(), strategies.integers(1, 8), strategies.sampled_from(["one", "n+", "min", "ideal"]))
def test_tkpr_in_all_its_forms(batch, k, alpha):
    scores, targets = batch
    for listed, extra in (("irrelevant", 0), ("irrelevant", 1), ("all", 0), ("all", 1)):
        expected = 0.0
        for z, y in zip(scores.tolist(), targets.tolist(), strict=True):
            on = [v for v, t in zip(z, y, strict=True) if t]
            others = [v for v, t in zip(z, y, strict=True) if listed == "all" or not t]
            top = sorted(others, reverse=True)[: k + extra]
            reached = min(k, len(on))
            best = sum((k + 1 - i) / k for i in range(1, reached + 1))
            divisor = {"one": 1, "n+": len(on), "min": reached, "ideal": best}[alpha]
            total = sum(math.exp(t - v) for v in on for t in top)
            expected += total / (divisor * k * len(scores)) if on else 0
        loss = tkpr("exp", k, list=listed, extra=extra, alpha=alpha)
        assert loss(scores, targets).item() == pytest.approx(expected, rel=1e-10)


def test_surrogates_are_bounds():
    t = torch.linspace(-3, 1, 41, dtype=torch.float64)
    for name, surrogate in SURROGATES.items():
        bound = surrogate(t) / (math.log(2) if name == "logistic" else 1)
        assert (bound >= (t <= 0).double() - 1e-12).all()
        assert (surrogate(t).diff() <= 1e-12).all()


# -- gradients, edges
@pytest.mark.parametrize("name", EVERY)
class TestEveryLoss:
    @pytest.mark.parametrize("pairs", [4, 2**23])
    def test_gradient_is_right(self, name, pairs, monkeypatch):
        monkeypatch.setattr(parts, "PAIRS", pairs)
        rows = ([0] * 5, [1] * 5, [1, 1, 0, 1, 0], [0, 0, 1, 0, 0])
        targets = torch.tensor(rows, dtype=torch.float64)
        generator = torch.Generator().manual_seed(1)
        scores = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
        loss = EVERY[name](2)
        assert torch.autograd.gradcheck(lambda z: loss(z, targets), scores)

    @pytest.mark.parametrize("scale", [0.0, 1.0, 60.0, 1e4])
    @pytest.mark.parametrize("row", ["none", "all", "one", "single label", "single label, there"])
    def test_edges_are_finite(self, name, row, scale):
        width = 1 if row.startswith("single") else 5
        if name == "db" and width == 1:
            loss = DistributionBalancedLoss([0], 1)
        else:
            loss = EVERY[name](3)
        targets = torch.zeros(2, width)
        targets[:, : {"all": 5, "one": 1, "single label, there": 1}.get(row, 0)] = 1
        # both orders: what is right and what is wrong
        line = scale * torch.linspace(-1, 1, width)
        scores = torch.stack([line, line.flip(0)]).requires_grad_()
        value = loss(scores, targets)
        if name in ("tkpr-exp", "tkpr-all") and scale >= 60 and row in ("one", "all"):
            # e^-t overflows as float32 does, and is never nan: the harness ends the run
            assert not value.isnan()
            return
        value.backward()
        assert value.isfinite() and value >= 0
        assert scores.grad.isfinite().all()
        no_pair = row in ("none", "all", "single label", "single label, there")
        if name.startswith(("rank", "lsep", "warp", "tkpr")) and no_pair and name != "tkpr-all":
            assert value == 0
            assert torch.equal(scores.grad, torch.zeros_like(scores))

    def test_arguments_are_left_alone_and_types_kept(self, name):
        """Targets of any type the head may give, and what it hands over beside them."""
        loss = EVERY[name](2)
        for dtype in (torch.float32, torch.float64):
            scores, targets = Z.to(dtype), Y.to(dtype)
            before = scores.clone(), targets.clone()
            value = loss(scores, targets, index=torch.arange(2), features=torch.ones(2, 3))
            assert value.dtype == dtype and value.shape == ()
            assert torch.equal(scores, before[0]) and torch.equal(targets, before[1])
            torch.testing.assert_close(value.double(), loss(Z, Y), atol=1e-6, rtol=1e-6)

    def test_no_state(self, name):
        assert not EVERY[name](2).state_dict()

    def test_order_of_samples_and_labels_is_irrelevant(self, name):
        if name == "db":
            pytest.skip("its labels have counts")
        loss = EVERY[name](2)
        order = [4, 2, 0, 1, 3]
        torch.testing.assert_close(loss(Z[:, order], Y[:, order]), loss(Z, Y))
        torch.testing.assert_close(loss(Z.flip(0), Y.flip(0)), loss(Z, Y))


class Largest(TorchDispatchMode):
    """Notes the largest tensor that an operation makes."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


@pytest.mark.parametrize("name", EVERY)
def test_memory_stays_bounded(name, monkeypatch):
    """Forward and backward of rows with few, half, and all labels relevant: never (B, L, L), nor (B, max N+, L)."""
    monkeypatch.setattr(parts, "PAIRS", 20_000)
    size, width, k = 3, 1500, 5
    targets = torch.zeros(size, width)
    targets[0, :4] = targets[1, ::2] = targets[2] = 1
    scores = torch.randn(size, width, requires_grad=True)
    loss = EVERY[name](k)
    if name == "db":
        loss = DistributionBalancedLoss([1] * width, 4)
    with Largest() as largest:
        loss(scores, targets).backward()
    # TKPR: (k + 1) entries for each relevant label, and so K times the scores at most
    assert size * width <= largest.numbers <= max(20_000, (k + 1) * size * width)
    assert scores.grad.isfinite().all()


def test_blocks_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(5, 40, generator=generator, dtype=torch.float64)
    targets = (torch.rand(5, 40, generator=generator) < 0.4).double()
    for make in (PairwiseRankingLoss("none"), PairwiseRankingLoss("n+", "hinge"), WARPLoss()):
        found = []
        for pairs in (1, 130, 2**23):
            monkeypatch.setattr(parts, "PAIRS", pairs)
            leaf = scores.clone().requires_grad_()
            value = make(leaf, targets)
            value.backward()
            found.append((value.detach(), leaf.grad))
        torch.testing.assert_close(found[0], found[2])
        torch.testing.assert_close(found[1], found[2])


# -- the distribution-balanced loss
def test_labels_without_an_observed_positive_and_those_that_all_have():
    loss = DistributionBalancedLoss([0, 4, 1], 4)
    as_one = DistributionBalancedLoss([1, 4, 1], 4)
    assert torch.equal(loss.bias, as_one.bias) and torch.equal(loss.inverse, as_one.inverse)
    assert loss.bias.isfinite().all() and loss.bias[1] > loss.bias[0]
    assert DistributionBalancedLoss([1], 1).bias.isfinite().all()


def test_weight_of_a_sample_without_a_relevant_label():
    plain = dict(kappa=0.0, gamma=0.0, balance=1.0, neg_scale=1.0)
    loss = DistributionBalancedLoss(COUNTS, SAMPLES, **plain)
    found = loss.terms(Z[:1], torch.zeros(1, 5, dtype=torch.float64))
    torch.testing.assert_close(found, (0.1 + sigmoid(-3)) * F.softplus(Z[:1]))


def test_weights_are_exact_under_autocast():
    loss = DistributionBalancedLoss(COUNTS, SAMPLES)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(Z.float(), Y.float())
    torch.testing.assert_close(found, loss(Z.float(), Y.float()), atol=0, rtol=0)


LABELS = torch.zeros(100, 4, dtype=torch.bool)
LABELS[:80, 0] = LABELS[70:90, 1] = LABELS[88:90, 2] = True
"""80, 20 and 2 positives, the last 10 samples without any, the last label without any."""


def test_class_aware_sampling_draws_every_label_alike():
    sampler = LabelAwareSampler(SimpleNamespace(labels=LABELS), seed=0)
    assert len(sampler) == 100
    stream = iter(sampler)
    drawn = np.array([next(stream) for _ in range(30_000)])
    # of every sample: its labels' shares, 1/3 each, divided by their counts
    expected = (LABELS[:, :3] / torch.tensor([80, 20, 2])).sum(1) / 3
    share = np.bincount(drawn, minlength=100) / 30_000
    assert share == pytest.approx(expected.numpy(), abs=0.01)
    assert share[90:].sum() == 0
    # samples are drawn through one label: a sample of two is drawn for each
    shown = LABELS[torch.from_numpy(drawn)].double().mean(0)
    assert shown.tolist() == pytest.approx(
        (LABELS.double().T @ expected.double()).tolist(), abs=0.01
    )


def test_what_is_drawn_follows_from_seed_and_place():
    def first(seed, n):
        stream = iter(LabelAwareSampler(SimpleNamespace(labels=LABELS), seed))
        return [next(stream) for _ in range(n)]

    assert first(3, 50) == first(3, 5000)[:50]
    assert first(3, 50) != first(4, 50)
    with pytest.raises(ValueError, match="no training sample has a label"):
        LabelAwareSampler(SimpleNamespace(labels=LABELS[90:]), 0)


def test_ranks_share_the_draws(monkeypatch):
    from baselines.parts import sampling

    data = SimpleNamespace(labels=LABELS)
    whole = iter(LabelAwareSampler(data, 5))
    drawn = [next(whole) for _ in range(40)]
    for rank in (0, 1):
        monkeypatch.setattr(sampling, "get_dist_info", lambda rank=rank: (rank, 2))
        mine = iter(LabelAwareSampler(data, 5))
        assert [next(mine) for _ in range(20)] == drawn[rank::2]


# -- cards
FACTS = SimpleNamespace(
    num_classes=5,
    class_counts=(60, 40, 20, 8, 4),
    image_counts=tuple(COUNTS),
    iterations=100,
    batch=8,
)


@DATASETS.register_module()
class LabelsOfTest:
    """The training set of `config`: only its size and labels are asked for."""

    labels = LABELS

    def __len__(self):
        return len(LABELS)


def config(k=3):
    return Config(
        {
            "model": {"backbone": {}, "head": {"type": "MultiLabelHead", "loss": None}},
            "train_dataloader": {
                "dataset": {"type": "LabelsOfTest"},
                "sampler": {"type": "InfiniteSampler"},
            },
            "test_evaluator": {"type": "SomeMetric", "k": k},
        }
    )


CATALOG = Catalog.load()
NAMES = {
    "bce": "bce",
    "focal-bce": "focal_bce",
    "asl": "asl",
    "lsep": "lsep",
    "zlpr": "zlpr",
    "warp": "warp",
    "tkml": "tkml",
    "db": "db",
    **{f"rank-u{i}": "pairwise" for i in range(1, 5)},
    **{f"tkpr-{surrogate}": "tkpr" for surrogate in ("sq", "exp", "log", "hinge")},
}


def configured(name, protocol="quick", protocol_k=3, facts=FACTS, **params):
    params = resolve(CATALOG.card(name), name, protocol, params)
    return baseline(NAMES[name]).configure(config(protocol_k), facts, **params)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bce", 0.5977377686),
        ("focal-bce", 0.1907327493),
        ("asl", 1.7780976627 / 2),
        ("rank-u1", 3.356545754),
        ("rank-u2", 1.678272877),
        ("rank-u3", 1.1188485847),
        ("rank-u4", 0.5594242923),
        ("lsep", 1.7675474595),
        ("zlpr", 2.3603876274),
        ("warp", 2.3666666667),
        ("tkml", 1.3),
        ("tkpr-sq", 0.8592226601),
        ("tkpr-exp", 1.376036769),
        ("tkpr-log", 1.2983990886),
        ("tkpr-hinge", 0.7),
    ],
)
def test_defaults_of_every_card(name, expected):
    """With the protocol's K = 2 and no parameter of the user's."""
    cfg = configured(name, protocol_k=2)
    assert MODELS.build(cfg.model.head.loss)(Z, Y).item() == known(expected)
    assert cfg.train_dataloader.sampler.type == "InfiniteSampler"


def test_distribution_balanced_loss_is_configured_with_observed_counts_and_its_sampler():
    cfg = configured("db")
    assert cfg.train_dataloader.sampler.type == "LabelAwareSampler"
    assert cfg.model.head.loss.class_counts == COUNTS
    # a number: the model can be built where the data are not
    assert cfg.model.head.loss.samples == SAMPLES == len(LABELS)
    loss = MODELS.build(cfg.model.head.loss)
    assert loss(Z, Y).item() == known(0.2940844216)
    sampler = {**cfg.train_dataloader.sampler, "dataset": SimpleNamespace(labels=LABELS), "seed": 1}
    assert isinstance(DATA_SAMPLERS.build(sampler), LabelAwareSampler)
    cfg = configured("db", class_aware=False)
    assert cfg.train_dataloader.sampler.type == "InfiniteSampler"


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("voc-lt:r50", (0.3, 5.0)),
        ("coco-lt:r50", (0.2, 2.0)),
        ("coco-lt:r50,single-positive", (0.2, 2.0)),
        ("yeast:mlp", (0.3, 5.0)),
    ],
)
def test_settings_of_the_authors(protocol, expected):
    loss = configured("db", protocol).model.head.loss
    assert (loss.mu, loss.neg_scale) == expected
    assert (loss.alpha, loss.beta, loss.kappa) == (0.1, 10.0, 0.05)


def test_parameters_reach_the_losses():
    assert MODELS.build(configured("focal-bce", gamma=0.0).model.head.loss)(Z, Y).item() == known(
        0.5977377686
    )
    loss = configured("asl", gamma_pos=0.0, reduction="sum").model.head.loss
    assert MODELS.build(loss)(Z, Y).item() == known(2.8027651376)
    assert configured("asl", focus_gradient=True).model.head.loss.focus_gradient is True
    loss = configured("rank-u2", surrogate="hinge").model.head.loss
    assert MODELS.build(loss)(Z, Y).item() == known(1.825)
    assert MODELS.build(configured("tkml", k=1).model.head.loss)(Z, Y).item() == known(1.85)
    for params, value in (
        ({"k": 3, "alpha": "n+"}, 0.5594242923),
        ({"k": 2, "alpha": "n+", "list": "all"}, 1.0356754676),
        ({"k": 2, "alpha": "n+", "extra": 1}, 0.8391364385),
        ({"k": 2, "alpha": "n+", "surrogate": "square", "scores": "sigmoid"}, 0.8592226601),
    ):
        loss = MODELS.build(configured("tkpr-log", protocol_k=1, **params).model.head.loss)
        assert loss(Z, Y).item() == known(value)


def test_warm_up_on_bce():
    loss = MODELS.build(configured("tkpr-hinge", protocol_k=2, warm=0.25).model.head.loss)
    assert isinstance(loss, StagedLoss)
    index = torch.arange(2)
    assert loss(Z, Y, index=index).item() == known(0.5977377686)
    loss.set_progress(0.25)
    assert loss(Z, Y, index=index).item() == known(0.7)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("tkpr-sq", {"scores": "raw"}, "surrogate=square on scores=raw .*; set scores=sigmoid"),
        ("tkpr-log", {"surrogate": "square"}, "set scores=sigmoid"),
        ("tkpr-log", {"k": 6}, "k=6: the protocol has 5 labels; set k to a whole .* 1 to 5"),
        ("tkpr-log", {"k": 2.5}, "k=2.5: .* set k to a whole number from 1 to 5"),
        ("tkml", {"k": 5}, "tkml.k=5: the protocol has 5 labels; .* from 1 to 4"),
        (
            "tkpr-log",
            {"protocol_k": 9},
            "k=9: the protocol has 5 labels; set k to a whole .* 1 to 5",
        ),
        ("tkpr-log", {"k": 0}, "k=0.0 is below 1.0"),
        ("asl", {"reduction": "max"}, "none of"),
    ],
)
def test_what_makes_no_sense_is_one_line(name, params, message):
    with pytest.raises(UserError, match=message) as caught:
        configured(name, **params)
    assert "\n" not in str(caught.value)


def test_a_single_label_leaves_no_top_k():
    facts = SimpleNamespace(num_classes=1)
    with pytest.raises(UserError, match="1 label, which leaves no K to choose; use `bce`"):
        configured("tkml", protocol_k=1, facts=facts)
    assert configured("tkpr-sq", protocol_k=1, facts=facts).model.head.loss.k == 1
