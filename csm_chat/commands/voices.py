"""`csm-chat voices`: who can speak, by the clips of the references folder. Loads no model."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from csm_chat.commands.terminal import flags
from csm_chat.commands.terminal.console import Console
from csm_chat.errors import AudioError, CsmChatError, DeviceError, TranscriptError, UsageError
from csm_chat.printing import put

if TYPE_CHECKING:
    from pathlib import Path

    from csm_chat.config.settings import Config
    from csm_chat.types import Pcm
    from csm_chat.voices.clip_codes import Excerpt
    from csm_chat.voices.file_names import Source

HEADS = ("id", "name", "file", "seconds", "rows", "first words", "remarks")
N_WORDS = 4
ALL = ""  # --play without a name
CHARS_PER_TOKEN = 4  # of English, roughly: no tokenizer is read here


@dataclass(frozen=True, slots=True)
class Listed:
    """A voice as the table shows it."""

    speaker: int
    name: str
    file: str
    pcm: Pcm | None  # the kept excerpt; None: the clip cannot be used
    kept_s: float
    text: str
    remarks: tuple[str, ...]
    mood: str = ""

    def cells(self) -> tuple[str, ...]:
        words = self.text.split()
        first = " ".join(words[:N_WORDS]) + (" ..." if len(words) > N_WORDS else "")
        usable = self.pcm is not None
        return (
            str(self.speaker),
            f"{self.name} ({self.mood})" if self.mood else self.name,
            self.file,
            f"{self.kept_s:.1f}" if usable else "-",
            f"~{self._n_rows()}" if usable else "-",
            first or "-",
            "; ".join(self.remarks),
        )

    def _n_rows(self) -> int:
        from csm_chat.types import FRAME_SAMPLES

        n_samples = 0 if self.pcm is None else len(self.pcm)
        return ceil(n_samples / FRAME_SAMPLES) + 1 + 4 + len(self.text) // CHARS_PER_TOKEN


def add_arguments(parser: ArgumentParser) -> None:
    flags.add_settings(parser, flags.REFERENCES, flags.AUDIO)
    parser.add_argument(
        "--play", nargs="?", const=ALL, metavar="WHO", help="hear that voice; alone all of them"
    )
    parser.add_argument("--quiet", action="store_true", help="errors only")


def run(args: Namespace, config: Config) -> int:
    from csm_chat.commands.terminal.table import table

    console = Console(quiet=args.quiet)
    is_needed = args.play is not None or flags.names_references(args, config)
    sources = _sources(config, is_needed, console)
    clips = [(n, clip) for n, source in sources.items() for clip in (source, *source.moods)]
    with console.bar(len(clips), "clips") as bar:
        found = []
        for speaker, source in clips:
            found.append(_listed(speaker, source, sources[speaker].title, config))
            bar.update(len(found))
    if args.play is not None:
        return _play(_chosen(args.play, found), config, console)
    put(*table(HEADS, [voice.cells() for voice in found]))
    return 0


def _sources(config: Config, is_needed: bool, console: Console) -> Mapping[int, Source]:
    """Clips by speaker. Raises CsmChatError for a folder that cannot be listed.

    Without being needed, one that is not there is one without clips.
    """
    from csm_chat.assemble import folder
    from csm_chat.voices.references import claimed

    path = folder(config.references, "references")
    try:
        claims, refused = claimed(path)
    except FileNotFoundError as error:
        if not is_needed:
            return {}
        raise CsmChatError(
            f"{path}: there is no such folder; make it, or name another by --references"
        ) from error
    except OSError as error:
        raise CsmChatError(
            f"{path}: cannot be listed ({error.strerror}); name another by --references"
        ) from error
    for line in refused:
        console.warn(line)
    if not claims:
        console.note(f"{path}/ holds no reference*.wav, .flac, .mp3 or .ogg yet")
    return claims


def _listed(speaker: int, source: Source, title: str, config: Config) -> Listed:
    from csm_chat.voices.clip_codes import excerpt
    from csm_chat.voices.references import transcript_path

    name = config.named.get(speaker) or title
    try:
        kept = excerpt(source.path, config.context.max_reference_s)
        text, said = _words(transcript_path(source.path), kept)
    except (AudioError, TranscriptError) as error:
        reason = str(error).removeprefix(f"{source.path}: ")
        unusable = (f"unusable: {reason}",)
        return Listed(speaker, name, source.path.name, None, 0.0, "", unusable, source.mood)
    remarks = (*kept.note.warnings, *said, *kept.note.done)
    return Listed(
        speaker, name, source.path.name, kept.pcm, kept.note.kept_s, text, remarks, source.mood
    )


def _words(path: Path, kept: Excerpt) -> tuple[str, list[str]]:
    """Transcript and what there is to say about it. Raises TranscriptError."""
    from csm_chat.voices.references import read_transcript

    transcript = read_transcript(path)
    if transcript is None or not transcript.text:
        return "", ["no transcript: Whisper writes one when it is first used"]
    remarks = [transcript.remark] if transcript.remark else []
    if transcript.first_s is None and kept.note.cut:
        remarks.append("its transcript is of more than is kept: Whisper hears the kept part")
    return transcript.text, remarks


def _chosen(who: str, found: list[Listed]) -> list[Listed]:
    """Raises UsageError, AudioError."""
    from csm_chat.commands.say import speaker_number

    usable = [voice for voice in found if voice.pcm is not None]
    if who == ALL:
        return usable
    number = speaker_number("--play", who, {voice.speaker: voice.name for voice in found})
    chosen = [voice for voice in found if voice.speaker == number]
    if not chosen:
        there = ", ".join(str(voice.speaker) for voice in found) or "none"
        raise UsageError(f"--play: speaker {number} has no clip; there is {there}")
    for voice in chosen:
        if voice.pcm is None:
            raise AudioError(f"{voice.file}: {voice.remarks[0]}")
    return chosen


def _play(voices: list[Listed], config: Config, console: Console) -> int:
    from csm_chat.commands.speech.speaking import opened_player

    with opened_player(config, console, "the table shows them without sound") as player:
        for voice in voices:
            console.note(f"{voice.speaker} {voice.name}  {voice.file}")
            assert voice.pcm is not None, voice
            player.write(voice.pcm)
            player.drain()
        if player.status().state == "off":
            raise DeviceError("sound was lost on the way")
    return 0
