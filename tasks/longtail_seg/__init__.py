"""Task `longtail-seg`: semantic segmentation where few classes own most of the pixels."""

from suite.define.task import Metric, Task
from tasks.longtail_seg.config_file import BRING
from tasks.longtail_seg.evaluation import VERSION, confusion, evaluate, settings
from tasks.longtail_seg.protocols import PROTOCOLS
from tasks.longtail_seg.resampling import units
from tasks.vision.groups import resolve_groups

TASK = Task(
    name="longtail-seg",
    question="Which method segments rare classes best without giving up the frequent ones?",
    protocols=PROTOCOLS,
    default_protocol="quick",
    metrics=(
        Metric(
            name="mIoU",
            summary="mean over classes of intersection / union, summed over the test set",
        ),
        Metric(name="mAcc", summary="mean over classes of pixel recall"),
        Metric(name="aAcc", summary="share of labelled pixels that are right"),
        Metric(name="IoU", summary="intersection / union of one class"),
        Metric(name="Acc", summary="pixel recall of one class"),
        Metric(name="worst_IoU", summary="IoU of the worst class that is in the test set"),
        Metric(
            name="pixel_auc",
            summary="mean over ordered class pairs of P(score of a pixel of the class is higher), "
            "one-vs-one on softmax probabilities, ties one half",
        ),
        Metric(
            name="pixel_auc_error",
            higher_is_better=False,
            summary="a-posteriori bound on the error of pixel_auc, which is streamed into bins",
        ),
    ),
    primary=("mIoU[group=tail]", "mIoU"),
    columns=(
        "mIoU[group=head]",
        "mIoU[group=medium]",
        "mIoU[group=tail]",
        "mIoU",
        "mAcc",
        "aAcc",
        "pixel_auc",
    ),
    version=VERSION,
    reference="ce",
    settings=settings,
    evaluate=evaluate,
    offers={
        "units": units,
        "confusion": confusion,
        "groups": resolve_groups,
        "counted": "pixels",
        "variants": BRING,
    },
)
