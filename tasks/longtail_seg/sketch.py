"""What is kept of a segmentation run's predictions: sketches, not score maps.

A score map of CamVid's test set alone is 1.8 GB. Kept are the confusion of every image, from which
any IoU and its bootstrap over images follow, and the histograms of a streaming pixel AUC.

At 150 classes and more both are bounded: the confusion of an image is kept as the cells that hold a
pixel (of ADE20K's 2,000 images some MB, where a table each takes 180), and the AUC counts the scores of
a lattice of pixels (one in 25 at a stride of 5). What a network puts out is enlarged by 4 or 8: the
stride should have no factor in common with that, or the lattice meets some of its phases only.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

from suite.define.task import Trained
from tasks.longtail_seg.evaluation import evaluate
from tasks.longtail_seg.pixel_auc import PixelAUC

_IGNORE = 255
_LONGEST_PANEL = 1024


@METRICS.register_module()
class SegSketch(BaseMetric):
    """Collects confusion per image, pixel-AUC histograms and a few rendered samples.

    Args:
        classes: number of classes C.
        palette: RGB of each class, for the samples.
        shown: indices of the images to render.
        sparse: keep of each image's confusion the cells that hold a pixel (`evaluation.sparse_confusion`).
        auc_stride: count the scores of every so many rows and columns; 1 counts all. Odd.
    """

    default_prefix = "seg"

    def __init__(
        self,
        classes: int,
        palette: Sequence[Sequence[int]],
        shown: Sequence[int],
        sparse: bool = False,
        auc_stride: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if auc_stride < 1:
            raise ValueError(f"SegSketch: auc_stride must be at least 1, not {auc_stride}")
        self.classes, self.shown = classes, frozenset(shown)
        self.sparse, self.auc_stride = sparse, auc_stride
        self.palette = np.zeros((256, 3), np.uint8)
        self.palette[:classes] = np.asarray(palette, np.uint8)
        self._confusion: list[np.ndarray] = []
        # a lattice of a few images must not be all that the bins are chosen from
        self._auc = (
            PixelAUC(classes) if auc_stride == 1 else PixelAUC(classes, buffer_bytes=1 << 27)
        )
        self._samples: dict[str, bytes] = {}
        self._places: list[int] = []
        self._made: dict[str, np.ndarray] | None = None
        self.at: int | None = None

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Add a batch: `data_samples` hold seg_logits (C, H, W) and gt_sem_seg (1, H, W)."""
        self._made = None
        for i, sample in enumerate(data_samples):
            label = sample["gt_sem_seg"]["data"].squeeze(0).cpu().long()
            scores, seen, predicted = self._scores(sample["seg_logits"]["data"], label)
            valid = label != _IGNORE
            pairs = label[valid] * self.classes + predicted[valid]
            counts = torch.bincount(pairs, minlength=self.classes**2)
            self._confusion.append(self._kept(counts))
            self._auc.update(scores, seen, ignore_index=_IGNORE)
            place = len(self._confusion) - 1 if self.at is None else self.at + i
            self._places.append(place)
            if place in self.shown:
                image = data_batch["inputs"][i].cpu().numpy().transpose(1, 2, 0)[..., ::-1]
                name = f"{sorted(self.shown).index(place)}.png"
                self._samples[name] = self._render(image, label.numpy(), predicted.numpy())
        self.results.append(len(data_samples))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Overall scores, for mmengine's own tools."""
        names = [str(c) for c in range(self.classes)]
        settings = {"classes": names, "groups": {}}
        rows = evaluate({"test": self.arrays()}, settings, Trained())
        return {r.metric: r.value for r in rows if r.class_ is None and r.value is not None}

    def arrays(self) -> dict[str, np.ndarray]:
        """`confusion` (N, C, C) by (true, predicted) class, or its sparse form, and the AUC state as
        `auc_*`."""
        # asked for by mmengine's own scores too, and choosing bins takes a second for 150 classes
        if self._made is None:
            self._made = self._arrays()
        return self._made

    def _arrays(self) -> dict[str, np.ndarray]:
        auc = {f"auc_{key}": array for key, array in self._auc.state().items()}
        if not self.sparse:
            return {"confusion": np.stack(self._confusion).astype(np.uint32), **auc}
        cells, pixels = np.concatenate(self._confusion, axis=1)
        return {
            "confusion_cells": cells.astype(np.uint32),
            "confusion_pixels": pixels.astype(np.uint32),
            "confusion_images": np.array([k.shape[1] for k in self._confusion], np.uint32),
            **auc,
        }

    def samples(self) -> dict[str, bytes]:
        """File name -> PNG of image, label and prediction side by side."""
        return self._samples

    # a test on several ranks, see `suite.engine.test_loop`, which sets `at`
    @property
    def settled(self) -> bool:
        """Whether the rest of the images may be counted in any order: the AUC has chosen its bins."""
        return self._auc.settled

    def leave(self) -> None:
        """Forget what was counted: rank 0 has counted it too."""
        self._made = None
        self._confusion, self._places, self._samples = [], [], {}
        self._auc.clear()

    def part(self) -> dict[str, Any]:
        """What was counted since, for `merge`."""
        return {
            "places": self._places,
            "confusion": [torch.from_numpy(one) for one in self._confusion],
            "samples": self._samples,
            "auc": {k: torch.from_numpy(v.astype(np.int64)) for k, v in self._auc.state().items()}
            if self.settled
            else None,
        }

    def merge(self, parts: Sequence[dict[str, Any]]) -> None:
        """Add what the other ranks have counted; images in the order of the data set."""
        self._made = None
        for part in parts:
            self._places += part["places"]
            self._confusion += [one.numpy() for one in part["confusion"]]
            self._samples.update(part["samples"])
            if part["auc"] is not None:
                self._auc.merge(PixelAUC.from_state({k: v.numpy() for k, v in part["auc"].items()}))
        order = np.argsort(self._places)
        self._confusion = [self._confusion[i] for i in order]
        self._places = sorted(self._places)

    def _scores(
        self, logits: torch.Tensor, label: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(probabilities, labels) that the AUC counts, and the predicted class of every pixel."""
        if self.auc_stride == 1:
            scores = torch.softmax(logits.float().cpu(), dim=0)
            return scores, label, scores.argmax(dim=0)
        # a softmax of the lattice alone: 171 classes of a large picture are 2 GB, once more as a copy
        lattice = (slice(self.auc_stride // 2, None, self.auc_stride),) * 2
        scores = torch.softmax(logits[:, *lattice].float().cpu(), dim=0)
        return scores, label[lattice], logits.argmax(dim=0).cpu()

    def _kept(self, counts: torch.Tensor) -> np.ndarray:
        """Of an image's pixels by true * C + predicted: (C, C), or (2, M) cells and pixels, int64."""
        if not self.sparse:
            return counts.reshape(self.classes, self.classes).numpy()
        cells = counts.nonzero()[:, 0]
        return torch.stack([cells, counts[cells]]).numpy()

    def _render(self, image: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> bytes:
        from PIL import Image

        # three panels of a picture of 2048x1024 are 6 MB
        every = -(-max(label.shape) // _LONGEST_PANEL)
        label, predicted = label[::every, ::every], predicted[::every, ::every]
        height, width = label.shape
        shown = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height)))
        panels = [shown, self.palette[label], self.palette[predicted]]
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(panels, axis=1)).save(buffer, format="PNG")
        return buffer.getvalue()
