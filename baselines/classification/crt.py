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
        "batch_statistics": {
            "default": True,
            "neutral": False,
            "help": "batch normalisation in the frozen trunk uses and moves with the batches of stage 2, as "
            "released; else it is as stage 1 left it",
        },
    },
    "protocol_defaults": {
        "imagenet-lt": {"length": 0.0555555556},
        "places-lt": {"length": 0.3333333333},
        "inat18": {"length": 0.3},
    },
    "notes": "The classifier starts anew, from the protocol's initial values; the trunk's weights stay. "
    "Stage 2 has the epochs of the authors' configs: 10 on ImageNet-LT and Places-LT, 30 on iNaturalist. "
    "Elsewhere a tenth of the training, about what their 10 are of the 90 epochs of their stage 1.",
    "needs": {"inputs": {"stage1": "ce"}, "extra_budget": True, "passes": 1},
}

from collections.abc import Mapping
from typing import Any

from baselines.parts.decoupled import retrain_classifier


def configure(
    cfg: Any,
    facts: Any,
    *,
    inputs: Mapping[str, str],
    length: float,
    lr: float | None,
    batch_statistics: bool,
) -> Any:
    """The classifier alone, whatever that of stage 1 was."""
    cfg.start_from = {"weights": inputs["stage1"], "skip": ["head."]}
    return retrain_classifier(cfg, facts, ["head."], length, lr, batch_statistics)
