"""The command line: reads flags, puts the parts together, turns errors into exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.errors import ConfigError, ContextError, CsmChatError, DeviceError, UsageError

if TYPE_CHECKING:
    from csm_chat.audio.player import Player
    from csm_chat.config import Config
    from csm_chat.repl.contracts import Loaded
    from csm_chat.repl.worker import Worker
    from csm_chat.speech.session import Session
    from csm_chat.speech.voices import VoiceLibrary
    from csm_chat.types import Codec

log = logging.getLogger(__name__)

EXAMPLES = """\
examples:
  csm-chat                                   talk with CSM-1B, if it is in the Hugging Face cache
  csm-chat --model sesame/csm-1b             download it first (7.1 GB, once)
  echo 'Hi there!||Oh, hello.' | csm-chat    read entries from a pipe, save the takes
"""
EPILOG = """\
exit codes: 0 done, 1 an entry failed, 2 wrong usage, 3 no model, 4 no sound, 5 bad config,
130 interrupted. At the prompt, $HELP$ lists the commands.
"""
WARM_UP_FRAMES = 5
LOG_BYTES = 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run `csm-chat`; returns the exit code."""
    _open_streams()
    args = _parser().parse_args(argv)
    if args.version:
        print(_versions())
        return 0
    log_file = _start_log(args.debug)
    try:
        return _talk(args)
    except CsmChatError as error:
        log.debug("ended by", exc_info=True)
        if args.debug:
            raise
        print(f"csm-chat: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        log.exception("ended by a defect")
        if args.debug:
            raise
        print(f"csm-chat: {type(error).__name__}: {error} (see {log_file})", file=sys.stderr)
        return 1


def _open_streams() -> None:
    """Python has None for a stream that was closed before it started (`<&-`, a service)."""
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    nowhere = Path(os.devnull).open("r+")  # noqa: SIM115 - it lives as long as the process
    sys.stdin = sys.stdin or nowhere
    sys.stdout = sys.stdout or nowhere
    sys.stderr = sys.stderr or nowhere


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="csm-chat",
        description=f"Type dialogue, hear it spoken.\n\n{EXAMPLES}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-m", "--model", help="auto, a Hugging Face repository or a folder")
    add("--device", help="auto, cpu, cuda or mps")
    add("--dtype", help="auto, float32, bfloat16 or float16")
    add("-s", "--speaker", help="number of who speaks first")
    add("--seed", help="first seed, or random")
    add("--references", metavar="DIR", help="folder of voice clips")
    add("--takes", metavar="DIR", help="folder that takes are saved under")
    add("--audio", metavar="DEVICE", help="part of a device's name, its number, or off")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any key of config.yaml")
    add("--config", type=Path, metavar="FILE", help="instead of ./config.yaml")
    add("--plain", action="store_true", help="plain lines, as when piped")
    add("--debug", action="store_true", help="tracebacks, and a log of everything")
    add("--version", action="store_true", help="versions of what is installed")
    return parser


def _versions() -> str:
    names = ("csm_chat", "torch", "moshi", "transformers", "openai-whisper", "sounddevice", "mlx")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _talk(args: argparse.Namespace) -> int:
    from csm_chat.repl import plain

    config = _config(args)
    worker = _worker(config)
    if args.plain or plain.wanted(sys.stdin, sys.stdout, os.environ):
        code = plain.run(worker, config, sys.stdin, sys.stdout)
    else:
        from csm_chat.repl import app

        code = app.run(worker, config, _banner())
    if not worker.close():
        # somebody who leaves while gigabytes are being read is not kept; nothing is being written
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return code


def _config(args: argparse.Namespace) -> Config:
    """config.yaml, under CSM_CHAT_* variables, under the flags."""
    from csm_chat.config import find_config, from_environment, load_config, override

    config = from_environment(load_config(find_config(args.config)), os.environ)
    for flag, key, value in _settings(args):
        try:
            config = override(config, key, value)
        except ConfigError as error:
            raise UsageError(f"{flag}: {error}") from error
    return config


