"""`csm-chat transcribe`: what is said in clips, into a .txt beside each. Whisper does it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.errors import AudioError, NoWordsError, TakeError
from csm_chat.printing import put, put_path

if TYPE_CHECKING:
    from csm_chat.commands.terminal.console import Bar
    from csm_chat.config.settings import Config
    from csm_chat.types import Pcm

PIECE_S = 28.0  # Whisper hears 30 s at a time, and a word on the seam is lost
SEARCHED_S = 10.0  # the end of a piece, where it is cut at the quietest spot
QUIET_S = 0.2


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="wav, flac, mp3, ogg")
    parser.add_argument("--stdout", action="store_true", help="print the words, write no file")
    parser.add_argument("--force", action="store_true", help="replace a .txt that is there")
    flags.add_settings(parser, flags.WHISPER)
    parser.add_argument("--quiet", action="store_true", help="errors only")


def run(args: Namespace, config: Config) -> int:
    from csm_chat.voices.transcribe import Transcriber

    console = Console(quiet=args.quiet)
    code = 0
    with closing(Transcriber(config.whisper.model, tell=console.tell)) as transcribe:
        for path in args.files:
            try:
                _transcribe(path, transcribe, args, console)
            except (
                AudioError,
                TakeError,
                NoWordsError,
            ) as error:  # the others are still to be done
                console.warn(f"csm-chat: {error}")
                code = code or error.exit_code
    return code


def _transcribe(
    path: Path, transcribe: Callable[[Pcm], str], args: Namespace, console: Console
) -> None:
    from csm_chat.audio.clips import read_clip
    from csm_chat.types import SAMPLE_RATE
    from csm_chat.voices.references import transcript_path

    target = transcript_path(path)
    clip = read_clip(path)
    pcm = clip.pcm
    if clip.remark:
        console.note(f"{path}: {clip.remark}")
    if target.exists() and not (args.force or args.stdout):
        console.note(f"{target} is there and stays as it is (--force writes it again)")
        return
    with console.bar(len(pcm) / SAMPLE_RATE, "s") as bar:
        text = _heard(path, pcm, transcribe, bar)
    if args.stdout:
        put(text)
        return
    _save(target, text)
    put_path(target)


def _heard(path: Path, pcm: Pcm, transcribe: Callable[[Pcm], str], bar: Bar) -> str:
    """All of it, piece by piece. Raises TranscriptError."""
    from csm_chat.types import SAMPLE_RATE

    heard: list[str] = []
    n_done = 0
    for piece in pieces(pcm):
        bar.update(n_done / SAMPLE_RATE, path.name)
        with suppress(NoWordsError):
            heard.append(transcribe(piece))
        n_done += len(piece)
    if not heard:
        raise NoWordsError(f"{path}: Whisper heard no words in it")
    return " ".join(heard)


def pieces(pcm: Pcm) -> Iterator[Pcm]:
    """Cut (n,) samples into pieces of `PIECE_S` at most, each at a quiet spot."""
    from csm_chat.types import SAMPLE_RATE

    limit = round(PIECE_S * SAMPLE_RATE)
    while len(pcm) > limit:
        cut = _quietest(pcm[:limit])
        yield pcm[:cut]
        pcm = pcm[cut:]
    yield pcm


def _quietest(pcm: Pcm) -> int:
    """The middle of the quietest `QUIET_S` of the last `SEARCHED_S`."""
    import numpy as np

    from csm_chat.types import SAMPLE_RATE

    window = round(QUIET_S * SAMPLE_RATE)
    start = len(pcm) - round(SEARCHED_S * SAMPLE_RATE)
    energy = np.cumsum(np.square(pcm[start:], dtype=np.float64))
    quiet = energy[window:] - energy[:-window]
    return start + int(np.argmin(quiet)) + window // 2


def _save(path: Path, text: str) -> None:
    from csm_chat.voices.references import replace_file

    try:
        replace_file(path, f"{text}\n".encode())
    except OSError as error:
        raise TakeError(
            f"{path}: cannot be saved ({error.strerror}); --stdout prints it"
        ) from error
