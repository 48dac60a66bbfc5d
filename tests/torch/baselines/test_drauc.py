"""DRAUC and plain adversarial training: known answers, a loop as oracle, what the released code does otherwise, cost,
and training that is a plain one without attack and resumes exactly."""

import contextlib
import functools
from types import SimpleNamespace

import pytest
from methods import baseline

torch = pytest.importorskip("torch")
F = torch.nn.functional

from hypothesis import given, settings, strategies  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402
from mmengine.registry import DATASETS, MODELS  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

import tasks.robust_auc.networks  # noqa: E402
import tasks.robust_auc.sampler  # noqa: E402, F401 - registered, as the classifier is
from baselines.parts import attacks  # noqa: E402
from baselines.parts.attacks import in_ball, in_box, random_start, squared_norms, strongest  # noqa: E402
from baselines.parts.minimax_auc import AUCMarginLoss, minimax_auc  # noqa: E402
from suite.base.errors import UserError  # noqa: E402
from suite.define.card import resolve  # noqa: E402
from suite.define.catalog import Catalog  # noqa: E402
from suite.engine import data, stages, weights  # noqa: E402, F401 - registers sampler and hook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook  # noqa: E402
from suite.engine.runner import SuiteRunner  # noqa: E402

drauc, adversarial = baseline("drauc"), baseline("adversarial")
CATALOG = Catalog.load()
DOUBLE = torch.float64
EPS = 128 / 255


# -- budgets


def test_known_budgets():
    for k, negative in ((0.5, 0.5298475), (1, 0.5019608), (1.5, 0.4740741)):
        eps_n, eps_p = drauc.budgets_of(EPS, k, 0.1)
        assert eps_n == pytest.approx(negative, abs=6e-8) and eps_p == k * EPS
    assert drauc.budgets_of(EPS, None, 0.1) == [EPS]
    # D2: the release has eps squared
    assert drauc.budgets_of(EPS, 1, 0.1, legacy=True) == pytest.approx([0.25196, EPS], abs=6e-6)


@given(strategies.floats(0.01, 3), strategies.floats(0.001, 0.5), strategies.floats(0, 1))
def test_budgets_keep_their_mean(eps, prior, share):
    k = share / prior
    eps_n, eps_p = drauc.budgets_of(eps, k, prior)
    assert eps_n >= 0 and eps_p >= 0
    assert prior * eps_p + (1 - prior) * eps_n == pytest.approx(eps)


@pytest.mark.parametrize(("counts", "largest"), [((651, 72), "10.0416"), ((90, 10), "10"), ((3, 3), "2")])  # fmt: skip
def test_the_largest_k_is_named_and_taken(counts, largest):
    prior = counts[1] / sum(counts)
    assert drauc.budgets_of(1.0, float(largest), prior)[0] == pytest.approx(0, abs=1e-4)
    assert drauc.budgets_of(1.0, 1 / prior, prior)[0] == pytest.approx(0, abs=1e-12)
    with pytest.raises(UserError, match=rf"k=10\.5: .* the largest k is {largest} "):
        drauc.budgets_of(1.0, 10.5, prior)


# -- attacks on small networks in double precision


class Scorer(nn.Module):
    """Logits (B, 1) of vectors in [0, 1], through batch normalisation and dropout."""

    def __init__(self, loss, inputs=6, attack=None):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(inputs, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 1)
        )
        self.loss_module = loss
        self.attack = attack
        self.asked = 0

    def autocast(self, pixels):
        return contextlib.nullcontext()

    def logits(self, pixels):
        self.asked += 1
        return self.backbone(pixels)


class LinearScorer(Scorer):
    def __init__(self, loss, weight):
        super().__init__(loss)
        self.weight = weight

    def logits(self, pixels):
        return (pixels @ self.weight)[:, None]


def auc_loss(a=0.45, b=0.3, alpha=0.6):
    loss = AUCMarginLoss().double()
    with torch.no_grad():
        for parameter, value in ((loss.a, a), (loss.b, b), (loss.alpha, alpha)):
            parameter.fill_(value)
    return loss


