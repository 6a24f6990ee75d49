"""Digits and abbreviations as the words they are read as. Knows how to read; makes no text.

Read: whole numbers (grouped by commas or not), years, ordinals, decimals, percent, dollars and
cents, times of day, decades, telephone numbers (three digits, a hyphen, four digits), minus signs
and the abbreviations below. Everything else is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from csm_chat.speech.reading import as_read

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
         "eighteen", "nineteen")  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand"))
LARGEST = 10**12  # from here on digit by digit
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
            "nine": "ninth", "twelve": "twelfth"}  # fmt: skip
ABBREVIATIONS = {
    "Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz", "Dr.": "Doctor", "&": "and",
    "a.m.": "a m", "p.m.": "p m", "etc.": "et cetera", "OK": "okay",
}  # fmt: skip
YEARS = range(1100, 2100)


def cardinal(number: int) -> str:
    """0 and up: "two thousand and five", "one hundred and twenty-three"."""
    if number >= LARGEST:
        return one_by_one(str(number))
    if number < 20:
        return (DIGITS + TEENS)[number]
    if number < 100:
        tens, units = divmod(number, 10)
        return TENS[tens] + (f"-{DIGITS[units]}" if units else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{DIGITS[hundreds]} hundred" + (f" and {cardinal(rest)}" if rest else "")
    scale, name = next(entry for entry in SCALES if number >= entry[0])
    count, rest = divmod(number, scale)
    joined = " and " if 0 < rest < 100 else " "
    return f"{cardinal(count)} {name}" + (joined + cardinal(rest) if rest else "")


def ordinal(number: int) -> str:
    """ "twenty-first", "two hundredth"."""
    head, separator, last = re.fullmatch(r"(?:(.*)([ -]))?(\w+)", cardinal(number)).groups("")  # type: ignore[union-attr]  # words always match
    if last in ORDINALS:
        last = ORDINALS[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return head + separator + last


def year(number: int) -> str:
    """ "nineteen oh five", "two thousand and nine", "twenty twenty-four"."""
    century, rest = divmod(number, 100)
    if century == 20 and rest < 10:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {cardinal(rest) if rest > 9 else 'oh ' + DIGITS[rest]}"


def one_by_one(digits: str) -> str:
    return " ".join(DIGITS[int(digit)] for digit in digits)


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
    return f"{cardinal(hour)} {cardinal(minute) if minute > 9 else 'oh ' + DIGITS[minute]}"


def _decade(match: re.Match[str]) -> str:
    word = year(int(match[1]))
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


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
    return spoken_words(as_read(text))
