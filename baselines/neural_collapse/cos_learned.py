"""Learned rows of unit length on normalised projections: whether training finds the frame by itself."""

CARD = {
    "title": "Learned classifier on the sphere",
    "notes": "Features and rows of unit length, as Yaras et al. study them; of fewer dimensions than classes, as Jiang et "
    "al., ICML 2024 (arXiv 2310.05351), whose temperature of 7 we take for the factor of the cosines. Rows are "
    "normalised in the logits, so that weight decay changes how fast they turn and nothing else.",
    "tasks": ["neural-collapse"],
    "names": {
        "cos-learned": {"summary": "learned unit rows, projection to unit length, z = s cos, CE"}
    },
    "params": {
        "d": {"default": 16, "low": 2, "high": 4096, "help": "dimensions of the projection"},
        "scale": "etf-cos",
    },
    "protocol_defaults": {
        "*:cifar100": {"d": 128},
        "gnc:cifar100,d10": {"d": 10, "scale": 7.0},
    },
    "needs": {"passes": 1},
}

from typing import Any

from baselines.parts.frame_heads import ProjectedCosineHead, set_head


def configure(cfg: Any, facts: Any, *, d: int, scale: float) -> Any:
    """Projection and cosine classifier in place of the linear one."""
    return set_head(cfg, ProjectedCosineHead, {"type": "CrossEntropy"}, scale=scale, dims=d)
