"""Binary data sets of images in memory as mmengine data, clean and corrupted. This is a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.registry import DATASETS, TRANSFORMS
from torch import Tensor
from torch.utils.data import Dataset

from suite.base.settings import cache_dir
from tasks.robust_auc.data import cifar10_1, official
from tasks.robust_auc.data.generated import Recipe, cached
from tasks.robust_auc.data.sources import BinarySource, load
from tasks.vision.data.carving import chosen_by_class, part_of
from tasks.vision.data.datasets import average_pool


@lru_cache(maxsize=4)
def _split(source: BinarySource, root: Path, split: str, pool: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, C, H, W), pooled, and whether each is positive, (N,) bool; to be left as they are."""
    arrays = getattr(load(source, root), split)
    images = average_pool(torch.from_numpy(arrays.images), pool)
    return images, torch.from_numpy(arrays.labels == 1)


@DATASETS.register_module()
class BinaryImages(Dataset[dict[str, Tensor]]):
    """One split of a binary data set in memory, on the device that trains.

    Args:
        source: keyword arguments of a `BinarySource`.
        root: folder or file of the data set, as `DataSet.find` gave it.
        split: `train` or `test`.
        transforms: batched transforms (`tasks.vision.augment.batch`), training only.
        pool: edge of the squares of pixels that are averaged into one.
        carved: `part` (`train` or `val`) of the split that is taken, and arguments of the `Carving`; None for all.
        limit: the first so many images of each class only; None for all.
        recipe: of a generated corruption of these images (keyword arguments of a `Recipe`); None: clean.
        release: an official corrupted set of these images: `name`, `root`, `corruption` and `severity`; None: clean.
    """

    def __init__(
        self,
        source: dict[str, Any],
        root: str | Path,
        split: str,
        transforms: Sequence[dict[str, Any]] = (),
        pool: int = 1,
        carved: dict[str, Any] | None = None,
        limit: int | None = None,
        recipe: dict[str, Any] | None = None,
        release: dict[str, Any] | None = None,
    ) -> None:
        of = BinarySource(**source)
        images, labels = _split(of, Path(root), split, pool)
        if recipe is not None:
            clean = getattr(load(of, Path(root)), split).images
            images = torch.from_numpy(cached(clean, Recipe(**recipe), cache_dir()))
        if release is not None:
            images = average_pool(torch.from_numpy(_official(of, Path(root), **release)), pool)
        if carved is not None:
            every = labels.long().tolist()
            kept = torch.from_numpy(part_of(carved, lambda how: chosen_by_class(every, how)))
            images, labels = images[kept], labels[kept]
        if limit is not None:
            kept = torch.cat([(labels == c).nonzero()[:limit, 0] for c in (False, True)])
            images, labels = images[kept], labels[kept]
        self._take(images, labels, transforms)

    def _take(self, images: Tensor, labels: Tensor, transforms: Sequence[dict[str, Any]]) -> None:
        self._images, self._labels = images, labels
        # mmengine asks for it, and warns of every data set without
        self.metainfo = {"classes": ("negative", "positive")}
        self._transforms = [TRANSFORMS.build(transform) for transform in transforms]
        self._device: torch.device | None = None

    @property
    def labels(self) -> Tensor:
        """Whether each image is positive, bool (N,)."""
        return self._labels

    def batch(self, indices: list[int], generator: torch.Generator) -> dict[str, Tensor]:
        """As `__getitems__`, with the images augmented."""
        data = self.__getitems__(indices)
        for transform in self._transforms:
            data["inputs"] = transform(data["inputs"], generator)
        return data

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """`inputs` uint8 (B, C, H, W), `label` float32 (B, 1) of 0 and 1, `index` int64 (B,)."""
        if self._device is None:
            self._device = torch.device(get_device())
            self._images = self._images.to(self._device)
            self._labels = self._labels.to(self._device)
        chosen = torch.tensor(indices).to(self._device, non_blocking=True)
        label = self._labels[chosen].float()[:, None]
        return {"inputs": self._images[chosen], "label": label, "index": chosen}

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One image with its label, as stored: without augmentation."""
        label = self._labels[index].float()[None]
        return {"inputs": self._images[index], "label": label, "index": range(len(self))[index]}

    def __len__(self) -> int:
        return len(self._labels)


@DATASETS.register_module()
class NaturallyShiftedImages(BinaryImages):
    """All of CIFAR-10.1, binary as `source` makes CIFAR-10.

    Args:
        source, pool: as of `BinaryImages`.
        root: folder in or below which CIFAR-10.1 lies.
    """

    def __init__(self, source: dict[str, Any], root: str | Path, pool: int = 1) -> None:
        of = BinarySource(**source)
        arrays = cifar10_1.load(cifar10_1.find(Path(root)))
        kept = ~np.isin(arrays.labels, of.left_out)
        images = average_pool(torch.from_numpy(arrays.images[kept]), pool)
        self._take(images, torch.from_numpy(np.isin(arrays.labels[kept], of.positives)), ())


def _official(
    source: BinarySource, path: Path, name: str, root: str, corruption: str, severity: int | None
) -> np.ndarray[Any, Any]:
    """Images uint8 (N, C, H, W) of the official corrupted copy of the test images."""
    test = load(source, path).clean
    return official.get(name).read(Path(root), corruption, severity, test)
