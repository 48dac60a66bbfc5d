"""Recordings and pictures as samples, their encoders, and a step of each of the papers' protocols."""

import random

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, FUNCTIONS, MODELS, TRANSFORMS
from multimodal_files import (
    picture,
    sound,
    tone,
    write_ave,
    write_crema_d,
    write_features,
    write_modelnet40,
)
from PIL import Image
from torch.utils.data import DataLoader

from suite.base.errors import DataError, UserError
from suite.engine.data import SeededDataset
from tasks.multimodal import (
    datasets,  # noqa: F401
    file_datasets,
    file_networks,
    fusions,  # noqa: F401
    networks,  # noqa: F401
    objectives,  # noqa: F401
)
from tasks.multimodal.data.media import place_of_frame
from tasks.multimodal.data.spectrogram import CREMA_D, log_spectrogram, waveform
from tasks.multimodal.data.wav import read_wav
from tasks.multimodal.file_datasets import collate_modalities
from tasks.multimodal.protocols import PROTOCOLS
from tasks.vision.recipes.image_files import resnet

SMALL = {"type": "RandomResizedCrop", "size": 16}


def crema(root, split="train", **more):
    """Config of a small CREMA-D, its frames drawn and cropped in training."""
    seen = {"type": "ReadFrames", "count": 2}
    if split == "train":
        seen |= {"drawn": True, "transforms": [SMALL]}
    return {
        "type": "ModalityFiles",
        "source": {"name": "crema-d"},
        "root": str(root),
        "split": split,
        "readers": {
            "audio": {"type": "ReadSpectrogram", **CREMA_D.config()},
            "visual": seen,
        },
        **more,
    }


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A copy of CREMA-D, not to be changed; no two crops of a frame are alike."""
    root = write_crema_d(tmp_path_factory.mktemp("clips"))
    slope = np.add.outer(4 * np.arange(20), 7 * np.arange(24))
    for number, folder in enumerate(sorted((root / "Image-01-FPS").iterdir())):
        for second, path in enumerate(sorted(folder.iterdir())):
            levels = (slope + 5 * number + 60 * second) % 250
            Image.fromarray(levels.astype(np.uint8)).save(path)
    return root


# -- readers


def test_a_spectrogram(tmp_path):
    path = sound(tmp_path / "x.wav", tone(1000, 22_050, 0.5), 22_050)
    read = TRANSFORMS.build({"type": "ReadSpectrogram", **CREMA_D.config()})(tmp_path, "x.wav")
    assert read.shape == (1, 257, 188) and read.dtype == torch.float32
    expected = log_spectrogram(waveform(read_wav(path), CREMA_D), CREMA_D)
    np.testing.assert_array_equal(read[0].numpy(), expected)


@pytest.mark.parametrize(
    ("frames", "count", "expected"),
    [(3, 1, [1]), (10, 3, [1, 5, 8]), (2, 3, [0, 1, 1]), (1, 3, [0, 0, 0]), (9, 3, [1, 4, 7])],
)
def test_frames_of_a_test_sample_are_the_middle_ones(tmp_path, frames, count, expected):
    for number in range(frames):
        picture(tmp_path / "clip" / f"{number}.png", 20 * number, (4, 3))
    read = TRANSFORMS.build({"type": "ReadFrames", "count": count})(tmp_path, "clip")
    assert read.shape == (count, 3, 3, 4) and read.dtype == torch.uint8
    assert (read[:, 0, 0, 0] // 20).tolist() == expected


def test_drawn_frames_are_of_their_segment():
    for count, segments in ((10, 3), (7, 2), (5, 5)):
        for segment in range(segments):
            places = {
                place_of_frame(count, segment, segments, share)
                for share in np.linspace(0, 1, 100, endpoint=False)
            }
            low, high = segment * count / segments, (segment + 1) * count / segments
            assert places == set(range(int(low), int(np.ceil(high))))


def test_views_are_drawn_or_fixed(tmp_path):
    for view in range(90):
        picture(tmp_path / f"cup.{view}.png", view, (3, 3))
    drawn = TRANSFORMS.build({"type": "ReadView", "first": 0, "beyond": 90})
    random.seed(0)
    seen = [int(drawn(tmp_path, "cup")[0, 0, 0]) for _ in range(300)]
    assert min(seen) < 5 and max(seen) > 84 and len(set(seen)) > 60
    fixed = TRANSFORMS.build({"type": "ReadView", "first": 45, "beyond": 46})
    assert {int(fixed(tmp_path, "cup")[0, 0, 0]) for _ in range(5)} == {45}
    with pytest.raises(UserError, match="no place from 5 to before 5"):
        file_datasets.ReadView(5, 5)
    with pytest.raises(UserError, match="count is 0"):
        file_datasets.ReadFrames(0)


# -- the data set


def test_samples_and_batches(clips):
    data = DATASETS.build(crema(clips, "test"))
    assert len(data) == 24 and data.labels[:6].tolist() == [0, 1, 2, 3, 4, 5]
    sample = data[-1]
    assert sample["index"] == 23 and sample["label"] == 5
    assert sample["inputs"]["audio"].shape == (1, 257, 188)
    assert sample["inputs"]["visual"].shape == (2, 3, 20, 24)
    batch = collate_modalities([data[3], data[0]])
    assert batch["label"].tolist() == [3, 0] and batch["index"].tolist() == [3, 0]
    assert batch["inputs"]["visual"].shape == (2, 2, 3, 20, 24)
    assert torch.equal(batch["inputs"]["audio"][1], data[0]["inputs"]["audio"])
    with pytest.raises(IndexError):
        data[24]


def test_parts_of_a_carved_training_set(clips):
    parts = {
        part: DATASETS.build(crema(clips, carved={"part": part, "fraction": 0.25, "seed": 0}))
        for part in ("train", "val")
    }
    assert {part: len(data) for part, data in parts.items()} == {"train": 18, "val": 6}
    assert sorted(parts["val"].labels.tolist()) == [0, 1, 2, 3, 4, 5]


def seeded(config, seed=3):
    return SeededDataset(config, seed)


def test_a_sample_follows_from_seed_position_and_modality(clips):
    """Whatever is asked for before, whatever other modalities draw."""
    data = seeded(crema(clips))
    first = data[(7, 4)]["inputs"]["visual"]
    data[(8, 4)]
    random.random()
    assert torch.equal(seeded(crema(clips))[(7, 4)]["inputs"]["visual"], first)
    others = [seeded(crema(clips), 4)[(7, 4)], data[(8, 4)]]
    assert not any(torch.equal(other["inputs"]["visual"], first) for other in others)

    readers = crema(clips)["readers"]
    # sound that draws numbers of its own, before the frames do
    greedy = crema(clips)
    greedy["readers"] = {
        "audio": {"type": "ReadGreedily"},
        "visual": readers["visual"],
    }
    assert torch.equal(seeded(greedy)[(7, 4)]["inputs"]["visual"], first)


@TRANSFORMS.register_module()
class ReadGreedily:
    """Draws a hundred numbers."""

    def __call__(self, root, entry):
        return torch.tensor([random.random() for _ in range(100)])


def test_two_modalities_do_not_draw_the_same(clips):
    config = crema(clips)
    config["readers"] = {name: {"type": "ReadGreedily"} for name in config["readers"]}
    drawn = seeded(config)[(7, 4)]["inputs"]
    assert not torch.isclose(drawn["audio"], drawn["visual"]).any()
    # the generator that everybody shares goes on as if nothing had been drawn
    random.seed(1)
    before = random.random()
    random.seed(1)
    DATASETS.build(config)[0]
    assert random.random() == before


def test_what_does_not_fit(clips, tmp_path):
    readers = {"audio": {"type": "ReadSpectrogram", **CREMA_D.config()}}
    with pytest.raises(ValueError, match="readers of"):
        DATASETS.build(crema(clips, readers=readers))
    data = DATASETS.build(crema(clips, "test"))
    one, two = data[0], data[1]
    two["inputs"]["visual"] = two["inputs"]["visual"][..., :10]
    with pytest.raises(UserError, match="samples of visual of 2x3x20x10 and 2x3x20x24 do not fit"):
        collate_modalities([one, two])
    root = write_crema_d(tmp_path)
    data = DATASETS.build(crema(root, "test"))
    broken = root / "AudioWAV/1001_IEO_NEU_XX.wav"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(DataError, match=r"1001_IEO_NEU_XX\.wav is cut off: 56 of 6,400 bytes"):
        data[0]


@pytest.mark.slow
def test_data_workers_change_nothing(clips):
    """Samples, and so augmentation, are the same with and without processes that read them."""
    batches = []
    for workers in (0, 2):
        loader = DataLoader(
            seeded(crema(clips)),
            batch_size=4,
            sampler=[(at, at % 5) for at in range(8)],
            num_workers=workers,
            collate_fn=collate_modalities,
        )
        batches.append([batch["inputs"]["visual"] for batch in loader])
    assert all(map(torch.equal, *batches))


# -- encoders


@pytest.mark.slow
def test_frames_are_encoded_one_by_one_and_averaged():
    torch.manual_seed(0)
    encoder = MODELS.build(
        {"type": "PictureEncoder", "backbone": {**resnet(18), "in_channels": 3}}
    ).eval()
    x = torch.randn(2, 3, 3, 32, 32)
    together = encoder(x)
    assert together.shape == (2, 512)
    apart = torch.stack([encoder(x[:, t]) for t in range(3)]).mean(0)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_resnets_initial_weights_are_its_own_rule_and_the_modalitys():
    """He et al.'s (N(0, 2 / (k^2 out))), made with the encoder: alike whichever modalities stand beside it."""

    def model(names):
        torch.manual_seed(5)
        encoders = {
            name: {"type": "PictureEncoder", "backbone": {**resnet(18), "in_channels": channels}}
            for name, channels in names.items()
        }
        return MODELS.build(
            {
                "type": "MultimodalClassifier",
                "encoders": encoders,
                "fusion": {
                    "type": "ConcatFusion",
                    "widths": dict.fromkeys(names, 512),
                    "classes": 4,
                },
                "objective": {"type": "JointCrossEntropy"},
                "data_preprocessor": {"type": "ModalityBatch", "statistics": {}},
            }
        )

    both = model({"audio": 1, "visual": 3})
    alone = model({"visual": 3})
    for made in (both, alone):
        made.init_weights()  # as the runner does
    weights = both.encoders["visual"].backbone.layer2[0].conv1.weight
    assert torch.equal(weights, alone.encoders["visual"].backbone.layer2[0].conv1.weight)
    assert weights.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)

    torch.manual_seed(1)
    ours = file_networks.PictureEncoder({**resnet(18), "in_channels": 1}).backbone
    torch.manual_seed(1)
    theirs = MODELS.build({**resnet(18), "in_channels": 1})
    theirs.init_weights()
    theirs, ours = theirs.state_dict(), ours.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())


