"""Where in its period a voice is, moment by moment.

A decoder that is driven by waves in the original's own places can be compared with it sample by
sample: then phases are learned by regression, as the spectrum is, and need no adversary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from csm_chat.types import SAMPLE_RATE, Pcm

Floats = npt.NDArray[np.float32]

HOP = 240  # samples between moments, 10 ms
LOWEST_HZ, HIGHEST_HZ = 62.0, 480.0
_WINDOW = 1024  # samples: three periods of a low voice
_PHASE_WINDOW = 768
_STATES_AN_OCTAVE = 40
_JUMP = 8.0  # score lost for an octave's change in 10 ms
_OCTAVE = 0.06  # score of an octave more, where both are as periodic
_VOICED = 0.5  # likeness of a period to the next
_QUIET = 3e-4  # of the loudest moment's power: silence


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """At moments 0, HOP, ... of a clip, each (n,). Between them pitch changes evenly."""

    hz: Floats  # interpolated where nothing is voiced
    phase: Floats  # of the fundamental, in [0, 2 pi)
    is_voiced: npt.NDArray[np.bool_]

    def part(self, first: int, n: int) -> Waves:
        """`n` moments; those beyond the end repeat the last pitch."""
        places = np.arange(first, first + n).clip(0, len(self.hz) - 1)
        is_in = np.arange(first, first + n) < len(self.hz)
        return Waves(self.hz[places], self.phase[places], self.is_voiced[places] & is_in)


def waves_of(pcm: Pcm) -> Waves:
    """Follow the fundamental of a clip."""
    pcm = np.asarray(pcm, np.float32)
    likeness, power = _periods(pcm)
    path = _smoothest(likeness)
    hz = _STATE_HZ[path]
    is_voiced = likeness[np.arange(len(path)), path] > _VOICED
    is_voiced &= power > _QUIET * power.max(initial=1e-9)
    hz = _through(hz, is_voiced)
    return _refined(pcm, hz, is_voiced)


_N_STATES = round(_STATES_AN_OCTAVE * math.log2(HIGHEST_HZ / LOWEST_HZ))
_STATE_HZ = (LOWEST_HZ * 2 ** (np.arange(_N_STATES) / _STATES_AN_OCTAVE)).astype(np.float32)


def _frames(pcm: Pcm, size: int) -> Floats:
    """Pieces of `size` samples around every moment, (n, size)."""
    padded = np.pad(pcm, (size // 2, size // 2 + HOP))
    views = np.lib.stride_tricks.sliding_window_view(padded, size)
    return views[: len(pcm) + 1 : HOP]


def _periods(pcm: Pcm) -> tuple[Floats, Floats]:
    """How alike each moment is to itself a period on, (n, states), and its power, (n,).

    Autocorrelation over the window's own (Boersma 1993).
    """
    window = np.hanning(_WINDOW).astype(np.float32)
    n = 2 * _WINDOW
    lags = SAMPLE_RATE / _STATE_HZ
    below = lags.astype(int)
    share = (lags - below).astype(np.float32)

    def likeness(frames: Floats) -> tuple[Floats, Floats]:
        spectra = np.fft.rfft(frames * window, n)
        sums = np.fft.irfft(np.abs(spectra) ** 2, n).astype(np.float32)
        at = sums[:, below] * (1 - share) + sums[:, below + 1] * share
        return at, sums[:, 0]

    ours, power = likeness(_frames(pcm, _WINDOW))
    theirs, whole = likeness(np.ones((1, _WINDOW), np.float32))
    compensated = ours / (power[:, None] + 1e-6) * (whole / theirs)
    return compensated + _OCTAVE * np.log2(_STATE_HZ / LOWEST_HZ), power


def _smoothest(likeness: Floats) -> npt.NDArray[np.int64]:
    """The states, (n,), whose likeness less their changes is highest (Viterbi)."""
    octaves = np.arange(_N_STATES) / _STATES_AN_OCTAVE
    loss = (_JUMP * np.abs(octaves[:, None] - octaves)).astype(np.float32)
    score = likeness[0]
    before = np.zeros(likeness.shape, np.int64)
    for moment in range(1, len(likeness)):
        ways = score[:, None] - loss
        before[moment] = ways.argmax(0)
        score = ways.max(0) + likeness[moment]
    path = np.zeros(len(likeness), np.int64)
    path[-1] = score.argmax()
    for moment in range(len(likeness) - 1, 0, -1):
        path[moment - 1] = before[moment, path[moment]]
    return path


def _through(hz: Floats, is_voiced: npt.NDArray[np.bool_]) -> Floats:
    """Pitch where there is one, and between."""
    if not is_voiced.any():
        return np.full_like(hz, 150.0)
    moments = np.arange(len(hz))
    smooth = np.exp(np.interp(moments, moments[is_voiced], np.log(hz[is_voiced])))
    kernel = np.hanning(7)[1:-1] / np.hanning(7).sum()
    return np.convolve(np.pad(smooth, 2, mode="edge"), kernel, "valid").astype(np.float32)


def _refined(pcm: Pcm, hz: Floats, is_voiced: npt.NDArray[np.bool_]) -> Waves:
    """Phases of the fundamental, and the pitch that leads from one to the next."""
    turned = _turned(hz)
    samples = np.arange(len(hz) * HOP)
    between = np.interp(samples, np.arange(len(hz)) * HOP, hz)
    running = np.concatenate(([0], np.cumsum(2 * np.pi * between / SAMPLE_RATE)))[: len(pcm)]
    parts = pcm * np.exp(-1j * running)
    window = np.hanning(_PHASE_WINDOW)
    padded = np.pad(parts, (_PHASE_WINDOW // 2, _PHASE_WINDOW // 2 + HOP))
    views = np.lib.stride_tricks.sliding_window_view(padded, _PHASE_WINDOW)
    seen = (views[: len(pcm) + 1 : HOP] @ window)[: len(hz)]
    moments = np.arange(len(hz))
    offset = np.angle(seen)
    if is_voiced.any():
        steps = np.unwrap(offset[is_voiced])
        offset = np.interp(moments, moments[is_voiced], steps)
    phase = np.mod(turned + offset, 2 * np.pi)
    slope = np.gradient(offset) if len(offset) > 1 else np.zeros(1)
    hz = hz + (slope * SAMPLE_RATE / HOP / (2 * np.pi)).clip(-10, 10)
    return Waves(hz.astype(np.float32), phase.astype(np.float32), is_voiced)


def _turned(hz: Floats) -> npt.NDArray[np.float64]:
    """The phase at each moment of waves of such pitch that begin at 0."""
    steps = np.pi * HOP / SAMPLE_RATE * (hz[1:] + hz[:-1]).astype(np.float64)
    return np.concatenate(([0.0], np.cumsum(steps)))
