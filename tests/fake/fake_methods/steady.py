"""Methods of the fake task; some of them misbehave when told to."""

CARD = {
    "title": "Steady",
    "tasks": ["fake"],
    "names": {
        "steady": {"summary": "adds up"},
        "brisk": {"summary": "starts ahead", "params": {"start": 3.0}},
        "calm": {"summary": "starts behind", "params": {"start": -3.0}},
    },
    "params": {
        "start": {"default": 0.0, "help": "first value"},
        "sleep": {"default": 0.005, "low": 0.0, "help": "seconds a step takes"},
        "at": {"default": 0, "low": 0, "help": "step at which to misbehave, 0 for never"},
        "what": {
            "default": "none",
            "choices": ["none", "nan", "oom", "code", "die", "die-once", "hang", "full", "memory"],
            "help": "how to misbehave",
        },
        "later": {"default": 1, "neutral": 1, "help": "a parameter added later"},
    },
    "bibtex": "@misc{steady, title={Steady}}",
}


def configure(cfg, facts, **params):
    return params
