"""Runs that need other runs, and methods that are built on others: plans, order, digests, prune."""

import shutil

import pytest
from chained import (
    OVER,
    SECOND,
    carry_out,
    catalog,  # noqa: F401
    plan_of,
    plugins,  # noqa: F401
)

from suite.base.errors import InputError, UserError
from suite.boards.leaderboard import board
from suite.define.catalog import Catalog
from suite.dispatch.batch import Batch, write_batch
from suite.dispatch.carry_out import assignments
from suite.dispatch.packing import pack
from suite.dispatch.request import Site
from suite.records.inputs import digest_of, resolve_inputs
from suite.render.grid import row_names
from suite.runs.slots import chains
from suite.runs.worker import execute
from suite.store.connection import connect
from suite.store.ingest import update_store
from suite.upkeep.prune.removal import remove
from suite.upkeep.prune.survey import survey_weights

pytestmark = pytest.mark.usefixtures("fake")


def listed(plan):
    return [(i.spec.method, i.spec.seed, i.todo, i.input_of) for i in plan.items]


def test_a_missing_input_run_is_planned_first(catalog, tmp_path):
    root = tmp_path / "results"
    plan = plan_of(catalog, root, methods=["second"], seeds=[0, 1])
    assert listed(plan) == [
        ("steady", 0, "new", "second"),
        ("second", 0, "new", ""),
        ("steady", 1, "new", "second"),
        ("second", 1, "new", ""),
    ]
    steady, second = plan.items[:2]
    assert second.spec.inputs == {"stage1": steady.spec.run_id}
    assert not root.exists()
    # asked for itself, it is not for somebody else; and it is there once
    both = plan_of(catalog, root, methods=["second", "steady"])
    assert listed(both) == [("steady", 0, "new", ""), ("second", 0, "new", "")]
    assert both.items[1].spec == second.spec


def test_the_input_run_hands_over_its_weights(catalog, tmp_path):
    plan = plan_of(catalog, tmp_path, methods=["second"])
    assert carry_out(catalog, tmp_path, plan) == ["done", "done"]
    steady, second = (item.attempt for item in plan.items)
    first = steady.predictions()["test"]["score"][0]
    drawn = first  # the same seed draws the same numbers
    assert second.predictions()["test"]["score"][0] == pytest.approx(first / 120 + drawn)
    record = second.record()
    assert record.flags == ["extra-budget"]
    (source,) = record.inputs.values()
    assert (source.run_id, source.attempt, source.method) == (steady.run_id, 1, "steady")
    assert record.cost.input_seconds == steady.record().cost.wall_seconds
    assert [item.todo for item in plan_of(catalog, tmp_path, methods=["second"]).items] == ["done"]


