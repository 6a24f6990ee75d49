"""What is being said at a moment, as classes to learn, and how well that is told."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from csm_chat.types import FRAMES_PER_S

SOUNDS_A_FRAME = 3  # moments at which a frame is asked what phoneme is heard
N_SOUNDS = 128
PAUSE_SOUND = 0
NO_SOUND = -1  # nobody knows
NO_CHARACTER = -1


class Named(Protocol):
    """A phoneme: its name, "" for a pause, when it starts (s), and where its word does."""

    @property
    def name(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def word(self) -> int: ...


def heard_sounds(
    phonemes: Sequence[Named], n_frames: int, start_s: float = 0.0
) -> npt.NDArray[np.int64]:
    """The phoneme heard at moments of each frame from `start_s` on, (n_frames, SOUNDS_A_FRAME).

    A class of its name, PAUSE_SOUND, or NO_SOUND where the phonemes are not known. Two of the
    sixty names or so may share a class.
    """
    rate = FRAMES_PER_S * SOUNDS_A_FRAME
    moments = start_s + (np.arange(n_frames * SOUNDS_A_FRAME) + 0.5) / rate
    return sounds_at(phonemes, moments).reshape(n_frames, SOUNDS_A_FRAME)


def sounds_at(
    phonemes: Sequence[Named], moments: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.int64]:
    """As `heard_sounds`, at moments in seconds, (n,)."""
    if not phonemes:
        return np.full(len(moments), NO_SOUND)
    starts = [phoneme.start for phoneme in phonemes]
    # before the first one is a pause
    classes = np.array([PAUSE_SOUND, *(sound_class(phoneme.name) for phoneme in phonemes)])
    heard: npt.NDArray[np.int64] = classes[np.searchsorted(starts, moments, side="right")]
    return heard


def sounds_loss(logits: Tensor, sounds: Tensor) -> Tensor:
    """Mean cross entropy of (..., N_SOUNDS) at (...) where sounds are known; 0 if none is."""
    flat = logits.flatten(0, -2), sounds.flatten()
    errors = functional.cross_entropy(*flat, ignore_index=NO_SOUND, reduction="sum")
    return errors / (sounds != NO_SOUND).sum().clamp(min=1)


def said_characters(
    phonemes: Sequence[Named], n_frames: int, n_characters: int
) -> npt.NDArray[np.int64]:
    """Which character of the text is being said in the middle of each frame, (n_frames,).

    A word's phonemes are taken to share its characters evenly. NO_CHARACTER where the phonemes are
    not known.
    """
    if not phonemes:
        return np.full(n_frames, NO_CHARACTER)
    words = np.array([phoneme.word for phoneme in phonemes])
    begins = np.flatnonzero(np.diff(words, prepend=-1))  # of each word, its first phoneme
    counts = np.diff(begins, append=len(words))
    ends = np.append(words[begins][1:], n_characters)
    place = (np.arange(len(words)) - np.repeat(begins, counts) + 0.5) / np.repeat(counts, counts)
    characters = words + place * np.repeat(ends - words[begins], counts)
    moments = (np.arange(n_frames) + 0.5) / FRAMES_PER_S
    starts = [phoneme.start for phoneme in phonemes]
    heard = np.searchsorted(starts, moments, side="right") - 1
    said: npt.NDArray[np.int64] = characters[heard.clip(min=0)].astype(np.int64)
    return said.clip(0, n_characters - 1)


def sound_class(name: str) -> int:
    """The class of a phoneme's name; PAUSE_SOUND for none."""
    return zlib.crc32(name.encode()) % (N_SOUNDS - 1) + 1 if name else PAUSE_SOUND
