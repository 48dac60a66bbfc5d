"""ADE20K, COCO-Stuff and Cityscapes: networks, samples, a step and a test of each."""

import ast
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from segmentation_files import (
    SETTINGS,
    SPECS,
    _few,  # noqa: F401
    copy,  # noqa: F401
    first,
    make,
)

from suite.base import settings
from suite.define.catalog import Catalog
from suite.define.task import Trained
from tasks.longtail_seg import evaluation, resampling
from tasks.longtail_seg.networks import NETWORKS
from tasks.longtail_seg.protocols import PROTOCOLS
from tasks.longtail_seg.schedules import SCHEDULES
from tasks.vision.data import ade20k, cityscapes, coco_stuff, official

# -- what is known without a copy


def test_classes_and_palettes_are_mmsegs():
    from tasks.vision.data import segmentation as datasets  # noqa: F401 - silences mmseg's prints

    mmseg = pytest.importorskip("mmseg.datasets")
    for spec, theirs in (
        (ade20k.SPEC, mmseg.ADE20KDataset),
        (cityscapes.SPEC, mmseg.CityscapesDataset),
        (coco_stuff.SPEC, mmseg.COCOStuffDataset),
    ):
        assert list(spec.classes) == [name.strip() for name in theirs.METAINFO["classes"]]
        assert [list(c) for c in spec.palette] == [list(c) for c in theirs.METAINFO["palette"]]
        assert len(set(spec.classes)) == len(spec.classes) == SCHEDULES[spec.name].classes


def test_coco_stuffs_table_is_that_of_mmsegs_converter():
    import mmseg

    path = Path(mmseg.__file__).parent / ".mim/tools/dataset_converters/coco_stuff164k.py"
    if not path.exists():
        pytest.skip("mmseg was installed without its tools")
    (table,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "clsID_to_trID"
    )
    assert coco_stuff.SPEC.labels[1].table == table


# -- data sets, configs, networks


def test_samples(copy):
    from tasks.vision.data import segmentation as datasets

    spec, folder = copy
    kind = getattr(datasets, SCHEDULES[spec.name].dataset)
    train = kind(folder.parent if spec.folders[1].count("/") == 0 else folder, "train")
    assert len(train) == 4
    pair = first(folder, spec)
    sample = train[0]
    image, label = official.read_pair(pair)
    assert sample["sample_id"] == pair.key
    assert np.array_equal(sample["img"], image[:, :, ::-1])
    assert np.array_equal(sample["gt_seg_map"], label)
    assert sample["seg_fields"] == ["gt_seg_map"]
    assert kind(folder, "val", test_mode=True)[0]["seg_fields"] == []
    pixels, images = train.label_statistics()
    assert images.tolist() == train.class_presence().sum(0).tolist()
    assert pixels.sum() == sum((train.pair(k)[1] != 255).sum() for k in range(4))


def test_a_protocol_is_built_before_any_runner_is(copy, monkeypatch):
    """With no scope of mmengine's set: a worker resolves the config first."""
    from mmengine.registry import DefaultScope

    spec, folder = copy
    monkeypatch.setattr(DefaultScope, "get_current_instance", classmethod(lambda cls: None))
    (protocol,) = (p for p in PROTOCOLS if p.name == f"{spec.name}:segformer-b0")
    cfg, facts = protocol.build(folder)
    assert set(facts.groups) == {"head", "medium", "tail"}
    assert sum(facts.image_counts) > 0
    assert cfg["test_evaluator"]["sparse"] is (len(spec.classes) > 100)


def test_class_presence_of_the_data_in_memory():
    from tasks.vision.data.segmentation import ArraySegDataset

    scenes = ArraySegDataset(settings.cache_dir(), "train", limit=20)
    assert np.array_equal(scenes.class_presence().sum(0), scenes.label_statistics()[1])


