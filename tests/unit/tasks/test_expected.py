"""Expected top-1 under class shares: known answers, the task's own exact rows, and what the store gives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from records import CLASSES, EVALUATION, SCORED, TASK, Records, edit, scored

from suite.base.errors import UserError
from suite.define.task import Trained
from suite.stats import tests as stats
from suite.stats.ranking import rank_rows
from suite.store.connection import connect
from tasks.test_agnostic import axis, expected, recalls
from tasks.test_agnostic.distributions import shifted_counts
from tasks.test_agnostic.evaluation import evaluate
from tasks.test_agnostic.expected import Curves, Recalls, Row, Stretch
from tasks.vision.per_class import recalls as recall_of

QUICK = TASK.protocols[0]


def made(*rows, counts=None, seeds=None):
    """Recalls of rows, each a list of runs' recalls (C,)."""
    values = np.array([run for row in rows for run in row], dtype=float)
    counts = tuple(counts or range(values.shape[1], 0, -1))
    about = [
        Row(
            name=f"m{at}",
            method=f"m{at}",
            params={},
            digest="d",
            flags=(),
            runs=tuple(f"{at}-{run}" for run in range(len(row))),
            seeds=tuple(seeds[at] if seeds else range(len(row))),
        )
        for at, row in enumerate(rows)
    ]
    return Recalls(
        classes=tuple(map(str, range(values.shape[1]))),
        counts=counts,
        order=axis.class_order(counts),
        rows=tuple(about),
        values=values,
        present=np.isfinite(values).any(axis=0),
    )


def noisy(rng, level, runs=3, spread=0.01):
    return np.clip(np.asarray(level) + rng.normal(0, spread, (runs, len(level))), 0, 1)


# rows that win at either end, and one in the middle
RNG = np.random.default_rng(5)
HEAD = noisy(RNG, [0.9, 0.5, 0.1])
FLAT = noisy(RNG, [0.6, 0.6, 0.6])
TAIL = noisy(RNG, [0.1, 0.5, 0.9])
THREE = made(HEAD, FLAT, TAIL)


def test_shares_at_known_places():
    order = axis.class_order([5, 50, 500])
    assert order.tolist() == [2, 1, 0]
    np.testing.assert_allclose(axis.shares(order, -math.log(4)), [1 / 7, 2 / 7, 4 / 7], rtol=1e-12)
    np.testing.assert_allclose(axis.shares(order, math.log(4)), [4 / 7, 2 / 7, 1 / 7], rtol=1e-12)
    assert axis.shares(order, 0.0).tolist() == [1 / 3] * 3
    assert axis.shares(np.array([0]), math.log(50)).tolist() == [1.0]
    # an absent class keeps its rank: the others' proportion stays
    present = np.array([True, False, True])
    np.testing.assert_allclose(axis.shares(order, -math.log(4), present), [0.2, 0, 0.8], rtol=1e-12)
    assert axis.shares(order, 0.0, ~np.ones(3, bool)).tolist() == [0, 0, 0]


@settings(max_examples=50, deadline=None)
@given(
    sizes=strategies.lists(strategies.integers(0, 5000), min_size=1, max_size=40),
    ratio=strategies.floats(1, 500),
)
def test_the_test_sets_hold_exactly_what_the_formula_says(sizes, ratio):
    steps = max(len(sizes) - 1, 1)
    counts = tuple(int(n * (1 / ratio) ** (rank / steps)) for rank, n in enumerate(sizes))
    assert shifted_counts(sizes, np.arange(len(sizes)), ratio) == counts


def test_shares_are_those_of_the_shifted_sets():
    order = axis.class_order([9, 7, 30, 2, 2, 11])
    for place in (-math.log(50), 0.0, math.log(10)):
        counts = np.array(
            shifted_counts([10**9] * 6, order, math.exp(abs(place)), backward=place > 0)
        )
        np.testing.assert_allclose(axis.shares(order, place), counts / counts.sum(), rtol=1e-6)


