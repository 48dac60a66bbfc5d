import io
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.runner.checkpoint import get_state_dict, load_state_dict, weights_to_cpu
from mmengine.structures import PixelData
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import nn

from baselines.segmentation.tmb import (
    STATE_PREFIX,
    Crop,
    TMemoryBankPreProcessor,
    _crop,
    _margin,
    _resized,
    install_bank,
)

SIDE = 8


def bank(tail=(1, 2), **kwargs):
    torch.manual_seed(0)
    return TMemoryBankPreProcessor(list(tail), size=(SIDE, SIDE), **kwargs)


def batch(*labels, value=0.0):
    """Images of one value, with the given label maps."""
    samples = []
    for label in labels:
        data = PixelData(data=torch.as_tensor(label)[None].clone())
        samples.append(SegDataSample(gt_sem_seg=data))
    return {
        "inputs": [torch.full((3, *torch.as_tensor(label).shape), value) for label in labels],
        "data_samples": samples,
    }


def block(index, side=3, background=0, at=0):
    label = torch.full((SIDE, SIDE), background)
    label[at : at + side, at : at + side] = index
    return label


def outcome(result):
    return result["inputs"], torch.stack([s.gt_sem_seg.data[0] for s in result["data_samples"]])


def test_missing_class_appears_on_the_same_pixels_of_image_and_label():
    module = bank()
    module(batch(block(1), value=7.0), training=True)
    images, labels = outcome(module(batch(block(0), block(0)), training=True))
    assert (labels == 1).sum() == 9
    assert torch.equal((images == 7).all(1), labels == 1)
    assert (images[:, 0][labels != 1] == 0).all()
    assert len({int((label == 1).any()) for label in labels}) == 2  # into one image only


def test_present_class_is_not_pasted():
    module = bank(tail=(1,))
    module(batch(block(1), value=7.0), training=True)
    images, labels = outcome(module(batch(block(1, side=1), block(0)), training=True))
    assert (labels == 1).sum() == 1
    assert not images.any()


def test_image_scope_looks_at_each_image():
    module = bank(tail=(1,), scope="image")
    module(batch(block(1), value=7.0), training=True)
    _, labels = outcome(module(batch(block(1, side=1), block(0)), training=True))
    assert (labels[0] == 1).sum() == 1
    assert (labels[1] == 1).any()


def test_stored_pixels_survive_pasting_into_their_image():
    module = bank(memory_size=1)
    module(batch(block(2, side=SIDE), value=10.0), training=True)
    pasted = module(batch(block(1, side=SIDE), value=20.0), training=True)
    assert (outcome(pasted)[0] == 10).any()  # class 2 landed in the image that class 1 came from
    assert (module.crops[1][0].image == 20).all()


def test_callers_label_maps_are_not_written():
    module = bank()
    module(batch(block(1)), training=True)
    data = batch(block(0))
    before = data["data_samples"][0].gt_sem_seg.data
    module(data, training=True)
    assert not before.any()


@pytest.mark.parametrize(
    "quiet",
    [{"sample_ratio": 0.0}, {"tail": ()}],
)
def test_nothing_to_paste_changes_nothing(quiet):
    module = bank(**quiet)
    module(batch(block(1), value=7.0), training=True)
    images, labels = outcome(module(batch(block(0)), training=True))
    assert not images.any()
    assert not labels.any()


def test_evaluation_neither_stores_nor_pastes():
    module = bank()
    module(batch(block(1), value=7.0), training=False)
    assert not module.crops
    module(batch(block(1), value=7.0), training=True)
    assert not outcome(module(batch(block(0)), training=False))[0].any()


@pytest.mark.parametrize(("ratio", "pasted"), [(0.1, 3), (0.05, 2), (0.34, 11), (1.0, 30)])
def test_sampled_share_is_rounded_up(ratio, pasted):
    tail = range(1, 31)
    module = bank(tail=tail, sample_ratio=ratio)
    crop = Crop(torch.ones(3, 1, 1), torch.ones(1, 1, dtype=torch.bool))
    module.crops = {index: [crop] for index in tail}
    calls = []
    module._paste = lambda index, *rest: calls.append(index)
    module(batch(block(0)), training=True)
    assert len(set(calls)) == len(calls) == pasted


def test_crop_is_tight_and_keeps_only_the_class_mask():
    label = block(0)
    label[2, 3], label[4, 6], label[3, 4] = 1, 1, 255
    module = bank()
    module(batch(label), training=True)
    (crop,) = module.crops[1]
    assert crop.image.shape == (3, 3, 4)
    assert crop.mask.nonzero().tolist() == [[0, 0], [2, 3]]


