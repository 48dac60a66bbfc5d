"""A fixed simplex ETF on the features as they are."""

CARD = {
    "title": "Fixed simplex ETF classifier",
    "notes": "As Zhu et al. 2021: canonical, the frame lies in the first K coordinates, and the classifier gives the other "
    "features no gradient; their code scales the rows to mean square norm 1, here all have norm 1. Permutations of "
    "an exact ETF are rotations of its span. With |h| free the infimum of CE lies at infinity; weight "
    "decay of the backbone bounds it.",
    "tasks": ["neural-collapse", "longtail-cls"],
    "names": {"etf": {"summary": "frozen ETF on raw features, z = s M h, CE"}},
    "params": {
        "scale": {"default": 1.0, "low": 0.001, "high": 1000.0, "help": "factor s of the logits"},
        "permutation": {
            "default": None,
            "low": 0,
            "high": 999,
            "whole": True,
            "help": "which label has which vertex: the number, 0 to 999, of a random permutation; None is the order of "
            "the labels",
        },
        "rotation": {
            "default": None,
            "low": 0,
            "high": 999,
            "whole": True,
            "help": "the number, 0 to 999, of a Haar rotation of the space that the features lie in; None is none",
        },
    },
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.frame_heads import set_frame


def configure(
    cfg: Any, facts: Any, *, scale: float, permutation: int | None, rotation: int | None
) -> Any:
    """The frame in place of the classifier. Raises UserError where the features have too few dimensions."""
    frame = {"kind": "etf", "permutation": permutation, "rotation": rotation}
    return set_frame(cfg, {"type": "CrossEntropy"}, frame, scale=scale)