def test_an_input_run_named_by_method_or_id(catalog, tmp_path):
    named = plan_of(catalog, tmp_path, methods=["second"], settings=["second.stage1=brisk"])
    assert [item.spec.method for item in named.items] == ["brisk", "second"]
    brisk, second = named.items
    assert carry_out(catalog, tmp_path, named) == ["done", "done"]
    by_id = plan_of(
        catalog, tmp_path, methods=["second"], settings=[f"second.stage1={brisk.spec.run_id[:8]}"]
    )
    assert [item.spec for item in by_id.items] == [second.spec]
    # settings reach the input run too, and make it another
    other = plan_of(
        catalog, tmp_path, methods=["second"], settings=["steady.start=2", "second.sleep=0.0"]
    )
    assert other.items[0].spec.params["start"] == 2.0
    assert other.items[1].spec.run_id != second.spec.run_id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": ["second.stage1=brsk"]}, "neither a method; did you mean brisk"),
        ({"settings": ["second.stage1=ce"]}, "'ce' is not for task 'fake'"),
        ({"settings": ["second.stage1=second"]}, "'second' would be its own input"),
        ({"settings": ["second.stage1=STEADY"], "protocol": "other"}, "is of protocol quick, not"),
        (
            {"settings": ["second.stage1=STEADY"], "seeds": [1]},
            "has seed 0, not 1; name its method",
        ),
        ({"settings": ["second.stage1=CALM"]}, "(calm) is not there to be used: interrupted"),
        ({"settings": ["calm.start=1"]}, "'calm' is not among the methods"),
        ({"settings": ["second.stage2=calm"]}, "unknown parameter 'stage2'"),
    ],
)
def test_input_runs_that_cannot_be(catalog, tmp_path, options, message):
    steady = plan_of(catalog, tmp_path, methods=["steady"])
    carry_out(catalog, tmp_path, steady)
    calm = plan_of(catalog, tmp_path, methods=["calm"])
    (work,) = assignments(calm.items, tmp_path, None)
    execute(work, catalog, stopping=lambda: True)
    ids = {"STEADY": steady.items[0].spec.run_id, "CALM": calm.items[0].spec.run_id}
    for word, run_id in ids.items():
        options = {**options, "settings": [s.replace(word, run_id) for s in options["settings"]]}
    with pytest.raises(UserError) as error:
        plan_of(catalog, tmp_path, methods=["second"], **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_failed_input_run_fails_those_that_need_it_and_waits_then(catalog, tmp_path):
    settings = ["steady.what=code", "steady.at=3"]
    plan = plan_of(catalog, tmp_path, methods=["second"], settings=settings)
    assert carry_out(catalog, tmp_path, plan) == ["failed", "failed"]
    failure = plan.items[1].attempt.status().failure
    assert failure.kind == "input"
    assert "its stage1 run" in failure.message and "failed (code)" in failure.message
    # what cannot be mended by another try is not tried
    again = plan_of(catalog, tmp_path, methods=["second"], settings=settings)
    assert [item.todo for item in again.items] == ["failed", "waiting"]
    assert assignments(again.items, tmp_path, None) == []


def test_an_input_run_without_its_weights_is_trained_again(catalog, tmp_path):
    carry_out(catalog, tmp_path, plan_of(catalog, tmp_path, methods=["steady"]))
    (item,) = plan_of(catalog, tmp_path, methods=["steady"]).items
    item.attempt.weights.unlink()
    plan = plan_of(catalog, tmp_path, methods=["second"])
    assert [(i.todo, i.attempt.number) for i in plan.items] == [("new", 2), ("new", 1)]
    with pytest.raises(
        InputError, match=r"its weights are gone; type `python -m suite run .* --fresh"
    ):
        resolve_inputs(tmp_path, catalog, plan.items[1].spec)
    assert carry_out(catalog, tmp_path, plan) == ["done", "done"]
    assert plan.items[1].attempt.record().inputs["stage1"].attempt == 2


@pytest.mark.slow
def test_other_code_of_the_input_run_makes_stale(catalog, plugins, tmp_path):
    plan = plan_of(catalog, tmp_path, methods=["second"], settings=["second.stage1=over"])
    assert carry_out(catalog, tmp_path, plan) == ["done", "done"]
    before = digest_of(tmp_path, catalog, plan.items[1].spec)
    assert before == plan.items[1].attempt.record().digest
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    shutil.copy(plugins[0], copy)
    (copy / "over.py").write_text(OVER + "changed = True\n")
    changed = Catalog.load([copy / "second.py", copy / "over.py"])
    options = {"methods": ["second"], "settings": ["second.stage1=over"]}
    assert [i.todo for i in plan_of(changed, tmp_path, **options).items] == ["stale"]
    renewed = plan_of(changed, tmp_path, stale=True, **options)
    assert [(i.todo, i.attempt.number) for i in renewed.items] == [("new", 2), ("new", 2)]
    update_store(tmp_path, catalog)
    assert rows(tmp_path, catalog) == {"over": "done", "second": "done"}
    update_store(tmp_path, changed)
    assert rows(tmp_path, changed) == {"over": "stale", "second": "stale"}


def rows(root, catalog):
    found = board(
        root,
        catalog.task("fake"),
        protocol=None,
        by=None,
        today=catalog.code.alone,
        planned=[],
    )
    return {row.method: row.state for row in found}


def test_a_method_built_on_another_has_its_parameters_and_its_code(catalog, tmp_path):
    (plain,) = plan_of(catalog, tmp_path, methods=["over"]).items
    assert plain.spec.params == {
        "factor": 2.0,
        "under": "steady",
        "under.start": 0.0,
        "under.sleep": 0.005,
        "under.at": 0,
        "under.what": "none",
    }
    settings = ["over.under=brisk", "over.under.start=5", "over.factor=3"]
    (item,) = plan_of(catalog, tmp_path, methods=["over"], settings=settings).items
    assert item.spec.params["under.start"] == 5.0
    # the neutral value of an inner parameter stays out of the identity too
    (same,) = plan_of(
        catalog, tmp_path, methods=["over"], settings=[*settings, "over.under.later=1"]
    ).items
    assert same.spec == item.spec
    method = catalog.method(item.spec)
    assert [part.source.card.title for part in method.parts] == ["Steady", "Over"]
    assert method.parts[0].params["later"] == 1
    assert method.configure({}, None)["start"] == 15.0
    assert set(method.files) == {"fake_methods/steady.py", "over.py"}
    assert item.digest not in catalog.code.digests.values()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("over.under=steddy", "--set over.under=steddy: no such method; did you mean steady"),
        ("over.under=over", "'over' is itself built on another method or run"),
        ("over.under=second", "'second' is itself built on another method or run"),
        ("over.under=ce", "'ce' is for longtail-seg, longtail-cls"),
        ("over.under=3", "under=3 is not of type str"),
        (
            "over.under.strat=3",
            "--set over.under.strat: unknown parameter 'strat'; did you mean start",
        ),
        ("over.above.start=3", "unknown parameter 'above.start'"),
    ],
)
def test_what_a_method_cannot_be_built_on(catalog, tmp_path, setting, message):
    with pytest.raises(UserError) as error:
        plan_of(catalog, tmp_path, methods=["over"], settings=[setting])
    assert message in str(error.value)


