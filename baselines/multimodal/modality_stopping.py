"""MSES: an encoder stops learning when its modality's validation loss has not fallen for a while."""

CARD = {
    "title": "Modality-specific early stopping (MSES)",
    "paper": "Modality-Specific Learning Rate Control for Multimodal Classification",
    "venue": "ACPR 2019",
    "cite": "fujimori2019modality",
    "tasks": ["multimodal"],
    "names": {
        "mses": {
            "summary": "an encoder is frozen when its loss on held-out training samples has stopped falling"
        },
    },
    "params": {
        "patience": {
            "default": 0.2,
            "low": 0.0001,
            "high": 1.0,
            "help": "share of the training after which an encoder stops, if the loss has not fallen meanwhile",
        },
        "validation": "mslr",
    },
    "search": {"patience": [0.1, 0.2, 0.4]},
    "notes": "Held out are training samples, for the whole training; so it is trained on fewer than the others. (A "
    "reimplementation stops by the test set, after 80 epochs without a fall.) A modality's loss is the cross entropy "
    "of its own part of the joint layer, looked at after each pass over the training samples. An encoder that has "
    "stopped stays as it is, weights and batch statistics, and is in eval mode; the classifier and the other encoders"
    " go on. It is not taken back to where its loss was least. The patience is ours: under joint training a "
    "modality's own part of the loss stops falling early, and with .1 all encoders of Scene-15 had stopped at half of"
    " 600 iterations. Each look is a forward pass over a fifth of the training set, which comes to an eighth of a "
    "pass a step and is not in the passes counted.",
    "needs": {"passes": 1},
}

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from baselines.parts.attacks import evaluating
from baselines.parts.modalities import ValidatedObjective, competing, validation_of
from baselines.parts.passes import count_passes
from tasks.multimodal.networks import Features
from tasks.multimodal.objectives import accuracies


@MODELS.register_module()
class ModalityStopping(ValidatedObjective):
    """Cross entropy of the fused logits; encoder k stops for good when for `patience` of the iterations no pass has ended
    with a validation loss of its modality below the least before.

    Buffers (M,): `least`, of the losses so far, in double precision; `since`, the iteration of it; `stopped`.

    Args:
        modalities: M, their number.
        patience: in (0, 1].
        validated: arguments of a `ValidatedObjective`.
    """

    least: Tensor
    since: Tensor
    stopped: Tensor

    def __init__(self, modalities: int, patience: float, validated: Mapping[str, Any]) -> None:
        super().__init__(**validated)
        if not 0 < patience <= 1:
            raise ValueError(f"patience is {patience}, expected a share in (0, 1]")
        self.patience = patience
        never = torch.full((modalities,), torch.inf, dtype=torch.float64)
        self.register_buffer("least", never)
        self.register_buffer("since", torch.zeros(modalities, dtype=torch.int64))
        self.register_buffer("stopped", torch.zeros(modalities, dtype=torch.bool))
        self._known: list[bool] | None = None

    @torch.no_grad()
    def judge(self, losses: Tensor, accuracies: Tensor) -> None:
        """Whose loss has fallen, and who has waited long enough."""
        fallen = losses < self.least
        self.least.copy_(torch.where(fallen, losses, self.least))
        self.since.masked_fill_(fallen, self.iteration)
        self.stopped |= self.iteration - self.since >= self.patience * self.iterations
        self._known = None

    def step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """One forward pass, and a backward pass through what has not stopped."""
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            features = self.partly_frozen(model, batch["inputs"])
            losses = self.losses(model, features, batch["label"], batch.get("index"))
            total, logged = model.parse_losses(losses)
        seen = accuracies(model, features, batch["label"])
        # without gradients an encoder is left alone by weight decay and momentum too
        optim_wrapper.update_params(total)
        return {**logged, **seen}

    def partly_frozen(self, model: Any, inputs: Features) -> dict[str, Tensor]:
        """Features (B, D) of each modality; of one that has stopped in eval mode and without a graph."""
        if self._known is None:
            # read where it changes, not in every step: reading waits for the device
            self._known = self.stopped.tolist()
        made = {}
        for name, stopped in zip(model.modalities, self._known, strict=True):
            if stopped:
                with evaluating(model.encoders[name]), torch.no_grad():
                    made[name] = model.features_of(name, inputs[name])
            else:
                made[name] = model.features_of(name, inputs[name])
        return made

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._known = None


def configure(cfg: Any, facts: Any, *, patience: float, validation: float) -> Any:
    """The reference's loss and fusion, and a sampler that holds samples out."""
    names = competing(cfg, "mses")
    cfg.model.objective = {
        "type": "ModalityStopping",
        "modalities": len(names),
        "patience": patience,
        "validated": validation_of(cfg, facts, "mses", validation),
    }
    return count_passes(cfg)
