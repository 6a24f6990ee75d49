"""Who a script's names are: voices of the references, or speakers the script brings itself.

`Cleo: Hi.` needs no clip: Cleo is the next free speaker then. What is a name, `casting/labels.py`
says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from csm_chat.casting.labels import label_of, problem_of, speaker_of_number
from csm_chat.casting.names import by_name, folded
from csm_chat.config.settings import MAX_SPEAKER

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
        labels = [(line, found.name) for line, text in parts if (found := label_of(text))]
        # one with a capital anywhere introduces the name for all lines
        for line, label in sorted(labels, key=lambda found: found[1][0].islower()):
            if folded(label) in by_name(named) or folded(label) in brought:
                continue
            if (number := speaker_of_number(label)) is not None:
                named.setdefault(number, label)
            elif problem := problem_of(label, names):
                problems.setdefault(line, problem)
            else:
                brought[folded(label)] = label
        taken = numbers(named | dict(enumerate(brought.values(), UNNUMBERED)))
        free = (number for number in count() if number not in named and number not in taken)
        return cls(named | dict(zip(free, brought.values(), strict=False)), problems)