@pytest.fixture(scope="module")
def registered():
    import torch
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    from tasks.longtail_seg import heads, sketch  # noqa: F401

    init_default_scope("mmseg")

    @MODELS.register_module(force=True)
    class KeptMaps(torch.nn.Module):
        def __init__(self, maps):
            super().__init__()
            self.maps = maps

        def forward(self, _):
            return self.maps


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_built_at_its_size(network, registered, monkeypatch):
    """On the meta device: every layer of the config, its shapes through a picture, no memory."""
    import torch
    from mmseg.registry import MODELS

    from tasks.longtail_seg.recipes import base_config

    even = torch.linspace  # depth rates, which are read while building
    monkeypatch.setattr(torch, "linspace", lambda *a, **k: even(*a, **k | {"device": "cpu"}))
    sizes = {}
    features = backbone = None
    for name, schedule in SCHEDULES.items():
        cfg = base_config(f"{name}:{network}", {"data_root": ""})
        # the data sets share the backbone: built and run once, its maps are taken for the others
        assert backbone in (None, str(cfg["model"]["backbone"]))
        backbone = str(cfg["model"]["backbone"])
        if features is not None:
            cfg["model"]["backbone"] = {"type": "mmseg.KeptMaps", "maps": features}
        with torch.device("meta"):
            model = MODELS.build(cfg["model"]).eval()
            scores = model(torch.zeros(1, 3, 64, 64), mode="tensor")
            features = features or model.backbone(torch.zeros(1, 3, 64, 64))
        assert scores.shape[1] == schedule.classes
        assert model.decode_head.num_classes == schedule.classes
        assert model.decode_head.conv_seg.out_channels == schedule.classes
        assert type(cfg["model"]["decode_head"]["loss_decode"]) is list
        assert model.test_cfg["mode"] == ("slide" if schedule.stride else "whole")
        sizes[name] = sum(p.numel() for p in model.decode_head.parameters())
    assert sizes["cityscapes"] < sizes["ade20k"] < sizes["coco-stuff164k"]


def test_sizes_of_known_networks(registered, monkeypatch):
    """SegNeXt-L has 48.9 million parameters with its head."""
    import torch
    from mmseg.registry import MODELS

    from tasks.longtail_seg.recipes import base_config

    even = torch.linspace
    monkeypatch.setattr(torch, "linspace", lambda *a, **k: even(*a, **k | {"device": "cpu"}))
    with torch.device("meta"):
        model = MODELS.build(base_config("ade20k:segnext-l", {"data_root": ""})["model"])
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(48.9e6, rel=0.005)


def test_every_method_takes_the_networks_with_further_heads(registered):
    """It replaces the loss of the decode head, and of no other."""
    from mmengine.config import Config
    from mmseg.registry import MODELS

    from suite.define.protocol import Facts
    from tasks.longtail_seg.recipes import base_config

    catalog = Catalog.load()
    task = catalog.task("longtail-seg")
    spec = cityscapes.SPEC
    facts = Facts(
        classes=spec.classes,
        class_counts=tuple(range(1, 20)),
        image_counts=(1,) * 19,
        groups=spec.groups,
        iterations=1,
        batch=2,
    )
    methods = catalog.methods(task.name)
    assert {"ce", "aucseg", "dice", "focal", "la", "wce-inv"} <= set(methods)
    for network in ("ocrnet-hr18", "upernet-swin-t"):
        protocol = catalog.protocol(task, f"cityscapes:{network}")
        plain = base_config(protocol.name, {"data_root": ""})
        for method in methods:
            cfg = Config(base_config(protocol.name, {"data_root": ""}))
            cfg = (
                catalog.source(method)
                .load()
                .configure(cfg, facts, **catalog.resolve(method, protocol, {}))
            )
            MODELS.build(cfg.model.decode_head.loss_decode)
            others = {k: v for k, v in plain["model"].items() if "head" not in k}
            others.pop("data_preprocessor")
            assert all(cfg.model[k] == v for k, v in others.items())
            assert cfg.model.get("auxiliary_head") == plain["model"].get("auxiliary_head")


# a few channels of each family, and a crop of 64
NARROW = {
    "segnext-t": dict(
        backbone=dict(embed_dims=[8, 16, 32, 32], depths=[1, 1, 1, 1]),
        decode_head=dict(in_channels=[16, 32, 32], channels=32, ham_channels=32),
    ),
    "segformer-b0": dict(
        backbone=dict(embed_dims=8, num_heads=[1, 1, 2, 2], num_layers=[1, 1, 1, 1]),
        decode_head=dict(in_channels=[8, 8, 16, 16], channels=16),
    ),
    "deeplabv3plus-r50": dict(
        backbone=dict(base_channels=4, stem_channels=8),
        decode_head=dict(in_channels=128, channels=16, c1_in_channels=16, c1_channels=8),
        auxiliary_head=dict(in_channels=64, channels=8),
    ),
    "ocrnet-hr18": dict(
        backbone=dict(
            extra=dict(
                stage1=dict(num_channels=(4,), num_blocks=(1,)),
                stage2=dict(num_channels=(4, 8), num_blocks=(1, 1)),
                stage3=dict(num_channels=(4, 8, 8), num_blocks=(1,) * 3, num_modules=1),
                stage4=dict(num_channels=(4, 8, 8, 8), num_blocks=(1,) * 4, num_modules=1),
            )
        ),
        decode_head=dict(
            in_channels=[4, 8, 8, 8],
            channels=16,
            ocr_channels=8,
            region=dict(in_channels=[4, 8, 8, 8], channels=28),
        ),
    ),
    "upernet-swin-t": dict(
        backbone=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
        decode_head=dict(in_channels=[8, 16, 32, 64], channels=16),
        auxiliary_head=dict(in_channels=32, channels=8),
    ),
}
CASES = [("ade20k", n, "aucseg" if n == "segnext-t" else "ce") for n in NARROW] + [
    ("cityscapes", "segformer-b0", "la"),
    ("cityscapes", "ocrnet-hr18", "aucseg"),
    ("coco-stuff164k", "segnext-t", "dice"),
]


