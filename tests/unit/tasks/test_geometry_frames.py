"""Frames against known optima, their arms, and the tracked codes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.base.errors import DataError, UserError
from tasks.vision.geometry import frames

CODES = sorted(frames.CODES.glob("*.json"))
DIGESTS = {
    (10, 2): "34adf088b906789a5f38e8cab1e0b1f0baf93438e675ee56894a582ca5cd3161",
    (10, 3): "00d6d2987d17aca97fd70a62c0ba198bf88c5265df1c5e5c7e48d34969df314a",
    (10, 5): "346c1b245cd545da9f2190af82c33e9601878be8fab8d5e491e0fea7fb3fbaf6",
    (100, 2): "7de1228342c7ac09bbb6b4ab194407bc5208adb7be14b4fd66515fb5e27ee503",
    (100, 3): "23ce27dff928973e8af947bdcf0d2ca8de1bccbe77d632e7e35a2e309d567d40",
    (100, 5): "7a10006e4768a99a17a914c11cf73fa4cd0ff952b1ad13a54d93daffb39ba881",
}
"""Results hang on these frames: a digest is never brought up to date."""


def cosines(frame):
    return (frame @ frame.T)[np.triu_indices(len(frame), 1)]


# -- the simplex


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(3, 20), more=st.integers(-1, 10))
def test_simplex(classes, more):
    frame = frames.simplex(classes, classes + more)
    assert frame.shape == (classes, classes + more) and frame.dtype == np.float64
    assert np.linalg.norm(frame, axis=1) == pytest.approx(np.ones(classes))
    assert cosines(frame) == pytest.approx(-1 / (classes - 1), abs=1e-12)
    assert frame.sum(axis=0) == pytest.approx(0, abs=1e-12)


def test_canonical_simplex_is_the_centred_unit_vectors():
    frame = frames.simplex(4, 6)
    assert frame[:, :4] == pytest.approx(math.sqrt(4 / 3) * (np.eye(4) - 0.25))
    assert not frame[:, 4:].any()


def test_too_few_dimensions_name_the_code():
    with pytest.raises(
        UserError, match=r"needs 9 dimensions, there are 8; take a signed code.*code-5"
    ):
        frames.simplex(10, 8)
    with pytest.raises(UserError, match="method code-2"):
        frames.simplex(10, 2)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [((10, 1), "in 1 dimension has no angles"), ((1, 5), "of 1 classes"), ((10, 0), "in 0 dim")],
)
@pytest.mark.parametrize("make", [frames.simplex, frames.code, frames.optimise])
def test_sizes_without_a_frame(make, sizes, said):
    with pytest.raises(UserError, match=said):
        make(*sizes)


# -- arms


@pytest.mark.parametrize("number", [0, 7, 999])
def test_a_rotation_leaves_the_gram_matrix(number):
    frame = frames.code(10, 3)
    turned = frames.rotated(frame, number)
    assert turned @ turned.T == pytest.approx(frame @ frame.T)
    assert np.abs(turned - frame).max() > 0.1
    assert np.array_equal(turned, frames.rotated(frame, number))
    assert frames.rotated(frame, None) is frame


def test_rotations_are_haar():
    """E[R_11^2] = 1/D, R_11 symmetric about 0 and as the first coordinate of a point on the sphere."""
    dimensions, draws = 3, 2000
    corner = []
    for number in range(frames.ARMS):
        turn = frames.haar(dimensions, number)
        assert np.abs(turn.T @ turn - np.eye(dimensions)).max() < 1e-12
        corner += [turn[0, 0], turn[1, 2]]
    corner = np.array(corner)
    assert len(corner) == draws
    # a coordinate of a point on the sphere in 3 dimensions is uniform; the variance of its square is 4/45
    assert (corner**2).mean() == pytest.approx(1 / 3, abs=4 * math.sqrt(4 / 45 / draws))
    assert abs((corner > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(draws)
    places = (np.sort(corner) + 1) / 2
    steps = np.arange(draws + 1) / draws
    gap = max(np.abs(places - steps[1:]).max(), np.abs(places - steps[:-1]).max())
    assert gap < 1.95 / math.sqrt(draws)  # Kolmogorov and Smirnov at 0.001


def test_permutations_differ_from_the_identity_and_each_other():
    for classes, arms in ((3, 5), (4, 23), (10, 60)):
        found = {tuple(frames.permutation(classes, n)) for n in range(arms)}
        assert len(found) == arms and tuple(range(classes)) not in found
        assert all(sorted(p) == list(range(classes)) for p in found)


def test_a_permutation_of_the_simplex_is_a_rotation_and_of_a_code_is_not():
    simplex, code = frames.simplex(10, 16), frames.code(10, 3)
    for number in range(5):
        permuted = frames.permuted(simplex, number)
        assert permuted @ permuted.T == pytest.approx(simplex @ simplex.T)
        other = frames.permuted(code, number)
        assert np.abs(other @ other.T - code @ code.T).max() > 0.1
        assert sorted(map(tuple, other)) == sorted(map(tuple, code))
    assert frames.permuted(code, None) is code


def test_arms_are_the_same_on_every_machine():
    """The streams are PCG64's own: no release of numpy changes them."""
    assert frames.permutation(10, 0) == PERMUTATION_0
    assert frames.haar(2, 0)[0] == pytest.approx(ROTATION_0, abs=1e-12)


