"""`csm-chat verify`: whether files carry the mark that says they are synthetic."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat import assemble
from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.errors import AudioError, WatermarkError
from csm_chat.printing import put, put_json

if TYPE_CHECKING:
    from csm_chat.audio.watermark.marking import Mark, Watermark
    from csm_chat.config.settings import Config

HEADS = ("file", "watermark", "confidence", "seconds", "of")
NOT_MARKED = 1


@dataclass(frozen=True, slots=True)
class Verified:
    """A file and what was found in it."""

    path: Path
    mark: Mark | None
    by: str  # method, and whose key
    seconds: float  # of the file

    def cells(self) -> tuple[str, ...]:
        if self.mark is None:
            return str(self.path), "not marked", "-", "-", f"{self.seconds:.1f}"
        confidence, seconds = f"{self.mark.confidence:.2f}", f"{self.mark.seconds:.1f}"
        return str(self.path), self.by, confidence, seconds, f"{self.seconds:.1f}"

    def fields(self) -> dict[str, object]:
        found = self.mark is not None
        return {
            "file": str(self.path),
            "marked": found,
            "watermark": self.by if found else None,
            "confidence": round(self.mark.confidence, 4) if self.mark else None,
            "marked_s": round(self.mark.seconds, 3) if self.mark else 0.0,
            "seconds": round(self.seconds, 3),
        }


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
    from csm_chat.audio.clips import read_clip

    clip = read_clip(path)
    if clip.remark:
        console.note(f"{path}: {clip.remark}")
    for watermark in watermarks:
        if mark := watermark.detect(clip.pcm):
            return Verified(path, mark, watermark.words, clip.seconds)
    return Verified(path, None, "", clip.seconds)
