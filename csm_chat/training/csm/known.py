"""What is known of each frame of speech besides its codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from csm_chat.training.ears.measures import spectrum_levels
from csm_chat.training.speech.pitches import heard_pitch_classes
from csm_chat.training.speech.sounds import NO_CHARACTER, Named, heard_sounds, said_characters
from csm_chat.types import Pcm

_A = TypeVar("_A")
_B = TypeVar("_B")
_Array = npt.NDArray[Any]


class Heard(Protocol):
    """A clip and what is said in it."""

    @property
    def text(self) -> str: ...
    @property
    def pcm(self) -> Pcm: ...
    @property
    def phonemes(self) -> Sequence[Named]: ...
    @property
    def words(self) -> str: ...


class SpokenLine(Protocol):
    """Whose clip it is."""

    @property
    def speaker(self) -> int: ...
    @property
    def clip(self) -> Heard: ...


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A clip as a CSM learns it: no samples."""

    text: str
    words: str  # that the phonemes are of
    phonemes: Sequence[Named]
    codes: npt.NDArray[np.int16]  # (frames, codebooks)
    pitches: npt.NDArray[np.int64]  # (frames,), see `pitches`
    timbre: npt.NDArray[np.float32]  # (MEL_BANDS,), see `spectrum_levels`


class CodedLine(Protocol):
    """Whose clip it is, coded."""

    @property
    def speaker(self) -> int: ...
    @property
    def clip(self) -> Coded: ...


def coded(clip: Heard, codes: npt.NDArray[np.integer[Any]]) -> Coded:
    """A clip with its codes, (frames, codebooks)."""
    return Coded(
        clip.text,
        clip.words,
        clip.phonemes,
        codes.astype(np.int16),
        heard_pitch_classes(clip.pcm, len(codes)),
        spectrum_levels(clip.pcm).astype(np.float32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Known(Generic[_A]):
    """Of each frame, in arrays or tensors; int64 but for `timbres`."""

    sounds: _A  # (frames, SOUNDS_A_FRAME): what is heard in it, see `sounds`
    places: _A  # (frames,): the row of text that is said in it, or NO_CHARACTER
    pitches: _A  # (frames,): how high the voice is in it, see `pitches`
    speakers: _A  # (frames,): who speaks
    lines: _A  # (frames,): which line of its sequence it is of, counted from 0
    timbres: _A  # (frames, MEL_BANDS) float32: how its whole line sounds, see `spectrum_levels`

    def changed(self, change: Callable[[_A], _B]) -> Known[_B]:
        """Each of them by itself."""
        return Known(*(change(getattr(self, each.name)) for each in fields(self)))


def known_of(line: CodedLine, number: int, start: int, end: int) -> Known[_Array]:
    """Of the frames of a line, the `number`th, whose text is in rows `start` to `end`."""
    clip = line.clip
    n_frames = len(clip.codes)
    return Known(
        heard_sounds(clip.phonemes, n_frames),
        _places(line, n_frames, start, end),
        clip.pitches,
        np.full(n_frames, line.speaker),
        np.full(n_frames, number),
        np.tile(clip.timbre, (n_frames, 1)),
    )


def joined(parts: Sequence[Known[_Array]]) -> Known[_Array]:
    """One after the other."""
    names = (each.name for each in fields(Known))
    return Known(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _places(line: CodedLine, n_frames: int, start: int, end: int) -> npt.NDArray[np.int64]:
    """The row that each frame says of the text in rows `start` to `end`, (n_frames,)."""
    words = line.clip.words
    marks = f"[{line.speaker}]"
    # begin of text, marks, words and end of text; fewer rows where tokens are longer
    if not words.isascii() or end - start != len(marks) + len(words) + 2:
        return np.full(n_frames, NO_CHARACTER)
    characters = said_characters(line.clip.phonemes, n_frames, len(words))
    return np.where(characters == NO_CHARACTER, characters, characters + end - 1 - len(words))
