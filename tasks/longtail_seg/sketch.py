"""What is kept of a segmentation run's predictions: sketches, not score maps.

A score map of CamVid's test set alone is 1.8 GB. Kept are the confusion of every image, from which
any IoU and its bootstrap over images follow, and the histograms of a streaming pixel AUC.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

from suite.task import Trained
from tasks.longtail_seg.evaluation import evaluate
from tasks.longtail_seg.pixel_auc import PixelAUC

_IGNORE = 255


@METRICS.register_module()
class SegSketch(BaseMetric):
    """Collects confusion per image, pixel-AUC histograms and a few rendered samples.

    Args:
        classes: number of classes C.
        palette: RGB of each class, for the samples.
        shown: indices of the images to render.
    """

    default_prefix = "seg"

    def __init__(
        self, classes: int, palette: Sequence[Sequence[int]], shown: Sequence[int], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.classes, self.shown = classes, frozenset(shown)
        self.palette = np.zeros((256, 3), np.uint8)
        self.palette[:classes] = np.asarray(palette, np.uint8)
        self._confusion: list[np.ndarray] = []
        self._auc = PixelAUC(classes)
        self._samples: dict[str, bytes] = {}

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Add a batch: `data_samples` hold seg_logits (C, H, W) and gt_sem_seg (1, H, W)."""
        for i, sample in enumerate(data_samples):
            label = sample["gt_sem_seg"]["data"].squeeze(0).cpu().long()
            scores = torch.softmax(sample["seg_logits"]["data"].float().cpu(), dim=0)
            predicted = scores.argmax(dim=0)
            valid = label != _IGNORE
            pairs = label[valid] * self.classes + predicted[valid]
            counts = torch.bincount(pairs, minlength=self.classes**2)
            self._confusion.append(counts.reshape(self.classes, self.classes).numpy())
            self._auc.update(scores, label, ignore_index=_IGNORE)
            if len(self._confusion) - 1 in self.shown:
                image = data_batch["inputs"][i].cpu().numpy().transpose(1, 2, 0)[..., ::-1]
                name = f"{len(self._samples)}.png"
                self._samples[name] = self._render(image, label.numpy(), predicted.numpy())
        self.results.append(len(data_samples))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Overall scores, for mmengine's own tools."""
        names = [str(c) for c in range(self.classes)]
        settings = {"classes": names, "groups": {}}
        rows = evaluate({"test": self.arrays()}, settings, Trained())
        return {r.metric: r.value for r in rows if r.class_ is None and r.value is not None}

    def arrays(self) -> dict[str, np.ndarray]:
        """`confusion` (N, C, C) by (true, predicted) class, and the AUC state as `auc_*`."""
        auc = {f"auc_{key}": array for key, array in self._auc.state().items()}
        return {"confusion": np.stack(self._confusion).astype(np.uint32), **auc}

    def samples(self) -> dict[str, bytes]:
        """File name -> PNG of image, label and prediction side by side."""
        return self._samples

    def _render(self, image: np.ndarray, label: np.ndarray, predicted: np.ndarray) -> bytes:
        from PIL import Image

        height, width = label.shape
        shown = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height)))
        panels = [shown, self.palette[label], self.palette[predicted]]
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(panels, axis=1)).save(buffer, format="PNG")
        return buffer.getvalue()
