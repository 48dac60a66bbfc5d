"""Rotation, colours, grey, blur: against Pillow, colorsys and scipy; draws against chance."""

import colorsys
import math
import random

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageEnhance, ImageFilter
from scipy.ndimage import gaussian_filter1d
from scipy.stats import binomtest, chisquare, kstest
from test_augment import OneDevice, pictures, seeded

from suite.base.errors import UserError
from tasks.vision.augment import autoaugment
from tasks.vision.augment.batch import augment
from tasks.vision.augment.photometric import (
    BatchBlur,
    BatchColorJitter,
    BatchGrayscale,
    BatchRotate,
    gaussian_blur,
    rotation,
    turn_hue,
)
from tasks.vision.augment.pictures import ColorJitter, GaussianBlur, Grayscale, build_transform

ALL = [
    BatchRotate(30, (9, 80, 200)),
    BatchColorJitter(0.4, 0.4, 0.4, 0.1, prob=0.8),
    BatchGrayscale(0.4),
    BatchBlur((0.1, 2.0), prob=0.6),
]
NAMES = [type(t).__name__ for t in ALL]
ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def coloured(batch, side=12, seed=0):
    """Noise in all hues, uint8 (B, 3, side, side)."""
    levels = np.random.default_rng(seed).integers(0, 256, (batch, 3, side, side))
    return torch.from_numpy(levels.astype(np.uint8))


def picture(image):
    """uint8 (C, H, W) as Pillow's."""
    levels = image.numpy().transpose(1, 2, 0)
    return Image.fromarray(levels[..., 0] if len(image) == 1 else np.ascontiguousarray(levels))


def levels(image, channels=3):
    """A Pillow image as uint8 (C, H, W)."""
    pixels = np.array(image).reshape(image.height, image.width, channels)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def hue_turned(image, turns):
    """float64 (3, H, W) by colorsys, pixel by pixel, not rounded."""
    turned = []
    for pixel in image.flatten(1).T.tolist():
        hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in pixel))
        turned.append(colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value))
    return (torch.tensor(turned, dtype=torch.float64) * 255).T.reshape(image.shape)


class TestRotate:
    @pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 17, 40), (3, 2, 5), (1, 1, 1)])
    @pytest.mark.parametrize("degrees", [15, 180])
    def test_pixels_are_pillows(self, shape, degrees):
        images, fill = pictures(40, *shape), (10, 200, 90)[: shape[0]]
        angles = (2 * torch.rand(40, generator=seeded(3), dtype=torch.float64) - 1) * degrees
        done = BatchRotate(degrees, fill)(images, seeded(3))
        level = fill if len(fill) == 3 else fill[0]
        for image, got, angle in zip(images, done, angles.tolist(), strict=True):
            turned = picture(image).rotate(angle, Image.Resampling.NEAREST, fillcolor=level)
            assert torch.equal(got, levels(turned, shape[0])), angle

    @pytest.mark.parametrize("size", [(32, 32), (9, 14)])
    def test_sources_are_auto_augments_rotation(self, size):
        angles = [-180.0, -90.0, -33.3, -1e-3, 0.0, 0.5, 15.0, 45.0, 90.0, 180.0]
        wanted = [autoaugment.parameter("Rotate", angle, *size) for angle in angles]
        got = rotation(torch.tensor(angles, dtype=torch.float64), *size)
        assert torch.equal(got, torch.stack(wanted))

    def test_angles_are_uniform_to_both_sides(self):
        """Read off where the pixel right of the centre comes from: red is x, green is y."""
        y, x = np.mgrid[:101, :101].astype(np.uint8)
        image = torch.from_numpy(np.stack((x, y, 0 * x)))
        done = BatchRotate(60)(image.expand(500, 3, 101, 101), seeded())
        right = done[:, :, 50, 95].double() - 50
        angles = torch.rad2deg(torch.atan2(right[:, 1], right[:, 0])).numpy()
        assert kstest(angles, "uniform", args=(-60, 120)).pvalue > 0.01

    def test_nothing_at_0_degrees_and_black_by_default(self):
        images = pictures(20).clamp(min=1)
        assert torch.equal(BatchRotate(0)(images, seeded()), images)
        corners = BatchRotate(90)(images, seeded())[:, :, 0, 0]
        assert (corners == 0).all(1).sum() > 10


