"""longtail-seg at the papers' scale: copies in the official layouts, protocols, networks, sketches.

The copies are a few pictures of 64x64 noise; the counts expected are made small to match.
"""

import ast
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from suite.base import settings
from suite.base.errors import DataError, RecordError
from suite.define.card import resolve
from suite.define.catalog import Catalog
from suite.define.task import Trained
from tasks.longtail_seg import evaluation, resampling
from tasks.longtail_seg.networks import NETWORKS
from tasks.longtail_seg.protocols import PROTOCOLS
from tasks.longtail_seg.schedules import SCHEDULES
from tasks.vision import groups as profiles
from tasks.vision.data import ade20k, cityscapes, coco_stuff, official, survey

SPECS = {spec.name: spec for spec in (ade20k.SPEC, cityscapes.SPEC, coco_stuff.SPEC)}
COUNTS = {"train": 4, "val": 3}
SIZES = ((64, 64), (48, 64), (64, 80), (56, 56))  # (height, width)
CITIES = ("aachen", "bochum")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def make(spec, folder, form=None):
    """A copy of `COUNTS` pictures; labels are blocks of random ids of the form, 255 among them."""
    form = form or spec.labels[0]
    random = np.random.default_rng(0)
    ids = np.array(sorted(form.table), np.uint8)
    for split, part in spec.splits.items():
        for k in range(COUNTS[split]):
            height, width = SIZES[k]
            key = f"{CITIES[k % 2]}/{split}_{k}" if spec.nested else f"{split}_{k}"
            image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            blocks = random.choice(ids, (height // 8, width // 8))
            save(folder / part.images / f"{key}{spec.image_suffix}", image)
            label = blocks.repeat(8, 0).repeat(8, 1).astype(np.uint8)
            save(folder / part.labels / f"{key}{form.suffix}", label)
    return folder


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    for spec in SPECS.values():
        for split, part in spec.splits.items():
            few = official.Split(images=part.images, labels=part.labels, count=COUNTS[split])
            monkeypatch.setitem(spec.splits, split, few)


@pytest.fixture(params=SPECS)
def copy(request, tmp_path):
    """(spec, folder) of a whole copy of each data set."""
    spec = SPECS[request.param]
    return spec, make(spec, tmp_path / "data" / spec.folders[1])


@pytest.fixture
def ade(tmp_path):
    return make(ade20k.SPEC, tmp_path / "ADEChallengeData2016")


def first(folder, spec, split="train"):
    return official.pairs(spec, folder, split)[0]


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


def test_groups_are_the_sheets_tail_and_a_third_of_the_rest():
    sizes = {name: (len(s.classes), len(s.tail), s.head) for name, s in SPECS.items()}
    assert sizes == {
        "ade20k": (150, 124, 9),
        "cityscapes": (19, 7, 4),
        "coco-stuff164k": (171, 123, 16),
    }
    for spec in (ade20k.SPEC, cityscapes.SPEC):
        assert sorted(sum(spec.groups.values(), ())) == list(range(len(spec.classes)))
        assert sorted(spec.by_pixels) == list(spec.rest)
    names = cityscapes.SPEC.classes
    groups = {g: [names[c] for c in members] for g, members in cityscapes.SPEC.groups.items()}
    assert groups["head"] == ["road", "building", "vegetation", "car"]
    assert groups["tail"] == [
        "traffic light", "rider", "truck", "bus", "train", "motorcycle", "bicycle",
    ]  # fmt: skip
    assert coco_stuff.SPEC.groups == {"tail": coco_stuff.SPEC.tail}
    assert coco_stuff.SPEC.classes[169] == "window-other"
    assert 169 not in coco_stuff.SPEC.tail


def test_groups_by_counted_pixels():
    made = profiles.groups_beside_tail(6, (1, 5), 2, [3, 99, 7, 7, 1, 0])
    assert made == {"head": (2, 3), "medium": (0, 4), "tail": (1, 5)}
    with pytest.raises(ValueError, match="of 5 classes, expected 6"):
        profiles.groups_beside_tail(6, (1, 5), 2, [1] * 5)


def test_id_tables():
    reduced = ade20k.SPEC.labels[0].table
    assert (reduced[0], reduced[1], reduced[150], len(reduced)) == (255, 0, 149, 151)
    ids = cityscapes.SPEC.labels[1].table
    named = {7: "road", 11: "building", 19: "traffic light", 26: "car", 31: "train", 33: "bicycle"}
    assert {i: cityscapes.SPEC.classes[ids[i]] for i in named} == named
    assert [i for i in range(34) if ids[i] == 255] == [
        0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30,
    ]  # fmt: skip


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


def test_protocols_are_the_sheets():
    mine = {p.name: p for p in PROTOCOLS if p.dataset.name in SPECS}
    assert len(mine) == len(SPECS) * len(NETWORKS) == 51
    assert len({p.hash for p in PROTOCOLS}) == len(PROTOCOLS)
    budgets = {name: mine[f"{name}:segnext-l"].budget for name in SPECS}
    assert {n: (b.iterations, b.batch) for n, b in budgets.items()} == {
        "ade20k": (160_000, 4),
        "cityscapes": (160_000, 2),
        "coco-stuff164k": (80_000, 4),
    }
    assert "windows of 1024 at a stride of 768" in mine["cityscapes:segformer-b0"].test
    assert "whole image" in mine["ade20k:segformer-b0"].test
    catalog = Catalog.load()
    task = catalog.task("longtail-seg")
    for name in SPECS:
        assert catalog.protocol(task, name).name == f"{name}:segnext-l"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ade20k", (4.0, 5, 0.05, 0.4)),
        ("cityscapes", (1.0, 5, 1.0, 1.0)),
        ("coco-stuff164k", (1.0, 5, 0.05, 0.1)),
        ("quick", (1.0, 5, 1.0, 1.0)),
    ],
)
def test_aucsegs_defaults_are_the_sheets(name, expected):
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("longtail-seg"), name)
    keys = ("auc_weight", "memory_size", "sample_ratio", "resize_ratio")
    for method in ("aucseg", "aucseg-exp"):
        found = resolve(catalog.card(method), method, protocol.name, {})
        assert tuple(found[key] for key in keys) == expected