def test_padding_of_sequences_changes_nothing():
    torch.manual_seed(0)
    encoder = file_networks.SequenceEncoder(5, 8)
    x = torch.randn(4, 6, 5)
    longer = torch.cat([torch.zeros(4, 3, 5), x, torch.zeros(4, 2, 5)], 1)
    torch.testing.assert_close(encoder(x), encoder(longer))
    encoder.eval()
    torch.testing.assert_close(encoder(x), encoder(longer))
    assert encoder(x).shape == (4, 8)


def test_a_sample_without_steps_has_features_all_the_same():
    encoder = file_networks.SequenceEncoder(5, 8)
    x = torch.zeros(3, 6, 5)
    assert torch.equal(encoder(x), encoder(x)[:1].expand(3, 8))
    x[0, 0] = 1.0  # the only step of a batch has no variance
    made = encoder(x)
    assert made.isfinite().all()
    made.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_a_step_of_the_sequence_encoder_by_hand():
    encoder = file_networks.SequenceEncoder(2, 3).eval()
    x = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [3.0, -1.0]]])
    steps = [encoder.step(x[0, t] / (1 + 1e-5) ** 0.5).relu() for t in (0, 2)]
    expected = encoder.last(torch.stack(steps).mean(0)).relu()
    torch.testing.assert_close(encoder(x)[0], expected)


