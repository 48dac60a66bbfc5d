"""Expected positive regularisation: observed positives, and how many positives there are on average."""

CARD = {
    "title": "Expected positive regularisation",
    "paper": "Multi-Label Learning from Single Positive Labels",
    "venue": "CVPR 2021",
    "arxiv": "2106.09708",
    "cite": "cole2021multi",
    "tasks": ["multilabel"],
    "names": {
        "epr": {"summary": "observed positives, and k predicted positives a sample on average"}
    },
    "params": {
        "k": {
            "default": None,
            "low": 0.0,
            "help": "expected positives a sample; None is their mean in the full training labels",
        },
    },
    "protocol_defaults": {
        "voc07": {"k": 1.5},
        "coco14": {"k": 2.9},
        "nuswide": {"k": 1.9},
    },
    "notes": "k is knowledge of the full training labels, as in the paper, whose values for VOC, COCO and "
    "NUS-WIDE are used there (CUB: 31.4); elsewhere it is counted.",
    "needs": {"passes": 1},
}

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss
from baselines.parts.missing_labels import (
    expected_positives,
    expected_positives_term,
    neg_log_sigmoid,
    same_shape,
    training_set,
)
from baselines.parts.staged import counts_of


@MODELS.register_module()
class ExpectedPositive(nn.Module):
    """Mean over samples and labels of -log p for observed positives, 0 for others, plus ((mean_i sum_c p - k) / L)^2
    over the batch, as in the released code of Cole et al. (CVPR 2021).

    Args:
        k: expected positives a sample, >= 0; None: from the next two.
        class_counts: training samples that show each label, of the full labels.
        dataset: config of the training data.
    """

    def __init__(
        self, k: float | None, class_counts: Sequence[int], dataset: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.k = expected_positives(k, class_counts, len(training_set(dataset)))

    def forward(self, scores: Tensor, targets: Tensor, **_: Any) -> Tensor:
        """Scalar, from logits and observed positives, both (B, L)."""
        same_shape(scores, targets)
        positives = (targets * neg_log_sigmoid(scores)).mean()
        return positives + expected_positives_term(scores.sigmoid(), self.k)


def configure(cfg: Any, facts: Any, *, k: float | None) -> Any:
    """Make it the only loss."""
    of = {"class_counts": counts_of(facts), "dataset": cfg.train_dataloader.dataset}
    return set_loss(cfg, {"type": "ExpectedPositive", "k": k, **of})
