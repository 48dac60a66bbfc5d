"""Losses for missing labels: known answers, loops as oracles, what is selected when, and state that resumes exactly."""

import math
from types import SimpleNamespace

import pytest
from methods import baseline

torch = pytest.importorskip("torch")
F = torch.nn.functional

from hypothesis import given, settings, strategies  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.registry import DATASETS, MODELS  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

from baselines.multilabel.an import AssumeNegative  # noqa: E402
from baselines.multilabel.em import EntropyMaximization  # noqa: E402
from baselines.multilabel.epr import ExpectedPositive  # noqa: E402
from baselines.multilabel.hill import HillLoss  # noqa: E402
from baselines.multilabel.large_loss import LargeLoss  # noqa: E402
from baselines.multilabel.role import OnlineLabelEstimation  # noqa: E402
from baselines.multilabel.splc import SelfPacedCorrection  # noqa: E402
from suite.define.catalog import Catalog  # noqa: E402
from suite.engine import data, stages, weights  # noqa: E402, F401 - registers sampler and hook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook  # noqa: E402
from suite.engine.runner import SuiteRunner  # noqa: E402

Z = torch.tensor([[1.2, -0.4, 0.7, -1.1, 0.1], [-0.3, 0.9, -0.8, 0.2, -1.5]], dtype=torch.float64)
Y = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]], dtype=torch.float64)
INDEX = torch.tensor([0, 1])
CATALOG = Catalog.load()
METHODS = ("an", "wan", "an-ls", "em", "epr", "role", "hill", "splc", "ll-r", "ll-ct", "ll-cp")


@DATASETS.register_module(force=True)
class FewLabels(Dataset):
    """`samples` of `labels` labels, of which sample i shows i % labels, and i % 3 where that is another."""

    def __init__(self, samples=2, labels=5, observed=None):
        if observed is None:
            observed = torch.zeros(samples, labels, dtype=torch.bool)
            for i in range(samples):
                observed[i, i % labels] = observed[i, i % 3 % labels] = True
        self.labels = torch.as_tensor(observed, dtype=torch.bool)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        label = self.labels[index].float()
        return {"inputs": torch.randn(6, generator=generator), "label": label, "index": index}


TWO = {"type": "FewLabels", "observed": Y.bool().tolist()}
BUDGET = {"iterations": 100, "batch": 2, "dataset": TWO}


def at_epoch(loss, epoch):
    """`loss` (of `BUDGET`) as it is in that pass, from 0."""
    loss.set_progress(epoch / BUDGET["iterations"])
    assert loss.epoch == epoch
    return loss


def role(k=2.0, estimates=None, observed=TWO):
    made = OnlineLabelEstimation(k, [], observed).double()
    if estimates is not None:
        with torch.no_grad():
            made.label_estimates.copy_(estimates)
    return made


def known(value):
    """To the ten digits that are printed."""
    return pytest.approx(value, abs=6e-11)


# -- known answers


def test_known_answers():
    assert AssumeNegative()(Z, Y).item() == known(0.597717563)
    assert AssumeNegative(weak=True)(Z, Y).item() == known(0.3525998015)
    assert EntropyMaximization(0.1)(Z, Y).item() == known(0.2317270432)
    assert ExpectedPositive(2.0, [], TWO)(Z, Y).item() == known(0.2771591735)
    estimates = torch.full_like(Z, math.log(0.4 / 0.6))
    assert role(2.0, estimates)(Z, Y, INDEX).item() == known(1.0582322759)
    assert HillLoss(reduction="sum")(Z, Y).item() == known(3.9306151066)
    splc = SelfPacedCorrection(**BUDGET, reduction="sum")
    assert splc(Z, Y).item() == known(3.4938187008)
    # nothing is above .6 but what is observed
    assert at_epoch(splc, 1)(Z, Y).item() == known(3.4938187008)
    corrected = SelfPacedCorrection(**BUDGET, threshold=0.5, margin=0.0, reduction="sum")
    assert at_epoch(corrected, 1)(Z, Y).item() == known(1.7274953818)
    for scheme, value in (("reject", 0.4434842157), ("correct", 0.5677377686)):
        loss = LargeLoss(scheme, 20.0, **BUDGET)
        assert loss(Z, Y).item() == known(0.5977377686)  # bce, in the first pass
        assert at_epoch(loss, 1).modified(10) == 2
        assert loss(Z, Y).item() == known(value)
    flipping = at_epoch(LargeLoss("flip", 20.0, **BUDGET), 1)
    assert flipping(Z, Y, INDEX).item() == known(0.5677377686)


