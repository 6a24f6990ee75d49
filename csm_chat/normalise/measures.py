"""Measures as words: lengths, weights, speeds, degrees ...

A new unit is one line in a table.
"""

from __future__ import annotations

import re

from csm_chat.normalise.numbers import amount, fraction, plural
from csm_chat.normalise.rules import AMOUNT, NUMBER, either, is_before_noun, rule

# The name of one, and the signs it is written by.

_UNITS = {
    "kilometer": "km KM Km kms", "meter": "m", "centimeter": "cm CM cms", "millimeter": "mm MM",
    "decimeter": "dm", "nanometer": "nm", "micrometer": "\u03bcm", "mile": "mi", "inch": "ins",
    "yard": "yd yds", "nautical mile": "nmi", "light year": "ly", "kilogram": "kg KG Kg kgs",
    "gram": "g gm gms", "milligram": "mg", "microgram": "\u03bcg mcg", "pound": "lb lbs",
    "ounce": "oz", "tonne": "t", "fluid ounce": "fl oz", "liter": "l L", "milliliter": "ml mL",
    "centiliter": "cl cL", "deciliter": "dl dL", "gallon": "gal", "quart": "qt",
    "tablespoon": "tbsp", "teaspoon": "tsp", "second": "s sec secs", "millisecond": "ms",
    "microsecond": "\u03bcs", "nanosecond": "ns", "minute": "min mins", "hour": "h hr hrs",
    "week": "wk wks", "month": "mo mos", "year": "yr yrs",
    "kilobyte": "kB KB kb", "megabyte": "MB mb", "gigabyte": "GB gb", "terabyte": "TB tb",
    "petabyte": "PB", "kibibyte": "KiB", "mebibyte": "MiB", "gibibyte": "GiB", "megabit": "Mbit",
    "gigabit": "Gbit", "kilobit": "kbit", "watt": "W", "kilowatt": "kW kw KW", "megawatt": "MW",
    "gigawatt": "GW", "milliwatt": "mW", "volt": "V", "kilovolt": "kV", "millivolt": "mV",
    "amp": "amp amps", "milliamp": "mA", "milliamp hour": "mAh", "watt hour": "Wh",
    "kilowatt hour": "kWh KWh kwh", "decibel": "dB db", "ohm": "\u03a9", "kiloohm": "k\u03a9",
    "calorie": "cal", "kilocalorie": "kcal", "kilojoule": "kJ", "megajoule": "MJ",
    "pascal": "Pa", "kilopascal": "kPa", "megapascal": "MPa",
    "hectopascal": "hPa", "millibar": "mbar", "atmosphere": "atm", "hectare": "ha",
    "pixel": "px", "megapixel": "MP", "degree": "\u00b0 deg", "carat": "ct", "point": "pt pts",
    "knot": "kn kt kts", "lumen": "lm", "mole": "mol", "acre": "ac",
}  # fmt: skip
_LENGTHS = {"m": "meter", "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "mi": "mile",
            "yd": "yard", "in": "inch"}  # fmt: skip
# one and many
_SPECIAL = {
    "Hz": "hertz", "kHz khz KHz": "kilohertz", "MHz mhz Mhz": "megahertz",
    "GHz ghz Ghz": "gigahertz", "mph MPH mi/h": "mile per hour|miles per hour",
    "km/h kph kmh kmph KPH": "kilometer per hour|kilometers per hour",
    "m/s": "meter per second|meters per second",
    "m/s^2": "meter per second squared|meters per second squared",
    "rpm RPM": "RPM", "bpm BPM": "beat per minute|beats per minute",
    "fps FPS": "frame per second|frames per second", "mpg MPG": "mile per gallon|miles per gallon",
    "Mbps mbps Mb/s": "megabit per second|megabits per second",
    "kbps Kbps kb/s": "kilobit per second|kilobits per second",
    "Gbps gbps Gb/s": "gigabit per second|gigabits per second",
    "bps": "bit per second|bits per second", "dpi DPI": "DPI", "ppi PPI": "PPI", "psi PSI": "PSI",
    "ppm": "part per million|parts per million", "ppb": "part per billion|parts per billion",
    "\u00b0C": "degree Celsius|degrees Celsius",
    "\u00b0F": "degree Fahrenheit|degrees Fahrenheit",
    "ft": "foot|feet", "sq ft sqft sq.ft. sq.ft ft2 ft^2": "square foot|square feet",
    "cu ft cu.ft. ft3 ft^3": "cubic foot|cubic feet", "%": "percent", "hp HP": "horsepower",
    "cc": "cc", "sq m sqm": "square meter|square meters", 
    "sq km": "square kilometer|square kilometers",
    "cu m": "cubic meter|cubic meters", "sq mi": "square mile|square miles",
    "sq in": "square inch|square inches", "sq yd": "square yard|square yards",
    "bit/s": "bit per second|bits per second",
    "ft/s": "foot per second|feet per second", "gsm": "grams per square meter",
    "\u00b0N": "degree north|degrees north", "\u00b0S": "degree south|degrees south",
    "\u00b0E": "degree east|degrees east", "\u00b0W": "degree west|degrees west",
}  # fmt: skip


