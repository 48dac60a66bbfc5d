"""AutoAugment's operations on batches of uint8 images, and its CIFAR-10 policy.

Cubuk, Zoph, Mane, Vasudevan and Le, "AutoAugment: Learning Augmentation Policies from Data",
CVPR 2019 (arXiv 1805.09501): the policy is the appendix's table of 25 sub-policies for CIFAR-10.
Magnitude 0..9 is linear on the ranges of `magnitude`; Shear, Translate, Rotate and the four enhancements
(Brightness, Color, Contrast, Sharpness) draw a sign as well; shears keep the top left corner in place,
rotations the centre. Where the paper leaves a choice, a `Form` decides: that of torchvision's
`AutoAugment(CIFAR10)` on PIL images, or that of the PIL script which long-tail code ships (the unified study's
`utils/autoaug.py`).

Every operation gives bit for bit what Pillow gives for each image (its rounding, its 16.16 fixed
point coordinates), so that a batch differs from the usual per-image pipeline in speed only; a
Pillow compiled with fused multiply-adds may be one grey level off in the four enhancements. All run
on the images' device without waiting for it. This is a torch module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Operation = tuple[str, float, int | None]
"""Name, probability, magnitude 0..9 (None where the operation has none)."""

# fmt: off
CIFAR10: tuple[tuple[Operation, Operation], ...] = (
    (("Invert", 0.1, None), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, None), ("Equalize", 0.9, None)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, None), ("Equalize", 0.5, None)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, None), ("AutoContrast", 0.4, None)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, None)),
    (("Equalize", 0.2, None), ("AutoContrast", 0.6, None)),
    (("Equalize", 0.2, None), ("Equalize", 0.6, None)),
    (("Color", 0.9, 9), ("Equalize", 0.6, None)),
    (("AutoContrast", 0.8, None), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, None)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, None), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, None), ("Invert", 0.1, None)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, None)),
)
# fmt: on
POLICIES = {"cifar10": CIFAR10}


@dataclass(frozen=True, kw_only=True)
class Form:
    """What implementations of the policy differ in.

    Attributes:
        bicubic: shears interpolate bicubically (Keys, a = -1), instead of taking the nearest neighbour.
        whole: translations are by whole pixels, rounded towards zero.
        solarize: threshold at magnitude 0.
        fill: grey level of what geometry uncovers.
    """

    bicubic: bool
    whole: bool
    solarize: float
    fill: float


FORMS = {
    "torchvision": Form(bicubic=False, whole=True, solarize=255.0, fill=0.0),
    "released": Form(bicubic=True, whole=False, solarize=256.0, fill=128.0),
}
TORCHVISION = FORMS["torchvision"]

_LARGEST = {
    "ShearX": 0.3,  # pixels a pixel
    "ShearY": 0.3,
    "TranslateX": 150 / 331,  # of the width; the paper's 150 pixels are of 331
    "TranslateY": 150 / 331,
    "Rotate": 30.0,  # degrees
    "Brightness": 0.9,  # added to the factor 1
    "Color": 0.9,
    "Contrast": 0.9,
    "Sharpness": 0.9,
}


def signed(name: str) -> bool:
    """Whether the operation draws the sign of its magnitude."""
    return name in _LARGEST


def kind_of(name: str, form: Form = TORCHVISION) -> str:
    """The key of `FUNCTIONS` that does the operation."""
    return "shear" if form.bicubic and name in ("ShearX", "ShearY") else KINDS[name]


def magnitude(name: str, level: int | None, form: Form = TORCHVISION) -> float:
    """The strength of an operation at `level` 0..9, in the operation's own unit.

    ShearX/Y 0..0.3, TranslateX/Y 0..150/331 of the side, Rotate 0..30 degrees, Brightness, Color,
    Contrast and Sharpness 0..0.9 (the factor is 1 + it), Posterize 8..4 bits, Solarize threshold
    255 or 256..0; 0 for AutoContrast, Equalize and Invert. Positive: the sign is the caller's.
    """
    if level is None:
        return 0.0
    if name == "Posterize":
        return float(8 - round(level * 4 / 9))
    if name == "Solarize":
        return form.solarize * (9 - level) / 9
    return _LARGEST.get(name, 0.0) * level / 9


def apply(
    images: Tensor, name: str, strength: float, fill: Tensor, form: Form = TORCHVISION
) -> Tensor:
    """One operation of one (signed) strength, as `magnitude` gives it, on every image.

    images uint8 (n, C, H, W) with C 1 or 3, fill uint8 (C,) for what geometry uncovers; returns
    uint8 (n, C, H, W), a new tensor. Raises ValueError for an unknown operation.
    """
    if name not in KINDS:
        raise ValueError(f"unknown operation {name!r}; known: {', '.join(KINDS)}")
    height, width = images.shape[2:]
    one = parameter(name, strength, height, width, form).to(images.device)
    return FUNCTIONS[kind_of(name, form)](images, one.expand(len(images), *one.shape), fill)


def parameter(
    name: str, strength: float, height: int, width: int, form: Form = TORCHVISION
) -> Tensor:
    """What the function of the operation's kind wants for one image; on the CPU.

    `move`: source indices (H * W,) int64; `shear`: (5, H * W) float64, see there; `point`: table (256,)
    uint8; blends: factor () float32; AutoContrast and Equalize: an unused () float32.
    """
    kind = kind_of(name, form)
    if kind in ("move", "shear"):
        matrix = _inverse(name, strength, height, width, form)
        return (_source if kind == "move" else _taps)(matrix, height, width)
    if kind == "point":
        return _table(name, strength)
    return torch.tensor(1.0 + strength)


def _inverse(name: str, strength: float, height: int, width: int, form: Form) -> tuple[float, ...]:
    """(a, b, c, d, e, f): the output pixel (x, y) shows input (a x + b y + c, d x + e y + f)."""
    if name == "ShearX":
        return (1.0, -strength, 0.0, 0.0, 1.0, 0.0)
    if name == "ShearY":
        return (1.0, 0.0, 0.0, -strength, 1.0, 0.0)
    if name in ("TranslateX", "TranslateY"):
        offset = strength * (width if name == "TranslateX" else height)
        offset = -int(offset) if form.whole else -offset
        return (
            1.0,
            0.0,
            *((offset, 0.0, 1.0, 0.0) if name == "TranslateX" else (0.0, 0.0, 1.0, offset)),
        )
    sin, cos = math.sin(math.radians(strength)), math.cos(math.radians(strength))
    x, y = width / 2, height / 2
    return (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)


def _source(matrix: tuple[float, ...], height: int, width: int) -> Tensor:
    """For every output pixel the flat index of its input pixel, H * W where that is outside.

    Coordinates are those of pixel centres in 16.16 fixed point, as Pillow computes them: the
    neighbour at a tie is then the same everywhere, and on every device.
    """
    a, b, c, d, e, f = matrix

    def fixed(value: float) -> int:
        return math.floor(value * 65536 + 0.5)

    y, x = torch.arange(height).view(-1, 1), torch.arange(width)
    column = (fixed(a) * x + fixed(b) * y + fixed(c + a / 2 + b / 2)) >> 16
    row = (fixed(d) * x + fixed(e) * y + fixed(f + d / 2 + e / 2)) >> 16
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return torch.where(inside, row * width + column, height * width).flatten()


def _taps(matrix: tuple[float, ...], height: int, width: int) -> Tensor:
    """What `shear` wants for the matrix of ShearX or ShearY: (5, H * W) float64.

    Four flat indices of input pixels along the sheared axis, clipped to the image, and the place 0..1
    between the inner two; the first index is H * W where the output pixel lies outside.
    """
    _, b, _, d, _, _ = matrix
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    along, place, side = (
        ((x + 0.5) + b * (y + 0.5), y * width, width)
        if d == 0
        else (d * (x + 0.5) + (y + 0.5), x, height)
    )
    step = 1 if d == 0 else width
    inner = (along - 0.5).floor()
    share = (along - 0.5) - inner
    taps = [place + step * (inner + k).clamp(0, side - 1) for k in (-1, 0, 1, 2)]
    inside = (along >= 0) & (along < side)
    taps[0] = torch.where(inside, taps[0], height * width)
    return torch.stack([*taps, share]).flatten(1)


def _table(name: str, strength: float) -> Tensor:
    level = torch.arange(256)
    if name == "Invert":
        level = 255 - level
    elif name == "Solarize":
        level = torch.where(level < strength, level, 255 - level)
    elif name == "Posterize":
        level = level & (256 - 2 ** (8 - int(strength)))
    else:
        level = (level.float() * (1.0 + strength)).clamp(0, 255)
    return level.to(torch.uint8)


def move(images: Tensor, source: Tensor, fill: Tensor) -> Tensor:
    """Shear, translation and rotation: each image by its own source indices (n, H * W)."""
    n, channels = images.shape[:2]
    outside = fill.view(1, channels, 1).expand(n, -1, -1)
    pixels = torch.cat((images.flatten(2), outside), dim=2)
    return pixels.gather(2, source.unsqueeze(1).expand(-1, channels, -1)).view(images.shape)


def shear(images: Tensor, taps: Tensor, fill: Tensor) -> Tensor:
    """Bicubic shears: each image by its own taps (n, 5, H * W), as `_taps` makes them; truncated."""
    channels, height, width = images.shape[1:]
    pixels = images.flatten(2)
    index, share = taps[:, :4].long(), taps[:, 4:]
    outside = index[:, :1] == height * width
    a, b, c, d = (
        pixels.gather(
            2, one[:, None].clamp(max=height * width - 1).expand(-1, channels, -1)
        ).double()
        for one in index.unbind(1)
    )
    # Keys's cubic convolution, a = -1, in Pillow's order of operations, so that truncation falls alike
    value = b + share * ((c - a) + share * ((2 * (a - b) + c - d) + share * (b - a - c + d)))
    sheared = value.clamp(0, 255).to(torch.uint8)
    return torch.where(outside, fill.view(1, channels, 1), sheared).view(images.shape)


def point(images: Tensor, table: Tensor, fill: Tensor) -> Tensor:
    """Brightness, Posterize, Solarize, Invert: each image through its own table (n, 256)."""
    return _through(images, table.unsqueeze(1))


def contrast(images: Tensor, factor: Tensor, fill: Tensor) -> Tensor:
    """Away from (factor (n,) > 1) or towards (< 1) the image's mean grey level, rounded."""
    grey = luminance(images)
    count = grey[0].numel()
    mean = (2 * grey.sum(dim=(1, 2, 3)) + count) // (2 * count)
    level = torch.arange(256, device=images.device).expand(len(images), -1)
    table = blend(mean.view(-1, 1), level, factor.view(-1, 1))
    return _through(images, table.unsqueeze(1))


