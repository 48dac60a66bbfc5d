"""Scores by class: what the store says, differences, flows, and the tasks' confusions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from records import TASK, Records, edit
from strangers import catalog, finished, protocol, rewrite_arrays

from suite.base.errors import RecordError, UserError
from suite.boards import classes as by_class
from suite.boards import confusions
from suite.define.metrics import MetricRow
from suite.define.task import Trained
from suite.runs.evaluate import stored_predictions
from suite.stats.tests import Interval, mean_interval
from suite.store.connection import connect
from suite.store.listing import newest_runs
from tasks.longtail_cls import TASK as CLS
from tasks.longtail_cls.evaluation import evaluate as evaluate_cls
from tasks.longtail_seg import TASK as SEG
from tasks.longtail_seg.evaluation import _confusion_rows
from tasks.vision import stored
from tasks.vision.per_class import confusion as confusion_cls

UNDER = TASK.protocols[0]
NAMES = UNDER.dataset.classes


def iou(*values, subset=""):
    return [
        MetricRow(metric="IoU", class_=name, value=value, subset=subset)
        for name, value in zip(NAMES, values, strict=True)
    ]


# -- from the store


@pytest.fixture
def board(tmp_path):
    made = Records(tmp_path)
    for seed in range(3):
        made.run(
            "ce",
            seed=seed,
            rows=[*iou(0.9, 0.5 + 0.1 * seed, 0.1), *iou(1, 1, 1, subset="split=x")],
        )
        made.run("la", seed=seed + 1, rows=iou(0.8, 0.6, None if seed == 2 else 0.3))
    made.run("old", rows=iou(1, 1, 1), digest="other")
    made.ingest(today={"old": "d1"})
    return made


def test_scores_by_class_are_the_stores(board):
    with connect(board.root) as store:
        assert by_class.class_keys(store, TASK, UNDER) == ["IoU", "IoU[split=x]"]
        assert by_class.class_keys(store, TASK, TASK.protocols[1]) == []
        found = {r.side.method: r for r in by_class.class_scores(store, TASK, UNDER, "IoU")}
        assert sorted(found) == ["ce", "la"]  # stale rows have no scores here
        assert found["ce"].classes[1] == pytest.approx(mean_interval([0.5, 0.6, 0.7]))
        assert found["ce"].classes[0] == pytest.approx((0.9, 0.9, 0.9, 3))
        # a mean over two of three runs is not the row's
        assert found["la"].classes[2] is None
        a, b = by_class.class_values(
            store, TASK, UNDER, "IoU", [found["ce"].side, found["la"].side]
        )
        only = by_class.class_scores(store, TASK, UNDER, "IoU[split=x]")
        assert [row.side.method for row in only] == ["ce"]
    assert a == {0: [0.9, 0.5, 0.1], 1: [0.9, 0.6, 0.1], 2: [0.9, 0.7, 0.1]}
    assert sorted(b) == [1, 2, 3]
    assert b[3] == [0.8, 0.6, None]


def test_two_runs_of_one_seed_are_no_pair(tmp_path):
    made = Records(tmp_path)
    for other in "ab":
        source = made.run(other, rows=iou(1, 1, 1))
        made.run("crt", inputs={"start": source.run_id}, rows=iou(0.5, 0.5, 0.5))
    made.ingest()
    with connect(tmp_path) as store:
        sides = [r.side for r in by_class.class_scores(store, TASK, UNDER, "IoU")]
        doubled = [
            replace(side, runs=(*side.runs, replace(side.runs[0], run_id="f" * 12)))
            for side in sides
        ]
        assert by_class.class_values(store, TASK, UNDER, "IoU", doubled) == [{}] * len(sides)


def test_training_counts_are_of_the_first_record_that_fits(board):
    with connect(board.root) as store:
        sides = [r.side for r in by_class.class_scores(store, TASK, UNDER, "IoU")]
    runs = [(run.run_id, run.attempt) for side in sides for run in side.runs]
    first, *others = (board.root / "runs" / run / str(n) / "record.json" for run, n in runs)
    assert by_class.class_counts(board.root, UNDER.dataset, runs) is None
    edit(first, class_counts=[5, 2], classes=["road", "sky"])
    edit(others[0], class_counts=[5, 2**70, 1])
    edit(others[1], class_counts=[5, 2, 1], classes=["sky", "road", "sign"])
    edit(others[2], class_counts=[9, 3, 1], classes=list(NAMES))
    assert by_class.class_counts(board.root, UNDER.dataset, runs) == (9, 3, 1)
    # somebody else's only where there is none of ours
    edit(others[2], external="ab" * 32)
    assert by_class.class_counts(board.root, UNDER.dataset, runs) == (9, 3, 1)
    edit(others[3], class_counts=[8, 2, 1], classes=list(NAMES))
    assert by_class.class_counts(board.root, UNDER.dataset, runs) == (8, 2, 1)


def test_the_newest_runs_with_their_states(tmp_path):
    made = Records(tmp_path)
    done = made.run("ce", seed=0, mIoU=0.3)
    made.run("old", seed=0, mIoU=0.3, digest="other")
    made.unfinished("LA", seed=0)
    made.unfinished("la", seed=1, failure="nan")
    made.unfinished("la", seed=2, state="stopped", beat=500.0)
    made.unfinished("ce", seed=0, attempt=2, failure="oom")
    made.ingest(today={"ce": "d1", "old": "d1", "la": "d1", "LA": "d1"})
    with connect(tmp_path) as store:
        runs, count = newest_runs(store, TASK)
        assert count == 5
        assert {(r.method, r.seed): (r.state, r.attempt) for r in runs} == {
            ("LA", 0): ("running", 1),
            ("la", 1): ("failed", 1),
            ("la", 2): ("stopped", 1),
            ("ce", 0): ("done", 2),  # an attempt that counts stands
            ("old", 0): ("stale", 1),
        }
        assert runs == sorted(runs, key=lambda run: -run.seen)
        assert [r.run for r in newest_runs(store, TASK, method="CE")[0]] == [done.run_id]
        assert len(newest_runs(store, TASK, states=["failed", "stopped"])[0]) == 2
        some, count = newest_runs(store, TASK, most=2)
        assert (len(some), count) == (2, 5)
        assert newest_runs(store, TASK, protocol="toy:full") == ([], 0)
        assert newest_runs(store, TASK, method="%'; --") == ([], 0)


# -- differences


def test_differences_are_paired_by_seed():
    a = {0: [0.5, 0.2, None], 1: [0.7, 0.2, 0.1], 5: [0.0, 0.0, 0.0]}
    b = {0: [0.6, 0.1, 0.3], 1: [0.9, 0.1, 0.3], 7: [1.0, 1.0, 1.0]}
    seeds, found = by_class.differences(a, b)
    assert seeds == [0, 1]
    assert found[0] == pytest.approx(mean_interval([0.1, 0.2]))
    assert found[1] == pytest.approx((-0.1, -0.1, -0.1, 2))
    assert found[2] is None
    assert by_class.differences(a, {9: [1, 1, 1]}) == ([], [])


def test_groups_gain_and_pay_the_sums_of_their_classes():
    a = {0: [0.5, 0.5, 0.1, None], 1: [0.6, 0.5, 0.1, None]}
    b = {0: [0.4, 0.5, 0.3, 0.2], 1: [0.5, 0.5, 0.3, 0.2]}
    head, tail, everything = by_class.group_changes(a, b, ["head", "head", "tail", "tail"])
    assert (head.group, head.classes, head.gained, head.lost) == ("head", 2, 0, 1)
    assert head.total.mean == pytest.approx(-0.1)
    assert (tail.group, tail.classes, tail.gained, tail.lost) == ("tail", 1, 1, 0)
    assert tail.total.mean == pytest.approx(0.2)
    assert (everything.group, everything.classes) == ("", 3)
    assert everything.total.mean == pytest.approx(0.1)
    assert by_class.group_changes(a, {}, ["head"] * 4) == []


def test_one_seed_decides_nothing():
    assert by_class.side_of(Interval(0.5, None, None, 1)) == 0
    assert by_class.side_of(Interval(0.5, 0.1, 0.9, 2)) == 1
    assert by_class.side_of(Interval(-0.5, -0.9, -0.1, 2)) == -1
    assert by_class.side_of(Interval(0.5, 0.0, 1.0, 2)) == 0


# -- groups


def test_groups_are_the_data_sets_or_follow_from_counts():
    assert by_class.groups_of(TASK, UNDER, None) == ("head", "head", "tail")
    data = replace(UNDER.dataset, groups={}, group_thresholds=(100, 20))
    by_count = replace(UNDER, dataset=data)
    assert by_class.groups_of(CLS, by_count, (101, 100, 19)) == ("head", "medium", "tail")
    assert by_class.groups_of(CLS, by_count, None) == ("", "", "")


def test_coco_stuffs_groups_are_those_that_are_scored():
    """Its sheet lists the tail alone; head and medium follow from a copy's pixels."""
    under = next(p for p in SEG.protocols if p.dataset.name == "coco-stuff164k")
    tail = under.dataset.groups["tail"]
    counts = list(range(1, len(under.dataset.classes) + 1))
    found = by_class.groups_of(SEG, under, counts)
    rest = [c for c in range(len(counts)) if c not in tail]
    assert [c for c, group in enumerate(found) if group == "tail"] == list(tail)
    assert [c for c, group in enumerate(found) if group == "head"] == rest[-16:]
    assert [c for c, group in enumerate(found) if group == "medium"] == rest[:-16]
    assert set(by_class.groups_of(SEG, under, None)) == {"", "tail"}


