import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from methods import baseline
from mmengine.config import Config
from mmseg.registry import MODELS

from baselines.segmentation import aucseg
from baselines.segmentation.aucseg import PixelAUCLoss, configure
from suite.base.errors import UserError
from suite.define.catalog import Catalog

LABEL = torch.tensor([[[0, 0, 1, 2]]])
SCORES = [[0.9, 0.2, 0.1], [0.6, 0.3, 0.3], [0.2, 0.8, 0.4], [0.1, 0.5, 0.7]]
SURROGATES = {
    "square": lambda gap, margin: (margin - gap) ** 2,
    "hinge": lambda gap, margin: (margin - gap).clamp(min=0),
    "exp": lambda gap, margin: torch.exp(-margin * gap),
}


def maps(rows) -> torch.Tensor:
    """Scores (P, C) as (1, C, 1, P) float64."""
    return torch.tensor(rows, dtype=torch.float64).t()[None, :, None]


def loss_of_scores(rows, surrogate, label=LABEL, **kwargs):
    classes = len(rows[0])
    loss = PixelAUCLoss(classes, surrogate, **kwargs)
    return float(loss(torch.logit(maps(rows), eps=1e-16), label))


def all_pairs(scores, label, surrogate, mode="ovo", margin=1.0, weight=None):
    """The definition, over scores (P, C) and labels (P,)."""
    weight = torch.ones_like(label, dtype=scores.dtype) if weight is None else weight
    present = label.unique().tolist()
    total = scores.new_zeros(())
    for i in present:
        rivals = [label != i] if mode == "ova" else [label == j for j in present if j != i]
        for rival in rivals:
            own, pairs = label == i, weight[label == i][:, None] * weight[rival]
            value = SURROGATES[surrogate](scores[own, i][:, None] - scores[rival, i], margin)
            total = total + (value * pairs).sum() / pairs.sum()
    return total / (1 if mode == "ova" else len(present) * (len(present) - 1))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 6, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    label = torch.randint(5, (2, 6, 7), generator=generator)
    label[label == 3] = 255
    return logits, label


def flat(value, label):
    valid = label.flatten() != 255
    return value.permute(0, 2, 3, 1).reshape(-1, value.shape[1])[valid], label.flatten()[valid]


@pytest.mark.parametrize(
    ("surrogate", "known"), [("square", 0.3025), ("hinge", 0.525), ("exp", 0.63004265)]
)
def test_worked_example(surrogate, known):
    assert loss_of_scores(SCORES, surrogate) == pytest.approx(known, abs=1e-8)


def test_half_gives_the_released_square():
    assert loss_of_scores(SCORES, "square", half=True) == pytest.approx(0.15125)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_constant_scores_lose_one(surrogate):
    assert loss_of_scores([[0.3] * 3] * 4, surrogate) == pytest.approx(1.0)


@pytest.mark.parametrize(("surrogate", "known"), [("square", 0), ("hinge", 0), ("exp", 0.3678794)])
def test_perfect_scores(surrogate, known):
    rows = torch.eye(3)[LABEL.flatten()].tolist()
    assert loss_of_scores(rows, surrogate) == pytest.approx(known, abs=1e-7)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_two_complementary_classes_are_the_binary_loss(surrogate):
    positive = torch.tensor([0.9, 0.4, 0.35, 0.1, 0.6], dtype=torch.float64)
    label = torch.tensor([1, 1, 0, 0, 0])
    rows = torch.stack([1 - positive, positive], 1)
    gap = positive[label == 1][:, None] - positive[label == 0]
    binary = float(SURROGATES[surrogate](gap, 1.0).mean())
    assert loss_of_scores(rows.tolist(), surrogate, label[None, None]) == pytest.approx(binary)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("mode", ["ovo", "ova"])
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("margin", [1.0, 1.5])
def test_closed_form_is_the_mean_over_all_pairs(batch, surrogate, mode, activation, margin):
    logits, label = batch
    scores = logits.sigmoid() if activation == "sigmoid" else logits.softmax(1)
    expected = all_pairs(*flat(scores, label), surrogate, mode, margin)
    found = PixelAUCLoss(5, surrogate, mode, activation, margin)(logits, label)
    assert found.item() == pytest.approx(expected.item(), abs=1e-10)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (expected, found)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("surrogate", ["square", "exp"])
