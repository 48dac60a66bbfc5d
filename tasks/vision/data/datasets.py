"""Images in memory, given a batch at a time: the data side of the protocols on small images.

Images lie as one uint8 tensor on the device that trains. A batch is a gather and the protocol's batched
augmentations, drawn from a generator that the harness seeds by (seed, position)
(`suite.engine.data.SeededDataset`); nothing is done per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.registry import DATASETS, TRANSFORMS
from torch import Tensor
from torch.utils.data import Dataset

from tasks.vision.data.arrays import ImageArrays
from tasks.vision.data.carving import chosen_by_class, part_of
from tasks.vision.data.sources import Source, load


@lru_cache(maxsize=8)
def _split(source: Source, root: Path, split: str, pool: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, C, H, W), pooled, and labels (N,); to be left as they are."""
    arrays: ImageArrays = getattr(load(source, root), split)
    return average_pool(torch.from_numpy(arrays.images), pool), torch.from_numpy(arrays.labels)


@DATASETS.register_module()
class MemoryImages(Dataset[dict[str, Tensor]]):
    """One split of a data set in memory.

    Args:
        source: keyword arguments of a `Source`.
        root: folder or file of the data set, as `DataSet.find` gave it.
        split: `train` or `test`.
        transforms: batched transforms (`tasks.vision.augment.batch`), training only.
        pool: edge of the squares of pixels that are averaged into one.
        limit: the first so many images of every class only; None for all.
        carved: `part` (`train` or `val`) of the split that is taken, and arguments of the `Carving`; None for all.
    """

    def __init__(
        self,
        source: dict[str, Any],
        root: str | Path,
        split: str,
        transforms: Sequence[dict[str, Any]] = (),
        pool: int = 1,
        limit: int | None = None,
        carved: dict[str, Any] | None = None,
    ) -> None:
        images, labels = _split(Source(**source), Path(root), split, pool)
        if carved is not None:
            every = labels.tolist()
            kept = torch.from_numpy(part_of(carved, lambda how: chosen_by_class(every, how)))
            images, labels = images[kept], labels[kept]
        if limit is not None and len(labels):
            classes = range(int(labels.max()) + 1)
            kept = torch.cat([(labels == c).nonzero()[:limit, 0] for c in classes])
            images, labels = images[kept], labels[kept]
        self._images, self._labels = images, labels
        # mmengine asks for it, and warns of every data set without
        self.metainfo = {"classes": Source(**source).classes}
        self._transforms = [TRANSFORMS.build(transform) for transform in transforms]
        self._device: torch.device | None = None

    @property
    def labels(self) -> Tensor:
        """Class ids, int64 (N,)."""
        return self._labels

    def batch(self, indices: list[int], generator: torch.Generator) -> dict[str, Tensor]:
        """Augmented images uint8 (B, C, H, W) and labels (B,) on the device that trains."""
        data = self.__getitems__(indices)
        for transform in self._transforms:
            data["inputs"] = transform(data["inputs"], generator)
        return data

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        if self._device is None:
            self._device = torch.device(get_device())
            self._images = self._images.to(self._device)
            self._labels = self._labels.to(self._device)
        chosen = torch.tensor(indices).to(self._device, non_blocking=True)
        return {"inputs": self._images[chosen], "label": self._labels[chosen]}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One image uint8 (C, H, W) with its label, as stored: without augmentation."""
        return {"inputs": self._images[index], "label": self._labels[index]}

    def __len__(self) -> int:
        return len(self._labels)


def average_pool(images: Tensor, size: int) -> Tensor:
    """uint8 (N, C, H, W) -> (N, C, H/size, W/size): means of squares, rounded half up."""
    if size == 1:
        return images
    count, channels, height, width = images.shape
    if height % size or width % size:
        raise ValueError(f"{height}x{width} images cannot be pooled by {size}")
    squares = images.view(count, channels, height // size, size, width // size, size)
    total = squares.sum(dim=(3, 5), dtype=torch.int32)
    return ((total + size * size // 2) // (size * size)).to(torch.uint8)
