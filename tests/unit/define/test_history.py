"""The file of attestations: written whole, read back, in an order of its own."""

import tomllib

import pytest

from suite.base.errors import UserError
from suite.define.history import Attestation, History, add_attested, read_attested


def attestation(method="focal", before="b", after="a", **changes):
    fields = {
        "commit": "c" * 40,
        "protocols": {"t/smoke": "h", "s/smoke": "g"},
        "evidence": "e" * 64,
    }
    return Attestation(method=method, before=before, after=after, **{**fields, **changes})


def test_what_is_written_is_read_back_and_counts(tmp_path):
    path = tmp_path / "attested.toml"
    assert read_attested(path) == []
    add_attested(path, attestation())
    assert read_attested(path) == [attestation()]
    assert path.read_text().startswith("# Changes of methods' code that change nothing")
    history = History(tmp_path / "none.toml", path)
    assert history.before("focal", "a") == {"b"} and history.before("ce", "a") == frozenset()
    assert [p.name for p in tmp_path.iterdir()] == ["attested.toml"]


def test_the_order_of_writing_does_not_show(tmp_path):
    given = [attestation("la"), attestation(before="x"), attestation(), attestation(after="z")]
    for name, order in (("one", given), ("other", given[::-1])):
        for one in order:
            add_attested(tmp_path / name, one)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert len(read_attested(tmp_path / "one")) == 4


def test_one_change_is_one_entry(tmp_path):
    path = tmp_path / "attested.toml"
    add_attested(path, attestation(evidence="1"))
    add_attested(path, attestation(evidence="2"))
    assert [one.evidence for one in read_attested(path)] == ["2"]


def test_a_damaged_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "attested.toml"
    path.write_text("[[attested]]\nmethod = 1\n")
    with pytest.raises(UserError, match=r"attested\.toml"):
        add_attested(path, attestation())
    assert tomllib.loads(path.read_text()) == {"attested": [{"method": 1}]}
