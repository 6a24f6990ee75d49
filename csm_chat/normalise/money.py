"""Sums of money as words.

A new currency is one line in a table.
"""

from __future__ import annotations

import re

from csm_chat.normalise.numbers import amount, cardinal
from csm_chat.normalise.rules import AMOUNT, NUMBER, either, is_before_noun, rule

# one, many, the hundredth part

_DOLLAR, _EURO, _POUND = (
    ("dollar", "dollars", "cent"),
    ("euro", "euros", "cent"),
    ("pound", "pounds", "penny"),
)
_SIGNS = {
    "$": _DOLLAR, "\u20ac": _EURO, "\u00a3": _POUND, "\u00a5": ("yen", "yen", ""),
    "\u20b9": ("rupee", "rupees", "paisa"), "\u20a9": ("won", "won", ""),
    "\u20bd": ("ruble", "rubles", "kopeck"), "\u20ba": ("lira", "lira", ""),
    "\u20aa": ("shekel", "shekels", ""), "\u20ab": ("dong", "dong", ""),
    "\u20b4": ("hryvnia", "hryvnias", ""), "\u20a6": ("naira", "naira", ""),
    "\u20b1": ("peso", "pesos", ""), "\u0e3f": ("baht", "baht", ""),
    "\u20bf": ("bitcoin", "bitcoins", ""), "\u20a1": ("colon", "colones", ""),
}  # fmt: skip


def _dollars(country: str) -> tuple[str, str, str]:
    return f"{country} dollar", f"{country} dollars", "cent"


_PREFIXED = {
    "US$": _dollars("US"), "A$": _dollars("Australian"), "AU$": _dollars("Australian"),
    "C$": _dollars("Canadian"), "CA$": _dollars("Canadian"), "NZ$": _dollars("New Zealand"),
    "HK$": _dollars("Hong Kong"), "S$": _dollars("Singapore"), "NT$": _dollars("Taiwan"),
    "R$": ("real", "reais", ""), "Mex$": ("Mexican peso", "Mexican pesos", ""),
}  # fmt: skip
# before the number or after it
_CODES = {
    "USD": _dollars("US"), "EUR": _EURO, "GBP": _POUND, "JPY": ("yen", "yen", ""),
    "CHF": ("franc", "francs", "centime"), "CAD": _dollars("Canadian"),
    "AUD": _dollars("Australian"), "NZD": _dollars("New Zealand"), "HKD": _dollars("Hong Kong"),
    "SGD": _dollars("Singapore"), "CNY": ("yuan", "yuan", ""), "RMB": ("yuan", "yuan", ""),
    "INR": ("rupee", "rupees", "paisa"), "KRW": ("won", "won", ""),
    "SEK": ("Swedish krona", "Swedish kronor", ""), "NOK": ("Norwegian krone",
    "Norwegian kroner", ""), "DKK": ("Danish krone", "Danish kroner", ""),
    "PLN": ("zloty", "zlotys", ""), "CZK": ("koruna", "korunas", ""),
    "HUF": ("forint", "forints", ""), "BRL": ("real", "reais", ""),
    "MXN": ("Mexican peso", "Mexican pesos", ""), "ZAR": ("rand", "rand", ""),
    "RUB": ("ruble", "rubles", "kopeck"),
    "ILS": ("shekel", "shekels", ""), "THB": ("baht", "baht", ""),
    "BTC": ("bitcoin", "bitcoins", ""),
    "kr.": ("krone", "kroner", ""), "kr": ("krone", "kroner", ""), "Kr": ("krone", "kroner", ""),
    "Rs.": ("rupee", "rupees", "paisa"), "Rs": ("rupee", "rupees", "paisa"),
    "Fr.": ("franc", "francs", "centime"),
    "Kc": ("koruna", "korunas", ""), "K\u010d": ("koruna", "korunas", ""),
    "z\u0142": ("zloty", "zlotys", ""),
}  # fmt: skip
_CURRENCIES = _SIGNS | _PREFIXED | _CODES
_HUNDREDTHS = {"cent": "cents", "penny": "pence", "paisa": "paise", "kopeck": "kopecks",
               "centime": "centimes"}  # fmt: skip
SCALES = {"k": "thousand", "m": "million", "mn": "million", "mio": "million", "mm": "million",
          "b": "billion", "bn": "billion", "mrd": "billion", "tn": "trillion",
          "t": "trillion", "trn": "trillion"}  # fmt: skip

