"""PESG and the minimax AUC objective: known answers, a step by hand as oracle, groups, switch points, exact state."""

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings, strategies  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from torch import nn  # noqa: E402

from baselines.parts.minimax_auc import AUCMarginLoss, minimax_auc, sample_losses  # noqa: E402
from baselines.parts.pesg import PESG, auc_roles, with_pesg  # noqa: E402
from suite.base.errors import UserError  # noqa: E402

DOUBLE = torch.float64


def tensor(values, **more):
    return torch.tensor(values, dtype=DOUBLE, **more)


H, Y = tensor([0.9, 0.3, 0.6, 0.2, 0.4])[:, None], tensor([1, 1, 0, 0, 0])[:, None]


def pairwise(h, y, margin=1.0):
    """The square risk over all pairs."""
    positives, negatives = h[y > 0.5], h[y < 0.5]
    return (margin - positives[:, None] + negatives).square().mean()


def saddle(h, y, margin=1.0):
    """a, b, alpha where F is the pairwise risk."""
    a, b = h[y > 0.5].mean(), h[y < 0.5].mean()
    return a, b, margin + b - a


# -- the objective


def test_known_answers_of_the_objective():
    assert pairwise(H, Y).item() == pytest.approx(0.7566666667, abs=6e-11)
    a, b, alpha = saddle(H, Y)
    assert (a.item(), b.item(), alpha.item()) == pytest.approx((0.6, 0.4, 0.8))
    assert minimax_auc(H, Y, a, b, alpha).item() == pytest.approx(0.7566666667, abs=6e-11)
    assert minimax_auc(H, Y, a, b, alpha, prior=0.4).item() == pytest.approx(0.1816, abs=1e-12)
    h = H.clone().requires_grad_()
    point = [tensor(value, requires_grad=True) for value in (0.5, 0.2, 0.3)]
    value = minimax_auc(h, Y, *point)
    # a residual of exactly 0 (h_4 = b) is counted, which the released mean leaves out: .59
    assert value.item() == pytest.approx(0.5566666667, abs=6e-11)
    by_h, *by_point = torch.autograd.grad(value, (h, *point))
    expected = [0.1, -0.5, 0.4666666667, 0.2, 0.3333333333]
    assert by_h.flatten().tolist() == pytest.approx(expected, abs=6e-11)
    assert [g.item() for g in by_point] == pytest.approx([-0.2, -0.4, 1.0], abs=6e-11)


@strategies.composite
def scored(draw, least=1):
    """h in [0, 1] and labels, (B, 1), with `least` samples of each class."""
    counts = [draw(strategies.integers(least, 6)) for _ in range(2)]
    generator = torch.Generator().manual_seed(draw(strategies.integers(0, 10**6)))
    h = torch.rand(sum(counts), 1, generator=generator, dtype=DOUBLE)
    return h, tensor([0] * counts[0] + [1] * counts[1])[:, None]


@settings(max_examples=40, deadline=None)
@given(scored(), strategies.floats(0.1, 2))
def test_at_the_saddle_it_is_the_pairwise_risk(batch, margin):
    h, y = batch
    a, b, alpha = saddle(h, y, margin)
    risk = pairwise(h, y, margin)
    torch.testing.assert_close(minimax_auc(h, y, a, b, alpha, margin), risk)
    p = y.mean().item()
    weighted = minimax_auc(h, y, a, b, alpha, margin, prior=p)
    torch.testing.assert_close(weighted, p * (1 - p) * risk)


@settings(max_examples=20, deadline=None)
@given(scored(), strategies.integers(0, 1), strategies.integers(2, 4))
def test_copies_of_one_class_change_nothing(batch, kind, times):
    h, y = batch
    point = tensor([0.3, 0.1, 0.7]).unbind()
    more = [torch.cat([v, *[v[(y == kind).flatten()]] * (times - 1)]) for v in (h, y)]
    torch.testing.assert_close(minimax_auc(*more, *point), minimax_auc(h, y, *point))
    torch.testing.assert_close(pairwise(*more), pairwise(h, y))