# -- copies


def test_a_whole_copy_is_found_from_the_folder_and_from_above(copy):
    spec, folder = copy
    above = folder.parents[len(Path(spec.folders[1]).parts) - 1]
    assert official.find(spec, folder) == official.find(spec, above) == folder
    assert survey.check(spec, folder, True, settings.cache_dir()) == []


def test_no_folder_and_other_things(copy, tmp_path):
    spec, _ = copy
    with pytest.raises(DataError, match="there is no folder"):
        official.find(spec, tmp_path / "none")
    (tmp_path / "other" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds it: expected .* found in .*: images"):
        official.find(spec, tmp_path / "other")


def test_a_half_extracted_archive_says_what_is_missing(copy):
    spec, folder = copy
    part = spec.splits["train"]
    shutil.rmtree(folder / spec.splits["val"].labels)
    for pair in official.pairs(spec, folder, "train")[2:]:
        pair.image.unlink()
        pair.label.unlink()
    with pytest.raises(DataError, match=f"{part.images}/ holds 2 of 4 images") as raised:
        official.find(spec, folder)
    assert "is not whole" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert f"folder {spec.splits['val'].labels}/ is missing" in survey.check(
        spec, folder, False, settings.cache_dir()
    )


def test_a_missing_annotation_and_a_missing_picture(copy):
    spec, folder = copy
    pair, other = official.pairs(spec, folder, "train")[:2]
    pair.label.unlink()
    other.image.unlink()
    problems = survey.check(spec, folder, False, settings.cache_dir())
    relative = pair.image.relative_to(folder).as_posix()
    assert any(p.startswith(f"{relative} has no label ") for p in problems)
    assert any(p.startswith(other.label.relative_to(folder).as_posix()) for p in problems)
    with pytest.raises(DataError, match=pair.image.name):
        official.pairs(spec, folder, "train")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


BAD = {
    "damaged image": ("image", truncate, "cannot be read as an image"),
    "damaged label": ("label", truncate, "cannot be read as an image"),
    "other ids": ("label", lambda p: save(p, np.full((64, 64), 200, np.uint8)), "outside .*: 200"),
    "coloured label": (
        "label",
        lambda p: save(p, np.zeros((64, 64, 3), np.uint8)),
        "no label image: mode RGB",
    ),
    "smaller label": (
        "label",
        lambda p: save(p, np.full((32, 32), 7, np.uint8)),
        "is 64x64, its label .* is 32x32",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_named_by_the_deep_check_and_by_the_reader(copy, bad):
    spec, folder = copy
    which, spoil, message = BAD[bad]
    pair = first(folder, spec)
    spoil(getattr(pair, which))
    assert survey.check(spec, folder, False, settings.cache_dir()) == []
    (problem,) = survey.check(spec, folder, True, settings.cache_dir())
    assert str(getattr(pair, which)) in problem
    with pytest.raises(DataError, match=message):
        official.read_pair(pair)
    if which == "label" and bad != "smaller label":
        with pytest.raises(DataError, match=message):
            survey.statistics(spec, folder, "train", settings.cache_dir() / bad)


def test_of_many_bad_files_the_first_are_named(ade, monkeypatch):
    monkeypatch.setattr(survey, "_SHOWN", 2)
    for pair in official.pairs(ade20k.SPEC, ade, "train"):
        save(pair.label, np.full(SIZES[0], 151, np.uint8))
    problems = survey.check(ade20k.SPEC, ade, True, settings.cache_dir())
    assert problems[2:] == ["2 more pictures with ids outside the class list"]


@pytest.mark.parametrize("spec", [cityscapes.SPEC, coco_stuff.SPEC], ids=lambda s: s.name)
def test_original_ids_give_what_converted_ones_do(spec, tmp_path):
    converted, plain = spec.labels
    folder = make(spec, tmp_path / "copy", plain)
    assert survey.check(spec, folder, True, settings.cache_dir()) == []
    before = [official.read_pair(p)[1] for p in official.pairs(spec, folder, "train")]
    for split in spec.splits:
        for pair in official.pairs(spec, folder, split):
            assert pair.form is plain
            label = official.read_label(pair.label, plain)
            name = pair.label.name.removesuffix(plain.suffix) + converted.suffix
            save(pair.label.with_name(name), label)
    after = official.pairs(spec, folder, "train")
    assert all(p.form is converted for p in after)
    for one, pair in zip(before, after, strict=True):
        assert np.array_equal(one, official.read_pair(pair)[1])
    # one of them gone: the originals, which are whole, are read
    after[0].label.unlink()
    assert all(p.form is plain for p in official.pairs(spec, folder, "train"))
    assert survey.check(spec, folder, False, settings.cache_dir()) == []


def test_data_check_on_the_command_line(ade, inside):
    root = ("--data-root", str(ade.parent))
    done = inside("data", "check", "ade20k", *root)
    assert (done.returncode, done.stdout) == (0, "ade20k: sound\n")
    pair = first(ade, ade20k.SPEC, "val")
    truncate(pair.label)
    done = inside("data", "check", "ade20k", *root)
    assert done.returncode == 2
    assert pair.label.name in done.stdout
    assert inside("data", "check", "ade20k", "--quick", *root).returncode == 0
    # of the others nothing is there, and nobody asked
    everything = inside("data", "check", "--quick", *root)
    assert everything.returncode == 0
    assert "ade20k: sound" in everything.stdout
    assert "cityscapes: Cityscapes: none of" in everything.stdout


def test_progress_is_logged(ade, caplog):
    logger = logging.getLogger("longtail_suite.data")
    logger.propagate = True
    with caplog.at_level(logging.INFO, "longtail_suite.data"):
        survey.check(ade20k.SPEC, ade, True, settings.cache_dir())
    assert "ADE20K train: 4 of 4 pictures" in caplog.messages


# -- statistics


def test_statistics_are_the_labels_and_are_kept(copy, monkeypatch, tmp_path):
    spec, folder = copy
    labels = [official.read_pair(p)[1] for p in official.pairs(spec, folder, "train")]
    counts = np.stack([np.bincount(x.ravel(), minlength=256) for x in labels])
    expected = counts[:, : len(spec.classes)]
    assert counts[:, 255].sum() > 0
    made = survey.statistics(spec, folder, "train", tmp_path / "cache")
    assert np.array_equal(made.pixels, expected.sum(0))
    assert np.array_equal(made.presence, expected > 0)
    calls = []
    monkeypatch.setattr(survey, "_examine", lambda *a: calls.append(a))
    again = survey.statistics(spec, folder, "train", tmp_path / "cache")
    assert calls == []
    assert again.sha256 == made.sha256
    assert np.array_equal(again.pixels, made.pixels)
    assert np.array_equal(again.presence, made.presence)


def test_statistics_follow_the_files(ade, tmp_path):
    before = survey.statistics(ade20k.SPEC, ade, "train", tmp_path)
    pair = first(ade, ade20k.SPEC)
    label = np.array(Image.open(pair.label))
    label[:8, :8] = 150
    save(pair.label, label)
    after = survey.statistics(ade20k.SPEC, ade, "train", tmp_path)
    assert after.sha256 != before.sha256
    assert after.pixels[149] > 0
    # another encoding of the same ids is the same data
    Image.fromarray(label).save(pair.label, compress_level=0)
    assert survey.statistics(ade20k.SPEC, ade, "train", tmp_path).sha256 == after.sha256


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_damaged_cache_is_counted_anew(ade, tmp_path, content):
    made = survey.statistics(ade20k.SPEC, ade, "train", tmp_path)
    (kept,) = tmp_path.rglob("*.npz")
    if content is None:
        np.savez(kept, pixels=np.zeros(3), presence=np.zeros((2, 2)), sha256=np.zeros(1))
    else:
        kept.write_bytes(content)
    assert survey.statistics(ade20k.SPEC, ade, "train", tmp_path).sha256 == made.sha256


def test_a_cache_that_cannot_be_written_is_done_without(ade, tmp_path):
    (tmp_path / "file").write_text("")
    made = survey.statistics(ade20k.SPEC, ade, "train", tmp_path / "file")
    assert made.pixels.sum() > 0


def test_a_deep_check_leaves_the_statistics(ade, tmp_path, monkeypatch):
    before = survey.statistics(ade20k.SPEC, ade, "train", tmp_path / "other")
    assert survey.check(ade20k.SPEC, ade, True, tmp_path / "cache") == []
    monkeypatch.setattr(survey, "_examine", None)
    for split in ade20k.SPEC.splits:
        known = survey.statistics(ade20k.SPEC, ade, split, tmp_path / "cache")
        assert split == "val" or known.sha256 == before.sha256


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


def test_ade20ks_zero_is_ignored(ade):
    label = np.zeros((64, 64), np.uint8)
    label[:32], label[32] = 1, 150
    pair = first(ade, ade20k.SPEC)
    save(pair.label, label)
    read = official.read_label(pair.label, pair.form)
    assert (read[:32] == 0).all()
    assert (read[32] == 149).all()
    assert (read[33:] == 255).all()


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


SETTINGS = {
    "classes": list("abcdefg"),
    "groups": {"head": [0], "medium": [1, 2, 6], "tail": [3, 4, 5]},
    "group_rule": "",
}


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("confusion_pixels", None),
        ("confusion_pixels", np.ones(3, np.uint32)),
        ("confusion_pixels", np.ones((2, 2), np.uint32)),
        ("confusion_pixels", np.array([-1, 1], np.int64)),
        ("confusion_cells", np.array([0, 49], np.uint32)),
        ("confusion_cells", np.array([0.0, 1.0])),
        ("confusion_images", np.array([1, 2], np.uint32)),
        ("confusion_images", np.array([3, -1], np.int64)),
    ],
)
def test_sparse_arrays_of_another_form(name, value):
    arrays = {
        "confusion_cells": np.array([0, 8], np.uint32),
        "confusion_pixels": np.array([5, 6], np.uint32),
        "confusion_images": np.array([2, 0], np.uint32),
    }
    assert evaluation.confusion({"test": arrays}, SETTINGS, Trained()).sum() == 11
    arrays[name] = value
    if value is None:
        del arrays[name]
    for function in (evaluation.confusion, resampling.units):
        with pytest.raises(RecordError, match="confusion"):
            function({"test": arrays}, SETTINGS, Trained())


def test_coco_stuffs_groups_come_from_the_recorded_counts():
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("longtail-seg"), "coco-stuff164k")
    about = evaluation.settings(protocol)
    assert set(about["groups"]) == {"tail"}
    counts = list(range(171, 0, -1))
    groups = profiles.resolve_groups(about, counts)
    assert groups["head"] == list(coco_stuff.SPEC.rest[:16])
    assert groups["medium"] == list(coco_stuff.SPEC.rest[16:])
    with pytest.raises(RecordError, match="training counts"):
        profiles.resolve_groups(about, [])
    # of the others nothing is asked
    quick = catalog.protocol(catalog.task("longtail-seg"), "quick")
    assert set(evaluation.settings(quick)) == {"classes", "groups", "group_rule"}


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
