"""What is kept of a run on several modalities: logits and pooled features of the test loop."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torch import Tensor

from suite.base.errors import RecordError, UserError
from suite.engine.keys import PREDICTION_SET
from tasks.multimodal.stored import TRAIN, store
from tasks.vision.per_class import recalls

MOST = 10
"""Modalities; of more, the logits of all subsets would be thousands a sample."""


@METRICS.register_module()
class ModalityScores(BaseMetric):
    """Collects what a `MultimodalClassifier` predicts in a test loop, in the loop's order.

    Args:
        classes: number of classes C.
        modalities: names of the protocol's modalities, in order, of which a model may use some.

    Raises UserError for more than `MOST` modalities.
    """

    default_prefix = "multimodal"

    def __init__(self, classes: int, modalities: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if len(modalities) > MOST:
            raise UserError(f"{len(modalities)} modalities, at most {MOST} are evaluated")
        self.classes, self.modalities = classes, tuple(modalities)
        self._kept: list[dict[str, Tensor]] = []

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Add batches: each of `data_samples` holds `label` (B,), `logits` (B, C), `features` {modality: (B, D)} and,
        where the fusion has them, `modality_logits` (B, M, C) and `subset_logits` (B, 2^M - 2, C), B >= 1.

        Of the prediction set `train`, to which probes are fitted, logits are not kept. Raises RecordError for labels
        outside 0..C-1, logits of another shape, and features of an unknown modality.
        """
        if not self.results:  # mmengine empties them after each loop: this is a new one
            self._kept = []
        bare = (self.dataset_meta or {}).get(PREDICTION_SET) == TRAIN
        for sample in data_samples:
            label, logits, features = sample["label"], sample["logits"], sample["features"]
            if (
                logits.ndim != 2
                or logits.shape[1] != self.classes
                or label.shape != logits.shape[:1]
            ):
                raise RecordError(
                    f"the model returned logits of shape {tuple(logits.shape)} and labels of shape "
                    f"{tuple(label.shape)}, expected (B, {self.classes}) and (B,)"
                )
            if bool(((label < 0) | (label >= self.classes)).any()):
                raise RecordError(
                    f"labels lie in {int(label.min())}..{int(label.max())}, expected "
                    f"0..{self.classes - 1}"
                )
            if unknown := [name for name in features if name not in self.modalities]:
                raise RecordError(
                    f"the model returned features of {unknown[0]!r}, which is none of the protocol's "
                    f"modalities: {', '.join(self.modalities)}"
                )
            keys = () if bare else ("logits", "modality_logits", "subset_logits")
            made = {key: sample[key] for key in keys if sample.get(key) is not None}
            used = [name for name in self.modalities if name in features]
            made |= {f"features_{name}": features[name] for name in used}
            # copies: the model may use the memory again
            kept = {key: v.detach().to("cpu", torch.float32, copy=True) for key, v in made.items()}
            kept["label"] = label.detach().to("cpu", torch.int64, copy=True)
            if self._kept and kept.keys() != self._kept[0].keys():
                raise RecordError(
                    f"the model returned {', '.join(sorted(kept))} after {', '.join(sorted(self._kept[0]))}: "
                    "every batch needs the same"
                )
            self._kept.append(kept)
            self.results.append(len(label))

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        """`top1` and `balanced_accuracy` of the fused logits and `top1_NAME` of each modality's own, for mmengine's own
        tools and what selects by them; nothing if the loop had no batch or kept no logits. Raises as `arrays`."""
        if not self._kept or "logits" not in self._kept[0]:
            return {}
        arrays = self.arrays()
        label, predicted = arrays["label"], arrays["logits"].argmax(axis=1)
        found = {
            "top1": float((predicted == label).mean()),
            "balanced_accuracy": float(np.nanmean(recalls(label, predicted, self.classes))),
        }
        if "modality_logits" in arrays:
            used = [name for name in self.modalities if f"features_{name}" in arrays]
            right = arrays["modality_logits"].argmax(axis=2) == label[:, None]
            found |= {f"top1_{name}": float(right[:, k].mean()) for k, name in enumerate(used)}
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """The stored form (`stored.store`) of the last loop.

        Raises RecordError if it had no batch, and as `stored.store`.
        """
        if not self._kept:
            raise RecordError(
                "no logits were collected: the set holds no sample, or was not tested"
            )
        joined = {
            key: torch.cat([part[key] for part in self._kept]).numpy() for key in self._kept[0]
        }
        return store(
            joined["label"],
            {
                name: joined[f"features_{name}"]
                for name in self.modalities
                if f"features_{name}" in joined
            },
            self.classes,
            logits=joined.get("logits"),
            modality_logits=joined.get("modality_logits"),
            subset_logits=joined.get("subset_logits"),
        )

    def samples(self) -> dict[str, bytes]:
        """No pictures: the task's page draws inputs from the data."""
        return {}
