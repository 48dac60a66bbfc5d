"""Sharpness-aware training: known answers, reductions, and steps against a plain implementation."""

import copy
import warnings
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from mmengine.config import Config  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from torch import nn  # noqa: E402

from baselines.classification.focal_sam import coefficients  # noqa: E402
from baselines.parts.sharpness_aware import (  # noqa: E402
    Part,
    SharpnessAwareClassifier,
    SharpnessAwareOptimWrapper,
    perturbed,
    split_by_size,
    step_gradient,
)
from suite.base.errors import MethodWarning, UserError  # noqa: E402
from suite.define.card import check_value  # noqa: E402
from suite.define.catalog import Catalog  # noqa: E402
from suite.engine.resume import _require_plain  # noqa: E402

CATALOG = Catalog.load()
TASK = CATALOG.task("longtail-cls")
SMOKE = CATALOG.protocol(TASK, "smoke")
COUNTS = (60, 50, 8, 4)
TAIL = (2, 3)  # below both 10 and 40, the etas of `smoke`
FACTS = SimpleNamespace(
    num_classes=4, class_counts=COUNTS, image_counts=COUNTS, groups={}, iterations=100, batch=12
)
LR, MOMENTUM, DECAY = 0.1, 0.9, 0.01
LABELS = torch.tensor([0, 1, 2, 0, 1, 3, 0, 0, 1, 2, 1, 0])
HEAD_ONLY = torch.tensor([0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0])


@MODELS.register_module()
class TinyNet(nn.Module):
    """(B, 1, H, W) -> (B, 5, H, W), with batch normalisation or without."""

    def __init__(self, norm=False):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.second = nn.Conv2d(4, 5, 3, padding=1)

    def forward(self, x):
        x = x.to(self.first.weight.dtype)
        return self.second(torch.tanh(self.norm(self.first(x)))).tanh()


@MODELS.register_module()
class DrawingLoss(nn.Module):
    """Cross entropy of scores with noise; keeps what it drew and saw."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def forward(self, scores, label, weight=None, **_):
        noise = torch.rand(scores.shape)
        self.drawn.append(noise)
        loss = F.cross_entropy(scores + noise.to(scores), label, reduction="none")
        return (loss if weight is None else loss * weight).mean()


def config(method, norm=False, bf16=False, wrapper=None, **overrides):
    """Of a classifier with the method's changes; `loss__gamma` is the parameter `loss.gamma`."""
    cfg = Config(
        dict(
            model=dict(
                type="ImageClassifier",
                backbone=dict(type="TinyNet", norm=norm),
                head=dict(
                    type="LinearHead", in_channels=5, classes=4, loss=dict(type="CrossEntropy")
                ),
                data_preprocessor=dict(type="ImageBatch", mean=[128.0], std=[64.0]),
                bf16=bf16,
            ),
            optim_wrapper=dict(
                type="OptimWrapper",
                optimizer=dict(type="SGD", lr=LR, momentum=MOMENTUM, weight_decay=DECAY),
                **(wrapper or {}),
            ),
            train_cfg=dict(max_iters=FACTS.iterations),
            param_scheduler=[],
        )
    )
    overrides = {key.replace("__", "."): value for key, value in overrides.items()}
    return CATALOG.method(CATALOG.spec(method, SMOKE, 0, overrides)).configure(cfg, FACTS)


