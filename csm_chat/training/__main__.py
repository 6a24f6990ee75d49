"""`python -m csm_chat.training COMMAND`: each step of making the built-in voice, a command each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from csm_chat.errors import CsmChatError
from csm_chat.printing import put

COMMANDS = {
    "kit": "fetch the teacher's voices, put the ears' weights together",
    "teach": "have the human-sounding teacher speak conversations to a folder",
    "misheard": "mark what a recogniser mishears in such a folder",
    "hear": "hear a folder of clips as a stranger would",
    "whisper": "write Whisper base as a file that openai-whisper reads",
    "samples": "speak sentences to a folder, to listen to what is trained on",
    "recogniser": "train what hears the words in the measurements",
    "codec": "train a Mimi-class codec, or write it out with --export",
    "csm": "train a CSM on a codec",
    "export": "write a complete checkpoint folder",
    "evaluate": "measure a checkpoint folder on held-out sentences and voices",
}

# where a command's `main` is, if not in a module of its name
_MODULES = {
    "teach": "speech.teacher.teach",
    "misheard": "ears.misheard",
    "hear": "ears.hear",
    "whisper": "ears.openai_whisper",
    "samples": "speech.samples",
    "recogniser": "ears.recogniser",
    "codec": "codec.train",
    "csm": "csm.train",
}


def main(arguments: Sequence[str]) -> int:
    """Run a command with the rest of the arguments; returns the exit code."""
    if not arguments or arguments[0] not in COMMANDS:
        width = max(map(len, COMMANDS))
        lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
        put("usage: python -m csm_chat.training COMMAND ...", "", *lines)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    module = import_module(f"csm_chat.training.{_MODULES.get(arguments[0], arguments[0])}")
    try:
        code: int = module.main(arguments[1:])
    except CsmChatError as error:
        put(*error.lines, file=sys.stderr)
        return error.exit_code
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