class TestColorJitter:
    @pytest.mark.parametrize(("kind", "channels"), [(0, 1), (0, 3), (1, 1), (1, 3), (2, 3)])
    def test_one_property_is_pillows_enhancer(self, kind, channels):
        images = torch.cat((pictures(30, channels), coloured(10, 32)[:, :channels]))
        jitter = BatchColorJitter(*(0.9 if k == kind else 0 for k in range(3)))
        _, amount, _ = jitter.draw(40, seeded(2))
        done = jitter(images, seeded(2))
        for image, got, factor in zip(images, done, amount[:, kind].tolist(), strict=True):
            wanted = levels(ENHANCERS[kind](picture(image)).enhance(factor), channels)
            off = (got.int() - wanted.int()).abs()
            assert off.max() <= 1 and off.float().mean() < 0.01, factor

    def test_all_properties_in_the_drawn_order_are_the_naive_ones(self):
        images = coloured(60, 8)
        jitter = BatchColorJitter(0.4, 0.4, 0.4, 0.1, prob=0.8)
        applied, amount, order = jitter.draw(60, seeded(4))
        assert len({tuple(o) for o in order.tolist()}) > 15 and 0 < applied.sum() < 60
        done, off = jitter(images, seeded(4)), []
        for k, image in enumerate(images):
            wanted = image
            for kind in order[k].tolist() if applied[k] else ():
                factor = amount[k, kind].item()
                if kind == 3:
                    wanted = hue_turned(wanted, factor).round().to(torch.uint8)
                else:
                    wanted = levels(ENHANCERS[kind](picture(wanted)).enhance(factor))
            off.append((done[k].int() - wanted.int()).abs())
        difference = torch.stack(off)
        # a tie rounded otherwise is a level, a later factor may make it two
        assert difference.max() <= 2 and (difference > 0).float().mean() < 0.01
        assert not difference[~applied].any()

    def test_draws(self):
        jitter = BatchColorJitter(0.4, 0.2, 1.5, 0.1, prob=0.8)
        applied, amount, order = jitter.draw(20_000, seeded())
        assert binomtest(int(applied.sum()), 20_000, 0.8).pvalue > 1e-3
        bounds = [(0.6, 1.4), (0.8, 1.2), (0, 2.5), (-0.1, 0.1)]
        for drawn, (low, high) in zip(amount.T.numpy(), bounds, strict=True):
            assert kstest(drawn, "uniform", args=(low, high - low)).pvalue > 1e-3
        seen, counts = order.unique(dim=0, return_counts=True)
        assert len(seen) == math.factorial(4) and chisquare(counts.numpy()).pvalue > 1e-3

    @pytest.mark.parametrize("turns", [0.0, 0.1, -0.1, 1 / 3, 0.5, -0.5, 0.0371])
    def test_hue_is_that_of_colorsys(self, turns):
        edges = [0, 1, 127, 128, 254, 255]  # greys, pure colours, ties between channels
        corners = torch.cartesian_prod(*3 * [torch.tensor(edges, dtype=torch.uint8)])
        for image in (corners.T.reshape(3, 12, 18), *coloured(4)):
            wanted = hue_turned(image, turns)
            got = turn_hue(image[None], torch.tensor([turns]))[0]
            assert (got.double() - wanted).abs().max() < 0.5 + 1e-4
            if turns == 0:
                assert torch.equal(got, image)

    def test_hue_is_near_pillows_way_which_knows_256_hues(self):
        image = coloured(1, 40)[0]
        mine = turn_hue(image[None], torch.tensor([0.1]))[0]
        bands = levels(picture(image).convert("HSV"))
        bands[0] = (bands[0].int() + round(0.1 * 256)) % 256
        theirs = Image.merge("HSV", [picture(band[None]) for band in bands]).convert("RGB")
        off = (mine.int() - levels(theirs).int()).abs()
        # a hue of 256 is up to six grey levels; image (cut off) and shift (rounded) lose up to 1.5
        assert off.max() < 12 and off.float().mean() < 2

    @pytest.mark.parametrize("channels", [1, 3])
    def test_nothing_asked_for_or_not_drawn_changes_nothing(self, channels):
        images = pictures(30, channels)
        for jitter in (BatchColorJitter(), BatchColorJitter(0.9, 0.9, 0.9, 0.5, prob=0)):
            assert torch.equal(jitter(images, seeded()), images)

    def test_one_channel_has_neither_saturation_nor_hue(self):
        images = pictures(30, 1)
        assert torch.equal(BatchColorJitter(0, 0, 0.9, 0.5)(images, seeded()), images)
        assert torch.equal(
            BatchColorJitter(0.4, 0.4, 0.9, 0.5)(images, seeded()),
            BatchColorJitter(0.4, 0.4)(images, seeded()),
        )


