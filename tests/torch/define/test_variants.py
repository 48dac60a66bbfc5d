"""Protocols that users bring: a config file of their own, initial weights, and what may be wrong with them."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from suite.base import settings
from suite.base.errors import DataError, UserError
from suite.define import variants
from suite.define.bring import adopt, bring, keep
from suite.define.catalog import Catalog
from suite.define.variants import Initial, Variant, Weights
from suite.exchange.review.examine import _protocols
from suite.records.lookup import all_attempts
from tasks.longtail_seg.settings import taken
from tasks.longtail_seg.variants import make
from tasks.vision.initial import InitialWeightsHook, fit

CONFIG = """\
norm = dict(type="SyncBN", requires_grad=True)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor", mean=[100.0] * 3, std=[50.0] * 3, bgr_to_rgb=True,
        pad_val=0, seg_pad_val=255, size=(32, 32),
    ),
    pretrained=None,
    backbone=dict(
        type="ResNet", depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1),
        out_indices=(0, 1), stem_channels=4, base_channels=4, norm_cfg=norm,
    ),
    decode_head=dict(
        type="FCNHead", in_channels=8, in_index=1, channels=4, num_convs=1, concat_input=False,
        dropout_ratio=0.0, num_classes=19, norm_cfg=norm, align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=1.0, class_weight=[2.0] * 19),
    ),
    auxiliary_head=dict(
        type="FCNHead", in_channels=4, in_index=0, channels=4, num_convs=1, concat_input=False,
        num_classes=19, norm_cfg=norm, align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="slide", crop_size=(16, 16), stride=(8, 8)),
)
optimizer = dict(type="SGD", lr=0.0, momentum=0.9, weight_decay=0.0)
optim_wrapper = dict(type="OptimWrapper", optimizer=optimizer, clip_grad=None)
param_scheduler = [dict(type="PolyLR", eta_min=0.0, power=0.9, begin=0, end=3, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=3, val_interval=2000)
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    dataset=dict(
        type="CityscapesDataset",
        data_root="nowhere",
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations"),
            dict(type="RandomCrop", crop_size=(32, 32), cat_max_ratio=0.9),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackSegInputs"),
        ],
    ),
)
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=2000))
custom_hooks = [dict(type="EMAHook")]
load_from = None
resume = False
"""
SMOKE = ("--task", "longtail-seg", "--protocol", "smoke")


def written(folder: Path, text: str = CONFIG, name: str = "my_cfg.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def replaced(old: str, new: str) -> str:
    assert CONFIG.count(old) == 1, old
    return CONFIG.replace(old, new)


@pytest.fixture(scope="module")
def installed():
    return Catalog.load()


@pytest.fixture(scope="module")
def brought(installed, tmp_path_factory):
    """`brought(config, pretrained, root, protocol)`: what a command line would bring; nothing is written."""
    nowhere = tmp_path_factory.mktemp("nowhere")

    def call(config=None, pretrained=None, root=nowhere, protocol="smoke"):
        catalog = installed.at(root)
        task = catalog.task("longtail-seg")
        under = catalog.protocol(task, protocol)
        return bring(catalog, task, under, root, config, pretrained)

    return call


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of `ce` with a config and weights of the user's own: (folder, its variant's file, stderr)."""
    folder = tmp_path_factory.mktemp("variants")
    written(folder)
    save_file(backbone(4), folder / "start.safetensors")
    command = [sys.executable, "-m", "suite", "run", *SMOKE, "--method", "ce", "--workers", "1"]
    ended = subprocess.run(
        [*command, "--base-config", "my_cfg.py", "--pretrained", "start.safetensors"],
        cwd=folder, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (path,) = variant_files(folder / "results")
    return folder, read_json(path), ended.stderr


def backbone(channels: int, depth: int = 18) -> dict[str, torch.Tensor]:
    """State of the config's backbone, drawn anew."""
    from mmseg.registry import MODELS

    torch.manual_seed(7)
    net = MODELS.build(
        dict(
            type="mmseg.ResNet", depth=depth, num_stages=2, strides=(1, 2), dilations=(1, 1),
            out_indices=(0, 1), stem_channels=channels, base_channels=channels,
        )
    )  # fmt: skip
    return {key: value.contiguous() for key, value in net.state_dict().items()}


def variant_files(root: Path) -> list[Path]:
    return sorted((root / "protocols").iterdir())


# -- the round trip


def test_a_variant_is_known_from_the_root_alone(done, inside):
    folder, variant, said = done
    root, name = folder / "results", variant["name"]
    sha = hashlib.sha256((folder / "start.safetensors").read_bytes()).hexdigest()
    assert re.fullmatch(f"smoke:my_cfg-[0-9a-f]{{8}},pretrained-{sha[:8]}", name)
    assert [path.name for path in (root / "weights").iterdir()] == [f"{sha}.safetensors"]
    assert f"protocol {name} (" in said
    assert "initial weights" in said and "50 of 50 tensors" in said
    assert "not taken" in said and "custom_hooks" in said
    where = "--root", str(root)
    board = inside("leaderboard", "--task", "longtail-seg", *where, "--format", "json")
    (row,) = (row for row in json.loads(board.stdout)["rows"] if row["state"] == "done")
    assert row["protocol"] == name
    (run,) = row["runs"]
    assert inside("show", run, *where).returncode == 0
    again = inside("evaluate", run, "--again", *where)
    assert again.stdout.startswith("1 evaluation(s) made"), again.stdout + again.stderr
    verified = inside("verify", run, *where)
    assert verified.returncode == 0, verified.stdout
    listed = json.loads(inside("tasks", "--format", "json", *where).stdout)["rows"]
    variants = {p["name"]: p["variant"] for one in listed for p in one["protocols"] if p["variant"]}
    assert variants.keys() == {name}
    assert variants[name]["weights"]["source"] == str(folder / "start.safetensors")
    assert name in inside("tasks", *where).stdout


def test_another_shell_goes_on_with_it_by_name(done, suite):
    folder, variant, _ = done
    for name in (variant["name"], "smoke:my_cfg"):
        planned = suite(
            "plan", "--task", "longtail-seg", "--protocol", name, "--seeds", "0,1", "--method", "ce",
            "--root", str(folder / "results"), "--format", "json",
        )  # fmt: skip
        assert planned.returncode == 0, planned.stderr
        assert [item["todo"] for item in json.loads(planned.stdout)["rows"]] == ["done", "new"]


def read_json(path: Path):
    return json.loads(path.read_text())


def test_the_weights_given_are_where_training_starts(done):
    folder, *_ = done
    (attempt,) = all_attempts(folder / "results")
    end = load_file(attempt.weights)
    # at a learning rate of 0 nothing but BatchNorm's statistics moves
    moving = ("running_mean", "running_var", "num_batches_tracked")
    for key, value in load_file(folder / "start.safetensors").items():
        assert torch.equal(end[f"backbone.{key}"], value) != key.endswith(moving), key


def test_the_record_says_what_was_trained(done):
    for attempt in all_attempts(done[0] / "results"):
        record = attempt.record()
        assert record.cost.iterations == 3
        assert record.cost.samples_seen == 6
        assert attempt.predictions()["test"]["confusion"].shape[1:] == (11, 11)


def test_the_config_of_a_variant(done, inside, plain_dumps):
    folder, variant, _ = done
    name = variant["name"]
    printed = inside(
        "config", "--task", "longtail-seg", "--method", "ce", "--protocol", name,
        "--root", str(folder / "results"),
    )  # fmt: skip
    assert printed.returncode == 0, printed.stderr
    assert "InitialWeightsHook" in printed.stdout
    assert "base_channels': 4" in printed.stdout
    assert "test_pipeline" in printed.stdout
    before = sorted(folder.rglob("*"))
    shown = inside(
        "config", "--task", "longtail-seg", "--method", "ce", "--protocol", "smoke",
        "--base-config", str(folder / "my_cfg.py"), "--root", str(folder / "other"),
    )  # fmt: skip
    assert "base_channels': 4" in shown.stdout
    assert sorted(folder.rglob("*")) == before


def test_a_plan_writes_nothing(inside, tmp_path):
    written(tmp_path)
    planned = inside("plan", *SMOKE, "--base-config", "my_cfg.py", "--method", "ce")
    assert planned.returncode == 0, planned.stderr
    assert not (tmp_path / "results").exists()
    dry = inside("run", *SMOKE, "--base-config", "my_cfg.py", "--method", "ce", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not (tmp_path / "results").exists()


# -- what a config file gives


def test_what_is_taken_and_what_stays(brought, installed, tmp_path):
    made = brought(written(tmp_path)).protocol
    task = installed.task("longtail-seg")
    base = installed.protocol(task, "smoke")
    same = {"data", "split", "test", "init", "precision", "selection", "replicate", "revision"}
    assert {key for key in same if made.identity[key] != base.identity[key]} == set()
    assert made.identity["budget"] == {"iterations": 3, "batch": 2}
    assert made.backbone == "ResNet"
    assert made.augmentation == "RandomCrop, RandomFlip"
    assert task.evaluation_hash(made) == task.evaluation_hash(base)
    from suite.base.settings import cache_dir

    cfg, facts = made.build(cache_dir())
    before, _ = base.build(cache_dir())
    assert (facts.iterations, facts.batch) == (3, 2)
    for kept in ("test_dataloader", "test_evaluator", "prediction_dataloaders"):
        assert cfg[kept] == before[kept]
    model = cfg["model"]
    assert model["test_cfg"] == before["model"]["test_cfg"]
    assert model["decode_head"]["num_classes"] == model["auxiliary_head"]["num_classes"] == 11
    assert model["decode_head"]["loss_decode"] == before["model"]["decode_head"]["loss_decode"]
    assert model["auxiliary_head"]["loss_decode"]["loss_weight"] == 0.4
    assert model["backbone"]["norm_cfg"]["type"] == "BN"
    assert model["data_preprocessor"]["size"] == (32, 32)
    assert model["backbone"]["strides"] == (1, 2)
    steps = [step["type"] for step in cfg["train_dataloader"]["dataset"]["pipeline"]]
    assert steps == ["RandomCrop", "RandomFlip", "PackSegInputs"]
    assert "sample_id" in cfg["train_dataloader"]["dataset"]["pipeline"][-1]["meta_keys"]


def test_part_of_a_config(brought, tmp_path):
    text = "train_dataloader = dict(batch_size=4)\n"
    made = brought(written(tmp_path, text)).protocol
    assert made.identity["budget"] == {"iterations": 20, "batch": 4}
    assert made.backbone == "resnet18-3stage-w8"


def test_equal_content_is_one_protocol_and_a_change_another(brought, tmp_path):
    first = brought(written(tmp_path / "a"))
    other = "# a comment\n" + CONFIG.replace('type="SyncBN"', 'type="BN"')
    second = brought(written(tmp_path / "b", other, "Other Name.py"))
    assert first.protocol.hash == second.protocol.hash
    for old, new in (
        ("lr=0.0", "lr=0.1"),
        ("max_iters=3", "max_iters=4"),
        ("batch_size=2", "batch_size=3"),
        ("prob=0.5", "prob=0.25"),
        ("stem_channels=4", "stem_channels=8"),
        ("power=0.9, begin", "power=1.0, begin"),
    ):
        changed = brought(written(tmp_path / "c", replaced(old, new)))
        assert changed.protocol.hash != first.protocol.hash, old
        assert changed.protocol.name != first.protocol.name, old
    assert brought(written(tmp_path / "a"), protocol="quick").protocol.hash != first.protocol.hash


def test_equal_content_keeps_its_first_name_in_a_root(brought, tmp_path):
    root = tmp_path / "root"
    first = brought(written(tmp_path / "a"), root=root)
    keep(first, root)
    second = brought(written(tmp_path / "b", name="other.py"), root=root)
    assert second.protocol.name == first.protocol.name
    keep(second, root)
    assert len(variant_files(root)) == 1


def test_methods_keep_their_defaults_under_a_variant(installed, brought, tmp_path):
    catalog = brought(written(tmp_path, name="aucseg.py"), protocol="quick").catalog
    task = catalog.task("longtail-seg")
    made = next(p for p in task.protocols if p.hash in catalog.variants)
    quick = catalog.protocol(task, "quick")
    for method in catalog.methods("longtail-seg"):
        assert catalog.resolve(method, made, {}) == catalog.resolve(method, quick, {})


def test_names(brought, installed, tmp_path):
    made = brought(written(tmp_path), protocol="camvid:half,fcn-r18")
    assert made.protocol.name.startswith("camvid:half,my_cfg-")
    text = "train_dataloader = dict(batch_size=3)\n"
    kept = brought(written(tmp_path / "b", text), protocol="camvid:half,fcn-r18")
    assert kept.protocol.name.startswith("camvid:half,fcn-r18,my_cfg-")
    task = made.catalog.task("longtail-seg")
    assert made.catalog.protocol(task, "camvid:half,my_cfg") is made.protocol
    assert made.catalog.protocol(task, made.protocol.name) is made.protocol
    # what meant a protocol of the suite still does
    assert made.catalog.protocol(task, "camvid:half").name == "camvid:half,segformer-b0"
    with pytest.raises(UserError, match="did you mean"):
        made.catalog.protocol(task, made.protocol.name[:-1])


def test_with_a_validation_set(brought, tmp_path):
    """What is brought under a carved protocol is the carved one of what is brought under the whole."""
    root = tmp_path / "root"
    carved = brought(written(tmp_path), root=root, protocol="smoke:carved")
    whole = brought(written(tmp_path), root=root)
    assert carved.protocol.name == f"{whole.protocol.name}:carved"
    assert carved.protocol.hash == whole.protocol.carved.hash != whole.protocol.hash
    assert carved.protocol.split.endswith("+val-0.2-seed0-rule1")
    keep(carved, root)
    # its file is that of the whole
    assert [path.stem for path in variant_files(root)] == [whole.protocol.hash]
    catalog = Catalog.load().at(root)
    task = catalog.task("longtail-seg")
    assert catalog.protocol(task, "smoke:my_cfg:carved").hash == carved.protocol.hash
    assert catalog.protocol_with(carved.protocol.hash, carved.protocol.name) is not None
    config, facts = carved.protocol.build(settings.cache_dir())
    assert config["train_dataloader"]["dataset"]["carved"]["part"] == "train"
    assert config["prediction_dataloaders"]["val"]["dataset"]["carved"]["part"] == "val"
    assert facts.iterations == 3 and config["model"]["backbone"]["stem_channels"] == 4
    # a folder that holds runs of the carved one alone brings the file
    spec = catalog.spec("ce", carved.protocol)
    made, problems = _protocols(root, [spec], Catalog.load())
    assert list(made) == [whole.protocol.hash] and problems == []
    assert (
        _protocols(
            root,
            [msgspec.structs.replace(spec, protocol="x", protocol_hash="0" * 12)],
            Catalog.load(),
        )[0]
        == {}
    )


def test_one_word_that_names_two_variants_is_refused(brought, tmp_path):
    root = tmp_path / "root"
    for number in (4, 5):
        keep(
            brought(written(tmp_path, f"train_dataloader = dict(batch_size={number})"), root=root),
            root,
        )
    with pytest.raises(UserError, match=r"which of smoke:my_cfg-.*, smoke:my_cfg-"):
        brought(root=root, config=written(tmp_path), protocol="smoke:my_cfg")


def test_weights_upon_a_variant_with_a_config(brought, tmp_path):
    root = tmp_path / "root"
    first = brought(written(tmp_path), root=root)
    keep(first, root)
    save_file(backbone(4), tmp_path / "w.safetensors")
    upon = brought(pretrained=tmp_path / "w.safetensors", root=root, protocol=first.protocol.name)
    both = brought(written(tmp_path), tmp_path / "w.safetensors", root=root)
    assert upon.protocol.hash == both.protocol.hash
    assert upon.protocol.name.startswith(f"{first.protocol.name},pretrained-")


@pytest.mark.parametrize(
    "name", ["segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", "fcn/fcn_r18-d8_4xb2-80k_cityscapes-769x769.py"]
)  # fmt: skip
def test_configs_as_mmsegmentation_ships_them(name, brought, tmp_path, monkeypatch):
    import mmseg

    path = Path(mmseg.__file__).parent / ".mim" / "configs" / name
    with pytest.raises(
        UserError, match=r"names initial weights .*--pretrained PATH, or set it to None"
    ):
        brought(path)
    # with weights given, those of the file are left out; here only whether the rest is taken
    monkeypatch.setattr("tasks.vision.initial.fit", lambda path, backbone: ({}, []))
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    made = brought(path, tmp_path / "w.safetensors").protocol
    assert made.budget.iterations in (160_000, 80_000)
    assert "Photo" in made.augmentation


# -- what may be wrong with a config file

OLD = """\
img_norm_cfg = dict(mean=[1.0], std=[1.0])
model = dict(type="EncoderDecoder")
data = dict(samples_per_gpu=2, train=dict(type="ADE20KDataset"))
optimizer = dict(type="SGD", lr=0.01)
lr_config = dict(policy="poly")
runner = dict(type="IterBasedRunner", max_iters=10)
"""
BAD = {
    "0.x": (OLD, "mmsegmentation 0.x; in 1.x: data -> train_dataloader"),
    "0.x names each key": (OLD, "lr_config -> param_scheduler"),
    "syntax": (CONFIG + "x = (\n", f"my_cfg.py:{CONFIG.count(chr(10)) + 1}: SyntaxError"),
    "name": ("a = 1\nb = undefined\n", "my_cfg.py:2: NameError: name 'undefined'"),
    "exit": ("import sys\n\nsys.exit(3)\n", "my_cfg.py"),
    "base": ("_base_ = ['./none.py']\n", "none.py"),
    "nothing": ("a = 1\n", "has none of model, optim_wrapper"),
    "load_from": (replaced("load_from = None", "load_from = 'a.pth'"), "load_from = 'a.pth'"),
    "resume": (replaced("resume = False", "resume = True"), "resume = True"),
    "lambda": (
        replaced("depth=18", "depth=lambda: 18"),
        "model.backbone.depth: is a function (<lambda>)",
    ),
    "object": (replaced("prob=0.5", "prob={1, 2}"), "pipeline.1.prob: is a set"),
    "inf": (replaced("lr=0.0,", "lr=float('inf'),"), "optim_wrapper.optimizer.lr: is inf"),
    "type": (
        replaced('type="ResNet"', 'type="ResNt"'),
        "model.backbone.type: 'ResNt' is not registered in mmsegmentation; did you mean ResNet",
    ),
    "transform": (replaced("RandomFlip", "RandomFlp"), "pipeline.1.type: 'RandomFlp' is not regist"),
    "optimizer": (replaced('type="SGD"', 'type="SGDD"'), "optimizer.type: 'SGDD' is not registered"),
    "own code": (
        replaced('type="ResNet"', 'type="MyNet"') + "custom_imports = dict(imports=['mynet'])\n",
        "types of your own code (custom_imports) are not taken",
    ),
    "argument": (replaced("depth=18", "depth=18, dept=1"), "unexpected keyword argument 'dept'"),
    "channels": (replaced("in_channels=8", "in_channels=16"), "to have 16 channels"),
    "loss": (replaced("lr=0.0", "learning_rate=0.0"), "learning_rate"),
    "epochs": (replaced("end=3, by_epoch=False", "end=3"), "param_scheduler.0: counts epochs"),
    "epoch loop": (
        replaced('type="IterBasedTrainLoop", max_iters=3', 'type="EpochBasedTrainLoop", max_epochs=3'),
        "budgets are iterations",
    ),
    "half a schedule": (replaced("train_cfg = dict(type", "tr = dict(type"), "no train_cfg"),
    "amp": (replaced('type="OptimWrapper"', 'type="AmpOptimWrapper"'), "full precision"),
    "batch": (replaced("batch_size=2", "batch_size=0"), "batch = 0"),
    "iterations": (replaced("max_iters=3", "max_iters=2.5"), "max_iters = 2.5"),
    "weights": (
        replaced("pretrained=None", "pretrained='open-mmlab://resnet18'"),
        "model.pretrained names initial weights (open-mmlab://resnet18)",
    ),
    "init_cfg": (
        replaced("depth=18", "depth=18, init_cfg=dict(type='Pretrained', checkpoint='a.pth')"),
        "model.backbone.init_cfg names initial weights (a.pth)",
    ),
    "sizes": (replaced("size=(32, 32),\n    ),", "size=(48, 48),\n    ),"), "differ; make them equal"),
    "cascade": (replaced("decode_head=dict(", "decode_head=[dict(a=1)], x=dict("), "cascade of 1"),
    "no backbone": ("model = dict(type='EncoderDecoder')\n", "model.backbone: a dict"),
    "mosaic": (
        replaced('type="RandomFlip", prob=0.5', 'type="RandomMosaic", prob=1.0'),
        "pipeline: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_config_is_one_line(what, inside, tmp_path):
    text, expected = BAD[what]
    written(tmp_path, text)
    ended = inside("plan", *SMOKE, "--base-config", "my_cfg.py", "--method", "ce")
    assert ended.returncode == 2, ended.stderr + ended.stdout
    assert ended.stderr.startswith("Error: --base-config"), ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert expected in ended.stderr
    assert not (tmp_path / "results").exists()


def test_a_config_that_is_no_file(inside, tmp_path):
    for path, expected in (("none.py", "no such file"), (".", "is a folder")):
        ended = inside("plan", *SMOKE, "--base-config", path)
        assert ended.returncode == 2 and expected in ended.stderr
    written(tmp_path, name="cfg.txt")
    assert "ends with '.txt'" in inside("plan", *SMOKE, "--base-config", "cfg.txt").stderr


def test_an_error_in_a_file_that_a_config_is_based_on(inside, tmp_path):
    written(tmp_path, "a = 1\n\nb = 1 / 0\n", "base.py")
    written(tmp_path, "_base_ = ['./base.py']\n")
    ended = inside("plan", *SMOKE, "--base-config", "my_cfg.py")
    assert "base.py:3: ZeroDivisionError" in ended.stderr


def test_a_config_that_mmsegmentation_has(brought, inside, tmp_path):
    """`_base_ = 'mmseg::...'` is found, whatever the distribution is called that holds it."""
    text = "_base_ = 'mmseg::_base_/models/fcn_unet_s5-d16.py'\n"
    made = brought(written(tmp_path, text))
    assert made.protocol.backbone == "UNet"
    for scope, says in (("mmdet", "mmdet is not installed"), ("foo", "foo")):
        written(tmp_path, f"_base_ = '{scope}::_base_/models/x.py'\n")
        ended = inside("plan", *SMOKE, "--base-config", "my_cfg.py")
        assert ended.returncode == 2 and says in ended.stderr
        assert "mmsegmentation is not installed" not in ended.stderr


def test_a_task_that_takes_none(fake, inside, tmp_path):
    written(tmp_path)
    ended = inside("plan", "--task", "fake", "--base-config", "my_cfg.py")
    assert ended.returncode == 2
    assert "--base-config: task 'fake' takes none; tasks that do: longtail-cls, " in ended.stderr


# -- initial weights


def test_the_forms_of_a_checkpoint(brought, tmp_path):
    state = backbone(8)
    net = SimpleNet(state)
    forms = {
        "plain.pth": state,
        "state_dict.pth": {"state_dict": state, "meta": {"epoch": 3}},
        "model.pth": {"model": {f"module.{key}": value for key, value in state.items()}},
        "segmentor.pth": {
            "state_dict": {f"backbone.{key}": value for key, value in state.items()}
            | {"decode_head.conv_seg.weight": torch.zeros(3)}
        },
        "imagenet.pth": state | {"fc.weight": torch.zeros(10, 3), "head.bias": torch.zeros(3)},
    }
    for name, content in forms.items():
        torch.save(content, tmp_path / name)
        tensors, left = fit(tmp_path / name, net)
        assert tensors.keys() == state.keys(), name
        assert all(torch.equal(tensors[key], state[key]) for key in state), name
    assert left == ["fc.weight", "head.bias"]


class SimpleNet(torch.nn.Module):
    """A module with a given state."""

    def __init__(self, state):
        super().__init__()
        self._state = state

    def state_dict(self, *args, **kwargs):
        return self._state


def test_identity_is_the_content(brought, tmp_path):
    config = written(tmp_path)
    state = backbone(4)
    save_file(state, tmp_path / "a.safetensors")
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    first, second = (brought(config, tmp_path / f"{n}.safetensors").protocol for n in "ab")
    sha = hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert first.hash == second.hash
    assert first.identity["init"] == sha
    state["conv1.weight"] = state["conv1.weight"] + 1
    save_file(state, tmp_path / "b.safetensors")
    assert brought(config, tmp_path / "b.safetensors").protocol.hash != first.hash
    assert brought(config).protocol.identity["init"] == "scratch"
    assert brought(config).protocol.recipe == first.recipe


def bad_weights(folder: Path) -> dict[str, str]:
    """Name of a file -> what is said of it."""
    (folder / "text.pth").write_text("not a checkpoint")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "folder").mkdir()
    torch.save({"epoch": 3}, folder / "none.pth")
    torch.save([1, 2], folder / "list.pth")
    torch.save({"net": SimpleNamespace(a=1)}, folder / "pickle.pth")
    save_file(backbone(8), folder / "wide.safetensors")
    save_file(backbone(4, depth=34), folder / "deep.safetensors")
    save_file(
        {k: v for k, v in backbone(4).items() if "layer2" not in k}, folder / "short.safetensors"
    )
    save_file(
        backbone(4) | {"conv1.weight": torch.full((4, 3, 7, 7), np.nan)}, folder / "nan.safetensors"
    )
    save_file({"blocks.0.weight": torch.zeros(3)}, folder / "other.safetensors")
    return {
        "absent.pth": "no such file",
        "folder": "is a folder",
        "text.pth": "text.pth: ",
        "empty.safetensors": "damaged weights file",
        "none.pth": "holds no weights by name (it holds epoch)",
        "list.pth": "holds a list",
        "pickle.pth": "holds no weights by name (it holds net)",
        "wide.safetensors": "other shapes conv1.weight",
        "deep.safetensors": "unexpected layer1.2.bn1.bias",
        "short.safetensors": "missing layer2.0.conv1.weight",
        "nan.safetensors": "conv1.weight is not finite",
        "other.safetensors": "0 of 50 tensors fit (0%)",
    }


def test_bad_weights_are_one_line(inside, tmp_path):
    written(tmp_path)
    for name, expected in bad_weights(tmp_path).items():
        ended = inside("run", *SMOKE, "--base-config", "my_cfg.py", "--pretrained", name)
        assert ended.returncode == 2, name
        lines = ended.stderr.splitlines()
        assert lines[-1].startswith("Error: ") and expected in lines[-1], (name, lines)
        assert len(lines) == 1, lines
    assert not (tmp_path / "results").exists()


def test_weights_for_a_protocol_of_the_suite(brought, tmp_path):
    save_file(backbone(4), tmp_path / "w.safetensors")
    with pytest.raises(
        UserError, match=r"another architecture than the backbone ResNet: .* tensors fit"
    ):
        brought(pretrained=tmp_path / "w.safetensors")


def test_the_hook_leaves_a_run_that_has_started_alone(tmp_path):
    state = backbone(4)
    save_file(state, tmp_path / "w.safetensors")
    sha = hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()
    loaded = []

    class Net(SimpleNet):
        def load_state_dict(self, tensors, strict):
            loaded.append(tensors.keys())

    model = torch.nn.Module()
    model.backbone = Net(state)
    runner = SimpleNamespace(_has_loaded=True, model=model)
    hook = InitialWeightsHook(str(tmp_path / "w.safetensors"), sha)
    hook.before_train(runner)
    assert loaded == []
    runner._has_loaded = False
    hook.before_train(runner)
    assert loaded == [state.keys()]


def test_weights_that_change_or_go_are_found_by_the_worker(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(backbone(4), path)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    runner = SimpleNamespace(_has_loaded=False, model=None)
    save_file(backbone(8), path)
    with pytest.raises(DataError, match="changed, SHA-256"):
        InitialWeightsHook(str(path), sha).before_train(runner)
    path.unlink()
    with pytest.raises(DataError, match=f"bring them again with --pretrained FILE.*{sha}"):
        InitialWeightsHook(str(path), sha).before_train(runner)


def test_kept_weights_that_were_damaged_are_replaced(brought, tmp_path):
    root = tmp_path / "root"
    save_file(backbone(4), tmp_path / "w.safetensors")
    made = brought(written(tmp_path), tmp_path / "w.safetensors", root=root)
    keep(made, root)
    (kept,) = (root / "weights").iterdir()
    kept.write_bytes(b"other")
    keep(brought(written(tmp_path), tmp_path / "w.safetensors", root=root), root)
    assert kept.read_bytes() == (tmp_path / "w.safetensors").read_bytes()


def test_weights_that_change_before_they_are_kept(brought, tmp_path):
    save_file(backbone(4), tmp_path / "w.safetensors")
    made = brought(written(tmp_path), tmp_path / "w.safetensors")
    save_file(backbone(8), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="changed while it was read"):
        keep(made, tmp_path / "root")
    assert not (tmp_path / "root" / "protocols").exists()
    assert list((tmp_path / "root" / "weights").iterdir()) == []


# -- files of strangers


@pytest.fixture
def root(brought, tmp_path):
    """A root with one variant."""
    folder = tmp_path / "root"
    keep(brought(written(tmp_path), root=folder), folder)
    return folder


def known(installed, root):
    catalog = installed.at(root)
    return [one.name for one in catalog.variants.values()], list(catalog.problems)


def test_an_untouched_file_is_known(installed, root):
    names, problems = known(installed, root)
    assert len(names) == 1 and problems == []
    # nothing new: the same objects, so that protocols stay comparable
    assert installed.at(root) is installed.at(root)
    catalog = installed.at(root)
    for name, task in catalog.at(root).tasks().items():
        assert list(task.protocols) == list(catalog.task(name).protocols)


def changed(root: Path, change) -> None:
    """Rewrite the one variant file by `change(content)`."""
    (path,) = variant_files(root)
    content = read_json(path)
    change(content)
    path.write_text(json.dumps(content))


TAMPERED = {
    "setting": (lambda c: c["settings"].update(max_iters=4), "by its content: changed since"),
    "name": (lambda c: c.update(name="quick"), "calls itself 'quick', but is"),
    "label": (lambda c: c.update(label="quick,a"), "a label that no config file gives"),
    "base": (lambda c: c.update(base="quick"), "by its content"),
    "no base": (lambda c: c.update(base="none"), "'none', which is not known here"),
    "task": (lambda c: c.update(task="fake"), "'fake', which takes no variants"),
    "another task": (lambda c: c.update(task="longtail-cls"), "takes initial weights alone"),
    "schema": (lambda c: c.update(schema=2), "schema 2"),
    "unknown key": (lambda c: c.update(more=1), "damaged"),
    "nothing": (lambda c: c.update(settings=None, label=""), "changes nothing"),
    "weights": (
        lambda c: c.update(weights={"sha256": "../../etc", "suffix": ".pth"}), "no SHA-256",
    ),
    "suffix": (
        lambda c: c.update(weights={"sha256": "0" * 64, "suffix": "/../x.pth"}), "no SHA-256",
    ),
    "import": (
        lambda c: c["settings"]["model"]["backbone"].update(type="os.system"),
        "'os.system' is no registered name",
    ),
    "loader": (
        lambda c: c["settings"]["pipeline"].append({"type": "LoadBiomedicalData"}), "reads a file",
    ),
    "pretrained": (
        lambda c: c["settings"]["model"]["backbone"].update(
            init_cfg={"type": "Pretrained", "checkpoint": "evil.pth"}
        ),
        "Pretrained reads a file",
    ),
    "checkpoint": (
        lambda c: c["settings"]["model"]["backbone"].update(checkpoint_path="evil.pth"),
        "settings name no files",
    ),
    "constructor": (
        lambda c: c["settings"]["optim_wrapper"].update(constructor="a.b"), "no registered name",
    ),
    "section": (
        lambda c: c["settings"].update(custom_imports={"imports": ["os"]}), "unknown key",
    ),
    "shape": (lambda c: c["settings"].update(model=[1]), "model: is no dict"),
    "heads": (
        lambda c: c["settings"]["model"].update(auxiliary_head=[3]), "auxiliary_head: is no dict",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_a_tampered_file_is_left_out_with_a_line(what, installed, root):
    change, expected = TAMPERED[what]
    changed(root, change)
    names, problems = known(installed, root)
    assert names == []
    assert len(problems) == 1 and expected in problems[0], problems


def test_a_tampered_file_under_the_hash_of_its_content(installed, root):
    """Whoever renames it too still cannot have anything imported."""
    (path,) = variant_files(root)
    content = msgspec.json.decode(path.read_bytes(), type=Variant)
    content.settings["model"]["backbone"]["type"] = "subprocess.Popen"
    for hash_ in ("0" * 12, path.stem):
        path = path.rename(root / "protocols" / f"{hash_}.json")
        path.write_bytes(msgspec.json.encode(content))
        assert "is no registered name" in known(installed, root)[1][0]


def test_an_unregistered_name_is_not_imported_when_it_is_built(installed, root, monkeypatch):
    task = installed.task("longtail-seg")
    base = installed.protocol(task, "smoke")
    content = read_json(variant_files(root)[0])["settings"]
    content["model"]["backbone"]["type"] = "antigravity"
    made = make(base, content, None)
    from suite.base.settings import cache_dir

    with pytest.raises(UserError, match="'antigravity' is not registered"):
        made.build(cache_dir())
    assert "antigravity" not in sys.modules


def test_a_file_cannot_stand_for_a_protocol_of_the_suite(installed, root):
    (path,) = variant_files(root)
    quick = installed.protocol(installed.task("longtail-seg"), "quick")
    path.rename(root / "protocols" / f"{quick.hash}.json")
    names, problems = known(installed, root)
    assert names == [] and "stands in for a protocol of the suite" in problems[0]
    assert installed.at(root).protocol_with(quick.hash) is quick


def test_files_that_are_none(installed, root):
    folder = root / "protocols"
    (folder / "notes.txt").write_text("hello")
    (folder / ("1" * 12 + ".json")).write_text("{")
    (folder / ("2" * 12 + ".json")).write_bytes(b" " * (variants.MAX_BYTES + 1))
    (folder / ("3" * 12 + ".json")).mkdir()
    (folder / ("4" * 12 + ".json")).write_text("[" * 100_000)
    os.mkfifo(folder / ("5" * 12 + ".json"))
    (folder / ".6.json.tmp").write_text("left by a killed process")
    names, problems = known(installed, root)
    assert len(names) == 1
    assert len(problems) == 6, problems
    shown = " ".join(problems)
    for expected in ("is not named by", "damaged", "larger than", "not a regular file"):
        assert expected in shown


def test_a_damaged_file_is_named_by_verbs_and_harms_no_other(root, inside):
    (root / "protocols" / ("1" * 12 + ".json")).write_text("{")
    listed = inside("tasks", "--root", str(root))
    assert listed.returncode == 0
    assert "smoke:my_cfg-" in listed.stdout
    assert "damaged" in listed.stderr and len(listed.stderr.splitlines()) == 1


def test_a_run_of_an_unknown_protocol_says_so(installed, root):
    catalog = installed.at(root)
    made = next(iter(catalog.variants))
    spec = catalog.spec("ce", catalog.protocol_with(made))
    assert catalog.protocol_of(spec).hash == made
    with pytest.raises(
        UserError, match=f"protocol 'smoke:my_cfg-.*' \\({made}\\) is not known here"
    ):
        installed.protocol_of(spec)


def test_variants_of_another_root(installed, root, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    assert adopt(root, here, installed.at(here)) == 1
    assert known(installed, here) == known(installed, root)
    assert adopt(root, here, installed.at(here)) == 0


def test_a_strangers_run_comes_with_its_protocol(done, inside, tmp_path):
    folder, variant, _ = done
    theirs, here = tmp_path / "theirs", tmp_path / "here"
    shutil.copytree(folder / "results", theirs)
    said = inside("review", str(theirs), "--root", str(here), "--format", "json")
    assert said.returncode == 0, said.stdout + said.stderr
    (run,) = json.loads(said.stdout)["rows"]
    (note,) = (f["text"] for f in run["findings"] if f["check"] == "protocol")
    assert variant["name"] in note and "comes with the folder" in note
    assert not here.exists()
    assert inside("review", str(theirs), "--root", str(here), "--accept").returncode == 0
    assert [path.name for path in variant_files(here)] == [
        variant_files(folder / "results")[0].name
    ]
    board = inside("leaderboard", "--task", "longtail-seg", "--root", str(here), "--format", "json")
    (row,) = (row for row in json.loads(board.stdout)["rows"] if row["state"] == "done")
    assert row["protocol"] == variant["name"]
    again = inside("review", str(theirs), "--root", str(here))
    assert again.returncode == 0 and "nothing new" in again.stdout


def test_a_link_for_a_protocol_is_not_followed(done, inside, tmp_path):
    folder, _, _ = done
    theirs = tmp_path / "theirs"
    shutil.copytree(folder / "results", theirs)
    (file,) = variant_files(theirs)
    moved = file.rename(tmp_path / file.name)
    file.symlink_to(moved)
    said = inside("review", str(theirs), "--root", str(tmp_path / "here"))
    assert said.returncode == 1 and "not known here" in said.stdout


def test_a_strangers_protocol_that_is_none_is_a_finding_of_its_runs(done, inside, tmp_path):
    folder, _, _ = done
    theirs = tmp_path / "theirs"
    shutil.copytree(folder / "results", theirs)
    (file,) = variant_files(theirs)
    file.write_text(json.dumps(read_json(file) | {"base": "quick"}))
    said = inside("review", str(theirs), "--root", str(tmp_path / "here"), "--accept")
    assert said.returncode == 1
    assert "is protocol" in said.stdout and "not acceptable; nothing imported" in said.stdout
    assert not (tmp_path / "here").exists()


def test_merge_brings_the_protocols_of_the_runs(done, inside, tmp_path):
    folder, variant, _ = done
    here = tmp_path / "here"
    brought = inside("merge", str(folder / "results"), "--root", str(here))
    assert brought.returncode == 0, brought.stdout + brought.stderr
    board = inside("leaderboard", "--task", "longtail-seg", "--root", str(here), "--format", "json")
    names = {row["protocol"] for row in json.loads(board.stdout)["rows"] if row["state"] == "done"}
    assert names == {variant["name"]}


def test_a_variant_joins_every_task_that_accepts_its_base(installed, root):
    catalog = installed.at(root)
    (hash_,) = catalog.variants
    holding = [n for n, t in catalog.tasks().items() if any(p.hash == hash_ for p in t.protocols)]
    assert holding == ["longtail-seg"]
    assert installed.protocol_with(hash_) is None


def test_words_for_what_is_taken():
    assert taken({"model": {}, "pipeline": [], "max_iters": 1}) == "network, augmentation"


def test_initial_weights_alone_change_only_the_start(installed):
    base = installed.protocol(installed.task("longtail-seg"), "camvid:half")
    made = make(base, None, Initial(Path("w.pth"), "0" * 64))
    assert made.identity == base.identity
    assert Weights(sha256="0" * 64).suffix == ".safetensors"
