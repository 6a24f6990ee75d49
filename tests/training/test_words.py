"""Words to the ear: spelling and digits are not errors."""

import pytest

from csm_chat.training.ears.words import edits, errors


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("The harbour's colour was grey.", "the harbor's color was gray"),
        ("I travelled to the theatre to practise.", "I traveled to the theater to practice."),
        ("He realised it in nineteen fifty.", "He realized it in 1950."),
        ("Three hundred and fifty people.", "350 people"),
        ("I met a hundred of them.", "I met 100 of them."),
        ("It costs five dollars and ninety-nine cents.", "It costs $5.99."),
        ("On July second at six forty-five.", "On July 2, at 645."),
        ("Mister Smith came at ten o'clock.", "Mr. Smith came at 10 o'clock."),
        ("Number three nine one, four four two one.", "Number 391-4421."),
        ("The twenty-first of May.", "the 21st of May"),
    ],
)
def test_the_same_words_in_other_writing_are_right(said, heard):
    assert errors(said, heard).words == 0


def test_other_words_are_wrong():
    found = errors("The cat sat down.", "The cap sat.")
    assert (found.words, found.n_words) == (2, 4)


def test_edits_change_add_and_take_away():
    assert edits("kitten", "sitting") == 3
    assert edits("", "ab") == edits("ab", "") == 2