def test_summands_of_samples():
    a, b, alpha = tensor([0.5, 0.2, 0.3]).unbind()
    losses = sample_losses(H, Y > 0.5, a, b, alpha)
    assert losses.shape == (5, 1)
    for i, (h, y) in enumerate(zip(H.flatten(), Y.flatten(), strict=True)):
        expected = (h - a) ** 2 - 2 * alpha * h if y else (h - b) ** 2 + 2 * alpha * h
        torch.testing.assert_close(losses[i, 0], expected)


@pytest.mark.parametrize("kind", [0.0, 1.0])
def test_a_class_that_is_missing(kind):
    h, y = torch.rand(4, 1), torch.full((4, 1), kind)
    for prior in (None, 0.3):
        assert minimax_auc(h, y, *torch.rand(3).unbind(), prior=prior).isfinite()
    # but nobody trains on such a batch without knowing
    missing = "negative" if kind else "positive"
    with pytest.raises(UserError, match=f"a batch of 4 has no {missing} sample"):
        AUCMarginLoss()(h, y)


def test_equal_scores_are_finite():
    loss = AUCMarginLoss()
    scores = torch.zeros(4, 1, requires_grad=True)
    value = loss(scores, torch.tensor([[1.0], [0], [0], [1]]))
    assert value.item() == 0.5  # (h - 0)^2 of both classes
    value.backward()
    assert scores.grad.isfinite().all() and loss.alpha.grad.item() == 2


def test_the_loss_takes_logits():
    loss = AUCMarginLoss(margin=0.7).double()
    with torch.no_grad():
        for parameter, value in zip((loss.a, loss.b, loss.alpha), (0.5, 0.2, 0.3), strict=True):
            parameter.fill_(value)
    found = loss(H.logit(), Y, index=None, features=None, pixels=None)
    assert found.item() == pytest.approx(0.5566666667 - 0.6 * 0.3)
    torch.testing.assert_close(
        loss.of_samples(H.logit(), Y), sample_losses(H, Y > 0.5, loss.a, loss.b, loss.alpha)
    )


def test_bad_arguments_of_the_loss():
    for bad in ({"margin": 0.0}, {"prior": 0.0}, {"prior": 1.0}):
        with pytest.raises(ValueError, match="margin is"):
            AUCMarginLoss(**bad)
    with pytest.raises(ValueError, match=r"scores are \(5,\) and labels \(5, 1\)"):
        AUCMarginLoss()(H.flatten(), Y)
    with pytest.raises(ValueError, match=r"expected \(B, 1\) both"):
        AUCMarginLoss()(torch.rand(3, 2), torch.rand(3, 2))


# -- the optimiser


def without_noise(optimizer):
    for state in optimizer.state.values():
        state["reference"].zero_()
    return optimizer


X, LABEL = tensor([[1, 0], [0, 1], [1, 1]]), tensor([[1], [0], [0]])


def known_problem(milestones=(2,)):
    weight, bias = nn.Parameter(tensor([0.5, -0.25])), nn.Parameter(tensor(0.1))
    loss = AUCMarginLoss().double()
    optimizer = PESG(
        [{"params": [weight, bias]}, *auc_roles(loss)],
        lr=0.1, momentum=0.9, weight_decay=5e-4, gamma=2e-3, clip=1.0, milestones=milestones,
    )  # fmt: skip

    def step():
        optimizer.zero_grad()
        loss((X @ weight + bias)[:, None], LABEL).backward()
        optimizer.step()
        return [*weight.tolist(), *(p.item() for p in (bias, loss.a, loss.b, loss.alpha))]

    return step, without_noise(optimizer)


KNOWN = [
    [0.456106479, -0.2756622716, 0.0447070309, 0.1, 0.1, 0.2],
    [0.4233932431, -0.3047874052, -0.0010988657, 0.1999775, 0.1818485934, 0.3563742187],
    [0.402270577, -0.3366253657, -0.0366698009, 0.2826870889, 0.2430967504, 0.4771813072],
]


def test_three_known_steps():
    step, _ = known_problem()
    for expected in KNOWN:
        assert step() == pytest.approx(expected, abs=1e-9)