def problem(samples=7, inputs=6, loss=None, seed=0):
    """A network in training, pixels and labels of which every third is positive."""
    torch.manual_seed(seed)
    model = Scorer(loss or auc_loss(), inputs).double()
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.mul_(2)
        for _ in range(5):
            model.backbone(torch.rand(20, inputs, dtype=DOUBLE))
    pixels = torch.rand(samples, inputs, dtype=DOUBLE)
    label = (torch.arange(samples) % 3 == 0).to(DOUBLE)[:, None]
    return model, pixels, label


def attack(budgets=(0.6,), multipliers=None, **more):
    given = {"step": 0.15, "iterations": 4, "best": "bce", **more}
    made = drauc.TransportAttack(list(budgets), **given).double()
    if multipliers is not None:
        made.multipliers.copy_(torch.tensor(multipliers, dtype=DOUBLE))
    return made


@pytest.fixture
def start(monkeypatch):
    """Begin every attack at what is appended, repeated to the size of the batch."""
    wanted = []

    def given(pixels, radii):
        times = len(pixels) // len(wanted[0])
        return wanted[0].repeat(times, *[1] * (pixels.ndim - 1))

    for module in (drauc, adversarial):
        monkeypatch.setattr(module, "random_start", given)
    return wanted


def oracle(model, pixels, label, budgets, lam, step, iterations, best, projection, begin):
    """Delta sample by sample, each candidate judged by a forward pass of its own, as the released loop does."""
    model.eval()
    y = label.flatten()
    budget = [budgets[int(v) * (len(budgets) - 1)] for v in y]
    price = [lam[int(v) * (len(lam) - 1)] for v in y]
    loss = model.loss_module
    delta = begin.clone()
    found = [(-float("inf"), None)] * len(y)
    for _ in range(iterations):
        moved = []
        for i in range(len(y)):
            own = delta[i : i + 1].clone().requires_grad_(True)
            h = model.logits(pixels[i : i + 1] + own).sigmoid()
            share = y.sum() if y[i] else (1 - y).sum()
            centre, sign = (loss.a, -1) if y[i] else (loss.b, 1)
            summand = ((h - centre) ** 2 + sign * 2 * loss.alpha * h).sum() / share
            (g,) = torch.autograd.grad(summand - price[i] * own.square().sum() / len(y), own)
            after = own.detach() + step * g / (g.norm() + 1e-10)
            if projection and after.norm() > budget[i]:
                after = after * budget[i] / after.norm()
            moved.append((pixels[i] + after).clamp(0, 1) - pixels[i])
        delta = torch.cat(moved).detach()
        with torch.no_grad():
            scores = model.logits(pixels + delta)
        for i, z in enumerate(scores.flatten()):
            h = z.sigmoid()
            value = {
                "bce": F.softplus(-z if y[i] else z).item(),
                "auc": ((h - loss.a) ** 2 - 2 * loss.alpha * h).item()
                if y[i]
                else ((h - loss.b) ** 2 + 2 * loss.alpha * h).item(),
                "last": float("inf"),
            }[best]
            if value >= found[i][0]:
                found[i] = (value, delta[i])
    model.train()
    return torch.stack([d for _, d in found])


@pytest.mark.parametrize("best", ["auc", "bce", "last"])
@pytest.mark.parametrize(("budgets", "lam"), [((0.6,), (0.4,)), ((0.3, 0.9), (0.1, 1.3))])
@pytest.mark.parametrize("projection", [False, True])
def test_attacks_are_what_a_loop_finds(start, best, budgets, lam, projection):
    chosen = 0
    for seed in range(2):
        model, pixels, label = problem(seed=seed)
        start[:] = [in_box(pixels, 0.3 * torch.randn(pixels.shape, dtype=DOUBLE))]
        # steps that are large enough to overshoot, so that the best is not always the last
        made = attack(budgets, lam, best=best, projection=projection, step=0.5)
        found = made(model, pixels, label)
        args = (model, pixels, label, budgets, lam, 0.5, 4)
        expected = oracle(*args, best, projection, start[0])
        torch.testing.assert_close(found, pixels + expected)
        last = oracle(*args, "last", projection, start[0])
        chosen += int((last - expected).abs().amax() > 1e-9)
    assert (chosen > 0) == (best != "last")


