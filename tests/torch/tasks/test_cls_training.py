"""Training of `longtail-cls` in one process: resume around stage switches, batches, selection."""

import numpy as np
import pytest
import torch
from cls_training import CATALOG, SMOKE, TASK, config, state, train
from mmengine.hooks import Hook
from mmengine.runner import Runner

from suite.engine.run import resolve_config
from tasks.longtail_cls.protocols import replace
from tasks.vision.data.datasets import MemoryImages, average_pool
from tasks.vision.networks.classifier import CosineHead, ImageBatch, SmallResNet

# wb's stage 2 begins with iteration 21 of 22; 0.8 * 22 = 17.6; ib at 11
CUTS = {
    "wb": (5, 20, 21),
    "vs-adrw-tla": (17, 18),
    "ldam-drw": (17, 18),
    "ib": (11, 12),
    "seesaw": (9,),
    "seql": (9,),
    "remix": (9,),
    "rs-sqrt": (9,),
    # 0.7 * 22 = 15.4
    "sse-sam": (15, 16),
    "sam-vs-adrw-tla": (17, 18),
}


@pytest.mark.parametrize("method", CUTS)
def test_resume_around_stage_switches_equals_the_undisturbed_run(method, tmp_path):
    whole = train(tmp_path / "calm", method)
    calm = state(whole)
    for cut in CUTS[method]:
        folder = tmp_path / f"cut-{cut}"
        train(folder, method, cut)
        torch.rand(17), np.random.rand(3)
        resumed = train(folder, method)
        again = state(resumed)
        assert calm.keys() == again.keys()
        for key in calm:
            assert torch.equal(calm[key], again[key]), (cut, key)
        # of sharpness-aware training: what the sittings before have counted
        passes = [getattr(run.optim_wrapper, "passes_per_step", None) for run in (whole, resumed)]
        assert passes[0] == passes[1], cut


LOSSES = [
    name
    for name in CATALOG.methods("longtail-cls")
    if not CATALOG.card(name).built_on
    and not CATALOG.card(name).needs.inputs
    # experts bring a network that owns its step; refused, see test_experts.py
    and (CATALOG.card(name).needs.experts == 1)
]


@pytest.mark.parametrize("loss", LOSSES)
def test_sharpness_aware_steps_work_on_every_loss(loss, tmp_path):
    runner = train(tmp_path, "sse-sam", 2, overrides={"loss": loss})
    plain = train(tmp_path / "plain", loss, 2)
    found, other = state(runner), state(plain)
    assert found.keys() == other.keys()
    assert all(value.isfinite().all() for value in found.values())
    assert any(not torch.equal(found[key], other[key]) for key in found)
    assert runner.optim_wrapper.passes_per_step == 3.5
    curves = runner.hooks[[type(h).__name__ for h in runner.hooks].index("MonitorHook")].curves
    assert len(curves["loss"]) == 2


@pytest.mark.parametrize("moving", [True, False])
def test_stage_two_of_weight_balancing_trains_the_classifier_alone(moving, tmp_path):
    folder = tmp_path / "wb"
    given = {} if moving else {"batch_statistics": False}
    before = state(train(folder, "wb", 21, overrides=given))
    runner = train(folder, "wb", overrides=given)
    after = state(runner)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    statistics = {key for key in before if "running_" in key or "num_batches" in key}
    assert changed == {"head.fc.weight", "head.fc.bias"} | (statistics if moving else set())
    assert all(p.requires_grad for p in runner.model.parameters())
    # projected at the end, though its epoch is not over
    norms = before["head.fc.weight"].norm(dim=1)
    radius = norms.min() + 0.1 * (norms.max() - norms.min())
    assert (after["head.fc.weight"].norm(dim=1) <= radius * (1 + 1e-5)).all()


@pytest.mark.usefixtures("plain_dumps")
def test_weight_decay_of_stage_two_takes_effect(tmp_path):
    params = {"weight_decay": 1e-4, "weight_decay2": 0.5}
    source = CATALOG.source("vs-adrw-tla")
    resolved = {**CATALOG.resolve("vs-adrw-tla", SMOKE, {}), **params}
    cfg, _ = resolve_config(SMOKE.build, None, source.load().configure, resolved, 0)
    seen = []

    class Watch(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            seen.append(runner.optim_wrapper.param_groups[0]["weight_decay"])

    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(tmp_path), "ERROR", "watch"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name="watch")
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Watch())
    runner.train()
    assert seen[:18] == [1e-4] * 18
    assert seen[18:] == pytest.approx([0.5] * 4)


