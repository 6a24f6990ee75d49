"""The commands of the shell: `csm-chat say`, `csm-chat doctor` ... A file each, loaded when called.

Does not know the prompt and the commands typed there (`repl`). Read the table below first.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from csm_chat.config.settings import Config

# name: what it does, in --help's words
COMMANDS: dict[str, str] = {
    "render": "turn scripts into scenes: mix, stems, subtitles, a picture",
    "say": "say text: play it, save it, pipe it on",
    "voices": "list the voices of the references folder, or hear them",
    "devices": "list what can be played on",
    "transcribe": "write down what is said in clips",
    "finetune": "make a file to fine-tune from out of folders of clips",
    "fuse": "write a fine-tuned voice and its model as one checkpoint",
    "verify": "look for the watermark in audio files",
    "config": "show the settings that hold here, and where each comes from",
    "download": "get a model from the Hugging Face hub",
    "bench": "measure how fast a model is here, and how near the limit",
    "doctor": "check all that speaking needs (also: info)",
    "info": "the same as doctor",
}
# modules that are not named like their command
_MODULES = {"info": "doctor"}


class Command(Protocol):
    """What the module of a command offers."""

    def add_arguments(self, parser: ArgumentParser) -> None: ...

    def run(self, args: Namespace, config: Config) -> int:
        """Do it; returns the exit code. Raises CsmChatError. Data to stdout, words to stderr."""
        ...


def find(name: str) -> Command:
    return cast(Command, import_module(f"csm_chat.commands.{_MODULES.get(name, name)}"))


def listed() -> list[str]:
    """The commands, a line each, as --help shows them."""
    return [f"  {name:12} {what}" for name, what in COMMANDS.items()]


def markdown() -> str:
    """The commands as the README shows them."""
    rows = [f"| `csm-chat {name}` | {what} |" for name, what in COMMANDS.items()]
    return "\n".join(["| Command | It does |", "|---|---|", *rows])
