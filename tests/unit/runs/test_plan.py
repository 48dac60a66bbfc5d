"""Plans: what is wanted minus what exists."""

import json
import os
import platform
import time

import pytest

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.records.attempt import Attempt
from suite.records.files import Failure, Status
from suite.runs.job import Assignment
from suite.runs.plan import make_plan
from suite.runs.worker import execute

pytestmark = pytest.mark.usefixtures("fake")


@pytest.fixture
def catalog():
    return Catalog.load()


def plan_of(catalog, root, **options):
    task = catalog.task("fake")
    return make_plan(root, catalog, task, catalog.protocol(task, "quick"), **options)


def carry_out(catalog, root, item):
    return execute(
        Assignment(spec=item.spec, attempt=item.attempt.number, digest=item.digest, root=str(root)),
        catalog,
    )


def todos(plan):
    return {item.spec.method: item.todo for item in plan.items}


def test_everything_is_new_and_planning_writes_nothing(catalog, tmp_path):
    plan = plan_of(catalog, tmp_path / "results")
    assert todos(plan) == {"brisk": "new", "calm": "new", "steady": "new"}
    assert not (tmp_path / "results").exists()


def test_finished_run_is_done(catalog, tmp_path):
    (item,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    assert carry_out(catalog, tmp_path, item).state == "done"
    (again,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    assert again.todo == "done"
    assert again.attempt.number == 1


def test_missing_evaluation_is_made_without_training(catalog, tmp_path):
    (item,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    carry_out(catalog, tmp_path, item)
    (file,) = (item.attempt.path / "evaluations").iterdir()
    before = file.read_bytes()
    file.unlink()
    (item,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    assert item.todo == "evaluate"
    record = (item.attempt.path / "record.json").stat().st_mtime_ns
    assert carry_out(catalog, tmp_path, item).state == "done"
    assert (item.attempt.path / "record.json").stat().st_mtime_ns == record
    assert json.loads(file.read_bytes())["metrics"] == json.loads(before)["metrics"]


def test_record_of_other_code_is_stale_until_told(catalog, tmp_path):
    (item,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    execute(Assignment(spec=item.spec, attempt=1, digest=item.digest, root=str(tmp_path)), catalog)
    path = item.attempt.path / "record.json"
    record = json.loads(path.read_bytes())
    record["digest"] = "0" * 12
    path.write_text(json.dumps(record))
    assert todos(plan_of(catalog, tmp_path, methods=["steady"])) == {"steady": "stale"}
    (item,) = plan_of(catalog, tmp_path, methods=["steady"], stale=True).items
    assert (item.todo, item.attempt.number) == ("new", 2)


def test_damaged_record_is_trained_again_beside_it(catalog, tmp_path):
    (item,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    carry_out(catalog, tmp_path, item)
    (item.attempt.path / "record.json").write_bytes(b'{"schema": 1, "run')
    (again,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    assert (again.todo, again.attempt.number) == ("new", 2)


def test_fresh_begins_another_attempt(catalog, tmp_path):
    (item,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    carry_out(catalog, tmp_path, item)
    (item,) = plan_of(catalog, tmp_path, methods=["steady"], fresh=True).items
    assert (item.todo, item.attempt.number) == ("new", 2)


def status(item, **changes):
    now = time.time()
    values = dict(state="running", digest=item.digest, started=now, heartbeat=now, step=3)
    return Status(**(values | dict(host=platform.node(), pid=os.getpid()) | changes))


@pytest.mark.parametrize(
    ("changes", "todo"),
    [
        ({}, "running"),
        ({"pid": 2**22 + 7}, "resume"),
        ({"heartbeat": 0.0, "host": "elsewhere"}, "resume"),
        ({"host": "elsewhere"}, "running"),
        ({"state": "stopped"}, "resume"),
        ({"state": "failed", "failure": Failure(kind="killed", message="x")}, "retry"),
        ({"state": "failed", "failure": Failure(kind="nan", message="x")}, "failed"),
        ({"state": "failed", "failure": Failure(kind="nan", message="x"), "digest": "0"}, "new"),
        ({"digest": "0", "state": "stopped"}, "new"),
    ],
)
def test_unfinished_attempts(catalog, tmp_path, changes, todo):
    (item,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    attempt = Attempt(tmp_path, item.spec.run_id, 1)
    attempt.create(item.spec)
    attempt.write_status(status(item, **changes))
    (again,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    assert again.todo == todo
    assert again.attempt.number == (2 if todo == "new" else 1)


def test_settings_change_the_identity(catalog, tmp_path):
    def run_id(*settings):
        return (
            plan_of(catalog, tmp_path, methods=["steady"], settings=settings).items[0].spec.run_id
        )

    assert run_id("steady.start=1") == run_id("steady.start=1.0")
    assert run_id("steady.start=1") != run_id()
    # the neutral value of a parameter added later leaves the identity alone
    assert run_id("steady.later=1") == run_id()
    assert run_id("steady.later=2") != run_id()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["steddy"]}, "unknown method 'steddy'; did you mean steady"),
        ({"settings": ["steady.strat=1"]}, "unknown parameter 'strat'; did you mean start"),
        ({"settings": ["steady.start=many"]}, "is not of type float"),
        ({"settings": ["steady.sleep=-1"]}, "below 0"),
        ({"settings": ["steady.what=dance"]}, "is none of"),
        ({"settings": ["steady=1"]}, "write METHOD.key=value"),
        ({"methods": ["calm"], "settings": ["steady.start=1"]}, "not among the methods"),
        ({"methods": ["ce"]}, "is not for task 'fake'"),
    ],
)
def test_bad_input_is_one_clear_line(catalog, tmp_path, options, message):
    with pytest.raises(UserError) as error:
        plan_of(catalog, tmp_path, **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def values(plan, key="start"):
    return [(item.spec.method, item.spec.params[key], item.spec.seed) for item in plan.items]


def test_several_values_of_a_parameter_are_a_run_each(catalog, tmp_path):
    def planned(*settings, **more):
        return plan_of(catalog, tmp_path, methods=["steady"], settings=settings, **more)

    two = ["steady.start=0.5", "steady.start=2"]
    assert values(planned(*two)) == [("steady", 0.5, 0), ("steady", 2.0, 0)]
    assert [item.changed for item in planned(*two).items] == [{"start": 0.5}, {"start": 2}]
    assert len(planned(*two, seeds=[0, 1]).items) == 4
    # the same value twice is one run, however it is written
    assert len(planned("steady.start=2", "steady.start=2", "steady.start=2.0").items) == 1
    grid = planned(*two, "steady.at=3", "steady.at=4", "steady.sleep=0.0")
    assert len({item.spec.run_id for item in grid.items}) == len(grid.items) == 4
    assert {(i.spec.params["start"], i.spec.params["at"]) for i in grid.items} == {
        (start, at) for start in (0.5, 2.0) for at in (3, 4)
    }
    with pytest.raises(UserError, match="is not of type float"):
        planned("steady.start=1", "steady.start=fast")


def test_an_unknown_method_is_told_of_its_own_task(catalog, tmp_path):
    for options in ({"methods": ["aucsegg"]}, {"settings": ["aucsegg.x=1"]}):
        with pytest.raises(UserError) as told:
            plan_of(catalog, tmp_path, **options)
        assert "known: brisk, calm, steady" in str(told.value)
        assert "'aucseg' is for longtail-seg" in str(told.value)
    with pytest.raises(UserError, match="'aucseg' is not for task 'fake' but for longtail-seg"):
        plan_of(catalog, tmp_path, settings=["aucseg.x=1"])
