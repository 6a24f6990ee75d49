"""Text from a grammar file: sections, alternatives, inflected words.

The files say at their top how they are written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from csm_chat.training.text.inflection import inflected
from csm_chat.training.text.spoken import spoken_words

Part = Callable[[Random], str]

DIGITS_SHARE = 0.35  # of numbers, those written in digits
TOKEN = re.compile(r"\{([^}]*)\}|([(|)])|([^{}(|)]+)")
WEIGHT = re.compile(r"(\d+)\* (.*)")
ARTICLE = re.compile(r"\b([Aa])~ (?=(\w+))")
VOWEL_SOUND = re.compile(r"(?i)[aeio]|u(?!ni|s[eu]|k|t[eo])|hour|honest|heir|[flmnsx]$")
CONSONANT_SOUND = re.compile(r"(?i)one\b|once|eu|ewe")
SPACE_BEFORE_MARK = re.compile(r"\s+([.,!?;])")

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
          "October", "November", "December")  # fmt: skip


class Grammar:
    """Sections of alternatives, expanded at random from any of them."""

    def __init__(self, sections: Mapping[str, Sequence[str]], words: Mapping[str, Sequence[str]]):
        self._words = words
        self._forms: dict[tuple[str, str], Part] = {}
        self._parts: dict[str, list[Part]] = {}
        for name, alternatives in sections.items():
            parts: list[Part] = []
            for line in alternatives:
                weight, text = match.groups() if (match := WEIGHT.match(line)) else ("1", line)
                parts += [self._compiled(text)] * int(weight)
            self._parts[name] = parts

    def text(self, name: str, rng: Random) -> str:
        """One expansion of a section: clean spaces, articles that fit, a capital first."""
        drawn = rng.choice(self._parts[name])(rng)
        drawn = SPACE_BEFORE_MARK.sub(r"\1", " ".join(drawn.split()))
        drawn = drawn.replace(".m..", ".m.")  # a full stop ends the abbreviation and the sentence
        drawn = ARTICLE.sub(lambda m: f"{m[1]}{'n' if _vowel_first(m[2]) else ''} ", drawn)
        first = 1 if drawn.startswith('"') else 0
        return drawn[:first] + drawn[first : first + 1].upper() + drawn[first + 1 :]

    def _compiled(self, text: str) -> Part:
        tokens = list(TOKEN.finditer(text))
        part, end = self._choice(tokens, 0)
        assert end == len(tokens), text
        return part

    def _choice(self, tokens: Sequence[re.Match[str]], start: int) -> tuple[Part, int]:
        """Alternatives up to the closing bracket or the end."""
        sequences: list[list[Part]] = [[]]
        while start < len(tokens) and tokens[start][2] != ")":
            reference, mark, literal = tokens[start].groups()
            start += 1
            if mark == "|":
                sequences.append([])
            elif mark == "(":
                part, start = self._choice(tokens, start)
                start += 1
                sequences[-1].append(part)
            elif literal is not None:
                sequences[-1].append(_always(literal))
            else:
                sequences[-1].append(self._reference(reference))
        return _any_of([_in_order(parts) for parts in sequences]), start

    def _reference(self, reference: str) -> Part:
        if reference.startswith("#"):
            return _number(NUMBERS[reference[1:]])
        name, _, form = reference.rstrip("!").partition(":")
        if name in self._words:
            part = self._word(name, form)
        else:
            key = f"{name}:{form}" if form else name
            part = self._later(key)
        return _capital(part) if reference.endswith("!") else part

    def _word(self, name: str, form: str) -> Part:
        if (name, form) not in self._forms:
            words = [inflected(word, form) for word in self._words[name]]
            self._forms[name, form] = lambda rng: rng.choice(words)
        return self._forms[name, form]

    def _later(self, name: str) -> Part:
        return lambda rng: rng.choice(self._parts[name])(rng)


def _always(text: str) -> Part:
    return lambda rng: text


def _any_of(parts: list[Part]) -> Part:
    return parts[0] if len(parts) == 1 else lambda rng: rng.choice(parts)(rng)


def _in_order(parts: list[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    return lambda rng: "".join([part(rng) for part in parts])


def _capital(part: Part) -> Part:
    return lambda rng: part(rng).capitalize()


def _vowel_first(word: str) -> bool:
    return bool(VOWEL_SOUND.match(word)) and not CONSONANT_SOUND.match(word)


def _number(digits: Part) -> Part:
    def drawn(rng: Random) -> str:
        written = digits(rng)
        return written if rng.random() < DIGITS_SHARE else spoken_words(written)

    return drawn


def _grouped(rng: Random) -> str:
    number = int(10 ** rng.uniform(0.3, 6))
    return f"{number:,}"  # without the comma, 1,850 would be read as a year


def _ordinal(rng: Random, limit: int = 30) -> str:
    number = rng.randint(1, limit)
    ending = "th" if number in range(11, 14) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _price(rng: Random) -> str:
    dollars = int(10 ** rng.uniform(0.3, 3.5))
    cents = rng.choice(("", "", f".{rng.randint(1, 99):02}", ".50", ".99"))
    return f"${dollars:,}{cents}"


def _time(rng: Random) -> str:
    hour = rng.randint(1, 12)
    minute = rng.choice((0, 15, 30, 45, rng.randint(1, 59)))
    return f"{hour}:{minute:02}"


def _date(rng: Random) -> str:
    month = rng.choice(MONTHS)
    return f"{month} {_ordinal(rng)}"


NUMBERS: Mapping[str, Part] = {
    "small": lambda rng: str(rng.randint(2, 20)),
    "number": lambda rng: rng.choice((str(rng.randint(2, 99)), _grouped(rng))),
    "year": lambda rng: str(rng.choice((rng.randint(1900, 2029), rng.randint(1100, 2099)))),
    "decade": lambda rng: f"{rng.randint(180, 199)}0s",
    "time": _time,
    "hour": lambda rng: str(rng.randint(1, 12)),
    "price": _price,
    "ordinal": _ordinal,
    "date": _date,
    "phone": lambda rng: f"{rng.randint(200, 999)}-{rng.randint(0, 9999):04}",
    "percent": lambda rng: f"{rng.randint(1, 100)}%",
    "decimal": lambda rng: f"{rng.randint(0, 99)}.{rng.randint(1, 99)}",
}


def read_grammar(*paths: Path) -> Grammar:
    """Read files of `[section]`s and `<word list>`s, which may use each other's."""
    sections: dict[str, list[str]] = {}
    words: dict[str, list[str]] = {}
    for path in paths:
        taken: list[str] = []
        is_list = False
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line.startswith(("[", "<")):
                is_list = line[0] == "<"
                taken = (words if is_list else sections).setdefault(line[1:-1], [])
            else:
                taken.extend(line.split() if is_list else [line])
    return Grammar(sections, words)
