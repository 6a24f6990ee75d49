"""Numbers in a text as words: money, measures, ranges ... Knows no abbreviation."""

from __future__ import annotations

import re

from csm_chat.normalise.dates import DATES, TIMES
from csm_chat.normalise.numbers import (
    DIGITS,
    amount,
    cardinal,
    fraction,
    number,
    one_by_one,
    ordinal,
    plural,
    two_digits,
    year,
)
from csm_chat.normalise.rules import Rule, after, rule

_START = r"(?<![0-9])(?<![0-9][.,])"
_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|(?<!\w)\.[0-9]+)"
_AMOUNT = rf"{_START}({_NUMBER})(?:\s?[-\u2013]\s?({_NUMBER}))?"  # or a range of two
_N_DIGITS_READ = 15  # of a number; a longer one is read digit by digit


def _many(first: str, last: str | None) -> str:
    return f"{amount(first)} to {amount(last)}" if last else amount(first)


def _is_one(first: str, last: str | None) -> bool:
    return first == "1" and last is None


def _is_before_noun(match: re.Match[str]) -> bool:
    """As in "a 5 km walk", "a 10 kg-bag"."""
    text, start, end = match.string, match.start(), match.end()
    is_one = re.search(r"\ban? $", text[max(0, start - 4) : start], re.IGNORECASE)
    return after(match) == "-" or bool(is_one and re.match(r" [a-z]{3}", text[end : end + 4]))


# Money

_CURRENCIES = {
    "$": ("dollar", "dollars", "cent"), "\u20ac": ("euro", "euros", "cent"),
    "\u00a3": ("pound", "pounds", "penny"), "\u00a5": ("yen", "yen", ""),
    "\u20b9": ("rupee", "rupees", "paisa"), "USD": ("US dollar", "US dollars", "cent"),
    "EUR": ("euro", "euros", "cent"), "GBP": ("pound", "pounds", "penny"),
}  # fmt: skip
_CENTS = {"cent": "cents", "penny": "pence", "paisa": "paise"}
_SIGN = "([$\u20ac\u00a3\u00a5\u20b9])"
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion",
           "tn": "trillion", "t": "trillion"}  # fmt: skip
_SCALE = r"(?:\s?(thousand|million|billion|trillion|mn|bn|tn|[kmbt])(?!\w))?"


def _money(
    sign: str, first: str, last: str | None, scale: str | None, is_before_noun: bool = False
) -> str:
    one, many, cent = _CURRENCIES[sign]
    many = one if is_before_noun else many
    if scale:
        return f"{_many(first, last)} {_SCALES.get(scale.lower(), scale.lower())} {many}"
    if last or not cent or not re.search(r"\.[0-9]{2}$", first):
        return f"{_many(first, last)} {one if _is_one(first, last) else many}"
    whole, _, small = first.replace(",", "").partition(".")
    parts = []
    if int(whole or 0) or not int(small):
        parts.append(f"{cardinal(int(whole or 0))} {one if whole == '1' else many}")
    if int(small):
        parts.append(f"{cardinal(int(small))} {cent if small == '01' else _CENTS[cent]}")
    return " and ".join(parts)


_MONEY = (
    rule(rf"\b(USD|EUR|GBP)\s?{_AMOUNT}{_SCALE}", lambda m: _money(m[1], m[2], m[3], m[4])),
    rule(rf"(?:\b(?:US|CA|AU|NZ))?{_SIGN}\s?{_START}({_NUMBER})"
         rf"(?:\s?[-\u2013]\s?{_SIGN}?({_NUMBER}))?{_SCALE}",
         lambda m: _money(m[1], m[2], m[4], m[5], _is_before_noun(m)), re.IGNORECASE),
    rule(rf"{_AMOUNT}{_SCALE}\s?{_SIGN}(?![0-9])", lambda m: _money(m[4], m[1], m[2], m[3])),
    rule(rf"{_AMOUNT}\s(USD|EUR|GBP)\b", lambda m: _money(m[3], m[1], m[2], None)),
    rule(rf"{_AMOUNT}\s?\u00a2", lambda m: f"{_many(m[1], m[2])} cent{'s' * (m[1] != '1')}"),
)  # fmt: skip

# Measures: one, many

