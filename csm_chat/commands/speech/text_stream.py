"""Text that arrives in chunks, as a language model writes it, as entries to say one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from csm_chat.casting.labels import known_label
from csm_chat.casting.moods import Moods
from csm_chat.casting.names import by_name
from csm_chat.conversation.grammar import NO_MOODS, SEPARATOR, Entry, parse
from csm_chat.conversation.sentences import Sentences
from csm_chat.errors import EntryError
from csm_chat.normalise import says_nothing
from csm_chat.normalise.marks import TERMINAL_SEQUENCE

# the beginning of one, as far as a chunk has it
_SEQUENCE_BEGUN = re.compile(
    r"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c\n]*\x1b?|[ -/]*)|\x9b[0-?]*[ -/]*)\Z"
)


class Arriving:
    """Chunks in, entries out, each as soon as its end is certain.

    A line that begins with a known `name:` begins an entry, and that voice goes on until another
    name, a `||` or a blank line, which hands the word back to `speaker`.
    """

    def __init__(
        self,
        speaker: int,
        names: Mapping[int, str],
        offsets: str,
        refuse: Callable[[EntryError], None],
        skip: Callable[[str], None],
        moods: Moods = NO_MOODS,
    ) -> None:
        """`refuse` is told of each piece that has no reading; the rest goes on.

        `skip` gets those without a word: a rule or an emoji on a line of its own is no mistake.
        """
        self._refuse = refuse
        self._skip = skip
        self._first_speaker = self._speaker = speaker
        self._names = names
        self._moods = moods
        self._offsets = offsets
        self._known = by_name(names)
        longest_mood = max((len(mood) for each in moods.values() for mood in each), default=-3)
        self._longest = max((len(name) for name in self._known), default=0) + 3 + longest_mood
        self._sequence = ""  # begun, that the terminal would act upon
        self._begun = ""  # of a line, not yet enough to tell who says it
        self._in_line = False
        self._sentences = Sentences()

    def feed(self, chunk: str) -> Iterator[Entry]:
        return self._entries(self._pieces(self._shown(chunk)))

    def close(self) -> Iterator[Entry]:
        return self._entries(self._rest())

    def _shown(self, chunk: str) -> str:
        """A chunk without colours and the like, which may be cut anywhere."""
        text = self._sequence + chunk
        begun = _SEQUENCE_BEGUN.search(text)
        end = begun.start() if begun else len(text)
        self._sequence = text[end:]
        return TERMINAL_SEQUENCE.sub("", text[:end])

    def _pieces(self, chunk: str) -> Iterator[str]:
        text, self._begun = self._begun + chunk, ""
        for line in re.findall(r"[^\n]*\n|[^\n]+", text):
            if not self._in_line and not line.endswith("\n") and self._may_be_name(line):
                self._begun = line
                return
            yield from self._line(line)
            self._in_line = not line.endswith("\n")

    def _rest(self) -> Iterator[str]:
        yield from self._line(self._begun)
        yield from self._sentences.close()

    def _may_be_name(self, line: str) -> bool:
        return ":" not in line and len(line.strip()) <= self._longest

    def _line(self, line: str) -> Iterator[str]:
        """A line or the rest of one."""
        if not self._in_line and (not line.strip() or self._is_named(line)):
            yield from self._sentences.close()
            self._speaker = self._first_speaker
        yield from self._sentences.feed(line)

    def _is_named(self, line: str) -> bool:
        return known_label(line, self._known) is not None

    def _entries(self, pieces: Iterable[str]) -> Iterator[Entry]:
        for piece in pieces:
            if SEPARATOR not in piece and says_nothing(piece):
                self._skip(piece)
                continue
            try:
                entry = parse(
                    *(piece, self._speaker, self._names, self._offsets), moods=self._moods
                )
            except EntryError as error:
                self._refuse(error)
                continue
            if entry.utterances:
                self._speaker = entry.utterances[-1].speaker
                yield entry
