"""The protocols on image files: each builds, trains a step and tests, on a tiny stand-in."""

import os

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from PIL import Image

from suite.base.errors import DataError
from suite.define.catalog import Catalog
from suite.engine.run import resolve_config
from tasks.vision.data import lists

CATALOG = Catalog.load()
TASK = CATALOG.task("longtail-cls")
NAMES = [p.name for p in TASK.protocols if p.dataset.name in lists.SPECS]


def stand_in(folder, spec):
    """Lists of one training image a class (class 0: three) and four test images, all one JPEG."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "one.jpg")
    (folder / "images").mkdir()
    labels = {"train": [0, 0, *range(spec.classes)], "test": [0, 1, 2, 3]}
    for split, file in (("train", spec.train), ("test", spec.test)):
        lines = []
        for i, label in enumerate(labels[split]):
            os.link(folder / "one.jpg", folder / f"images/{split}{i}.jpg")
            lines.append(f"images/{split}{i}.jpg {label}\n")
        (folder / file).write_text("".join(lines))
    return folder


def resolved(protocol, data):
    source = CATALOG.source("la")
    params = CATALOG.resolve("la", protocol, {})
    return resolve_config(protocol.build, data, source.load().configure, params, 0)


@pytest.mark.usefixtures("plain_dumps")
@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_on_files_trains_a_step_and_tests(name, tmp_path):
    protocol = CATALOG.protocol(TASK, name)
    spec = lists.SPECS[protocol.dataset.name]
    stand_in(tmp_path / spec.name, spec)
    data = protocol.dataset.find(tmp_path)
    cfg, facts = resolved(protocol, data)
    assert facts.variant  # a stand-in is not the released list
    assert facts.class_counts[:2] == (3, 1) and len(facts.class_counts) == spec.classes
    assert facts.groups["tail"] == tuple(range(spec.classes))
    # small enough for a CPU; all the rest is the protocol's
    cfg.train_cfg.max_iters = 1
    train, test = cfg.train_dataloader, cfg.test_dataloader
    train.batch_size = test.batch_size = 2
    for loader in (train, test):
        assert loader.num_workers == 8
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
    train.dataset.dataset.transforms[0].size = 64
    test.dataset.transforms[1].size = 64
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(tmp_path), "ERROR", f"files-{name}"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name=f"files-{name}")
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    runner = Runner.from_cfg(cfg)
    assert runner.model.bf16
    before = runner.model.head.fc.weight.clone()
    runner.train()
    assert not torch.equal(before, runner.model.head.fc.weight)
    runner.test()
    (metric,) = runner.test_evaluator.metrics
    arrays = metric.arrays()
    assert arrays["logits"].shape == (4, spec.classes)
    assert np.isfinite(arrays["logits"]).all()
    settings = TASK.settings(protocol)
    assert settings["group_thresholds"] == [100, 20]


def test_a_list_that_names_absent_images(tmp_path):
    protocol = CATALOG.protocol(TASK, "places-lt")
    folder = stand_in(tmp_path / "places-lt", lists.SPECS["places-lt"])
    (folder / "images/test1.jpg").unlink()
    (folder / "images/test3.jpg").unlink()
    with pytest.raises(DataError, match=r"2 of 4 images .* absent: images/test1.jpg, images/test3"):
        resolved(protocol, folder)
