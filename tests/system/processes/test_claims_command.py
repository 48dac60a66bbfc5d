"""`suite claims` beside runs of our own."""

import json

import pytest
from claims_files import ENTRY, write

# -- the command, and our own files


def test_the_command(suite, inside, tmp_path, fake):
    claim = {**ENTRY, "method": "steady", "task": "fake", "metric": "score", "protocol": "quick"}
    folder = write(tmp_path / "claims", claim)
    call = ("claims", "--claims", str(folder))
    done = suite(*call)
    assert done.returncode == 0, done.stderr
    assert "41.5" in done.stdout and "1 claim: 1 not run" in done.stdout
    assert suite("run", "--task", "fake", "--method", "steady", "--seeds", "0-2").returncode == 0
    (row,) = json.loads(inside(*call, "--format", "json").stdout)["rows"]
    assert row["status"] in ("confirmed", "within noise", "above", "below") and row["n"] == 3
    assert row["difference"] == pytest.approx(row["ours"] - 0.415)
    empty = inside(*call, "--status", "not run")
    assert empty.returncode == 0 and "0 claims" in empty.stdout
    for wrong, message in (
        (("--method", "steddy"), "did you mean steady?"),
        (("--task", "nope"), "no claim is about it"),
        (("--protocol", "nope"), "no claim is near it"),
        (("--status", "confirmd"), "did you mean confirmed?"),
        (("--format", "yaml"), "use one of"),
        (("--claims", "nowhere"), "no such folder"),
    ):
        done = inside(*call, *wrong)
        assert done.returncode == 2 and message in done.stderr, (wrong, done.stderr)
        assert done.stderr.count("\n") == 1
