"""When a take has gone wrong: too long for its text, stuck, or silent. Knows no model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from csm_chat.types import FRAMES_PER_S, SAMPLE_RATE, Frame, Pcm

# Speakers differ by a factor of two, the estimate by a quarter; beyond that a take is babble.
CAP_FACTOR = 2.5
CAP_EXTRA_S = 2.0
# A sampled frame repeats by chance about never; a model that hangs repeats one for ever.
MAX_REPEATS = 10
MAX_SILENCE_S = 2.5
SILENCE_DBFS = -50.0


def cap_frames(expected_s: float, max_turn_s: float) -> int:
    """Frames that a take may have that is expected to last `expected_s`.

    The context keeps as many rows free for it.
    """
    seconds = min(CAP_FACTOR * expected_s + CAP_EXTRA_S, max_turn_s)
    return max(1, math.floor(seconds * FRAMES_PER_S))


def is_sound(pcm: Pcm) -> bool:
    """Whether all samples are numbers; those of a codec that overflows are not."""
    return bool(np.isfinite(pcm).all())


def is_silent(pcm: Pcm) -> bool:
    rms = float(np.sqrt(np.mean(np.square(pcm)))) if len(pcm) else 0.0
    return rms < 10 ** (SILENCE_DBFS / 20)


@dataclass(slots=True)
class Watch:
    """Watches one take, frame by frame. Each method returns why to stop, or None."""

    _last: Frame | None = None
    _n_repeats: int = 0
    _silence_s: float = 0.0

    def frame(self, frame: Frame) -> str | None:
        same = self._last is not None and np.array_equal(frame, self._last)
        self._n_repeats = self._n_repeats + 1 if same else 0
        self._last = frame
        if self._n_repeats < MAX_REPEATS:
            return None
        return f"the same frame {self._n_repeats + 1} times in a row"

    def pcm(self, pcm: Pcm) -> str | None:
        silent = is_silent(pcm)
        self._silence_s = self._silence_s + len(pcm) / SAMPLE_RATE if silent else 0.0
        return f"{self._silence_s:.1f} s of silence" if self._silence_s >= MAX_SILENCE_S else None
