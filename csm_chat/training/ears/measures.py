"""What can be said about a clip in numbers: words, pitch, voice. Knows no model and no corpus."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from csm_chat.types import SAMPLE_RATE, Pcm

Floats = npt.NDArray[np.float64]

F0_LOW_HZ, F0_HIGH_HZ = 60, 400

_DECIMATION = 3
# Pitch is looked for in its lowest harmonics: between the samples of a lag, strong high ones hide
# the dip of a high voice, and fricatives fall silent.
_PASSED_HZ, _STOPPED_HZ = 900, 1400
_PITCH_RATE = SAMPLE_RATE // _DECIMATION
_WINDOW = _PITCH_RATE * 32 // 1000
_HOP = _PITCH_RATE * 10 // 1000
_LONGEST_LAG = _PITCH_RATE // F0_LOW_HZ + 2
_SHORTEST_LAG = _PITCH_RATE // F0_HIGH_HZ - 1
_SPAN = _WINDOW + _LONGEST_LAG  # that a pitch is looked for in
_PERIODIC = 0.15  # YIN's own threshold: a dip this deep is a period
_VOICED = 0.3  # a frame whose deepest dip is shallower than this has no pitch
_QUIET_DB = 35.0  # below the loudest frame: silence

_FFT = SAMPLE_RATE // 25
MEL_BANDS = 40
_MEL_LOW_HZ, _MEL_HIGH_HZ = 60.0, 8000.0


def normalise(text: str) -> str:
    """Lower-case letters, apostrophes inside words and single spaces: what can be heard."""
    plain = unicodedata.normalize("NFKD", text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    letters = "".join(c for c in plain.lower() if not unicodedata.combining(c))
    words = (word.strip("'") for word in re.sub("[^a-z']+", " ", letters).split())
    return " ".join(filter(None, words))


def character_errors(said: str, heard: str) -> tuple[int, int]:
    """The least number of edits from one to the other, and the length of what was said."""
    reached = np.arange(len(heard) + 1)
    columns = np.arange(len(heard) + 1)
    other = np.frombuffer(heard.encode("utf-32-le"), np.uint32)
    for row, character in enumerate(said, 1):
        best = np.empty_like(reached)
        best[0] = row
        replaced = reached[:-1] + (other != ord(character))
        best[1:] = np.minimum(replaced, reached[1:] + 1)
        # an insertion costs one a column: the running minimum along the row, less its slope
        reached = np.minimum.accumulate(best - columns) + columns
    return int(reached[-1]), len(said)


def median_f0(pcm: Pcm) -> float | None:
    """The middle of the pitch of voiced frames in Hz; None if no frame is voiced.

    YIN (de Cheveigné and Kawahara, 2002) to its fifth step, over frames of 32 ms.
    """
    f0 = pitch_track(pcm)
    voiced = f0[f0 > 0]
    return float(np.median(voiced)) if len(voiced) else None


def pitch_track(pcm: Pcm) -> Floats:
    """Pitch in Hz every 10 ms, 0 where a frame has none; (frames,)."""
    samples = _decimated(pcm)
    if len(samples) < _SPAN:
        return np.zeros(0)
    return _pitches(np.lib.stride_tricks.sliding_window_view(samples, _SPAN)[::_HOP])


def pitch_at(pcm: Pcm, moments: npt.NDArray[np.floating[Any]]) -> Floats:
    """Pitch in Hz around moments in seconds, 0 where there is none; (moments,)."""
    samples = np.pad(_decimated(pcm), _SPAN)
    spans = np.lib.stride_tricks.sliding_window_view(samples, _SPAN)
    starts = np.round(moments * _PITCH_RATE).astype(np.int64) + _SPAN - _SPAN // 2
    return _pitches(spans[starts.clip(0, len(spans) - 1)])


def _pitches(frames: Floats) -> Floats:
    """Hz by frame, (frames, _SPAN), 0 where one has none or is quiet beside the others."""
    energy = (frames[:, :_WINDOW] ** 2).mean(1)
    loud = energy > max(energy.max(), 1e-12) * 10 ** (-_QUIET_DB / 10)
    f0 = np.zeros(len(frames))
    if loud.any():
        f0[loud] = _pitch(_dips(frames[loud]))
    return f0


def _decimated(pcm: Pcm) -> Floats:
    """The lowest harmonics, at a third of the rate."""
    n = len(pcm) // _DECIMATION * _DECIMATION
    if not n:
        return np.zeros(0)
    spectrum = np.fft.rfft(pcm[:n].astype(np.float64))
    kept = n // _DECIMATION
    hz = np.arange(kept // 2 + 1) * SAMPLE_RATE / n
    passed = np.clip((_STOPPED_HZ - hz) / (_STOPPED_HZ - _PASSED_HZ), 0, 1)
    return np.fft.irfft(spectrum[: kept // 2 + 1] * passed, kept) / _DECIMATION


def _dips(frames: Floats) -> Floats:
    """YIN's normalised difference by lag, 1 at lag 0: (frames, lags)."""
    window = frames[:, :_WINDOW]
    size = 1 << (frames.shape[1] + _WINDOW - 1).bit_length()
    product = np.fft.rfft(frames, size) * np.fft.rfft(window, size).conj()
    correlation = np.fft.irfft(product, size)[:, : _LONGEST_LAG + 1]
    sums = np.cumsum(np.pad(frames**2, ((0, 0), (1, 0))), 1)
    energy = sums[:, _WINDOW : _WINDOW + _LONGEST_LAG + 1] - sums[:, : _LONGEST_LAG + 1]
    difference = np.maximum(energy[:, :1] + energy - 2 * correlation, 0)
    lags = np.arange(1, _LONGEST_LAG + 1)
    mean = np.cumsum(difference[:, 1:], 1) / lags
    dips = np.ones_like(difference)
    dips[:, 1:] = difference[:, 1:] / np.maximum(mean, 1e-12)
    return dips


