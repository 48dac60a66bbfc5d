"""Batched augmentation: each operation against Pillow, crops against a loop, draws against chance."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import binomtest, chisquare
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tasks.vision.augment import autoaugment
from tasks.vision.augment.batch import BatchAutoAugment, BatchCrop, BatchCutout, BatchFlip, augment

ENHANCEMENTS = ("Brightness", "Color", "Contrast", "Sharpness")
ALL = [
    BatchCrop(4),
    BatchFlip(),
    BatchAutoAugment(fill=(9, 80, 200)),
    BatchAutoAugment(fill=(9, 80, 200), form="released"),
    BatchCutout(16, (1, 2, 3)),
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(batch=6, channels=3, height=32, width=32, seed=0):
    """Ramps with noise; the first is flat, the second of few levels (no stretch, a step of 0)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    slope = rng.uniform(-6, 6, (2, batch, channels, 1, 1))
    noise = rng.normal(0, 12, (batch, channels, height, width))
    levels = 128 + slope[0] * (y - height / 2) + slope[1] * (x - width / 2) + noise
    levels[0] = 77
    if batch > 1:
        levels[1] = np.where(x < 2, 20, 90)
    return torch.from_numpy(levels.clip(0, 255).astype(np.uint8))


def pillow(image, name, strength, fill, form="torchvision"):
    """The operation as torchvision calls it, or the PIL script that long-tail code ships."""
    width, height = image.size
    released = form == "released"
    whole = float if released else int

    def affine(*matrix, how=Image.Resampling.NEAREST):
        return image.transform(image.size, Image.Transform.AFFINE, matrix, how, fillcolor=fill)

    def shear(*matrix):
        how = Image.Resampling.BICUBIC if released else Image.Resampling.NEAREST
        return affine(*matrix, how=how)

    if name in ENHANCEMENTS:
        return getattr(ImageEnhance, name)(image).enhance(1 + strength)
    if name == "Posterize":
        return ImageOps.posterize(image, int(strength))
    if name == "Solarize":
        return ImageOps.solarize(image, strength)
    if name == "Rotate" and released and image.mode == "RGB":
        turned = image.convert("RGBA").rotate(strength)
        return Image.composite(turned, Image.new("RGBA", image.size, (*fill, 128)), turned).convert(
            "RGB"
        )
    if name == "Rotate":
        return image.rotate(strength, Image.Resampling.NEAREST, fillcolor=fill)
    return {
        "ShearX": lambda: shear(1, -strength, 0, 0, 1, 0),
        "ShearY": lambda: shear(1, 0, 0, -strength, 1, 0),
        "TranslateX": lambda: affine(1, 0, -whole(strength * width), 0, 1, 0),
        "TranslateY": lambda: affine(1, 0, 0, 0, 1, -whole(strength * height)),
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
    }[name]()


def by_pillow(images, name, strength, fill, form):
    """uint8 (B, C, H, W) through `pillow`, image by image."""
    results = []
    for image in images.permute(0, 2, 3, 1).numpy():
        grey = image.shape[2] == 1
        picture = Image.fromarray(image[..., 0] if grey else np.ascontiguousarray(image))
        done = np.asarray(pillow(picture, name, strength, fill[0] if grey else fill, form))
        results.append(done.reshape(image.shape).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(results))


def strengths(name, form):
    levels = {autoaugment.magnitude(name, level, form): None for level in range(10)}
    if not autoaugment.signed(name):
        return list(levels)
    return [sign * strength for strength in levels for sign in (1, -1)]


@pytest.mark.parametrize("form", autoaugment.FORMS)
@pytest.mark.parametrize("name", autoaugment.KINDS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 17, 40), (3, 2, 5), (1, 1, 1)])
def test_every_operation_and_magnitude_gives_pillows_pixels(name, shape, form):
    images = pictures(6, *shape)
    before = images.clone()
    fill = (10, 200, 90)[: shape[0]]
    how = autoaugment.FORMS[form]
    for strength in strengths(name, how):
        levels = torch.tensor(fill, dtype=torch.uint8)
        done = autoaugment.apply(images, name, strength, levels, how)
        wanted = by_pillow(images, name, strength, fill, form)
        if name in ENHANCEMENTS:  # floating point in C: a compiler may fuse multiply and add
            off = (done.int() - wanted.int()).abs()
            assert off.max() <= 1 and off.float().mean() < 0.01, strength
        else:
            assert torch.equal(done, wanted), strength
    assert torch.equal(images, before)