PERMUTATION_0 = [0, 4, 9, 3, 2, 7, 6, 1, 8, 5]
ROTATION_0 = [-0.9834648560505115, 0.18109908037742015]


@pytest.mark.parametrize("number", [-1, 1000, 1.0, True, None, "3"])
def test_arm_numbers_out_of_range(number):
    with pytest.raises(UserError, match=r"permutation .*: arms have the numbers 0 to 999"):
        frames.permutation(10, number)
    with pytest.raises(UserError, match=r"rotation .*: arms have the numbers 0 to 999"):
        frames.haar(10, number)


def test_three_classes_have_five_permutations():
    with pytest.raises(UserError, match="permutation 5: arms have the numbers 0 to 4"):
        frames.permutation(3, 5)


def test_nearest_simplex_finds_the_orientation_of_the_means():
    truth = frames.rotated(frames.simplex(5, 8), 3)
    noise = np.random.default_rng(0).standard_normal(truth.shape)
    assert frames.nearest_simplex(4 * truth + 7) == pytest.approx(truth)
    found = frames.nearest_simplex(4 * truth + 0.05 * noise)
    assert found @ found.T == pytest.approx(truth @ truth.T)
    assert np.abs(found - truth).max() < 0.05
    # no other orientation is nearer
    means = truth + 0.3 * noise
    means = means - means.mean(axis=0)
    found = frames.nearest_simplex(means)
    others = [frames.rotated(truth, n) for n in range(50)]
    assert np.linalg.norm(found - means) <= min(np.linalg.norm(o - means) for o in [truth, *others])


def test_nearest_simplex_refuses():
    with pytest.raises(UserError, match="NaN or infinite"):
        frames.nearest_simplex(np.full((3, 4), np.nan))
    with pytest.raises(UserError, match="method code-3"):
        frames.nearest_simplex(np.ones((8, 3)))


# -- codes and lines


@pytest.mark.parametrize(
    ("classes", "dimensions", "expected"),
    [
        (5, 2, 0.3090170),
        (10, 2, 0.8090170),
        (10, 4, 1 / 6),
        (10, 5, 0),
        (9, 5, 0),
        (6, 5, -1 / 5),
        (7, 3, math.cos(math.radians(77.8695421555))),
        (9, 3, 1 / 3),
        (12, 3, 1 / math.sqrt(5)),
        (4, 3, -1 / 3),
    ],
)
@pytest.mark.slow
def test_optimisation_reaches_the_known_optimum(classes, dimensions, expected):
    found = frames.largest_cosine(frames.optimise(classes, dimensions, 6))
    assert found == pytest.approx(expected, abs=1e-7)
    assert frames.best_known(classes, dimensions) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("classes", "dimensions", "expected"),
    [
        (10, 9, -1 / 9),
        (10, 64, -1 / 9),
        (100, 98, 0),
        (100, 50, 0),
        (10, 8, 0),
        (10, 5, 0),
        (10, 3, 0.4044),
        (24, 4, 0.5),
        (3, 1, 1),
        (2, 1, -1),
        (77, 6, None),
        (1, 3, None),
    ],
)
def test_best_known(classes, dimensions, expected):
    found = frames.best_known(classes, dimensions)
    assert (found is None) if expected is None else (found == pytest.approx(expected, abs=1e-4))


