"""Known answers and reductions of the classification losses (z = (2, 1, .1), n = (100, 10, 1))."""

from types import SimpleNamespace

import numpy as np
import pytest
from methods import baseline

torch = pytest.importorskip("torch")
F = torch.nn.functional

from hypothesis import given, settings, strategies  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402

from baselines.classification.adrw_tla import adrw_weights  # noqa: E402
from baselines.classification.ib import InfluenceBalancedLoss  # noqa: E402
from baselines.classification.las import LabelAwareSmoothingLoss, smoothing  # noqa: E402
from baselines.classification.ldam import LDAMLoss, margins  # noqa: E402
from baselines.classification.resampling import ClassPowerSampler  # noqa: E402
from baselines.classification.reweighting import WeightedFocalLoss  # noqa: E402
from baselines.classification.seesaw import SeesawLoss  # noqa: E402
from baselines.classification.seql import SoftmaxEqualizationLoss  # noqa: E402
from baselines.classification.vs import VSLoss  # noqa: E402
from baselines.classification.wb import BalancedBinaryLoss, MaxNormHook  # noqa: E402
from baselines.parts.class_weights import class_weights  # noqa: E402
from baselines.parts.staged import StagedLoss, stage_start  # noqa: E402
from baselines.segmentation.seg_seesaw import PixelSeesawLoss  # noqa: E402
from baselines.shared.la import LogitAdjustedLoss  # noqa: E402
from baselines.shared.mixup import Remix  # noqa: E402
from tasks.vision.groups import class_counts  # noqa: E402
from tasks.vision.networks.classifier import CrossEntropy  # noqa: E402

COUNTS = [100, 10, 1]
Z = torch.tensor([[2.0, 1.0, 0.1]])
C100, C10 = class_counts("exp", 500, 100, 100), class_counts("exp", 5000, 10, 100)
FACTS = SimpleNamespace(
    num_classes=3,
    class_counts=COUNTS,
    image_counts=COUNTS,
    groups={"head": (0,), "medium": (1,), "tail": (2,)},
    iterations=100,
    batch=8,
)


def values(loss, scores=Z):
    """The loss of each label alone."""
    return [loss(scores, torch.tensor([y])).item() for y in range(3)]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(16, 3, generator=generator)
    return scores, torch.randint(0, 3, (16,), generator=generator)


@pytest.mark.parametrize(
    ("gamma", "tau", "expected"),
    [
        (0, 0, (0.417030, 1.417030, 2.317030)),
        (0, 1, (0.037569, 3.340154, 6.542739)),
        (0.05, 0.75, (0.061388, 2.897076, 5.435833)),
        (0.05, 1, (0.033882, 3.445216, 6.559619)),
        (0.3, 1, (0.023450, 3.824848, 6.603502)),
        (0.15, 0, (0.348540, 1.640594, 2.298421)),
    ],
)
def test_vs_known_values(gamma, tau, expected):
    assert values(VSLoss(COUNTS, gamma, tau)) == pytest.approx(expected, abs=2e-6)


def test_vs_divisors():
    assert VSLoss(COUNTS, 0.05, 1).divisor.tolist() == pytest.approx((1, 1.122018, 1.258925))


def test_vs_reductions(batch):
    same = torch.testing.assert_close
    same(VSLoss(COUNTS, 0, 0)(*batch), F.cross_entropy(*batch))
    same(VSLoss(COUNTS, 0, 0.7)(*batch), LogitAdjustedLoss(COUNTS, 0.7)(*batch))
    weights = class_weights(COUNTS, "effective", 0.9999)
    same(
        VSLoss(COUNTS, 0, 0, weights)(*batch),
        F.cross_entropy(*batch, weight=torch.tensor(weights)),
    )


def test_weights_do_not_touch_a_batch_of_one_class():
    scores, label = torch.randn(5, 3), torch.full((5,), 2)
    weighted = VSLoss(COUNTS, 0.1, 1, [0.1, 1, 7])(scores, label)
    torch.testing.assert_close(weighted, VSLoss(COUNTS, 0.1, 1)(scores, label))


def built(module, **params):
    """The loss a method configures for three classes, and its whole config."""
    cfg = Config(
        {
            "model": {
                "backbone": {},
                "head": {"type": "LinearHead", "in_channels": 4, "classes": 3, "loss": None},
            },
            "train_cfg": {"max_iters": 100},
            "train_dataloader": {"sampler": None},
            "optim_wrapper": {"optimizer": {"lr": 0.1, "weight_decay": 2e-4}},
            "param_scheduler": [],
        }
    )
    cfg = baseline(module).configure(cfg, FACTS, **params)
    return MODELS.build(cfg.model.head.loss), cfg


