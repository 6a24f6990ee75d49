"""The pitch and pulses of spoken turns, found once and kept beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from csm_chat.codec.spectral.waves import Waves, waves_of
from csm_chat.training.codec.pulses import sharpened
from csm_chat.types import Pcm

_SUFFIX = ".waves.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    heard: Waves  # as the codec hears a clip
    sharp: Waves  # as the decoder's pulses are to stand when it is compared


class Tracks:
    """Those of the turns of a conversation, whose .jsonl is `index`, by their files' names."""

    def __init__(self, index: Path) -> None:
        self._path = index.with_suffix(_SUFFIX)
        self._rows: dict[str, npt.NDArray[np.float32]] = {}
        self._is_new = False
        if self._path.is_file():
            with np.load(self._path) as stored:
                self._rows = dict(stored)

    def of(self, name: str, pcm: Pcm) -> Track:
        if name not in self._rows:
            heard = waves_of(pcm)
            sharp = sharpened(pcm, heard)
            parts = (heard.hz, heard.phase, heard.is_voiced, sharp.hz, sharp.phase)
            self._rows[name] = np.stack(parts).astype(np.float32)
            self._is_new = True
        hz, phase, voiced, sharp_hz, sharp_phase = self._rows[name]
        is_voiced = voiced > 0
        return Track(Waves(hz, phase, is_voiced), Waves(sharp_hz, sharp_phase, is_voiced))

    def save(self) -> None:
        """Keep what was found; the file that is there stays until the new one is whole."""
        if not self._is_new:
            return
        part = self._path.with_suffix(".part.npz")
        np.savez(part, **self._rows)  # type: ignore[arg-type]  # numpy's own signature
        part.replace(self._path)
