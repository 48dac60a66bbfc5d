"""Multi-label data sets as mmengine data: samples in memory, given a batch at a time, and image files.

This is a torch module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.registry import DATASETS
from torch import Tensor
from torch.utils.data import Dataset

from tasks.multilabel.data.sources import LabelSource, load
from tasks.vision.augment.pictures import build_transform
from tasks.vision.data.carving import chosen_by_image, part_of
from tasks.vision.data.read_image import read_image


class LabelledSplit(Dataset[dict[str, Any]]):
    """One split of a multi-label data set: its samples, and the labels that are observed of them.

    Args:
        source: keyword arguments of a `LabelSource`.
        root: folder or file of the data set, as `DataSet.find` gave it.
        split: `train` or `test`.
        carved: `part` (`train` or `val`) of the split that is taken, and arguments of the `Carving`; None for all.
        limit: the first so many samples only; None for all.
    """

    def __init__(
        self,
        source: dict[str, Any],
        root: str | Path,
        split: str,
        carved: dict[str, Any] | None = None,
        limit: int | None = None,
    ) -> None:
        samples = getattr(load(LabelSource(**source), Path(root)), split)
        if carved is not None:
            presence = samples.labels
            samples = samples.take(part_of(carved, lambda how: chosen_by_image(presence, how)))
        if limit is not None:
            samples = samples.take(np.arange(min(limit, len(samples))))
        self.root, self.samples = Path(root), samples
        self._labels = torch.from_numpy(samples.labels)
        # mmengine asks for it, and warns of every data set without
        self.metainfo: dict[str, Any] = {}

    @property
    def labels(self) -> Tensor:
        """Observed labels, bool (N, L)."""
        return self._labels

    def __len__(self) -> int:
        return len(self._labels)


@DATASETS.register_module()
class MemoryLabels(LabelledSplit):
    """Images or vectors in memory, on the device that trains. Nothing is done per sample."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inputs = torch.from_numpy(self.samples.inputs)
        self._device: torch.device | None = None

    def batch(self, indices: list[int], generator: torch.Generator) -> dict[str, Tensor]:
        """As `__getitems__`: no protocol augments them."""
        return self.__getitems__(indices)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """`inputs` uint8 (B, C, H, W) or float32 (B, D), `label` float32 (B, L), `index` int64 (B,)."""
        if self._device is None:
            self._device = torch.device(get_device())
            self._inputs = self._inputs.to(self._device)
            self._labels = self._labels.to(self._device)
        chosen = torch.tensor(indices).to(self._device, non_blocking=True)
        return {
            "inputs": self._inputs[chosen],
            "label": self._labels[chosen].float(),
            "index": chosen,
        }

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample with its labels, as stored."""
        return {
            "inputs": self._inputs[index],
            "label": self._labels[index].float(),
            "index": range(len(self))[index],
        }


@DATASETS.register_module()
class LabelledFiles(LabelledSplit):
    """Image files, opened when asked for: an absent or damaged one raises DataError, naming it.

    Sample i is `inputs` uint8 (3, H, W) RGB, `label` float32 (L,), `index` i.

    Args:
        transforms: configs of transforms (`tasks.vision.augment.pictures`), applied in order.
    """

    def __init__(
        self, *args: Any, transforms: Sequence[dict[str, Any]] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        # one array: touching many str objects would copy them into every data worker
        self._names = np.array([path.encode() for path in self.samples.inputs])
        del self.samples
        self._transforms = [build_transform(transform) for transform in transforms]

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        image = read_image(self.root / self._names[index].decode())
        for transform in self._transforms:
            image = transform(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return {"inputs": pixels, "label": self._labels[index].float(), "index": index}
