"""What is kept of a run's predictions of several labels: the logits of the test loop."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from suite.base.errors import RecordError
from tasks.multilabel.evaluation import sample_means
from tasks.multilabel.measures import check_k
from tasks.multilabel.stored import checked, store


@METRICS.register_module()
class MultiLabelScores(BaseMetric):
    """Collects the logits and labels of a test loop, in the loop's order.

    Args:
        classes: number of labels L.
        k: K of the protocol's measures of the first K labels, 1..L; methods read it here too.

    Raises UserError for another K.
    """

    default_prefix = "multilabel"

    def __init__(self, classes: int, k: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_k(k, classes)
        self.classes, self.k = classes, k
        self._logits: list[torch.Tensor] = []
        self._labels: list[torch.Tensor] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Add batches: each of `data_samples` holds `logits` (B, L) and `label` (B, L) of 0 and 1, B >= 1.

        Raises RecordError for tensors of another shape and other labels.
        """
        if not self.results:  # mmengine empties them after each loop: this is a new one
            self._logits, self._labels = [], []
        for sample in data_samples:
            logits, labels = sample["logits"], sample["label"]
            if logits.ndim != 2 or logits.shape[1] != self.classes or labels.shape != logits.shape:
                raise RecordError(
                    f"the model returned logits of shape {tuple(logits.shape)} and labels of shape "
                    f"{tuple(labels.shape)}, expected (B, {self.classes}) of both"
                )
            labels = labels.detach().to("cpu")
            relevant = labels == 1
            if not bool((relevant | (labels == 0)).all()):
                other = labels[~(relevant | (labels == 0))][0]
                raise RecordError(f"labels hold {float(other):g}, expected 0 and 1")
            self._labels.append(relevant)
            # a copy: the model may use the memory again
            self._logits.append(logits.detach().to("cpu", torch.float32, copy=True))
            self.results.append(len(labels))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """`tkpr` and `map_at_k`, for mmengine's own tools; nothing if the loop had no batch.

        Raises as `arrays`.
        """
        return sample_means(checked(self.arrays(), self.classes), self.k) if self._labels else {}

    def arrays(self) -> dict[str, np.ndarray]:
        """The stored form (`stored.store`) of the last loop.

        Raises RecordError if it had no batch, or for logits that are not finite.
        """
        if not self._labels:
            raise RecordError(
                "no logits were collected: the set holds no sample, or was not tested"
            )
        return store(torch.cat(self._logits).numpy(), torch.cat(self._labels).numpy())

    def samples(self) -> dict[str, bytes]:
        """No pictures: what an instance shows is not drawn with its labels here."""
        return {}
