"""Task `test-agnostic`: the runs of `longtail-cls` under test label distributions that training did not know.

No training of its own: the predictions that a run has stored are evaluated under test sets of other class
proportions (`evaluation`).
"""

from suite.define.task import Metric, Task
from tasks.longtail_cls.protocols import PROTOCOLS
from tasks.test_agnostic.evaluation import DATASETS, VERSION, evaluate, settings, shifted
from tasks.vision.pretrained import BRING_WEIGHTS

TASK = Task(
    name="test-agnostic",
    question="Which method holds up when the classes' frequencies at test time are unknown?",
    protocols=PROTOCOLS.on(DATASETS),
    default_protocol="quick",
    metrics=(
        Metric(name="top1", summary="share of a test set's images that are right"),
        Metric(
            name="balanced_accuracy", summary="mean of recall over the classes that a test set has"
        ),
        Metric(
            name="top1_std",
            higher_is_better=False,
            summary="standard deviation of top1 over test sets",
        ),
    ),
    primary=("top1[draw=mean,prior=shifts]", "top1[draw=mean,prior=dirichlet]"),
    columns=(
        "top1[prior=forward-50]",
        "top1[prior=uniform]",
        "top1[prior=backward-50]",
        "top1[draw=mean,prior=shifts]",
        "top1[draw=mean,prior=dirichlet]",
        "top1_std[prior=dirichlet]",
        "top1[draw=worst-decile,prior=dirichlet]",
    ),
    version=VERSION,
    reference="ce",
    settings=settings,
    evaluate=evaluate,
    infers=True,
    offers={
        "shifts": shifted,
        "variants": BRING_WEIGHTS,
        "pages": {"test-agnostic": "tasks.test_agnostic.page"},
    },
)