def test_magnitudes_span_the_papers_ranges():
    ends = {
        n: (autoaugment.magnitude(n, 0), autoaugment.magnitude(n, 9)) for n in autoaugment.KINDS
    }
    assert ends["ShearX"] == ends["ShearY"] == (0, pytest.approx(0.3))
    assert ends["TranslateX"] == ends["TranslateY"] == (0, pytest.approx(150 / 331))
    assert ends["Rotate"] == (0, 30)
    assert all(ends[name] == (0, pytest.approx(0.9)) for name in ENHANCEMENTS)
    assert ends["Posterize"] == (8, 4) and ends["Solarize"] == (255, 0)
    assert [autoaugment.magnitude("Posterize", k) for k in range(10)] == [
        8, 8, 7, 7, 6, 6, 5, 5, 4, 4,
    ]  # fmt: skip


def test_the_released_form_is_that_of_the_script():
    form = autoaugment.FORMS["released"]
    assert BatchAutoAugment(form="released").fill.tolist() == [128]
    assert BatchAutoAugment().fill.tolist() == [0]
    thresholds = [autoaugment.magnitude("Solarize", level, form) for level in range(10)]
    assert thresholds == pytest.approx(np.linspace(256, 0, 10))
    # 4.83 pixels to the left, not 4: half of the way to the next neighbour decides
    ramp = torch.arange(32, dtype=torch.uint8).view(1, 1, 1, 32).expand(1, 1, 32, 32)
    fill = torch.tensor([128], dtype=torch.uint8)
    strength = autoaugment.magnitude("TranslateX", 3, form)
    assert strength * 32 == pytest.approx(4.834, abs=1e-3)
    moved = autoaugment.apply(ramp, "TranslateX", -strength, fill, form)
    assert moved[0, 0, 0].tolist() == [*range(5, 32), *[128] * 5]
    moved = autoaugment.apply(ramp, "TranslateX", -strength, fill)
    assert moved[0, 0, 0].tolist() == [*range(4, 32), *[128] * 4]


def test_the_policy_has_the_papers_25_sub_policies():
    policy = autoaugment.CIFAR10
    assert len(policy) == 25 and all(len(step) == 2 for step in policy)
    assert policy[1] == (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9))
    assert policy[24] == (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, None))
    names = [name for step in policy for name, _, _ in step]
    assert {n: names.count(n) for n in ("Equalize", "AutoContrast", "Sharpness", "ShearX")} == {
        "Equalize": 9, "AutoContrast": 7, "Sharpness": 5, "ShearX": 0,
    }  # fmt: skip
    # of the table as torchvision 0.29 has it: a slip in a single number shows here
    assert sum(prob for step in policy for _, prob, _ in step) == pytest.approx(26.5)
    assert sum(level or 0 for step in policy for _, _, level in step) == 187


def test_color_leaves_one_channel_images_as_they_are():
    images = pictures(channels=1)
    done = autoaugment.apply(images, "Color", 0.9, torch.zeros(1, dtype=torch.uint8))
    assert torch.equal(done, images)


def test_an_unknown_operation_is_named():
    with pytest.raises(ValueError, match="unknown operation 'Shear'; known: ShearX, "):
        autoaugment.apply(pictures(), "Shear", 0.1, torch.zeros(3, dtype=torch.uint8))


@pytest.mark.parametrize("form", autoaugment.FORMS)
@pytest.mark.parametrize("channels", [1, 3])
def test_auto_augment_is_its_draws_done_one_image_at_a_time(channels, form):
    images = pictures(80, channels)
    fill = (9, 80, 200)[:channels]
    transform = BatchAutoAugment(fill=fill, form=form)
    how = autoaugment.FORMS[form]
    which, applied, sign = transform.draw(len(images), seeded(3))
    done = transform(images, seeded(3))
    for k, image in enumerate(images):
        wanted = image[None]
        for step, (name, _, level) in enumerate(autoaugment.CIFAR10[which[k]]):
            if applied[k, step]:
                strength = autoaugment.magnitude(name, level, how)
                if autoaugment.signed(name) and not sign[k, step]:
                    strength = -strength
                levels = torch.tensor(fill, dtype=torch.uint8)
                wanted = autoaugment.apply(wanted, name, strength, levels, how)
        assert torch.equal(done[k], wanted[0])


