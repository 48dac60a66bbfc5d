"""Protocol `r34-200`: the network's shape and start, the recipe's numbers, a shrunk copy that trains."""

import math
from importlib import import_module

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from torch import nn

from suite.define.catalog import Catalog
from suite.engine.run import resolve_config
from tasks.longtail_cls import protocols
from tasks.longtail_cls.further_sets import with_further_sets
from tasks.vision.data.sources import Source
from tasks.vision.networks.wide_stem import WideStemResNet
from tasks.vision.recipes.small_images import small_images

CATALOG = Catalog.load()
TASK = CATALOG.task("longtail-cls")
BLOCKS, WIDTHS = (3, 4, 6, 3), (64, 128, 256, 512)


def expected_parameters(classes):
    """By hand: convolutions without bias, two numbers a channel of each normalisation, the classifier."""
    total = 3 * 64 * 9 + 2 * 64
    inputs = 64
    for blocks, width in zip(BLOCKS, WIDTHS, strict=True):
        if inputs != width:  # the shortcut's 1x1 convolution
            total += inputs * width + 2 * width
        total += inputs * width * 9 + (2 * blocks - 1) * width * width * 9 + 2 * blocks * 2 * width
        inputs = width
    return total + 512 * classes + classes


@pytest.fixture(scope="module")
def model():
    cfg = small_images(protocols._R34_200, Source("cifar100"), "")
    assert "tasks.vision.networks.wide_stem" in cfg["custom_imports"]["imports"]
    import_module("tasks.vision.networks.classifier")
    torch.manual_seed(0)
    made = MODELS.build(cfg["model"])
    made.backbone.init_weights()
    return made


def test_it_has_the_parameters_of_a_resnet_34_with_a_small_stem(model):
    found = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert found == expected_parameters(100) == 21_328_292
    assert expected_parameters(10) == 21_282_122


def test_maps_are_of_the_input_size_up_to_stage_two(model):
    seen = {}
    net = model.eval().backbone
    for name in ("maxpool", "layer1", "layer2", "layer3", "layer4"):
        layer = getattr(net, name)
        layer.register_forward_hook(lambda m, i, out, name=name: seen.update({name: out.shape[1:]}))
    with torch.no_grad():
        (last,) = net(torch.zeros(1, 3, 32, 32))
        assert model.features(torch.zeros(1, 3, 32, 32)).shape == (1, 512)
    assert last.shape == (1, 512, 4, 4)
    assert [tuple(shape) for shape in seen.values()] == [
        (64, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4),
    ]  # fmt: skip


def test_it_starts_as_torchvisions_does(model):
    # its names too
    names = set(model.backbone.state_dict())
    wanted = ("conv1", "bn1", "layer1.2.conv2", "layer2.0.downsample.0", "layer3.5.bn2")
    assert {f"{name}.weight" for name in wanted} <= names
    assert not any(name.endswith("conv1.bias") for name in names)
    norms = 0
    for name, module in model.backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            count = module.weight.numel()
            # a standard deviation of n normal numbers is off by 1/sqrt(2n)
            within = 5 / math.sqrt(2 * count)
            wanted = math.sqrt(2 / fan_out)
            if name == "conv1":
                # put in place after torchvision's initialisation: torch's own, uniform within 1 / sqrt(27)
                assert module.weight.abs().max().item() <= 1 / math.sqrt(27)
                wanted = 1 / 9
            expected = pytest.approx(wanted, rel=within)
            assert module.weight.std().item() == expected, name
        elif isinstance(module, nn.BatchNorm2d):
            norms += 1
            assert (module.weight == 1).all() and (module.bias == 0).all(), name
    assert norms == 1 + 2 * sum(BLOCKS) + 3
    # torch's own linear layer: uniform within 1/sqrt(fan-in)
    weight = model.head.fc.weight
    assert weight.abs().max().item() <= 1 / math.sqrt(512)
    assert weight.std().item() == pytest.approx(1 / math.sqrt(3 * 512), rel=0.05)


def test_other_depths_are_refused():
    with pytest.raises(ValueError, match="depth is 50, expected 18 or 34"):
        WideStemResNet(50)


