"""`verify`: stored metrics against predictions, and the bounded readers."""

import io
import os
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strangers import catalog, edit, finished, header, lying_size, npy, packed, rewrite_arrays

from suite.base.bounded import parse_arrays, read_arrays, read_file
from suite.base.errors import RecordError, UserError
from suite.define.metrics import MetricRow
from suite.define.task import Metric
from suite.exchange.comparison import compare
from suite.exchange.consistency import row_problems
from suite.exchange.verify import attempts_named, verify
from suite.records.attempt import Attempt, attempts
from suite.records.fingerprint import fingerprint, stored_fingerprint

HERE = Path("predictions.npz")


@pytest.fixture
def run(tmp_path: Path) -> Attempt:
    return finished(tmp_path, 3)


def evaluations(run: Attempt) -> list[Path]:
    return sorted((run.path / "evaluations").glob("*.json"))


def test_an_untouched_run_matches_exactly(run):
    verdict = verify(run, catalog())
    assert verdict.holds and verdict.problems == ()
    assert {one.task for one in verdict.evaluations} == {"longtail-cls", "test-agnostic"}
    assert all(one.state == "match" and one.compared.near == 0 for one in verdict.evaluations)
    assert all(one.compared.exact > 20 for one in verdict.evaluations)


def test_a_changed_value_is_named_with_both_numbers(run):
    def change(content):
        (row,) = (r for r in content["metrics"] if r["metric"] == "balanced_accuracy")
        row["value"] += 1e-6

    edit(evaluations(run)[0], change)
    verdict = verify(run, catalog())
    assert not verdict.holds
    (mismatch,) = next(e for e in verdict.evaluations if e.state == "mismatch").compared.mismatches
    assert mismatch.name == "balanced_accuracy"
    assert float(mismatch.stored) - float(mismatch.recomputed) == pytest.approx(1e-6)


@pytest.mark.parametrize("name", ["test/logits.npy", "test/label.npy"])
def test_changed_predictions_do_not_match(run, name):
    def change(held):
        held[name] = held[name][::-1].copy()

    rewrite_arrays(run, change)
    assert {e.state for e in verify(run, catalog()).evaluations} == {"mismatch"}


def test_rows_missing_or_added_are_mismatches():
    rows = [MetricRow(metric="a", value=0.5), MetricRow(metric="b", value=None)]
    assert compare(rows, rows).mismatches == ()
    assert [m.stored for m in compare(rows[:1], rows).mismatches] == ["no row"]
    assert [m.recomputed for m in compare(rows, rows[:1]).mismatches] == ["no row"]
    assert compare([rows[0], rows[0]], rows[:1]).mismatches
    zero = [MetricRow(metric="b", value=0.0)]
    assert [m.stored for m in compare(zero, rows[1:]).mismatches] == ["0.0"]
    hook = [MetricRow(metric="a", value=0.5, source="hook")]
    assert compare(hook, rows[:1]).mismatches, "a row made of predictions is no row of a hook"


def test_the_last_digits_may_differ_and_no_more():
    row = MetricRow(metric="a", value=0.1)
    for factor, near in ((1 + 1e-12, 1), (1 + 1e-8, 0)):
        found = compare([MetricRow(metric="a", value=0.1 * factor)], [row])
        assert (found.near, len(found.mismatches)) == (near, 1 - near)


def test_rows_of_hooks_are_counted_not_recomputed(tmp_path):
    rows = [MetricRow(metric="nc1", step=10, value=3.0, source="hook")]
    run = finished(tmp_path, 3, rows=rows)
    verdict = verify(run, catalog())
    assert verdict.holds and [e.compared.hooks for e in verdict.evaluations] == [1, 1]

    def change(content):
        content["metrics"][-1]["value"] = 4.0

    edit(evaluations(run)[0], change)
    assert not verify(run, catalog()).holds


def test_an_evaluation_of_another_version_is_said_to_be_one(run):
    def older(content):
        content["evaluation_hash"] = "0" * 12
        content["evaluation"]["version"] = 0

    for path in evaluations(run):
        edit(path, older)
        path.rename(path.with_name(f"{path.name[:-17]}{'0' * 12}.json"))
    verdict = verify(run, catalog())
    assert not verdict.holds and "python -m suite evaluate" in verdict.problems[0]
    assert {(e.state, "version 0" in e.why) for e in verdict.evaluations} == {("version", True)}


@pytest.mark.parametrize("value", [1.5, -0.1])
def test_a_fraction_outside_of_its_range(run, value):
    edit(evaluations(run)[0], lambda c: c["metrics"][0].update(value=value))
    (wrong,) = (e for e in verify(run, catalog()).evaluations if e.state == "damaged")
    assert "no fraction" in wrong.why


def test_missing_predictions_and_an_unreadable_record(run):
    (run.path / "predictions.npz").unlink()
    assert "no stored predictions" in verify(run, catalog()).problems[0]
    (run.path / "record.json").write_bytes(b"{")
    assert not verify(run, catalog()).holds