def test_selection_on_the_test_set_keeps_the_best_and_resumes_exactly(tmp_path):
    from tasks.vision.recipes.small_images import select_on_test

    def legacy(cfg):
        for key, value in select_on_test(dict(cfg.to_dict()), epoch=4).items():
            cfg[key] = value
        cfg.custom_hooks = [dict(type="BestOnTestHook", metric="cls/top1"), *cfg.custom_hooks]

    scores = []

    class Watch(Hook):
        def after_val_epoch(self, runner, metrics=None):
            scores.append(metrics["cls/top1"])

    def run(folder, cut=None):
        return train(folder, "ce", cut, legacy)

    from mmengine.registry import HOOKS

    HOOKS.register_module(name="WatchScores", module=Watch, force=True)

    def watched(cfg):
        legacy(cfg)
        cfg.custom_hooks = [*cfg.custom_hooks, dict(type="WatchScores")]

    runner = train(tmp_path / "calm", "ce", change=watched)
    # after 4, 8, 12, 16 and 20 iterations, and at the end
    assert len(scores) == 6
    assert runner.test()["cls/top1"] == pytest.approx(max(scores))
    calm = state(runner)
    for cut in (8, 9, 22):
        folder = tmp_path / f"cut-{cut}"
        run(folder, cut)
        again = state(run(folder))
        assert all(torch.equal(calm[key], again[key]) for key in calm), cut


def test_batches_are_whole_augmented_and_depend_on_seed_and_position_alone():
    from suite.engine.data import SeededDataset

    cfg = config("ce").train_dataloader.dataset
    cfg.pop("type")
    made = SeededDataset(**cfg)
    keys = [(64, 5), (65, 9), (66, 5)]
    one, two = made.__getitems__(keys), made.__getitems__(keys)
    assert one["inputs"].shape == (3, 1, 8, 8) and one["inputs"].dtype == torch.uint8
    assert torch.equal(one["inputs"], two["inputs"])
    assert one["label"].tolist() == [int(made.labels[i]) for i in (5, 9, 5)]
    other = [SeededDataset(**{**cfg, "seed": 1}).__getitems__(keys)["inputs"]]
    other += [made.__getitems__([(p + 3, i) for p, i in keys])["inputs"]]
    assert not any(torch.equal(one["inputs"], o) for o in other)
    # what is stored is left as it was
    assert torch.equal(made[(0, 5)]["inputs"], made.inner[5]["inputs"])


def test_limit_takes_the_first_of_every_class():
    data = MemoryImages(config("ce").test_dataloader.dataset.source, "", "test", limit=4)
    assert torch.bincount(data.labels).tolist() == [4] * 10


def test_average_pool_rounds_half_up():
    images = torch.tensor([[[[0, 1, 4, 4], [0, 1, 4, 5]]]], dtype=torch.uint8)
    assert average_pool(images, 2).tolist() == [[[[1, 4]]]]  # 2/4 up, 17/4 down
    assert average_pool(images, 1) is images
    with pytest.raises(ValueError, match="cannot be pooled by 3"):
        average_pool(images, 3)


@pytest.mark.parametrize("depth", [32, 8])
def test_resnet_sizes(depth):
    net = SmallResNet(depth)
    total = sum(p.numel() for p in net.parameters()) + 64 * 10 + 10
    if depth == 32:
        assert total == 464_154
        assert round(total / 1e6, 2) == 0.46
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 64, 8, 8)
    with pytest.raises(ValueError, match="6n"):
        SmallResNet(depth + 1)


def test_images_are_normalised_in_the_asked_format():
    batch = ImageBatch(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0], channels_last=True)
    images = torch.full((2, 3, 4, 4), 32, dtype=torch.uint8)
    out = batch({"inputs": images, "label": torch.zeros(2, dtype=torch.long)})["inputs"]
    assert out[0, :, 0, 0].tolist() == pytest.approx([22, 6, 2 / 3])
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert images.unique().item() == 32


def test_cosine_head_is_bounded_and_blind_to_norms():
    head = CosineHead(8, 3, {"type": "CrossEntropy"}, scale=30.0)
    features = torch.randn(5, 8)
    assert head(features).abs().max() <= 30
    torch.testing.assert_close(head(features), head(7 * features))


def test_bf16_and_channels_last_are_options_of_a_protocol(tmp_path):
    from tasks.longtail_cls import protocols
    from tasks.vision.recipes.small_images import small_images

    recipe = replace(protocols._QUICK, width=4, epochs=2, precision="bf16", channels_last=True)

    def fast(cfg):
        made = small_images(recipe, protocols._DIGITS, "")["model"]
        cfg.model.update({**made, "head": cfg.model.head})

    plain, quick = train(tmp_path / "a", "ce"), train(tmp_path / "b", "ce", change=fast)
    seen = []
    quick.model.backbone.conv.register_forward_hook(lambda *call: seen.append(call[2]))
    batch = dict(inputs=torch.zeros(2, 1, 8, 8), label=torch.zeros(2, dtype=torch.long))
    for mode in ("loss", "predict"):
        quick.model(**batch, mode=mode)
    assert [made.dtype for made in seen] == [torch.bfloat16, torch.float32]
    assert seen[1].is_contiguous(memory_format=torch.channels_last)
    assert quick.model.bf16
    assert next(quick.model.parameters()).dtype == torch.float32
    differ = [
        not torch.equal(a, b)
        for a, b in zip(*(state(r).values() for r in (plain, quick)), strict=True)
    ]
    assert any(differ)
    names = {protocol.name for protocol in TASK.protocols}
    assert {n for n in names if "bf16" in n} and {n for n in names if "legacy-selection" in n}


