"""stdout and stderr as a command finds them."""

import contextlib
import io
import os

import pytest

from suite.base.errors import UserError
from suite.cli import streams


def taken_over(descriptor, name="stdout", **options):
    """What a command gets for a stream that Python has opened on a descriptor."""
    own = io.TextIOWrapper(io.BufferedWriter(io.FileIO(os.dup(descriptor), "w")), **options)
    return streams._output(own, own, name, descriptor)


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


@pytest.mark.parametrize(
    ("encoding", "given", "written"),
    [
        ("latin-1", "strict", b"45 \xb1 1 ?"),
        ("ascii", "strict", b"45 ? 1 ?"),
        ("ascii", "backslashreplace", rb"45 \xb1 1 \u2265"),
        ("utf-8", "surrogateescape", "45 ± 1 ≥".encode()),
    ],
)
def test_a_glyph_that_the_encoding_lacks_costs_the_glyph(pipe, encoding, given, written):
    stream = taken_over(pipe[1], encoding=encoding, errors=given)
    stream.write("45 ± 1 ≥")
    stream.flush()
    assert os.read(pipe[0], 100) == written
    # a file name that is no UTF-8
    stream.write("\udcff\n")
    stream.flush()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_nobody_reads_is_dropped(pipe, name, monkeypatch):
    stream = taken_over(pipe[1], name)
    monkeypatch.setattr(streams.sys, "stdout", stream)
    assert not streams.reader_gone()
    os.close(pipe[0])
    # seen before anything is written: who follows a log would wait for its next line
    assert streams.reader_gone()
    for _ in range(2):
        stream.write("x" * 100_000)
        stream.flush()
    assert streams.reader_gone()


def test_a_full_disk_is_one_line_and_on_stderr_nothing():
    full = os.open("/dev/full", os.O_WRONLY)
    stream = taken_over(full)
    with pytest.raises(UserError, match=r"stdout: cannot be written \(No space left"):
        print("board", file=stream, flush=True)
    stream.flush()
    os.close(full)
    full = os.open("/dev/full", os.O_WRONLY)
    print("progress", file=taken_over(full, "stderr"), flush=True)
    os.close(full)


@pytest.mark.parametrize("held_back", [True, False])
def test_a_pipe_that_does_not_wait_is_waited_for(pipe, held_back):
    os.set_blocking(pipe[1], False)
    stream = taken_over(pipe[1])
    if not held_back:  # python -u
        own = io.TextIOWrapper(io.FileIO(os.dup(pipe[1]), "w"), write_through=True)
        stream = streams._output(own, own, "stdout", pipe[1])
    read = []
    polled = streams.select.select

    def drain(reading, writing, failing):
        read.append(os.read(pipe[0], 1 << 20))
        return polled(reading, writing, failing)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams.select, "select", drain)
        stream.write("x" * 300_000)
        stream.flush()
    assert len(b"".join(read)) + len(os.read(pipe[0], 1 << 20)) == 300_000


def test_streams_of_somebody_elses_are_left_alone():
    other, own = io.StringIO(), io.StringIO()
    assert streams._output(other, own, "stdout", 1) is other
    assert streams._output(own, own, "stdout", 1) is own
    assert not streams.reader_gone()
