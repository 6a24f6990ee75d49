"""A scene as files: mix, stems, subtitles, labels, what it is made of, a picture of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from csm_chat.errors import TakeError
from csm_chat.places import slug
from csm_chat.scene import subtitles, timeline
from csm_chat.scene.folder import (
    SUMMARY,
    Mark,
    claim,
    files_of,
    save,
    save_audio,
    turn_file,
    unmarked,
)
from csm_chat.scene.mix import Piece, Placed, Scene, lay_out, mixed, share
from csm_chat.types import SAMPLE_RATE
from csm_chat.visible import escaped_json

STEMS = "stems"
WORDS = ("scene.srt", "scene.vtt", "labels.txt", "scene.svg")


@dataclass(frozen=True, slots=True)
class Options:
    """How a scene is put together."""

    gap_s: float = 0.35  # between turns
    tail_s: float = 0.0  # silence at the end
    match: bool = True  # bring speakers to one loudness
    format: str = "wav"  # of mix and stems: wav, flac, mp3, ogg


@dataclass(frozen=True, slots=True, eq=False)
class SceneTurn:
    """A turn and what is told of it."""

    piece: Piece
    seed: int
    ended: str
    line: int | None = None  # of the script
    mood: str = ""  # it was said in
    speed: float = 1.0
    check: Mapping[str, object] | None = None  # what was heard of it


def write_scene(
    folder: Path,
    turns: Sequence[SceneTurn],
    options: Options,
    about: Mapping[str, object],
    mark: Mark = unmarked,
) -> tuple[Scene, Path]:
    """Write all files of a scene; returns the mix's path, too.

    Each is whole or not there at all, and replaces its like; what an earlier scene of this folder
    had beyond them goes. The mix is marked once, and stems are cut from what came of it: they
    still add up to it. Raises TakeError.
    """
    scene = lay_out([t.piece for t in turns], options.gap_s, options.tail_s, options.match)
    before = files_of(folder / SUMMARY)
    names = [turn_file(number, turn.piece.name) for number, turn in enumerate(turns, 1)]
    sound = {f"mix.{options.format}": scene.speakers} | _stems(scene, options.format)
    claim(folder, [*sound, *WORDS, SUMMARY, *names])
    for turn, name in zip(turns, names, strict=True):
        if not (folder / name).exists():
            save_audio(folder / name, turn.piece.pcm(), mark)
    marked = mark(mixed(scene))
    for name, speakers in sound.items():
        save_audio(folder / name, share(scene, marked, speakers), unmarked)
    said = (subtitles.srt(scene), subtitles.vtt(scene), subtitles.labels(scene))
    drawn = timeline.svg(scene, folder.name)
    words = dict(zip(WORDS, (*(text.encode() for text in said), drawn), strict=True))
    for name, data in words.items():
        save(folder / name, data)
    files = [*sound, *words, *names]
    save(folder / SUMMARY, _summary(scene, turns, names, files, options, about))
    _remove(folder, set(before) - set(files))
    return scene, folder / f"mix.{options.format}"


def _stems(scene: Scene, format_name: str) -> dict[str, tuple[int, ...]]:
    """Who is heard in which file, a speaker each."""
    names = {each.piece.speaker: slug(each.piece.name.casefold()) for each in scene.placed}
    taken = list(names.values())
    return {
        f"{STEMS}/{name if taken.count(name) == 1 else f'{name}-{n}'}.{format_name}": (n,)
        for n, name in names.items()
    }


def _summary(
    scene: Scene,
    turns: Sequence[SceneTurn],
    names: Sequence[str],
    files: Sequence[str],
    options: Options,
    about: Mapping[str, object],
) -> bytes:
    told = [
        _told(number, turn, each, name)
        for number, (turn, each, name) in enumerate(zip(turns, scene.placed, names, strict=True), 1)
    ]
    speakers = {each.piece.speaker: each.piece.name for each in scene.placed}
    everything = {
        "sample_rate": SAMPLE_RATE,
        "n_samples": scene.n_samples,
        "seconds": scene.n_samples / SAMPLE_RATE,
        "gap_s": options.gap_s,
        "loudness_matched": options.match,
        "speakers": [
            {"speaker": n, "name": name, "gain": scene.gains[n]} for n, name in speakers.items()
        ],
        **about,
        "turns": told,
        "files": list(files),
    }
    return (escaped_json(json.dumps(everything, ensure_ascii=False, indent=1)) + "\n").encode()


def _told(number: int, turn: SceneTurn, each: Placed, name: str) -> dict[str, object]:
    return {
        "turn": number,
        "line": turn.line,
        "speaker": turn.piece.speaker,
        "name": turn.piece.name,
        **({"mood": turn.mood} if turn.mood else {}),
        "text": turn.piece.text,
        "start": each.start,
        "end": each.end,
        "start_s": each.start / SAMPLE_RATE,
        "end_s": each.end / SAMPLE_RATE,
        "seed": turn.seed,
        "ended": turn.ended,
        "speed": turn.speed,
        "gain_db": turn.piece.gain_db,
        "file": name,
        "check": dict(turn.check) if turn.check else None,
    }


def _remove(folder: Path, names: set[str]) -> None:
    """Names come from a file that anybody may have written: none may lead out of the folder."""
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            continue
        try:
            (folder / path).unlink(missing_ok=True)
        except OSError as error:
            raise TakeError(f"{folder / path}: cannot be removed ({error.strerror})") from error
