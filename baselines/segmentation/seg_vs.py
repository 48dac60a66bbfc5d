"""Vector scaling in pixel form: class frequencies are shares of the training pixels."""

CARD = {
    "title": "VS loss, pixel form",
    "paper": "Label-Imbalanced and Group-Sensitive Classification under Overparameterization",
    "venue": "NeurIPS 2021",
    "arxiv": "2103.01550",
    "cite": "kini2021label",
    "tasks": ["longtail-seg"],
    "names": {
        "vs-seg": {"summary": "CE on z_c / (n_max/n_c)^gamma + tau log pi_c, n counting pixels"},
    },
    "params": {
        "gamma": "vs",
        "tau": "vs",
    },
    "notes": "`vs` of longtail-cls over pixels, without its deferred re-weighting; gamma and tau are the "
    "values there (CIFAR-100-LT, ratio 100), untuned for pixels, whose ratios are larger.",
    "needs": {"passes": 1},
}

from typing import Any

from baselines.classification.vs import VSLoss
from baselines.parts.losses import set_loss
from baselines.parts.staged import counts_of


def configure(cfg: Any, facts: Any, *, gamma: float, tau: float) -> Any:
    """Make the VS loss the only one."""
    loss = {"type": VSLoss.__name__, "class_counts": counts_of(facts), "gamma": gamma, "tau": tau}
    return set_loss(cfg, loss)