def test_identity_scores_and_small_margins_hold_without_the_hinge(batch, surrogate):
    logits, label = batch
    expected = all_pairs(*flat(logits, label), surrogate, margin=0.5)
    found = PixelAUCLoss(5, surrogate, activation="identity", margin=0.5)(logits, label)
    assert found.item() == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("tile", [5, 4096])
def test_gradcheck(batch, monkeypatch, surrogate, activation, tile):
    monkeypatch.setitem(aucseg._TILE_PIXELS, "cpu", tile)
    logits, label = batch
    small = logits[:1, :, :3, :4].detach().requires_grad_()
    loss = PixelAUCLoss(5, surrogate, activation=activation)
    assert torch.autograd.gradcheck(lambda value: loss(value, label[:1, :3, :4]), small)


def test_tiling_changes_nothing(batch, monkeypatch):
    logits, label = batch
    whole = PixelAUCLoss(5)(logits, label)
    monkeypatch.setitem(aucseg._TILE_PIXELS, "cpu", 4)
    torch.testing.assert_close(PixelAUCLoss(5)(logits, label), whole)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("repeated", [0, 1, 2])
def test_duplicating_a_class_changes_nothing(surrogate, repeated):
    label = LABEL.flatten()
    order = torch.cat([torch.arange(4), *[torch.flatten((label == repeated).nonzero())] * 2])
    rows = [SCORES[index] for index in order.tolist()]
    again = loss_of_scores(rows, surrogate, label[order][None, None])
    assert again == pytest.approx(loss_of_scores(SCORES, surrogate))


def test_weights_count_pixels(batch):
    logits, label = batch
    weight = torch.randint(0, 4, label.shape, generator=torch.Generator().manual_seed(1))
    weight = weight.double() / 2
    kept = (weight > 0) & (label != 255)
    scores = logits.sigmoid().permute(0, 2, 3, 1)[kept]
    expected = all_pairs(scores, label[kept], "square", weight=weight[kept])
    found = PixelAUCLoss(5)(logits, label, weight=weight)
    assert found.item() == pytest.approx(expected.item(), abs=1e-10)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (expected, found)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_ignored_pixels_neither_count_nor_learn(batch):
    logits, label = batch
    changed = logits.detach() + 9 * (label == 255)[:, None]
    loss = PixelAUCLoss(5)
    torch.testing.assert_close(loss(changed, label), loss(logits, label))
    (gradient,) = torch.autograd.grad(loss(logits, label), logits)
    assert not gradient.permute(0, 2, 3, 1)[label == 255].any()
    assert not gradient[:, 3].any()  # absent class


