"""Rows of the prompt, and what has to go when they do not fit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.conversation.prompt import build, fit
from csm_chat.types import Segment, Utterance
from tests.fakes import CODEBOOKS, ByteTokenizer


def test_a_segment_is_its_text_its_frames_and_one_zero_frame() -> None:
    codes = np.arange(1, 1 + 2 * CODEBOOKS, dtype=np.int32).reshape(2, CODEBOOKS)
    tokenizer = ByteTokenizer()
    prompt = build(tokenizer, [Segment(3, "Hi", codes)], Utterance("Yo", 0), CODEBOOKS)
    text, asked = tokenizer.encode("Hi", 3), tokenizer.encode("Yo", 0)
    n = len(text)
    assert np.array_equal(prompt.tokens[:n, -1], text)
    assert np.array_equal(prompt.tokens[n : n + 2, :-1], codes)
    assert not prompt.tokens[n + 2].any()
    assert np.array_equal(prompt.tokens[n + 3 :, -1], asked)
    is_text = np.array([True] * n + [False] * 3 + [True] * len(asked))
    assert np.array_equal(prompt.mask[:, -1], is_text)
    assert np.array_equal(prompt.mask[:, :-1], np.repeat(~is_text[:, None], CODEBOOKS, axis=1))


turns = st.lists(st.integers(1, 300), max_size=40)


@given(room=st.integers(0, 2048), rows=turns, max_turns=st.integers(0, 30))
def test_what_is_kept_fits(room: int, rows: list[int], max_turns: int) -> None:
    kept = rows[fit(room, rows, max_turns) :]
    assert sum(kept) <= room
    assert len(kept) <= max_turns


@given(room=st.integers(0, 2048), rows=turns)
def test_nothing_goes_while_everything_fits(room: int, rows: list[int]) -> None:
    if sum(rows) <= room:
        assert fit(room, rows, len(rows)) == 0


@given(room=st.integers(0, 2048), rows=turns)
def test_no_more_goes_than_has_to_or_a_quarter(room: int, rows: list[int]) -> None:
    n = fit(room, rows, 100)
    if n > -(-len(rows) // 4):
        assert sum(rows[n - 1 :]) > room
