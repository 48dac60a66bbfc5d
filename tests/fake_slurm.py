"""A SLURM that answers as told, and a batch of jobs submitted to it."""

import os
import time

import pytest

from suite.define.catalog import Catalog
from suite.dispatch import slurm
from suite.dispatch.batch import Batch, new_id, write_batch
from suite.dispatch.carry_out import assignments
from suite.dispatch.request import Site
from suite.dispatch.slurm import Cluster, Ending, NoAnswer, Queued
from suite.dispatch.states import survey
from suite.runs.plan import make_plan


class FakeSlurm:
    """Answers as told; `asked` counts the questions."""

    def __init__(self, monkeypatch):
        self.queue: dict[str, Queued] = {}
        self.endings: dict[str, Ending] = {}
        self.cancelled: list[str] = []
        self.asked = 0
        self.up = True
        monkeypatch.setattr(slurm, "cluster", self._cluster)
        monkeypatch.setattr(slurm, "queue", lambda names: [*names] and dict(self.queue))
        monkeypatch.setattr(
            slurm, "endings", lambda ids: {i: self.endings[i] for i in ids if i in self.endings}
        )
        monkeypatch.setattr(
            slurm, "cancel_by_name", lambda name, waiting=False: self.cancelled.append(name)
        )

    def _cluster(self):
        self.asked += 1
        if not self.up:
            raise NoAnswer("SLURM does not answer: gone")
        return Cluster("ci", 1000)


@pytest.fixture
def answers(monkeypatch):
    return FakeSlurm(monkeypatch)


@pytest.fixture
def catalog():
    return Catalog.load()


def submitted(root, catalog, *settings, seeds=(0, 1, 2), cluster="ci", **changes):
    """A batch of one job a run, with ids 7_0, 7_1, ..."""
    task = catalog.task("fake")
    plan = make_plan(
        root, catalog, task, catalog.protocol(task, "quick"), methods=["steady"], seeds=seeds,
        settings=[*(("steady.sleep=0.0",) if "sleep" not in str(settings) else ()), *settings],
    )  # fmt: skip
    now = time.time()
    batch = Batch(
        id=new_id(now), created=now, state="submitted", cluster=cluster, site=Site(), slots=1,
        threads=1, uid=os.getuid(), code="0" * 12, jobs=[[run] for run in assignments(plan.items, root, None)],
        ids=[f"7_{n}" for n in range(len(seeds))], **changes,
    )  # fmt: skip
    write_batch(root, batch)
    return batch


def states(root, catalog):
    found, now = survey(root, catalog)
    return {state.spec.seed: state for state in found}, now.problem