def _table() -> dict[str, tuple[str, str]]:
    """Each sign: one and many."""
    signs = {sign: (name, plural(name)) for name, signs in _UNITS.items() for sign in
             re.split(r" (?!oz)", signs)}  # fmt: skip
    for short, name in _LENGTHS.items():
        for power, shape in (("2", "square"), ("3", "cubic")):
            said = (f"{shape} {name}", f"{shape} {plural(name)}")
            signs |= {f"{short}{power}": said, f"{short}^{power}": said}
    for written, names in _SPECIAL.items():
        one, _, many = names.partition("|")
        for sign in re.split(r"(?<!sq)(?<!cu) ", written):
            signs[sign] = (one, many or one)
    return signs


_SIGNS = _table()
_UNIT = either(_SIGNS)
# of each: "per" them a measure may be told
_PER = {"L": "liter", "l": "liter", "dL": "deciliter", "dl": "deciliter", "ml": "milliliter",
        "mL": "milliliter", "s": "second", "h": "hour", "m^3": "cubic meter", "cm^3":
        "cubic centimeter", "m^2": "square meter", "m2": "square meter", "m3": "cubic meter",
        "kg": "kilogram", "mol": "mole", "ft^2": "square foot"}  # fmt: skip

# what is told by a measure: "a six kilogram bag", "ten kilometer walk"
_THINGS = (
    *(
        "bag",
        "box",
        "bottle",
        "can",
        "pack",
        "walk",
        "run",
        "race",
        "ride",
        "drive",
        "hike",
        "swim",
    ),
    *("flight", "radius", "stretch", "limit", "zone", "cable", "rope", "screen", "display", "lens"),
    *("monitor", "battery", "charger", "bulb", "engine", "disk", "card", "stick", "file", "plan"),
    *("tank", "barrel", "jar", "tube", "block", "bar", "sack", "weight", "dumbbell", "plate"),
    *("steak", "fish", "turkey", "pipe", "nail", "gun", "break", "delay", "video", "clip", "film"),
    *("session", "shift", "dash", "sprint", "course", "trail", "gap", "margin", "window", "pizza"),
    *(
        "motor",
        "adapter",
        "connection",
        "router",
        "SSD",
        "wall",
        "fence",
        "ladder",
        "drop",
        "camera",
        "pool",
        "sensor",
        "page",
        "sheet",
        "photo",
        "frame",
    ),
)

_THING = re.compile(rf" (?:{'|'.join(_THINGS)})\b")


def _many(first: str, last: str | None) -> str:
    return f"{amount(first)} to {amount(last)}" if last else amount(first)


def _is_before_thing(match: re.Match[str]) -> bool:
    return _THING.match(match.string, match.end()) is not None


def _name(match: re.Match[str], first: str, last: str | None, unit: str) -> str:
    is_one = (first == "1" and last is None) or is_before_noun(match) or _is_before_thing(match)
    return _SIGNS[unit][0 if is_one else 1]


def _measure(match: re.Match[str]) -> str:
    first, last, unit, per = match.groups()
    said = f"{_many(first, last)} {_name(match, first, last, unit)}"
    return f"{said} per {_PER[per]}" if per else said


def _joined(match: re.Match[str]) -> str:
    """4-yr-old, 10-min walk, 5-to-6-km run."""
    first, last, unit = match.groups()
    return f"{_many(first, last)}-{_SIGNS[unit][0] if unit != 'in' else 'inch'}"


def _inches(match: re.Match[str]) -> str:
    first, last = match.group(1, 2)
    return f"{_many(first, last)} inch{'' if (first == '1' and not last) else 'es'}"


def _feet_and_inches(match: re.Match[str]) -> str:
    """ "five foot ten" of 5'10", and "five feet six inches" where the units are written."""
    feet, inches = match[1], match[2]
    if "in" not in match[0]:
        return f"{amount(feet)} foot {amount(inches)}"
    of_feet = "foot" if feet == "1" or is_before_noun(match) else "feet"
    of_inches = "inch" if inches == "1" or is_before_noun(match) else "inches"
    return f"{amount(feet)} {of_feet} {amount(inches)} {of_inches}"


def _part(match: re.Match[str]) -> str:
    """ "one half inch", "three quarters of a mile", "two and a half inches"."""
    whole, top, bottom = match[1], int(match[2]), int(match[3])
    if not 0 < top < bottom:
        return match[0]
    one, many = ("inch", "inches") if match[4] == "in" else _SIGNS[match[4]]
    said = fraction(top, bottom)
    if whole:
        return f"{amount(whole)} and {said.replace('one ', 'a ', 1)} {many}"
    a = "an" if one[0] in "aeio" or one.startswith("hour") else "a"
    return f"{said} {one}" if top == 1 else f"{said} of {a} {one}"


