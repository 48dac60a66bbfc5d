"""A simplex ETF that is turned to the class means once an epoch."""

CARD = {
    "title": "Guided simplex ETF classifier",
    "venue": "NeurIPS 2024",
    "notes": "The cheap form of Guiding Neural Collapse (Markou et al., NeurIPS 2024), which solves a Riemannian problem per "
    "step: orthogonal Procrustes, once an epoch, to the class means of the epoch's features as the training saw them. On raw "
    "features, since a projection would absorb every orientation.",
    "tasks": ["neural-collapse"],
    "names": {
        "guided-etf": {"summary": "ETF nearest to the class means, anew every epoch, z = s M h, CE"}
    },
    "params": {
        "scale": "etf",
        "every": {"default": 1, "low": 1, "high": 10000, "help": "epochs between two turns"},
        "permutation": "etf",
        "rotation": "etf",
    },
    "needs": {"passes": 1},
}

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from torch import Tensor

from baselines.parts.frame_heads import FrameHead, set_frame
from suite.engine.resume import bare_model
from tasks.vision.geometry import frames
from tasks.vision.networks.classifier import Target


@MODELS.register_module()
class GuidedFrameHead(FrameHead):
    """A frame that is turned to the class means of the features it has seen in training. Arguments as those of
    `FrameHead`; the features are not normalised.
    """

    sums: Tensor
    seen_of: Tensor

    def __init__(
        self,
        in_channels: int,
        classes: int,
        loss: dict[str, Any],
        frame: dict[str, Any],
        scale: float = 1.0,
    ) -> None:
        super().__init__(in_channels, classes, loss, frame, scale)
        # with the weights, so that a resumed epoch knows its first half
        self.register_buffer("sums", torch.zeros(classes, in_channels, dtype=torch.float64))
        self.register_buffer("seen_of", torch.zeros(classes, dtype=torch.float64))

    def loss(self, features: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """See `Head.loss`; the features are counted too."""
        with torch.no_grad():
            for label, weight in targets:
                share = F.one_hot(label, len(self.sums)).double()
                if weight is not None:
                    share *= weight[:, None]
                self.sums += share.T @ features.detach().double()
                self.seen_of += share.sum(0)
        return super().loss(features, targets)

    @torch.no_grad()
    def guide(self) -> None:
        """Turn the frame, and forget the features. A class without any has no say."""
        means = self.sums / self.seen_of.clamp(min=1)[:, None]
        known = self.seen_of > 0
        means[~known] = means[known].mean(0)
        turned = frames.nearest_simplex(means.cpu().numpy())
        self.frame.copy_(torch.from_numpy(turned))
        self.sums.zero_()
        self.seen_of.zero_()


@HOOKS.register_module()
class GuidingHook(Hook):
    """Turns the frame after every `every` iterations; not after the last one, when no feature could follow."""

    def __init__(self, every: int) -> None:
        self.every = every

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        done = runner.iter + 1
        if done % self.every == 0 and done < runner.max_iters:
            bare_model(runner).head.guide()


def configure(
    cfg: Any, facts: Any, *, scale: float, every: int, permutation: int | None, rotation: int | None
) -> Any:
    """The frame, from the arm's own orientation on, and the hook that turns it."""
    epoch = math.ceil(sum(facts.image_counts) / facts.batch)
    hook = {"type": GuidingHook.__name__, "every": every * epoch}
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), hook]
    frame = {"kind": "etf", "permutation": permutation, "rotation": rotation}
    return set_frame(cfg, {"type": "CrossEntropy"}, frame, head=GuidedFrameHead, scale=scale)
