"""Dates, times of day and telephone numbers as words. Knows no other number."""

from __future__ import annotations

import re
from datetime import date

from csm_chat.normalise.numbers import (
    amount,
    cardinal,
    one_by_one,
    ordinal,
    two_digits,
    year,
)
from csm_chat.normalise.rules import rule

# Dates

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
           "October", "November", "December")  # fmt: skip
_MONTH_NAMES = {name[:3]: name for name in _MONTHS} | {"Sept": "September"}
_MONTH = rf"({'|'.join([*_MONTHS, 'Sept', *_MONTH_NAMES])})"
_DAY = r"([0-3]?[0-9])(?:st|nd|rd|th)?"
_NO_MORE = r"(?![0-9]|[.:,/%][0-9]|%|\s?[ap]\.?m\b)"
_YEAR = r"(?:,?\s+([12][0-9]{3})(?![0-9]))?"


def _date(y: int, m: int, d: int) -> str | None:
    try:
        date(y, m, d)
    except ValueError:
        return None
    return f"{_MONTHS[m - 1]} {ordinal(d)}, {year(y)}"


def _iso_date(match: re.Match[str]) -> str:
    said = _date(*(int(part) for part in match.group(1, 2, 3)))
    return match[0] if said is None else said + (", " if match[4] else "")


def _us_date(match: re.Match[str]) -> str:
    """Month, day, year; day, month, year where that is no date."""
    month, day, y = (int(part) for part in match.group(1, 2, 3))
    if len(match[3]) == 2:
        y += 2000 if y < 70 else 1900
    return _date(y, month, day) or _date(y, day, month) or match[0].replace("/", " slash ")


def _short_date(match: re.Match[str]) -> str:
    month, day = int(match[1]), int(match[2])
    return f"{_MONTHS[month - 1]} {ordinal(day)}" if _date(2000, month, day) else match[0]


def _month(name: str) -> str:
    return _MONTH_NAMES.get(name, name)


def _month_day(match: re.Match[str]) -> str:
    name, day, last, y = match.groups()
    if not 1 <= int(day) <= 31:
        return match[0]
    until = f" to {ordinal(int(last))}" if last else ""
    return f"{_month(name)} {ordinal(int(day))}{until}" + (f", {year(int(y))}" if y else "")


def _day_month(match: re.Match[str]) -> str:
    the, day, name, y = match.groups()
    if not 1 <= int(day) <= 31:
        return match[0]
    return f"{the or 'the '}{ordinal(int(day))} of {_month(name)}" + (
        f", {year(int(y))}" if y else ""
    )


DATES = (
    rule(rf"\b({'|'.join(_MONTH_NAMES)})\.?(?=\s[12][0-9]{{3}}(?![0-9]))", lambda m: _month(m[1])),
    rule(r"(?<![\w-])([0-9]{4})[-/]([01][0-9])[-/]([0-3][0-9])(?:(T)(?=[0-9]{2}:)|(?![\w/-]))",
         _iso_date),
    rule(r"(?<![\w/])([0-3]?[0-9])/([0-3]?[0-9])/([12][0-9]{3}|[0-9]{2})(?![\w/])", _us_date),
    rule(r"(?<=\bon )([01]?[0-9])/([0-3]?[0-9])(?![\w/])", _short_date),
    rule(rf"\b{_MONTH}\.?\s+{_DAY}(?:\s?[-\u2013]\s?{_DAY})?{_NO_MORE}{_YEAR}", _month_day),
    rule(rf"(?<![\w.,:/$-])(the )?{_DAY} (?:of )?{_MONTH}\b{_YEAR}", _day_month, 0),
)  # fmt: skip

# Times

_NOON = r"(?:\s?([ap])(?:m\b|\.\s?m\b\.(?!\s+['\"]?(?-i:[A-Z])|['\"\s]*$)|\.\s?m\b))"


def _clock(match: re.Match[str]) -> str:
    hour, minute, second, half = int(match[1]), int(match[2]), match[3], match[4]
    noon = f" {half.upper()}M" if half else ""
    seconds = f" and {cardinal(int(second))} seconds" if second and int(second) else ""
    if minute or seconds:
        return f"{cardinal(hour)} {two_digits(minute)}{seconds}{noon}"
    if noon:
        return cardinal(hour) + noon
    if not 1 <= hour <= 12:
        return f"{cardinal(hour)} hundred" if hour else "midnight"
    return cardinal(hour) + ("" if match["oclock"] else " o'clock")


TIMES = (
    rule(rf"(?<=[0-9])({_NOON}?)\s?[-\u2013]\s?(?=[0-9]{{1,2}}(?::[0-9]{{2}})?{_NOON})",
         lambda m: f"{m[1]} to "),
    rule(r"(?<=:[0-9]{2})\s?[-\u2013]\s?(?=[0-9]{1,2}:[0-9]{2})", " to "),
    rule(rf"(?<![\w:.,])([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?(?![0-9:]){_NOON}?"
         "(?P<oclock>(?= o'clock))?", _clock, re.IGNORECASE),
    rule(rf"(?<![\w:.,$])(1[0-2]|0?[1-9]){_NOON}",
         lambda m: f"{cardinal(int(m[1]))} {m[2].upper()}M", re.IGNORECASE),
    rule(r"(?<![\w:])([0-9]{1,4}):([0-9]{1,4})(?![\w:])",
         lambda m: f"{amount(m[1])} to {amount(m[2])}"),
)  # fmt: skip

# Telephone numbers; before brackets are read


def _phone(match: re.Match[str]) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(one_by_one(part) for part in re.findall("[0-9]+", match[0]))


PHONES = (
    rule(r"(?<![\w$.,-])(?:\+?1[-. ]?)?(?:\([0-9]{3}\)\s?|[0-9]{3}[-. ])[0-9]{3}[-. ][0-9]{4}"
         r"(?![\w-])", _phone),
    rule(r"(?<![\w+])\+[0-9]{1,3}(?:[-. ]?\(?[0-9]{2,4}\)?){2,5}(?![\w-])", _phone),
    rule(r"(?<![\w$.,-])[0-9]{3}-[0-9]{4}(?![\w-])", _phone),
)  # fmt: skip
