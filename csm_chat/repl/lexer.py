"""How a line looks while it is typed: parts in their speakers' colours, names behind offsets."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import (
    Processor,
    Transformation,
    TransformationInput,
)
from prompt_toolkit.layout.utils import explode_text_fragments
from prompt_toolkit.lexers import Lexer

from csm_chat.casting.names import label
from csm_chat.conversation.grammar import pauses_in
from csm_chat.repl.handlers import PromptState
from csm_chat.repl.lines import reading
from csm_chat.repl.toolbar import Fragments, colour

NO_SPEAKER = "class:error"


class LineLexer(Lexer):
    def __init__(self, state: PromptState) -> None:
        self._state = state

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        lines = document.lines

        def lex(number: int) -> StyleAndTextTuples:
            return list(styled(self._state, lines[number])) if number < len(lines) else []

        return lex

    def invalidation_hash(self) -> tuple[object, ...]:
        state = self._state
        moods = ((n, *each) for n, each in state.worker.moods().items())
        return (state.speaker, state.config.offsets, *state.names.items(), *moods)


def styled(state: PromptState, line: str) -> Fragments:
    """The line, cut where its style changes."""
    found = reading(state, line)
    if not found:
        style = "class:command" if line.lstrip().startswith("$") else ""
        return [(style, line)]
    shown: Fragments = []
    done = 0
    pauses = pauses_in(line)
    for part in found:
        is_wrong = part.speaker < 0 or bool(part.problem)
        base = NO_SPEAKER if is_wrong else colour(part.speaker)
        spans = [(part.start, base)]
        for marked in (part.name, part.bracket, part.offset):
            if marked and not part.problem:
                spans += [(marked[0], "class:chip"), (marked[1], base)]
        for start, end in pauses:
            if part.start <= start < part.end:
                spans += [(start, "class:chip"), (end, base)]
        spans.sort(key=lambda span: span[0])
        shown.append(("class:dim", line[done : part.start]))
        for (start, style), (end, _) in zip(spans, [*spans[1:], (part.end, "")], strict=True):
            shown.append((style, line[start:end]))
        done = part.end
    return [fragment for fragment in shown if fragment[1]]


class OffsetChips(Processor):
    """Behind each offset the name of who it chooses; only on the screen, not in the line."""

    def __init__(self, state: PromptState, arrow: str) -> None:
        self._state = state
        self._arrow = arrow

    def apply_transformation(self, given: TransformationInput) -> Transformation:
        line = given.document.lines[given.lineno]
        chips = [
            (part.offset[1], self._chip(part.speaker))
            for part in reading(self._state, line)
            if part.offset
        ]
        if not chips:
            return Transformation(given.fragments)
        fragments = explode_text_fragments(given.fragments)
        for place, chip in reversed(chips):
            fragments[place:place] = [("class:chip", chip)]
        return Transformation(
            fragments,
            source_to_display=lambda i: i + sum(len(chip) for at, chip in chips if at < i),
            display_to_source=lambda i: _source(i, chips),
        )

    def _chip(self, speaker: int) -> str:
        who = label(speaker, self._state.names) if speaker >= 0 else f"no speaker {speaker}"
        return f" {self._arrow}{who}"


def _source(shown: int, chips: list[tuple[int, str]]) -> int:
    """The character of the line that stands at a column; that before a chip for one inside it."""
    for place, chip in chips:
        if shown <= place:
            break
        shown = max(place, shown - len(chip))
    return shown
