"""Streaming multi-class pixel AUC in fixed memory, with an a-posteriori error bound.

Scores are counted per (channel, class) in bins (`score_bins`), chosen for each channel from the first
pixels seen to make the bound small. Sketches that were adapted to different data can be merged.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tasks.longtail_seg.score_bins import (
    CELL_SHIFT,
    CELLS,
    Partition,
    bin_count,
    is_dyadic,
    keys_of,
    plan,
)

if TYPE_CHECKING:
    import torch

    Array = torch.Tensor | np.ndarray

_PLAN_PIXELS_PER_CLASS = 1024
_CHUNK_PIXELS = 1 << 17
_SCHEMA = 1


class PixelAUCResult(NamedTuple):
    """value and error_bound in [0, 1], nan when fewer than two classes have pixels.

    The AUC of the scores as given lies within value +- error_bound. per_pair (C, C): row i, column
    j is P(f_i(p) > f_i(q)) + P(equal)/2 for p of class i and q of class j; nan on the diagonal and
    for absent classes.
    """

    value: float
    error_bound: float
    per_pair: np.ndarray


class PixelAUC:
    """Multi-class (one-vs-one) AUC of per-pixel class probabilities.

    Mean over ordered pairs i != j of classes with pixels of P(f_i(p in i) > f_i(q in j)), ties 1/2.
    Sketches of parts of a data set may be merged in any order; results differ within the bound.

    Memory: at most 8 C^2 bins bytes for counts and `buffer_bytes` until the bins are chosen.

    Args:
        num_classes: C >= 2.
        bins: bins per channel, 16..32768; None takes 4096 up to 32 classes and 1024 above.
        buffer_bytes: scores kept to choose the bins from; the bound suffers where later pixels
            are unlike these.
    """

    def __init__(
        self, num_classes: int, bins: int | None = None, buffer_bytes: int = 1 << 25
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"PixelAUC: num_classes must be at least 2, not {num_classes}")
        if bins is None:
            bins = 4096 if num_classes <= 32 else 1024
        if not 16 <= bins <= 1 << 15:
            raise ValueError(f"PixelAUC: bins must lie in 16..32768, not {bins}")
        self.num_classes = num_classes
        self.bins = bins
        self._buffer_pixels = max(1, buffer_bytes // (4 * num_classes + 8))
        self._buffer: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._partitions: list[Partition] = []
        self._counts = np.zeros((num_classes, num_classes, 0), np.int64)

    def update(self, probabilities: "Array", labels: "Array", ignore_index: int = 255) -> None:
        """Count pixels.

        Args:
            probabilities: (C, H, W) or (C, P) float32 in [0, 1]; 1e-5 outside is rounding and
                clipped.
            labels: (H, W) or (P,) integers in [0, C) or `ignore_index`.

        Raises:
            ValueError: shapes, scores (nan included) or labels do not fit; nothing is counted.
        """
        import torch

        scores = torch.as_tensor(probabilities).detach().to("cpu", torch.float32)
        label = torch.as_tensor(labels).to("cpu", torch.int64).reshape(-1)
        if scores.ndim < 2 or scores.shape[0] != self.num_classes:
            raise ValueError(
                f"PixelAUC: probabilities {tuple(scores.shape)}, expected ({self.num_classes}, ...)"
            )
        scores = scores.reshape(self.num_classes, -1)
        if scores.shape[1] != label.numel():
            raise ValueError(f"PixelAUC: {scores.shape[1]} pixels but {label.numel()} labels")
        valid = label != ignore_index
        if not bool(valid.all()):
            scores, label = scores[:, valid], label[valid]
        if not label.numel():
            return
        if not 0 <= int(label.min()) <= int(label.max()) < self.num_classes:
            raise ValueError(
                f"PixelAUC: labels must lie in [0, {self.num_classes}) or be {ignore_index}"
            )
        low, high = (float(extreme) for extreme in torch.aminmax(scores))
        if not (-1e-5 <= low <= high <= 1 + 1e-5):
            raise ValueError(f"PixelAUC: probabilities must lie in [0, 1], found {low}..{high}")
        if low < 0 or high > 1:
            scores = scores.clamp(0, 1)
        if self._partitions:
            self._count(scores, label)
            return
        self._buffer.append((scores.clone(), label))
        if sum(kept.numel() for _, kept in self._buffer) >= self._buffer_pixels:
            self._settle()

    @property
    def counts_bytes(self) -> int:
        """Memory of the counts; 0 while the bins are open."""
        return self._counts.nbytes

    @property
    def settled(self) -> bool:
        """Whether the bins are chosen: the order of what comes makes no difference then."""
        return bool(self._partitions)

    def clear(self) -> None:
        """Forget what was counted; the bins stay."""
        self._buffer = []
        self._counts = np.zeros_like(self._counts)

    def merge(self, other: "PixelAUC") -> None:
        """Add another sketch's pixels; `other` is left as it is.

        Raises:
            ValueError: another number of classes.
        """
        if other.num_classes != self.num_classes:
            raise ValueError(f"PixelAUC: {other.num_classes} classes into {self.num_classes}")
        if not other._partitions:
            for scores, label in list(other._buffer):
                self.update(scores, label, ignore_index=-1)
            return
        if not self._partitions:
            self._partitions, self._counts = other._partitions, other._counts.copy()
            self._drain()
            return
        merged = [
            Partition(np.maximum(mine.shift, theirs.shift))
            for mine, theirs in zip(self._partitions, other._partitions, strict=True)
        ]
        self._counts = self._coarsened(merged) + other._coarsened(merged)
        self._partitions = merged

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for an npz file; compresses well."""
        settled = self._settled()
        used = [counts[:, : part.bins] for counts, part in settled._by_channel()]
        counts = np.concatenate(used, axis=1)
        return {
            "schema": np.array(_SCHEMA, np.int64),
            "bins": np.array(self.bins, np.int64),
            "shift": np.stack([part.shift for part in settled._partitions]),
            "counts": counts.astype(np.min_scalar_type(int(counts.max(initial=0)))),
        }

    @classmethod
    def from_state(cls, arrays: Mapping[str, Any]) -> "PixelAUC":
        """Sketch from `state()`.

        Raises:
            ValueError: the arrays are not such a state.
        """
        expected = {"schema", "bins", "shift", "counts"}
        if set(arrays) != expected:
            raise ValueError(f"PixelAUC state: keys {sorted(arrays)}, expected {sorted(expected)}")
        values = {name: np.asarray(arrays[name]) for name in sorted(expected)}
        for name, value in values.items():
            if value.dtype.kind not in "iu":
                raise ValueError(f"PixelAUC state: {name} holds {value.dtype}, not integers")
            if value.ndim != (2 if name in ("shift", "counts") else 0):
                raise ValueError(f"PixelAUC state: {name} has shape {value.shape}")
        if int(values["schema"]) != _SCHEMA:
            raise ValueError(f"PixelAUC state: schema {values['schema']}, expected {_SCHEMA}")
        shift, counts = values["shift"], values["counts"]
        classes = len(shift)
        sketch = cls(classes, int(values["bins"]))
        if shift.shape[1] != CELLS or shift.min() < 0 or not all(map(is_dyadic, shift)):
            raise ValueError("PixelAUC state: shift is not a dyadic partition of the scores")
        sizes = [bin_count(row) for row in shift]
        if max(sizes) > sketch.bins + 1 or counts.shape != (classes, sum(sizes)):
            raise ValueError(f"PixelAUC state: counts {counts.shape} do not fit the partition")
        if counts.min() < 0 or counts.sum(dtype=np.float64) > 2.0**53:
            raise ValueError("PixelAUC state: counts out of range")
        sketch._partitions = [Partition(row.astype(np.uint8)) for row in shift]
        parts = np.split(counts.astype(np.int64), np.cumsum(sizes)[:-1], axis=1)
        totals = np.stack([part.sum(1) for part in parts])
        if (totals != totals[0]).any():
            raise ValueError("PixelAUC state: channels disagree on the pixels per class")
        sketch._counts = np.zeros((classes, classes, max(sizes)), np.int64)
        for channel, part in enumerate(parts):
            sketch._counts[channel, :, : part.shape[1]] = part
        return sketch

    def compute(self) -> PixelAUCResult:
        """AUC of all pixels counted so far; counting may go on."""
        settled = self._settled()
        classes = self.num_classes
        pixels = settled._counts[0].sum(1)
        present = np.flatnonzero(pixels)
        auc = np.full((classes, classes), np.nan)
        bound = np.full((classes, classes), np.nan)
        for i in present:
            part = settled._partitions[i]
            share = settled._counts[i][present, : part.bins] / pixels[present, None]
            own = share[np.searchsorted(present, i)]
            auc[i, present] = (np.cumsum(share, axis=1) - share / 2) @ own
            bound[i, present] = share[:, ~part.exact] @ own[~part.exact] / 2
        np.fill_diagonal(auc, np.nan)
        np.fill_diagonal(bound, np.nan)
        if len(present) < 2:
            return PixelAUCResult(float("nan"), float("nan"), auc)
        return PixelAUCResult(float(np.nanmean(auc)), float(np.nanmean(bound)), auc)

    def _by_channel(self) -> list[tuple[np.ndarray, Partition]]:
        return list(zip(self._counts, self._partitions, strict=True))

    def _settled(self) -> "PixelAUC":
        """Self, or while the bins are open a settled copy: asking must not end the buffering."""
        if self._partitions:
            return self
        copy = PixelAUC(self.num_classes, self.bins)
        copy._buffer = list(self._buffer)
        copy._settle()
        return copy

    def _settle(self) -> None:
        """Choose the bins from the buffered pixels, class-balanced, and count these."""
        import torch

        classes = self.num_classes
        if self._buffer:
            scores = torch.cat([kept for kept, _ in self._buffer], dim=1)
            label = torch.cat([kept for _, kept in self._buffer])
            self._buffer = [(scores, label)]
        else:
            scores, label = torch.zeros(classes, 0), torch.zeros(0, dtype=torch.int64)
        order = torch.argsort(label, stable=True)
        counts = torch.bincount(label, minlength=classes).tolist()
        # Evenly spaced over the stream: neighbouring pixels resemble each other.
        picks = [
            members[:: max(1, len(members) // _PLAN_PIXELS_PER_CLASS)]
            for members in torch.split(order, counts)
        ]
        sample = torch.cat(picks)
        sample_label = label[sample].numpy()
        weight = 1.0 / np.maximum(np.bincount(sample_label, minlength=classes), 1)[sample_label]
        for channel in range(classes):
            chosen = scores[channel, sample]
            keys = keys_of(chosen).numpy().astype(np.int64) & 0xFFFFFFFF
            own = np.where(sample_label == channel, weight, 0.0)
            other = weight - own
            own, other = (mass / max(mass.sum(), 1e-30) for mass in (own, other))
            # Blended: a class's few first pixels say little about where its others will lie.
            mine, theirs = 0.8 * own + 0.2 * other, 0.2 * own + 0.8 * other
            nonzero = (chosen > 0).numpy()
            shift = plan(keys[nonzero], mine[nonzero], theirs[nonzero], self.bins)
            self._partitions.append(Partition(shift))
        widest = max(part.bins for part in self._partitions)
        self._counts = np.zeros((classes, classes, widest), np.int64)
        self._drain()

    def _drain(self) -> None:
        for scores, label in self._buffer:
            self._count(scores, label)
        self._buffer = []

    def _count(self, scores: "torch.Tensor", label: "torch.Tensor") -> None:
        """Add valid pixels: scores (C, P) in [0, 1], label (P,)."""
        import torch

        classes, stride = self.num_classes, self._counts.shape[2]
        for start in range(0, label.numel(), _CHUNK_PIXELS):
            chunk = scores[:, start : start + _CHUNK_PIXELS]
            rows = (label[start : start + _CHUNK_PIXELS] * stride).to(torch.int32)
            for channel, part in enumerate(self._partitions):
                score = chunk[channel]
                keys = keys_of(score)
                cell = (keys >> CELL_SHIFT).bitwise_and_(CELLS - 1)
                entry = torch.from_numpy(part.lookup).index_select(0, cell)
                torch.bitwise_and(entry, 31, out=cell)
                bins = keys.bitwise_and_((1 << CELL_SHIFT) - 1).bitwise_right_shift_(cell)
                bins.add_(entry.bitwise_right_shift_(5))
                if float(score.min()) == 0:
                    bins.masked_fill_(score == 0, 0)
                added = torch.bincount(bins.add_(rows), minlength=classes * stride)
                self._counts[channel] += added.numpy().reshape(classes, stride)

    def _coarsened(self, partitions: list[Partition]) -> np.ndarray:
        """Counts (C, C, bins) under partitions that are coarser than the own ones."""
        widest = max(part.bins for part in partitions)
        result = np.zeros((self.num_classes, self.num_classes, widest), np.int64)
        for channel, (target, (counts, mine)) in enumerate(
            zip(partitions, self._by_channel(), strict=True)
        ):
            into = np.concatenate([[0], target.locate(mine.starts)])
            first = np.flatnonzero(np.r_[True, into[1:] != into[:-1]])
            result[channel, :, into[first]] = np.add.reduceat(
                counts[:, : mine.bins], first, axis=1
            ).T
        return result
