"""Losses, frames and heads of `neural-collapse`: known answers, gradients, what weight decay reaches."""

import math
from types import SimpleNamespace

import pytest
from methods import baseline

torch = pytest.importorskip("torch")
F = torch.nn.functional

from hypothesis import given, settings, strategies  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402

from baselines.neural_collapse.etf_dr import DotRegression  # noqa: E402
from baselines.neural_collapse.guided_etf import GuidedFrameHead  # noqa: E402
from baselines.neural_collapse.nc_ls import SmoothedCrossEntropy  # noqa: E402
from baselines.neural_collapse.nc_mse import OneHotSquaredError  # noqa: E402
from baselines.parts.frame_heads import FrameHead, ProjectedCosineHead  # noqa: E402
from suite.base.errors import UserError  # noqa: E402
from suite.define.card import resolve  # noqa: E402
from suite.define.catalog import Catalog  # noqa: E402
from tasks.vision.networks.classifier import CrossEntropy  # noqa: E402

CATALOG = Catalog.load()
CE = {"type": "CrossEntropy"}
FILES = {
    "nc-ce": "nc_ce",
    "nc-mse": "nc_mse",
    "nc-ls": "nc_ls",
    "nc-focal": "nc_focal",
    "etf": "etf",
    "etf-cos": "etf_cos",
    "etf-dr": "etf_dr",
    "code-2": "spherical_code",
    "code-3": "spherical_code",
    "code-5": "spherical_code",
    "cos-learned": "cos_learned",
    "guided-etf": "guided_etf",
}
"""Method -> its file."""


def doubles(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def simplex(classes):
    gram = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64)
    return gram.fill_diagonal_(1)


# -- dot regression


def test_dot_regression_of_cosine_six_tenths():
    m = torch.tensor([0.0, 1.0], dtype=torch.float64)
    h = torch.tensor([0.8, 0.6], dtype=torch.float64, requires_grad=True)
    frame = torch.stack([m, -m])
    loss = DotRegression("none", [1, 1]).double()(frame.matmul(h)[None], torch.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.08, abs=1e-12)
    # (<h, m> - 1) m: nothing pushes
    assert torch.allclose(h.grad, -0.4 * m, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(strategies.integers(2, 6), strategies.integers(1, 9), strategies.integers(0, 999))
def test_dot_regression_is_the_paper_s_formula(classes, batch, seed):
    """With w_c = sqrt(E_c) m_c and |h| = 1: (<w, h> - |w| |h|)^2 over 2 |w| |h|, as released over 2 |h|."""
    counts = [3 * k + 1 for k in range(classes)]
    frame = F.normalize(doubles(classes, 4, seed=seed))
    h = F.normalize(doubles(batch, 4, seed=seed + 1))
    label = torch.randint(0, classes, (batch,), generator=torch.Generator().manual_seed(seed))
    scores = h @ frame.T
    gamma = sum(counts) / classes
    here = [int((label == c).sum()) for c in range(classes)]
    gamma_here = batch / sum(n > 0 for n in here)
    wanted = {"none": 0.0, "counts": 0.0, "batch": 0.0}
    for k, y in enumerate(label.tolist()):
        for lengths, squared in (
            ("none", 1.0),
            ("counts", gamma / counts[y]),
            ("batch", gamma_here / here[y]),
        ):
            w = math.sqrt(squared) * frame[y]
            short = (w @ h[k] - w.norm() * h[k].norm()) ** 2
            divisor = 2 * h[k].norm() * (1 if lengths == "batch" else w.norm())
            wanted[lengths] += float(short / divisor) / batch
    for lengths, value in wanted.items():
        loss = DotRegression(lengths, counts).double()
        loss.factor = loss.factor.double()
        assert loss(scores, label).item() == pytest.approx(value, rel=1e-6, abs=1e-12)


def test_lengths_of_balanced_classes_are_none():
    scores, label = doubles(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    values = {
        n: DotRegression(n, [5, 5, 5])(scores, label).item() for n in ("none", "batch", "counts")
    }
    assert len({round(v, 12) for v in values.values()}) == 1
    # a rarer class weighs more
    rare = DotRegression("counts", [100, 1, 1])
    assert rare.factor[1] == pytest.approx(math.sqrt(34)) and rare.factor[0] < 1
    with pytest.raises(ValueError, match="none, batch or counts"):
        DotRegression("released", [1])


# -- squared error, smoothing


def test_squared_error_of_known_rows():
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.5, 0.0, -1.0]], dtype=torch.float64)
    loss = OneHotSquaredError()(scores, torch.tensor([0, 1]))
    # 1/2 (1 + 1 + 0), 1/2 (.25 + 1 + 1)
    assert loss.item() == pytest.approx((1 + 1.125) / 2, abs=1e-12)
    assert OneHotSquaredError()(torch.eye(3), torch.arange(3)).item() == 0