def test_classes_by_frequency():
    assert by_class.by_frequency(3, (5, 9, 5)) == [1, 0, 2]
    assert by_class.by_frequency(3, None) == [0, 1, 2]


def test_grounds_of_groups_meet_halfway():
    spans = by_class.group_spans(["head", "medium", "tail", "tail", ""], [1000, 100, 25, 4, 50])
    assert [name for name, _, _ in spans] == ["head", "medium", "tail"]
    (_, head_low, head_high), (_, low, high), (_, tail_low, tail_high) = spans
    assert head_low == high == pytest.approx(math.sqrt(1000 * 100))
    assert low == tail_high == pytest.approx(50)
    assert head_high > 1000 and tail_low < 4
    # groups that do not follow these counts have no ground
    assert by_class.group_spans(["head", "tail"], [5, 5]) is None
    assert by_class.group_spans(["head", "tail", "head"], [9, 5, 1]) is None
    assert by_class.group_spans(["", ""], [1, 2]) == []


# -- flows


A = np.array([[90, 10, 0], [30, 60, 10], [8, 2, 0]])
B = np.array([[70, 25, 5], [5, 90, 5], [2, 2, 6]])


def test_flows_by_hand():
    found = confusions.flows(A, B, seeds=2)
    assert [(f.payer, f.gainer) for f in found] == [(0, 1), (0, 2)]
    one, other = found
    # of 100 of class 0, 15 more are called 1; of 100 of class 1, 25 fewer are called 0
    assert (one.lost, one.won) == (7.5, 12.5)
    assert (one.lost_share, one.won_share) == pytest.approx((0.15, 0.25))
    assert (other.lost, other.won) == (2.5, 3.0)
    assert (other.lost_share, other.won_share) == pytest.approx((0.05, 0.6))
    assert confusions.flows(A, B, seeds=2, most=1) == [one]
    assert confusions.flows(A, A, seeds=1) == []


