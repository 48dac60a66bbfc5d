"""Reviewing records of methods that infer with torch."""

import json
import os
import time
from pathlib import Path

import msgspec
import pytest
from reviewing import refused
from strangers import (
    Stranger,
    edit,
)


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    return Stranger(tmp_path)


LIES = {
    "other-seed": ("schema", lambda c: c["spec"].update(seed=8)),
    "protocol": ("protocol", lambda c: None),
    "budget": ("budget", lambda c: c["cost"].update(iterations=9999)),
    "samples": ("budget", lambda c: c["cost"].update(samples_seen=1)),
    "extra-budget": ("budget", lambda c: c.update(flags=["extra-budget"])),
    "data": ("data", lambda c: c["data"].update({"digits-lt": "cd" * 32})),
    "variant": ("data", lambda c: c.update(flags=["data-variant"])),
    "class-counts": ("data", lambda c: c["class_counts"].reverse()),
    "files": ("method", lambda c: c["files"].update({"baselines/shared/ce.py": "00"})),
    "future": ("record", lambda c: c.update(finished=time.time() + 1e6)),
    "seed": ("record", lambda c: c["environment"].update(seed=1)),
    "flag": ("record", lambda c: c.update(flags=["\x1b[2J"])),
    "infers": ("record", lambda c: c.update(infers=True)),
    "deep": ("schema", lambda c: c["environment"].update(x=json.loads("[" * 50 + "]" * 50))),
    "long": ("schema", lambda c: c["environment"].update(x="x" * 10**4)),
    "number": ("schema", lambda c: c["environment"].update(x=10**30)),
}


@pytest.mark.parametrize("name", LIES)
def test_a_record_that_lies_is_refused(stranger, name):
    check, change = LIES[name]
    if name == "protocol":
        # the spec is consistent, the protocol nobody's
        spec = msgspec.structs.replace(stranger.run.record().spec, protocol_hash="f" * 12)
        (stranger.run.path / "spec.json").unlink()
        edit(
            stranger.run.path / "record.json",
            lambda c: c.update(spec=msgspec.to_builtins(spec), run_id=spec.run_id),
        )
        for path in (stranger.run.path / "evaluations").iterdir():
            edit(path, lambda c: c.update(run_id=spec.run_id))
        os.rename(stranger.run.path.parent, stranger.folder / "runs" / spec.run_id)
    else:
        edit(stranger.run.path / "record.json", change)
    assert check in refused(stranger)
