"""Takes that were played while they were made, and are heard after. Knows no model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from csm_chat.checking.checks import Checks, Wanted, always
from csm_chat.notices import CheckFailed, Listener
from csm_chat.types import Pcm, Turn, Verdict, Voice

MOST_KEPT = 64  # verdicts: those of the turns of an entry are asked for


@dataclass(frozen=True, slots=True, eq=False)
class Unheard:
    """A take, and what it was to be."""

    turn: Turn
    number: int  # of its file; 0: it has none
    pcm: Pcm  # as it was made, whatever speed and level it was given out in
    read: str
    voice: Voice | None
    record: Callable[[Turn], None]  # gets the turn with its verdict


class Later:
    """Takes in the order they were said, each heard once. The thread of the checks."""

    def __init__(self, checks: Checks, tell: Listener, is_last: Callable[[Turn], bool]) -> None:
        """`is_last`: whether nothing was said after a turn."""
        self._checks = checks
        self._tell = tell
        self._is_last = is_last
        self._unheard: deque[Unheard] = deque()
        self._verdicts: dict[Turn, Verdict] = {}

    def add(self, take: Unheard) -> None:
        if self._checks.is_on and take.turn.ended == "eos":
            self._unheard.append(take)

    @property
    def is_empty(self) -> bool:
        return not self._unheard

    def hear(self, is_wanted: Wanted) -> None:
        """For the time nobody waits: hear what was said, once the ear is there, until it is not."""
        if self._unheard and self._checks.begin_loading():
            self.hear_all(is_wanted)
        if not self._checks.is_on:
            self._unheard.clear()

    def hear_all(self, is_wanted: Wanted = always) -> None:
        """Hear all that was said, and wait for what it takes, as long as it is wanted."""
        while self._unheard and self._checks.is_on and is_wanted():
            if not self._hear(self._unheard[0], is_wanted):
                return
            self._unheard.popleft()

    def with_verdict(self, turn: Turn) -> Turn:
        """The turn, with what was heard of it since."""
        verdict = self._verdicts.get(turn)
        return replace(turn, verdict=verdict) if verdict else turn

    def _hear(self, take: Unheard, is_wanted: Wanted) -> bool:
        """False if it has to be heard once more."""
        verdict = self._checks.verdict(take.pcm, take.read, take.voice, is_wanted)
        if verdict is None:
            return False
        kept = list(self._verdicts.items())[1 - MOST_KEPT :]
        self._verdicts = {**dict(kept), take.turn: verdict}
        take.record(replace(take.turn, verdict=verdict))
        if not verdict.is_good:
            text, is_last = take.turn.segment.text, self._is_last(take.turn)
            self._tell(CheckFailed(take.number, text, verdict, is_last=is_last))
        return True
