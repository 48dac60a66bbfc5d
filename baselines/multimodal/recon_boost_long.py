"""ReconBoost for longer than the other methods may train, as its authors do."""

CARD = {
    "title": "Boosting of modalities with reconcilement, at a multiple of the budget",
    "paper": "ReconBoost: Boosting Can Achieve Modality Reconcilement",
    "venue": "ICML 2024",
    "arxiv": "2405.09321",
    "cite": "hua2024reconboost",
    "tasks": ["multimodal"],
    "names": {
        "recon-boost-long": {
            "summary": "recon-boost in `times` as many iterations as the protocol's"
        },
    },
    "params": {
        "times": {
            "default": 4,
            "low": 1,
            "help": "iterations over the protocol's; its learning-rate schedule is as much longer",
        },
        "stages": "recon-boost",
        "share": "recon-boost",
        "lam": "recon-boost",
        "alpha": "recon-boost",
        "kl": "recon-boost",
        "w1": "recon-boost",
        "w2": "recon-boost",
        "hidden": "recon-boost",
        "boost_rate": "recon-boost",
        "learn_boost": "recon-boost",
    },
    "protocol_defaults": {
        "smoke": {"stages": 4, "hidden": 0},
        "quick": {"stages": 6, "hidden": 0},
        "av-digits": {"stages": 8, "hidden": 0},
        "scene15": {"hidden": 0},
        "mfeat": {"hidden": 0},
        "cremad-feat": {"hidden": 0},
        "ave": {"w1": 4.0},
        "modelnet40": {"w1": 4.0},
        "mosei": {"w1": 1.0, "w2": 0.25, "hidden": 0},
        "mosi": {"w1": 1.0, "w2": 0.25, "hidden": 0},
        "sims": {"w1": 1.0, "w2": 0.25, "hidden": 0},
    },
    "notes": "The authors train for up to 1,001 stages of 8 epochs, eighty times the budget of the papers' protocols here: "
    "times=80. Stages stay as many, and grow longer. Beside `recon-boost` it says what the other methods' budget costs it; "
    "it is not to be ranked against methods that have that budget.",
    "needs": {"extra_budget": True, "passes": 0.875},
}

from dataclasses import replace
from typing import Any

from baselines.multimodal import recon_boost

_IN_ITERATIONS = ("begin", "end", "T_max", "milestones")


def configure(cfg: Any, facts: Any, *, times: int, **settings: Any) -> Any:
    """ReconBoost with these settings, in `times` as many iterations."""
    cfg.train_cfg.max_iters *= times
    for schedule in cfg.param_scheduler:
        for key in _IN_ITERATIONS:
            if (place := schedule.get(key)) is not None:
                many = isinstance(place, list | tuple)
                schedule[key] = [times * one for one in place] if many else times * place
    longer = replace(facts, iterations=times * facts.iterations)
    return recon_boost.configure(cfg, longer, **settings)
