"""Augmentation of whole batches: crop, flip, Cutout and AutoAugment on uint8 images.

A batched transform is called as `transform(images, generator)`: images uint8 (B, C, H, W), C 1 or
3, on any device, to a new tensor of the same shape, dtype and device; the argument is left as it
is. All random numbers come from the given CPU generator, so a seed means the same augmentation on
every device; what was drawn is grouped on the host, so no call waits for the device.

The usual order is crop, flip, AutoAugment, Cutout. Long-tail papers' "RandAug" on CIFAR is often
`BatchAutoAugment` with `BatchCutout(16)`. The classes are in mmengine's TRANSFORMS registry.
This is a torch module.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from mmengine.registry import TRANSFORMS
from torch import Tensor

from tasks.vision.augment import autoaugment

Fill = float | Sequence[float]


class Transform(Protocol):
    """Anything called as the classes here are."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor: ...


def augment(transforms: Iterable[Transform], images: Tensor, generator: torch.Generator) -> Tensor:
    """The transforms one after another; uint8 (B, C, H, W) in and out.

    Raises TypeError or ValueError where the images are not of that kind.
    """
    check_images(images)
    for transform in transforms:
        images = transform(images, generator)
    return images


@TRANSFORMS.register_module()
class BatchCrop:
    """Pads every side with `padding` zero pixels and crops each image back to H x W.

    The offsets are uniform on 0..2*padding, in both directions, an image each.
    Raises ValueError for a padding that is not an integer >= 0.
    """

    def __init__(self, padding: int) -> None:
        self.padding = _at_least(0, "BatchCrop: padding", padding)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        check_images(images)
        batch, channels, height, width = images.shape
        pad = self.padding
        tall, wide = height + 2 * pad, width + 2 * pad
        offset = torch.randint(2 * pad + 1, (2, batch), generator=generator)
        first = (torch.arange(batch) * channels * tall + offset[0]) * wide + offset[1]
        first = first.to(images.device, non_blocking=True)
        padded = images.new_zeros(batch, channels, tall, wide)
        padded[:, :, pad : pad + height, pad : pad + width] = images
        # Every run of `width` pixels in memory is a row of this view; taking whole rows costs a
        # fifth of what gathering pixels costs.
        runs = padded.view(-1).unfold(0, width, 1)
        plane = torch.arange(channels, device=images.device).view(-1, 1) * (tall * wide)
        row = torch.arange(height, device=images.device) * wide
        start = first.view(-1, 1, 1) + plane + row
        return runs.index_select(0, start.flatten()).view(images.shape)


