"""What stands in brackets in front of what is said: a mood of the speaker, or text.

A stage direction, as `(laughs)`, is text, which `normalise/directions.py` is about: it is a mood
only of a speaker who has a clip of that name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from csm_chat.casting.names import LIKENESS, folded, label
from csm_chat.normalise.directions import find_directions

Moods: TypeAlias = Mapping[int, Collection[str]]  # by speaker, as their clips are called

_BRACKET = re.compile(r"\s*(?P<bracket>\((?P<within>[^()|]{1,40})\))")
_WORD = re.compile(r"[^\W\d_][\w'\u2019-]*")
_SILENCE = re.compile(r"(?:pause|beat)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Bracket:
    within: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Meaning:
    """What brackets mean. Neither a mood nor a problem: they are text."""

    mood: str = ""
    problem: str = ""


def bracket_of(text: str) -> Bracket | None:
    """Brackets that a text begins with."""
    found = _BRACKET.match(text)
    return found and Bracket(" ".join(found["within"].split()), *found.span("bracket"))


def meaning_of(
    within: str, speaker: int, names: Mapping[int, str], moods: Moods, *, is_of_name: bool
) -> Meaning:
    """`is_of_name`: the brackets stand behind a name, where nothing is said."""
    own = {folded(mood): mood for mood in moods.get(speaker, ())}
    if mood := own.get(folded(within)):
        return Meaning(mood)
    if _SILENCE.match(within) or is_direction(within):
        return Meaning()
    near = _near(within, own) or _near(
        within, {folded(m): m for each in moods.values() for m in each}
    )
    if is_of_name or near or (own and _WORD.fullmatch(within)):
        return Meaning(problem=_problem(within, speaker, names, moods, near))
    return Meaning()


def is_direction(within: str) -> bool:
    text = f"({within})"
    return any(found[0] == text for found in find_directions(text))


def _near(within: str, moods: Mapping[str, str]) -> str:
    near = get_close_matches(folded(within), moods, n=1, cutoff=LIKENESS)
    return moods[near[0]] if near else ""


def _problem(within: str, speaker: int, names: Mapping[int, str], moods: Moods, near: str) -> str:
    who = label(speaker, names)
    own = sorted(moods.get(speaker, ()))
    if own:
        guess = f"did you mean ({near})? " if near in own else ""
        there = f"{guess}{who} has {', '.join(own)}"
    else:
        others = [
            f"{label(n, names)}: {', '.join(sorted(each))}" for n, each in moods.items() if each
        ]
        there = f"{who} has none" + (f" ({'; '.join(others)})" if others else "")
    return (
        f'{who} has no mood "{within}": {there}. Begin the line with \\ to have the brackets spoken'
    )