# -- the papers' protocols


WRITE = {
    "crema-d:r18": write_crema_d,
    "crema-d:r18,by-actor": write_crema_d,
    "ave:r18": write_ave,
    "modelnet40:2view": write_modelnet40,
    "mosi:lf": lambda root: write_features(root / "mosi.npz", "mosi"),
    "mosei:lf": lambda root: write_features(root / "mosei.npz", "mosei"),
    "sims:lf": lambda root: write_features(root / "sims.npz", "sims"),
}


def shrunk(config):
    """Pictures of 32 pixels and a second of sound, so that a step is quick."""
    if isinstance(config, dict):
        if config.get("type") in ("RandomResizedCrop", "ResizeShorter", "CenterCrop"):
            config["size"] = 32
        if config.get("type") == "ReadSpectrogram":
            config["seconds"] = 1
        if config.get("type") == "ReadView" and config["beyond"] - config["first"] > 1:
            config["beyond"] = config["first"] + 1
        for value in config.values():
            shrunk(value)
    elif isinstance(config, list):
        for value in config:
            shrunk(value)


def test_declared_protocols():
    names = [
        name
        for name in PROTOCOLS.names
        if name.partition(":")[2].partition(",")[0] in ("r18", "2view", "lf")
    ]
    assert [name for name in names if "ir" not in name.partition(":")[2]] == list(WRITE)
    assert {"crema-d:r18,ir10", "crema-d:r18,ir50"} <= set(names)
    budgets = {name: PROTOCOLS[name].budget for name in WRITE}
    assert {name: b.batch for name, b in budgets.items()} == {
        **dict.fromkeys(WRITE, 64),
        "modelnet40:2view": 48,
    }
    assert [b.iterations for b in budgets.values()] == [
        10_500,
        10_500,
        5_300,
        19_700,
        2_100,
        25_600,
        2_200,
    ]
    for name in WRITE:
        blank = PROTOCOLS[name].blank
        assert blank["optim_wrapper"]["optimizer"] == {
            "type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4
        }  # fmt: skip
        workers = blank["train_dataloader"]["num_workers"]
        assert workers == (0 if name.endswith("lf") else 8)
        assert blank["prediction_dataloaders"]["train"]["num_workers"] == workers


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITE)
def test_a_training_step_and_a_test(tmp_path, name):
    WRITE[name](tmp_path)
    protocol = PROTOCOLS[name]
    path = protocol.dataset.find(tmp_path)
    assert protocol.dataset.check(path, False) == []
    config, facts = protocol.build(path)
    assert facts.variant and facts.iterations == protocol.budget.iterations
    shrunk(config)
    # a processor without bfloat16 takes twenty times as long under autocast
    config["model"]["bf16"] = False
    config["train_cfg"]["max_iters"] = 2
    config["train_dataloader"]["batch_size"] = 4
    for loader in (config["train_dataloader"], config["test_dataloader"]):
        for key in ("persistent_workers", "pin_memory"):
            loader.pop(key, None)
        loader["num_workers"] = 0
        loader["batch_size"] = min(4, loader["batch_size"])
    train = DATASETS.build(config["train_dataloader"]["dataset"])
    collate = FUNCTIONS.get(config["train_dataloader"]["collate_fn"]["type"])
    places = list(range(4))
    made = train.__getitems__(places) if hasattr(train, "batch") else [train[i] for i in places]
    torch.manual_seed(0)
    model = MODELS.build(config["model"])
    model.init_weights()
    wrapper = build_optim_wrapper(model, config["optim_wrapper"])
    batch = collate(made)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    logged = model.train_step(batch, wrapper)
    assert logged["loss"].isfinite()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    modalities = list(config["model"]["encoders"])
    assert {n.split(".")[1] for n in moved if n.startswith("encoders.")} == set(modalities)
    losses = [model.train_step(batch, wrapper)["loss"].item() for _ in range(4)]
    assert losses[-1] < logged["loss"].item()
    model.eval()
    test = DATASETS.build(config["test_dataloader"]["dataset"])
    made = test.__getitems__([0, 1]) if hasattr(test, "batch") else [test[0], test[1]]
    with torch.no_grad():
        predicted = model.test_step(collate(made))
    assert predicted[0]["logits"].shape == (2, len(facts.classes))
    assert set(predicted[0]["features"]) == set(modalities)
    assert all(f.isfinite().all() for f in predicted[0]["features"].values())


def test_sets_of_a_carved_protocol(tmp_path):
    write_features(tmp_path / "mosi.npz", "mosi")
    config, facts = PROTOCOLS["mosi:lf:carved"].build(tmp_path / "mosi.npz")
    sizes = {
        part: len(DATASETS.build(config["prediction_dataloaders"][part]["dataset"]))
        for part in ("train", "val")
    }
    assert sizes == {"train": 9, "val": 3} and facts.class_counts == (3, 3, 3)
