"""Generated corruptions, each against a simple oracle of its own; recipes and their cache."""

import colorsys
import io
import itertools
import math
import sys
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from suite.base.canonical import short_hash
from suite.base.errors import DataError, UserError
from tasks.robust_auc.data import colour, corruptions, formulas, generated
from tasks.robust_auc.data.constants import SEVERITIES, TABLES, set_name
from tasks.robust_auc.data.corruptions import CORRUPTIONS, corrupt, pool
from tasks.robust_auc.data.generated import Recipe, cached, generate
from tasks.vision.data.arrays import digest

NUMPY_ONLY = [name for name, corruption in CORRUPTIONS.items() if not corruption.libraries]


def textures(count, edge, channels):
    """Waves with grain on them, other ones in every channel, by whole numbers: the same everywhere."""
    i, c, y, x = np.ogrid[:count, :channels, :edge, :edge]
    waves = (y * (3 + i + c) + x * (5 + 2 * i)) % 64 + (x * y * (1 + c) * 64 // edge) % 128
    grain = np.random.RandomState(edge).randint(0, 64, waves.shape)
    return (waves + grain).astype(np.uint8)


GREY, COLOUR = textures(6, 8, 1), textures(4, 32, 3)


def images_of(table):
    edge = int(table.split("x")[0])
    return textures(6, edge, 1) if edge < 32 else textures(3, edge, 3)


def flat(level, count=40, edge=32):
    return np.full((count, 1, edge, edge), level, np.uint8)


def levels(x):
    """Of one image in [0, 1], truncated."""
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def nearly(found, expected, share=0.002):
    """Equal but for roundings at a whole level."""
    gap = np.abs(found.astype(int) - expected.astype(int))
    assert gap.max() <= 1
    assert (gap > 0).mean() <= share


def conditions(tables=TABLES):
    return [(t, name, s) for t in tables for name in TABLES[t] for s in SEVERITIES]


# -- the constants, against the sheet


def test_the_tables_are_whole():
    assert list(TABLES) == ["8x8", "14x14", "32x32", "64x64"]
    assert TABLES["14x14"] == TABLES["8x8"] and len(TABLES["8x8"]) == 7
    assert set(TABLES["32x32"]) == set(TABLES["64x64"]) == set(CORRUPTIONS)
    for table in TABLES.values():
        assert all(len(by_severity) == len(SEVERITIES) for by_severity in table.values())
    # as they were read from the scripts that made the official sets
    assert {name: short_hash(table, 6) for name, table in TABLES.items()} == {
        "8x8": "aa924e",
        "14x14": "aa924e",
        "32x32": "6a31ac",
        "64x64": "e7ddf7",
    }


def test_zooms_are_those_of_numpys_arange():
    ends = (1.06, 1.11, 1.16, 1.21, 1.26)
    for table in ("32x32", "64x64"):
        counts = TABLES[table]["zoom_blur"]
        assert counts == tuple(len(np.arange(1, end, 0.01)) for end in ends)


def test_stronger_severities_are_farther_from_the_clean_images():
    for table in TABLES:
        clean = images_of(table)
        for name in TABLES[table]:
            if name == "saturate":  # takes colour away first, and then adds some
                continue
            far = [
                np.abs(corrupt(clean, name, s, table).astype(int) - clean).mean()
                for s in SEVERITIES
            ]
            assert far[0] > 0, (table, name)
            assert far == sorted(far), (table, name)


# -- noise


def test_gaussian_noise_has_the_std_of_the_table_and_no_mean():
    for table in ("8x8", "32x32"):
        for severity, std in zip(SEVERITIES[:3], TABLES[table]["gaussian_noise"][:3], strict=True):
            changed = corrupt(flat(128), "gaussian_noise", severity, table) / 255.0 - 128 / 255
            # truncation takes half a level
            assert changed.mean() == pytest.approx(-0.5 / 255, abs=4 * std / math.sqrt(40 * 1024))
            assert changed.std() == pytest.approx(std, rel=0.02)


def test_gaussian_noise_is_numpys_stream_image_after_image():
    draw = np.random.RandomState(corruptions.seed("gaussian_noise", 2))
    made = corrupt(COLOUR, "gaussian_noise", 2, "32x32")
    for image, found in zip(COLOUR, made, strict=True):
        rows = image.transpose(1, 2, 0)
        assert (
            levels(rows / 255.0 + draw.normal(size=rows.shape, scale=0.06))
            == found.transpose(1, 2, 0)
        ).all()


def test_shot_noise_counts_photons():
    for severity, photons in zip(SEVERITIES, TABLES["32x32"]["shot_noise"], strict=True):
        made = corrupt(flat(102), "shot_noise", severity, "32x32")
        # every level is that of a whole count, as often as Poisson's law of .4 * photons has it
        law: dict[int, float] = {}
        for k in range(2 * photons + 20):
            level = int(min(k / photons, 1) * 255)
            mean = 0.4 * photons
            chance = math.exp(k * math.log(mean) - mean - math.lgamma(k + 1))
            law[level] = law.get(level, 0) + chance
        assert set(np.unique(made).tolist()) <= set(law)
        expected = sum(level * chance for level, chance in law.items())
        variance = sum((level - expected) ** 2 * chance for level, chance in law.items())
        assert made.mean() == pytest.approx(expected, abs=4 * math.sqrt(variance / made.size))
        assert made.var() == pytest.approx(variance, rel=0.04)
    assert not corrupt(flat(0), "shot_noise", 5, "32x32").any()


def test_impulse_noise_changes_its_share_half_to_black_and_half_to_white():
    for severity, share in zip(SEVERITIES, TABLES["8x8"]["impulse_noise"], strict=True):
        made = corrupt(flat(100, 100), "impulse_noise", severity, "8x8")
        assert set(np.unique(made)) == {0, 100, 255}
        for level in (0, 255):
            sigma = math.sqrt(share / 2 / made.size)
            assert (made == level).mean() == pytest.approx(share / 2, abs=5 * sigma)
    colours = corrupt(COLOUR, "impulse_noise", 5, "32x32")
    hit = (colours != COLOUR).any(axis=1) & (colours == COLOUR).any(axis=1)
    assert hit.any()  # a channel's value, not a pixel


def test_speckle_noise_grows_with_the_level():
    for severity, std in zip(SEVERITIES, TABLES["32x32"]["speckle_noise"], strict=True):
        for level in (60, 120):
            made = corrupt(flat(level), "speckle_noise", severity, "32x32")
            assert made.std() == pytest.approx(level * std, rel=0.03)
    assert not corrupt(flat(0), "speckle_noise", 5, "32x32").any()


# -- blur


@pytest.mark.parametrize(("images", "table"), [(GREY, "8x8"), (COLOUR, "32x32"), (COLOUR, "64x64")])
def test_gaussian_blur_is_scipys(images, table):
    from scipy.ndimage import gaussian_filter

    for severity, sigma in zip(SEVERITIES, TABLES[table]["gaussian_blur"], strict=True):
        made = corrupt(images, "gaussian_blur", severity, table)
        for image, found in zip(images, made, strict=True):
            blurred = gaussian_filter(image / 255.0, (0, sigma, sigma), mode="nearest", truncate=4)
            nearly(found, levels(blurred))


@pytest.mark.parametrize("table", ["32x32", "64x64"])
def test_defocus_blur_is_opencvs(table):
    cv2 = pytest.importorskip("cv2")
    along = np.arange(-8, 9)
    for severity, (radius, alias) in zip(SEVERITIES, TABLES[table]["defocus_blur"], strict=True):
        inside = (along[:, None] ** 2 + along**2 <= radius**2).astype(np.float32)
        kernel = cv2.GaussianBlur(inside / inside.sum(), (3, 3), alias)
        ours = formulas.disc(radius, alias)
        assert ours.sum() == pytest.approx(1)
        made = corrupt(COLOUR, "defocus_blur", severity, table)
        for image, found in zip(COLOUR, made, strict=True):
            blurred = [levels(cv2.filter2D(channel / 255.0, -1, kernel)) for channel in image]
            nearly(found, np.stack(blurred))


@pytest.mark.parametrize("edge", [28, 32, 64])
def test_zoom_blur_is_the_mean_of_scipys_zooms(edge):
    from scipy.ndimage import zoom

    images = textures(2, edge, 1)
    for severity, end in zip(SEVERITIES, (1.06, 1.11, 1.16, 1.21, 1.26), strict=True):
        made = corrupt(images, "zoom_blur", severity, "32x32")
        for image, found in zip(images[:, 0] / 255.0, made[:, 0], strict=True):
            layers = [image]
            for factor in np.arange(1, end, 0.01):
                kept = math.ceil(edge / factor)
                top = (edge - kept) // 2
                large = zoom(image[top : top + kept, top : top + kept], factor, order=1)
                trim = (len(large) - edge) // 2
                layers.append(large[trim : trim + edge, trim : trim + edge])
            nearly(found, levels(sum(layers) / len(layers)))


def test_a_zoom_of_one_is_the_image_and_larger_ones_keep_the_centre():
    x = COLOUR[0].transpose(1, 2, 0) / 255.0
    assert (formulas.zoomed(x, 1.0) == x).all()
    cone = 1 - np.hypot(*np.ogrid[-15.5:16, -15.5:16]) / 32
    far = formulas.zoomed(cone[:, :, None], 1.25)[:, :, 0]
    assert far.shape == (32, 32)
    assert np.allclose(far, 1 - np.hypot(*np.ogrid[-15.5:16, -15.5:16]) / 32 / 1.25, atol=0.02)


# -- light


def by_points(uniform, decay):
    """The diamond-square algorithm point by point."""
    side = math.isqrt(len(uniform) + 1)
    height, numbers = {(0, 0): 0.0}, iter(uniform)
    step, reach = side, 100.0

    def displaced(points):
        mean = sum(height[y % side, x % side] for y, x in points) / 4
        return mean + reach * (-reach + 2 * reach * next(numbers))

    while step >= 2:
        h = step // 2
        lines = range(0, side, step)
        for y, x in itertools.product(lines, lines):
            corners = itertools.product((y, y + step), (x, x + step))
            height[y + h, x + h] = displaced(list(corners))
        for dy, dx in ((0, h), (h, 0)):
            for y, x in itertools.product(lines, lines):
                a, b = y + dy, x + dx
                height[a, b] = displaced([(a - h, b), (a + h, b), (a, b - h), (a, b + h)])
        step, reach = h, reach / decay
    made = np.array([[height[y, x] for x in range(side)] for y in range(side)])
    return (made - made.min()) / (made - made.min()).max()


@pytest.mark.parametrize("decay", [3, 1.75])
def test_plasma_fractal(decay):
    uniform = np.random.RandomState(1).random_sample((2, 255))
    for numbers, made in zip(uniform, formulas.plasma_fractal(uniform, decay), strict=True):
        assert np.allclose(made, by_points(numbers, decay), atol=1e-12)


@pytest.mark.parametrize("edge", [28, 32])
def test_fog_lifts_what_is_dark_and_keeps_the_range(edge):
    images = textures(3, edge, 3)
    draw = np.random.RandomState(corruptions.seed("fog", 4))
    made = corrupt(images, "fog", 4, "32x32")
    for image, found in zip(images, made, strict=True):
        heights = by_points(draw.random_sample(1023), 2)[:edge, :edge]
        brightest = image.max() / 255
        hazy = (image / 255.0 + 1 * heights) * brightest / (brightest + 1)
        nearly(found, levels(hazy))
        assert found.max() <= image.max()
        assert found.std() < image.std()
    assert not corrupt(flat(0), "fog", 3, "32x32").any()  # a black image has no range to keep


def test_brightness_of_grey_images_is_a_sum():
    for severity, added in zip(SEVERITIES, TABLES["8x8"]["brightness"], strict=True):
        made = corrupt(GREY, "brightness", severity, "8x8")
        for before, after in zip(GREY.ravel().tolist(), made.ravel().tolist(), strict=True):
            assert after == int(min(before / 255 + added, 1) * 255)


@pytest.mark.parametrize("name", ["brightness", "saturate"])
def test_colours_change_as_in_colorsys(name):
    images = COLOUR[:, :, ::4, ::4].copy()
    images[0, :, 0, 0] = images[0, :, 0, 1] = 0
    images[0, :, 0, 1] = 255
    images[0, :, 0, 2] = 77
    for severity in SEVERITIES:
        c = TABLES["32x32"][name][severity - 1]
        made = corrupt(images, name, severity, "32x32")
        for before, after in zip(
            images.transpose(0, 2, 3, 1).reshape(-1, 3).tolist(),
            made.transpose(0, 2, 3, 1).reshape(-1, 3).tolist(),
            strict=True,
        ):
            h, s, v = colorsys.rgb_to_hsv(*(level / 255 for level in before))
            if name == "brightness":
                v = min(v + c, 1)
            else:
                s = min(s * c[0] + c[1], 1)
            expected = [int(level * 255) for level in colorsys.hsv_to_rgb(h, s, v)]
            assert np.abs(np.subtract(after, expected)).max() <= 1, (before, after, expected)


def test_contrast_shrinks_around_each_channels_mean():
    for severity, factor in zip(SEVERITIES, TABLES["32x32"]["contrast"], strict=True):
        made = corrupt(COLOUR, "contrast", severity, "32x32")
        for before, after in zip(COLOUR.reshape(-1, 1024), made.reshape(-1, 1024), strict=True):
            mean = before.tolist()
            mean = sum(mean) / len(mean)
            expected = [(level - mean) * factor + mean for level in before.tolist()]
            assert (after <= np.array(expected) + 1e-9).all()
            assert (after > np.array(expected) - 1 - 1e-9).all()
    assert (np.abs(corrupt(flat(90, 2), "contrast", 3, "32x32").astype(int) - 90) <= 1).all()


unit = st.floats(0, 1)


@given(st.tuples(unit, unit, unit))
def test_hue_saturation_and_value(rgb):
    hsv = [float(part[0]) for part in colour.to_hsv(np.array([rgb]))]
    expected = colorsys.rgb_to_hsv(*rgb)
    apart = abs(hsv[0] - expected[0])
    assert min(apart, 1 - apart) < 1e-6 or hsv[1] < 1e-6  # a circle
    assert hsv[1:] == pytest.approx(expected[1:], abs=1e-9)
    back = colour.from_hsv(*(np.array([part]) for part in hsv))[0]
    assert back == pytest.approx(rgb, abs=1e-9)
    assert back == pytest.approx(colorsys.hsv_to_rgb(*hsv), abs=1e-9)


# -- resolution


def boxed(row, size):
    """Pillow's box filter of a row to `size` pixels: the mean of the pixels whose centres a box covers."""
    scale = Fraction(len(row), size)
    half, made = max(scale, 1) / 2, []
    for k in range(size):
        centre = (k + Fraction(1, 2)) * scale
        inside = [v for i, v in enumerate(row) if -half < i + Fraction(1, 2) - centre <= half]
        made.append(sum(inside, Fraction(0)) / len(inside))
    return made


def test_pixelate_averages_boxes_exactly_where_they_are_whole():
    made = corrupt(GREY, "pixelate", 4, "8x8")  # 8 -> 4 -> 8
    boxes = GREY[:, 0].reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    assert (made[:, 0, ::2, ::2] == made[:, 0, 1::2, 1::2]).all()
    assert np.abs(made[:, 0, ::2, ::2] - boxes).max() <= 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_pixelate_covers_parts_of_pixels(severity):
    size = (7, 6, 5, 4, 3)[severity - 1]
    made = corrupt(GREY[:2], "pixelate", severity, "8x8")
    for image, found in zip(GREY[:2, 0], made[:, 0], strict=True):
        grid = [[Fraction(int(v)) for v in row] for row in image]
        for edge in (size, 8):
            grid = [boxed(row, edge) for row in grid]
            grid = [list(column) for column in zip(*grid, strict=True)]
            grid = [boxed(row, edge) for row in grid]
            grid = [list(column) for column in zip(*grid, strict=True)]
        # Pillow rounds to whole levels four times on the way
        assert np.abs(np.array(grid, float) - found).max() <= 2


def test_pixelate_and_jpeg_keep_channels_apart():
    for name, table in (("pixelate", "32x32"), ("jpeg_compression", "32x32")):
        grey = COLOUR[:, :1]
        same = corrupt(np.repeat(grey, 3, axis=1), name, 3, table)
        assert np.abs(same.astype(int) - corrupt(grey, name, 3, table)).max() <= 2


def test_jpeg_is_pillows_at_the_tables_quality():
    for severity, quality in zip(SEVERITIES, (80, 65, 58, 50, 40), strict=True):
        file = io.BytesIO()
        Image.fromarray(COLOUR[0].transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
        decoded = np.asarray(Image.open(file)).transpose(2, 0, 1)
        assert (corrupt(COLOUR[:1], "jpeg_compression", severity, "32x32")[0] == decoded).all()


# -- the same every time and everywhere

PINNED = {
    "8x8": {
        "gaussian_noise": "074f0d592e89",
        "shot_noise": "8093938e9e61",
        "impulse_noise": "b2390ac74d04",
        "gaussian_blur": "083c41a424eb",
        "brightness": "dbe98cd8944e",
        "contrast": "2c0ef21962cb",
    },
    "32x32": {
        "gaussian_noise": "0054fe94043b",
        "shot_noise": "6ccdd9e78607",
        "impulse_noise": "ba812e64df18",
        "speckle_noise": "72c7a57dbee7",
        "gaussian_blur": "ca9ebe3f18c6",
        "defocus_blur": "401147a73245",
        "zoom_blur": "6ed58dc92971",
        "fog": "cb9594a1c6e3",
        "brightness": "451f08651430",
        "contrast": "c21685f344af",
        "saturate": "2c18a5270ad0",
    },
}


@pytest.mark.parametrize(("table", "name"), [(t, n) for t in PINNED for n in PINNED[t]])
def test_the_arrays_are_those_of_any_machine(table, name):
    made = [corrupt(images_of(table), name, s, table) for s in SEVERITIES]
    assert digest(np.stack(made))[:12] == PINNED[table][name]


def test_every_corruption_without_a_library_is_pinned():
    assert {name for name in CORRUPTIONS if name not in NUMPY_ONLY} == {
        "pixelate",
        "jpeg_compression",
    }
    for table, pinned in PINNED.items():
        assert set(pinned) == set(TABLES[table]) & set(NUMPY_ONLY)


def test_they_need_no_other_library(monkeypatch):
    for module in ("scipy", "scipy.ndimage", "PIL", "PIL.Image", "cv2"):
        monkeypatch.setitem(sys.modules, module, None)
    for name in NUMPY_ONLY:
        corrupt(COLOUR[:1], name, 1, "32x32")
    with pytest.raises(ImportError):
        corrupt(COLOUR[:1], "pixelate", 1, "32x32")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_parts_of_a_set_are_drawn_alike_whatever_follows(name, monkeypatch):
    whole = corrupt(COLOUR, name, 3, "32x32")
    assert whole.dtype == np.uint8 and whole.shape == COLOUR.shape
    assert (corrupt(COLOUR[:2], name, 3, "32x32") == whole[:2]).all()
    monkeypatch.setattr(corruptions, "_AT_ONCE", 1)  # one image at a time
    assert (corrupt(COLOUR, name, 3, "32x32") == whole).all()


def test_seeds_differ_and_numpys_global_state_is_left_alone():
    names = list(itertools.product(CORRUPTIONS, SEVERITIES))
    assert len({corruptions.seed(*of) for of in names}) == len(names)
    np.random.seed(0)
    corrupt(GREY, "shot_noise", 1, "8x8")
    after = np.random.random_sample()
    np.random.seed(0)
    assert after == np.random.random_sample()


def test_the_clean_images_are_left_as_they_are():
    kept = COLOUR.copy()
    frozen = COLOUR.copy()
    frozen.setflags(write=False)
    for name in CORRUPTIONS:
        corrupt(frozen, name, 5, "32x32")
    assert (frozen == kept).all()


# -- bad input


@pytest.mark.parametrize(
    ("name", "severity", "table", "line"),
    [
        ("gausian_noise", 1, "8x8", "no generated corruption 'gausian_noise'; did you mean gauss"),
        ("contrast", 0, "8x8", "contrast has no severity 0; severities are 1 to 5"),
        ("contrast", 6, "8x8", "no severity 6"),
        ("contrast", True, "8x8", "no severity True"),
        ("contrast", 1.0, "8x8", "no severity 1.0"),
        ("contrast", 1, "16x16", "no table of constants '16x16'; did you mean 64x64, 14x14"),
        ("fog", 1, "8x8", "fog has no constants for images of 8x8; choose of gaussian_noise, shot"),
    ],
)
def test_what_there_is_not(name, severity, table, line):
    with pytest.raises(UserError, match=line):
        corrupt(GREY, name, severity, table)
    with pytest.raises(UserError, match=line):
        Recipe(corruption=name, severity=severity, table=table)


def test_colour_corruptions_of_grey_images():
    with pytest.raises(
        UserError,
        match=r"^saturate changes colours, and these images are grey; choose of gauss.*contrast",
    ):
        corrupt(textures(1, 32, 1), "saturate", 1, "32x32")
    assert [name for name, c in CORRUPTIONS.items() if c.colour] == ["saturate"]
    for name in CORRUPTIONS:
        if name != "saturate":
            assert corrupt(textures(1, 32, 1), name, 5, "32x32").shape == (1, 1, 32, 32)


@pytest.mark.parametrize(
    ("images", "line"),
    [
        (GREY.astype(np.float32), r"float32 \(6, 1, 8, 8\), expected uint8"),
        (GREY[0], "expected uint8"),
        (np.zeros((2, 32, 32, 3), np.uint8), r"expected uint8 \(N, 1 or 3, S, S\)"),
        (np.zeros((2, 1, 8, 9), np.uint8), "are 8x9, expected squares"),
        (np.zeros((2, 1, 4, 4), np.uint8), "are 4x4, expected squares of 8 pixels or more"),
        (GREY[:0], "there is no image"),
    ],
)
def test_other_arrays(images, line):
    with pytest.raises(DataError, match=line):
        corrupt(images, "contrast", 1, "8x8")


# -- recipes


def test_pooling_averages_squares():
    images = textures(3, 32, 3)
    made = pool(images, 2)
    assert made.dtype == np.uint8 and made.shape == (3, 3, 16, 16)
    mean = images.reshape(3, 3, 16, 2, 16, 2).mean(axis=(3, 5))
    assert (made == np.floor(mean + 0.5)).all()
    assert (pool(images, 1) == images).all()
    assert (pool(np.full((1, 1, 8, 8), 255, np.uint8), 4) == 255).all()
    with pytest.raises(DataError, match="28x28 cannot be pooled by 3, which"):
        pool(textures(1, 28, 1), 3)


def test_a_recipe_corrupts_then_pools():
    recipe = Recipe(corruption="contrast", severity=2, table="32x32", pool=2, limit=3)
    made = generate(COLOUR, recipe)
    assert made.shape == (3, 3, 16, 16)
    assert (made == pool(corrupt(COLOUR[:3], "contrast", 2, "32x32"), 2)).all()
    assert Recipe(**recipe.config()) == recipe
    assert recipe.set_name == set_name("contrast", 2) == "corruption=contrast,severity=2"
    assert set_name("zigzag") == "corruption=zigzag"


def test_a_recipes_digest_is_of_what_it_makes():
    base = dict(corruption="contrast", severity=1, table="32x32")
    others = (
        {},
        {"corruption": "brightness"},
        {"severity": 2},
        {"table": "64x64"},
        {"pool": 2},
        {"limit": 3},
    )
    digests = [Recipe(**(base | other)).digest for other in others]
    assert len(set(digests)) == len(others)
    assert all(len(d) == 12 for d in digests)
    # two tables of the same constants make the same
    alike = {Recipe(**(base | {"table": t})).digest for t in ("8x8", "14x14", "32x32")}
    assert alike == {digests[0]}
    assert digests[0] == "7086094eff66"


@pytest.mark.parametrize(
    ("setting", "line"), [({"pool": 0}, "pooled by 0"), ({"limit": 0}, "0 corr")]
)
def test_recipes_of_nothing(setting, line):
    with pytest.raises(UserError, match=line):
        Recipe(corruption="contrast", severity=1, table="8x8", **setting)


def test_fewer_images_than_the_limit(tmp_path):
    recipe = Recipe(corruption="contrast", severity=1, table="8x8", limit=7)
    for make in (generate, lambda *of: cached(*of, tmp_path)):
        with pytest.raises(DataError, match="made of 7 images, but the clean test set has 6"):
            make(GREY, recipe)


# -- the cache

RECIPE = Recipe(corruption="impulse_noise", severity=3, table="8x8")


def kept(folder):
    return sorted(folder.rglob("*.*"))


def test_the_cache_is_used(tmp_path, monkeypatch):
    made = cached(GREY, RECIPE, tmp_path)
    assert (made == generate(GREY, RECIPE)).all()
    monkeypatch.setattr(corruptions, "corrupt", lambda *_: pytest.fail("made again"))
    again = cached(GREY, RECIPE, tmp_path)
    assert (again == made).all() and again.flags.writeable
    (path,) = kept(tmp_path)
    assert path == generated.cache_path(GREY, RECIPE, tmp_path)


def test_other_images_recipes_and_libraries_are_other_files(tmp_path, monkeypatch):
    other = GREY.copy()
    other[0, 0, 0, 0] ^= 1
    limited = Recipe(corruption="impulse_noise", severity=3, table="8x8", limit=3)
    for images, recipe in ((GREY, RECIPE), (other, RECIPE), (GREY, limited)):
        assert (cached(images, recipe, tmp_path) == generate(images, recipe)).all()
    assert len(kept(tmp_path)) == 3
    recipes = [Recipe(corruption=n, severity=1, table="8x8") for n in ("contrast", "pixelate")]
    before = [generated.cache_path(GREY, recipe, tmp_path) for recipe in recipes]
    monkeypatch.setattr(generated, "version", lambda name: "99")
    after = [generated.cache_path(GREY, recipe, tmp_path) for recipe in recipes]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]


def test_a_damaged_file_is_replaced(tmp_path):
    made = cached(GREY, RECIPE, tmp_path)
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    middle = bytearray(whole)
    middle[300] ^= 1
    exchanged = io.BytesIO()
    np.savez(exchanged, images=made[::-1], sha256=np.array(digest(made)))
    pickled = io.BytesIO()
    np.savez(pickled, images=np.array([made, None], object), sha256=np.array(digest(made)))
    for damaged in (
        b"",
        whole[:-9],
        whole[: len(whole) // 2],
        bytes(middle),
        exchanged.getvalue(),
        pickled.getvalue(),
    ):
        path.write_bytes(damaged)
        assert (cached(GREY, RECIPE, tmp_path) == made).all()
        assert kept(tmp_path) == [path]
        assert (generated._read(path) == made).all()


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    assert (cached(GREY, RECIPE, blocked) == generate(GREY, RECIPE)).all()
    assert (cached(GREY, RECIPE, Path("/proc/none")) == generate(GREY, RECIPE)).all()


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_a_process_that_ends_while_it_writes_leaves_nothing_half(tmp_path, monkeypatch, when):
    def end(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generated.os, when, end)
        with pytest.raises(KeyboardInterrupt):
            cached(GREY, RECIPE, tmp_path)
    assert kept(tmp_path) == []

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(generated.os, when, full)
        assert (cached(GREY, RECIPE, tmp_path) == generate(GREY, RECIPE)).all()
    assert kept(tmp_path) == []


def test_several_may_make_the_same_at_once(tmp_path):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(cached(GREY, RECIPE, tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4 and all((one == made[0]).all() for one in made)
    assert len(kept(tmp_path)) == 1


# -- another implementation

IMAGENET_C = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60, 25, 12, 5, 3),
    "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": (1, 2, 3, 4, 6),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (25, 18, 15, 10, 7),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGENET_C)
def test_formulas_are_those_of_imagecorruptions(name):
    """Of `imagecorruptions-imaug`, with its own constants: impulse noise draws otherwise, zoom blur cuts otherwise."""
    theirs = pytest.importorskip("imagecorruptions").corruptions
    for image, (severity, c) in itertools.product(
        COLOUR[:2].transpose(0, 2, 3, 1), enumerate(IMAGENET_C[name], 1)
    ):
        np.random.seed(3)
        expected = np.uint8(getattr(theirs, name)(Image.fromarray(image), severity))
        draw = np.random.RandomState(3)
        if CORRUPTIONS[name].whole:
            found = getattr(formulas, name)(image[None], c, draw)[0]
        else:
            found = levels(getattr(formulas, name)(image[None] / 255.0, c, draw)[0])
        nearly(found, expected, 0.03)