_UNITS = {
    "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "nm": "nanometer",
    "\u03bcm": "micrometer", "mi": "mile", "yd": "yard", "kg": "kilogram", "g": "gram",
    "mg": "milligram", "\u03bcg": "microgram", "lb": "pound", "lbs": "pound", "oz": "ounce",
    "l": "liter", "L": "liter", "ml": "milliliter", "mL": "milliliter", "cl": "centiliter",
    "dl": "deciliter", "gal": "gallon", "s": "second", "sec": "second", "secs": "second",
    "ms": "millisecond", "min": "minute", "mins": "minute", "h": "hour", "hr": "hour",
    "hrs": "hour", "yr": "year", "yrs": "year", "kB": "kilobyte", "KB": "kilobyte",
    "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "W": "watt", "kW": "kilowatt",
    "MW": "megawatt", "GW": "gigawatt", "V": "volt", "kV": "kilovolt", "mA": "milliamp",
    "mAh": "milliamp hour", "Wh": "watt hour", "kWh": "kilowatt hour", "dB": "decibel",
    "cal": "calorie", "kcal": "kilocalorie", "kJ": "kilojoule", "ha": "hectare", "px": "pixel",
    "m^2": "square meter", "m^3": "cubic meter", "km^2": "square kilometer",
    "cm^2": "square centimeter", "cm^3": "cubic centimeter", "sq m": "square meter",
    "sqm": "square meter", "cu m": "cubic meter", "sq mi": "square mile", "\u00b0": "degree",
    "deg": "degree", "ct": "carat", "pt": "point", "pts": "point",
}  # fmt: skip
_SAME_IN_ALL_NUMBERS = {
    "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "mph": "miles per hour", "mi/h": "miles per hour", "km/h": "kilometers per hour",
    "kph": "kilometers per hour", "kmh": "kilometers per hour", "m/s": "meters per second",
    "m/s^2": "meters per second squared", "rpm": "RPM", "bpm": "beats per minute",
    "fps": "frames per second", "mpg": "miles per gallon", "MB/s": "megabytes per second",
    "GB/s": "gigabytes per second", "Mbps": "megabits per second", "kbps": "kilobits per second",
    "Gbps": "gigabits per second", "dpi": "DPI", "psi": "PSI", "ppm": "parts per million",
    "\u00b0C": "degrees Celsius", "\u00b0F": "degrees Fahrenheit", "ft": "feet",
    "sq ft": "square feet", "sqft": "square feet", "%": "percent",
}  # fmt: skip
_ONE = {"\u00b0C": "degree Celsius", "\u00b0F": "degree Fahrenheit", "ft": "foot",
        "sq ft": "square foot", "sqft": "square foot", "mph": "mile per hour"}  # fmt: skip
_BY_LENGTH = sorted([*_UNITS, *_SAME_IN_ALL_NUMBERS], key=len, reverse=True)


def _measure(match: re.Match[str]) -> str:
    first, last, unit = match.groups()
    is_one = _is_one(first, last) or _is_before_noun(match)
    if unit in _SAME_IN_ALL_NUMBERS:
        words = _ONE.get(unit, _SAME_IN_ALL_NUMBERS[unit]) if is_one else _SAME_IN_ALL_NUMBERS[unit]
    else:
        words = _UNITS[unit] if is_one else plural(_UNITS[unit])
    return f"{_many(first, last)} {words}"


_UNIT = "|".join(re.escape(unit) for unit in _BY_LENGTH)
_ACROSS = r"(?=,?\s(?:tall|long|wide|high|deep|across|by|x)\b)"
_SIZED = r"(?=\s(?:screen|display|pizza|monitor|TV|tablet|laptop|vinyl|pipe|wheels?|nails?)\b)"
_MEASURES = (
    rule(r"(?<=%)\s?[-\u2013]\s?(?=[0-9])", " to "),
    rule(r"(?<![\w.,])([0-9]{1,2})'\s?([0-9]{1,2})(?:\"|(?![\w']))",
         lambda m: f"{amount(m[1])} foot {amount(m[2])}"),
    rule(rf"(?<![\w.,])([0-9]{{1,3}})'{_ACROSS}", lambda m: f"{amount(m[1])} feet"),
    rule(rf"(?<![\w.,])({_NUMBER})\"{_ACROSS}", lambda m: f"{amount(m[1])} inches"),
    rule(rf"(?<![\w.,])({_NUMBER})\"{_SIZED}", lambda m: f"{amount(m[1])} inch"),
    # an s right after a number makes its plural; a second stands apart
    rule(rf"(?<![^\W_]){_AMOUNT}\s?(?!(?<!\s)s\b)({_UNIT})(?:\.(?=\s[a-z])|(?![\w^/]|'\w|\.[a-z]))",
         _measure),
    rule(rf"{_AMOUNT}\s?in(?=\s?[x\u00d7]\s?[0-9]|\.(?=\s+[a-z]))\.?",
         lambda m: f"{_many(m[1], m[2])} inch{'es' * (not _is_one(m[1], m[2]))}"),
)  # fmt: skip

# Everything else with digits


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


def _years(match: re.Match[str]) -> str:
    first, last = match[1], match[2]
    return f"{year(int(first))} to {year(int(last)) if len(last) == 4 else two_digits(int(last))}"


