"""The words for where a run stands: one list, and which of them each layer can say.

A word means the same wherever it stands; layers differ in what they know. An attempt knows of its own process
alone; a plan says what is to be done; `status` and the dashboard also ask the cluster; the store has read
files, and never asks.

    AttemptState   status.json, by the worker that is at the attempt
    ReportState    a worker to whoever started it
    ResultState    what a command's runs came to
    Todo           a plan, of a run that is wanted
    RunState       `status`, `cancel`, `retry`, the page Jobs: a run as files and the cluster's queue have it
    StoredState    the store, of a run's newest attempt: the page Run
    RowState       a board, of a row of runs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

AttemptState = Literal["running", "stopped", "failed", "done"]
ReportState = Literal["running", "stopped", "failed", "done", "busy", "cancelled"]
ResultState = Literal[
    "running", "stopped", "failed", "done", "busy", "cancelled", "stale", "waiting"
]
Todo = Literal[
    "done", "evaluate", "new", "resume", "retry", "running", "queued", "waiting", "failed", "stale"
]
RunState = Literal[
    "running", "queued", "planned", "stopped", "cancelled", "failed", "stale", "done"
]
StoredState = Literal["done", "running", "failed", "stopped", "stale"]
RowState = Literal["stale", "running", "done", "partial", "failed", "planned"]
"""Of a row's replicates: `running`: one is alive; `done`: every known one is finished and evaluated;
`partial`: some are, or they were interrupted; `failed`: none is and some failed."""

STATES: Mapping[str, str] = {
    "planned": "wanted; nothing of it is there yet",
    "new": "to be trained from the start",
    "resume": "to go on from its checkpoint",
    "retry": "to go on after a failure that another try may mend",
    "evaluate": "finished, its scores still to be made",
    "waiting": "needs another run, which is not to be had now",
    "queued": "handed to the cluster, and not begun",
    "running": "a process trains it",
    "busy": "another process has it",
    "stopped": "interrupted, with nobody at it",
    "cancelled": "somebody asked to leave it alone",
    "failed": "ended with a failure (`records.files.FailureKind`)",
    "stale": "made by other code than today's",
    "partial": "some runs of a row are finished, or were interrupted",
    "done": "finished",
}
"""Every word, and what it means for all layers."""

STORED_STATES: tuple[str, ...] = get_args(StoredState)

# What commands print and pages show beside the words.

TODOS: Mapping[Todo, str] = {
    "done": "finished",
    "evaluate": "finished; to be evaluated",
    "new": "to be trained",
    "resume": "interrupted; goes on from its checkpoint",
    "retry": "failed for a reason another try may mend",
    "running": "running in another process",
    "queued": "in a cluster job; `cancel` takes it out",
    "waiting": "needs a run that has failed, is stale or in a cluster job",
    "failed": "failed by the method's own doing; --fresh trains it again",
    "stale": "trained with other code of the method; --stale trains it again",
}
"""In the order in which `plan` counts them."""

RUN_STATES: Mapping[RunState, str] = {
    "running": "being trained",
    "queued": "in the cluster's queue, or in a job behind other runs",
    "planned": "wanted, and in nobody's hand: `run`",
    "stopped": "interrupted, and in nobody's hand: `run` or `retry` go on from the checkpoint",
    "cancelled": "taken out by `cancel` (`retry --kind cancelled`), or on the cluster (`retry`)",
    "failed": "`retry` tries again what another try may mend; with --kind code or nan it trains anew",
    "stale": "trained with other code of the method: `run --stale`",
    "done": "finished",
}
"""In the order in which `status` lists them."""
