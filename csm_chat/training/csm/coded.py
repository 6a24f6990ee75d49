"""Clips and conversations in a codec's codes, without end. Knows no model.

Of recordings, codes are kept beside them: they are learned from many times, and encoding a clip
costs about as much as learning it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from csm_chat.training.csm.codes import Frozen
from csm_chat.training.csm.known import Coded, Heard, SpokenLine, coded
from csm_chat.training.speech.alignment import phonemes
from csm_chat.training.speech.recorded import Recordings, Turns
from csm_chat.training.speech.recordings import Recording, conversation_path

_PARTS = ("codes", "pitches", "timbre")  # of a clip, in a file


@dataclass(frozen=True, slots=True)
class CodedLine:
    """A clip in a conversation."""

    speaker: int
    clip: Coded


def encoded(clips: Iterable[Heard], codec: Frozen) -> Iterator[Coded]:
    """Each clip with its codes."""
    for clip in clips:
        yield coded(clip, codec.encode([clip.pcm]).cpu().numpy())


def encoded_talks(
    conversations: Iterable[Sequence[SpokenLine]], codec: Frozen
) -> Iterator[tuple[CodedLine, ...]]:
    """Each conversation with its codes."""
    for lines in conversations:
        clips = encoded((line.clip for line in lines), codec)
        yield tuple(CodedLine(x.speaker, clip) for x, clip in zip(lines, clips, strict=True))


class CodedRecordings:
    """A folder of recordings in one codec's codes."""

    def __init__(self, folder: Path, codec: Frozen) -> None:
        """Raises UsageError where there are no recordings."""
        self._recordings, self._codec = Recordings.open(folder), codec
        self._talks = {turns[0].conversation: turns for turns in self._recordings.all_talks}
        self._kept: dict[str, Coded] = {}

    def clips(self, seed: int) -> Iterator[Coded]:
        """As those of recordings."""
        for turn in self._recordings.turns(seed):
            yield self._coded(turn)

    def conversations(self, seed: int) -> Iterator[tuple[CodedLine, ...]]:
        """As those of recordings."""
        for numbers, turns in self._recordings.talks(seed):
            yield tuple(
                CodedLine(number, self._coded(turn))
                for number, turn in zip(numbers, turns, strict=True)
            )

    def encode_all(self) -> int:
        """Encode what was not yet; returns how many conversations there are."""
        for turns in self._talks.values():
            self._read(turns)
        return len(self._talks)

    def _coded(self, turn: Recording) -> Coded:
        if turn.file not in self._kept:
            self._read(self._talks[turn.conversation])
        return self._kept[turn.file]

    def _read(self, turns: Turns) -> None:
        """A conversation's codes, made now where nobody did before."""
        path = conversation_path(self._recordings.folder, turns[0].conversation)
        path = path.with_suffix(f".{self._codec.identity}.npz")
        stored: dict[str, npt.NDArray[Any]] = {}
        if path.is_file():
            with np.load(path) as file:
                stored = dict(file)
        names = {turn.file: [f"{turn.turn}.{part}" for part in _PARTS] for turn in turns}
        missing = [turn for turn in turns if names[turn.file][0] not in stored]
        clips = encoded(map(self._recordings.clip, missing), self._codec)
        for turn, clip in zip(missing, clips, strict=True):
            made = (getattr(clip, part) for part in _PARTS)
            stored |= dict(zip(names[turn.file], made, strict=True))
        if missing:
            part = path.with_suffix(f".{os.getpid()}.part.npz")  # another process may do the same
            np.savez(part, **stored)  # type: ignore[arg-type]  # numpy's own signature
            part.replace(path)
        for turn in turns:
            said = phonemes(turn.phonemes, turn.lengths, turn.text)
            codes, pitches, timbre = (stored[name] for name in names[turn.file])
            self._kept[turn.file] = Coded(turn.text, turn.text, said, codes, pitches, timbre)