def test_sums_over_the_batch_and_means_over_it():
    for loss in (HillLoss, lambda **more: SelfPacedCorrection(**BUDGET, **more)):
        whole = loss(reduction="sum")(Z, Y)
        torch.testing.assert_close(loss()(Z, Y), whole / 2)
        with pytest.raises(ValueError, match="reduction is 'none', expected one of mean, sum"):
            loss(reduction="none")


# -- oracles


def log_(q):
    return math.log(q + 1e-5)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def each(scores, targets, function):
    """The sum of function(z, y) over all labels."""
    pairs = zip(scores.flatten().tolist(), targets.flatten().tolist(), strict=True)
    return sum(function(z, y) for z, y in pairs)


def cross(a, b):
    return -a * log_(b) - (1 - a) * log_(1 - b)


def excess(probabilities, k):
    rows = [sum(row) for row in probabilities.tolist()]
    return ((sum(rows) / len(rows) - k) / probabilities.shape[1]) ** 2


def oracle_an(z, y, weak, smoothing):
    others = max(z.shape[1] - 1, 1) if weak else 1
    soft = {1.0: 1 - smoothing, 0.0: smoothing}
    return each(z, y, lambda z, y: cross(soft[y], sigmoid(z)) / (1 if y else others)) / z.numel()


def oracle_em(z, y, alpha):
    def one(z, y):
        p = sigmoid(z)
        return -log_(p) if y else -alpha * cross(p, p)

    return each(z, y, one) / z.numel()


def oracle_epr(z, y, k):
    return each(z, y, lambda z, y: -y * log_(sigmoid(z))) / z.numel() + excess(z.sigmoid(), k)


def oracle_role(z, y, estimates, k):
    total = 0.0
    for own, other in ((z, estimates), (estimates, z)):
        pairs = zip(other.flatten().tolist(), own.flatten().tolist(), strict=True)
        mutual = sum(cross(sigmoid(a), sigmoid(b)) for a, b in pairs)
        total += (oracle_epr(own, y, k) + mutual / z.numel()) / 2
    return total


def oracle_hill(z, y, margin, gamma, lam):
    def one(z, y):
        p, moved = sigmoid(z), sigmoid(z - margin)
        return -((1 - moved) ** gamma) * math.log(moved) if y else (lam - p) * p**2

    return each(z, y, one) / len(z)


def oracle_splc(z, y, threshold, margin, gamma):
    def one(z, y):
        q = sigmoid(z - margin) if y else sigmoid(z)
        q = q if y or q > threshold else 1 - q
        return -((1 - q) ** gamma) * math.log(q)

    return each(z, y, one) / len(z)


def oracle_large(z, y, count, large_value):
    """Ties with the `count`-th largest loss of an unknown label belong to it."""
    rows, labels = z.shape
    places = [(i, j) for i in range(rows) for j in range(labels)]
    loss = {(i, j): F.binary_cross_entropy_with_logits(z[i, j], y[i, j]).item() for i, j in places}
    unknown = sorted((loss[at] for at in places if not y[at]), reverse=True)
    least = unknown[min(count, len(unknown)) - 1] if unknown and count else math.inf
    for i, j in places:
        if not y[i, j] and loss[i, j] >= least:
            loss[i, j] = large_value(z[i, j].item())
    return sum(loss.values()) / len(places)


@strategies.composite
def batches(draw):
    """Logits and observed labels, (B, L): L = 1, rows without and with nothing but positives among them."""
    rows, labels = draw(strategies.integers(1, 5)), draw(strategies.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(strategies.integers(0, 10**6)))
    scores = 3 * torch.randn(rows, labels, generator=generator, dtype=torch.float64)
    share = draw(strategies.sampled_from([0.0, 0.3, 0.7, 1.0]))
    targets = torch.rand(rows, labels, generator=generator) < share
    return scores, targets.double()


