"""Second stages on a finished run's weights: what they train, what they leave, how they resume."""

import json
import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from baselines.classification.tau_norm import tau_normalized
from baselines.parts.decoupled import set_length
from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.dispatch.carry_out import assignments
from suite.engine import weights
from suite.engine.hooks import MonitorHook
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook
from suite.engine.run import SuiteRunner, resolve_config
from suite.runs.plan import make_plan
from suite.runs.worker import execute
from tasks.longtail_cls import protocols
from tasks.vision.data.sources import Source
from tasks.vision.recipes.small_images import select_on_test, small_images

CATALOG = Catalog.load()
TASK = CATALOG.task("longtail-cls")
SMOKE = CATALOG.protocol(TASK, "smoke")
ITERATIONS, RATE, BATCH = 22, 0.1, 32  # of smoke
IMAGES = torch.arange(5 * 64).view(5, 1, 8, 8).remainder(256).to(torch.uint8)


class Interrupted(Exception):
    pass


class WatchHook(Hook):
    """Keeps what is seen before and after each iteration; stops after `cut` of them."""

    priority = "LOWEST"

    def __init__(self, cut=None):
        self.cut = cut
        self.rates, self.decays, self.labels = [], [], Counter()
        self.modes, self.stepped, self.start = [], set(), None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        group = runner.optim_wrapper.param_groups[0]
        self.rates.append(group["lr"])
        self.decays.append(group["weight_decay"])
        self.labels.update(data_batch["label"].tolist())
        trunk = runner.model.backbone
        self.modes.append((trunk.training, runner.model.head.training))
        if self.start is None:
            self.start = state(runner)
            self.momenta = len(runner.optim_wrapper.optimizer.state)

    def after_train_iter(self, runner, *args, **kwargs):
        momenta = runner.optim_wrapper.optimizer.state
        self.stepped |= {name for name, p in runner.model.named_parameters() if p in momenta}
        if runner.iter + 1 == self.cut:
            raise Interrupted


def config(method, inputs=None, build=SMOKE.build, **overrides):
    """Of a run under `build`; `loss__switch` is the parameter `loss.switch`."""
    overrides = {key.replace("__", "."): value for key, value in overrides.items()}
    made = CATALOG.method(CATALOG.spec(method, SMOKE, 0, overrides))

    def configure(cfg, facts):
        return made.configure(cfg, facts, inputs)

    return resolve_config(build, None, configure, {}, 0, made.modules, made.extra_budget)[0]


def train(folder, cfg, cut=None):
    """Train (or go on) in `folder`, up to iteration `cut`; runner and what was watched."""
    name = f"{folder.name}-{torch.randint(10**9, ()).item()}"
    cfg.work_dir, cfg.experiment_name, cfg.log_level = str(folder / "work"), name, "ERROR"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name=name)
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    runner = SuiteRunner.from_cfg(cfg)
    runner.resume_hook = resume = ResumeHook(folder / "checkpoint", 0.0)
    runner.start_from = cfg.get("start_from")
    watch = WatchHook(cut)
    for hook in (MonitorHook(), RestoreGeneratorsHook(resume), resume, watch):
        runner.register_hook(hook)
    if cut:
        with pytest.raises(Interrupted):
            runner.train()
    else:
        runner.train()
    return runner, watch


def state(runner):
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


def changed(before, after):
    """Names of what differs, bit for bit."""
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


def logits(model):
    model.eval()
    data = model.data_preprocessor({"inputs": IMAGES, "label": torch.zeros(5)})
    with torch.no_grad():
        return model(data["inputs"], data["label"])


@pytest.fixture(scope="module")
def ce(tmp_path_factory):
    """(weights file, state, logits) of a trained `ce`."""
    folder = tmp_path_factory.mktemp("stage1")
    runner, watch = train(folder, config("ce"))
    # long-tailed batches, which those of stage 2 are not
    assert max(watch.labels.values()) > 5 * min(watch.labels.values())
    path = folder / "weights.safetensors"
    weights.save(weights.model_weights(runner.model), path)
    return path, state(runner), logits(runner.model)


@pytest.fixture
def inputs(ce):
    return {"stage1": ce[0]}


def test_tau_normalisation_of_a_toy():
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]])
    half = tau_normalized(weight, 0.5)
    assert half[0].tolist() == pytest.approx([1.341641, 1.788854], abs=1e-6)
    assert half[1].tolist() == [0, 0]
    assert half[2].tolist() == pytest.approx([0, -math.sqrt(2)])
    assert tau_normalized(weight, 1.0)[0].tolist() == pytest.approx([0.6, 0.8])
    assert torch.equal(tau_normalized(weight, 0.0), weight)


