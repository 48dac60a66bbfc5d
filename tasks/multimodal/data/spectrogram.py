"""Recordings as log-magnitude spectrograms, with numpy and scipy alone (imported inside).

The settings are those of the released codes of OGM-GE (Peng et al., CVPR 2022), which ReconBoost and others follow, of
librosa's and scipy's functions; resampling is scipy's polyphase filter in place of librosa's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import gcd
from typing import TYPE_CHECKING, Any

from tasks.multimodal.data.wav import Recording

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

FLOOR = 1e-7
"""Added to a magnitude before the logarithm is taken: silence is log(1e-7) = -16.1."""


@dataclass(frozen=True)
class Spectrum:
    """How a recording becomes a spectrogram.

    Attributes:
        rate: it is resampled to, in Hz.
        seconds: it is repeated up to, and cut at.
        n_fft: samples of a window (Hann's), hence n_fft / 2 + 1 frequencies.
        hop: samples from one window to the next.
        centred: windows are centred at multiples of `hop`, the signal mirrored at its ends; else they lie within it.
    """

    rate: int
    seconds: int
    n_fft: int
    hop: int
    centred: bool

    @property
    def length(self) -> int:
        """Samples."""
        return self.rate * self.seconds

    @property
    def shape(self) -> tuple[int, int]:
        """(frequencies, windows)."""
        inside = self.length if self.centred else self.length - self.n_fft
        return self.n_fft // 2 + 1, inside // self.hop + 1

    def config(self) -> dict[str, Any]:
        """As keyword arguments, for a config."""
        return asdict(self)


CREMA_D = Spectrum(rate=22_050, seconds=3, n_fft=512, hop=353, centred=True)
"""257 x 188."""
AVE = Spectrum(rate=16_000, seconds=10, n_fft=512, hop=159, centred=False)
"""257 x 1004, the size in the name of the release's folder (`Audio-1004-SE`): windows of 512 that overlap by 353, as of the
code for VGGSound. Magnitudes as of CREMA-D are ours: that code takes power densities, normalised by recording."""


def waveform(recording: Recording, how: Spectrum) -> Array:
    """Samples float32 (rate * seconds,) in [-1, 1]: resampled, repeated from its beginning as often as it takes, cut,
    clipped."""
    import numpy as np

    # a second more than is kept: the filter's tail at the cut does not reach it
    samples = recording.samples[: recording.rate * (how.seconds + 1)].astype(np.float64)
    common = gcd(how.rate, recording.rate)
    up, down = how.rate // common, recording.rate // common
    if up != down:
        from scipy.signal import resample_poly

        samples = resample_poly(samples, up, down, padtype="mean")
    times = -(-how.length // len(samples))
    repeated = np.tile(samples, times)[: how.length]
    return np.clip(repeated, -1, 1).astype(np.float32)


def log_spectrogram(samples: Array, how: Spectrum) -> Array:
    """log(|short-time Fourier transform| + 1e-7), float32 (frequencies, windows), of samples (L,), L >= n_fft.

    A sine of amplitude a at the k-th frequency, k rate / n_fft Hz, has the magnitude a n_fft / 4 there (the window's mean is
    1 / 2, and half of a sine is at the negative frequency), and half of that at k - 1 and k + 1.
    """
    import numpy as np

    values = samples.astype(np.float64)
    if how.centred:
        values = np.pad(values, how.n_fft // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(values, how.n_fft)[:: how.hop]
    # periodic: of n_fft + 1 the first n_fft
    hann = np.hanning(how.n_fft + 1)[:-1]
    spectrum = np.fft.rfft(windows * hann, axis=1)
    return np.log(np.abs(spectrum) + FLOOR).T.astype(np.float32)
