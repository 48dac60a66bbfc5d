"""Samples, networks and protocols of `multilabel`: what a batch holds, and a step of each kind of protocol."""

import multilabel_files as files
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.task import Trained
from suite.engine.run import resolve_config
from tasks.multilabel import datasets, networks  # noqa: F401
from tasks.multilabel.data import scenes
from tasks.vision.networks import labels, vectors  # noqa: F401

CATALOG = Catalog.load()
TASK = CATALOG.task("multilabel")
FILES = ("voc-lt:r50", "coco-lt:r50", "voc07", "coco14", "nuswide")
WRITE = {
    "voc-lt": files.voc_lt,
    "coco-lt": files.coco_lt,
    "voc07": files.voc07,
    "coco14": files.write_coco_year,
    "nuswide": files.write_nus,
}


def resolved(protocol, data, method="bce", **overrides):
    source = CATALOG.source(method)
    params = CATALOG.resolve(method, protocol, overrides)
    return resolve_config(protocol.build, data, source.load().configure, params, 0)


def runner_of(cfg, folder, name):
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(folder), "ERROR", f"labels-{name}"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name=f"labels-{name}")
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    return Runner.from_cfg(cfg)


# -- samples


def test_a_batch_holds_label_vectors_and_places():
    config = TASK.protocols["quick:single-positive"].build(None)[0]["train_dataloader"]["dataset"]
    data = DATASETS.build(config)
    batch = data.__getitems__([5, 0, 5])
    assert batch["inputs"].shape == (3, *scenes.SHAPE) and batch["inputs"].dtype == torch.uint8
    assert batch["label"].dtype == torch.float32 and batch["label"].shape == (3, 20)
    assert batch["index"].tolist() == [5, 0, 5] and batch["index"].dtype == torch.int64
    assert torch.equal(batch["label"], data.labels[[5, 0, 5]].float())
    assert data.labels.dtype == torch.bool and (data.labels.sum(1) == 1).all()
    assert data[-1]["index"] == len(data) - 1
    # the test set's are complete
    config = TASK.protocols["quick:single-positive"].build(None)[0]["test_dataloader"]["dataset"]
    assert DATASETS.build(config).labels.sum(1).max() > 1


def test_the_parts_of_a_carved_training_set_are_the_whole():
    config, facts = TASK.protocols["quick:drop60:carved"].build(None)
    train = DATASETS.build(config["train_dataloader"]["dataset"])
    val = DATASETS.build(config["prediction_dataloaders"]["val"]["dataset"])
    whole = scenes.load().train
    assert len(train) + len(val) == len(whole)
    assert tuple(train.labels.sum(0).tolist()) == facts.image_counts
    shown = {image.tobytes() for image in train.samples.inputs}
    assert not shown & {image.tobytes() for image in val.samples.inputs}


def test_validation_labels_are_missing_as_training_labels_are_and_test_labels_complete():
    config, _ = TASK.protocols["quick:single-positive:carved"].build(None)
    val = DATASETS.build(config["prediction_dataloaders"]["val"]["dataset"])
    assert (val.labels.sum(1) == 1).all()
    test = DATASETS.build(config["test_dataloader"]["dataset"])
    assert torch.equal(test.labels, torch.from_numpy(scenes.load().test.labels))


# -- networks


def test_pooled_features_pass_the_classifier():
    model = {
        "type": "MultiLabelClassifier",
        "data_preprocessor": {"type": "VectorBatch", "mean": [1.0, 2.0], "std": [2.0, 0.5]},
        "backbone": {"type": "Perceptron", "in_features": 2, "width": 8, "dropout": 0.0},
        "head": {
            "type": "MultiLabelHead",
            "in_channels": 8,
            "classes": 3,
            "loss": {"type": "BinaryCrossEntropy"},
        },
    }
    built = MODELS.build(model)
    data = {
        "inputs": torch.tensor([[3.0, 2.5]]),
        "label": torch.ones(1, 3),
        "index": torch.zeros(1),
    }
    cast = built.data_preprocessor(data)
    assert cast["inputs"].tolist() == [[1.0, 1.0]]
    (predicted,) = built(**cast, mode="predict")
    assert predicted["logits"].shape == (1, 3) and torch.equal(predicted["label"], data["label"])
    loss = built(**cast, mode="loss")["loss"]
    expected = torch.nn.functional.softplus(-predicted["logits"]).mean()
    torch.testing.assert_close(loss, expected)