class TestGrayscale:
    def test_grey_is_pillows_in_every_channel_or_nothing_is_changed(self):
        images = coloured(2000, 4)
        done = BatchGrayscale(0.3)(images, seeded())
        grey = torch.stack([levels(picture(i).convert("L").convert("RGB")) for i in images])
        changed = (done != images).flatten(1).any(1)
        assert torch.equal(done, torch.where(changed.view(-1, 1, 1, 1), grey, images))
        assert binomtest(int(changed.sum()), 2000, 0.3).pvalue > 1e-3

    def test_always_never_and_one_channel(self):
        images = coloured(20)
        assert torch.equal(BatchGrayscale(0)(images, seeded()), images)
        assert (BatchGrayscale(1)(images, seeded()).diff(dim=1) == 0).all()
        one = pictures(20, 1)
        assert torch.equal(BatchGrayscale(1)(one, seeded()), one)


class TestBlur:
    @pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 9, 20), (3, 2, 5), (1, 1, 1)])
    @pytest.mark.parametrize("sigma", [(0.1, 2.0), (0.5, 0.5), (1.0, 4.3)])
    def test_blur_is_scipys_gaussian(self, shape, sigma):
        noise = np.random.default_rng(0).integers(0, 256, (25, *shape)).astype(np.uint8)
        images, reach = torch.from_numpy(noise), math.ceil(3 * sigma[1])
        drawn = sigma[0] + torch.linspace(0, 1, 25) * (sigma[1] - sigma[0])
        done = gaussian_blur(images, drawn, reach).numpy()
        for image, got, width in zip(images.double().numpy(), done, drawn.tolist(), strict=True):
            wanted = image
            for axis in (1, 2):
                wanted = gaussian_filter1d(wanted, width, axis, mode="nearest", radius=reach)
            assert np.abs(got - wanted).max() < 0.5 + 1e-3, width

    def test_sigma_is_uniform_and_the_kernel_reaches_three_of_the_largest(self):
        """The centre of a blurred dot tells its sigma."""
        images = torch.zeros(1500, 1, 15, 15, dtype=torch.uint8)
        images[:, :, 7, 7] = 255
        done = BatchBlur((0.6, 1.5))(images, seeded())
        assert done[:, :, 7, :2].sum() == 0 and done[:, :, 7, 3].sum() > 0
        offset = np.arange(-5, 6)
        steps = np.linspace(0.6, 1.5, 500)
        kernels = np.exp(-(offset**2) / (2 * steps[:, None] ** 2))
        centre = 255 * (kernels / kernels.sum(1, keepdims=True))[:, 5] ** 2
        sigma = np.interp(-done[:, 0, 7, 7].numpy().astype(float), -centre, steps)
        assert kstest(sigma, "uniform", args=(0.6, 0.9)).pvalue > 0.01

    def test_each_image_has_its_own_sigma_and_one_level_stays(self):
        images = coloured(1).expand(50, -1, -1, -1)
        done = BatchBlur((0.5, 3))(images, seeded())
        assert len(done.flatten(1).unique(dim=0)) > 40
        for level in (0, 1, 77, 254, 255):
            flat = torch.full((8, 3, 7, 9), level, dtype=torch.uint8)
            assert torch.equal(BatchBlur((0.01, 6))(flat, seeded()), flat)

    def test_a_tiny_sigma_changes_nothing(self):
        images = coloured(3)
        assert torch.equal(BatchBlur((1e-30, 1e-30))(images, seeded()), images)

    def test_prob(self):
        images = coloured(2000, 4)
        changed = (BatchBlur((1, 2), 0.2)(images, seeded()) != images).flatten(1).any(1)
        assert binomtest(int(changed.sum()), 2000, 0.2).pvalue > 1e-3
        assert torch.equal(BatchBlur((1, 2), 0)(images, seeded()), images)


