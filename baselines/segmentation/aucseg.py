"""AUCSeg: one-vs-one pixel AUC risk beside cross-entropy, with the T-Memory Bank of `baselines.segmentation.tmb`.

Every surrogate of the pairwise risk depends on the scores only through sums over the pixels of one
class, so the risk of all P^2 pixel pairs costs O(P C). `_ClassSums` takes these sums tile by tile:
a tile of neighbouring pixels holds few classes and fits in cache, and no P x C tensor is kept but
the logits themselves and their gradient.
"""

CARD = {
    "title": "AUCSeg",
    "paper": "AUCSeg: AUC-oriented Pixel-level Long-tail Semantic Segmentation",
    "venue": "NeurIPS 2024",
    "arxiv": "2409.20398",
    "cite": "han2024aucseg",
    "tasks": ["longtail-seg"],
    "names": {
        "aucseg": {
            "summary": "cross-entropy + square pixel AUC risk + T-Memory Bank",
            "params": {"surrogate": "square"},
            "protocol_defaults": {
                "ade20k": {"half": True},
                "cityscapes": {"half": True},
                "coco-stuff164k": {"half": True},
            },
        },
        "aucseg-hinge": {
            "summary": "AUCSeg with the hinge surrogate",
            "params": {"surrogate": "hinge"},
        },
        "aucseg-exp": {
            "summary": "AUCSeg with the exponential surrogate",
            "params": {"surrogate": "exp"},
        },
        "aucseg-nobank": {
            "summary": "cross-entropy + square pixel AUC risk, no bank",
            "params": {"surrogate": "square", "bank": False},
            "protocol_defaults": {
                "ade20k": {"half": True},
                "cityscapes": {"half": True},
                "coco-stuff164k": {"half": True},
            },
        },
    },
    "params": {
        "surrogate": {
            "default": "square",
            "choices": ["square", "hinge", "exp"],
            "help": "convex stand-in for the 0-1 ranking loss of a pixel pair",
        },
        "auc_weight": {
            "default": 1.0,
            "low": 0.0,
            "help": "lambda: weight of the AUC risk; cross-entropy keeps the recipe's weight, 1",
        },
        "mode": {
            "default": "ovo",
            "choices": ["ovo", "ova"],
            "help": "pairs of classes, averaged (ovo), or class against the rest, summed (ova)",
        },
        "activation": {
            "default": "sigmoid",
            "choices": ["sigmoid", "softmax", "identity"],
            "help": "logits to scores inside the AUC risk; identity is refused by hinge",
        },
        "margin": {
            "default": 1.0,
            "low": 0.0,
            "help": "gamma, above 0; hinge needs at least 1",
        },
        "half": {
            "default": False,
            "help": "factor 1/2 of the released code's square risk, which its lambda multiplies; square only",
        },
        "bank": {
            "default": True,
            "help": "paste stored tail pixels into batches that lack the class",
        },
        "memory_size": "tmb",
        "sample_ratio": "tmb",
        "resize_ratio": "tmb",
        "update": "tmb",
        "scope": "tmb",
        "placement": "tmb",
    },
    "protocol_defaults": {
        "ade20k": {
            "auc_weight": 4.0,
            "sample_ratio": 0.05,
            "resize_ratio": 0.4,
            "placement": "whole",
        },
        "cityscapes": {
            "auc_weight": 1.0,
            "sample_ratio": 1.0,
            "resize_ratio": 1.0,
            "placement": "whole",
        },
        "coco-stuff164k": {
            "auc_weight": 1.0,
            "sample_ratio": 0.05,
            "resize_ratio": 0.1,
            "placement": "whole",
        },
    },
    "notes": "Under the paper's three protocols the square risk is halved, as in the released code, whose lambda "
    "is the default there; elsewhere lambda weighs the mean over pixel pairs itself. The exponential risk is not "
    "halved there either. The released hinge divides its negative term by the pixels of the class once too "
    "often and is no mean over pairs; ours is one.",
    "search": {"memory_size": [1, 3, 5, 8, 10, 20]},
    "needs": {"passes": 1},
}

from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from baselines.segmentation.tmb import install_bank
from suite.base.errors import UserError

# 4096 pixels x 150 float32 channels are 2.4 MB: near the core, and still few launches per batch.
# A GPU has no such cache to respect and pays for each launch.
_TILE_PIXELS = {"cpu": 4096, "cuda": 1 << 17}

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softmax": lambda logits: torch.softmax(logits, dim=0),
    "identity": lambda logits: logits.clone(),
}