@TRANSFORMS.register_module()
class BatchFlip:
    """Mirrors each image left to right with probability `prob`.

    Raises ValueError for a probability outside [0, 1].
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"BatchFlip: prob must be in [0, 1], not {prob}")
        self.prob = prob

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        check_images(images)
        drawn = torch.rand(len(images), generator=generator) < self.prob
        which = drawn.nonzero().squeeze(1).to(images.device, non_blocking=True)
        return images.clone().index_copy_(0, which, images.index_select(0, which).flip(3))


@TRANSFORMS.register_module()
class BatchCutout:
    """Covers a square of side `size` around a uniformly drawn pixel, clipped at the border.

    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
    arXiv 1708.04552. The square spans rows y - size//2 to y - size//2 + size - 1, columns likewise.

    Args:
        size: side in pixels.
        fill: grey level 0..255, one for all channels or one a channel, rounded. Images are raw
            here: the data set's mean is what becomes 0 after normalisation, as in the paper's code;
            0 (black) is what pipelines that normalise after Cutout do.

    Raises ValueError for a size that is not an integer >= 1, a fill outside 0..255 and, at a call,
    for a fill of another number of channels than the images'.
    """

    def __init__(self, size: int, fill: Fill = 0.0) -> None:
        self.size = _at_least(1, "BatchCutout: size", size)
        self.fill = _levels("BatchCutout", fill)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        check_images(images)
        fill = _per_channel("BatchCutout", self.fill, images)
        batch, _, height, width = images.shape
        rows = self._span(height, batch, generator).to(images.device, non_blocking=True)
        columns = self._span(width, batch, generator).to(images.device, non_blocking=True)
        covered = rows.view(batch, 1, height, 1) & columns.view(batch, 1, 1, width)
        # a choice in uint8 arithmetic, which wraps: a third of the time of torch.where on a CPU
        return images + (fill.view(1, -1, 1, 1) - images) * covered

    def _span(self, length: int, batch: int, generator: torch.Generator) -> Tensor:
        """Which of `length` rows or columns are covered: bool (batch, length)."""
        first = torch.randint(length, (batch, 1), generator=generator) - self.size // 2
        place = torch.arange(length)
        return (place >= first) & (place < first + self.size)


@TRANSFORMS.register_module()
class BatchAutoAugment:
    """Each image through one of a policy's sub-policies: two operations with probabilities.

    Cubuk et al., arXiv 1805.09501; see `autoaugment` for the policy, the ranges of magnitudes and
    the operations, which give the very pixels that Pillow gives.

    Args:
        policy: a name of `autoaugment.POLICIES`.
        fill: grey level 0..255 of what shears, translations and rotations uncover, one for all
            channels or one a channel; None: the form's.
        form: a name of `autoaugment.FORMS`: `torchvision` (nearest shears, whole offsets, solarize
            over 255..0, fill 0) or `released` (bicubic shears, offsets as they are, solarize over
            256..0, fill 128), that of the PIL script in long-tail code.

    Raises ValueError for an unknown policy or form, a fill outside 0..255 and, at a call, for a fill
    of another number of channels than the images'.
    """

    def __init__(
        self, policy: str = "cifar10", fill: Fill | None = None, form: str = "torchvision"
    ) -> None:
        for what, name, names in (
            ("policy", policy, autoaugment.POLICIES),
            ("form", form, autoaugment.FORMS),
        ):
            if name not in names:
                known = ", ".join(names)
                raise ValueError(f"BatchAutoAugment: unknown {what} {name!r}; known: {known}")
        self.policy = policy
        self.form = autoaugment.FORMS[form]
        self.fill = _levels("BatchAutoAugment", self.form.fill if fill is None else fill)
        self._kinds = list(autoaugment.FUNCTIONS)
        self._variants: dict[str, list[tuple[str, float]]] = {kind: [] for kind in self._kinds}
        steps = autoaugment.POLICIES[policy]
        self._prob = torch.tensor([[prob for _, prob, _ in step] for step in steps])
        self._kind = torch.tensor(
            [
                [self._kinds.index(autoaugment.kind_of(name, self.form)) for name, _, _ in step]
                for step in steps
            ]
        )
        self._row = torch.tensor(
            [[self._rows(name, level) for name, _, level in step] for step in steps]
        )
        self._banks: dict[tuple[torch.device, int, int], dict[str, Tensor]] = {}

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Sub-policy (batch,) int64, operation applied (batch, 2) bool, sign (batch, 2) 0 or 1.

        Signs are drawn for operations without one too: the stream does not depend on the policy.
        """
        which = torch.randint(len(self._prob), (batch,), generator=generator)
        applied = torch.rand(batch, 2, generator=generator) < self._prob[which]
        return which, applied, torch.randint(2, (batch, 2), generator=generator)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        check_images(images)
        fill = _per_channel("BatchAutoAugment", self.fill, images)
        bank = self._bank(images)
        which, applied, sign = self.draw(len(images), generator)
        kind = torch.where(applied, self._kind[which], len(self._kinds)).T
        row = self._row[which].gather(2, sign.unsqueeze(2)).squeeze(2).T
        order = kind.argsort(dim=1, stable=True)
        counts = [torch.bincount(k, minlength=len(self._kinds)).tolist() for k in kind]
        moved = torch.stack((order, row.gather(1, order))).to(images.device, non_blocking=True)
        out = images.clone()
        for step in range(2):
            start = 0
            for name, count in zip(self._kinds, counts[step], strict=False):
                if count:
                    index, rows = moved[:, step, start : start + count]
                    changed = autoaugment.FUNCTIONS[name](
                        out.index_select(0, index), bank[name].index_select(0, rows), fill
                    )
                    out.index_copy_(0, index, changed)
                start += count
        return out

    def _rows(self, name: str, level: int | None) -> tuple[int, int]:
        """Where the bank of its kind holds the operation with negative and with positive sign."""
        strength = autoaugment.magnitude(name, level, self.form)
        variants = self._variants[autoaugment.kind_of(name, self.form)]
        both = [(name, -strength if autoaugment.signed(name) else strength), (name, strength)]
        variants += [v for v in dict.fromkeys(both) if v not in variants]
        return variants.index(both[0]), variants.index(both[1])

    def _bank(self, images: Tensor) -> dict[str, Tensor]:
        """The parameters of all variants, a tensor a kind; made once a device and image size."""
        height, width = images.shape[2:]
        key = (images.device, height, width)
        if key not in self._banks:
            self._banks[key] = {
                kind: torch.stack(
                    [autoaugment.parameter(*v, height, width, self.form) for v in variants]
                ).to(images.device)
                for kind, variants in self._variants.items()
                if variants
            }
        return self._banks[key]


def check_images(images: Tensor) -> None:
    """Raises TypeError unless uint8, ValueError unless (B, C, H, W) with C 1 or 3, none 0."""
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}; augment before normalising")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        shape = tuple(images.shape)
        raise ValueError(f"images must be (B, C, H, W) with 1 or 3 channels, not {shape}")


def _at_least(least: int, what: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{what} must be an integer >= {least}, not {value!r}")
    return value


def _levels(what: str, fill: Fill) -> Tensor:
    """The fill as uint8 (1,) or (C,)."""
    levels = torch.tensor([fill] if isinstance(fill, int | float) else list(fill)).double()
    if levels.ndim != 1 or len(levels) not in (1, 3) or not ((levels >= 0) & (levels <= 255)).all():
        raise ValueError(f"{what}: fill must be 1 or 3 grey levels in 0..255, not {fill!r}")
    return levels.round().to(torch.uint8)


def _per_channel(what: str, levels: Tensor, images: Tensor) -> Tensor:
    """The fill as uint8 (C,) on the images' device."""
    channels = images.shape[1]
    if len(levels) not in (1, channels):
        raise ValueError(f"{what}: fill has {len(levels)} levels, the images {channels} channels")
    return levels.to(images.device, non_blocking=True).expand(channels)
