"""Dates, days, months and years as words."""

from __future__ import annotations

import re

from csm_chat.normalise.numbers import in_pairs, ordinal, two_digits, year
from csm_chat.normalise.rules import POINT_OR_NONE, either, from_table, rule

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
           "October", "November", "December")  # fmt: skip
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT_MONTHS = {name[:3].lower(): name for name in _MONTHS if name != "May"} | {
    "sept": "September"
}
_SHORT_DAYS = {name[:3].lower(): name for name in _WEEKDAYS} | {
    "tues": "Tuesday", "thur": "Thursday", "thurs": "Thursday", "weds": "Wednesday",
}  # fmt: skip
_NAMES = _SHORT_MONTHS | _SHORT_DAYS | {name.lower(): name for name in (*_MONTHS, *_WEEKDAYS)}
_ALSO_WORDS = ("may", "march")  # in small letters they need more than a number to be a month

# Names of days and months, in ranges, lists and alone

_SHORT_MONTH, _SHORT_DAY = either(_SHORT_MONTHS), either(_SHORT_DAYS)
_WRITTEN_MONTH = either(map(str.capitalize, _SHORT_MONTHS))
_WRITTEN_DAY = either(map(str.capitalize, _SHORT_DAYS))
_MONTH = either([*_SHORT_MONTHS, *(name.lower() for name in _MONTHS)])
_DAY_NAME = either([*_SHORT_DAYS, *(name.lower() for name in _WEEKDAYS)])
_LINK = r"(?:\.?\s?[-\u2013]\s?|\.?/|\.?,?\s(?:and|or|to|through|&)\s|\.?,\s)"


def _capital(name: str) -> str:
    """With a capital at least, in a pattern that takes both cases."""
    return f"(?-i:(?=[A-Z]))(?:{name})"


def _full_names(match: re.Match[str]) -> str:
    """ "Mon.-Wed." and "Jan, Feb or Mar" as their words."""
    said = re.sub(
        r"([A-Za-z]+)\.?", lambda m: _NAMES.get(m[1].lower(), m[0]), match[0], flags=re.IGNORECASE
    )
    return re.sub(r"\s?[-\u2013]\s?", " to ", said).replace("/", ", ")


_AFTER_PREPOSITION = r"(?<=\b{} )"
_ON = "|".join(_AFTER_PREPOSITION.format(word) for word in (
    *("on", "every", "next", "last", "this", "until", "by", "from", "since", "On", "Every", "Next"),
))  # fmt: skip
_IN = "|".join(_AFTER_PREPOSITION.format(word) for word in (
    *("in", "since", "until", "early", "late", "mid", "last", "next", "In", "Since"),
))  # fmt: skip
_GOES_ON = r"(?=\s*(?:(?-i:[a-z])|[0-9,;:)]))"
CALENDAR = (
    rule(rf"(?<![\w-]){_capital(_DAY_NAME)}(?:{_LINK}{_capital(_DAY_NAME)}\b){{1,11}}"
         rf"{POINT_OR_NONE}(?![\w-])", _full_names, re.IGNORECASE),
    rule(rf"(?<![\w-])(?:{_SHORT_DAY})\s?[-\u2013]\s?(?:{_SHORT_DAY}){POINT_OR_NONE}(?![\w-])",
         _full_names),
    rule(rf"(?<![\w-]){_capital(_MONTH)}(?:{_LINK}{_capital(_MONTH)}\b){{1,11}}"
         rf"{POINT_OR_NONE}(?![\w-]|\s[0-9]{{1,2}}\b)", _full_names, re.IGNORECASE),
    rule(r"\bM\s?[-\u2013]\s?F\b(?=,?\s+[0-9]|:)", "Monday to Friday"),
    rule(rf"(?<![\w.])({_capital(_SHORT_DAY)})(?:(?=\.,)\.|\.?(?=,?\s+(?:[0-9]|(?:{_MONTH})\b)))",
         from_table(_SHORT_DAYS), re.IGNORECASE),
    rule(rf"(?<![\w.])({_capital(_SHORT_DAY)})\.{_GOES_ON}",
         from_table(_SHORT_DAYS), re.IGNORECASE),
    rule(rf"(?=[A-Z])(?:{_ON})({_WRITTEN_DAY}){POINT_OR_NONE}(?![\w'-])", from_table(_SHORT_DAYS)),
    rule(rf"(?<![\w.])({_SHORT_MONTH})\.(?=\s*[0-9])", from_table(_SHORT_MONTHS), re.IGNORECASE),
    rule(rf"(?<![\w.])({_WRITTEN_MONTH})\.{_GOES_ON}",
         from_table(_SHORT_MONTHS)),
    rule(rf"(?=[A-Z])(?:{_IN})({_WRITTEN_MONTH}){POINT_OR_NONE}(?![\w'-])",
         from_table(_SHORT_MONTHS)),
)  # fmt: skip