def test_without_the_switch_the_third_step_is_another():
    step, _ = known_problem(milestones=())
    values = [step() for _ in range(3)]
    assert values[1] == pytest.approx(KNOWN[1], abs=1e-9)
    assert values[2] != pytest.approx(KNOWN[2], abs=1e-6)


def by_hand(w, gradients, lr, m, wd, gamma, clip, reference, milestones):
    """Iterates of one number."""
    buffer, since, found = None, [], []
    for i, gradient in enumerate(gradients):
        if i in milestones and since:
            reference, since = sum(since) / len(since), []
        v = min(max(gradient, -clip), clip) + gamma * (w - reference) + wd * w
        buffer = v if buffer is None else (1 - m) * buffer + m * v
        w = w - lr * buffer
        since.append(w)
        found.append(w)
    return found


@settings(max_examples=40, deadline=None)
@given(
    strategies.lists(strategies.floats(-3, 3), min_size=1, max_size=12),
    strategies.floats(0.05, 1),
    strategies.floats(0, 0.5),
    strategies.floats(0, 1),
    strategies.sets(strategies.integers(0, 12)),
)
def test_steps_are_what_is_written_down(gradients, m, wd, gamma, milestones):
    numbers = [nn.Parameter(tensor([0.5])), nn.Parameter(tensor([[-2.0, 0.1]]))]
    optimizer = PESG(
        numbers, lr=0.3, momentum=m, weight_decay=wd, gamma=gamma, clip=0.8,
        milestones=sorted(milestones),
    )  # fmt: skip
    references = [optimizer.state[p]["reference"].flatten().tolist() for p in numbers]
    starts = [p.flatten().tolist() for p in numbers]
    found = []
    for gradient in gradients:
        for sign, parameter in zip((1, -1), numbers, strict=True):
            parameter.grad = torch.full_like(parameter, sign * gradient)
        optimizer.step()
        found.append([p.flatten().tolist() for p in numbers])
    for which, sign in ((0, 1), (1, -1)):
        for place, (start, reference) in enumerate(
            zip(starts[which], references[which], strict=True)
        ):
            pushed = [sign * g for g in gradients]
            expected = by_hand(start, pushed, 0.3, m, wd, gamma, 0.8, reference, milestones)
            assert [step[which][place] for step in found] == pytest.approx(expected, abs=1e-12)


def test_the_clip_is_of_elements():
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = without_noise(PESG([parameter], lr=1.0, gamma=0.0, clip=1.0))
    parameter.grad = torch.tensor([5.0, -0.25, -2.0])
    optimizer.step()
    assert parameter.tolist() == [-1, 0.25, 1]  # by the norm, the middle one would be .046
    assert parameter.grad.tolist() == [5, -0.25, -2]


def test_momentum_weighs_the_new_gradient():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = without_noise(PESG([parameter], lr=1.0, momentum=0.9, gamma=0.0))
    for gradient, expected in ((1.0, -1.0), (0.0, -1.1)):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        assert parameter.item() == pytest.approx(expected)


def test_references_start_as_noise_of_the_seed():
    def references(seed):
        torch.manual_seed(seed)
        parameter = nn.Parameter(torch.ones(5000))
        return PESG([parameter], lr=0.1).state[parameter]["reference"]

    one, other = references(3), references(4)
    assert torch.equal(one, references(3)) and not torch.equal(one, other)
    assert one.std().item() == pytest.approx(0.01, rel=0.05) and abs(one.mean().item()) < 1e-3


def test_alpha_stays_within_its_bounds():
    loss = AUCMarginLoss()
    optimizer = PESG(auc_roles(loss), lr=1e6)
    for a, expected in ((0.0, 999.0), (5.0, 0.0)):
        with torch.no_grad():
            loss.a.fill_(a)
        loss.alpha.grad = torch.zeros(())
        optimizer.step()
        assert loss.alpha.item() == expected


