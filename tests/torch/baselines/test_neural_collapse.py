"""Losses, frames and heads of `neural-collapse`: known answers, gradients, what weight decay reaches."""

import math
from types import SimpleNamespace

import pytest

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
BALANCED = [30] * 10


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
    values = {n: DotRegression(n, [5, 5, 5])(scores, label).item() for n in ("none", "batch", "counts")}
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


