"""T-Memory Bank of AUCSeg: crops of tail classes, pasted into mini-batches that lack the class.

The bank works on the collated, normalised batch in the main process, so "missing from the
mini-batch" means what the paper's figure says, loader workers do not each keep their own bank, and
the bank is saved with the model.
"""

CARD = {
    "title": "T-Memory Bank",
    "paper": "AUCSeg: AUC-oriented Pixel-level Long-tail Semantic Segmentation",
    "venue": "NeurIPS 2024",
    "arxiv": "2409.20398",
    "cite": "han2024aucseg",
    "tasks": ["longtail-seg"],
    "names": {
        "tmb": {
            "summary": "cross-entropy + T-Memory Bank, no AUC risk",
            "params": {},
        },
    },
    "params": {
        "memory_size": {
            "default": 5,
            "low": 1,
            "help": "S_M: crops kept per tail class",
        },
        "sample_ratio": {
            "default": 1.0,
            "low": 0.0,
            "high": 1.0,
            "help": "R_s: share of the missing tail classes that is pasted, rounded up",
        },
        "resize_ratio": {
            "default": 1.0,
            "low": 0.0,
            "help": "R_R, above 0: factor on both sides of a pasted crop",
        },
        "update": {
            "default": "random",
            "choices": ["random", "fifo", "lifo"],
            "help": "which crop of a full bank a new one replaces: any, the oldest, the newest",
        },
        "scope": {
            "default": "batch",
            "choices": ["batch", "image"],
            "help": "a class is missing from the mini-batch (paper) or the image (released code)",
        },
        "placement": {
            "default": "tight",
            "choices": ["tight", "whole"],
            "neutral": "tight",
            "help": "what is resized and placed at random: the box around the class, or its whole image with "
            "all but the class left out (released code; at a ratio of 1 nothing then moves)",
        },
    },
    "protocol_defaults": {
        "ade20k": {"sample_ratio": 0.05, "resize_ratio": 0.4, "placement": "whole"},
        "cityscapes": {"sample_ratio": 1.0, "resize_ratio": 1.0, "placement": "whole"},
        "coco-stuff164k": {"sample_ratio": 0.05, "resize_ratio": 0.1, "placement": "whole"},
    },
    "notes": "placement is the released code's under the three protocols of the paper; elsewhere, where the "
    "ratio is 1, it would paste every object where it was, so the box around it is placed. Which of the two "
    "the paper's text describes was not verified.",
    "search": {"memory_size": [1, 3, 5, 8, 10, 20]},
    "needs": {"passes": 1},
}

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor

# The bank's entries in a model's state_dict start with this, below `data_preprocessor.`.
STATE_PREFIX = "tmb."


class Crop(NamedTuple):
    """A box around one class in one image.

    image: normalised float pixels (3, h, w), the class's surroundings included.
    mask: bool (h, w), true on the class.
    frame: int64 (4,), (top, left) of the box in its image and (H, W) of that image; None where boxes are
        placed without their image.
    """

    image: Tensor
    mask: Tensor
    frame: Tensor | None = None


def _crop(image: Tensor, mask: Tensor, margin: int | None = None) -> Crop:
    """Copy of the box around a non-empty mask (H, W) of image (3, H, W).

    With a `margin`, the box is so many pixels wider on each side, as far as the image goes, and has a frame.
    """
    places = []
    for line in (mask.any(1), mask.any(0)):
        there = line.nonzero()[:, 0]
        first, last = int(there[0]), int(there[-1]) + 1
        wider = margin or 0
        places.append(slice(max(0, first - wider), min(len(line), last + wider)))
    frame = torch.tensor([*(place.start for place in places), *mask.shape])
    # The batch is pasted into afterwards: a view would let other classes into the stored pixels.
    kept = image[:, *places].clone(), mask[*places].clone()
    return Crop(*kept, None if margin is None else frame)


def _margin(ratio: float) -> int:
    """Pixels around a class that bilinear resizing by `ratio` may read for those that nearest resizing takes.

    Output pixel d takes source pixel floor(d / ratio), but is interpolated around (d + 1/2) / ratio - 1/2.
    """
    return math.ceil(0.5 / ratio) + 2


def _resized(crop: Crop, ratio: float) -> Crop:
    """Crop with both sides scaled by ratio: image bilinear, mask nearest.

    With a frame it is the whole image that is scaled, to sides rounded down (released code): pixels that
    were not stored are zeros, and the mask excludes them.
    """
    if crop.frame is not None:
        top, left, height, width = crop.frame.tolist()
        rows, columns = crop.mask.shape
        around = (left, width - left - columns, top, height - top - rows)
        crop = Crop(F.pad(crop.image, around), F.pad(crop.mask, around))
        size = [max(1, int(side * ratio)) for side in crop.mask.shape]
    else:
        size = [max(1, round(side * ratio)) for side in crop.mask.shape]
    if size == list(crop.mask.shape):
        return crop
    image = F.interpolate(crop.image[None], size=size, mode="bilinear", align_corners=False)[0]
    mask = F.interpolate(crop.mask[None, None].float(), size=size, mode="nearest")[0, 0] > 0.5
    return Crop(image, mask)