@pytest.mark.parametrize(
    ("update", "kept"), [("fifo", [2, 3, 4]), ("lifo", [0, 1, 4]), ("random", None)]
)
def test_update_rules(update, kept):
    module = bank(tail=(1,), memory_size=3, update=update)
    for value in range(5):
        module(batch(block(1), value=float(value)), training=True)
    values = [int(crop.image[0, 0, 0]) for crop in module.crops[1]]
    assert len(values) == 3
    assert 4 in values
    assert kept is None or values == kept


def test_random_update_reaches_every_slot():
    module = bank(tail=(1,), memory_size=3)
    for value in range(40):
        module(batch(block(1), value=float(value)), training=True)
    assert min(int(crop.image[0, 0, 0]) for crop in module.crops[1]) >= 3


@pytest.mark.parametrize(("ratio", "pixels"), [(0.5, 4), (2.0, 64), (9.0, 64), (0.01, 1)])
def test_resized_crops_fit_the_image(ratio, pixels):
    module = bank(tail=(1,), resize_ratio=ratio)
    module(batch(block(1, side=4), value=7.0), training=True)
    images, labels = outcome(module(batch(block(0)), training=True))
    assert (labels == 1).sum() == pixels
    assert torch.equal((images[:, 0] - 7).abs() < 1e-5, labels == 1)


def test_padding_is_no_class():
    module = bank(tail=(1, 2))
    module(batch(torch.ones(4, 4, dtype=torch.int64), value=7.0), training=True)
    assert set(module.crops) == {1}
    assert module.crops[1][0].mask.shape == (4, 4)
    _, labels = outcome(module(batch(torch.full((4, 4), 255)), training=True))
    assert (labels == 1).sum() == 16
    assert set(labels.unique().tolist()) == {1, 255}


def stream(seed, count):
    generator = torch.Generator().manual_seed(seed)
    for value in range(count):
        labels = [
            block(int(torch.randint(0, 3, (), generator=generator)), side=1 + value % 5)
            for _ in range(2)
        ]
        yield batch(*labels, value=float(value))


def run(module, batches):
    return [
        torch.cat([part.flatten().double() for part in outcome(module(data, training=True))])
        for data in batches
    ]


def test_same_seed_same_pastes_and_the_global_stream_is_untouched():
    first = run(bank(), stream(0, 12))
    module = bank()
    before = torch.get_rng_state()
    second = run(module, stream(0, 12))
    assert torch.equal(before, torch.get_rng_state())
    assert all(map(torch.equal, first, second))
    torch.manual_seed(1)
    other = TMemoryBankPreProcessor([1, 2], size=(SIDE, SIDE))
    assert not all(map(torch.equal, first, run(other, stream(0, 12))))


class Model(nn.Module):
    """As EncoderDecoder: the preprocessor is a submodule."""

    def __init__(self, preprocessor):
        super().__init__()
        self.data_preprocessor = preprocessor
        self.head = nn.Conv2d(3, 3, 1)


@pytest.mark.parametrize("update", ["random", "fifo", "lifo"])
@pytest.mark.parametrize("loader", ["torch", "mmengine"])
def test_resumed_bank_pastes_as_the_undisturbed_one(update, loader):
    model = Model(bank(memory_size=2, update=update))
    run(model.data_preprocessor, stream(0, 10))
    file = io.BytesIO()
    torch.save(weights_to_cpu(get_state_dict(model)), file)
    expected = run(model.data_preprocessor, stream(1, 10))
    file.seek(0)
    torch.manual_seed(99)
    resumed = Model(
        TMemoryBankPreProcessor([1, 2], memory_size=2, update=update, size=(SIDE, SIDE))
    )
    state = torch.load(file, weights_only=True)
    if loader == "torch":
        resumed.load_state_dict(state, strict=True)
    else:
        load_state_dict(resumed, state, strict=True)
    assert all(map(torch.equal, expected, run(resumed.data_preprocessor, stream(1, 10))))


def test_state_is_tensors_under_one_prefix():
    model = Model(bank())
    run(model.data_preprocessor, stream(0, 6))
    state = model.state_dict()
    added = {key for key in state if key.startswith("data_preprocessor." + STATE_PREFIX)}
    plain = Model(SegDataPreProcessor(size=(SIDE, SIDE)))
    assert set(state) - added == set(plain.state_dict())
    assert len(added) > 3
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    plain.load_state_dict({key: state[key] for key in state if key not in added}, strict=True)


def test_weights_without_a_bank_load_strictly_and_leave_it():
    model = Model(bank())
    run(model.data_preprocessor, stream(0, 6))
    crops = dict(model.data_preprocessor.crops)
    plain = Model(SegDataPreProcessor(size=(SIDE, SIDE)))
    model.load_state_dict(plain.state_dict(), strict=True)
    assert model.data_preprocessor.crops == crops
    assert torch.equal(model.head.weight, plain.head.weight)


