"""The turns that what comes next is an answer to, and the changes that undo takes back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from csm_chat.types import Turn
from csm_chat.visible import one_line

_MOST_UNDONE = 32  # changes that can be taken back


class Dialogue:
    """Turns, oldest first. Each change makes a new list, so that the one before can come back."""

    def __init__(self) -> None:
        self.last: Turn | None = None  # what a retry of the last line would replace
        self._numbers: dict[Turn, int] = {}  # by which people know turns
        self._turns: list[Turn] = []
        self._before: deque[list[Turn]] = deque(maxlen=_MOST_UNDONE)

    @property
    def turns(self) -> list[Turn]:
        return self._turns

    def without_last(self) -> list[Turn]:
        """The turns that a retry of the last line is an answer to."""
        return [turn for turn in self._turns if turn is not self.last]

    def number(self, turn: Turn, number: int) -> None:
        """Let people know a turn by a number; those of turns that never come back are forgotten."""
        known = {turn, *self._turns, *(each for turns in self._before for each in turns)}
        # a new one, because other threads read it
        self._numbers = {t: n for t, n in self._numbers.items() if t in known} | {turn: number}

    def numbered(self) -> dict[int, Turn]:
        """The turns that have a number, by it."""
        numbers = self._numbers
        return {numbers[turn]: turn for turn in self._turns if turn in numbers}

    def lines(self, names: Mapping[int, str]) -> Iterator[str]:
        """A line a turn: its number if it has one, who speaks, what."""
        numbers = self._numbers
        for turn in self._turns:
            said = turn.segment
            lead = f"{numbers[turn]:>2} " if turn in numbers else ""
            mood = f" ({turn.mood})" if turn.mood else ""
            yield lead + one_line(f"{names.get(said.speaker, said.speaker)}{mood}: {said.text}")

    def change(self, turns: list[Turn], *, is_one_change: bool = True) -> None:
        """Go on with these. `undo` takes it back, with the change before if it is not one."""
        if is_one_change:
            self._before.append(self._turns)
        self._turns = turns

    def replace(self, place: int, turn: Turn, *, is_one_change: bool = True) -> None:
        """Put a turn in the place of another."""
        replaced = self._turns[place]
        turns = [*self._turns[:place], turn, *self._turns[place + 1 :]]
        self.change(turns, is_one_change=is_one_change)
        if replaced is self.last:
            self.last = turn

    def drop_oldest(self, n: int) -> None:
        """Forget so many, which nothing brings back but undoing what came before."""
        self._turns = self._turns[n:]

    def undo(self) -> Turn | None:
        """Take back the last change; the turn that is gone, None if there is none to take back."""
        if not self._before:
            return None
        now, self._turns = self._turns, self._before.pop()
        place, gone = next(
            (place, turn)
            for place, turn in enumerate(reversed(now))
            if not _is_among(turn, self._turns)
        )
        if gone is self.last:
            back = self._turns[-1 - place] if place < len(self._turns) else None
            self.last = back if back and not _is_among(back, now) else None
        return gone

    def clear(self) -> None:
        self.last = None
        self._turns = []
        self._before.clear()
        self._numbers = {}


def _is_among(turn: Turn, turns: Sequence[Turn]) -> bool:
    """Itself: two takes of a line may be equal."""
    return any(each is turn for each in turns)
