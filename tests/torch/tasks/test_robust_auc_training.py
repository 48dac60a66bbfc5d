"""Batches, pixels, protocols and selection of `robust-auc`."""

import math
from itertools import islice
from pathlib import Path

import pytest
import torch
from corrupted_files import make_cifar10_1
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import DATASETS, MODELS

from suite.base.errors import DataError
from suite.define.catalog import Catalog
from suite.engine.selection import BestOnTestHook
from tasks.robust_auc import datasets, networks  # noqa: F401
from tasks.robust_auc.data import cifar10_1
from tasks.robust_auc.data.constants import set_name
from tasks.robust_auc.sampler import StratifiedSampler
from tasks.vision.networks import classifier  # noqa: F401

CATALOG = Catalog.load()
TASK = CATALOG.task("robust-auc")
QUICK = TASK.protocols["quick"]
ANYWHERE = Path("unused")
"""Of embedded data."""


class Labelled:
    def __init__(self, labels):
        self.labels = torch.tensor(labels)


# -- batches


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 16), st.data(), st.integers(0, 99))
def test_every_batch_has_its_positives(negatives, positives, batch, data, seed):
    wanted = data.draw(st.integers(1, batch - 1))
    labels = [False] * negatives + [True] * positives
    sampler = StratifiedSampler(Labelled(labels), seed, batch, wanted)
    drawn = list(islice(sampler, 6 * batch))
    for start in range(0, len(drawn), batch):
        assert sum(labels[i] for i in drawn[start : start + batch]) == wanted
    # all images of a class come before one comes again
    for places in (range(negatives), range(negatives, len(labels))):
        counts = [drawn.count(i) for i in places]
        assert max(counts) - min(counts) <= 1
    assert drawn == list(
        islice(StratifiedSampler(Labelled(labels), seed, batch, wanted), 6 * batch)
    )


@pytest.mark.parametrize(
    ("labels", "positives", "said"),
    [([False, True], 0, "between 1 and 3"), ([False, True], 4, "between"), ([False], 1, "a class")],
)
def test_batches_without_a_class_are_refused(labels, positives, said):
    with pytest.raises(ValueError, match=said):
        StratifiedSampler(Labelled(labels), 0, 4, positives)


def test_the_base_recipe_draws_the_training_share():
    config, facts = QUICK.build(ANYWHERE)
    assert config["train_dataloader"]["sampler"]["positives"] == 6
    assert facts.class_counts == (651, 72) and facts.classes == ("negative", "positive")


# -- samples and pixels


def test_a_batch_is_pixels_targets_and_places():
    data = DATASETS.build(QUICK.build(ANYWHERE)[0]["train_dataloader"]["dataset"])
    batch = data.__getitems__([0, 3])
    assert batch["inputs"].dtype == torch.uint8 and batch["label"].shape == (2, 1)
    assert batch["index"].tolist() == [0, 3] and data.labels.dtype == torch.bool
    assert int(data.labels.sum()) == 72


def test_corrupted_sets_hold_the_same_images():
    config = QUICK.build(ANYWHERE)[0]
    sets = config["prediction_dataloaders"]
    clean = DATASETS.build(config["test_dataloader"]["dataset"])
    assert len(QUICK.prediction_sets) == 1 + 7 * 5
    distance = {}
    for severity in (1, 5):
        made = DATASETS.build(sets[set_name("gaussian_noise", severity)]["dataset"])
        assert torch.equal(made.labels, clean.labels) and len(made) == 500
        distance[severity] = (made._images.float() - clean._images.float()).abs().mean()
    assert 0 < distance[1] < distance[5]


def test_pixels_are_normalised_within_the_model():
    config = QUICK.build(ANYWHERE)[0]["model"]
    model = MODELS.build(config).eval()
    data = model.data_preprocessor({"inputs": torch.tensor([[[[0, 255]]]], dtype=torch.uint8)})
    assert data["inputs"].tolist() == [[[[0.0, 1.0]]]]
    pixels = torch.rand(3, 1, 8, 8)
    seen = []
    hook = model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits = model.logits(pixels)
    hook.remove()
    torch.testing.assert_close(seen[0], (pixels - config["mean"][0]) / config["std"][0])
    (predicted,) = model(pixels, torch.ones(3, 1), mode="predict")
    assert torch.equal(predicted["logits"], logits) and predicted["label"].shape == (3,)


