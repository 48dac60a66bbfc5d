"""How features of several modalities become logits, and which part of them is whose (Baltrusaitis et al.'s late and
intermediate fusion; the sheet's section 2). This is a torch module."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from suite.base.errors import UserError
from tasks.multimodal.networks import Features, seeded


class Fusion(nn.Module):
    """Features -> logits.

    Args:
        modalities: names, in order.
        widths: modality -> D of its features; more names than `modalities` may be there.
        classes: C.

    Attributes:
        takes_missing: whether logits without a modality mean something. How it is left out is the fusion's: features are
            zero, or its vote is left out.
    """

    takes_missing = True

    def __init__(self, modalities: Sequence[str], widths: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.widths = {name: widths[name] for name in modalities}
        self.classes = classes

    def forward(self, features: Features, present: Collection[str] | None = None) -> Tensor:
        """Logits (B, C) of features (B, D) by modality, of the modalities `present` alone; None for all."""
        raise NotImplementedError

    def modality_logits(self, features: Features) -> dict[str, Tensor] | None:
        """Each modality's own logits (B, C); None where they are not defined."""
        return None

    def taken(self, present: Collection[str] | None) -> list[str]:
        """The modalities that are `present`, in order."""
        return [name for name in self.modalities if present is None or name in present]


def zeroed(
    features: Features, modalities: Sequence[str], present: Collection[str] | None
) -> list[Tensor]:
    """Features (B, D) of these modalities, zero where one is not `present`; None: all are."""
    return [
        features[name] if present is None or name in present else torch.zeros_like(features[name])
        for name in modalities
    ]


@MODELS.register_module()
class ConcatFusion(Fusion):
    """z = W [f_1; ...; f_M] + b. A modality's own logits are z_k = W_k f_k + b / M, whose sum is z."""

    def __init__(self, modalities: Sequence[str], widths: Mapping[str, int], classes: int) -> None:
        super().__init__(modalities, widths, classes)
        self.fc = nn.Linear(sum(self.widths.values()), classes)

    def forward(self, features: Features, present: Collection[str] | None = None) -> Tensor:
        logits: Tensor = self.fc(torch.cat(zeroed(features, self.modalities, present), 1))
        return logits

    def modality_logits(self, features: Features) -> dict[str, Tensor]:
        parts = torch.split(self.fc.weight, [self.widths[name] for name in self.modalities], 1)
        share = self.fc.bias / len(self.modalities)
        return {
            name: features[name] @ part.T + share
            for name, part in zip(self.modalities, parts, strict=True)
        }


class _OwnHeads(Fusion):
    """A linear head for each modality, which starts alike whether others stand beside it or not."""

    def __init__(self, modalities: Sequence[str], widths: Mapping[str, int], classes: int) -> None:
        super().__init__(modalities, widths, classes)
        self.heads = nn.ModuleDict()
        for name in self.modalities:
            with seeded(f"head {name}"):
                self.heads[name] = nn.Linear(self.widths[name], classes)

    def modality_logits(self, features: Features) -> dict[str, Tensor]:
        return {name: self.heads[name](features[name]) for name in self.modalities}


@MODELS.register_module()
class SumFusion(_OwnHeads):
    """z = sum_k (W_k f_k + b_k); a missing modality's features are zero."""

    def forward(self, features: Features, present: Collection[str] | None = None) -> Tensor:
        given = zeroed(features, self.modalities, present)
        parts = [
            self.heads[name](values) for name, values in zip(self.modalities, given, strict=True)
        ]
        return torch.stack(parts).sum(0)


@MODELS.register_module()
class MeanProbability(_OwnHeads):
    """The logarithm of the mean of the modalities' softmaxes; a missing one has no vote."""

    def forward(self, features: Features, present: Collection[str] | None = None) -> Tensor:
        own = self.modality_logits(features)
        votes = torch.stack([own[name].log_softmax(1) for name in self.taken(present)])
        return votes.logsumexp(0) - math.log(len(votes))


@MODELS.register_module()
class SharedHead(Fusion):
    """One head for all modalities: z_k = head(f_k), z = sum_k z_k; a missing modality has no vote.

    Args:
        hidden: width of a layer with ReLU within the head; 0: the head is linear.

    Raises UserError where features are of several widths.
    """

    def __init__(
        self, modalities: Sequence[str], widths: Mapping[str, int], classes: int, hidden: int = 0
    ) -> None:
        super().__init__(modalities, widths, classes)
        if len(set(self.widths.values())) > 1:
            told = ", ".join(f"{name} {width}" for name, width in self.widths.items())
            raise UserError(
                f"a head that modalities share takes features of one width, and here they are {told}; choose a method "
                "with a head for each, such as sum, or a protocol whose encoders end alike"
            )
        width = self.widths[self.modalities[0]]
        self.head: nn.Module = nn.Linear(width, classes)
        if hidden:
            layers = (nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, classes))
            self.head = nn.Sequential(*layers)

    def forward(self, features: Features, present: Collection[str] | None = None) -> Tensor:
        own = self.modality_logits(features)
        return torch.stack([own[name] for name in self.taken(present)]).sum(0)

    def modality_logits(self, features: Features) -> dict[str, Tensor]:
        return {name: self.head(features[name]) for name in self.modalities}
