"""Protocols: what every method of a comparison shares, and data sets they train on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from suite.base.canonical import short_hash
from suite.base.errors import UserError

CARVED = ":carved"
"""At the end of a protocol's name: the same, a part of whose training samples is its validation set (`Protocol.carve`)."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set as the user brings it (or, `embedded`, as the suite makes it).

    Attributes:
        name: such as `camvid`.
        summary: one line.
        layout: the folder layout expected, one line.
        classes: class names in label order.
        groups: group name (`head`, `medium`, `tail`) -> class indices; a class may be in no group.
            Empty where they are known only from the training counts, by `group_thresholds`.
        group_rule: how the groups were made, one line, printed with every table.
        find: data root -> folder of this data set. Raises DataError: missing, empty, half-copied.
        group_thresholds: in training images: head above the first, tail below the second. None for another rule.
        check: (folder, deep) -> problems, one line each; `deep` opens every file.
        differs: (folder, deep) -> what a sound copy has other than the published data, for which its runs carry the
            flag data-variant (`Facts.variant`), in a few words; "" where it is what was published. Without `deep` what can be
            told without opening pictures.
    """

    name: str
    summary: str
    layout: str
    classes: tuple[str, ...]
    groups: Mapping[str, tuple[int, ...]]
    group_rule: str
    find: Callable[[Path], Path]
    check: Callable[[Path, bool], list[str]]
    embedded: bool = False
    group_thresholds: tuple[int, int] | None = None
    differs: Callable[[Path, bool], str] = lambda path, deep: ""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Training length: iterations and global batch size (samples per iteration)."""

    iterations: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a method may know of the training data; known only once the data are read.

    Attributes:
        classes: names in label order.
        class_counts: training count per class in `unit` (pixels, images).
        image_counts: training images that show the class.
        groups: group name -> class indices.
        iterations, batch: the budget.
        observed: digests of the user's copy of the data, name -> hex.
        variant: whether the copy differs from the protocol's manifest.
    """

    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    image_counts: tuple[int, ...]
    groups: Mapping[str, tuple[int, ...]]
    iterations: int
    batch: int
    unit: str = "images"
    observed: Mapping[str, str] = field(default_factory=dict)
    variant: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that is fixed for all methods compared with each other.

    The first block is the identity: `hash` covers exactly it. Seeds, device, resources and methods'
    defaults are not in it.

    Attributes:
        name: `NAME[:variant[,variant]]`, such as `camvid:half,segformer-b0`.
        dataset: the training data.
        split: manifest of the training and test samples as `NAME@DIGEST`.
        test: token for the test inputs and how they are presented (resolution, whole or sliding window).
        backbone: network; `init` is `scratch` or the SHA-256 of the initial weights.
        budget: None for methods without training.
        precision: such as `fp32`.
        augmentation: token for the per-image augmentation tier.
        recipe: base optimiser and schedule, as text that changes when the recipe does (`recipe_digest`).
        selection: which weights are evaluated: `last`, or `val` (best on the carved split).
        replicate: what a replicate is: `seed`, `fold` or `test-unit`.
        revision: raised whenever shared code changes results.
        summary: one line.
        carve: makes the protocol whose training leaves out a part of the training samples, prediction set `val`
            (its `split` says which part, and how it is drawn); None where nothing can be left out.
        texts: what a token of the identity means, in words for people: `test`, `augmentation`. Tokens stay
            as they are when the words are mended; a token without words speaks for itself.
        build: data folder -> (base config, facts); the method is not yet applied.
        blank: the base config as it is before data are known, without their folder, by which its network can be
            built and looked at without data; None where it is known by `build` alone. Not to be changed.
        fixed: keys of the base config, such as `model.backbone`, that a method may not change.
        train: job -> outcome (`Job` and `Outcome` of `suite.runs.job`); the engine that runs it (mmengine's
            Runner, or a test's fake).
        predict: (job, set) -> arrays, for prediction sets added later from the kept weights.
        prediction_sets: the sets every run stores, `test` among them, name -> one line on inputs and storage form.
        extra_sets: sets `predict` can add.
        views: those of `extra_sets` that are augmented views of the test inputs, for methods that adapt to
            unlabelled test inputs.
        threads: CPU threads per run. A resource, so not in the hash, but workers always set it: sums over
            threads round differently.
        seconds: rough duration of one run on one core, for plans without earlier records.
        ranks: processes that share a run's batch, each with a GPU of its own or `threads` cores. A
            resource, so not in the hash: batches and loss are the same for any number.
        join: module whose `join(model)` makes a rank's losses those of the whole batch; None where a run
            takes one rank only.
    """

    name: str
    dataset: DataSet
    split: str
    test: str
    backbone: str
    init: str = "scratch"
    budget: Budget | None
    precision: str = "fp32"
    augmentation: str
    recipe: str
    selection: str = "last"
    replicate: str = "seed"
    revision: int = 1

    summary: str
    build: Callable[[Path], tuple[dict[str, Any], Facts]]
    blank: Mapping[str, Any] | None = None
    fixed: tuple[str, ...] = ()
    train: Callable[[Any], Any]
    predict: Callable[[Any, str], Mapping[str, Any]] | None = None
    prediction_sets: Mapping[str, str] = field(default_factory=dict)
    extra_sets: Mapping[str, str] = field(default_factory=dict)
    views: tuple[str, ...] = ()
    threads: int = 1
    seconds: float | None = None
    ranks: int = 1
    join: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    carve: Callable[[], Protocol] | None = None

    @cached_property
    def carved(self) -> Protocol | None:
        """The protocol under the name NAME:carved; itself where a validation set is left out of its training
        already, None where none can be."""
        if "val" in self.extra_sets:
            return self
        if self.carve is None:
            return None
        return replace(self.carve(), name=f"{self.name}{CARVED}", carve=None)

    def on(self, ranks: int | None) -> int:
        """The number of ranks of a run, the protocol's own for None. Raises UserError where the batch
        does not divide by it, or a run cannot be shared."""
        if ranks is None:
            return self.ranks
        if ranks < 1:
            raise UserError(f"--ranks {ranks}: at least 1")
        if ranks > 1 and (self.join is None or self.budget is None):
            raise UserError(
                f"--ranks {ranks}: a run of {self.name!r} cannot be shared by several processes; leave it out"
            )
        batch = self.budget.batch if self.budget else 1
        if batch % ranks:
            fits = [str(n) for n in range(1, batch + 1) if batch % n == 0]
            raise UserError(
                f"--ranks {ranks}: the batch of {self.name!r}, {batch}, does not divide by it; "
                f"use {', '.join(fits)}"
            )
        return ranks

    def required(self, adapts: bool) -> tuple[str, ...]:
        """Prediction sets beside `test` that a run makes as a part of its test: what the protocol promises, and views of
        the test inputs for a method that `adapts` to them."""
        promised = tuple(name for name in self.prediction_sets if name != "test")
        return promised + (self.views if adapts else ())

    @property
    def identity(self) -> dict[str, Any]:
        """What the hash covers."""
        budget = self.budget
        return {
            "data": self.dataset.name,
            "split": self.split,
            "test": self.test,
            "backbone": self.backbone,
            "init": self.init,
            "budget": budget and {"iterations": budget.iterations, "batch": budget.batch},
            "precision": self.precision,
            "augmentation": self.augmentation,
            "recipe": self.recipe,
            "selection": self.selection,
            "replicate": self.replicate,
            "revision": self.revision,
        }

    @cached_property
    def hash(self) -> str:
        return short_hash(self.identity)

    @property
    def described(self) -> dict[str, Any]:
        """The identity in words for people."""
        return {**self.identity, **self.texts}


def recipe_digest(config: Mapping[str, Any], imports: Mapping[str, str] | None = None) -> str:
    """Digest of a base config, for `Protocol.recipe`: no setting of it can change without changing the
    protocol's hash, but modules may move.

    `imports`: for protocols that were hashed with the names of imported modules in their config: name of a
    module today -> its name then. Without it, what a config imports is no part of the digest.
    """
    settings = dict(config)
    imported = settings.pop("custom_imports", None)
    if imports is not None and imported is not None:
        names = [imports.get(name, name) for name in imported["imports"]]
        settings["custom_imports"] = {**imported, "imports": names}
    return short_hash(settings)
