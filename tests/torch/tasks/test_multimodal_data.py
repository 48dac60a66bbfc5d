"""Samples of several modalities as batches: what they hold, how each modality is augmented, arrays that are mapped, and a
step of each protocol."""

import copy

import numpy as np
import pytest
import torch
from camvid_files import DATA
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from multimodal_sets import arrays, feature_set, real, write
from torch import nn

from suite.base.errors import DataError
from suite.define.catalog import Catalog
from suite.engine import data as seeded  # noqa: F401
from tasks.multimodal import augment, datasets, fusions, networks, objectives, scores  # noqa: F401
from tasks.multimodal.data import digit_pairs, feature_files, feature_sets, sources
from tasks.multimodal.protocols import memory

TASK = Catalog.load().task("multimodal")
NAMES = ("clean", "noisy")


def built(name="quick", part="train_dataloader", data=None):
    return DATASETS.build(TASK.protocols[name].build(data)[0][part]["dataset"])


def batch_of(dataset, seed=5, position=128, places=range(40)):
    """As the harness draws it."""
    wrapped = DATASETS.build(dict(type="SeededDataset", dataset=dataset, seed=seed))
    return wrapped.__getitems__([(position + k, place) for k, place in enumerate(places)])


# -- batches


def test_a_batch_holds_modalities_labels_and_places():
    data = built()
    batch = data.__getitems__([5, 0, 5])
    assert tuple(batch["inputs"]) == NAMES
    assert all(
        v.shape == (3, 1, 8, 8) and v.dtype == torch.float32 for v in batch["inputs"].values()
    )
    assert (
        batch["label"].dtype == torch.int64
        and batch["label"].tolist() == data.labels[[5, 0, 5]].tolist()
    )
    assert batch["index"].tolist() == [5, 0, 5] and batch["index"].dtype == torch.int64
    one = data[-1]
    assert one["index"] == len(data) - 1 == 645 and one["label"] == 9
    whole = digit_pairs.load().train
    assert torch.equal(one["inputs"]["noisy"], torch.from_numpy(whole.inputs["noisy"][-1]))


def test_a_limit_is_of_every_class():
    data = built("smoke", "test_dataloader")
    assert torch.bincount(data.labels).tolist() == [10] * 10
    assert len(built("quick", "test_dataloader")) == 250


def test_the_parts_of_a_carved_training_set_are_the_whole():
    config, facts = TASK.protocols["quick:ir10:carved"].build(None)
    train, val = (
        DATASETS.build(config["prediction_dataloaders"][part]["dataset"])
        for part in ("train", "val")
    )
    assert tuple(torch.bincount(train.labels).tolist()) == facts.class_counts
    whole = built("quick:ir10")
    assert len(train) + len(val) == len(whole)
    seen = [{p.tobytes() for p in part.samples.inputs["clean"]} for part in (train, val, whole)]
    assert not seen[0] & seen[1] and seen[0] | seen[1] == seen[2]
    # places are those of what trains
    assert DATASETS.build(config["train_dataloader"]["dataset"]).__getitems__([3])["index"] == 3


# -- augmentation


def dataset_config(names, transforms):
    config = copy.deepcopy(TASK.protocols["quick"].build(None)[0]["train_dataloader"]["dataset"])
    return {**config, "transforms": dict.fromkeys(names, transforms)}


def test_augmentation_of_a_modality_hangs_on_no_other():
    shift = [{"type": "BatchShift", "padding": 1}]
    together = batch_of(dataset_config(NAMES, shift))["inputs"]
    for name in NAMES:
        alone = batch_of(dataset_config([name], shift))["inputs"]
        assert torch.equal(alone[name], together[name])
    # in whatever order they stand
    turned = batch_of(dataset_config(NAMES[::-1], shift))["inputs"]
    assert all(torch.equal(turned[name], together[name]) for name in NAMES)
    plain = batch_of(dataset_config((), shift))["inputs"]
    assert not any(torch.equal(plain[name], together[name]) for name in NAMES)
    # another seed and another position draw otherwise
    for other in ({"seed": 6}, {"position": 192}):
        changed = batch_of(dataset_config(NAMES, shift), **other)["inputs"]
        assert not torch.equal(changed["noisy"], together["noisy"])