class TestEveryBatchTransform:
    @pytest.mark.parametrize("transform", ALL, ids=NAMES)
    def test_depends_on_the_seed_only_and_leaves_its_input(self, transform):
        images = coloured(30, 20)
        before = images.clone()
        done = transform(images, seeded(1))
        assert torch.equal(images, before)
        assert done.data_ptr() != images.data_ptr()
        assert done.shape == images.shape and done.dtype == torch.uint8
        assert torch.equal(done, transform(images, seeded(1)))
        assert not torch.equal(done, transform(images, seeded(2)))
        wide = images.repeat(1, 1, 1, 2)[..., :20]
        for view in (images.to(memory_format=torch.channels_last), wide):
            off = (done.int() - transform(view, seeded(1)).int()).abs()
            # another layout may sum the blur in another order
            assert off.max() <= isinstance(transform, BatchBlur) and off.float().mean() < 1e-3

    @pytest.mark.parametrize("transform", ALL, ids=NAMES)
    def test_global_random_state_is_neither_read_nor_changed(self, transform):
        torch.manual_seed(0)
        state = torch.get_rng_state()
        done = transform(pictures(), seeded())
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(1)
        assert torch.equal(done, transform(pictures(), seeded()))

    @pytest.mark.parametrize("channels", [1, 3])
    def test_nothing_waits_for_the_images_device_or_mixes_it_with_the_cpu(self, channels):
        """A meta tensor has no values to wait for: reading one raises."""
        images = torch.empty(64, channels, 32, 32, dtype=torch.uint8, device="meta")
        with OneDevice():
            done = augment([BatchRotate(30), *ALL[1:]], images, seeded())
        assert (done.device.type, done.dtype, done.shape) == ("meta", torch.uint8, images.shape)

    def test_built_from_a_config_by_name(self):
        configs = [
            dict(type="BatchRotate", degrees=30, fill=[9, 80, 200]),
            dict(
                type="BatchColorJitter",
                brightness=0.4,
                contrast=0.4,
                saturation=0.4,
                hue=0.1,
                prob=0.8,
            ),
            dict(type="BatchGrayscale", prob=0.4),
            dict(type="BatchBlur", sigma=[0.1, 2.0], prob=0.6),
        ]
        built = [TRANSFORMS.build(config) for config in configs]
        images = coloured(20)
        assert torch.equal(augment(built, images, seeded()), augment(ALL, images, seeded()))

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: BatchRotate(-1), r"BatchRotate: degrees must be in \[0, 180\], not -1"),
            (lambda: BatchRotate(float("nan")), "degrees must be in"),
            (lambda: BatchRotate(5, 256), "BatchRotate: fill must be 1 or 3 grey levels"),
            (lambda: BatchColorJitter(-0.1), "brightness must be a number >= 0, not -0.1"),
            (lambda: BatchColorJitter(0, math.inf), "contrast must be a number >= 0, not inf"),
            (lambda: BatchColorJitter(saturation=math.nan), "saturation must be a number >= 0"),
            (lambda: BatchColorJitter(hue=0.51), r"hue must be in \[0, 0.5\], not 0.51"),
            (lambda: BatchColorJitter(prob=1.1), r"BatchColorJitter: prob must be in \[0, 1\]"),
            (lambda: BatchGrayscale(-0.1), "BatchGrayscale: prob must be in"),
            (lambda: BatchBlur((0, 1)), r"BatchBlur: sigma must be \(low, high\) above 0"),
            (lambda: BatchBlur((2, 1)), r"sigma must be .*not \(2, 1\)"),
            (lambda: BatchBlur((1, math.inf)), "sigma must be"),
            (lambda: BatchBlur((1,)), "sigma must be"),
            (lambda: BatchBlur((1, 2), math.nan), "BatchBlur: prob must be in"),
        ],
    )
    def test_bad_arguments_are_named_at_construction(self, build, message):
        with pytest.raises(ValueError, match=message):
            build()

    @pytest.mark.parametrize("transform", ALL, ids=NAMES)
    def test_bad_images_are_refused(self, transform):
        with pytest.raises(TypeError, match=r"images must be uint8, not torch\.float32"):
            transform(pictures().float(), seeded())
        for bad in (pictures()[0], pictures()[:, :2], pictures()[:0]):
            with pytest.raises(ValueError, match=r"images must be \(B, C, H, W\) with 1 or 3"):
                transform(bad, seeded())

    def test_a_fill_of_another_number_of_channels_is_refused(self):
        with pytest.raises(ValueError, match="fill has 3 levels, the images 1 channels"):
            ALL[0](pictures(channels=1), seeded())


