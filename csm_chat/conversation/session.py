"""A conversation: voices, turns, and how the next line is said. Knows no terminal and no device."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np

from csm_chat import notices
from csm_chat.config.settings import ContextConfig, SamplingConfig
from csm_chat.conversation import guard, prompt
from csm_chat.conversation.reading import ReadingTokenizer, pieces, reader
from csm_chat.conversation.take import MAX_EMPTY_RETRIES, Take, first_with_sound
from csm_chat.conversation.tokenizer import estimate_s
from csm_chat.errors import ContextError, EntryError
from csm_chat.notices import Listener
from csm_chat.types import (
    FRAMES_PER_S,
    Backend,
    CodeSampler,
    Ended,
    LogitsProcessor,
    Pcm,
    Prompt,
    Sampling,
    Segment,
    Timings,
    Turn,
    Utterance,
    Voice,
)
from csm_chat.wording import lines_to

log = logging.getLogger(__name__)

_DECODED_FRAMES = 16  # at once, of a take that is there as a whole


class Session:
    """The rolling conversation over a loaded model. One thread, the one that loaded the backend.

    `voices` are pinned in every prompt. `turns` are the takes that ended by themselves and still
    fit; nothing else is ever part of the context. Texts stay as typed; the model reads them
    normalised if `normalize` is set.
    """

    def __init__(
        self,
        backend: Backend,
        voices: tuple[Voice, ...] = (),
        *,
        sampling: SamplingConfig | None = None,
        context: ContextConfig | None = None,
        normalize: bool = True,
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
        self.normalize = normalize
        self._tokenizer = ReadingTokenizer(backend.tokenizer, self.read)
        self.chunk_frames = chunk_frames  # decoded and handed on at a time
        self.sampler = sampler
        self.logits_processors = tuple(logits_processors)
        self._tell = listener or lines_to(notify)
        self._turns: list[Turn] = []
        self._n_seeds = 0
        self._last: Utterance | None = None
        self._last_turn: Turn | None = None
        self.last_seed: int | None = None  # of the take that was started last

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(self._turns)

    @property
    def last(self) -> Utterance | None:
        """What was said last, or tried to be: what `retry` says again."""
        return self._last

    def read(self, text: str) -> str:
        """`text` as the model reads it."""
        return reader(self.normalize)(text)

    def split(self, utterance: Utterance) -> tuple[Utterance, ...]:
        """The utterance as pieces that each fit `max_turn_s`, cut at sentence ends."""
        texts = pieces(utterance.text, self.context.max_turn_s, self.read)
        if len(texts) > 1:
            expected_s = estimate_s(self.read(utterance.text))
            self._tell(notices.TurnSplit(expected_s, self.context.max_turn_s, len(texts)))
        return tuple(Utterance(text, utterance.speaker) for text in texts)

    def say(self, utterance: Utterance) -> Generator[Pcm, None, tuple[Turn, ...]]:
        """Speak: yields samples as they are made, returns the turns, several if it was split."""
        turns = []
        for piece in self.split(utterance):
            turns.append((yield from self.take(piece)))
        return tuple(turns)

    def take(self, utterance: Utterance) -> Generator[Pcm, None, Turn]:
        """One turn. Closing the generator leaves the conversation as it was.

        Raises ContextError when the voices leave no room for it.
        """
        self._last, self._last_turn = utterance, None
        return (yield from self._take(utterance, None))

    def takes(self, utterance: Utterance, n: int) -> list[tuple[Turn, Pcm]]:
        """Say an utterance `n` times to choose from, side by side; the conversation stays.

        A turn's times are its share of all. Raises ContextError.
        """
        started = time.perf_counter()
        cap, n_dropped = self._limits(utterance, self._turns)
        rows = self._build(utterance, self._turns[n_dropped:])
        takes = [Take(self._sampling(self._next_seed(), cap)) for _ in range(n)]
        seeds = [take.sampling.seed for take in takes]
        said = self.backend.engine.takes(rows, takes[0].sampling, seeds)
        pcm = []
        for take, codes in zip(takes, said, strict=True):
            pieces = take.decoded(self.backend.codec, iter(codes), _DECODED_FRAMES)
            pcm.append(np.concatenate([np.zeros(0, np.float32), *pieces]))
        share_s = (time.perf_counter() - started) / n
        turns = []
        for take in takes:
            turn = self._turn(utterance, take)
            timings = Timings(share_s, share_s, turn.timings.audio_s)
            turns.append(replace(turn, timings=timings))
        return list(zip(turns, pcm, strict=True))

    def retry(self) -> Generator[Pcm, None, Turn]:
        """Say the last utterance again, with another seed. A good take replaces the last turn."""
        if self._last is None:
            raise EntryError("nothing was said yet, so there is nothing to say again")
        return (yield from self._take(self._last, self._last_turn))

    def restore(self, turn: Turn) -> None:
        """Remember a turn that ended by itself in an earlier run, as if it were said now.

        What is dropped from the context for it is just what was dropped then. Raises ContextError.
        """
        assert turn.ended == "eos", turn.ended
        utterance = Utterance(turn.segment.text, turn.segment.speaker)
        self._last, self._last_turn = utterance, None
        history, _ = self._history_for(utterance)
        self._remember(history, turn)

    def undo(self) -> Turn | None:
        """Take the last turn out of the context and return it."""
        if not self._turns:
            return None
        turn = self._turns.pop()
        if turn is self._last_turn:
            self._last_turn = None
        return turn

    def clear(self) -> None:
        """Forget the dialogue; voices stay."""
        self._turns.clear()
        self._n_seeds = 0
        self._last = self._last_turn = self.last_seed = None

    def history(self, names: Mapping[int, str] | None = None) -> str:
        """The dialogue that is in the context, a line a turn. `names` win over the voices'."""
        known = {voice.speaker: voice.name for voice in self.voices} | dict(names or {})
        segments = [turn.segment for turn in self.turns]
        return "\n".join(f"{known.get(s.speaker, s.speaker)}: {s.text}" for s in segments)

    def rows(self) -> tuple[int, int]:
        """Rows of the context that voices and history take."""
        voices = sum(self._n_rows(segment) for voice in self.voices for segment in voice.segments)
        return voices, sum(self._n_rows(turn.segment) for turn in self._turns)

    def warm_up(self, n_frames: int) -> Timings:
        """Compute the voices' rows ahead of the first line; time `n_frames` frames, not kept.

        Raises ContextError when the voices leave no room for a line.
        """
        line = Utterance("Hello.", self.voices[0].speaker if self.voices else 0)
        self._room(line, n_frames)
        take = Take(self._sampling(0, n_frames))
        for _ in take.samples(self.backend, self._build(line, []), self.chunk_frames):
            pass
        return take.timings()

    def prepare(self, is_wanted: Callable[[], bool]) -> None:
        """Compute what the next line will find said, so that it costs its own text only.

        For the time nobody waits: `is_wanted` is asked often, and once it says no, that is all.
        """
        engine, tokenizer = self.backend.engine, self._tokenizer
        try:
            said = self._said(self._turns[self._n_to_drop_ahead() :])
            if said:
                rows = [prompt.segment_rows(tokenizer, each, engine.codebooks) for each in said]
                engine.prefill(prompt.join(rows), is_wanted)
        except ContextError as error:  # the next line will say so
            log.debug("nothing to prepare: %s", error)

    def _take(self, utterance: Utterance, replaced: Turn | None) -> Generator[Pcm, None, Turn]:
        history, cap = self._history_for(utterance, replaced)
        rows = self._build(utterance, history)
        tries = (self._sampling(self._next_seed(), cap) for _ in range(1 + MAX_EMPTY_RETRIES))
        take = yield from first_with_sound(
            self.backend, rows, tries, self._tell_empty, self.chunk_frames
        )
        turn = self._turn(utterance, take)
        if turn.ended == "eos":
            self._remember(history, turn)
        return turn

    def _history_for(
        self, utterance: Utterance, replaced: Turn | None = None
    ) -> tuple[list[Turn], int]:
        """The turns that an utterance is said after, and the frames it may have."""
        history = [turn for turn in self._turns if turn is not replaced]
        cap, n_dropped = self._limits(utterance, history)
        self._note_dropped(history[:n_dropped])
        return history[n_dropped:], cap

    def _remember(self, history: list[Turn], turn: Turn) -> None:
        self._turns = [*history, turn]
        self._last_turn = turn
        self._trim()

    def _trim(self) -> None:
        """Drop what would have to go for the next line, if that is as long as the longest so far.

        Now, whatever is typed and when: a seed then gives the same take. The last turn stays.
        """
        try:
            n_dropped = min(self._n_to_drop_ahead(), len(self._turns) - 1)
        except ContextError:  # longer voices came since: such a line will say so, this take is good
            return
        self._note_dropped(self._turns[:n_dropped])
        del self._turns[:n_dropped]

    def _n_to_drop_ahead(self) -> int:
        if not self._turns:
            return 0
        longest = max((turn.segment for turn in self._turns), key=lambda said: len(said.text))
        return self._limits(Utterance(longest.text, longest.speaker), self._turns)[1]

    def _turn(self, utterance: Utterance, take: Take) -> Turn:
        codes = take.codes(self.backend.engine.codebooks)
        segment = Segment(utterance.speaker, utterance.text, codes)
        ended, reason = self._how_it_ended(take)
        if ended != "eos":
            self._tell(notices.TakeStopped(reason))
        return Turn(segment, take.sampling.seed, ended, take.timings())

    def _how_it_ended(self, take: Take) -> tuple[Ended, str]:
        if not take.frames:
            return "guard", "the model ended before it began"
        if take.stopped:
            return "guard", take.stopped
        if len(take.frames) < take.sampling.max_frames:
            return "eos", ""
        seconds = take.sampling.max_frames / FRAMES_PER_S
        if seconds + 1 / FRAMES_PER_S > self.context.max_turn_s:
            return (
                "limit",
                f"{self.context.max_turn_s:g} s, the longest a turn may be (context.max_turn_s)",
            )
        return "guard", f"after {seconds:.1f} s still speaking, far too long for its text"

    def _limits(self, utterance: Utterance, history: list[Turn]) -> tuple[int, int]:
        """The frames it may have, and how many turns of `history` leave no room for them."""
        cap = guard.cap_frames(self.read(utterance.text), self.context.max_turn_s)
        room = self._room(utterance, cap)
        sizes = [self._n_rows(turn.segment) for turn in history]
        return cap, prompt.fit(room, sizes, self.context.max_turns)

    def _tell_empty(self, seed: int) -> None:
        self._tell(notices.EmptyTake(seed))

    def _note_dropped(self, turns: Sequence[Turn]) -> None:
        if turns:
            texts = tuple(turn.segment.text for turn in turns)
            n_rows = sum(self._n_rows(turn.segment) for turn in turns)
            self._tell(notices.TurnsDropped(texts, n_rows))

    def _room(self, utterance: Utterance, cap: int) -> int:
        """Rows left for history beside the voices, the line itself and what it may become."""
        total = self.backend.engine.context_rows
        voices = {v.name: sum(self._n_rows(segment) for segment in v.segments) for v in self.voices}
        own = len(self._tokenizer.encode(utterance.text, utterance.speaker))
        room = total - sum(voices.values()) - own - cap
        if room < 0:
            sizes = ", ".join(f"{name} {n}" for name, n in voices.items()) or "none"
            raise ContextError(
                f"no room to speak: the model has {total} rows, this line needs {own + cap} "
                f"and the voices take {sum(voices.values())} ({sizes}); "
                "use fewer or shorter references (context.max_reference_s) or a shorter line"
            )
        return room

    def _build(self, utterance: Utterance, history: list[Turn]) -> Prompt:
        codebooks = self.backend.engine.codebooks
        return prompt.build(self._tokenizer, self._said(history), utterance, codebooks)

    def _said(self, history: list[Turn]) -> list[Segment]:
        pinned = [segment for voice in self.voices for segment in voice.segments]
        return pinned + [turn.segment for turn in history]

    def _n_rows(self, segment: Segment) -> int:
        """Rows of `prompt.segment_rows`: text, frames, end of speech."""
        text = self._tokenizer.encode(segment.text, segment.speaker)
        return len(text) + len(segment.codes) + 1

    def _sampling(self, seed: int, max_frames: int) -> Sampling:
        settings = asdict(self.sampling) | {"seed": seed}
        return Sampling(
            **settings,
            max_frames=max_frames,
            sampler=self.sampler,
            processors=self.logits_processors,
        )

    def _next_seed(self) -> int:
        if self.sampling.seed is None:
            self.last_seed = random.SystemRandom().randrange(1_000_000)
        else:
            self.last_seed = self.sampling.seed + self._n_seeds
            self._n_seeds += 1
        return self.last_seed

    def reseed(self, seed: int | None) -> None:
        """Start counting seeds from `seed`; None draws one a take."""
        self.sampling = replace(self.sampling, seed=seed)
        self._n_seeds = 0
