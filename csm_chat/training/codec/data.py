"""Crops of recorded turns for the codec, and its held-out clips. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from csm_chat.codec.spectral.nets import TAIL
from csm_chat.codec.spectral.sizes import HOP, STEPS, WINDOW
from csm_chat.codec.spectral.waves import Waves
from csm_chat.training.codec.tracks import Track, Tracks
from csm_chat.training.speech import corpus as speech
from csm_chat.training.speech.recorded import Recordings
from csm_chat.training.speech.recordings import conversation_path
from csm_chat.training.speech.sounds import Named, heard_sounds
from csm_chat.types import FRAME_SAMPLES, FRAMES_PER_S, SAMPLE_RATE, Pcm

_AHEAD = TAIL // HOP + 1  # moments that the last window of a crop reaches beyond it
_REFRESH_STEPS = 100  # between looks for new conversations


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A turn."""

    pcm: npt.NDArray[np.int16]
    track: Track
    phonemes: Sequence[Named]
    text: str
    voice: str
    codes: npt.NDArray[np.int16]  # (frames, codebooks); (0, 0) before there is a codec


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """What a step sees, or one crop of it without the first dimension."""

    pcm: npt.NDArray[np.float32]  # (batch, samples)
    codes: npt.NDArray[np.int16]  # (batch, frames, codebooks)
    hz: npt.NDArray[np.float32]  # (batch, steps + _AHEAD), at moments HOP apart
    phase: npt.NDArray[np.float32]  # the same
    is_voiced: npt.NDArray[np.bool_]  # the same


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a step sees."""

    batch: int = 8  # crops
    crop_frames: int = 16
    lead_share: float = 0.1  # of crops that begin with a clip's beginning


Codes16: TypeAlias = npt.NDArray[np.int16]  # (frames, codebooks)
Encode: TypeAlias = "Callable[[Pcm, Waves], Codes16]"


class Shelf:
    """The clips of a folder of recordings, in memory; looks for more now and then."""

    def __init__(self, folder: Path, encode: Encode | None = None) -> None:
        """Raises UsageError where there are none."""
        self._folder, self._encode = folder, encode
        self._seen: set[int] = set()
        self.clips: list[Clip] = []
        self.refresh()

    def refresh(self) -> None:
        recordings = Recordings.open(self._folder)
        for turns in recordings.all_talks:
            number = turns[0].conversation
            if number in self._seen:
                continue
            self._seen.add(number)
            tracks = Tracks(conversation_path(self._folder, number))
            for turn in turns:
                read = recordings.clip(turn)
                self.clips.append(_clip(read, tracks.of(turn.file, read.pcm), self._encode))
            tracks.save()

    @property
    def hours(self) -> float:
        return sum(len(clip.pcm) for clip in self.clips) / SAMPLE_RATE / 3600

    def batches(self, first_step: int, seed: int, recipe: Recipe) -> Iterator[Crops]:
        """What each step sees, from `first_step` on: it and the seed alone decide, and the clips
        there are by then.
        """
        step = first_step
        while True:
            if step % _REFRESH_STEPS == 0:
                self.refresh()
            rng = np.random.default_rng((seed, step))
            long = [clip for clip in self.clips if len(clip.codes) >= recipe.crop_frames]
            places = rng.integers(len(long), size=recipe.batch)
            crops = [crop(long[place], recipe, rng) for place in places]
            yield Crops(
                *(np.stack([getattr(c, each.name) for c in crops]) for each in fields(Crops))
            )
            step += 1


def _clip(read: speech.Clip, track: Track, encode: Encode | None) -> Clip:
    codes: Codes16 = np.zeros((0, 0), np.int16)
    if encode is not None:
        codes = encode(whole_frames(read.pcm), track.heard)
    pcm = (read.pcm * 2**15).astype(np.int16)
    return Clip(pcm, track, read.phonemes, read.text, read.voice, codes)


def crop(clip: Clip, recipe: Recipe, rng: np.random.Generator) -> Crops:
    """A piece of a clip that is long enough, from some frame on."""
    frames = recipe.crop_frames
    latest = len(clip.codes) - frames
    first = 0 if rng.random() < recipe.lead_share else int(rng.integers(latest + 1))
    pcm = _floats(clip.pcm[first * FRAME_SAMPLES :][: frames * FRAME_SAMPLES])
    pcm = np.pad(pcm, (0, frames * FRAME_SAMPLES - len(pcm)))
    waves = clip.track.sharp.part(first * STEPS, frames * STEPS + _AHEAD)
    codes = clip.codes[first : first + frames]
    return Crops(pcm, codes, waves.hz, waves.phase, waves.is_voiced)


def sounds_in(clip: Clip, first: int, n_frames: int) -> npt.NDArray[np.int64]:
    """What is heard at moments of each frame from `first` on, around its windows' middles."""
    ahead = (WINDOW - HOP) / 2 / SAMPLE_RATE
    return heard_sounds(clip.phonemes, n_frames, first / FRAMES_PER_S + ahead)


def floats(clip: Clip) -> Pcm:
    return _floats(clip.pcm)


def _floats(pcm: npt.NDArray[np.int16]) -> Pcm:
    samples: Pcm = pcm.astype(np.float32) / np.float32(32768)
    return samples


def whole_frames(pcm: Pcm) -> Pcm:
    """With silence at the end, up to a whole number of frames."""
    return np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