def test_other_test_sets_do_not_compare():
    with pytest.raises(UserError, match="other test sets"):
        confusions.flows(A, B + np.eye(3, dtype=int), 1)
    with pytest.raises(UserError, match="other test sets"):
        confusions.share_difference(A, 2 * A)


counted = arrays(np.int64, (5, 5), elements=st.integers(0, 1000))


@settings(max_examples=60, deadline=None)
@given(counted, st.permutations(range(5)), st.integers(1, 4))
def test_rows_of_a_difference_sum_to_zero(a, order, seeds):
    b = a[:, order]  # the same units, called otherwise
    difference = confusions.share_difference(a, b)
    there = a.sum(axis=1) > 0
    np.testing.assert_allclose(difference[there].sum(axis=1), 0, atol=1e-12)
    assert np.isnan(difference[~there]).all()
    found = confusions.flows(a, b, seeds, most=25)
    assert all(f.lost > 0 and 0 < f.lost_share <= 1 for f in found)
    assert [f.lost_share for f in found] == sorted((f.lost_share for f in found), reverse=True)
    # the other way round, what was lost is won
    back = {(f.payer, f.gainer): f for f in confusions.flows(b, a, seeds, most=25)}
    for f in found:
        assert f.lost * seeds == pytest.approx(b[f.payer, f.gainer] - a[f.payer, f.gainer])
        assert (f.payer, f.gainer) not in back
        if f.won < 0:
            continue
        assert (f.won == 0) == ((f.gainer, f.payer) not in back)


