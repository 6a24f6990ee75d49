"""What a typed line means: who says what. Pure; knows no terminal, no command and no model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from types import MappingProxyType

from csm_chat.casting.labels import Label, known_label, label_of, problem_of, speaker_of_number
from csm_chat.casting.moods import Meaning, Moods, bracket_of, meaning_of
from csm_chat.casting.names import by_name, folded
from csm_chat.errors import EntryError
from csm_chat.normalise import says_nothing
from csm_chat.normalise.marks import TERMINAL_SEQUENCE
from csm_chat.shape.pauses import added, around, at_pauses, check_pauses, find_pauses
from csm_chat.types import Utterance

Span = tuple[int, int]  # characters of the typed line, end excluded

SEPARATOR = "||"
ESCAPE = "\\"
# Closing punctuation after a digit is part of the number ("3.14", "$5.50"), after a space it closes
# nothing ("the '90"). The escapes are typographic quotes.
STRICT = re.compile(r"""(?<=[^\d\s][.!?…"'\u201d\u2019\u00bb)\]}])\s*(?P<number>-?[0-9]{1,2})$""")
CLASSIC = re.compile(r"(?P<number>-?[0-9])$")
JOINERS = "\u200c\u200d"  # invisible, but part of the spelling between letters of some scripts
SUBTITLE_TIMES = re.compile(r"[0-9]{2}:[0-9]{2}[,.][0-9]{3}\s+-->\s+[0-9]{2}:")
REPLACEMENT = "\ufffd"  # stands for bytes that were no text
NO_MOODS: Moods = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Part:
    """One `||` part as typed. `text` is empty if it says nothing; `speaker` may be below 0."""

    start: int
    end: int
    text: str  # with the pauses inside of it
    speaker: int
    name: Span | None = None  # `name:` in front, with what stands in brackets before the colon
    offset: Span | None = None  # the number at the end, if it chooses the speaker
    mood: str = ""
    bracket: Span | None = None  # the mood in front of the text
    newcomer: str = ""  # the name, if it makes a new speaker
    problem: str = ""  # why it cannot be said
    before_s: float | None = None  # pause that it begins with; None: none
    after_s: float | None = None  # and that it ends with
    is_literal: bool = False  # said as it stands: a pause in it is none


@dataclass(frozen=True, slots=True)
class Entry:
    utterances: tuple[Utterance, ...]
    notes: tuple[str, ...] = ()  # what the reader should know of how it was read
    newcomers: Mapping[int, str] = field(default_factory=dict)  # names that nobody had before


def parse(
    line: str,
    speaker: int,
    names: Mapping[int, str] | None = None,
    offsets: str = "strict",
    *,
    moods: Moods = NO_MOODS,
    taken: Collection[int] | None = None,
) -> Entry:
    """What the current `speaker` said by typing `line`. A blank line has no utterances.

    A name that nobody has is a new speaker, none of those `taken`; text if that is None. Raises
    EntryError, and nothing else, for a line that has nothing to say, a name that cannot be, a mood
    that a speaker does not have, or a speaker below 0.
    """
    if times := SUBTITLE_TIMES.search(line):
        raise EntryError(
            "These are the times of a subtitle: csm-chat render FILE.srt says a file of them.",
            position=times.start(),
        )
    names = names or {}
    found = parts(line, speaker, names, offsets, moods=moods, taken=taken)
    if not found:
        return Entry(())
    for part in found:
        if part.problem:
            position = (part.bracket or part.name or (part.start, 0))[0]
            raise EntryError(part.problem, position=position)
    if not found[0].is_literal:
        check_pauses(line)
    spoken = [part for part in found if not says_nothing(part.text)]
    if not spoken:
        return Entry((_only_silence(found, speaker),))
    for part in spoken:
        if part.speaker < 0:
            position = part.offset[0] if part.offset else part.start
            raise EntryError(
                f'"{part.text}" would be said by speaker {part.speaker}: the first speaker is 0. '
                "Write a larger number, or none.",
                position=position,
            )
    notes = [
        f"part {number} {'has no word in it' if part.text else 'is empty'} and was left out"
        for number, part in enumerate(found, 1)
        if part not in spoken and not _is_pause(part)
    ]
    # without any voice every speaker is a surprise, so only a number past the parts is worth a word
    expected = names or range(speaker, speaker + len(found))
    notes += [
        _surprise(line, part) for part in spoken if part.offset and part.speaker not in expected
    ]
    newcomers = {part.speaker: part.newcomer for part in spoken if part.newcomer}
    return Entry(tuple(_utterances(found)), tuple(notes), newcomers)


def _utterances(found: tuple[Part, ...]) -> Iterator[Utterance]:
    """What is said, with the silence around it; a pause inside a part cuts it in two."""
    said: Utterance | None = None
    wait_s: float | None = None
    for part in found:
        wait_s = added(wait_s, part.before_s)
        texts, pauses = ([part.text], []) if part.is_literal else at_pauses(part.text)
        for text, pause_s in zip(texts, [*pauses, part.after_s], strict=True):
            if not says_nothing(text):
                if said:
                    yield said
                said, wait_s = Utterance(_spoken(text), part.speaker, part.mood, wait_s), None
            wait_s = added(wait_s, pause_s)
    if said:
        yield replace(said, rest_s=wait_s or 0.0)


def _only_silence(found: tuple[Part, ...], speaker: int) -> Utterance:
    """The pauses of a line that has nothing else. Raises EntryError where it has other marks."""
    if not all(_is_pause(part) for part in found):
        raise EntryError("There is nothing to say in this line: only its marks are there.")
    return Utterance("", speaker, rest_s=sum(part.before_s or 0.0 for part in found))


def _is_pause(part: Part) -> bool:
    """Nothing but a pause."""
    return not part.text and part.before_s is not None


def parts(
    line: str,
    speaker: int,
    names: Mapping[int, str] | None = None,
    offsets: str = "strict",
    *,
    moods: Moods = NO_MOODS,
    taken: Collection[int] | None = None,
) -> tuple[Part, ...]:
    """How far `line` can be read while it is typed; never raises. A blank line has no parts."""
    kept, places = _visible(line)
    if not kept.strip():
        return ()
    start = len(kept) - len(kept.lstrip())
    if kept[start] == ESCAPE:
        said = _spoken(kept[start + 1 :])
        return (Part(places[start], len(line), said, speaker, is_literal=True),)
    cuts = list(_cut(kept))
    # who the parts fall to without a name is nobody new
    beside = None if taken is None else {*taken, *range(speaker, speaker + len(cuts))}
    cast = _Cast(names or {}, moods, beside)
    found: list[Part] = []
    index = 0
    for first, last in cuts:
        scene = len(cuts) > 1 and (offsets == "strict" or index > 0)
        pattern = (STRICT if offsets == "strict" else CLASSIC) if scene else None
        inner = around(kept[first:last])
        reader = _Reader(kept, first + inner.start, first + inner.end, places, cast)
        part = reader.part(speaker, index, pattern)
        if part.newcomer:
            cast = replace(cast, names={**cast.names, part.speaker: part.newcomer})
        part = replace(part, start=places[first], end=places[last])
        found.append(replace(part, before_s=inner.before_s, after_s=inner.after_s))
        index += not _is_pause(found[-1])  # a pause of its own is nobody's turn
    return tuple(found)


def pauses_in(line: str) -> list[Span]:
    """Where a line that is speech has pauses."""
    if line.lstrip().startswith(ESCAPE):
        return []
    return [(pause.start, pause.end) for pause in find_pauses(line)]


@dataclass(frozen=True, slots=True)
class _Cast:
    names: Mapping[int, str]
    moods: Moods
    taken: Collection[int] | None  # numbers that a new name cannot have; None: no name is new

    def named(self, label: Label) -> tuple[int, str, str]:
        """Who that is: a speaker, the name of a new one, why there can be none."""
        known = by_name(self.names)
        if folded(label.name) in known:
            return known[folded(label.name)], "", ""
        if (number := speaker_of_number(label.name)) is not None:
            return number, "", ""
        if problem := problem_of(label.name, self.names):
            return 0, "", problem
        gone = {*self.names, *(self.taken or ())}
        return next(number for number in count() if number not in gone), label.name, ""


@dataclass(frozen=True, slots=True)
class _Reader:
    """A part of the line, cleaned: characters `first` to `last`."""

    line: str
    first: int
    last: int
    places: list[int]  # where the line's characters stood as typed
    cast: _Cast

    def part(self, speaker: int, index: int, pattern: re.Pattern[str] | None) -> Part:
        text = self.line[self.first : self.last]
        label = known_label(text, by_name(self.cast.names))
        if label is None and self.cast.taken is not None:
            label = label_of(text)
        if label is not None:
            return self._named(text, label)
        number = pattern.search(text.rstrip()) if pattern else None
        if number and text[: number.start()].strip():
            offset = (number.start("number"), number.start("number") + len(number["number"]))
            part = self._part(0, number.start(), speaker + int(number["number"]))
            return replace(part, offset=self._span(*offset))
        return self._part(0, len(text), speaker + index)

    def _named(self, text: str, label: Label) -> Part:
        name = self._span(len(text) - len(text.lstrip()), label.end)
        who, newcomer, problem = self.cast.named(label)
        meaning = Meaning()
        if label.bracket and not problem:
            named = {**self.cast.names, who: newcomer} if newcomer else self.cast.names
            meaning = meaning_of(label.bracket, who, named, self.cast.moods, is_of_name=True)
        if problem := problem or meaning.problem:
            at = self._span(label.bracket_at, label.end) if meaning.problem else None
            said = _spoken(text[label.end :])
            return Part(*self._ends, said, who, name, bracket=at, problem=problem)
        if meaning.mood:
            said = _spoken(text[label.end :])
            return Part(*self._ends, said, who, name, mood=meaning.mood)
        part = self._part(label.end, len(text), who)
        if label.bracket:  # a stage direction, which is part of what is read
            part = replace(part, text=_spoken(f"({label.bracket}) {part.text}"))
        return replace(part, name=name, newcomer=newcomer)

    def _part(self, start: int, end: int, who: int) -> Part:
        """What `who` says by these characters, in a mood if one stands in front."""
        text = self.line[self.first + start : self.first + end]
        found = bracket_of(text)
        part = Part(*self._ends, _spoken(text), who)
        if found is None:
            return part
        names, moods = self.cast.names, self.cast.moods
        meaning = meaning_of(found.within, who, names, moods, is_of_name=False)
        span = self._span(start + found.start, start + found.end)
        if meaning.problem:
            return replace(part, bracket=span, problem=meaning.problem)
        if meaning.mood:
            said = _spoken(text[found.end :])
            return replace(part, text=said, bracket=span, mood=meaning.mood)
        return part

    @property
    def _ends(self) -> Span:
        return self.places[self.first], self.places[self.last]

    def _span(self, start: int, end: int) -> Span:
        """Characters of the part, where they stood; there is at least one."""
        return self.places[self.first + start], self.places[self.first + end - 1] + 1


def _cut(line: str) -> Iterator[Span]:
    """Where each part begins and ends, without the separators."""
    start = 0
    while (end := line.find(SEPARATOR, start)) >= 0:
        yield start, end
        start = end + len(SEPARATOR)
    yield start, len(line)


def _visible(line: str) -> tuple[str, list[int]]:
    """The line without characters nobody can see or say, and where each of the others stood."""
    kept, places = [], []
    unseen = {n for found in TERMINAL_SEQUENCE.finditer(line) for n in range(*found.span())}
    for place, char in enumerate(line):
        if place in unseen:
            continue
        shown = char if char.isascii() and char.isprintable() else _shown(line, place)
        if shown:
            kept.append(shown)
            places.append(place)
    return "".join(kept), [*places, len(line)]


def _shown(line: str, place: int) -> str:
    char = line[place]
    category = unicodedata.category(char)
    if char.isspace():
        return " "
    if char in JOINERS:
        around = (line[place - 1 : place], line[place + 1 : place + 2])
        return char if all(c and unicodedata.category(c)[0] in "LM" for c in around) else ""
    return "" if category in ("Cc", "Cf", "Cs", "Cn") or char == REPLACEMENT else char


def _spoken(text: str) -> str:
    return " ".join(text.split())


def _surprise(line: str, part: Part) -> str:
    assert part.offset, part
    number = line[slice(*part.offset)]
    return (
        f'"{number}" at the end of "{part.text}" chose speaker {part.speaker}, who has no voice; '
        "to have the number spoken, write it as a word"
    )