def of_rows(rows, labels, **more):
    dataset = {"type": "FewLabels", "samples": rows, "labels": labels}
    return {"iterations": 100, "batch": rows, "dataset": dataset, **more}


@settings(max_examples=40, deadline=None)
@given(batches())
def test_losses_are_what_loops_give(batch):
    rows, labels = batch[0].shape
    index = torch.arange(rows)
    budget = of_rows(rows, labels)

    def same(loss, expected):
        assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)

    for weak in (False, True):
        for smoothing in (0.0, 0.1, 1.0):
            loss = AssumeNegative(weak, smoothing)(*batch)
            same(loss, oracle_an(*batch, weak, smoothing))
    same(EntropyMaximization(0.2)(*batch), oracle_em(*batch, 0.2))
    same(ExpectedPositive(1.5, [], budget["dataset"])(*batch), oracle_epr(*batch, 1.5))
    estimates = role(1.5, observed=budget["dataset"])
    same(
        estimates(*batch, index),
        oracle_role(*batch, estimates.label_estimates.detach(), 1.5),
    )
    same(HillLoss(0.5, 1.5, 1.2)(*batch), oracle_hill(*batch, 0.5, 1.5, 1.2))
    splc = SelfPacedCorrection(**budget, threshold=0.55, start=2, margin=0.5, gamma=1.5)
    same(at_epoch(splc, 1)(*batch), oracle_splc(*batch, 1.0, 0.5, 1.5))
    same(at_epoch(splc, 2)(*batch), oracle_splc(*batch, 0.55, 0.5, 1.5))
    for epoch in range(4):
        count = math.ceil(rows * labels * epoch * 15 / 100)
        rejecting = at_epoch(LargeLoss("reject", 15.0, **budget), epoch)
        same(rejecting(*batch), oracle_large(*batch, count, lambda z: 0.0))
        as_positive = at_epoch(LargeLoss("correct", 15.0, **budget), epoch)
        same(as_positive(*batch), oracle_large(*batch, count, lambda z: math.log1p(math.exp(-z))))


@pytest.mark.parametrize(
    "loss",
    [
        AssumeNegative(),
        AssumeNegative(weak=True),
        AssumeNegative(smoothing=0.1),
        EntropyMaximization(),
        ExpectedPositive(2.0, [], TWO),
        HillLoss(),
        HillLoss(gamma=0.5, reduction="sum"),
        SelfPacedCorrection(**BUDGET),
        SelfPacedCorrection(**BUDGET, threshold=0.5, start=0),
        at_epoch(LargeLoss("reject", 10.0, **BUDGET), 3),
        at_epoch(LargeLoss("correct", 10.0, **BUDGET), 3),
        at_epoch(LargeLoss("flip", 10.0, **BUDGET), 3).eval(),
    ],
)
def test_gradients(loss):
    scores = Z.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, Y, index=INDEX), scores)


@pytest.mark.parametrize("scale", [0.0, 30.0, 1e4])
@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_far_out_losses_and_gradients_stay_finite(scale, fill):
    scores = (scale * torch.tensor([[1.0, -1.0, 0.5]])).requires_grad_()
    targets = torch.full((1, 3), fill)
    of = of_rows(1, 3)
    losses = [
        AssumeNegative(),
        EntropyMaximization(),
        ExpectedPositive(1.0, [], of["dataset"]),
        OnlineLabelEstimation(1.0, [], of["dataset"]),
        HillLoss(gamma=0.5),
        at_epoch(SelfPacedCorrection(**of, gamma=0.5), 1),
        at_epoch(LargeLoss("reject", 50.0, **of), 1),
        at_epoch(LargeLoss("flip", 50.0, **of), 1),
    ]
    for loss in losses:
        value = loss(scores, targets, index=torch.tensor([0]))
        (gradient,) = torch.autograd.grad(value, scores)
        assert torch.isfinite(value) and torch.isfinite(gradient).all(), type(loss).__name__