ADRW = {
    "gamma": 0.05,
    "tau": 1.0,
    "tau2": 1.0,
    "switch": 0.8,
    "weight_decay": None,
    "weight_decay2": None,
}


def test_tla_stage_2_is_logit_adjustment(batch):
    loss, _ = built("adrw_tla", **ADRW, nu=0.0, truncate=True)
    torch.testing.assert_close(loss(*batch), VSLoss(COUNTS, 0.05, 1)(*batch))
    loss.set_progress(0.8)
    torch.testing.assert_close(loss(*batch), LogitAdjustedLoss(COUNTS, 1.0)(*batch))


def test_adrw_stage_2_keeps_vs_and_weighs_it(batch):
    loss, _ = built("adrw_tla", **ADRW, nu=0.25, truncate=False)
    loss.set_progress(0.99)
    weights = adrw_weights(COUNTS, 0.25)
    torch.testing.assert_close(loss(*batch), VSLoss(COUNTS, 0.05, 1, weights)(*batch))
    none, _ = built("adrw_tla", **ADRW, nu=0.0, truncate=False)
    none.set_progress(0.99)
    torch.testing.assert_close(none(*batch), VSLoss(COUNTS, 0.05, 1)(*batch))


def test_stage_2_weight_decay_is_scheduled_and_takes_effect():
    _, cfg = built(
        "adrw_tla", **{**ADRW, "weight_decay2": 5e-4, "weight_decay": 1e-4}, nu=0.25, truncate=True
    )
    assert cfg.optim_wrapper.optimizer.weight_decay == 1e-4
    (schedule,) = cfg.param_scheduler
    assert schedule.param_name == "weight_decay"
    assert (schedule.milestones, schedule.gamma) == ([80], pytest.approx(5))


def test_drw_and_cb_weights():
    weights = class_weights(COUNTS, "effective", 0.9999)
    assert weights == pytest.approx((0.027159, 0.270369, 2.702472), abs=2e-6)
    for counts, ends in ((C100, (0.044876, 4.378313)), (C10, (0.050611, 3.992723))):
        found = class_weights(counts, "effective", 0.9999)
        assert (found[0], found[-1]) == pytest.approx(ends, abs=2e-6)
    scores, label = Z.repeat(3, 1), torch.arange(3)
    assert F.cross_entropy(scores, label).item() == pytest.approx(1.383697, abs=2e-6)
    assert WeightedFocalLoss(weights)(scores, label).item() == pytest.approx(2.218719, abs=2e-6)


def test_adrw_weights():
    assert adrw_weights(COUNTS, 0) == [1, 1, 1]
    assert adrw_weights(COUNTS, 0.25) == pytest.approx((0.505003, 0.898037, 1.596960), abs=2e-6)
    assert adrw_weights(COUNTS, 1) == pytest.approx((0.027027, 0.270270, 2.702703), abs=2e-6)
    assert adrw_weights(COUNTS, 1) == pytest.approx(class_weights(COUNTS, "inverse", 0))
    for nu, ends in ((0.25, (0.528237, 1.670434)), (0.15, (0.691243, 1.379211))):
        found = adrw_weights(C100, nu)
        assert (found[0], found[-1]) == pytest.approx(ends, abs=2e-6)


def test_ldam_known_values():
    assert margins(COUNTS, 0.5).tolist() == pytest.approx((0.158114, 0.281171, 0.5), abs=1e-6)
    for counts in (C100, C10):
        ends = margins(counts, 0.5)[[0, -1]].tolist()
        assert ends == pytest.approx((0.158114, 0.5), abs=1e-6)
    cosines = torch.tensor([[0.2, 0.1, 0.01]])
    expected = (1.960242, 11.438471, 20.748587)
    assert values(LDAMLoss(COUNTS), 30 * cosines) == pytest.approx(expected, abs=1e-5)


def test_ldam_drw_weighs_in_its_second_stage(batch):
    params = dict(margin=0.5, scale=30.0, switch=0.8, beta=0.9999, weight_decay=None)
    loss, cfg = built("ldam", **params)
    assert (cfg.model.head.type, cfg.model.head.scale) == ("CosineHead", 30.0)
    torch.testing.assert_close(loss(*batch), LDAMLoss(COUNTS)(*batch))
    loss.set_progress(0.8)
    weights = class_weights(COUNTS, "effective", 0.9999)
    expected = LDAMLoss(COUNTS, class_weight=weights)(*batch)
    torch.testing.assert_close(loss(*batch), expected)


