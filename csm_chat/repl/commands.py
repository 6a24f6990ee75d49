"""The `$COMMANDS$`: one table that matches, runs, completes and documents them.

Knows no terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from csm_chat.errors import EntryError
from csm_chat.repl import handlers as do
from csm_chat.repl.handlers import Complete, PromptState, Run

SHAPE = re.compile(r"\$([A-Za-z]+|(?i:EDIT!))(\s.*?)?(\$?)")
# Without its closing mark a line of more words is rather a sentence ("$SET the table for two").
BARE_WORDS = 2
EDITED = r"[0-9]{1,9}\s+(?s:.*\S.*)"

WRITING = (
    ("Hello.", "the current speaker says it"),
    ("Hi!||Hello.", "a scene: each part is said by the next speaker"),
    ("Hi!||Hello.||Bye.0", "a number after closing punctuation counts from the current speaker"),
    ("ana: Hi!", "the voice of that name says it"),
    ("ana (angry): Out!", "in that mood, from a clip reference-ana.angry.wav"),
    ("(angry) Out!", "the current speaker says it in that mood"),
    ("Cleo: Hi!", "a new name with a capital is a new speaker with a random voice"),
    ("Hi. (pause 0.8) Bye. (beat)", "silence of so many seconds; a beat is half a second"),
    ("\\$5$", "everything after the backslash is said as it stands"),
)
KEYS = (
    ("Enter", "speak"),
    ("Alt-Enter", "a new line, said as an entry of its own (also Esc, Enter)"),
    ("Ctrl-C", "stop speaking; twice: drop what waits too; else clear the line"),
    ("Ctrl-D", "leave"),
    ("F4 F3", "next speaker, speaker before"),
    ("Alt-R Alt-P Alt-U", "retry, replay, undo"),
    ("Tab", "complete commands, names and moods"),
    ("Ctrl-R", "search the lines typed before"),
    ("Ctrl-X Ctrl-E", "write the line in $EDITOR"),
    ("Ctrl-Z", "stop the program and let the sound device go; fg comes back"),
)


def _nothing(_: PromptState) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    argument: str  # as help shows it; in brackets if it may be left out
    help: str
    run: Run  # now or queued; its text is shown at once
    complete: Complete = _nothing
    accepts: str = ""  # what the argument has to match
    takes_text: bool = False  # of any length: the closing mark may be left out

    @property
    def usage(self) -> str:
        return f"${self.name} {self.argument}$" if self.argument else f"${self.name}$"


def match(line: str) -> tuple[Command, str] | None:
    """The command that a line is, and its argument; None for speech.

    Raises EntryError for an unknown command and for an argument that the command does not take.
    """
    shape = SHAPE.fullmatch(line.strip())
    if not shape:
        return None
    argument = (shape[2] or "").strip()
    command = BY_NAME.get(shape[1].upper())
    closed = bool(shape[3])
    if not closed and (command is None or _is_sentence(command, argument)):
        return None
    if command is None:
        raise _unknown(line, shape[1])
    if not re.fullmatch(command.accepts, argument, re.IGNORECASE):
        raise EntryError(
            f"{command.usage} is how it is typed: {command.help}. {_not_spoken(line)}",
            position=line.index("$") + 1 + len(shape[1]),
        )
    return command, argument


def _is_sentence(command: Command, argument: str) -> bool:
    return not command.takes_text and len(argument.split()) > BARE_WORDS


def help_text() -> str:
    """What `$HELP$` shows."""
    width = max(len(command.usage) for command in COMMANDS)
    lines = [f" {command.usage:{width}}  {command.help}" for command in COMMANDS]
    width = max(len(how) for how, _ in [*WRITING, *KEYS])
    writing, typing = ([f" {how:{width}}  {what}" for how, what in t] for t in (WRITING, KEYS))
    return "\n".join(["Lines", *writing, "", "Keys", *typing, "", "Commands", *lines])


def help_markdown() -> str:
    """The README's section on lines, keys and commands."""
    tables = (
        ("You type", "It means", WRITING),
        ("Key", "It does", KEYS),
        ("Command", "It does", [(command.usage, command.help) for command in COMMANDS]),
    )
    return "\n\n".join(
        "\n".join([_row(*head), "|---|---|", *(_row(f"`{how}`", what) for how, what in rows)])
        for *head, rows in tables
    )