def test_parameters_without_a_gradient_stay():
    loss = AUCMarginLoss()
    other = nn.Parameter(torch.ones(2))
    optimizer = PESG([{"params": [other]}, *auc_roles(loss)], lr=0.1, milestones=[1])
    for _ in range(3):
        loss.a.grad = torch.ones(())
        optimizer.step()
    assert other.tolist() == [1, 1] and loss.alpha.item() == 0 and loss.b.item() == 0
    assert loss.a.item() < 0
    # iterates all the same
    assert optimizer.state[other]["reference"].tolist() == [1, 1]


def test_a_rate_that_falls_is_that_of_alpha_too():
    step, optimizer = known_problem()
    step()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    assert step() == pytest.approx(KNOWN[0], abs=1e-9)


def test_a_closure_is_asked_for_the_loss():
    parameter = nn.Parameter(torch.ones(1))
    optimizer = PESG([parameter], lr=0.1)

    def closure():
        optimizer.zero_grad()
        value = parameter.square().sum()
        value.backward()
        return value

    assert optimizer.step(closure).item() == 1 and parameter.item() < 1


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_state_goes_on_bit_for_bit(cut):
    calm, _ = known_problem(milestones=(2, 4))
    expected = [calm() for _ in range(6)]
    step, optimizer = known_problem(milestones=(2, 4))
    for _ in range(cut):
        step()
    resumed, other = known_problem(milestones=(2, 4))
    torch.rand(7)
    for mine, theirs in zip(other.param_groups, optimizer.param_groups, strict=True):
        with torch.no_grad():
            for parameter, value in zip(mine["params"], theirs["params"], strict=True):
                parameter.copy_(value)
    for state in other.state.values():
        state["reference"].fill_(99)
    other.load_state_dict(optimizer.state_dict())
    assert [resumed() for _ in range(6 - cut)] == expected[cut:]


@pytest.mark.parametrize(
    "bad",
    [{"lr": -1}, {"momentum": 0.0}, {"momentum": 1.5}, {"weight_decay": -1}, {"gamma": -1}, {"clip": 0}],
)  # fmt: skip
def test_bad_settings(bad):
    with pytest.raises(ValueError, match="expected at least 0"):
        PESG([nn.Parameter(torch.ones(1))], **{"lr": 0.1, **bad})


def test_roles_come_together():
    a, b, c = (nn.Parameter(torch.zeros(())) for _ in range(3))
    with pytest.raises(ValueError, match="1 as positive_mean, 0 as negative_mean, 1 as ascent"):
        PESG([{"params": [a], "role": "positive_mean"}, {"params": [b], "role": "ascent"}], lr=0.1)
    with pytest.raises(ValueError, match="role is 'dual', expected one of weight"):
        PESG([{"params": [c], "role": "dual"}], lr=0.1)


# -- in a config


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
        self.head = nn.Module()
        self.head.loss_module = AUCMarginLoss()
        self.head.fc = nn.Linear(1, 1)


GIVEN = {
    "lr": None, "momentum": 0.8, "weight_decay": None, "gamma": 0.01, "clip": 0.5, "margin": 0.7,
    "switches": [],
}  # fmt: skip


def recipe(**more):
    schedule = {"type": "MultiStepLR", "milestones": [75, 90], "gamma": 0.1, "by_epoch": False}
    return Config(
        {
            "optim_wrapper": {
                "type": "OptimWrapper",
                "optimizer": {
                    "type": "SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True,
                },
            },
            "param_scheduler": [schedule],
            "train_cfg": {"max_iters": 100},
            **more,
        }
    )  # fmt: skip


def test_the_protocol_s_rate_and_decay_and_its_switch_points():
    cfg = with_pesg(recipe(), **GIVEN)
    assert cfg.optim_wrapper.optimizer == {
        "type": "PESG", "lr": 0.1, "momentum": 0.8, "weight_decay": 5e-4, "gamma": 0.01, "clip": 0.5,
        "margin": 0.7, "milestones": [75, 90],
    }  # fmt: skip
    model = Small()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    assert optimizer.milestones == {75, 90} and optimizer.margin == 0.7
    names = {id(p): name for name, p in model.named_parameters()}
    roles = {
        names[id(p)]: group["role"] for group in optimizer.param_groups for p in group["params"]
    }
    expected = {"a": "positive_mean", "b": "negative_mean", "alpha": "ascent"}
    for name, role in expected.items():
        assert roles.pop(f"head.loss_module.{name}") == role
    assert len(roles) == 6 and set(roles.values()) == {"weight"}
    # one group of weights, whatever mmengine makes of them
    assert len(optimizer.param_groups) == 4