# Dates

_DAY = r"([0-3]?[0-9])(st|nd|rd|th)?(?!\w)"
_PLAIN_DAY = r"([0-3]?[0-9])(?:st|nd|rd|th)?(?!\w)"
_NO_MORE = r"(?![.:,/%][0-9]|%|\s?[ap]\.?m\b)"
_YEAR = r"(?:,?\s+([12][0-9]{3})(?![\w,%-]|[.:][0-9])|[-/]([12][0-9]{3})(?!\w))?"
_LONGEST_MONTH = 31
_CENTURY_ENDS = 70  # 1/1/69 is of this century, 1/1/70 of the last


def _date(y: int, m: int, d: int) -> str | None:
    if not (1 <= m <= len(_MONTHS) and 1 <= d <= _LONGEST_MONTH):
        return None
    return f"{_MONTHS[m - 1]} {ordinal(d)}, {year(y)}"


def _iso_date(match: re.Match[str]) -> str:
    said = _date(*(int(part) for part in match.group(1, 3, 4)))
    return match[0] if said is None else said + (", " if match[5] else "")


def _numeric_date(match: re.Match[str]) -> str:
    """Month, day, year; day, month, year where that is no date."""
    month, day, y = int(match[1]), int(match[3]), int(match[4])
    if len(match[4]) == 2:
        y += 2000 if y < _CENTURY_ENDS else 1900
    if match[2] == "." and month > len(_MONTHS) and _date(y, day, month):
        return f"the {ordinal(month)} of {_MONTHS[day - 1]}, {year(y)}"
    said = _date(y, month, day) or _date(y, day, month)
    return said or (match[0] if match[2] != "/" else match[0].replace("/", ", "))


def _short_date(match: re.Match[str]) -> str:
    month, day = int(match[1]), int(match[2])
    return f"{_MONTHS[month - 1]} {ordinal(day)}" if _date(2000, month, day) else match[0]


def _in_year(text: str | None) -> str:
    return f", {year(int(text))}" if text else ""


def _is_word(name: str, is_sure: bool) -> bool:
    """Whether "may" or "march" is a verb."""
    return name in _ALSO_WORDS and not is_sure


def _name(name: str) -> str:
    full = _NAMES[name.lower()]
    return name if name.lower() == full.lower() else full


def _month_day(match: re.Match[str]) -> str:
    name, day, suffix, last, *years = match.groups()
    y = years[0] or years[1]
    if not 1 <= int(day) <= _LONGEST_MONTH or _is_word(name, bool(suffix or y)):
        return match[0]
    until = f" to {ordinal(int(last))}" if last else ""
    return f"{_name(name)} {ordinal(int(day))}{until}{_in_year(y)}"


def _day_month(match: re.Match[str]) -> str:
    before, day, suffix, of, name, *years = match.groups()
    y = years[0] or years[1]
    if not 1 <= int(day) <= _LONGEST_MONTH or _is_word(name, bool(suffix or y or "of" in of)):
        return match[0]
    return f"{before or 'the '}{ordinal(int(day))} of {_name(name)}{_in_year(y)}"