def test_plain_attacks_are_what_a_loop_finds(start):
    model, pixels, label = problem(loss=MODELS.build({"type": "BinaryCrossEntropy"}))
    start[:] = [in_ball(in_box(pixels, torch.randn(pixels.shape, dtype=DOUBLE)), torch.full((7,), 0.4))]  # fmt: skip
    found = adversarial.BallAttack(0.4, 0.25, 3)(model, pixels, label)
    model.eval()
    delta = start[0]
    for _ in range(3):
        delta = delta.detach().requires_grad_(True)
        F.binary_cross_entropy_with_logits(model.logits(pixels + delta), label).backward()
        delta = delta + 0.25 * F.normalize(delta.grad, eps=0)
        delta = delta * (0.4 / delta.detach().norm(dim=1, keepdim=True)).clamp(max=1)
        delta = (pixels + delta).clamp(0, 1) - pixels
    torch.testing.assert_close(found, (pixels + delta).detach())
    assert ((found - pixels).norm(dim=1) <= 0.4 + 1e-9).all()


@settings(max_examples=20, deadline=None)
@given(strategies.integers(0, 10**6), strategies.floats(0, 0.2), strategies.floats(0, 0.2))
def test_a_linear_score_has_a_closed_form(seed, eps_n, eps_p):
    """The robust risk of pairs is l(t - (eps_P + eps_N) ||w||) for a surrogate that falls with t."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(6, generator=generator, dtype=DOUBLE)
    pixels = 0.4 + 0.2 * torch.rand(5, 6, generator=generator, dtype=DOUBLE)
    positive = torch.tensor([True, False, False, True, False])
    model = LinearScorer(None, weight)
    radii = torch.where(positive, eps_p, eps_n).to(DOUBLE)

    def risk(scores, shift=0.0):
        z = scores.flatten()
        return F.softplus(-(z[positive][:, None] - z[~positive] - shift)).mean()

    delta = strongest(
        model,
        pixels,
        start=random_start(pixels, radii),
        step=100.0,  # within the ball it is the direction alone that counts
        iterations=8,
        objective=lambda scores, _: risk(scores),
        radii=radii,
    )
    worst = risk(model.logits(pixels + delta))
    closed = risk(model.logits(pixels), (eps_p + eps_n) * weight.norm())
    torch.testing.assert_close(worst, closed, rtol=1e-6, atol=1e-9)


# -- D1, D3, D4: what the released code does otherwise


def deltas(made, model, pixels, label):
    return made(model, pixels, label) - pixels


def test_the_penalty_is_of_each_sample(start):
    """Tripling the batch by copies changes no delta; the released penalty grows with the batch."""
    model, pixels, label = problem()
    start[:] = [in_box(pixels, 0.3 * torch.randn(pixels.shape, dtype=DOUBLE))]
    for legacy in (False, True):
        once = deltas(attack(multipliers=[0.8], legacy=legacy), model, pixels, label)
        copies = pixels.repeat(3, 1), label.repeat(3, 1)
        thrice = deltas(attack(multipliers=[0.8], legacy=legacy), model, *copies)
        apart = (thrice - once.repeat(3, 1)).abs().max()
        # within what is added to the norm of a gradient
        assert (apart > 1e-3) if legacy else (apart < 1e-8)


def test_a_batch_in_two_orders(start):
    model, pixels, label = problem()
    start[:] = [in_box(pixels, 0.3 * torch.randn(pixels.shape, dtype=DOUBLE))]
    found = deltas(attack((0.3, 0.9), [0.1, 1.3]), model, pixels, label)
    order = torch.randperm(7)
    start[:] = [start[0][order]]
    torch.testing.assert_close(
        deltas(attack((0.3, 0.9), [0.1, 1.3]), model, pixels[order], label[order]), found[order]
    )


def test_each_class_has_its_multiplier(start):
    model, pixels, label = problem()
    positive = label.flatten() > 0.5
    start[:] = [in_box(pixels, 0.3 * torch.randn(pixels.shape, dtype=DOUBLE))]

    def changed(one, other, legacy):
        pair = [
            deltas(attack((0.6, 0.6), lam, best="last", legacy=legacy), model, pixels, label)
            for lam in (one, other)
        ]
        return [(pair[0] - pair[1])[which].abs().max().item() for which in (positive, ~positive)]

    by_positive = changed([1.0, 1.0], [1.0, 4.0], False)
    assert by_positive[0] > 1e-3 and by_positive[1] == 0
    by_negative = changed([1.0, 1.0], [4.0, 1.0], False)
    assert by_negative[0] == 0 and by_negative[1] > 1e-3
    # two that are not the same have the released penalty's effect of their mean, over the batch
    mean = (4 * 0.5 + 3 * 1.5) / 7
    assert max(changed([0.5, 1.5], [mean, mean], True)) < 1e-12
    assert min(changed([0.5, 1.5], [mean, mean], False)) > 1e-3


def two_steps(made, group=None):
    """Multipliers after each batch of four perturbations of twelve pixels: .1 each, then .3 each."""
    found = []
    for size in (0.1, 0.3):
        delta = torch.full((4, 3, 2, 2), size, dtype=DOUBLE)
        made.update(delta, torch.zeros(4, dtype=torch.int64) if group is None else group)
        found.append(made.multipliers.tolist())
    return found


def test_multipliers_follow_the_mean_squared_distance():
    made = attack((0.5,), eta_lambda=0.1, lambda_period=2)
    squared = 12 * (0.1**2 + 0.3**2) / 2
    expected = 1 - 0.1 * (0.5**2 - squared)
    first, second = two_steps(made)
    assert first == [1] and second == [pytest.approx(expected)]
    assert made.distance.tolist() == [0] and made.samples.tolist() == [0] and made.steps == 2
    # D3 and D4: the release has mean |delta| for the distance and eps for its square, and begins at once
    released = attack((0.5,), eta_lambda=0.1, lambda_period=2, legacy=True)
    first, second = two_steps(released)
    assert first == second == [pytest.approx(1 - 0.1 * (0.5 - 0.1))]
    assert two_steps(released)[0] == [pytest.approx(0.96 - 0.1 * (0.5 - (0.3 + 0.1) / 2))]


def test_multipliers_of_the_classes():
    made = attack((0.5, 0.9), eta_lambda=0.1, lambda_period=1)
    delta = torch.zeros(4, 12, dtype=DOUBLE)
    delta[0], delta[1:] = 0.3, 0.1
    made.update(delta, torch.tensor([1, 0, 0, 0]))
    expected = [1 - 0.1 * (0.25 - 0.12), 1 - 0.1 * (0.81 - 12 * 0.09)]
    assert made.multipliers.tolist() == pytest.approx(expected)
    # a class that no batch had leaves its own alone
    made.update(delta[1:], torch.tensor([0, 0, 0]))
    assert made.multipliers[1].item() == pytest.approx(expected[1])


def test_multipliers_are_not_negative():
    made = attack((9.0,), eta_lambda=1.0, lambda_period=1)
    assert two_steps(made) == [[0], [0]]
    released = attack((9.0,), eta_lambda=1.0, lambda_period=1, legacy=True)
    assert two_steps(released)[0][0] == pytest.approx(
        1 - (9 - 0.1)
    )  # below 0, which rewards distance


def test_a_period_is_counted_in_samples():
    made = attack((0.0,), eta_lambda=1.0, lambda_period=2)
    for size, number in ((0.1, 1), (0.3, 3)):
        made.update(torch.full((number, 12), size, dtype=DOUBLE), torch.zeros(number).long())
    assert made.multipliers.item() == pytest.approx(1 + 12 * (0.01 + 3 * 0.09) / 4)


# -- what an attack leaves alone


def both_attacks():
    auc = attack((0.3, 0.9), [0.1, 1.3])
    return [(auc, auc_loss()), (adversarial.BallAttack(0.5, 0.2, 3), auc_loss())]


@pytest.mark.parametrize("which", [0, 1])
def test_modes_statistics_and_gradients_are_left_alone(which):
    made, loss = both_attacks()[which]
    model, pixels, label = problem(loss=loss)
    model.attack = made
    model.train()
    model.backbone[1].eval()  # frozen by whoever trains it
    for i, parameter in enumerate(model.backbone.parameters()):
        parameter.grad = None if i % 2 else torch.full_like(parameter, 3.0)
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    kept = pixels.clone()
    found = made(model, pixels, label)
    assert {name: module.training for name, module in model.named_modules()} == modes
    after = model.backbone.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(pixels, kept) and not pixels.requires_grad
    assert all(p.grad is None for p in loss.parameters())
    for i, parameter in enumerate(model.backbone.parameters()):
        assert parameter.grad is None if i % 2 else bool((parameter.grad == 3).all())
    assert not found.requires_grad and found.shape == pixels.shape
    assert found.min() >= 0 and found.max() <= 1 and not torch.equal(found, pixels)
    # without a gradient around it, too
    with torch.no_grad():
        assert made(model, pixels, label).shape == pixels.shape


def test_an_error_restores_the_mode():
    model, pixels, label = problem()
    model.train()
    with pytest.raises(RuntimeError, match="size"):
        attack()(model, pixels, label[:3])
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("which", [0, 1])
def test_the_start_is_drawn_from_the_cpu_s_generator(which):
    model, pixels, label = problem()

    def found(seed):
        torch.manual_seed(seed)
        fresh, _ = both_attacks()[which]
        return fresh(model, pixels, label)

    assert torch.equal(found(1), found(1)) and not torch.equal(found(1), found(2))


@settings(max_examples=30, deadline=None)
@given(strategies.integers(0, 10**6))
def test_random_starts_and_projections(seed):
    torch.manual_seed(seed)
    pixels = torch.rand(6, 1, 3, 3)
    radii = torch.tensor([0.0, 0.1, 0.5, 1.0, 2.0, 0.5])
    begin = random_start(pixels, radii)
    norms = squared_norms(begin).sqrt()
    assert (norms <= radii * (1 + 1e-5)).all() and torch.equal(begin[0], torch.zeros(1, 3, 3))
    boxed = in_box(pixels, begin)
    assert (squared_norms(boxed) <= squared_norms(begin) + 1e-6).all()
    assert (pixels + boxed).min() >= -1e-7 and (pixels + boxed).max() <= 1 + 1e-6
    halved = in_ball(begin, radii / 2)
    assert (squared_norms(halved).sqrt() <= radii / 2 * (1 + 1e-5)).all()
    inside = norms <= radii / 2
    assert torch.equal(halved[inside], begin[inside])


def test_radii_of_starts_are_uniform():
    torch.manual_seed(0)
    norms = squared_norms(random_start(torch.zeros(4000, 1, 4, 4), torch.full((4000,), 2.0))).sqrt()
    quarters = torch.histc(norms, 4, 0, 2) / 4000
    assert quarters.tolist() == pytest.approx([0.25] * 4, abs=0.03)


def test_flat_gradients_make_no_step():
    """Saturated: neither NaN nor a jump."""
    model = LinearScorer(auc_loss(), torch.zeros(6, dtype=DOUBLE))
    _, pixels, label = problem()
    found = attack((0.0,), [0.0], best="auc")(model, pixels, label)
    torch.testing.assert_close(found, pixels)


@pytest.mark.parametrize("eps", [0.0, 0.7])
def test_no_step_is_no_attack(eps):
    model, pixels, label = problem()
    state = torch.get_rng_state()
    for made in (attack((eps,), iterations=0), adversarial.BallAttack(eps, 0.1, 0)):
        assert torch.equal(made(model, pixels, label), pixels)
    assert torch.equal(torch.get_rng_state(), state) and model.asked == 0


def test_a_ball_without_radius_changes_nothing():
    model, pixels, label = problem()
    for made in (attack((0.0,), projection=True), adversarial.BallAttack(0.0, 0.3, 2)):
        assert torch.equal(made(model, pixels, label), pixels)


# -- cost


@pytest.mark.parametrize(
    ("best", "iterations", "asked"), [("bce", 4, 5), ("auc", 10, 11), ("last", 4, 4), ("bce", 1, 1)]
)
def test_a_step_is_judged_by_the_next_one_s_forward_pass(best, iterations, asked):
    model, pixels, label = problem()
    attack(best=best, iterations=iterations)(model, pixels, label)
    assert model.asked == asked


# -- bad arguments


@pytest.mark.parametrize(
    "bad",
    [{"budgets": []}, {"budgets": [1, 1, 1]}, {"lambda_period": 0}, {"best": "first"}],
)  # fmt: skip
def test_bad_arguments_of_the_attack(bad):
    with pytest.raises(ValueError, match=r"budgets are .* expected one or two"):
        drauc.TransportAttack(**{"budgets": [1.0], "step": 0.1, "iterations": 1, **bad})


@pytest.mark.parametrize("bad", [{"budgets": [-1.0]}, {"step": -0.1}, {"iterations": -1}])
def test_negative_arguments(bad):
    with pytest.raises(ValueError, match="expected >= 0"):
        drauc.TransportAttack(**{"budgets": [1.0], "step": 0.1, "iterations": 1, **bad})
    with pytest.raises(ValueError, match="expected >= 0"):
        adversarial.BallAttack(eps=-1.0, step=0.1, iterations=1)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("eps", -0.1, "below 0"),
        ("T", -1, "below 0"),
        ("T", 2.5, "not of type int"),
        ("step", -1.0, "below 0"),
        ("k", -1.0, "below 0"),
        ("eta_lambda", -0.1, "below 0"),
        ("lambda_0", -1.0, "below 0"),
        ("lambda_period", 0, "below 1"),
        ("best", "first", "none of"),
        ("momentum", 1.5, "above 1"),
    ],
)
def test_bad_parameters(setting, value, said):
    with pytest.raises(UserError, match=said):
        params("drauc-da", **{setting: value})


# -- trainings


@DATASETS.register_module(force=True)
class FewImages(Dataset):
    """Grey images of 8x8 pixels, of which every fifth is positive and brighter in a corner."""

    def __init__(self, samples=40):
        generator = torch.Generator().manual_seed(3)
        self.labels = torch.arange(samples) % 5 == 0
        self._images = torch.randint(0, 200, (samples, 1, 8, 8), generator=generator)
        self._images[self.labels, :, :3, :3] += 55

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        label = self.labels[index].float()[None]
        return {"inputs": self._images[index].to(torch.uint8), "label": label, "index": index}


FACTS = SimpleNamespace(
    classes=("negative", "positive"),
    class_counts=(32, 8),
    image_counts=(32, 8),
    iterations=12,
    batch=10,
)


def base():
    return Config(
        {
            "model": {
                "type": "BinaryClassifier",
                "data_preprocessor": {"type": "PixelBatch"},
                "mean": [0.4],
                "std": [0.25],
                "backbone": {"type": "SmallResNet", "depth": 8, "width": 4, "in_channels": 1},
                "head": {
                    "type": "MultiLabelHead",
                    "in_channels": 16,
                    "classes": 1,
                    "loss": {"type": "BinaryCrossEntropy"},
                },
            },
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 12, "val_interval": 10**9},
            "train_dataloader": {
                "batch_size": 10,
                "num_workers": 0,
                "collate_fn": {"type": "default_collate"},
                "sampler": {"type": "StratifiedSampler", "batch": 10, "positives": 2},
                "dataset": {"type": "FewImages"},
            },
            "optim_wrapper": {
                "type": "OptimWrapper",
                "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
            },
            "param_scheduler": [
                {"type": "MultiStepLR", "milestones": [6, 10], "gamma": 0.1, "by_epoch": False}
            ],
        }
    )


def params(method, protocol="cifar10:r20,p10", **overrides):
    return resolve(CATALOG.card(method), method, protocol, overrides)


def configured(method, protocol="quick", **overrides):
    """The base config changed by the method, and before by the one that it is built on."""
    own = params(method, protocol, **overrides)
    cfg = base()
    inner = own.pop("loss", None)
    if inner == "aucm":
        cfg = baseline("aucm").configure(cfg, FACTS, **params("aucm", protocol))
    elif inner is not None:
        assert inner == "bce"  # of the base config
    return baseline(CATALOG.source(method).path.stem).configure(cfg, FACTS, **own)


class Interrupted(Exception):
    pass


class InterruptHook(Hook):
    priority = "LOWEST"

    def __init__(self, at):
        self.at = at

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 == self.at:
            raise Interrupted


def trained(folder, method, cut=None, **overrides):
    """A runner that has trained the method, or gone on from its checkpoint, to the end or up to iteration `cut`."""
    cfg = configured(method, **overrides)
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
    runner.resume_hook = resume
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
    """All that a run has become: weights, the attack's and the optimiser's state, passes."""
    found = {name: value.clone() for name, value in runner.model.state_dict().items()}
    optimizer = runner.optim_wrapper.optimizer.state_dict()
    for place, kept in optimizer["state"].items():
        found |= {f"optimizer.{place}.{name}": value for name, value in kept.items()}
    for place, group in enumerate(optimizer["param_groups"]):
        kept = {name: group.get(name) for name in ("lr", "steps", "averaged")}
        found |= {f"group.{place}.{name}": value for name, value in kept.items()}
    found["passes"] = getattr(runner.optim_wrapper, "passes_per_step", None)
    return found


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name])
        if isinstance(one[name], torch.Tensor)
        else one[name] == other[name]
        for name in one
    )


SHORT = {"T": 2, "lambda_period": 3}
TRAINED = {
    "drauc-df": SHORT,
    "drauc-da": {**SHORT, "best": "auc", "projection": True},
    "aucm": {},
    "bce-at": {"T": 2},
    "aucm-at": {"T": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", TRAINED)
def test_resume_equals_the_undisturbed_training_bit_for_bit(tmp_path, method):
    calm = state(trained(tmp_path / "calm", method, **TRAINED[method]))
    for cut in (2, 11):  # references are renewed at 6 and 10, multipliers at 3, 6, 9 and 12
        folder = tmp_path / f"cut-{cut}"
        trained(folder, method, cut, **TRAINED[method])
        torch.rand(17)
        assert same(state(trained(folder, method, **TRAINED[method])), calm)
    if method.startswith("drauc"):
        assert calm["attack.steps"] == 12
        assert len(calm["attack.multipliers"]) == (2 if method == "drauc-da" else 1)
        assert (calm["attack.multipliers"] != 1).all()
        kept = weights.load(tmp_path / "calm/checkpoint/12.pth")
        assert torch.equal(kept["model"]["attack.multipliers"], calm["attack.multipliers"])
    if method != "bce-at":
        assert calm["head.loss_module.alpha"] > 0
        assert any(name.endswith(".reference") for name in calm)
        # switched after 6 and 10 of 12 steps
        assert {calm[name] for name in calm if name.endswith(".averaged")} == {0, 2}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Weights that `aucm` gives with a gamma."""

    @functools.cache
    def made(gamma):
        return trained(tmp_path_factory.mktemp("plain"), "aucm", gamma=gamma).model.state_dict()

    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "given", "same"),
    [
        ("drauc-df", {"T": 0}, True),
        ("drauc-da", {"T": 0, "eps": 0.3}, True),
        ("drauc-df", {"eps": 0.0, "projection": True, "T": 2}, True),
        ("drauc-da", {"eps": 0.0, "projection": True, "T": 2, "best": "auc"}, True),
        ("drauc-df", {"eps": 0.0, "T": 2}, False),
        ("drauc-da", {"T": 1}, False),
        ("aucm-at", {"eps": 0.0, "T": 2}, True),
        ("aucm-at", {"T": 0}, True),
        ("aucm-at", {"T": 1}, False),
    ],
)
def test_without_an_attack_it_is_aucm_bit_for_bit(tmp_path, plain, method, given, same):
    """Without projection a budget of 0 is no ball: the price grows, and pixels move until it has."""
    expected = plain(0.003 if method == "aucm-at" else 0.002)
    found = trained(tmp_path, method, **given).model.state_dict()
    found = {name: value for name, value in found.items() if not name.startswith("attack.")}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found) == same


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "given", "passes"),
    [
        ("drauc-df", {"T": 10}, 11.5),
        ("drauc-da", {"T": 3, "best": "auc"}, 4.5),
        ("drauc-df", {"T": 3, "best": "last"}, 4),
        ("drauc-df", {"T": 1}, 2),
        ("bce-at", {"T": 3}, 4),
        ("aucm-at", {"T": 2}, 3),
        ("drauc-da", {"T": 0}, 1),
        ("bce-at", {"T": 0}, 1),
    ],
)
def test_passes_are_counted_for_the_parameters_set(tmp_path, method, given, passes):
    runner = trained(tmp_path, method, cut=2, **given)
    assert runner.optim_wrapper.passes_per_step == passes


