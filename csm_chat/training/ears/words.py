"""How many words a listener got wrong, whatever spelling or digits they were written in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from csm_chat.checking.words import TIME, edits, in_one_spelling
from csm_chat.normalise.numbers import ordinal
from csm_chat.training.ears.measures import character_errors, normalise
from csm_chat.training.text.grammar import MONTHS
from csm_chat.training.text.spoken import heard_words, spoken_words

Sound = TypeVar("Sound")

NUMBERS = "hundred|thousand|million"
DATE = re.compile(rf"\b({'|'.join(MONTHS)}) (\d{{1,2}})\b(?![:,]?\d)")


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
    return " ".join(in_one_spelling(word) for word in plain.split())


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
