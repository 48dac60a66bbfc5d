"""Recordings and their spectrograms: every form of wav that turns up, and known answers."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multilabel_files import pipes_and_folders
from multimodal_files import sound, sound_24, tone

from suite.base.errors import DataError
from tasks.multimodal.data import spectrogram
from tasks.multimodal.data.spectrogram import AVE, CREMA_D, log_spectrogram, waveform
from tasks.multimodal.data.wav import Recording, read_wav

FULL = {"u1": 128, "i2": 2**15, "i4": 2**31, "f4": 1, "f8": 1}
"""Type of samples -> full scale."""
files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def one_line(error):
    line = str(error.value)
    assert "\n" not in line and len(line) < 500
    return line


def drawn(kind, count, channels, seed):
    """Samples of a type, over its whole range, and what they are in [-1, 1]."""
    draw = np.random.default_rng(seed)
    shape = (count, channels) if channels > 1 else (count,)
    if kind[0] == "f":
        samples = draw.uniform(-1, 1, shape).astype(kind)
        return samples, samples.astype(np.float64)
    bounds = np.iinfo(kind)
    samples = draw.integers(bounds.min, bounds.max, shape, kind, endpoint=True)
    centred = samples.astype(np.float64) - (128 if kind == "u1" else 0)
    return samples, centred / FULL[kind]


# -- recordings


@files
@given(
    kind=st.sampled_from(sorted(FULL)),
    count=st.integers(1, 60),
    channels=st.integers(1, 3),
    rate=st.sampled_from((1_000, 8_000, 22_050, 44_100, 48_000, 384_000)),
    seed=st.integers(0, 1000),
)
def test_every_form_comes_back(tmp_path, kind, count, channels, rate, seed):
    samples, expected = drawn(kind, count, channels, seed)
    read = read_wav(sound(tmp_path / "x.wav", samples, rate))
    mono = expected if channels == 1 else expected.mean(axis=1)
    assert read.rate == rate and read.samples.dtype == np.float32
    np.testing.assert_allclose(read.samples, mono, atol=2e-7)


def test_24_bits(tmp_path):
    samples = np.array([[-(2**23), 2**23 - 1], [2**22, 0]])
    read = read_wav(sound_24(tmp_path / "x.wav", samples))
    np.testing.assert_allclose(read.samples, [-0.5 / 2**23, 0.25], atol=1e-9)


def test_silence_is_middle_of_8_bits(tmp_path):
    assert not read_wav(sound(tmp_path / "x.wav", np.full(10, 128, np.uint8))).samples.any()
    assert read_wav(sound(tmp_path / "x.wav", np.zeros(1, np.int16))).samples.tolist() == [0]


@files
@given(cut=st.integers(0, 243), kind=st.sampled_from(("i2", "u1")), seed=st.integers(0, 9))
def test_whatever_is_cut_off_is_named(tmp_path, cut, kind, seed):
    """Whole files of 244 bytes: 44 of header, then samples."""
    samples, _ = drawn(kind, 200 // np.dtype(kind).itemsize, 1, seed)
    path = sound(tmp_path / "x.wav", samples)
    whole = path.read_bytes()
    assert len(whole) == 244
    path.write_bytes(whole[:cut])
    with pytest.raises(DataError) as error:
        read_wav(path)
    assert str(path) in one_line(error)
    if cut > 44:
        assert f"is cut off: {cut - 44} of 200 bytes of samples" in one_line(error)


def damaged(name, path):
    """A file that is no recording, and what is said of it."""
    sound(path, tone(440, 8_000, 0.01))
    whole = bytearray(path.read_bytes())
    if name == "empty":
        path.write_bytes(b"")
        return "is empty (0 bytes)"
    if name == "no sample":
        sound(path, np.zeros(0, np.int16))
        return "holds no sample"
    if name == "mp3":
        path.write_bytes(b"ID3\x04" + bytes(60))
        return "is no wav file (it begins with b'ID3\\x04'); convert it: ffmpeg"
    if name == "avi":
        path.write_bytes(b"RIFF" + struct.pack("<I", 60) + b"AVI " + bytes(60))
        return "is no wav file"
    if name == "nan":
        sound(path, np.array([0, np.nan, np.inf], np.float32))
        return "2 of 3 samples are NaN or inf"
    if name == "huge":
        # finite as it is stored, and not as it is given
        sound(path, np.array([0, 1e300]))
        return "1 of 2 samples are NaN or inf"
    # the header is RIFF, size, WAVE, "fmt ", size, format, channels, rate, ...
    if name == "mu-law":
        whole[20:22] = struct.pack("<H", 7)
        expected = "cannot be read as a wav file"
    elif name == "no channel":
        whole[22:24] = struct.pack("<H", 0)
        expected = "cannot be read as a wav file"
    elif name == "no rate":
        whole[24:28] = struct.pack("<I", 0)
        whole[28:32] = struct.pack("<I", 0)
        expected = "its rate is 0 Hz, expected 1,000 to 384,000"
    path.write_bytes(bytes(whole))
    return expected


@pytest.mark.parametrize(
    "name",
    ["empty", "no sample", "mp3", "avi", "nan", "huge", "mu-law", "no channel", "no rate"],
)
def test_what_is_no_recording_is_named_in_a_line(tmp_path, name):
    path = tmp_path / "x.wav"
    expected = damaged(name, path)
    with pytest.raises(DataError) as error:
        read_wav(path)
    assert str(path) in one_line(error) and expected in one_line(error)


def test_a_folder_a_pipe_a_missing_file(tmp_path):
    path = sound(tmp_path / "x.wav", np.zeros(3, np.int16))
    for instead in pipes_and_folders(path):
        expected = (
            "is missing; extract the recording there" if instead == "nothing" else "cannot be read"
        )
        with pytest.raises(DataError, match=expected):
            read_wav(path)


def test_what_was_written_into_a_pipe_has_no_size(tmp_path):
    path = sound(tmp_path / "x.wav", np.arange(20, dtype=np.int16))
    whole = bytearray(path.read_bytes())
    whole[4:8] = whole[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(bytes(whole))
    np.testing.assert_allclose(read_wav(path).samples, np.arange(20) / 2**15, atol=1e-9)


def test_chunks_that_nobody_knows_are_passed_over(tmp_path):
    path = sound(tmp_path / "x.wav", np.arange(20, dtype=np.int16))
    whole = path.read_bytes()
    odd = b"bext" + struct.pack("<I", 3) + b"abc\0"
    path.write_bytes(
        whole[:4] + struct.pack("<I", len(whole) + len(odd) - 8) + whole[8:36] + odd + whole[36:]
    )
    np.testing.assert_allclose(read_wav(path).samples, np.arange(20) / 2**15, atol=1e-9)


# -- spectrograms


def test_sizes_of_the_papers():
    assert CREMA_D.shape == (257, 188) and AVE.shape == (257, 1004)
    for how in (CREMA_D, AVE):
        made = log_spectrogram(np.zeros(how.length, np.float32), how)
        assert made.shape == how.shape and made.dtype == np.float32


@pytest.mark.parametrize("how", [CREMA_D, AVE])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("bin_", [20, 70])
def test_a_pure_tone(how, rate, bin_):
    """A sine of amplitude a at the k-th frequency is a n_fft / 4 there, half of it beside it, and nothing elsewhere."""
    hertz = bin_ * how.rate / how.n_fft
    samples = waveform(Recording(tone(hertz, rate, how.seconds + 1), rate), how)
    assert samples.shape == (how.length,) and samples.dtype == np.float32
    made = np.exp(log_spectrogram(samples, how)[:, 20:-20].astype(np.float64)) - spectrogram.FLOOR
    peak = 0.5 * how.n_fft / 4
    np.testing.assert_allclose(made[bin_], peak, rtol=2e-3)
    np.testing.assert_allclose(made[[bin_ - 1, bin_ + 1]], peak / 2, rtol=2e-3)
    assert made[: bin_ - 2].max() < 2e-3 * peak and made[bin_ + 3 :].max() < 2e-3 * peak


def test_a_short_time_fourier_transform_by_hand():
    """The definition at one place: sum_n x[t hop + n - 256] w[n] e^(-2 pi i k n / 512), w Hann's window of period 512."""
    draw = np.random.default_rng(0)
    x = draw.uniform(-1, 1, CREMA_D.length).astype(np.float32)
    n, k, t = np.arange(512), 37, 11
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 512)
    for how, start in ((CREMA_D, t * 353 - 256), (AVE, t * 159)):
        value = (x[start : start + 512] * window * np.exp(-2j * np.pi * k * n / 512)).sum()
        padded = np.resize(x, how.length)
        assert log_spectrogram(padded, how)[k, t] == pytest.approx(
            np.log(abs(value) + 1e-7), abs=1e-5
        )


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
@pytest.mark.parametrize("count", [1, 2, 500])
def test_a_constant_stays_one(rate, count):
    """One sample, or a level: at frequency 0 the value times the window's sum, 256; half of it beside; nothing elsewhere."""
    samples = waveform(Recording(np.full(count, 0.25, np.float32), rate), CREMA_D)
    np.testing.assert_allclose(samples, 0.25, atol=1e-6)
    made = log_spectrogram(samples, CREMA_D)
    np.testing.assert_allclose(np.exp(made[:2, 90]), [64, 32], rtol=1e-5)
    assert made[3:].max() < -9


def test_silence_is_the_floor():
    samples = waveform(Recording(np.zeros(1000, np.float32), 22_050), CREMA_D)
    np.testing.assert_allclose(log_spectrogram(samples, CREMA_D), np.log(1e-7), rtol=1e-6)


def test_short_recordings_are_repeated_long_ones_cut_loud_ones_clipped():
    short = np.linspace(-2, 2, 22_050, dtype=np.float32)
    made = waveform(Recording(short, 22_050), CREMA_D)
    np.testing.assert_array_equal(made, np.tile(short, 3).clip(-1, 1))
    long = np.arange(22_050 * 5, dtype=np.float32) / 1e6
    np.testing.assert_array_equal(waveform(Recording(long, 22_050), CREMA_D), long[:66_150])


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_what_comes_after_the_cut_changes_nothing(rate):
    draw = np.random.default_rng(0)
    samples = draw.uniform(-1, 1, rate * 9).astype(np.float32)
    whole = waveform(Recording(samples, rate), CREMA_D)
    np.testing.assert_allclose(
        waveform(Recording(samples[: rate * 4], rate), CREMA_D), whole, atol=1e-6
    )
