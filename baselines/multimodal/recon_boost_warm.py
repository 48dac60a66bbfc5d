"""ReconBoost from encoders that were trained alone, as its authors recommend."""

CARD = {
    "title": "Boosting of modalities with reconcilement, from unimodal encoders",
    "paper": "ReconBoost: Boosting Can Achieve Modality Reconcilement",
    "venue": "ICML 2024",
    "arxiv": "2405.09321",
    "cite": "hua2024reconboost",
    "tasks": ["multimodal"],
    "names": {
        "recon-boost-warm": {
            "summary": "recon-boost, whose encoders start as those of a finished run of ume"
        },
    },
    "params": {
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
    "notes": "The shared head is new, so that the others say nothing in the first stage, and there is no reconcilement in it, "
    "as without a warm start. With the training of ume it has twice the budget of the other methods.",
    "needs": {"inputs": {"warm": "ume"}, "extra_budget": True, "passes": 0.875},
}

from collections.abc import Mapping
from typing import Any

from baselines.multimodal import recon_boost


def configure(cfg: Any, facts: Any, *, inputs: Mapping[str, str], **settings: Any) -> Any:
    """ReconBoost with these settings, from the encoders of the input run."""
    # ume's heads are each of one modality
    cfg.start_from = {"weights": inputs["warm"], "skip": ["fusion.", "objective."]}
    return recon_boost.configure(cfg, facts, **settings)
