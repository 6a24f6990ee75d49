"""`csm-chat verify`: whether files carry the mark that says they are synthetic."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat import assemble
from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.errors import AudioError, WatermarkError
from csm_chat.printing import put, put_json
from csm_chat.types import SAMPLE_RATE

if TYPE_CHECKING:
    from csm_chat.audio.watermark.finding import Mark, Place
    from csm_chat.audio.watermark.marking import Watermark
    from csm_chat.config.settings import Config

HEADS = ("file", "watermark", "confidence", "share", "seconds", "marked")
NOT_MARKED = 1
N_SHOWN = 3  # places in a line


@dataclass(frozen=True, slots=True)
class Verified:
    """A file and what was found in it."""

    path: Path
    mark: Mark | None
    by: str  # method, and whose key
    seconds: float  # of the file

    @property
    def share(self) -> float:
        return self.mark.seconds / self.seconds if self.mark else 0.0

    def cells(self) -> tuple[str, ...]:
        of = f"{self.seconds:.1f}"
        if self.mark is None:
            return str(self.path), "not marked", "-", "-", of, "-"
        confidence, share = f"{self.mark.confidence:.2f}", f"{self.share:.0%}"
        return str(self.path), self.by, confidence, share, of, _in_words(self.mark.places)

    def fields(self) -> dict[str, object]:
        mark = self.mark
        return {
            "file": str(self.path),
            "marked": mark is not None,
            "watermark": self.by if mark else None,
            "confidence": round(mark.confidence, 4) if mark else None,
            "share": round(self.share, 4),
            "marked_s": round(mark.seconds, 3) if mark else 0.0,
            "seconds": round(self.seconds, 3),
            "places": [
                {
                    "start_s": round(place.start_s, 3),
                    "end_s": round(place.end_s, 3),
                    "confidence": round(place.confidence, 4),
                }
                for place in (mark.places if mark else ())
            ],
        }


def _in_words(places: Sequence[Place]) -> str:
    """As "from 0:02 to 0:09, 0:15 to 0:20"."""
    shown = ", ".join(_from_to(place) for place in places[:N_SHOWN])
    n_more = len(places) - N_SHOWN
    return f"from {shown}" + (f" and {n_more} more" if n_more > 0 else "")


def _from_to(place: Place) -> str:
    start = round(place.start_s)
    return f"{_clock(start)} to {_clock(max(start + 1, round(place.end_s)))}"


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="wav, flac, mp3, ogg")
    parser.add_argument("--json", action="store_true", help="a list of objects instead of a table")
    parser.epilog = (
        "exit codes: 0 all are marked, 1 one is not, 4 one cannot be read. Looks for marks of "
        "perth and, where it is installed, of silentcipher: CSM's public key and your own."
    )
    flags.add_settings(parser)


def run(args: Namespace, config: Config) -> int:
    from csm_chat.commands.terminal.table import table

    console = Console()
    watermarks = list(_watermarks(config, console))
    found: list[Verified] = []
    unread = 0
    for path in args.files:
        try:
            found.append(_verified(path, watermarks, console))
        except AudioError as error:  # the others are still to be looked at
            console.warn(f"csm-chat: {error}")
            unread = unread or error.exit_code
    if args.json:
        put_json([each.fields() for each in found])
    elif found:
        put(*table(HEADS, [each.cells() for each in found]))
    if all(each.mark for each in found):
        return unread
    console.note(f"looked for: {'; '.join(each.words for each in watermarks) or 'nothing'}")
    return unread or NOT_MARKED


def _watermarks(config: Config, console: Console) -> Iterator[Watermark]:
    """Each method that is there. Raises WatermarkError for the configured one, ConfigError."""
    from csm_chat.audio.watermark.marking import METHODS, detectors, is_installed

    key_file = config.watermark.key_file
    path = assemble.folder(key_file, "watermark.key_file") if key_file else None
    for method in METHODS:
        is_configured = method == config.watermark.method
        if not is_configured and not is_installed(method):
            continue
        try:
            yield from detectors(method, path, os.environ)
        except WatermarkError as error:
            if is_configured:
                raise
            console.warn(f"{error}. Its marks are not looked for")


def _verified(path: Path, watermarks: list[Watermark], console: Console) -> Verified:
    """Raises AudioError."""
    from csm_chat.audio.clips import clip_blocks, header_remark

    if remark := header_remark(path):
        console.note(f"{path}: {remark}")
    seconds: float | None = None
    # read once for each method, so that an hour is never held
    for watermark in watermarks:
        found = watermark.detect(clip_blocks(path))
        if found.mark:
            return Verified(path, found.mark, watermark.words, found.seconds)
        seconds = found.seconds
    if seconds is None:
        seconds = sum(map(len, clip_blocks(path))) / SAMPLE_RATE
    return Verified(path, None, "", seconds)
