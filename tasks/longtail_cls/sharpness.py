"""Curvature of a classifier's training loss where its training ended, for each group of classes apart.

The ends of the Hessian's spectrum (`tasks.vision.spectrum`) tell a sharp valley (a large positive eigenvalue)
from a saddle (a clearly negative one) of the head's or the tail's loss, which SSE-SAM (AAAI 2025) is about.

This is a torch module.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, FUNCTIONS, HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from suite.base.errors import RecordError
from suite.engine.resume import bare_model
from tasks.vision.spectrum import SOLVERS, hessian_product, loss_gradient, norm

_SEED = 0


@HOOKS.register_module()
class SharpnessHook(Hook):
    """At the end of a training: ends of the Hessian's spectrum of each group's loss.

    The loss is the mean cross entropy of the model's logits over the group's training images, as they
    are stored, with the statistics of batch normalisation fixed: the same function whatever loss and
    augmentation the method trained with. The Hessian is that of all the model's weights, in float32. A group
    without images is left out. Model and generators are left as they were.

    Args:
        dataset: config of the training images without augmentation; it has `labels` (N,).
        collate: name of its collate function.
        groups: group name -> class ids.
        images: of a group at most so many are taken, evenly spaced in the data set's order.
        batch: images at a time: what memory allows, the results are the same but for rounding.
        iterations: of the solver at most.
        solver: `lanczos` or `power`.

    Raises ValueError for another solver and for numbers below 1.
    """

    priority = "LOWEST"  # after hooks that put other weights in place at the end

    def __init__(
        self,
        dataset: dict[str, Any],
        collate: str,
        groups: Mapping[str, Sequence[int]],
        images: int = 512,
        batch: int = 128,
        iterations: int = 30,
        solver: str = "lanczos",
    ) -> None:
        if solver not in SOLVERS:
            known = ", ".join(SOLVERS)
            raise ValueError(f"SharpnessHook: unknown solver {solver!r}; known: {known}")
        if min(images, batch, iterations) < 1:
            raise ValueError("SharpnessHook: images, batch and iterations must be at least 1")
        self.dataset, self.collate, self.groups = dataset, collate, groups
        self.images, self.batch = images, batch
        self.iterations, self.solver = iterations, solver
        self._arrays: dict[str, np.ndarray] | None = None

    def after_train(self, runner: Runner) -> None:
        model = bare_model(runner)
        dataset = DATASETS.build(self.dataset)
        found = []
        with _as_measured(model):
            for name, classes in self.groups.items():
                chosen = choose(dataset.labels, classes, self.images)
                if chosen:
                    found.append({"group": name, **self._measure(model, dataset, chosen)})
        self._arrays = {key: np.array([one[key] for one in found]) for key in (found or [{}])[0]}

    def arrays(self) -> dict[str, np.ndarray]:
        """Of G groups, (G,) each: `group`, names; `lambda_max`, `lambda_min`, float64, with `residual_max`
        and `residual_min` (`Extreme`), NaN where the loss has no finite Hessian; `loss` (nats) and
        `gradient_norm` at the weights; `images`, int64, the number taken.

        Raises RecordError before a training has ended, or if no group had images.
        """
        if not self._arrays:
            raise RecordError(
                "no sharpness: no training has ended, or no group has a training image"
            )
        return dict(self._arrays)

    def _measure(self, model: Any, dataset: Any, chosen: Sequence[int]) -> dict[str, float | int]:
        # a generator of its own: a loader draws from the global one else
        loader = DataLoader(
            Subset(dataset, chosen),
            self.batch,
            collate_fn=FUNCTIONS.get(self.collate),
            generator=torch.Generator(),
        )
        batches = [model.data_preprocessor(batch, False) for batch in loader]
        parameters = [p for p in model.parameters() if p.is_floating_point()]

        def parts() -> Iterator[Tensor]:
            for batch in batches:
                logits = model(**batch, mode="tensor")
                yield F.cross_entropy(logits, batch["label"], reduction="sum") / len(chosen)

        loss, gradient = loss_gradient(parts, parameters)
        start = torch.randn(len(gradient), generator=torch.Generator().manual_seed(_SEED))
        low, high = SOLVERS[self.solver](
            lambda vector: hessian_product(parts, parameters, vector),
            start.to(gradient),
            self.iterations,
        )
        return {
            "lambda_max": high.value,
            "lambda_min": low.value,
            "residual_max": high.residual,
            "residual_min": low.residual,
            "loss": loss,
            "gradient_norm": norm(gradient),
            "images": len(chosen),
        }


def choose(labels: Tensor, classes: Sequence[int], images: int) -> list[int]:
    """At most `images` places of samples of the classes, evenly spaced among all such places."""
    wanted = torch.tensor(list(classes), dtype=torch.int64)
    members = torch.isin(labels.cpu(), wanted).nonzero()[:, 0]
    taken = min(images, len(members))
    return members[torch.arange(taken) * len(members) // max(taken, 1)].tolist()


@contextlib.contextmanager
def _as_measured(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, gradients of all weights, float32 without autocast and TF32; all undone after."""
    modes = {module: module.training for module in model.modules()}
    wanted = {p: p.requires_grad for p in model.parameters() if p.is_floating_point()}
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    device = next(iter(wanted)).device.type
    try:
        model.eval()
        for parameter in wanted:
            parameter.requires_grad_(True)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        with torch.enable_grad(), torch.autocast(device, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)
        # one by one: a part may have been frozen in evaluation mode
        for module, mode in modes.items():
            module.training = mode
