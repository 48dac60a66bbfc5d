"""Protocols of `robust-auc`. Nothing heavy is imported."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from suite.define.protocol import DataSet, Facts, Protocol
from suite.define.protocols import Declared, Protocols
from tasks.robust_auc.data import elpv, official, tiny_imagenet
from tasks.robust_auc.data.constants import SEVERITIES, set_name
from tasks.robust_auc.data.sources import CLASSES, BinarySource, dataset, load
from tasks.robust_auc.recipes import BinaryRecipe, binary_images, generated, select_on_validation
from tasks.robust_auc.stored import STORED
from tasks.vision.carved import carve, carved_config
from tasks.vision.data.carving import CARVING
from tasks.vision.protocols import BY_CLASS, trained
from tasks.vision.recipes.base import Config

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


def _name(source: BinarySource, corrupted: _Corrupted) -> str:
    """Of the data set that users bring."""
    return f"{source.name}+{corrupted.release}" if corrupted.release else source.name


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
        name=_name(source, corrupted),
        summary=f"{clean.summary}; {release.title} tests",
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
    about, data = (source, recipe, corrupted), _name(source, corrupted)
    joined = f"{name}{',' if ':' in name else ':'}val-selection"
    return [
        Declared(name, data, partial(made, name, *about, summary, seconds, False)),
        Declared(joined, data, partial(made, joined, *about, selected, seconds, True)),
    ]


def _percent(prior: float) -> str:
    return f"p{round(100 * prior)}"


def _upper(classes: int) -> tuple[int, ...]:
    """The upper half of the labels."""
    return tuple(range(classes // 2, classes))


def _paper(data: str, recipe: BinaryRecipe, corrupted: _Corrupted, **source: Any) -> list[Declared]:
    """The paper's protocols on one data set: the upper half of the labels positive, at four shares, 100 epochs."""
    made = []
    for prior in _PRIORS:
        taken = BinarySource(data, prior=prior, **source)
        name = f"{data}:r{recipe.depth},{_percent(prior)}"
        summary = f"{data}, positives {prior:.0%}, ResNet-{recipe.depth}, {_EPOCHS} epochs"
        long = replace(recipe, iterations=_EPOCHS * math.ceil(sum(taken.counts) / recipe.batch))
        made += _family(name, taken, long, corrupted, summary, 10 * _HOUR)
    return made


_HOUR = 3600.0
_EPOCHS = 100
_PRIORS = (0.1, 0.01, 0.05, 0.2)
_DIGITS = BinarySource("digits", positives=_upper(10), prior=0.1)
# small networks in few iterations; with He's larger initial weights 250 of them are too few for a minimax objective
_SMALL = BinaryRecipe(depth=8, width=8, initial="torch", iterations=250, batch=64)
# the released defaults; `iterations` follow from the images
_R20 = BinaryRecipe(
    depth=20, width=16, iterations=1, batch=128, crop=4, flip=True, steps=(0.5, 0.75)
)
_CIFAR_PACK = BinarySource(
    "cifar10", positives=(0, 1, 8, 9), prior=0.1, negatives=800, test=200, left_out=(7,)
)

PROTOCOLS = Protocols(
    *_family(
        "quick",
        _DIGITS,
        _SMALL,
        _Corrupted(names=DIGITS, table="8x8"),
        "embedded digits, 5-9 against 0-4, a small network, seconds a run",
        10.0,
    ),
    *_family(
        "smoke",
        _DIGITS,
        replace(_SMALL, width=4, iterations=20, limit=50),
        _Corrupted(names=("gaussian_noise", "contrast"), severities=(1, 5), table="8x8"),
        "quick in a second, for tests: its numbers mean nothing",
        1.0,
    ),
    *_family(
        "cifar10-pack:p10",
        _CIFAR_PACK,
        replace(_SMALL, iterations=1200, pool=2, crop=2, flip=True),
        _Corrupted(names=_PACK, table="32x32"),
        "CIFAR-10 at 16x16, vehicles against animals: real images on a CPU",
        60.0,
    ),
    *_family(
        "mnist:14x14,p10",
        BinarySource("mnist", positives=_upper(10), prior=0.1, negatives=200, test=100),
        replace(_SMALL, iterations=400, pool=2),
        _Corrupted(names=DIGITS, table="14x14"),
        "MNIST at 14x14, 5-9 against 0-4, on a CPU",
        20.0,
    ),
    *_paper("cifar10", _R20, _official("cifar10-c"), positives=_upper(10), negatives=4000),
    *_paper("cifar100", _R20, _official("cifar100-c"), positives=_upper(100), negatives=400),
    *_paper("mnist", replace(_R20, crop=0, flip=False), _official("mnist-c"), positives=_upper(10)),
    *(
        declared
        for kind, positives in tiny_imagenet.POSITIVES.items()
        for declared in _family(
            f"tiny-imagenet-h:{kind}",
            BinarySource(
                tiny_imagenet.NAME,
                positives=positives,
                prior=tiny_imagenet.PRIORS[kind],
                negatives=400,
            ),
            replace(_R20, depth=32, iterations=_EPOCHS * 625),
            _official("tiny-imagenet-c"),
            f"Tiny-ImageNet-H, {kind} against all other classes, ResNet-32, {_EPOCHS} epochs",
            40 * _HOUR,
        )
    ),
    *_family(
        elpv.NAME,
        BinarySource(elpv.NAME, positives=elpv.POSITIVES, prior=None),
        replace(_R20, iterations=1600),
        _Corrupted(names=_PACK, table="64x64"),
        "solar cells at 60x60, defective ones rare by nature, ResNet-20",
        0.5 * _HOUR,
    ),
)
