"""Per-image transforms of image files.

A transform is called with a PIL image of mode RGB and returns one. Random numbers come from Python's
`random` alone, which the harness seeds for every sample (`suite.engine.data.SeededDataset`): so the
data of a run depend neither on the number of workers nor on where it was resumed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from mmengine.registry import TRANSFORMS, Registry
from PIL import Image, ImageEnhance, ImageFilter

from suite.base.errors import UserError, did_you_mean

Picture = Image.Image
PerImage = Callable[[Picture], Picture]

_SCOPE = "longtail_vision"
# a child of mmengine's: mmcv has a CenterCrop (of another interface) in the parent
IMAGE_TRANSFORMS = Registry("image transform", parent=TRANSFORMS, scope=_SCOPE)


def build_transform(config: dict[str, Any]) -> PerImage:
    """The transform of a config `{"type": NAME, **arguments}`, this module's names first.

    Raises UserError for an unknown name or wrong arguments.
    """
    name = config.get("type")
    if not isinstance(name, str) or not _is_registered(name):
        near = did_you_mean(str(name), IMAGE_TRANSFORMS.module_dict)
        raise UserError(f"no image transform is called {name!r}{near}")
    try:
        built: PerImage = IMAGE_TRANSFORMS.build({**config, "_scope_": _SCOPE})
    except TypeError as error:
        raise UserError(f"image transform {name}: {error}; see its docstring") from error
    return built


def crop_box(
    width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a random crop inside a width x height image, at least 1x1.

    Area and aspect ratio as in Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, section 6:
    the share of the area is uniform on `scale`; the aspect ratio is log-uniform on `ratio`. After ten
    crops that do not fit: the largest central one whose aspect ratio is in `ratio`, as torchvision.
    """
    for _ in range(10):
        area = width * height * random.uniform(*scale)
        aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = random.randint(0, width - wide), random.randint(0, height - tall)
            return left, top, left + wide, top + tall
    wide = max(1, min(width, round(height * ratio[1])))
    tall = max(1, min(height, round(width / ratio[0])))
    left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall


@IMAGE_TRANSFORMS.register_module()
class RandomResizedCrop:
    """A random part of the image (`crop_box`), resized to size x size, bilinear with antialiasing.

    Args:
        size: edge in pixels.
        scale: range of the crop's share of the area, within (0, 1].
        ratio: range of its width / height.
    """

    def __init__(
        self,
        size: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = _pixels("RandomResizedCrop", size)
        self.scale = _range("RandomResizedCrop: scale", scale, most=1.0)
        self.ratio = _range("RandomResizedCrop: ratio", ratio, most=math.inf)

    def __call__(self, image: Picture) -> Picture:
        box = crop_box(*image.size, self.scale, self.ratio)
        # cropped first: resize(box=...) would blend in pixels from outside the box
        return image.crop(box).resize((self.size, self.size), Image.Resampling.BILINEAR)


@IMAGE_TRANSFORMS.register_module()
class HorizontalFlip:
    """The image mirrored left to right with probability `prob`."""

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = _probability("HorizontalFlip", prob)

    def __call__(self, image: Picture) -> Picture:
        if random.random() < self.prob:
            return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image


@IMAGE_TRANSFORMS.register_module()
class ColorJitter:
    """Brightness, contrast, saturation by PIL's enhancers, and hue, in random order.

    Args:
        brightness, contrast, saturation: x >= 0; the factor is uniform on [max(0, 1 - x), 1 + x],
            and 0 leaves that property alone.
        hue: the shift is uniform on [-hue, hue], in turns of the colour circle; at most 0.5.
        prob: of changing anything.
    """

    def __init__(
        self,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        prob: float = 1.0,
    ) -> None:
        strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        for name, strength in strengths.items():
            if not 0 <= strength < math.inf:
                raise UserError(f"ColorJitter: {name} is {strength}, expected a number >= 0")
        if not 0 <= hue <= 0.5:
            raise UserError(f"ColorJitter: hue is {hue}, expected 0 to 0.5")
        self.strengths, self.hue = strengths, hue
        self.prob = _probability("ColorJitter", prob)

    def draw(self) -> list[tuple[str, float]]:
        """What to change in what order: (property, factor, or turns of the hue)."""
        # nothing is drawn for what is not asked for
        if self.prob < 1 and random.random() >= self.prob:
            return []
        factors = [
            (name, random.uniform(max(0.0, 1 - x), 1 + x))
            for name, x in self.strengths.items()
            if x > 0
        ]
        if self.hue > 0:
            factors.append(("hue", random.uniform(-self.hue, self.hue)))
        random.shuffle(factors)
        return factors

    def __call__(self, image: Picture) -> Picture:
        for name, factor in self.draw():
            if name == "hue":
                image = _turn_hue(image, factor)
            else:
                image = _ENHANCERS[name](image).enhance(factor)
        return image


@IMAGE_TRANSFORMS.register_module()
class Grayscale:
    """The image grey (ITU-R 601-2 luma, in every channel) with probability `prob`."""

    def __init__(self, prob: float) -> None:
        self.prob = _probability("Grayscale", prob)

    def __call__(self, image: Picture) -> Picture:
        return image.convert("L").convert("RGB") if random.random() < self.prob else image


@IMAGE_TRANSFORMS.register_module()
class GaussianBlur:
    """PIL's blur of a radius uniform on `sigma` (pixels), with probability `prob`."""

    def __init__(self, sigma: tuple[float, float] = (0.1, 2.0), prob: float = 0.5) -> None:
        self.sigma = _range("GaussianBlur: sigma", sigma, most=math.inf)
        self.prob = _probability("GaussianBlur", prob)

    def __call__(self, image: Picture) -> Picture:
        if random.random() >= self.prob:
            return image
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self.sigma)))


