"""The command line: the prompt and the commands, the last catch, and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from csm_chat import commands
from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.flags import config_from
from csm_chat.commands.terminal.parser import Parser
from csm_chat.config.schema import nearest, shown
from csm_chat.errors import ConfigError, CsmChatError, UsageError
from csm_chat.leaving import asked_by_signals, held_by_no_library
from csm_chat.printing import LogLines, put, put_traceback

if TYPE_CHECKING:
    from csm_chat.config.settings import Config
    from csm_chat.repl.worker.worker import Worker

log = logging.getLogger(__name__)

EXAMPLES = """\
examples:
  csm-chat                                   talk: with CSM-1B if the Hugging Face cache has it,
                                             else with the small built-in voice
  csm-chat --model sesame/csm-1b             download it first (7.1 GB, once)
  echo 'Hi there!||Oh, hello.' | csm-chat    read entries from a pipe, save the takes
  csm-chat say -o hello.mp3 "Hello."         say one thing
"""
EPILOG = """\
commands, before any flag (csm-chat COMMAND --help tells more):
{commands}

exit codes: 0 done, 1 something failed, 2 wrong usage, 3 no model, 4 no sound, 5 bad config,
130 interrupted, 143 ended by SIGTERM, 129 by SIGHUP. At the prompt, $HELP$ lists the commands.
"""
LOG_BYTES = 1_000_000
APPENDING = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def program() -> NoReturn:
    """`csm-chat` as a process."""
    sys.excepthook = lambda _, error, __: put_traceback(error)
    threading.excepthook = _tell_of_thread
    with held_by_no_library():
        sys.exit(main())


def _tell_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        put_traceback(ended.exc_value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `csm-chat`; returns the exit code."""
    _open_streams()
    args = _parse(sys.argv[1:] if argv is None else argv)
    log_file = _start_log(args.debug)
    with asked_by_signals() as ending:
        code = _run(args, log_file)
    return ending.code_or(code)


def _run(args: argparse.Namespace, log_file: Path) -> int:
    """Carry it out, with the last catch; returns the exit code."""
    try:
        config = _config(args)
        run: Callable[[argparse.Namespace, Config], int] = args.run
        code = run(args, config)
        sys.stdout.flush()  # here, where a broken pipe can still be told apart
        return code
    except BrokenPipeError:
        _discard_stdout()
        return 1
    except CsmChatError as error:
        log.debug("ended by", exc_info=True)
        if args.debug:
            put_traceback(error)
        else:
            first, *others = error.lines or ("",)
            _complain(first, *others)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        log.exception("ended by a defect")
        if args.debug:
            put_traceback(error)
        else:
            _complain(f"{type(error).__name__}: {error} (see {log_file})")
        return 1


def _complain(first: str, *others: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that was closed
        put(f"csm-chat: {first}", *others, file=sys.stderr)


def _config(args: argparse.Namespace) -> Config:
    """The settings; the defaults for a command that looks into what is wrong with them."""
    try:
        return config_from(args)
    except ConfigError as error:
        if "bad_config" not in args:
            raise
        from csm_chat.config.settings import Config

        args.bad_config = error
        return Config()


def _open_streams() -> None:
    """Python has None for a stream that was closed before it started (`<&-`, a service)."""
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    nowhere = Path(os.devnull).open("r+")  # noqa: SIM115 - it lives as long as the process
    sys.stdin = sys.stdin or nowhere
    sys.stdout = sys.stdout or nowhere
    sys.stderr = sys.stderr or nowhere


def _discard_stdout() -> None:
    """Let the flush at exit go nowhere: Python would report the broken pipe once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The prompt's flags, or those of the command that comes first. Adds `run`."""
    name = argv[0] if argv else ""
    if name not in commands.COMMANDS:
        if name and not name.startswith("-"):
            _refuse(name)
        return _parser().parse_args(argv, argparse.Namespace(run=_talk))
    command = commands.find(name)
    parser = Parser(
        prog=f"csm-chat {name}",
        description=commands.COMMANDS[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    _add_debug(parser)
    return parser.parse_args(argv[1:], argparse.Namespace(run=command.run))


def _refuse(name: str) -> NoReturn:
    guess = nearest(name, commands.COMMANDS)
    hint = f" Did you mean {guess}?" if guess else ""
    listed = commands.listed()
    put(f"csm-chat: there is no command {shown(name)}.{hint}", *listed, file=sys.stderr)
    sys.exit(UsageError.exit_code)


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(commands.listed())
    parser = Parser(
        prog="csm-chat",
        description=f"Type dialogue, hear it spoken.\n\n{EXAMPLES}",
        epilog=EPILOG.format(commands=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_settings(parser, *flags.FLAGS)
    parser.add_argument("--plain", action="store_true", help="plain lines, as when piped")
    _add_debug(parser)
    parser.add_argument(
        "--version", action=_ShowVersions, nargs=0, help="versions of what is installed"
    )
    return parser


class _ShowVersions(argparse.Action):
    """argparse's own "version" wants the text at every start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        put(_versions())
        parser.exit()


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="tracebacks, and a log of everything")


def _versions() -> str:
    names = ("csm_chat", "torch", "moshi", "transformers", "openai-whisper", "sounddevice", "mlx")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _talk(args: argparse.Namespace, config: Config) -> int:
    from csm_chat.repl import plain

    worker = _worker(config)
    if args.plain or plain.wanted(sys.stdin, sys.stdout, os.environ):
        code = plain.run(worker, sys.stdin, sys.stdout)
    else:
        from csm_chat.repl import app

        code = app.run(worker, _banner())
    if not worker.close():
        # somebody who leaves while gigabytes are being read is not kept; nothing is being written
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return code


def _worker(config: Config) -> Worker:
    from csm_chat.assemble import folder, open_conversation, open_lexicon
    from csm_chat.notices import log_only
    from csm_chat.repl.worker.worker import Worker
    from csm_chat.voices.references import expected_voices

    references = folder(config.references, "references")
    names, moods = expected_voices(references, config.named)
    # what is wrong with it is told when the conversation opens
    return Worker(config, open_conversation, names, open_lexicon(config, log_only), moods)


def _banner() -> str:
    return f"csm-chat {version('csm_chat')}   dialogue to speech   $HELP$ for help, Ctrl-D to leave"


def _start_log(debug: bool) -> Path:
    """Log to a file that is always there to look at; an unwritable folder only costs the log."""
    from logging.handlers import RotatingFileHandler

    from csm_chat.places import make_private, open_private, state_folder

    class OwnLog(RotatingFileHandler):
        """It holds what was said: its owner's alone, each new file of it as well."""

        def _open(self) -> TextIOWrapper:
            private = os.fdopen(open_private(self.baseFilename, APPENDING), "ab")
            return TextIOWrapper(private, "utf-8", write_through=True)

    state = state_folder()
    path = Path(os.devnull) if state is None else state / "log.txt"
    handler: logging.Handler = logging.NullHandler()
    try:
        if state:
            make_private(state)
            handler = OwnLog(path, maxBytes=LOG_BYTES, backupCount=1)
    except OSError:
        path = Path(os.devnull)
    handler.setFormatter(LogLines("%(asctime)s %(threadName)s %(name)s: %(message)s"))
    package = logging.getLogger("csm_chat")
    package.addHandler(handler)
    package.setLevel(logging.DEBUG if debug else logging.INFO)
    package.propagate = False
    return path
