"""Recordings from wav files that may be damaged or a stranger's: PCM of 8 to 32 bits and floating point, any rate, any
number of channels. scipy decodes; it is imported inside."""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.base.bounded import read_file
from suite.base.errors import DataError, RecordError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

MAX_WAV = 1 << 28
"""Bytes of a file: 12 minutes of 48 kHz stereo in 32 bits."""
RATES = (1_000, 384_000)
"""Lowest and highest sampling rate, in Hz. Beyond lies no recording, and a resampling filter as long as the rate."""
_STREAMED = 0xFFFFFFFF
"""What a program that writes into a pipe states as the size: up to the end of the file."""


@dataclass(frozen=True, eq=False)
class Recording:
    """`samples` float32 (N,), N >= 1, the mean of the channels, full scale at -1 and 1 (floating-point files may pass it);
    `rate` in Hz."""

    samples: Array
    rate: int


def read_wav(path: Path) -> Recording:
    """The recording in a wav file, silent ones and those of a single sample too.

    Raises DataError naming it: missing, no wav, cut off (fewer samples than its header tells of), without any sample, NaN
    or inf, a rate outside `RATES`, or compressed (A-law, ADPCM, MP3, ...).
    """
    try:
        content = read_file(path.resolve(), MAX_WAV)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; extract the recording there") from None
    except RecordError as error:
        raise DataError(f"{error}; copy the recording again") from None
    if not content:
        raise DataError(f"{path} is empty (0 bytes); copy the recording again")
    _require_whole(content, path)
    return _scaled(*_decoded(content, path), path)


def _require_whole(content: bytes, path: Path) -> None:
    """Raises DataError where the file ends before its samples do: scipy gives those that are there, under a warning that it
    gives for harmless things too."""
    kind, form = content[:4], content[8:12]
    if kind not in (b"RIFF", b"RIFX") or form != b"WAVE":
        raise DataError(
            f"{path} is no wav file (it begins with {content[:4]!r}); convert it: ffmpeg -i ORIGINAL {path.name}"
        )
    order = ">" if kind == b"RIFX" else "<"
    at = 12
    while at + 8 <= len(content):
        name = content[at : at + 4]
        (size,) = struct.unpack(f"{order}I", content[at + 4 : at + 8])
        at += 8
        if name == b"data":
            there = len(content) - at
            if size != _STREAMED and there < size:
                raise DataError(
                    f"{path} is cut off: {there:,} of {size:,} bytes of samples; copy the recording again"
                )
            return
        at += size + size % 2
    raise DataError(f"{path} is cut off: it ends before its samples; copy the recording again")


def _decoded(content: bytes, path: Path) -> tuple[int, Array]:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            # of chunks that scipy does not know; what is missing was looked for above
            warnings.simplefilter("ignore")
            rate, samples = wavfile.read(io.BytesIO(content))
    except (
        Exception
    ) as error:  # ValueError, struct.error, ZeroDivisionError, ...: whatever a header brings about
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(
            f"{path} cannot be read as a wav file ({reason}); convert it: ffmpeg -i ORIGINAL -c:a pcm_s16le {path.name}"
        ) from None
    return int(rate), samples


def _scaled(rate: int, samples: Array, path: Path) -> Recording:
    import numpy as np

    if not samples.size:
        raise DataError(f"{path} holds no sample; extract the recording again")
    low, high = RATES
    if not low <= rate <= high:
        raise DataError(
            f"{path}: its rate is {rate:,} Hz, expected {low:,} to {high:,}; convert it: ffmpeg -i ORIGINAL -ar 22050 "
            f"{path.name}"
        )
    values = samples.astype(np.float64)
    if samples.dtype == np.uint8:
        values = (values - 128) / 128
    elif samples.dtype.kind == "i":
        # 24 bits are at the upper end of 32
        values /= float(2 ** (8 * samples.dtype.itemsize - 1))
    else:
        with np.errstate(over="ignore"):
            bad = int((~np.isfinite(values.astype(np.float32))).sum())
        if bad:
            raise DataError(
                f"{path}: {bad:,} of {values.size:,} samples are NaN or inf (in single precision); extract the recording "
                "again"
            )
    mono = values if values.ndim == 1 else values.mean(axis=1)
    return Recording(mono.astype(np.float32), rate)