def autocontrast(images: Tensor, factor: Tensor, fill: Tensor) -> Tensor:
    """Each channel stretched linearly to 0..255; a channel of one level stays as it is."""
    pixels = images.flatten(2)
    low, high = (e.unsqueeze(2).double() for e in torch.aminmax(pixels, dim=2))
    level = torch.arange(256, device=images.device, dtype=torch.float64)
    # the same double operations as Pillow's, so that truncation falls alike; `255.0 / tensor` would
    # be a multiplication by the reciprocal
    scale = torch.full_like(low, 255.0) / (high - low)
    stretched = (level * scale + -low * scale).clamp(0, 255)
    return _through(images, torch.where(high > low, stretched, level).to(torch.uint8))


def equalize(images: Tensor, factor: Tensor, fill: Tensor) -> Tensor:
    """Each channel's histogram flattened; a channel whose step would be 0 stays as it is."""
    pixels = images.flatten(2).long()
    n, channels, count = pixels.shape
    row = torch.arange(n * channels, device=images.device).view(n, channels, 1)
    histogram = torch.zeros(n * channels * 256, dtype=torch.long, device=images.device)
    # one-dimensional: the form that torch also has a deterministic CUDA kernel for
    bins = (pixels + 256 * row).flatten()
    histogram = histogram.scatter_add_(0, bins, torch.ones_like(bins)).view(n, channels, 256)
    brightest = histogram.gather(2, pixels.amax(dim=2, keepdim=True))
    step = (count - brightest) // 255
    below = histogram.cumsum(2) - histogram
    level = torch.arange(256, device=images.device)
    flat = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return _through(images, torch.where(step > 0, flat, level).to(torch.uint8))


