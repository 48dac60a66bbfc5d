"""Protocols of `multimodal` from their parts: a data set, the streams of its modalities, how samples are given, the training.

A protocol and its long-tailed variants are a family. Nothing heavy is imported.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from suite.define.protocol import Facts, Protocol
from suite.define.protocols import Declared
from suite.engine import keys
from tasks.multimodal.data import sources
from tasks.multimodal.data.sources import RATIOS, SETS, Modalities, ModalitySource, load
from tasks.multimodal.recipes import Stream, multimodal
from tasks.multimodal.stored import STORED
from tasks.vision.carved import carve, carved_config, carved_set
from tasks.vision.data.carving import CARVING, chosen_by_class, part_of
from tasks.vision.protocols import BY_CLASS, trained
from tasks.vision.recipes.base import Config, cosine, sgd

FIXED = (*keys.FIXED, "model.encoders")
"""Keys of a base config that methods leave as they are."""
_SETS = {
    "test": f"test samples; {STORED}",
    "train": "training samples without augmentation, to which probes are fitted: labels and features, no logits",
}

Streams = Callable[[Modalities | None], Mapping[str, Stream]]
"""The training samples -> what becomes of each modality, in order; of None, before there are data, without statistics that
only the data tell."""
Samples = Callable[[ModalitySource, str, str, bool], Config]
"""(source, folder, split `train` or `test`, whether for training) -> the data set's config; for training with augmentation."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """SGD with momentum 0.9 and a cosine to 0, unless told otherwise.

    Attributes:
        iterations, batch, lr, weight_decay: the budget and the rate.
        schedule: (iterations) -> another schedule; None for the cosine.
        eval_batch: samples of a batch without training.
        bf16: whether encoders train under autocast.
    """

    iterations: int
    batch: int = 64
    lr: float = 0.02
    weight_decay: float = 5e-4
    schedule: Callable[[int], Sequence[Config]] | None = None
    eval_batch: int = 500
    bf16: bool = False


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a protocol and its variants share.

    Attributes:
        name: of the protocol.
        data: name of its data set, of `sources.SETS`.
        streams, samples: see there. `samples` gives a registered data set that takes `carved=`.
        training: length, optimiser and schedule.
        collate: name of the function that joins samples, such as `whole_batch`.
        imports: modules that the config's components, and the data set, are registered in.
        test: token for the test inputs and how they are given.
        backbone: token for the encoders.
        augmentation: token.
        summary: one line.
        seconds: rough duration of a run on one core.
        loaders: further keys of all data loaders, such as `num_workers` where samples lie in files.
        fields: further fields of `Protocol`.
    """

    name: str
    data: str
    streams: Streams
    samples: Samples
    training: Training
    collate: str
    imports: tuple[str, ...]
    test: str
    backbone: str
    augmentation: str
    summary: str
    seconds: float
    loaders: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    def declared(self, ratios: Sequence[int] = RATIOS) -> list[Declared]:
        """The protocol and, of `ratios`, the long-tailed variants that its data set has samples enough for."""
        made = []
        counts = SETS[self.data].counts
        for ratio in (None, *(ratio for ratio in ratios if sources.allows(counts, ratio))):
            source = ModalitySource(self.data, ratio)
            made.append(Declared(self._name(ratio), self.data, partial(self._build, source)))
        return made

    def _name(self, ratio: int | None) -> str:
        if ratio is None:
            return self.name
        return f"{self.name}{',' if ':' in self.name else ':'}ir{ratio}"

    def _config(self, source: ModalitySource, root: str, train: Modalities | None) -> Config:
        streams = self.streams(train)
        declared = SETS[self.data]
        if tuple(streams) != declared.modalities:
            raise ValueError(f"streams {tuple(streams)} of modalities {declared.modalities}")
        how = self.training
        schedule = how.schedule or (lambda iterations: [cosine(0, iterations)])
        made = multimodal(
            streams,
            classes=len(declared.dataset.classes),
            train=self.samples(source, root, "train", True),
            test=self.samples(source, root, "test", False),
            extra={"train": self.samples(source, root, "train", False)},
            collate=self.collate,
            imports=self.imports,
            batch=how.batch,
            eval_batch=how.eval_batch,
            iterations=how.iterations,
            optimizer=sgd(how.lr, how.weight_decay),
            schedule=schedule(how.iterations),
            bf16=how.bf16,
        )
        loaders = (made["train_dataloader"], made["test_dataloader"])
        for loader in (*loaders, *made["prediction_dataloaders"].values()):
            loader.update(self.loaders)
        return made

    def _build(self, source: ModalitySource) -> Protocol:
        published = sources.class_counts(source)
        data = sources.dataset(source, published)
        blank = self._config(source, "", None)

        def build(root: Path, carved: bool = False) -> tuple[Config, Facts]:
            sets = load(source, root)
            for note in sets.notes:
                warnings.warn(note, stacklevel=2)
            train, counts, of = sets.train, sets.class_counts, data
            if carved:
                labels = train.labels.tolist()
                part = CARVING.part("train")
                train = train.take(part_of(part, lambda how: chosen_by_class(labels, how)))
                counts = CARVING.kept(counts)
                of = sources.dataset(source, counts)
            config = self._config(source, str(root), train)
            if carved:
                carved_config(config, config["prediction_dataloaders"]["train"])
            return config, Facts(
                classes=data.classes,
                class_counts=counts,
                image_counts=counts,
                groups=of.groups,
                iterations=self.training.iterations,
                batch=self.training.batch,
                unit="samples",
                observed=sets.observed,
                variant=sets.variant,
            )

        def part() -> Protocol:
            if source.ratio is None:
                of = carved_set(data, ())
            else:
                of = sources.dataset(source, CARVING.kept(published))
            return carve(whole, lambda root: build(root, True), BY_CLASS, of)

        summary = self.summary
        if source.ratio is not None:
            summary += f"; training samples long-tailed, imbalance ratio {source.ratio}"
        made = trained(
            self._name(source.ratio),
            data,
            blank,
            build,
            carve=part,
            split=sources.split(source),
            test=self.test,
            backbone=self.backbone,
            precision="bf16" if self.training.bf16 else "fp32",
            augmentation=self.augmentation,
            prediction_sets=_SETS,
            summary=summary,
            seconds=self.seconds,
            **self.fields,
        )
        whole: Protocol = replace(made, fixed=FIXED)
        return whole
