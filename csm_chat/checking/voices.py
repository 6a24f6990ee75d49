"""How much a take sounds like the voice it should have. Knows no text."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from csm_chat.audio.clips import resample
from csm_chat.errors import LikenessError
from csm_chat.notices import Listener, VoicesUncompared
from csm_chat.types import SAMPLE_RATE, Codec, Pcm, Voice

if TYPE_CHECKING:
    from csm_chat.checking.likeness import Vector

LEAST_S = 1.0  # of sound; less tells no voice
MOST_VOICES = 16  # whose prints are kept


class Voices:
    """The prints of voices as the codec gives them back, each made at its first use."""

    def __init__(self, codec: Codec, tell: Listener) -> None:
        self._codec = codec
        self._tell = tell
        self._prints: OrderedDict[Voice, Vector] = OrderedDict()
        self._is_told = False

    def likeness(self, pcm: Pcm, voice: Voice | None) -> float | None:
        """1 for the same; None without a voice, without what compares, and for a short take."""
        if voice is None or len(pcm) < LEAST_S * SAMPLE_RATE:
            return None
        try:
            return float(_print(pcm) @ self._print_of(voice))
        except LikenessError as error:
            if not self._is_told:
                self._tell(VoicesUncompared(str(error)))
            self._is_told = True
            return None

    def _print_of(self, voice: Voice) -> Vector:
        if voice not in self._prints:
            with self._codec.decoding() as decode:
                said = [decode(segment.codes) for segment in voice.segments]
            self._prints[voice] = _print(np.concatenate(said))
            while len(self._prints) > MOST_VOICES:
                self._prints.popitem(last=False)
        return self._prints[voice]


def _print(pcm: Pcm) -> Vector:
    # here, because it loads torch
    from csm_chat.checking.likeness import RATE, voiceprint

    return voiceprint(resample(pcm, SAMPLE_RATE, RATE))