def test_a_job_holds_runs_with_their_input_runs(catalog, tmp_path):
    plan = plan_of(catalog, tmp_path, methods=["calm", "second"], seeds=[0, 1, 2])
    work = assignments(plan.items, tmp_path, None)
    groups = chains(list(reversed(work)))
    assert sorted(len(group) for group in groups) == [1, 1, 1, 2, 2, 2]
    for size in (1, 2, 3):
        packed = pack(work, Site(pack=size), threads=1, workers=1, measured={}, rough_seconds=None)
        place = {a.spec.run_id: n for n, job in enumerate(packed.jobs) for a in job}
        assert len(place) == len(work)
        for a in work:
            assert all(place[run] == place[a.spec.run_id] for run in a.spec.inputs.values())
    auto = pack(work, Site(), threads=1, workers=1, measured={}, rough_seconds=300.0)
    assert sorted(map(len, auto.jobs)) == [1, 1, 1, 2, 2, 2]


def test_a_card_says_clearly_what_is_wrong_with_it(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(SECOND.replace('"sleep": {"default": 0.0}', '"stage1": {"default": 0.0}'))
    with pytest.raises(UserError, match="'stage1': has a dot, or is a role"):
        Catalog.load([bad])
    bad.write_text(OVER.replace('"default": "steady"', '"default": 3'))
    with pytest.raises(UserError, match="'under' names a method; its default must too"):
        Catalog.load([bad])


# -- prune
@pytest.mark.slow
def test_prune_takes_superseded_weights_and_none_that_a_run_names(catalog, tmp_path):
    carry_out(catalog, tmp_path, plan_of(catalog, tmp_path, methods=["second", "calm"]))
    carry_out(catalog, tmp_path, plan_of(catalog, tmp_path, methods=["steady", "calm"], fresh=True))
    kept = {(k.spec.method, k.attempt.number): k.why for k in survey_weights(tmp_path)}
    second = plan_of(catalog, tmp_path, methods=["second"]).items[0].spec.run_id
    assert kept == {
        ("calm", 1): "",
        ("calm", 2): "the run's newest",
        ("steady", 1): f"run {second} (second) names it",
        ("steady", 2): f"run {second} (second) names it",
        ("second", 1): "the run's newest",
    }
    freed, busy = remove(survey_weights(tmp_path, all_=True))
    assert freed > 0 and busy == []
    left = {(k.spec.method, k.attempt.number) for k in survey_weights(tmp_path)}
    assert left == {("steady", 1), ("steady", 2)}


def test_prune_keeps_what_a_submitted_run_names(catalog, tmp_path):
    carry_out(catalog, tmp_path, plan_of(catalog, tmp_path, methods=["steady"]))
    (work,) = assignments(plan_of(catalog, tmp_path, methods=["second"]).items, tmp_path, None)
    batch = Batch(
        id="20260101-000000-abcdef", created=0.0, uid=0, cluster="c", site=Site(), slots=1, threads=1,
        code="0" * 12, jobs=[[work]],
    )  # fmt: skip
    assert [kept.why for kept in survey_weights(tmp_path, all_=True)] == [""]
    write_batch(tmp_path, batch)
    (kept,) = survey_weights(tmp_path, all_=True)
    assert kept.why == f"run {work.spec.run_id} (second) names it"


@pytest.mark.slow
def test_rows_of_runs_with_inputs_pool_over_seeds(catalog, tmp_path):
    plan = plan_of(catalog, tmp_path, methods=["second"], seeds=[0, 1, 2])
    assert set(carry_out(catalog, tmp_path, plan)) == {"done"}
    update_store(tmp_path, catalog)
    found = board(
        tmp_path, catalog.task("fake"), protocol=None, by=None, today=catalog.code.alone, planned=[]
    )
    row = next(row for row in found if row.method == "second")
    assert (row.n, row.state, row.flags) == (3, "done", ["extra-budget"])
    with connect(tmp_path) as store:
        wall, total = store.execute(
            "SELECT avg(wall_seconds), avg(wall_seconds + input_seconds) FROM attempts "
            "WHERE method = 'second'"
        ).fetchone()
    assert total > wall
    assert row.cost.wall_seconds == pytest.approx(total)


def test_several_values_of_an_input_are_a_run_each(catalog, tmp_path):
    def planned(*settings):
        plan = plan_of(catalog, tmp_path, methods=["second"], settings=settings)
        return [item.spec.method for item in plan.items]

    roles = ("second.stage1=steady", "second.stage1=brisk")
    assert planned(*roles) == ["steady", "second", "brisk", "second"]
    grid = ("steady.start=1", "steady.start=2", "second.sleep=0.0", "second.sleep=0.5")
    assert sorted(planned(*grid)) == ["second"] * 4 + ["steady"] * 2


def test_a_row_is_called_by_the_methods_of_its_inputs(catalog, plugins, tmp_path):
    root = tmp_path / "results"
    first = ["second.stage1=steady", "second.stage1=brisk"]
    plan = plan_of(catalog, root, methods=["second"], settings=[*first, "steady.start=5.0"])
    carry_out(catalog, root, plan)
    again = plan_of(catalog, root, methods=["second"], settings=["steady.start=6.0"])
    carry_out(catalog, root, again)
    update_store(root, catalog)
    rows = [row for row in rows_of(catalog, root) if row.method == "second"]
    names = dict(zip(row_names(rows), rows, strict=True))
    assert {name.partition(" run=")[0] for name in names} == {
        "second (stage1=brisk)",
        "second (stage1=steady)",
    }
    assert len(names) == 3
    for row in rows:
        # and what it says of itself makes its runs
        made = plan_of(catalog, root, methods=["second"], settings=row.settings)
        assert [item.spec.run_id for item in made.items] == row.runs


def rows_of(catalog, root):
    task = catalog.task("fake")
    today = catalog.code.alone
    asked = {"protocol": None, "by": None, "today": today, "planned": [], "catalog": catalog}
    return board(root, task, **asked)
