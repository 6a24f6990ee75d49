"""A script: a file of dialogue, an entry a line, to the turns that it asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from csm_chat.casting.moods import Moods
from csm_chat.conversation.grammar import ESCAPE, NO_MOODS, SEPARATOR, Part, parse, parts
from csm_chat.errors import EntryError, first_of
from csm_chat.normalise import says_nothing
from csm_chat.scene.cast import Cast
from csm_chat.shape.pauses import MAX_PAUSE_S as MAX_PAUSE_S
from csm_chat.shape.pauses import added as added
from csm_chat.shape.pauses import around, at_pauses, check_pauses
from csm_chat.types import Utterance

COMMENT = "#"
UNSAID_PAUSE_S = 1.0  # of dots, dashes or stars that stand alone
_UNSAID = re.compile("[\\s.\u2026*_~=\u00b7\u2022\u2010-\u2015-]+")
_COMMAND = re.compile(r"\$[A-Za-z]+(\s.*)?\$")


@dataclass(frozen=True, slots=True)
class ScriptTurn:
    """One thing to say."""

    utterance: Utterance
    line: int  # of the file, from 1
    pause_s: float | None  # silence before it; None: the usual gap


@dataclass(frozen=True, slots=True)
class Script:
    path: Path
    turns: tuple[ScriptTurn, ...]
    tail_s: float  # silence after the last turn
    names: Mapping[int, str]  # of those who speak
    notes: tuple[str, ...]  # what the reader should know of how it was read
    picks: Mapping[int, int] = field(default_factory=dict)  # takes that are wanted, by turn


def parse_script(
    text: str,
    path: Path,
    speaker: int,
    names: Mapping[int, str],
    offsets: str = "strict",
    moods: Moods = NO_MOODS,
) -> Script:
    """The script that a text is, a line of which begins with `speaker` as at the prompt.

    `path` is for messages. Raises EntryError with a line for each thing that has no reading, and
    nothing else.
    """
    lines = [
        (number, line)
        for number, line in enumerate(re.split("\r\n|\r|\n", text), 1)
        if line.strip() and not line.lstrip().startswith(COMMENT)
    ]
    cast = Cast.of(
        [(n, raw) for n, line in lines for raw in _labelled(line)],
        names,
        lambda known: _numbers(lines, speaker, known, offsets),
    )
    reading = _Reading(speaker, cast.names, offsets, moods)
    problems = dict(cast.problems)
    for number, line in lines:
        if number in problems:
            continue
        try:
            reading.line(number, line)
        except EntryError as error:
            problems[number] = str(error)
    if problems:
        found = [f"{path}:{number}  {words}" for number, words in sorted(problems.items())]
        raise EntryError(*first_of(found))
    return reading.script(path)


def _labelled(line: str) -> Iterator[str]:
    """The parts of a line, each from where a name may stand."""
    if not line.lstrip().startswith(ESCAPE):
        for part in parts(line, 0):
            yield _ends(line[part.start : part.end])[1]


def _numbers(
    lines: list[tuple[int, str]], speaker: int, names: Mapping[int, str], offsets: str
) -> set[int]:
    """Speakers that lines without a name belong to."""
    read = (
        part for _, line in lines for part in parts(_unpaused(line)[0], speaker, names, offsets)
    )
    return {part.speaker for part in read if part.name is None}


def _ends(raw: str) -> tuple[float | None, str, float | None]:
    """A part without the pauses around it, and their seconds; None where there is none."""
    inner = around(raw)
    return inner.before_s, raw[inner.start : inner.end], inner.after_s


def _unpaused(line: str) -> tuple[str, list[float | None]]:
    """The line without pauses around its parts, and the silence before each part and at the end.

    A part that is nothing but a pause counts as no part.
    """
    kept: list[str] = []
    pauses: list[float | None] = [None]
    for part in parts(line, 0):
        before, said, after = _ends(line[part.start : part.end])
        pauses[-1] = added(pauses[-1], before)
        if said.strip() or before is None:
            kept.append(said)
            pauses.append(None)
        pauses[-1] = added(pauses[-1], after)
    # with spaces, because a part may end in a single |
    return f" {SEPARATOR} ".join(kept), pauses


class _Reading:
    """The turns of the lines read so far."""

    def __init__(self, speaker: int, names: Mapping[int, str], offsets: str, moods: Moods) -> None:
        self._speaker = speaker
        self._names = names
        self._offsets = offsets
        self._moods = moods
        self._turns: list[ScriptTurn] = []
        self._notes: list[tuple[int, str]] = []
        self._pause_s: float | None = None  # since the last turn

    def line(self, number: int, line: str) -> None:
        """Read one. Raises EntryError."""
        if line.lstrip().startswith(ESCAPE):
            self._parsed(number, line, [None, None])
            return
        _check(line)
        kept, pauses = _unpaused(line)
        found = parts(kept, self._speaker, self._names, self._offsets, moods=self._moods)
        if all(_UNSAID.fullmatch(part.text) for part in found):
            for pause_s in [*pauses, UNSAID_PAUSE_S if found else None]:
                self._wait(pause_s)
        else:
            self._parsed(number, kept, pauses)

    def script(self, path: Path) -> Script:
        if not self._turns:
            raise EntryError(f"{path}: has no line to say: write one entry a line")
        speakers = {turn.utterance.speaker for turn in self._turns}
        names = {n: name for n, name in self._names.items() if n in speakers}
        notes = tuple(f"{path}:{number}  {note}" for number, note in self._notes)
        return Script(path, tuple(self._turns), self._pause_s or 0.0, names, notes)

    def _parsed(self, number: int, line: str, pauses: list[float | None]) -> None:
        entry = parse(line, self._speaker, self._names, self._offsets, moods=self._moods)
        self._notes += [(number, note) for note in entry.notes]
        found = parts(line, self._speaker, self._names, self._offsets, moods=self._moods)
        literal = line.lstrip().startswith(ESCAPE)
        for pause_s, part in zip(pauses, found, strict=False):
            self._wait(pause_s)
            self._part(number, part, literal)
        self._wait(pauses[-1])

    def _part(self, number: int, part: Part, literal: bool) -> None:
        """Turns of one part: pauses inside it make several."""
        texts, pauses = ([part.text], []) if literal else at_pauses(part.text)
        for text, pause_s in zip(texts, [*pauses, None], strict=True):
            if _UNSAID.fullmatch(text) and text.strip():
                self._wait(UNSAID_PAUSE_S)
            elif text.strip() and says_nothing(text):
                self._notes.append((number, f'"{text.strip()}" has no word in it; left out'))
            elif text.strip():
                said = Utterance(" ".join(text.split()), part.speaker, part.mood)
                self._turns.append(ScriptTurn(said, number, self._pause_s))
                self._pause_s = None
            self._wait(pause_s)

    def _wait(self, pause_s: float | None) -> None:
        self._pause_s = added(self._pause_s, pause_s)


def _check(line: str) -> None:
    """Raises EntryError for a pause nobody can keep and for commands of the prompt."""
    check_pauses(line)
    if _COMMAND.fullmatch(line.strip()):
        raise EntryError(
            f"{line.strip()} is a command of the prompt, and a script has none: leave it out "
            f"({ESCAPE}{line.strip()} would speak it)"
        )


def piece_of(turn: ScriptTurn, text: str, pause_s: float | None) -> ScriptTurn:
    """A piece of a turn that was split."""
    return ScriptTurn(replace(turn.utterance, text=text), turn.line, pause_s)
