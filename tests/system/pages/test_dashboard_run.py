"""The page Run, run in this process."""

import io
import os
import struct
import time
import zlib
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from dashboards import _restored, check, open_page, texts  # noqa: F401
from PIL import Image
from records import HOSTILE, TASK, Records, edit
from strangers import catalog as installed
from strangers import finished

from suite.base.errors import RecordError
from suite.define.catalog import Catalog
from suite.define.metrics import MetricRow
from suite.records.attempt import Attempt
from suite.records.describe import (
    LOG_BYTES,
    MAX_PIXELS,
    log_tail,
    sample_image,
    sample_names,
    thinned,
)
from suite.records.files import Status
from suite.records.lookup import find_run
from suite.store.ingest import ingest


def png(width, height, colour=(10, 20, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def bomb(width, height):
    """A PNG of a few bytes that says it is this large."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def frame(page, words):
    """The table whose title holds these words."""
    return next(found.value for found in page.dataframe if words in found.proto.alt)


def toy():
    return Catalog({"toy-task": TASK}, {})


# -- what is read of a folder


def test_the_end_of_a_log(tmp_path):
    attempt = Attempt(tmp_path, "0" * 12, 1)
    attempt.path.mkdir(parents=True)
    log = attempt.path / "log.txt"
    assert log_tail(attempt) == []
    log.write_bytes(b"one\ntwo \xff\n")
    assert log_tail(attempt) == ["one", "two �"]
    assert log_tail(attempt, 1) == ["two �"]
    log.write_text("".join(f"line {n:08}\n" for n in range(200_000)))
    found = log_tail(attempt)
    assert len(found) == 200 and found[-1] == "line 00199999"
    assert log_tail(attempt, 10**9)[0].startswith("line ")  # no half line
    assert sum(len(line) + 1 for line in log_tail(attempt, 10**9)) <= LOG_BYTES
    log.write_bytes(b"x" * 3 * LOG_BYTES)
    assert [len(line) for line in log_tail(attempt)] == [LOG_BYTES]
    log.unlink()
    log.symlink_to("/etc/passwd")
    assert log_tail(attempt) == []
    log.unlink()
    os.mkfifo(log)
    assert log_tail(attempt) == []


def test_samples_are_regular_files_of_the_attempt(tmp_path):
    attempt = Attempt(tmp_path, "0" * 12, 1)
    attempt.path.mkdir(parents=True)
    assert sample_names(attempt) == []
    for name in ("10.png", "2.png"):
        attempt.write_sample(name, png(9, 3))
    folder = attempt.path / "samples"
    (folder / "note.txt").write_text("")
    (folder / "link.png").symlink_to("/etc/passwd")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    assert sample_names(attempt) == ["2.png", "10.png"]
    pixels = sample_image(attempt, "2.png")
    assert pixels.shape == (3, 9, 3) and pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == [10, 20, 30]
    other = Attempt(tmp_path, "1" * 12, 1)
    other.path.mkdir(parents=True)
    (other.path / "samples").symlink_to(folder)
    assert sample_names(other) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (bomb(60_000, 60_000), "no readable PNG|more than"),
        (bomb(3000, MAX_PIXELS // 3000 + 1), "more than"),
        (bomb(40, 1000), "no readable PNG"),  # fewer bytes than it says
        (b"", "no readable PNG"),
        (b"GIF89a" + bytes(100), "no readable PNG"),
        (png(50, 50)[:60], "no readable PNG"),
    ],
)
def test_images_of_strangers(tmp_path, content, problem):
    attempt = Attempt(tmp_path, "0" * 12, 1)
    attempt.path.mkdir(parents=True)
    attempt.write_sample("0.png", content)
    begun = time.monotonic()
    with pytest.raises(RecordError, match=problem) as caught:
        sample_image(attempt, "0.png")
    assert "0.png" in str(caught.value) and "\n" not in str(caught.value)
    assert time.monotonic() - begun < 5


def test_an_image_file_that_is_too_large(tmp_path, monkeypatch):
    attempt = Attempt(tmp_path, "0" * 12, 1)
    attempt.path.mkdir(parents=True)
    attempt.write_sample("0.png", png(9, 3))
    monkeypatch.setattr("suite.records.describe.MAX_PNG", 20)
    with pytest.raises(RecordError, match="more than 20"):
        sample_image(attempt, "0.png")
    with pytest.raises(RecordError, match="no such sample"):
        sample_image(attempt, "1.png")


def test_curves_are_thinned_to_their_end():
    curve = [(n, float(n)) for n in range(2503)]
    some = thinned(curve)
    assert len(some) <= 1000 and some[-1] == curve[-1]
    assert {b[0] - a[0] for a, b in pairwise(some)} == {3}
    assert thinned(curve[:1000]) == curve[:1000]
    assert thinned([]) == []


def test_a_whole_id_is_found_without_a_list(tmp_path, monkeypatch):
    run = Records(tmp_path).run("ce", mIoU=0.3).run_id
    assert find_run(tmp_path, run[:5]) == run
    monkeypatch.setattr(os, "listdir", lambda path: 1 / 0)
    assert find_run(tmp_path, run) == run


def test_the_config_command_makes_the_runs_own_config(tmp_path):
    under = installed().task("longtail-cls")
    finished(tmp_path, 0, "la", overrides={"tau": 2.5})
    ingest(tmp_path, installed().tasks(), installed().code)
    page = open_page(tmp_path, "run", run=next((tmp_path / "runs").iterdir()).name)
    command = next(code.value for code in page.code if "suite config" in code.value)
    assert "--set la.tau=2.5" in command and "--method la" in command
    assert f"--protocol {under.default_protocol}" in command


def test_runs_that_are_not_finished(tmp_path):
    made = Records(tmp_path)
    running = made.unfinished("ce", seed=0)
    status = running.status()
    running.write_status(msgspec.structs.replace(status, total=20))
    failed = made.unfinished("la", seed=1, failure="nan", message="loss is <i>nan</i>")
    stopped = made.unfinished("la", seed=2, beat=900.0)
    made.ingest()
    page = open_page(tmp_path, "run", catalog=toy(), run=running.run_id)
    assert "iteration 7 of 20" in page.get("progress")[0].proto.text
    page = open_page(tmp_path, "run", catalog=toy(), run=failed.run_id)
    assert frame(page, "Attempts")["5"].tolist() == ["loss is <i>nan</i>"]
    assert f"python -m suite retry {failed.run_id}" in [code.value for code in page.code]
    page = open_page(tmp_path, "run", catalog=toy(), run=stopped.run_id)
    assert frame(page, "Attempts")["1"].tolist() == ["stopped"]
    assert not page.get("progress")


def test_a_record_of_a_stranger_may_hold_anything(tmp_path):
    deep = 0
    for _ in range(400):
        deep = [deep]
    made = Records(tmp_path)
    names = [*HOSTILE, "<script>alert(1)</script>", "y" * 10_000]
    run = made.run(
        names[-2],
        params={name: name for name in names},
        rows=[
            *(MetricRow(metric=name, subset=name, value=0.5) for name in names),
            *(MetricRow(metric="IoU", class_=name, value=0.5) for name in names),
            *(MetricRow(metric=f"m{n}", value=None) for n in range(800)),
        ],
    )
    edit(
        run.path / "record.json",
        curves={name: [[10**15, 1.0], [2**62, None]] for name in names},
        environment={**dict.fromkeys(names, deep), "git": {"a": {"b": names}}},
        files={f"f{n}": "0" for n in range(900)},
        warnings=names * 30,
        flags=names,
        class_counts=[2**63 - 1, -5],
        data={name: name for name in names},
    )
    run.write_status(
        Status(state="done", digest="", started=-1e300, heartbeat=1e300, host=names[-1])
    )
    made.ingest()
    page = open_page(tmp_path, "run", catalog=toy(), run=run.run_id)
    # in a code block it is text anyway
    code = {block.value for block in page.code}
    said = "\n".join(line for line in texts(page).splitlines() if line not in code)
    assert "<script>" not in said and "\\<script" in said
    assert len(frame(page, "Provenance")) == 500
    for warning in page.warning:
        assert len(warning.value) < 1000
    page.multiselect(key="curve").set_value([]).run()
    check(page)
