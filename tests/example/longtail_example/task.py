"""A task whose question is asked of the scores that every classifier stores."""

from longtail_example.protocols import PROTOCOLS
from suite.define.task import Metric, Task
from tasks.vision import groups
from tasks.vision.per_class import recalls, row
from tasks.vision.predicted import predict


def evaluate(predictions, settings, trained):
    import numpy as np  # here, so that a command that scores nothing starts without it

    label, predicted = predict(predictions, len(settings["classes"]), trained)
    return [row("worst", np.nanmin(recalls(label, predicted, len(settings["classes"]))))]


TASK = Task(
    name="worst-class",
    question="How much of the worst class is recognised?",
    protocols=PROTOCOLS,
    default_protocol="digits:thin",
    # they need not know of this task; the card of a method of this package names it
    methods=("ce", "balanced-softmax"),
    metrics=(Metric(name="worst", summary="recall of the worst class"),),
    primary=("worst",),
    columns=("worst",),
    version=1,
    reference="ce",
    settings=lambda protocol: groups.settings(protocol.dataset),
    evaluate=evaluate,
    infers=True,
)