def _row(left: str, right: str) -> str:
    return f"| {_cell(left)} | {_cell(right)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _unknown(line: str, name: str) -> EntryError:
    near = get_close_matches(name.upper(), BY_NAME, n=1)
    hint = f"Did you mean {BY_NAME[near[0]].usage}?" if near else "$HELP$ lists the commands."
    return EntryError(
        f"Unknown command ${name}$. {hint} {_not_spoken(line)}",
        position=line.index("$") + 1 + len(name),
    )


def _not_spoken(line: str) -> str:
    return f"(Nothing was spoken. \\{line.strip()} would speak it.)"


def _help(_: PromptState, __: str) -> str:
    return help_text()


COMMANDS = (
    Command("CLEAR", "", "forget the dialogue, keep the voices", do.on_session(do.clear)),
    Command("SWAP", "", "the next speaker speaks (F4)", do.swap),
    Command("BACK", "", "the speaker before speaks (F3)", do.back),
    Command(
        "SPEAKER",
        "[n|name]",
        "that speaker speaks; alone it lists them",
        do.choose_speaker,
        do.speakers,
        ".*",
    ),
    Command("HISTORY", "", "show the dialogue that the model hears", do.show_history),
    Command("EXIT", "", "leave", do.leave),
    Command("HELP", "", "show this help", _help),
    Command("DEMO", "", "hear a short scene", do.demo),
    Command("VOICES", "", "list the voices", do.list_voices),
    Command("RETRY", "", "say the last line again with another seed (Alt-R)", do.retry),
    Command(
        "UNDO", "", "take back the last change of the dialogue (Alt-U)", do.on_session(do.undo)
    ),
    Command(
        "TAKES",
        "n",
        "make n takes of the last line to pick from, unheard",
        do.takes,
        do.numbers_of_takes,
        "[0-9]{1,9}",
    ),
    Command(
        "PICK",
        "n",
        "put the nth of these takes into the dialogue, and play it",
        do.pick,
        do.offered,
        "[0-9]{1,9}",
    ),
    Command(
        "EDIT",
        "n text",
        "say turn n anew with that text, in its place ($HISTORY$ has the numbers)",
        do.edit(onward=False),
        do.turns,
        EDITED,
        takes_text=True,
    ),
    Command(
        "EDIT!",
        "n text",
        "the same, and say the turns behind it anew, too",
        do.edit(onward=True),
        do.turns,
        EDITED,
        takes_text=True,
    ),
    Command(
        "REPLAY",
        "[n]",
        "play take n again; alone the last entry (Alt-P)",
        do.replay,
        accepts="([0-9]{1,9})?",
    ),
    Command(
        "SEED",
        "n|random",
        "the number that fixes how takes come out",
        do.seed,
        do.seeds,
        "random|[0-9]{1,20}",
    ),
    Command(
        "SET",
        "key value",
        "change a setting of config.yaml for now, as ana.speed 1.1 of one speaker",
        do.change_setting,
        do.settings,
        r"\S+\s+\S.*",
    ),
    Command(
        "SAY",
        "text",
        "show what the model would read of it; nothing is spoken",
        do.show_reading,
        accepts=r"(?s:.*\S.*)",
        takes_text=True,
    ),
    Command(
        "LEXICON",
        "[word = words]",
        "say a word in another way for now; alone it lists the lexicon",
        do.change_lexicon,
        do.lexicon_entries,
        accepts="(?s:.*)",
        takes_text=True,
    ),
    Command(
        "CHECK",
        "[on|off|words]",
        "hear each take, and tell if it is not what was asked for; alone it tells if so",
        do.check,
        do.modes_of_checking,
        "(on|off|words)?",
    ),
    Command("RELOAD", "", "look at the references folder again", do.reload),
    Command(
        "AUDIO",
        "[device]",
        "play there; alone it opens the configured device again",
        do.open_audio,
        do.devices,
        ".*",
    ),
    Command("STATS", "", "show speed, context and sound in numbers", do.show_stats),
)
BY_NAME = {command.name: command for command in COMMANDS}