def test_focal_loss_weighted_equally_is_the_focal_loss(batch):
    loss = WeightedFocalLoss([2.0, 2.0, 2.0], gamma=2.0)
    p = batch[0].softmax(1).gather(1, batch[1][:, None])
    torch.testing.assert_close(loss(*batch), (-((1 - p) ** 2) * p.log()).mean())
    torch.testing.assert_close(WeightedFocalLoss([1.0] * 3)(*batch), F.cross_entropy(*batch))


def test_balanced_softmax_is_logit_adjustment_with_tau_one(batch):
    loss, _ = built("balanced_softmax")
    shifted = batch[0] + torch.tensor(COUNTS).log()
    torch.testing.assert_close(loss(*batch), F.cross_entropy(shifted, batch[1]))


def test_influence_by_hand():
    scores, label = torch.zeros(2, 2), torch.tensor([0, 1])
    features = torch.tensor([[1.0, -1.0], [3.0, 1.0]])
    # p = 1/2: |p - onehot|_1 = 1; influences 2 and 4
    loss = InfluenceBalancedLoss([0.5, 1.5], alpha=10.0)(scores, label, features=features)
    expected = (0.5 * 10 / 2.001 + 1.5 * 10 / 4.001) / 2 * torch.tensor(2.0).log().item()
    assert loss.item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="features"):
        InfluenceBalancedLoss([1.0, 1.0], alpha=1.0)(scores, label)


def test_the_influence_is_a_weight_that_is_not_differentiated():
    scores = torch.randn(4, 3, requires_grad=True)
    label, features = torch.tensor([0, 1, 2, 0]), torch.rand(4, 5, requires_grad=True)
    InfluenceBalancedLoss([1.0] * 3, alpha=1.0)(scores, label, features=features).backward()
    assert features.grad is None
    miss = scores.softmax(1) - F.one_hot(label, 3)
    factor = 1 / (miss.abs().sum(1) * features.sum(1) + 1e-3)
    torch.testing.assert_close(scores.grad, miss * factor[:, None] / 4)


def test_label_aware_smoothing():
    assert smoothing([100, 50.5, 1], 0.4, 0.1, "linear") == pytest.approx((0.4, 0.25, 0.1))
    assert smoothing([100, 50.5, 1], 0.4, 0.1, "concave")[1] == pytest.approx(0.1 + 0.3 * 0.5**0.5)
    assert smoothing([7, 7], 0.4, 0.1, "convex") == [0.4, 0.4]
    # of the true class .417030, of the others 1.417030 and 2.317030: their mean 1.867030, of all 1.383697
    loss, others = (LabelAwareSmoothingLoss([0.3, 0.0, 0.1], *over) for over in ((), ("others",)))
    released = (0.7 * 0.417030 + 0.3 * 1.383697, 1.417030, 0.9 * 2.317030 + 0.1 * 1.383697)
    assert values(loss) == pytest.approx(released, abs=2e-6)
    papers = (0.7 * 0.417030 + 0.3 * 1.867030, 1.417030, 0.9 * 2.317030 + 0.1 * 0.917030)
    assert values(others) == pytest.approx(papers, abs=2e-6)
    # the released smoothing by eps is that over the others by eps (C - 1) / C
    same = LabelAwareSmoothingLoss([0.2, 0.0, 0.1 * 2 / 3], "others")
    assert values(same) == pytest.approx(values(loss), abs=1e-6)


def test_seesaw_by_hand():
    loss = SeesawLoss(3, p=0.8, q=2.0).eval()
    loss.seen.copy_(torch.tensor(COUNTS))
    z = Z[0]
    # y = 1: class 0 is more frequent (no mitigation) and scored higher (compensated);
    # class 2 is rarer (mitigated) and scored lower
    s = torch.tensor([((z[0] - z[1]).exp()) ** 2.0, 1.0, (1 / 10) ** 0.8])
    expected = -(z[1].exp() / (s * z.exp()).sum()).log()
    assert values(loss)[1] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("made", [SeesawLoss, PixelSeesawLoss])
