"""Fixed spherical codes: frames of fewer dimensions than a simplex has, rows as far from each other as they can be."""

CARD = {
    "title": "Fixed spherical code classifier",
    "notes": "The signed optimum: the largest cosine is the smallest possible, and not the largest |cosine| (lines), "
    "which separates no classes. Neighbours change with the permutation. The frame is a tracked file.",
    "tasks": ["neural-collapse"],
    "names": {
        "code-2": {
            "summary": "frozen code on the circle, projection, CE",
            "params": {"d": 2, "scale": 30.0},
        },
        "code-3": {"summary": "frozen code on the sphere, projection, CE", "params": {"d": 3}},
        "code-5": {"summary": "frozen code in five dimensions, projection, CE", "params": {"d": 5}},
    },
    "params": {
        "d": {"default": 3, "choices": [2, 3, 5], "help": "dimensions of the projection"},
        "scale": "etf-cos",
        "permutation": "etf",
        "rotation": {
            "default": None,
            "neutral": None,
            "low": 0,
            "high": 999,
            "whole": True,
            "help": "the number, 0 to 999, of a Haar rotation of the frame; the projection absorbs it (a negative control)",
        },
    },
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.frame_heads import set_frame


def configure(
    cfg: Any,
    facts: Any,
    *,
    d: int,
    scale: float,
    permutation: int | None,
    rotation: int | None,
) -> Any:
    """Projection and frame in place of the classifier. Raises UserError where no code is kept for so many classes."""
    frame = {"kind": "code", "permutation": permutation, "rotation": rotation}
    return set_frame(cfg, {"type": "CrossEntropy"}, frame, scale=scale, dims=d, unit=True)