_SCALE = rf"(?:\s?(thousand|million|billion|trillion|{either(SCALES)})(?!\w))?"


def _scaled(number: str, scale: str | None) -> str:
    return f"{amount(number)} {SCALES.get(scale.lower(), scale.lower())}" if scale else number


def _with_hundredths(number: str, currency: tuple[str, str, str], many: str) -> str:
    """ "twenty dollars and fifty cents" of 20.5, 20.50 and 20.500."""
    one, _, hundredth = currency
    whole, point, small = number.replace(",", "").partition(".")
    small = small.rstrip("0").ljust(2, "0") if point else ""
    if point and (not hundredth or len(small) > 2):
        return f"{amount(number)} {many}"
    parts = []
    if int(whole or 0) or not int(small or 0):
        parts.append(f"{_whole(whole)} {one if whole == '1' else many}")
    if int(small or 0):
        name = hundredth if small == "01" else _HUNDREDTHS[hundredth]
        parts.append(f"{cardinal(int(small))} {name}")
    return " and ".join(parts)


def _whole(digits: str) -> str:
    return amount(digits or "0")


def _sum(
    sign: str,
    first: tuple[str, str | None],
    last: tuple[str, str | None] | None = None,
    is_before_noun: bool = False,
) -> str:
    """Of one number or a range of two, each with its scale ("k", "million")."""
    currency = _CURRENCIES[sign]
    many = currency[0] if is_before_noun else currency[1]
    if last is None:
        if first[1]:
            return f"{_scaled(*first)} {many}"
        return _with_hundredths(first[0], currency, many)
    if first[1] == last[1]:
        first = (first[0], None)
    if not (first[1] or last[1]) and "." in first[0] + last[0]:
        return " to ".join(_with_hundredths(n, currency, many) for n, _ in (first, last))
    said = [_scaled(n, scale) if scale else amount(n) for n, scale in (first, last)]
    return f"{' to '.join(said)} {many}"


def _before(match: re.Match[str]) -> str:
    sign, minus, first, first_scale, last, last_scale = match.groups()
    said = _sum(sign, (first, first_scale), (last, last_scale) if last else None,
                is_before_noun(match))  # fmt: skip
    return f"minus {said}" if minus else said


def _after(match: re.Match[str]) -> str:
    first, last, scale, sign = match.groups()
    return _sum(sign, (first, None if last else scale), (last, scale) if last else None)


_SIGN = f"(?:{either(_SIGNS)})"
_WITH_SIGN = rf"(?:{either(_PREFIXED)}|{either(_SIGNS)})"
_SUM = rf"\s?(-)?({NUMBER}){_SCALE}(?:\s?[-\u2013]\s?(?:{_WITH_SIGN}|-)?({NUMBER}){_SCALE})?"
_CODE = either(_CODES)
_CODE_AFTER = either(code for code in _CODES if "." not in code)
MONEY = (
    # of the continent: 2,50 €
    rule(rf"(?<={_SIGN})([0-9]{{1,3}}),([0-9]{{2}})(?![0-9,]|\.[0-9])", r"\1.\2"),
    rule(rf"(?<![0-9.,])([0-9]{{1,3}}),([0-9]{{2}})(?=\s?(?:{_SIGN}|(?:{_CODE})\b))", r"\1.\2"),
    # $100 USD: the code says which
    rule(rf"{_SIGN}(?={NUMBER}\s?(?:{either(code for code in _CODES if code.isupper())})\b)", ""),
    rule(r"(?<=[0-9])/-(?!\w)", ""),  # 500/-, as in India
    rule(rf"(?<![\w-])({_CODE}){_SUM}", _before),
    rule(rf"(?<!\w)((?-i:{either(_PREFIXED)})){_SUM}", _before, re.IGNORECASE),
    rule(rf"({_SIGN}){_SUM}", _before, re.IGNORECASE),
    rule(rf"{AMOUNT}{_SCALE}\s?({_SIGN})(?![0-9])", _after),
    rule(rf"{AMOUNT}{_SCALE}\s?({_CODE_AFTER})(?:\.(?=\s[a-z])|(?!\w))", _after),
    rule(rf"{AMOUNT}\s?\u00a2", lambda m: f"{amount(m[1])} cent{'s' * (m[1] != '1')}"),
    rule(r"(?<![\w.,])([1-9][0-9]?)p\b(?!\.)",
         lambda m: f"{amount(m[1])} {'penny' if m[1] == '1' else 'pence'}"),
)  # fmt: skip
