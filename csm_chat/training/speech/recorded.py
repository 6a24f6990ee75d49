"""Recordings read back, as clips and conversations without end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from csm_chat.errors import UsageError
from csm_chat.training.speech.alignment import phonemes
from csm_chat.training.speech.corpus import N_SPEAKER_IDS, Clip, Line
from csm_chat.training.speech.recordings import Recording, conversations, read_pcm, verdicts

T = TypeVar("T")
Turns = Sequence[Recording]


@dataclass(frozen=True, slots=True)
class Recordings:
    """A folder of recordings, as it was when it was opened. Its methods fit `corpus`'s."""

    folder: Path
    _conversations: Sequence[Turns] = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> Recordings:
        """Without turns that were misheard; those nobody has listened to yet are in.

        Raises UsageError if there are none.
        """
        misheard = {file for file, verdict in verdicts(folder).items() if verdict.is_misheard}
        good = (
            tuple(turn for turn in turns if turn.file not in misheard)
            for turns in conversations(folder)
        )
        kept = [turns for turns in good if turns]
        if not kept:
            raise UsageError(
                f"{folder}: no recordings there; python -m csm_chat.training teach makes some"
            )
        return cls(folder, kept)

    @property
    def hours(self) -> float:
        return sum(turn.seconds for turns in self._conversations for turn in turns) / 3600

    def clips(self, seed: int) -> Iterator[Clip]:
        """Single turns in random order, all of them before one comes again."""
        return map(self.clip, self.turns(seed))

    def conversations(self, seed: int) -> Iterator[tuple[Line, ...]]:
        """Whole conversations in random order, their speakers numbered anew each time."""
        for numbers, turns in self.talks(seed):
            yield tuple(
                Line(number, self.clip(turn)) for number, turn in zip(numbers, turns, strict=True)
            )

    @property
    def all_talks(self) -> Sequence[Turns]:
        """Every conversation once, unread."""
        return self._conversations

    def turns(self, seed: int) -> Iterator[Recording]:
        """As `clips`, unread."""
        turns = [turn for turns in self._conversations for turn in turns]
        return _endless(turns, Random(f"clips {seed}"))

    def talks(self, seed: int) -> Iterator[tuple[Sequence[int], Turns]]:
        """As `conversations`, unread: the speakers' numbers, and the turns."""
        rng = Random(f"conversations {seed}")
        for turns in _endless(self._conversations, rng):
            numbers = rng.sample(range(N_SPEAKER_IDS), max(turn.speaker for turn in turns) + 1)
            yield [numbers[turn.speaker] for turn in turns], turns

    def clip(self, turn: Recording) -> Clip:
        """Read one."""
        said = phonemes(turn.phonemes, turn.lengths, turn.text)
        pcm = read_pcm(self.folder, turn)
        return Clip(turn.text, f"{turn.voice}@{turn.speed}", pcm, said, turn.text)


def _endless(items: Sequence[T], rng: Random) -> Iterator[T]:
    while True:
        yield from rng.sample(items, len(items))
