"""A conversation: voices, turns, and how the next line is said. Knows no terminal and no device."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

from csm_chat import notices
from csm_chat.casting.clips import RecentMoods, voices_for
from csm_chat.checking.checks import Checks
from csm_chat.config.settings import ContextConfig, SamplingConfig
from csm_chat.conversation import guard
from csm_chat.conversation.dialogue import Dialogue
from csm_chat.conversation.directing import checked
from csm_chat.conversation.prompt import Context
from csm_chat.conversation.reading import Lines, Reading, Remarks, pieces
from csm_chat.conversation.take import (
    MAX_EMPTY_RETRIES,
    Seeds,
    Take,
    first_with_sound,
    side_by_side,
)
from csm_chat.errors import ContextError, EntryError
from csm_chat.notices import Listener
from csm_chat.shape.manners import Manner, Manners
from csm_chat.types import (
    Backend,
    CodeSampler,
    LogitsProcessor,
    Pcm,
    Sampling,
    Segment,
    Timings,
    Turn,
    Utterance,
    Voice,
)
from csm_chat.wording import lines_to

log = logging.getLogger(__name__)


class Session:
    """The rolling conversation over a loaded model. One thread, the one that loaded the backend.

    `voices` are pinned in every prompt. `turns` are the takes that ended by themselves and still
    fit; nothing else is ever part of the context. Texts stay as typed; the model is given them as
    `reading` reads them.
    """

    def __init__(
        self,
        backend: Backend,
        voices: tuple[Voice, ...] = (),
        *,
        sampling: SamplingConfig | None = None,
        context: ContextConfig | None = None,
        reading: Reading | None = None,
        chunk_frames: int = 1,
        sampler: CodeSampler | None = None,
        logits_processors: Sequence[LogitsProcessor] = (),
        notify: Callable[[str], None] = log.debug,
        listener: Listener | None = None,
    ) -> None:
        """`sampler` and `logits_processors` are those of `types.Sampling`, for every take.

        `notify` gets lines; a `listener` instead gets notices, for who has words of its own.
        """
        self.backend = backend
        self.voices = voices
        self.sampling = sampling or SamplingConfig()
        self.context = context or ContextConfig()
        self.manners = Manners()  # how each speaker is to speak
        self.reading = reading or Reading()
        self.chunk_frames = chunk_frames  # decoded and handed on at a time
        self.sampler = sampler
        self.logits_processors = tuple(logits_processors)
        self.checks: Checks | None = None  # that each take has to pass before it is yielded
        self._tell = listener or lines_to(notify)
        self._dialogue = Dialogue()
        self._seeds = Seeds()
        self._remarks = Remarks(self._tell)
        self._last: Utterance | None = None
        self._recent_moods = RecentMoods()

    @property
    def _context(self) -> Context:
        return Context(self.backend.engine, self._lines, self.voices, self.context)

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(self._dialogue.turns)

    @property
    def before_last(self) -> tuple[Turn, ...]:
        """The turns that what was said last is an answer to."""
        return tuple(self._dialogue.without_last())

    @property
    def last_seed(self) -> int | None:
        """Of the take that was started last."""
        return self._seeds.last

    @property
    def last(self) -> Utterance | None:
        """What was said last, or tried to be: what `retry` says again."""
        return self._last

    def number(self, turn: Turn, number: int) -> None:
        """Let a turn be known by a number: that of its take."""
        self._dialogue.number(turn, number)

    def numbered(self) -> dict[int, Turn]:
        """The turns of the dialogue by the numbers they are known by. Any thread."""
        return self._dialogue.numbered()

    @property
    def reading(self) -> Reading:
        """How texts are read for the model: from now on, and what was said as well."""
        return self._lines.read

    @reading.setter
    def reading(self, reading: Reading) -> None:
        self._lines = Lines(self.backend.tokenizer, reading, lambda who: self.manner(who).lexicon)

    def manner(self, speaker: int) -> Manner:
        """How one is to speak; the samples of `take` come before they are given their shape."""
        return self.manners.of(speaker, {voice.speaker: voice.name for voice in self.voices})

    def read(self, text: str, speaker: int = 0) -> str:
        """`text` in a speaker's mouth as the model reads it."""
        return self._lines.line(text, speaker).read

    def expected_s(self, utterance: Utterance) -> float:
        """Seconds that saying it takes, give or take a quarter."""
        return self._lines.line(utterance.text, utterance.speaker).expected_s

    def split(self, utterance: Utterance) -> tuple[Utterance, ...]:
        """The utterance as pieces that each fit `max_turn_s`, cut at sentence ends.

        Raises EntryError if its speaker does not have its mood.
        """
        voices_for(self.voices, utterance)
        reading = self._lines.read_by(utterance.speaker)
        texts = pieces(utterance.text, self.context.max_turn_s, reading)
        if len(texts) > 1:
            expected_s = self.expected_s(utterance)
            self._tell(notices.TurnSplit(expected_s, self.context.max_turn_s, len(texts)))
        return tuple(replace(utterance, text=text) for text in texts)

    def say(self, utterance: Utterance) -> Generator[Pcm, None, tuple[Turn, ...]]:
        """Speak: yields samples as they are made, returns the turns, several if it was split."""
        turns = []
        for piece in self.split(utterance):
            turns.append((yield from self.take(piece)))
        return tuple(turns)

    def take(self, utterance: Utterance) -> Generator[Pcm, None, Turn]:
        """One turn. Closing the generator leaves the conversation as it was.

        Raises EntryError for a text without a word, ContextError when the voices leave no room.
        """
        self._check(utterance)
        self._last, self._dialogue.last = utterance, None
        return (yield from self._take(utterance, None))

    def takes(self, utterance: Utterance, n: int) -> list[tuple[Turn, Pcm]]:
        """Say an utterance `n` times to choose from, side by side; the conversation stays.

        A turn's times are its share of all. Raises as `take` does.
        """
        self._check(utterance)
        return self._takes(utterance, n, self._dialogue.turns)

    def takes_of_last(self, n: int) -> list[tuple[Turn, Pcm]]:
        """`takes` of what was said last, each as `retry` would say it; for `pick`.

        Raises EntryError before anything was said, and ContextError.
        """
        return self._takes(self._said_last(), n, self._dialogue.without_last())

    def pick(self, turn: Turn) -> None:
        """Make one of `takes_of_last` what was said last. Raises EntryError if it cannot be."""
        if turn.ended != "eos":
            raise EntryError("that take did not end by itself, so nothing can be said after it")
        self._last = turn.utterance
        self._remember(self._dialogue.without_last(), turn)

    def _takes(self, utterance: Utterance, n: int, turns: Sequence[Turn]) -> list[tuple[Turn, Pcm]]:
        started = time.perf_counter()
        cap, n_dropped = self._context.limits(utterance, turns)
        rows = self._context.prompt(utterance, turns[n_dropped:])
        least_s = self._least_s(utterance)
        takes = [Take(self._sampling(utterance, cap), least_s) for _ in range(n)]
        pcm = side_by_side(self.backend, rows, takes)
        share_s = (time.perf_counter() - started) / n
        turns = []
        for take in takes:
            turn = self._turn(utterance, take)
            timings = Timings(share_s, share_s, turn.timings.audio_s)
            turns.append(replace(turn, timings=timings))
        return list(zip(turns, pcm, strict=True))

    def _check(self, utterance: Utterance) -> None:
        """Raises EntryError for a text without a word and for a mood its speaker does not have."""
        self.reading.refuse_silence(utterance.text)
        voices_for(self.voices, utterance)
        self._remarks.on_said(utterance.text, self.reading)

    def leave_out(self, text: str) -> None:
        """Tell that a text without a word is not said."""
        self._remarks.on_left_out(text, self.reading)

    def retry(self) -> Generator[Pcm, None, Turn]:
        """Say the last utterance again, with another seed. A good take replaces the last turn."""
        return (yield from self._take(self._said_last(), self._dialogue.last))

    def retake(
        self, place: int, utterance: Utterance, *, is_one_change: bool = True
    ) -> Generator[Pcm, None, Turn]:
        """Say the turn at `place` of `turns` anew, as an answer to those before it.

        A good take replaces it; the turns behind stay as they are. `undo` takes back this change
        together with the one before if it is not one of its own. Raises EntryError, ContextError.
        """
        if not 0 <= place < len(self.turns):
            raise EntryError("that turn is no longer part of the dialogue")
        self._check(utterance)
        replaced, before = self.turns[place], self._dialogue.turns[:place]
        cap, n_dropped = self._context.limits(utterance, before)
        turn = yield from self._said(utterance, before[n_dropped:], cap)
        if turn.ended == "eos":
            if replaced is self._dialogue.last:
                self._last = utterance
            self._dialogue.replace(place, turn, is_one_change=is_one_change)
            self._trim()
        return turn

    def _said_last(self) -> Utterance:
        if self._last is None:
            raise EntryError("nothing was said yet, so there is nothing to say again")
        return self._last

    def restore(self, turn: Turn) -> None:
        """Remember a turn that ended by itself in an earlier run, as if it were said now.

        What is dropped from the context for it is just what was dropped then. Raises ContextError.
        """
        assert turn.ended == "eos", turn.ended
        utterance = turn.utterance
        self._last, self._dialogue.last = utterance, None
        history, _ = self._history_for(utterance)
        self._remember(history, turn)

    def undo(self) -> Turn | None:
        """Take back the last change: a turn that was said, or took another's place.

        Returns the turn that is gone, None if there is nothing to take back.
        """
        return self._dialogue.undo()

    def clear(self) -> None:
        """Forget the dialogue; voices stay."""
        self._dialogue.clear()
        self._seeds, self._last = Seeds(), None

    def history(self, names: Mapping[int, str] | None = None) -> str:
        """The dialogue that is in the context, a line a turn, with its number if it has one.

        `names` win over the voices'.
        """
        known = {voice.speaker: voice.name for voice in self.voices} | dict(names or {})
        return "\n".join(self._dialogue.lines(known))

    def rows(self) -> tuple[int, int]:
        """Rows of the context that voices and history take."""
        return self._context.rows(self._dialogue.turns)

    def warm_up(self, n_frames: int) -> Timings:
        """Compute the voices' rows ahead of the first line; time `n_frames` frames, not kept.

        Raises ContextError when the voices leave no room for a line.
        """
        line = Utterance("Hello.", self.voices[0].speaker if self.voices else 0)
        self._context.room(line, n_frames)
        rows = self._context.prompt(line, [])
        take = Take(self._sampling(line, n_frames, 0))
        for _ in take.samples(self.backend, rows, self.chunk_frames):
            pass
        return take.timings()

    def prepare(self, is_wanted: Callable[[], bool]) -> None:
        """Compute what the next line will find said, so that it costs its own text only.

        For the time nobody waits: `is_wanted` is asked often, and once it says no, that is all.
        """
        context = self._context
        try:
            turns = self._dialogue.turns[context.n_to_drop_ahead(self._dialogue.turns) :]
            for voices in self._recent_moods.expected(self.voices):
                rows = replace(context, voices=voices).rows_ahead(turns)
                if rows and not self.backend.engine.prefill(rows, is_wanted):
                    return
        except ContextError as error:  # the next line will say so
            log.debug("nothing to prepare: %s", error)

    def _take(self, utterance: Utterance, replaced: Turn | None) -> Generator[Pcm, None, Turn]:
        history, cap = self._history_for(utterance, replaced)
        turn = yield from self._said(utterance, history, cap)
        if turn.ended == "eos":
            self._remember(history, turn)
        return turn

    def _said(
        self, utterance: Utterance, history: Sequence[Turn], cap: int
    ) -> Generator[Pcm, None, Turn]:
        """A take of `cap` frames at most; the conversation stays."""
        return (yield from checked(self, utterance, partial(self._once, utterance, history, cap)))

    def _once(
        self, utterance: Utterance, history: Sequence[Turn], cap: int
    ) -> Generator[Pcm, None, Turn]:
        rows = self._context.prompt(utterance, history)
        self._recent_moods.add(utterance)
        tries = (self._sampling(utterance, cap) for _ in range(1 + MAX_EMPTY_RETRIES))
        take = yield from first_with_sound(
            *(self.backend, rows, tries, self._tell_empty, self.chunk_frames),
            self._least_s(utterance),
        )
        return self._turn(utterance, take)

    def _least_s(self, utterance: Utterance) -> float:
        return guard.least_s(self._lines.line(utterance.text, utterance.speaker).read)

    def _history_for(
        self, utterance: Utterance, replaced: Turn | None = None
    ) -> tuple[list[Turn], int]:
        """The turns that an utterance is said after, and the frames it may have."""
        history = [turn for turn in self._dialogue.turns if turn is not replaced]
        cap, n_dropped = self._context.limits(utterance, history)
        self._note_dropped(history[:n_dropped])
        return history[n_dropped:], cap

    def _remember(self, history: list[Turn], turn: Turn) -> None:
        self._dialogue.change([*history, turn])
        self._dialogue.last = turn
        self._trim()

    def _trim(self) -> None:
        """Drop what would have to go for the next line, if that is as long as the longest so far.

        Now, whatever is typed and when: a seed then gives the same take. The last turn stays.
        """
        try:
            n_dropped = min(
                self._context.n_to_drop_ahead(self._dialogue.turns), len(self._dialogue.turns) - 1
            )
        except ContextError:  # longer voices came since: such a line will say so, this take is good
            return
        self._note_dropped(self.turns[:n_dropped])
        self._dialogue.drop_oldest(n_dropped)

    def _turn(self, utterance: Utterance, take: Take) -> Turn:
        codes = take.codes(self.backend.engine.codebooks)
        segment = Segment(utterance.speaker, utterance.text, codes)
        ended, reason = take.end(self.context.max_turn_s)
        if ended == "early":
            self._tell(notices.TakeTooShort(reason))
        elif ended != "eos":
            self._tell(notices.TakeStopped(reason))
        shape = self.manner(utterance.speaker).shape
        return Turn(segment, take.sampling.seed, ended, take.timings(), utterance.mood, shape)

    def _tell_empty(self, seed: int) -> None:
        self._tell(notices.EmptyTake(seed))

    def _note_dropped(self, turns: Sequence[Turn]) -> None:
        if turns:
            texts = tuple(turn.segment.text for turn in turns)
            n_rows = self._context.rows(turns)[1]
            self._tell(notices.TurnsDropped(texts, n_rows))

    def _sampling(self, utterance: Utterance, max_frames: int, seed: int | None = None) -> Sampling:
        settings = asdict(self.manner(utterance.speaker).drawn(self.sampling))
        settings["seed"] = self._seeds.next(self.sampling.seed) if seed is None else seed
        return Sampling(
            **settings,
            max_frames=max_frames,
            sampler=self.sampler,
            processors=self.logits_processors,
        )

    def reseed(self, seed: int | None) -> None:
        """Start counting seeds from `seed`; None draws one a take."""
        self.sampling = replace(self.sampling, seed=seed)
        self._seeds.count_anew()
