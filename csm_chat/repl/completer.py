"""What Tab offers: commands and their arguments from the table, names after a separator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from csm_chat.casting.names import by_name, folded, label
from csm_chat.conversation.grammar import ESCAPE, SEPARATOR
from csm_chat.repl.commands import BY_NAME, COMMANDS, Command
from csm_chat.repl.handlers import PromptState

COMMAND = re.compile(r"\s*\$(\w*!?)")
BRACKET = re.compile(r"([^():]*?)\s*(:?)\s*\(([^()]*)")  # opened behind a name, or in front
ARGUMENT = re.compile(r"\s*\$([A-Za-z]+!?)\s+(.*)")


class LineCompleter(Completer):
    def __init__(self, state: PromptState) -> None:
        self._state = state

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        line = document.current_line_before_cursor
        if begun := COMMAND.fullmatch(line):
            yield from _commands(begun[1])
        elif (argued := ARGUMENT.fullmatch(line)) and (command := BY_NAME.get(argued[1].upper())):
            yield from _arguments(command, argued[2], self._state)
        elif not line.lstrip().startswith((ESCAPE, "$")):
            begun_part = line.rpartition(SEPARATOR)[2].lstrip()
            yield from _names(begun_part, self._state)
            yield from _moods(begun_part, line.count(SEPARATOR), self._state)


def _commands(begun: str) -> Iterator[Completion]:
    for command in COMMANDS:
        if command.name.startswith(begun.upper()):
            text = f"${command.name} " if _needs_argument(command) else f"${command.name}$"
            yield Completion(text, -len(begun) - 1, command.usage, command.help)


def _needs_argument(command: Command) -> bool:
    return bool(command.argument) and not command.argument.startswith("[")


def _arguments(command: Command, begun: str, state: PromptState) -> Iterator[Completion]:
    # what comes next is the value of a setting, or is changed in a text that is there
    end = " " if command.name == "SET" else "" if command.takes_text else "$"
    for choice in _starting(begun, command.complete(state)):
        yield Completion(choice + end, -len(begun), choice)


def _names(begun: str, state: PromptState) -> Iterator[Completion]:
    for name in _starting(begun, state.names.values()):
        yield Completion(f"{name}: ", -len(begun), name, f"{name} says this part")


def _moods(begun: str, index: int, state: PromptState) -> Iterator[Completion]:
    """Those of who is named before the bracket, or would speak this part."""
    if not (open_bracket := BRACKET.fullmatch(begun)):
        return
    name, colon, mood = open_bracket.groups()
    who = by_name(state.names).get(folded(name)) if name.strip() else state.speaker + index
    if who is None:
        return
    end = "): " if name.strip() and not colon else ") "
    for choice in _starting(mood, state.worker.moods().get(who, ())):
        yield Completion(
            choice + end, -len(mood), f"({choice})", f"{label(who, state.names)} in that mood"
        )


def _starting(begun: str, choices: Iterable[str]) -> Iterator[str]:
    """Those that begin so, or have a dotted part that does."""
    for choice in choices:
        if any(
            c.casefold().startswith(begun.casefold()) for c in (choice, choice.rpartition(".")[2])
        ):
            yield choice
