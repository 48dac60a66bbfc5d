"""Scores of `longtail-seg` on resamples of the test images, for a bootstrap over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.define.task import Predictions, Trained
from tasks.longtail_seg.evaluation import margins
from tasks.vision.groups import resolve_groups
from tasks.vision.per_class import label_digest, row_means

if TYPE_CHECKING:
    import numpy as np

    from suite.stats.bootstrap import Units


def units(predictions: Predictions, settings: Mapping[str, Any], trained: Trained) -> Units:
    """Test images; keys `mIoU`, `mAcc` and `aAcc`, and these of every group.

    Intersections and unions are summed over a resample's images, as over the test set; a class without
    a pixel in a resample is left out of its means. Raises RecordError for arrays of another form.
    """
    import numpy as np

    from suite.stats.bootstrap import Units

    true, predicted, right = margins(predictions.get("test", {}), len(settings["classes"]))
    # (N, 3 C): a resample's sums are one product, in float64 exact below 2^53 pixels
    sums = np.concatenate([true, predicted, right], axis=1).astype(np.float64)
    groups = resolve_groups(settings, trained.class_counts)
    everything = {"": list(range(true.shape[1])), **groups}

    def score(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = np.asarray(weights, dtype=np.float64) @ sums
        pixels, predicted, hit = np.split(total, 3, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            iou = np.where(pixels > 0, hit / (pixels + predicted - hit), np.nan)
            recall = np.where(pixels > 0, hit / pixels, np.nan)
            found = {}
            for group, members in everything.items():
                where = f"[group={group}]" if group else ""
                found[f"mIoU{where}"] = row_means(iou[:, members])
                found[f"mAcc{where}"] = row_means(recall[:, members])
                found[f"aAcc{where}"] = hit[:, members].sum(axis=1) / pixels[:, members].sum(axis=1)
        return found

    return Units(count=len(true), score=score, digest=label_digest(true))
