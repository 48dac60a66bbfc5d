"""What the last layer of an image classifier looks like, at the end of a training and on the way there.

This is a torch module. It measures and changes nothing: weights, modes of modules, gradients and generators are afterwards
what they were.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, FUNCTIONS, HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from suite.base.errors import RecordError
from suite.define.metrics import MetricRow
from suite.engine.resume import bare_model
from tasks.vision.geometry import stored
from tasks.vision.geometry.tracked import tracked_rows

SPLITS = ("train", "test")
EXPERT = "expert"
"""Begins the names of parts of a set that are one expert's: `expert0`."""
KEPT_VALUES = 1 << 28
"""Up to so many features, or logits, are held in memory, more in a temporary file."""
_ROUNDING = 1e-3

Arrays = dict[str, np.ndarray]
Batches = Iterable[dict[str, Any]]
Means = dict[str, np.ndarray]


@HOOKS.register_module()
class CollapseHook(Hook):
    """At the end of a training: the arrays of `collect`, of all training or test images without augmentation.

    Images are those of the config's prediction set `train`, or of its test set. Nearest class means are the training
    images' for both.

    Args:
        split: `train` or `test`.

    Raises ValueError for another split.
    """

    priority = "LOWEST"  # after hooks that put other weights in place at the end

    def __init__(self, split: str = "train") -> None:
        _known([split])
        self.split = split
        self._arrays: Arrays | None = None

    def after_train(self, runner: Runner) -> None:
        model = bare_model(runner)
        means = None
        if self.split != "train":
            means = means_of(collect(model, loader_of(runner.cfg, "train")))
        self._arrays = collect(model, loader_of(runner.cfg, self.split), means)

    def arrays(self) -> Arrays:
        """See `collect`. Raises RecordError before a training has ended."""
        if self._arrays is None:
            raise RecordError("no geometry of the last layer: no training has ended")
        return dict(self._arrays)


@HOOKS.register_module()
class TrackHook(Hook):
    """The geometry on the way: rows of `collect`'s arrays at `points` iterations, the last one among them.

    Point k of P is after ceil(k T / P) of T iterations. Rows have that step and the keys of the final model's.
    They are the whole set's, not those of groups, classes and experts.

    Args:
        points: P; of a shorter training every iteration is one.
        splits: of `train` and `test`.
        images: split -> at most so many images are taken, evenly spaced in the data set's order; all where absent.

    Raises ValueError for another split, and for numbers below 1.
    """

    priority = "LOW"  # after hooks that project weights, before the checkpoint

    def __init__(
        self,
        points: int = 24,
        splits: Sequence[str] = SPLITS,
        images: Mapping[str, int] | None = None,
    ) -> None:
        images = dict(images or {})
        _known([*splits, *images])
        if min([points, *images.values()]) < 1:
            raise ValueError("TrackHook: points and images must be at least 1")
        self.points, self.splits, self.images = points, tuple(splits), images
        self._loaders: dict[str, DataLoader] = {}
        self._rows: list[MetricRow] = []

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        step = runner.iter + 1
        if step not in tracked_steps(runner.max_iters, self.points):
            return
        means: Means | None = None
        # nearest class means are the training images', whatever is tracked
        for split in dict.fromkeys(("train", *self.splits)):
            if split not in self._loaders:
                self._loaders[split] = loader_of(runner.cfg, split, self.images.get(split))
            arrays = collect(bare_model(runner), self._loaders[split], means)
            means = means or means_of(arrays)
            if split in self.splits:
                self._rows += tracked_rows(arrays, split, step)

    def metric_rows(self) -> list[MetricRow]:
        """So far, in the order of their steps."""
        return list(self._rows)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": [msgspec.to_builtins(row) for row in self._rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rows = msgspec.convert(state["rows"], list[MetricRow])


