"""What the model reads: voices, the turns that fit and the line, as rows. Knows no device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from csm_chat.casting.clips import voices_for
from csm_chat.config.settings import ContextConfig
from csm_chat.conversation import guard
from csm_chat.conversation.reading import Lines
from csm_chat.errors import ContextError
from csm_chat.types import Codes, Engine, Prompt, Segment, Tokenizer, Turn, Utterance, Voice


def text_rows(tokenizer: Tokenizer, text: str, speaker: int, codebooks: int) -> Prompt:
    """Rows of a line of text: the token in the last column, nothing in the others."""
    ids = tokenizer.encode(text, speaker)
    tokens = np.zeros((len(ids), codebooks + 1), np.int32)
    mask = np.zeros(tokens.shape, np.bool_)
    tokens[:, -1] = ids
    mask[:, -1] = True
    return Prompt(tokens, mask)


def audio_rows(codes: Codes) -> Prompt:
    """Rows of a take: its frames, and the all-zero frame that ends speech."""
    n, codebooks = codes.shape
    tokens = np.zeros((n + 1, codebooks + 1), np.int32)
    mask = np.ones(tokens.shape, np.bool_)
    tokens[:n, :-1] = codes
    mask[:, -1] = False
    return Prompt(tokens, mask)


def segment_rows(tokenizer: Tokenizer, segment: Segment, codebooks: int) -> Prompt:
    """Rows of something said: its text, then its audio."""
    return join(
        [
            text_rows(tokenizer, segment.text, segment.speaker, codebooks),
            audio_rows(segment.codes),
        ]
    )


def join(prompts: Sequence[Prompt]) -> Prompt:
    return Prompt(
        np.concatenate([prompt.tokens for prompt in prompts]),
        np.concatenate([prompt.mask for prompt in prompts]),
    )


def build(
    tokenizer: Tokenizer, segments: Sequence[Segment], utterance: Utterance, codebooks: int
) -> Prompt:
    """The whole prompt: what was said, oldest first, and the line to say now."""
    said = [segment_rows(tokenizer, segment, codebooks) for segment in segments]
    asked = text_rows(tokenizer, utterance.text, utterance.speaker, codebooks)
    return join([*said, asked])


def fit(room: int, turn_rows: Sequence[int], max_turns: int) -> int:
    """How many of the oldest turns have to go for the rest to fit `room` rows and `max_turns`.

    Dropping moves every later row, so the whole history is computed anew. When anything goes, at
    least a quarter of the turns does: the next few entries then cost only their own text.
    """
    n_turns = len(turn_rows)
    n_too_many = max(0, n_turns - max_turns)
    n_dropped = n_too_many + n_to_drop(room, turn_rows[n_too_many:])
    return max(n_dropped, -(-n_turns // 4)) if n_dropped else 0


def n_to_drop(room: int, rows: Sequence[int]) -> int:
    """How many of the oldest have to go for the rest to fit `room` rows; all if none does."""
    n_over = sum(rows) - room
    n_dropped = 0
    while n_over > 0 and n_dropped < len(rows):
        n_over -= rows[n_dropped]
        n_dropped += 1
    return n_dropped


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """The context of a session as it is at a moment, without the turns."""

    engine: Engine
    lines: Lines
    voices: tuple[Voice, ...]
    settings: ContextConfig

    def n_rows(self, segment: Segment) -> int:
        """Rows of `segment_rows`: text, frames, end of speech."""
        return len(self.lines.encode(segment.text, segment.speaker)) + len(segment.codes) + 1

    def rows(self, turns: Sequence[Turn]) -> tuple[int, int]:
        """Rows that voices and turns take."""
        voices = sum(self.n_rows(segment) for voice in self.voices for segment in voice.segments)
        return voices, sum(self.n_rows(turn.segment) for turn in turns)

    def limits(self, utterance: Utterance, turns: Sequence[Turn]) -> tuple[int, int]:
        """The frames it may have, and how many of the oldest turns leave no room for them.

        Raises ContextError when the voices alone leave none.
        """
        line = self.lines.line(utterance.text, utterance.speaker)
        cap = guard.cap_frames(line.expected_s, self.settings.max_turn_s)
        room = self.room(utterance, cap)
        sizes = [self.n_rows(turn.segment) for turn in turns]
        return cap, fit(room, sizes, self.settings.max_turns)

    def n_to_drop_ahead(self, turns: Sequence[Turn]) -> int:
        """How many turns would have to go for a line as long as the longest of them."""
        if not turns:
            return 0
        longest = max((turn.segment for turn in turns), key=lambda said: len(said.text))
        return self.limits(Utterance(longest.text, longest.speaker), turns)[1]

    def room(self, utterance: Utterance, cap: int) -> int:
        """Rows left for history beside the voices, the line itself and what it may become."""
        total = self.engine.context_rows
        heard = voices_for(self.voices, utterance)
        voices = {v.name: sum(self.n_rows(segment) for segment in v.segments) for v in heard}
        own = len(self.lines.encode(utterance.text, utterance.speaker))
        room = total - sum(voices.values()) - own - cap
        if room < 0:
            sizes = ", ".join(f"{name} {n}" for name, n in voices.items()) or "none"
            raise ContextError(
                f"no room to speak: the model has {total} rows, this line needs {own + cap} "
                f"and the voices take {sum(voices.values())} ({sizes}); "
                "use fewer or shorter references (context.max_reference_s) or a shorter line"
            )
        return room

    def said(self, turns: Sequence[Turn]) -> list[Segment]:
        """What the model hears before a line, oldest first, the voices before all."""
        pinned = [segment for voice in self.voices for segment in voice.segments]
        return pinned + [turn.segment for turn in turns]

    def prompt(self, utterance: Utterance, turns: Sequence[Turn]) -> Prompt:
        """The rows of what was said and of the line. Raises EntryError for a mood nobody has."""
        heard = replace(self, voices=voices_for(self.voices, utterance))
        rows = build(self.lines, heard.said(turns), utterance, self.engine.codebooks)
        return replace(rows, n_pinned=heard.rows(())[0])

    def rows_ahead(self, turns: Sequence[Turn]) -> Prompt | None:
        """The rows that the next line will begin with; None if there are none."""
        said = self.said(turns)
        codebooks = self.engine.codebooks
        rows = [segment_rows(self.lines, each, codebooks) for each in said]
        return replace(join(rows), n_pinned=self.rows(())[0]) if rows else None
