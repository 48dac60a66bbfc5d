"""Files of older versions are read as if they were today's, and nothing on disk changes."""

import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import EVALUATION, TODAY, Records

from suite.base.errors import RecordError
from suite.define.digest import Code
from suite.define.metrics import MetricRow
from suite.define.spec import RunSpec
from suite.records import files as record
from suite.records import migrate
from suite.records.attempt import attempts, finished_digest
from suite.records.files import Evaluation, Record, Status, read
from suite.records.lookup import all_attempts, find_spec
from suite.runs.plan import look


# A version 0 that never was: other names and units, one field in another place.
def _spec(spec):
    spec["method"] = spec.pop("baseline")
    return spec


def _status(status):
    status["elapsed"] = status.pop("minutes") * 60
    return status


def _record(old):
    cost = {**old["cost"], "wall_seconds": old["cost"].pop("wall_minutes") * 60}
    return {**old, "cost": cost, "digest": old["code"].removeprefix("sha:")}


def _evaluation(old):
    percent = [{**row, "value": row["value"] / 100} for row in old.pop("rows")]
    return {**old, "metrics": percent}


@pytest.fixture
def zero(monkeypatch):
    """Version 0 is known for the test."""
    monkeypatch.setattr(migrate, "_steps", {})
    migrate.register(0, RunSpec=_spec, Status=_status, Record=_record, Evaluation=_evaluation)


def rewrite(path, change):
    content = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**change(content), "schema": 0}))


def old_spec(spec):
    return {**{k: v for k, v in spec.items() if k != "method"}, "baseline": spec["method"]}


def old_record(new):
    cost = {**new["cost"], "wall_minutes": new["cost"].pop("wall_seconds") / 60}
    kept = {k: v for k, v in new.items() if k != "digest"}
    return {**kept, "cost": cost, "code": "sha:" + new["digest"], "spec": old_spec(new["spec"])}


def old_evaluation(new):
    rows = [{**row, "value": row["value"] * 100} for row in new.pop("metrics")]
    return {**new, "rows": rows}


def old_status(new):
    return {**{k: v for k, v in new.items() if k != "elapsed"}, "minutes": new["elapsed"] / 60}


@pytest.fixture
def root(tmp_path):
    """Three finished runs and one that broke off, all in the form of version 0."""
    board = Records(tmp_path)
    done = board.seeds("ce", [0.25, 0.5, 0.75])
    begun = board.unfinished("focal", beat=1000.0)
    begun.write_status(msgspec.structs.replace(begun.status(), elapsed=90.0), durable=False)
    for attempt in done:
        rewrite(attempt.path / "record.json", old_record)
        (path,) = (attempt.path / "evaluations").iterdir()
        rewrite(path, old_evaluation)
    rewrite(begun.path / "spec.json", old_spec)
    rewrite(begun.path / "status.json", old_status)
    return board


def content_of(root):
    return {p: p.read_bytes() for p in (root / "runs").rglob("*.json")}


def test_every_kind_of_an_old_file_is_read(zero, root):
    before = content_of(root.root)
    spec = root.spec("ce", seed=1)
    (attempt,) = attempts(root.root, spec.run_id)
    found = attempt.record()
    assert (found.schema, found.spec, found.digest) == (1, spec, TODAY)
    assert found.cost.wall_seconds == pytest.approx(61.0)
    evaluation = read(Evaluation, attempt.evaluation_path("toy-task", EVALUATION))
    assert evaluation.metrics == [MetricRow(metric="mIoU", value=0.5)]
    broken = root.spec("focal")
    (begun,) = attempts(root.root, broken.run_id)
    assert find_spec(root.root, broken.run_id) == broken
    assert begun.status().elapsed == pytest.approx(90.0)
    # plans decode the head of a record alone: it must come out the same
    assert finished_digest(attempt) == TODAY
    assert look(root.root, spec, TODAY, Code({}), "toy-task", EVALUATION).todo == "done"
    assert content_of(root.root) == before


def test_an_old_root_makes_the_same_store(zero, root, tmp_path):
    new = Records(tmp_path / "new")
    new.seeds("ce", [0.25, 0.5, 0.75])
    new.unfinished("focal", beat=1000.0)

    def rows(board):
        report = board.ingest()
        from suite.store.connection import connect

        with connect(board.root) as store:
            return report.refused, store.execute(
                "SELECT run_id, method, digest, state, round(wall_seconds, 6), metric, value "
                "FROM attempts LEFT JOIN evaluations USING (run_id, attempt) "
                "LEFT JOIN metrics USING (evaluation_id) ORDER BY ALL"
            ).fetchall()

    assert rows(root) == rows(new)


def test_without_a_way_from_there_an_old_file_is_refused_by_name(root):
    spec = root.spec("ce")
    (attempt,) = attempts(root.root, spec.run_id)
    with pytest.raises(RecordError, match=r"record\.json: schema 0 is not supported"):
        attempt.record()
    assert finished_digest(attempt) is None
    assert find_spec(root.root, root.spec("focal").run_id) is None
    assert len(root.ingest().refused) == 3 * 2 + 2