def test_smoothing_spreads_over_all_classes():
    scores, label = doubles(5, 4), torch.tensor([0, 3, 1, 2, 2])
    target = 0.9 * F.one_hot(label, 4) + 0.1 / 4
    wanted = -(target * scores.log_softmax(1)).sum(1).mean()
    assert SmoothedCrossEntropy(0.1)(scores, label).item() == pytest.approx(wanted.item())
    plain = F.cross_entropy(scores, label)
    assert SmoothedCrossEntropy(0.0)(scores, label).item() == pytest.approx(plain.item())


@pytest.mark.parametrize(
    "loss",
    [
        OneHotSquaredError(),
        SmoothedCrossEntropy(0.1),
        DotRegression("none", [4, 2, 1]),
        DotRegression("batch", [4, 2, 1]),
        DotRegression("counts", [4, 2, 1]),
    ],
    ids=["mse", "ls", "dr", "dr-batch", "dr-counts"],
)
def test_gradients_and_weights(loss):
    label = torch.tensor([0, 2, 1, 1])
    scores = doubles(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, label), (scores,))
    ones = torch.ones(4, dtype=torch.float64)
    assert loss(scores, label, weight=ones).item() == pytest.approx(loss(scores, label).item())
    # of a mixed batch: linear in the weights
    half = loss(scores, label, weight=ones / 2).item()
    assert half == pytest.approx(loss(scores, label).item() / 2)


# -- logits of a collapsed model


@pytest.mark.parametrize(("classes", "a", "loss"), [(10, 5, 0.034202), (100, 10, 0.004055)])
def test_cross_entropy_of_simplex_logits(classes, a, loss):
    logits = a * simplex(classes)
    found = CrossEntropy()(logits, torch.arange(classes)).item()
    assert found == pytest.approx(loss, abs=5e-7)
    assert found == pytest.approx(
        math.log1p((classes - 1) * math.exp(-a * classes / (classes - 1))), rel=1e-9
    )


# -- frames as classifiers


def etf(permutation=None, rotation=None):
    return {"kind": "etf", "permutation": permutation, "rotation": rotation}


def test_a_frame_is_no_parameter_and_decay_leaves_it():
    head = FrameHead(12, 5, CE, etf(rotation=3), dims=8, unit=True, batch_norm=True).double()
    assert {n for n, _ in head.named_parameters()} == {
        "projection.weight",
        "norm.weight",
        "norm.bias",
    }
    before = head.frame.clone()
    optimiser = torch.optim.SGD(head.parameters(), 0.1, weight_decay=0.5)
    features, targets = doubles(6, 12), [(torch.tensor([0, 1, 2, 3, 4, 0]), None)]
    for _ in range(3):
        optimiser.zero_grad()
        head.loss(features, targets)["loss"].backward()
        optimiser.step()
    assert torch.equal(head.frame, before)
    assert torch.allclose(before @ before.T, simplex(5), atol=1e-6)
    # kept with the weights
    assert "frame" in head.state_dict()


@pytest.mark.parametrize(
    "head",
    [
        FrameHead(12, 5, CE, etf(), scale=3.0),
        FrameHead(12, 5, CE, etf(2, 7), scale=10.0, dims=4, unit=True),
        FrameHead(12, 10, CE, {"kind": "code"}, scale=30.0, dims=3, unit=True),
        FrameHead(12, 5, CE, etf(), dims=6, unit=True, batch_norm=True),
        ProjectedCosineHead(12, 5, CE, 10.0, 3),
        GuidedFrameHead(12, 5, CE, etf(), scale=2.0),
    ],
    ids=["raw", "projected", "code", "normalised", "learned", "guided"],
)
def test_what_a_head_says_of_itself_gives_its_logits(head):
    head.eval().double()
    features = doubles(7, 12)
    seen, weight, bias = head.linear(features)
    assert bias is None
    assert torch.allclose(seen @ weight.T, head(features), atol=1e-9)
    if not isinstance(head, GuidedFrameHead) and seen.shape[1] < 12:
        assert torch.allclose(seen.norm(dim=1), torch.ones(7, dtype=torch.float64))


