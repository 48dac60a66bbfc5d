"""Image files as mmengine data: the list data sets and their collation. This is a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS, FUNCTIONS
from torch import Tensor
from torch.utils.data import Dataset

from suite.base.errors import UserError
from tasks.vision.augment.pictures import build_transform
from tasks.vision.data import lists
from tasks.vision.data.carving import chosen_by_class, part_of
from tasks.vision.data.read_image import read_image


@DATASETS.register_module()
class ImageListDataset(Dataset[dict[str, Any]]):
    """One split of a data set of image files.

    Sample i is `inputs` uint8 (3, H, W) RGB, `label` int, `index` i. Files are opened when asked for:
    an absent or damaged one raises DataError, naming it.

    Args:
        root: the folder that holds the lists, as `lists.find` gave it.
        split: `train`, `test` or `val`.
        spec: `imagenet-lt`, `places-lt` or `inat18`.
        transforms: configs of transforms (`tasks.vision.augment.pictures`), applied in order.
        entries: images and labels to use instead of the split's list file.
        carved: `part` (`train` or `val`) of the split that is taken, and arguments of the `Carving`; None for all.

    Raises UserError for an unknown data set, split or transform, DataError for a bad list.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        spec: str,
        transforms: Sequence[dict[str, Any]] = (),
        entries: lists.Entries | None = None,
        carved: dict[str, Any] | None = None,
    ) -> None:
        wanted = lists.get(spec)
        file = Path(root) / lists.list_file(wanted, split)
        if entries is None:
            entries = lists.read_list(file, wanted.classes, training=split == "train")
        if carved is not None:
            labels = entries.labels
            kept = part_of(carved, lambda how: chosen_by_class(labels, how)).tolist()
            entries = lists.Entries(
                tuple(entries.paths[i] for i in kept), tuple(labels[i] for i in kept)
            )
        self.root = Path(root)
        # one block of bytes: touching half a million str objects would copy them into every worker
        names = [path.encode() for path in entries.paths]
        self._names, self._ends = b"".join(names), np.cumsum([0, *map(len, names)])
        self._labels = torch.tensor(entries.labels, dtype=torch.int64)
        self._transforms = [build_transform(transform) for transform in transforms]
        # mmengine asks for it, and warns of every data set without; the lists name no classes
        self.metainfo: dict[str, Any] = {}

    @property
    def labels(self) -> Tensor:
        """Class ids, int64 (N,)."""
        return self._labels

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        name = self._names[self._ends[index] : self._ends[index + 1]].decode()
        image = read_image(self.root / name)
        for transform in self._transforms:
            image = transform(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return {"inputs": pixels, "label": int(self._labels[index]), "index": index}

    def __len__(self) -> int:
        return len(self._labels)


@FUNCTIONS.register_module()
def collate_images(batch: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Samples to a batch: `inputs` uint8 (B, 3, H, W), `label` int64 (B,), or (B, L) of label vectors, `index` int64 (B,).

    Raises UserError where the images differ in size.
    """
    sizes = sorted({(s["inputs"].shape[2], s["inputs"].shape[1]) for s in batch})
    if len(sizes) > 1:
        shown = " and ".join(f"{width}x{height}" for width, height in sizes[:2])
        raise UserError(
            f"images of {shown} do not fit into one batch: end the transforms with RandomResizedCrop "
            "or CenterCrop"
        )
    return {
        "inputs": torch.stack([sample["inputs"] for sample in batch]),
        "label": torch.stack([torch.as_tensor(sample["label"]) for sample in batch]),
        "index": torch.tensor([sample["index"] for sample in batch], dtype=torch.int64),
    }