def test_seesaw_floors_the_true_class_as_released(made):
    # p = (.9985, .0005, .0010): p_0 / p_1 is 1997, but no more than 99.85 with a floor of 1 %
    p = np.array([0.9985, 0.0005, 0.0010])
    scores, label = torch.tensor(np.log(p))[None], torch.tensor([1])
    mitigation = np.array([1.0, 1.0, 0.1**0.8])
    for floor, ratios in ((0.0, p / 0.0005), (0.01, p / 0.01)):
        loss = made(3, floor=floor).eval().double()
        loss.seen.copy_(torch.tensor(COUNTS))
        factor = mitigation * np.maximum(ratios, 1) ** 2.0
        factor[1] = 1
        expected = -np.log(p[1] / (factor * p).sum())
        assert loss(scores, label).item() == pytest.approx(expected, rel=1e-6)
    without, default = (
        made(3, **given).eval()(scores, label).item() for given in ({"floor": 0.0}, {})
    )
    # both compensated, by the square of 1997 and of 99.85: log of 20 squared apart
    assert without - default == pytest.approx(2 * np.log(20), abs=0.01)


def test_seesaw_counts_in_training_only_and_reduces_to_cross_entropy(batch):
    loss = SeesawLoss(3, p=0.0, q=0.0)
    torch.testing.assert_close(loss(*batch), F.cross_entropy(*batch))
    assert torch.equal(loss.seen, torch.bincount(batch[1], minlength=3).float())
    loss.eval()(*batch)
    assert loss.seen.sum() == 16
    assert "seen" in loss.state_dict()  # resumed


def test_equalization_spares_rare_negatives():
    never = SoftmaxEqualizationLoss(COUNTS, rare=0.3, gamma=0.0)
    assert values(never) == pytest.approx((0.417030, 1.417030, 2.317030), abs=2e-6)
    always = SoftmaxEqualizationLoss(COUNTS, rare=0.3, gamma=1.0)
    # mean 37: classes 1 and 2 are rare; as a true class each stays in the denominator
    z = Z[0].exp()
    assert always.dropped.tolist() == [False, True, True]
    expected = [0, (z[0] + z[1]).log() - 1, (z[0] + z[2]).log() - 0.1]
    assert values(always) == pytest.approx([float(v) for v in expected], abs=1e-6)


def test_equalization_drops_with_probability_gamma():
    torch.manual_seed(0)
    loss = SoftmaxEqualizationLoss([1000, 1], rare=0.3, gamma=0.9)
    scores, label = torch.zeros(1, 2), torch.tensor([0])
    kept = sum(loss(scores, label).item() > 0 for _ in range(2000))
    assert 130 < kept < 270


@pytest.mark.parametrize(
    ("first", "second", "share", "expected"),
    [
        (0, 2, 0.3, 0.0),  # i far more frequent with a small share: all to the rare j
        (0, 2, 0.6, 0.6),
        (2, 0, 0.7, 1.0),  # i far rarer, j has a small share: all to i
        (2, 0, 0.4, 0.4),
        (0, 0, 0.3, 0.3),
    ],
)
def test_remix_label_shares(first, second, share, expected):
    remix = Remix(COUNTS, alpha=1.0, kappa=3.0, tau=0.5)
    got = remix.label_share(torch.tensor([first]), torch.tensor([second]), share)
    assert got.item() == pytest.approx(expected)


def test_mixup_mixes_images_as_labels(batch):
    torch.manual_seed(1)
    images = torch.arange(16.0).view(16, 1, 1, 1).expand(16, 1, 2, 2)
    mixed, targets = Remix(COUNTS, alpha=1.0, kappa=3.0, tau=0.0)(images, batch[1])
    (first, weight), (second, rest) = targets
    assert torch.equal(first, batch[1])
    torch.testing.assert_close(weight + rest, torch.ones(16))
    other = (mixed[:, 0, 0, 0] - weight * torch.arange(16.0)) / rest
    assert torch.equal(batch[1][other.round().long()], second)
    # the sum over targets is cross entropy with soft labels
    total = sum(CrossEntropy()(batch[0], y, weight=w) for y, w in targets)
    soft = weight[:, None] * F.one_hot(first, 3) + rest[:, None] * F.one_hot(second, 3)
    torch.testing.assert_close(total, F.cross_entropy(batch[0], soft))


