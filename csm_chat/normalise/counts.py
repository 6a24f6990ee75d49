"""What is counted or numbered: ordinals, fractions, ranges, powers, versions and plain numbers.

The kinds that have a unit come first.
"""

from __future__ import annotations

import re

from csm_chat.normalise.money import SCALES
from csm_chat.normalise.numbers import (
    DIGITS,
    amount,
    cardinal,
    fraction,
    in_pairs,
    number,
    one_by_one,
    ordinal,
    plural,
    two_digits,
    year,
)
from csm_chat.normalise.rules import AMOUNT, NUMBER, START, rule

_N_DIGITS_READ = 15  # of a number; a longer one is read digit by digit
_LONGEST_PART = 3  # digits of a part of a serial number that is still read as a number

# Before anything else: numbers as they are grouped elsewhere

_LONG = rf"(?<![0-9.,])[0-9]{{{_N_DIGITS_READ + 1},}}|(?<=\.)[0-9]{{{_N_DIGITS_READ + 1},}}"
_EUROPEAN = r"(?<![0-9.,])([0-9]{1,3}(?:\.[0-9]{3})+),([0-9]{2})(?![0-9])"
_SPACED = r"(?<![\w.,/-])([1-9][0-9]{0,2}(?: [0-9]{3}){1,4})(?![\w-]|[.,]?[0-9]| [0-9])"
_INDIAN = r"(?<![0-9.,])([1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3})(?![0-9,])"


def _spaced(match: re.Match[str]) -> str:
    groups = match[1].split(" ")
    is_number = len(groups) > 2 or groups[-1] == "000"
    return ",".join(groups) if is_number else match[0]


GROUPED = (
    rule(_LONG, lambda m: one_by_one(m[0])),
    rule(_EUROPEAN, lambda m: f"{m[1].replace('.', ',')}.{m[2]}"),
    rule(_SPACED, _spaced),
    rule(_INDIAN, lambda m: f"{int(m[1].replace(',', '')):,}"),
)

# Powers; those of units are read with their unit

_SMALL_POWERS = {"2": " squared", "3": " cubed"}


def _power(match: re.Match[str]) -> str:
    power = match[1]
    if power in _SMALL_POWERS:
        return _SMALL_POWERS[power]
    return f" to the power of {power.replace('-', 'minus ')}"


def _scientific(match: re.Match[str]) -> str:
    minus = "minus " if match[2] == "-" else ""
    return f"{amount(match[1])} times ten to the {minus}{cardinal(int(match[3]))}"


POWERS = (
    rule(rf"(?<![\w.,])({NUMBER})[eE]([+-]?)([0-9]{{1,3}})(?!\w|\.[0-9])", _scientific),
    rule(r"(?<=[0-9])\s?[x\u00d7*]\s?10\^(-?)\(?([0-9]{1,3})\)?",
         lambda m: f" times ten to the {'minus ' * bool(m[1])}{cardinal(int(m[2]))}"),
    rule(r"(?<=[0-9])\^(-?[0-9]+)", _power),
)  # fmt: skip

# Thousands and millions: "10k likes", "1.5M views"

_CROWD = (
    r"(?=\s(?:[a-z]+[^s\W]s|people|followers|likes|views|users|dollars|of|in)\b|[,.;:!?)]|\s*$)"
)
_NOT_K = r"(?!\s(?:run|race|video|videos|TV|TVs|monitor|screen|display|resolution|gold|marathon)\b)"


def _magnitude(match: re.Match[str]) -> str:
    first, last = match[1], match[2]
    until = f" to {amount(last)}" if last else ""
    return f"{amount(first)}{until} {SCALES[match[3].lower()]}"