def test_nominal_passes_are_those_of_the_released_defaults():
    assert CATALOG.card("drauc-df").needs.passes == 1.5 + params("drauc-df")["T"]
    assert CATALOG.card("bce-at").needs.passes == 1 + params("bce-at")["T"]
    assert CATALOG.card("aucm").needs.passes == 1


def test_another_wrapper_is_refused():
    cfg = base()
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    with pytest.raises(UserError, match="AmpOptimWrapper"):
        baseline("drauc").configure(cfg, FACTS, **params("drauc-df"))


def test_k_beyond_the_prior_is_refused():
    with pytest.raises(UserError, match=r"k=5\.5: positives are 20 % .* the largest k is 5 "):
        configured("drauc-da", k=5.5)
    assert configured("drauc-da", k=5.0).model.attack.budgets == [0, 5]


def test_what_cards_make():
    df = configured("drauc-df").model.attack
    assert df == {
        "type": "TransportAttack", "budgets": [1.0], "step": 75 / 255, "iterations": 4,
        "eta_lambda": 0.02, "lambda_0": 1.0, "lambda_period": 10, "best": "bce", "projection": False,
        "legacy": False,
    }  # fmt: skip
    assert configured("drauc-da").model.attack.budgets == [1.0, 1.0]
    assert configured("drauc-da", k=2.0).model.attack.budgets == [pytest.approx(0.75), 2.0]
    legacy = configured("drauc-da", k=2.0, eps=0.5, legacy=True).model.attack
    assert legacy.budgets == [pytest.approx(0.375 * 0.5), 1.0] and legacy.legacy
    released = params("drauc-da")
    assert (released["eps"], released["T"], released["step"], released["k"]) == (
        EPS,
        10,
        15 / 255,
        2,
    )
    pack = params("drauc-df", "cifar10-pack:p10")
    assert (pack["eps"], pack["T"], pack["k"]) == (32 / 255, 3, None)
    smoke = params("drauc-da", "smoke")
    assert (smoke["eps"], smoke["T"], smoke["k"]) == (1, 1, 1)
    for method in ("drauc-df", "drauc-da", "aucm", "aucm-at"):
        cfg = configured(method)
        assert cfg.model.head.loss.type == "AUCMarginLoss"
        assert cfg.optim_wrapper.optimizer.gamma == (0.002 if "drauc" in method else 0.003)
        assert cfg.optim_wrapper.optimizer.milestones == [6, 10]
    plain = configured("bce-at")
    assert plain.model.attack == {
        "type": "BallAttack", "eps": 0.5, "step": 75 / 255, "iterations": 4,
    }  # fmt: skip
    assert plain.model.head.loss.type == "BinaryCrossEntropy"
    assert plain.optim_wrapper.optimizer.type == "SGD"
    assert "TransportAttack" in configured("drauc-da").pretty_text


