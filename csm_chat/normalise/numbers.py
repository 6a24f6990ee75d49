"""Numbers as English words."""

from __future__ import annotations

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
          "eighteen", "nineteen")  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = (
    (10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"),
)  # fmt: skip
_LARGEST = 10**15  # from here on digit by digit
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
             "nine": "ninth", "twelve": "twelfth"}  # fmt: skip
_PARTS = {2: "half", 4: "quarter"}
_YEARS = range(1100, 2100)
_N_DIGITS_READ = 15  # of a number; a longer one is read digit by digit
# Nobody reads ten digits without commas as billions: they are a number to call or to look up.
_N_DIGITS_OF_A_CODE = 10


def cardinal(number: int) -> str:
    """0 and up: "two thousand and five", "one hundred and twenty-three"."""
    if number >= _LARGEST:
        return one_by_one(str(number))
    if number < 20:
        return (DIGITS + _TEENS)[number]
    if number < 100:
        tens, units = divmod(number, 10)
        return _TENS[tens] + (f"-{DIGITS[units]}" if units else "")
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        return f"{DIGITS[hundreds]} hundred" + (f" and {cardinal(rest)}" if rest else "")
    scale, name = next(entry for entry in _SCALES if number >= entry[0])
    count, rest = divmod(number, scale)
    joined = " and " if 0 < rest < 100 else " "
    return f"{cardinal(count)} {name}" + (joined + cardinal(rest) if rest else "")


def ordinal(number: int) -> str:
    """ "twenty-first", "two hundredth"."""
    words = cardinal(number)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    head, last = words[:cut], words[cut:]
    if last in _ORDINALS:
        return head + _ORDINALS[last]
    return head + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def year(number: int) -> str:
    """0 - 9999: "nineteen oh five", "two thousand and nine", "twenty twenty-four"."""
    century, rest = divmod(number, 100)
    if (century % 10 == 0 and rest < 10) or century < 10:
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {two_digits(rest)}"


def two_digits(number: int) -> str:
    """Minutes, and years in their century: "oh five", "thirty"."""
    return cardinal(number) if number > 9 else f"oh {DIGITS[number]}"


def in_pairs(number: int) -> str:
    """As houses, rooms and flights are told: "one oh one", "fourteen twenty-eight"."""
    hundreds, rest = divmod(number, 100)
    if hundreds == 0 or number % 1000 == 0:
        return cardinal(number)
    if hundreds > 99:
        return one_by_one(str(number))
    return f"{cardinal(hundreds)} {two_digits(rest) if rest else 'hundred'}"


def one_by_one(digits: str) -> str:
    return " ".join(DIGITS[int(digit)] for digit in digits)


def plural(word: str) -> str:
    """ "sixes", "nineties", "quarters"."""
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    if word.endswith("f"):
        return f"{word[:-1]}ves"
    return f"{word}es" if word.endswith(("x", "ch", "sh")) else f"{word}s"


def amount(digits: str) -> str:
    """How much: "1,234", "3.14", "007"; never a year."""
    whole, point, decimals = digits.replace(",", "").partition(".")
    if (whole[:1] == "0" and len(whole) > 1) or len(whole) > _N_DIGITS_READ:
        said = one_by_one(whole)
    else:
        said = cardinal(int(whole)) if whole else ""
    return f"{said} point {one_by_one(decimals)}".strip() if point else said


def number(digits: str) -> str:
    """An unmarked number: a year if it looks like one, a long one digit by digit."""
    if digits.isdecimal() and len(digits) == 4 and int(digits) in _YEARS:
        return year(int(digits))
    if digits.isdecimal() and len(digits) >= _N_DIGITS_OF_A_CODE and not digits.endswith("000"):
        return one_by_one(digits)
    return amount(digits)


def fraction(numerator: int, denominator: int) -> str:
    """ "one half", "two thirds", "three sixteenths"; `denominator` is 2 or more."""
    part = _PARTS.get(denominator) or ordinal(denominator)
    return f"{cardinal(numerator)} {part if numerator == 1 else plural(part)}"
