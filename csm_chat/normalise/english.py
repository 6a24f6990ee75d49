"""English text as it is read aloud: numbers in words, no symbols. Knows no model and no audio.

Here is the order in which the kinds of rules are tried; each kind has a file of its own.
"""

from __future__ import annotations

import re

from csm_chat.normalise.addresses import ADDRESSES, CODES, PLACES
from csm_chat.normalise.counts import COUNTS, GROUPED, MAGNITUDES, POWERS
from csm_chat.normalise.dates import CALENDAR, DATES
from csm_chat.normalise.marks import (
    plain_characters,
    tidy_punctuation,
    without_brackets,
    without_markdown,
    without_markup,
)
from csm_chat.normalise.measures import MEASURES
from csm_chat.normalise.money import MONEY
from csm_chat.normalise.names import AFTER_NAMES, ROMAN, STREETS, TITLES
from csm_chat.normalise.rules import Rule, apply, rule
from csm_chat.normalise.times import TIMES
from csm_chat.normalise.words import ABBREVIATIONS, LEFTOVER, POINTED, SYMBOLS

_READABLE = re.compile(r"[^\W_]+")
_WORD, _MARKUP = re.compile(r"[^\W\d_]{2}"), re.compile(r"[<&\\\x1b\x9b]")
_N_PASSES = (
    5  # one settles nearly all; what one rule uncovers ("+St." is "plus St.") takes a second
)
_MINUS = (rule(r"(?<![\w)\]'\"%$\u20ac\u00a3\u00a5.,-])-(?=\.?[0-9]|[$\u20ac\u00a3])", "minus "),)

# The kinds in order, each with what a text must have for it: most lines have little of it.
_DIGIT, _SIGN = "[0-9]", r"[^\w\s,;:?'\"-]|_"
_Kinds = tuple[tuple[re.Pattern[str], tuple[Rule, ...]], ...]


def _kinds(*kinds: tuple[str, tuple[Rule, ...]]) -> _Kinds:
    return tuple((re.compile(needs), rules) for needs, rules in kinds)


_BEFORE_BRACKETS = _kinds(("[@/.\\\\]", ADDRESSES), (_DIGIT, CODES))
_AFTER_BRACKETS = _kinds(
    ("[A-Z.\u2013-]", CALENDAR),
    ("[A-Z0-9]", (*STREETS, *TITLES, *AFTER_NAMES)),
    ("[.]", POINTED),
    ("", ABBREVIATIONS),
    ("[A-Z]", ROMAN),
    (_SIGN, SYMBOLS),
    (_DIGIT, (*GROUPED, *POWERS, *PLACES, *DATES, *_MINUS, *TIMES)),
    (_DIGIT, (*MONEY, *MAGNITUDES, *MEASURES, *COUNTS)),
    (_SIGN, LEFTOVER),
)


def normalise(text: str) -> str:
    """What a reader says at the sight of `text`, on one line.

    Its own output is left as it is. Letters of other languages pass; a text in which nothing can
    be read, as a row of emoji, gives an empty one.
    """
    said = _normalised(text)
    if not _READABLE.search(said):  # a lone :D has a letter to read
        said = _normalised(" ".join(_READABLE.findall(without_markup(text))))
    before = text
    for _ in range(_N_PASSES):
        if said == before:
            break
        before, said = said, _normalised(said)
    return said


def says_nothing(text: str) -> bool:
    """Whether there is no word in a text: marks, an emoji or tags alone, or nothing."""
    if _WORD.search(text) and not _MARKUP.search(text):
        return False
    return not any(char.isalnum() for char in normalise(text))


def _normalised(text: str) -> str:
    said = without_markdown(plain_characters(without_markup(text)))
    said = " ".join(without_brackets(_read(_BEFORE_BRACKETS, said)).split())
    return tidy_punctuation(_read(_AFTER_BRACKETS, said))


def _read(kinds: _Kinds, text: str) -> str:
    for needs, rules in kinds:
        if needs.search(text):
            text = apply(rules, text)
    return text
