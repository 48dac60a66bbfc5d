"""OGM-GE: the gradient of the modality that is ahead is made smaller, and noise is added to all."""

CARD = {
    "title": "On-the-fly gradient modulation with generalisation enhancement (OGM-GE)",
    "paper": "Balanced Multimodal Learning via On-the-fly Gradient Modulation",
    "venue": "CVPR 2022",
    "cite": "peng2022balanced",
    "tasks": ["multimodal"],
    "names": {
        "ogm-ge": {
            "summary": "smaller gradients for the encoder of the modality that is ahead, and noise on all"
        },
    },
    "params": {
        "alpha": {
            "default": 0.1,
            "low": 0.0,
            "help": "how much smaller the gradient of a modality gets that is ahead of the others",
        },
        "begin": {
            "default": 0.0,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training from which on gradients are modulated",
        },
        "end": {
            "default": 0.5,
            "low": 0.0,
            "high": 1.0,
            "help": "share of the training until which they are, excluded",
        },
        "noise": {
            "default": True,
            "help": "add Gaussian noise of the gradient's own standard deviation (GE)",
        },
    },
    "protocol_defaults": {
        "smoke": {"alpha": 0.3},
        "quick": {"alpha": 0.3},
        "scene15": {"alpha": 0.3},
        "av-digits": {"alpha": 0.3},
        "mfeat": {"alpha": 0.3},
        "cremad-feat": {"alpha": 0.3},
    },
    "search": {"alpha": [0.1, 0.3, 0.5, 0.8]},
    "notes": "The released README has alpha .1 and an example on CREMA-D .3; the small protocols have .3. As released: weights "
    "of convolutions only (of an encoder without any, its matrices), before weight decay and momentum, in the first "
    "half of the training; the noise has the standard deviation of the gradient before it is made smaller, and is "
    "added to the gradients of all modalities. A modality's logits are its part of the joint layer and an equal share of "
    "the bias. For more than two modalities a score is compared with the mean of the others, which is ours. Noise "
    "is drawn on the CPU, the same for all devices. The rate is the protocol's (released: SGD .001, times .1 after 70 "
    "epochs of 100), and the last weights count, not the best on test.",
    "needs": {"passes": 1},
}

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.checks import at_least_zero
from baselines.parts.modalities import competing, of_others, true_class
from suite.base.errors import UserError
from tasks.multimodal.objectives import Objective, accuracies


def coefficients(scores: Tensor, alpha: float) -> Tensor:
    """What the gradient of each modality is multiplied by, (M,): with rho_k the score of k over the mean of the others'

        1 - tanh(alpha rho_k) where rho_k > 1, else 1

    (Peng et al., CVPR 2022, where there is one other).

    Args:
        scores: sum over the batch of the true class's probability by a modality's own logits, > 0, (M,).
        alpha: >= 0.
    """
    rho = scores / of_others(scores)
    return torch.where(rho > 1, 1 - torch.tanh(alpha * rho), torch.ones_like(rho))


def modulated(encoder: nn.Module) -> list[nn.Parameter]:
    """The weights of convolutions of an encoder, or where it has none, those of linear layers."""
    trained = [p for p in encoder.parameters() if p.requires_grad]
    return [p for p in trained if p.ndim > 2] or [p for p in trained if p.ndim == 2]


@MODELS.register_module()
class ModulatedGradients(Objective):
    """Cross entropy of the fused logits, whose gradients are changed between backward pass and step:

        g <- c_k g + e,   e ~ N(0, std(g)^2)

    for the weights that `modulated` names of modality k's encoder, c_k of `coefficients`; std(g) is of the gradient's
    entries before that.

    Args:
        alpha: >= 0.
        begin, end: shares of the training, of [begin, end) gradients are changed.
        noise: whether there is e.
    """

    def __init__(
        self, alpha: float, begin: float = 0.0, end: float = 0.5, noise: bool = True
    ) -> None:
        super().__init__()
        at_least_zero(alpha=alpha, begin=begin, end=end)
        self.alpha, self.begin, self.end, self.noise = alpha, begin, end, noise
        self.done = 0.0

    def set_progress(self, done: float) -> None:
        """`done` in [0, 1) of the iterations are through (`suite.engine.stages.ProgressHook`)."""
        self.done = done

    def train_step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """One forward and one backward pass; `loss` and the batch's accuracies."""
        with optim_wrapper.optim_context(model):
            batch = model.data_preprocessor(data, True)
            features = model.features(batch["inputs"])
            label = batch["label"]
            loss = F.cross_entropy(model.fusion(features), label)
        with torch.no_grad():
            seen = accuracies(model, features, label)
            own = model.fusion.modality_logits({k: f.detach() for k, f in features.items()})
            scores = torch.stack([true_class(own[k], label).sum() for k in model.modalities])
        optim_wrapper.backward(loss)
        if self.begin <= self.done < self.end:
            self.modulate(model, coefficients(scores, self.alpha))
        optim_wrapper.step()
        optim_wrapper.zero_grad()
        return {"loss": loss.detach(), **seen}

    @torch.no_grad()
    def modulate(self, model: Any, by: Tensor) -> None:
        """Change the gradients that lie there by coefficients (M,)."""
        for coefficient, name in zip(by, model.modalities, strict=True):
            for parameter in modulated(model.encoders[name]):
                gradient = parameter.grad
                if gradient is None:
                    continue
                deviation = gradient.std()
                gradient.mul_(coefficient.to(gradient))
                # of a single entry there is no deviation
                if self.noise and gradient.numel() > 1:
                    # from the generator of the CPU, whatever the device: it is what checkpoints hold
                    drawn = torch.randn(gradient.shape, dtype=gradient.dtype)
                    gradient.add_(drawn.to(gradient.device) * deviation)


def configure(cfg: Any, facts: Any, *, alpha: float, begin: float, end: float, noise: bool) -> Any:
    """The reference's loss and fusion, with other gradients. Raises UserError where none are ever changed."""
    competing(cfg, "ogm-ge")
    if begin >= end:
        raise UserError(
            f"begin={begin:g}, end={end:g}: gradients are changed from begin on and until end, which is never; choose an "
            "end beyond begin, or the method concat"
        )
    cfg.model.objective = {
        "type": "ModulatedGradients",
        "alpha": alpha,
        "begin": begin,
        "end": end,
        "noise": noise,
    }
    return cfg
