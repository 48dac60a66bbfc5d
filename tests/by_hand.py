"""A board's rows written by hand: three groups of classes, ties, costs, flags."""

from dataclasses import replace

from records import TASK

from suite.store.row import Cell, MeanCost, Row

QUICK, FULL = TASK.protocols
GROUPED = replace(
    TASK,
    columns=("mIoU", "loss", *(f"mIoU[group={name}]" for name in ("head", "medium", "tail"))),
)
"""The task of records with a column for each group of classes, and one for another metric."""

LETTERS = {"lade": "a", "logit-adjustment": "a", "sade": "ab", "balanced-softmax": "b", "ce": "c"}
SEEDS = (45, 12, 1001, 3, None)


def row(method="ce", mean=0.5, under=QUICK, **more):
    """A row of three seeds; `mean` of the ranking metric."""
    cells = {
        key: Cell(mean=mean - lower, low=mean - lower - 0.01, high=mean - lower + 0.01)
        for lower, key in enumerate(GROUPED.columns)
    }
    return Row(
        **{
            **{"task": TASK.name, "protocol": under.name, "protocol_hash": under.hash},
            **{"evaluation_hash": TASK.evaluation_hash(under), "dataset": "toy"},
            **{"method": method, "params": {}, "digest": "0123456789ab", "n": 3, "state": "done"},
            **{"cost": MeanCost(wall_seconds=61, passes_per_step=2), "runs": [f"run-{method}"]},
            **{"metrics": cells},
            **more,
        }
    )


def planned(*methods, under=QUICK):
    return [
        row(name, under=under, n=0, state="planned", metrics={}, cost=MeanCost(), runs=[])
        for name in methods
    ]


def ranked():
    """Five rows, best first: two of rank 1, one between two groups."""
    ranks = (1, 1, 3, 4, 5)
    return [
        row(
            method,
            0.9 - place / 20,
            rank=rank,
            groups=letters,
            seeds_to_next=seeds,
            flags=["extra-budget", "test-prior"] if method == "sade" else [],
        )
        for place, ((method, letters), rank, seeds) in enumerate(
            zip(LETTERS.items(), ranks, SEEDS, strict=True)
        )
    ]