def test_an_attack_changes_what_the_loss_sees():
    @MODELS.register_module(name="BlackOut", force=True)
    class BlackOut(torch.nn.Module):
        def forward(self, model, pixels, label):
            return torch.zeros_like(pixels)

    config = QUICK.build(ANYWHERE)[0]["model"]
    model = MODELS.build({**config, "attack": {"type": "BlackOut"}}).eval()
    label = torch.tensor([[0.0], [1.0]])
    found = model(torch.rand(2, 1, 8, 8), label, mode="loss", index=torch.arange(2))["loss"]
    black = model.logits(torch.zeros(2, 1, 8, 8))
    torch.testing.assert_close(
        found, torch.nn.functional.binary_cross_entropy_with_logits(black, label)
    )


# -- selection


def test_selection_leaves_a_part_out_of_the_training():
    protocol = TASK.protocols["quick:val-selection"]
    config, facts = protocol.build(ANYWHERE)
    assert protocol.selection == "val" and protocol.carved is protocol
    assert protocol.hash != QUICK.hash
    val = DATASETS.build(config["val_dataloader"]["dataset"])
    train = DATASETS.build(config["train_dataloader"]["dataset"])
    assert len(val) + len(train) == 723
    counts = (int((~train.labels).sum()), int(train.labels.sum()))
    assert counts == facts.class_counts
    # the same share of positives
    assert math.isclose(val.labels.float().mean(), 72 / 723, rel_tol=0.05)
    assert config["custom_hooks"][-1] == {"type": "BestOnValidationHook", "metric": "binary/auc"}


def test_an_undefined_validation_is_worse_than_any():
    class Runner:
        iter = 0
        model = torch.nn.Linear(1, 1)

    hook, runner = BestOnTestHook("auc"), Runner()
    kept = []
    for step, value in enumerate((math.nan, 0.4, math.nan, 0.3, 0.6)):
        runner.iter = step
        torch.nn.init.constant_(runner.model.weight, step)
        hook.after_val_epoch(runner, {"auc": value})
        kept.append(hook._weights["weight"].item())
    assert kept == [0, 1, 1, 1, 4]


# -- official sets


def test_the_papers_protocols_promise_every_condition():
    for name, count in (("cifar10:r20,p10", 75), ("mnist:r20,p1", 15), ("elpv", 40)):
        protocol = TASK.protocols[name]
        sets = protocol.required(False)
        assert len(sets) == count and "test" not in sets
        assert protocol.required(True) == (*sets, *protocol.views)
    # MNIST-C's copy of the clean set is no corruption
    assert not [
        name for name in TASK.protocols["mnist:r20,p10"].prediction_sets if "identity" in name
    ]
    settings_ = TASK.settings(TASK.protocols["mnist:r20,p10"])
    assert settings_["severities"] == [] or settings_["severities"] == ()


def test_data_and_their_corrupted_copies_are_asked_for_together(tmp_path):
    dataset = TASK.protocols["cifar10:r20,p10"].dataset
    assert dataset.name == "cifar10+cifar10-c" and "and beside it" in dataset.layout
    with pytest.raises(DataError, match="cifar10"):
        dataset.find(tmp_path)


def test_naturally_shifted_images_are_a_set_of_cifar10(tmp_path):
    make_cifar10_1(tmp_path / "CIFAR-10.1")
    for name in ("cifar10:r20,p10", "cifar10:r20,p10,val-selection"):
        assert cifar10_1.SET_NAME in TASK.protocols[name].extra_sets
    assert cifar10_1.SET_NAME not in TASK.protocols["cifar100:r20,p10"].extra_sets
    source = {"name": "cifar10", "positives": [5, 6], "prior": 0.1, "left_out": [7]}
    about = {"type": "NaturallyShiftedImages", "source": source, "root": str(tmp_path)}
    made = DATASETS.build({**about, "pool": 2})
    # 200 images of each of ten classes, in turn
    assert len(made) == 1800 and made[0]["inputs"].shape == (3, 16, 16)
    assert made.labels[:10].tolist() == [False] * 5 + [True, True] + [False] * 3
    batch = made.__getitems__([5, 7])
    assert batch["label"].tolist() == [[1.0], [0.0]]
    with pytest.raises(DataError, match=r"CIFAR-10\.1"):
        DATASETS.build({**about, "root": str(tmp_path / "elsewhere")})