@IMAGE_TRANSFORMS.register_module()
class ResizeShorter:
    """The shorter side to `size` pixels, the longer in proportion (rounded down), bilinear."""

    def __init__(self, size: int) -> None:
        self.size = _pixels("ResizeShorter", size)

    def __call__(self, image: Picture) -> Picture:
        shorter = min(image.size)
        width, height = (self.size * side // shorter for side in image.size)
        return image.resize((width, height), Image.Resampling.BILINEAR)


@IMAGE_TRANSFORMS.register_module()
class CenterCrop:
    """The central size x size pixels; sides that are shorter are padded with black on both ends."""

    def __init__(self, size: int) -> None:
        self.size = _pixels("CenterCrop", size)

    def __call__(self, image: Picture) -> Picture:
        # round: half a pixel goes to the even side, as in torchvision
        left, top = (
            round((side - self.size) / 2) if side >= self.size else -((self.size - side) // 2)
            for side in image.size
        )
        return image.crop((left, top, left + self.size, top + self.size))


_ENHANCERS: dict[str, Callable[[Picture], Any]] = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


def _turn_hue(image: Picture, turns: float) -> Picture:
    """Hue shifted by a share of the circle, in PIL's HSV of 256 hues."""
    hue, saturation, value = image.convert("HSV").split()
    shift = round(turns * 256)
    turned = hue.point([(level + shift) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _probability(what: str, prob: float) -> float:
    if not 0 <= prob <= 1:
        raise UserError(f"{what}: prob is {prob}, expected 0 to 1")
    return prob


def _is_registered(name: str) -> bool:
    try:
        return IMAGE_TRANSFORMS.get(name) is not None
    except RuntimeError:  # mmengine's answer to a dotted name that it cannot import
        return False


def _pixels(what: str, size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise UserError(f"{what}: size is {size!r}, expected an integer >= 1 (pixels)")
    return size


def _range(what: str, bounds: Sequence[float], most: float) -> tuple[float, float]:
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= most or math.isinf(bounds[1]):
        text = "above 0" if math.isinf(most) else f"above 0 and at most {most:g}"
        raise UserError(f"{what} is {tuple(bounds)}, expected (low, high) {text}")
    return float(bounds[0]), float(bounds[1])