@MODELS.register_module()
class TMemoryBankPreProcessor(SegDataPreProcessor):
    """SegDataPreProcessor with the T-Memory Bank of AUCSeg (NeurIPS 2024).

    For each training batch (scope 'batch') or each image in turn (scope 'image'): the crop of every
    tail class present is stored, one per image; of the tail classes that are missing,
    ceil(sample_ratio * missing) are drawn, and one stored crop of each (if there is one) is resized
    and pasted at a uniform offset into a uniformly drawn image: the box around the class (placement
    'tight'), or the whole image that it was stored from (placement 'whole'; as released), which at a
    ratio of 1 leaves the class where it was. Only the class's own pixels are
    written, to image and label alike; padding may be pasted over. A crop larger than the image is
    cut to it, and a thin crop can vanish when shrunk: then nothing is pasted.

    Crops are float32 on the device of the batch: at most memory_size * 13 bytes per pixel of the
    training crop and tail class. Under DDP each rank has its own bank and rank 0's is saved.

    All draws come from an own CPU generator, seeded with `torch.initial_seed()` at construction:
    the global stream is not touched. The state_dict holds, all tensors, `tmb.generator` and per
    stored crop `tmb.<class>.<slot>.image` and `.mask`, with placement 'whole' `.frame` too, oldest slot
    first except under 'random'; weights without these keys load and leave the bank as it is.

    Args:
        tail_classes: class indices as in the label maps that reach the model (after
            reduce_zero_label). Empty: the bank does nothing.
        memory_size: S_M >= 1, crops per class.
        sample_ratio: R_s in [0, 1].
        resize_ratio: R_R > 0.
        update: 'random', 'fifo' or 'lifo': the crop that a new one replaces when a class is full.
        scope: 'batch' (paper) or 'image' (released code).
        placement: 'tight' or 'whole' (released code).
        kwargs: those of SegDataPreProcessor.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(
        self,
        tail_classes: Sequence[int],
        memory_size: int = 5,
        sample_ratio: float = 1.0,
        resize_ratio: float = 1.0,
        update: str = "random",
        scope: str = "batch",
        placement: str = "tight",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        checks = {
            f"tail_classes must be 0..254, not {list(tail_classes)}": all(
                0 <= index < 255 for index in tail_classes
            ),
            f"memory_size must be at least 1, not {memory_size}": memory_size >= 1,
            f"sample_ratio must lie in [0, 1], not {sample_ratio}": 0 <= sample_ratio <= 1,
            f"resize_ratio must be above 0, not {resize_ratio}": 0 < resize_ratio < math.inf,
            f"update must be random, fifo or lifo, not {update!r}": update
            in ("random", "fifo", "lifo"),
            f"scope must be batch or image, not {scope!r}": scope in ("batch", "image"),
            f"placement must be tight or whole, not {placement!r}": placement in ("tight", "whole"),
        }
        for message, holds in checks.items():
            if not holds:
                raise ValueError(f"TMemoryBankPreProcessor: {message}")
        self.tail_classes = tuple(sorted(set(tail_classes)))
        self.memory_size = memory_size
        self.sample_ratio = sample_ratio
        self.resize_ratio = resize_ratio
        self.update = update
        self.scope = scope
        self.margin = _margin(resize_ratio) if placement == "whole" else None
        self.crops: dict[int, list[Crop]] = {}
        self._generator = torch.Generator()
        self._generator.manual_seed(torch.initial_seed())

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Preprocess; in training, then store and paste.

        Args:
            data: mmseg's `inputs` (list of (3, H, W)) and `data_samples` with `gt_sem_seg`.

        Returns:
            `inputs` (B, 3, H, W) and `data_samples`; label maps that change are new tensors.
        """
        batch: dict[str, Any] = super().forward(data, training)
        if not training or not self.tail_classes:
            return batch
        images = batch["inputs"]
        labels = [sample.gt_sem_seg.data[0].clone() for sample in batch["data_samples"]]
        if self.scope == "batch":
            self._visit(images, labels)
        else:
            for index in range(len(labels)):
                self._visit(images[index : index + 1], labels[index : index + 1])
        for sample, label in zip(batch["data_samples"], labels, strict=True):
            sample.gt_sem_seg.data = label[None]
        return batch

    def _visit(self, images: Tensor, labels: list[Tensor]) -> None:
        """Store from, then paste into, images (B, 3, H, W) and labels B x (H, W), in place."""
        missing = set(self.tail_classes)
        for image, label in zip(images, labels, strict=True):
            present = set(torch.bincount(label.flatten()).nonzero()[:, 0].tolist())
            for index in self.tail_classes:
                if index in present:
                    self._store(index, _crop(image, label == index, self.margin))
            missing -= present
        ordered = sorted(missing)
        # 0.1 * 30 is 3.0000000000000004: the tolerance keeps the ceiling at 3.
        wanted = math.ceil(self.sample_ratio * len(ordered) - 1e-9)
        chosen = torch.randperm(len(ordered), generator=self._generator)[:wanted].tolist()
        for index in (ordered[position] for position in chosen):
            stored = self.crops.get(index)
            if stored:
                crop = stored[self._draw(len(stored))]
                target = self._draw(len(labels))
                self._paste(index, crop, images[target], labels[target])

    def _store(self, index: int, crop: Crop) -> None:
        slots = self.crops.setdefault(index, [])
        if len(slots) < self.memory_size:
            slots.append(crop)
        elif self.update == "random":
            slots[self._draw(self.memory_size)] = crop
        else:
            slots.pop(0 if self.update == "fifo" else -1)
            slots.append(crop)

    def _paste(self, index: int, crop: Crop, image: Tensor, label: Tensor) -> None:
        crop = _resized(crop, self.resize_ratio)
        rows, from_rows = self._place(crop.mask.shape[0], label.shape[0])
        columns, from_columns = self._place(crop.mask.shape[1], label.shape[1])
        mask = crop.mask[from_rows, from_columns].to(label.device)
        patch = crop.image[:, from_rows, from_columns].to(image)
        image[:, rows, columns][:, mask] = patch[:, mask]
        label[rows, columns][mask] = index

    def _place(self, patch: int, canvas: int) -> tuple[slice, slice]:
        """Uniform position of a patch on a canvas, lengths in pixels: (on canvas, of patch)."""
        length = min(patch, canvas)
        start, skip = self._draw(canvas - length + 1), self._draw(patch - length + 1)
        return slice(start, start + length), slice(skip, skip + length)

    def _draw(self, choices: int) -> int:
        return int(torch.randint(choices, (), generator=self._generator))

    # Tensors under flat keys rather than get_extra_state: code that walks a state_dict (moving
    # averages, .cpu(), weights_only loading) may take every value for a tensor.
    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}{STATE_PREFIX}generator"] = self._generator.get_state()
        for index, slots in self.crops.items():
            for slot, crop in enumerate(slots):
                for name, value in crop._asdict().items():
                    if value is not None:
                        destination[f"{prefix}{STATE_PREFIX}{index}.{slot}.{name}"] = value

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        start = prefix + STATE_PREFIX
        saved = {
            key.removeprefix(start): value
            for key, value in state_dict.items()
            if key.startswith(start)
        }
        rest = {key: value for key, value in state_dict.items() if not key.startswith(start)}
        super()._load_from_state_dict(rest, prefix, *args, **kwargs)
        if "generator" not in saved:
            return
        self._generator.set_state(saved.pop("generator").cpu())
        keys = sorted({tuple(int(part) for part in key.split(".")[:2]) for key in saved})
        self.crops = {}
        for index, slot in keys:
            fields = {name: saved.get(f"{index}.{slot}.{name}") for name in Crop._fields}
            kept = {name: value.clone() for name, value in fields.items() if value is not None}
            self.crops.setdefault(index, []).append(Crop(**kept))


