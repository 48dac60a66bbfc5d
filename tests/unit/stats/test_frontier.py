"""The Pareto front and the metric keys that trade off."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.stats.pareto import group_key, grouped, pareto

VALUES = st.one_of(
    st.none(), st.just(math.nan), st.integers(0, 4).map(float), st.floats(-1, 1), st.just(math.inf)
)


def beats(one: list[float], other: list[float], higher: list[bool]) -> bool:
    """Domination, written down anew."""
    pairs = [(a, b) if up else (-a, -b) for a, b, up in zip(one, other, higher, strict=True)]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def test_front_by_hand() -> None:
    points = [(0.9, 0.1), (0.6, 0.6), (0.5, 0.5), (0.9, 0.05), (0.2, 0.9), (0.55, 0.6)]
    assert pareto(points, (True, True)) == [(), (), (1,), (0,), (), (1,)]


def test_direction_of_each_metric() -> None:
    points = [(0.9, 3.0), (0.8, 1.0), (0.7, 2.0)]
    assert pareto(points, (True, False)) == [(), (), (1,)]
    assert pareto(points, (False, False)) == [(1, 2), (), ()]
    assert pareto(points, (True, True)) == [(), (0,), (0,)]


def test_equal_points_share_the_front_and_a_tie_in_one_metric_decides() -> None:
    points = [(0.5, 0.5), (0.5, 0.5), (0.5, 0.4), (0.4, 0.5)]
    assert pareto(points, (True, True)) == [(), (), (0, 1), (0, 1)]


def test_missing_values_take_no_part() -> None:
    points = [(0.9, None), (math.nan, 0.9), (0.1, 0.1)]
    assert pareto(points, (True, True)) == [None, None, ()]


def test_no_points_one_point_and_a_ragged_one() -> None:
    assert pareto([], (True, True)) == []
    assert pareto([(1.0, 2.0)], (True, False)) == [()]
    with pytest.raises(ValueError, match="2 coordinates"):
        pareto([(1.0, 2.0), (1.0,)], (True, True))


@given(
    st.integers(1, 3).flatmap(
        lambda size: st.tuples(
            st.lists(st.lists(VALUES, min_size=size, max_size=size), max_size=14),
            st.lists(st.booleans(), min_size=size, max_size=size),
        )
    )
)
def test_front_dominates_all_others_and_nothing_dominates_it(
    case: tuple[list[list[float | None]], list[bool]],
) -> None:
    points, higher = case
    found = pareto(points, higher)
    there = [i for i, p in enumerate(points) if not any(v is None or math.isnan(v) for v in p)]
    assert [i for i, by in enumerate(found) if by is not None] == there
    front = {i for i in there if found[i] == ()}
    for i in there:
        dominating = [j for j in there if beats(points[j], points[i], higher)]
        if i in front:
            assert dominating == []
        else:
            assert found[i] == tuple(j for j in dominating if j in front) != ()


def test_keys_of_groups() -> None:
    keys = [
        "top1",
        "top1[group=head]",
        "top1[group=tail]",
        "ece[group=head]",
        "top1[group=head,split=train]",
        "top1[group=tail,split=train]",
        "top1[prior=uniform]",
    ]
    assert grouped(keys) == {"top1": ["head", "tail"], "top1[split=train]": ["head", "tail"]}
    for metric, groups in grouped(keys).items():
        assert all(group_key(metric, group) in keys for group in groups)
    assert group_key("top1[split=train]", "tail") == "top1[group=tail,split=train]"
