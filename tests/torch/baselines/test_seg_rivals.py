"""Known answers of the rivals of `longtail-seg`: pixel losses, image samplers, copy-paste."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional
pytest.importorskip("mmseg")

from mmengine.config import Config  # noqa: E402
from mmengine.registry import DATASETS, DefaultScope  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from mmseg.models.data_preprocessor import SegDataPreProcessor  # noqa: E402
from mmseg.registry import MODELS  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402
from pixel_losses import COUNTS, IGNORED, TOY, batch, cross_entropy  # noqa: E402, F401

from baselines.classification.ldam import LDAMLoss  # noqa: E402
from baselines.classification.seesaw import SeesawLoss  # noqa: E402
from baselines.classification.seql import SoftmaxEqualizationLoss  # noqa: E402
from baselines.classification.vs import VSLoss  # noqa: E402
from baselines.parts import sampling  # noqa: E402
from baselines.segmentation import copy_paste, rcs, rfs, seg_ldam  # noqa: E402
from baselines.segmentation.copy_paste import CopyPastePreProcessor  # noqa: E402
from baselines.segmentation.dice import SoftDiceLoss  # noqa: E402
from baselines.segmentation.lovasz import LovaszSoftmax, jaccard_slopes  # noqa: E402
from baselines.segmentation.ohem import HardPixelCrossEntropy  # noqa: E402
from baselines.segmentation.rcs import RareClassSampler, class_shares  # noqa: E402
from baselines.segmentation.rfs import RepeatFactorSampler, repeat_factors  # noqa: E402
from baselines.segmentation.seg_ldam import CosineConv, PixelLDAMLoss, StagedPixelLoss  # noqa: E402
from baselines.segmentation.seg_seesaw import PixelSeesawLoss  # noqa: E402
from baselines.segmentation.seg_seql import PixelEqualizationLoss  # noqa: E402
from baselines.segmentation.tversky import SoftTverskyLoss  # noqa: E402
from baselines.shared.la import LogitAdjustedLoss  # noqa: E402
from suite.define.catalog import Catalog  # noqa: E402
from suite.define.data import find_data  # noqa: E402
from suite.engine.data import PositionSampler  # noqa: E402
from suite.engine.run import resolve_config  # noqa: E402
from tasks.longtail_seg import heads  # noqa: E402, F401 - registers
from tasks.longtail_seg.recipes import base_config  # noqa: E402

NEW = (
    "cdt-seg", "copy-paste", "ldam-drw-seg", "ldam-seg", "lovasz", "ohem", "rcs", "rfs", "seesaw-seg",
    "seql-seg", "tversky", "vs-seg",
)  # fmt: skip
LOSSES = {
    "ohem": lambda: HardPixelCrossEntropy(0.3, 0.4),
    "lovasz": lambda: LovaszSoftmax(),
    "tversky": lambda: SoftTverskyLoss(),
    "vs": lambda: VSLoss(COUNTS, 0.3, 1.0),
    "ldam": lambda: PixelLDAMLoss(COUNTS, 0.5, 4.0),
    "ldam-weighted": lambda: PixelLDAMLoss(COUNTS, 0.5, 4.0, [0.5, 1.0, 1.5, 2.0]),
    "seesaw": lambda: PixelSeesawLoss(4).eval(),
    "seql": lambda: PixelEqualizationLoss(COUNTS, 0.3, 1.0),
}
REGIONS = ("lovasz", "tversky")


def labelled(logits, label):
    """The labelled pixels as samples of a classification: logits (P, C), ids (P,)."""
    valid = label != IGNORED
    return logits.movedim(1, -1)[valid], label[valid]


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
        other = label.where(label != IGNORED, 255)
        torch.testing.assert_close(loss(logits, other, ignore_index=255), loss(logits, label))

    def test_gradient_is_right(self, name, batch):
        logits, label = batch[0][:1, :, :3, :3].double(), batch[1][:1, :3, :3]
        # the compensation factor follows the scores and is not differentiated
        loss = (PixelSeesawLoss(4, q=0.0).eval() if name == "seesaw" else LOSSES[name]()).double()
        assert torch.autograd.gradcheck(lambda z: loss(z, label), logits.requires_grad_())

    def test_a_class_that_is_not_in_the_batch(self, name, batch):
        logits, label = batch
        label = label.where(label != 3, 0)
        value = LOSSES[name]()(logits.requires_grad_(), label)
        value.backward()
        assert math.isfinite(value.item())
        assert torch.isfinite(logits.grad).all()

    def test_pixel_weights_are_used_or_refused(self, name, batch):
        logits, label = batch
        weight = torch.full(label.shape, 2.0)
        loss = LOSSES[name]()
        if name in REGIONS:
            with pytest.raises(ValueError, match="pixel weights"):
                loss(logits, label, weight=weight)
        else:
            torch.testing.assert_close(loss(logits, label, weight=weight), 2 * loss(logits, label))

    def test_name_and_state(self, name):
        loss = LOSSES[name]()
        assert loss.loss_name.startswith("loss_")
        assert set(loss.state_dict()) == ({"seen"} if name == "seesaw" else set())


# -- reductions and known answers
def test_what_reduces_to_cross_entropy(batch):
    losses = {
        "ohem, certainty 1": HardPixelCrossEntropy(1.0, 0.0),
        "ohem, all kept": HardPixelCrossEntropy(0.0, 1.0),
        "vs": VSLoss(COUNTS, 0.0, 0.0),
        "ldam": PixelLDAMLoss(COUNTS, margin=0.0),
        "ldam, equal weights": PixelLDAMLoss(COUNTS, 0.0, class_weight=[3.0] * 4),
        "seesaw": PixelSeesawLoss(4, 0.0, 0.0),
        "seql, never": PixelEqualizationLoss(COUNTS, 0.3, 0.0),
        "seql, none rare": PixelEqualizationLoss(COUNTS, 0.0, 1.0),
    }
    for name, loss in losses.items():
        torch.testing.assert_close(loss(*batch), cross_entropy(*batch), msg=name)


def test_vs_without_its_multiplicative_part_is_logit_adjustment(batch):
    torch.testing.assert_close(
        VSLoss(COUNTS, 0.0, 0.75)(*batch), LogitAdjustedLoss(COUNTS, 0.75)(*batch)
    )


@pytest.mark.parametrize(
    ("pixels", "samples"),
    [
        (lambda: VSLoss(COUNTS, 0.3, 0.7), lambda: VSLoss(COUNTS, 0.3, 0.7)),
        (lambda: VSLoss(COUNTS, 0.15, 0.0), lambda: VSLoss(COUNTS, 0.15, 0.0)),
        (lambda: PixelLDAMLoss(COUNTS), lambda: LDAMLoss(COUNTS)),
        (
            lambda: PixelLDAMLoss(COUNTS, 0.3, 10.0, [1.0, 2.0, 3.0, 4.0]),
            lambda: LDAMLoss(COUNTS, 0.3, 10.0, [1.0, 2.0, 3.0, 4.0]),
        ),
        (lambda: PixelSeesawLoss(4), lambda: SeesawLoss(4)),
        (
            lambda: PixelEqualizationLoss(COUNTS, 0.3, 1.0),
            lambda: SoftmaxEqualizationLoss(COUNTS, 0.3, 1.0),
        ),
    ],
    ids=["vs", "cdt", "ldam", "ldam-weighted", "seesaw", "seql"],
)
def test_the_pixel_form_is_the_classification_loss_over_labelled_pixels(pixels, samples, batch):
    logits, label = batch
    one, other = pixels(), samples()
    # twice: what is accumulated in training counts
    for shift in (0.0, 1.0):
        mine = (logits + shift * torch.arange(4).view(1, 4, 1, 1)).requires_grad_()
        theirs = mine.detach().clone().requires_grad_()
        found, expected = one(mine, label), other(*labelled(theirs, label))
        torch.testing.assert_close(found, expected)
        found.backward()
        expected.backward()
        torch.testing.assert_close(mine.grad, theirs.grad)


# sheet 3.5: one pixel with logits (2, 1, 0.1), counts (100, 10, 1)
@pytest.mark.parametrize(
    ("gamma", "tau", "expected"),
    [
        (0.05, 0.75, (0.061388, 2.897076, 5.435833)),
        (0.3, 1.0, (0.023450, 3.824848, 6.603502)),
        (0.15, 0.0, (0.348540, 1.640594, 2.298421)),
    ],
)
def test_vs_known_values(gamma, tau, expected):
    for true, value in enumerate(expected):
        found = VSLoss([100, 10, 1], gamma, tau)(TOY, torch.full((1, 1, 1), true)).item()
        assert found == pytest.approx(value, rel=1e-4)


def test_ldam_known_values():
    scores = 30 * torch.tensor([0.2, 0.1, 0.01]).view(1, 3, 1, 1)
    for true, value in enumerate((1.960242, 11.438471, 20.748587)):
        found = PixelLDAMLoss([100, 10, 1])(scores, torch.full((1, 1, 1), true)).item()
        assert found == pytest.approx(value, rel=1e-4)


# -- OHEM
def test_ohem_is_the_mean_over_the_pixels_that_a_loop_would_keep(batch):
    logits, label = batch
    scores, truth = labelled(logits, label)
    share = scores.softmax(1)[torch.arange(len(truth)), truth].tolist()
    for threshold, kept in itertools.product((0.0, 0.1, 0.4, 0.9), (0.0, 0.1, 0.37, 1.0)):
        hardest = sorted(share)[: math.ceil(kept * len(share))]
        wanted = [p for p in share if p <= threshold or p in hardest]
        expected = sum(-math.log(p) for p in wanted) / max(len(wanted), 1)
        found = HardPixelCrossEntropy(threshold, kept)(logits, label).item()
        assert found == pytest.approx(expected, rel=1e-5), (threshold, kept)


def test_ohem_agrees_with_mmsegs(batch):
    from mmseg.models.losses import OhemCrossEntropy

    logits, label = batch
    pixels = int((label != IGNORED).sum())
    for threshold, kept in ((0.7, 5), (0.05, 5), (0.3, 20)):
        theirs = OhemCrossEntropy(IGNORED, threshold, kept)(logits, label)
        found = HardPixelCrossEntropy(threshold, kept / pixels)(logits, label)
        torch.testing.assert_close(found, theirs)


def test_ohem_where_all_pixels_tie():
    label = torch.zeros(1, 2, 2, dtype=torch.long)
    assert HardPixelCrossEntropy(0.1, 0.1)(torch.zeros(1, 4, 2, 2), label).item() == pytest.approx(
        math.log(4)
    )


# -- Lovász and Tversky
def naive_lovasz(share, truth, index):
    """The extension of the set function |M| / |class or M|, M the wrong pixels, by its definition."""
    member = {i for i, c in enumerate(truth) if c == index}
    error = [1 - row[index] if i in member else row[index] for i, row in enumerate(share)]
    wrong, value, before = set(), 0.0, 0.0
    for i in sorted(range(len(error)), key=lambda i: -error[i]):
        wrong.add(i)
        loss = len(wrong) / len(member | wrong)
        value, before = value + error[i] * (loss - before), loss
    return value


def test_lovasz_is_its_definition(batch):
    logits, label = batch
    scores, truth = labelled(logits.double(), label)
    share = scores.softmax(1).tolist()
    expected = [naive_lovasz(share, truth.tolist(), c) for c in range(4)]
    found = LovaszSoftmax()(logits.double(), label).item()
    assert found == pytest.approx(sum(expected) / 4, rel=1e-9)
    only = label.where(label != 2, IGNORED)
    scores, truth = labelled(logits.double(), only)
    expected = [naive_lovasz(scores.softmax(1).tolist(), truth.tolist(), c) for c in (0, 1, 3)]
    found = LovaszSoftmax(3.0)(logits.double(), only).item()
    assert found == pytest.approx(sum(expected), rel=1e-9)


def test_lovasz_agrees_with_mmsegs(batch):
    from mmseg.models.losses import LovaszLoss

    logits, label = batch
    other = label.where(label != IGNORED, 255)
    theirs = LovaszLoss(reduction="none")(logits, other, ignore_index=255)
    torch.testing.assert_close(LovaszSoftmax()(logits, label), theirs)


def certain(predicted, classes=4):
    return 1000.0 * F.one_hot(predicted, classes).permute(0, 3, 1, 2)


def test_region_losses_of_certain_predictions(batch):
    """Lovász is the Jaccard loss, Tversky by its weights Jaccard or Dice."""
    _, label = batch
    valid = label != IGNORED
    truth = label.where(valid, 0)
    predicted = torch.randint(0, 4, label.shape, generator=torch.Generator().manual_seed(1))
    jaccard, dice, uneven = [], [], []
    for c in range(4):
        hit = ((predicted == c) & (label == c)).sum().item()
        alarm = ((predicted == c) & valid & (label != c)).sum().item()
        miss = ((predicted != c) & (label == c)).sum().item()
        jaccard.append(1 - hit / (hit + alarm + miss))
        dice.append(1 - 2 * hit / (2 * hit + alarm + miss))
        uneven.append(1 - hit / (hit + 0.3 * alarm + 0.7 * miss))
    scores = certain(predicted)
    assert LovaszSoftmax()(scores, label).item() == pytest.approx(sum(jaccard) / 4, abs=1e-6)
    tversky = SoftTverskyLoss(1.0, 1.0)(scores, label).item()
    assert tversky == pytest.approx(sum(jaccard) / 4, abs=1e-6)
    tversky = SoftTverskyLoss(0.3, 0.7)(scores, label).item()
    assert tversky == pytest.approx(sum(uneven) / 4, abs=1e-6)
    tversky = SoftTverskyLoss(0.5, 0.5)(scores, label)
    assert tversky.item() == pytest.approx(sum(dice) / 4, abs=1e-6)
    torch.testing.assert_close(tversky, SoftDiceLoss()(scores, label))
    for loss in (LovaszSoftmax(), SoftTverskyLoss()):
        assert loss(certain(truth), label).item() == pytest.approx(0, abs=1e-6)
        wrong = certain((truth + 1) % 4)
        assert loss(wrong, label).item() == pytest.approx(1, abs=1e-6)


def test_tversky_with_equal_halves_is_dice_without_squares(batch):
    logits, label = batch
    scores, truth = labelled(logits, label)
    share, member = scores.softmax(1), F.one_hot(truth, 4)
    dice = 2 * (share * member).sum(0) / (share.sum(0) + member.sum(0))
    torch.testing.assert_close(SoftTverskyLoss(0.5, 0.5)(logits, label), 1 - dice.mean())
    weighted = SoftTverskyLoss(0.5, 0.5, loss_weight=3.0)(logits, label)
    torch.testing.assert_close(weighted, 3 * (1 - dice.mean()))


def test_slopes_of_the_jaccard_loss_by_hand():
    # wrong pixels in this order: hit lost (1/2), alarm (2/3), hit lost (3/3)
    slopes = jaccard_slopes(torch.tensor([True, False, True]))
    assert slopes.tolist() == pytest.approx([1 / 2, 2 / 3 - 1 / 2, 1 / 3])


# -- Seesaw and SEQL
def test_seesaw_counts_labelled_pixels_in_training_only(batch):
    _, label = batch
    loss = PixelSeesawLoss(4)
    for _ in range(3):
        loss(*batch)
    counts = torch.bincount(label[label != IGNORED], minlength=4)
    assert loss.seen.tolist() == (3 * counts).tolist()
    loss.eval()(*batch)
    assert loss.seen.tolist() == (3 * counts).tolist()
    # a billion and one
    loss.seen[0] = 2.0**30
    loss.train()(torch.zeros(1, 4, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
    assert loss.seen[0] == 2.0**30 + 1


def test_seesaw_factors_are_not_differentiated(batch):
    logits, label = batch
    loss = PixelSeesawLoss(4).eval()
    loss.seen += torch.tensor(COUNTS)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, label), logits)
    truth = label.where(label != IGNORED, 0).unsqueeze(1)
    share = logits.detach().softmax(1)
    ratio = (share / share.gather(1, truth)).clamp(min=1) ** 2.0
    table = torch.tensor([[min(1.0, (j / y) ** 0.8) for j in COUNTS] for y in COUNTS])
    factor = table[truth[:, 0]].movedim(-1, 1) * ratio
    fixed = logits.detach().requires_grad_()
    (expected,) = torch.autograd.grad(cross_entropy(fixed + factor.log(), label), fixed)
    torch.testing.assert_close(gradient, expected)


def test_seql_drops_rare_negatives_with_its_probability():
    torch.manual_seed(0)
    scores = torch.zeros(1, 3, 100, 100)
    loss = PixelEqualizationLoss([100, 100, 1], 0.3, 0.9)
    assert loss.rare.tolist() == [2]
    # ln 2 where the rare class is dropped, else ln 3
    found = loss(scores, torch.zeros(1, 100, 100, dtype=torch.long)).item()
    dropped = (math.log(3) - found) / math.log(1.5)
    assert dropped == pytest.approx(0.9, abs=5 * math.sqrt(0.09 / 1e4))
    # a rare class is never spared from itself
    found = loss(scores, torch.full((1, 100, 100), 2)).item()
    assert found == pytest.approx(math.log(3), rel=1e-5)


def test_seql_of_ignored_pixels_where_every_class_is_rare():
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    label = torch.tensor([[[0, IGNORED], [1, IGNORED]]])
    PixelEqualizationLoss([1, 1, 1], 2.0, 1.0)(logits, label).backward()
    assert torch.isfinite(logits.grad).all()


# -- LDAM's classifier and stages
HEAD = dict(
    type="SegformerHead",
    in_channels=[4, 8],
    in_index=[0, 1],
    channels=6,
    num_classes=3,
    dropout_ratio=0.0,
    align_corners=False,
    loss_decode=[dict(type="CrossEntropyLoss")],
)


def ldam_config(**params):
    cfg = Config({"model": {"decode_head": dict(HEAD)}})
    facts = SimpleNamespace(num_classes=3, class_counts=[100, 10, 1])
    given = dict(margin=0.5, scale=20.0, switch=0.8, beta=0.9) | params
    return seg_ldam.configure(cfg, facts, **given)


def test_ldam_has_a_cosine_classifier_in_any_head():
    cfg = ldam_config()
    with DefaultScope.overwrite_default_scope("mmseg"):
        head = MODELS.build(cfg.model.decode_head)
    head.init_weights()
    assert type(head).__name__ == "SegformerHead"
    assert isinstance(head.conv_seg, CosineConv)
    assert head.conv_seg.bias is None
    features = torch.randn(2, 6, 5, 5)
    found = head.cls_seg(features)
    expected = F.cosine_similarity(features.unsqueeze(1), head.conv_seg.weight.unsqueeze(0), dim=2)
    torch.testing.assert_close(found, 20 * expected)
    torch.testing.assert_close(head.cls_seg(100 * features), found)
    assert torch.isfinite(head.cls_seg(torch.zeros(1, 6, 2, 2))).all()


@pytest.mark.parametrize(
    "network", ["segnext-t", "segformer-b0", "deeplabv3plus-r50", "ocrnet-hr18", "upernet-swin-t"]
)
def test_every_family_of_heads_gets_the_cosine_classifier(network):
    cfg = Config(base_config(f"cityscapes:{network}", {"data_root": ""}))
    facts = SimpleNamespace(num_classes=19, class_counts=range(1, 20))
    cfg = seg_ldam.configure(cfg, facts, margin=0.5, scale=30.0, switch=1.0, beta=0.9)
    with DefaultScope.overwrite_default_scope("mmseg"), torch.device("meta"):
        head = MODELS.build(cfg.model.decode_head)
        assert isinstance(head.conv_seg, CosineConv)
        scores = head.cls_seg(torch.zeros(1, head.conv_seg.in_channels, 4, 4))
    assert scores.shape == (1, 19, 4, 4)


def test_ldam_reweights_from_its_switch_on():
    with DefaultScope.overwrite_default_scope("mmseg"):
        (loss,) = MODELS.build(ldam_config().model.decode_head).loss_decode
        (plain,) = MODELS.build(ldam_config(switch=1.0).model.decode_head).loss_decode
    assert isinstance(loss, StagedPixelLoss)
    assert loss.loss_name.startswith("loss_")
    logits, label = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    label[0, 0, 0] = 255
    first = plain(logits, label, ignore_index=255)
    loss.set_progress(0.79)
    torch.testing.assert_close(loss(logits, label, weight=None, ignore_index=255), first)
    loss.set_progress(0.8)
    weights = [(1 - 0.9) / (1 - 0.9**n) for n in (100, 10, 1)]
    expected = PixelLDAMLoss([100, 10, 1], 0.5, 20.0, weights)(logits, label, ignore_index=255)
    torch.testing.assert_close(loss(logits, label, weight=None, ignore_index=255), expected)


# -- samplers
PRESENT = np.array(
    [[1, 0, 0, 0]] * 6 + [[1, 1, 0, 0]] * 3 + [[1, 1, 1, 0]] + [[0, 0, 0, 0]], dtype=bool
)
PIXELS = [9000, 900, 100, 0]


class Shown:
    """A data set of which the samplers ask which images show what."""

    def class_presence(self):
        return PRESENT

    def __len__(self):
        return len(PRESENT)


def test_class_shares_are_the_papers_formula():
    total = sum(PIXELS)
    raw = [math.exp((1 - n / total) / 0.5) if n else 0.0 for n in PIXELS]
    assert class_shares(PIXELS, 0.5) == pytest.approx([w / sum(raw) for w in raw])
    # at the paper's T a common class is drawn practically never, and nothing overflows
    shares = class_shares(PIXELS, 0.01)
    assert shares[2] / shares[1] == pytest.approx(math.exp(8.0))
    assert shares[0] < 1e-30


@pytest.mark.parametrize("temperature", [0.5, 0.05])
def test_rare_class_sampling_draws_a_class_then_an_image(temperature):
    sampler = RareClassSampler(Shown(), 3, PIXELS, temperature)
    shares = class_shares(PIXELS, temperature)
    expected = np.zeros(len(PRESENT))
    for c in range(3):
        images = np.flatnonzero(PRESENT[:, c])
        expected[images] += shares[c] / len(images)
    assert sampler.probabilities == pytest.approx(expected)
    draws = 200_000
    drawn = np.bincount(list(itertools.islice(sampler, draws)), minlength=len(PRESENT)) / draws
    assert drawn[-1] == 0
    assert np.all(np.abs(drawn - expected) <= 5 * np.sqrt(expected * (1 - expected) / draws))


def test_repeat_factors_are_the_papers_formula():
    share = [10 / 11, 4 / 11, 1 / 11]
    repeats = repeat_factors(PRESENT, 0.5)
    common, rare = math.sqrt(0.5 / share[1]), math.sqrt(0.5 / share[2])
    assert repeats == pytest.approx([1.0] * 6 + [common] * 3 + [rare] + [1.0])
    # by default from where the head classes begin: here class 1
    from_head = repeat_factors(PRESENT, None, head=(0, 1))
    assert from_head == pytest.approx([1.0] * 9 + [math.sqrt(share[1] / share[2]), 1.0])
    with pytest.raises(ValueError, match="head"):
        repeat_factors(PRESENT, None)


def test_repeats_come_as_often_as_their_factor():
    sampler = RepeatFactorSampler(Shown(), 3, 0.5)
    epochs = 4000
    draws = list(itertools.islice(sampler, int(epochs * sampler.repeats.sum())))
    drawn = np.bincount(draws, minlength=len(PRESENT)) / epochs
    assert drawn == pytest.approx(sampler.repeats, rel=0.03)
    assert drawn[0] == pytest.approx(1, rel=0.01)


def test_without_a_rare_class_repeat_factors_only_shuffle():
    draws = list(itertools.islice(RepeatFactorSampler(Shown(), 0, 0.001), 3 * len(PRESENT)))
    epochs = [draws[i : i + len(PRESENT)] for i in range(0, len(draws), len(PRESENT))]
    assert all(sorted(epoch) == list(range(len(PRESENT))) for epoch in epochs)
    assert epochs[0] != epochs[1]


SAMPLERS = {
    rcs: dict(type="RareClassSampler", class_counts=PIXELS, temperature=0.5),
    rfs: dict(type="RepeatFactorSampler", threshold=0.5),
}


@pytest.mark.parametrize("module", SAMPLERS, ids=["rcs", "rfs"])
def test_a_sample_follows_from_seed_and_position(module, monkeypatch):
    def drawn(count, seed=5, skip=0):
        sampler = PositionSampler(SAMPLERS[module], Shown(), seed)
        sampler.skip(skip)
        return list(itertools.islice(sampler, count))

    whole = drawn(30_000)
    assert drawn(30_000) == whole
    assert drawn(1000, seed=6) != whole[:1000]
    for skip in (1, 777, 20_000):
        assert drawn(1000, skip=skip) == whole[skip : skip + 1000]
    # several ranks see the same samples in turn; 3 divides no power of two
    for rank in range(3):
        home = sampling if module is rcs else module
        monkeypatch.setattr(home, "get_dist_info", lambda rank=rank: (rank, 3))
        mine = list(itertools.islice(PositionSampler(SAMPLERS[module], Shown(), 5).inner, 10_000))
        assert mine == [index for _, index in whole[rank::3]]


# -- copy-paste
SIDE = 8


@DATASETS.register_module(force=True)
class Pictures:
    """Image 0: class 1 in two components, of 4 pixels and of 1. Image 1: none. Image 2: class 2."""

    def __init__(self, empty=False):
        self.labels = np.zeros((3, SIDE, SIDE), dtype=np.uint8)
        if not empty:
            self.labels[0, 1:3, 1:3] = 1
            self.labels[0, 6, 6] = 1
            # neighbours across a corner are one component
            self.labels[2, 0, 0] = self.labels[2, 1, 1] = 2
        self.images = np.arange(3 * SIDE * SIDE * 3).reshape(3, SIDE, SIDE, 3) % 251
        self.images = self.images.astype(np.uint8)
        for array in (self.labels, self.images):
            array.flags.writeable = False

    def pair(self, index):
        return self.images[index], self.labels[index]

    def class_presence(self):
        return np.stack([[(label == c).any() for c in range(4)] for label in self.labels])


COLOURS = dict(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 4.0], bgr_to_rgb=True, size=(SIDE, SIDE))


def paster(tail=(1, 2), seed=0, empty=False, **kwargs):
    torch.manual_seed(seed)
    source = dict(type="Pictures", empty=empty)
    return CopyPastePreProcessor(list(tail), source, **{**COLOURS, **kwargs})


def inputs(*labels):
    """Black uint8 images in BGR with the given label maps."""
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None].clone())) for label in labels]
    images = [torch.zeros(3, *label.shape, dtype=torch.uint8) for label in labels]
    return {"inputs": images, "data_samples": samples}


def result(made):
    return made["inputs"], torch.stack([s.gt_sem_seg.data[0] for s in made["data_samples"]])


EMPTY = torch.zeros(SIDE, SIDE, dtype=torch.long)


@pytest.mark.parametrize("turned", [True, False])
def test_an_object_is_pasted_as_the_network_would_have_seen_it(turned):
    made = [
        result(paster((1,), seed, bgr_to_rgb=turned)(inputs(EMPTY), True)) for seed in range(30)
    ]
    pictures = Pictures()
    original = torch.tensor(pictures.images[0][:, :, ::-1].copy()).permute(2, 0, 1)
    plain = SegDataPreProcessor(**{**COLOURS, "bgr_to_rgb": turned})
    sample = SegDataSample(gt_sem_seg=PixelData(data=EMPTY[None]))
    seen = plain({"inputs": [original], "data_samples": [sample]}, True)["inputs"][0]
    black = plain({"inputs": [torch.zeros_like(original)], "data_samples": [sample]}, True)
    sizes = []
    for images, labels in made:
        pasted = labels[0] == 1
        sizes.append(int(pasted.sum()))
        # components in one piece, from their place: four pixels or one
        source = seen[:, 1:3, 1:3] if sizes[-1] == 4 else seen[:, 6:7, 6:7]
        rows, columns = pasted.nonzero().min(0).values.tolist()
        side = source.shape[1]
        box = (slice(rows, rows + side), slice(columns, columns + side))
        assert pasted[box].all()
        torch.testing.assert_close(images[0][:, *box], source)
        assert torch.equal(images[0][:, ~pasted], black["inputs"][0][:, ~pasted])
        assert (labels[0][~pasted] == 0).all()
    assert set(sizes) == {1, 4}
    assert sizes.count(4) > sizes.count(1)  # by a uniform pixel of the class: 4 to 1


def test_neighbours_across_a_corner_are_one_object_and_keep_its_shape():
    _, labels = result(paster((2,))(inputs(EMPTY), True))
    (first, second) = (labels[0] == 2).nonzero().tolist()
    assert (second[0] - first[0], second[1] - first[1]) == (1, 1)


def test_only_missing_classes_are_pasted_and_only_in_training():
    label = EMPTY.clone()
    label[4, 4] = 1
    _, labels = result(paster((1,))(inputs(label, EMPTY), True))
    assert torch.equal(labels, torch.stack([label, EMPTY]))
    _, labels = result(paster((1, 2, 3))(inputs(label, EMPTY), True))
    assert set(labels.unique().tolist()) == {0, 1, 2}  # no image shows class 3
    _, labels = result(paster((1,))(inputs(EMPTY), False))
    assert not labels.any()
    _, labels = result(paster((1,), empty=True)(inputs(EMPTY), True))
    assert not labels.any()
    _, labels = result(paster((1, 2), sample_ratio=0.5)(inputs(EMPTY), True))
    assert len(labels.unique()) == 2


def test_a_pasted_object_is_resized():
    sizes = {
        int((result(paster((1,), seed, resize_ratio=2.0)(inputs(EMPTY), True))[1] == 1).sum())
        for seed in range(20)
    }
    assert sizes == {4, 16}


def test_what_is_pasted_follows_from_the_seed_and_the_state():
    one, other = paster(), paster()
    made = [result(one(inputs(EMPTY, EMPTY), True)) for _ in range(6)]
    torch.manual_seed(99)
    for images, labels in made[:3]:
        found = result(other(inputs(EMPTY, EMPTY), True))
        assert torch.equal(found[0], images) and torch.equal(found[1], labels)
    resumed = paster(seed=7)
    resumed.load_state_dict(other.state_dict())
    for images, labels in made[3:]:
        found = result(resumed(inputs(EMPTY, EMPTY), True))
        assert torch.equal(found[0], images) and torch.equal(found[1], labels)


# -- in the suite
@pytest.fixture(scope="module")
def catalog():
    return Catalog.load()


def resolved(catalog, method, protocol="smoke", **params):
    task = catalog.task("longtail-seg")
    chosen = catalog.protocol(task, protocol)
    module = catalog.source(method).load()
    values = catalog.resolve(method, chosen, params)
    cfg, _ = resolve_config(chosen.build, find_data(chosen, None), module.configure, values, 0)
    return cfg


EXPECTED = {
    "ohem": ["HardPixelCrossEntropy"],
    "lovasz": ["CrossEntropyLoss", "LovaszSoftmax"],
    "tversky": ["CrossEntropyLoss", "SoftTverskyLoss"],
    "vs-seg": ["VSLoss"],
    "cdt-seg": ["VSLoss"],
    "ldam-seg": ["PixelLDAMLoss"],
    "ldam-drw-seg": ["StagedPixelLoss"],
    "seesaw-seg": ["PixelSeesawLoss"],
    "seql-seg": ["PixelEqualizationLoss"],
    "rcs": ["CrossEntropyLoss"],
    "rfs": ["CrossEntropyLoss"],
    "copy-paste": ["CrossEntropyLoss"],
}


@pytest.mark.parametrize("method", NEW)
def test_configured_methods_can_be_built_and_count_labelled_pixels(method, catalog):
    cfg = resolved(catalog, method)
    head = cfg.model.decode_head
    assert [loss.type for loss in head.loss_decode] == EXPECTED[method]
    logits = torch.randn(1, 11, 8, 8, requires_grad=True)
    label = torch.randint(0, 11, (1, 8, 8))
    label[:, 0] = 255
    with DefaultScope.overwrite_default_scope("mmseg"):
        made = MODELS.build(head)
    total = sum(loss(logits, label, weight=None, ignore_index=255) for loss in made.loss_decode)
    total.backward()
    assert math.isfinite(total.item())
    assert not logits.grad[:, :, 0].any()
    assert logits.grad[:, :, 1:].any()


def test_published_losses_alone(catalog):
    for method, kind in (("lovasz", "LovaszSoftmax"), ("tversky", "SoftTverskyLoss")):
        losses = resolved(catalog, method, cross_entropy=False).model.decode_head.loss_decode
        assert [loss.type for loss in losses] == [kind]


def test_cdt_is_vs_without_its_additive_part(catalog):
    (loss,) = resolved(catalog, "cdt-seg").model.decode_head.loss_decode
    assert (loss.gamma, loss.tau) == (0.15, 0.0)
    assert catalog.card("cdt-seg").params["gamma"].default == loss.gamma


def test_samplers_see_the_training_set(catalog):
    for method, kind in (("rcs", RareClassSampler), ("rfs", RepeatFactorSampler)):
        loader = resolved(catalog, method).train_dataloader
        with DefaultScope.overwrite_default_scope("mmseg"):
            dataset = DATASETS.build(loader.dataset)
        settings = {k: v for k, v in loader.sampler.sampler.items() if k != "type"}
        sampler = kind(dataset, 0, **settings)
        assert len(sampler) == len(dataset) == 64
        indices = list(itertools.islice(sampler, 2000))
        assert set(indices) <= set(range(64))
        # images with a nine are rare, and drawn more often than they are
        shown = dataset.class_presence()[:, 9]
        assert shown[indices].mean() > 1.5 * shown.mean() > 0


def test_the_control_has_the_banks_ratios(catalog):
    task = catalog.task("longtail-seg")
    for name in ("quick", "camvid:half"):
        protocol = catalog.protocol(task, name)
        bank = catalog.resolve("tmb", protocol, {})
        for key, value in catalog.resolve("copy-paste", protocol, {}).items():
            assert value == bank[key]
    # the ratios; the control places the box around what it pastes under every protocol
    bank = catalog.source("tmb").card.protocol_defaults
    assert copy_paste.CARD["protocol_defaults"] == {
        name: {key: value for key, value in defaults.items() if key != "placement"}
        for name, defaults in bank.items()
    }
    kept = resolved(catalog, "copy-paste").model.data_preprocessor
    plain = resolved(catalog, "ce").model.data_preprocessor
    changed = {"type", "tail_classes", "source", "sample_ratio", "resize_ratio"}
    assert {k: v for k, v in kept.items() if k not in changed} == {
        k: v for k, v in plain.items() if k != "type"
    }


@pytest.mark.parametrize(
    "build",
    [
        lambda: HardPixelCrossEntropy(1.5),
        lambda: HardPixelCrossEntropy(0.5, -0.1),
        lambda: SoftTverskyLoss(0.0, 0.0),
        lambda: VSLoss(COUNTS, -1.0, 0.0),
        lambda: PixelSeesawLoss(4, p=-1.0),
        lambda: PixelEqualizationLoss(COUNTS, 0.3, 1.1),
        lambda: RareClassSampler(Shown(), 0, PIXELS, 0.0),
        lambda: paster(resize_ratio=0.0),
    ],
)
def test_arguments_out_of_range_are_refused(build):
    with pytest.raises(ValueError):
        build()
