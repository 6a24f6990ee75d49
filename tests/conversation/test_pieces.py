"""A text in pieces of like length: nothing is lost, and no word stands alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.conversation.reading import Reading, pieces
from csm_chat.conversation.sentences import evenly
from csm_chat.conversation.tokenizer import estimate_s

WORD = st.sampled_from(
    ["a", "over", "and", "because", "which,", "the", "something", "longer;", "end.", "No!"]
)
TYPED = st.one_of(st.text(max_size=200), st.lists(WORD, max_size=300).map(" ".join))


@given(TYPED, st.integers(1, 60))
def test_nothing_is_lost_and_no_piece_is_too_long(text: str, max_chars: int) -> None:
    found = evenly(text, max_chars)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(piece) <= max_chars and piece == piece.strip() for piece in found)


@given(st.lists(WORD, min_size=1, max_size=300), st.integers(40, 400))
def test_no_piece_is_shorter_than_a_third_of_the_mean(words: list[str], max_chars: int) -> None:
    found = evenly(" ".join(words), max_chars)
    assert " ".join(found) == " ".join(words)
    assert min(map(len, found)) >= sum(map(len, found)) / len(found) / 3


@pytest.mark.parametrize(
    ("text", "max_chars", "expected"),
    [
        ("", 10, []),
        ("One. Two.", 20, ["One. Two."]),
        ("It was late and we went home", 20, ["It was late", "and we went home"]),
        ("We were tired, so we all went home", 25, ["We were tired,", "so we all went home"]),
        (
            "The first sentence is long enough. Yes.",
            34,
            ["The first sentence", "is long enough. Yes."],
        ),
        ("x" * 30, 20, ["x" * 15, "x" * 15]),
    ],
)
def test_cuts_are_at_commas_and_conjunctions_first(
    text: str, max_chars: int, expected: list[str]
) -> None:
    assert evenly(text, max_chars) == expected


def test_three_thousand_letters_without_a_stop_are_alike() -> None:
    text = " ".join(["we went up the hill and down again over"] * 77)
    found = pieces(text, 90.0, Reading())
    assert len(text) > 3000 and " ".join(found) == text
    lengths = [estimate_s(piece) for piece in found]
    assert min(lengths) > 0.5 * max(lengths)
    assert all(piece.startswith(("and", "we")) for piece in found)


def test_a_megabyte_takes_no_longer_than_it_has_to() -> None:
    assert len(evenly("It was a dark and stormy night and so it stayed " * 20_000, 250)) > 3000
