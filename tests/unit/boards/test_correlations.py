"""What goes with a score over runs: which runs are taken, what is said, and the table of `compare --all`."""

from dataclasses import replace

import pytest
from records import TASK, Records

from suite.boards.correlations import correlations, said
from suite.boards.overview import overview
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.render.comparison import as_json, tables_of
from suite.stats.correlation import Correlates, Correlation
from suite.stats.tests import Interval
from suite.store.connection import connect

ASKED = Correlates(of="mIoU", by=("extra", "loss"), beside="IoU", stored="looks")
ASKING = replace(TASK, offers={"correlates": ASKED})
CATALOG = Catalog({TASK.name: ASKING}, {})


@pytest.fixture
def records(tmp_path):
    return Records(tmp_path)


def found(records, task=ASKING, **more):
    records.ingest()
    with connect(records.root) as connection:
        return correlations(connection, CATALOG, task, **more)


def filled(records, methods=12, seeds=2):
    """`extra` goes against mIoU, IoU goes with nothing."""
    for k in range(methods):
        for seed in range(seeds):
            score = 0.3 + 0.01 * k + 0.002 * seed
            beside = 0.1 * abs(k - (methods - 1) / 2) + 0.01 * seed
            records.run(f"m{k}", seed=seed, mIoU=score, extra=-score, IoU=beside)


def test_a_task_that_names_nothing_has_none(records):
    filled(records)
    assert found(records, TASK) is None


def test_each_metric_that_runs_have_is_held_against_the_score(records):
    filled(records)
    made = found(records)
    (one,) = made.found  # no run has `loss`
    assert (one.by, one.of, one.beside, one.protocol) == ("extra", "mIoU", "IoU", "toy:quick")
    assert one.found.rho == pytest.approx(-1) and (one.found.runs, one.found.rows) == (24, 12)
    assert one.gain.mean > 0 and one.gain.low > 0
    assert one.words == "higher goes with lower; predicts better than IoU"
    assert len({point.run_id for point in one.points}) == 24
    assert {(point.x, point.y) for point in one.points} >= {(-0.3, 0.3)}


def test_runs_without_one_of_the_values_are_left_out_and_not_their_rows(records):
    filled(records)
    records.run("m0", seed=7, mIoU=0.9)
    records.run("other", seed=0, mIoU=0.9)
    records.run("m1", seed=7, mIoU=0.9, extra=None)
    (one,) = found(records).found
    assert (one.found.runs, one.found.rows) == (24, 12)


def test_where_no_run_has_a_metric_that_is_said_with_the_command(records):
    records.run("ce", mIoU=0.3)
    made = found(records)
    assert made.found == ()
    assert "no run under toy:quick has extra: " in made.words
    assert made.words.endswith("predict RUN --set looks")


def test_protocols_are_apart_and_one_alone_may_be_asked_for(records):
    filled(records)
    for k in range(3):
        records.run(f"m{k}", mIoU=0.1 * k, extra=0.1 * k, under=TASK.protocols[1],
                    evaluation_hash=TASK.evaluation_hash(TASK.protocols[1]))  # fmt: skip
    made = {one.protocol: one for one in found(records).found}
    assert made["toy:full"].found.rho == pytest.approx(1)
    assert made["toy:quick"].found.rho == pytest.approx(-1)
    assert made["toy:full"].words == "no conclusion: 3 rows, an interval needs 5"
    (only,) = found(records, only=TASK.protocols[1]).found
    assert only.protocol == "toy:full"


def test_other_metrics_may_be_asked_for(records):
    filled(records)
    (one,) = found(records, asked=Correlates(of="extra", by=("mIoU",))).found
    assert (one.of, one.by, one.beside, one.gain) == ("extra", "mIoU", None, None)
    assert one.words == "higher goes with lower"


@pytest.mark.parametrize(
    ("rho", "gain", "words"),
    [
        (None, None, "no correlation: fewer than three runs, or a metric is the same in all"),
        ((0.3, -0.1, 0.6), None, "undecided: the interval holds 0"),
        ((0.3, 0.1, 0.6), (0.2, -0.1, 0.5), "higher goes with higher; not told apart from b as a predictor"),
        ((0.3, 0.1, 0.6), (-0.2, -0.3, -0.1), "higher goes with higher; predicts worse than b"),
        ((0.3, 0.1, 0.6), (0.2, None, None), "higher goes with higher"),
    ],
)  # fmt: skip
def test_words_follow_from_the_intervals(rho, gain, words):
    one = None if rho is None else Correlation(*rho, 10, 6)
    assert said(one, None if gain is None else Interval(*gain, 6), "b") == words


def test_compare_all_names_them(records):
    filled(records)
    records.ingest()
    made = overview(records.root, CATALOG, ASKING, reference="m0")
    (table,) = [one for one in tables_of(made) if "goes with mIoU" in one.title]
    assert table.rows[0][:5] == ("toy:quick", "extra", "12", "24", "-1.00")
    assert table.rows[0][-1].endswith("predicts better than IoU")
    kind, _, more = as_json(made)
    assert kind == "compare-all"
    (one,) = more["correlations"]["found"]
    assert one["by"] == "extra" and "points" not in one
    # of another task nothing is said
    plain = overview(records.root, Catalog({TASK.name: TASK}, {}), TASK, reference="m0")
    assert plain.correlations is None and as_json(plain)[2]["correlations"] is None
    assert not any("goes with" in (one.title or "") for one in tables_of(plain))


def test_subsets_are_found_by_their_keys(records):
    for k in range(6):
        rows = [
            MetricRow(metric="mIoU", value=0.1 * k),
            MetricRow(metric="extra", subset="group=tail,split=train", value=1.0 * k),
        ]
        records.run(f"m{k}", rows=rows)
    (one,) = found(
        records, asked=Correlates(of="mIoU", by=("extra[group=tail,split=train]",))
    ).found
    assert one.found.rho == pytest.approx(1)