def test_its_settings_are_the_papers():
    protocol = CATALOG.protocol(TASK, "r34-200")
    assert protocol.name == "r34-200:cifar100,exp,ir100,first"
    assert (protocol.budget.iterations, protocol.budget.batch) == (170 * 200, 64)
    # 1 was with the stem's convolution started as the others
    assert protocol.revision == 2
    assert (protocol.backbone, protocol.precision) == ("resnet34-w64", "fp32")
    assert (protocol.augmentation, protocol.selection) == ("crop 4, flip", "last")
    cfg = small_images(protocols._R34_200, Source("cifar100"), "")
    assert cfg["optim_wrapper"]["optimizer"] == {
        "type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-3,
    }  # fmt: skip
    normalise = cfg["model"]["data_preprocessor"]
    assert normalise["mean"] == pytest.approx([255 * m for m in (0.4914, 0.4822, 0.4465)])
    assert normalise["std"] == pytest.approx([255 * s for s in (0.2023, 0.1994, 0.2010)])


def test_its_variants():
    names = [p.name for p in TASK.protocols if p.name.startswith("r34-200:")]
    # data sets x profiles x ratios x conventions, bf16 at exp 100, best on test wherever exp
    assert len(names) == 2 * 2 * 5 * 2 + 2 * 2 + 2 * 5 * 2
    legacy = CATALOG.protocol(TASK, "r34-200:cifar10,legacy-selection")
    assert legacy.selection == "best-on-test"
    assert legacy.budget.iterations == 194 * 200
    fast = CATALOG.protocol(TASK, "r34-200:bf16")
    assert (fast.name, fast.precision) == ("r34-200:cifar100,exp,ir100,first,bf16", "bf16")


@pytest.mark.usefixtures("plain_dumps")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_shrunk_copy_trains_at_rates_that_fall_along_a_cosine(precision, tmp_path):
    # no narrower: with 4 channels, oneDNN's strided 1x1 convolution for AVX2 (torch 2.13) writes past its
    # memory, and the process aborts
    recipe = protocols.replace(
        protocols._R34_200, depth=18, width=8, epochs=1, limit=2, precision=precision,
        channels_last=precision == "bf16",
    )  # fmt: skip
    smoke = CATALOG.protocol(TASK, "smoke")

    def build(data):
        cfg = small_images(recipe, Source("digits"), "")
        cfg = with_further_sets(cfg, smoke.dataset.groups, [], 0)
        return cfg, smoke.build(data)[1]

    source = CATALOG.source("ce")
    cfg, _ = resolve_config(build, None, source.load().configure, {}, 0)
    total = cfg.train_cfg.max_iters
    assert total == 6
    cfg.work_dir, cfg.log_level = str(tmp_path), "ERROR"
    cfg.experiment_name = f"r34-{precision}"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name=f"r34-{precision}")
    cfg.default_hooks = dict(
        runtime_info=None, timer=None, logger=None, checkpoint=None,
        param_scheduler=dict(type="ParamSchedulerHook"),
    )  # fmt: skip
    rates, losses = [], []

    class Watch(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            losses.append(outputs["loss"].item())

        def before_train_iter(self, runner, *args, **kwargs):
            rates.append(runner.optim_wrapper.get_lr()["lr"][0])

    runner = Runner.from_cfg(cfg)
    runner.register_hook(Watch())
    before = runner.model.state_dict()["backbone.conv1.weight"].clone()
    runner.train()
    expected = [0.005 * (1 + math.cos(math.pi * k / total)) for k in range(total)]
    assert rates == pytest.approx(expected)
    assert all(map(math.isfinite, losses))
    assert not torch.equal(before, runner.model.state_dict()["backbone.conv1.weight"])
    runner.test()
    (metric,) = runner.test_evaluator.metrics
    assert metric.arrays()["logits"].shape == (20, 10)
    hook = HOOKS.build({**cfg.prediction_hooks["sharpness"], "images": 8, "iterations": 3})
    hook.after_train(runner)
    assert hook.arrays()["images"].tolist() == [8, 8, 8]
