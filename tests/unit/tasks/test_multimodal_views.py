"""What the page of modalities is made of: curves, patterns of samples, tables, pictures."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modality_records import CLASSES, LABEL, LONG_TAILED, PAIRS, arrays, task

from suite.base.errors import RecordError
from suite.define.metrics import canonical_key
from suite.store.row import Cell, Row
from suite.store.rows import Run, Side
from tasks.multimodal.evaluation import settings
from tasks.multimodal.stored import Stored, checked
from tasks.multimodal.utilisation import utilisation
from tasks.multimodal.views import (
    agreement,
    curves,
    drawings,
    encoded,
    scores,
    sharing,
    trajectories,
    use,
)
from tasks.multimodal.views import training as over_training
from tasks.multimodal.views.board import FUSED, Board, Line, Point, key_of, unique
from tasks.multimodal.views.curves import Spot
from tasks.multimodal.views.encoded import HALF, WHOLE, Palette

STYLES = Palette(
    ("#1", "#2", "#3", "#4", "#5", "#6", "#7", "#grey"), tuple("abcdefg"), ([1, 0], [6, 3], [2, 2])
)


def board(*names, protocol=PAIRS, **metrics):
    """Rows of a board, each with the same metrics: key -> mean."""
    cells = {key: Cell(value, value - 0.1, value + 0.1) for key, value in metrics.items()}
    lines = []
    for number, name in enumerate(names):
        row = Row(
            task="toy-task",
            protocol=protocol.name,
            protocol_hash="p",
            evaluation_hash="e",
            dataset="pairs",
            method=name,
            params={},
            state="done",
            n=3,
            metrics=cells,
        )
        lines.append(Line(name, row, side(name, number, {})))
    return Board.of(task(), protocol, lines)


def side(method, row_id, values):
    runs = tuple(Run(f"{row_id}{seed}", 1, seed, value) for seed, value in values.items())
    return Side(row_id, "pairs", "p", "e", "pairs", method, {}, "d", {}, runs)


# -- the board


def test_keys_are_those_of_the_metrics():
    assert key_of("top1") == "top1"
    assert key_of("top1", "clear") == "top1[modality=clear]"
    full = key_of("top1", "clear", "tail", "zero")
    assert full == canonical_key(full) == "top1[group=tail,missing=zero,modality=clear]"
    assert key_of("modality_gap", missing="zero") == "modality_gap[missing=zero]"


def test_a_board_says_its_parts_and_groups():
    keys = {f"top1[group={name}]": 0.5 for name in ("tail", "zebra", "head", "medium")}
    found = board("b", "concat", "ume", **keys, **{"top1[group=head,modality=clear]": 0.1})
    assert found.groups == ["head", "medium", "tail", "zebra"]
    assert found.parts == [("clear", "clear"), ("noisy", "noisy"), (None, FUSED)]
    assert found.missing == settings(PAIRS)["missing"]
    assert found.unimodal is found.lines[2] and board("b").unimodal is None
    assert found.default(2, ("ume",)) == ["concat", "ume"]
    assert found.default(9) == ["concat", "b", "ume"]


def test_equal_names_are_told_apart():
    assert unique(["a", "b", "a"]) == ["a", "b", "a (2)"]


# -- curves

points = st.lists(
    st.tuples(st.integers(-5, 100_000), st.one_of(st.none(), st.floats(0, 1), st.just(math.nan))),
    max_size=60,
)


@given(points)
def test_cleaned_curves_go_forward_and_are_finite(curve):
    found = trajectories.cleaned(curve)
    assert all(a < b for (a, _), (b, _) in pairwise(found))
    assert all(math.isfinite(value) for _, value in found)
    assert set(found) <= {(s, v) for s, v in curve if v is not None}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0, 0.5), st.integers(1, 40))
def test_a_running_mean_keeps_ends_bounds_and_constants(values, share, gap):
    curve = [(1 + gap * k, value) for k, value in enumerate(values)]
    found = trajectories.smoothed(curve, share)
    assert [step for step, _ in found] == [step for step, _ in curve]
    assert found[0] == pytest.approx(curve[0]) and found[-1] == pytest.approx(curve[-1])
    assert all(min(values) - 1e-9 <= v <= max(values) + 1e-9 for _, v in found)
    flat = trajectories.smoothed([(step, 0.25) for step, _ in curve], share)
    assert [v for _, v in flat] == pytest.approx([0.25] * len(curve))


def test_a_running_mean_by_hand():
    curve = [(1, 0.0), (2, 0.6), (3, 0.3), (4, 0.9), (10, 0.5)]
    # 2 iterations on either side; the last one stands alone
    assert [v for _, v in trajectories.smoothed(curve, 0.4)] == pytest.approx(
        [0.0, 0.3, 0.6, 0.9, 0.5]
    )
    assert trajectories.smoothed(curve, 0) == curve


def test_means_over_curves_of_other_lengths():
    found = trajectories.mean([[(1, 0.2), (2, 0.4)], [(2, 0.8)], []])
    assert found == [(1, 0.2, 1), (2, pytest.approx(0.6), 2)]


def test_where_a_curve_ends():
    assert trajectories.end([]) is None and trajectories.end([(7, 0.3)]) == 0.3
    assert trajectories.end([(10, 0.9), (90, 0.9), (91, 0.2), (100, 0.4)]) == pytest.approx(0.3)


def test_who_is_starved():
    alone = {0: 0.6, 1: 0.7}
    ends = [
        trajectories.ended("concat", "noisy", {0: 0.3, 1: 0.5}, alone),
        trajectories.ended("concat", "clear", {0: 0.7, 1: 0.7}, alone),
        trajectories.ended("concat", FUSED, {0: 0.9}),
        trajectories.ended("ume", "noisy", alone, alone),
    ]
    assert ends[0].difference.mean == pytest.approx(-0.25) and ends[2].difference is None
    told = trajectories.starved(ends, "ume")
    assert told.startswith("Starved most: noisy under concat, which ends 25.0 points below its tr")
    assert "(ume; 95 % interval of the difference −88.5 to +38.5, 2 seeds)" in told
    assert told.endswith("; the others of this row: clear +5.0.")
    assert "No modality of these rows ends more than 1 point" in trajectories.starved(
        ends[1:2], "ume"
    )
    assert trajectories.starved(ends[2:], "ume") == ""
    one = trajectories.ended("a", "noisy", {0: 0.1}, alone)
    assert "(ume; one seed)" in trajectories.starved([one], "ume")
    assert trajectories.ended("a", "noisy", {}) is None
    assert trajectories.ended("a", "noisy", {5: 0.1}, alone).difference is None


def test_panels_of_rows_and_of_modalities():
    found = board("concat", "ume", "film")
    line = [(1, 0.1), (100, 0.4)]
    read = {
        "concat": {"top1": {0: line}, "top1_clear": {0: line}},
        "ume": {"top1_clear": {0: line, 1: line}, "top1_noisy": {0: line}},
        "film": {"top1": {0: line}},
    }
    made = over_training.training(
        found, found.lines, read, by=over_training.BY_ROW, smooth=0, alone="ume"
    )
    assert [panel.title for panel in made.panels] == ["concat", "ume", "film"]
    # of the row trained alone, only what the row itself has curves of
    dotted = {(s.row, s.part) for s in made.panels[0].spots if s.reference}
    assert dotted == {("ume", "clear")}
    assert not any(s.reference for panel in made.panels[1:] for s in panel.spots)
    assert made.silent == ["film"] and made.top == 50 and made.last == 100
    assert "film." in over_training.notes(made, over_training.BY_ROW)[-1]
    made = over_training.training(
        found, found.lines, read, by=over_training.BY_MODALITY, smooth=0, alone="ume"
    )
    assert [panel.title for panel in made.panels] == ["clear", "noisy", FUSED]
    made = over_training.training(
        found, found.lines, {name: {} for name in read}, by="a row each", smooth=0, alone=None
    )
    assert made.panels == [] and made.told == "" and made.ends == []
    assert len(over_training.end_sheet(found, made).columns) == 6


# -- samples


@given(st.integers(0, 2**31), st.integers(2, 5))
def test_patterns_add_up(seed, modalities):
    names = [f"m{k}" for k in range(modalities)]
    sets = arrays(seed, {name: 0.5 * k for k, name in enumerate(names)})
    found = sharing.answers(checked(sets, "test", len(CLASSES), names))
    right = sets["test"]["modality_logits"].argmax(2) == LABEL[:, None]
    np.testing.assert_array_equal(found.right, right)
    for (a, b), of in sharing.of_pairs(found).items():
        pattern = sharing.patterns(found, a, b)
        each = sharing.by_class(found, pattern, len(CLASSES))
        assert of == sharing.shares(found, pattern) and sum(of.patterns) == of.total == len(LABEL)
        for k in range(4):
            assert of.patterns[k] == sum(one.patterns[k] for one in each)
            assert of.patterns[k] == len(sharing.samples(pattern, k)) >= of.fused[k]
        assert of.patterns[0] + of.patterns[1] == right[:, names.index(a)].sum()
        assert of.patterns[0] + of.patterns[2] == right[:, names.index(b)].sum()
    votes = sharing.votes(found)
    assert sum(count for count, _ in votes) == len(LABEL)
    assert sum(k * count for k, (count, _) in enumerate(votes)) == right.sum()


def test_answers_of_runs_without_logits_of_their_own():
    names = ["clear", "noisy"]
    film = arrays(0, {"clear": 1.0, "noisy": 1.0}, fusion="film")
    found = sharing.answers(checked(film, "test", len(CLASSES), names))
    assert found.names == () and found.called.shape == (len(LABEL), 0)
    one = arrays(0, {"noisy": 1.0})
    found = sharing.answers(checked(one, "test", len(CLASSES), names))
    assert found.names == ("noisy",)
    np.testing.assert_array_equal(found.called[:, 0], found.fused)
    with pytest.raises(RecordError, match="no logits"):
        sharing.answers(Stored(("clear",), LABEL, {}))


def test_softmax_of_the_class_that_is_named():
    logits = np.array([[0.0, math.log(3.0)], [-np.inf, 2.0], [800.0, -800.0]], np.float32)
    found = sharing.answers(Stored(("a",), np.array([1, 1, 0]), {}, logits=logits))
    assert found.fused_sure.tolist() == pytest.approx([0.75, 1.0, 1.0])
    assert found.fused.tolist() == [1, 1, 0]


def test_agreement_of_classes_that_share_a_name():
    sets = arrays(3, {"clear": 2.0, "noisy": 0.5})
    found = sharing.answers(checked(sets, "test", 4, ["clear", "noisy"]))
    labels = {"clear": "clear", "noisy": "noisy"}
    classes = ["all classes", "x" * 60, "x" * 61, "empty"]
    made = agreement.agreement(found, ("clear", "noisy"), labels, classes)
    assert len({lane for lane, _ in made.lanes}) == 5
    assert "The fused logits are right on " in made.notes[0]
    assert sum(len(one) for one in made.samples) == len(LABEL)
    by_lane = {}
    for part in made.bars:
        by_lane[part.lane] = by_lane.get(part.lane, 0) + part.share
    assert list(by_lane.values()) == pytest.approx([100] * 5)
    sheet = agreement.share_sheet("t", made)
    assert len(sheet.rows) == 5 and len(sheet.columns) == len(sheet.rows[0]) == 10


def test_classes_without_samples_have_no_bar():
    label = np.zeros(4, np.int64)
    own = np.zeros((4, 2, 3), np.float32)
    found = sharing.answers(Stored(("a", "b"), label, {}, logits=own[:, 0], modality_logits=own))
    made = agreement.agreement(found, ("a", "b"), {"a": "a", "b": "b"}, ["x", "y", "z"])
    assert made.drawn == ["all classes", "x"]
    assert "2 of 3 classes have no test sample." in made.notes
    assert agreement.share_sheet("t", made).rows[3] == ["z", 0, *[None] * 8]


def test_a_long_list_of_samples_is_cut():
    count = agreement.MOST_SAMPLES + 5
    own = np.zeros((count, 2, 2), np.float32)
    stored = Stored(
        ("a", "b"), np.zeros(count, np.int64), {}, logits=own[:, 0], modality_logits=own
    )
    found, labels = sharing.answers(stored), {"a": "a", "b": "b"}
    made = agreement.agreement(found, ("a", "b"), labels, ["x", "y"])
    sheet = agreement.sample_sheet("t", found, made.samples[0], made, labels)
    assert len(sheet.rows) == agreement.MOST_SAMPLES and sheet.notes == (
        "the first 1,000 of 1,005",
    )


# -- scores


def test_places_and_gaps_of_either_way():
    own = {"top1": 0.9, "modality_gap": 0.2, "top1[modality=clear]": 0.8}
    left = {"modality_gap[missing=zero]": 0.3, "top1[missing=zero,modality=clear]": 0.7}
    found = board("concat", **own, **left)
    (place,) = scores.places(found, "top1", scores.OWN)
    assert (place.gap, place.score, place.n) == (
        20.0,
        90.0,
        3,
    ) and place.gap_low < 20 < place.gap_high
    (place,) = scores.places(found, "top1", scores.LEFT)
    assert place.gap == 30.0
    assert scores.places(found, "macro_f1", scores.OWN) == []
    assert scores.gap_sheet(found, "top1", scores.LEFT).rows[0][-2:] == [0.7, None]


def test_shapley_values_of_a_row_and_their_sum():
    keys = {"shapley[modality=clear]": 0.5, "shapley[modality=noisy]": 0.2}
    found = board("concat", **keys)
    values = scores.shapley(found, found.lines, None)
    assert [v.mean for v in values] == [50.0, 20.0]
    assert [row[-1] for row in scores.shapley_sheet(found, values, None).rows] == [
        pytest.approx(0.7)
    ] * 2
    found = board("concat", **{"shapley[modality=clear]": 0.5})
    values = scores.shapley(found, found.lines, None)
    assert [row[-1] for row in scores.shapley_sheet(found, values, None).rows] == [None, None]


def test_recalls_by_group():
    keys = {"top1[group=head]": 0.9, "top1[group=head,modality=clear]": 0.6}
    keys |= {"probe[group=head,modality=clear]": 0.7}
    found = board("concat", protocol=LONG_TAILED, **keys)
    by = {p.part: p.mean for p, group in scores.by_group(found, found.lines, scores.OWN)}
    assert by == {"clear": 60.0, "noisy": None, FUSED: 90.0}
    by = {p.part: p.mean for p, group in scores.by_group(found, found.lines, scores.PROBE)}
    assert by == {"clear": 70.0, "noisy": None, FUSED: 90.0}


def test_utilisation_is_over_the_seeds_that_both_have():
    found = board("concat", "ume")
    own, alone = side("concat", 0, {0: 0.4, 1: 0.9}), side("ume", 1, {0: 0.8, 2: 0.5})
    made = use.used(found, utilisation({"noisy": [own, alone]}, {"noisy": alone}))
    (one,) = made
    assert (one.row, one.part, one.reference) == ("concat", "noisy", "ume")
    assert (one.own, one.alone, one.ratio.mean, one.ratio.n) == (0.4, 0.8, 0.5, 1)
    assert use.points(made) == [Point("concat", "noisy", 50.0, None, None, 1)]
    assert use.used(found, utilisation({"noisy": [own]}, {"noisy": side("ume", 1, {7: 0.5})})) == []


# -- pictures


@given(st.integers(1, 12), st.integers(1, 40), st.sampled_from([WHOLE, HALF]))
def test_a_legend_has_room(count, length, width):
    names = [f"{k:02}".ljust(length, "x") for k in range(count)]
    seen = encoded.of_parts([*names, FUSED], STYLES)
    columns = seen.legend(width).to_dict()["columns"]
    assert columns == 1 or columns * (min(150, 8 * length) + 30) <= width
    assert seen.legend_height(width) >= 18 * (count + 1) / columns
    assert seen.colours[-1] == encoded.GREY and encoded.GREY not in seen.colours[:-1]
    # while there are colours, no two modalities share one
    assert len(set(seen.colours[: min(count, 7)])) == min(count, 7)
    assert seen.dashes[-1] == [1, 0] and [1, 0] not in seen.dashes[:-1]


def test_parts_without_the_fused_logits():
    seen = encoded.of_parts(["a", "b"], STYLES)
    assert seen.colours == ("#1", "#2")


def test_lanes_cut_intervals_that_are_far_too_wide():
    wide = [Point("r", "a", 10.0, -900.0, 900.0, 2), Point("r", "b", None, None, None, 0)]
    made = drawings.lanes(
        wide, ["r"], encoded.of_parts(["a", "b"], STYLES), "v", bars=True
    ).to_dict()
    low, high = made["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert -20 < low < 0 and 10 < high < 30
    made = drawings.lanes(
        [Point("r", "a", 98.0, None, None, 1)],
        ["r"],
        encoded.of_parts(["a"], STYLES),
        "v",
        line_at=100.0,
    ).to_dict()
    low, high = made["layer"][1]["encoding"]["x"]["scale"]["domain"]
    assert low < 98 and high > 100


def test_pictures_of_a_single_value():
    seen = encoded.of_rows(["r"], STYLES)
    (place,) = [drawings.Place("r", 5.0, None, None, 50.0, None, None, 1)]
    x = drawings.gap_and_score([place], seen, "top1").to_dict()["layer"][0]["encoding"]["x"]
    assert x["scale"]["domain"][0] < 5.0 < x["scale"]["domain"][1]
    spots = [Spot("r", "a", 1.0, 50.0, 1, False)]
    assert curves.trajectories(spots, encoded.of_parts(["a"], STYLES), 60.0, 1.0).to_dict()
    steps = [(Point("r", "a", 50.0, None, None, 1), "head")]
    made = curves.steps(steps, ["head"], encoded.of_parts(["a"], STYLES), 60.0).to_dict()
    assert "datum.value == 0 ? groups[0]" in made["layer"][0]["encoding"]["x"]["axis"]["labelExpr"]


def test_every_line_has_its_shape_somewhere():
    spots = [
        Spot("r", part, float(step), 1.0, 1, False)
        for part in ("a", "b", "c")
        for step in range(40)
    ]
    marked = curves._marked(spots)
    for part in ("a", "b", "c"):
        assert 5 <= sum(m for m, s in zip(marked, spots, strict=True) if s.part == part) <= 9
    assert curves._marked(spots[:1]) == [True]