def test_auto_augment_draws_sub_policies_and_signs_evenly_and_operations_by_probability():
    which, applied, sign = BatchAutoAugment().draw(50_000, seeded())
    assert chisquare(torch.bincount(which, minlength=25).numpy()).pvalue > 1e-3
    assert binomtest(int(sign.sum()), sign.numel()).pvalue > 1e-3
    for index, step in enumerate(autoaugment.CIFAR10):
        hits = applied[which == index]
        for column, (_, prob, _) in enumerate(step):
            assert binomtest(int(hits[:, column].sum()), len(hits), prob).pvalue > 1e-5


def cropped_one_by_one(images, padding, seed):
    batch, _, height, width = images.shape
    offset = torch.randint(2 * padding + 1, (2, batch), generator=seeded(seed)).T.tolist()
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    crops = [
        image[:, y : y + height, x : x + width]
        for image, (y, x) in zip(padded, offset, strict=True)
    ]
    return torch.from_numpy(np.stack(crops))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 9),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    padding=st.integers(0, 6),
    seed=st.integers(0, 99),
)
def test_batch_crop_is_a_loop_of_crops(batch, channels, height, width, padding, seed):
    images = pictures(batch, channels, height, width, seed)
    done = BatchCrop(padding)(images, seeded(seed))
    assert torch.equal(done, cropped_one_by_one(images, padding, seed))


def test_batch_crop_reaches_every_offset_equally_often():
    images = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).expand(9000, 1, 5, 5)
    centre = BatchCrop(1)(images, seeded())[:, 0, 2, 2]
    seen, counts = centre.unique(return_counts=True)
    assert seen.tolist() == [7, 8, 9, 12, 13, 14, 17, 18, 19]
    assert chisquare(counts.numpy()).pvalue > 1e-3