_ACROSS = r"(?=,?\s(?:tall|long|wide|high|deep|across|thick|by|x)\b)"
_SIZED = (
    r"(?=\s(?:screen|display|pizza|monitor|TV|tablet|laptop|vinyl|pipe|wheels?|nails?|blade|"
    r"record|skillet|pan|heels?|gun|bolt|rims?|laptops?)\b)"
)
_NO_WORD = r"(?:\.(?=\s[a-z])|(?![\w^/]|'\w|\.[a-z]))"
_DEGREES = (
    r"(?<![\w.,])([0-9]{1,3})\u00b0\s?([0-9]{1,2})'"
    r"(?:\s?([0-9]{1,2}(?:\.[0-9]+)?)(?:\"|''))?(?:\s?([NSEW])\b)?"
)

_SIDES = {"N": "north", "S": "south", "E": "east", "W": "west"}


def _arc(match: re.Match[str]) -> str:
    seconds = f" {amount(match[3])} seconds" if match[3] else ""
    side = f" {_SIDES[match[4]]}" if match[4] else ""
    return f"{amount(match[1])} degrees {amount(match[2])} minutes{seconds}{side}"


_AREA = rf"(?=({NUMBER})\s?(?:[x\u00d7]\s?{NUMBER}\s?)?(?:{_UNIT})(?![\w/]))"
MEASURES = (
    rule(r"(?<=%)\s?[-\u2013]\s?(?=[0-9])", " to "),
    # of the continent: 2,5 kg
    rule(rf"(?<![0-9.,])([0-9]{{1,3}}),([0-9]{{1,2}})"
         rf"(?=\s?(?:(?:{_UNIT})(?![\w'])|million|billion))", r"\1.\2"),
    rule(rf"(?<=[0-9])\s?[x\u00d7]\s?{_AREA}", " by "),
    rule(r"(?<=[0-9][\"'])\s?[x\u00d7]\s?(?=[0-9])", " by "),
    rule(r"\u00b0\s?(?=[NSEW]\b)", "\u00b0"),
    rule(_DEGREES, _arc),
    rule(rf"(?<=[0-9])\s?(sq|cu)\.\s?({either((*_LENGTHS, 'ft'))})\b(?:\.(?=\s[a-z]))?", r" \1 \2"),
    rule(rf"(?<![\w.,/])(?:([0-9]+)\s)?([0-9]{{1,2}})/([0-9]{{1,2}})\s?({_UNIT}|in)(?![\w/])"
         r"(?:\.(?=\s[a-z]))?", _part),
    rule(rf"(?<![\w.,])({NUMBER})\"?(?= by ({NUMBER})\")", lambda m: amount(m[1])),
    rule(r"(?<![\w.,])([0-9]{1,2})'\s?([0-9]{1,2}(?:\.[0-9])?)(?:\"|''|(?![\w']))",
         _feet_and_inches),
    rule(r"(?<![\w.,])([0-9]{1,2})\s?(?:ft\.?|feet|foot)\s?([0-9]{1,2}(?:\.[0-9])?)\s?"
         r"(?:ins?\b(?:\.(?=\s[a-z]))?|inch(?:es)?\b|\"|(?![\w,.]))", _feet_and_inches),
    rule(rf"(?<![\w.,])([0-9]{{1,3}})'{_ACROSS}", lambda m: f"{amount(m[1])} feet"),
    rule(rf"(?<![\w.,])({NUMBER})(?:\"|''){_ACROSS}", lambda m: f"{amount(m[1])} inches"),
    rule(rf"(?<![\w.,])({NUMBER})(?:\"|''){_SIZED}", lambda m: f"{amount(m[1])} inch"),
    rule(rf"(?<= by )({NUMBER})\"",
         lambda m: f"{amount(m[1])} inch{'' if _is_before_thing(m) else 'es'}"),
    rule(rf"(?<![\w.,]){AMOUNT}-((?!(?:[a-zA-Z](?<![mgLVW])|in)-?\b)(?:{_UNIT})|in(?=-))"
         rf"(?=-[a-z]|\s(?!of\b)[a-z])", _joined),
    # an s right after a number makes its plural; a second stands apart
    rule(rf"(?<![^\W_]){AMOUNT}\s?(?!(?<!\s)s\b)({_UNIT})"
         rf"(?:/({either(_PER)})(?!\w))?{_NO_WORD}", _measure),
    rule(rf"{AMOUNT}(?:\s?in(?=\s?[x\u00d7]\s?[0-9]|\.(?=\s+[a-z])|{_ACROSS})\.?|in\b(?![-']))",
         _inches),
)  # fmt: skip
