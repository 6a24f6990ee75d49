"""Times of day and how long something takes, as words."""

from __future__ import annotations

import re

from csm_chat.normalise.numbers import amount, cardinal, two_digits
from csm_chat.normalise.rules import either, is_before_noun, rule

_NOON = r"(?:\s?([ap])(?:m\b|\.\s?m\b\.(?!\s+['\"]?(?-i:[A-Z])|['\"\s]*$)|\.\s?m\b))"
_HOURS_ON_A_DIAL = range(1, 13)


def _clock(match: re.Match[str]) -> str:
    hour, minute, second, half = int(match[1]), int(match[2]), match[3], match[4]
    noon = f" {half.upper()}M" if half else ""
    if second and not half and len(match[1]) == 2:
        return _lasting(hour, minute, int(second))
    seconds = f" and {_so_many(int(second), 'second')}" if second and int(second) else ""
    if minute or seconds:
        return f"{cardinal(hour)} {two_digits(minute)}{seconds}{noon}"
    if noon:
        return cardinal(hour) + noon
    if hour not in _HOURS_ON_A_DIAL:
        return f"{cardinal(hour)} hundred" if hour else "midnight"
    return cardinal(hour) + ("" if match["oclock"] else " o'clock")


def _so_many(count: int, unit: str) -> str:
    return f"{cardinal(count)} {unit}{'' if count == 1 else 's'}"


def _lasting(hours: int, minutes: int, seconds: int) -> str:
    """14:10:30, as a stopwatch tells it."""
    return (
        f"{_so_many(hours, 'hour')} {_so_many(minutes, 'minute')} and {_so_many(seconds, 'second')}"
    )


def _half(match: re.Match[str]) -> str:
    return f"{cardinal(int(match[1]))} {match[2].upper()}M"


def _dotted(match: re.Match[str]) -> str:
    """7.30 p.m., as it is written in Britain."""
    minutes = f" {two_digits(int(match[2]))}" if int(match[2]) else ""
    return f"{cardinal(int(match[1]))}{minutes} {match[3].upper()}M"


def _hundred_hours(match: re.Match[str]) -> str:
    """0600 hours, 1430 hrs."""
    hour, minute = int(match[1]), int(match[2])
    first = two_digits(hour) if hour else "zero"
    return f"{first} {two_digits(minute) if minute else 'hundred'} hours"


# A row of at least two, each smaller than the one before: "1h 5m 3s"

_UNITS = {
    "week": ("weeks", "week", "wks", "wk", "w"), "day": ("days", "day", "d"),
    "hour": ("hours", "hour", "hrs", "hr", "h"),
    "minute": ("minutes", "minute", "mins", "min", "m"),
    "second": ("seconds", "second", "secs", "sec", "s"), "millisecond": ("ms",),
}  # fmt: skip
_UNIT_OF = {short: name for name, shorts in _UNITS.items() for short in shorts}
_LENGTH = rf"[0-9]+(?:\.[0-9]+)?\s?(?:{either(_UNIT_OF)})(?![A-Za-z])"
_ROW = rf"(?<![\w.,$-]){_LENGTH}(?:,?\s?(?:and\s)?{_LENGTH}){{1,5}}(?!\w)"


def _row(match: re.Match[str]) -> str:
    parts = re.findall(r"([0-9.]+)\s?([a-z]+)", match[0])
    units = [_UNIT_OF[unit] for _, unit in parts]
    sizes = [list(_UNITS).index(unit) for unit in units]
    if sizes != sorted(set(sizes)):
        return match[0]
    is_one = is_before_noun(match)  # "a two hour fifteen minute flight"
    return " ".join(
        f"{amount(count)} {unit}{'' if count == '1' or is_one else 's'}"
        for (count, _), unit in zip(parts, units, strict=True)
    )


_WAITING = "took|take|takes|lasted|lasts|last|after|within|wait|waits|waited|for|every|sleep|under"
TIMES = (
    rule(r"\b(UTC|GMT)\s?-\s?(?=[0-9])", r"\1 minus "),
    rule(_ROW, _row),
    rule(r"(?<![\w.])([0-9]{1,2})h([0-5][0-9])(?:m(?:in)?)?\b",
         lambda m: f"{_so_many(int(m[1]), 'hour')} {_so_many(int(m[2]), 'minute')}"
         if int(m[1]) < 13 else f"{cardinal(int(m[1]))} {two_digits(int(m[2]))}"),
    rule(rf"(\b(?:{_WAITING}) )([0-9]+)s\b", lambda m: m[1] + _so_many(int(m[2]), "second")),
    rule(rf"(?<![\w:.,$])([0-9]{{1,2}})\.([0-5][0-9])\s?[-\u2013]\s?"
         rf"(?=(?:1[0-2]|0?[1-9])[.:][0-5][0-9]{_NOON})", r"\1:\2 to ", re.IGNORECASE),
    rule(rf"(?<=[0-9])({_NOON}?)\s?[-\u2013]\s?(?=[0-9]{{1,2}}(?:[:.][0-9]{{2}})?{_NOON})",
         lambda m: f"{m[1]} to ", re.IGNORECASE),
    rule(r"(?<=[:.][0-9]{2})\s?[-\u2013]\s?(?=[0-9]{1,2}:[0-9]{2})", " to "),
    rule(r"\b(noon|midnight)-(?=[0-9])", r"\1 to ", re.IGNORECASE),
    rule(r"\b12:00\s?(?=noon|midnight)", "twelve "),
    rule(rf"(?<![\w:.,$])(1[0-2]|0?[1-9])\.([0-5][0-9]){_NOON}", _dotted, re.IGNORECASE),
    rule(rf"(?<![\w:.,])([01]?[0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:\.0+(?![0-9]))?)?"
         rf"(?![0-9:]){_NOON}?(?P<oclock>(?= o'clock))?", _clock, re.IGNORECASE),
    rule(rf"(?<![\w:.,$])(1[0-2]|0?[1-9]){_NOON}", _half, re.IGNORECASE),
    rule(r"(?<![\w:.,])([01][0-9]|2[0-4])([0-5][0-9])\s?(?:hours|hrs\.?|h)(?!\w)", _hundred_hours),
    rule(r"(?<![\w:])([0-9]{1,4}):([0-9]{1,4})(?![\w:])",
         lambda m: f"{amount(m[1])} to {amount(m[2])}"),
)  # fmt: skip