MAGNITUDES = (
    rule(r"(?<=[0-9][kKM])\s?[-\u2013]\s?(?=[0-9.]+[kKM]\b)", " to "),
    rule(rf"{AMOUNT}(k){_NOT_K}\b(?!')", _magnitude),
    rule(rf"{AMOUNT}([KB])(?=\s[a-z]+[a-z]s\b|\s(?:people|parameters)\b)", _magnitude),
    rule(rf"{AMOUNT}(M)\b(?<!\b3M)(?!['-])", _magnitude),
    rule(rf"{AMOUNT}(m)(?=\s(?:people|users|views|followers|subscribers|downloads|streams|copies|"
         r"households|customers|players|viewers|readers|dollars|euros|pounds|jobs|homes)\b)",
         _magnitude),
    rule(rf"{AMOUNT}\s?(bn|mn|tn|mio|mrd)\b", _magnitude, re.IGNORECASE),
    rule(rf"({NUMBER})[kK]\b", lambda m: f"{amount(m[1])} K"),
    rule(r"(?<![\w.,])([1-9][0-9]{2,3})([pi])\b", lambda m: f"{in_pairs(int(m[1]))} {m[2]}"),
)  # fmt: skip

# Plurals, ordinals and fractions

_ROUND = {"10": "tens", "100": "hundreds", "1000": "thousands", "10000": "tens of thousands",
          "100000": "hundreds of thousands", "1000000": "millions"}  # fmt: skip


def _decade(match: re.Match[str]) -> str:
    digits = match[2]
    said = year(int(digits)) if len(digits) == 4 else amount(digits)
    return f"{match[1]}{plural(said)}"


def _fraction(match: re.Match[str]) -> str:
    top, bottom = int(match[1]), int(match[2])
    if 0 < top < bottom and (bottom < 10 or bottom in (16, 32, 64)):
        return fraction(top, bottom)
    joined = "out of" if top <= bottom and bottom in (10, 20, 50, 100) else "over"
    return f"{number(match[1])} {joined} {number(match[2])}"


def _parts(match: re.Match[str]) -> str:
    """1/4th, 3/100ths."""
    bottom = int(match[2])
    if bottom < 2:
        return match[0]
    return fraction(int(match[1]), bottom)


def _mixed(match: re.Match[str]) -> str:
    top, bottom = int(match[2]), int(match[3])
    if not (0 < top < bottom or (0 < top < 10 and 2 <= bottom < 10)):
        return match[0]
    part = fraction(top, bottom)
    return f"{amount(match[1])} and {part.replace('one ', 'a ', 1) if top == 1 else part}"


_ORDINALS = (
    rule(r"(?:(?<=[0-9](?:st|nd|rd|th))|(?<=[0-9]s))\s?[-\u2013]\s?(?='?[0-9])", " to "),
    rule(r"(?<![\w.,'])(10{1,6})s\b", lambda m: _ROUND[m[1]]),
    rule(r"(?<![0-9])(['']?)([0-9]{2}|[12][0-9]{2}0)'?s\b(?<!1s)", _decade),
    rule(r"(?<![\w.,'])([1-9][1-9]0)s\b", lambda m: plural(in_pairs(int(m[1])))),
    rule(r"(?<![\w.,])([0-9])s\b", lambda m: plural(DIGITS[int(m[1])])),
    rule(r"(?<![\w.,/])([0-9]{1,4})/([0-9]{1,4})(?:ths?|rds?|nds?)\b", _parts, re.IGNORECASE),
    rule(rf"{START}((?:[0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]+))(?:st|nd|rd|th)\b",
         lambda m: ordinal(int(m[1].replace(",", ""))), re.IGNORECASE),
    rule(r"(?<![\w.,/])([0-9]+)\s([0-9]{1,2})/([0-9]{1,2})(?![\w/])", _mixed),
    rule(r"(?<![\w.,/])[0-9]+(?:/[0-9]+){2,}(?![\w/])",
         lambda m: ", ".join(map(number, m[0].split("/")))),
    rule(r"(?<![\w.,/])([0-9]{1,4})/([0-9]{1,4})(?![\w/]|\.[0-9])", _fraction),
)  # fmt: skip

# Versions, serial numbers, chains


def _version(match: re.Match[str]) -> str:
    parts = [part if part == "" else _component(part) for part in match[1].split(".")]
    joined = " dot " if len(parts) == 4 else " point "
    return joined.join(parts)


