"""What each generated corruption does to images. Pure numpy, but for Pillow's `pixelate` and `jpeg_compression`.

A formula takes x, float64 (N, H, W, C) in [0, 1], its constant of one severity, and the random numbers; it gives float64
of the same shape, which its caller clips to [0, 1] and truncates to whole levels. (`pixelate` and `jpeg_compression`
take and give uint8.) Formulas as in the scripts that made CIFAR-10-C (Hendrycks and Dietterich, ICLR 2019); what those left
to scikit-image, scipy and OpenCV is written out: sums in a fixed order of elementwise steps are the same on every machine.

All random numbers of an image are drawn before those of the next, so a set may be made in parts of any size, and its
first images are the same whatever follows them.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from tasks.robust_auc.data.colour import from_hsv, to_hsv

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]
    Draw = np.random.RandomState


# -- noise


def gaussian_noise(x: Array, std: float, draw: Draw) -> Array:
    """x + N(0, std^2) for each value."""
    return x + draw.normal(size=x.shape, scale=std)


def shot_noise(x: Array, photons: float, draw: Draw) -> Array:
    """Poisson(x photons) / photons: what a sensor counts that sees `photons` of a white pixel."""
    counted: Array = draw.poisson(x * photons) / photons
    return counted


def impulse_noise(x: Array, share: float, draw: Draw) -> Array:
    """Each channel's value becomes 0 or 1 with probability share / 2 each."""
    import numpy as np

    uniform = draw.random_sample(x.shape)
    return np.where(uniform < share / 2, 0.0, np.where(uniform < share, 1.0, x))


def speckle_noise(x: Array, std: float, draw: Draw) -> Array:
    """x + x N(0, std^2)."""
    return x + x * draw.normal(size=x.shape, scale=std)


# -- blur


def gaussian_blur(x: Array, sigma: float, draw: Draw) -> Array:
    """Gaussian of `sigma` pixels, cut off at four of them; beyond an edge its last pixel goes on."""
    import numpy as np

    radius = int(4 * sigma + 0.5)
    # numpy's own exp differs between processors
    taps = [math.exp(-0.5 / sigma**2 * k**2) for k in range(radius + 1)]
    total = math.fsum([*taps, *taps[1:]])
    weights = [tap / total for tap in taps]
    for axis in (1, 2):
        size = x.shape[axis]
        pads = [(0, 0)] * 4
        pads[axis] = (radius, radius)
        padded = np.moveaxis(np.pad(x, pads, mode="edge"), axis, 0)
        blurred = padded[radius : radius + size] * weights[0]
        for k in range(1, radius + 1):
            both = padded[radius - k : radius - k + size] + padded[radius + k : radius + k + size]
            blurred += both * weights[k]
        x = np.moveaxis(blurred, 0, axis)
    return x


def defocus_blur(x: Array, constant: tuple[float, float], draw: Draw) -> Array:
    """Mean over a disc of a radius in pixels, whose rim is softened by a 3x3 Gaussian of std `alias`; mirrored at the
    edges without repeating the last pixel. `constant` is (radius, alias)."""
    import numpy as np

    kernel = disc(*constant)
    reach, height, width = len(kernel) // 2, x.shape[1], x.shape[2]
    padded = np.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)], mode="reflect")
    blurred = np.zeros_like(x)
    for row, column in np.argwhere(kernel > 0):
        shifted = padded[:, row : row + height, column : column + width]
        blurred += shifted * kernel[row, column]
    return blurred


def disc(radius: float, alias: float) -> Array:
    """float64 (K, K), K odd, of sum 1."""
    import numpy as np

    # a pixel more than the disc needs: the softened rim
    reach = int(radius) + 1
    along = np.arange(-reach, reach + 1)
    inside = (along[:, None] ** 2 + along**2 <= radius**2).astype(np.float64)
    side = math.exp(-0.5 / alias**2)
    taps = (side / (1 + 2 * side), 1 / (1 + 2 * side), side / (1 + 2 * side))
    softened = np.zeros_like(inside)
    padded = np.pad(inside / inside.sum(), 1)
    for row in range(3):
        for column in range(3):
            part = padded[row : row + len(inside), column : column + len(inside)]
            softened += taps[row] * taps[column] * part
    # the official kernels are of single precision, and a mean of five levels is often a whole one: rounded the other way,
    # truncation would take another level off
    return softened.astype(np.float32).astype(np.float64)


def zoom_blur(x: Array, count: int, draw: Draw) -> Array:
    """Mean of the image, as it is, and of its centre at `count` zooms 1, 1.01, 1.02, ... (linear interpolation)."""
    import numpy as np

    # rows and columns first: gathering them is then copying of long pieces
    size = x.shape[1]
    pixels = np.ascontiguousarray(x.transpose(1, 2, 0, 3)).reshape(size, size, -1)
    total = np.zeros_like(pixels)
    for k in range(count):
        total += zoomed(pixels, 1 + k * (1.01 - 1))
    mean = (pixels + total) / (count + 1)
    return mean.reshape(size, size, len(x), -1).transpose(2, 0, 1, 3)


