"""Sentences out of chunks: what comes out, and as soon as it can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csm_chat.conversation.sentences import MAX_CHARS, Sentences

# close to what people write, so that marks, spaces, digits and new lines meet often
TYPED = st.text(alphabet=st.sampled_from('ab No.5,;!?…—"\n\n \t'), max_size=120)
TEXTS = st.one_of(st.text(max_size=120), TYPED)


def pieces_of(text: str, n_chars: int, **limits: int) -> list[str]:
    sentences = Sentences(**limits)
    chunks = [text[start : start + n_chars] for start in range(0, len(text), n_chars)]
    return [piece for chunk in chunks for piece in sentences.feed(chunk)] + sentences.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\n \n", []),
        ("Hello", ["Hello"]),
        ("Yes.", ["Yes."]),
        ("Yes. I will come to the party. No.", ["Yes. I will come to the party.", "No."]),
        ("A. B. C. D. and so it goes on. E.", ["A. B. C. D. and so it goes on.", "E."]),
        ("Mr. Smith paid 3.14 dollars, e.g. today. Then he left for ever.",
         ["Mr. Smith paid 3.14 dollars, e.g. today.", "Then he left for ever."]),
        ("The answer is in No. 5 of the list. I am sure.",
         ["The answer is in No. 5 of the list.", "I am sure."]),
        ("I asked him twice and he said no. 5 times in all.",
         ["I asked him twice and he said no. 5 times in all."]),
        ("I asked him twice and he said no. Then he left.",
         ["I asked him twice and he said no.", "Then he left."]),
        ('He said "Stop right there!" Nobody did.',
         ['He said "Stop right there!"', "Nobody did."]),
        ("A title\n\nThe text\nof it. Goes on.", ["A title", "The text of it. Goes on."]),
        ("One.\r\n\r\nTwo.\n \n\nThree.", ["One.", "Two.", "Three."]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("n_chars", [1, 3, 1000])
def test_pieces_are_whole_sentences_and_short_ones_go_together(
    text: str, expected: list[str], n_chars: int
) -> None:
    assert pieces_of(text, n_chars) == expected


def test_a_sentence_comes_out_once_its_end_is_certain() -> None:
    sentences = Sentences()
    assert sentences.feed("This is the first sentence.") == []  # it may be 'sentence.)'
    assert sentences.feed(" ") == ["This is the first sentence."]
    assert sentences.feed("This one stands in No. ") == []  # 5, or the end
    assert sentences.feed("A") == ["This one stands in No."]
    assert sentences.feed("nd a blank line\n") == []
    assert sentences.feed("\n") == ["And a blank line"]
    assert sentences.close() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two, three four five six", ["one two,", "three four five six"]),
        ("one two three four five six seven", ["one two three", "four five six seven"]),
        ("Yes. No. one two three four five, six", ["Yes. No.", "one two three", "four five, six"]),
        ("x" * 45, ["x" * 20, "x" * 20, "x" * 5]),
    ],
)
def test_what_is_too_long_is_cut_where_it_hurts_least(text: str, expected: list[str]) -> None:
    assert pieces_of(text, 7, min_chars=15, max_chars=20) == expected


WORDS = st.lists(
    st.sampled_from(["a", "over", "and", "because", "which,", "the", "something", "longer;"]),
    max_size=400,
)


@given(WORDS, st.integers(1, 400))
def test_a_sentence_without_end_comes_in_pieces_of_like_length(
    words: list[str], n_chars: int
) -> None:
    pieces = pieces_of(" ".join(words), n_chars)
    assert " ".join(pieces) == " ".join(words)
    mean = sum(map(len, pieces)) / max(1, len(pieces))
    assert all(mean / 3 <= len(piece) <= MAX_CHARS for piece in pieces)


@given(TEXTS, st.integers(1, 40), st.integers(1, 30))
def test_chunks_change_nothing_and_nothing_is_lost(text: str, n_chars: int, max_chars: int) -> None:
    pieces = pieces_of(text, n_chars, min_chars=max_chars // 2 + 1, max_chars=max_chars)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert pieces == pieces_of(text, 1000, min_chars=max_chars // 2 + 1, max_chars=max_chars)
    assert all(0 < len(piece) <= max_chars and piece == piece.strip() for piece in pieces)


def test_a_megabyte_in_one_chunk_takes_no_longer_than_it_has_to() -> None:
    pieces = Sentences().feed("It was a dark and stormy night, and so it stayed. " * 20_000)
    assert len(pieces) >= 20_000 - 1
    assert max(map(len, pieces)) <= MAX_CHARS
