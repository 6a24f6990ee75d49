"""What is chosen and changed after it was said: takes that pass, or to pick, scenes joined again.

Knows numbers of takes and turns; says and saves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from csm_chat.casting.clips import moods_of, voices_for
from csm_chat.checking.checks import Checks, Wanted, always
from csm_chat.checking.later import Unheard
from csm_chat.conversation.grammar import SEPARATOR, parse
from csm_chat.conversation.reading import pieces
from csm_chat.conversation.take import whole
from csm_chat.errors import EntryError
from csm_chat.types import Pcm, Turn, Utterance, Voice

if TYPE_CHECKING:
    from csm_chat.conversation.ports import TakeFolder
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
        asked = self.takes[place - 1].turn.utterance
        # the oldest turns may have left the dialogue since
        now = session.before_last
        is_same_place = now == self.before[len(self.before) - len(now) :]
        if session.last != asked or not is_same_place:
            raise EntryError(
                f'the takes to pick from are of "{asked.text}", which is not what was said last: '
                "ask for takes again"
            )
        return self.takes[place - 1]


@dataclass(slots=True)
class Place:
    """A part of a scene."""

    takes: list[int]  # by number, all that stood here, the newest last
    gap_s: float  # after the end of the part before; below 0 this one lies over it


@dataclass(frozen=True, slots=True)
class Joined:
    """Takes that are to be one file."""

    numbers: Sequence[int]
    gaps_s: Sequence[float]  # in front of each
    rest_s: float = 0.0  # behind the last
    first_numbers: Sequence[int] = ()  # of the takes it was first made of, if not these

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last take that it was first made of."""
        first = self.first_numbers or self.numbers
        return first[0], first[-1]


@dataclass(slots=True)
class Scenes:
    """Entries of several parts that one file was made of, by the numbers of their takes."""

    _scenes: list[tuple[list[Place], float]] = field(default_factory=list)

    def add(self, scene: Joined) -> None:
        places = [Place([n], gap) for n, gap in zip(scene.numbers, scene.gaps_s, strict=True)]
        self._scenes.append((places, scene.rest_s))

    def last_replaced(self, before: Iterable[int], now: Iterable[int]) -> None:
        """Another take may have come in the place of the last one: of both the dialogue's."""
        known, new = [*before], [*now]
        if known and new and known[-1] not in new and new[-1] not in known:
            self.replace([(known[-1], new[-1])], new)

    def replace(self, replaced: Sequence[tuple[int, int]], now: Container[int]) -> list[Joined]:
        """Put new takes in the places of old ones; the scenes that differ by it.

        For each the takes it has now. `now` holds those of the dialogue: where a change was taken
        back, the newest take is not the one that stands.
        """
        changed = []
        for scene, rest_s in self._scenes:
            places = [(at, new) for old, new in replaced for at in scene if old in at.takes]
            for at, new in places:
                at.takes.append(new)
            if places:
                takes = [next((n for n in at.takes if n in now), at.takes[-1]) for at in scene]
                first = [at.takes[0] for at in scene]
                changed.append(Joined(takes, [at.gap_s for at in scene], rest_s, first))
        return changed


def checked(session: Session, utterance: Utterance, once: Say) -> Generator[Pcm, None, Turn]:
    """A take; with checks of the session one that passes, or the best of those that were made."""
    checks = session.checks
    if checks is None or not checks.is_on:
        return (yield from once())
    read, voice = to_hear(utterance, session)
    is_random = bool(session.manner(utterance.speaker).drawn(session.sampling).temperature)
    return (yield from checks.best(lambda: whole(once()), read, voice, is_random=is_random))


def to_hear(utterance: Utterance, session: Session) -> tuple[str, Voice | None]:
    """What a take of it should be heard to say, and in whose voice; None: in any."""
    speaker = utterance.speaker
    pinned = voices_for(session.voices, utterance)
    voice = next((voice for voice in pinned if voice.speaker == speaker), None)
    return session.read(utterance.text, speaker), voice


def with_verdict(
    turn: Turn, pcm: Pcm, session: Session, checks: Checks, is_wanted: Wanted = always
) -> Turn:
    """A take with what was heard of it, if anything was."""
    read, voice = to_hear(turn.utterance, session)
    return replace(turn, verdict=checks.verdict(pcm, read, voice, is_wanted))


def unheard(
    turn: Turn,
    number: int,
    name: str,
    said: Sequence[Pcm],
    session: Session,
    takes: TakeFolder | None,
) -> Unheard:
    """A take that is to be heard after; `takes`, where it has a file, keep what was heard."""

    def record(heard: Turn) -> None:
        if takes is not None:
            takes.checked(number, heard, name, is_in_context=turn in session.turns)

    pcm = np.concatenate([np.zeros(0, np.float32), *said])
    return Unheard(turn, number, pcm, *to_hear(turn.utterance, session), record)


def turns_from(number: int, session: Session) -> tuple[Turn, ...]:
    """The turn of that number, and those behind it. Raises EntryError if there is none."""
    numbered = session.numbered()
    if number not in numbered:
        there = ", ".join(map(str, numbered)) or "none yet"
        raise EntryError(f"there is no turn {number} in the dialogue ({there})")
    return session.turns[session.turns.index(numbered[number]) :]


def as_one_turn(
    text: str, before: Utterance, session: Session, names: Mapping[int, str]
) -> Utterance:
    """What takes the place of a turn. Raises EntryError if that is no one turn.

    Whoever goes on speaking stays in the mood, unless the text has another one.
    """
    entry = parse(text, before.speaker, names, moods=moods_of(session.voices), taken=())
    if entry.newcomers:
        name = next(iter(entry.newcomers.values()))
        raise EntryError(
            f"nobody is called {name}: a turn is changed to one of who is there; "
            "begin the text with \\ to have it all spoken"
        )
    if len(entry.utterances) != 1 or entry.notes or entry.utterances[0].is_silence:
        raise EntryError(
            f"a turn is changed to one turn: write its new text without {SEPARATOR} and pauses"
        )
    (utterance,) = entry.utterances
    if utterance.speaker == before.speaker and not utterance.mood:
        utterance = replace(utterance, mood=before.mood)
    longest_s = session.context.max_turn_s
    if len(pieces(utterance.text, longest_s, session.reading)) > 1:
        raise EntryError(
            f"that text may last longer than a turn may ({longest_s:g} s, context.max_turn_s): "
            "shorten it"
        )
    return utterance
