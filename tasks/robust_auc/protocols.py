"""Protocols of `robust-auc`. Nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from suite.define.protocol import DataSet, Facts, Protocol
from suite.define.protocols import Declared
from tasks.robust_auc.data import official
from tasks.robust_auc.data.constants import SEVERITIES, set_name
from tasks.robust_auc.data.sources import BinarySource, dataset, load
from tasks.robust_auc.recipes import BinaryRecipe, binary_images, generated, select_on_validation
from tasks.robust_auc.stored import STORED
from tasks.vision.carved import carve, carved_config
from tasks.vision.data.carving import CARVING
from tasks.vision.protocols import BY_CLASS, trained
from tasks.vision.recipes.base import Config

CLASSES = ("negative", "positive")
DIGITS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "gaussian_blur", "brightness", "contrast", "pixelate",
)  # fmt: skip
_PACK = (
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur", "contrast", "brightness",
    "pixelate",
)  # fmt: skip
_SELECTION = ":val-selection"


@dataclass(frozen=True, kw_only=True)
class _Corrupted:
    """The corrupted test sets of a protocol.

    Attributes:
        names, severities: of the corruptions; no severities where each has one strength.
        table: of the constants they are made with; "" for official ones.
        release: name of the official set; "" for generated ones.
    """

    names: tuple[str, ...]
    severities: tuple[int, ...] = SEVERITIES
    table: str = ""
    release: str = ""

    def sets(self, pool: int, root: str) -> Mapping[str, Config]:
        """Prediction set -> how it is made; `root` of the official set."""
        if self.table:
            return generated(self.table, self.names, self.severities, pool)
        strengths: tuple[int | None, ...] = self.severities or (None,)
        about = {"name": self.release, "root": root}
        return {
            set_name(name, severity): {
                "release": {**about, "corruption": name, "severity": severity}
            }
            for name in self.names
            for severity in strengths
        }

    @property
    def text(self) -> str:
        """In words."""
        how = f"of {self.release}" if self.release else f"with our constants for {self.table}"
        levels = f" x {len(self.severities)} severities" if self.severities else ""
        return f"{len(self.names)} corruptions{levels} {how}"


def _official(name: str) -> _Corrupted:
    release = official.get(name)
    return _Corrupted(names=release.corruptions, severities=tuple(release.severities), release=name)


def _both(source: BinarySource, corrupted: _Corrupted) -> DataSet:
    """The data set; where corrupted copies are official ones, its place is the folder that holds both."""
    clean = dataset(source)
    if not corrupted.release:
        return clean
    release = official.get(corrupted.release)

    def find(root: Path) -> Path:
        clean.find(root)
        release.find(root)
        return root

    return replace(
        clean,
        layout=f"{clean.layout}; and beside it {release.layout}",
        find=find,
        check=lambda root, deep: [
            *clean.check(clean.find(root), deep),
            *release.check(release.find(root), deep),
        ],
        differs=lambda root, deep: "; ".join(
            filter(
                None,
                (
                    clean.differs(clean.find(root), deep),
                    release.differs(release.find(root), deep),
                ),
            )
        ),
    )


def _build(
    name: str,
    source: BinarySource,
    recipe: BinaryRecipe,
    corrupted: _Corrupted,
    summary: str,
    seconds: float,
    select: bool,
) -> Protocol:
    data = _both(source, corrupted)
    promised = corrupted.sets(recipe.pool, "")
    counts = source.counts
    kept = CARVING.kept(counts)
    interval = max(1, recipe.iterations // 20)

    def config(root: Path | None, carved: bool) -> Config:
        path = root
        release = ""
        if root is not None and corrupted.release:
            path = dataset(source).find(root)
            release = str(official.get(corrupted.release).find(root))
        place = "" if path is None else str(path)
        made = binary_images(recipe, source, place, corrupted.sets(recipe.pool, release))
        if carved:
            carved_config(made, made["prediction_dataloaders"]["train"])
        return select_on_validation(made, interval) if select else made

    blank = config(None, select)

    def build(root: Path, carved: bool = select) -> tuple[Config, Facts]:
        made = config(root, carved)
        path = dataset(source).find(root) if corrupted.release else root
        sets = load(source, path)
        here = kept if carved else counts
        return made, Facts(
            classes=CLASSES,
            class_counts=here,
            image_counts=here,
            groups={},
            iterations=recipe.iterations,
            batch=recipe.batch,
            observed=sets.observed,
            variant=sets.variant,
        )

    size = f"average-pooled by {recipe.pool}" if recipe.pool > 1 else "at full size"
    extra: dict[str, Any] = {
        "train": "training images without augmentation; stored as `test` is",
    }
    if select:
        extra["val"] = "training images that are left out of the training; stored as `test` is"
    whole: Protocol = trained(
        name,
        data,
        blank,
        build,
        carve=None if select else lambda: carve(whole, lambda root: build(root, True), BY_CLASS),
        split=f"{source.split}+{CARVING.token}" if select else source.split,
        test=f"whole test set, {size}, clean and under {corrupted.text}",
        backbone=f"resnet{recipe.depth}-w{recipe.width}",
        augmentation=recipe.augmentation,
        selection="val" if select else "last",
        prediction_sets={
            "test": f"clean test images; {STORED}",
            **dict.fromkeys(promised, "the same images corrupted; stored as `test` is"),
        },
        extra_sets=extra,
        summary=summary,
        seconds=seconds,
    )
    return whole


def _family(
    name: str,
    source: BinarySource,
    recipe: BinaryRecipe,
    corrupted: _Corrupted,
    summary: str,
    seconds: float,
) -> list[Declared]:
    """The protocol, and the same that chooses its weights by a validation set."""
    selected = f"{summary}; the weights with the best clean AUC on a fifth of the training images"
    made: Callable[..., Protocol] = _build
    about = (source, recipe, corrupted)
    joined = f"{name}{',' if ':' in name else ':'}val-selection"
    return [
        Declared(name, source.name, partial(made, name, *about, summary, seconds, False)),
        Declared(joined, source.name, partial(made, joined, *about, selected, seconds, True)),
    ]