@pytest.mark.parametrize(("name", "network", "method"), CASES)
def test_one_step_and_a_test(name, network, method, tmp_path, registered, monkeypatch):
    """Through the suite's own runner: data path, losses, gradient, optimiser, sketch, evaluation."""
    import torch

    from suite.engine.run import SuiteRunner, _test, resolve_config
    from tasks.longtail_seg import pixel_auc

    # choosing bins for 171 classes takes seconds
    monkeypatch.setattr(pixel_auc, "plan", lambda *_: np.full(2048, 23, np.uint8))

    spec = SPECS[name]
    folder = make(spec, tmp_path / "data")
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("longtail-seg"), f"{name}:{network}")
    params = catalog.resolve(method, protocol, {})
    module = catalog.source(method).load()
    cfg, facts = resolve_config(protocol.build, folder, module.configure, params, 0)
    assert facts.groups["tail"] == spec.tail
    assert sorted(sum(facts.groups.values(), ())) == list(range(len(spec.classes)))
    assert len(facts.observed["train"]) == 64
    if method == "aucseg":
        assert cfg.model.data_preprocessor.type == "TMemoryBankPreProcessor"
    _narrow(cfg.model, NARROW[network])
    cfg.model.data_preprocessor.size = (64, 64)
    for transform in cfg.train_dataloader.dataset.dataset.pipeline:
        if transform.type == "RandomCrop":
            transform.crop_size = (64, 64)
        if transform.type == "RandomResize":
            transform.scale = (96, 96)
    cfg.test_dataloader.dataset.pipeline[0].scale = (96, 96)
    if cfg.model.test_cfg.mode == "slide":
        cfg.model.test_cfg.update(crop_size=(64, 64), stride=(48, 48))
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.num_workers = 0
    cfg.train_dataloader.batch_size = 2
    cfg.train_cfg.max_iters = 1
    # no warm-up: a first step of 6e-11 moves no float32
    cfg.param_scheduler = []
    cfg.update(work_dir=str(tmp_path / "work"), log_level="ERROR", experiment_name=str(tmp_path))
    cfg.default_hooks = dict(
        runtime_info=None, timer=None, logger=None, checkpoint=None, sampler_seed=None
    )
    runner = SuiteRunner.from_cfg(cfg)
    runner.model.init_weights()
    before = {k: v.clone() for k, v in runner.model.named_parameters()}
    runner.train()
    moved = [k for k, v in runner.model.named_parameters() if not torch.equal(v, before[k])]
    assert any(k.startswith("backbone.") for k in moved)
    assert any(k.startswith("decode_head.") for k in moved)
    assert all(bool(torch.isfinite(v).all()) for v in runner.model.parameters())
    rates = {round(g["lr"] / 6e-5, 3) for g in runner.optim_wrapper.optimizer.param_groups}
    assert rates == {1.0, 10.0}

    arrays, samples, _ = _test(runner)
    assert len(samples) == 3
    classes = len(spec.classes)
    total = evaluation.confusion(
        {"test": arrays}, evaluation.settings(protocol), Trained(class_counts=facts.class_counts)
    )
    labels = [official.read_pair(p)[1] for p in official.pairs(spec, folder, "val")]
    # every labelled pixel at the label's own size, whatever size the network saw
    expected = sum(np.bincount(x.ravel(), minlength=256)[:classes] for x in labels)
    assert np.array_equal(total.sum(1), expected)
    again, _, _ = _test_again(runner)
    for key in ("confusion",) if classes < 100 else evaluation.SPARSE:
        assert np.array_equal(arrays[key], again[key])
    rows = protocol_rows(protocol, arrays, facts)
    assert {r.subset for r in rows if r.metric == "mIoU"} == {
        "", "group=head", "group=medium", "group=tail",
    }  # fmt: skip


def _narrow(into, changes):
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _narrow(into[key], value)
        else:
            into[key] = value


def _test_again(runner):
    """The test once more by a new metric: predictions hang on nothing but weights and picture."""
    from mmseg.registry import METRICS

    from suite.engine.run import _test

    (old,) = runner.test_evaluator.metrics
    made = METRICS.build(
        dict(
            type="SegSketch",
            classes=old.classes,
            palette=old.palette[: old.classes].tolist(),
            shown=[],
            sparse=old.sparse,
            auc_stride=old.auc_stride,
        )
    )
    runner.test_evaluator.metrics = [made]
    return _test(runner)


