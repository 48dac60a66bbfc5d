"""What methods for several modalities share: comparisons of one with the others, heads of their own, passes over all
training samples, samples that a method holds out of its training.

M modalities, in the protocol's order; what is told of each is a tensor (M,). This is a torch module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, Subset

from baselines.parts.attacks import evaluating
from suite.base.errors import UserError
from tasks.multimodal.networks import Features, seeded
from tasks.multimodal.objectives import Objective
from tasks.vision.data.carving import Carving, chosen_by_class


def competing(cfg: Any, method: str) -> list[str]:
    """Names of the modalities. Raises UserError where there is nothing to balance, or a step is not one batch."""
    names = list(cfg.model.encoders)
    if len(names) < 2:
        raise UserError(
            f"{method} balances modalities, and this protocol has {names[0]!r} alone; choose a protocol with several"
        )
    if cfg.optim_wrapper.get("accumulative_counts", 1) != 1:
        raise UserError(
            f"{method} works on the gradient of each batch; accumulative_counts must be 1 in optim_wrapper"
        )
    return names


def of_others(values: Tensor) -> Tensor:
    """(M,): for each the mean of the M - 1 others, M >= 2."""
    return (values.sum() - values) / (len(values) - 1)


def true_class(logits: Tensor, label: Tensor) -> Tensor:
    """Probability of the true class (B,), of logits (B, C) and ids (B,)."""
    return logits.softmax(1).gather(1, label[:, None])[:, 0]


class OwnHeads(nn.ModuleDict):
    """A linear classifier on the features of each modality, beside the fusion: (B, D) -> (B, C).

    Args:
        widths: modality -> D.
        classes: C.
    """

    def __init__(self, widths: Mapping[str, int], classes: int) -> None:
        super().__init__()
        for name, width in widths.items():
            with seeded(f"own head {name}"):
                self[name] = nn.Linear(width, classes)

    def logits(self, features: Features) -> dict[str, Tensor]:
        """Modality -> (B, C), of features (B, D)."""
        return {name: head(features[name]) for name, head in self.items()}


# -- the share of the training that is through


class TimedObjective(Objective):
    """An objective that knows in which iteration it is: `iteration`, from 0.

    It follows from what `suite.engine.stages.ProgressHook` tells, so that a resumed run is in the same one.

    Args:
        iterations: of the whole training.
    """

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.set_progress(0.0)

    def set_progress(self, done: float) -> None:
        """`done` in [0, 1) of the iterations are through."""
        # the share is a rounded quotient of whole numbers
        self.iteration = round(done * self.iterations)

    def begins_pass(self, batch: int, samples: int) -> bool:
        """Whether the batch of this iteration has the first sample of a pass over the training samples, or comes first.

        Args:
            batch: samples of a step.
            samples: of a pass.
        """
        before = (self.iteration - 1) * batch // samples
        return self.iteration == 0 or self.iteration * batch // samples != before


# -- all training samples, as they are stored


class TrainingSamples:
    """The training samples without augmentation, for what a method asks of all of them. They are loaded when they are
    first asked for: a model that only predicts needs none.

    Args:
        loader: config of a protocol's prediction set `train`.
        samples: N.
    """

    def __init__(self, loader: Mapping[str, Any], samples: int) -> None:
        self._config, self.samples = loader, samples
        self._dataset: Any = None

    @property
    def dataset(self) -> Any:
        """Raises UserError where it does not hold the samples that are trained."""
        if self._dataset is None:
            made = DATASETS.build(dict(self._config["dataset"]))
            if len(made) != self.samples:
                raise UserError(
                    f"the prediction set `train` holds {len(made)} samples, and {self.samples} are trained: a method that "
                    "looks at all of them needs the same ones there"
                )
            self._dataset = made
        return self._dataset

    @property
    def labels(self) -> Tensor:
        """Class ids, int64 (N,), on the CPU."""
        labels: Tensor = torch.as_tensor(self.dataset.labels).cpu()
        return labels

    def features(
        self, model: Any, places: Sequence[int] | None = None
    ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Batches of features {modality: (b, D)} in evaluation mode, without a graph, and labels (b,); of the samples at
        these places, in their order, or of all. Generators are left as they are, and so is the model."""
        dataset = self.dataset if places is None else Subset(self.dataset, places)
        loader = DataLoader(
            dataset,
            self._config["batch_size"],
            num_workers=self._config.get("num_workers", 0),
            collate_fn=FUNCTIONS.get(self._config["collate_fn"]["type"]),
            # of its own: a loader draws from the global one else
            generator=torch.Generator(),
        )
        with torch.no_grad(), evaluating(model):
            for batch in loader:
                data = model.data_preprocessor(batch, False)
                yield model.features(data["inputs"]), data["label"]


def training_samples(cfg: Any, facts: Any, method: str) -> dict[str, Any]:
    """Arguments of `TrainingSamples`. Raises UserError where the protocol does not show its training samples."""
    shown = (cfg.get("prediction_dataloaders") or {}).get("train")
    if shown is None:
        raise UserError(
            f"{method} looks at the training samples as they are stored, which this protocol has no loader of; it needs a "
            "prediction set `train`"
        )
    # whether they are the same is seen where they are loaded: facts count what the protocol trains on
    return {"loader": shown.to_dict(), "samples": sum(facts.class_counts)}


