"""ROLE: labels of the training samples are estimated along with the network."""

CARD = {
    "title": "Regularised online label estimation (ROLE)",
    "paper": "Multi-Label Learning from Single Positive Labels",
    "venue": "CVPR 2021",
    "arxiv": "2106.09708",
    "cite": "cole2021multi",
    "tasks": ["multilabel"],
    "names": {
        "role": {
            "summary": "estimated labels and predictions taught by each other, k positives each"
        }
    },
    "params": {
        "k": "epr",
        "lr_factor": {
            "default": 10.0,
            "low": 0.000001,
            "help": "of the protocol's learning rate, for the estimated labels",
        },
    },
    "protocol_defaults": {
        "voc07": {"k": 1.5},
        "coco14": {"k": 2.9},
        "nuswide": {"k": 1.9},
    },
    "notes": "k as in epr: knowledge of the full training labels. The estimates are logits, a parameter for each "
    "training sample and label, with ten times the learning rate and without weight decay, as in the "
    "released code. Their gradient is dense there and here: an optimiser with momentum (Adam) moves at every "
    "step also the rows of samples that the batch has not, by what it remembers of them. They take 16 bytes "
    "a sample and label with Adam, are part of checkpoints, and not of kept weights. The released code "
    "starts its second phase (LinearInit) from the estimates of its first; there is one phase here.",
    "needs": {"passes": 1},
}

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.losses import set_loss
from baselines.parts.missing_labels import (
    expected_positives,
    expected_positives_term,
    neg_log_sigmoid,
    rows_of,
    same_shape,
    training_set,
)
from baselines.parts.staged import counts_of

_WIDTH = math.log(0.6 / 0.4)
"""Initial estimates of unknown labels lie in [0.4, 0.6]."""

_SURE = math.log(0.995 / 0.005)
"""Initial estimate of an observed positive: 0.995."""


@MODELS.register_module()
class OnlineLabelEstimation(nn.Module):
    """Half the sum of the network's loss and the estimates', each with the other's labels held fixed, as in the
    released code of Cole et al. (CVPR 2021).

    With e = sigmoid(label_estimates[index]), M the mean over samples and labels, R the squared excess over k expected
    positives (`expected_positives_term`) and H(a, b) = -a log b - (1 - a) log(1 - b):

        (M[-y log p] + M[H(stop(e), p)] + R(p)) / 2 + (M[-y log e] + M[H(stop(p), e)] + R(e)) / 2

    Estimates of unknown labels are drawn uniformly between logit(.4) and logit(.6), when the model is built, and those
    of observed positives are logit(.995). The draw follows from the state of torch's generator and leaves it as it is:
    with the same seed the network starts as with any other loss.

    Args:
        k: expected positives a sample, >= 0; None: from `class_counts`.
        class_counts: training samples that show each label, of the full labels.
        dataset: config of the training data, whose `labels` (N, L) are the observed ones.
    """

    per_instance = ("label_estimates",)

    def __init__(
        self, k: float | None, class_counts: Sequence[int], dataset: Mapping[str, Any]
    ) -> None:
        super().__init__()
        observed = training_set(dataset).labels.cpu()
        self.k = expected_positives(k, class_counts, len(observed))
        with torch.random.fork_rng(devices=[]):
            seed = int(torch.randint(2**63 - 1, ()))
        generator = torch.Generator().manual_seed(seed)
        drawn = _WIDTH * (2 * torch.rand(observed.shape, generator=generator) - 1)
        self.label_estimates = nn.Parameter(drawn.masked_fill(observed, _SURE))

    def forward(
        self, scores: Tensor, targets: Tensor, index: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits and observed positives, both (B, L), and the samples' places in the training set (B,)."""
        same_shape(scores, targets)
        estimates = self.label_estimates[rows_of(index, "role")]
        network = self._half(scores, targets, estimates.detach())
        return (network + self._half(estimates, targets, scores.detach())) / 2

    def _half(self, scores: Tensor, targets: Tensor, teacher: Tensor) -> Tensor:
        """The loss of one of the two, from the logits of both."""
        positive, negative = neg_log_sigmoid(scores), neg_log_sigmoid(-scores)
        cross = teacher.sigmoid() * positive + (-teacher).sigmoid() * negative
        regular = expected_positives_term(scores.sigmoid(), self.k)
        return (targets * positive + cross).mean() + regular


def configure(cfg: Any, facts: Any, *, k: float | None, lr_factor: float) -> Any:
    """Make it the only loss, with a rate of their own for the estimates."""
    wrapper = cfg.optim_wrapper
    paramwise = wrapper.get("paramwise_cfg") or {}
    keys = paramwise.get("custom_keys", {})
    # as a value and not as a factor of the optimiser's, which may have none to multiply, or torch's default
    own = {"label_estimates": {"lr_mult": lr_factor, "weight_decay": 0.0}}
    wrapper.paramwise_cfg = {**paramwise, "custom_keys": {**keys, **own}}
    of = {"class_counts": counts_of(facts), "dataset": cfg.train_dataloader.dataset}
    return set_loss(cfg, {"type": "OnlineLabelEstimation", "k": k, **of})
