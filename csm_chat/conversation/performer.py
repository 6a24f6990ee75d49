"""Says entries: into the loudspeaker and onto the disk. Runs on the thread of the worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial

import numpy as np

from csm_chat.checking.later import Later
from csm_chat.config.settings import SamplingConfig
from csm_chat.conversation.directing import (
    Joined,
    Offer,
    Offered,
    Scenes,
    as_one_turn,
    check_n_takes,
    turns_from,
    unheard,
    with_verdict,
)
from csm_chat.conversation.ports import Loaded, View
from csm_chat.conversation.take import MAX_RETAKES, Part, Progress, collect
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
from csm_chat.shape.line import with_gaps
from csm_chat.shape.overlap import gap_between, joined, n_samples, silence
from csm_chat.shape.stream import Given, shaped, shaped_s
from csm_chat.types import Pcm, Segment, Timings, Turn, Utterance

# The estimate of a line's length is off by about a quarter; waiting a little longer beats a gap.
EXPECTED_MARGIN = 1.15


class Performer:
    """Speaks entries and keeps their figures. `epoch` rises with each cancel."""

    def __init__(
        self,
        loaded: Loaded,
        view: View,
        epoch: Callable[[], int],
        names: Callable[[], Mapping[int, str]],
        start: str,
        gap_s: float = 0.0,
    ) -> None:
        """`start` is when a take begins to be heard, `audio.start`; `gap_s` lies between parts."""
        self.start = start
        self.gap_s = gap_s
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
        self._last_entry = Joined([], [])
        self._around = (0.0, 0.0)  # seconds of silence in the file of a part that stood alone
        self._offer = Offer()
        self._scenes = Scenes()
        self._told: set[int] = set()  # speakers whose voice was said to be a random one
        self.checks = loaded.checks
        self.later = Later(loaded.checks, view.tell, self._is_last) if loaded.checks else None

    def say(self, utterances: Sequence[Utterance], asked: float, epoch: int) -> bool:
        """Speak an entry; True if every part ended by itself. `asked` is when, by perf_counter.

        What has no word is left out. Raises EntryError where none has one.
        """
        self._session.manners = self._session.manners.knowing(self._names())
        reading = self._session.reading
        silent = [u for u in utterances if reading.says_nothing(u.text) and not u.is_silence]
        if len(silent) == len(utterances):
            reading.refuse_silence(utterances[0].text)
        for utterance in silent:
            self._session.leave_out(utterance.text)
        split = self._session.split
        said = [(u, () if reading.says_nothing(u.text) else split(u)) for u in utterances]
        gapped, rest_s = with_gaps(said, self.gap_s)
        parts = [Part(u, partial(self._session.take, u), gap_s) for u, gap_s in gapped]
        scene, is_good = self._speak(parts, asked, epoch, rest_s=rest_s)
        if len(scene.numbers) > 1 and (path := self._takes.combine(scene)):
            self._scenes.add(scene)
            self._view.saved(path)
        return is_good

    def retry(self, asked: float, epoch: int) -> bool:
        """Say the last utterance again."""
        last = self._session.last
        if last is None:
            raise EntryError("nothing was said yet, so there is nothing to say again")
        before = self._session.numbered()
        lead_s, rest_s = self._around
        parts = [Part(last, self._session.retry, lead_s)]
        is_good = self._speak(parts, asked, epoch, rest_s=rest_s)[1]
        self._scenes.last_replaced(before, self._session.numbered())
        return is_good

    def replay(self, number: int | None) -> bool:
        """Play the take of that number, or the last entry."""
        scene = self._last_entry if number is None else Joined([number], [0.0])
        if not scene.numbers:
            raise EntryError("nothing was said yet, so there is nothing to play again")
        parts = [self._takes.read(n) for n in scene.numbers]
        self._play(joined(parts, scene.gaps_s, scene.rest_s))
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
        last = self._session.last
        if last and not self._drawn(last).temperature:
            raise EntryError("with temperature 0 all takes come out alike: set a higher one")
        try:
            self._go_on(epoch)
            said = self._session.takes_of_last(n)
            self._go_on(epoch)
            said = [self._heard(turn, pcm, epoch) for turn, pcm in said]
        except Interrupted as error:
            raise Interrupted("stopped: there are no new takes to pick from") from error
        offered = tuple(self._kept(turn, shaped(pcm, turn.shape)) for turn, pcm in said)
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
            self._last_entry = Joined([chosen.number], [0.0])
        self._view.tell(TakePicked(place, segment.text))
        self._play(chosen.pcm)
        return True

    def edit(self, number: int, text: str, *, onward: bool, asked: float, epoch: int) -> bool:
        """Say the turn of that number anew with another text, in its place.

        With `onward` those behind are said anew, too, one after the other until one fails. Scenes
        that it was part of are joined again. Raises EntryError, ContextError.
        """
        numbers = self._numbers()
        first, *behind = turns_from(number, self._session)
        new = as_one_turn(text, first.utterance, self._session, self._names())
        changed: list[tuple[Turn, Turn]] = []
        parts = [Part(new, partial(self._retaken, first, new, changed))]
        for turn in behind if onward else ():
            again = turn.utterance
            gap_s = gap_between(self.gap_s, parts[-1].utterance.speaker, again.speaker)
            parts.append(Part(again, partial(self._retaken, turn, again, changed), gap_s))
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
        parts: Sequence[Part],
        asked: float,
        epoch: int,
        *,
        rest_s: float = 0.0,
        until_one_fails: bool = False,
    ) -> tuple[Joined, bool]:
        """Takes that have a file, and whether every part ended by itself; silence comes last.

        Of one part that silence is in its file, of several in what joins them.
        """
        # what is played while it is made is heard after
        self._session.checks = self.checks if self._sound.status().state == "off" else None
        self._sound.begin(self._cushion_s(parts))
        numbers, gaps_s, ended = [], [], []
        is_alone = len(parts) == 1
        self._around = (parts[0].gap_s, rest_s) if is_alone else (0.0, 0.0)
        try:
            for n, part in enumerate(parts, 1):
                self.progress = Progress(n, len(parts), part.utterance.speaker)
                self._tell_if_random(part.utterance.speaker)
                self._wait(part.gap_s, is_in_take=is_alone)
                turn, number = self._whole_take(part, epoch)
                numbers += [number] if number else []
                gaps_s += [0.0 if is_alone else part.gap_s] if number else []
                ended.append(turn.ended)
                self._measure(turn, asked if n == 1 else None)
                self._view.turn(number, turn)
                if turn.ended == "cut" or (until_one_fails and turn.ended != "eos"):
                    break
            else:
                self._wait(rest_s, is_in_take=is_alone)
        finally:
            self._sound.end()
            scene = Joined(numbers, gaps_s, 0.0 if is_alone else rest_s)
            self._last_entry = scene if numbers else self._last_entry
        if gaps := self._sound.gaps_heard(self.rtf):
            self._view.tell(gaps)
        return scene, set(ended) <= {"eos"}

    def _cushion_s(self, parts: Sequence[Part]) -> float:
        """Seconds to have before the first is heard."""
        made_s = [self._session.expected_s(part.utterance) for part in parts]
        shapes = [self._session.manner(part.utterance.speaker).shape for part in parts]
        heard_s = shaped_s(made_s, shapes)
        rtf = self.rtf * sum(made_s) / heard_s if self.rtf and heard_s else self.rtf
        lead_s = parts[0].gap_s if parts else 0.0  # silence does not help who is slow to begin
        return lead_s + self._prebuffer(heard_s * EXPECTED_MARGIN, rtf, self.start)

    def _wait(self, gap_s: float, *, is_in_take: bool) -> None:
        """Silence, or below 0 an overlap of what comes next with what was said."""
        if gap_s < 0:
            self._sound.overlap(n_samples(-gap_s))
        elif gap_s:
            self._sound.write(silence(gap_s))
        if gap_s and not is_in_take:
            self._takes.apart(gap_s)

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
        for scene in self._scenes.replace(numbers, self._session.numbered()):
            if path := self._takes.combine(scene):
                self._view.saved(path)
                self._view.tell(SceneJoined(path))

    def _heard(self, turn: Turn, pcm: Pcm, epoch: int) -> tuple[Turn, Pcm]:
        """With checks, a take and what was heard of it. Raises Interrupted."""
        if not self.checks or not self.checks.is_on:
            return turn, pcm
        turn = with_verdict(turn, pcm, self._session, self.checks, lambda: self._epoch() == epoch)
        self._go_on(epoch)
        return turn, pcm

    def _kept(self, turn: Turn, pcm: Pcm) -> Offered:
        """A take to pick, with its file."""
        name = self._name(turn.segment.speaker)
        take = self._takes.open(name)
        take.write(pcm)
        path = take.finish(turn, name, is_offered=True)
        if path:
            self._view.saved(path)
        return Offered(turn, pcm, take.number, path is not None)

    def _play(self, pcm: Pcm) -> None:
        self._sound.begin(0.0)
        self._sound.write(pcm)
        self._sound.end()

    def _numbers(self) -> dict[Turn, int]:
        return {turn: number for number, turn in self._session.numbered().items()}

    def _name(self, speaker: int) -> str:
        return self._names().get(speaker, str(speaker))

    def _drawn(self, utterance: Utterance) -> SamplingConfig:
        return self._session.manner(utterance.speaker).drawn(self._session.sampling)

    def _whole_take(self, part: Part, epoch: int) -> tuple[Turn, int]:
        """One take, said again with the next seeds while it ends far too early for its text."""
        turn, number = self._take(part, epoch)
        for _ in range(MAX_RETAKES if self._drawn(part.utterance).temperature else 0):
            if turn.ended != "early":
                break
            self._takes.take_back()
            self._view.tell(SaidAgain())
            turn, number = self._take(part, epoch)
        return turn, number

    def _take(self, part: Part, epoch: int) -> tuple[Turn, int]:
        """One take, into the loudspeaker and its file; its number is 0 without a file."""
        utterance, stream = part.utterance, part.generate()
        name = self._name(utterance.speaker)
        started = time.perf_counter()
        take = self._takes.open(name)
        shape = self._session.manner(utterance.speaker).shape
        lead_s, rest_s = self._around
        given = Given(take, self._sound, shape, lead_s)
        turn = None
        said: list[Pcm] = []

        def hear(pcm: Pcm) -> None:
            said.append(pcm)
            self.progress.seconds += given.write(pcm)
            self._view.changed()
            self._go_on(epoch)

        try:
            self._go_on(epoch)
            turn = collect(stream, hear)
            given.end(rest_s)
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
            takes = self._takes if number else None
            self.later.add(unheard(turn, number, name, said, self._session, takes))
        return turn, number

    def _is_last(self, turn: Turn) -> bool:
        return self._session.turns[-1:] == (turn,)

    def _go_on(self, epoch: int) -> None:
        if self._epoch() != epoch:
            raise Interrupted("cancelled")

    def _tell_if_random(self, speaker: int) -> None:
        if speaker in self._told or speaker in {voice.speaker for voice in self._session.voices}:
            return
        self._told.add(speaker)
        self._view.tell(
            RandomVoice(speaker, self._references.refused(speaker), self._names().get(speaker, ""))
        )

    def _cut(self, utterance: Utterance, started: float) -> Turn:
        codes = np.zeros((0, self._session.backend.engine.codebooks), np.int32)
        compute_s = time.perf_counter() - started
        timings = Timings(0.0, compute_s, self.progress.seconds)
        segment = Segment(utterance.speaker, utterance.text, codes)
        shape = self._session.manner(utterance.speaker).shape
        seed = self._session.last_seed or 0
        return Turn(segment, seed, "cut", timings, utterance.mood, shape)

    def _measure(self, turn: Turn, asked: float | None) -> None:
        """Keep the speed of a take, and how long its asker waited for the first sample."""
        timings = turn.timings
        rtf = timings.running_rtf
        if rtf is not None and turn.ended != "cut":
            self.rtf = rtf if self.rtf is None else (self.rtf + rtf) / 2
        if asked is not None and timings.first_audio_s:
            waited_s = time.perf_counter() - asked - timings.compute_s
            self.first_audio_s = max(0.0, waited_s) + timings.first_audio_s