def _activation_backward(activation: str, grad: Tensor, scores: Tensor, into: Tensor) -> None:
    """Write the gradient for the logits (C, n) from that for the scores (C, n)."""
    if activation == "sigmoid":
        torch.ops.aten.sigmoid_backward.grad_input(grad, scores, grad_input=into)
    elif activation == "softmax":
        torch.mul(scores, grad - (grad * scores).sum(0, keepdim=True), out=into)
    else:
        into.copy_(grad)


def _statistics(surrogate: str, margin: float, scores: Tensor) -> list[Tensor]:
    """The functions of a score, each (C, n), whose class means determine the risk."""
    if surrogate == "square":
        return [scores, scores * scores]
    if surrogate == "hinge":
        return [scores]
    return [torch.exp(margin * scores), torch.exp(-margin * scores)]


def _statistics_backward(surrogate: str, margin: float, grads: Tensor, scores: Tensor) -> Tensor:
    """Gradient for the scores (C, n) from that for their statistics (T, C, n)."""
    if surrogate == "square":
        return grads[0].addcmul_(grads[1], scores, value=2.0)
    if surrogate == "hinge":
        return grads[0]
    rising = grads[0].mul_(torch.exp(margin * scores))
    return rising.sub_(grads[1].mul_(torch.exp(-margin * scores))).mul_(margin)


def _tiles(label: Tensor, classes: int) -> Iterator[tuple[int, slice, Tensor, Tensor]]:
    """Yield (image, pixels, classes present (k,), membership (n, k)) over label (B, P).

    Tiles without a valid pixel are skipped; `classes` itself is the label of ignored pixels.
    """
    size = _TILE_PIXELS.get(label.device.type, _TILE_PIXELS["cpu"])
    for image, row in enumerate(label):
        for start in range(0, row.numel(), size):
            pixels = slice(start, start + size)
            tile = row[pixels]
            present = torch.bincount(tile, minlength=classes + 1)[:classes].nonzero()[:, 0]
            if present.numel():
                yield image, pixels, present, tile[:, None] == present


