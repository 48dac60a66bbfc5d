"""Protocols of `neural-collapse`: balanced training sets, fixed budgets that go on after the training set is fitted.

"Until it collapses" is no budget: a run that never has all training images right has no terminal phase, and its rows
say so. Nothing heavy is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from suite.define.protocol import Protocol
from suite.define.protocols import Declared, Protocols
from tasks.neural_collapse.recipes import CollapseRecipe, collapse_images
from tasks.vision.data.sources import Source
from tasks.vision.geometry.stored import SETS, TEST, TRAIN
from tasks.vision.groups import BALANCED
from tasks.vision.image_sets import image_set
from tasks.vision.protocols import image_protocol
from tasks.vision.recipes.base import Config

_GEOMETRY = "class means and scatter of the last features, classifier, margins"
_PROMISED = {
    TRAIN: f"training images without augmentation; {_GEOMETRY}",
    TEST: f"test images; {_GEOMETRY}",
}


def _with_geometry(config: Config, groups: Mapping[str, tuple[int, ...]]) -> Config:
    """`config` with the hooks that make the sets of the geometry; they change no training, so are not hashed."""
    hooks = {name: {"type": "CollapseHook", "split": split} for name, split in SETS.items()}
    return {**config, "prediction_hooks": hooks}


def _build(
    name: str, recipe: CollapseRecipe, source: Source, summary: str, seconds: float
) -> Protocol:
    return image_protocol(
        name,
        image_set(source),
        source,
        recipe,
        images=collapse_images,
        further=_with_geometry,
        promised=_PROMISED,
        summary=summary,
        seconds=seconds,
    )


def _one(
    name: str, recipe: CollapseRecipe, source: Source, summary: str, seconds: float
) -> Declared:
    """`_build` with these arguments, when it is asked for."""
    make = partial(_build, name, recipe, source, summary, seconds)
    return Declared(name, image_set(source).name, make)


def _with_constant(
    name: str, recipe: CollapseRecipe, source: Source, summary: str, seconds: float
) -> list[Declared]:
    """The protocol, and the same whose learning rate stays, at `_CONSTANT` of the first: accuracy that rises in the
    terminal phase may be the schedule's, whose rate falls just then."""
    constant = replace(recipe, cosine=False, lr=_CONSTANT * recipe.lr)
    joined = f"{name}{',' if ':' in name else ':'}constant-lr"
    text = f"{summary}; the learning rate stays, at {_CONSTANT:g} of the other's first"
    return [
        _one(name, recipe, source, summary, seconds),
        _one(joined, constant, source, text, seconds),
    ]


def _balanced(name: str, n_max: int | None = None) -> Source:
    return Source(name, BALANCED, 1, "first", n_max)


_CONSTANT = 0.2
"""At a half, the cosine's mean, weight decay behind batch normalisation drives trainings out of the fit now and then (quick:
accuracy .72 between two points of 1.00), so that no terminal phase is there to look at."""
_HOUR = 3600.0
_QUICK = CollapseRecipe(
    depth=8, width=8, epochs=120, batch=50, lr=0.1, weight_decay=5e-3, cosine=True, warm=0.02
)
# channels last: a sixth faster on a CPU
_CPU = CollapseRecipe(
    depth=8,
    width=16,
    epochs=50,
    lr=0.1,
    weight_decay=2e-3,
    cosine=True,
    channels_last=True,
    points=20,
    tracked_test=2000,
)
# Zhu et al. 2021, as released: in their scripts; the code's own default rate is .1
_R18_200 = CollapseRecipe(
    network="WideStemResNet",
    depth=18,
    width=64,
    epochs=200,
    lr=0.05,
    weight_decay=5e-4,
    milestones=(0.2, 0.4, 0.6, 0.8),
)
# Papyan et al. 2020
_R18_350 = replace(_R18_200, epochs=350, milestones=(1 / 3, 2 / 3))
# Jiang et al. 2024, as released; of its schedule we know nothing
_GNC = replace(
    _R18_200, batch=250, lr=0.1, milestones=(), cosine=True, crop=4, flip=True, points=20
)
_IMAGES = {"cifar10": 1.0, "cifar100": 1.0, "fashion-mnist": 0.9}

PROTOCOLS = Protocols(
    *_with_constant(
        "quick",
        _QUICK,
        _balanced("digits"),
        "embedded digits, 30 of a class, a small network, seconds a run",
        8.0,
    ),
    _one(
        "smoke",
        replace(_QUICK, width=4, epochs=2, limit=10, points=4),
        _balanced("digits"),
        "quick in a second, for tests: its numbers mean nothing",
        1.0,
    ),
    *_with_constant(
        "cpu-cifar",
        replace(_CPU, pool=2),
        _balanced("cifar10", 500),
        "CIFAR-10, 500 of a class at 16x16, ResNet-8, 50 epochs: real images on a CPU",
        100.0,
    ),
    *_with_constant(
        "fashion",
        _CPU,
        _balanced("fashion-mnist", 600),
        "Fashion-MNIST, 600 of a class at 28x28, ResNet-8, 50 epochs: real images on a CPU",
        400.0,
    ),
    _one(
        "fashion:full",
        _CPU,
        _balanced("fashion-mnist"),
        "Fashion-MNIST, all training images at 28x28, ResNet-8, 50 epochs",
        4000.0,
    ),
    *(
        _one(
            f"r18-200:{name}",
            _R18_200,
            _balanced(name),
            f"Zhu et al. 2021: {name}, complete, ResNet-18 with a 3x3 stem, 200 epochs, no augmentation",
            24 * share * _HOUR,
        )
        for name, share in _IMAGES.items()
    ),
    *(
        _one(
            f"r18-350:{name}",
            _R18_350,
            _balanced(name),
            f"Papyan et al. 2020: {name}, complete, ResNet-18 with a 3x3 stem, 350 epochs, no augmentation",
            42 * share * _HOUR,
        )
        for name, share in _IMAGES.items()
    ),
    _one(
        "gnc:cifar100,d10",
        _GNC,
        _balanced("cifar100"),
        "Jiang et al. 2024: CIFAR-100, 10 dimensions for 100 classes, ResNet-18, 200 epochs, crop and flip",
        24 * _HOUR,
    ),
)
