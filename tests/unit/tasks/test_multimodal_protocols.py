"""Protocols of `multimodal`: what they are called, what they fix, and the facts of what trains."""

import numpy as np
import pytest
from camvid_files import DATA
from multimodal_sets import feature_set, real, write

from suite.define.catalog import Catalog
from suite.define.protocol import recipe_digest
from suite.define.protocols import Protocols
from suite.engine import keys
from tasks.multimodal import protocols as declared
from tasks.multimodal.data import digit_pairs, feature_sets, sources, views
from tasks.multimodal.data.sources import Modalities, ModalitySource
from tasks.multimodal.families import FIXED
from tasks.multimodal.streams import standardised
from tasks.vision.data.carving import CARVING
from tasks.vision.groups import class_counts

TASK = Catalog.load().task("multimodal")
CPU = ("quick", "smoke", "scene15:mlp", "av-digits:cnn", "mfeat:mlp", "cremad-feat:mlp")


def variants(name):
    joined = "," if ":" in name else ":"
    return [name, *(f"{name}{joined}ir{ratio}" for ratio in sources.RATIOS)]


ALL = [name for base in CPU for name in variants(base)]


def test_every_protocol_on_a_cpu_has_its_long_tailed_variants():
    assert set(ALL) <= set(TASK.protocols.names) and TASK.default_protocol == "quick"
    assert TASK.reference == "concat"


