"""What is chosen and changed after it was said: takes that pass, or to pick, scenes joined again.

Knows numbers of takes and turns; says and saves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from csm_chat.conversation.grammar import SEPARATOR, parse
from csm_chat.conversation.reading import pieces
from csm_chat.conversation.take import whole
from csm_chat.errors import EntryError
from csm_chat.types import Pcm, Turn, Utterance, Voice

if TYPE_CHECKING:
    from csm_chat.conversation.session import Session

Say = Callable[[], Generator[Pcm, None, Turn]]

LEAST_TAKES, MOST_TAKES = 2, 8  # of a line at once


def check_n_takes(n: int) -> None:
    """Raise EntryError if nobody can have so many takes at once."""
    if not LEAST_TAKES <= n <= MOST_TAKES:
        raise EntryError(f"{n} takes at once cannot be had: ask for {LEAST_TAKES} to {MOST_TAKES}")


@dataclass(frozen=True, slots=True, eq=False)
class Offered:
    """A take to choose."""

    turn: Turn
    pcm: Pcm
    number: int  # by which people know it
    is_saved: bool


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """Takes of one line, as answers to the turns before it."""

    takes: tuple[Offered, ...] = ()
    before: tuple[Turn, ...] = ()

    def take(self, place: int, session: Session) -> Offered:
        """The one at `place`, from 1. Raises EntryError if it cannot be put in now."""
        if not self.takes:
            raise EntryError("there are no takes to pick from: none were asked for yet")
        if not 1 <= place <= len(self.takes):
            raise EntryError(f"there is no take {place} to pick: there are 1 to {len(self.takes)}")
        said = self.takes[place - 1].turn.segment
        # the oldest turns may have left the dialogue since
        now = session.before_last
        is_same_place = now == self.before[len(self.before) - len(now) :]
        if session.last != Utterance(said.text, said.speaker) or not is_same_place:
            raise EntryError(
                f'the takes to pick from are of "{said.text}", which is not what was said last: '
                "ask for takes again"
            )
        return self.takes[place - 1]


@dataclass(slots=True)
class Scenes:
    """Entries of several parts that one file was made of, by the numbers of their takes."""

    # a scene's places, each with all the takes that stood there, the newest last
    _scenes: list[list[list[int]]] = field(default_factory=list)

    def add(self, numbers: Sequence[int]) -> None:
        self._scenes.append([[number] for number in numbers])

    def last_replaced(self, before: Iterable[int], now: Iterable[int]) -> None:
        """Another take may have come in the place of the last one: of both the dialogue's."""
        known, new = [*before], [*now]
        if known and new and known[-1] not in new and new[-1] not in known:
            self.replace([(known[-1], new[-1])], new)

    def replace(
        self, replaced: Sequence[tuple[int, int]], now: Container[int]
    ) -> list[tuple[list[int], tuple[int, int]]]:
        """Put new takes in the places of old ones; the scenes that differ by it.

        For each the takes it has now, and the first and last that it had. `now` holds those of the
        dialogue: where a change was taken back, the newest take is not the one that stands.
        """
        changed = []
        for scene in self._scenes:
            places = [(place, new) for old, new in replaced for place in scene if old in place]
            for place, new in places:
                place.append(new)
            if places:
                takes = [next((n for n in place if n in now), place[-1]) for place in scene]
                changed.append((takes, (scene[0][0], scene[-1][0])))
        return changed


def checked(session: Session, utterance: Utterance, once: Say) -> Generator[Pcm, None, Turn]:
    """A take; with checks of the session one that passes, or the best of those that were made."""
    checks = session.checks
    if checks is None or not checks.is_on:
        return (yield from once())
    read, voice = session.read(utterance.text), voice_of(utterance.speaker, session)
    is_random = bool(session.sampling.temperature)
    return (yield from checks.best(lambda: whole(once()), read, voice, is_random=is_random))


def voice_of(speaker: int, session: Session) -> Voice | None:
    return next((voice for voice in session.voices if voice.speaker == speaker), None)


def turns_from(number: int, session: Session) -> tuple[Turn, ...]:
    """The turn of that number, and those behind it. Raises EntryError if there is none."""
    numbered = session.numbered()
    if number not in numbered:
        there = ", ".join(map(str, numbered)) or "none yet"
        raise EntryError(f"there is no turn {number} in the dialogue ({there})")
    return session.turns[session.turns.index(numbered[number]) :]


def as_one_turn(text: str, speaker: int, session: Session, names: Mapping[int, str]) -> Utterance:
    """What takes the place of a turn of `speaker`. Raises EntryError if that is no one turn."""
    entry = parse(text, speaker, names)
    if len(entry.utterances) != 1 or entry.notes:
        raise EntryError(f"a turn is changed to one turn: write its new text without {SEPARATOR}")
    (utterance,) = entry.utterances
    longest_s = session.context.max_turn_s
    if len(pieces(utterance.text, longest_s, session.reading)) > 1:
        raise EntryError(
            f"that text may last longer than a turn may ({longest_s:g} s, context.max_turn_s): "
            "shorten it"
        )
    return utterance