def test_weighting_by_the_prior():
    assert configured("aucm").model.head.loss.prior is None
    assert configured("aucm", weighting="prior").model.head.loss.prior == 0.2
    model = MODELS.build(configured("aucm", weighting="prior", margin=0.5).model)
    scores, label = torch.randn(10, 1), (torch.arange(10) % 5 == 0).float()[:, None]
    expected = minimax_auc(scores.sigmoid(), label, *torch.zeros(3).unbind(), 0.5, 0.2)
    torch.testing.assert_close(model.loss_module(scores, label), expected)


def test_the_network_starts_as_with_any_other_method():
    made = []
    for method in ("aucm", "drauc-df", "drauc-da", "bce-at"):
        torch.manual_seed(5)
        found = MODELS.build(configured(method).model).state_dict()
        made.append({k: v for k, v in found.items() if k.startswith(("backbone.", "head.fc."))})
    for other in made[1:]:
        assert other.keys() == made[0].keys()
        assert all(torch.equal(other[name], made[0][name]) for name in other)


def test_legacy_trains(tmp_path):
    runner = trained(tmp_path, "drauc-da", cut=3, legacy=True, T=1, eta_lambda=2.0, eps=5.0, k=0.5)
    assert (runner.model.attack.multipliers < 0).all()  # eps beside a mean of absolute values
    assert attacks.strongest is strongest
