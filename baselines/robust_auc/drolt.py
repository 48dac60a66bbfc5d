"""DRO-LT: features near the prototype of their class, which lies at its worst within a ball."""

CARD = {
    "title": "Distributional robustness loss (DRO-LT)",
    "paper": "Distributional Robustness Loss for Long-tail Learning",
    "venue": "ICCV 2021",
    "arxiv": "2104.03066",
    "cite": "samuel2021distributional",
    "tasks": ["robust-auc"],
    "names": {
        "drolt": {
            "summary": "BCE and a robust loss of distances to the class means of the features"
        },
    },
    "params": {
        "share": {
            "default": 0.5,
            "low": 0.0,
            "high": 1.0,
            "help": "of the robust loss in the total, the rest is BCE",
        },
        "epsilon": {
            "default": 1.0,
            "low": 0.0,
            "help": "radius around a prototype, added to the distance of its own class",
        },
        "temperature": {
            "default": 5.0,
            "low": 0.000001,
            "help": "distances are divided by it",
        },
    },
    "search": {"epsilon": [0.1, 0.5, 1.0, 2.0]},
    "notes": "In the form of DRAUC's released code: one radius for both classes, which the paper divides by the root of a "
    "class's size or learns, and no stage of plain cross entropy before. A prototype is the mean of a class's "
    "features in eval mode over the training images without augmentation, anew at the start of each pass over them "
    "(the released code takes augmented ones). Prototypes are state, part of checkpoints. That forward pass over the "
    "training set is half a pass a step.",
    "needs": {"passes": 1.5},
}

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, FUNCTIONS, HOOKS, MODELS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from baselines.parts.losses import set_loss
from baselines.parts.two_classes import same_column
from suite.base.errors import UserError
from suite.engine.resume import bare_model

_CLASSES = 2


@MODELS.register_module()
class PrototypeLoss(nn.Module):
    """share * R + (1 - share) * mean BCE, where with d_ci = ||f_i - m_c||_2 of features f_i and prototypes m_c

        s_ci = -(d_ci + eps [y_i = c]) / T,    log p_ci = s_ci - log sum_i' exp s_ci',
        R = -T mean_c mean_{i: y_i = c} log p_ci

    The sum is over the samples of the batch, and the mean over the classes that it has (Samuel and Chechik, ICCV 2021,
    in the form of DRAUC's released code).

    Buffers: `prototypes` (2, D), not a number until `PrototypeHook` has computed them.

    Args:
        features: D.
        share: in [0, 1].
        epsilon: eps >= 0.
        temperature: T > 0.
    """

    prototypes: Tensor

    def __init__(self, features: int, share: float, epsilon: float, temperature: float) -> None:
        super().__init__()
        if not (0 <= share <= 1 and epsilon >= 0 and temperature > 0):
            raise ValueError(
                f"share is {share}, epsilon {epsilon} and temperature {temperature}, expected a number in [0, 1], one "
                "of at least 0 and one above 0"
            )
        self.share, self.epsilon, self.temperature = share, epsilon, temperature
        self.register_buffer("prototypes", torch.full((_CLASSES, features), torch.nan))

    def forward(
        self, scores: Tensor, label: Tensor, features: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Scalar, from logits and labels of 0 and 1, both (B, 1), and features (B, D)."""
        same_column(scores, label)
        if features is None:
            raise ValueError("drolt needs the features that the scores were computed of")
        bce = F.binary_cross_entropy_with_logits(scores, label)
        return self.share * self.robust(features, label) + (1 - self.share) * bce

    def robust(self, features: Tensor, label: Tensor) -> Tensor:
        """R, from features (B, D) and labels (B, 1)."""
        prototypes = self.prototypes.to(features)
        # of a vector of zeros this norm has gradient 0
        distances = torch.linalg.vector_norm(features - prototypes[:, None], dim=2)
        classes = torch.arange(_CLASSES, device=label.device)[:, None]
        own = (label[:, 0] > 0.5) == (classes > 0)
        logits = -(distances + self.epsilon * own) / self.temperature
        log_p = logits.log_softmax(1)
        counts = own.sum(1)
        terms = (log_p * own).sum(1) / counts.clamp(min=1)
        total: Tensor = -self.temperature * terms.sum() / (counts > 0).sum()
        return total


@HOOKS.register_module()
class PrototypeHook(Hook):
    """Sets the prototypes of a model's `PrototypeLoss` before each iteration with which a pass over the training samples
    begins, the first among them. It follows from the iteration alone, and a resumed run has them from its checkpoint
    until the next.

    Model, generators and statistics of batch normalisation are left as they were.

    Args:
        dataset: config of the training samples without augmentation; it has `labels` (N,).
        collate: name of its collate function.
        batch: B, samples of a training step.
        at_a_time: samples at a time.
    """

    def __init__(
        self, dataset: Mapping[str, Any], collate: str, batch: int, at_a_time: int = 500
    ) -> None:
        self.dataset = DATASETS.build(dict(dataset))
        self.collate, self.batch, self.at_a_time = collate, batch, at_a_time

    def begins_pass(self, iteration: int) -> bool:
        """Whether the batch of this iteration, from 0, has the first sample of a pass, or comes first."""
        size = len(self.dataset)
        return (
            iteration == 0 or iteration * self.batch // size != (iteration - 1) * self.batch // size
        )

    def before_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self.begins_pass(runner.iter):
            model = bare_model(runner)
            model.loss_module.prototypes.copy_(self.class_means(model))

    def class_means(self, model: Any) -> Tensor:
        """(2, D): mean features of the negative and the positive training samples, summed in double precision."""
        # a generator of its own: a loader draws from the global one else
        loader = DataLoader(
            self.dataset,
            self.at_a_time,
            collate_fn=FUNCTIONS.get(self.collate),
            generator=torch.Generator(),
        )
        sums: Tensor | float = 0.0
        counts: Tensor | float = 0.0
        with torch.no_grad(), _eval_mode(model):
            for samples in loader:
                data = model.data_preprocessor(samples, False)
                positive = (data["label"][:, 0] > 0.5).double()
                own = torch.stack([1 - positive, positive])
                sums = sums + own @ model.features(data["inputs"]).double()
                counts = counts + own.sum(1, keepdim=True)
        means: Tensor = sums / counts  # type: ignore[assignment]
        return means


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """The model in eval mode for the block; afterwards each module in its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def configure(cfg: Any, facts: Any, *, share: float, epsilon: float, temperature: float) -> Any:
    """Make it the only loss, with the hook that keeps its prototypes."""
    loss = {"type": "PrototypeLoss", "features": cfg.model.head.in_channels, "share": share}
    loss |= {"epsilon": epsilon, "temperature": temperature}
    shown = cfg.prediction_dataloaders.get("train")
    if shown is None:
        raise UserError(
            "drolt takes the means of features over the training images as they are stored, which this protocol has no "
            "loader of; it needs a prediction set `train`"
        )
    hook = {
        "type": "PrototypeHook",
        "dataset": shown.dataset,
        "collate": shown.collate_fn["type"],
        "batch": facts.batch,
    }
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), hook]
    return set_loss(cfg, loss)
