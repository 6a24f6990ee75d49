"""Words that somebody wants said in another way: `Nguyen = win`, `/S(\\d+)/ = season \\1`.

A line an entry; `#` begins a comment. A word in small letters stands for any case, one with a
capital for itself alone. A pattern between slashes is a regular expression of Python's, for any
case if an `i` follows it; \\1 is its first group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

COMMENT = "#"
MOST_CHARS = 200  # of an entry
_PATTERN = re.compile(r"/(?P<pattern>(?:[^/\\]|\\.)+)/(?P<flags>\w*)\s*=(?P<said>.*)")
_WORD = re.compile(r"(?P<word>[^=]+)=(?P<said>.*)")


class LexiconError(ValueError):
    """Why a line is no entry, in words that go behind its place."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How one word or pattern is said."""

    written: str  # the line, as `Nguyen = win`
    pattern: re.Pattern[str]
    said: str  # a template of `re.sub`

    def apply(self, text: str) -> str:
        return self.pattern.sub(self.said, text)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Entries in the order they are applied: later ones see what earlier ones made."""

    entries: tuple[Entry, ...] = ()

    def read(self, text: str) -> str:
        """`text` with its words as they are to be read."""
        for entry in self.entries:
            text = entry.apply(text)
        return text

    def with_entry(self, entry: Entry) -> Lexicon:
        """With one more, in the place of one for the same word."""
        kept = (each for each in self.entries if each.pattern != entry.pattern)
        return Lexicon((*kept, entry))

    def over(self, other: Lexicon) -> Lexicon:
        """These before those of another: what both say, these say."""
        return Lexicon((*self.entries, *other.entries))


EMPTY = Lexicon()


def parse_lexicon(lines: Iterable[str]) -> tuple[Lexicon, tuple[str, ...]]:
    """The entries of a file, and a line for each of its lines that is none: `3  words`."""
    entries, problems = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith(COMMENT):
            continue
        try:
            entries.append(parse_entry(line))
        except LexiconError as error:
            problems.append(f"{number}  {error}")
    return Lexicon(tuple(entries)), tuple(problems)


def parse_entry(line: str) -> Entry:
    """One entry. Raises LexiconError."""
    line = line.strip()
    if len(line) > MOST_CHARS:
        raise LexiconError(f"is longer than {MOST_CHARS} characters")
    if found := _PATTERN.fullmatch(line):
        return _of_pattern(line, found["pattern"], found["flags"], found["said"].strip())
    found = _WORD.fullmatch(line)
    word = " ".join(found["word"].split()) if found else ""
    if not found or not word:
        raise LexiconError(f'"{line}" is no entry: write it as word = how it is said')
    flags = re.IGNORECASE if word == word.lower() else 0
    inner = r"\s+".join(map(re.escape, word.split()))
    # a border only where the word has a letter there: "C++" ends in none
    left = r"(?<!\w)" if _is_letter(word[0]) else ""
    right = r"(?!\w)" if _is_letter(word[-1]) else ""
    said = found["said"].strip().replace("\\", r"\\")
    return Entry(line, re.compile(f"{left}{inner}{right}", flags), said)


def _of_pattern(line: str, pattern: str, flags: str, said: str) -> Entry:
    if flags not in ("", "i"):
        raise LexiconError(f'"{flags}" behind a pattern: only i is known, for any case')
    try:
        compiled = re.compile(pattern, re.IGNORECASE if flags else 0)
        if compiled.match(""):
            raise LexiconError(f"/{pattern}/ matches where nothing is")
        compiled.sub(said, "")  # a wrong group number is told without a match, too
    except (re.error, IndexError, RecursionError, OverflowError) as error:
        raise LexiconError(f"/{pattern}/ is no pattern: {error}") from error
    return Entry(line, compiled, said)


def _is_letter(char: str) -> bool:
    return char.isalnum() or char == "_"
