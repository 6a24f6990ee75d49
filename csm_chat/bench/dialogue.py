"""Rows of a conversation to measure with: random codes and ids, laid out as turns."""

from __future__ import annotations

import numpy as np

from csm_chat.conversation.prompt import audio_rows, join
from csm_chat.types import Prompt

LINE_ROWS = 12  # a line of some eight words, with the marks around it
N_TURNS = 9  # said before the tenth
_N_IDS = 32  # of the text tokens drawn: in every vocabulary


def turns(n_rows: int) -> list[int]:
    """Frames of the turns that make a conversation of so many rows, a line and an end with each."""
    n_turns = max(1, min(N_TURNS, n_rows // (LINE_ROWS + 2)))
    n_frames = max(n_turns, n_rows - n_turns * (LINE_ROWS + 1))
    return [n_frames // n_turns + (i < n_frames % n_turns) for i in range(n_turns)]


def conversation(n_rows: int, codebooks: int, n_codes: int) -> Prompt:
    """`n_rows` rows, (n_rows, codebooks + 1): the same for the same numbers."""
    rng = np.random.default_rng(0)
    pieces = []
    for n_frames in turns(n_rows):
        codes = rng.integers(1, n_codes, (n_frames, codebooks), np.int32)
        pieces += [line(codebooks, rng), audio_rows(codes)]
    return join(pieces)


def line(codebooks: int, rng: np.random.Generator) -> Prompt:
    """A line of text as rows, (LINE_ROWS, codebooks + 1)."""
    tokens = np.zeros((LINE_ROWS, codebooks + 1), np.int32)
    mask = np.zeros(tokens.shape, np.bool_)
    tokens[:, -1] = rng.integers(1, _N_IDS, LINE_ROWS)
    mask[:, -1] = True
    return Prompt(tokens, mask)


def first(prompt: Prompt, n_rows: int) -> Prompt:
    """A prompt's first rows."""
    return Prompt(prompt.tokens[:n_rows], prompt.mask[:n_rows])
