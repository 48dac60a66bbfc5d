"""What two runs left, byte by byte: the smallest differences are found and named."""

import struct

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save
from strangers import finished

from suite.define.metrics import MetricRow
from suite.records.files import Evaluation, read
from suite.upkeep.equality import Piece, contents_of, counted, differences, evidence


@pytest.fixture
def runs(tmp_path):
    """The same run, left by two codes."""
    return [finished(tmp_path / name, 0) for name in ("then", "today")]


def differing(runs):
    return differences(*map(contents_of, runs))


def change(run, **arrays):
    """Put other arrays into the test set of a run."""
    sets = run.predictions()
    sets["test"].update(arrays)
    run.write_predictions(sets)


def rewrite(run, edit):
    for path in (run.path / "evaluations").iterdir():
        evaluation = read(Evaluation, path)
        path.write_bytes(msgspec.json.encode(edit(evaluation)))


def test_the_same_is_the_same_and_makes_one_evidence(runs):
    left = [contents_of(run) for run in runs]
    assert differences(*left) == []
    assert evidence({"a": tuple(left)}) == evidence({"a": tuple(reversed(left))})
    assert evidence({"a": tuple(left)}) != evidence({"b": tuple(left)})
    assert "arrays, " in counted([tuple(left)]) and " 0 scores" not in counted([tuple(left)])


def test_the_last_bit_of_one_number_is_a_difference(runs):
    logits = runs[1].predictions()["test"]["logits"]
    logits[2, 1] = np.nextafter(logits[2, 1], np.float32(np.inf))
    change(runs[1], logits=logits)
    (line,) = differing(runs)
    assert line.startswith("test/logits: 1 of 400 differ, the first at [2, 1]: ")
    left = [contents_of(run) for run in runs]
    assert evidence({"a": (left[0],) * 2}) != evidence({"a": (left[1],) * 2})


def test_zeros_of_two_signs_differ_and_nan_is_itself(runs):
    change(runs[0], more=np.array([0.0, np.nan]))
    change(runs[1], more=np.array([-0.0, np.nan]))
    (line,) = differing(runs)
    assert line == "test/more: 1 of 2 differ, the first at [0]: 0.0 then, -0.0 today"


@pytest.mark.parametrize(
    ("then", "today", "says"),
    [
        (np.zeros(2, "f4"), np.zeros(2, "f8"), "<f4 [2] then, <f8 [2] today"),
        (np.zeros((2, 1)), np.zeros((1, 2)), "<f8 [2, 1] then, <f8 [1, 2] today"),
        (np.array(["a"]), np.array(["b"]), "1 of 1 differ, the first at [0]: 'a' then, 'b' today"),
        (np.array(1), np.array(2), "1 of 1 differ, the first at []: 1 then, 2 today"),
    ],
)
def test_form_and_place_are_named(runs, then, today, says):
    change(runs[0], more=then)
    change(runs[1], more=today)
    assert differing(runs) == [f"test/more: {says}"]


def test_what_only_one_has_is_named(runs):
    change(runs[0], old=np.zeros(1))
    change(runs[1], new=np.zeros(1))
    assert differing(runs) == [
        "test/old: only with the earlier code",
        "test/new: only with today's code",
    ]


def test_weights_count_by_tensor_and_not_by_their_file(runs):
    tensors = {"a": np.zeros(3, "f4"), "b": np.ones((2, 2), "i8")}
    runs[0].weights.write_bytes(save(tensors, {"made": "then"}))
    runs[1].weights.write_bytes(save(tensors, {"made": "today"}))
    assert differing(runs) == []
    runs[1].weights.write_bytes(save({**tensors, "b": np.ones((2, 2), "i8") * 2}))
    assert differing(runs) == ["weight b: 4 of 4 differ, the first at [0, 0]: 1 then, 2 today"]
    runs[1].weights.write_bytes(save({"a": tensors["a"]}))
    assert differing(runs) == ["weight b: only with the earlier code"]


def test_a_type_that_numpy_has_not_is_shown_as_its_bytes(runs):
    def bfloat(number):
        return Piece("tensor", "BF16", (1,), struct.pack("<f", number)[2:])

    left = [contents_of(run) for run in runs]
    for one, number in zip(left, (1.0, 2.0), strict=True):
        one.pieces["weight a"] = bfloat(number)
    assert differences(*left) == [
        "weight a: 1 of 1 differ, the first at [0]: 803f then, 0040 today"
    ]


def test_scores_are_compared_by_the_same_evaluation_alone(runs):
    def other(evaluation):
        rows = [msgspec.structs.replace(evaluation.metrics[0], value=0.123)]
        return msgspec.structs.replace(evaluation, metrics=rows + evaluation.metrics[1:])

    rewrite(runs[1], other)
    (line, *_) = differing(runs)
    assert line.endswith(" then, 0.123 today")

    rewrite(runs[1], lambda one: msgspec.structs.replace(one, evaluation_hash="0" * 12))
    assert differing(runs) == []
    # where the method adapts scores, they must be comparable
    for run in runs:
        record = msgspec.structs.replace(run.record(), infers=True)
        (run.path / "record.json").write_bytes(msgspec.json.encode(record))
    (line,) = differing(runs)
    assert line.startswith("adapts scores, and no evaluation is the same as then")


def test_rows_made_in_training_count(runs):
    row = MetricRow(metric="loss", step=3, value=0.5, source="hook")
    record = msgspec.structs.replace(runs[1].record(), rows=[row])
    (runs[1].path / "record.json").write_bytes(msgspec.json.encode(record))
    assert differing(runs) == ["in training loss, step 3: only with today's code"]
