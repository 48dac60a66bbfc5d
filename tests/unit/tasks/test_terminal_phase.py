"""The terminal phase from what was tracked."""

import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.define.metrics import MetricRow
from suite.records.files import Record
from tasks.neural_collapse.course import points, terminal_rows
from tasks.vision.geometry.terminal import LEAST_POINTS, fitted

REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "runs"
NOTHING = {"tpt_start": None, "tpt_gain": None, "tpt_rho": None}


def terminal(rows):
    return {row.metric: row.value for row in terminal_rows(rows)}


def tracked(train, test, nc1=None):
    """Rows of points at 10, 20, ..."""
    rows = []
    for k in range(len(train)):
        values = {
            "top1[split=train]": train[k],
            "top1": test[k],
            "nc1[split=train]": None if nc1 is None else nc1[k],
        }
        for name, value in values.items():
            metric, _, where = name.partition("[")
            row = MetricRow(
                metric=metric,
                subset=where.rstrip("]"),
                step=10 * (k + 1),
                value=value,
                source="hook",
            )
            rows.append(row)
    return rows


def test_it_starts_where_accuracy_1_is_never_left_again():
    found = terminal(tracked([0.5, 1, 0.99, 1, 1], [0.4, 0.7, 0.6, 0.65, 0.75]))
    assert found["tpt_start"] == pytest.approx(4 / 5)
    assert found["tpt_gain"] == pytest.approx(0.1)
    assert found["tpt_rho"] is None


def test_a_loss_of_accuracy_is_a_gain_below_0():
    assert terminal(tracked([1, 1], [0.7, 0.6]))["tpt_gain"] == pytest.approx(-0.1)


@pytest.mark.parametrize("train", [[0.5, 0.9], [1, 1, 0.999], []])
def test_without_a_fit_that_lasts_there_is_none(train):
    assert terminal(tracked(train, [0.5] * len(train), [0.1] * len(train))) == NOTHING


def test_a_fit_at_the_last_point_gains_nothing():
    found = terminal(tracked([0.5, 1], [0.5, 0.6], [0.5, 0.4]))
    assert found == {"tpt_start": 1.0, "tpt_gain": 0.0, "tpt_rho": None}


def test_the_correlation_is_of_the_terminal_phase_alone():
    # before it both rise together
    nc1 = [1, 2, 3, 0.5, 0.4, 0.3, 0.2, 0.1]
    found = terminal(tracked([0.1, 0.5, 0.9] + [1] * 5, [1, 2, 3, 4, 5, 6, 7, 8], nc1))
    assert found["tpt_rho"] == pytest.approx(-1)
    assert terminal(tracked([1] * 4, [1, 2, 3, 4], nc1[4:]))["tpt_rho"] is None
    assert len(nc1[3:]) == LEAST_POINTS


@pytest.mark.parametrize(
    ("test", "nc1"),
    [
        ([0.5] * 6, [6, 5, 4, 3, 2, 1]),
        ([1, 2, 3, 4, 5, 6], [1] * 6),
        ([1, 2, 3, 4, 5, 6], [6, 5, None, 3, 2, 0.0]),
    ],
)
def test_no_correlation_of_what_does_not_change_or_is_not_known(test, nc1):
    assert terminal(tracked([1] * 6, test, nc1))["tpt_rho"] is None


def test_rows_of_other_things_are_no_part():
    rows = tracked([1, 1], [0.5, 0.6])
    final = MetricRow(metric="top1", value=0.1)
    of_a_group = MetricRow(metric="top1", subset="group=tail", step=20, value=0.2)
    of_a_class = MetricRow(metric="top1", class_="digit 1", step=20, value=0.3)
    assert terminal([*rows, final, of_a_group, of_a_class]) == terminal(rows)
    # a point without one of its accuracies is none, but an end it is
    alone = MetricRow(metric="top1", subset="split=train", step=40, value=1)
    assert len(points([*rows, alone])) == 2
    assert terminal([*rows, alone])["tpt_start"] == pytest.approx(1 / 4)
    assert terminal(reversed(rows)) == terminal(rows)


@given(st.lists(st.sampled_from([0.9, 1.0]), max_size=12), st.data())
def test_all_points_of_the_phase_are_fitted_and_the_one_before_is_not(train, data):
    test = data.draw(st.lists(st.floats(0, 1), min_size=len(train), max_size=len(train)))
    course = points(tracked(train, test))
    start, found = fitted(course), terminal(tracked(train, test))
    if start is None:
        assert not train or train[-1] < 1
        assert found == NOTHING
        return
    assert set(train[start:]) == {1.0}
    assert start == 0 or train[start - 1] < 1
    assert math.isclose(found["tpt_start"], (start + 1) / len(train))
    assert found["tpt_gain"] == test[-1] - test[start]


def test_they_are_rows_of_a_hook():
    assert {row.source for row in terminal_rows([])} == {"hook"}


@pytest.mark.slow
def test_tracked_runs_are_fitted_where_their_least_margin_is_above_0():
    """Every tracked row of the reference runs, both ways."""
    counted = {True: 0, False: 0}
    for path in REFERENCE.glob("*/*/record.json"):
        content = path.read_bytes()
        if b'"margin_min"' not in content:
            continue
        found: dict[int, dict[str, float]] = {}
        for one in msgspec.json.decode(content, type=Record).rows:
            if one.step is not None and one.class_ is None:
                found.setdefault(one.step, {})[one.key] = one.value
        for step, values in found.items():
            right = values["top1[split=train]"] == 1
            assert right == (values["margin_min[split=train]"] > 0), (path, step)
            counted[right] += 1
    assert min(counted.values()) > 1000, counted
