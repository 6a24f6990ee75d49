"""From segments to the rows the model reads. Pure; does not know where segments come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from csm_chat.types import Codes, Prompt, Segment, Tokenizer, Utterance


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
