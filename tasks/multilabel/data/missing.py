"""Training sets in which some labels are missing: which positives are kept, by a rule that needs no file.

The draw is by SHA-256 of seed, sample and label, the same everywhere and for ever. Test labels stay complete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.base.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SEED = 1200
"""Of the draw: that of the single-positive literature's code, whose generator is another."""
_RULE = 1
"""Raised when other positives are kept by the same name and seed."""
_DROPPED = 0.6
MISSING: Mapping[str, str] = {
    "single-positive": "one positive label of each training sample is kept, all others count as absent",
    "drop60": "each positive label of a training sample is dropped with probability 0.6, and counts as absent",
}
"""Variant of a protocol -> what is missing, one line. Cole et al., "Multi-Label Learning from Single Positive Labels",
CVPR 2021; Zhang et al., "Simple and Robust Loss Design for Multi-Label Learning with Missing Labels", arXiv 2112.07368."""


def token(missing: str) -> str:
    """For `Protocol.split`."""
    return f"{missing}-seed{SEED}-rule{_RULE}"


def kept(labels: Array, missing: str) -> Array:
    """The observed labels, bool (N, L), of the full ones, bool (N, L).

    Of `drop60` a sample may keep none, and a label too. Raises UserError for an unknown rule.
    """
    import numpy as np

    if missing not in MISSING:
        raise UserError(f"no rule for missing labels {missing!r}{did_you_mean(missing, MISSING)}")
    samples, members = np.nonzero(labels)
    draws = np.array(
        [
            int.from_bytes(hashlib.sha256(f"{SEED} {i} {label}".encode()).digest()[:8], "big")
            for i, label in zip(samples.tolist(), members.tolist(), strict=True)
        ],
        np.uint64,
    )
    observed = np.zeros_like(labels)
    if missing == "drop60":
        chosen = draws >= np.uint64(int(_DROPPED * 2**64))
        observed[samples[chosen], members[chosen]] = True
        return observed
    # by sample, then by draw: the first of each sample
    order = np.lexsort((draws, samples))
    first = np.ones(len(order), bool)
    first[1:] = samples[order][1:] != samples[order][:-1]
    observed[samples[order][first], members[order][first]] = True
    return observed
