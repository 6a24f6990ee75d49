"""The references folder: who is which speaker, and the transcripts. Opens no audio."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from csm_chat.errors import TranscriptError
from csm_chat.plain_files import decode, read_bytes
from csm_chat.visible import one_line
from csm_chat.voices.file_names import (
    CLIP_ENDINGS,
    FOREIGN_ENDINGS,
    Source,
    natural_key,
    sources_of,
)

TRANSCRIPT_ENDING = ".txt"
_FIRST_S = re.compile(r"#.*\bfirst ([0-9]+(?:\.[0-9]+)?) s\b", re.IGNORECASE)

Stamps: TypeAlias = dict[str, tuple[int, int]]  # name to size in bytes and time of change in ns


@dataclass(frozen=True, slots=True)
class Transcript:
    text: str  # on one line; "" if the file holds none
    first_s: float | None = None  # seconds of the clip it covers; None: all of it
    remark: str | None = None  # what the user should know about the file


@dataclass(slots=True)
class SpeakerIds:
    """Who is which speaker. A number once given stays with its file name for as long as this lives.

    Numbers in names are taken at their word; names without one get the lowest free numbers, in
    natural order, so the same files have the same numbers at the next start. While running, the
    number of a removed file is given to no other name: turns already spoken would change mouths.
    """

    _held: dict[int | str, int] = field(default_factory=dict)  # number or name to speaker

    def assign(self, sources: list[Source]) -> tuple[dict[int, Source], list[str]]:
        """Speaker to file, and one line for each file whose number is taken.

        `sources` come in natural order; of two for one speaker the first is taken.
        """
        claims: dict[int, Source] = {}
        refused: list[str] = []
        for source in sorted(sources, key=lambda source: source.number is None):
            key = _key(source)
            speaker = self._speaker(key)
            holder = next((other for other, held in self._held.items() if held == speaker), key)
            if holder != key:
                rival = f'"{holder}" until the next start'
            elif speaker in claims:
                rival = f"already {claims[speaker].path.name}"
            else:
                claims[speaker] = source
                self._held[key] = speaker
                continue
            refused.append(f"! {source.path.name}   speaker {speaker} is {rival}. Skipped.")
        return claims, refused

    def reserve(self, speaker: int, name: str) -> None:
        """Let a speaker without a clip be that number: a clip of that name will be theirs."""
        if speaker not in self._held.values():
            self._held.setdefault(name.casefold(), speaker)

    def _speaker(self, key: int | str) -> int:
        if isinstance(key, int):
            return key
        taken = set(self._held.values())
        free = next(number for number in itertools.count() if number not in taken)
        return self._held.get(key, free)


def _key(source: Source) -> int | str:
    return (source.name or "").casefold() if source.number is None else source.number


def list_sources(folder: Path) -> tuple[list[Source], list[str]]:
    """The folder's clips in natural order, and one line for each that tells no speaker.

    Raises OSError when the folder cannot be listed.
    """
    paths = sorted(_parts_of_voices(folder), key=lambda path: natural_key(path.name))
    return sources_of([path for path in paths if path.suffix.lower() != TRANSCRIPT_ENDING])


def claimed(folder: Path) -> tuple[dict[int, Source], list[str]]:
    """Who would speak by which clip, by speaker, and one line for each clip that nobody gets.

    Raises OSError when the folder cannot be listed.
    """
    sources, refused = list_sources(folder)
    claims, taken = SpeakerIds().assign(sources)
    return dict(sorted(claims.items())), [*refused, *taken]


def expected_voices(
    folder: Path, names: Mapping[int, str]
) -> tuple[dict[int, str], dict[int, tuple[str, ...]]]:
    """Names and moods by speaker, by file names alone: for what is typed before voices load.

    `names` win over those of files.
    """
    try:
        claims, _ = claimed(folder)
    except OSError:  # the voices say so when they are read
        return dict(names), {}
    named = {speaker: source.title for speaker, source in claims.items()} | dict(names)
    return named, {n: tuple(m.mood for m in each.moods) for n, each in claims.items() if each.moods}


def folder_stamps(folder: Path) -> Stamps:
    """Sizes and times of all that voices are made of; empty for a folder that is not there."""
    try:
        return {path.name: stamp(path) for path in _parts_of_voices(folder)}
    except OSError:
        return {}


def _parts_of_voices(folder: Path) -> list[Path]:
    """Recordings and texts, whatever their names. Raises OSError when it cannot be listed."""
    endings = (*CLIP_ENDINGS, *FOREIGN_ENDINGS, TRANSCRIPT_ENDING)
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith(".")
    ]


def stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # a link to nothing; it is reported when the clip is opened
        return (0, 0)
    return (stat.st_size, stat.st_mtime_ns)


def transcript_path(clip: Path) -> Path:
    """The text file beside a clip: `a.txt` for `a.wav`, or one with another case, as `a.TXT`."""
    usual = clip.with_suffix(TRANSCRIPT_ENDING)
    if usual.exists():
        return usual
    with suppress(OSError):
        for path in sorted(clip.parent.iterdir()):
            if path.stem == clip.stem and path.suffix.lower() == TRANSCRIPT_ENDING:
                return path
    return usual


def read_transcript(path: Path) -> Transcript | None:
    """The text of a file, None without one. Raises TranscriptError if it cannot be read as text."""
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TranscriptError(f"{path}: cannot be read ({error.strerror})") from error
    text, remark = _decoded(data, path)
    covers = [_FIRST_S.match(line) for line in text.splitlines()]
    spoken = " ".join(
        line for line, note in zip(text.splitlines(), covers, strict=True) if not note
    )
    first_s = next((float(note[1]) for note in covers if note), None)
    return Transcript(" ".join(spoken.split()), first_s, remark)


def _decoded(data: bytes, path: Path) -> tuple[str, str | None]:
    decoded = decode(data)
    if "\0" in decoded.text:
        raise TranscriptError(f"{path}: is not a text file; save it as UTF-8 text")
    return decoded.text, decoded.remark and f"{path.name} {decoded.remark}"


def write_transcript(path: Path, transcript: Transcript, clip: str) -> bool:
    """Save a transcript, whole or not at all; False if there is one by now. Raises OSError."""
    there = read_transcript(path)
    if there and there.text:
        return False
    note = (
        ""
        if transcript.first_s is None
        else f"# the first {transcript.first_s:.2f} s of {one_line(clip)}\n"
    )
    replace_file(path, f"{note}{transcript.text}\n".encode())
    return True


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole. Raises OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
