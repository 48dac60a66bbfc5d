"""Post-hoc logit adjustment: cross entropy in training, the prior taken out of the stored logits."""

CARD = {
    "title": "Post-hoc logit adjustment",
    "paper": "Long-Tail Learning via Logit Adjustment",
    "venue": "ICLR 2021",
    "arxiv": "2007.07314",
    "cite": "menon2021longtail",
    "tasks": ["longtail-cls"],
    "names": {"la-posthoc": {"summary": "CE; scores are logits - tau log(training share)"}},
    "params": {
        "tau": {"default": 1.0, "low": 0.0, "help": "strength of the adjustment; 0 is none"}
    },
    "needs": {"passes": 1},
}

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from baselines.parts.losses import set_loss

Array = np.ndarray[Any, np.dtype[Any]]


def configure(cfg: Any, facts: Any, *, tau: float) -> Any:
    """Train with cross entropy; `tau` belongs to `infer`."""
    return set_loss(cfg, {"type": "CrossEntropy"})


def infer(arrays: Mapping[str, Array], class_counts: Sequence[int], *, tau: float) -> Array:
    """z_c - tau log pi_c, equation (9) of the paper, from `logits` (N, C).

    A class absent from training counts as one sample.
    """
    counts = np.maximum(np.asarray(class_counts, dtype=np.float64), 1.0)
    adjusted: Array = arrays["logits"] - tau * np.log(counts / counts.sum())
    return adjusted
