"""Copy-paste of tail objects from the training set: what the T-Memory Bank does, without its memory."""

CARD = {
    "title": "Copy-paste of tail objects",
    "paper": "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation",
    "venue": "CVPR 2021",
    "arxiv": "2012.07177",
    "cite": "ghiasi2021simple",
    "tasks": ["longtail-seg"],
    "names": {
        "copy-paste": {
            "summary": "CE; objects of tail classes that a batch lacks, from other training images"
        },
    },
    "params": {
        "sample_ratio": {
            "default": 1.0,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the missing tail classes that is pasted, rounded up",
        },
        "resize_ratio": {
            "default": 1.0,
            "low": 0.0,
            "help": "above 0: factor on both sides of a pasted object",
        },
    },
    "protocol_defaults": {
        "ade20k": {"sample_ratio": 0.05, "resize_ratio": 0.4},
        "cityscapes": {"sample_ratio": 1.0, "resize_ratio": 1.0},
        "coco-stuff164k": {"sample_ratio": 0.05, "resize_ratio": 0.1},
    },
    "notes": "A control for AUCSeg's T-Memory Bank (`tmb`): what is pasted, when and where are the same, "
    "with the bank's ratios and its placement `tight`; but it comes from the whole training set, not from what "
    "earlier batches showed, and is one connected component, not all of a class in an image. So batches show "
    "pixels of further training images, without their augmentation. The paper pastes objects of any class, with their sizes "
    "and images jittered.",
    "needs": {"passes": 1},
}

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmseg.registry import DATASETS, MODELS
from torch import Tensor

from baselines.segmentation.tmb import Crop, TMemoryBankPreProcessor


class _Source(NamedTuple):
    """The training set, and for each tail class the images that show it."""

    dataset: Any
    images: dict[int, np.ndarray]


@MODELS.register_module()
class CopyPastePreProcessor(TMemoryBankPreProcessor):
    """T-Memory Bank's preprocessor, pasting objects out of the training set.

    Of the tail classes that the mini-batch lacks, ceil(sample_ratio * missing) are drawn. For each, an
    image that shows the class is drawn uniformly, and of it the connected component (8 neighbours) that a
    uniformly drawn pixel of the class lies in: large components more often than specks. It is
    normalised, resized and pasted as the bank does. A class that no image shows is left out.

    The training set is built a second time, at the first training batch, and read in this process. All
    draws come from an own generator, as the bank's: the state_dict holds `tmb.generator`.

    Args:
        tail_classes, sample_ratio, resize_ratio, kwargs: as of the bank.
        source: config of the training set, which has `pair(index)` -> (image uint8 (H, W, 3) RGB, label
            uint8 (H, W)) and `class_presence()` -> bool (N, C).
    """

    def __init__(self, tail_classes: Sequence[int], source: Mapping[str, Any], **kwargs: Any):
        super().__init__(tail_classes, **kwargs)
        self._config = dict(source)
        self._source: _Source | None = None

    def _visit(self, images: Tensor, labels: list[Tensor]) -> None:
        """Paste into images (B, 3, H, W) and labels B x (H, W), in place."""
        shown = {
            c for label in labels for c in torch.bincount(label.flatten()).nonzero()[:, 0].tolist()
        }
        missing = [index for index in self.tail_classes if index not in shown]
        # as the bank: 0.1 * 30 is 3.0000000000000004, of which 3 are meant
        wanted = math.ceil(self.sample_ratio * len(missing) - 1e-9)
        for position in torch.randperm(len(missing), generator=self._generator)[:wanted].tolist():
            index = missing[position]
            source = self._opened()
            if len(source.images[index]):
                crop = self._object(source, index)
                target = self._draw(len(labels))
                self._paste(index, crop, images[target], labels[target])

    def _opened(self) -> _Source:
        if self._source is None:
            dataset = DATASETS.build(self._config)
            present = np.asarray(dataset.class_presence(), dtype=bool)
            images = {index: np.flatnonzero(present[:, index]) for index in self.tail_classes}
            self._source = _Source(dataset, images)
        return self._source

    def _object(self, source: _Source, index: int) -> Crop:
        """A component of class `index` out of one of its images, normalised."""
        candidates = source.images[index]
        image, label = source.dataset.pair(int(candidates[self._draw(len(candidates))]))
        member = label == index
        pixels = np.flatnonzero(member)
        place = int(pixels[self._draw(len(pixels))])
        _, components = cv2.connectedComponents(member.astype(np.uint8), connectivity=8)
        mask = components == components.flat[place]
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        # pairs are RGB; what reaches the network is so only where the preprocessor turns it
        patch = image[box] if self._channel_conversion else image[box][:, :, ::-1]
        values = torch.tensor(patch.transpose(2, 0, 1).copy(), device=self.device).float()
        if self._enable_normalize:
            values = (values - self.mean) / self.std
        return Crop(values, torch.tensor(mask[box]))


def configure(cfg: Any, facts: Any, *, sample_ratio: float, resize_ratio: float) -> Any:
    """The recipe's cross entropy, with objects pasted where a tail class is missing."""
    tail = facts.groups.get("tail", ())
    if not tail:
        return cfg
    settings = dict(cfg.model.data_preprocessor)
    kind = settings.pop("type")
    if kind not in ("SegDataPreProcessor", "mmseg.SegDataPreProcessor"):
        raise ValueError(f"copy-paste replaces SegDataPreProcessor, found {kind!r}")
    source = {k: v for k, v in cfg.train_dataloader.dataset.items() if k != "pipeline"}
    cfg.model.data_preprocessor = {
        **settings,
        "type": "CopyPastePreProcessor",
        "tail_classes": list(tail),
        "source": source,
        "sample_ratio": sample_ratio,
        "resize_ratio": resize_ratio,
    }
    return cfg
