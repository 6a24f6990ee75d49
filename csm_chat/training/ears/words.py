"""How many words a listener got wrong, whatever spelling or digits they were written in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from csm_chat.normalise.numbers import ordinal
from csm_chat.training.ears.measures import character_errors, normalise
from csm_chat.training.text.grammar import MONTHS
from csm_chat.training.text.spoken import heard_words, spoken_words

Sound = TypeVar("Sound")

# Spellings that are one word to the ear; both sides are folded, so that which side is kept and what
# else falls together ("sense", "sence") does not matter.
ONE_SPELLING = (
    (r"(?<=[a-z]{2})our", "or"),  # colour, favourite
    (r"(?<=[a-z])([iy])z(?=[aei])", r"\1s"),  # realize, organization, analyze
    (r"(?<=[a-z][bt])re(s?)\b", r"er\1"),  # centre, fibre
    (r"ogue(s?)\b", r"og\1"),  # catalogue
    (r"(?<=[a-z]{2}[ei])[cs]e(s|d)?\b", r"ce\1"),  # practise
    (r"(?<=en)[cs]e(s|d)?\b", r"ce\1"),  # defence, license
    (r"ae(?=[a-z])", "e"),  # anaesthetic
    (r"ll", "l"),  # travelled, fulfil
)
ONE_WORD = {
    "aeroplane": "airplane", "aluminium": "aluminum", "cheque": "check", "cosy": "cozy",
    "doughnut": "donut", "doughnuts": "donuts", "grey": "gray", "jewellery": "jewelry",
    "kerb": "curb", "mould": "mold", "moustache": "mustache", "mum": "mom", "ok": "okay",
    "plough": "plow", "programme": "program", "pyjamas": "pajamas", "sceptical": "skeptical",
    "storey": "story", "tyre": "tire", "tyres": "tires", "yeah": "yes", "alright": "all right",
    "axe": "ax", "mr": "mister", "mrs": "missus", "dr": "doctor", "ms": "miz",
}  # fmt: skip
NUMBERS = "hundred|thousand|million"
DATE = re.compile(rf"\b({'|'.join(MONTHS)}) (\d{{1,2}})\b(?![:,]?\d)")
TIME = re.compile(r"\b(\d{1,2})(\d\d)\b")  # 645, said as 6:45
PATTERNS = tuple((re.compile(pattern), to) for pattern, to in ONE_SPELLING)


@dataclass(frozen=True, slots=True, order=True)
class Errors:
    """Edits from what was said to what was heard, and how much was said."""

    words: int
    n_words: int
    characters: int
    n_characters: int


def folded(text: str) -> str:
    """The words of a line, lower-case, digits read out, in one spelling of those there are."""
    dated = DATE.sub(lambda match: f"{match[1]} {ordinal(int(match[2]))}", text)
    plain = normalise(spoken_words(dated)).replace("'", "")
    plain = re.sub(rf"\b({NUMBERS}) and\b", r"\1", plain)
    plain = re.sub(rf"\ba ({NUMBERS})\b", r"one \1", plain)
    return " ".join(_in_one_spelling(word) for word in plain.split())


def _in_one_spelling(word: str) -> str:
    word = ONE_WORD.get(word, word)
    for pattern, to in PATTERNS:
        word = pattern.sub(to, word)
    return word


def errors(said: str, heard: str) -> Errors:
    """Compare two lines, folded; the kinder of two readings of numbers that may be times."""
    want = folded(said)
    readings = {folded(heard), folded(TIME.sub(r"\1 \2", heard))}
    return min(_compared(want, got) for got in readings)


def _compared(want: str, got: str) -> Errors:
    words = edits(want.split(), got.split())
    return Errors(words, len(want.split()), edits(want, got), len(want))


def error_rate(hear: Callable[[Sound], str], said: Iterable[tuple[str, Sound]]) -> float:
    """Character errors in per cent of all characters said, by one who hears letters alone."""
    counts = [character_errors(normalise(heard_words(text)), hear(sound)) for text, sound in said]
    return 100 * sum(errors for errors, _ in counts) / max(1, sum(length for _, length in counts))


def edits(want: Sequence[str], got: Sequence[str]) -> int:
    """The least number of items to change, add or take away."""
    row = list(range(len(got) + 1))
    for i, one in enumerate(want, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            changed = before + (one != other)
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, changed)
    return row[-1]
