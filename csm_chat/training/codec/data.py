"""Crops of spoken turns for the codec, and its held-out clips. Knows no model.

Turns lie in folders of FLAC files, with a JSON line a turn (`text`, `voice`, `phonemes`, `lengths`,
`file`) in a .jsonl a conversation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile

from csm_chat.codec.spectral.nets import TAIL
from csm_chat.codec.spectral.sizes import HOP, STEPS, WINDOW
from csm_chat.codec.spectral.waves import Waves
from csm_chat.errors import UsageError
from csm_chat.training.codec.tracks import Track, Tracks
from csm_chat.training.speech.sounds import (
    PAUSE_SOUND,
    SOUNDS_A_FRAME,
    sound_class,
)
from csm_chat.types import FRAME_SAMPLES, FRAMES_PER_S, SAMPLE_RATE, Pcm

_LENGTH_S = 600 / SAMPLE_RATE  # Kokoro counts in steps of 600 samples
_MARKS = frozenset("ˈˌː ")  # what is heard as the phoneme after it
_PAUSES = frozenset('.,!?;:—…"()“”')
_AHEAD = TAIL // HOP + 1  # moments that the last window of a crop reaches beyond it
_REFRESH_STEPS = 100  # between looks for new conversations


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A turn."""

    pcm: npt.NDArray[np.int16]
    track: Track
    sounds: npt.NDArray[np.int64]  # (n,), one every _LENGTH_S
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
    """The clips of a folder, in memory; looks for more now and then."""

    def __init__(self, folder: Path, encode: Encode | None = None) -> None:
        """Raises UsageError where there are none."""
        self._folder, self._encode = folder, encode
        self._seen: set[Path] = set()
        self.clips: list[Clip] = []
        self.refresh()
        if not self.clips:
            raise UsageError(f"{folder}: no spoken turns here; make some first")

    def refresh(self) -> None:
        for index in sorted({*self._folder.glob("*/[0-9]*.jsonl")} - self._seen):
            self._seen.add(index)
            tracks = Tracks(index)
            for line in index.read_text(encoding="utf-8").splitlines():
                self.clips.append(_clip(index.parent, json.loads(line), tracks, self._encode))
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


def _clip(folder: Path, row: dict[str, Any], tracks: Tracks, encode: Encode | None) -> Clip:
    pcm, rate = soundfile.read(folder / row["file"], dtype="int16")
    assert rate == SAMPLE_RATE, rate
    track = tracks.of(row["file"], _floats(pcm))
    codes: Codes16 = np.zeros((0, 0), np.int16)
    if encode is not None:
        codes = encode(whole_frames(_floats(pcm)), track.heard)
    sounds = sounds_of(row["phonemes"], row["lengths"])
    return Clip(pcm, track, sounds, row["text"], row["voice"], codes)


def sounds_of(phonemes: str, lengths: list[int]) -> npt.NDArray[np.int64]:
    """A class for every _LENGTH_S, of Kokoro's phonemes and how long each lasts.

    `lengths` has one more at either end, of silence.
    """
    assert len(lengths) == len(phonemes) + 2, (len(lengths), len(phonemes))
    classes = [PAUSE_SOUND]  # from the end on
    for name in reversed(phonemes):
        if name in _PAUSES:
            classes.append(PAUSE_SOUND)
        else:
            classes.append(classes[-1] if name in _MARKS else sound_class(name))
    classes.append(PAUSE_SOUND)
    return np.repeat(np.array(classes[::-1]), lengths)


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
    moments = (np.arange(n_frames * SOUNDS_A_FRAME) + 0.5) / SOUNDS_A_FRAME + first
    ahead = (WINDOW - HOP) / 2 / SAMPLE_RATE
    places = ((moments / FRAMES_PER_S + ahead) / _LENGTH_S).astype(int)
    known = len(clip.sounds)
    found = clip.sounds[places.clip(0, known - 1)]
    return np.where(places < known, found, PAUSE_SOUND).reshape(n_frames, -1)


def floats(clip: Clip) -> Pcm:
    return _floats(clip.pcm)


def _floats(pcm: npt.NDArray[np.int16]) -> Pcm:
    samples: Pcm = pcm.astype(np.float32) / np.float32(32768)
    return samples


def whole_frames(pcm: Pcm) -> Pcm:
    """With silence at the end, up to a whole number of frames."""
    return np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