def test_axis_and_names():
    places = axis.places()
    assert len(places) == 41 and places[20] == 0.0
    assert math.exp(places[-1]) == pytest.approx(50) and places[0] == -places[-1]
    np.testing.assert_allclose(np.diff(places), np.diff(places)[0])
    names = axis.priors()
    found = [axis.place_of(name) for name in names]
    assert found == sorted(found) and found[len(found) // 2] == 0.0
    published = {f"{kind}-{r}" for kind in ("forward", "backward") for r in (2, 5, 10, 25, 50)}
    assert published | {"uniform"} <= set(names)
    assert math.exp(axis.place_of("backward-25")) == pytest.approx(25)
    assert axis.place_of("forward-2") == -math.log(2)
    assert [axis.spoken(place) for place in (places[0], 0.0, 1.0)] == [
        "forward 50",
        "uniform",
        "backward 2.72",
    ]


def test_agrees_with_the_exact_rows_of_the_task():
    rng = np.random.default_rng(2)
    label = np.repeat(np.arange(4), 300)
    logits = rng.normal(size=(1200, 4)) + 1.2 * np.eye(4)[label] * [2, 1, 0.5, 1]
    counts = (90, 400, 5, 30)
    asked = {
        "classes": 4,
        "ratios": [3, 50],
        "dirichlet": None,
        "draws": 1,
        "seed": 0,
        "independent": False,
    }
    rows = evaluate(
        {"test": {"label": label, "logits": logits.astype(np.float32)}},
        asked,
        Trained(class_counts=counts),
    )
    exact = {row.key: row.value for row in rows if "draw=expected" in row.key}
    of = made([recall_of(label, logits.astype(np.float32).argmax(axis=1), 4)], counts=counts)
    for name in ("forward-3", "forward-50", "uniform", "backward-3", "backward-50"):
        key = f"top1[draw=expected,prior={name}]"
        place = axis.place_of(name)
        # not by the logarithm: a set has whole images
        ratio = float(name.partition("-")[2] or 1)
        whole = np.array(shifted_counts([300] * 4, of.order, ratio, backward=place > 0))
        # with the set's own shares, to rounding; with those of the formula, but for whole images
        given_shares = expected.expected(of, (whole / whole.sum())[None])
        assert given_shares[0, 0] == pytest.approx(exact[key], abs=1e-12)
        found = expected.standings(of, place)[0].mean
        assert found == pytest.approx(exact[key], abs=0.005)
    assert expected.standings(of, 0.0)[0].mean == pytest.approx(
        exact["top1[draw=expected,prior=uniform]"], abs=1e-12
    )


def test_intervals_and_ranks_are_those_of_the_statistics():
    place = math.log(8)
    prior = axis.shares(THREE.order, place)
    scores = [(row @ prior).tolist() for row in (HEAD, FLAT, TAIL)]
    samples = [dict(enumerate(values)) for values in scores]
    found = expected.standings(THREE, place)
    assert [one.rank for one in found] == rank_rows(samples).ranks == [3, 2, 1]
    best = stats.mean_interval(scores[2]).mean
    for one, values in zip(found, scores, strict=True):
        interval = stats.mean_interval(values)
        assert one.n == 3 and one.worst is None
        assert one.mean == pytest.approx(interval.mean, abs=1e-12)
        assert one.half == pytest.approx(interval.high - interval.mean, abs=1e-12)
        assert one.behind == pytest.approx(interval.mean - best, abs=1e-12)
    along = expected.curves(THREE)
    at = along.places.index(0.0)
    interval = stats.mean_interval(FLAT.mean(axis=1))
    assert along.low[1, at] == pytest.approx(interval.low, abs=1e-12)
    assert along.high[1, at] == pytest.approx(interval.high, abs=1e-12)


def test_few_and_missing_replicates():
    lucky = [[1.0, 1.0, 1.0]]
    lost = [[0.9, 0.9, 0.9], [0.9, np.nan, 0.9], [0.9, 0.9, 0.9]]
    same = [[0.3, 0.3, 0.3]] * 4
    of = made(lucky, lost, same, FLAT)
    one, gap, constant, flat = expected.standings(of, 0.7)
    # one seed is no best row, a mean over some of the replicates not the row's
    assert (one.mean, one.half, one.rank) == (pytest.approx(1.0), None, None)
    assert one.behind == pytest.approx(1.0 - flat.mean)
    assert (gap.mean, gap.half, gap.rank, gap.behind) == (None, None, None, None)
    assert constant.half == 0.0 and constant.mean == pytest.approx(0.3)
    assert (flat.rank, flat.behind) == (1, 0.0)
    along = expected.curves(of)
    assert set(along.best) == {3} and expected.leading(along, 8) == [3, 0, 2]
    # where no row is ranked, the highest mean it is
    assert set(expected.curves(made(lucky, [[0.2, 0.2, 0.2]])).best) == {0}
    nothing = expected.curves(made([[np.nan, 0.5]], [[0.5, np.nan]]))
    assert set(nothing.best) == {-1} and set(nothing.tied) == {0}
    assert expected.leading(nothing, 8) == [] and expected.stretches(nothing) == []


def test_two_runs_of_one_seed_are_two_replicates():
    of = made(HEAD, TAIL, seeds=[(0, 0, 1), (0, 1, 2)])
    assert [one.rank for one in expected.standings(of, math.log(50))] == [2, 1]


def test_classes_without_test_images():
    wide = [np.insert(row, 1, np.nan, axis=1) for row in (HEAD, TAIL)]
    of = made(*wide)
    assert of.present.tolist() == [True, False, True, True]
    first, second = expected.standings(of, 0.0)
    assert first.mean == pytest.approx(HEAD.mean()) and second.mean == pytest.approx(TAIL.mean())
    drawn = axis.drawn_shares(axis.shares(of.order, 1.0, of.present), 0.5, 50)
    assert (drawn[:, 1] == 0).all() and np.allclose(drawn.sum(axis=1), 1)


def test_who_wins_where():
    along = expected.curves(THREE)
    found = expected.stretches(along)
    assert [one.row for one in found] == [0, 1, 2]
    assert found[0].first == 0 and found[-1].last == 40
    assert [a.last + 1 for a in found[:-1]] == [b.first for b in found[1:]]
    assert along.tied[0] == along.tied[20] == along.tied[40] == 1
    assert set(expected.leading(along, 3)) == {0, 1, 2}
    assert len(expected.leading(along, 2)) == 2


def test_stretches_are_merged_and_gaps_are_not():
    blank = np.zeros((3, 6))
    along = Curves(tuple(range(6)), blank, blank, blank, (1, 1, -1, 1, 2, 2), (1, 3, 0, 2, 2, 1))
    assert expected.stretches(along) == [
        Stretch(1, 0, 1, 1, 3),
        Stretch(1, 3, 3, 2, 2),
        Stretch(2, 4, 5, 1, 2),
    ]


def test_draws():
    mean = axis.shares(np.arange(8), -math.log(10))
    drawn = axis.drawn_shares(mean, 2.0, 4000)
    assert drawn.shape == (4000, 8) and np.allclose(drawn.sum(axis=1), 1)
    # Dir(a): variance m (1 - m) / (sum of a + 1)
    spread = np.sqrt(mean * (1 - mean) / (2.0 * 8 + 1))
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * spread.max() / math.sqrt(4000))
    np.testing.assert_allclose(drawn.std(axis=0), spread, rtol=0.1)
    again = axis.drawn_shares(mean, 2.0, 4000)
    np.testing.assert_array_equal(drawn, again)
    assert not np.array_equal(drawn, axis.drawn_shares(mean, 2.0, 4000, seed=1))
    # at uniform, the symmetric one
    np.testing.assert_allclose(
        axis.drawn_shares(np.full(5, 0.2), 0.3, 20),
        np.random.default_rng(0).dirichlet([0.3] * 5, 20),
        rtol=1e-9,
    )
    rare = axis.drawn_shares(axis.shares(np.arange(1000), math.log(50)), 0.001, 30)
    assert np.isfinite(rare).all() and np.allclose(rare.sum(axis=1), 1)


