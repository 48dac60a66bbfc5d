"""What losses for missing labels share: observed positives, all other labels unknown.

Logits z and labels y are (B, L); y is 1 where a positive is observed, and 0 where nothing is known. p = sigmoid(z).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import DATASETS
from torch import Tensor, nn

_OFFSET = 1e-5

REDUCTIONS = ("mean", "sum")
"""Over the batch, of sums over labels. `sum` is how some authors train."""


def neg_log_sigmoid(scores: Tensor) -> Tensor:
    """-log(sigmoid(z) + 1e-5), as the released code of Cole et al. (CVPR 2021) and Zhou et al. (ECCV 2022) has it: at
    most 11.5, with a slope that vanishes far out on the wrong side. Of -z it is the loss of a negative."""
    return -(scores.sigmoid() + _OFFSET).log()


def same_shape(scores: Tensor, targets: Tensor) -> None:
    """Raise ValueError where broadcasting would make a loss of something else than (B, L) and (B, L)."""
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            f"scores are {tuple(scores.shape)} and targets {tuple(targets.shape)}, expected (B, L) both"
        )


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """A scalar from the loss of every label, (B, L); see `REDUCTIONS`."""
    total = loss.sum()
    return total / len(loss) if reduction == "mean" else total


def known_reduction(reduction: str) -> str:
    """`reduction`; ValueError if it is none."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}, expected one of {', '.join(REDUCTIONS)}")
    return reduction


def expected_positives_term(probabilities: Tensor, k: float) -> Tensor:
    """((mean_i sum_c q_ic - k) / L)^2 of probabilities q (B, L): the released code of Cole et al. (CVPR 2021)."""
    excess = probabilities.sum(1).mean() - k
    return (excess / probabilities.shape[1]) ** 2


def expected_positives(k: float | None, class_counts: Sequence[int], samples: int) -> float:
    """k, or where it is None the mean number of positives of a training sample in the full labels.

    Args:
        class_counts: training samples that show each label, of the full labels.
        samples: N.
    """
    return sum(class_counts) / samples if k is None else k


def training_set(dataset: Mapping[str, Any]) -> Any:
    """The training data, from their config: `len()` is N, and `.labels` the observed labels, bool (N, L)."""
    return DATASETS.build(dict(dataset))


def rows_of(index: Tensor | None, name: str) -> Tensor:
    """Places of the batch in the training set; ValueError if the batch does not tell them."""
    if index is None:
        raise ValueError(f"{name} keeps something for every training sample, and needs `index`")
    return index


class EpochLoss(nn.Module):
    """A loss that knows in which pass over the training samples it is: `epoch`, from 0.

    The pass follows from the iteration alone, so that a resumed run is in the same one. Passes are counted in
    samples: where N does not divide by the batch, one ends in the middle of it.

    Args:
        iterations, batch: the budget; `batch` is the global one.
        dataset: config of the training data.
    """

    def __init__(self, iterations: int, batch: int, dataset: Mapping[str, Any]) -> None:
        super().__init__()
        self._iterations, self._batch = iterations, batch
        self._samples = len(training_set(dataset))
        self.set_progress(0.0)

    def set_progress(self, done: float) -> None:
        """`done` in [0, 1) of the iterations are through (`suite.engine.stages.ProgressHook`)."""
        # the share is a rounded quotient of whole numbers
        self.epoch = round(done * self._iterations) * self._batch // self._samples


def budget_of(cfg: Any, facts: Any) -> dict[str, Any]:
    """What an `EpochLoss` is told, of a run's config and facts."""
    return {
        "iterations": facts.iterations,
        "batch": facts.batch,
        "dataset": cfg.train_dataloader.dataset,
    }
