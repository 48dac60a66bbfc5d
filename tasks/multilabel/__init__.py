"""Task `multilabel`: images that show several things at once, some of which are rare."""

from suite.define.task import Task
from tasks.multilabel.evaluation import (
    COLUMNS,
    METRICS,
    OFFERS,
    PRIMARY,
    VERSION,
    evaluate,
    settings,
)
from tasks.multilabel.protocols import PROTOCOLS
from tasks.vision.pretrained import BRING_WEIGHTS

TASK = Task(
    name="multilabel",
    question="Which training ranks the relevant labels first, and does it also find the rare ones?",
    protocols=PROTOCOLS,
    default_protocol="quick",
    metrics=METRICS,
    primary=PRIMARY,
    columns=COLUMNS,
    version=VERSION,
    reference="bce",
    settings=settings,
    evaluate=evaluate,
    offers={
        **OFFERS,
        "variants": BRING_WEIGHTS,
        "pages": {"labels": "tasks.multilabel.page"},
    },
)
