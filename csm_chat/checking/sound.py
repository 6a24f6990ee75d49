"""How loud speech is, and whether it breaks off. Knows no text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from csm_chat.types import SAMPLE_RATE, Pcm

FRAME = SAMPLE_RATE // 50  # 20 ms
SPEECH_DB = 30.0  # below the loudest frame: what is softer is a rest
CUT_DB = 12.0  # speech ends softer than its loudest frame by more
SILENT_DB = -120.0


def level_db(pcm: Pcm) -> float:
    """RMS over full scale of the frames that are not rests, in dB."""
    power = _power(pcm)
    if not len(power) or not power.max() > 0:
        return SILENT_DB
    spoken = power[power > power.max() * 10 ** (-SPEECH_DB / 10)]
    return max(SILENT_DB, float(10 * np.log10(spoken.mean())))


def is_cut(pcm: Pcm) -> bool:
    """Whether its last frame is about as loud as its loudest ones."""
    power = _power(pcm)
    if not len(power) or not power.max() > 0:
        return False
    return bool(power[-1] > np.quantile(power, 0.95) * 10 ** (-CUT_DB / 10))


def _power(pcm: Pcm) -> npt.NDArray[np.float64]:
    """Mean square of each whole frame, counted from the end."""
    n = len(pcm) // FRAME
    frames = pcm[len(pcm) - n * FRAME :].reshape(n, FRAME)
    return np.asarray(np.square(frames, dtype=np.float64).mean(1), np.float64)
