"""Digits and abbreviations as the words they are read as.

Read: whole numbers (grouped by commas or not), years, ordinals, decimals, percent, dollars and
cents, times of day, decades, telephone numbers (three digits, a hyphen, four digits), minus signs
and the abbreviations below. Everything else is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from csm_chat.conversation.reading import Reading
from csm_chat.normalise.numbers import (
    cardinal,
    one_by_one,
    ordinal,
    plural,
    two_digits,
    year,
)

ABBREVIATIONS = {
    "Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz", "Dr.": "Doctor", "&": "and",
    "a.m.": "a m", "p.m.": "p m", "etc.": "et cetera", "OK": "okay",
}  # fmt: skip
YEARS = range(1100, 2100)


def _whole(digits: str) -> str:
    """An unmarked number: a year if it looks like one, digit by digit if it starts with 0."""
    plain = digits.replace(",", "")
    if plain[0] == "0" and len(plain) > 1:
        return one_by_one(plain)
    if plain == digits and int(plain) in YEARS:
        return year(int(plain))
    return cardinal(int(plain))


def _decimal(match: re.Match[str]) -> str:
    return f"{cardinal(int(match[1].replace(',', '')))} point {one_by_one(match[2])}"


def _dollars(match: re.Match[str]) -> str:
    dollars, cents = int(match[1].replace(",", "")), int(match[2] or 0)
    parts = []
    if dollars or not cents:
        parts.append(f"{cardinal(dollars)} dollar{'' if dollars == 1 else 's'}")
    if cents:
        parts.append(f"{cardinal(cents)} cent{'' if cents == 1 else 's'}")
    return " and ".join(parts)


def _time(match: re.Match[str]) -> str:
    hour, minute = int(match[1]), int(match[2])
    if minute == 0:
        return cardinal(hour) + ("" if match[3] else " o'clock")
    return f"{cardinal(hour)} {two_digits(minute)}"


def _decade(match: re.Match[str]) -> str:
    return plural(year(int(match[1])))


NUMBER = r"(\d{1,3}(?:,\d{3})+|\d+)"
HALF_DAY = r"(?<=\d) ?([ap])\.?m\b(?:\.(?=\s+[a-z]))?"  # 7pm, 7:30 p.m.
READINGS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"(?<![\w-])-(?=\d)", lambda m: "minus "),
    (HALF_DAY, lambda m: f" {m[1]} m"),
    (rf"\${NUMBER}(?:\.(\d\d)(?!\d))?", _dollars),
    (r"\b(\d{1,2}):([0-5]\d)\b(?=( [ap] m\b)?)", _time),
    (r"\b(\d{3})-(\d{4})\b", lambda m: f"{one_by_one(m[1])}, {one_by_one(m[2])}"),
    (r"\b(\d{3}0)s\b", _decade),
    (rf"\b{NUMBER}(?:st|nd|rd|th)\b", lambda m: ordinal(int(m[1].replace(",", "")))),
    (rf"\b{NUMBER}\.(\d+)", _decimal),
    (rf"\b{NUMBER}", lambda m: _whole(m[1])),
    (r"(?<=\w) ?%", lambda m: " percent"),
)
PATTERNS = tuple((re.compile(pattern), read) for pattern, read in READINGS)
ABBREVIATED = re.compile(
    r"(?<!\w)(?:" + "|".join(re.escape(short) for short in ABBREVIATIONS) + r")(?!\w)"
)
NEEDS_READING = re.compile(r"[\d&%$]|\b(?:[MD]rs?|Ms|[ap]\.m|etc)\.|\bOK\b")


def spoken_words(text: str) -> str:
    """The text as it is read aloud: no digits, no abbreviations; punctuation stays."""
    if not NEEDS_READING.search(text):
        return text
    for pattern, read in PATTERNS:
        text = pattern.sub(read, text)
    return ABBREVIATED.sub(lambda match: ABBREVIATIONS[match[0]], text)


def heard_words(text: str) -> str:
    """What is heard of a line: its words, read as a session has its model read them."""
    return spoken_words(Reading()(text))