def test_one_label():
    """wan divides by no label but its own, and a rank of losses has one place."""
    scores, targets = torch.tensor([[0.3], [-2.0]]), torch.tensor([[1.0], [0.0]])
    plain = AssumeNegative()(scores, targets)
    torch.testing.assert_close(AssumeNegative(weak=True)(scores, targets), plain)
    of = of_rows(2, 1)
    rejecting = at_epoch(LargeLoss("reject", 50.0, **of), 1)
    expected = F.softplus(torch.tensor(-0.3)) / 2
    torch.testing.assert_close(rejecting(scores, targets), expected)


def test_bad_arguments_and_shapes():
    for loss in (AssumeNegative(), HillLoss(), LargeLoss("reject", 1.0, **BUDGET), role()):
        with pytest.raises(ValueError, match=r"targets \(2,\), expected \(B, L\) both"):
            loss(Z, torch.ones(2), index=INDEX)
        with pytest.raises(ValueError, match=r"scores are \(2, 5\) and targets \(2, 1\)"):
            loss(Z, Y[:, :1], index=INDEX)
    for stateful in (role(), LargeLoss("flip", 1.0, **BUDGET)):
        with pytest.raises(ValueError, match="needs `index`"):
            stateful(Z, Y)
    with pytest.raises(ValueError, match="smoothing is 2"):
        AssumeNegative(smoothing=2)
    with pytest.raises(ValueError, match="gamma -1 and lam"):
        HillLoss(gamma=-1)
    with pytest.raises(ValueError, match="scheme is 'swap' and delta 1"):
        LargeLoss("swap", 1.0, **BUDGET)
    with pytest.raises(ValueError, match="delta 101"):
        LargeLoss("flip", 101, **BUDGET)


# -- passes over the samples


def test_passes_are_counted_in_samples():
    """Of 10 samples in batches of 4: iteration 3 begins with samples 12 to 15, in the second pass."""
    of = {"iterations": 30, "batch": 4, "dataset": {"type": "FewLabels", "samples": 10}}
    loss = SelfPacedCorrection(**of)
    assert loss.epoch == 0
    for i in [*range(30), 7, 0, 29]:  # it follows from the share alone, in any order
        loss.set_progress(i / 30)
        assert loss.epoch == 4 * i // 10


@given(strategies.integers(1, 10**6), strategies.integers(1, 512), strategies.data())
def test_passes_are_exact_however_the_share_is_rounded(iterations, batch, data):
    i = data.draw(strategies.integers(0, iterations - 1))
    loss = SelfPacedCorrection(iterations, batch, TWO)
    loss.set_progress(i / iterations)
    assert loss.epoch == i * batch // 2


def test_splc_corrects_strictly_above_the_threshold_and_from_its_pass_on():
    of = of_rows(1, 4)
    scores = torch.tensor([[0.0, 1e-6, -1e-6, 1.0]], dtype=torch.float64)
    targets = torch.zeros(1, 4, dtype=torch.float64)
    loss = SelfPacedCorrection(**of, threshold=0.5, start=3, margin=1.0, gamma=0.0)
    before = at_epoch(loss, 2)(scores, targets)
    torch.testing.assert_close(before, F.softplus(scores).sum())
    after = at_epoch(loss, 3)(scores, targets)
    signs = torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    # sigmoid(0) is not above .5; a corrected label has no margin
    torch.testing.assert_close(after, F.softplus(signs * scores).sum())
    assert targets.sum() == 0


def test_splc_leaves_observed_positives_what_they_are():
    """One below the threshold keeps its margin, and is a positive whatever its score."""
    of = of_rows(1, 2)
    scores = torch.tensor([[-5.0, 5.0]], dtype=torch.float64)
    loss = SelfPacedCorrection(**of, start=0, gamma=0.0)(scores, torch.ones_like(scores))
    torch.testing.assert_close(loss, F.softplus(-(scores - 1)).sum())


# -- large losses