def build(cfg, dtype=torch.float64):
    """(model, optimiser wrapper), the same weights every time."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(dtype)
    model.train()
    return model, build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))


def make(method, dtype=torch.float64, **options):
    return build(config(method, **options), dtype)


def batch(seed=0, labels=LABELS):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (len(labels), 1, 6, 6), generator=generator)
    order = torch.randperm(len(labels), generator=generator)
    return {"inputs": images.to(torch.uint8), "label": labels[order]}


def step(model, wrapper, seed=0, labels=LABELS, done=0.0):
    if hasattr(model, "set_progress"):
        model.set_progress(done)
    return model.train_step(batch(seed, labels), wrapper)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def trained(method, steps=3, done=0.0, labels=LABELS, **options):
    """The weights after some steps."""
    torch.manual_seed(7)
    model, wrapper = make(method, **options)
    for seed in range(steps):
        step(model, wrapper, seed, labels, done)
    return weights(model)


def assert_same(one, other, tolerance=1e-10):
    assert (one - other).abs().max() < tolerance


# --- the algorithm ---


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("HT", 0.1)], (2.178885, 1.044721)),
        ([("H", 0.1), ("T", 0.2)], (2.2, 1.2)),
        ([("H", 0.0), ("T", 0.2)], (2.0, 1.2)),
        ([("H", 0.0), ("T", 0.0)], (2.0, 1.0)),
    ],
    ids=["sam", "sse-sam", "imb-sam", "sgd"],
)
def test_quadratic_toy(parts, expected):
    """L_H = w1^2, L_T = w2^2 / 2 at (1, 1) (sheet, section 1.5)."""
    w1 = torch.ones((), dtype=torch.float64, requires_grad=True)
    w2 = torch.ones((), dtype=torch.float64, requires_grad=True)
    seen = []

    def losses_at(places, moved):
        seen.append((list(places), moved))
        terms = {"H": lambda: w1**2, "T": lambda: w2**2 / 2, "HT": lambda: w1**2 + w2**2 / 2}
        return [terms[parts[i][0]]() for i in places]

    radii = [rho for _, rho in parts]
    gradient, total = step_gradient([w1, w2], radii, losses_at)
    assert [g.item() for g in gradient] == pytest.approx(expected, abs=1e-6)
    assert total.item() == pytest.approx(1.5)
    assert (w1.item(), w2.item()) == (1, 1)
    assert len(seen) == 1 + sum(rho > 0 for rho in radii)


def test_a_gradient_of_zero_moves_nothing():
    w = torch.zeros(3, requires_grad=True)
    gradient, _ = step_gradient([w], [0.5], lambda *_: [(w**2).sum()])
    assert torch.equal(gradient[0], torch.zeros(3))


def test_parameters_come_back_bit_for_bit_even_after_an_error():
    generator = torch.Generator().manual_seed(0)
    w = [torch.randn(50, generator=generator, requires_grad=True) for _ in range(2)]
    before = [p.detach().clone() for p in w]
    ascent = [torch.randn(50, generator=generator), None]

    def broken():
        with perturbed(w, ascent, 0.3):
            moved = (w[0] - before[0]).norm().item()
            assert moved == pytest.approx(0.3, rel=1e-5)
            assert torch.equal(w[1], before[1])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        broken()
    assert all(torch.equal(a, b) for a, b in zip(w, before, strict=True))


# --- steps against a plain implementation ---


def plain_gradient(model, data, coefficient, count):
    """Of sum_i c[y_i] l_i / |B|, one sample after the other; `count`: move running statistics."""
    net = model if count else copy.deepcopy(model)
    images = (data["inputs"].float() - 128) / 64
    scores = net.head.fc(net.backbone(images).mean((2, 3)))
    loss = 0
    for row, y in zip(scores, data["label"].tolist(), strict=True):
        loss = loss - coefficient[y] * (row[y] - torch.logsumexp(row, 0)) / len(scores)
    net.zero_grad()
    loss.backward()
    return [p.grad.clone() for p in net.parameters()], loss.item()


def plain_step(model, velocity, data, parts):
    """One SGD step with the summed gradients of (c, rho); the loss before it."""
    parameters = list(model.parameters())
    kept = [p.detach().clone() for p in parameters]
    total, value = [torch.zeros_like(p) for p in parameters], 0.0
    for number, (coefficient, rho) in enumerate(parts):
        first, loss = plain_gradient(model, data, coefficient, count=number == 0)
        value += loss
        norm = sum((g**2).sum() for g in first).sqrt()
        with torch.no_grad():
            for p, g in zip(parameters, first, strict=True):
                p += rho * g / (norm + 1e-16)
        gradient, _ = plain_gradient(model, data, coefficient, count=False)
        with torch.no_grad():
            for p, before, t, g in zip(parameters, kept, total, gradient, strict=True):
                p.copy_(before)
                t += g
    with torch.no_grad():
        for i, (p, g) in enumerate(zip(parameters, total, strict=True)):
            g = g + DECAY * p
            velocity[i] = g if velocity[i] is None else MOMENTUM * velocity[i] + g
            p -= LR * velocity[i]
    return value


def by_group(head, tail):
    return torch.tensor([head, head, tail, tail], dtype=torch.float64)


# 6 + 6 tail samples would hide a wrong divisor
N, N_TAIL = len(LABELS), 3
K = torch.tensor(coefficients(COUNTS, 3.2, 0.8)).double()  # as a float32 buffer holds them
CASES = {
    "sam": ("sam", {"rho": 0.3}, 0.0, [(torch.ones(4).double(), 0.3)]),
    "sam, rho2": (
        "sam",
        {"rho": 0.3, "rho2": 0.6, "switch": 0.5},
        0.5,
        [(torch.ones(4).double(), 0.6)],
    ),
    "imb-sam": ("imb-sam", {"rho": 0.3}, 0.0, [(by_group(1, 0), 0.0), (by_group(0, 1), 0.3)]),
    "imb-sam, original repository": (
        "imb-sam",
        {"rho": 0.3, "tail_weight": 2.0},
        0.0,
        [(by_group(1, 0), 0.0), (by_group(0, 2), 0.3)],
    ),
    "imb-sam, SSE-SAM's repository": (
        "imb-sam",
        {"rho": 0.3, "group_norm": "group"},
        0.0,
        [(by_group(N / (N - N_TAIL), 0), 0.0), (by_group(0, N / N_TAIL), 0.3)],
    ),
    "sse-sam": (
        "sse-sam",
        {"rho_head": 0.2, "rho_tail": 0.5},
        0.69,
        [(by_group(1, 0), 0.2), (by_group(0, 1), 0.5)],
    ),
    "sse-sam, stage 2": (
        "sse-sam",
        {"rho_head": 0.2, "rho_tail": 0.5},
        0.7,
        [(by_group(1, 0), 0.0), (by_group(0, 1), 0.5)],
    ),
    "focal-sam": (
        "focal-sam",
        {"gamma": 3.2, "lam": 0.8},
        0.0,
        [((1 - K).float().double(), 0.0), (K, 0.3)],
    ),
}


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch-norm"])
@pytest.mark.parametrize("case", CASES)
def test_three_steps_equal_a_plain_implementation(case, norm):
    method, overrides, done, parts = CASES[case]
    model, wrapper = make(method, norm=norm, **overrides)
    other = copy.deepcopy(model)
    velocity = [None] * len(list(other.parameters()))
    for seed in range(3):
        logged = step(model, wrapper, seed, done=done)
        value = plain_step(other, velocity, batch(seed), parts)
        assert logged["loss"].item() == pytest.approx(value, abs=1e-10)
        assert logged.keys() == {"loss"}
    assert_same(weights(model), weights(other))
    buffers = dict(other.backbone.named_buffers())
    assert len(buffers) == 3 * norm
    for name, buffer in model.backbone.named_buffers():
        assert_same(buffer, buffers[name])
    # what is compared is no plain training
    assert (weights(model) - trained("ce", norm=norm)).abs().max() > 1e-4


# --- reductions (sheet, section 1.5) ---


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch-norm"])
def test_a_radius_of_zero_is_sgd_bit_for_bit(norm):
    plain = trained("ce", norm=norm, dtype=torch.float32)
    assert torch.equal(trained("sam", norm=norm, dtype=torch.float32, rho=0.0), plain)
    assert_same(trained("sse-sam", norm=norm, rho_head=0.0, rho_tail=0.0), trained("ce", norm=norm))
    # 1 - k_c and k_c are float32
    assert_same(trained("focal-sam", norm=norm, rho=0.0), trained("ce", norm=norm), 1e-7)


@pytest.mark.filterwarnings("ignore::suite.base.errors.MethodWarning")
def test_reductions():
    sam = {rho: trained("sam", rho=rho) for rho in (0.2, 0.5)}
    every = {"rho_head": 0.2, "rho_tail": 0.5}
    for group_batches in (False, True):
        options = {"group_batches": group_batches}
        # all head, no switch
        assert_same(trained("sse-sam", eta=4.0, gamma=1.0, **every, **options), sam[0.2])
        # all tail
        for gamma in (0.0, 0.5, 1.0):
            for done in (0.0, 0.9):
                found = trained("sse-sam", eta=61.0, gamma=gamma, done=done, **every, **options)
                assert_same(found, sam[0.5])
        imb = trained("imb-sam", rho=0.5, **options)
        assert_same(trained("sse-sam", rho_head=0.0, rho_tail=0.5, **options), imb)
        assert_same(trained("sse-sam", gamma=0.0, **every, **options), imb)
        assert (
            trained("sse-sam", gamma=1.0, done=0.99, **every, **options) - imb
        ).abs().max() > 1e-3
        assert_same(trained("imb-sam", eta=61.0, rho=0.5, **options), sam[0.5])
        assert_same(trained("imb-sam", eta=4.0, rho=0.5, **options), trained("ce"))
    # the whole of each class's loss: SAM; nothing of it: SGD
    assert_same(trained("focal-sam", rho=0.5, lam=1.0, gamma=0.0), sam[0.5])
    assert_same(trained("focal-sam", rho=0.5, lam=0.0), trained("ce"))
    # the second radius from the switch on
    early, late = (
        trained("focal-sam", rho=0.3, rho2=0.7, switch=0.8, done=done) for done in (0.79, 0.8)
    )
    assert_same(early, trained("focal-sam", rho=0.3))
    assert_same(late, trained("focal-sam", rho=0.7))
    # lambda above 1: (1 - k) of the gradient at w, which is taken away, and k of that at the point of ascent
    plain, sharp = trained("ce", 1), trained("sam", 1, rho=0.5)
    beyond = trained("focal-sam", 1, rho=0.5, lam=1.1, gamma=0.0)
    assert_same(beyond, plain + 1.1 * (sharp - plain), 1e-7)  # of weights in float32


@pytest.mark.parametrize(
    ("gamma", "done", "stage"),
    [(0.0, 0.0, 2), (0.7, 0.0, 1), (0.7, 69 / 100, 1), (0.7, 70 / 100, 2), (1.0, 99 / 100, 1)],
)
def test_stages_of_sse_sam(gamma, done, stage):
    model, wrapper = make("sse-sam", gamma=gamma)
    step(model, wrapper, done=done)
    assert wrapper.passes_per_step == (3.5 if stage == 1 else 2.5)


# --- what a step costs ---


@pytest.mark.parametrize(
    ("method", "overrides", "labels", "passes"),
    [
        ("sam", {"rho": 0.0}, LABELS, 1),
        ("sam", {}, LABELS, 2),
        ("imb-sam", {}, LABELS, 2.5),
        ("focal-sam", {}, LABELS, 2.5),
        ("sse-sam", {}, LABELS, 3.5),
        # no tail sample, or no head sample, in the batch
        ("imb-sam", {}, HEAD_ONLY, 1),
        ("sse-sam", {}, HEAD_ONLY, 2),
        ("sse-sam", {}, HEAD_ONLY + 2, 2),
        ("imb-sam", {"group_norm": "group"}, HEAD_ONLY, 1),
        # 9 samples and 3: (9/12 + 9/12 + 3 * 3/12) / 2 + 3/12 / 2
        ("imb-sam", {"group_batches": True}, LABELS, 1.25),
        ("sse-sam", {"group_batches": True}, LABELS, 2),
        ("sse-sam", {"group_batches": True}, HEAD_ONLY, 2),
    ],
)
def test_passes_are_counted_as_they_are_made(method, overrides, labels, passes):
    model, wrapper = make(method, **overrides)
    samples = {"forward": 0, "backward": 0}

    def forward(_, inputs, output):
        samples["forward"] += len(output)
        output.register_hook(lambda g: samples.update(backward=samples["backward"] + len(g)))

    model.backbone.register_forward_hook(forward)
    step(model, wrapper, labels=labels)
    assert wrapper.passes_per_step == pytest.approx(passes)
    assert sum(samples.values()) / 2 == pytest.approx(passes * len(labels))
    assert torch.isfinite(weights(model)).all()


def test_a_batch_without_a_group_is_the_others_step():
    assert_same(trained("imb-sam", rho=0.5, labels=HEAD_ONLY), trained("ce", labels=HEAD_ONLY))
    assert_same(
        trained("sse-sam", rho_head=0.3, labels=HEAD_ONLY),
        trained("sam", rho=0.3, labels=HEAD_ONLY),
    )


# --- group batches ---

LOSSES = ["ce", "cb-ce", "ldam", "ib", "mixup", "remix", "seql", "seesaw"]


@pytest.mark.parametrize("loss", LOSSES)
def test_group_batches_are_the_same_without_batch_norm(loss):
    options = {"loss__switch": 0.0} if loss == "ib" else {}
    for method, own in (
        ("sse-sam", {"rho_head": 0.2, "rho_tail": 0.5}),
        ("imb-sam", {"rho": 0.5, "group_norm": "group", "tail_weight": 2.0}),
    ):
        whole = trained(method, loss=loss, **own, **options)
        assert_same(trained(method, loss=loss, group_batches=True, **own, **options), whole)


def test_a_deferred_weighting_sees_the_whole_batch():
    """Its mean is over the weights of the batch, whichever samples a pass takes."""
    own = {"rho_head": 0.2, "rho_tail": 0.5, "loss": "ldam-drw", "loss__switch": 0.5}
    model, wrapper = make("sse-sam", **own, group_batches=True)
    other, other_wrapper = make("sse-sam", **own)
    for one, takes in ((model, wrapper), (other, other_wrapper)):
        one.head.loss_module.set_progress(0.6)
        for seed in range(3):
            step(one, takes, seed, done=0.6)
    assert_same(weights(model), weights(other))


def test_group_batches_move_running_statistics_by_their_share():
    model, wrapper = make("sse-sam", norm=True, group_batches=True)
    other = copy.deepcopy(model)
    step(model, wrapper)
    data = batch()
    images = (data["inputs"].float() - 128) / 64
    mean = torch.zeros(4, dtype=torch.float64)
    for group in ((0, 1), TAIL):
        members = torch.isin(data["label"], torch.tensor(group))
        share = 0.1 * members.sum().item() / len(members)
        maps = other.backbone.first(images[members].double())
        mean = (1 - share) * mean + share * maps.mean((0, 2, 3)).detach()
    assert_same(model.backbone.norm.running_mean, mean)
    assert model.backbone.norm.momentum == 0.1


# --- batch normalisation ---


@pytest.mark.parametrize("method", ["sam", "sse-sam"])
def test_perturbed_passes_leave_running_statistics_alone(method):
    model, wrapper = make(method, norm=True)
    clean, _ = make("ce", norm=True)
    for seed in range(3):
        clean.load_state_dict(model.state_dict())
        step(model, wrapper, seed)
        clean(**clean.data_preprocessor(batch(seed), True), mode="loss")
    for name, buffer in model.backbone.named_buffers():
        assert torch.equal(buffer, dict(clean.backbone.named_buffers())[name]), name
    assert model.backbone.norm.num_batches_tracked == 3


def test_perturbed_statistics_count_where_asked():
    model, wrapper = make("sse-sam", norm=True, perturbed_statistics=True)
    other, other_wrapper = make("sse-sam", norm=True)
    for one, takes in ((model, wrapper), (other, other_wrapper)):
        for seed in range(2):
            step(one, takes, seed)
    assert torch.equal(weights(model), weights(other))  # in training they do not matter
    assert model.backbone.norm.num_batches_tracked == 6
    assert other.backbone.norm.num_batches_tracked == 2
    ratio = model.backbone.norm.running_var / other.backbone.norm.running_var
    assert (ratio - 1).abs().min() > 0.05


# --- randomness, and what losses count ---


@pytest.mark.parametrize("group_batches", [False, True])
def test_all_passes_of_a_step_see_the_same_draws(group_batches):
    cfg = config("sse-sam", loss="mixup", group_batches=group_batches)
    cfg.model.head.loss = dict(type="DrawingLoss")
    model, wrapper = build(cfg)
    images = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: images.append(inputs[0].clone()))
    drawn = model.head.loss_module.drawn
    for seed in range(2):
        step(model, wrapper, seed)
        # the loss is called for both labels of a mixed image, by 2 parts at 2 points
        assert len(drawn) == 8
        assert all(torch.equal(noise, drawn[i % 2]) for i, noise in enumerate(drawn))
        assert not torch.equal(drawn[0], drawn[1])
        if not group_batches:
            assert len(images) == 3
            assert all(torch.equal(images[0], again) for again in images)
        first = drawn[0].clone()
        drawn.clear()
        images.clear()
    step(model, wrapper, 2)
    assert not torch.equal(first, drawn[0])


@pytest.mark.parametrize("method", ["sam", "sse-sam", "focal-sam"])
@pytest.mark.parametrize("loss", ["mixup", "seql"])
def test_the_generator_stands_where_a_plain_step_leaves_it(method, loss):
    after = []
    for name, options in ((loss, {}), (method, {"loss": loss})):
        model, wrapper = make(name, **options)
        torch.manual_seed(3)
        step(model, wrapper)
        after.append(torch.rand(4))
    assert torch.equal(*after)


@pytest.mark.parametrize("method", ["sam", "imb-sam", "sse-sam", "focal-sam"])
def test_a_loss_that_counts_sees_a_batch_once(method):
    model, wrapper = make(method, loss="seesaw")
    for seed in range(2):
        step(model, wrapper, seed)
    seen = model.head.loss_module.seen
    assert seen.tolist() == [2 * LABELS.eq(c).sum().item() for c in range(4)]


# --- precision, clipping, accumulation ---


@pytest.mark.parametrize("group_batches", [False, True])
def test_bf16(group_batches):
    model, wrapper = make(
        "sse-sam", torch.float32, norm=True, bf16=True, group_batches=group_batches
    )
    kinds = set()
    model.backbone.register_forward_hook(lambda _, inputs, output: kinds.add(output.dtype))
    losses = [step(model, wrapper, seed % 2)["loss"] for seed in range(20)]
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert losses[0].dtype == torch.float32
    assert torch.isfinite(weights(model)).all()
    assert sum(losses[-2:]) < sum(losses[:2])
    # the weights that autocast keeps in bf16 are renewed at the perturbed point
    plain, plain_wrapper = make("ce", torch.float32, norm=True, bf16=True)
    for seed in range(20):
        step(plain, plain_wrapper, seed % 2)
    assert (weights(model) - weights(plain)).abs().max() > 1e-3


def change(**options):
    """What one step of SGD without momentum adds to the weights."""
    cfg = config("sse-sam", rho_head=0.2, rho_tail=0.5, **options)
    cfg.optim_wrapper.optimizer = dict(type="SGD", lr=1.0)
    model, wrapper = build(cfg)
    before = weights(model)
    step(model, wrapper)
    return weights(model) - before


def test_clipping_acts_on_the_summed_gradient():
    free = change()
    assert free.norm() > 0.02
    clipped = change(wrapper=dict(clip_grad=dict(max_norm=0.01)))
    assert clipped.norm().item() == pytest.approx(0.01, rel=1e-4)
    assert_same(clipped / clipped.norm(), free / free.norm(), 1e-4)
    by_value = change(wrapper=dict(clip_grad=dict(type="value", clip_value=0.001)))
    assert_same(by_value, free.clamp(-0.001, 0.001))


def test_gradients_that_share_memory_are_clipped_apart():
    p, q = (nn.Parameter(torch.zeros(4)) for _ in range(2))
    wrapper = SharpnessAwareOptimWrapper(
        torch.optim.SGD([p, q], lr=1.0), clip_grad=dict(max_norm=1.0)
    )
    gradient = torch.ones(1).expand(4)
    wrapper.take([p, q], [gradient, gradient], 1.0)
    assert p.tolist() == pytest.approx([-(8**-0.5)] * 4, rel=1e-4)
    assert torch.equal(p, q)
    assert gradient.tolist() == [1.0] * 4


def test_accumulation():
    cfg = config("sse-sam", wrapper=dict(accumulative_counts=2))
    cfg.optim_wrapper.optimizer = dict(type="SGD", lr=1.0)
    model, wrapper = build(cfg)
    wrapper.initialize_count_status(model, 0, 3)
    start, alone = weights(model), []
    cfg.optim_wrapper.accumulative_counts = 1
    for seed in range(2):
        single, takes = build(cfg)
        step(single, takes, seed)
        alone.append(weights(single) - start)
    step(model, wrapper, 0)
    assert torch.equal(weights(model), start)
    assert all(p.grad is not None for p in model.parameters())
    step(model, wrapper, 1)
    assert_same(weights(model) - start, (alone[0] + alone[1]) / 2)
    assert all(p.grad is None for p in model.parameters())
    # the last one is a group of its own, by itself
    single, takes = build(cfg)
    single.load_state_dict(model.state_dict())
    step(single, takes, 2)
    step(model, wrapper, 2)
    assert_same(weights(model), weights(single))
    assert wrapper.passes_per_step == 3.5


def test_frozen_and_unused_parameters_are_left_alone():
    model, wrapper = make("sse-sam")
    model.unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
    wrapper.optimizer.add_param_group({"params": [model.unused]})
    model.backbone.first.requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step(model, wrapper)
    same = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert same == {"backbone.first.weight", "backbone.first.bias", "unused"}


def test_weights_are_where_they_were_without_a_learning_rate():
    cfg = config("sse-sam", rho_head=3.0, rho_tail=7.0)
    cfg.optim_wrapper.optimizer = dict(type="SGD", lr=0.0)
    model, wrapper = build(cfg, torch.float32)
    before = weights(model)
    step(model, wrapper)
    assert torch.equal(weights(model), before)


def test_a_loss_is_refused_instead_of_training_without_perturbation():
    model, wrapper = make("sam")
    with pytest.raises(TypeError, match="train_step"):
        wrapper.update_params(weights(model).sum())


# --- resume ---


def test_pass_counts_and_momentum_resume():
    calm, calm_wrapper = make("sse-sam", gamma=0.5)
    for i in range(4):
        step(calm, calm_wrapper, i, done=i / 4)
    assert calm_wrapper.passes_per_step == 3
    model, wrapper = make("sse-sam", gamma=0.5)
    for i in range(2):
        step(model, wrapper, i, done=i / 4)
    state, optim = copy.deepcopy((model.state_dict(), wrapper.state_dict()))
    _require_plain(optim, "wrapper")
    again, again_wrapper = make("sse-sam", gamma=0.5)
    again.load_state_dict(state)
    again_wrapper.load_state_dict(optim)
    assert again_wrapper.passes_per_step == 3.5
    for i in range(2, 4):
        step(again, again_wrapper, i, done=i / 4)
    assert torch.equal(weights(again), weights(calm))
    assert again_wrapper.passes_per_step == 3


def test_no_state_but_the_weights():
    model, _ = make("sse-sam")
    assert model.state_dict().keys() == make("ce")[0].state_dict().keys()


# --- settings ---


def test_focal_coefficients():
    """k_c = lambda (1 - pi_c)^gamma: (3/4)^2 / 2 and (1/4)^2 / 2."""
    assert coefficients([1, 3], 2.0, 0.5) == pytest.approx([0.28125, 0.03125])
    assert coefficients([1, 3], 0.0, 0.5) == [0.5, 0.5]


def test_tail_classes_have_fewer_images_than_eta():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert split_by_size(COUNTS, 50.0) == ([1, 1, 0, 0], [0, 0, 1, 1])
        assert split_by_size(COUNTS, 50.5) == ([1, 0, 0, 0], [0, 1, 1, 1])


@pytest.mark.parametrize(("eta", "missing"), [(4.0, "tail"), (61.0, "head")])
@pytest.mark.parametrize("method", ["imb-sam", "sse-sam"])
def test_an_eta_without_head_or_tail_warns_with_the_counts(method, eta, missing):
    with pytest.warns(MethodWarning, match=f"eta={eta:g} leaves no {missing} class.*60 50 8 4"):
        config(method, eta=eta)


@pytest.mark.parametrize("method", ["sam", "imb-sam", "focal-sam", "sse-sam"])
def test_bad_values(method):
    card = CATALOG.card(method)
    radii = [key for key in card.params if key.startswith("rho")]
    assert radii
    for key in radii:
        for value in (-0.1, 10.5, float("nan"), float("inf"), "wide"):
            with pytest.raises(UserError, match=rf"^here: {key}"):
                check_value(card, "here", key, value)
        assert check_value(card, "here", key, 0) == 0
    shares = {"sam": "switch", "focal-sam": "switch", "sse-sam": "gamma"}
    if method in shares:
        with pytest.raises(UserError, match=r"is above 1"):
            check_value(card, "here", shares[method], 1.5)
    if method == "focal-sam":
        # iNaturalist's; the share at the weights themselves is then below 0
        assert check_value(card, "here", "lam", 1.1) == 1.1
        with pytest.raises(UserError, match=r"is above 10"):
            check_value(card, "here", "lam", 10.5)
    if method == "imb-sam":
        for key, value in (("tail_weight", 0.0), ("group_norm", "sum"), ("eta", -1.0)):
            with pytest.raises(UserError, match=key):
                check_value(card, "here", key, value)


def test_what_owns_the_step_already_is_refused():
    own = CATALOG.source("sam").load().configure
    given = dict(rho=0.1, rho2=None, switch=0.8, weight_decay=None, perturbed_statistics=False)
    with pytest.raises(UserError, match=r"ImageClassifier.*SharpnessAwareClassifier"):
        own(config("sam"), FACTS, **given)
    cfg = config("ce")
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    with pytest.raises(UserError, match=r"OptimWrapper.*AmpOptimWrapper"):
        own(cfg, FACTS, **given)
    with pytest.raises(UserError, match="built on another method"):
        config("sam", loss="sse-sam")


def test_parts():
    with pytest.raises(ValueError, match="radii"):
        Part(rho=-0.1)
    with pytest.raises(ValueError, match="radii"):
        Part(rho=0.1, rho2=-0.1)
    cfg = config("sse-sam")
    cfg.model.parts[0].class_weight = [1.0, 0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="a class has weight 0"):
        build(cfg)
    assert isinstance(make("sse-sam")[0], SharpnessAwareClassifier)


@pytest.mark.parametrize(
    ("method", "protocol", "expected"),
    [
        ("sam", "r32-400-aa:cifar100,exp,ir100", {"loss": "ce", "rho": 0.2}),
        ("sam", "r32-400-aa:cifar100,step,ir100", {"rho": 0.3, "weight_decay": 1e-5}),
        ("sam", "r32-400-aa:cifar100,step,ir10", {"rho": 0.1, "weight_decay": 1e-5}),
        ("sam", "r32-400-aa:cifar10,exp,ir10", {"rho": 0.1, "weight_decay": None}),
        ("sam", "r32-200:cifar10,exp,ir100", {"rho": 0.1}),
        ("sam", "r32-200:cifar100,exp,ir100", {"rho": 0.2}),
        ("sam", "r34-200:cifar100,exp,ir100", {"rho": 0.05}),
        ("sam-ldam-drw", "r32-400-aa:cifar100,exp,ir100", {"rho": 0.5, "loss.weight_decay": 1e-4}),
        ("sam-ldam-drw", "r32-400-aa:cifar100,step,ir10", {"rho": 0.4}),
        ("sam-ldam-drw", "r32-400-aa:cifar10,step,ir100", {"rho": 0.2}),
        ("sam-vs", "r32-400-aa:cifar100,exp,ir100", {"rho": 0.3, "loss.weight_decay": 2e-4}),
        ("sam-vs", "r32-400-aa:cifar100,step,ir100", {"rho": 0.2, "loss.gamma": 0.0}),
        ("sam-vs", "r32-400-aa:cifar10,step,ir10", {"rho": 0.1}),
        (
            "sam-vs-adrw-tla",
            "r32-400-aa:cifar100,exp,ir100",
            {"rho": 0.2, "rho2": 0.4, "switch": 0.8, "loss.nu": 0.25, "loss.weight_decay2": 5e-4},
        ),
        ("sam-vs-adrw-tla", "r32-400-aa:cifar100,exp,ir10", {"rho": 0.1, "rho2": 0.5}),
        ("sam-vs-adrw-tla", "r32-400-aa:cifar100,step,ir100", {"rho": 0.2, "rho2": 0.2}),
        ("sam-vs-adrw-tla", "r32-400-aa:cifar100,step,ir10", {"rho": 0.1, "rho2": 0.3}),
        ("sam-vs-adrw-tla", "r32-400-aa:cifar10,exp,ir10", {"rho": 0.1, "rho2": 0.1}),
        ("sam-vs-adrw-tla", "r32-400-aa:cifar10,step,ir100", {"rho": 0.1, "rho2": 0.2}),
        ("focal-sam", "r32-200:cifar100,exp,ir100", {"rho": 0.3, "gamma": 3.2, "lam": 0.8}),
        ("focal-sam", "cpu-cifar", {"rho": 0.2, "gamma": 3.0, "lam": 0.5, "rho2": None}),
        (
            "focal-sam",
            "imagenet-lt:resnext50",
            {"rho": 0.1, "rho2": 0.2, "switch": 0.8, "gamma": 0.8, "lam": 0.8},
        ),
        ("focal-sam", "inat18:resnet50", {"rho": 0.2, "rho2": None, "gamma": 2.0, "lam": 1.1}),
        ("imb-sam", "r34-200:cifar100,exp,ir100", {"rho": 0.05, "eta": 20, "tail_weight": 1}),
        ("imb-sam", "cpu-cifar", {"eta": 200}),
        (
            "sse-sam",
            "r34-200:cifar100,exp,ir100",
            {"eta": 100, "rho_head": 0.05, "rho_tail": 0.1, "gamma": 0.7},
        ),
        ("sse-sam", "r32-200:cifar10,exp,ir100", {"eta": 1000}),
    ],
)
def test_settings_by_protocol(method, protocol, expected):
    values = CATALOG.resolve(method, CATALOG.protocol(TASK, protocol), {})
    assert {key: values[key] for key in expected} == expected


def test_no_default_leaves_head_or_tail_empty():
    checked = 0
    for protocol in TASK.protocols:
        if not protocol.dataset.groups:  # counts come with the data
            continue
        counts = protocol_counts(protocol.name)
        for method in ("imb-sam", "sse-sam"):
            eta = CATALOG.resolve(method, protocol, {})["eta"]
            assert min(counts) < eta <= max(counts), (method, protocol.name, eta)
            checked += 1
    assert checked > 100


def protocol_counts(name):
    from tasks.vision.data.sources import Source

    base, _, variants = name.partition(":")
    if base in ("quick", "smoke"):
        return Source("digits").counts
    if base == "cpu-cifar":
        return Source("cifar10").counts
    data, profile, ratio, convention = variants.split(",")[:4]
    return Source(data, profile, int(ratio.removeprefix("ir")), convention).counts
