"""What stands before a colon: a name, with a mood or a stage direction behind it; or text.

`Cleo: Hi.` needs no clip: Cleo is a new speaker then. A name much like one there is is taken for a
slip of the pen, a small word before a colon for one as well: a wrong guess would be heard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

from csm_chat.casting.names import folded, nearest

# A colon with no space behind it belongs to the text ("10:30", "https://").
_LABEL = re.compile(
    r"\s*(?P<name>[^\W\d_][^:|()\[\]\"!?,;]{0,39}?)\s*"
    r"(?P<bracket>\([^\W\d_][^:|()]{0,39}\)\s*)?(?P<colon>:)(?=\s|$)"
)
_KNOWN = re.compile(r"(?P<name>.*?)(?P<bracket>\([^()]*\)\s*)?", re.DOTALL)
_NUMBERED = re.compile(r"speaker ([0-9]{1,3})")
MAX_WORDS = 3
NEAR_ENOUGH_TO_ASK = 0.6  # for who is refused anyhow


@dataclass(frozen=True, slots=True)
class Label:
    name: str
    bracket: str  # behind the name, without its marks; "" if there is none
    bracket_at: int  # where it stands
    end: int  # behind the colon


def known_label(text: str, known: Mapping[str, int]) -> Label | None:
    """A name that somebody has, by `known` folded names, however the colon stands."""
    before, colon, _ = text.partition(":")
    if not colon:
        return None
    end = len(before) + 1
    if folded(before) in known:
        return Label(before, "", end, end)
    found = _KNOWN.fullmatch(before)
    if found and found["bracket"] and folded(found["name"]) in known:
        return Label(found["name"], _within(found["bracket"]), found.start("bracket"), end)
    return None


def label_of(text: str) -> Label | None:
    """What may be a name in front of a part, if that is what stands there."""
    found = _LABEL.match(text)
    if not found:
        return None
    name = " ".join(found["name"].split())
    words = name.split()
    # "He said: no" and "Chapter 3: the sea" are text
    is_name = len(words) <= MAX_WORDS and all(w[0].isalpha() and not w[0].islower() for w in words)
    if not (is_name or len(words) == 1 or _NUMBERED.fullmatch(folded(name))):
        return None
    bracket = found["bracket"] or ""
    at = found.start("bracket") if bracket else found.start("colon")
    return Label(name, _within(bracket), at, found.end("colon"))


def _within(bracket: str) -> str:
    return " ".join(bracket.strip()[1:-1].split())


def speaker_of_number(name: str) -> int | None:
    """The 7 of "Speaker 7"."""
    numbered = _NUMBERED.fullmatch(folded(name))
    return int(numbered[1]) if numbered else None


def problem_of(name: str, names: Mapping[int, str]) -> str | None:
    """Why nobody new can have a name."""
    if near := nearest(name, names):
        return (
            f'no voice is called "{name}": did you mean {near}? '
            f"If not, give it a number: --set voices.{_free(names)}={name}"
        )
    if name[0].islower():
        near = nearest(name, names, NEAR_ENOUGH_TO_ASK)
        hint = f" (the nearest is {near})" if near else ""
        return (
            f'no voice is called "{name}"{hint}: write it with a capital to give it a random '
            "voice, or begin the line with \\ to have it all spoken"
        )
    return None


def _free(names: Mapping[int, str]) -> int:
    return next(number for number in count() if number not in names)
