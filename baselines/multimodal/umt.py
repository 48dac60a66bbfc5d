"""UMT: joint training whose features stay near those that each modality learns alone."""

CARD = {
    "title": "Unimodal teachers (UMT)",
    "paper": "On Uni-Modal Feature Learning in Supervised Multi-Modal Learning",
    "venue": "ICML 2023",
    "arxiv": "2305.01233",
    "cite": "du2023unimodal",
    "tasks": ["multimodal"],
    "names": {
        "umt": {
            "summary": "concat, with features pulled to those of encoders that were trained alone"
        }
    },
    "params": {
        "w": {
            "default": 10.0,
            "low": 0.0,
            "help": "weight of the squared distance to the teachers' features, a mean over samples and features",
        },
    },
    "notes": "Teachers are the encoders of a finished run of ume, frozen and in evaluation mode, and see the same augmented batch; w "
    "is BalanceBenchmark's. With the training of ume it has twice the budget of the other methods.",
    "search": {"w": [1.0, 3.0, 10.0, 30.0]},
    "needs": {"inputs": {"teacher": "ume"}, "extra_budget": True, "passes": 1.5},
}

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from baselines.parts.fusing import set_fusion, set_objective
from suite.base.errors import InputError
from suite.engine import weights
from tasks.multimodal.networks import Features, pooled
from tasks.multimodal.objectives import Objective


@MODELS.register_module()
class TeacherObjective(Objective):
    """CE(z, y) + w sum_k mean (f_k - t_k)^2, t_k the features of the teacher of modality k.

    Teachers are made from their file when a training first needs them: they are no part of the model's state, and a model
    that only predicts needs no file.

    Args:
        encoders: modality -> config, those of the model.
        teacher: path of the weights of a run of `ume`.
        w: >= 0.
    """

    def __init__(self, encoders: Mapping[str, Any], teacher: str, w: float = 10.0) -> None:
        super().__init__()
        self.encoders, self.path, self.w = dict(encoders), Path(teacher), w
        self._inputs: Features = {}
        # in a list, where torch does not look for modules
        self._teachers: list[dict[str, nn.Module]] = []

    def teachers(self, modalities: tuple[str, ...], device: torch.device) -> dict[str, nn.Module]:
        """Modality -> its teacher, frozen, on the device. Raises UserError: no such file, or another network's."""
        if not self._teachers:
            with torch.random.fork_rng(devices=[]):
                made = teachers_of(self.path, {name: self.encoders[name] for name in modalities})
            self._teachers.append({name: teacher.to(device) for name, teacher in made.items()})
        return self._teachers[0]

    def features(self, model: Any, inputs: Features) -> dict[str, Tensor]:
        self._inputs = inputs
        return super().features(model, inputs)

    def losses(
        self, model: Any, features: Features, label: Tensor, index: Tensor | None
    ) -> dict[str, Tensor]:
        loss = F.cross_entropy(model.fusion(features), label)
        distance = torch.zeros_like(loss)
        for name, teacher in self.teachers(model.modalities, label.device).items():
            values = self._inputs[name]
            with (
                torch.no_grad(),
                torch.autocast(values.device.type, torch.bfloat16, enabled=model.bf16),
            ):
                taught = pooled(teacher(values)).float()
            distance = distance + F.mse_loss(features[name], taught)
        self._inputs = {}
        return {"loss_ce": loss, "loss_teacher": self.w * distance}


def teachers_of(path: Path, encoders: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Encoders with the weights that a run keeps of them, in evaluation mode and without gradients.

    Raises UserError where the file cannot be read, InputError where it holds other encoders.
    """
    kept = weights.load(path)
    made = {}
    for name, config in encoders.items():
        teacher: nn.Module = MODELS.build(config)
        begin = f"encoders.{name}."
        given = {
            key.removeprefix(begin): value for key, value in kept.items() if key.startswith(begin)
        }
        wanted = teacher.state_dict()
        odd = sorted(given.keys() ^ wanted.keys()) or [
            key for key, value in wanted.items() if given[key].shape != value.shape
        ]
        if odd:
            raise InputError(
                f"{path}: does not fit the encoder of {name} ({begin}{odd[0]} and {len(odd) - 1} more differ); the "
                "teacher is a run of ume under the same protocol"
            )
        teacher.load_state_dict(given)
        made[name] = teacher.eval().requires_grad_(False)
    return made


def configure(cfg: Any, facts: Any, *, inputs: Mapping[str, str], w: float) -> Any:
    """A concatenation, and teachers from the input run."""
    set_fusion(cfg, "ConcatFusion")
    return set_objective(
        cfg, "TeacherObjective", encoders=cfg.model.encoders, teacher=inputs["teacher"], w=w
    )