class TestFiles:
    """The per-image transforms of image files, which draw from `random`."""

    def image(self, side=24, seed=0):
        return picture(coloured(1, side, seed)[0])

    def test_jitter_without_hue_draws_what_it_always_drew(self):
        """Numbers of the class before it had `hue` and `prob`: data of protocols hang on them."""
        random.seed(7)
        jitter = ColorJitter(0.4, 0.4, 0.4)
        assert jitter.draw() == [
            ("contrast", 0.7206793391396015),
            ("saturation", 1.120747578431883),
            ("brightness", 0.8590662118665299),
        ]
        assert jitter.draw() == [
            ("contrast", 0.6463991398197654),
            ("saturation", 1.005948586551536),
            ("brightness", 0.8925511335300684),
        ]
        assert ColorJitter(contrast=0.2).draw() == [("contrast", 0.9734582734649544)]
        assert random.random() == 0.06985542357461894

    def test_jitter_draws_hue_within_bounds_in_every_order_and_by_probability(self):
        random.seed(0)
        jitter = ColorJitter(0.4, 0.4, 0.4, hue=0.1, prob=0.8)
        draws = [jitter.draw() for _ in range(4000)]
        drawn = [d for d in draws if d]
        assert binomtest(len(drawn), 4000, 0.8).pvalue > 1e-3
        assert len({tuple(name for name, _ in d) for d in drawn}) == math.factorial(4)
        turns = [dict(d)["hue"] for d in drawn]
        assert kstest(turns, "uniform", args=(-0.1, 0.2)).pvalue > 1e-3
        image = self.image()
        assert ColorJitter(0.4, 0.4, 0.4, 0.1, prob=0)(image) is image

    def test_jitter_turns_the_hue_in_its_place(self):
        image, jitter = self.image(), ColorJitter(hue=0.5)
        random.seed(5)
        ((name, turns),) = jitter.draw()
        random.seed(5)
        off = (levels(jitter(image)).double() - hue_turned(levels(image), turns)).abs()
        assert name == "hue" and abs(turns) > 0.05
        assert off.max() < 12 and off.mean() < 2  # as above

    def test_jitter_applies_what_it_draws_in_order(self):
        image, jitter = self.image(), ColorJitter(0.4, 0.4, 0.4, 0.2)
        for seed in range(12):
            random.seed(seed)
            wanted = image
            for name, amount in jitter.draw():
                if name == "hue":
                    turned = levels(wanted.convert("HSV")).int()
                    turned[0] = (turned[0] + round(amount * 256)) % 256
                    bands = [picture(band[None]) for band in turned.to(torch.uint8)]
                    wanted = Image.merge("HSV", bands).convert("RGB")
                else:
                    kind = ("brightness", "contrast", "saturation").index(name)
                    wanted = ENHANCERS[kind](wanted).enhance(amount)
            random.seed(seed)
            assert torch.equal(levels(jitter(image)), levels(wanted))

    def test_grayscale(self):
        image = self.image()
        random.seed(0)
        grey, transform = image.convert("L"), Grayscale(0.3)
        done = [transform(image) for _ in range(1000)]
        changed = [d for d in done if d is not image]
        assert binomtest(len(changed), 1000, 0.3).pvalue > 1e-3
        for channel in (*changed[0].split(), *changed[-1].split()):
            assert np.array_equal(channel, grey)
        assert changed[0].mode == "RGB" and Grayscale(0)(image) is image

    def test_blur(self):
        image, blur = self.image(8), GaussianBlur()
        random.seed(0)
        count = sum(blur(image) is not image for _ in range(1000))
        assert binomtest(count, 1000, 0.5).pvalue > 1e-3
        seen = []
        for seed in range(300):
            random.seed(seed)
            random.random()  # whether to blur
            sigma = random.uniform(0.4, 3.0)
            random.seed(seed)
            done = GaussianBlur((0.4, 3.0), 1)(image)
            assert done == image.filter(ImageFilter.GaussianBlur(sigma))
            seen.append(sigma)
        assert kstest(seen, "uniform", args=(0.4, 2.6)).pvalue > 1e-3

    def test_draws_come_from_random_alone(self):
        configs = [
            dict(type="ColorJitter", brightness=0.4, hue=0.1, prob=0.8),
            dict(type="Grayscale", prob=0.2),
            dict(type="GaussianBlur", sigma=[0.1, 2.0], prob=0.5),
        ]
        built = [build_transform(config) for config in configs]

        def views(other):
            random.seed(3)
            np.random.seed(other)
            torch.manual_seed(other)
            results = []
            for _ in range(20):
                image = self.image()
                for transform in built:
                    image = transform(image)
                results.append(levels(image))
            return torch.stack(results)

        assert torch.equal(views(0), views(1))
        assert len(views(0).flatten(1).unique(dim=0)) > 10

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: ColorJitter(hue=0.6), "ColorJitter: hue is 0.6, expected 0 to 0.5"),
            (lambda: ColorJitter(hue=-0.1), "hue is -0.1"),
            (lambda: ColorJitter(hue=math.nan), "hue is nan"),
            (lambda: ColorJitter(prob=2), "ColorJitter: prob is 2, expected 0 to 1"),
            (lambda: Grayscale(-1), "Grayscale: prob is -1, expected 0 to 1"),
            (lambda: GaussianBlur((0, 1)), r"GaussianBlur: sigma is \(0, 1\), expected \(low, hi"),
            (lambda: GaussianBlur((2, 1)), r"sigma is \(2, 1\)"),
            (lambda: GaussianBlur((1, 2), math.nan), "GaussianBlur: prob is nan"),
        ],
    )
    def test_bad_arguments_get_one_line(self, build, message):
        with pytest.raises(UserError, match=message) as raised:
            build()
        assert "\n" not in str(raised.value)