class _ClassSums(torch.autograd.Function):
    """Sums of score statistics over the pixels of each class.

    forward(logits (B, C, P), label (B, P) in [0, C] with C = ignored, weight (B, P) or None,
    activation, surrogate, margin) -> float64 (T, C, C): statistic t of channel i summed over the
    pixels of class j. Backward recomputes the scores instead of keeping them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        label: Tensor,
        weight: Tensor | None,
        activation: str,
        surrogate: str,
        margin: float,
    ) -> Tensor:
        ctx.save_for_backward(logits, label, weight)
        ctx.activation, ctx.surrogate, ctx.margin = activation, surrogate, margin
        classes = logits.shape[1]
        statistics = 1 if surrogate == "hinge" else 2
        sums = logits.new_zeros((statistics, classes, classes), dtype=torch.float64)
        with torch.autocast(logits.device.type, enabled=False):
            for image, pixels, present, member in _tiles(label, classes):
                share = member.to(logits.dtype)
                if weight is not None:
                    share *= weight[image, pixels, None]
                scores = _ACTIVATIONS[activation](logits[image, :, pixels])
                for table, value in zip(sums, _statistics(surrogate, margin, scores), strict=True):
                    table[:, present] += (value @ share).double()
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sums: Tensor) -> tuple[Tensor | None, ...]:
        logits, label, weight = ctx.saved_tensors
        grad_logits = torch.zeros_like(logits)
        coefficients = grad_sums.to(logits.dtype)
        with torch.autocast(logits.device.type, enabled=False):
            for image, pixels, present, member in _tiles(label, logits.shape[1]):
                share = member.t().to(logits.dtype)
                if weight is not None:
                    share *= weight[image, pixels]
                scores = _ACTIVATIONS[ctx.activation](logits[image, :, pixels])
                grads = coefficients[:, :, present] @ share
                grad = _statistics_backward(ctx.surrogate, ctx.margin, grads, scores)
                into = grad_logits[image, :, pixels]
                _activation_backward(ctx.activation, grad, scores, into)
        return grad_logits, None, None, None, None, None


def _pairwise_risk(surrogate: str, margin: float, own: Tensor, other: Tensor) -> Tensor:
    """Mean surrogate loss over pixel pairs from class means of the statistics.

    own (T, K, 1): channel i over its own class; other (T, K, J): over the classes it is ranked
    against. Returns (K, J). Closed forms of the square, hinge and exponential pairwise losses.
    """
    if surrogate == "exp":
        return own[1] * other[0]
    gap = margin - own[0] + other[0]
    if surrogate == "hinge":
        return gap
    # Rounding can push E[s^2] - E[s]^2 of a constant score below zero.
    variance = (own[1] - own[0] ** 2).clamp(min=0) + (other[1] - other[0] ** 2).clamp(min=0)
    return gap**2 + variance


@MODELS.register_module()
class PixelAUCLoss(nn.Module):
    """Pixel AUC risk of AUCSeg (NeurIPS 2024), exact over all pixel pairs of the batch.

    With scores s_i = activation(logit_i), N_i valid pixels of class i and K classes present:

        ovo: 1/(K(K-1)) sum_{i != j} 1/(N_i N_j) sum_{p in i, q in j} l(s_i(p) - s_i(q))
        ova: sum_i 1/(N_i (N - N_i)) sum_{p in i, q not in i} l(s_i(p) - s_i(q))

    where l(t) is (margin - t)^2 (square), max(0, margin - t) (hinge) or exp(-margin t) (exp).
    Classes present are those of the process's own batch.

    Args:
        num_classes: C, at least 2.
        surrogate: 'square', 'hinge' or 'exp'.
        mode: 'ovo' or 'ova'.
        activation: 'sigmoid' (the released code), 'softmax' over channels, or 'identity'.
        margin: gamma > 0.
        half: the released code's factor 1/2, so that the released lambda weighs as much as there; only
            for 'square'.
        loss_weight: lambda, at least 0.
        loss_name: key in the log; must start with 'loss_' to enter the total loss.

    Raises:
        ValueError: an argument out of range, or a hinge that can be inactive (margin < 1 or
            identity scores): max(0, .) then no longer separates into class means.
    """

    def __init__(
        self,
        num_classes: int,
        surrogate: str = "square",
        mode: str = "ovo",
        activation: str = "sigmoid",
        margin: float = 1.0,
        half: bool = False,
        loss_weight: float = 1.0,
        loss_name: str = "loss_auc",
    ) -> None:
        super().__init__()
        choices = {
            "surrogate": (surrogate, ("square", "hinge", "exp")),
            "mode": (mode, ("ovo", "ova")),
            "activation": (activation, tuple(_ACTIVATIONS)),
        }
        for name, (value, known) in choices.items():
            if value not in known:
                raise ValueError(f"PixelAUCLoss: {name} must be one of {known}, not {value!r}")
        if num_classes < 2:
            raise ValueError(f"PixelAUCLoss: num_classes must be at least 2, not {num_classes}")
        if not margin > 0:
            raise ValueError(f"PixelAUCLoss: margin must be above 0, not {margin}")
        if not loss_weight >= 0:
            raise ValueError(f"PixelAUCLoss: loss_weight must be at least 0, not {loss_weight}")
        if surrogate == "hinge" and (margin < 1 or activation == "identity"):
            raise ValueError(
                "PixelAUCLoss: hinge needs margin >= 1 and scores in [0, 1] (sigmoid or softmax)"
            )
        if half and surrogate != "square":
            raise ValueError("PixelAUCLoss: half exists for the square surrogate only")
        if not loss_name.startswith("loss_"):
            raise ValueError(f"PixelAUCLoss: loss_name must start with 'loss_', not {loss_name!r}")
        self.num_classes = num_classes
        self.surrogate = surrogate
        self.mode = mode
        self.activation = activation
        self.margin = float(margin)
        # The attribute is not `half`: nn.Module.half() is a method.
        self.scale = loss_weight * (0.5 if half else 1.0)
        self._loss_name = loss_name

    @property
    def loss_name(self) -> str:
        return self._loss_name

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
        **kwargs: Any,
    ) -> Tensor:
        """Weighted risk, a scalar of at least float32.

        Args:
            cls_score: logits (B, C, H, W); half precision is raised to float32.
            label: (B, H, W) integers in [0, C) or `ignore_index`.
            weight: optional (B, H, W), at least 0, without gradient: a pixel counts `weight`
                times, so a pair counts by the product. Zero removes the pixel.
            kwargs: mmseg's further loss arguments, accepted only as None.

        Returns:
            0 with a zero gradient when fewer than two classes are present.

        Raises:
            ValueError: shapes or label values do not fit.
            TypeError: a further argument is set.
        """
        unused = sorted(name for name, value in kwargs.items() if value is not None)
        if unused:
            raise TypeError(f"PixelAUCLoss does not support {', '.join(unused)}")
        batch, classes = cls_score.shape[:2]
        if classes != self.num_classes:
            raise ValueError(f"PixelAUCLoss: {classes} channels for {self.num_classes} classes")
        if label.shape != (batch, *cls_score.shape[2:]):
            raise ValueError(
                f"PixelAUCLoss: label {tuple(label.shape)} for scores {tuple(cls_score.shape)}"
            )
        if weight is not None and weight.shape != label.shape:
            raise ValueError(
                f"PixelAUCLoss: weight {tuple(weight.shape)} for label {tuple(label.shape)}"
            )
        logits = cls_score if cls_score.dtype == torch.float64 else cls_score.float()
        logits = logits.reshape(batch, classes, -1)
        label = label.reshape(batch, -1).long()
        ignored = label == ignore_index
        if bool((((label < 0) | (label >= classes)) & ~ignored).any()):
            raise ValueError(
                f"PixelAUCLoss: labels must lie in [0, {classes}) or be {ignore_index}"
            )
        label = label.masked_fill(ignored, classes)
        if weight is not None:
            weight = weight.detach().reshape(batch, -1).to(logits.dtype)
            if bool((weight < 0).any()):
                raise ValueError("PixelAUCLoss: weight must be at least 0")
            label = label.masked_fill(weight == 0, classes)

        share = None if weight is None else weight.flatten().double()
        counts = torch.bincount(label.flatten(), share, classes + 1)[:classes].double()
        present = counts.nonzero()[:, 0]
        if present.numel() < 2:
            return logits.sum() * 0
        sums: Tensor = _ClassSums.apply(  # type: ignore[no-untyped-call]
            logits, label, weight, self.activation, self.surrogate, self.margin
        )
        risk = self._risk(sums[:, present][:, :, present], counts[present])
        return (self.scale * risk).to(logits.dtype)

    def _risk(self, sums: Tensor, counts: Tensor) -> Tensor:
        """Risk from sums (T, K, K) and counts (K,) of the K classes present."""
        own = (sums.diagonal(dim1=1, dim2=2) / counts)[:, :, None]
        if self.mode == "ova":
            # Summing the other classes' columns, not total minus own: no cancellation for a rare
            # class's complement.
            others = 1 - torch.eye(len(counts), dtype=sums.dtype, device=sums.device)
            rest = ((sums * others).sum(2) / (others @ counts))[:, :, None]
            return _pairwise_risk(self.surrogate, self.margin, own, rest).sum()
        pairs = _pairwise_risk(self.surrogate, self.margin, own, sums / counts)
        off_diagonal = pairs.sum() - pairs.diagonal().sum()
        return off_diagonal / (len(counts) * (len(counts) - 1))


def configure(
    cfg: Any,
    facts: Any,
    *,
    surrogate: str = "square",
    auc_weight: float = 1.0,
    mode: str = "ovo",
    activation: str = "sigmoid",
    margin: float = 1.0,
    half: bool = False,
    bank: bool = True,
    **bank_params: Any,
) -> Any:
    """Add the AUC risk, and with `bank` the T-Memory Bank, to an mmseg EncoderDecoder config.

    Args:
        cfg: mmengine Config, changed in place. In a cascade the last head gets the loss.
        facts: of the training data; `num_classes` and `groups["tail"]` are read.
        bank_params: memory_size, sample_ratio, resize_ratio, update, scope, placement.

    Returns:
        cfg.

    Raises:
        UserError: `half` with another surrogate than the square.
    """
    if half and surrogate != "square":
        raise UserError(
            f"half=True is a factor of the square risk, not of {surrogate}; add --set METHOD.half=false, or take "
            f"aucseg-{surrogate}"
        )
    head = cfg.model.decode_head
    if isinstance(head, list | tuple):
        head = head[-1]
    losses = head.get("loss_decode", {"type": "CrossEntropyLoss", "loss_weight": 1.0})
    losses = list(losses) if isinstance(losses, list | tuple) else [losses]
    risk = {
        "type": "PixelAUCLoss",
        "num_classes": facts.num_classes,
        "surrogate": surrogate,
        "mode": mode,
        "activation": activation,
        "margin": margin,
        "half": half,
        "loss_weight": auc_weight,
    }
    head.loss_decode = [*losses, risk]
    return install_bank(cfg, facts, **bank_params) if bank else cfg
