"""Says entries: into the loudspeaker and onto the disk. Runs on the thread of the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from csm_chat.checking.later import Later, Unheard
from csm_chat.conversation.directing import (
    Offer,
    Offered,
    Scenes,
    as_one_turn,
    check_n_takes,
    turns_from,
    voice_of,
)
from csm_chat.conversation.ports import Loaded, View
from csm_chat.conversation.take import MAX_RETAKES, collect
from csm_chat.errors import EntryError, Interrupted
from csm_chat.notices import (
    CheckFailed,
    RandomVoice,
    SaidAgain,
    SceneJoined,
    TakeOffered,
    TakePicked,
    TakesOffered,
    TurnReplaced,
)
from csm_chat.types import SAMPLE_RATE, Pcm, Segment, Timings, Turn, Utterance

# The estimate of a line's length is off by about a quarter; waiting a little longer beats a gap.
EXPECTED_MARGIN = 1.15

Generate = Callable[[], Generator[Pcm, None, Turn]]


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
        self._offer = Offer()
        self._scenes = Scenes()
        self._told: set[int] = set()  # speakers whose voice was said to be a random one
        self.checks = loaded.checks
        self.later = Later(loaded.checks, view.tell, self._is_last) if loaded.checks else None

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
        numbers, is_good = self._speak(parts, asked, epoch)
        if len(numbers) > 1 and (path := self._takes.combine(numbers, (numbers[0], numbers[-1]))):
            self._scenes.add(numbers)
            self._view.saved(path)
        return is_good

    def retry(self, asked: float, epoch: int) -> bool:
        """Say the last utterance again."""
        last = self._session.last
        if last is None:
            raise EntryError("nothing was said yet, so there is nothing to say again")
        before = self._session.numbered()
        is_good = self._speak([(last, self._session.retry)], asked, epoch)[1]
        self._scenes.last_replaced(before, self._session.numbered())
        return is_good

    def replay(self, number: int | None) -> bool:
        """Play the take of that number, or the last entry."""
        numbers = self._last_entry if number is None else [number]
        if not numbers:
            raise EntryError("nothing was said yet, so there is nothing to play again")
        self._play([self._takes.read(n) for n in numbers])
        return True

    @property
    def offered(self) -> tuple[Offered, ...]:
        """The takes to pick from. Any thread."""
        return self._offer.takes

    def takes(self, n: int, epoch: int) -> bool:
        """Make `n` takes of what was said last, to pick from; True if one can be.

        Nothing is heard, and the conversation stays. Raises EntryError, ContextError, Interrupted.
        """
        check_n_takes(n)
        if not self._session.sampling.temperature:
            raise EntryError(
                "with sampling.temperature 0 all takes come out alike: set a higher one"
            )
        try:
            self._go_on(epoch)
            said = self._session.takes_of_last(n)
            self._go_on(epoch)
            said = [self._heard(turn, pcm, epoch) for turn, pcm in said]
        except Interrupted as error:
            raise Interrupted("stopped: there are no new takes to pick from") from error
        offered = tuple(self._kept(turn, pcm) for turn, pcm in said)
        self._offer = Offer(offered, self._session.before_last)
        for place, each in enumerate(offered, 1):
            number = each.number if each.is_saved else 0
            turn = each.turn
            figures = turn.timings.audio_s, turn.seed, turn.ended, turn.verdict
            self._view.tell(TakeOffered(place, number, *figures))
        n_good = sum(each.turn.ended == "eos" for each in offered)
        self._view.tell(TakesOffered(n_good))
        return n_good > 0

    def pick(self, place: int) -> bool:
        """Put one of the takes into the conversation, as what was said last, and play it.

        Raises EntryError.
        """
        chosen = self._offer.take(place, self._session)
        segment = chosen.turn.segment
        before = self._session.numbered()
        self._session.pick(chosen.turn)
        self._session.number(chosen.turn, chosen.number)
        self._scenes.last_replaced(before, self._session.numbered())
        if chosen.is_saved:
            self._takes.picked(chosen.number, chosen.turn, self._name(segment.speaker))
            self._last_entry = [chosen.number]
        self._view.tell(TakePicked(place, segment.text))
        self._play([chosen.pcm])
        return True

    def edit(self, number: int, text: str, *, onward: bool, asked: float, epoch: int) -> bool:
        """Say the turn of that number anew with another text, in its place.

        With `onward` those behind are said anew, too, one after the other until one fails. Scenes
        that it was part of are joined again. Raises EntryError, ContextError.
        """
        numbers = self._numbers()
        first, *behind = turns_from(number, self._session)
        new = as_one_turn(text, first.segment.speaker, self._session, self._names())
        changed: list[tuple[Turn, Turn]] = []
        parts = [(new, partial(self._retaken, first, new, changed))]
        for turn in behind if onward else ():
            again = Utterance(turn.segment.text, turn.segment.speaker)
            parts.append((again, partial(self._retaken, turn, again, changed)))
        try:
            return self._speak(parts, asked, epoch, until_one_fails=True)[1]
        finally:
            now = self._numbers()
            self._replaced([(numbers[a], now[b]) for a, b in changed if a in numbers and b in now])

    def rest(self) -> None:
        """Nothing is being generated."""
        self.progress = Progress(speaker=self.progress.speaker)

    def _speak(
        self,
        parts: Sequence[tuple[Utterance, Generate]],
        asked: float,
        epoch: int,
        *,
        until_one_fails: bool = False,
    ) -> tuple[list[int], bool]:
        """Numbers of the takes that have a file, and whether every part ended by itself."""
        expected_s = sum(self._session.expected_s(utterance) for utterance, _ in parts)
        # what is played while it is made is heard after
        self._session.checks = self.checks if self._sound.status().state == "off" else None
        self._sound.begin(self._prebuffer(expected_s * EXPECTED_MARGIN, self.rtf, self.start))
        numbers, ended = [], []
        try:
            for part, (utterance, generate) in enumerate(parts, 1):
                self.progress = Progress(part, len(parts), utterance.speaker)
                self._tell_if_random(utterance.speaker)
                turn, number = self._whole_take(utterance, generate, epoch)
                numbers += [number] if number else []
                ended.append(turn.ended)
                self._measure(turn, asked if part == 1 else None)
                self._view.turn(number, turn)
                if turn.ended == "cut" or (until_one_fails and turn.ended != "eos"):
                    break
        finally:
            self._sound.end()
            self._last_entry = numbers or self._last_entry
        if gaps := self._sound.gaps_heard(self.rtf):
            self._view.tell(gaps)
        return numbers, set(ended) == {"eos"}

    def _retaken(
        self, turn: Turn, utterance: Utterance, changed: list[tuple[Turn, Turn]]
    ) -> Generator[Pcm, None, Turn]:
        """A retake of a turn, wherever it stands now; what came of it goes to `changed`.

        Undoing takes back all of `changed` together.
        """
        turns = self._session.turns
        place = turns.index(turn) if turn in turns else -1
        new = yield from self._session.retake(place, utterance, is_one_change=not changed)
        if new.ended == "eos":
            changed.append((turn, new))
        return new

    def _replaced(self, numbers: Sequence[tuple[int, int]]) -> None:
        """Tell of turns that are said anew, and join the scenes that they are part of."""
        for old, new in numbers:
            self._view.tell(TurnReplaced(old, new))
        for takes, span in self._scenes.replace(numbers, self._session.numbered()):
            if path := self._takes.combine(takes, span):
                self._view.saved(path)
                self._view.tell(SceneJoined(path))

    def _heard(self, turn: Turn, pcm: Pcm, epoch: int) -> tuple[Turn, Pcm]:
        """With checks, a take and what was heard of it. Raises Interrupted."""
        if not self.checks or not self.checks.is_on:
            return turn, pcm
        segment = turn.segment
        read, voice = self._session.read(segment.text), voice_of(segment.speaker, self._session)
        verdict = self.checks.verdict(pcm, read, voice, lambda: self._epoch() == epoch)
        self._go_on(epoch)
        return replace(turn, verdict=verdict), pcm

    def _kept(self, turn: Turn, pcm: Pcm) -> Offered:
        """A take to pick, with its file."""
        name = self._name(turn.segment.speaker)
        take = self._takes.open(name)
        take.write(pcm)
        path = take.finish(turn, name, is_offered=True)
        if path:
            self._view.saved(path)
        return Offered(turn, pcm, take.number, path is not None)

    def _play(self, parts: Sequence[Pcm]) -> None:
        self._sound.begin(0.0)
        for part in parts:
            self._sound.write(part)
        self._sound.end()

    def _numbers(self) -> dict[Turn, int]:
        return {turn: number for number, turn in self._session.numbered().items()}

    def _name(self, speaker: int) -> str:
        return self._names().get(speaker, str(speaker))

    def _whole_take(self, utterance: Utterance, generate: Generate, epoch: int) -> tuple[Turn, int]:
        """One take, said again with the next seeds while it ends far too early for its text."""
        turn, number = self._take(utterance, generate(), epoch)
        for _ in range(MAX_RETAKES if self._session.sampling.temperature else 0):
            if turn.ended != "early":
                break
            self._takes.take_back()
            self._view.tell(SaidAgain())
            turn, number = self._take(utterance, generate(), epoch)
        return turn, number

    def _take(
        self, utterance: Utterance, stream: Generator[Pcm, None, Turn], epoch: int
    ) -> tuple[Turn, int]:
        """One take, into the loudspeaker and its file; its number is 0 without a file."""
        name = self._name(utterance.speaker)
        started = time.perf_counter()
        take = self._takes.open(name)
        turn = None
        said: list[Pcm] = []

        def hear(pcm: Pcm) -> None:
            said.append(pcm)
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
        if turn.ended == "eos":
            self._session.number(turn, take.number)
        number = take.number if path else 0
        if turn.verdict and not turn.verdict.is_good:
            text, is_last = utterance.text, self._is_last(turn)
            self._view.tell(CheckFailed(number, text, turn.verdict, is_last=is_last))
        if self.later and not self._session.checks:
            self.later.add(self._unheard(turn, number, name, said))
        return turn, number

    def _unheard(self, turn: Turn, number: int, name: str, said: Sequence[Pcm]) -> Unheard:
        """A take that is to be heard after; what has a file is read from it."""
        takes, segment = self._takes, turn.segment
        pcm = partial(takes.read, number) if number else partial(np.concatenate, [*said])

        def record(heard: Turn) -> None:
            if number:
                is_in_context = turn in self._session.turns
                takes.checked(number, heard, name, is_in_context=is_in_context)

        read, voice = self._session.read(segment.text), voice_of(segment.speaker, self._session)
        return Unheard(turn, number, pcm, read, voice, record)

    def _is_last(self, turn: Turn) -> bool:
        return self._session.turns[-1:] == (turn,)

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
