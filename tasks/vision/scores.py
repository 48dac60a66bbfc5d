"""What is kept of a classification run's predictions: the logits of the test loop."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from suite.base.errors import RecordError
from tasks.vision.per_class import recalls
from tasks.vision.stored import plain, store


@METRICS.register_module()
class ClassScores(BaseMetric):
    """Collects the logits and labels of a test loop, in the loop's order.

    Args:
        classes: number of classes C.
    """

    default_prefix = "cls"

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self._logits: list[torch.Tensor] = []
        self._label: list[torch.Tensor] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Add batches: each of `data_samples` holds `logits` (B, C), or (B, E, C) of experts, and `label`
        (B,), B >= 1.

        Raises RecordError for tensors of another shape and labels outside 0..C-1.
        """
        if not self.results:  # mmengine empties them after each loop: this is a new one
            self._logits, self._label = [], []
        for sample in data_samples:
            logits, label = sample["logits"], sample["label"]
            if (
                logits.ndim not in (2, 3)
                or logits.shape[-1] != self.classes
                or label.shape != logits.shape[:1]
            ):
                raise RecordError(
                    f"the model returned logits of shape {tuple(logits.shape)} and labels of shape "
                    f"{tuple(label.shape)}, expected (B, {self.classes}) or (B, experts, "
                    f"{self.classes}) and (B,)"
                )
            # a copy: the model may use the memory again
            label = label.detach().to("cpu", torch.int64, copy=True)
            if bool(((label < 0) | (label >= self.classes)).any()):
                raise RecordError(
                    f"labels lie in {int(label.min())}..{int(label.max())}, expected "
                    f"0..{self.classes - 1}"
                )
            self._label.append(label)
            self._logits.append(logits.detach().to("cpu", torch.float32, copy=True))
            self.results.append(len(label))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """Overall scores, for mmengine's own tools; nothing if the loop had no batch."""
        if not self._label:
            return {}
        label = torch.cat(self._label).numpy()
        # numpy's argmax: of equal logits the lower class, as the evaluation has it
        predicted = np.concatenate(
            [plain(logits.numpy()).argmax(axis=1) for logits in self._logits]
        )
        recall = recalls(label, predicted, self.classes)
        return {
            "top1": float((predicted == label).mean()),
            "balanced_accuracy": float(np.nanmean(recall)),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The stored form (`stored.store`) of the last loop.

        Raises RecordError if it had no batch, or for logits that are not finite.
        """
        if not self._label:
            raise RecordError(
                "no logits were collected: the set holds no sample, or was not tested"
            )
        return store(torch.cat(self._logits).numpy(), torch.cat(self._label).numpy())

    def samples(self) -> dict[str, bytes]:
        """No pictures: single small images tell little."""
        return {}
