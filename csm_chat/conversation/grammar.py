"""What a typed line means: who says what. Pure; knows no terminal, no command and no model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True)
class Part:
    """One `||` part as typed. `text` is empty if it says nothing; `speaker` may be below 0."""

    start: int
    end: int
    text: str  # with the pauses inside of it
    speaker: int
    name: Span | None = None  # `name:` in front
    offset: Span | None = None  # the number at the end, if it chooses the speaker
    before_s: float | None = None  # pause that it begins with; None: none
    after_s: float | None = None  # and that it ends with
    is_literal: bool = False  # said as it stands: a pause in it is none


@dataclass(frozen=True, slots=True)
class Entry:
    utterances: tuple[Utterance, ...]
    notes: tuple[str, ...] = ()  # what the reader should know of how it was read


def label(speaker: int, names: Mapping[int, str]) -> str:
    return names.get(speaker, f"speaker {speaker}")


def folded(name: str) -> str:
    return _spoken(name).casefold()


def by_name(names: Mapping[int, str]) -> dict[str, int]:
    """Speakers by folded name; of two with one name, the first."""
    return {folded(names[number]): number for number in sorted(names, reverse=True)}


def parse(
    line: str, speaker: int, names: Mapping[int, str] | None = None, offsets: str = "strict"
) -> Entry:
    """What the current `speaker` said by typing `line`. A blank line has no utterances.

    Raises EntryError, and nothing else, for a line that has nothing to say or a speaker below 0.
    """
    if times := SUBTITLE_TIMES.search(line):
        raise EntryError(
            "These are the times of a subtitle: csm-chat render FILE.srt says a file of them.",
            position=times.start(),
        )
    names = names or {}
    found = parts(line, speaker, names, offsets)
    if not found:
        return Entry(())
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
    return Entry(tuple(_utterances(found)), tuple(notes))


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
                said, wait_s = Utterance(_spoken(text), part.speaker, wait_s), None
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
    line: str, speaker: int, names: Mapping[int, str] | None = None, offsets: str = "strict"
) -> tuple[Part, ...]:
    """How far `line` can be read while it is typed; never raises. A blank line has no parts."""
    kept, places = _visible(line)
    if not kept.strip():
        return ()
    start = len(kept) - len(kept.lstrip())
    if kept[start] == ESCAPE:
        said = _spoken(kept[start + 1 :])
        return (Part(places[start], len(line), said, speaker, is_literal=True),)
    known = by_name(names or {})
    cuts = list(_cut(kept))
    found: list[Part] = []
    index = 0
    for first, last in cuts:
        scene = len(cuts) > 1 and (offsets == "strict" or index > 0)
        inner = around(kept[first:last])
        read = _Reader(kept, first + inner.start, first + inner.end, speaker + index, known)
        pattern = (STRICT if offsets == "strict" else CLASSIC) if scene else None
        part = read.part(places, speaker, pattern)
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
class _Reader:
    """A part of the line, cleaned: characters `first` to `last`."""

    line: str
    first: int
    last: int
    default: int  # speaker
    known: Mapping[str, int]  # speaker by folded name

    def part(self, places: list[int], speaker: int, pattern: re.Pattern[str] | None) -> Part:
        start, end = places[self.first], places[self.last]
        text = self.line[self.first : self.last]
        name, colon, rest = text.partition(":")
        chosen = self.known.get(folded(name)) if colon else None
        if chosen is not None:
            lead = len(name) - len(name.lstrip())
            span = (places[self.first + lead], places[self.first + len(name)] + 1)
            return Part(start, end, _spoken(rest), chosen, name=span)
        number = pattern.search(text.rstrip()) if pattern else None
        if number and text[: number.start()].strip():
            at = self.first + number.start("number")
            span = (places[at], places[at + len(number["number"]) - 1] + 1)
            said = _spoken(text[: number.start()])
            return Part(start, end, said, speaker + int(number["number"]), offset=span)
        return Part(start, end, _spoken(text), self.default)


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