def test_tau_zero_with_bias_is_stage_one(tmp_path, ce, inputs):
    runner, watch = train(tmp_path, config("tau-norm", inputs, tau=0.0, bias=True))
    assert (runner.iter, watch.rates) == (0, [])
    assert not changed(ce[1], state(runner))
    assert torch.equal(logits(runner.model), ce[2])


def test_tau_norm_changes_the_classifier_alone(tmp_path, ce, inputs):
    runner, _ = train(tmp_path, config("tau-norm", inputs))
    assert changed(ce[1], state(runner)) == {"head.fc.weight", "head.fc.bias"}
    fc, before = runner.model.head.fc, ce[1]["head.fc.weight"]
    torch.testing.assert_close(fc.weight, before / before.norm(dim=1, keepdim=True))
    assert not fc.bias.any()
    assert all(p.requires_grad for p in runner.model.parameters())


def test_nothing_is_selected_where_nothing_is_trained(tmp_path, ce, inputs):
    def build(data):
        base, facts = SMOKE.build(data)
        return select_on_test(base, epoch=2), facts

    cfg = config("tau-norm", inputs, build, tau=0.0, bias=True)
    assert not changed(ce[1], state(train(tmp_path / "tau", cfg)[0]))
    # but the best of the second stage where there is one, its trunk frozen through the validations
    cfg = config("crt", inputs, build, length=0.3)
    runner, watch = train(tmp_path / "crt", cfg)
    assert watch.modes == [(True, True)] * 7
    moved = {key for key in changed(ce[1], state(runner)) if not key.startswith("head.")}
    assert moved and all(".bn" in key and not key.endswith(("weight", "bias")) for key in moved)


def statistics(names):
    """Those of the running statistics of the trunk's batch normalisation."""
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    return {name for name in names if name.startswith("backbone.") and name.endswith(kinds)}


@pytest.mark.parametrize("moving", [True, False])
def test_crt_trains_a_new_classifier_on_the_same_trunk(moving, tmp_path, ce, inputs):
    """As released, batch normalisation goes on with the batches of stage 2; without, nothing moves."""
    given = {} if moving else {"batch_statistics": False}
    runner, watch = train(tmp_path, config("crt", inputs, length=0.5, **given))
    classifier = {"head.fc.weight", "head.fc.bias"}
    assert changed(ce[1], watch.start) == classifier  # fresh
    assert not watch.start["head.fc.bias"].any()
    after = state(runner)
    assert len(statistics(after)) >= 3
    assert changed(watch.start, after) == classifier | (statistics(after) if moving else set())
    assert watch.stepped == classifier
    assert watch.modes == [(moving, True)] * 11
    assert all(p.requires_grad for p in runner.model.parameters())


@pytest.mark.parametrize("bias", [False, True])
def test_lws_learns_a_factor_per_class_and_keeps_directions(bias, tmp_path, ce, inputs):
    given = {"bias": bias, "batch_statistics": False}
    runner, watch = train(tmp_path, config("lws", inputs, length=0.5, **given))
    after, head = state(runner), runner.model.head
    assert torch.equal(watch.start.pop("head.scale"), torch.ones(10))
    kept = {key for key in ce[1] if bias or key != "head.fc.bias"}
    assert watch.start.keys() == kept
    scale = after.pop("head.scale")
    assert not changed({key: ce[1][key] for key in kept}, after)
    assert not torch.equal(scale, torch.ones(10)) and (scale > 0).all()
    assert watch.stepped == {"head.scale"}
    assert all(p.requires_grad for p in runner.model.parameters())
    # f_c w_c^T h, or f_c (w_c^T h + b_c)
    before = ce[2] if bias else ce[2] - ce[1]["head.fc.bias"]
    torch.testing.assert_close(logits(runner.model), before * scale, rtol=1e-4, atol=1e-4)
    # what is kept of the run is read back into the network that its config makes
    weights.save(weights.model_weights(runner.model), tmp_path / "kept.safetensors")
    made = MODELS.build(config("lws", inputs, bias=bias).model)
    weights.restore(made, tmp_path / "kept.safetensors")
    assert torch.equal(made.head.scale, head.scale)


@pytest.mark.parametrize("method", ["crt", "lws"])
def test_batches_are_class_balanced_and_rates_fall_along_a_cosine(method, tmp_path, inputs):
    _, watch = train(tmp_path, config(method, inputs, length=1.0, lr=0.04))
    drawn = [watch.labels[c] for c in range(10)]
    n = ITERATIONS * BATCH
    assert sum(drawn) == n
    # 70 of each; a binomial count is off by more than 4 standard deviations once in 16000
    assert max(abs(count - n / 10) for count in drawn) < 4 * math.sqrt(n * 0.1 * 0.9)
    wanted = [0.02 * (1 + math.cos(math.pi * i / ITERATIONS)) for i in range(ITERATIONS)]
    assert watch.rates == pytest.approx(wanted)