def color(images: Tensor, factor: Tensor, fill: Tensor) -> Tensor:
    """Away from or towards the image's own grey version; one-channel images stay as they are."""
    return blend(luminance(images), images, factor.view(-1, 1, 1, 1))


def sharpness(images: Tensor, factor: Tensor, fill: Tensor) -> Tensor:
    """Away from or towards a 3x3 smoothing (weights 1, centre 5, over 13); the border stays."""
    x = images.to(torch.int16)
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * x[:, :, 1:-1, 1:-1]
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = (total + 6) // 13  # to the nearest: k / 13 is never a tie
    return blend(smooth, x, factor.view(-1, 1, 1, 1))


def blend(other: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """other + factor * (images - other) in float32, clipped to 0..255 and truncated to uint8."""
    start = other.float()
    return (start + factor * (images.float() - start)).clamp_(0, 255).to(torch.uint8)


def luminance(images: Tensor) -> Tensor:
    """ITU-R 601-2 luma, int32 (n, 1, H, W), 0..255, rounded in 16-bit fixed point."""
    if images.shape[1] == 1:
        return images.int()
    red, green, blue = (images[:, c : c + 1].int() for c in range(3))
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def _through(images: Tensor, tables: Tensor) -> Tensor:
    """images through tables (n, C or 1, 256) of their own."""
    n, channels = images.shape[:2]
    index = images.flatten(2).long()
    return tables.expand(n, channels, 256).gather(2, index).view(images.shape)


# Operations of one kind share a function, hence one pass over the images that drew any of them.
FUNCTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "move": move,
    "shear": shear,
    "point": point,
    "contrast": contrast,
    "autocontrast": autocontrast,
    "equalize": equalize,
    "color": color,
    "sharpness": sharpness,
}
KINDS: dict[str, str] = {
    **dict.fromkeys(("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"), "move"),
    **dict.fromkeys(("Brightness", "Posterize", "Solarize", "Invert"), "point"),
    **{n: n.lower() for n in ("Contrast", "AutoContrast", "Equalize", "Color", "Sharpness")},
}
