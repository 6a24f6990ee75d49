"""Words heard beside words to be said: what is the same to the ear, and what is not."""

from __future__ import annotations

import pytest

from csm_chat.checking.words import compared


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("Let's go at three o'clock.", "let us go at 3 o'clock"),
        ("It is six forty-five.", "It's 6:45."),
        ("It is six forty-five.", "It's 645."),
        ("at five PM for five dollars and fifty cents", "At 5 p.m. for $5.50."),
        ("In nineteen ninety-nine, two hundred and five.", "In 1999, 205."),
        ("Doctor Smith, twenty-one percent, March third.", "Dr. Smith: 21%, March 3rd!"),
        ("I can't, and they're not gonna.", "I cannot and they are not going to"),
        ("Grey theatres realise their favourites.", "Gray theaters realize there favorites."),
        ("Everyone says goodbye.", "Every one says good bye."),
        ("You're right to write to Ann.", "Your write two right too Anne."),
        ("Okay, Mister Brown.", "OK, Mr. Brown"),
    ],
)  # fmt: skip
def test_what_sounds_the_same_is_the_same(said: str, heard: str) -> None:
    found = compared(said, heard)
    assert (found.n_wrong, found.starts, found.ends) == (0, True, True)
    assert found.n_words > 0


@pytest.mark.parametrize(
    ("said", "heard", "n_wrong", "n_words", "starts", "ends"),
    [
        ("Hello there, old friend.", "Hello there, cold friend.", 1, 4, True, True),
        ("Hello there, old friend.", "there, old friend.", 1, 4, False, True),
        ("Hello there, my old friend.", "my old friend.", 2, 5, False, True),
        ("Hello there, my old friend.", "Hello there", 3, 5, True, False),
        ("Say it.", "Say it. Say it again and again.", 5, 2, True, False),
        ("Hello there.", "", 2, 2, False, False),
        ("Come now.", "Thank you.", 2, 2, False, False),
        ("...", "Hm.", 1, 0, True, True),
    ],
)
def test_what_is_left_out_changed_or_added_counts(
    said: str, heard: str, n_wrong: int, n_words: int, starts: bool, ends: bool
) -> None:
    found = compared(said, heard)
    assert (found.n_wrong, found.n_words) == (n_wrong, n_words)
    assert found.ends == ends
    assert found.starts == starts
