"""Known answers of the segmentation losses."""

from types import SimpleNamespace

import pytest
from methods import baseline

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytest.importorskip("mmseg")

from mmengine.config import Config  # noqa: E402
from pixel_losses import COUNTS, IGNORED, TOY, batch, cross_entropy  # noqa: E402, F401

from baselines.classification.reweighting import WeightedFocalLoss  # noqa: E402
from baselines.parts.class_weights import class_weights  # noqa: E402
from baselines.segmentation.dice import SoftDiceLoss  # noqa: E402
from baselines.shared.focal import SoftmaxFocalLoss  # noqa: E402
from baselines.shared.la import LogitAdjustedLoss  # noqa: E402

FACTS = SimpleNamespace(
    num_classes=4,
    class_counts=COUNTS,
    image_counts=[10, 9, 3, 1],
    groups={"head": (0,), "medium": (1, 2), "tail": (3,)},
    max_iters=10,
)
LOSSES = {
    "wce": lambda: WeightedFocalLoss([0.5, 1.0, 1.5, 2.0]),
    "focal": lambda: SoftmaxFocalLoss(2.0),
    "dice": lambda: SoftDiceLoss(),
    "la": lambda: LogitAdjustedLoss(COUNTS),
}


def test_focal_with_gamma_zero_is_cross_entropy(batch):
    torch.testing.assert_close(SoftmaxFocalLoss(0.0)(*batch), cross_entropy(*batch))


# Hand-computed for one pixel with logits (2, 1, 0.1).
@pytest.mark.parametrize(("gamma", "expected"), [(1.0, 2.088650), (2.0, 1.882780)])
def test_focal_known_values(gamma, expected):
    value = SoftmaxFocalLoss(gamma)(TOY, torch.full((1, 1, 1), 2)).item()
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("true", "expected"), [(0, 0.037569), (1, 3.340154), (2, 6.542739)])
def test_la_known_values(true, expected):
    value = LogitAdjustedLoss([100, 10, 1])(TOY, torch.full((1, 1, 1), true)).item()
    assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_gradient_is_finite_for_certain_pixels(gamma):
    logits = torch.tensor([200.0, 0.0, -200.0]).view(1, 3, 1, 1).requires_grad_()
    SoftmaxFocalLoss(gamma)(logits, torch.zeros(1, 1, 1, dtype=torch.long)).backward()
    assert torch.isfinite(logits.grad).all()


def test_la_with_tau_zero_is_cross_entropy(batch):
    torch.testing.assert_close(LogitAdjustedLoss(COUNTS, tau=0.0)(*batch), cross_entropy(*batch))


def test_la_is_cross_entropy_on_shifted_logits(batch):
    logits, label = batch
    prior = torch.tensor(COUNTS) / sum(COUNTS)
    shifted = logits + 1.5 * prior.log().view(1, -1, 1, 1)
    torch.testing.assert_close(
        LogitAdjustedLoss(COUNTS, tau=1.5)(logits, label), cross_entropy(shifted, label)
    )


def test_la_with_a_class_absent_from_training_stays_finite(batch):
    assert torch.isfinite(LogitAdjustedLoss([900, 90, 10, 0])(*batch))


def test_inverse_frequency_weights():
    weights = class_weights([4, 2, 1], "inverse", 0.0)
    assert weights == pytest.approx([3 / 7, 6 / 7, 12 / 7])  # 1 : 2 : 4, mean 1


def test_effective_number_weights():
    beta = 0.9
    raw = [(1 - beta) / (1 - beta**n) for n in (30, 3, 1)]
    expected = [3 * w / sum(raw) for w in raw]
    assert class_weights([30, 3, 1], "effective", beta) == pytest.approx(expected)
    assert class_weights([30, 3, 1], "effective", 0.0) == pytest.approx([1, 1, 1])
    near_one = class_weights([30, 3, 1], "effective", 1 - 1e-9)
    assert near_one == pytest.approx(class_weights([30, 3, 1], "inverse", 0.0), rel=1e-6)


def test_weights_of_an_absent_class_are_zero_and_leave_the_mean_alone():
    for scheme in ("inverse", "effective"):
        weights = class_weights([4, 0, 1], scheme, 0.5)
        assert weights[1] == 0
        assert weights[0] + weights[2] == pytest.approx(2)


def test_weighted_cross_entropy_is_torchs_weighted_mean(batch):
    weights = class_weights(COUNTS, "inverse", 0.0)
    expected = cross_entropy(*batch, weight=torch.tensor(weights))
    torch.testing.assert_close(WeightedFocalLoss(weights)(*batch), expected)
    torch.testing.assert_close(WeightedFocalLoss([7.0] * 4)(*batch), cross_entropy(*batch))


