"""MSLR: a learning rate for each encoder, which follows its validation accuracy."""

CARD = {
    "title": "Modality-specific learning rates (MSLR)",
    "paper": "Modality-specific Learning Rates for Effective Multimodal Additive Late-fusion",
    "venue": "Findings of ACL 2022",
    "cite": "yao2022modality",
    "tasks": ["multimodal"],
    "names": {
        "mslr": {
            "summary": "encoders' learning rates follow their accuracy on held-out training samples"
        },
    },
    "params": {
        "spread": {
            "default": 0.1,
            "low": 0.0,
            "high": 0.99,
            "help": "first factors of the rates lie evenly in 1 - spread .. 1 + spread, in the order of the modalities",
        },
        "history": {
            "default": 5,
            "low": 1,
            "help": "passes over the training samples between two changes, and the accuracies whose mean counts",
        },
        "validation": {
            "default": 0.2,
            "low": 0.01,
            "high": 0.9,
            "help": "share of every class's training samples that is held out",
        },
    },
    "search": {"spread": [0.0, 0.1, 0.5]},
    "notes": "The dynamic form: after every `history` passes an encoder's rate is multiplied by its modality's accuracy on "
    "held-out samples over the mean of its last ones. Held out are training samples, for the whole training, never test "
    "samples; so it is trained on fewer than the others. First factors are .9 and 1.1 as elsewhere for two modalities; for "
    "more they are spread evenly, which is ours. The classifier has the protocol's rate, and the protocol's schedule goes "
    "on for all. A modality's accuracy is that of its own part of the joint layer. Each look at the held-out samples "
    "is a forward pass over a fifth of the training set.",
    "needs": {"passes": 1.125},
}

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from baselines.parts.modalities import ValidatedObjective, competing, validation_of


def spaced(modalities: int, spread: float) -> list[float]:
    """M factors, evenly in 1 - spread .. 1 + spread."""
    return [1 - spread + 2 * spread * k / (modalities - 1) for k in range(modalities)]


def adapted(factors: Tensor, accuracies: Tensor) -> Tensor:
    """Factors (M,) times the last accuracy over the mean of all, of accuracies (H, M); those of a modality that has never
    been right stay (Yao and Mihalcea, Findings of ACL 2022: the dynamic strategy)."""
    mean = accuracies.mean(0)
    ratio = accuracies[-1] / torch.where(mean > 0, mean, 1.0)
    return torch.where(mean > 0, factors * ratio, factors)


@MODELS.register_module()
class ModalityRates(ValidatedObjective):
    """Cross entropy of the fused logits; the learning rate of encoder k is the schedule's times a factor, which changes
    after every `history` passes (`adapted`).

    Buffers, in double precision: `factors` (M,), `accuracies` (history, M) of the last passes, the newest last, and
    their number `passes`.

    Args:
        modalities: their names; the optimiser's groups of an encoder have its name as `modality`.
        spread: of the first factors, see `spaced`.
        history: passes.
        validated: arguments of a `ValidatedObjective`.
    """

    factors: Tensor
    accuracies: Tensor
    passes: Tensor

    def __init__(
        self, modalities: Sequence[str], spread: float, history: int, validated: Mapping[str, Any]
    ) -> None:
        super().__init__(**validated)
        self.modalities, self.history = tuple(modalities), history
        first = torch.tensor(spaced(len(self.modalities), spread), dtype=torch.float64)
        self.register_buffer("factors", first)
        empty = torch.zeros(history, len(self.modalities), dtype=torch.float64)
        self.register_buffer("accuracies", empty)
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self._known: dict[str, float] | None = None

    @torch.no_grad()
    def judge(self, losses: Tensor, accuracies: Tensor) -> None:
        """Remember the accuracies, and change the factors where it is time."""
        self.accuracies.copy_(torch.cat([self.accuracies[1:], accuracies[None]]))
        self.passes += 1
        if int(self.passes) % self.history == 0:
            self.factors.copy_(adapted(self.factors, self.accuracies))
        self._known = None

    def step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """One step with the encoders' own rates."""
        with self.rates(optim_wrapper.optimizer):
            return super().step(model, data, optim_wrapper)

    @contextmanager
    def rates(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """The encoders' groups have their own rates for the block, and afterwards again the schedule's."""
        if self._known is None:
            # read where they change, not in every step: reading waits for the device
            self._known = dict(zip(self.modalities, self.factors.tolist(), strict=True))
        groups = [group for group in optimizer.param_groups if "modality" in group]
        kept = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] *= self._known[group["modality"]]
        try:
            yield
        finally:
            for group, rate in zip(groups, kept, strict=True):
                group["lr"] = rate

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._known = None


def configure(cfg: Any, facts: Any, *, spread: float, history: int, validation: float) -> Any:
    """The reference's loss and fusion; optimiser groups by encoder, and a sampler that holds samples out."""
    names = competing(cfg, "mslr")
    wrapper = cfg.optim_wrapper
    paramwise = wrapper.get("paramwise_cfg") or {}
    own = {f"encoders.{name}.": {"modality": name} for name in names}
    wrapper.paramwise_cfg = {
        **paramwise,
        "custom_keys": {**paramwise.get("custom_keys", {}), **own},
    }
    cfg.model.objective = {
        "type": "ModalityRates",
        "modalities": names,
        "spread": spread,
        "history": history,
        "validated": validation_of(cfg, facts, "mslr", validation),
    }
    return cfg