def test_a_family_of_protocols_is_listed_by_its_choices():
    from suite.cli.tasks import _variants

    names = ["r:a,x", "r:a,y", "r:b,x", "r:b,y,z"]
    assert _variants(names) == "a|b, x|y [, z] (first if not named)"


def test_hashes_of_protocols_are_their_own():
    hashes = [protocol.hash for protocol in TASK.protocols]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("asked", "full"),
    [
        ("r32-200", "r32-200:cifar100,exp,ir100,first"),
        ("r32-200:cifar10,step", "r32-200:cifar10,step,ir100,first"),
        ("r32-200:ir50,shuffled", "r32-200:cifar100,exp,ir50,shuffled"),
        ("r32-200:legacy-selection", "r32-200:cifar100,exp,ir100,first,legacy-selection"),
        ("r32-400-aa", "r32-400-aa:cifar100,exp,ir100,first"),
        ("places-lt", "places-lt:resnet152"),
        ("imagenet-lt:resnext50", "imagenet-lt:resnext50"),
    ],
)
def test_protocols_are_named_by_their_variants(asked, full):
    assert CATALOG.protocol(TASK, asked).name == full


@pytest.mark.parametrize(
    ("method", "protocol", "expected"),
    [
        ("vs", "r32-400-aa", {"gamma": 0.05, "tau": 1.0, "weight_decay": 2e-4, "switch": 1.0}),
        ("vs", "r32-400-aa:ir10", {"gamma": 0.05, "tau": 0.5, "weight_decay": 1e-4}),
        ("vs", "r32-400-aa:cifar10,step,ir100", {"gamma": 0.0, "tau": 1.25, "weight_decay": 1e-4}),
        ("vs", "r32-200:cifar10,step,ir10", {"gamma": 0.0, "tau": 1.0, "weight_decay": None}),
        (
            "vs-adrw-tla",
            "r32-400-aa",
            {"nu": 0.25, "tau2": 0.75, "weight_decay": 2e-4, "weight_decay2": 5e-4},
        ),
        (
            "vs-adrw-tla",
            "r32-400-aa:cifar10",
            {"nu": 0.15, "tau2": 1.0, "weight_decay": 2e-4, "weight_decay2": None},
        ),
        (
            "vs-adrw-tla",
            "r32-400-aa:step,ir10",
            {"gamma": 0.0, "nu": 0.05, "tau2": 1.0, "weight_decay": 1e-4, "weight_decay2": 3e-4},
        ),
        ("vs-tla", "cpu-cifar", {"nu": 0.0, "tau2": 1.0}),
        ("ldam-drw", "r32-400-aa", {"weight_decay": 1e-4, "switch": 0.8}),
        ("ldam-drw", "r32-400-aa:cifar10,ir10", {"weight_decay": 1e-5}),
        ("ldam-drw", "r32-400-aa:step", {"weight_decay": 5e-5}),
    ],
)
def test_settings_of_the_unified_study_by_protocol(method, protocol, expected):
    found = CATALOG.resolve(method, CATALOG.protocol(TASK, protocol), {})
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("protocol", "head", "tail"),
    [
        ("r32-200:cifar100,exp,ir100", 0.4, 0.1),
        ("r32-200:cifar100,exp,ir50", 0.3, 0.0),
        ("r32-200:cifar100,exp,ir10", 0.2, 0.0),
        ("r32-200:cifar10,exp,ir100", 0.3, 0.0),
        ("r32-200-rot:cifar10,exp,ir50", 0.2, 0.0),
        ("r32-200:cifar10,exp,ir10", 0.1, 0.0),
        ("cpu-cifar", 0.3, 0.0),
        ("imagenet-lt:resnet50", 0.3, 0.0),
        ("places-lt:resnet152", 0.4, 0.1),
        ("inat18:resnet50", 0.3, 0.0),
    ],
)
def test_settings_of_mislas_by_protocol(protocol, head, tail):
    """smooth_head and smooth_tail of its config/DATA/DATA_stage2_mislas.yaml."""
    found = CATALOG.resolve("las", CATALOG.protocol(TASK, protocol), {})
    assert (found["head"], found["tail"], found["over"]) == (head, tail, "all")


def test_settings_of_weight_balancing():
    found = CATALOG.resolve("wb", CATALOG.protocol(TASK, "r34-200:cifar100"), {})
    # 320 epochs, then 10
    assert found["switch"] == pytest.approx(320 / 330, abs=5e-4)
    assert (found["loss2"], found["project"], found["batch_statistics"]) == ("bce", "epoch", True)