def test_vectors_are_left_as_they_are_without_statistics():
    untouched = MODELS.build({"type": "VectorBatch"})({"inputs": torch.tensor([[3, 0]])})
    assert untouched["inputs"].tolist() == [[3.0, 0.0]]


def test_the_scene_network_finds_a_digit_wherever_it_is():
    torch.manual_seed(0)
    net = MODELS.build({"type": "SceneNet", "in_channels": 1, "widths": [4, 8]}).eval()
    image = torch.zeros(1, 1, 24, 24)
    image[..., 6:10, 6:10] = 1
    # by the stride, away from the border
    moved = torch.roll(image, (6, 4), (2, 3))
    torch.testing.assert_close(net(image), net(moved))
    assert net(image).shape == (1, 8)


# -- protocols


@files.packs
@pytest.mark.parametrize("name", ["yeast:mlp", "corel5k:mlp"])
def test_vectors_are_standardised_by_what_trains(name):
    protocol = TASK.protocols[name]
    data = protocol.dataset.find(files.PACKS)
    config, facts = protocol.build(data)
    mean = config["model"]["data_preprocessor"]["mean"]
    assert sum(facts.class_counts) > 0 and not facts.variant
    if name == "corel5k:mlp":
        assert mean is None
        return
    train = DATASETS.build(config["train_dataloader"]["dataset"])
    np.testing.assert_allclose(mean, train.samples.inputs.mean(axis=0, dtype=float))
    carved = protocol.carved.build(data)[0]
    part = DATASETS.build(carved["train_dataloader"]["dataset"])
    np.testing.assert_allclose(
        carved["model"]["data_preprocessor"]["mean"],
        part.samples.inputs.mean(axis=0, dtype=float),
    )


@pytest.mark.parametrize("name", FILES)
def test_a_protocol_on_files_is_built_on_a_copy(name, tmp_path):
    protocol = TASK.protocols[name]
    WRITE[protocol.dataset.name](tmp_path / "data")
    data = protocol.dataset.find(tmp_path / "data")
    config, facts = protocol.build(data)
    assert facts.variant and len(facts.class_counts) == len(protocol.dataset.classes)
    sample = DATASETS.build(config["test_dataloader"]["dataset"])[0]
    assert sample["inputs"].shape == (3, 224, 224)
    assert sample["label"].shape == (facts.num_classes,) and sample["index"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("plain_dumps")
@pytest.mark.parametrize("name", ["voc-lt:r50", "nuswide"])
def test_a_protocol_on_files_trains_a_step_and_tests(name, tmp_path):
    protocol = TASK.protocols[name]
    WRITE[protocol.dataset.name](tmp_path / "data")
    data = protocol.dataset.find(tmp_path / "data")
    cfg, facts = resolved(protocol, data, "tkpr-log")
    # small enough for a CPU; all the rest is the protocol's
    cfg.train_cfg.max_iters = 1
    cfg.train_dataloader.batch_size = cfg.test_dataloader.batch_size = 2
    cfg.train_dataloader.dataset.dataset.transforms[0].size = 64
    cfg.test_dataloader.dataset.transforms[1].size = 64
    runner = runner_of(cfg, tmp_path, name)
    assert runner.model.bf16
    before = runner.model.head.fc.weight.clone()
    runner.train()
    assert not torch.equal(before, runner.model.head.fc.weight)
    runner.test()
    (metric,) = runner.test_evaluator.metrics
    arrays = metric.arrays()
    trained = Trained(class_counts=facts.class_counts)
    rows = TASK.evaluate({"test": arrays}, TASK.settings(protocol), trained)
    assert {row.key for row in rows} >= {"tkpr[k=K]", "map_at_k[k=K]", "mAP", "ranking_loss"}


def test_k_above_the_labels_is_refused():
    with pytest.raises(UserError, match="the protocol has 20 labels"):
        resolved(TASK.protocols["smoke"], None, "tkpr-log", k=21)
