"""MLA: modalities take turns within an iteration, and share a head that is not to forget."""

CARD = {
    "title": "Multimodal learning with alternating unimodal adaptation (MLA)",
    "paper": "Multimodal Representation Learning by Alternating Unimodal Adaptation",
    "venue": "CVPR 2024",
    "arxiv": "2311.10707",
    "cite": "zhang2024multimodal",
    "tasks": ["multimodal"],
    "names": {
        "mla": {
            "summary": "a step for each modality in turn, a shared head with projected gradients, fused by entropy"
        }
    },
    "params": {
        "a": {
            "default": 0.1,
            "low": 0.000001,
            "high": 1.0,
            "help": "regularisation of the projection's recursion, to the power 1 + share of the epoch",
        },
        "project": {
            "default": True,
            "help": "project the gradient of the head's weight; without, only turns and fusion are left",
        },
    },
    "notes": "Of the released code the projection is never applied (it looks for a parameter that no linear layer has), its "
    "update divides by a matrix where a number is meant and rescales the projector by its norm, and the weights "
    "at test are a softmax over the batch, of one entropy for all of it. Here the projector follows recursive "
    "least squares, the gradient is multiplied by it, and every sample has its own entropies. The gradient of a turn "
    "is projected before the projector learns the turn's own features: it protects what was learnt before. "
    "An iteration has a step for each modality, and each encoder is trained once in it.",
    "search": {"a": [0.01, 0.1, 1.0], "project": [True, False]},
    "needs": {"passes": 1},
}

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from baselines.parts.fusing import set_fusion, set_objective
from baselines.parts.passes import count_passes
from suite.base.errors import MethodWarning
from tasks.multimodal.fusions import SharedHead
from tasks.multimodal.networks import Features
from tasks.multimodal.objectives import Objective, accuracies


@MODELS.register_module()
class EntropyGatedHead(SharedHead):
    """z = sum_k w_k z_k, w = softmax over the modalities that are there of -H_k, H_k the entropy of softmax z_k: weights
    of each sample."""

    def forward(self, features: Features, present: Collection[str] | None = None) -> Tensor:
        own = self.modality_logits(features)
        logits = torch.stack([own[name] for name in self.taken(present)])
        return (entropy_weights(logits)[..., None] * logits).sum(0)


def entropy_weights(logits: Tensor) -> Tensor:
    """(M, B) of logits (M, B, C), adding up to 1 over the modalities."""
    log_p = logits.log_softmax(2)
    return (log_p.exp() * log_p).sum(2).softmax(0)


def projector_after(projector: Tensor, mean: Tensor, a: float) -> Tensor:
    """P - P r (P r)^T / (a + r^T P r), of a symmetric P (D, D) and the mean feature r (D,): recursive least squares.

    As a goes to 0, P becomes the projector onto what is orthogonal to all r so far. Needs a > 0.
    """
    along = projector @ mean
    return projector - torch.outer(along, along) / (a + mean @ along)


@MODELS.register_module()
class AlternatingObjective(Objective):
    """Of each modality in turn: CE(head(f_k), y), the gradient of the head's weight times P, a step; then P learns the
    mean of f_k (`projector_after`), with a^(1 + share of the epoch).

    Args:
        width: D of the features.
        epoch: training samples N.
        batch, iterations: the budget.
        a: in (0, 1].
        project: whether there is a P.
    """

    def __init__(
        self,
        width: int,
        epoch: int,
        batch: int,
        iterations: int,
        a: float = 0.1,
        project: bool = True,
    ) -> None:
        super().__init__()
        self.epoch, self.batch, self.iterations = epoch, batch, iterations
        self.a, self.project = a, project
        self.projector: Tensor
        # thousands of small corrections add up in it
        self.register_buffer(
            "projector", torch.eye(width, dtype=torch.float64) if project else None
        )
        self.set_progress(0.0)

    def set_progress(self, done: float) -> None:
        """`done` in [0, 1) of the iterations are through (`suite.engine.stages.ProgressHook`)."""
        seen = round(done * self.iterations) * self.batch
        self.regularisation = self.a ** (1 + seen % self.epoch / self.epoch)

    def train_step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """A step for each modality; `loss` is the sum of what they had before it."""
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            # no step changes what another modality's encoder has made
            features = self.features(model, batch["inputs"])
            seen = accuracies(model, features, batch["label"])
            losses = {}
            for name, values in features.items():
                with self._projected(model.fusion.head.weight):
                    loss = F.cross_entropy(model.fusion.head(values), batch["label"])
                    losses[f"loss_{name}"] = loss.detach()
                    optim_wrapper.update_params(loss)
                if self.project:
                    self.learn(values.detach())
        total = torch.stack(list(losses.values())).sum()
        return {"loss": total, **losses, **seen}

    @contextmanager
    def _projected(self, weight: Tensor) -> Iterator[None]:
        """Gradients that reach `weight` (C, D) in this block are times P."""
        if not self.project:
            yield
            return
        # P is symmetric
        projector = self.projector.to(weight)
        handle = weight.register_hook(lambda g: g @ projector)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def learn(self, features: Tensor) -> None:
        """Take the mean of features (B, D) into P."""
        mean = features.mean(0).to(self.projector)
        self.projector.copy_(projector_after(self.projector, mean, self.regularisation))


def configure(cfg: Any, facts: Any, *, a: float, project: bool) -> Any:
    """A shared linear head and a step for each modality."""
    if not project and a != CARD["params"]["a"]["default"]:  # type: ignore[index]
        warnings.warn(
            f"a={a:g} has no effect with project=false: it belongs to the projection; set project=true, or leave a out",
            MethodWarning,
            stacklevel=2,
        )
    set_fusion(cfg, "EntropyGatedHead")
    set_objective(
        cfg,
        "AlternatingObjective",
        width=next(iter(cfg.model.fusion.widths.values())),
        epoch=sum(facts.class_counts),
        batch=facts.batch,
        iterations=facts.iterations,
        a=a,
        project=project,
    )
    return count_passes(cfg)