def zoomed(pixels: Array, zoom: float) -> Array:
    """The centre of images, enlarged `zoom` >= 1 times and cut to their size: float64 (S, S, any)."""
    import numpy as np

    size = len(pixels)
    kept = math.ceil(size / zoom)
    enlarged = round(kept * zoom)
    top, trim = (size - kept) // 2, (enlarged - size) // 2
    at = np.arange(trim, trim + size) * ((kept - 1) / (enlarged - 1))
    low = np.minimum(at.astype(np.int64), kept - 2)
    part = np.minimum(at - low, 1.0)
    for axis in (0, 1):
        share = part[:, None, None] if axis == 0 else part[:, None]
        before, after = pixels.take(top + low, axis), pixels.take(top + low + 1, axis)
        before *= 1 - share
        after *= share
        before += after
        pixels = before
    return pixels


# -- light


def fog(x: Array, constant: tuple[float, float], draw: Draw) -> Array:
    """x + amount * fractal, scaled so that the brightest pixel keeps its place in the range. `constant` is (amount, decay)."""
    amount, decay = constant
    size = x.shape[1]
    side = 1 << (size - 1).bit_length()
    heights = plasma_fractal(draw.random_sample((len(x), side * side - 1)), decay)
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    hazy = x + amount * heights[:, :size, :size, None]
    scaled: Array = hazy * brightest / (brightest + amount)
    return scaled


def plasma_fractal(uniform: Array, decay: float) -> Array:
    """Height maps, float64 (N, S, S) in [0, 1], by the diamond-square algorithm on a torus, S a power of two.

    `uniform` (N, S^2 - 1) in [0, 1) displaces the points; the displacement falls by decay^2 with each halving of the grid.
    """
    import numpy as np

    count = len(uniform)
    side = math.isqrt(uniform.shape[1] + 1)
    heights = np.zeros((count, side, side))
    step, reach, used = side, 100.0, 0
    while step >= 2:
        half, points = step // 2, side // step

        def displaced(total: Array, points: int = points, reach: float = reach) -> Array:
            nonlocal used
            u = uniform[:, used : used + points * points].reshape(count, points, points)
            used += points * points
            return total / 4 + reach * (-reach + 2 * reach * u)

        corners = heights[:, ::step, ::step]
        square = corners + np.roll(corners, -1, 1)
        square += np.roll(square, -1, 2)
        heights[:, half::step, half::step] = displaced(square)
        centres = heights[:, half::step, half::step]
        diamond = (centres + np.roll(centres, 1, 1)) + (corners + np.roll(corners, -1, 2))
        heights[:, ::step, half::step] = displaced(diamond)
        diamond = (centres + np.roll(centres, 1, 2)) + (corners + np.roll(corners, -1, 1))
        heights[:, half::step, ::step] = displaced(diamond)
        step, reach = half, reach / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    made: Array = heights / heights.max(axis=(1, 2), keepdims=True)
    return made


def brightness(x: Array, added: float, draw: Draw) -> Array:
    """HSV value + added; of grey images x + added, which is the same."""
    import numpy as np

    if x.shape[3] == 1:
        return x + added
    hue, saturation, value = to_hsv(x)
    return from_hsv(hue, saturation, np.clip(value + added, 0, 1))


def contrast(x: Array, factor: float, draw: Draw) -> Array:
    """(x - mean) factor + mean, by image and channel."""
    import numpy as np

    # levels are whole numbers: their sum is exact in whatever order
    levels = np.rint(x * 255).sum(axis=(1, 2), keepdims=True)
    means = levels / (255 * x.shape[1] * x.shape[2])
    shrunk: Array = (x - means) * factor + means
    return shrunk


def saturate(x: Array, constant: tuple[float, float], draw: Draw) -> Array:
    """HSV saturation s -> c0 s + c1, clipped to [0, 1]. Colour images only."""
    import numpy as np

    hue, saturation, value = to_hsv(x)
    return from_hsv(hue, np.clip(saturation * constant[0] + constant[1], 0, 1), value)


# -- resolution, on uint8


def pixelate(images: Array, scale: float, draw: Draw) -> Array:
    """Box-filtered down to int(scale S) pixels along a side, and up to S again."""
    import numpy as np
    from PIL import Image

    size = images.shape[1]
    small = (int(size * scale),) * 2
    made = np.empty_like(images)
    for image, out in zip(images, made, strict=True):
        down = Image.fromarray(_plain(image)).resize(small, Image.Resampling.BOX)
        up = down.resize((size, size), Image.Resampling.BOX)
        out[:] = np.asarray(up).reshape(image.shape)
    return made


def jpeg_compression(images: Array, quality: int, draw: Draw) -> Array:
    """Through JPEG at this quality."""
    import numpy as np
    from PIL import Image

    made = np.empty_like(images)
    for image, out in zip(images, made, strict=True):
        file = io.BytesIO()
        Image.fromarray(_plain(image)).save(file, "JPEG", quality=quality)
        with Image.open(file, formats=["JPEG"]) as decoded:
            out[:] = np.asarray(decoded).reshape(image.shape)
    return made


def _plain(image: Array) -> Array:
    """(H, W, 3), or (H, W) of a grey one: Pillow knows no axis of one channel."""
    return image[:, :, 0] if image.shape[2] == 1 else image
