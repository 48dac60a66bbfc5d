"""The OpenMMLab side: carries out a run with mmengine's `Runner`.

Importing this package is cheap; torch and mmengine are imported when a run starts.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from suite.engine.lighter import lighten

if TYPE_CHECKING:
    from suite.runs.job import Job, Outcome


def train(job: "Job") -> "Outcome":
    """`Protocol.train` of every protocol that trains with mmengine."""
    from suite.engine.team import Team

    # before torch is imported: the other ranks import it at the same time
    with Team(job) as team:
        from suite.engine.run import train as run

        return run(job, team.join)


def predict(job: "Job", name: str) -> Mapping[str, Any]:
    """`Protocol.predict`: arrays of prediction set `name` from the run's kept weights."""
    from suite.engine.run import predict as run

    return run(job, name)


lighten()
