"""Task `longtail-cls`: image classification where few classes own most of the training images."""

from suite.define.task import Metric, Task
from suite.stats.correlation import Correlates
from tasks.longtail_cls.evaluation import VERSION, evaluate, settings
from tasks.longtail_cls.protocols import PROTOCOLS
from tasks.vision.geometry.rows import METRICS as GEOMETRY
from tasks.vision.per_class import OFFERS
from tasks.vision.pretrained import BRING_WEIGHTS

CORRELATES = Correlates(
    of="top1[group=tail]",
    by=(
        "nc1[split=train]",
        "cdnv[group=tail,split=train]",
        "seli_weights[split=train]",
        "min_angle[group=tail,of=weights,split=train]",
        "norm_ratio[group=tail,of=weights,split=train]",
        "margin_norm[group=tail,split=train]",
    ),
    beside="top1[group=head]",
    stored="collapse",
    arms=("permutation", "rotation"),
)
"""What the geometry of the training images may say of the tail, held against what the head's score says."""

TASK = Task(
    name="longtail-cls",
    question="Which method recognises rare classes best without giving up the frequent ones?",
    protocols=PROTOCOLS,
    default_protocol="quick",
    metrics=(
        Metric(name="balanced_accuracy", summary="mean over classes of recall"),
        Metric(name="top1", summary="share of test images that are right; of a group: mean recall"),
        Metric(name="recall", summary="share of a class's test images that are right"),
        Metric(name="worst_class", summary="recall of the worst class"),
        Metric(name="g_mean", summary="geometric mean over classes of recall"),
        Metric(name="h_mean", summary="harmonic mean over classes of recall"),
        Metric(
            name="ece",
            higher_is_better=False,
            summary="expected calibration error, 15 equal bins of the largest probability",
        ),
        Metric(
            name="nll",
            higher_is_better=False,
            unit="nats",
            summary="mean negative log-likelihood of the true class",
        ),
        Metric(
            name="auc_ovo",
            summary="mean over class pairs of the AUC of one against the other (Hand and Till 2001)",
        ),
        Metric(
            name="hessian_max",
            higher_is_better=False,
            unit="nats",
            summary="largest Hessian eigenvalue of a group's training loss: sharpness",
        ),
        Metric(
            name="hessian_min",
            unit="nats",
            summary="smallest Hessian eigenvalue of a group's training loss: below 0 at a saddle",
        ),
        *GEOMETRY,
    ),
    primary=("balanced_accuracy", "top1[group=tail]"),
    columns=(
        "top1[group=head]",
        "top1[group=medium]",
        "top1[group=tail]",
        "balanced_accuracy",
        "top1",
        "worst_class",
        "auc_ovo",
        "ece",
    ),
    version=VERSION,
    reference="ce",
    settings=settings,
    evaluate=evaluate,
    infers=True,
    offers={
        **OFFERS,
        "variants": BRING_WEIGHTS,
        "correlates": CORRELATES,
        "pages": {"geometry": "tasks.longtail_cls.page"},
    },
)