def test_modalities_are_not_shifted_alike():
    class Draws:
        def __call__(self, values, generator):
            self.drawn = torch.randint(1000, (8,), generator=generator)
            return values

    data = DATASETS.build(dataset_config((), []))
    spies = {name: Draws() for name in NAMES}
    data._transforms = {name: [spy] for name, spy in spies.items()}
    generator = torch.Generator().manual_seed(3)
    data.batch([0], generator)
    assert not torch.equal(spies["clean"].drawn, spies["noisy"].drawn)
    # the harness's generator is left as it was
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(3).get_state())


def test_transforms_of_no_modality_are_refused():
    with pytest.raises(ValueError, match="'loud'"):
        DATASETS.build(dataset_config(["loud"], [{"type": "BatchShift"}]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_a_shift_moves_each_image_by_its_own_offset(dtype):
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(1, 255, (64, 2, 5, 4), generator=draw).to(dtype)
    shift = augment.BatchShift(1, fill=0.0)
    moved = shift(images, torch.Generator().manual_seed(1))
    assert moved.shape == images.shape and moved.dtype == dtype and moved.is_contiguous()
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    seen = set()
    for before, after in zip(padded, moved, strict=True):
        fits = [
            (y, x)
            for y in range(3)
            for x in range(3)
            if torch.equal(before[:, y : y + 5, x : x + 4], after)
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 9
    filled = augment.BatchShift(1, fill=7.0)(images, torch.Generator().manual_seed(1))
    assert ((filled == 7) & (moved == 0)).any()


def test_a_shift_draws_as_the_crop_of_images_does():
    from tasks.vision.augment.batch import BatchCrop

    images = torch.arange(3 * 16, dtype=torch.uint8).view(3, 1, 4, 4)
    crop, shift = (
        made(images, torch.Generator().manual_seed(9))
        for made in (BatchCrop(1), augment.BatchShift(1))
    )
    assert torch.equal(crop, shift)


@pytest.mark.parametrize("padding", [0, -1, 1.5, True])
def test_a_shift_by_nothing_is_refused(padding):
    with pytest.raises(ValueError, match="padding"):
        augment.BatchShift(padding)


def test_a_shift_is_of_pictures():
    with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
        augment.BatchShift()(torch.zeros(3, 4), torch.Generator())


# -- initial weights, and training alone or together


def network(config, fusion="SumFusion", modalities=None, seed=0):
    model = copy.deepcopy(config["model"])
    model["fusion"]["type"] = fusion
    if modalities is not None:
        model["modalities"] = modalities
    torch.manual_seed(seed)
    return MODELS.build(model)


def test_an_encoder_and_its_head_start_alike_alone_and_beside_others():
    config, _ = TASK.protocols["smoke"].build(None)
    both = network(config)
    for name in NAMES:
        alone = network(config, modalities=[name])
        of_both = both.state_dict()
        mine = {k: v for k, v in alone.state_dict().items() if f".{name}." in k}
        assert mine and all(torch.equal(v, of_both[k]) for k, v in mine.items())
    other = network(config, seed=1)
    assert not torch.equal(
        other.encoders["clean"].layers[0].weight, both.encoders["clean"].layers[0].weight
    )
    weights = [both.encoders[name].layers[0].weight for name in NAMES]
    assert not torch.equal(*weights)


def test_training_together_with_own_heads_is_training_alone_bit_for_bit():
    """The sum of the modalities' own cross entropies, with an optimiser that looks at one parameter at a time."""
    config, _ = TASK.protocols["smoke"].build(None)
    dataset = config["train_dataloader"]["dataset"]

    def trained(modalities):
        model = network(config, "SumFusion", modalities)
        step = torch.optim.SGD(model.parameters(), 0.02, 0.9, weight_decay=5e-4)
        model.train()
        for k in range(6):
            drawn = batch_of(dataset, position=64 * k, places=range(64 * k, 64 * k + 64))
            batch = model.data_preprocessor(drawn, True)
            own = model.fusion.modality_logits(model.features(batch["inputs"]))
            loss = sum(nn.functional.cross_entropy(z, batch["label"]) for z in own.values())
            step.zero_grad()
            loss.backward()
            step.step()
        return model.state_dict()

    both = trained(list(NAMES))
    for name in NAMES:
        alone = trained([name])
        mine = [key for key in alone if f".{name}." in key]
        assert mine and all(torch.equal(alone[key], both[key]) for key in mine)


def test_names_that_a_module_dict_has_are_reserved():
    taken = {name for name in dir(nn.ModuleDict()) if sources._NAME.fullmatch(name)}
    assert taken <= sources.RESERVED


# -- arrays that are mapped


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    """(configuration of the training set, the arrays) of a set that is too large for memory."""
    monkeypatch.setattr(sources, "SETS", dict(sources.SETS))
    monkeypatch.setattr(feature_files, "MEMORY", 500)
    features = feature_set("mapped", a=(4,), picture=(1, 4, 4))
    feature_sets.declare(features)
    made = arrays(features)
    made["a"] = made["a"].astype(np.float64)
    made["a"][2, 1] = np.inf
    path = write(tmp_path, features, **made)
    yield memory()(sources.ModalitySource("mapped"), str(path), "train", True), made
    sources.load.cache_clear()
    datasets._split.cache_clear()


def test_rows_of_a_mapped_array_are_read_a_batch_at_a_time(mapped):
    config, made = mapped
    data = DATASETS.build(config)
    places = data.samples.places
    assert not data._inputs and len(data) == 18
    sound = [k for k, row in enumerate(places) if row != 2]
    batch = data.__getitems__([sound[5], sound[0], sound[5]])
    rows = places[[sound[5], sound[0], sound[5]]]
    assert batch["inputs"]["a"].dtype == torch.float32
    assert np.array_equal(batch["inputs"]["a"].numpy(), made["a"][rows].astype(np.float32))
    assert np.array_equal(batch["inputs"]["picture"].numpy(), made["picture"][rows])
    assert batch["inputs"]["picture"].dtype == torch.uint8
    assert batch["label"].tolist() == made["y"][rows].tolist()
    assert data[sound[1]]["inputs"]["a"].shape == (4,)


def test_a_row_of_a_mapped_array_that_is_not_finite_is_named(mapped):
    config, _ = mapped
    data = DATASETS.build(config)
    bad = np.flatnonzero(data.samples.places == 2)
    if not bad.size:
        data = DATASETS.build({**config, "split": "test"})
        bad = np.flatnonzero(data.samples.places == 2)
    with pytest.raises(
        DataError, match="modality 'a', row 2: not all of it is finite; copy the data set again"
    ):
        data.__getitems__([0, int(bad[0])])


def test_a_carved_part_of_mapped_arrays_is_no_copy(mapped):
    config, _ = mapped
    whole, part = (
        DATASETS.build({**config, **more})
        for more in ({}, {"carved": {"part": "val", "fraction": 0.2, "seed": 0}})
    )
    assert part.samples.inputs["a"] is whole.samples.inputs["a"] and len(part) == 3


# -- protocols


def runner_of(cfg, folder, name):
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(folder), "ERROR", f"modalities-{name}"
    cfg.visualizer = dict(type="Visualizer", vis_backends=[], name=f"modalities-{name}")
    cfg.default_hooks = dict(runtime_info=None, timer=None, logger=None, checkpoint=None)
    return Runner.from_cfg(cfg)


def two_steps(name, data, folder):
    cfg = Config(TASK.protocols[name].build(data)[0])
    cfg.train_cfg.max_iters = 2
    cfg.test_dataloader.dataset.limit = 2
    runner = runner_of(cfg, folder, name.replace(":", "-"))
    runner.train()
    return cfg, runner.test()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quick", "smoke:ir50:carved"])
def test_embedded_protocols_train_and_test(tmp_path, name):
    _, found = two_steps(name, None, tmp_path)
    assert set(found) >= {"multimodal/top1", "multimodal/top1_clean", "multimodal/top1_noisy"}


@real
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:of networks that were trained")
@pytest.mark.parametrize(
    "name", ["scene15:mlp", "av-digits:cnn,ir10", "mfeat:mlp,ir50:carved", "cremad-feat:mlp"]
)
def test_real_protocols_train_and_test(tmp_path, name):
    cfg, found = two_steps(name, TASK.protocols[name].dataset.find(DATA), tmp_path)
    assert {f"multimodal/top1_{modality}" for modality in cfg.model.encoders} <= set(found)
    assert 0 <= found["multimodal/top1"] <= 1


@real
@pytest.mark.slow
def test_inputs_are_standardised_as_they_train():
    config, _ = TASK.protocols["mfeat:mlp"].build(TASK.protocols["mfeat:mlp"].dataset.find(DATA))
    data = DATASETS.build(config["train_dataloader"]["dataset"])
    preprocessor = MODELS.build(config["model"]["data_preprocessor"])
    inputs = preprocessor(data.__getitems__(list(range(len(data)))))["inputs"]
    for name, values in inputs.items():
        assert values.mean(0).abs().max() < 1e-3, name
        spread = values.std(0, unbiased=False)
        assert ((spread - 1).abs() < 1e-3).logical_or(spread < 1e-6).all(), name
