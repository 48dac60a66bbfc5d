"""Task `robust-auc`: the AUC of a rare class when test images are corrupted."""

from suite.define.task import Task
from tasks.robust_auc.evaluation import (
    COLUMNS,
    METRICS,
    OFFERS,
    PRIMARY,
    VERSION,
    evaluate,
    settings,
)
from tasks.robust_auc.protocols import PROTOCOLS

TASK = Task(
    name="robust-auc",
    question="Which training keeps the AUC of a rare positive class when test images are corrupted?",
    protocols=PROTOCOLS,
    default_protocol="quick",
    metrics=METRICS,
    primary=PRIMARY,
    columns=COLUMNS,
    version=VERSION,
    reference="aucm",
    settings=settings,
    evaluate=evaluate,
    offers={**OFFERS, "pages": {"robustness": "tasks.robust_auc.page"}},
)
