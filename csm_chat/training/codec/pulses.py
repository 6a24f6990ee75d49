"""Where a voice's pulses are, as sharply as its high harmonics tell.

The fundamental alone leaves the eighth harmonic's phase to chance (0.62 rad from one 10 ms to the
next, where chance is 0.8); followed by all harmonics together it moves by half of that.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from csm_chat.codec.spectral.sizes import HOP
from csm_chat.codec.spectral.waves import Waves
from csm_chat.types import SAMPLE_RATE, Pcm

_WINDOW = 768  # samples
_STAGES = ((6, 0.25), (12, 0.12), (24, 0.06))  # harmonics, and radians of a step they may add
_TRIES = 81  # steps between these, either way
_TOP_HZ = 5500.0
_COMPRESSED = 0.25  # power of a harmonic's size in its vote
_ANCHOR = 33  # moments over which the fundamental tells where phase is 0

Doubles = npt.NDArray[np.float64]
Spectra = npt.NDArray[np.complex64]


def sharpened(pcm: Pcm, waves: Waves) -> Waves:
    """The same pitch, with phases that keep all harmonics' still from moment to moment."""
    for n_harmonics, reach in _STAGES:
        waves = _followed(pcm, waves, n_harmonics, reach)
    return _anchored(pcm, waves)


def steps_of(waves: Waves) -> Doubles:
    """Radians from each moment to the next, (n - 1,): the phases', by as many turns as pitch says.

    As `given_source` goes through them.
    """
    hz = waves.hz.astype(np.float64)
    expected = math.pi * HOP / SAMPLE_RATE * (hz[1:] + hz[:-1])
    missed = np.diff(waves.phase.astype(np.float64)) - expected
    turned: Doubles = expected + (missed + math.pi) % (2 * math.pi) - math.pi
    return turned


def _harmonics(pcm: Pcm, waves: Waves, n: int) -> Spectra:
    """Of the first `n` at all moments, (n, moments), turned back by their multiple of the phase."""
    moments = np.arange(len(waves.phase)) * HOP
    running = waves.phase[0] + np.concatenate(([0.0], np.cumsum(steps_of(waves))))
    phase = np.interp(np.arange(len(pcm)), moments, running)
    turn = np.exp(-1j * phase).astype(np.complex64)
    window = np.hanning(_WINDOW).astype(np.float32)
    padding = (_WINDOW // 2, _WINDOW // 2 + HOP)
    turned, found = pcm.astype(np.complex64), []
    for _ in range(n):
        turned = turned * turn
        views = np.lib.stride_tricks.sliding_window_view(np.pad(turned, padding), _WINDOW)
        found.append((views[::HOP] @ window)[: len(moments)])
    return np.stack(found)


def _followed(pcm: Pcm, waves: Waves, n: int, reach: float) -> Waves:
    """Steps that turn the first `n` harmonics least."""
    numbers = np.arange(1, n + 1)[:, None]
    found = _harmonics(pcm, waves, n) * (numbers * waves.hz < _TOP_HZ)
    change = found[:, 1:] * found[:, :-1].conj()
    size = np.abs(change) + 1e-12
    votes = change / size * size**_COMPRESSED
    tries = np.linspace(-reach, reach, _TRIES)
    best = tries[(votes.T @ np.exp(-1j * numbers * tries)).real.argmax(1)]
    best = np.where(waves.is_voiced[1:] & waves.is_voiced[:-1], best, 0.0)
    steps = steps_of(waves) + np.convolve(np.pad(best, 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
    phase = waves.phase[0] + np.concatenate(([0.0], np.cumsum(steps)))
    hz = waves.hz.astype(np.float64)
    pitch = steps * SAMPLE_RATE / HOP / (2 * math.pi)
    hz[1:-1] = (pitch[1:] + pitch[:-1]) / 2
    return _waves(hz, phase, waves)


def _anchored(pcm: Pcm, waves: Waves) -> Waves:
    """Phases moved slowly to where the fundamental's is."""
    seen = _harmonics(pcm, waves, 1)[0]
    seen = seen / (np.abs(seen) + 1e-9) * waves.is_voiced
    mean = np.convolve(seen, np.hanning(_ANCHOR), "same")
    known = np.abs(mean) > 1e-6
    if not known.any():
        return waves
    moments = np.arange(len(mean))
    offset = np.interp(moments, moments[known], np.unwrap(np.angle(mean[known])))
    return _waves(waves.hz.astype(np.float64), waves.phase + offset, waves)


def _waves(hz: Doubles, phase: Doubles, before: Waves) -> Waves:
    turned = np.mod(phase, 2 * math.pi).astype(np.float32)
    return Waves(hz.astype(np.float32), turned, before.is_voiced)
