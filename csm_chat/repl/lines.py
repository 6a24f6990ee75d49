"""A line that was typed is carried out: queued speech, or a command. Knows no terminal."""

from __future__ import annotations

from csm_chat.conversation.grammar import Entry, Part, parts
from csm_chat.errors import EntryError
from csm_chat.repl.commands import match
from csm_chat.repl.handlers import PromptState


def carry_out(state: PromptState, line: str) -> tuple[str, ...]:
    """Queue what `line` says, or run the command it is; what there is to answer at once.

    Raises EntryError for a line that has no reading; nothing was queued then.
    """
    found = match(line)
    if found:
        command, argument = found
        answer = command.run(state, argument)
        return (answer,) if answer else ()
    entry = _parse(state, line)
    if entry.utterances:
        state.worker.introduce(entry.newcomers)
        state.worker.say(entry.utterances)
    return entry.notes


def check(state: PromptState, text: str) -> None:
    """Raise the EntryError of the first line that has no reading, placed in `text`.

    Lines after a command are not looked at: it may choose another speaker for them.
    """
    start = 0
    for line in text.split("\n"):
        try:
            if match(line):
                return
            _parse(state, line)
        except EntryError as error:
            raise EntryError(str(error), position=start + error.position) from error
        start += len(line) + 1


def _parse(state: PromptState, line: str) -> Entry:
    entry = state.parsed(line)
    read = state.worker.reading
    said = entry.utterances
    if said and all(read.says_nothing(each.text) and not each.is_silence for each in said):
        read.refuse_silence(entry.utterances[0].text)
    return entry


def reading(state: PromptState, line: str) -> tuple[Part, ...]:
    """The parts of a line that is speech; none of a command. Never raises."""
    try:
        if match(line):
            return ()
    except EntryError:
        return ()
    return parts(
        *(line, state.speaker, state.names, state.config.offsets),
        moods=state.worker.moods(),
        taken=state.worker.taken(),
    )