def _days_month(match: re.Match[str]) -> str:
    first, last, name, *years = match.groups()
    if _is_word(name, bool(years[0] or years[1])):
        return match[0]
    span = f"the {ordinal(int(first))} to the {ordinal(int(last))} of {_name(name)}"
    return span + _in_year(years[0] or years[1])


def _era(match: re.Match[str]) -> str:
    said = in_pairs(int(match[1])) if len(match[1]) < 4 else year(int(match[1]))
    return said + match[2]


_DETERMINER = "the|a|an|our|my|your|his|her|their|this|that|every|each|last|next"
DATES = (
    rule(rf"(?<=[0-9])\s?[-\u2013]\s?(?=(?:{_MONTH})\.?\s[0-9]{{1,2}}\b)", " to ", re.IGNORECASE),
    rule(rf"\b({_WRITTEN_MONTH})(?:\.?\s|-)(?=[12][0-9]{{3}}(?!\w))",
         lambda m: f"{_name(m[1])} "),
    rule(rf"\b({_SHORT_MONTH})\.?\s(?=[12][0-9]{{3}}(?!\w))", lambda m: f"{_name(m[1])} ",
         re.IGNORECASE),
    rule(r"(?<![\w-])([0-9]{4})([-/.])([01]?[0-9])\2([0-3]?[0-9])(?:(T)(?=[0-9]{2}:)|(?![\w/-]|\.[0-9]))",
         _iso_date),
    rule(r"(?<![\w/.,-])([0-3]?[0-9])([/.-])([0-3]?[0-9])\2([12][0-9]{3}|(?<=/)[0-9]{2})"
         r"(?![\w/-]|\.[0-9])", _numeric_date),
    rule(r"(?<=\b(?:on|by) )([01]?[0-9])/([0-3]?[0-9])(?![\w/])", _short_date),
    rule(rf"\b({_MONTH})\b(?:\.?\s+|-){_DAY}(?:\s?[-\u2013]\s?{_PLAIN_DAY})?{_NO_MORE}{_YEAR}",
         _month_day, re.IGNORECASE),
    rule(rf"(?<![\w.,:/$-]){_PLAIN_DAY}\s?[-\u2013]\s?{_PLAIN_DAY}(?: of)? ({_MONTH})"
         rf"{POINT_OR_NONE}(?!\w){_YEAR}", _days_month, re.IGNORECASE),
    rule(rf"(?<![\w.,:/$-])((?:{_DETERMINER}) )?{_DAY}( of | |-)({_MONTH})(?:{POINT_OR_NONE})(?!\w)"
         rf"{_YEAR}", _day_month, re.IGNORECASE),
    rule(r"(?<![\w.,])([0-9]{1,4})( ?(?:AD|BC|BCE|CE)\b)", _era),
    rule(r"(?<=\bAD )([1-9][0-9]{2,3})(?![\w.,-])", lambda m: in_pairs(int(m[1]))),
    rule(r"(?<=['\s][0-9]{2})\s?[-\u2013]\s?(?='[0-9]{2}\b)", " to "),
    rule(r"\b(FY|CY)'?((?:19|20)[0-9]{2})\b", lambda m: f"{m[1]} {year(int(m[2]))}"),
    rule(r"(?<![\w.,/-])((?:19|20)[0-9]{2})/([0-9]{2})(?![\w/])",
         lambda m: f"{year(int(m[1]))} {two_digits(int(m[2]))}"),
    rule(r"(?<=\b(?:in|by) )(10[0-9]{2})\b(?!,)", lambda m: year(int(m[1]))),
    rule(r"(\b(?:year|since|until|till) )(1[0-9]{3})(?![\w,]|\.[0-9])",
         lambda m: m[1] + year(int(m[2])), re.IGNORECASE),
    rule(r"(\byear )([1-9][0-9]{2})(?![\w,]|\.[0-9])", lambda m: m[1] + in_pairs(int(m[2])),
         re.IGNORECASE),
)  # fmt: skip