@pytest.mark.parametrize(
    ("delta", "labels", "counts"),
    [
        (0.2, 64 * 20, [0, 3, 6, 8, 11]),
        (0.1, 1000, [0, 1, 2, 3, 4]),  # 1000 * 3 * .1 / 100 is above 3 in floating point
        (0.3, 1000, [0, 3, 6, 9, 12]),
        (40.0, 10, [0, 4, 8, 10, 10]),
        (0.0, 10, [0, 0, 0, 0, 0]),
    ],
)
def test_how_many_labels_a_pass_modifies(delta, labels, counts):
    growing = LargeLoss("reject", delta, **BUDGET)
    assert [at_epoch(growing, t).modified(labels) for t in range(5)] == counts
    fixed = LargeLoss("flip", delta, **BUDGET)
    assert [at_epoch(fixed, t).modified(labels) for t in range(5)] == [0, *[counts[1]] * 4]


def selected(scores, targets, count):
    """Which labels are rejected: those whose loss has no gradient."""
    numel = targets.numel()
    of = of_rows(*targets.shape)
    loss = at_epoch(LargeLoss("reject", 100 * count / numel, **of), 1)
    assert loss.modified(numel) == count
    scores = scores.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(scores, targets), scores)
    return (gradient == 0).nonzero().tolist()


