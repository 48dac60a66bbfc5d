"""The parts of the page Geometry that draw and tabulate, without a page."""

import json

import pytest

from suite.boards.correlations import Correlated, Point
from suite.stats.correlation import Correlation
from suite.stats.tests import Interval
from tasks.longtail_cls.scatter import (
    NONE,
    OTHERS,
    UNDECIDED,
    Style,
    correlation_sheet,
    dots,
    logarithmic,
    run_sheet,
    scale,
    scatter,
    sentence,
)

POINTS = tuple(Point(k // 2, f"run{k}", k % 2, 0.01 * 3**k, 0.1 * k) for k in range(6))
NAMES = {0: "ce", 1: "la", 2: "x'; datum"}
FOUND = Correlation(0.876543, 0.2, 0.97, 6, 3)


def one(**change):
    fields = {
        "protocol": "quick",
        "protocol_hash": "h",
        "of": "top1[group=tail]",
        "by": "nc1[split=train]",
        "points": POINTS,
        "found": FOUND,
        "beside": "top1[group=head]",
        "gain": Interval(0.123456, -0.1, 0.4, 3),
        "words": "higher goes with higher",
    }
    return Correlated(**{**fields, **change})


def test_a_dot_is_a_run_and_rows_that_are_told_apart_lie_on_top():
    made = dots(one(), NAMES, ["la"], percent=True)
    assert [dot.told for dot in made] == [OTHERS] * 4 + ["la"] * 2
    assert {(dot.row, dot.seed) for dot in made} == {(n, s) for n in NAMES.values() for s in (0, 1)}
    assert made[-1].y == pytest.approx(30.0) and made[-1].x == pytest.approx(0.27)
    assert dots(one(), NAMES, [], percent=False)[0].y == 0
    # a row that the board has not is not drawn
    assert {dot.row for dot in dots(one(), {0: "ce"}, [], percent=True)} == {"ce"}


def test_far_values_have_a_logarithmic_axis_and_no_mark_is_cut():
    assert logarithmic([0.01, 1]) and not logarithmic([0.1, 1]) and not logarithmic([0.0, 1])
    for values in ([0.01, 1.0], [0.2, 0.4], [-3.0, 2.0], [0.5, 0.5], [0.0, 0.0]):
        low, high = scale(values).to_dict()["domain"]
        assert low < min(values) and high > max(values)
    assert scale([0.01, 1.0]).to_dict()["type"] == "log"


def test_names_are_data_and_never_an_expression():
    made = scatter(
        dots(one(), NAMES, ["ce", "x'; datum"], True),
        Style(["ce", "x'; datum"], ["#000000", "#111111"], ["circle", "square"]),
        "x",
        "y",
    ).to_dict()
    shape = made["encoding"]["shape"]["scale"]
    assert shape == {"domain": ["ce", "x'; datum", OTHERS], "range": ["circle", "square", "circle"]}
    assert "x'; datum" not in json.dumps(made["encoding"]["opacity"])


def test_without_other_rows_they_are_not_in_the_legend():
    told = list(NAMES.values())
    made = scatter(
        dots(one(), NAMES, told, True), Style(told, ["#0", "#1", "#2"], ["circle"] * 3), "x", "y"
    ).to_dict()
    assert made["encoding"]["color"]["scale"]["domain"] == told


def test_the_sentence_says_how_many_and_what_follows():
    assert sentence(one()) == (
        "Spearman's rho +0.88 (95 % interval +0.20 to +0.97, by the jackknife over rows), over 6 runs of 3 rows: "
        "higher goes with higher."
    )
    assert "interval" not in sentence(one(found=Correlation(0.5, None, None, 6, 3)))
    assert sentence(one(found=None, words="no correlation")) == "no correlation"


def test_the_table_says_each_verdict_apart():
    made = correlation_sheet(
        "t",
        [
            one(),
            one(found=Correlation(-0.9, -0.95, -0.2, 6, 6), gain=Interval(0.5, 0.1, 0.9, 6)),
            one(found=Correlation(0.1, None, None, 6, 3), gain=None),
            one(found=None, gain=Interval(-0.5, -0.9, -0.1, 6)),
        ],
    )
    titles = [column.title for column in made.columns]
    assert all(len(row) == len(titles) for row in made.rows)
    assert [row[titles.index("score is")] for row in made.rows] == ["higher", "lower", NONE, NONE]
    assert [row[titles.index("predicts")] for row in made.rows] == [
        UNDECIDED,
        "better",
        NONE,
        "worse",
    ]
    assert made.rows[0][titles.index("rho")] == 0.88
    without = correlation_sheet("t", [one(beside=None, gain=None)])
    assert "gain" not in [column.title for column in without.columns]
    assert len(without.rows[0]) == len(without.columns)


def test_every_run_is_a_line():
    made = run_sheet("t", one(), NAMES)
    assert [row[1] for row in made.rows] == [f"run{k}" for k in range(6)]
    assert made.columns[1].kind == "run"