def _component(digits: str) -> str:
    return one_by_one(digits) if digits[0] == "0" else number(digits)


def _chain(match: re.Match[str]) -> str:
    """A countdown, or digits of a code."""
    parts = re.split("[-\u2013]", match[0])
    say = one_by_one if max(map(len, parts)) > 2 else number
    return ", ".join(map(say, parts))


def _serial(match: re.Match[str]) -> str:
    """Letters and digits in at least four parts: 1-413-te-b."""
    said = re.sub("[0-9]+", _serial_digits, match[0].replace("/", " slash "))
    return " ".join(said.replace("-", " ").split())


def _serial_digits(match: re.Match[str]) -> str:
    digits = match[0]
    is_read = len(digits) <= _LONGEST_PART and digits[0] != "0"
    return f" {cardinal(int(digits)) if is_read else one_by_one(digits)} "


_CODES = (
    rule(
        r"(?<![\w.,/-])(?=[0-9/-]*[A-Za-z])(?=[A-Za-z/-]*[0-9])[A-Za-z0-9]+(?:[-/][A-Za-z0-9]+){3,}"
        r"(?![\w/-])",
        _serial,
    ),
    rule(r"(?<![\w.,])[vV](?=[0-9]+\.)", "version "),
    rule(r"(?<![\w.,])v(?!8\b)(?=[0-9]{1,2}\b)", "version "),
    rule(r"(?<=version )([0-9]+(?:\.[0-9]+)*)(?![\w])", _version, re.IGNORECASE),
    rule(r"(?<![\w.,])([0-9]+(?:\.[0-9]+){2,})(?!\w)", _version),
)

# Arithmetic and ranges


def _years(match: re.Match[str]) -> str:
    first, last = match[1], match[2]
    return f"{year(int(first))} to {year(int(last)) if len(last) == 4 else two_digits(int(last))}"


def _range(match: re.Match[str]) -> str:
    first, last = number(match[1]), number(match[2])
    return f"{first} {last}" if first == last else f"{first} to {last}"


_TIMES = (
    r"(?=\s(?:a|per|the|as|more|less|better|bigger|smaller|larger|higher|lower|[a-z]+er|daily|"
    r"weekly)\b)"
)
_SIGNS = (
    rule(r"\^(-?[0-9]+)", _power),
    rule(r"(?<![\w.,])([1-9][0-9]{2,3})\s?[x\u00d7]\s?([1-9][0-9]{2,3})(?![\w.,]\w|\w)",
         lambda m: f"{in_pairs(int(m[1]))} by {in_pairs(int(m[2]))}"),
    rule(r"(?<=[0-9])x(?=[0-9])", " by "),
    rule(rf"(?<=[0-9])x{_TIMES}", " times"),
    rule(r"(?<=[0-9])x\b", " x"),
    rule(r"(?<=[0-9])\s?[\u00d7*]\s?(?=[0-9])|(?<=[0-9])\sx\s(?=[0-9])", " times "),
    rule(r"(?<=[0-9]) - (?=[0-9])|(?<=[0-9])-(?=[0-9]+(?:\.[0-9]+)?\s?=)", " minus "),
    rule(r"(?<![\w.,-])[0-9]+(?:[-\u2013][0-9]+){2,}(?![\w-])", _chain),
    rule(r"(?<![\w.,-])(1[0-9]{3}|20[0-9]{2})\s?[-\u2013]\s?([12][0-9]{3}|[0-9]{2})(?![\w-])",
         _years),
    rule(rf"{START}({NUMBER})\s?[-\u2013]\s?({NUMBER})", _range),
)  # fmt: skip

COUNTS = (
    *_ORDINALS,
    *_CODES,
    *_SIGNS,
    rule(r"(?<=[A-Za-z])(?<!-[a-z]{2})(?<!-[a-z]{3})-(?=[0-9])", " "),  # but 1-on-1
    rule(r"(?<=[A-Za-z])[0-9]{3,}", lambda m: one_by_one(m[0])),
    rule(rf"({NUMBER})", lambda m: number(m[1])),
)
