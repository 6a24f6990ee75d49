"""When each phoneme of a recording starts, and of which word of its text it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from csm_chat.training.speech.espeak import Phoneme
from csm_chat.types import SAMPLE_RATE

UNIT_S = 600 / SAMPLE_RATE  # lengths are counted in it
STRESSES = frozenset("ˈˌ")
PAUSES = frozenset(';:,.!?—…"()“”')
PAUSE = ""
LONG_SPACE = 3  # units; between words that run on it lasts one or two


def phonemes(symbols: str, lengths: Sequence[int], text: str) -> tuple[Phoneme, ...]:
    """Phonemes and pauses in order.

    `lengths` are those of a beginning, each symbol, and an end, in units of 25 ms. A stress counts
    to what it stresses, a short space to what was before it.
    """
    assert len(lengths) == len(symbols) + 2, (len(lengths), len(symbols))
    places = word_places(symbols, text)
    found = [Phoneme(PAUSE, 0.0, places[0])]
    units, begun, word = lengths[0], lengths[0], 0
    for symbol, length in zip(symbols, lengths[1:], strict=False):
        if symbol not in STRESSES:
            name = _name(symbol, length)
            if name is not None and not name == found[-1].name == PAUSE:
                found.append(Phoneme(name, begun * UNIT_S, places[word]))
        word += symbol == " "
        units += length
        if symbol not in STRESSES:
            begun = units
    if found[-1].name:
        found.append(Phoneme(PAUSE, begun * UNIT_S, places[-1]))
    return tuple(found)


def _name(symbol: str, length: int) -> str | None:
    """Of a phoneme, PAUSE, or None for what is not heard by itself."""
    if symbol == " ":
        return PAUSE if length >= LONG_SPACE else None
    return PAUSE if symbol in PAUSES else symbol


def word_places(symbols: str, text: str) -> tuple[int, ...]:
    """Where in the text each word of the symbols begins, in characters.

    Where they are not as many, as with hyphens, the words of the text are shared out evenly.
    """
    begins = [match.start() for match in re.finditer(r"\S+", text)]
    n_spoken = symbols.count(" ") + 1
    return tuple(begins[i * len(begins) // n_spoken] for i in range(n_spoken))
