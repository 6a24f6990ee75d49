"""Clips given on the command line as what was said before."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csm_chat.errors import AudioError, TranscriptError, UsageError
from csm_chat.places import expanded
from csm_chat.types import Segment, Voice
from csm_chat.voices.references import read_transcript, transcript_path

if TYPE_CHECKING:
    from csm_chat.types import Codec, Pcm

LONGEST_S = 120.0  # as much as any context holds: a clip is not cut, its words are of all of it


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Speech at the common level, and who says what in it; text None: nobody knows yet."""

    path: Path
    pcm: Pcm
    text: str | None
    speaker: int


def add_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("context, once for each clip, in order")
    for names, what, metavar in (
        (("-ia", "--context-audio"), "clip of something said before", "FILE"),
        (("-it", "--context-text"), "what is said in it; else its .txt, else Whisper", "TEXT"),
        (("-is", "--context-speaker"), "who says it, number or name", "WHO"),
    ):
        group.add_argument(*names, action="append", default=[], metavar=metavar, help=what)


def read_clips(args: Namespace, speaker: int, who: Callable[[str, str], int]) -> list[Clip]:
    """The clips asked for. `who` gives flag and text a speaker. Raises UsageError, AudioError."""
    from csm_chat.voices.clip_codes import excerpt

    paths = [expanded(name, "--context-audio") for name in args.context_audio]
    for flag, given in (
        ("--context-text", args.context_text),
        ("--context-speaker", args.context_speaker),
    ):
        if given and len(given) != len(paths):
            raise UsageError(
                f"{flag} is given {len(given)} times and --context-audio {len(paths)}: "
                "give one for each clip, or none"
            )
    texts = args.context_text or [None] * len(paths)
    speakers = [who("--context-speaker", text) for text in args.context_speaker]
    return [
        Clip(path, excerpt(path, LONGEST_S).pcm, _words(path, text), number)
        for path, text, number in zip(paths, texts, speakers or [speaker] * len(paths), strict=True)
    ]


def _words(path: Path, text: str | None) -> str | None:
    if text and text.strip():
        return " ".join(text.split())
    beside = read_transcript(transcript_path(path))
    return beside.text if beside and beside.text and beside.first_s is None else None


def voices(
    clips: list[Clip],
    codec: Codec,
    transcribe: Callable[[Pcm], str],
    names: Mapping[int, str],
) -> tuple[Voice, ...]:
    """Clips as what stands in every prompt, in their order. Raises TranscriptError."""
    found = []
    for clip in clips:
        text = clip.text or _heard(clip, transcribe)
        segment = Segment(clip.speaker, text, codec.encode(clip.pcm))
        found.append(Voice(clip.speaker, names.get(clip.speaker, clip.path.stem), (segment,)))
    return tuple(found)


def _heard(clip: Clip, transcribe: Callable[[Pcm], str]) -> str:
    try:
        return transcribe(clip.pcm)
    except (TranscriptError, AudioError) as error:
        raise TranscriptError(
            f"{clip.path}: nothing tells what is said in it ({error}); give --context-text"
        ) from error