def test_unknown_keys_are_still_reported():
    model = Model(bank())
    state = model.state_dict() | {"data_preprocessor.other": torch.zeros(1)}
    with pytest.raises(RuntimeError, match=r"data_preprocessor\.other"):
        model.load_state_dict(state, strict=True)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"tail": (255,)},
        {"memory_size": 0},
        {"sample_ratio": 1.1},
        {"resize_ratio": 0.0},
        {"update": "newest"},
        {"scope": "dataset"},
        {"placement": "centre"},
    ],
)
def test_invalid_arguments_are_refused(kwargs):
    with pytest.raises(ValueError, match="TMemoryBankPreProcessor"):
        bank(**kwargs)


def preprocessor_config(kind):
    return Config({"model": {"data_preprocessor": {"type": kind, "size": (8, 8)}}})


def test_install_bank_keeps_the_preprocessors_settings():
    facts = SimpleNamespace(groups={"tail": (4, 5)})
    cfg = install_bank(preprocessor_config("SegDataPreProcessor"), facts, update="fifo")
    settings = cfg.model.data_preprocessor
    assert settings.type == "TMemoryBankPreProcessor"
    assert (settings.size, settings.tail_classes, settings["update"]) == ((8, 8), [4, 5], "fifo")


def test_install_bank_without_tail_classes_changes_nothing():
    cfg = install_bank(preprocessor_config("Other"), SimpleNamespace(groups={"tail": ()}))
    assert cfg.model.data_preprocessor.type == "Other"


def test_install_bank_refuses_to_displace_another_method():
    with pytest.raises(ValueError, match="Other"):
        install_bank(preprocessor_config("Other"), SimpleNamespace(groups={"tail": (1,)}))


# -- placement


def released(image, label, index, ratio):
    """(image, mask) that the released code places: the whole image and the class's pixels in it, resized to
    sides rounded down, bilinear and nearest."""
    size = [max(1, int(side * ratio)) for side in label.shape]
    mask = (label == index).float()[None, None]
    if size == list(label.shape):
        return image, label == index
    image = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]
    return image, F.interpolate(mask, size=size, mode="nearest")[0, 0] > 0.5


@pytest.mark.parametrize("ratio", [0.1, 0.17, 0.4, 0.5, 0.9, 1.0, 1.3])
def test_the_whole_placement_is_the_released_resize_of_the_whole_image(ratio):
    """Though only a box around the class is stored."""
    generator = torch.Generator().manual_seed(0)
    found = 0
    for _ in range(20):
        image = torch.rand(3, 41, 30, generator=generator)
        label = torch.zeros(41, 30, dtype=torch.int64)
        top, left = (int(torch.randint(side - 9, (), generator=generator)) for side in (41, 30))
        label[top : top + 9, left : left + 7] = torch.randint(0, 2, (9, 7), generator=generator)
        label[top, left] = 1
        crop = _resized(_crop(image, label == 1, _margin(ratio)), ratio)
        wanted, mask = released(image, label, 1, ratio)
        assert torch.equal(crop.mask, mask)
        assert torch.equal(crop.image[:, mask], wanted[:, mask])
        found += int(mask.sum())
    assert found


def positions(ratio, placement, pastes=60):
    """Where the pasted class comes to lie, top left corners."""
    module = bank(tail=(1,), resize_ratio=ratio, placement=placement)
    module(batch(block(1, side=1, at=4), value=7.0), training=True)
    found = set()
    for _ in range(pastes):
        _, labels = outcome(module(batch(block(0)), training=True))
        if (labels == 1).any():
            found.add(tuple((labels[0] == 1).nonzero()[0].tolist()))
    return found


def test_at_full_size_a_whole_image_leaves_the_object_where_it_was():
    assert positions(1.0, "whole") == {(4, 4)}
    assert len(positions(1.0, "tight")) > 30
    # of 4 x 4 pixels, in which it is at (2, 2), at five offsets a side
    assert positions(0.5, "whole", 300) == {(2 + y, 2 + x) for y in range(5) for x in range(5)}


def test_whole_images_come_back_from_a_state():
    module = bank(tail=(1,), resize_ratio=0.5, placement="whole")
    module(batch(block(1, at=2), value=7.0), training=True)
    other = bank(tail=(1,), resize_ratio=0.5, placement="whole")
    other.load_state_dict(module.state_dict())
    (kept,), (loaded,) = module.crops[1], other.crops[1]
    assert kept.frame.tolist() == [0, 0, SIDE, SIDE] and torch.equal(kept.frame, loaded.frame)
    later = [outcome(one(batch(block(0)), training=True)) for one in (module, other)]
    assert all(torch.equal(*pair) for pair in zip(*later, strict=True))
    assert "tmb.1.0.frame" not in bank(tail=(1,)).state_dict()