def test_the_largest_confusions_and_busiest_classes():
    assert confusions.largest_confusions(A) == [
        (2, 0, 8, 0.8),
        (1, 0, 30, 0.3),
        (2, 1, 2, 0.2),
        (0, 1, 10, 0.1),
        (1, 2, 10, 0.1),
    ]
    assert confusions.largest_confusions(np.zeros((3, 3), int)) == []
    assert confusions.busiest(confusions.share_difference(A, B), 2) == [0, 2]
    shares = confusions.row_shares(np.array([[1, 3], [0, 0]]))
    assert shares[0].tolist() == [0.25, 0.75]
    assert np.isnan(shares[1]).all()


# -- what tasks say


def recall_of(confusion):
    return np.diag(confusion) / confusion.sum(axis=1)


def test_adapting_methods_and_experts_are_asked_with_their_views():
    generator = np.random.default_rng(0)
    label = np.arange(30) % 3
    sets = {
        name: {"label": label, "logits": generator.normal(size=(30, 2, 3)).astype(np.float32)}
        for name in ("test", "view=1", "view=2")
    }
    seen = {}

    def infer(arrays, prior, unlabelled):
        seen.update(prior=prior, views=unlabelled["logits"].shape)
        return arrays["logits"].sum(axis=0) + np.array([0.0, 0.5, 0.0])

    given_settings = {"classes": ["a", "b", "c"], "groups": {}}
    about = Trained(class_counts=(3, 2, 1), infer=infer, adapts=True)
    found = confusion_cls(sets, given_settings, about)
    assert seen["views"] == (2, 2, 30, 3)
    rows = evaluate_cls(sets, given_settings, about)
    expected = [r.value for r in rows if r.metric == "recall" and not r.subset]
    np.testing.assert_array_equal(recall_of(found), expected)


def test_capped_predictions(monkeypatch):
    monkeypatch.setattr(stored, "FULL_FLOAT32", 10)
    monkeypatch.setattr(stored, "CAP", 20)
    monkeypatch.setattr(stored, "KEPT", 2)
    label = np.arange(40) % 6
    # with ties: of equal scores the lower class
    logits = np.random.default_rng(1).integers(0, 4, size=(40, 6)).astype(np.float32)
    sets = {"test": stored.store(logits, label)}
    assert "top_logits" in sets["test"]
    given_settings = {"classes": list("abcdef"), "groups": {}}
    found = confusion_cls(sets, given_settings, Trained())
    expected = np.zeros((6, 6), int)
    np.add.at(expected, (label, logits.argmax(axis=1)), 1)
    np.testing.assert_array_equal(found, expected)
    rows = evaluate_cls(sets, given_settings, Trained())
    np.testing.assert_array_equal(recall_of(found), [r.value for r in rows if r.metric == "recall"])