@pytest.mark.slow
def test_lines_are_not_a_code():
    lines = frames.optimise(6, 3, 4, lines=True)  # the icosahedron's diagonals meet Welch's bound
    assert frames.largest_cosine(lines, absolute=True) == pytest.approx(1 / math.sqrt(5), abs=1e-7)
    assert frames.welch(6, 3) == pytest.approx(1 / math.sqrt(5))
    # the best code of as many has opposite vectors, which are one line
    code = frames.optimise(6, 3, 4)
    assert frames.largest_cosine(code) == pytest.approx(0, abs=1e-7)
    assert frames.largest_cosine(code, absolute=True) == pytest.approx(1)
    assert frames.welch(5, 4) == pytest.approx(1 / 4) and frames.welch(3, 4) == 0


@pytest.mark.parametrize("path", CODES, ids=lambda path: path.stem)
def test_tracked_codes_are_sound(path):
    stored = json.loads(path.read_text())
    classes, dimensions = stored["classes"], stored["dimensions"]
    assert path.stem == f"code-{classes}-{dimensions}"
    frame = frames.code(classes, dimensions)
    assert frames.digest(frame) == DIGESTS[classes, dimensions]
    assert np.linalg.norm(frame, axis=1) == pytest.approx(np.ones(classes), abs=1e-14)
    assert frames.largest_cosine(frame) == pytest.approx(stored["max_cos"], abs=1e-14)
    assert frames.largest_cosine(frame) <= frames.best_known(classes, dimensions) + 1e-8


def test_every_recorded_code_is_tracked():
    assert {path.stem for path in CODES} == {f"code-{k}-{d}" for k, d in DIGESTS}


def test_no_code_is_stored():
    with pytest.raises(UserError, match=r"make it: python -m tasks\.vision\.geometry\.frames 11 3"):
        frames.code(11, 3)


def test_a_code_in_dimensions_enough_is_the_simplex():
    with pytest.raises(
        UserError, match="is the simplex ETF: take method etf-cos, or at most 8 dim"
    ):
        frames.code(10, 9)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-40],
        lambda text: text.replace("1.0", "0.9"),
        lambda text: text.replace('"digest"', '"sum"'),
        lambda text: "[]",
        lambda text: '{"digest": "a", "vectors": ["a"]}',
    ],
)
def test_a_damaged_code_is_refused(spoil, tmp_path, monkeypatch):
    path = frames.CODES / "code-10-3.json"
    (tmp_path / path.name).write_text(spoil(path.read_text()))
    monkeypatch.setattr(frames, "_path", lambda *sizes: tmp_path / path.name)
    with pytest.raises(DataError, match=r"code-10-3\.json: not the code of 10 classes in 3"):
        frames.code(10, 3)


def test_a_code_is_made_and_stored_once(tmp_path, capsys, monkeypatch):
    frames.main(["8", "2", "--folder", str(tmp_path)])
    path = tmp_path / "code-8-2.json"
    said = capsys.readouterr().out
    assert str(path) in said and "largest cosine 0.707107" in said
    monkeypatch.setattr(frames, "_path", lambda *sizes: path)
    assert frames.digest(frames.code(8, 2)) in said
    with pytest.raises(SystemExit):
        frames.main(["8", "2", "--folder", str(tmp_path)])
    assert "remove it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["5", "4"], "the code is the simplex"),
        (["5", "1"], "no angles"),
        (["5", "3", "--restarts", "0"], "at least 1"),
        (["5", "3", "--folder", "/nowhere/codes"], "no folder"),
    ],
)
def test_what_cannot_be_made(arguments, said, capsys):
    with pytest.raises(SystemExit):
        frames.main(arguments)
    assert said in capsys.readouterr().err