@pytest.mark.parametrize(
    ("name", "iterations", "batch"),
    [
        ("quick", 200, 64),
        ("smoke", 20, 64),
        ("scene15:mlp", 2400, 64),
        ("av-digits:cnn", 1000, 64),
        ("mfeat:mlp", 600, 64),
        ("cremad-feat:mlp", 300, 64),
    ],
)
def test_length_and_rate_are_those_of_the_sheet(name, iterations, batch):
    protocol = TASK.protocols[name]
    assert (protocol.budget.iterations, protocol.budget.batch) == (iterations, batch)
    optimizer = protocol.blank["optim_wrapper"]["optimizer"]
    assert optimizer == {"type": "SGD", "lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4}
    (cosine,) = protocol.blank["param_scheduler"]
    assert (cosine["T_max"], cosine["eta_min"], cosine["end"]) == (iterations, 0.0, iterations)


@pytest.mark.parametrize("name", ALL)
def test_what_methods_leave_alone(name):
    protocol = TASK.protocols[name]
    assert protocol.fixed == FIXED and "model.encoders" in FIXED and set(keys.FIXED) < set(FIXED)
    assert "model.backbone" not in FIXED
    model = protocol.blank["model"]
    assert tuple(model["encoders"]) == sources.SETS[protocol.dataset.name].modalities
    assert set(model["fusion"]["widths"]) == set(model["encoders"])
    assert list(protocol.prediction_sets) == ["test", "train"]
    assert protocol.required(False) == ("train",)
    assert protocol.recipe == recipe_digest(protocol.blank)
    evaluator = protocol.blank["test_evaluator"]
    assert evaluator["modalities"] == list(model["encoders"])


def test_no_two_protocols_are_one():
    found = [TASK.protocols[name] for name in ALL]
    found += [protocol.carved for protocol in found]
    assert len({protocol.hash for protocol in found}) == len(found)
    assert all(TASK.protocols.get(f"{name}:carved") is not None for name in ALL)


def test_encoders_of_pictures_and_vectors():
    quick = TASK.protocols["quick"].blank["model"]
    for encoder in quick["encoders"].values():
        assert (encoder["widths"], encoder["strides"]) == ([16, 32, 64], [1, 2, 2])
    statistics = quick["data_preprocessor"]["statistics"]
    assert statistics["noisy"] == {"mean": [0.3], "std": [0.4]}
    digits = TASK.protocols["av-digits:cnn"].blank["model"]["encoders"]["audio"]
    assert digits["strides"] == [2, 2, 2] and digits["in_channels"] == 1
    scenes = TASK.protocols["scene15:mlp"].blank["model"]
    for encoder, features in zip(scenes["encoders"].values(), (20, 59, 40), strict=True):
        assert (encoder["in_features"], encoder["widths"]) == (features, [128, 64])
    assert scenes["data_preprocessor"]["statistics"] == {}  # only the data tell


def test_augmentation_is_for_training_alone():
    config, _ = TASK.protocols["quick"].build(None)
    train = config["train_dataloader"]["dataset"]
    assert set(train["transforms"]) == {"clean", "noisy"}
    shown = [config["test_dataloader"], config["prediction_dataloaders"]["train"]]
    assert not any("transforms" in loader["dataset"] for loader in shown)
    assert shown[1]["dataset"]["split"] == "train" and "limit" not in shown[1]["dataset"]


def test_facts_and_groups_of_a_variant_are_of_what_trains():
    protocol = TASK.protocols["quick:ir50"]
    _, facts = protocol.build(None)
    counts = class_counts("exp", facts.class_counts[0], 10, 50)
    assert facts.class_counts == facts.image_counts == counts and facts.unit == "samples"
    assert facts.groups == protocol.dataset.groups and all(facts.groups.values())
    assert protocol.split.startswith("digit-pairs-exp-ir50-first@")
    _, whole = TASK.protocols["quick"].build(None)
    assert whole.class_counts == digit_pairs.COUNTS and whole.groups == {}
    assert facts.iterations == whole.iterations == 200
    settings = TASK.settings(protocol)
    assert settings["modalities"] == ["clean", "noisy"]
    assert set(settings["groups"]) == {"head", "medium", "tail"}
    assert TASK.settings(TASK.protocols["quick"])["groups"] == {}


@pytest.mark.parametrize("name", ["quick", "quick:ir10", "smoke:ir50"])
def test_a_carved_protocol_trains_on_what_is_left(name):
    whole, carved = TASK.protocols[name], TASK.protocols[f"{name}:carved"]
    _, facts = whole.build(None)
    config, left = carved.build(None)
    assert left.class_counts == CARVING.kept(facts.class_counts)
    assert left.groups == carved.dataset.groups
    assert all(left.groups.values()) or not whole.dataset.groups
    assert config["train_dataloader"]["dataset"]["carved"]["part"] == "train"
    loaders = config["prediction_dataloaders"]
    parts = {name: loader["dataset"]["carved"]["part"] for name, loader in loaders.items()}
    assert parts == {"train": "train", "val": "val"}
    assert carved.fixed == FIXED and carved.budget == whole.budget
    assert "val" in carved.extra_sets and carved.required(False) == ("train",)
    assert not config["test_dataloader"]["dataset"].get("carved")


def test_thirds_stay_thirds_of_what_is_carved():
    carved = TASK.protocols["quick:ir10:carved"]
    assert [len(members) for members in carved.dataset.groups.values()] == [3, 4, 3]
    assert [len(m) for m in TASK.protocols["quick:ir10"].dataset.groups.values()] == [3, 4, 3]


# -- statistics


def test_vectors_are_standardised_by_the_training_samples_that_have_them():
    values = np.array([[1.0, 5.0], [3.0, 5.0], [100.0, 5.0], [8.0, 5.0]], np.float32)
    labels = np.zeros(4, np.int64)
    both = {"a": values, "b": values}
    lost = {"b": np.array([False, False, True, False])}
    whole = Modalities(both, labels, None, lost)
    assert standardised(whole, "a")["mean"] == [28.0, 5.0]
    assert standardised(whole, "b") == {
        "mean": [4.0, 5.0],
        "std": [pytest.approx(np.std([1, 3, 8])), 1.0],
    }
    mapped = Modalities(both, labels[:2], np.array([1, 3]))
    assert standardised(mapped, "a")["mean"] == [5.5, 5.0]


def test_of_a_mapped_array_evenly_spread_rows_are_enough(monkeypatch):
    from tasks.multimodal import streams

    monkeypatch.setattr(streams, "_ROWS", 3)
    values = np.arange(7.0)[:, None]
    mapped = Modalities({"a": values, "b": values}, np.zeros(7, np.int64), np.arange(7))
    assert standardised(mapped, "a")["mean"] == [3.0]
    assert standardised(mapped, "a")["std"] == [pytest.approx(np.std([0, 3, 6]))]
    # of wide rows fewer, but not too few
    monkeypatch.setattr(streams, "_ROWS", 1 << 16)
    monkeypatch.setattr(streams, "_BYTES", 1)
    long = np.arange(2001.0)[:, None]
    wide = Modalities({"a": long, "b": long}, np.zeros(2001, np.int64), np.arange(2001))
    chosen = np.linspace(0, 2000, 1000).astype(int)
    assert standardised(wide, "a")["mean"] == [pytest.approx(chosen.mean())]


@real
@pytest.mark.parametrize("name", ["scene15:mlp,ir10", "mfeat:mlp", "cremad-feat:mlp:carved"])
@pytest.mark.filterwarnings("ignore:of networks that were trained")
def test_real_vectors_are_standardised_by_what_trains(name):
    protocol = TASK.protocols[name]
    config, facts = protocol.build(protocol.dataset.find(DATA))
    statistics = config["model"]["data_preprocessor"]["statistics"]
    assert tuple(statistics) == sources.SETS[protocol.dataset.name].modalities
    source = ModalitySource(**config["train_dataloader"]["dataset"]["source"])
    train = sources.load(source, protocol.dataset.find(DATA)).train
    first = next(iter(statistics))
    mean = train.inputs[first].mean(axis=0, dtype=float)
    assert np.allclose(statistics[first]["mean"], mean) == (not name.endswith("carved"))
    assert not facts.variant and sum(facts.class_counts) <= len(train)


@real
def test_features_that_mean_nothing_are_warned_of():
    protocol = TASK.protocols["cremad-feat:mlp"]
    with pytest.warns(UserWarning, match="their accuracy means nothing"):
        protocol.build(protocol.dataset.find(DATA))
    assert "their accuracy means nothing" in protocol.summary


# -- a set of one's own


def test_a_feature_set_of_ones_own_has_the_same_protocols(tmp_path, monkeypatch):
    features = feature_set("owned", lacks="zero")
    monkeypatch.setattr(sources, "SETS", dict(sources.SETS))
    monkeypatch.setattr("tasks.multimodal.families.SETS", sources.SETS)
    feature_sets.declare(features)
    family = declared.feature_family(features, 30, "mine", 1.0, module="my_sets")
    made = Protocols(*family.declared())
    assert made.names == ("owned:mlp",)  # counts are not known before there are data: no variants
    values = np.ones((30, 3), np.float32)
    values[3] = np.nan
    path = write(tmp_path, features, b=values)
    protocol = made["owned:mlp"]
    with pytest.warns(UserWarning, match="'b' is missing for 1 of 30 samples"):
        config, facts = protocol.build(protocol.dataset.find(tmp_path))
    assert protocol.dataset.find(tmp_path) == path
    assert facts.class_counts == (6, 6, 6) and "my_sets" in config["custom_imports"]["imports"]
    assert protocol.carved is not None


def test_streams_are_those_of_the_data_set():
    family = declared.replace(declared.FAMILIES[0], streams=lambda train: {})
    with pytest.raises(ValueError, match="streams"):
        family.declared()[0].make()


def test_the_modules_of_a_config_declare_its_data_set():
    assert (
        "tasks.multimodal.data.views"
        in TASK.protocols["mfeat:mlp"].blank["custom_imports"]["imports"]
    )
    assert set(views.FEATURE_SETS) < set(sources.SETS)
