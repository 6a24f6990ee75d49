"""How loud: a gain in decibels, with peaks bent rather than cut off."""

from __future__ import annotations

import numpy as np

from csm_chat.types import Pcm

QUIETEST_DB, LOUDEST_DB = -40.0, 20.0
KNEE = np.float32(10 ** (-1 / 20))  # -1 dBFS: what lies below is left as it is


def factor(gain_db: float) -> float:
    return float(10 ** (gain_db / 20))


def with_gain(pcm: Pcm, gain_db: float) -> Pcm:
    """Louder or softer; none of it reaches full scale for that."""
    if not gain_db:
        return pcm
    louder = pcm * np.float32(factor(gain_db))
    return limited(louder) if gain_db > 0 else louder


def limited(pcm: Pcm) -> Pcm:
    """Within full scale: peaks above the knee are bent towards it, each by itself."""
    size = np.abs(pcm)
    if not len(pcm) or size.max() <= KNEE:
        return pcm
    room = np.float32(1) - KNEE
    bent = KNEE + room * np.tanh((size - KNEE) / room)
    out: Pcm = np.where(size > KNEE, np.copysign(bent, pcm), pcm).astype(np.float32)
    return out
