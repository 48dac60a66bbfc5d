"""What a training step of a multimodal classifier minimises, and how. Methods bring their own. This is a torch module."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from tasks.multimodal.networks import Features


class Objective(nn.Module):
    """The loss of a batch, and the step that is taken on it.

    A subclass gives `losses`, and `features` where some encoders are not trained, or a `train_step` of its own where one
    backward pass is not enough. Its state are buffers, hence in checkpoints; with a method `set_progress(done)` it is told
    the share of iterations that are through.
    """

    def features(self, model: Any, inputs: Features) -> dict[str, Tensor]:
        """Features (B, D) of each modality in use, of which the losses are made."""
        made: dict[str, Tensor] = model.features(inputs)
        return made

    def losses(
        self, model: Any, features: Features, label: Tensor, index: Tensor | None
    ) -> dict[str, Tensor]:
        """Losses whose sum is minimised, under names that begin with `loss`.

        Args:
            model: the `MultimodalClassifier`: `fusion`, `encoders`, `modalities`.
            features: modality -> (B, D).
            label: ids (B,).
            index: the samples' places in the training set (B,).
        """
        raise NotImplementedError

    def train_step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """One forward and one backward pass; `loss`, its parts and the batch's accuracies (`accuracies`)."""
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            features = self.features(model, batch["inputs"])
            losses = self.losses(model, features, batch["label"], batch.get("index"))
            total, logged = model.parse_losses(losses)
        seen = accuracies(model, features, batch["label"])
        optim_wrapper.update_params(total)
        return {**logged, **seen}


@torch.no_grad()
def accuracies(model: Any, features: Features, label: Tensor) -> dict[str, Tensor]:
    """What curves show of a training batch: `top1` of the fused logits and, where the fusion has them, `top1_M` of each
    modality's own."""
    given = {name: values.detach() for name, values in features.items()}
    scores = {"top1": model.fusion(given)}
    for name, logits in (model.fusion.modality_logits(given) or {}).items():
        scores[f"top1_{name}"] = logits
    return {name: (logits.argmax(1) == label).float().mean() for name, logits in scores.items()}


@MODELS.register_module()
class JointCrossEntropy(Objective):
    """Cross entropy of the fused logits: the objective of the base config."""

    def losses(
        self, model: Any, features: Features, label: Tensor, index: Tensor | None
    ) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(model.fusion(features), label)}