def test_bands_and_the_worst_decile_of_draws():
    along = expected.curves(THREE)
    tight, wide = (expected.straying(THREE, along, alpha) for alpha in (1e6, 0.5))
    np.testing.assert_allclose(tight.low, along.mean, atol=2e-3)
    np.testing.assert_allclose(tight.high, along.mean, atol=2e-3)
    assert (wide.low < along.mean).all() and (along.mean < wide.high).all()
    assert wide.best == along.best and wide.mean is along.mean
    # equal recalls do not care for shares, the others do
    assert (wide.high - wide.low)[1].max() < 0.1 < (wide.high - wide.low)[0].min()
    place = math.log(5)
    found = expected.standings(THREE, place, 0.5)
    drawn = axis.drawn_shares(axis.shares(THREE.order, place), 0.5, THREE.draws)
    for one, row in zip(found, (HEAD, FLAT, TAIL), strict=True):
        worst = [np.sort(run @ drawn.T)[: THREE.draws // 10].mean() for run in row]
        assert one.worst == pytest.approx(np.mean(worst))
        assert one.worst < one.mean
    exact = expected.standings(THREE, place)
    assert [one.rank for one in found] == [one.rank for one in exact]


def test_names_are_told_apart():
    names = ["a", "b", "a", "a #1", "a"]
    assert recalls.told_apart(names) == ["a #2", "b", "a #3", "a #1", "a #4"]
    assert recalls.told_apart([]) == []


def read(records, **more):
    with connect(records.root) as connection:
        return recalls.read(connection, records.root, SCORED, QUICK, **more)


def test_what_the_store_gives(tmp_path):
    records = Records(tmp_path)
    for seed in range(3):
        scored(records, "la", [0.1, 0.2, 0.3 + seed / 100], seed=seed)
        # no value of one class, and the rows in another order
        turned = [0.5, None, 0.4] if seed else [0.5, 0.6, 0.4]
        scored(records, "ce", turned, classes=("sign", "road", "sky"), seed=seed)
    flags = ("transductive", "external")
    scored(records, "sade", [0.9] * 3, unadapted=[0.2, 0.3, 0.4], flags=flags)
    # none of these counts: other code, another evaluation, another protocol, another attempt
    scored(records, "old", [1.0] * 3, digest="d0")
    scored(records, "elsewhere", [1.0] * 3, evaluation_hash="0" * 12)
    scored(records, "full", [1.0] * 3, under=TASK.protocols[1])
    records.run("bare", mIoU=0.4)
    records.ingest({"old": "d1"})
    found = read(records)
    assert found.classes == CLASSES and found.counts == (7, 700, 70)
    assert found.order.tolist() == [1, 2, 0]
    assert [row.method for row in found.rows] == ["bare", "ce", "la", "sade"]
    assert [row.seeds for row in found.rows] == [(0,), (0, 1, 2), (0, 1, 2), (0,)]
    assert [row.dependent for row in found.rows] == [False, False, False, True]
    assert found.rows[3].flags == ("external", "transductive")
    bare, ce, la, sade = (found.values[part] for part in found.parts())
    assert np.isnan(bare).all()
    np.testing.assert_array_equal(ce, [[0.6, 0.4, 0.5]] + [[np.nan, 0.4, 0.5]] * 2)
    np.testing.assert_array_equal(la, [[0.1, 0.2, 0.3], [0.1, 0.2, 0.31], [0.1, 0.2, 0.32]])
    np.testing.assert_array_equal(sade, [[0.9] * 3])
    plain = read(records, adapted=False)
    assert plain.rows[3].name == "sade (un-adapted)" and not plain.rows[3].dependent
    np.testing.assert_array_equal(plain.values[plain.parts()[3]], [[0.2, 0.3, 0.4]])
    np.testing.assert_array_equal(plain.values[plain.parts()[2]], la)


def test_rows_of_a_method_are_told_apart_by_their_parameters(tmp_path):
    records = Records(tmp_path)
    for tau in (1.0, 2.0):
        scored(records, "la", [0.5] * 3, params={"tau": tau})
    records.ingest()
    assert [row.name for row in read(records).rows] == ["la tau=1.0", "la tau=2.0"]


def test_nothing_to_read(tmp_path):
    records = Records(tmp_path)
    records.run("ce", mIoU=0.3)
    records.ingest()
    assert read(records) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"class_counts": []},
        {"classes": ["road", "sky"], "class_counts": [1, 2]},
        {"classes": ["road", "sky", "sky"], "class_counts": [1, 2, 3]},
        {"classes": 5},
    ],
)
def test_records_without_training_counts(tmp_path, changes):
    records = Records(tmp_path)
    attempt = scored(records, "ce", [0.1, 0.2, 0.3])
    records.ingest()
    edit(attempt.path / "record.json", **changes)
    with pytest.raises(
        UserError, match=r"^no record of these runs holds the training counts of the 3"
    ):
        read(records)
    # another run's will do
    scored(records, "la", [0.1, 0.2, 0.3])
    records.ingest()
    found = read(records)
    assert found.counts == (7, 700, 70)


def test_tasks_with_recalls():
    assert SCORED.evaluation_hash(QUICK) == EVALUATION
    assert recalls.has_recalls(SCORED) and not recalls.has_recalls(TASK)