def test_dice_weight_is_a_factor(batch):
    torch.testing.assert_close(SoftDiceLoss(3.0)(*batch), 3 * SoftDiceLoss()(*batch))


def test_dice_is_zero_for_a_perfect_prediction_and_one_for_a_wrong_one(batch):
    _, label = batch
    classes = label.where(label != IGNORED, 0)
    perfect = 100.0 * F.one_hot(classes, 4).permute(0, 3, 1, 2)
    assert SoftDiceLoss()(perfect, label).item() == pytest.approx(0, abs=1e-6)
    assert SoftDiceLoss()(perfect.roll(1, dims=1), label).item() == pytest.approx(1, abs=1e-6)


def test_dice_of_a_uniform_prediction_by_hand():
    # Four pixels, half of each class, p = 1/2: 2 * (2 * .5) / (4 * .25 + 2) = 2/3 for both classes.
    label = torch.tensor([[[0, 0], [1, 1]]])
    assert SoftDiceLoss()(torch.zeros(1, 2, 2, 2), label).item() == pytest.approx(1 / 3)
    # A third class that is absent does not enter the mean: 2 * (2/3) / (4/9 + 2) = 6/11.
    assert SoftDiceLoss()(torch.zeros(1, 3, 2, 2), label).item() == pytest.approx(5 / 11)


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    def test_ignored_pixels_do_not_count(self, name, batch):
        logits, label = batch
        loss = LOSSES[name]()
        changed = logits.clone()
        changed[:, :, 0] = 50.0 * torch.rand(2, 4, 6)
        torch.testing.assert_close(loss(changed, label), loss(logits, label))
        torch.testing.assert_close(loss(logits[:, :, 1:], label[:, 1:]), loss(logits, label))

    def test_a_batch_without_label_gives_zero_with_a_gradient(self, name, batch):
        logits = batch[0].requires_grad_()
        loss = LOSSES[name]()(logits, torch.full((2, 5, 6), IGNORED))
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    def test_another_ignore_index(self, name, batch):
        logits, label = batch
        loss = LOSSES[name]()
        other = label.where(label != IGNORED, -1)
        torch.testing.assert_close(loss(logits, other, ignore_index=-1), loss(logits, label))

    def test_gradient_is_right(self, name, batch):
        logits, label = batch[0][:1, :, :3, :3].double(), batch[1][:1, :3, :3]
        loss = LOSSES[name]().double()
        assert torch.autograd.gradcheck(lambda z: loss(z, label), logits.requires_grad_())

    def test_name_and_no_state(self, name):
        loss = LOSSES[name]()
        assert loss.loss_name.startswith("loss_")
        assert not loss.state_dict()

    def test_pixel_weights_are_used_or_refused(self, name, batch):
        logits, label = batch
        loss = LOSSES[name]()
        weight = torch.full(label.shape, 2.0)
        if name == "dice":
            with pytest.raises(ValueError, match="pixel weights"):
                loss(logits, label, weight=weight)
        else:
            torch.testing.assert_close(loss(logits, label, weight=weight), 2 * loss(logits, label))


@pytest.mark.parametrize(
    ("module", "params", "expected"),
    [
        ("ce", {}, ["CrossEntropyLoss"]),
        ("wce", {"scheme": "inverse", "beta": 0.9}, ["WeightedFocalLoss"]),
        ("wce", {"scheme": "effective", "beta": 0.9}, ["WeightedFocalLoss"]),
        ("focal", {"gamma": 2.0}, ["SoftmaxFocalLoss"]),
        ("dice", {"dice_weight": 1.0}, ["CrossEntropyLoss", "SoftDiceLoss"]),
        ("la", {"tau": 1.0}, ["LogitAdjustedLoss"]),
    ],
)
def test_configure_gives_segmentation_losses_that_can_be_built(module, params, expected):
    from mmengine.registry import DefaultScope
    from mmseg.registry import MODELS

    cfg = Config({"model": {"decode_head": {"loss_decode": [{"type": "CrossEntropyLoss"}]}}})
    cfg = baseline(module).configure(cfg, FACTS, **params)
    losses = cfg.model.decode_head.loss_decode
    assert [loss.type for loss in losses] == expected
    # whatever scope a test before this one has left behind
    with DefaultScope.overwrite_default_scope("mmseg"):
        for loss in losses:
            MODELS.build(loss)