def test_lengths_and_rates_by_default(inputs):
    for method, iterations in (("crt", 2), ("lws", 1), ("tau-norm", 0), ("drw-resume", 4)):
        cfg = config(method, inputs)
        assert cfg.train_cfg.max_iters == iterations, method
        assert cfg.start_from["weights"] == str(inputs["stage1"])
    cfg = config("lws", inputs)
    # the bias is kept, as released
    assert cfg.model.head.bias and cfg.start_from["skip"] == ["head.scale"]
    assert config("crt", inputs).optim_wrapper.optimizer.lr == RATE
    assert config("crt", inputs, length=0.0001).train_cfg.max_iters == 1


@pytest.mark.parametrize(
    ("method", "protocol", "epochs", "of"),
    [
        ("crt", "imagenet-lt:resnext50", 10, 180),
        ("lws", "imagenet-lt:resnext50", 5, 180),
        ("crt", "places-lt:resnet152", 10, 30),
        ("lws", "places-lt:resnet152", 5, 30),
        ("crt", "inat18:resnet50", 30, 100),
        ("lws", "inat18:resnet50", 5, 100),
    ],
)
def test_second_stages_have_the_epochs_of_the_authors(method, protocol, epochs, of):
    """config/DATA/cls_{crt,lws}.yaml, to the iteration."""
    under = CATALOG.protocol(TASK, protocol)
    iterations, rest = divmod(under.budget.iterations, of)
    assert not rest
    cfg = SimpleNamespace(train_cfg=SimpleNamespace(max_iters=None))
    length = CATALOG.resolve(method, under, {})["length"]
    facts = SimpleNamespace(iterations=under.budget.iterations)
    assert set_length(cfg, facts, length) == epochs * iterations == cfg.train_cfg.max_iters


def test_drw_resume_trains_everything_on_in_two_steps(tmp_path, ce, inputs):
    cfg = config("drw-resume", inputs, length=0.4, weight_decay=0.25)
    runner, watch = train(tmp_path / "a", cfg)
    assert not changed(ce[1], watch.start)
    assert watch.momenta == 0
    n = 9  # 8.8
    assert watch.rates == pytest.approx([RATE / 100] * 4 + [RATE / 10000] * 5)
    assert watch.decays == [0.25] * n
    assert watch.modes == [(True, True)] * n
    assert changed(ce[1], state(runner)) >= {name for name, _ in runner.model.named_parameters()}
    assert cfg.model.head.loss.type == "WeightedFocalLoss"
    weight = cfg.model.head.loss.class_weight
    assert weight[-1] > 5 * weight[0]
    _, watch = train(tmp_path / "b", config("drw-resume", inputs, lr=0.003))
    assert watch.rates == pytest.approx([0.003] * 2 + [0.00003] * 2)
    assert watch.decays == pytest.approx(
        [SMOKE.build(None)[0]["optim_wrapper"]["optimizer"]["weight_decay"]] * 4
    )


def test_drw_resume_takes_other_losses(tmp_path, inputs):
    assert config("drw-resume", inputs, loss="vs").model.head.loss.type == "StagedLoss"
    last = dict(loss="vs-adrw-tla", loss__switch=0.0, loss__weight_decay2=0.5)
    cfg = config("drw-resume", inputs, **last)
    assert cfg.optim_wrapper.optimizer.weight_decay == pytest.approx(0.5)
    runner, _ = train(tmp_path, cfg)
    assert runner.model.head.loss_module.stage == 1


@pytest.mark.parametrize(
    "settings",
    [dict(loss="wb"), dict(loss="ib"), dict(loss="vs-adrw-tla", loss__weight_decay2=0.5)],
)
def test_a_loss_with_a_schedule_of_a_whole_training_is_refused(settings, inputs):
    with pytest.raises(UserError, match=r"last stage alone with --set drw-resume\.loss\.switch=0"):
        config("drw-resume", inputs, **settings)


def test_a_second_stage_is_no_loss(inputs):
    with pytest.raises(UserError, match="is itself built on another method or run"):
        config("drw-resume", inputs, loss="crt")


@pytest.mark.parametrize(
    ("method", "settings", "cut"),
    [
        ("crt", {}, 3),
        ("lws", {}, 1),
        ("drw-resume", dict(loss="ldam-drw", loss__switch=0.5), 2),
    ],
)
def test_resume_within_stage_two_equals_the_undisturbed_run(method, settings, cut, tmp_path, ce):
    path = tmp_path / "stage1.safetensors"
    if method == "drw-resume":
        made = MODELS.build(config("ldam-drw").model)
        weights.save(weights.model_weights(made), path)
    else:
        path.write_bytes(ce[0].read_bytes())

    def second():
        return config(method, {"stage1": path}, length=0.2, **settings)

    calm = state(train(tmp_path / "calm", second())[0])
    train(tmp_path / "cut", second(), cut)
    path.unlink()  # from the checkpoint, and from nowhere else
    torch.rand(17)
    again, watch = train(tmp_path / "cut", second())
    assert len(watch.rates) == 4 - cut
    assert not changed(calm, state(again))
    assert all(p.requires_grad for p in again.model.parameters())