def tracked_steps(total: int, points: int) -> set[int]:
    """ceil(k total / points) for k = 1 to `points`."""
    return {-(-k * total // points) for k in range(1, points + 1)}


def loader_of(cfg: Any, split: str, images: int | None = None) -> DataLoader:
    """The images of the config's test set, or of its prediction set `train`, in order, evenly spaced ones if `images`."""
    config = cfg.test_dataloader if split == "test" else cfg.prediction_dataloaders[split]
    dataset = DATASETS.build(config["dataset"])
    if images is not None and images < len(dataset):
        dataset = Subset(dataset, [k * len(dataset) // images for k in range(images)])
    collate = dict(config.get("collate_fn") or {"type": "default_collate"})
    # a generator of its own: a loader draws from the global one else
    return DataLoader(
        dataset,
        config["batch_size"],
        num_workers=config.get("num_workers", 0),
        collate_fn=FUNCTIONS.get(collate.pop("type")),
        generator=torch.Generator(),
    )


# -- one look at a model


def means_of(arrays: Mapping[str, np.ndarray]) -> Means:
    """Class means (K, D) float64 by part, from `collect`'s arrays; NaN where a class has no image."""
    return {part: inside["mean"] for part, inside in stored.split(arrays).items()}


def collect(model: Any, loader: Batches, means: Means | None = None) -> Arrays:
    """The stored form (`stored.accumulate`) of the last layer's geometry, on the loader's images.

    Features and W and b are those of `Head.linear`. Of E experts, whose scores are the mean of their logits, the features
    are those of all, one behind the other, and W theirs over E: then h W^T + b are the scores (a mean of the experts' W
    would belong to no features, each has its own). What is each expert's alone stands beside it (`stored.join`, parts
    `expert0`, ...).

    Args:
        model: an `ImageClassifier`.
        loader: batches of N images with their labels.
        means: by `means_of` those of the training images, among which the nearest is sought; None where these are those.

    Raises RecordError where `stored.accumulate` does, and where a head's `linear` does not give its logits.
    """
    centres = means or {}
    with as_measured(model), tempfile.TemporaryDirectory() as folder:
        heads = _look(model, loader, Path(folder))
        parts = {}
        for name, head in heads.items():
            parts[name] = stored.accumulate(
                head.features.array(),
                head.label.array(),
                head.logits.array(),
                head.weight,
                head.bias,
                centres=centres.get(name),
            )
        return stored.join(parts)


@dataclass
class _Head:
    """Of the images seen so far: features as the linear layer sees them, logits and labels; W (K, D) and b (K,)."""

    features: _Rows
    logits: _Rows
    label: _Rows
    weight: np.ndarray | None
    bias: np.ndarray | None


class _Rows:
    """Rows that become one array, in a file of `folder` once they are many."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / name
        self._rows: list[np.ndarray] = []
        self._values = 0

    def add(self, rows: Tensor) -> None:
        self._rows.append(rows.cpu().numpy())
        self._values += rows.numel()
        if sum(one.size for one in self._rows) > KEPT_VALUES:
            self._write()

    def _write(self) -> None:
        with open(self._path, "ab") as file:
            for one in self._rows:
                file.write(one.tobytes())
        # one is left, for the form of a row
        self._rows = [self._rows[0][:0]]

    def array(self) -> np.ndarray:
        if not self._path.exists():
            return np.concatenate(self._rows)
        self._write()
        form = self._rows[0]
        flat = np.memmap(self._path, form.dtype, "r", shape=(self._values,))
        return flat.reshape(-1, *form.shape[1:])


def _look(model: Any, loader: Batches, folder: Path) -> dict[str, _Head]:
    """By name: "" is the whole model's, `expert0`, ... are an expert's alone. Raises RecordError without a batch."""
    heads: dict[str, _Head] = {}
    for raw in loader:
        batch = model.data_preprocessor(raw, False)
        features = model.features(batch["inputs"])
        if features.itemsize < 4:
            raise RecordError(
                f"features are {str(features.dtype).removeprefix('torch.')}: in a collapsed model their scatter would be "
                "that of rounding; compute the network in float32"
            )
        for name, (seen, scores, weight, bias) in _parts(model.head, features).items():
            if name not in heads:
                layer = [
                    None if one is None else one.double().cpu().numpy() for one in (weight, bias)
                ]
                features_, logits, labels = (
                    _Rows(folder, f"{name}.{what}") for what in ("features", "logits", "label")
                )
                heads[name] = _Head(features_, logits, labels, *layer)
            heads[name].features.add(seen)
            heads[name].logits.add(scores)
            heads[name].label.add(batch["label"])
    if not heads:
        raise RecordError("no geometry of the last layer: there is no image to look at")
    return heads


def _parts(head: Any, features: Tensor) -> dict[str, tuple[Tensor, Tensor, Any, Any]]:
    """(features (B, D), logits (B, K), W, b) by part of the head."""
    scores = head(features)
    seen, weight, bias = head.linear(features)
    if weight is not None:
        if bias is None:
            bias = weight.new_zeros(weight.shape[:-1])
        made = torch.einsum("...d,...cd->...c", seen, weight) + bias
        if (made - scores).abs().max() > _ROUNDING * scores.abs().max():
            kind = type(head).__name__
            raise RecordError(
                f"{kind}.linear gives other logits than {kind}.forward: it has to say what the linear layer sees"
            )
    if scores.ndim == 2:
        return {"": (seen, scores, weight, bias)}
    experts = scores.shape[1]
    joined = None if weight is None else weight.movedim(0, 1).flatten(1) / experts
    parts = {"": (seen.flatten(1), scores.mean(1), joined, None if bias is None else bias.mean(0))}
    for k in range(experts):
        own = (None, None) if weight is None else (weight[k], bias[k])
        parts[f"{EXPERT}{k}"] = (seen[:, k], scores[:, k], *own)
    return parts


@contextlib.contextmanager
def as_measured(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, no autocast and TF32; all undone after, generators too."""
    modes = {module: module.training for module in model.modules()}
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    states = random.getstate(), np.random.get_state()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    devices = [device] if device.type == "cuda" else []
    try:
        model.eval()
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        with (
            torch.random.fork_rng(devices),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
        random.setstate(states[0])
        np.random.set_state(states[1])
        # one by one: a part may have been frozen in evaluation mode
        for module, mode in modes.items():
            module.training = mode


def _known(splits: Sequence[str]) -> None:
    odd = [split for split in splits if split not in SPLITS]
    if odd:
        raise ValueError(f"unknown split {odd[0]!r}; known: {', '.join(SPLITS)}")
