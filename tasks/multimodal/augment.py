"""Augmentation of whole batches of one modality, of whatever numbers. This is a torch module."""

from __future__ import annotations

import zlib

import torch
from mmengine.registry import TRANSFORMS
from torch import Tensor

from suite.engine.data import mixed_seed


def modality_generator(generator: torch.Generator, name: str) -> torch.Generator:
    """A generator of the modality's own, seeded by what `generator` was seeded with and the modality's name. So a modality is
    augmented alike whichever others stand beside it."""
    seed = mixed_seed(generator.initial_seed(), zlib.crc32(name.encode()))
    return torch.Generator().manual_seed(seed)


@TRANSFORMS.register_module()
class BatchShift:
    """Shifts each image by up to `padding` pixels in both directions, uniformly; `fill` comes in from the side.

    As `BatchCrop` (`tasks.vision.augment.batch`), of images of any type: called with images (B, C, H, W) and a CPU
    generator, it gives new ones of the same kind. `fill` is the value of black before normalisation.
    Raises ValueError for a padding that is not an integer >= 1, and images of another shape.
    """

    def __init__(self, padding: int = 1, fill: float = 0.0) -> None:
        if isinstance(padding, bool) or not isinstance(padding, int) or padding < 1:
            raise ValueError(f"BatchShift: padding must be an integer >= 1, not {padding!r}")
        self.padding, self.fill = padding, fill

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if images.ndim != 4:
            raise ValueError(f"images must be (B, C, H, W), not {tuple(images.shape)}")
        batch, _, height, width = images.shape
        pad = self.padding
        offset = torch.randint(2 * pad + 1, (2, batch), generator=generator)
        rows, columns = (
            (drawn.view(-1, 1) + torch.arange(size)).to(images.device, non_blocking=True)
            for drawn, size in zip(offset, (height, width), strict=True)
        )
        padded = torch.nn.functional.pad(images, (pad, pad, pad, pad), value=self.fill)
        which = torch.arange(batch, device=images.device).view(-1, 1, 1)
        # indices on both sides of a slice would move the channels to the end
        moved = padded.movedim(1, 3)[which, rows.unsqueeze(2), columns.unsqueeze(1)]
        return moved.movedim(3, 1).contiguous()
