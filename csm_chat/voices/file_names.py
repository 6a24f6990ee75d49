"""Which clip is whose, by file names alone. Opens nothing.

| file                  | speaker                                                              |
|-----------------------|----------------------------------------------------------------------|
| `reference.wav`       | 0                                                                    |
| `reference12.flac`    | 12                                                                   |
| `reference2-cleo.wav` | 2, called "cleo"                                                     |
| `reference-ana.ogg`   | the lowest number that nobody has, called "ana"                      |
| `reference-a.sad.ogg` | "a" in the mood "sad" if "a" has a clip, else a speaker "a.sad"      |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from csm_chat.visible import one_line

CLIP_ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus")
FOREIGN_ENDINGS = (".m4a", ".aac", ".mp4", ".wma", ".aiff", ".aif", ".webm")
_STEM = re.compile(r"reference(?:[-_ ]?([0-9]+))?(?:[-_ ](.+))?", re.IGNORECASE)
_MOOD = re.compile(r"[^()|:]+")  # what can be typed in brackets


@dataclass(frozen=True, slots=True)
class Source:
    """A clip by its file name."""

    path: Path
    number: int | None  # None: the name has none, a free one is given
    name: str | None  # as written
    mood: str = ""  # it is a clip of the speaker in that mood
    moods: tuple[Source, ...] = ()  # of the speaker, each of another name

    @property
    def title(self) -> str:
        """What the voice is called, on one line, if nobody calls it otherwise."""
        return one_line(self.name or self.path.stem)


def sources_of(paths: Sequence[Path]) -> tuple[list[Source], list[str]]:
    """The speakers' clips among recordings, and one line for each that tells no speaker.

    `paths` come in natural order, which is that of what is returned.
    """
    clips = [path for path in paths if path.suffix.lower() in CLIP_ENDINGS]
    refused = [
        f"! {path.name}   convert it to wav, flac, mp3 or ogg. Skipped."
        for path in paths
        if path.suffix.lower() in FOREIGN_ENDINGS
    ]
    moods = _moods(clips)
    sources: dict[Path, Source] = {}
    for path in clips:
        match = _STEM.fullmatch(path.stem)
        if match and path not in moods:
            sources[path] = _source(path, *match.groups())
        elif path not in moods:
            refused.append(f"! {path.name}   {_unnamed(path)}. Skipped.")
    for path, (owner, mood) in moods.items():
        first = sources[owner]
        if any(_folded(each.mood) == _folded(mood) for each in first.moods):
            refused.append(f"! {path.name}   {first.title} has that mood already. Skipped.")
        else:
            said_so = replace(first, path=path, mood=mood, moods=())
            sources[owner] = replace(first, moods=(*first.moods, said_so))
    return list(sources.values()), refused


def _moods(clips: Sequence[Path]) -> dict[Path, tuple[Path, str]]:
    """The clips that are a mood, each with whose and which.

    Names may have dots themselves: the first dot counts that has a speaker before it. Those with
    fewer dots come first, since whoever is a mood is no speaker.
    """
    moods: dict[Path, tuple[Path, str]] = {}
    speakers: dict[str, Path] = {}
    for path in sorted(clips, key=lambda clip: clip.stem.count(".")):
        whose, mood = _as_mood(path, speakers)
        if whose and _MOOD.fullmatch(mood):
            moods[path] = whose, mood
        elif match := _STEM.fullmatch(path.stem):
            for key in _keys(path.stem, _source(path, *match.groups())):
                speakers.setdefault(key, path)
    return moods


def _as_mood(path: Path, speakers: Mapping[str, Path]) -> tuple[Path | None, str]:
    for dot in (place for place, char in enumerate(path.stem) if char == "."):
        base = path.stem[:dot]
        if match := _STEM.fullmatch(base):
            for key in _keys(base, _source(path, *match.groups())):
                if key in speakers:
                    return speakers[key], one_line(path.stem[dot + 1 :]).strip()
    return None, ""


def _keys(stem: str, source: Source) -> list[str]:
    """How a speaker may be called in front of a mood: as in the file, by number, by name."""
    number = [] if source.number is None else [f"reference{source.number}"]
    name = [] if source.name is None else [f"reference-{source.name}"]
    return [each.casefold() for each in (stem, *number, *name)]


def _unnamed(path: Path) -> str:
    """Why a clip is no speaker's."""
    base, dot, _ = path.stem.partition(".")
    if dot and _STEM.fullmatch(base):
        return f"is a mood of {base}{path.suffix}, which is not there"
    return "name it like reference1.wav or reference-ana.wav"


def _folded(mood: str) -> str:
    return " ".join(mood.split()).casefold()


def _source(path: Path, number: str | None, name: str | None) -> Source:
    if number is None and name is None:
        return Source(path, 0, None)
    return Source(path, None if number is None else int(number), name)


def natural_key(name: str) -> tuple[list[str | int], int, str]:
    """Sort key with 2 before 10; of "1" and "01" the shorter comes first."""
    parts = re.split(r"([0-9]+)", name.casefold())
    key: list[str | int] = [int(part) if i % 2 else part for i, part in enumerate(parts)]
    return key, len(name), name