def test_pixels_are_summed_over_images():
    generator = np.random.default_rng(2)
    confusion = generator.integers(0, 2**32 - 1, size=(5, 3, 3), dtype=np.uint32)
    confusion[:, 1] = 0  # no pixel of this class
    given_settings = {"classes": ["a", "b", "c"], "groups": {}}
    found = confusions.CONFUSION.of(SEG)(
        {"test": {"confusion": confusion}}, given_settings, Trained()
    )
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, confusion.astype(object).sum(axis=0))
    rows = _confusion_rows(found, given_settings, {})
    with np.errstate(invalid="ignore"):
        values = np.array([r.value for r in rows if r.metric == "Acc"], dtype=float)
        np.testing.assert_array_equal(recall_of(found), values)


@pytest.mark.parametrize("task", ["longtail-cls", "longtail-seg"])
def test_no_test_set_no_confusion(task):
    confusion = confusions.CONFUSION.of(catalog().task(task))
    about = {"classes": ["a", "b"], "groups": {}}
    with pytest.raises(RecordError):
        confusion({}, about, Trained())
    with pytest.raises(RecordError):
        confusion({"test": {"label": np.zeros(3, int)}}, about, Trained())


def test_what_is_in_the_way_of_a_confusion(tmp_path, monkeypatch):
    task = catalog().task("longtail-cls")
    run = finished(tmp_path, 0)
    with pytest.raises(UserError, match="no confusion of classes"):
        confusions.confusion_of(run, catalog().task("test-agnostic"), catalog())
    with pytest.raises(UserError, match="none of longtail-seg today"):
        confusions.confusion_of(run, SEG, catalog())
    monkeypatch.setattr(confusions, "MAX_PREDICTIONS", 100)
    with pytest.raises(RecordError, match="unpacks to"):
        confusions.confusion_of(run, task, catalog())
    monkeypatch.setattr(confusions, "MAX_PREDICTIONS", 1 << 30)
    monkeypatch.setattr(confusions, "MOST_CLASSES", 9)
    with pytest.raises(UserError, match="10 classes"):
        confusions.confusion_of(run, task, catalog())
    monkeypatch.setattr(confusions, "MOST_CLASSES", 10)
    rewrite_arrays(run, lambda held: held.update({"test/label.npy": held["test/label.npy"] + 9}))
    with pytest.raises(RecordError, match="labels lie in"):
        confusions.confusion_of(run, task, catalog())
    (run.path / "predictions.npz").unlink()
    with pytest.raises(RecordError, match=r"type `python -m suite run .* --fresh`"):
        confusions.confusion_of(run, task, catalog())
    (run.path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(RecordError, match=r"type `python -m suite predict .* --set test`"):
        confusions.confusion_of(run, task, catalog())


def test_the_hook_is_no_part_of_an_evaluation(tmp_path):
    """Predictions are read as `evaluate` reads them, and hashes do not know of it."""
    task = catalog().task("longtail-cls")
    without = replace(task, offers={"counted": "things"})
    assert without.evaluation_hash(protocol()) == task.evaluation_hash(protocol())
    run = finished(tmp_path, 0)
    predictions = stored_predictions(run, protocol(), catalog())
    before = {k: {n: a.copy() for n, a in s.items()} for k, s in predictions.items()}
    confusions.CONFUSION.of(task)(predictions, task.evaluation(protocol()), Trained())
    for name, held in before.items():
        for key, array in held.items():
            np.testing.assert_array_equal(predictions[name][key], array)