def _pitch(dips: Floats) -> Floats:
    """Hz by frame, 0 where no dip is deep enough; (frames,)."""
    inner = dips[:, _SHORTEST_LAG:-1]
    is_dip = (inner <= dips[:, _SHORTEST_LAG - 1 : -2]) & (inner <= dips[:, _SHORTEST_LAG + 1 :])
    depths = np.where(is_dip, inner, np.inf)
    deep = depths < _PERIODIC
    chosen = np.where(deep.any(1), deep.argmax(1), depths.argmin(1))
    rows = np.arange(len(dips))
    lag = chosen + _SHORTEST_LAG
    before, here, after = (dips[rows, lag + step] for step in (-1, 0, 1))
    curvature = before - 2 * here + after
    flat = curvature <= 0
    offset = np.where(flat, 0, (before - after) / (2 * np.where(flat, 1, curvature)))
    return np.where(depths[rows, chosen] < _VOICED, _PITCH_RATE / (lag + offset), 0)


def spectrum_levels(pcm: Pcm) -> Floats:
    """How loud each band of mels is where someone speaks, in nats beside their mean; MEL_BANDS."""
    spectrum = _spoken_mels(pcm).mean(0)
    return np.asarray(spectrum - spectrum.mean(), np.float64)


def _spoken_mels(pcm: Pcm) -> Floats:
    """Those of frames that are not silent."""
    mels = _log_mels(pcm)
    energy = mels.mean(1)
    return np.asarray(mels[energy > np.quantile(energy, 0.9) - 4.0], np.float64)


def _log_mels(pcm: Pcm) -> Floats:
    """(frames, mels), every 20 ms, at least one frame."""
    padded = np.pad(pcm.astype(np.float64), (0, max(0, _FFT - len(pcm))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[:: _FFT // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FFT))) ** 2
    mels = np.log(power @ mel_filters(MEL_BANDS, _FFT, _MEL_LOW_HZ, _MEL_HIGH_HZ).T + 1e-5)
    return np.asarray(mels, np.float64)


def mel_scale(hz: npt.NDArray[np.floating[Any]]) -> Floats:
    """Places on the mel scale, even below 700 Hz and logarithmic above."""
    return np.asarray(1127 * np.log1p(hz / 700), np.float64)


def mel_filters(n_mels: int, n_fft: int, low_hz: float, high_hz: float) -> Floats:
    """Triangles, evenly spaced in mels; (n_mels, n_fft // 2 + 1)."""
    low, high = mel_scale(np.array([low_hz, high_hz]))
    edges = 700 * np.expm1(np.linspace(low, high, n_mels + 2) / 1127)
    bins = np.arange(n_fft // 2 + 1) * SAMPLE_RATE / n_fft
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.maximum(0, np.minimum(rising, falling)), np.float64)