def test_own_rate_decay_and_switch_points():
    given = {**GIVEN, "lr": 0.02, "weight_decay": 0.0, "switches": [0.5, 0.29, 0.5]}
    optimizer = with_pesg(recipe(), **given).optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay, optimizer.milestones) == (0.02, 0, [29, 50])
    never = with_pesg(recipe(), **{**GIVEN, "switches": [1.0]}).optim_wrapper.optimizer
    assert never.milestones == [100]


def test_a_cosine_has_no_switch_points():
    cfg = recipe(param_scheduler=[{"type": "CosineAnnealingLR", "T_max": 100, "by_epoch": False}])
    assert with_pesg(cfg, **GIVEN).optim_wrapper.optimizer.milestones == []


@pytest.mark.parametrize("switches", [[0.0], [1.2], ["half"], [0.5, -1]])
def test_bad_switch_points(switches):
    with pytest.raises(UserError, match="shares of the training above 0"):
        with_pesg(recipe(), **{**GIVEN, "switches": switches})


def test_what_a_config_says_of_single_parameters_is_kept():
    cfg = recipe()
    cfg.optim_wrapper.paramwise_cfg = {"custom_keys": {"backbone.0": {"lr_mult": 0.5}}}
    optimizer = build_optim_wrapper(Small(), with_pesg(cfg, **GIVEN).optim_wrapper).optimizer
    assert sorted(group["lr"] for group in optimizer.param_groups) == [0.05, *[0.1] * 4]


# -- beside LibAUC


def test_losses_are_libauc_s():
    losses = pytest.importorskip("libauc.losses")
    theirs = losses.AUCMLoss(margin=0.9, imratio=0.3, version="v1", device="cpu")
    ours = AUCMarginLoss(margin=0.9, prior=0.3)
    h, y = H.float(), Y.float()
    with torch.no_grad():
        for name, value in (("a", 0.5), ("b", 0.2), ("alpha", 0.3)):
            getattr(theirs, name).fill_(value)
            getattr(ours, name).fill_(value)
    torch.testing.assert_close(ours(h.logit(), y), theirs(h, y, auto=False).squeeze())


def test_steps_are_libauc_s():
    losses, optimizers = (
        pytest.importorskip(f"libauc.{part}") for part in ("losses", "optimizers")
    )
    x, y = X.float(), LABEL.float()

    def steps(model, loss, optimizer, renew):
        found = []
        for i in range(5):
            if i == 2:
                renew()
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
            found.append([*model.weight.flatten().tolist(), loss.a.item(), loss.alpha.item()])
        return found

    torch.manual_seed(0)
    ours, theirs = nn.Linear(2, 1), nn.Sequential()
    theirs = nn.Linear(2, 1)
    theirs.load_state_dict(ours.state_dict())
    loss = AUCMarginLoss(prior=1 / 3)
    optimizer = without_noise(
        PESG(
            [{"params": list(ours.parameters())}, *auc_roles(loss)],
            lr=0.1, momentum=0.9, weight_decay=5e-4, gamma=2e-3, milestones=[2],
        )
    )  # fmt: skip
    mine = steps(ours, loss, optimizer, lambda: None)

    class OfLogits(losses.AUCMLoss):
        def forward(self, scores, targets):
            return super().forward(scores.sigmoid(), targets)

    their_loss = OfLogits(version="v1", device="cpu")
    their = optimizers.PESG(
        theirs.parameters(), loss_fn=their_loss, lr=0.1, momentum=0.9, weight_decay=5e-4,
        epoch_decay=2e-3, device="cpu", verbose=False,
    )  # fmt: skip
    for reference in their.model_ref:
        reference.zero_()
    # their rate falls with it, unless told otherwise
    found = steps(theirs, their_loss, their, lambda: their.update_regularizer(decay_factor=None))
    for one, other in zip(mine, found, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
