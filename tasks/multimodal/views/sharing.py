"""Which modalities are right about which test samples, of the stored scores of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.base.errors import RecordError
from suite.boards.confusions import MAX_PREDICTIONS
from suite.define.catalog import Catalog
from suite.define.protocol import Protocol
from suite.records.attempt import Attempt
from suite.records.fingerprint import stored_fingerprint
from suite.runs.evaluate import stored_predictions
from tasks.multimodal.stored import Stored, checked

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

BOTH, ONLY_A, ONLY_B, NONE = range(4)
"""Patterns of two modalities on a sample."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a run says of N test samples.

    Attributes:
        label: (N,) int64.
        names: of the M modalities with logits of their own, () where the fusion has none.
        called: (N, M) int64, the class with the largest own logit, and `sure` (N, M) its softmax.
        fused, fused_sure: (N,), the same of the fused logits.
    """

    label: Array
    names: tuple[str, ...]
    called: Array
    sure: Array
    fused: Array
    fused_sure: Array

    @property
    def right(self) -> Array:
        """(N, M) bool."""
        made: Array = self.called == self.label[:, None]
        return made


class Shares(NamedTuple):
    """How many of `total` samples have each pattern, and of how many of those the fused logits are right."""

    total: int
    patterns: tuple[int, int, int, int]
    fused: tuple[int, int, int, int]


def read(
    attempt: Attempt, protocol: Protocol, catalog: Catalog, modalities: Sequence[str]
) -> Answers:
    """Of a finished attempt's test set. Raises RecordError, with what to type where predictions are missing."""
    path = attempt.path / "predictions.npz"
    size = sum(size for _, size in (stored_fingerprint(path) or {}).values())
    if size > MAX_PREDICTIONS:
        raise RecordError(f"{path}: unpacks to {size:,} bytes, more than {MAX_PREDICTIONS:,}")
    predictions = stored_predictions(attempt, protocol, catalog)
    return answers(checked(predictions, "test", len(protocol.dataset.classes), modalities))


def answers(stored: Stored) -> Answers:
    """Of the stored set `test`; the only modality's own logits are the fused ones. Raises RecordError where there are none."""
    import numpy as np

    if stored.logits is None:
        raise RecordError("the stored set holds no logits")
    own, used = stored.modality_logits, stored.modalities
    if len(used) == 1:
        own = stored.logits[:, None]
    elif own is None:
        own, used = np.zeros((len(stored.label), 0, stored.logits.shape[1]), np.float32), ()
    called, sure = _called(own)
    fused, fused_sure = _called(stored.logits)
    return Answers(stored.label, used, called, sure, fused, fused_sure)


def patterns(found: Answers, a: str, b: str) -> Array:
    """(N,) int64: `BOTH`, `ONLY_A`, `ONLY_B` or `NONE` of the modalities `a` and `b` right."""
    import numpy as np

    first, second = (found.right[:, found.names.index(name)] for name in (a, b))
    return np.where(first, np.where(second, BOTH, ONLY_A), np.where(second, ONLY_B, NONE))


def shares(found: Answers, pattern: Array, among: Array | None = None) -> Shares:
    """Over the samples where `among` (N,) is true, all by default."""
    import numpy as np

    kept = np.ones(len(pattern), bool) if among is None else among
    right = found.fused == found.label
    return Shares(
        int(kept.sum()),
        _four(np.bincount(pattern[kept], minlength=4)),
        _four(np.bincount(pattern[kept & right], minlength=4)),
    )


def by_class(found: Answers, pattern: Array, classes: int) -> list[Shares]:
    """Of the test samples of each class."""
    return [shares(found, pattern, found.label == c) for c in range(classes)]


def of_pairs(found: Answers) -> dict[tuple[str, str], Shares]:
    """Of every pair of modalities, in their order."""
    names = found.names
    return {
        (a, b): shares(found, patterns(found, a, b))
        for place, a in enumerate(names)
        for b in names[place + 1 :]
    }


def votes(found: Answers) -> list[tuple[int, int]]:
    """(samples that just k modalities are right about, those of them where the fused logits are) for k = 0..M."""
    count = found.right.sum(1)
    right = found.fused == found.label
    return [
        (int((count == k).sum()), int(((count == k) & right).sum()))
        for k in range(len(found.names) + 1)
    ]


def samples(pattern: Array, wanted: int) -> list[int]:
    """Places in the test set of the samples with a pattern, 0 the first."""
    import numpy as np

    found: list[int] = np.flatnonzero(pattern == wanted).tolist()
    return found


def _called(logits: Array) -> tuple[Array, Array]:
    """(..., C) -> the class with the largest logit, and its softmax, both (...,)."""
    import numpy as np

    values = logits.astype(np.float64)
    called: Array = values.argmax(-1)
    with np.errstate(invalid="ignore", over="ignore"):
        powers = np.exp(values - values.max(-1, keepdims=True, initial=-np.inf))
        sure: Array = 1 / powers.sum(-1)
    return called, sure


def _four(counts: Array) -> tuple[int, int, int, int]:
    both, a, b, none = (int(n) for n in counts[:4])
    return both, a, b, none