# -- samples that are held out of the training by the method itself


def held_out(labels: Tensor, fraction: float) -> Tensor:
    """(N,) bool: `fraction` of each class, drawn by SHA-256 as for carved protocols (`tasks.vision.data.carving`).

    Raises UserError where none is left over, as every class has its last.
    """
    chosen = torch.from_numpy(chosen_by_class(labels.tolist(), Carving(fraction)))
    if not chosen.any():
        raise UserError(
            f"{len(labels)} training samples are too few to hold some out: a class would lose its last; choose a method "
            "without validation"
        )
    return chosen


class ValidatedObjective(TimedObjective):
    """Cross entropy of the fused logits. After each pass over the samples that are trained, `judge` is told how every
    modality does on those that are held out, by its own logits.

    Args:
        iterations: of the whole training.
        batch: samples of a training step.
        validation: share of each class that is held out.
        data: arguments of `TrainingSamples`.
    """

    def __init__(
        self, iterations: int, batch: int, validation: float, data: Mapping[str, Any]
    ) -> None:
        super().__init__(iterations)
        self.batch, self.validation = batch, validation
        self.data = TrainingSamples(**data)
        self._places: list[int] | None = None

    @property
    def places(self) -> list[int]:
        """Of the samples that are held out."""
        if self._places is None:
            chosen = held_out(self.data.labels, self.validation)
            self._places = chosen.nonzero()[:, 0].tolist()
        return self._places

    def train_step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """`step`, after `judge` where a pass is through."""
        trained = self.data.samples - len(self.places)
        if self.iteration and self.begins_pass(self.batch, trained):
            self.judge(*self.validated(model))
        return self.step(model, data, optim_wrapper)

    def step(self, model: Any, data: dict[str, Any], optim_wrapper: Any) -> dict[str, Tensor]:
        """One step on the batch, and what is logged of it."""
        return super().train_step(model, data, optim_wrapper)

    def judge(self, losses: Tensor, accuracies: Tensor) -> None:
        """What follows from mean cross entropy and accuracy of every modality, both float64 (M,)."""
        raise NotImplementedError

    def losses(
        self, model: Any, features: Features, label: Tensor, index: Tensor | None
    ) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(model.fusion(features), label)}

    def validated(self, model: Any) -> tuple[Tensor, Tensor]:
        """Mean cross entropy and accuracy of each modality's own logits on the samples held out, float64 (M,) both."""
        losses: Tensor | float = 0.0
        right: Tensor | float = 0.0
        for features, label in self.data.features(model, self.places):
            own = model.fusion.modality_logits(features)
            logits = [own[name] for name in model.modalities]
            losses = losses + _sums(F.cross_entropy(z, label, reduction="none") for z in logits)
            right = right + _sums(z.argmax(1) == label for z in logits)
        return losses / len(self.places), right / len(self.places)  # type: ignore[return-value]


def _sums(rows: Iterable[Tensor]) -> Tensor:
    return torch.stack([row.double().sum() for row in rows])


def validation_of(cfg: Any, facts: Any, method: str, validation: float) -> dict[str, Any]:
    """Arguments of a `ValidatedObjective`, with the sampler set that holds the samples out."""
    cfg.train_dataloader.sampler = {"type": "HeldOutSampler", "fraction": validation}
    return {
        "iterations": facts.iterations,
        "batch": facts.batch,
        "validation": validation,
        "data": training_samples(cfg, facts, method),
    }


@DATA_SAMPLERS.register_module()
class HeldOutSampler(Sampler[int]):
    """Places in random order without end, in passes without those that `held_out` chooses: for ever, or for the first
    so many samples of the training.

    So held out samples are in no batch, and batches stay full.

    Args:
        dataset: has `labels` (N,).
        fraction: of each class, held out.
        until: samples, counted over all ranks, after which passes are over all places; None: never.
        seed: of the order.
    """

    def __init__(
        self, dataset: Any, fraction: float, until: int | None = None, seed: int | None = None
    ) -> None:
        labels = torch.as_tensor(dataset.labels).cpu()
        self._kept = (~held_out(labels, fraction)).nonzero()[:, 0]
        self._all = torch.arange(len(labels))
        self._until, self._seed = until, seed or 0

    def __iter__(self) -> Iterator[int]:
        rank, world = get_dist_info()
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        first = _passes(self._kept, generator)
        if self._until is not None:
            first = chain(islice(first, self._until), _passes(self._all, generator))
        return islice(first, rank, None, world)

    def __len__(self) -> int:
        return len(self._all)

    def set_epoch(self, epoch: int) -> None:
        """Nothing: passes follow from the seed."""


def _passes(places: Tensor, generator: torch.Generator) -> Iterator[int]:
    while True:
        yield from places[torch.randperm(len(places), generator=generator)].tolist()