# -- readers


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["<f4", ">f8", "<i8", "|u1", "?", "<f2", "<U3"]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    st.booleans(),
)
def test_arrays_come_back_as_they_were(array, fortran):
    array = np.asfortranarray(array) if fortran else array
    found = parse_arrays(packed({"test/x.npy": npy(array)}), HERE)["test"]["x"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=") and found.flags.writeable


def test_the_fingerprint_is_that_of_the_stored_file(run):
    sets = read_arrays(run.path / "predictions.npz")
    assert fingerprint(sets) == stored_fingerprint(run.path / "predictions.npz")
    sets["test"]["logits"][0, 0] += 1
    assert fingerprint(sets) != stored_fingerprint(run.path / "predictions.npz")


def lies(text: str) -> bytes:
    return packed({"test/x.npy": header(text)})


def encrypted(content: bytes) -> bytes:
    at = content.find(b"PK\x01\x02")
    return content[: at + 8] + b"\x01\x00" + content[at + 10 :]


ZEROS = npy(np.zeros(1000))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a zip"),
        (packed({"test/x.npy": npy(np.array([{}], dtype=object))}), "plain numbers"),
        (packed({"../x.npy": ZEROS}), "called"),
        (packed({"/etc/x.npy": ZEROS}), "called"),
        (packed({"test/x": ZEROS}), "called"),
        (packed({"test/x.npy": ZEROS[:-1]}), "header tells"),
        (packed({"test/x.npy": ZEROS + b"x"}), "header tells"),
        (packed({f"test/x{i}.npy": b"" for i in range(5000)}), "members"),
        (lies("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }"), "bytes"),
        (lies("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), "shape"),
        (lies("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 0), }"), "empty"),
        (lies("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }"), "plain"),
        (lies("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }"), "plain"),
        (lies("-" * 9000 + "1"), "damaged"),
        (lies("(" * 9000), "damaged"),
        (lying_size(packed({"test/x.npy": ZEROS}), (1 << 32) - 2), "header tells"),
        (encrypted(packed({"test/x.npy": ZEROS})), "encrypted"),
    ],
)  # fmt: skip
def test_what_is_not_plain_arrays_is_refused(content, says):
    with pytest.raises(RecordError, match=says) as caught:
        parse_arrays(content, HERE)
    assert len(str(caught.value)) < 500


def test_a_bomb_is_not_unpacked():
    bomb = packed({f"test/x{i}.npy": npy(np.zeros(1 << 17)) for i in range(4)})
    assert len(bomb) < 20_000
    with pytest.raises(RecordError, match="unpacks to 4,194,816 bytes, more than 4,000,000"):
        parse_arrays(bomb, HERE, limit=4_000_000)
    # one that hides its size is read as far as it declares, and no further
    with pytest.raises(RecordError, match="Bad CRC-32"):
        parse_arrays(lying_size(bomb, 200), HERE, limit=4_000_000)


def test_overlapping_members_and_a_huge_table_of_contents_are_refused():
    content = packed({"test/x.npy": np.random.default_rng(0).bytes(5000)})
    start = content.find(b"PK\x01\x02")
    entry, tail = content[start : content.find(b"PK\x05\x06")], content[-22:]
    entries = entry + entry.replace(b"test/x", b"test/y") + entry.replace(b"test/x", b"test/z")
    end = tail[:8] + struct.pack("<HHII", 3, 3, len(entries), start) + tail[20:]
    with pytest.raises(RecordError, match="overlap"):
        parse_arrays(content[:start] + entries + end, HERE)
    end = tail[:8] + struct.pack("<HHII", 9, 9, 5_000_000, 0) + tail[20:]
    with pytest.raises(RecordError, match="table of contents"):
        parse_arrays(b"\0" * 5_000_000 + end, HERE)


def test_two_members_of_one_name():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("test/x.npy", ZEROS)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("test/x.npy", ZEROS)
    with pytest.raises(RecordError, match="one name"):
        parse_arrays(buffer.getvalue(), HERE)


def test_links_pipes_and_large_files_are_not_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "file", 5) == b"12345"
    opened = len(os.listdir("/proc/self/fd"))
    for name, limit in {"link": 9, "pipe": 9, ".": 9, "file": 4}.items():
        with pytest.raises(RecordError):
            read_file(tmp_path / name, limit)
    assert stored_fingerprint(tmp_path / "pipe") is None
    assert len(os.listdir("/proc/self/fd")) == opened
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", 4)


def test_a_run_id_means_its_newest_finished_attempt(tmp_path):
    finished(tmp_path, 3)
    second = finished(tmp_path, 3, attempt=2)
    assert [a.number for a in attempts_named(tmp_path, [second.run_id])] == [2]
    assert [a.number for a in attempts_named(tmp_path, [])] == [1, 2]
    assert [a.number for a in attempts_named(tmp_path, [str(second.path)])] == [2]
    assert len(attempts(tmp_path, second.run_id)) == 2
    with pytest.raises(UserError):
        attempts_named(tmp_path, ["ffff"])


@pytest.mark.parametrize(
    ("signed", "value", "fits"), [(False, -0.1, False), (True, -0.1, True), (True, -1.1, False)]
)
def test_a_difference_of_fractions_may_be_negative(signed, value, fits):
    task = SimpleNamespace(name="any", metrics=(Metric(name="drop", signed=signed),))
    problems = row_problems([MetricRow(metric="drop", value=value)], task)
    assert (not problems) == fits
