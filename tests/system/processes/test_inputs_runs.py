"""Runs that build on other runs, carried out and on the command line."""

import shutil

import pytest
from chained import (
    carry_out,
    catalog,  # noqa: F401
    plan_of,
    plugins,  # noqa: F401
)

from suite.dispatch.carry_out import assignments, launch
from suite.dispatch.here import LocalDispatch
from suite.records.attempt import Attempt
from suite.records.lookup import find_spec
from suite.runs.slots import Slot
from suite.upkeep.prune.survey import survey_weights

pytestmark = pytest.mark.usefixtures("fake")


def test_input_runs_come_first_whatever_the_order(catalog, plugins, tmp_path):
    plan = plan_of(catalog, tmp_path, methods=["second", "calm"], seeds=[0, 1])
    work = list(reversed(assignments(plan.items, tmp_path, None)))
    order = []
    dispatch = LocalDispatch(
        [Slot("cpu", "", 1)] * 2, plugins, on_report=lambda r: order.append((r.run_id, r.state))
    )
    reports = dispatch.run(work)
    assert {report.state for report in reports.values()} == {"done"}
    through = [run_id for run_id, state in order if state == "done"]
    for item in plan.items:
        for run_id in item.spec.inputs.values():
            assert through.index(run_id) < through.index(item.spec.run_id)


def test_prune_keeps_what_a_run_still_to_come_names(catalog, plugins, tmp_path):
    plan = plan_of(catalog, tmp_path, methods=["second"])
    first, second = assignments(plan.items, tmp_path, None)
    stopped = []

    def stop(report):
        # the input run is through, the other has not begun
        stopped.append(report)
        raise KeyboardInterrupt

    launch(plan, [first, second], [Slot("cpu", "", 1)], plugins=plugins, on_report=stop)
    assert find_spec(tmp_path, second.spec.run_id) == second.spec
    carry_out(catalog, tmp_path, plan_of(catalog, tmp_path, methods=["steady"]))
    assert not Attempt(tmp_path, second.spec.run_id, 1).finished
    (kept,) = survey_weights(tmp_path, all_=True)
    assert kept.why == f"run {second.spec.run_id} (second) names it"
    # the folder that tells of it is not an attempt used up
    again = plan_of(catalog, tmp_path, methods=["second"])
    assert [(i.todo, i.attempt.number) for i in again.items] == [("new", 1)]


def test_retry_passes_over_a_run_whose_input_run_has_gone(catalog, suite, plugins, tmp_path):
    root = tmp_path / "results"
    plan = plan_of(catalog, root, methods=["second"], settings=["steady.what=nan", "steady.at=1"])
    assert carry_out(catalog, root, plan) == ["failed", "failed"]
    shutil.rmtree(root / "runs" / plan.items[0].spec.run_id)
    flags = [word for path in plugins for word in ("--plugin", str(path))]
    done = suite("retry", "--kind", "input", *flags)
    assert done.returncode == 0, done.stderr
    assert f"{plan.items[0].spec.run_id} is not below" in done.stdout


def test_plans_tell_of_inputs_on_the_terminal(catalog, suite, inside, plugins, tmp_path):
    flags = [word for path in plugins for word in ("--plugin", str(path))]
    shown = suite("plan", "--task", "fake", "--method", "second", *flags)
    assert shown.returncode == 0
    assert "(for second)" in shown.stdout and "stage1=" in shown.stdout
    done = suite("run", "--task", "fake", "--method", "second", "--seeds", "0,1", *flags)
    assert done.returncode == 0, done.stderr
    assert "4 to do" in done.stderr
    pruned = inside("prune", "--all", "--dry-run")
    assert pruned.returncode == 0
    assert pruned.stdout.count("goes") == 2
