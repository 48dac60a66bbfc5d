"""Training beyond the point where all training images are right: the recipes of small images with other schedules, and
the geometry of the last layer tracked on the way."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.vision.data.sources import Source
from tasks.vision.recipes.base import Config, cosine, steps, warm_up
from tasks.vision.recipes.small_images import SmallRecipe, small_images

HOOK = "tasks.vision.geometry.hook"
"""The module of the hooks that look at the last layer."""


@dataclass(frozen=True, kw_only=True)
class CollapseRecipe(SmallRecipe):
    """A `SmallRecipe` of another schedule; no augmentation but what it names, since collapse is of the images themselves.

    After the warm-up the rate falls along a cosine to 0 (`cosine`), or is multiplied by `decay` at each of `milestones`;
    with neither it stays.

    Attributes:
        warm: share of the training in which the rate grows linearly.
        milestones: shares of the training.
        points: how often the geometry is tracked, the last time at the end.
        tracked_test: of the test images, so many evenly spaced ones are tracked; None for all.
    """

    crop: int = 0
    flip: bool = False
    decay: float = 0.1
    warm: float = 0.0
    milestones: tuple[float, ...] = ()
    points: int = 24
    tracked_test: int | None = None

    def __post_init__(self) -> None:
        if self.cosine and self.milestones:
            raise ValueError("a cosine has no milestones: leave one of the two out")


def collapse_images(recipe: CollapseRecipe, source: Source, root: str) -> Config:
    """Config of a classifier of small images whose last layer is tracked; its loss is plain cross entropy."""
    config = small_images(recipe, source, root)
    iterations = config["train_cfg"]["max_iters"]
    warm = round(recipe.warm * iterations)
    schedule: list[Config] = [warm_up(warm, 1 / warm)] if warm else []
    if recipe.cosine:
        schedule.append(cosine(warm, iterations))
    elif recipe.milestones:
        places = [round(share * iterations) for share in recipe.milestones]
        schedule.append(steps(places, recipe.decay))
    config["param_scheduler"] = schedule
    hook: Config = {"type": "TrackHook", "points": recipe.points}
    if recipe.tracked_test is not None:
        hook["images"] = {"test": recipe.tracked_test}
    config["custom_hooks"] = [*config.get("custom_hooks", []), hook]
    config["custom_imports"]["imports"].append(HOOK)
    return config