def test_the_largest_losses_of_unknown_labels_are_selected():
    scores = torch.tensor([[9.0, 2.0, -1.0], [3.0, -9.0, 2.5]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    # the observed positive at -9 has the largest loss of all, and is kept
    assert selected(scores, targets, 1) == [[1, 0]]
    assert selected(scores, targets, 2) == [[1, 0], [1, 2]]
    assert selected(scores, targets, 4) == [[0, 1], [0, 2], [1, 0], [1, 2]]
    # with more to be modified than there are unknown labels observed ones are kept, too
    assert selected(scores, targets, 6) == [[0, 1], [0, 2], [1, 0], [1, 2]]


def test_ties_with_the_last_selected_are_selected():
    scores = torch.tensor([[1.0, 1.0, 1.0, 0.5]])
    unknown = torch.zeros(1, 4)
    assert selected(scores, unknown, 1) == [[0, 0], [0, 1], [0, 2]]
    assert selected(scores, torch.tensor([[0.0, 1.0, 0.0, 0.0]]), 2) == [[0, 0], [0, 2]]


def test_a_batch_of_positives_is_not_touched():
    of = of_rows(2, 3)
    scores, targets = torch.randn(2, 3), torch.ones(2, 3)
    bce = F.binary_cross_entropy_with_logits(scores, targets)
    for scheme in ("reject", "correct", "flip"):
        loss = at_epoch(LargeLoss(scheme, 50.0, **of), 1)
        torch.testing.assert_close(loss(scores, targets, torch.arange(2)), bce)
    assert not loss.flipped.any()


def test_what_is_flipped_stays_a_positive():
    dataset = {"type": "FewLabels", "samples": 4, "labels": 3}
    loss = LargeLoss("flip", 100 / 6, iterations=100, batch=4, dataset=dataset)
    scores = torch.tensor([[2.0, -1.0, -2.0], [0.5, 3.0, -1.0]])
    targets = torch.zeros(2, 3)
    index = torch.tensor([3, 1])
    loss(scores, targets, index)
    assert not loss.flipped.any()  # in the first pass nothing is
    at_epoch(loss, 1)
    first = loss(scores, targets, index)
    expected = torch.zeros(4, 3, dtype=torch.bool)
    expected[1, 1] = True
    assert torch.equal(loss.flipped, expected) and not targets.any()
    label = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    torch.testing.assert_close(first, F.binary_cross_entropy_with_logits(scores, label))
    # it enters no selection again: the next largest is flipped
    loss(scores, targets, index)
    expected[3, 0] = True
    assert torch.equal(loss.flipped, expected)
    # and what is not trained flips nothing
    loss.eval()(scores, targets, index)
    assert torch.equal(loss.flipped, expected)


def test_a_sample_that_is_in_the_batch_twice():
    of = of_rows(3, 2)
    loss = at_epoch(LargeLoss("flip", 50.0, **of), 1)
    scores = torch.tensor([[4.0, -4.0], [-4.0, 3.0], [-5.0, -5.0]])
    loss(scores, torch.zeros(3, 2), torch.tensor([1, 1, 0]))
    assert loss.flipped.tolist() == [[False, False], [True, True], [False, False]]


# -- label estimates


def test_network_and_estimates_are_taught_by_each_other_held_fixed():
    estimates = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    loss, step = role(2.0, estimates), 1e-6

    def half(own, other):
        """Of one side, the other's labels given."""
        pairs = zip(other.flatten().tolist(), own.flatten().tolist(), strict=True)
        mutual = sum(cross(sigmoid(a), sigmoid(b)) for a, b in pairs) / own.numel()
        return (oracle_epr(own, Y, 2.0) + mutual) / 2

    scores = Z.clone().requires_grad_()
    loss(scores, Y, INDEX).backward()
    for own, other, gradient in (
        (Z, estimates, scores.grad),
        (estimates, Z, loss.label_estimates.grad),
    ):
        for i in range(2):
            for j in range(5):
                moved = torch.zeros_like(own)
                moved[i, j] = step
                slope = (half(own + moved, other) - half(own - moved, other)) / (2 * step)
                assert gradient[i, j].item() == pytest.approx(slope, abs=1e-8)


def test_estimates_start_where_the_paper_has_them():
    dataset = {"type": "FewLabels", "samples": 2000, "labels": 6}
    torch.manual_seed(3)
    one = OnlineLabelEstimation(None, [3000, 500, 100, 100, 100, 200], dataset)
    assert one.k == 2.0  # 4,000 positives of 2,000 samples
    torch.manual_seed(3)
    same = OnlineLabelEstimation(2.5, [], dataset)
    assert same.k == 2.5
    torch.manual_seed(4)
    other = OnlineLabelEstimation(2.5, [], dataset)
    assert torch.equal(one.label_estimates, same.label_estimates)
    assert not torch.equal(one.label_estimates, other.label_estimates)
    observed = FewLabels(2000, 6).labels
    estimated = one.label_estimates.detach().sigmoid()
    torch.testing.assert_close(
        estimated[observed], torch.full((int(observed.sum()),), 0.995), rtol=0, atol=1e-6
    )
    unknown = estimated[~observed]
    assert 0.4 <= unknown.min() < 0.402 and 0.598 < unknown.max() <= 0.6
    assert unknown.mean().item() == pytest.approx(0.5, abs=0.003)


def test_only_the_batch_has_gradients_and_a_sample_twice_has_both():
    dataset = {"type": "FewLabels", "samples": 6, "labels": 5}
    loss = role(2.0, observed=dataset)
    loss(Z, Y, torch.tensor([4, 1])).backward()
    touched = loss.label_estimates.grad.abs().sum(1) > 0
    assert touched.tolist() == [False, True, False, False, True, False]
    twice = role(2.0, loss.label_estimates.detach(), dataset)
    twice(Z, Y, torch.tensor([4, 4])).backward()
    parts = torch.zeros(2, 5, dtype=torch.float64)
    for i in range(2):
        rows = loss.label_estimates.detach()[[4, 4]].requires_grad_()
        half = twice._half(rows, Y, Z) / 2
        parts[i] = torch.autograd.grad(half, rows)[0][i]
    torch.testing.assert_close(twice.label_estimates.grad[4], parts.sum(0))


# -- cards, and training

FACTS = SimpleNamespace(
    num_classes=5,
    class_counts=(30, 12, 12, 4, 2),
    image_counts=(18, 10, 8, 3, 1),
    groups={"head": (0,), "medium": (1, 2), "tail": (3, 4)},
    iterations=12,
    batch=5,
)
SAMPLES = 20


@MODELS.register_module(force=True)
class TaggedHead(torch.nn.Module):
    def __init__(self, loss):
        super().__init__()
        self.fc = torch.nn.Linear(6, 5)
        self.loss_module = MODELS.build(loss)


@MODELS.register_module(force=True)
class Tagger(BaseModel):
    """Logits of five labels from six numbers."""

    def __init__(self, head):
        super().__init__()
        self.backbone = torch.nn.Linear(6, 6)
        self.head = MODELS.build(head)

    def forward(self, inputs, label, index, mode="tensor"):
        scores = self.head.fc(torch.relu(self.backbone(inputs)))
        return {"loss": self.head.loss_module(scores, label, index=index, features=None)}


def minimal(optimizer=None):
    optimizer = optimizer or {"type": "Adam", "lr": 0.01, "weight_decay": 0.1}
    return Config(
        {
            "model": {"type": "Tagger", "head": {"type": "TaggedHead", "loss": None}},
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 12, "val_interval": 10**9},
            "train_dataloader": {
                "batch_size": 5,
                "num_workers": 0,
                "collate_fn": {"type": "default_collate"},
                "sampler": {"type": "InfiniteSampler", "shuffle": True},
                "dataset": {"type": "FewLabels", "samples": SAMPLES},
            },
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": optimizer},
            "param_scheduler": [{"type": "LinearLR", "start_factor": 0.5, "by_epoch": False}],
        }
    )


def configured(method, cfg=None, protocol="yeast:mlp,single-positive", **overrides):
    """The config of a method with its card's values under the protocol, and these values."""
    from suite.define.card import resolve

    params = resolve(CATALOG.card(method), method, protocol, overrides)
    file = CATALOG.source(method).path.stem
    return baseline(file).configure(cfg or minimal(), FACTS, **params), params


@pytest.mark.parametrize("method", METHODS)
def test_every_card_makes_its_loss(method):
    cfg, _ = configured(method)
    torch.manual_seed(0)
    loss = MODELS.build(cfg.model).head.loss_module
    scores = torch.randn(5, 5, requires_grad=True)
    index = torch.arange(5)
    targets = FewLabels(SAMPLES).labels[index].float()
    value = loss(scores, targets, index=index, features=torch.randn(5, 6))
    assert value.shape == () and value.item() > 0
    (gradient,) = torch.autograd.grad(value, scores)
    assert gradient.shape == (5, 5) and gradient.abs().sum() > 0
    # as a file for mmengine's own tools
    assert "FewLabels" in cfg.pretty_text
    card = CATALOG.card(method)
    assert card.tasks == ["multilabel"] and card.arxiv and card.bibtex


def test_what_distinguishes_the_methods_of_a_file():
    def loss(method, **overrides):
        return configured(method, **overrides)[0].model.head.loss

    assert (loss("an").weak, loss("an").smoothing) == (False, 0)
    assert (loss("wan").weak, loss("wan").smoothing) == (True, 0)
    assert (loss("an-ls").weak, loss("an-ls").smoothing) == (False, 0.1)
    schemes = [loss(method).scheme for method in ("ll-r", "ll-ct", "ll-cp")]
    assert schemes == ["reject", "correct", "flip"]
    assert loss("ll-r", delta=0.4).delta == 0.4
    assert loss("splc", threshold=0.65).threshold == 0.65
    assert loss("hill", lam=1.2).lam == 1.2
    told = loss("splc")
    assert (told.iterations, told.batch, told.dataset.samples) == (12, 5, SAMPLES)


@pytest.mark.parametrize("variant", ["", ":single-positive", ":drop60"])
def test_values_of_the_papers_data_sets(variant):
    def value(method, base, key):
        return configured(method, protocol=base + variant)[1][key]

    for method in ("epr", "role"):
        found = [value(method, base, "k") for base in ("voc07", "coco14", "nuswide", "quick")]
        assert found == [1.5, 2.9, 1.9, None]
    bases = ("voc07", "voc-lt:r50", "coco14", "coco-lt:r50", "nuswide", "quick")
    bases = [base + "," * (":" in base and bool(variant)) for base in bases]
    rest = variant[1:]
    names = [base + rest if base.endswith(",") else base + variant for base in bases]
    found = [configured("em", protocol=name)[1]["alpha"] for name in names]
    assert found == [0.2, 0.2, 0.1, 0.1, 0.1, 0.1]


def test_the_positives_expected_are_those_of_the_full_labels():
    for method in ("epr", "role"):
        module = MODELS.build(configured(method)[0].model.head.loss)
        assert module.k == 60 / SAMPLES
        module = MODELS.build(configured(method, k=1.5)[0].model.head.loss)
        assert module.k == 1.5


@pytest.mark.parametrize(
    "optimizer",
    [
        {"type": "Adam", "lr": 0.01, "weight_decay": 0.1},
        {"type": "AdamW", "lr": 0.01},  # whose decay is 0.01 where none is given
        {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.1},
    ],
)
def test_estimates_have_a_rate_of_their_own_and_no_decay(optimizer):
    cfg = minimal(optimizer)
    cfg.optim_wrapper.paramwise_cfg = {"custom_keys": {"backbone": {"lr_mult": 0.5}}}
    cfg, _ = configured("role", cfg)
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in wrapper.optimizer.param_groups
        for p in group["params"]
    }
    usual = optimizer.get("weight_decay", 0.01)
    assert found["head.loss_module.label_estimates"] == pytest.approx((0.1, 0.0))
    assert found["head.fc.weight"] == pytest.approx((0.01, usual))
    assert found["backbone.weight"] == pytest.approx((0.005, usual))