def test_a_projection_absorbs_every_rotation_and_permutation_of_an_etf():
    """Negative controls: there is a projection for which the arm's logits are those of the canonical frame."""
    plain = FrameHead(12, 5, CE, etf(), dims=8, unit=True, scale=10.0).double()
    features = doubles(9, 12)
    for arm in (etf(permutation=4), etf(rotation=4), etf(2, 9)):
        other = FrameHead(12, 5, CE, arm, dims=8, unit=True, scale=10.0).double()
        # the orthogonal map that takes one frame to the other
        left, _, right = torch.linalg.svd(other.frame.T @ plain.frame)
        with torch.no_grad():
            other.projection.weight.copy_(left @ right @ plain.projection.weight)
        assert not torch.allclose(other.frame, plain.frame, atol=1e-3)
        assert torch.allclose(other(features), plain(features), atol=1e-5)


def test_a_permuted_code_is_another():
    gram = [
        (head.frame @ head.frame.T)
        for head in (
            FrameHead(12, 10, CE, {"kind": "code", "permutation": arm}, dims=3, unit=True)
            for arm in (None, 0, 1)
        )
    ]
    assert not torch.allclose(gram[0], gram[1], atol=0.1)
    assert not torch.allclose(gram[1], gram[2], atol=0.1)


def test_a_guided_frame_turns_to_the_means_and_forgets():
    head = GuidedFrameHead(6, 4, CE, etf())
    turn = torch.linalg.qr(doubles(6, 6)).Q.float()
    means = head.frame @ turn * 3 + 1
    label = torch.arange(4).repeat(5)
    noise = 0.01 * doubles(20, 6).float()
    for part in range(2):
        half = slice(10 * part, 10 * part + 10)
        head.loss((means[label] + noise)[half], [(label[half], None)])
    assert torch.equal(head.seen_of, torch.full((4,), 5.0, dtype=torch.float64))
    head.guide()
    assert torch.allclose(head.frame, (means - 1) / 3, atol=0.02)
    assert torch.allclose(head.frame @ head.frame.T, simplex(4).float(), atol=1e-5)
    assert not head.sums.any() and not head.seen_of.any()
    # a class that the epoch did not show
    head.loss(means[:3], [(torch.arange(3), None)])
    head.guide()
    assert torch.allclose(head.frame @ head.frame.T, simplex(4).float(), atol=1e-5)


# -- methods from their cards


def configured(method, protocol="quick", features=32, classes=10, counts=None, **overrides):
    """The config of a run, the method applied to the parts that it may change."""
    card, module = CATALOG.card(method), baseline(FILES[method])
    params = resolve(card, method, protocol, overrides)
    cfg = Config(
        {
            "model": {
                "head": {
                    "type": "LinearHead",
                    "in_channels": features,
                    "classes": classes,
                    "loss": CE,
                }
            },
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 5e-3}},
            "custom_hooks": [{"type": "TrackHook"}],
        }
    )
    counts = tuple(counts or [30] * classes)
    facts = SimpleNamespace(
        num_classes=classes, class_counts=counts, image_counts=counts, batch=50, iterations=720
    )
    return module.configure(cfg, facts, **params)


def test_every_method_is_there():
    assert set(CATALOG.methods("neural-collapse")) == set(FILES)


@pytest.mark.parametrize("method", FILES)
def test_every_method_makes_a_head_that_trains(method):
    cfg = configured(method)
    head = MODELS.build(cfg.model.head.to_dict())
    features = doubles(20, 32).float().requires_grad_()
    loss = head.loss(features, [(torch.arange(20) % 10, None)])["loss"]
    loss.backward()
    assert torch.isfinite(loss) and features.grad.abs().sum() > 0
    assert head(features).shape == (20, 10)
    # what the base recipe tracks, it still tracks
    assert cfg.custom_hooks[0].type == "TrackHook"
    frozen = {name for name, _ in head.named_buffers()}
    assert ("frame" in frozen) == (method.startswith(("etf", "code", "guided")))


