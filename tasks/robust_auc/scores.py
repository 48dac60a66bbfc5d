"""What is kept of a binary run's predictions: the logits of the test loop."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from suite.base.errors import RecordError
from tasks.robust_auc.measures import ranking
from tasks.robust_auc.stored import store


@METRICS.register_module()
class BinaryScores(BaseMetric):
    """Collects the logits and labels of a test loop, in the loop's order."""

    default_prefix = "binary"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._logits: list[torch.Tensor] = []
        self._label: list[torch.Tensor] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Add batches: each of `data_samples` holds `logits` (B, 1), the higher the more positive, and `label` (B,)
        of 0 and 1, B >= 1.

        Raises RecordError for tensors of another shape and other labels.
        """
        if not self.results:  # mmengine empties them after each loop: this is a new one
            self._logits, self._label = [], []
        for sample in data_samples:
            logits, label = sample["logits"], sample["label"]
            if logits.ndim != 2 or logits.shape[1] != 1 or label.shape != logits.shape[:1]:
                raise RecordError(
                    f"the model returned logits of shape {tuple(logits.shape)} and labels of shape "
                    f"{tuple(label.shape)}, expected (B, 1) and (B,)"
                )
            label = label.detach().to("cpu", torch.int64)
            if bool(((label != 0) & (label != 1)).any()):
                raise RecordError(
                    f"labels lie in {int(label.min())}..{int(label.max())}, expected 0 (negative) and "
                    "1 (positive)"
                )
            self._label.append(label.to(torch.uint8))
            # a copy: the model may use the memory again
            self._logits.append(logits[:, 0].detach().to("cpu", torch.float32, copy=True))
            self.results.append(len(label))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """`auc` and `average_precision`, NaN where they are undefined, for mmengine's own tools and what selects by
        them; nothing if the loop had no batch. Raises as `arrays`."""
        if not self._label:
            return {}
        arrays = self.arrays()
        made = ranking(arrays["label"], arrays["score"])
        return {
            "auc": float(made.auc()[0]),
            "average_precision": float(made.average_precision()[0]),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The stored form (`stored.store`) of the last loop.

        Raises RecordError if it had no batch, or for logits that are not finite.
        """
        if not self._label:
            raise RecordError("no logits were collected: the set holds no image, or was not tested")
        return store(torch.cat(self._logits).numpy(), torch.cat(self._label).numpy())

    def samples(self) -> dict[str, bytes]:
        """No pictures: the task's page draws images from the data."""
        return {}
