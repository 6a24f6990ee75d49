"""Who a script's names are: voices of the references, or speakers the script brings itself.

`Cleo: Hi.` needs no clip: Cleo is the next free speaker then. A name much like a voice's is taken
for a slip of the pen, a small word before a colon for one as well: a wrong guess would cost hours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import count

from csm_chat.config.settings import MAX_SPEAKER
from csm_chat.conversation.grammar import by_name, folded

# A colon with no space behind it belongs to the text ("10:30", "https://").
_LABEL = re.compile(r"\s*([^\W\d_][^:|()\[\]\"!?,;]{0,39}?)\s*:(?=\s|$)")
_NUMBERED = re.compile(r"speaker ([0-9]{1,3})")
MAX_WORDS = 3
LIKENESS = 0.8
UNNUMBERED = MAX_SPEAKER + 1  # names have numbers from here on until it is known which are free


@dataclass(frozen=True, slots=True)
class Cast:
    names: Mapping[int, str]  # by speaker: the voices' and the script's own
    problems: Mapping[int, str]  # by line

    @classmethod
    def of(
        cls,
        parts: Iterable[tuple[int, str]],
        names: Mapping[int, str],
        numbers: Callable[[Mapping[int, str]], set[int]],
    ) -> Cast:
        """`parts` are line number and text; `numbers` tells who else speaks, given all names."""
        problems: dict[int, str] = {}
        brought: dict[str, str] = {}  # by folded name, as first written
        named = dict(names)
        labels = [(line, label) for line, text in parts if (label := label_of(text))]
        # one with a capital anywhere introduces the name for all lines
        for line, label in sorted(labels, key=lambda found: found[1][0].islower()):
            if folded(label) in by_name(named) or folded(label) in brought:
                continue
            if (number := speaker_of_number(label)) is not None:
                named.setdefault(number, label)
            elif problem := _problem(label, names):
                problems.setdefault(line, problem)
            else:
                brought[folded(label)] = label
        taken = numbers(named | dict(enumerate(brought.values(), UNNUMBERED)))
        free = (number for number in count() if number not in named and number not in taken)
        return cls(named | dict(zip(free, brought.values(), strict=False)), problems)


def speaker_of_number(name: str) -> int | None:
    """The 7 of "Speaker 7"."""
    numbered = _NUMBERED.fullmatch(folded(name))
    return int(numbered[1]) if numbered else None


def label_of(text: str) -> str | None:
    """The name in front of a part, if that is what stands there."""
    found = _LABEL.match(text)
    if not found:
        return None
    label = " ".join(found[1].split())
    words = label.split()
    if _NUMBERED.fullmatch(folded(label)) or len(words) == 1:
        return label
    # "He said: no" and "Chapter 3: the sea" are text
    is_name = len(words) <= MAX_WORDS and all(w[0].isalpha() and not w[0].islower() for w in words)
    return label if is_name else None


def _problem(label: str, names: Mapping[int, str]) -> str | None:
    """Why a name without a voice is refused."""
    near = get_close_matches(folded(label), by_name(names), n=1, cutoff=LIKENESS)
    if near:
        number = by_name(names)[near[0]]
        return (
            f'no voice is called "{label}": did you mean {names[number]}? '
            f"If not, give it a number: --set voices.{_free(names)}={label}"
        )
    if label[0].islower():
        return (
            f'no voice is called "{label}": write it with a capital to give it a random voice, '
            "or begin the line with \\ to have it all spoken"
        )
    return None


def _free(names: Mapping[int, str]) -> int:
    return next(number for number in count() if number not in names)
