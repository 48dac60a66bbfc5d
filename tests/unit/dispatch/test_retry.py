"""Which runs `retry` takes, and what goes together."""

from types import SimpleNamespace

import pytest

from suite.define.spec import RunSpec
from suite.dispatch.reconcile import ClusterState, SubmittedRun
from suite.dispatch.retry import groups, is_wanted, without
from suite.dispatch.states import BY_US, TrackedRun
from suite.records.files import Failure, Status
from suite.runs.job import Assignment


def run(state, *, kind="", note="", seed=0, ranks=1):
    failure = Failure(kind=kind, message="") if kind else None
    status = Status(
        state="failed", digest="", started=0.0, heartbeat=0.0, failure=failure, ranks=ranks
    )
    spec = RunSpec(protocol="p", protocol_hash="h", method="m", seed=seed)
    return TrackedRun(spec, state, None, ("task",), status, None, note)


@pytest.mark.parametrize(
    ("one", "kinds", "named", "taken"),
    [
        (run("failed", kind="oom"), (), False, True),
        (run("failed", kind="nan"), (), False, False),
        (run("failed", kind="nan"), (), True, True),
        (run("failed", kind="nan"), ("nan",), False, True),
        (run("failed", kind="oom"), ("nan",), True, False),
        # a job that ended before its worker could say why
        (run("failed"), (), False, True),
        (run("cancelled", note=BY_US), (), False, False),
        (run("cancelled", note=BY_US), ("cancelled",), False, True),
        (run("cancelled", note="job 7 was cancelled"), (), False, True),
        (run("stopped"), (), False, False),
        (run("stopped"), (), True, True),
        (run("stopped"), ("oom",), True, False),
        (run("running"), (), True, False),
        (run("done"), (), True, False),
    ],
)
def test_what_is_tried_again(one, kinds, named, taken):
    assert is_wanted(one, kinds, named) is taken


def test_what_was_submitted_together_goes_together_and_first():
    protocol = SimpleNamespace(on=lambda ranks: ranks or 1)
    catalog = SimpleNamespace(protocol_of=lambda spec: protocol)
    here, *sent = (run("failed", kind="oom", seed=seed) for seed in range(4))
    batches = [SimpleNamespace(id="first"), SimpleNamespace(id="second")]
    submitted = {
        one.spec.run_id: SubmittedRun(
            batches[n == 2],
            "7",
            Assignment(spec=one.spec, attempt=1, digest="", root="/r", ranks=2),
        )
        for n, one in enumerate(sent)
    }
    now = ClusterState(submitted=submitted)
    found = groups(catalog, [here, *sent], now, None, None)
    assert [(group.where, group.ranks, list(group.runs)) for group in found] == [
        ("slurm", 2, sent[:2]),
        ("slurm", 2, sent[2:]),
        ("local", 1, [here]),
    ]
    # said otherwise, it is otherwise
    (local, _, _) = groups(catalog, [here, *sent], now, "local", 4)
    assert (local.where, local.ranks, local.submitted) == ("local", 4, None)


def test_what_another_shell_has_submitted_meanwhile_is_left_out():
    from suite.runs.plan import Plan

    items = [SimpleNamespace(spec=run("failed", seed=seed).spec) for seed in range(2)]
    plan = Plan(None, None, items)
    assert without(plan, {items[0].spec.run_id}).items == items[1:]
