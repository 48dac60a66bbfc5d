"""`review` and `merge`: what comes in from elsewhere, and what does not."""

import json
import os
import random
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reviewing import refused, reviewed
from strangers import (
    Stranger,
    arrays,
    catalog,
    edit,
    finished,
    lie,
    rewrite_arrays,
    rows_of,
    tree,
)

from suite.base.errors import RecordError, UserError
from suite.exchange.importing import accept
from suite.exchange.merge import merge
from suite.exchange.review.examine import review
from suite.exchange.verify import verify
from suite.records.attempt import Attempt, attempts
from suite.records.files import Failure
from suite.runs.evaluate import evaluate_attempt
from suite.store.ingest import ingest


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    return Stranger(tmp_path)


def again(run: Attempt) -> None:
    """Make the evaluations of a run anew, so that its scores are those of its predictions."""
    shutil.rmtree(run.path / "evaluations")
    protocol = catalog().protocol_of(run.record().spec)
    for task in catalog().tasks().values():
        if protocol in task.protocols:
            evaluate_attempt(run, task, protocol, catalog())


THEIRS = (
    '[[attested]]\nmethod = "{}"\nbefore = "b"\nafter = "a"\ncommit = "{}"\nevidence = "e"\n'
    "protocols = {{ smoke = 'h' }}\n"
)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (THEIRS.format("ce", "c" * 40), "python -m suite attest ce --since " + "c" * 40),
        # nothing of theirs is to be typed
        (THEIRS.format("ce", "; rm -rf ."), "python -m suite attest METHOD --since COMMIT"),
        (THEIRS.format("nobodys", "c" * 40), "python -m suite attest METHOD --since COMMIT"),
        ("[" * 100_000, "python -m suite attest METHOD --since COMMIT"),
        (b"\xff", "python -m suite attest METHOD --since COMMIT"),
    ],
)
def test_a_strangers_attestation_is_not_believed(stranger, text, command):
    """It says that their code is ours: the verdict is the same as without."""
    edit(stranger.run.path / "record.json", lambda record: record.update(digest="b" * 12))
    before = reviewed(stranger)
    today = catalog().code.digests["ce"]
    text = text if isinstance(text, bytes) else text.replace('"a"', f'"{today}"').encode()
    (stranger.folder / "attested.toml").write_bytes(text.replace(b'"b"', b'"%s"' % (b"b" * 12)))
    found = reviewed(stranger)
    (note,) = (finding for finding in found.findings if finding.check == "attested.toml")
    assert note.level == "note"
    assert note.text == (
        f"somebody else's attestation is not believed; to repeat it here: {command}"
    )
    found.findings.remove(note)
    assert found.as_dict() == before.as_dict()
    code = [f.text for run in found.runs for f in run.findings if f.check == "code"]
    assert code == ["another version of its code than here: its rows will be shown as stale"]


def test_a_link_to_an_attestation_is_not_followed(stranger, tmp_path):
    (tmp_path / "elsewhere.toml").write_text(THEIRS.format("ce", "c" * 40))
    (stranger.folder / "attested.toml").symlink_to(tmp_path / "elsewhere.toml")
    assert [f.text for f in reviewed(stranger).findings if f.check == "attested.toml"] == [
        "somebody else's attestation is not believed; to repeat it here: python -m suite attest METHOD "
        "--since COMMIT"
    ]


def test_an_honest_run_is_acceptable_and_imported_as_external(stranger):
    before = tree(stranger.folder, stranger.root)
    found = reviewed(stranger)
    assert found.acceptable and [one.state for one in found.new] == ["new"]
    assert not [f for f in found.runs[0].findings if f.level != "ok"]
    assert tree(stranger.folder, stranger.root) == before
    (made,) = accept(found, stranger.root, catalog())
    record = made.record()
    assert record.flags == ["external"] and len(record.external) == 64
    assert verify(made, catalog()).holds
    assert rows_of(made) == rows_of(stranger.run)
    # no weights, no log: nothing here needs them
    names = {path.name for path in made.path.iterdir()}
    assert names == {"record.json", "spec.json", "predictions.npz", "evaluations"}
    report = ingest(stranger.root, catalog().tasks(), catalog().code)
    assert (report.attempts, report.refused) == (3, ())
    # a second time there is nothing to do, and nothing wrong
    found = reviewed(stranger)
    assert found.acceptable and not found.new and accept(found, stranger.root, catalog()) == []


