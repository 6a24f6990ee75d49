"""When a take has gone wrong: too long or short for its text, stuck, or silent. Knows no model."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from csm_chat.types import FRAMES_PER_S, SAMPLE_RATE, Frame, Pcm

# Speakers differ by a factor of two, the estimate by a quarter; beyond that a take is babble.
CAP_FACTOR = 2.5
CAP_EXTRA_S = 2.0
# The fastest people say 25 characters a second, and so does the built-in voice now and then (54
# takes of 2 to 249 characters: 8 to 19 at the median of each, 25.3 at most). Beyond a fifth more
# something is missing. A short text is over before a rate means anything: "Oh, hello." in 0.4 s.
MOST_CHARS_PER_S = 30.0
FREE_CHARS = 20
_DRAWN_OUT = re.compile(r"(.)\1{2,}")  # "nooooo" is as long as it likes
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


def least_s(text: str) -> float:
    """Seconds that a take of a text, as the model reads it, lasts at least."""
    short = _DRAWN_OUT.sub(r"\1\1", " ".join(text.split()))
    n_chars = sum(char.isalnum() or char == " " for char in short)
    return max(0, n_chars - FREE_CHARS) / MOST_CHARS_PER_S


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