def install_bank(
    cfg: Any,
    facts: Any,
    *,
    memory_size: int = 5,
    sample_ratio: float = 1.0,
    resize_ratio: float = 1.0,
    update: str = "random",
    scope: str = "batch",
    placement: str = "tight",
) -> Any:
    """Put the bank in place of `cfg.model.data_preprocessor`, whose other settings stay.

    Args:
        cfg: mmengine Config of an mmseg EncoderDecoder, changed in place.
        facts: of the training data; `groups["tail"]` lists the tail classes. Without one, cfg is
            left alone.

    Returns:
        cfg.

    Raises:
        ValueError: another method's preprocessor is in the way.
    """
    tail = facts.groups.get("tail", ())
    if not tail:
        return cfg
    settings = dict(cfg.model.get("data_preprocessor") or {"type": "SegDataPreProcessor"})
    kind = settings.pop("type")
    if kind not in ("SegDataPreProcessor", "mmseg.SegDataPreProcessor", SegDataPreProcessor):
        raise ValueError(f"T-Memory Bank replaces SegDataPreProcessor, found {kind!r}")
    cfg.model.data_preprocessor = {
        **settings,
        "type": "TMemoryBankPreProcessor",
        "tail_classes": list(tail),
        "memory_size": memory_size,
        "sample_ratio": sample_ratio,
        "resize_ratio": resize_ratio,
        "update": update,
        "scope": scope,
        "placement": placement,
    }
    return cfg


def configure(cfg: Any, facts: Any, **bank_params: Any) -> Any:
    """Cross-entropy with the bank: see `install_bank`."""
    return install_bank(cfg, facts, **bank_params)