def test_comparison_is_in_words(tmp_path):
    one = Stranger(tmp_path)
    better = arrays(8)
    better["test"]["logits"] += 9 * np.eye(10, dtype=np.float32)[better["test"]["label"]]
    finished(one.folder, 8, sets=better)
    (line, *_) = reviewed(one).comparison
    assert "longtail-cls, quick, ce: balanced_accuracy theirs" in line and "(n=2)" in line
    assert "no significant difference" in line
    other = Stranger(tmp_path / "other")
    assert "too few seeds" in reviewed(other).comparison[0]


def test_parameters_outside_of_the_card_are_refused(tmp_path):
    one = Stranger(tmp_path)
    shutil.rmtree(one.folder)
    run = finished(one.folder, 7, "focal", overrides={"gamma": 2.0})
    assert reviewed(one).acceptable
    for params in ({"gamma": -1.0}, {"gamma": 2.0, "other": 1}, {"gamma": "2"}):
        record = run.record()
        spec = msgspec.structs.replace(record.spec, params=params)
        target = Attempt(tmp_path / "odd", spec.run_id, 1)
        shutil.rmtree(tmp_path / "odd", ignore_errors=True)
        shutil.copytree(run.path, target.path)
        (target.path / "spec.json").unlink()
        target.write_record(msgspec.structs.replace(record, spec=spec, run_id=spec.run_id))
        again(target)
        found = review(tmp_path / "odd", one.root, catalog())
        problems = {f.check for f in found.runs[0].findings if f.level == "problem"}
        assert problems == {"method"}, params


def test_scores_must_be_those_of_the_predictions(stranger):
    path = min((stranger.run.path / "evaluations").iterdir())
    edit(path, lambda c: c["metrics"][0].update(value=0.987))
    assert refused(stranger) == {"metrics"}
    again(stranger.run)
    rewrite_arrays(stranger.run, lambda held: held["test/logits.npy"].__imul__(1.001))
    assert refused(stranger) == {"metrics"}
    shutil.rmtree(stranger.run.path / "evaluations")
    assert refused(stranger) == {"metrics"}, "nothing to hold the predictions against"


def test_scores_made_in_training_cannot_stand_for_final_ones(stranger):
    row = {"metric": "top1", "subset": "split=extra", "value": 0.99, "source": "hook"}
    edit(stranger.run.path / "record.json", lambda c: c.update(rows=[row]))
    again(stranger.run)
    assert refused(stranger) == {"metrics"}


def test_labels_are_compared_with_those_of_our_runs(stranger):
    def cheat(held):
        held["test/label.npy"] = held["test/logits.npy"].argmax(1).astype(np.int32)

    rewrite_arrays(stranger.run, cheat)
    again(stranger.run)
    assert next(iter(rows_of(stranger.run)["longtail-cls"].values())) == 1.0
    assert refused(stranger) == {"predictions"}


def test_arrays_that_no_score_is_made_of(stranger):
    rewrite_arrays(stranger.run, lambda held: held.update({"test/more.npy": np.zeros(3)}))
    assert refused(stranger) == {"predictions"}
    rewrite_arrays(stranger.run, lambda held: held.pop("test/more.npy"))
    rewrite_arrays(stranger.run, lambda held: held.update({"mine/logits.npy": np.zeros(3)}))
    assert "predictions" in refused(stranger)


def test_of_a_further_set_only_what_scores_read_is_imported(stranger):
    def measured(held):
        held["sharpness/group.npy"] = np.array(["head", "tail"])
        for key in ("lambda_max", "lambda_min", "residual_max"):
            held[f"sharpness/{key}.npy"] = np.array([3.0, 5.0])

    rewrite_arrays(stranger.run, measured)
    again(stranger.run)
    found = reviewed(stranger)
    assert found.acceptable
    texts = [f.text for f in found.runs[0].findings if f.level == "note"]
    assert any("no score is made of sharpness/residual_max" in text for text in texts)
    (made,) = accept(found, stranger.root, catalog())
    assert set(made.predictions()["sharpness"]) == {"group", "lambda_max", "lambda_min"}
    assert verify(made, catalog()).holds
    assert not reviewed(stranger).new


