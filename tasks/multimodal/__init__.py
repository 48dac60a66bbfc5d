"""Task `multimodal`: does training on several modalities at once use each of them as well as training on it alone would?"""

from suite.define.task import Task
from tasks.multimodal.evaluation import (
    COLUMNS,
    METRICS,
    OFFERS,
    PRIMARY,
    VERSION,
    evaluate,
    settings,
)
from tasks.multimodal.protocols import PROTOCOLS

TASK = Task(
    name="multimodal",
    question="Which training on several modalities uses each of them as well as training on it alone would?",
    protocols=PROTOCOLS,
    default_protocol="quick",
    metrics=METRICS,
    primary=PRIMARY,
    columns=COLUMNS,
    version=VERSION,
    reference="concat",
    settings=settings,
    evaluate=evaluate,
    offers={**OFFERS, "pages": {"modalities": "tasks.multimodal.page"}},
)
