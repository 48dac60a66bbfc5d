"""cRT: the classifier is trained again on class-balanced batches, on the trunk of a finished run."""

CARD = {
    "title": "Classifier re-training",
    "paper": "Decoupling Representation and Classifier for Long-Tailed Recognition",
    "venue": "ICLR 2020",
    "arxiv": "1910.09217",
    "cite": "kang2020decoupling",
    "tasks": ["longtail-cls"],
    "names": {
        "crt": {"summary": "a new classifier, trained on class-balanced batches; the trunk stays"}
    },
    "params": {
        "length": {
            "default": 0.1,
            "low": 0.0001,
            "high": 1.0,
            "help": "stage 2, in shares of the protocol's iterations",
        },
        "lr": {
            "default": None,
            "low": 0.000001,
            "help": "at the start of stage 2, whence a cosine falls to 0; None is the protocol's",
        },
    },
    "notes": "The classifier starts anew, from the protocol's initial values. The trunk is frozen, its "
    "batch normalisation included. That stage 2 has a tenth of the protocol's length is our choice.",
    "needs": {"inputs": {"stage1": "ce"}, "extra_budget": True, "passes": 1},
}

from collections.abc import Mapping
from typing import Any

from baselines.parts.decoupled import retrain_classifier


def configure(
    cfg: Any, facts: Any, *, inputs: Mapping[str, str], length: float, lr: float | None
) -> Any:
    """The classifier alone, whatever that of stage 1 was."""
    cfg.start_from = {"weights": inputs["stage1"], "skip": ["head."]}
    return retrain_classifier(cfg, facts, ["head."], length, lr)