def test_copied_predictions_are_found_out(tmp_path):
    one = Stranger(tmp_path)
    finished(one.folder, 8, sets=arrays(1))
    assert refused(one) == {"duplicate"}, "those of our seed 1"
    texts = [f.text for run in reviewed(one).runs for f in run.findings if f.level == "problem"]
    assert len(texts) == 1 and "another seed never gives the same" in texts[0]
    shutil.rmtree(one.folder)
    for seed in (7, 8):
        finished(one.folder, seed, sets=arrays(7))
    assert refused(one) == {"duplicate"}, "one run under two seeds"
    shutil.rmtree(one.folder)
    finished(one.folder, 1, "focal", sets=arrays(1))
    assert refused(one) == {"duplicate"}, "our ce as their focal"


def test_a_run_of_our_own_is_never_displaced(tmp_path):
    one = Stranger(tmp_path)
    shutil.rmtree(one.folder)
    finished(one.folder, 1, sets=arrays(5))
    assert refused(one) == {"duplicate"}, "the same record, with other arrays"
    shutil.rmtree(one.folder)
    finished(one.folder, 1, sets=arrays(5), finished=5.0)
    assert refused(one) == {"duplicate"}
    # unless ours is of other code: then it is the next attempt
    (ours,) = attempts(one.root, finished(one.folder, 1, sets=arrays(5), attempt=2).run_id)
    edit(ours.path / "record.json", lambda c: c.update(digest="0" * 12))
    found = reviewed(one)
    assert [a.number for a in accept(found, one.root, catalog())] == [2]


def test_other_code_is_a_note_and_unknown_methods_are_taken_as_they_are(tmp_path):
    one = Stranger(tmp_path)
    edit(one.run.path / "record.json", lambda c: c.update(digest="0" * 12))
    found = reviewed(one)
    assert found.acceptable and ("code", "note") in [
        (f.check, f.level) for f in found.runs[0].findings
    ]
    record = one.run.record()
    spec = msgspec.structs.replace(record.spec, method="theirs", params={"x": 1})
    target = Attempt(tmp_path / "new", spec.run_id, 1)
    shutil.copytree(one.run.path, target.path)
    (target.path / "spec.json").unlink()
    target.write_record(msgspec.structs.replace(record, spec=spec, run_id=spec.run_id))
    again(target)
    found = review(tmp_path / "new", one.root, catalog())
    assert found.acceptable
    (made,) = accept(found, one.root, catalog())
    assert made.record().spec.method == "theirs" and verify(made, catalog()).holds


def test_input_runs_come_first_and_are_renumbered(tmp_path):
    one = Stranger(tmp_path)
    shutil.rmtree(one.folder)
    first = finished(one.folder, 7, attempt=3)
    second = finished(one.folder, 7, "crt", inputs={"stage1": first}, sets=arrays(70),
                      flags=["extra-budget"])  # fmt: skip
    found = reviewed(one)
    assert found.acceptable, [f for run in found.runs for f in run.findings]
    accept(found, one.root, catalog())
    (imported,) = attempts(one.root, second.run_id)
    assert imported.record().inputs["stage1"].attempt == 1
    shutil.rmtree(first.path.parent)
    shutil.rmtree(one.root / "runs" / first.run_id)
    shutil.rmtree(one.root / "runs" / second.run_id)
    assert "inputs" in refused(one)


@pytest.mark.parametrize("name", ["predictions.npz", "record.json", "evaluations", "spec.json"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_and_pipes_are_refused_unopened(stranger, name, kind):
    path = stranger.run.path / name
    target = stranger.folder.parent / "elsewhere"
    path.rename(target)
    if kind == "link":
        path.symlink_to(target)
    else:
        os.mkfifo(path)
    assert "files" in refused(stranger)


def test_linked_folders_and_names_with_escapes(stranger):
    (stranger.folder / "runs" / "0123456789ab").symlink_to(stranger.run.path.parent)
    assert refused(stranger) == {"files"}
    (stranger.folder / "runs" / "0123456789ab").unlink()
    os.mkdir(os.fsencode(stranger.folder / "runs") + b"/\xff\x1b[2J")
    found = reviewed(stranger)
    assert not found.acceptable and json.dumps(found.as_dict()).isascii()


def test_a_single_runs_folder_and_no_runs_at_all(stranger, tmp_path):
    for folder in (stranger.run.path, stranger.run.path.parent):
        assert review(folder, stranger.root, catalog()).acceptable
    (tmp_path / "empty").mkdir()
    assert not review(tmp_path / "empty", stranger.root, catalog()).acceptable
    for folder in (tmp_path / "none", stranger.root):
        with pytest.raises(UserError):
            review(folder, stranger.root, catalog())


def test_files_that_change_between_review_and_import(stranger):
    found = reviewed(stranger)
    rewrite_arrays(stranger.run, lambda held: held["test/logits.npy"].__imul__(2))
    with pytest.raises(UserError, match="changed since"):
        accept(found, stranger.root, catalog())
    assert not attempts(stranger.root, stranger.run.run_id)


# -- fuzz


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Stranger:
    return Stranger(tmp_path_factory.mktemp("original"))


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1))
def test_changed_records_break_nothing_and_no_lie_is_accepted(original, tmp_path_factory, seed):
    place = tmp_path_factory.getbasetemp() / "fuzz"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(original.folder, place)
    lie(Attempt(place, original.run.run_id, 1), random.Random(seed))
    before = tree(place, original.root)
    try:
        found = review(place, original.root, catalog())
    except (UserError, RecordError):
        return
    finally:
        assert tree(place, original.root) == before
    if not found.acceptable:
        return
    # what is accepted has the scores and the predictions of the run before it was changed
    rows = {
        task: {(r.metric, r.subset, r.class_, r.step): r.value for r in made}
        for task, made in found.runs[0].rows.items()
    }
    assert rows == rows_of(original.run)
    with np.load(found.runs[0].folder / "predictions.npz") as file:
        for name, array in original.run.predictions()["test"].items():
            np.testing.assert_array_equal(file[f"test/{name}"], array)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=400), at=st.sampled_from(["record.json", "predictions.npz"]))
