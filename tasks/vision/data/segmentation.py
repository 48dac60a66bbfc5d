"""mmseg data sets of the task: digit scenes and CamVid, held in memory as uint8, and the large public
data sets in their official layouts, read a picture at a time.

The data sets put `img` (uint8, (H, W, 3), BGR as mmcv's readers do) and `gt_seg_map` (uint8,
(H, W), 255 = ignored) into a sample themselves, so pipelines start with augmentation: no
LoadImageFromFile, no LoadAnnotations. This is the OpenMMLab side: it imports torch and mmseg.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suite.base import settings
from suite.base.errors import DataError
from tasks.vision.data import ade20k, camvid, cityscapes, coco_stuff, official, survey
from tasks.vision.data import digit_scenes as digits
from tasks.vision.data.carving import chosen_by_image, part_of

with contextlib.redirect_stdout(io.StringIO()):  # mmseg prints about optional packages
    from mmseg.datasets import BaseSegDataset
    from mmseg.registry import DATASETS

IGNORE = 255
Array = np.ndarray[Any, np.dtype[Any]]


class _PairDataset(BaseSegDataset):  # type: ignore[misc]
    """Base: a subclass lists its sample ids and gives (image RGB, label) per index."""

    # a list of short dicts: pickling it saves nothing
    SERIALIZED = False

    def __init__(
        self, pipeline: Sequence[dict[str, Any] | Callable[..., Any]] = (), test_mode: bool = False
    ) -> None:
        super().__init__(
            pipeline=list(pipeline),
            test_mode=test_mode,
            ignore_index=IGNORE,
            serialize_data=self.SERIALIZED,
        )

    def pair(self, index: int) -> tuple[Array, Array]:
        """(image uint8 (H, W, 3) RGB, label uint8 (H, W)); to be left as they are."""
        raise NotImplementedError

    def label_statistics(self) -> tuple[Array, Array]:
        """(pixels, images) per class over the data set, int64 (num_classes,) each."""
        counts = self._label_counts()
        return counts.sum(axis=0), (counts > 0).sum(axis=0, dtype=np.int64)

    def class_presence(self) -> Array:
        """bool (len(self), num_classes): which samples show a class. Read anew at every call."""
        return self._label_counts() > 0

    def _label_counts(self) -> Array:
        """Pixels of each sample by class, int64 (len(self), num_classes)."""
        classes = len(self.metainfo["classes"])
        labels = (self.pair(index)[1] for index in range(len(self)))
        counts = [np.bincount(label.ravel(), minlength=256)[:classes] for label in labels]
        return np.stack(counts).astype(np.int64)

    def get_data_info(self, idx: int) -> dict[str, Any]:
        info: dict[str, Any] = super().get_data_info(idx)
        image, label = self.pair(info["sample_idx"])
        # Copies: transforms may write in place.
        info["img"] = np.ascontiguousarray(image[:, :, ::-1])
        info["gt_seg_map"] = label.copy()
        info["seg_fields"] = ["gt_seg_map"]
        info["img_shape"] = info["ori_shape"] = label.shape
        return info

    def _samples(self, ids: Sequence[str], prefix: str) -> list[dict[str, Any]]:
        return [
            {
                "sample_id": sample,
                "img_path": f"{prefix}/{sample}",
                "label_map": None,
                "reduce_zero_label": False,
            }
            for sample in ids
        ]


@DATASETS.register_module()
class ArraySegDataset(_PairDataset):
    """Digit scenes (`tasks.vision.data.digit_scenes`) of one split.

    Args:
        cache_dir: folder that keeps the made arrays.
        split: `train` or `test`.
        limit: the first so many scenes only (protocol `smoke`); None for all.
        carved: `part` (`train` or `val`) of these that is taken, and arguments of the `Carving`; None for all.
    """

    METAINFO = {"classes": digits.CLASSES, "palette": [list(c) for c in digits.PALETTE]}

    def __init__(
        self,
        cache_dir: str | Path,
        split: str,
        limit: int | None = None,
        carved: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        arrays = digits.load(Path(cache_dir))
        self._images = arrays[f"{split}_images"][:limit]
        self._labels = arrays[f"{split}_labels"][:limit]
        self._ids = [f"{index:04d}" for index in range(len(self._images))]
        if carved is not None:
            shown = np.stack([np.bincount(x.ravel(), minlength=256) > 0 for x in self._labels])
            kept = part_of(carved, lambda how: chosen_by_image(shown, how))
            self._images, self._labels = self._images[kept], self._labels[kept]
            self._ids = [self._ids[i] for i in kept]
        self._split = split
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        return self._samples(self._ids, f"digits/{self._split}")

    def pair(self, index: int) -> tuple[Array, Array]:
        return self._images[index], self._labels[index]


@DATASETS.register_module()
class CamVidDataset(_PairDataset):
    """CamVid frames of one protocol split (see `tasks.vision.data.camvid`); void becomes 255.

    Args:
        data_root: the folder itself, or the one above (`camvid.find`).
        split: `train`, `val` (carved from training) or `test`.
        scale: 1 or 0.5. At 0.5 an image pixel is the mean of 2x2 and a label pixel the upper left
            of 2x2, so training *and* evaluation happen at 240x180.
        in_memory: decode everything at construction (0.7 MB a frame, 0.17 MB at half resolution),
            which also checks every file at once; else each frame when it is asked for.
        ids: other frame ids than the manifest's.

    Raises DataError naming the file: missing, damaged, image and label of different size, label
    ids outside 0-11.
    """

    METAINFO = {"classes": camvid.CLASSES, "palette": [list(c) for c in camvid.PALETTE]}

    def __init__(
        self,
        data_root: str | Path,
        split: str,
        scale: float = 1.0,
        in_memory: bool = True,
        ids: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if scale not in (1.0, 0.5):
            raise ValueError(f"scale is {scale}, expected 1 or 0.5")
        # Frames given by the caller need not be the whole data set.
        root = camvid.find(Path(data_root)) if ids is None else Path(data_root)
        self._ids = tuple(camvid.split_ids(split) if ids is None else ids)
        self._files = [camvid.files(root, split, frame) for frame in self._ids]
        self._half = scale == 0.5
        self._pairs = [self._decode(i) for i in range(len(self._ids))] if in_memory else None
        if not self._ids:
            raise DataError(f"CamVid split {split} in {root} holds no frame")
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        samples = self._samples(self._ids, "")
        for sample, (image, label) in zip(samples, self._files, strict=True):
            sample.update(img_path=str(image), seg_map_path=str(label))
        return samples

    def pair(self, index: int) -> tuple[Array, Array]:
        return self._pairs[index] if self._pairs is not None else self._decode(index)

    def _decode(self, index: int) -> tuple[Array, Array]:
        image, label = camvid.read_pair(*self._files[index])
        if self._half:
            height, width = label.shape[0] // 2 * 2, label.shape[1] // 2 * 2
            blocks = image[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
            image = ((blocks.sum(axis=(1, 3), dtype=np.uint16) + 2) // 4).astype(np.uint8)
            label = label[:height:2, :width:2]
        return image, np.where(label == camvid.VOID, np.uint8(IGNORE), label)


class _OfficialDataset(_PairDataset):
    """Base of a large data set: a subclass names its `official.Spec` and the METAINFO that follows.

    Args:
        data_root: the folder itself, or the one above (`official.find`).
        split: `train` or `val`.
        carved: `part` (`train` or `val`) of the split that is taken, and arguments of the `Carving`; None for all.

    Raises DataError naming the file: at construction for what is missing, at access for what is
    damaged, of another size than its label, or with ids outside the class list.
    """

    SPEC: official.Spec
    # of 118,287 dicts each loader worker would come to hold a copy
    SERIALIZED = True

    def __init__(
        self, data_root: str | Path, split: str, carved: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self._root = official.find(self.SPEC, Path(data_root))
        self._split = split
        self._pairs = official.pairs(self.SPEC, self._root, split)
        self._part: list[official.Pair] | None = None
        if carved is not None:
            shown = self.statistics().presence
            kept = part_of(carved, lambda how: chosen_by_image(shown, how))
            self._pairs = self._part = [self._pairs[i] for i in kept]
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        samples = self._samples([pair.key for pair in self._pairs], "")
        for sample, pair in zip(samples, self._pairs, strict=True):
            sample.update(img_path=str(pair.image), seg_map_path=str(pair.label))
        return samples

    def pair(self, index: int) -> tuple[Array, Array]:
        return official.read_pair(self._pairs[index])

    def statistics(self) -> survey.Statistics:
        """Of the labels: minutes where they are not in the cache folder yet."""
        return survey.statistics(
            self.SPEC, self._root, self._split, settings.cache_dir(), self._part
        )

    def label_statistics(self) -> tuple[Array, Array]:
        known = self.statistics()
        return known.pixels, known.presence.sum(axis=0, dtype=np.int64)

    def class_presence(self) -> Array:
        return self.statistics().presence

    def get_data_info(self, idx: int) -> dict[str, Any]:
        info = super().get_data_info(idx)
        if self.test_mode:
            # scores are resized to the label, never the label to the network's input
            info["seg_fields"] = []
        return info


def _metainfo(spec: official.Spec) -> dict[str, Any]:
    return {"classes": spec.classes, "palette": [list(colour) for colour in spec.palette]}


@DATASETS.register_module()
class OfficialADE20K(_OfficialDataset):
    """ADE20K, see `tasks.vision.data.ade20k` and `_OfficialDataset`."""

    SPEC = ade20k.SPEC
    METAINFO = _metainfo(ade20k.SPEC)


@DATASETS.register_module()
class OfficialCityscapes(_OfficialDataset):
    """Cityscapes, see `tasks.vision.data.cityscapes` and `_OfficialDataset`."""

    SPEC = cityscapes.SPEC
    METAINFO = _metainfo(cityscapes.SPEC)


@DATASETS.register_module()
class OfficialCOCOStuff(_OfficialDataset):
    """COCO-Stuff 164k, see `tasks.vision.data.coco_stuff` and `_OfficialDataset`."""

    SPEC = coco_stuff.SPEC
    METAINFO = _metainfo(coco_stuff.SPEC)