def test_batch_flip_mirrors_left_to_right_or_not_at_all():
    images = pictures(40)
    done = BatchFlip()(images, seeded())
    same = (done == images).flatten(1).all(1)
    mirrored = (done == images.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 5 < (mirrored & ~same).sum() < 35  # the flat image is both
    assert torch.equal(BatchFlip(1)(images, seeded()), images.flip(3))
    assert torch.equal(BatchFlip(0)(images, seeded()), images)


@pytest.mark.parametrize("size", [1, 4, 5, 40])
def test_cutout_covers_one_clipped_square_and_nothing_else(size):
    images = pictures(300, 3, 8, 10).clamp(min=50)
    covered = (BatchCutout(size, (4, 5, 6))(images, seeded()) != images).all(1)
    fill = torch.tensor([4, 5, 6], dtype=torch.uint8).view(3, 1, 1)
    wanted = torch.where(covered.unsqueeze(1), fill, images)
    assert torch.equal(BatchCutout(size, (4, 5, 6))(images, seeded()), wanted)
    rows, columns = covered.any(2), covered.any(1)
    assert torch.equal(covered, rows.unsqueeze(2) & columns.unsqueeze(1))
    for line, length in ((rows, 8), (columns, 10)):
        place = torch.arange(length)
        first = torch.where(line, place, length).amin(1)
        last = torch.where(line, place, -1).amax(1)
        assert torch.equal(line.sum(1), last - first + 1)
        # all positions occur: clipped to the half at least, whole where there is room
        sides = {min(length, c + size - size // 2) - max(0, c - size // 2) for c in range(length)}
        assert set(line.sum(1).tolist()) == sides


def test_cutout_centres_are_uniform_over_the_image():
    images = torch.full((8000, 1, 4, 5), 200, dtype=torch.uint8)
    covered = BatchCutout(1)(images, seeded()) == 0
    assert torch.equal(covered.flatten(1).sum(1), torch.ones(8000, dtype=torch.long))
    assert chisquare(covered.sum(0).flatten().numpy()).pvalue > 1e-3


def test_fill_is_black_by_default_one_level_or_one_a_channel_rounded():
    images = pictures(20).clamp(min=1)
    corners = {
        levels: BatchCutout(80, levels)(images, seeded())[0, :, 0, 0].tolist()
        for levels in (0, 125.3, (125.3, 122.9, 113.9))
    }
    assert list(corners.values()) == [[0, 0, 0], [125, 125, 125], [125, 123, 114]]
    assert (BatchCutout(80)(images, seeded()) == 0).all()


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_a_transform_depends_on_the_seed_only_and_leaves_its_input(transform):
    images = pictures(30, height=28, width=36)
    before = images.clone()
    done = transform(images, seeded(1))
    assert torch.equal(images, before)
    assert done.data_ptr() != images.data_ptr()
    assert done.shape == images.shape and done.dtype == torch.uint8
    assert torch.equal(done, transform(images, seeded(1)))
    assert not torch.equal(done, transform(images, seeded(2)))
    for view in (images.to(memory_format=torch.channels_last), images.repeat(1, 1, 1, 2)[..., :36]):
        assert torch.equal(done, transform(view, seeded(1)))


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_global_random_state_is_neither_read_nor_changed(transform):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    done = transform(pictures(), seeded())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(done, transform(pictures(), seeded()))


class OneDevice(TorchDispatchMode):
    """Fails where an operation other than a copy gets tensors of two devices."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
        mixed = len({t.device for t in tensors}) > 1
        assert not mixed or operation is torch.ops.aten.copy_.default, operation
        return operation(*args, **(kwargs or {}))


def test_nothing_waits_for_the_images_device_or_mixes_it_with_the_cpu():
    """A meta tensor has no values to wait for: reading one raises."""
    images = torch.empty(64, 3, 32, 32, dtype=torch.uint8, device="meta")
    with OneDevice():
        done = augment(ALL, images, seeded())
    assert (done.device.type, done.dtype, done.shape) == ("meta", torch.uint8, images.shape)


def test_augment_applies_in_order_from_one_stream():
    images = pictures(20)
    generator = seeded(5)
    wanted = images
    for transform in ALL:
        wanted = transform(wanted, generator)
    assert torch.equal(augment(ALL, images, seeded(5)), wanted)
    assert torch.equal(augment([], images, seeded(5)), images)


def test_built_from_a_config_by_name():
    configs = [
        dict(type="BatchCrop", padding=4),
        dict(type="BatchFlip"),
        dict(type="BatchAutoAugment", policy="cifar10", fill=[9, 80, 200]),
        dict(type="BatchAutoAugment", form="released", fill=[9, 80, 200]),
        dict(type="BatchCutout", size=16, fill=[1, 2, 3]),
    ]
    built = [TRANSFORMS.build(config) for config in configs]
    images = pictures(20)
    assert torch.equal(augment(built, images, seeded()), augment(ALL, images, seeded()))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BatchCrop(-1), "BatchCrop: padding must be an integer >= 0, not -1"),
        (lambda: BatchCrop(1.5), "padding must be an integer >= 0, not 1.5"),
        (lambda: BatchFlip(1.01), r"BatchFlip: prob must be in \[0, 1\], not 1.01"),
        (lambda: BatchFlip(float("nan")), "prob must be in"),
        (lambda: BatchCutout(0), "BatchCutout: size must be an integer >= 1, not 0"),
        (lambda: BatchCutout(8, 256), "BatchCutout: fill must be 1 or 3 grey levels"),
        (lambda: BatchCutout(8, [0, 0]), "fill must be 1 or 3 grey levels"),
        (lambda: BatchAutoAugment(fill=-1), "BatchAutoAugment: fill must be 1 or 3 grey levels"),
        (lambda: BatchAutoAugment("svhm"), "unknown policy 'svhm'; known: cifar10"),
        (lambda: BatchAutoAugment(form="pil"), "unknown form 'pil'; known: torchvision, released"),
    ],
)
def test_bad_arguments_are_named_at_construction(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("transform", [*ALL, lambda *a: augment([], *a)])
def test_bad_images_are_refused(transform):
    with pytest.raises(TypeError, match=r"images must be uint8, not torch\.float32"):
        transform(pictures().float(), seeded())
    for bad in (pictures()[0], pictures()[:, :2], pictures()[:0]):
        with pytest.raises(ValueError, match=r"images must be \(B, C, H, W\) with 1 or 3 channels"):
            transform(bad, seeded())


@pytest.mark.parametrize("transform", ALL[2:], ids=lambda t: type(t).__name__)
def test_a_fill_of_another_number_of_channels_is_refused(transform):
    with pytest.raises(ValueError, match="fill has 3 levels, the images 1 channels"):
        transform(pictures(channels=1), seeded())
