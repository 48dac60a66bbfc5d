"""A fixed simplex ETF on normalised projections of the features."""

CARD = {
    "title": "Fixed simplex ETF classifier on the sphere",
    "notes": "Features after a ReLU lie in the positive orthant, where no simplex fits at unit length: hence the "
    "projection. It absorbs every rotation exactly, and every permutation of an exact ETF is one: arms differ in "
    "their initial weights alone (negative controls).",
    "tasks": ["neural-collapse", "longtail-cls"],
    "names": {
        "etf-cos": {"summary": "frozen ETF, learned projection to unit length, z = s M h, CE"}
    },
    "params": {
        "d": {
            "default": 16,
            "low": 1,
            "high": 4096,
            "help": "dimensions of the projection, K - 1 at least",
        },
        "scale": {"default": 10.0, "low": 0.001, "high": 1000.0, "help": "factor s of the cosines"},
        "permutation": "etf",
        "rotation": "etf",
    },
    "protocol_defaults": {"*:cifar100": {"d": 128}},
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.frame_heads import set_frame


def configure(
    cfg: Any, facts: Any, *, d: int, scale: float, permutation: int | None, rotation: int | None
) -> Any:
    """Projection and frame in place of the classifier. Raises UserError where d is too small."""
    frame = {"kind": "etf", "permutation": permutation, "rotation": rotation}
    return set_frame(cfg, {"type": "CrossEntropy"}, frame, scale=scale, dims=d, unit=True)