def _settings(args: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Flag, key and value of each setting given as a flag."""
    flags = {
        "--model": ("model", args.model),
        "--device": ("device", args.device),
        "--dtype": ("dtype", args.dtype),
        "--speaker": ("speaker", args.speaker),
        "--seed": ("sampling.seed", args.seed),
        "--references": ("references", args.references),
        "--takes": ("takes", args.takes),
        "--audio": ("audio.device", args.audio),
    }
    for flag, (key, value) in flags.items():
        if value is not None:
            yield flag, key, value
    for setting in args.set:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write it as --set KEY=VALUE")
        yield f"--set {setting}", key.strip(), value.strip()


def _worker(config: Config) -> Worker:
    from csm_chat.repl.worker import Worker
    from csm_chat.speech.references import expected_names

    names = expected_names(_folder(config.references), config.voices)
    worker = Worker(config, lambda *reports: _load_parts(worker, *reports), names)
    return worker


def _load_parts(
    worker: Worker,
    notify: Callable[[str], None],
    progress: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> Loaded:
    """What the worker's thread runs first: sound, model, voices, one measured warm-up."""
    from csm_chat.audio.prebuffer import prebuffer_s
    from csm_chat.audio.takes import Takes
    from csm_chat.loading import load
    from csm_chat.repl.contracts import Loaded
    from csm_chat.speech.session import Session

    def prebuffer(expected_s: float, rtf: float | None) -> float:
        return prebuffer_s(expected_s, rtf, worker.config.audio.start)

    config = worker.config
    with ExitStack() as on_failure:
        player = _player(config, notify)
        on_failure.callback(player.close)
        backend = load(
            config.model,
            device=config.device,
            dtype=config.dtype,
            notify=notify,
            progress=progress,
            cancelled=cancelled,
        )
        session = Session(backend, sampling=config.sampling, context=config.context, notify=notify)
        progress("the voices")
        library = _library(config, backend.codec, notify)
        session.voices = library.load()
        progress("warming up")
        rtf = _warm_up(session, notify)
        takes = Takes(_folder(config.takes), notify, lambda: _about(session))
        on_failure.pop_all()
    return Loaded(session, library, takes, player, prebuffer, rtf)


def _player(config: Config, notify: Callable[[str], None]) -> Player:
    from csm_chat.audio.player import Player

    player = Player(config.audio.device, config.audio.latency_s, notify)
    try:
        player.open()
    except DeviceError as error:
        notify(f"{error}. Every take is still saved; $AUDIO$ tries again")
    else:
        notify(f"audio: {player.status().device}")
    return player


def _library(config: Config, codec: Codec, notify: Callable[[str], None]) -> VoiceLibrary:
    from csm_chat.speech.transcribe import Transcriber
    from csm_chat.speech.voices import VoiceLibrary

    return VoiceLibrary(
        _folder(config.references),
        codec,
        _cache_folder(),
        Transcriber(config.whisper.model, notify=notify),
        notify,
        config.voices,
        config.context.max_reference_s,
    )


def _warm_up(session: Session, notify: Callable[[str], None]) -> float | None:
    """Measured compute time over audio time; None when there was too little to measure."""
    from csm_chat.repl.toolbar import pace

    backend = session.backend
    rtf = None
    try:
        rtf = session.warm_up(WARM_UP_FRAMES).running_rtf
    except ContextError as error:
        notify(str(error))
    speed = f": {pace(rtf)}" if rtf else ""
    notify(f"model: {backend.name} on {backend.device}, {backend.dtype}{speed}")
    return rtf


def _about(session: Session) -> Mapping[str, object]:
    backend = session.backend
    return {
        "model": backend.name,
        "device": backend.device,
        "dtype": backend.dtype,
        "version": version("csm_chat"),
        "sampling": asdict(session.sampling),
    }


def _banner() -> str:
    return f"csm-chat {version('csm_chat')}   dialogue to speech   $HELP$ for help, Ctrl-D to leave"


def _folder(name: str) -> Path:
    return Path(name).expanduser()


def _cache_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("csm_chat")


def _start_log(debug: bool) -> Path:
    """Log to a file that is always there to look at; an unwritable folder only costs the log."""
    from logging.handlers import RotatingFileHandler

    from platformdirs import user_state_path

    path = user_state_path("csm_chat") / "log.txt"
    handler: logging.Handler
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    except OSError:
        handler = logging.NullHandler()
        path = Path(os.devnull)
    handler.setFormatter(logging.Formatter("%(asctime)s %(threadName)s %(name)s: %(message)s"))
    package = logging.getLogger("csm_chat")
    package.addHandler(handler)
    package.setLevel(logging.DEBUG if debug else logging.INFO)
    package.propagate = False
    return path
