"""How high a voice is at a moment, as classes to learn, and where its waves are then."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from csm_chat.training.ears.measures import Floats, pitch_at
from csm_chat.types import FRAME_SAMPLES, FRAMES_PER_S, SAMPLE_RATE, Pcm

LOWEST_HZ, CLASSES_AN_OCTAVE = 70.0, 24
N_PITCHES = 58  # no pitch, and 70 to 363 Hz
NO_PITCH = 0
PHASE_PERIODS = 2.5  # on either side of a moment, to tell where in its period it is


@dataclass(frozen=True, slots=True, eq=False)
class Pitches:
    """Of frames, in the middle of each."""

    classes: npt.NDArray[np.int64]  # (frames,), NO_PITCH or 1 to N_PITCHES - 1
    shifts: npt.NDArray[np.int64]  # (frames,): samples from there to the nearest crest, signed


def heard_pitches(pcm: Pcm, n_frames: int) -> Pitches:
    """Of the first frames; those after the end have no pitch. A crest is the fundamental's."""
    hz = _hz(pcm, n_frames)
    shifts = [
        _to_crest(pcm, each, middle) for each, middle in zip(hz, _middles(n_frames), strict=True)
    ]
    return Pitches(pitch_classes(hz), np.array(shifts, np.int64))


def heard_pitch_classes(pcm: Pcm, n_frames: int) -> npt.NDArray[np.int64]:
    """`heard_pitches` without the shifts."""
    return pitch_classes(_hz(pcm, n_frames))


def _hz(pcm: Pcm, n_frames: int) -> Floats:
    return pitch_at(pcm, (np.arange(n_frames) + 0.5) / FRAMES_PER_S)


def _middles(n_frames: int) -> range:
    return range(FRAME_SAMPLES // 2, n_frames * FRAME_SAMPLES, FRAME_SAMPLES)


def pitch_classes(hz: Floats) -> npt.NDArray[np.int64]:
    """Classes of pitches in Hz, 0 for none; those beyond either end take the end's."""
    steps = CLASSES_AN_OCTAVE * np.log2(np.maximum(hz, LOWEST_HZ) / LOWEST_HZ)
    classes = 1 + np.round(steps).clip(0, N_PITCHES - 2)
    return np.where(hz > 0, classes, NO_PITCH).astype(np.int64)


def _to_crest(pcm: Pcm, hz: float, middle: int) -> int:
    """From the phase of a wave of so many Hz around a sample; 0 for 0 Hz."""
    if not hz:
        return 0
    half = round(PHASE_PERIODS * SAMPLE_RATE / hz)
    start = max(0, middle - half)
    around = pcm[start : middle + half]
    times = np.arange(start, start + len(around)) - middle
    turning = np.exp(-2j * math.pi * hz / SAMPLE_RATE * times)
    phase = float(np.angle((around * np.hanning(len(around)) * turning).sum()))
    return round(-phase / (2 * math.pi) * SAMPLE_RATE / hz)