@pytest.mark.parametrize("label", [255, 1])
@pytest.mark.parametrize("classes", [2, 5])
def test_fewer_than_two_classes_give_zero_with_a_gradient(label, classes):
    logits = torch.full((1, classes, 2, 2), 6e4, dtype=torch.float16, requires_grad=True)
    loss = PixelAUCLoss(classes)(logits, torch.full((1, 2, 2), label))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_autocast_stays_in_float32(batch):
    logits, label = batch[0].detach().float().requires_grad_(), batch[1]
    plain = PixelAUCLoss(5)(logits, label)
    (expected,) = torch.autograd.grad(plain, logits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = PixelAUCLoss(5)(logits, label)
        (found,) = torch.autograd.grad(cast, logits)
    assert cast.dtype == torch.float32
    torch.testing.assert_close((cast, found), (plain, expected), rtol=0, atol=0)


def test_nearly_equal_scores_keep_a_variance_of_at_least_zero():
    logits = torch.full((1, 2, 64, 64), 5.0, requires_grad=True)
    label = (torch.arange(4096) % 2).reshape(1, 64, 64)
    assert PixelAUCLoss(2)(logits, label).item() >= 1


@pytest.mark.parametrize(
    "kwargs",
    [
        {"surrogate": "hinge", "margin": 0.9},
        {"surrogate": "hinge", "activation": "identity"},
        {"surrogate": "cubic"},
        {"mode": "all"},
        {"activation": "tanh"},
        {"margin": 0.0},
        {"loss_weight": float("nan")},
        {"half": True, "surrogate": "exp"},
        {"loss_name": "auc"},
    ],
)
def test_invalid_arguments_are_refused(kwargs):
    with pytest.raises(ValueError, match="PixelAUCLoss"):
        PixelAUCLoss(3, **kwargs)


def test_calls_that_do_not_fit_are_refused(batch):
    logits, label = batch
    with pytest.raises(ValueError, match="channels"):
        PixelAUCLoss(4)(logits, label)
    for wrong in (5, -1):
        with pytest.raises(ValueError, match="labels must lie"):
            PixelAUCLoss(5)(logits, label.masked_fill(label == 0, wrong))
    with pytest.raises(ValueError, match="weight"):
        PixelAUCLoss(5)(logits, label, weight=torch.ones(2))
    with pytest.raises(ValueError, match="at least 0"):
        PixelAUCLoss(5)(logits, label, weight=-torch.ones(2, 6, 7))
    with pytest.raises(TypeError, match="avg_factor"):
        PixelAUCLoss(5)(logits, label, avg_factor=3)


def encoder_decoder(loss):
    return Config(
        {
            "model": {
                "data_preprocessor": {"type": "SegDataPreProcessor", "size": (8, 8)},
                "decode_head": {"type": "FCNHead", "num_classes": 3, "loss_decode": loss},
            }
        }
    )


FACTS = SimpleNamespace(num_classes=3, groups={"tail": (2,)})


@pytest.mark.parametrize("as_list", [False, True])
def test_configure_adds_the_risk_beside_cross_entropy(as_list):
    loss = {"type": "CrossEntropyLoss", "loss_weight": 1.0}
    cfg = configure(
        encoder_decoder([loss] if as_list else loss), FACTS, auc_weight=4.0, memory_size=3
    )
    first, risk = cfg.model.decode_head.loss_decode
    assert first == loss
    built = MODELS.build(risk)
    assert isinstance(built, PixelAUCLoss)
    assert (built.num_classes, built.scale, built.loss_name) == (3, 4.0, "loss_auc")
    assert cfg.model.data_preprocessor.type == "TMemoryBankPreProcessor"
    assert cfg.model.data_preprocessor.memory_size == 3


def test_a_released_lambda_weighs_half_of_the_pairwise_mean():
    """`auc_loss.py` of the release halves the square risk before its lambda multiplies it."""
    cfg = configure(encoder_decoder({"type": "CrossEntropyLoss"}), FACTS, auc_weight=4.0, half=True)
    released = MODELS.build(cfg.model.decode_head.loss_decode[1])
    assert released.scale == 2.0
    torch.manual_seed(0)
    logits, label = torch.randn(1, 3, 4, 4), torch.randint(3, (1, 4, 4))
    assert released(logits, label) == 2.0 * PixelAUCLoss(3)(logits, label)


@pytest.mark.parametrize("surrogate", ["exp", "hinge"])
def test_half_of_another_surrogate_says_what_to_type(surrogate):
    with pytest.raises(UserError, match=f"half=false, or take aucseg-{surrogate}"):
        configure(
            encoder_decoder({"type": "CrossEntropyLoss"}), FACTS, half=True, surrogate=surrogate
        )


def test_configure_without_bank_leaves_the_preprocessor():
    cfg = configure(encoder_decoder({"type": "CrossEntropyLoss"}), FACTS, bank=False)
    assert cfg.model.data_preprocessor.type == "SegDataPreProcessor"


@pytest.mark.parametrize("module", ["aucseg", "tmb"])
def test_card_is_a_literal_and_configure_takes_its_parameters(module):
    source = Path(aucseg.__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    assignment = next(node for node in ast.parse(source).body if isinstance(node, ast.Assign))
    card = ast.literal_eval(assignment.value)
    assert source.splitlines()[assignment.end_lineno - 1] == "}"
    # complete: a parameter may be another method's
    complete = Catalog.load().card(next(iter(card["names"])))
    defaults = {name: param.default for name, param in complete.params.items()}
    imported = baseline(module)
    for preset in card["names"].values():
        assert set(preset["params"]) <= set(defaults)
        params = defaults | preset["params"]
        cfg = imported.configure(encoder_decoder({"type": "CrossEntropyLoss"}), FACTS, **params)
        losses = cfg.model.decode_head.loss_decode
        for loss in losses if isinstance(losses, list) else [losses]:
            MODELS.build(loss)
        MODELS.build(cfg.model.data_preprocessor)