class Interrupted(Exception):
    pass


class InterruptHook(Hook):
    priority = "LOWEST"

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            raise Interrupted


def trained(folder, method, cut=None, start_from=None, **overrides):
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
        default_hooks={"runtime_info": None, "timer": None, "logger": None, "checkpoint": None},
        visualizer={"type": "Visualizer", "vis_backends": [], "name": f"{folder}-{method}-{cut}"},
        randomness={"seed": 7},
        log_level="ERROR",
        experiment_name=f"{folder.name}-{method}-{cut}-{id(cfg)}",
    )
    resume = ResumeHook(folder / "checkpoint", 0.0)
    runner.resume_hook, runner.start_from = resume, start_from
    for hook in (RestoreGeneratorsHook(resume), resume, stages.ProgressHook()):
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


STATEFUL = {
    "role": ("label_estimates", {}),
    "ll-cp": ("flipped", {"delta": 5.0}),
    "ll-r": (None, {"delta": 5.0}),
    "splc": (None, {"threshold": 0.5}),
}


@pytest.mark.parametrize("method", STATEFUL)
def test_resume_equals_the_undisturbed_training_bit_for_bit(tmp_path, method):
    own, overrides = STATEFUL[method]
    calm = state(trained(tmp_path / "calm", method, **overrides))
    key = f"head.loss_module.{own}"
    if own:
        torch.manual_seed(99)  # as little as possible of it shall follow from a fresh model
        fresh = MODELS.build(configured(method, **overrides)[0].model).state_dict()[key]
        assert not torch.equal(calm[key], fresh)
    for cut in (1, 5, 11):
        folder = tmp_path / f"cut-{cut}"
        trained(folder, method, cut, **overrides)
        torch.rand(17)
        resumed = state(trained(folder, method, **overrides))
        assert resumed.keys() == calm.keys()
        assert all(torch.equal(resumed[name], calm[name]) for name in calm)
    checkpoint = weights.load(tmp_path / "calm/checkpoint/12.pth")
    assert (key in checkpoint["model"]) == bool(own)