def test_arbitrary_bytes_are_refused(original, tmp_path_factory, content, at):
    place = tmp_path_factory.getbasetemp() / "bytes"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(original.folder, place)
    run = Attempt(place, original.run.run_id, 1)
    (run.path / at).write_bytes(content)
    assert not review(place, original.root, catalog()).acceptable
    assert not verify(run, catalog()).holds


# -- merge


def states(done) -> list[tuple[int, str, int | None]]:
    return [(one.attempt, one.state, one.to) for one in done]


def test_merge_brings_new_attempts_once(tmp_path):
    ours, theirs = tmp_path / "a", tmp_path / "b"
    run = finished(ours, 1)
    finished(theirs, 1, finished=5.0, sets=arrays(11))
    other = finished(theirs, 2, attempt=4)
    (other.path / "weights.safetensors").write_bytes(b"weights")
    before = tree(ours, theirs)
    planned = merge(theirs, ours, dry_run=True)
    assert tree(ours, theirs) == before
    done = merge(theirs, ours)
    assert done == planned
    assert sorted(states(done)) == [(1, "brought", 2), (4, "brought", 1)]
    (brought,) = attempts(ours, other.run_id)
    assert brought.weights.read_bytes() == b"weights" and brought.record().external == ""
    assert [verify(a, catalog()).holds for a in (run, *attempts(ours, run.run_id), brought)] == [
        True
    ] * 4
    after = tree(ours)
    assert {one.state for one in merge(theirs, ours)} == {"here"}
    assert {p for p in tree(ours) if not p.endswith("/lock")} == {
        p for p in after if not p.endswith("/lock")
    }
    assert ingest(ours, catalog().tasks(), catalog().code).refused == ()


def test_merge_renumbers_input_runs(tmp_path):
    ours, theirs = tmp_path / "a", tmp_path / "b"
    finished(ours, 1, finished=5.0)
    first = finished(theirs, 1)
    second = finished(theirs, 1, "crt", inputs={"stage1": first}, sets=arrays(70))
    merge(theirs, ours)
    (brought,) = attempts(ours, second.run_id)
    assert brought.record().inputs["stage1"].attempt == 2
    assert {one.state for one in merge(theirs, ours)} == {"here"}


def test_merge_brings_failures_as_rows(tmp_path):
    ours, theirs = tmp_path / "a", tmp_path / "b"
    run = finished(theirs, 1)
    spec = run.record().spec
    (run.path / "record.json").unlink()
    (run.path / "status.json").unlink()
    run.write_failure(spec, "d1", Failure(kind="nan", message="loss", step=4))
    assert states(merge(theirs, ours)) == [(1, "brought", 1)]
    (brought,) = attempts(ours, run.run_id)
    assert brought.status().failure.kind == "nan"
    assert states(merge(theirs, ours)) == [(1, "here", 1)]


def test_records_without_the_new_field_are_read(tmp_path):
    run = finished(tmp_path, 1)
    edit(run.path / "record.json", lambda c: {k: v for k, v in c.items() if k != "external"})
    assert run.record().external == "" and verify(run, catalog()).holds