@pytest.mark.parametrize(
    ("power", "expected"), [(0.0, (1, 1, 1)), (0.5, (10, 3.162, 1)), (1.0, COUNTS)]
)
def test_class_power_sampling(power, expected):
    labels = torch.tensor([0] * 100 + [1] * 10 + [2])
    sampler = ClassPowerSampler(SimpleNamespace(labels=labels), seed=0, power=power)
    stream = iter(sampler)
    drawn = torch.tensor([next(stream) for _ in range(20_000)])
    share = torch.bincount(labels[drawn], minlength=3) / 20_000
    assert share.tolist() == pytest.approx([e / sum(expected) for e in expected], abs=0.012)
    # within a class uniformly
    ones = torch.bincount(drawn[labels[drawn] == 1] - 100, minlength=10)
    assert ones.max() / ones.sum() < 0.2 or power == 1.0
    again = iter(ClassPowerSampler(SimpleNamespace(labels=labels), seed=0, power=power))
    assert [next(again) for _ in range(100)] == drawn[:100].tolist()


WB = dict(lr=0.01, weight_decay=0.005, weight_decay2=0.1, threshold=0.1, beta=0.9999, switch=0.95)
WB |= dict(loss2="bce", project="epoch", batch_statistics=True)


def test_the_balanced_binary_loss_of_weight_balancing(batch):
    weights = class_weights(COUNTS, "effective", 0.9999)
    # p = (.659001, .242433, .098566): -log p_y - log(1 - p) of the others, over 3 classes
    p = np.array([0.659001, 0.242433, 0.098566])
    no = np.log(1 - p)
    expected = -(np.log(p) + no.sum() - no) / 3
    assert expected[0] == pytest.approx(0.266153, abs=1e-5)
    assert values(BalancedBinaryLoss([1.0] * 3)) == pytest.approx(expected, abs=3e-6)
    # the mean over the samples, which their weights do not divide
    scores, label = Z.repeat(3, 1), torch.arange(3)
    total = (np.array(weights) * expected).sum() / 3
    assert BalancedBinaryLoss(weights)(scores, label).item() == pytest.approx(total, abs=5e-6)
    loss, cfg = built("wb", **WB)
    loss.set_progress(0.94)
    torch.testing.assert_close(loss(*batch), F.cross_entropy(*batch))
    loss.set_progress(0.95)
    torch.testing.assert_close(loss(*batch), BalancedBinaryLoss(weights)(*batch))
    (hook,) = cfg.custom_hooks
    assert (hook.start, hook.every, hook.batch_statistics) == (95, 14, True)  # 111 images by 8
    loss, cfg = built("wb", **{**WB, "loss2": "ce", "project": "step", "switch": 0.999})
    loss.set_progress(0.99)
    torch.testing.assert_close(loss(*batch), F.cross_entropy(*batch, weight=torch.tensor(weights)))
    # a stage 2 of one iteration at least
    assert (cfg.custom_hooks[0].start, cfg.custom_hooks[0].every) == (99, 1)
    # in bf16, too, where torch refuses binary cross entropies of probabilities
    with torch.autocast("cpu", torch.bfloat16):
        assert BalancedBinaryLoss(weights)(scores, label).item() == pytest.approx(total, abs=5e-6)


def test_weight_balancing_schedules_and_caps():
    _, cfg = built("wb", **WB)
    model = torch.nn.Linear(2, 2)
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    cfg.optim_wrapper = {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", **cfg.optim_wrapper.optimizer},
    }
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    schedulers = [
        PARAM_SCHEDULERS.build(s, default_args={"optimizer": wrapper}) for s in cfg.param_scheduler
    ]
    rates, decays = [], []
    for _ in range(100):
        group = wrapper.param_groups[0]
        rates.append(group["lr"])
        decays.append(group["weight_decay"])
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(0.01) and rates[94] < 1e-4
    assert rates[95] == pytest.approx(0.01, rel=1e-3) and rates[99] < 0.002
    assert decays[94] == pytest.approx(0.005) and decays[95] == pytest.approx(0.1)


def test_max_norm_projection():
    from tasks.vision.networks.classifier import LinearHead

    head = LinearHead(4, 3, {"type": "CrossEntropy"})
    model = SimpleNamespace(head=head, backbone=torch.nn.Linear(1, 1))
    runner = SimpleNamespace(iter=5, model=model, max_iters=20)

    def spread():
        with torch.no_grad():
            head.fc.weight.copy_(torch.diag_embed(torch.tensor([1.0, 2.0, 11.0]))[:, [0, 1, 2, 0]])
            head.fc.weight[:, 3] = 0

    spread()
    hook = MaxNormHook(start=5, threshold=0.1, every=1, batch_statistics=False)
    hook.before_train_iter(runner)
    hook.after_train_iter(runner)
    # radius 1 + 0.1 (11 - 1) = 2
    assert head.fc.weight.norm(dim=1).tolist() == pytest.approx([1, 2, 2])
    assert not next(model.backbone.parameters()).requires_grad and not model.backbone.training
    other = MaxNormHook(start=5, threshold=0.1, every=1, batch_statistics=False)
    other.load_state_dict(hook.state_dict())
    assert torch.equal(other._radius, hook._radius)

    # every epoch, here of six iterations, and at the end; the trunk goes on in training mode
    model.backbone.train()
    hook = MaxNormHook(start=5, threshold=0.1, every=6, batch_statistics=True)
    projected = []
    for runner.iter in range(20):
        spread()
        hook.before_train_iter(runner)
        hook.after_train_iter(runner)
        if head.fc.weight.norm(dim=1).max() < 3:
            projected.append(runner.iter)
    assert projected == [10, 16, 19] and model.backbone.training