def _chain(match: re.Match[str]) -> str:
    """A countdown, or digits of a code."""
    parts = re.split("[-\u2013]", match[0])
    say = one_by_one if max(map(len, parts)) > 2 else number
    return ", ".join(map(say, parts))


def _range(match: re.Match[str]) -> str:
    first, last = number(match[1]), number(match[2])
    return f"{first} {last}" if first == last else f"{first} to {last}"


def _version(match: re.Match[str]) -> str:
    parts = [part if part == "" else _component(part) for part in match[1].split(".")]
    joined = " dot " if len(parts) == 4 else " point "
    return joined.join(parts)


def _component(digits: str) -> str:
    return one_by_one(digits) if digits[0] == "0" else number(digits)


def _power(match: re.Match[str]) -> str:
    power = match[1]
    return {"2": " squared", "3": " cubed"}.get(power) or f" to the power of {power}"


_OTHERS = (
    rule(r"(?:(?<=[0-9](?:st|nd|rd|th))|(?<=[0-9]s))\s?[-\u2013]\s?(?=[0-9])", " to "),
    rule(r"(?<![0-9])(['']?)([0-9]{2}|[12][0-9]{2}0)'?s\b(?<!1s)", _decade),
    rule(r"(?<![\w.,])([0-9])s\b", lambda m: plural(DIGITS[int(m[1])])),
    rule(rf"{_START}((?:[0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]+))(?:st|nd|rd|th)\b",
         lambda m: ordinal(int(m[1].replace(",", ""))), re.IGNORECASE),
    rule(r"(?<![\w.,/])([0-9]+)\s([0-9]{1,2})/([0-9]{1,2})(?![\w/])", lambda m: _mixed(m)),
    rule(r"(?<![\w.,/])([0-9]{1,4})/([0-9]{1,4})(?![\w/]|\.[0-9])", _fraction),
    rule(r"(?<![\w.,])[vV](?=[0-9]+\.)", "version "),
    rule(r"(?<=version )([0-9]+(?:\.[0-9]+)*)(?![\w])", _version, re.IGNORECASE),
    rule(r"(?<![\w.,])([0-9]+(?:\.[0-9]+){2,})(?!\w)", _version),
    rule(r"\^(-?[0-9]+)", _power),
    rule(r"(?<=[0-9])x(?=[0-9])", " by "),
    rule(r"(?<=[0-9])x\b", " times"),
    rule(r"(?<=[0-9])\s?[\u00d7*]\s?(?=[0-9])|(?<=[0-9])\sx\s(?=[0-9])", " times "),
    rule(r"(?<=[0-9]) - (?=[0-9])|(?<=[0-9])-(?=[0-9]+(?:\.[0-9]+)?\s?=)", " minus "),
    rule(r"(?<![\w.,-])[0-9]+(?:[-\u2013][0-9]+){2,}(?![\w-])", _chain),
    rule(r"(?<![\w.,-])(1[0-9]{3}|20[0-9]{2})\s?[-\u2013]\s?([12][0-9]{3}|[0-9]{2})(?![\w-])",
         _years),
    rule(rf"{_START}({_NUMBER})\s?[-\u2013]\s?({_NUMBER})", _range),
    rule(r"(?<=[A-Za-z])-(?=[0-9])", " "),
    rule(r"(?<=\b(?:in|by) )(10[0-9]{2})\b", lambda m: year(int(m[1]))),
    rule(rf"{_START}({_NUMBER})k\b", lambda m: f"{amount(m[1])} K"),
    rule(r"(?<=[A-Za-z])[0-9]{3,}", lambda m: one_by_one(m[0])),
    rule(rf"({_NUMBER})", lambda m: number(m[1])),
)  # fmt: skip


def _mixed(match: re.Match[str]) -> str:
    top, bottom = int(match[2]), int(match[3])
    if not 0 < top < bottom:
        return match[0]
    part = fraction(top, bottom)
    return f"{amount(match[1])} and {part.replace('one ', 'a ', 1) if top == 1 else part}"


_LONG = rf"(?<![0-9.,])[0-9]{{{_N_DIGITS_READ + 1},}}|(?<=\.)[0-9]{{{_N_DIGITS_READ + 1},}}"
_EUROPEAN = r"(?<![0-9.,])([0-9]{1,3}(?:\.[0-9]{3})+),([0-9]{2})(?![0-9])"
NUMBERS: tuple[Rule, ...] = (
    rule(_LONG, lambda m: one_by_one(m[0])),
    rule(_EUROPEAN, lambda m: f"{m[1].replace('.', ',')}.{m[2]}"),
    *DATES,
    rule(r"(?<![\w)\]'\"%.,-])-(?=\.?[0-9]|[$\u20ac\u00a3])", "minus "),
    *TIMES,
    *_MONEY,
    *_MEASURES,
    *_OTHERS,
)
