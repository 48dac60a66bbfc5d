"""Rotation, colour jitter, greying and blur of whole batches: further transforms as in `augment`.

They are what SADE's code augments with, in training (rotation) and for the views of test images
that experts are weighted on. Rotation, brightness, contrast, saturation and grey levels are
Pillow's (`autoaugment`); hue and blur are computed in float32 and rounded, so they may differ by
one grey level between devices. This is a torch module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from mmengine.registry import TRANSFORMS
from torch import Tensor

from tasks.vision.augment import autoaugment
from tasks.vision.augment.batch import Fill, _levels, _per_channel, check_images


@TRANSFORMS.register_module()
class BatchRotate:
    """Turns each image about its centre by an angle uniform on [-degrees, degrees].

    Nearest neighbour, same size.

    Args:
        degrees: 0 to 180.
        fill: grey level 0..255 of what the rotation uncovers, one for all channels or one a
            channel.

    Raises ValueError for values out of range and, at a call, for a fill of another number of
    channels than the images'.
    """

    def __init__(self, degrees: float, fill: Fill = 0.0) -> None:
        if not 0 <= degrees <= 180:
            raise ValueError(f"BatchRotate: degrees must be in [0, 180], not {degrees}")
        self.degrees = degrees
        self.fill = _levels("BatchRotate", fill)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        check_images(images)
        fill = _per_channel("BatchRotate", self.fill, images)
        batch, _, height, width = images.shape
        angle = (2 * torch.rand(batch, generator=generator, dtype=torch.float64) - 1) * self.degrees
        source = rotation(angle, height, width).to(images.device, non_blocking=True)
        return autoaugment.move(images, source, fill)


def rotation(angle: Tensor, height: int, width: int) -> Tensor:
    """For each angle in degrees (B,) what `autoaugment.move` takes: (B, H * W) int64.

    As `autoaugment.parameter("Rotate", ...)`, for all angles at once.
    """
    sin, cos = (f(torch.deg2rad(angle)).view(-1, 1, 1) for f in (torch.sin, torch.cos))
    x, y = width / 2, height / 2
    row, column = torch.arange(height).view(-1, 1), torch.arange(width)

    def fixed(value: Tensor) -> Tensor:
        return torch.floor(value * 65536 + 0.5).long()

    at_x = fixed(x - cos * x + sin * y + (cos - sin) / 2)
    at_y = fixed(y - sin * x - cos * y + (sin + cos) / 2)
    seen_x = (fixed(cos) * column + fixed(-sin) * row + at_x) >> 16
    seen_y = (fixed(sin) * column + fixed(cos) * row + at_y) >> 16
    inside = (seen_x >= 0) & (seen_x < width) & (seen_y >= 0) & (seen_y < height)
    return torch.where(inside, seen_y * width + seen_x, height * width).flatten(1)


@TRANSFORMS.register_module()
class BatchColorJitter:
    """Brightness, contrast, saturation and hue in an order drawn for each image.

    Args:
        brightness, contrast, saturation: x >= 0; the factor is uniform on [max(0, 1 - x), 1 + x].
        hue: the shift is uniform on [-hue, hue], in turns of the colour circle; at most 0.5.
        prob: of changing an image at all, in [0, 1].

    An image of one channel has neither saturation nor hue. Raises ValueError for values out of
    range.
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
                raise ValueError(f"BatchColorJitter: {name} must be a number >= 0, not {strength}")
        if not 0 <= hue <= 0.5:
            raise ValueError(f"BatchColorJitter: hue must be in [0, 0.5], not {hue}")
        self.prob = _probability("BatchColorJitter", prob)
        # factors of exactly 1 and turns of exactly 0 change no pixel
        self._kinds = [k for k, x in enumerate((*strengths.values(), hue)) if x > 0]
        self._low = torch.tensor([*(max(0.0, 1 - x) for x in strengths.values()), -hue])
        self._high = torch.tensor([*(1 + x for x in strengths.values()), hue])

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images changed (batch,) bool, amounts (batch, 4) float32, order (batch, 4) int64.

        Amounts are of brightness, contrast, saturation (factors) and hue (turns), and the order
        holds their places in this list. All are drawn for every image, whatever is asked for.
        """
        applied = torch.rand(batch, generator=generator) < self.prob
        share = torch.rand(batch, len(_OPERATIONS), generator=generator)
        order = torch.rand(batch, len(_OPERATIONS), generator=generator).argsort(1)
        return applied, self._low + share * (self._high - self._low), order

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        check_images(images)
        applied, amount, order = self.draw(len(images), generator)
        device, out = images.device, images.clone()
        there = amount.to(device, non_blocking=True)
        for place in range(len(_OPERATIONS)):
            for kind in self._kinds:
                # grouped on the host: nothing waits for the device
                which = (applied & (order[:, place] == kind)).nonzero().squeeze(1)
                if not len(which):
                    continue
                which = which.to(device, non_blocking=True)
                changed = _OPERATIONS[kind](out.index_select(0, which), there[:, kind][which])
                out.index_copy_(0, which, changed)
        return out


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return autoaugment.blend(torch.zeros_like(images), images, factor.view(-1, 1, 1, 1))


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    return autoaugment.contrast(images, factor, factor)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    return autoaugment.color(images, factor, factor)


def turn_hue(images: Tensor, shift: Tensor) -> Tensor:
    """uint8 (B, C, H, W) with hues shifted by (B,) turns, rounded; saturation and value stay (HSV).

    Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978, without quantising the hue.
    """
    if images.shape[1] == 1:
        return images
    pixels = images.float()
    value, low = pixels.amax(1), pixels.amin(1)
    chroma = value - low
    red, green, blue = pixels.unbind(1)
    span = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    # sixths of the circle, from the channel that is largest
    sixth = torch.where(
        value == red,
        (green - blue) / span,
        torch.where(value == green, (blue - red) / span + 2, (red - green) / span + 4),
    )
    sixth = sixth + 6 * shift.view(-1, 1, 1)
    # a channel is low, high or between by its distance from its own place on the circle
    # (5, 3, 1): arange is filled on the device, copying numbers there would wait for it
    place = torch.arange(5.0, 0.0, -2.0, device=images.device).view(1, 3, 1, 1)
    distance = torch.remainder(place + sixth.unsqueeze(1), 6)
    share = torch.minimum(distance, 4 - distance).clamp(0, 1)
    turned = value.unsqueeze(1) - chroma.unsqueeze(1) * share
    return turned.round().clamp_(0, 255).to(torch.uint8)


_OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _brightness,
    _contrast,
    _saturation,
    turn_hue,
)


@TRANSFORMS.register_module()
class BatchGrayscale:
    """Each image grey (ITU-R 601-2 luma, in every channel) with probability `prob`.

    Raises ValueError for a probability outside [0, 1].
    """

    def __init__(self, prob: float) -> None:
        self.prob = _probability("BatchGrayscale", prob)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        check_images(images)
        which = _drawn(len(images), self.prob, generator).to(images.device, non_blocking=True)
        grey = autoaugment.luminance(images.index_select(0, which)).to(torch.uint8)
        return images.clone().index_copy_(0, which, grey.expand(-1, images.shape[1], -1, -1))


@TRANSFORMS.register_module()
class BatchBlur:
    """Each image under a Gaussian of sigma uniform on `sigma`, in pixels, with probability `prob`.

    The kernel reaches three of the largest sigma, edges are repeated, the result is rounded.
    Raises ValueError for a range that is not 0 < low <= high < inf and a probability outside
    [0, 1].
    """

    def __init__(self, sigma: Sequence[float], prob: float = 1.0) -> None:
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1] < math.inf:
            raise ValueError(f"BatchBlur: sigma must be (low, high) above 0, not {tuple(sigma)}")
        self.low, self.high = sigma
        self.prob = _probability("BatchBlur", prob)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        check_images(images)
        which = _drawn(len(images), self.prob, generator)
        drawn = torch.rand(len(which), generator=generator)
        sigma = (self.low + drawn * (self.high - self.low)).to(images.device, non_blocking=True)
        which = which.to(images.device, non_blocking=True)
        blurred = gaussian_blur(images.index_select(0, which), sigma, math.ceil(3 * self.high))
        return images.clone().index_copy_(0, which, blurred)


def gaussian_blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """uint8 (B, C, H, W) under Gaussians of sigma (B,) pixels, cut off beyond `reach` pixels.

    Edges are repeated, the result is rounded once, after both axes.
    """
    offset = torch.arange(-reach, reach + 1, device=images.device)
    kernel = (-((offset / sigma.view(-1, 1)) ** 2) / 2).exp()
    kernel = kernel / kernel.sum(1, keepdim=True)
    across, down = (_rows(kernel, images.shape[axis], reach) for axis in (3, 2))
    pixels = torch.einsum("bchw,bvw->bchv", images.float(), across)
    pixels = torch.einsum("bchv,buh->bcuv", pixels, down)
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def _rows(kernel: Tensor, side: int, reach: int) -> Tensor:
    """Kernels (B, 2 * reach + 1) as matrices (B, side, side): row i has one around i.

    What reaches beyond an edge is added to the edge. A matrix product is then the convolution, with
    a kernel of its own for every image.
    """
    row = torch.arange(side, device=kernel.device).view(-1, 1)
    tap = torch.arange(side + 2 * reach, device=kernel.device) - row
    inside = (tap >= 0) & (tap <= 2 * reach)
    band = kernel.index_select(1, tap.clamp(0, 2 * reach).flatten())
    band = band.view(len(kernel), *tap.shape) * inside
    matrix = band[:, :, reach : reach + side].clone()
    matrix[:, :, 0] += band[:, :, :reach].sum(2)
    matrix[:, :, -1] += band[:, :, reach + side :].sum(2)
    return matrix


def _drawn(batch: int, prob: float, generator: torch.Generator) -> Tensor:
    """Places, on the host, of the images that are drawn."""
    return (torch.rand(batch, generator=generator) < prob).nonzero().squeeze(1)


def _probability(what: str, prob: float) -> float:
    if not 0 <= prob <= 1:
        raise ValueError(f"{what}: prob must be in [0, 1], not {prob}")
    return prob
