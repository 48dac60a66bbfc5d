"""Task `neural-collapse`: the geometry of the last layer after the training set is fitted."""

from suite.define.task import Task
from tasks.neural_collapse.evaluation import (
    COLUMNS,
    METRICS,
    OFFERS,
    PRIMARY,
    VERSION,
    evaluate,
    settings,
)
from tasks.neural_collapse.protocols import PROTOCOLS

TASK = Task(
    name="neural-collapse",
    question="Which geometry of the last layer, learned or fixed, generalises best once the training set is fitted, and do "
    "collapse and margins say so?",
    protocols=PROTOCOLS,
    default_protocol="quick",
    metrics=METRICS,
    primary=PRIMARY,
    columns=COLUMNS,
    version=VERSION,
    reference="nc-ce",
    settings=settings,
    evaluate=evaluate,
    offers=OFFERS,
)