@given(strategies.integers(1, 100_000), strategies.integers(0, 1000))
def test_stage_start_is_where_the_loss_switches(iterations, thousandth):
    switch = thousandth / 1000
    start = stage_start(iterations, switch)
    assert start == iterations or start / iterations >= switch
    assert start == 0 or (start - 1) / iterations < switch


def test_a_staged_loss_switches_at_its_fraction():
    loss = StagedLoss({"type": "CrossEntropy"}, {"type": "CrossEntropy"}, 0.8)
    stages = []
    for i in range(17_000 // 100):
        loss.set_progress(i * 100 / 17_000)
        stages.append(loss.stage)
    assert stages.index(1) == 136  # 0.8 * 17,000 = 13,600
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        StagedLoss({"type": "CrossEntropy"}, {"type": "CrossEntropy"}, 80)


def test_posthoc_adjustment_undoes_the_prior():
    from baselines.classification.la_posthoc import infer

    logits = np.array([[2.0, 1.0, 0.1]], dtype=np.float32)
    pi = np.array(COUNTS) / 111
    got = infer({"logits": logits}, COUNTS, tau=1.5)
    assert got == pytest.approx(logits - 1.5 * np.log(pi))
    assert np.array_equal(infer({"logits": logits}, COUNTS, tau=0.0), logits)


LOSSES = {
    "ce": CrossEntropy,
    "vs": lambda: VSLoss(COUNTS, 0.1, 1.0),
    "vs weighted": lambda: VSLoss(COUNTS, 0.1, 1.0, [0.5, 1.0, 1.5]),
    "ldam": lambda: LDAMLoss(COUNTS, scale=3.0),
    "weighted focal": lambda: WeightedFocalLoss([0.5, 1.0, 1.5], gamma=1.5),
    "las": lambda: LabelAwareSmoothingLoss([0.3, 0.1, 0.0]),
    "balanced bce": lambda: BalancedBinaryLoss([0.5, 1.0, 1.5]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_and_weights(name, batch):
    loss = LOSSES[name]().double()
    scores, label = batch[0][:5].double().requires_grad_(), batch[1][:5]
    assert torch.autograd.gradcheck(lambda z: loss(z, label), scores)
    twice = loss(scores, label, weight=torch.full((5,), 2.0))
    torch.testing.assert_close(twice, 2 * loss(scores, label))
    assert not loss.state_dict()


@settings(max_examples=30, deadline=None)
@given(strategies.lists(strategies.integers(1, 5000), min_size=2, max_size=12))
def test_adjusted_losses_ignore_a_shift_of_all_logits(counts):
    torch.manual_seed(0)
    scores, label = torch.randn(6, len(counts)), torch.randint(0, len(counts), (6,))
    for loss in (LogitAdjustedLoss(counts), LDAMLoss(counts), VSLoss(counts, 0.0, 1.0)):
        torch.testing.assert_close(
            loss(scores + 5, label), loss(scores, label), rtol=1e-4, atol=1e-5
        )


def test_settings_of_stage_2_hold_from_the_start_where_it_is_the_first():
    both = {"weight_decay": 1e-4, "weight_decay2": 5e-4, "switch": 0.0}
    _, cfg = built("adrw_tla", **{**ADRW, **both}, nu=0.25, truncate=True)
    assert cfg.optim_wrapper.optimizer.weight_decay == pytest.approx(5e-4)
    assert cfg.param_scheduler == []
    _, cfg = built("ib", alpha=1.0, switch=0.0, lr_factor=0.01)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(0.001)
    _, cfg = built("ib", alpha=1.0, switch=1.0, lr_factor=0.01)
    assert cfg.optim_wrapper.optimizer.lr == 0.1 and cfg.param_scheduler == []