@pytest.mark.parametrize(
    ("method", "about"),
    [
        ("etf", {"features": 8}),
        ("etf-cos", {"d": 8}),
        ("etf-dr", {"d": 8}),
        ("etf-dr", {"d": 0, "features": 8}),
        ("guided-etf", {"features": 8}),
    ],
)
def test_too_few_dimensions_name_the_code(method, about):
    with pytest.raises(UserError, match=r"10 classes needs 9 dimensions, there are 8;.*code-5"):
        configured(method, **about)


@pytest.mark.parametrize("arm", ["permutation", "rotation"])
@pytest.mark.parametrize("number", [-1, 1000, 2.0, "x", True])
def test_arms_out_of_range_are_refused(arm, number):
    said = f"{arm}={number!r} is (below 0|above 999|neither a (whole )?number nor None)"
    with pytest.raises(UserError, match=said):
        configured("etf", **{arm: number})


@pytest.mark.parametrize(
    ("method", "arm"),
    [(m, a) for m in FILES for a in ("permutation", "rotation") if a in CATALOG.card(m).params],
)
def test_every_arm_reaches_the_frame(method, arm):
    plain, first, second = (
        MODELS.build(configured(method, **{arm: number}).model.head.to_dict()).frame
        for number in (None, 0, 1)
    )
    assert not torch.allclose(plain, first, atol=1e-3)
    assert not torch.allclose(first, second, atol=1e-3)
    if arm == "rotation":
        assert torch.allclose(first @ first.T, plain @ plain.T, atol=1e-5)


def test_three_labels_have_five_other_orders():
    assert configured("etf", classes=3, permutation=4).model.head.frame.permutation == 4
    with pytest.raises(UserError, match="permutation 5: arms have the numbers 0 to 4"):
        configured("etf", classes=3, permutation=5)


def test_codes_need_more_classes_than_dimensions_and_a_file():
    with pytest.raises(UserError, match="etf-cos"):
        configured("code-5", classes=6)
    with pytest.raises(UserError, match="no code of 77 classes in 3 dimensions is stored; make it"):
        configured("code-3", classes=77)


def test_defaults_of_methods_and_protocols():
    head = configured("etf-cos").model.head
    assert (head.dims, head.scale, head.unit) == (16, 10.0, True)
    assert configured("etf-cos", "r18-200:cifar100", classes=100).model.head.dims == 128
    assert (
        configured("code-2").model.head.scale == 30 and configured("code-3").model.head.scale == 10
    )
    learned = configured("cos-learned", "gnc:cifar100,d10", features=512, classes=100).model.head
    assert (learned.dims, learned.scale) == (10, 7.0)
    assert configured("nc-mse").optim_wrapper.optimizer.lr == 0.05
    assert configured("nc-mse", "quick:constant-lr").optim_wrapper.optimizer.lr == 0.01
    assert configured("nc-ce").optim_wrapper.optimizer.weight_decay == 5e-3
    assert configured("nc-ce", weight_decay=0).optim_wrapper.optimizer.weight_decay == 0
    assert configured("guided-etf").custom_hooks[1].every == 6
    assert configured("etf-dr", d=0, batch_norm=True).model.head.dims is None


def test_a_classifier_without_bias():
    for kind in ("LinearHead", "TorchLinearHead"):
        torch.manual_seed(0)
        plain = MODELS.build({"type": kind, "in_channels": 6, "classes": 3, "loss": CE})
        cfg = configured("nc-ce", bias=False)
        assert cfg.model.head.type == "BiasFreeHead"
        torch.manual_seed(0)
        name = {"LinearHead": "BiasFreeHead", "TorchLinearHead": "TorchBiasFreeHead"}[kind]
        bare = MODELS.build({"type": name, "in_channels": 6, "classes": 3, "loss": CE})
        assert torch.equal(bare.fc.weight, plain.fc.weight)
        assert [n for n, _ in bare.named_parameters()] == ["fc.weight"]
        assert bare.linear(torch.ones(1, 6))[2] is None