def test_the_network_starts_as_with_any_other_loss():
    made = []
    for method in ("an", "role", "ll-cp"):
        torch.manual_seed(5)
        made.append(weights.model_weights(MODELS.build(configured(method)[0].model)))
    for other in made[1:]:
        assert other.keys() == made[0].keys()
        assert all(torch.equal(other[name], made[0][name]) for name in other)


def test_the_seed_draws_the_estimates(tmp_path):
    one = state(trained(tmp_path / "one", "role", cut=1))
    two = state(trained(tmp_path / "two", "role", cut=1))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("method", ["role", "ll-cp"])
def test_kept_weights_hold_no_sample_and_start_any_other_training(tmp_path, method):
    runner = trained(tmp_path / "first", method, **STATEFUL[method][1])
    kept = weights.model_weights(runner.model)
    assert set(kept) == {
        "backbone.weight", "backbone.bias", "head.fc.weight", "head.fc.bias",
    }  # fmt: skip
    path = tmp_path / "weights.safetensors"
    weights.save(kept, path)
    # to predict with, and from one method's to another's
    for other in ("an", "role", "ll-cp"):
        model = MODELS.build(configured(other)[0].model)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        weights.restore(model, path)
        after = model.state_dict()
        assert all(torch.equal(after[name], kept[name]) for name in kept)
        assert all(torch.equal(after[name], before[name]) for name in after if name not in kept)
    start = {"weights": str(path), "skip": ["head.fc."]}
    second = trained(tmp_path / "second", method, start_from=start)
    assert second.iter == 12