def test_versions_are_passed_through_one_after_the_other(monkeypatch):
    monkeypatch.setattr(migrate, "_steps", {})
    migrate.register(1, Status=lambda s: {**s, "trail": [1]})
    migrate.register(2, RunSpec=lambda s: {**s, "two": True})
    migrate.register(3, Status=lambda s: {**s, "trail": [*s["trail"], 3]})
    assert migrate.migrate("Status", {}, 4) == {"trail": [1, 3], "schema": 4}
    assert migrate.migrate("Record", {"schema": 2, "spec": {}}, 4)["spec"] == {"two": True}
    assert migrate.migrate("Record", {"schema": 3, "spec": {}}, 4)["spec"] == {}
    with pytest.raises(migrate.NotReadable, match="newer"):
        migrate.migrate("Status", {"schema": 5}, 4)


def test_what_is_registered_is_checked(monkeypatch):
    monkeypatch.setattr(migrate, "_steps", {})
    migrate.register(1)
    with pytest.raises(ValueError, match="registered already"):
        migrate.register(1)
    with pytest.raises(ValueError, match="no such kind of file: Recrod"):
        migrate.register(2, Recrod=lambda r: r)


def test_what_comes_from_an_old_file_is_validated(zero, root):
    (attempt,) = attempts(root.root, root.spec("ce").run_id)
    path = attempt.path / "record.json"
    rewrite(path, lambda r: {**r, "finished": "yesterday"})
    with pytest.raises(RecordError, match=r"`float`.*\$\.finished"):
        attempt.record()
    # not what version 0 was: no function of ours must show through
    path.write_bytes(b'{"schema": 0}')
    with pytest.raises(RecordError, match="not what a file of schema 0 is"):
        attempt.record()
    assert finished_digest(attempt) is None


def test_a_spec_that_becomes_another_run_is_refused(monkeypatch, root):
    monkeypatch.setattr(migrate, "_steps", {})
    migrate.register(0, RunSpec=lambda s: {**_spec(s), "seed": 7}, Status=_status)
    assert find_spec(root.root, root.spec("focal").run_id) is None
    assert any("describes run" in reason for _, reason in root.ingest().refused)


def test_after_a_new_version_what_says_nothing_is_of_the_first(monkeypatch, tmp_path):
    board = Records(tmp_path)
    board.unfinished("before", beat=1000.0)
    monkeypatch.setattr(record, "SCHEMA", 2)
    monkeypatch.setattr(migrate, "_steps", {})
    migrate.register(1, RunSpec=lambda s: {**s, "params": {**s["params"], "scale": s["seed"]}})
    after = Records(tmp_path / "after").unfinished("after", beat=1000.0)
    assert msgspec.json.decode((after.path / "spec.json").read_bytes())["schema"] == 2
    # the spec of version 1 has changed, that of version 2 has not
    (old,) = all_attempts(tmp_path)
    assert read(RunSpec, old.path / "spec.json").params == {"scale": 0}
    assert read(RunSpec, after.path / "spec.json").params == {}
    content = b'{"state": "running", "digest": "", "started": 0, "heartbeat": 0}'
    assert record.decode(Status, content, tmp_path).schema == 2
    migrate._steps[1] = {"Status": lambda s: {**s, "step": 9}}
    assert record.decode(Status, content, tmp_path).step == 9


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from([RunSpec, Status, Record, Evaluation]),
    schema=st.integers(-2, 3) | JSON,
    rest=st.dictionaries(
        st.sampled_from(["spec", "cost", "baseline", "minutes", "rows", "code", "state"]), JSON
    ),
)
def test_no_content_does_anything_but_be_read_or_refused(kind, schema, rest):
    saved, migrate._steps = migrate._steps, {}
    try:
        migrate.register(0, RunSpec=_spec, Status=_status, Record=_record, Evaluation=_evaluation)
        content = msgspec.json.encode({**rest, "schema": schema})
        with pytest.raises(RecordError) as refused:
            record.decode(kind, content, Path("file"))
        assert "\n" not in str(refused.value)
    except OverflowError:
        pass  # a number that JSON of ours cannot hold was drawn
    finally:
        migrate._steps = saved


def test_todays_files_are_read_as_fast_as_before(tmp_path):
    (attempt,) = Records(tmp_path).seeds("ce", [0.5])
    path = attempt.path / "record.json"
    content = path.read_bytes()
    plain = msgspec.json.Decoder(Record).decode

    def best(call):
        took = []
        for _ in range(20):
            start = time.perf_counter()
            for _ in range(200):
                call()
            took.append(time.perf_counter() - start)
        return min(took)

    # a few attribute look-ups beside the decoding itself; an accidental second decoding would triple it
    assert best(lambda: record.decode(Record, content, path)) < 2 * best(lambda: plain(content))
