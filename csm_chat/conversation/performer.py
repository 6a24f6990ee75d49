"""Says entries: into the loudspeaker and onto the disk. Runs on the thread of the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from csm_chat.conversation.ports import Loaded, View
from csm_chat.conversation.take import collect
from csm_chat.errors import EntryError, Interrupted
from csm_chat.notices import RandomVoice, SaidAgain
from csm_chat.types import SAMPLE_RATE, Pcm, Segment, Timings, Turn, Utterance

# The estimate of a line's length is off by about a quarter; waiting a little longer beats a gap.
EXPECTED_MARGIN = 1.15
MAX_RETAKES = 2  # of a take that ended far too early


@dataclass(slots=True)
class Progress:
    """Where the entry being generated is."""

    part: int = 0  # 1-based; 0: none
    parts: int = 0
    speaker: int = 0
    seconds: float = 0.0  # generated of this part


class Performer:
    """Speaks entries and keeps their figures. `epoch` rises with each cancel."""

    def __init__(
        self,
        loaded: Loaded,
        view: View,
        epoch: Callable[[], int],
        names: Callable[[], Mapping[int, str]],
        start: str,
    ) -> None:
        """`start` is when a take begins to be heard, `audio.start`."""
        self.start = start
        self.progress = Progress()
        self.rtf = loaded.rtf  # moving average
        self.first_audio_s: float | None = None  # Enter to first sample, of the last entry
        self._session = loaded.session
        self._takes = loaded.takes
        self._references = loaded.references
        self._sound = loaded.sound
        self._prebuffer = loaded.prebuffer
        self._view = view
        self._epoch = epoch
        self._names = names
        self._last_entry: list[int] = []
        self._told: set[int] = set()  # speakers whose voice was said to be a random one

    def say(self, utterances: Sequence[Utterance], asked: float, epoch: int) -> bool:
        """Speak an entry; True if every part ended by itself. `asked` is when, by perf_counter.

        What has no word is left out. Raises EntryError where none has one.
        """
        reading = self._session.reading
        silent = [u for u in utterances if reading.says_nothing(u.text)]
        if len(silent) == len(utterances):
            reading.refuse_silence(utterances[0].text)
        for utterance in silent:
            self._session.leave_out(utterance.text)
        pieces = [piece for u in utterances if u not in silent for piece in self._session.split(u)]
        parts = [(piece, partial(self._session.take, piece)) for piece in pieces]
        return self._speak(parts, asked, epoch)

    def retry(self, asked: float, epoch: int) -> bool:
        """Say the last utterance again."""
        last = self._session.last
        if last is None:
            raise EntryError("nothing was said yet, so there is nothing to say again")
        return self._speak([(last, self._session.retry)], asked, epoch)

    def replay(self, number: int | None) -> bool:
        """Play the take of that number, or the last entry."""
        numbers = self._last_entry if number is None else [number]
        if not numbers:
            raise EntryError("nothing was said yet, so there is nothing to play again")
        pcm = [self._takes.read(n) for n in numbers]
        self._sound.begin(0.0)
        for part in pcm:
            self._sound.write(part)
        self._sound.end()
        return True

    def rest(self) -> None:
        """Nothing is being generated."""
        self.progress = Progress(speaker=self.progress.speaker)

    def _speak(
        self,
        parts: Sequence[tuple[Utterance, Callable[[], Generator[Pcm, None, Turn]]]],
        asked: float,
        epoch: int,
    ) -> bool:
        expected_s = sum(self._session.expected_s(utterance) for utterance, _ in parts)
        self._sound.begin(self._prebuffer(expected_s * EXPECTED_MARGIN, self.rtf, self.start))
        numbers, ended = [], []
        try:
            for part, (utterance, generate) in enumerate(parts, 1):
                self.progress = Progress(part, len(parts), utterance.speaker)
                self._tell_if_random(utterance.speaker)
                turn, number = self._whole_take(utterance, generate(), epoch)
                numbers += [number] if number else []
                ended.append(turn.ended)
                self._measure(turn, asked if part == 1 else None)
                self._view.turn(number, turn)
                if turn.ended == "cut":
                    break
        finally:
            self._sound.end()
            self._last_entry = numbers or self._last_entry
        self._after(numbers)
        return set(ended) == {"eos"}

    def _whole_take(
        self, utterance: Utterance, stream: Generator[Pcm, None, Turn], epoch: int
    ) -> tuple[Turn, int]:
        """One take, said again with the next seeds while it ends far too early for its text."""
        turn, number = self._take(utterance, stream, epoch)
        for _ in range(MAX_RETAKES if self._session.sampling.temperature else 0):
            if turn.ended != "early":
                break
            self._takes.take_back()
            self._view.tell(SaidAgain())
            turn, number = self._take(utterance, self._session.retry(), epoch)
        return turn, number

    def _take(
        self, utterance: Utterance, stream: Generator[Pcm, None, Turn], epoch: int
    ) -> tuple[Turn, int]:
        """One take, into the loudspeaker and its file; its number is 0 without a file."""
        name = self._names().get(utterance.speaker, str(utterance.speaker))
        started = time.perf_counter()
        take = self._takes.open(name)
        turn = None

        def hear(pcm: Pcm) -> None:
            take.write(pcm)
            self._sound.write(pcm)
            self.progress.seconds += len(pcm) / SAMPLE_RATE
            self._view.changed()
            self._go_on(epoch)

        try:
            self._go_on(epoch)
            turn = collect(stream, hear)
        except Interrupted:
            stream.close()
        finally:
            turn = turn or self._cut(utterance, started)
            path = take.finish(turn, name)
        if path:
            self._view.saved(path)
        return turn, take.number if path else 0

    def _go_on(self, epoch: int) -> None:
        if self._epoch() != epoch:
            raise Interrupted("cancelled")

    def _tell_if_random(self, speaker: int) -> None:
        if speaker in self._told or speaker in {voice.speaker for voice in self._session.voices}:
            return
        self._told.add(speaker)
        self._view.tell(RandomVoice(speaker, self._references.refused(speaker)))

    def _cut(self, utterance: Utterance, started: float) -> Turn:
        codes = np.zeros((0, self._session.backend.engine.codebooks), np.int32)
        compute_s = time.perf_counter() - started
        timings = Timings(0.0, compute_s, self.progress.seconds)
        segment = Segment(utterance.speaker, utterance.text, codes)
        return Turn(segment, self._session.last_seed or 0, "cut", timings)

    def _measure(self, turn: Turn, asked: float | None) -> None:
        """Keep the speed of a take, and how long its asker waited for the first sample."""
        timings = turn.timings
        rtf = timings.running_rtf
        if rtf is not None and turn.ended != "cut":
            self.rtf = rtf if self.rtf is None else (self.rtf + rtf) / 2
        if asked is not None and timings.first_audio_s:
            waited_s = time.perf_counter() - asked - timings.compute_s
            self.first_audio_s = max(0.0, waited_s) + timings.first_audio_s

    def _after(self, numbers: list[int]) -> None:
        """What an entry leaves behind: one file of a scene, and a word on gaps."""
        path = self._takes.combine(numbers) if len(numbers) > 1 else None
        if path:
            self._view.saved(path)
        if gaps := self._sound.gaps_heard(self.rtf):
            self._view.tell(gaps)