def test_another_classifier_of_stage_one(tmp_path):
    path = tmp_path / "cosine.safetensors"
    ldam = MODELS.build(config("ldam").model)
    weights.save(weights.model_weights(ldam), path)

    def begin(method, **settings):
        cfg = config(method, {"stage1": path}, **settings)
        model = MODELS.build(cfg.model)
        weights.restore(model, path, cfg.start_from.skip)
        return model

    for method in ("tau-norm", "lws", "drw-resume"):
        with pytest.raises(UserError, match="does not fit the network"):
            begin(method)
    assert torch.equal(begin("drw-resume", loss="ldam").head.weight, ldam.head.weight)
    assert torch.equal(begin("crt").backbone.conv.weight, ldam.backbone.conv.weight)


def test_other_networks_and_bf16(tmp_path):
    recipe = protocols.replace(
        protocols._R34_200, depth=18, width=4, epochs=1, limit=2, precision="bf16"
    )

    def build(data):
        return small_images(recipe, Source("digits"), ""), SMOKE.build(data)[1]

    path = tmp_path / "weights.safetensors"
    made = MODELS.build(config("ce", build=build).model)
    for module in made.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.uniform_(-0.1, 0.1)
    weights.save(weights.model_weights(made), path)
    for method, trained in (("crt", {"fc.weight", "fc.bias"}), ("lws", {"scale"})):
        cfg = config(method, {"stage1": path}, build, batch_statistics=False)
        runner, watch = train(tmp_path / method, cfg)
        assert runner.model.bf16
        assert changed(watch.start, state(runner)) == {f"head.{name}" for name in trained}
        after = runner.model.backbone.state_dict()
        assert not changed(made.backbone.state_dict(), after)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("crt", {"length": 0.0}, "length=0.0 is below 0.0001"),
        ("lws", {"length": 1.5}, r"length=1.5 is above 1.0"),
        ("drw-resume", {"length": -1}, "length=-1.0 is below"),
        ("crt", {"lr": 0.0}, "lr=0.0 is below"),
        ("drw-resume", {"lr": -0.1}, "lr=-0.1 is below"),
        ("drw-resume", {"weight_decay": -1.0}, "weight_decay=-1.0 is below"),
        ("drw-resume", {"loss": "cb-cee"}, "no such method; did you mean cb-ce"),
        ("tau-norm", {"tau": -0.5}, "tau=-0.5 is below 0.0"),
        ("tau-norm", {"tau": 2.5}, "tau=2.5 is above 2.0"),
        ("tau-norm", {"bias": "no"}, "bias='no' is not of type bool"),
    ],
)
def test_values_that_cannot_be_are_refused(method, settings, message):
    with pytest.raises(UserError, match=message):
        CATALOG.resolve(method, SMOKE, settings)


def test_a_run_without_an_iteration_is_recorded_like_any_other(tmp_path):
    settings = ["tau-norm.tau=0", "tau-norm.bias=true"]
    plan = make_plan(tmp_path, CATALOG, TASK, SMOKE, methods=["tau-norm"], settings=settings)
    assert [item.spec.method for item in plan.items] == ["ce", "tau-norm"]
    done = [execute(work, CATALOG) for work in assignments(plan.items, tmp_path, None)]
    assert [report.state for report in done] == ["done", "done"]
    first, second = (item.attempt for item in plan.items)
    record = second.record()
    assert record.flags == ["extra-budget"]
    assert (record.cost.iterations, record.cost.parameters) == (0, first.record().cost.parameters)
    one, two = (attempt.predictions()["test"]["logits"] for attempt in (first, second))
    assert (one == two).all() and one.shape[1] == 10


def test_a_stage_one_on_another_copy_of_the_data_is_refused(tmp_path):
    plan = make_plan(tmp_path, CATALOG, TASK, SMOKE, methods=["tau-norm"])
    first, second = assignments(plan.items, tmp_path, None)
    assert execute(first, CATALOG).state == "done"
    path = plan.items[0].attempt.path / "record.json"
    record = json.loads(path.read_bytes())
    path.write_text(json.dumps({**record, "data": {"images": "0" * 64}}))
    report = execute(second, CATALOG)
    assert report.failure.kind == "input"
    assert "was trained on another copy of the data than this" in report.failure.message
