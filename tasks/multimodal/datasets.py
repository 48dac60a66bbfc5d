"""Samples of several modalities in memory, given a batch at a time: the data side of the protocols on arrays.

Arrays lie as tensors on the device that trains; those that are mapped are read from their file a batch at a time. A batch
is a gather and the modalities' batched transforms, each from a generator of its modality. This is a torch module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.registry import DATASETS, TRANSFORMS
from torch import Tensor
from torch.utils.data import Dataset

from suite.base.errors import DataError
from tasks.multimodal.augment import modality_generator
from tasks.multimodal.data.sources import Modalities, ModalitySource, load
from tasks.vision.data.carving import chosen_by_class, part_of


@lru_cache(maxsize=4)
def _split(source: ModalitySource, root: Path, split: str) -> Modalities:
    samples: Modalities = getattr(load(source, root), split)
    return samples


@DATASETS.register_module()
class MemoryModalities(Dataset[dict[str, Any]]):
    """One split of a data set of several modalities.

    Args:
        source: keyword arguments of a `ModalitySource`.
        root: folder or file of the data set, as `DataSet.find` gave it.
        split: `train` or `test`.
        transforms: modality -> configs of batched transforms, called as `transform(values, generator)`; training only.
        limit: the first so many samples of every class only; None for all.
        carved: `part` (`train` or `val`) of the split that is taken, and arguments of the `Carving`; None for all.
    """

    def __init__(
        self,
        source: dict[str, Any],
        root: str | Path,
        split: str,
        transforms: Mapping[str, Sequence[dict[str, Any]]] | None = None,
        limit: int | None = None,
        carved: dict[str, Any] | None = None,
    ) -> None:
        samples = _split(ModalitySource(**source), Path(root), split)
        if carved is not None:
            every = samples.labels.tolist()
            samples = samples.take(part_of(carved, lambda how: chosen_by_class(every, how)))
        if limit is not None:
            classes = np.unique(samples.labels)
            first = [np.flatnonzero(samples.labels == c)[:limit] for c in classes]
            samples = samples.take(np.sort(np.concatenate(first)))
        self.samples = samples
        self._labels = torch.from_numpy(samples.labels)
        # mapped arrays stay where they are
        self._inputs: dict[str, Tensor] = (
            {name: torch.from_numpy(values) for name, values in samples.inputs.items()}
            if samples.places is None
            else {}
        )
        # mmengine asks for it, and warns of every data set without
        self.metainfo: dict[str, Any] = {}
        self._transforms = {
            name: [TRANSFORMS.build(transform) for transform in chain]
            for name, chain in (transforms or {}).items()
        }
        foreign = set(self._transforms) - set(samples.inputs)
        if foreign:
            raise ValueError(f"transforms of {sorted(foreign)}, which is no modality here")
        self._device: torch.device | None = None

    @property
    def labels(self) -> Tensor:
        """Class ids, int64 (N,)."""
        return self._labels

    def batch(self, indices: list[int], generator: torch.Generator) -> dict[str, Any]:
        """As `__getitems__`, augmented: each modality from a generator of its own (`modality_generator`)."""
        data = self.__getitems__(indices)
        for name, chain in self._transforms.items():
            own = modality_generator(generator, name)
            for transform in chain:
                data["inputs"][name] = transform(data["inputs"][name], own)
        return data

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """`inputs` {modality: (B, ...)}, `label` int64 (B,) and `index` int64 (B,), on the device that trains.

        Raises DataError for a row of a mapped array that is not finite: such arrays are not read through before.
        """
        if self._device is None:
            self._device = torch.device(get_device())
            self._inputs = {n: values.to(self._device) for n, values in self._inputs.items()}
            self._labels = self._labels.to(self._device)
        chosen = torch.tensor(indices).to(self._device, non_blocking=True)
        inputs = {name: values[chosen] for name, values in self._inputs.items()}
        if not inputs:
            places = np.array(indices)
            inputs = {name: self._read(name, places) for name in self.samples.inputs}
        return {"inputs": inputs, "label": self._labels[chosen], "index": chosen}

    def _read(self, name: str, places: np.ndarray[Any, Any]) -> Tensor:
        rows = self.samples.rows(name, places)
        if rows.dtype.kind == "f":
            bad = ~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
            if bad.any():
                assert self.samples.places is not None
                row = self.samples.places[places[bad.argmax()]]
                raise DataError(
                    f"modality {name!r}, row {row}: not all of it is finite; copy the data set again, or leave the sample out"
                )
            if rows.dtype == np.float64:
                rows = rows.astype(np.float32)
        elif rows.dtype != np.uint8:
            rows = rows.astype(np.float32)
        return torch.from_numpy(rows).to(self._device, non_blocking=True)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample with its label, as stored: without augmentation."""
        place = range(len(self))[index]
        batch = self.__getitems__([place])
        inputs = {name: values[0] for name, values in batch["inputs"].items()}
        return {"inputs": inputs, "label": batch["label"][0], "index": place}

    def __len__(self) -> int:
        return len(self._labels)
