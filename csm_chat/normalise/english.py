"""English text as it is read aloud: numbers in words, no symbols. Knows no model and no audio.

The rules stand in marks.py (characters), words.py, dates.py and quantities.py; here is their
order.
"""

from __future__ import annotations

import re

from csm_chat.normalise.dates import PHONES
from csm_chat.normalise.marks import (
    plain_characters,
    tidy_punctuation,
    without_brackets,
    without_markdown,
)
from csm_chat.normalise.quantities import NUMBERS
from csm_chat.normalise.rules import apply
from csm_chat.normalise.words import ABBREVIATIONS, ADDRESSES, LEFTOVER, ROMAN, SYMBOLS

_DIGIT = re.compile("[0-9]")
_READABLE = re.compile(r"[^\W_]+")
_N_PASSES = (
    5  # one settles nearly all; what one rule uncovers ("+St." is "plus St.") takes a second
)


def normalise(text: str) -> str:
    """What a reader says at the sight of `text`, on one line.

    Its own output is left as it is. Letters of other languages pass; a text in which nothing can
    be read, as a row of emoji, gives an empty one.
    """
    said = _normalised(text)
    if not _READABLE.search(said):  # a lone :D has a letter to read
        said = _normalised(" ".join(_READABLE.findall(text)))
    before = text
    for _ in range(_N_PASSES):
        if said == before:
            break
        before, said = said, _normalised(said)
    return said


def _normalised(text: str) -> str:
    said = apply(ADDRESSES, without_markdown(plain_characters(text)))
    if _DIGIT.search(said):
        said = apply(PHONES, said)
    said = " ".join(without_brackets(said).split())
    for rules in (ABBREVIATIONS, ROMAN, SYMBOLS):
        said = apply(rules, said)
    if _DIGIT.search(said):
        said = apply(NUMBERS, said)
    return tidy_punctuation(apply(LEFTOVER, said))
