"""What the files of a run say of their version, and what is made of files of another one."""

import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import EVALUATION, TODAY, Records

from suite.base.errors import RecordError
from suite.define.digest import Code
from suite.define.spec import RunSpec
from suite.records import files
from suite.records.attempt import Attempt, attempts, finished_digest
from suite.records.files import Evaluation, Record, Status, decode, read
from suite.records.lookup import find_spec
from suite.runs.todo import plan_run


def rewrite(path, change):
    content = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(change(content)))


def of_version(number):
    return lambda content: {**content, "schema": number}


@pytest.fixture
def root(tmp_path):
    """Three finished runs and one that broke off."""
    board = Records(tmp_path)
    board.seeds("ce", [0.25, 0.5, 0.75])
    board.unfinished("focal", beat=1000.0)
    return board


def content_of(root):
    return {p: p.read_bytes() for p in (root / "runs").rglob("*.json")}


def test_what_says_no_version_is_of_todays(root):
    spec = root.spec("ce", seed=1)
    (attempt,) = attempts(root.root, spec.run_id)
    before = content_of(root.root)
    for path in before:
        rewrite(path, lambda c: {k: v for k, v in c.items() if k != "schema"})
    (begun,) = attempts(root.root, root.spec("focal").run_id)
    assert begun.status().schema == 1
    assert (attempt.record().schema, attempt.record().spec) == (1, spec)
    assert read(Evaluation, attempt.evaluation_path("toy-task", EVALUATION)).schema == 1
    assert find_spec(root.root, root.spec("focal").run_id) == root.spec("focal")
    assert finished_digest(attempt) == TODAY
    assert plan_run(root.root, spec, TODAY, Code({}), "toy-task", EVALUATION).todo == "done"
    assert root.ingest().refused == ()


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (0, "schema 0 is not supported"),
        (2, "schema 2 is newer than this suite's 1; update longtail-suite"),
        (True, "schema True is not supported"),
        ("1", "schema '1' is not supported"),
    ],
)
def test_files_of_another_version_are_refused_by_name(root, version, says):
    spec = root.spec("ce")
    for path in content_of(root.root):
        rewrite(path, of_version(version))
    before = content_of(root.root)
    (attempt,) = attempts(root.root, spec.run_id)
    with pytest.raises(RecordError, match=rf"record\.json: {says}"):
        attempt.record()
    assert finished_digest(attempt) is None
    assert attempt.status() is None
    assert find_spec(root.root, root.spec("focal").run_id) is None
    (begun,) = attempts(root.root, root.spec("focal").run_id)
    with pytest.raises(RecordError, match=rf"spec\.json: {says}"):
        read(RunSpec, begun.path / "spec.json")
    refused = root.ingest().refused
    # a record and an evaluation each of the finished, a spec and a status of the other
    assert len(refused) == 3 * 2 + 2
    assert {one.reason for one in refused} == {says}
    assert content_of(root.root) == before


def test_a_newer_version_is_said_to_be_one_rather_than_what_it_lacks(root):
    (attempt,) = attempts(root.root, root.spec("ce").run_id)
    (attempt.path / "record.json").write_bytes(b'{"schema": 7}')
    with pytest.raises(RecordError, match="schema 7 is newer"):
        attempt.record()


def test_todays_files_are_validated(root):
    (attempt,) = attempts(root.root, root.spec("ce").run_id)
    path = attempt.path / "record.json"
    rewrite(path, lambda r: {**r, "finished": "yesterday"})
    with pytest.raises(RecordError, match=r"`float`.*\$\.finished"):
        attempt.record()
    path.write_bytes(b'["schema"]')
    with pytest.raises(RecordError, match="no JSON object"):
        attempt.record()
    assert finished_digest(attempt) is None


def test_an_attempt_in_a_folder_elsewhere(root, tmp_path):
    (attempt,) = attempts(root.root, root.spec("ce").run_id)
    place = tmp_path / "elsewhere"
    attempt.path.rename(place)
    assert not attempt.finished
    moved = Attempt(attempt.root, attempt.run_id, attempt.number, folder=place)
    assert moved.path == place and moved.record().spec == root.spec("ce")
    assert finished_digest(moved) == TODAY
    with pytest.raises(AttributeError):
        moved.path = attempt.path


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from([RunSpec, Status, Record, Evaluation]),
    schema=st.integers(-2, 3) | JSON,
    rest=st.dictionaries(st.sampled_from(["spec", "cost", "rows", "digest", "state"]), JSON),
)
def test_no_content_does_anything_but_be_read_or_refused(kind, schema, rest):
    try:
        content = msgspec.json.encode({**rest, "schema": schema})
    except OverflowError:
        return  # a number that JSON of ours cannot hold was drawn
    with pytest.raises(RecordError) as refused:
        decode(kind, content, Path("file"))
    assert "\n" not in str(refused.value)


def test_todays_files_are_read_as_fast_as_they_are_decoded(tmp_path):
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
    assert best(lambda: files.decode(Record, content, path)) < 2 * best(lambda: plain(content))