def protocol_rows(protocol, arrays, facts):
    trained = Trained(class_counts=facts.class_counts)
    return evaluation.evaluate({"test": arrays}, evaluation.settings(protocol), trained)


# -- sketches and scores


def _sketches(count=12, classes=7, **other):
    """A dense and a sparse sketch of the same noise."""
    import torch

    from tasks.longtail_seg.sketch import SegSketch

    generator = torch.Generator().manual_seed(1)
    made = [
        SegSketch(classes, [[c, c, c] for c in range(classes)], [], **options)
        for options in ({}, {"sparse": True}, {"sparse": True, "auc_stride": 3})
    ]
    for _ in range(count):
        label = torch.randint(0, 4, (1, 12, 16), generator=generator)
        label[0, :2] = 255
        logits = torch.randn(classes, 12, 16, generator=generator)
        sample = {"gt_sem_seg": {"data": label}, "seg_logits": {"data": logits}}
        for one in made:
            one.process({}, [sample])
    return [one.arrays() for one in made]


def test_a_sparse_confusion_scores_as_the_dense_one(registered):
    dense, sparse, lattice = _sketches()
    assert set(dense) - set(sparse) == {"confusion"}
    assert len(sparse["confusion_cells"]) == np.count_nonzero(dense["confusion"])
    rows = [
        {r.key: r.value for r in evaluation.evaluate({"test": a}, SETTINGS, Trained())}
        for a in (dense, sparse, lattice)
    ]

    def same(a, b):
        return all(x == b[k] or (x != x and b[k] != b[k]) for k, x in a.items())

    assert same(rows[0], rows[1])
    no_auc = [{k: v for k, v in r.items() if "pixel_auc" not in str(k)} for r in rows]
    assert same(no_auc[0], no_auc[2])
    counted = [int(a["auc_counts"].astype(np.int64).sum()) for a in (sparse, lattice)]
    # rows 4, 7, 10 (1 is ignored) and columns 1, 4, ... 13
    assert counted == [12 * 160 * 7, 12 * 3 * 5 * 7]


def test_an_odd_lattice_is_not_biased(registered):
    """Scores enlarged eightfold: an odd stride counts as all pixels do, 4 meets the same phases always."""
    import torch

    from tasks.longtail_seg.sketch import SegSketch

    def value(stride):
        generator = torch.Generator().manual_seed(0)
        sketch = SegSketch(4, [[0, 0, 0]] * 4, [], auc_stride=stride)
        for _ in range(24):
            small = torch.randint(4, (1, 4, 4), generator=generator)
            label = small.repeat_interleave(32, 1).repeat_interleave(32, 2)
            noise = torch.randn(1, 4, 16, 16, generator=generator)
            logits = torch.nn.functional.interpolate(noise, scale_factor=8, mode="bilinear")[0]
            logits.scatter_add_(0, label, torch.ones(1, 128, 128))
            sample = {"gt_sem_seg": {"data": label}, "seg_logits": {"data": logits}}
            sketch.process({}, [sample])
        return sketch._auc.compute().value

    every = value(1)
    assert value(5) == pytest.approx(every, abs=2e-3)
    assert abs(value(4) - every) > 3e-3


def test_a_sparse_confusion_is_resampled_as_the_dense_one(registered):
    units = [resampling.units({"test": a}, SETTINGS, Trained()) for a in _sketches()[:2]]
    weights = np.random.default_rng(0).integers(0, 3, (5, 12))
    assert units[0].digest == units[1].digest
    assert units[0].count == units[1].count == 12
    for key, values in units[0].score(weights).items():
        assert np.array_equal(values, units[1].score(weights)[key], equal_nan=True)


def test_the_ham_head_draws_alike_when_testing(registered):
    import torch
    from mmseg.registry import MODELS

    head = MODELS.build(
        dict(
            type="SeededHamHead",
            in_channels=[32, 32],
            in_index=[0, 1],
            channels=32,
            ham_channels=32,
            ham_kwargs=dict(MD_R=4),
            num_classes=5,
            norm_cfg=dict(type="GN", num_groups=32),
        )
    )
    inputs = [torch.rand(2, 32, 8, 8), torch.rand(2, 32, 4, 4)]
    head.eval()
    with torch.no_grad():
        state = torch.get_rng_state()
        one, two = head(inputs), head(inputs)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(one, two)
        head.train()
        head(inputs)
        assert not torch.equal(torch.get_rng_state(), state)


def test_large_samples_are_rendered_small(registered):
    import io

    from tasks.longtail_seg.sketch import SegSketch

    sketch = SegSketch(2, [[0, 0, 0], [255, 0, 0]], [0])
    image = np.zeros((8, 16, 3), np.uint8)
    label = np.zeros((1024, 2048), np.uint8)
    made = Image.open(io.BytesIO(sketch._render(image, label, label)))
    assert made.size == (3 * 1024, 512)
